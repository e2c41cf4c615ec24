package kubelet

import (
	"context"
	"log"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	podutil "k8s.io/kubernetes/pkg/util/pod"
	"k8s.io/utils/ptr"
)

// changed says that the status may be another now.
func (w *worker) changed() {
	select {
	case w.kick <- struct{}{}:
	default:
	}
}

// report tells the API server of every change, and again until it has heard it. It returns after the last one.
func (w *worker) report() {
	defer close(w.reported)
	told := w.latest().Status
	pause := 50 * time.Millisecond
	for w.gone.Err() == nil {
		status, last := w.status(&told)
		if !equality.Semantic.DeepEqual(told, status) {
			pod := w.latest()
			_, _, _, err := podutil.PatchPodStatus(
				context.Background(), w.kubelet.client, pod.Namespace, pod.Name, pod.UID, told, status)
			if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
				return
			}
			if err != nil {
				log.Printf("%s: status: %v", w, err)
				time.Sleep(pause)
				pause = min(2*pause, time.Second)
				continue
			}
			told, pause = status, 50*time.Millisecond
		}
		if last {
			return
		}
		select {
		case <-w.kick:
		case <-w.gone.Done():
		}
	}
}

// status is how the Pod is now, and whether that will not change any more.
func (w *worker) status(told *corev1.PodStatus) (corev1.PodStatus, bool) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	status := *told.DeepCopy()
	status.StartTime = &w.startTime
	status.HostIP = w.node.address.String()
	status.HostIPs = []corev1.HostIP{{IP: status.HostIP}}
	if w.namespace != nil {
		status.PodIP = w.namespace.address.String()
		status.PodIPs = []corev1.PodIP{{IP: status.PodIP}}
	}
	status.ContainerStatuses = containerStatuses(w.containers)
	status.InitContainerStatuses = containerStatuses(w.inits)
	status.Phase = w.phase()
	w.setConditions(&status)
	return status, w.ended
}

func containerStatuses(containers []*container) []corev1.ContainerStatus {
	var statuses []corev1.ContainerStatus
	for _, c := range containers {
		status := corev1.ContainerStatus{
			Name: c.spec.Name, Image: c.spec.Image, ImageID: c.spec.Image, RestartCount: c.restarts,
			Ready: c.ready, Started: ptr.To(c.started), State: c.state, LastTerminationState: c.last,
		}
		if c.process != nil {
			status.ContainerID = containerID(c.process)
		} else if c.state.Terminated != nil {
			status.ContainerID = c.state.Terminated.ContainerID
		}
		if c.init && !c.sidecar() {
			status.Ready = c.state.Terminated != nil && c.state.Terminated.ExitCode == 0
		}
		statuses = append(statuses, status)
	}
	return statuses
}

func (w *worker) phase() corev1.PodPhase {
	for _, init := range w.inits {
		if init.done && !init.sidecar() && (init.state.Terminated == nil || init.state.Terminated.ExitCode != 0) {
			return corev1.PodFailed
		}
	}
	if !w.initialized {
		if w.ended {
			return corev1.PodFailed
		}
		return corev1.PodPending
	}
	begun, done, failed := 0, 0, 0
	for _, c := range w.containers {
		if c.process != nil || c.state.Terminated != nil || c.last.Terminated != nil {
			begun++
		}
		if c.done || w.ended {
			done++
			if c.state.Terminated == nil || c.state.Terminated.ExitCode != 0 {
				failed++
			}
		}
	}
	switch {
	case done == len(w.containers) && failed > 0:
		return corev1.PodFailed
	case done == len(w.containers):
		return corev1.PodSucceeded
	case begun == len(w.containers):
		return corev1.PodRunning
	}
	return corev1.PodPending
}

func (w *worker) setConditions(status *corev1.PodStatus) {
	over := over(status.Phase)
	allReady := !over && w.initialized
	for _, c := range w.containers {
		allReady = allReady && c.ready
	}
	for _, c := range w.inits {
		allReady = allReady && (!c.sidecar() || c.ready)
	}
	ready := allReady
	for _, gate := range w.pod.Spec.ReadinessGates {
		ready = ready && conditionIsTrue(w.pod.Status.Conditions, gate.ConditionType)
	}
	reason := ""
	if over {
		reason = "PodCompleted"
	} else if !allReady {
		reason = "ContainersNotReady"
	}
	setCondition(status, corev1.PodScheduled, true, "")
	setCondition(status, corev1.PodReadyToStartContainers, w.namespace != nil && !w.ended, "")
	setCondition(status, corev1.PodInitialized, w.initialized, "ContainersNotInitialized")
	setCondition(status, corev1.ContainersReady, allReady, reason)
	if allReady && !ready {
		reason = "ReadinessGatesNotReady"
	}
	setCondition(status, corev1.PodReady, ready, reason)
}

func conditionIsTrue(conditions []corev1.PodCondition, kind corev1.PodConditionType) bool {
	for _, condition := range conditions {
		if condition.Type == kind {
			return condition.Status == corev1.ConditionTrue
		}
	}
	return false
}

// setCondition keeps the time of the last transition when there is none.
func setCondition(status *corev1.PodStatus, kind corev1.PodConditionType, holds bool, reason string) {
	wanted := corev1.PodCondition{Type: kind, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Now()}
	if !holds {
		wanted.Status, wanted.Reason = corev1.ConditionFalse, reason
	}
	for index, found := range status.Conditions {
		if found.Type == kind {
			if found.Status == wanted.Status {
				wanted.LastTransitionTime = found.LastTransitionTime
			}
			wanted.LastProbeTime, wanted.ObservedGeneration = found.LastProbeTime, found.ObservedGeneration
			status.Conditions[index] = wanted
			return
		}
	}
	status.Conditions = append(status.Conditions, wanted)
}
