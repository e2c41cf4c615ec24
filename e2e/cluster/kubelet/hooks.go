package kubelet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	httpprobe "k8s.io/kubernetes/pkg/probe/http"
)

// hook runs a container's postStart or preStop until the context is done.
func (c *container) hook(ctx context.Context, running *process, handler *corev1.LifecycleHandler) error {
	switch {
	case handler.Exec != nil:
		code, output, err := c.exec(ctx, running, handler.Exec.Command)
		if err != nil {
			return err
		}
		if code != 0 && ctx.Err() == nil {
			return fmt.Errorf("%v: exit status %d: %s", handler.Exec.Command, code, output)
		}
		return nil
	case handler.HTTPGet != nil:
		address := c.worker.address().String()
		request, err := httpprobe.NewRequestForHTTPGetAction(handler.HTTPGet, c.spec, address, "lifecycle")
		if err != nil {
			return err
		}
		answer, err := http.DefaultClient.Do(request.WithContext(ctx))
		if err != nil {
			return err
		}
		return answer.Body.Close()
	case handler.Sleep != nil:
		select {
		case <-ctx.Done():
		case <-time.After(time.Duration(handler.Sleep.Seconds) * time.Second):
		}
		return nil
	}
	return errors.New("this kind of hook is not known here")
}

// exec runs a command in the namespaces of a container's process, and kills it when the context is done first.
func (c *container) exec(ctx context.Context, running *process, words []string) (int32, string, error) {
	var output bytes.Buffer
	reader, writer, err := os.Pipe()
	if err != nil {
		return 0, "", err
	}
	defer reader.Close()
	started, err := c.startExec(running, words, writer)
	writer.Close()
	if err != nil {
		return 0, "", err
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		io.Copy(&output, io.LimitReader(reader, 10<<10))
		io.Copy(io.Discard, reader)
	}()
	select {
	case <-started.ended:
	case <-ctx.Done():
		started.signal(syscall.SIGKILL)
		<-started.ended
	}
	select {
	case <-read:
		return started.code, output.String(), nil
	case <-time.After(time.Second):
		// A child of the command keeps the pipe open; its exit status counts all the same.
		return started.code, "", nil
	}
}

func (c *container) startExec(running *process, words []string, output *os.File) (*process, error) {
	pod := c.worker.latest()
	images, err := c.worker.kubelet.layout.LoadImages()
	if err != nil {
		return nil, err
	}
	env, err := c.worker.environment(pod, c.spec)
	if err != nil {
		return nil, err
	}
	security, err := securityOf(pod, c.spec)
	if err != nil {
		return nil, err
	}
	start := launch{command: words, env: env, dir: "/", security: security, output: output, enter: running.join}
	if len(words) == 0 {
		return start.start()
	}
	image, _ := images.Find(c.spec.Image)
	if inside := inImage(image); inside != "" && filepath.Base(words[0]) == filepath.Base(inside) {
		start.image = inside
	}
	// A name that only the image has, such as a link to its executable, means the executable.
	started, err := start.start()
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, exec.ErrNotFound) {
		if start.image = inImage(image); start.image != "" {
			return start.start()
		}
	}
	return started, err
}
