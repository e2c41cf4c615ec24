package up

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"genkan/e2e/cluster/layout"
)

// Inside is process 1 of the cluster: it starts the components and ends with the first of them that ends unasked.
func Inside([]string) error {
	var opts options
	// Also the sign that the network interface is there.
	if err := json.NewDecoder(os.Stdin).Decode(&opts); err != nil {
		return fmt.Errorf("this is for up to call: %w", err)
	}
	if os.Getpid() != 1 {
		return errors.New("this is for up to call")
	}
	if err := makeMounts(opts.Layout); err != nil {
		return err
	}
	if err := limitOrphans(); err != nil {
		return err
	}
	if err := makeBridge(opts.Layout); err != nil {
		return err
	}
	if err := opts.Layout.SaveImages(opts.Images); err != nil {
		return err
	}
	secrets, err := makeSecrets(opts.Layout)
	if err != nil {
		return err
	}
	components := newComponents(opts.Layout, secrets)
	control, err := listenControl(opts.Layout, components)
	if err != nil {
		return err
	}
	if err := components.startAll(opts); err != nil {
		return err
	}
	fmt.Printf("KUBECONFIG=%s\nready\n", opts.Layout.Kubeconfig())
	go control.serve()
	return <-components.failed
}

// makeMounts hides the host's mounts from changes made here, and shows the processes of this namespace alone.
func makeMounts(l layout.Layout) error {
	if err := os.MkdirAll("/run/netns", 0o755); err != nil {
		return err
	}
	for _, m := range []struct {
		source, target, kind string
		flags                uintptr
	}{
		{"", "/", "", syscall.MS_REC | syscall.MS_PRIVATE},
		{"proc", "/proc", "proc", syscall.MS_NOSUID | syscall.MS_NODEV | syscall.MS_NOEXEC},
		{"tmpfs", "/run/netns", "tmpfs", 0},
		{"", "/run/netns", "", syscall.MS_SHARED},
		// Volumes and writable layers of the Pods: in memory, and gone with the namespace.
		{"tmpfs", l.File("kubelet"), "tmpfs", 0},
	} {
		if err := syscall.Mount(m.source, m.target, m.kind, m.flags, ""); err != nil {
			return fmt.Errorf("cannot mount %s: %w", m.target, err)
		}
	}
	return nil
}

// limitOrphans shortens the life of connections whose process has ended and whose other end does not answer: the kernel
// keeps a network namespace for as long as one is left, which would be a minute and more. Pods are not affected, as each
// has a namespace, and settings, of its own.
func limitOrphans() error {
	for name, value := range map[string]string{"tcp_orphan_retries": "1", "tcp_fin_timeout": "2"} {
		if err := os.WriteFile("/proc/sys/net/ipv4/"+name, []byte(value), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// startAll starts everything in order and returns when the cluster can be used.
func (c *components) startAll(opts options) error {
	if err := c.start(etcd); err != nil {
		return err
	}
	if err := c.start(apiServer); err != nil {
		return err
	}
	client, err := newClient(opts.Layout)
	if err != nil {
		return err
	}
	const patience = 2 * time.Minute
	if err := c.await(patience, "the API server", client.apiReady); err != nil {
		return err
	}
	for _, name := range []string{controllerManager, kubelet} {
		if err := c.start(name); err != nil {
			return err
		}
	}
	if err := client.installCRDs(opts.CRDs); err != nil {
		return err
	}
	if err := c.await(patience, "the nodes", client.nodesReady(opts.Layout.Nodes)); err != nil {
		return err
	}
	return c.await(patience, "the controller manager", client.controllersReady)
}

// await asks again until the answer is yes, the time is up, or a component has ended.
func (c *components) await(patience time.Duration, what string, ready func() error) error {
	late := time.After(patience)
	for {
		err := ready()
		if err == nil {
			return nil
		}
		select {
		case failure := <-c.failed:
			return failure
		case <-late:
			return fmt.Errorf("%s was not ready in %v: %w", what, patience, err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}
