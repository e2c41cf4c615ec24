package kubelet

import (
	"context"
	"fmt"
	"log"
	"net/netip"
	"os"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// worker runs one Pod from its binding to its end.
type worker struct {
	kubelet *Kubelet
	node    *node
	volumes *volumes
	// stop is done when the Pod is to end, stopSidecars when its other containers have ended, and gone when its object is no
	// more, so that no grace is left.
	stop, stopSidecars, gone          context.Context
	stopNow, stopSidecarsNow, goneNow context.CancelFunc

	containers, inits []*container
	sidecars          sync.WaitGroup
	// kick wakes the report; reported is closed when its last word has been said.
	kick     chan struct{}
	reported chan struct{}

	mutex     sync.Mutex
	pod       *corev1.Pod
	namespace *namespace
	// initialized: the init containers have done their work. ended: no container runs or will run again.
	initialized, ended bool
	startTime          metav1.Time
	// deadline is when what still runs is killed; it is set when the Pod is to stop.
	deadline time.Time
}

func newWorker(k *Kubelet, n *node, pod *corev1.Pod) *worker {
	w := &worker{
		kubelet: k, node: n, pod: pod, startTime: metav1.Now(), kick: make(chan struct{}, 1),
		reported: make(chan struct{}),
	}
	w.stop, w.stopNow = context.WithCancel(context.Background())
	w.stopSidecars, w.stopSidecarsNow = context.WithCancel(context.Background())
	w.gone, w.goneNow = context.WithCancel(context.Background())
	w.volumes = &volumes{
		worker: w, dir: k.layout.File("kubelet", string(pod.UID), "volumes"), tokens: map[string]*token{},
	}
	for index := range pod.Spec.InitContainers {
		w.inits = append(w.inits, newContainer(w, &pod.Spec.InitContainers[index], true))
	}
	for index := range pod.Spec.Containers {
		w.containers = append(w.containers, newContainer(w, &pod.Spec.Containers[index], false))
	}
	return w
}

// update takes the newest object in.
func (w *worker) update(pod *corev1.Pod) {
	w.mutex.Lock()
	relabelled := fmt.Sprint(w.pod.Labels, w.pod.Annotations) != fmt.Sprint(pod.Labels, pod.Annotations)
	w.pod = pod
	w.mutex.Unlock()
	if pod.DeletionTimestamp != nil {
		w.setDeadline()
		w.stopNow()
	} else if relabelled {
		go w.refreshVolumes()
	}
}

// removed: the object is no more, whatever still runs.
func (w *worker) removed() {
	w.setDeadline()
	w.goneNow()
	w.stopNow()
}

func (w *worker) latest() *corev1.Pod {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	return w.pod
}

// address is the Pod's: the node's with hostNetwork.
func (w *worker) address() netip.Addr {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	if w.namespace == nil {
		return netip.Addr{}
	}
	return w.namespace.address
}

// run is the whole life of the Pod.
func (w *worker) run() {
	pod := w.latest()
	if over(pod.Status.Phase) {
		// It ended under a former kubelet, or was told to have ended by somebody else.
		<-w.stop.Done()
		w.deleteObject()
		return
	}
	go w.report()
	w.live()
	w.stopSidecarsNow()
	w.sidecars.Wait()
	w.mutex.Lock()
	w.ended = true
	w.mutex.Unlock()
	w.changed()
	w.cleanUp()
	<-w.reported
	<-w.stop.Done()
	w.deleteObject()
}

// live returns when all containers but the sidecars have ended for good: by themselves, or because the Pod is to stop.
func (w *worker) live() {
	if !w.until("FailedCreatePodSandBox", w.makeNetwork) || !w.until("FailedMount", w.makeVolumes) {
		return
	}
	w.changed()
	for _, init := range w.inits {
		if !init.runInit() {
			return
		}
	}
	w.mutex.Lock()
	w.initialized = true
	w.mutex.Unlock()
	w.changed()
	var running sync.WaitGroup
	for _, c := range w.containers {
		running.Go(c.run)
	}
	running.Wait()
}

// until repeats what fails, with an Event that says why, and gives up when the Pod is to stop.
func (w *worker) until(reason string, attempt func() error) bool {
	for pause := 100 * time.Millisecond; w.stop.Err() == nil; pause = min(2*pause, 5*time.Second) {
		err := attempt()
		if err == nil {
			return true
		}
		log.Printf("%s: %s: %v", w, reason, err)
		w.kubelet.events.Event(w.latest(), corev1.EventTypeWarning, reason, err.Error())
		select {
		case <-w.stop.Done():
		case <-time.After(pause):
		}
	}
	return false
}

func (w *worker) makeNetwork() error {
	pod := w.latest()
	namespace := w.node.namespace
	if !pod.Spec.HostNetwork {
		address := w.kubelet.network.take()
		var err error
		if namespace, err = w.kubelet.network.create("pod-"+string(pod.UID), address); err != nil {
			return err
		}
	}
	w.mutex.Lock()
	w.namespace = namespace
	w.mutex.Unlock()
	return nil
}

func (w *worker) makeVolumes() error {
	if err := os.MkdirAll(w.volumes.dir, 0o755); err != nil {
		return err
	}
	return w.volumes.refresh(w.latest())
}

// refreshVolumes brings the volumes of a running Pod up to date; a failure leaves them as they are.
func (w *worker) refreshVolumes() {
	if _, err := os.Stat(w.volumes.dir); err != nil || w.stop.Err() != nil {
		return
	}
	if err := w.volumes.refresh(w.latest()); err != nil {
		log.Printf("%s: %v", w, err)
	}
}

// setDeadline: the first call starts the clock, and a later one can only shorten the time.
func (w *worker) setDeadline() {
	deadline := time.Now().Add(w.grace())
	w.mutex.Lock()
	defer w.mutex.Unlock()
	if w.deadline.IsZero() || deadline.Before(w.deadline) {
		w.deadline = deadline
	}
}

// killTime is when a container that is to end now has to have ended.
func (w *worker) killTime() time.Time {
	w.mutex.Lock()
	deadline := w.deadline
	w.mutex.Unlock()
	if deadline.IsZero() {
		return time.Now().Add(w.grace())
	}
	return deadline
}

// grace is what the deletion granted, or what the Pod asks for when it ends for another reason.
func (w *worker) grace() time.Duration {
	pod := w.latest()
	seconds := ptr.Deref(pod.Spec.TerminationGracePeriodSeconds, corev1.DefaultTerminationGracePeriodSeconds)
	if pod.DeletionTimestamp != nil && pod.DeletionGracePeriodSeconds != nil {
		seconds = *pod.DeletionGracePeriodSeconds
	}
	return time.Duration(seconds) * time.Second
}

func (w *worker) cleanUp() {
	w.mutex.Lock()
	namespace := w.namespace
	w.mutex.Unlock()
	if namespace != nil && namespace != w.node.namespace {
		w.kubelet.network.release(namespace)
	}
	w.volumes.mutex.Lock()
	defer w.volumes.mutex.Unlock()
	if err := os.RemoveAll(w.kubelet.layout.File("kubelet", string(w.latest().UID))); err != nil {
		log.Printf("%s: %v", w, err)
	}
}

// deleteObject lets the API server remove the object, which it keeps until the kubelet says that the Pod has ended.
func (w *worker) deleteObject() {
	pod := w.latest()
	for pause := 100 * time.Millisecond; w.gone.Err() == nil; pause = min(2*pause, 5*time.Second) {
		err := w.kubelet.client.CoreV1().Pods(pod.Namespace).Delete(context.Background(), pod.Name, metav1.DeleteOptions{
			GracePeriodSeconds: ptr.To[int64](0), Preconditions: metav1.NewUIDPreconditions(string(pod.UID)),
		})
		if err == nil || apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
			return
		}
		log.Printf("%s: cannot delete the object: %v", w, err)
		time.Sleep(pause)
	}
}

func (w *worker) String() string {
	pod := w.latest()
	return pod.Namespace + "/" + pod.Name
}

func over(phase corev1.PodPhase) bool {
	return phase == corev1.PodSucceeded || phase == corev1.PodFailed
}
