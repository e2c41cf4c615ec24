package kubelet

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"genkan/e2e/cluster/layout"
)

// Pauses before a container is started again: shorter than a real kubelet's (10 s to 300 s), as tests wait for them.
const (
	firstBackoff = 500 * time.Millisecond
	lastBackoff  = 10 * time.Second
	// healthyAfter is how long a container runs until its next failure counts as its first.
	healthyAfter = time.Minute
)

// container is one of a Pod; worker.mutex guards what changes.
type container struct {
	worker *worker
	spec   *corev1.Container
	init   bool

	process        *process
	state, last    corev1.ContainerState
	restarts       int32
	started, ready bool
	// done: it has ended and will not be started again.
	done bool
	// unhealthy is why a probe ended it.
	unhealthy string
	// startedOnce is closed when it has started for the first time.
	startedOnce chan struct{}
}

func newContainer(w *worker, spec *corev1.Container, init bool) *container {
	waiting := &corev1.ContainerStateWaiting{Reason: "ContainerCreating"}
	if !init && len(w.inits) > 0 {
		waiting.Reason = "PodInitializing"
	}
	return &container{
		worker: w, spec: spec, init: init, state: corev1.ContainerState{Waiting: waiting},
		startedOnce: make(chan struct{}),
	}
}

// sidecar is an init container that goes on beside the others.
func (c *container) sidecar() bool {
	return c.init && c.spec.RestartPolicy != nil && *c.spec.RestartPolicy == corev1.ContainerRestartPolicyAlways
}

// runInit returns when the next container may start, and whether it may.
func (c *container) runInit() bool {
	if !c.sidecar() {
		c.run()
		c.worker.mutex.Lock()
		defer c.worker.mutex.Unlock()
		return c.state.Terminated != nil && c.state.Terminated.ExitCode == 0
	}
	c.worker.sidecars.Go(c.run)
	select {
	case <-c.startedOnce:
		return true
	case <-c.worker.stop.Done():
		return false
	}
}

// stop is done when the container is to end.
func (c *container) stop() context.Context {
	if c.sidecar() {
		return c.worker.stopSidecars
	}
	return c.worker.stop
}

// run starts the container, and again when it ends and its policy says so, until the Pod is to stop.
func (c *container) run() {
	stop := c.stop()
	backoff := firstBackoff
	for stop.Err() == nil {
		began := time.Now()
		running, err := c.start()
		if err != nil {
			c.failedToStart(err)
		} else {
			c.watch(running, began)
			if stop.Err() != nil || !c.startsAgain() {
				c.set(func() { c.done = true })
				return
			}
			if time.Since(began) > healthyAfter {
				backoff = firstBackoff
			}
			c.set(func() {
				c.last, c.restarts = c.state, c.restarts+1
				c.state = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{
					Reason: "CrashLoopBackOff", Message: fmt.Sprintf("starts again in %v", backoff),
				}}
			})
		}
		select {
		case <-stop.Done():
		case <-time.After(backoff):
		}
		backoff = min(2*backoff, lastBackoff)
	}
}

// watch returns when the process has ended, and its state says how.
func (c *container) watch(running *process, began time.Time) {
	alive, dead := context.WithCancel(context.Background())
	c.set(func() {
		c.process, c.unhealthy = running, ""
		c.started = false
		c.state = corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(began)}}
	})
	if hook := c.spec.Lifecycle; hook != nil && hook.PostStart != nil {
		if err := c.hook(alive, running, hook.PostStart); err != nil {
			c.event("FailedPostStartHook", err.Error())
			running.signal(syscall.SIGKILL)
		}
	}
	go c.probe(alive, running)
	select {
	case <-running.ended:
	case <-c.stop().Done():
		c.end(running, c.worker.killTime())
	}
	dead()
	c.set(func() {
		reason := "Completed"
		if running.code != 0 {
			reason = "Error"
		}
		c.process, c.started, c.ready = nil, false, false
		c.state = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
			ExitCode: running.code, Reason: reason, Message: c.unhealthy,
			StartedAt: metav1.NewTime(began), FinishedAt: metav1.Now(), ContainerID: containerID(running),
		}}
	})
}

func (c *container) startsAgain() bool {
	c.worker.mutex.Lock()
	defer c.worker.mutex.Unlock()
	policy := c.worker.pod.Spec.RestartPolicy
	if c.sidecar() {
		return true
	}
	failed := c.state.Terminated != nil && c.state.Terminated.ExitCode != 0
	// An init container that succeeded is done, whatever the policy.
	return policy == corev1.RestartPolicyAlways && !c.init || policy != corev1.RestartPolicyNever && failed
}

// startError is why a container cannot be started, in a word of the kubelet's.
type startError struct {
	reason string
	cause  error
}

func (e *startError) Error() string { return e.cause.Error() }

func (c *container) failedToStart(err error) {
	reason := "CreateContainerError"
	var known *startError
	if errors.As(err, &known) {
		reason = known.reason
	}
	log.Printf("%s: container %s: %s: %v", c.worker, c.spec.Name, reason, err)
	c.event("Failed", err.Error())
	c.set(func() {
		c.state = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: err.Error()}}
	})
}

