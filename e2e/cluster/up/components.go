package up

import (
	"fmt"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"

	"genkan/e2e/cluster/layout"
)

// The components, by the first argument that makes this executable one.
const (
	etcd              = "etcd"
	apiServer         = "kube-apiserver"
	controllerManager = "kube-controller-manager"
	kubelet           = "kubelet"
)

// components are the processes that the supervisor inside has started. Being process 1, it also buries the processes that
// Pods leave behind, so it waits for any process and not for each.
type components struct {
	layout  layout.Layout
	secrets secrets
	// failed receives the end of a component that nobody asked for.
	failed chan error

	mutex   sync.Mutex
	running map[string]*component
}

type component struct {
	pid int
	// stopping: its end was asked for.
	stopping bool
	ended    chan struct{}
}

func newComponents(l layout.Layout, s secrets) *components {
	c := &components{layout: l, secrets: s, failed: make(chan error, 8), running: map[string]*component{}}
	children := make(chan os.Signal, 1)
	signal.Notify(children, syscall.SIGCHLD)
	go func() {
		for range children {
			c.reap()
		}
	}()
	return c
}

// start starts a component that does not run.
func (c *components) start(name string) error {
	args, ok := c.arguments(name)
	if !ok {
		return fmt.Errorf("%s is no component", name)
	}
	executable, err := os.Executable()
	if err != nil {
		return err
	}
	log, err := os.OpenFile(c.layout.File(name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return err
	}
	defer null.Close()

	// The lock is held until the process is known by its id: reap may see its end at once.
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if c.running[name] != nil {
		return fmt.Errorf("%s runs already", name)
	}
	process, err := os.StartProcess(executable, append([]string{executable, name}, args...), &os.ProcAttr{
		Dir: c.layout.Dir, Env: environment(), Files: []*os.File{null, log, log},
	})
	if err != nil {
		return fmt.Errorf("cannot start %s: %w", name, err)
	}
	c.running[name] = &component{pid: process.Pid, ended: make(chan struct{})}
	return process.Release()
}

// environment leaves out what would send a component's requests through a proxy.
func environment() []string {
	return []string{"PATH=" + os.Getenv("PATH"), "HOME=/root"}
}

// stop ends a component as a crash does: at once. It returns when it has ended.
func (c *components) stop(name string) error {
	c.mutex.Lock()
	found := c.running[name]
	if found != nil {
		found.stopping = true
		syscall.Kill(found.pid, syscall.SIGKILL)
	}
	c.mutex.Unlock()
	if found == nil {
		return fmt.Errorf("%s does not run", name)
	}
	<-found.ended
	return nil
}

// signal sends a signal to a component.
func (c *components) signal(name string, signal syscall.Signal) error {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	found := c.running[name]
	if found == nil {
		return fmt.Errorf("%s does not run", name)
	}
	return syscall.Kill(found.pid, signal)
}

func (c *components) reap() {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
		if err == syscall.EINTR {
			continue
		}
		if pid <= 0 {
			return
		}
		for name, running := range c.running {
			if running.pid == pid {
				delete(c.running, name)
				close(running.ended)
				if !running.stopping {
					end := endOf(c.layout.File(name + ".log"))
					c.failed <- fmt.Errorf("%s ended (%s); its log ends with:\n%s", name, describe(status), end)
				}
			}
		}
	}
}

// endOf is the last lines of a file: its directory may be removed before anybody can look.
func endOf(file string) string {
	text, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(lines[max(0, len(lines)-10):], "\n")
}

func describe(status syscall.WaitStatus) string {
	if status.Signaled() {
		return "signal " + status.Signal().String()
	}
	return fmt.Sprintf("exit status %d", status.ExitStatus())
}

// arguments are the flags of a component.
func (c *components) arguments(name string) ([]string, bool) {
	l, s := c.layout, c.secrets
	switch name {
	case etcd:
		return []string{
			"--data-dir=" + l.File("etcd"), "--unsafe-no-fsync", "--log-level=warn",
			"--listen-client-urls=http://127.0.0.1:2379", "--advertise-client-urls=http://127.0.0.1:2379",
			"--listen-peer-urls=http://127.0.0.1:2380", "--initial-advertise-peer-urls=http://127.0.0.1:2380",
			"--initial-cluster=default=http://127.0.0.1:2380", "--quota-backend-bytes=4294967296",
		}, true
	case apiServer:
		return []string{
			"--etcd-servers=http://127.0.0.1:2379",
			"--bind-address=0.0.0.0", fmt.Sprintf("--secure-port=%d", layout.APIPort),
			"--advertise-address=" + l.API().String(),
			"--service-cluster-ip-range=" + layout.ServiceRange,
			"--client-ca-file=" + s.authority, "--tls-cert-file=" + s.certificate, "--tls-private-key-file=" + s.key,
			"--token-auth-file=" + s.tokens, "--authorization-mode=RBAC",
			"--service-account-issuer=https://kubernetes.default.svc",
			"--service-account-key-file=" + s.accounts, "--service-account-signing-key-file=" + s.accounts,
			// A webhook's Service leads to its endpoints' addresses, since nothing routes cluster addresses here.
			"--enable-aggregator-routing=true",
			"--enable-admission-plugins=ValidatingAdmissionWebhook,MutatingAdmissionWebhook",
			"--allow-privileged=true", "--kubelet-preferred-address-types=InternalIP",
		}, true
	case controllerManager:
		return []string{
			"--kubeconfig=" + l.Kubeconfig(), "--leader-elect=false",
			"--bind-address=127.0.0.1", "--authentication-skip-lookup=true",
			// Nodes here have their addresses already, and are not to be emptied when a busy machine is late with a lease.
			"--controllers=*,-node-ipam-controller,-node-lifecycle-controller,-taint-eviction-controller",
			"--service-account-private-key-file=" + s.accounts, "--root-ca-file=" + s.authority,
			"--kube-api-qps=1000", "--kube-api-burst=2000",
		}, true
	case kubelet:
		return []string{"--dir=" + l.Dir}, true
	}
	return nil, false
}
