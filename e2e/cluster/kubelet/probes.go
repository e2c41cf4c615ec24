package kubelet

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/kubernetes/pkg/probe"
	grpcprobe "k8s.io/kubernetes/pkg/probe/grpc"
	httpprobe "k8s.io/kubernetes/pkg/probe/http"
	tcpprobe "k8s.io/kubernetes/pkg/probe/tcp"
	"k8s.io/utils/ptr"
)

var (
	httpProber = httpprobe.New(false)
	tcpProber  = tcpprobe.New()
	grpcProber = grpcprobe.New()
)

// probe asks a running container how it is until it ends: first whether it has started, then whether it is ready and, at
// the same time, whether it lives.
func (c *container) probe(alive context.Context, running *process) {
	if p := c.spec.StartupProbe; p != nil {
		started := false
		for answer := range c.ask(alive, running, p) {
			if answer.err != nil {
				c.unhealthyNow(running, p, fmt.Errorf("startup probe failed: %w", answer.err))
				return
			}
			started = true
			break
		}
		if !started {
			return
		}
	}
	c.set(func() {
		c.started, c.ready = true, c.spec.ReadinessProbe == nil
		select {
		case <-c.startedOnce:
		default:
			close(c.startedOnce)
		}
	})
	var probes sync.WaitGroup
	if p := c.spec.ReadinessProbe; p != nil {
		probes.Go(func() {
			for answer := range c.ask(alive, running, p) {
				c.setReady(answer.err)
			}
		})
	}
	if p := c.spec.LivenessProbe; p != nil {
		// A container that is to end is not asked whether it lives.
		wanted, cancel := context.WithCancel(alive)
		defer cancel()
		defer context.AfterFunc(c.stop(), cancel)()
		probes.Go(func() {
			for answer := range c.ask(wanted, running, p) {
				if answer.err != nil {
					c.unhealthyNow(running, p, fmt.Errorf("liveness probe failed: %w", answer.err))
					return
				}
			}
		})
	}
	probes.Wait()
}

// setReady says so when it changes; why not is told by an Event.
func (c *container) setReady(failure error) {
	c.worker.mutex.Lock()
	same := c.ready == (failure == nil)
	c.worker.mutex.Unlock()
	if failure != nil {
		c.event("Unhealthy", fmt.Sprintf("readiness probe failed: %v", failure))
	}
	if !same {
		c.set(func() { c.ready = failure == nil && c.process != nil })
	}
}

// unhealthyNow ends a container, which its policy may start again.
func (c *container) unhealthyNow(running *process, p *corev1.Probe, failure error) {
	if c.worker.stop.Err() != nil {
		return
	}
	c.event("Unhealthy", failure.Error())
	c.set(func() { c.unhealthy = failure.Error() })
	deadline := c.worker.killTime()
	if p.TerminationGracePeriodSeconds != nil {
		deadline = time.Now().Add(time.Duration(*p.TerminationGracePeriodSeconds) * time.Second)
	}
	c.end(running, deadline)
}

type answer struct{ err error }

// ask probes at its period and yields an answer when as many in a row say the same as its threshold wants, and at every
// further one. It ends with the context.
func (c *container) ask(alive context.Context, running *process, p *corev1.Probe) func(func(answer) bool) {
	return func(yield func(answer) bool) {
		if !pause(alive, time.Duration(p.InitialDelaySeconds)*time.Second) {
			return
		}
		period := time.Duration(max(p.PeriodSeconds, 1)) * time.Second
		good, bad := int32(0), int32(0)
		next := time.Now()
		for {
			err := c.askOnce(alive, running, p)
			if alive.Err() != nil {
				return
			}
			if err == nil {
				good, bad = good+1, 0
			} else {
				good, bad = 0, bad+1
			}
			if good >= max(p.SuccessThreshold, 1) && !yield(answer{}) || bad >= max(p.FailureThreshold, 1) && !yield(answer{err}) {
				return
			}
			next = next.Add(period)
			if !pause(alive, max(time.Until(next), 0)) {
				return
			}
		}
	}
}

func (c *container) askOnce(alive context.Context, running *process, p *corev1.Probe) error {
	timeout := time.Duration(max(p.TimeoutSeconds, 1)) * time.Second
	address := c.worker.address().String()
	switch {
	case p.HTTPGet != nil:
		request, err := httpprobe.NewRequestForHTTPGetAction(p.HTTPGet, c.spec, address, "probe")
		if err != nil {
			return err
		}
		return verdict(httpProber.Probe(request, timeout))
	case p.TCPSocket != nil:
		port, err := probe.ResolveContainerPort(p.TCPSocket.Port, c.spec)
		if err != nil {
			return err
		}
		if p.TCPSocket.Host != "" {
			address = p.TCPSocket.Host
		}
		return verdict(tcpProber.Probe(address, port, timeout))
	case p.GRPC != nil:
		return verdict(grpcProber.Probe(address, ptr.Deref(p.GRPC.Service, ""), int(p.GRPC.Port), timeout))
	case p.Exec != nil:
		ctx, cancel := context.WithTimeout(alive, timeout)
		defer cancel()
		code, output, err := c.exec(ctx, running, p.Exec.Command)
		if err == nil && code != 0 {
			err = fmt.Errorf("exit status %d: %s", code, output)
		}
		return err
	}
	return errors.New("this kind of probe is not known here")
}

func verdict(result probe.Result, output string, err error) error {
	if err != nil {
		return err
	}
	if result != probe.Success && result != probe.Warning {
		return errors.New(output)
	}
	return nil
}

// pause waits, and tells whether the context is still alive.
func pause(ctx context.Context, length time.Duration) bool {
	timer := time.NewTimer(length)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return ctx.Err() == nil
	}
}