func (c *container) start() (*process, error) {
	w := c.worker
	pod := w.latest()
	images, err := w.kubelet.layout.LoadImages()
	if err != nil {
		return nil, err
	}
	image, ok := images.Find(c.spec.Image)
	if !ok {
		err := fmt.Errorf("nothing stands for image %q: `up --image` and `ctl image` say what does", c.spec.Image)
		return nil, &startError{"ErrImagePull", err}
	}
	env, err := w.environment(pod, c.spec)
	if err != nil {
		return nil, &startError{"CreateContainerConfigError", err}
	}
	security, err := securityOf(pod, c.spec)
	if err != nil {
		return nil, &startError{"CreateContainerConfigError", err}
	}
	mounts, err := c.mounts(pod, env)
	if err != nil {
		return nil, &startError{"CreateContainerConfigError", err}
	}
	scratch := w.kubelet.layout.File("kubelet", string(pod.UID), "layer-"+c.spec.Name)
	if err := os.MkdirAll(scratch, 0o700); err != nil {
		return nil, err
	}
	output, err := os.OpenFile(c.logPath(pod), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer output.Close()
	files := root{
		scratch: scratch, executable: image.Executable, volumes: mounts, readOnly: security.readOnlyRoot,
		hostname: hostname(pod),
	}
	dir := c.spec.WorkingDir
	if dir == "" {
		dir = "/"
	}
	return launch{
		command: command(image, c.spec, env), image: inImage(image), env: env, dir: dir,
		security: security, output: output, newPIDs: true,
		enter: func() error {
			if err := w.namespace.enter(); err != nil {
				return err
			}
			return files.enter()
		},
	}.start()
}

// command: the image's executable takes the place of the program that the Pod names, if it names one, under that name.
func command(image layout.Image, spec *corev1.Container, env []string) []string {
	words, args := expand(spec.Command, env), expand(spec.Args, env)
	if len(words) == 0 && image.Executable != "" {
		words = append([]string{inImage(image)}, image.Args...)
	}
	return append(words, args...)
}

// inImage is where a container sees the executable of its image; nothing if it has none of its own.
func inImage(image layout.Image) string {
	if image.Executable == "" {
		return ""
	}
	return filepath.Join(imageDir, filepath.Base(image.Executable))
}

// mounts are the container's, outer ones first.
func (c *container) mounts(pod *corev1.Pod, env []string) ([]mount, error) {
	var mounts []mount
	for _, wanted := range c.spec.VolumeMounts {
		index := slices.IndexFunc(pod.Spec.Volumes, func(v corev1.Volume) bool { return v.Name == wanted.Name })
		if index < 0 {
			return nil, fmt.Errorf("there is no volume %s", wanted.Name)
		}
		sub := wanted.SubPath
		if wanted.SubPathExpr != "" {
			sub = expand([]string{wanted.SubPathExpr}, env)[0]
		}
		volume := &pod.Spec.Volumes[index]
		source := filepath.Join(c.worker.volumes.path(volume), filepath.Join("/", sub))
		if volume.EmptyDir != nil && sub != "" {
			if err := os.MkdirAll(source, 0o755); err != nil {
				return nil, err
			}
		}
		// What comes from the API server cannot be written to, as with a real kubelet.
		readOnly := wanted.ReadOnly || volume.EmptyDir == nil && volume.HostPath == nil
		mounts = append(mounts, mount{source: source, target: wanted.MountPath, readOnly: readOnly})
	}
	slices.SortStableFunc(mounts, func(a, b mount) int {
		return strings.Count(a.target, "/") - strings.Count(b.target, "/")
	})
	return mounts, nil
}

// logPath: NAMESPACE_POD.log is the first container's output; the others have their names in theirs.
func (c *container) logPath(pod *corev1.Pod) string {
	name := pod.Namespace + "_" + pod.Name
	if c.init || c.spec.Name != pod.Spec.Containers[0].Name {
		name += "." + c.spec.Name
	}
	return filepath.Join(c.worker.kubelet.layout.PodLogs(), name+".log")
}

// leastGrace is what a process gets after SIGTERM though its hook has used the time up, as with a real kubelet.
const leastGrace = 2 * time.Second

// end stops a process: its hook, SIGTERM, and SIGKILL at the deadline, or at once when the Pod's object is gone.
func (c *container) end(running *process, deadline time.Time) {
	if hook := c.spec.Lifecycle; hook != nil && hook.PreStop != nil {
		c.preStop(running, deadline)
	}
	running.signal(syscall.SIGTERM)
	last := time.NewTimer(max(time.Until(deadline), leastGrace))
	defer last.Stop()
	select {
	case <-running.ended:
		return
	case <-last.C:
	case <-c.worker.gone.Done():
	}
	running.signal(syscall.SIGKILL)
	<-running.ended
}

// preStop returns when the hook is done, the time is up, or the process has ended by itself.
func (c *container) preStop(running *process, deadline time.Time) {
	ctx, cancel := context.WithDeadline(c.worker.gone, deadline)
	defer cancel()
	go func() {
		select {
		case <-running.ended:
		case <-ctx.Done():
		}
		cancel()
	}()
	if err := c.hook(ctx, running, c.spec.Lifecycle.PreStop); err != nil {
		c.event("FailedPreStopHook", err.Error())
	}
}

func (c *container) set(change func()) {
	c.worker.mutex.Lock()
	change()
	c.worker.mutex.Unlock()
	c.worker.changed()
}

func (c *container) event(reason, message string) {
	c.worker.kubelet.events.Eventf(c.worker.latest(), corev1.EventTypeWarning, reason, "%s: %s", c.spec.Name, message)
}

func containerID(p *process) string { return fmt.Sprintf("process://%d", p.pid) }
