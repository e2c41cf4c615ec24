// Package up starts a cluster and ends all of it.
//
//	up (host)                                ends -> the kernel kills inside
//	 +- inside (PID 1 of new PID, network and mount namespaces)
//	     +- etcd, kube-apiserver, kube-controller-manager
//	     +- kubelet
//	         +- Pods, each in a network and mount namespace of its own
//
// Nothing is cleaned up by hand: processes end with the PID namespace, network interfaces with the network namespace,
// mounts with the mount namespace, and all three with process 1, however any of these processes is ended.
package up

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"genkan/e2e/cluster/layout"
)

// InsideCommand is the first argument with which up starts itself inside.
const InsideCommand = "up-inside"

// options is what the supervisor on the host tells the one inside.
type options struct {
	Layout layout.Layout `json:"layout"`
	CRDs   []string      `json:"crds"`
	Images layout.Images `json:"images"`
}

type list []string

func (l *list) String() string { return strings.Join(*l, ",") }

func (l *list) Set(value string) error {
	*l = append(*l, value)
	return nil
}

// Main is `genkan-cluster up`.
func Main(args []string) error {
	flags := flag.NewFlagSet("up", flag.ExitOnError)
	dir := flags.String("dir", "", "directory of state, logs and kubeconfig; what a former cluster left there is removed")
	nodes := flags.Int("nodes", 1, "number of nodes")
	external := flags.Bool("external-ips", false, "give the nodes addresses of type ExternalIP as well (203.0.113.0/24)")
	stdin := flags.Bool("until-stdin-closes", false, "end when the standard input is closed")
	remove := flags.Bool("remove-dir", false, "remove the directory at the end")
	var images, crds list
	flags.Var(&images, "image", "what stands for an image: NAME=EXECUTABLE [ARG...]; repeatable")
	flags.Var(&crds, "crds", "CRDs to install: gateway-api, or a directory of manifests; repeatable")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *dir == "" || flags.NArg() > 0 || *nodes < 1 || *nodes > layout.MaxNodes {
		return fmt.Errorf("--dir is needed, --nodes is 1 to %d, and there are no other arguments", layout.MaxNodes)
	}
	if os.Getuid() != 0 {
		return errors.New("root is needed, for network namespaces")
	}
	opts := options{Layout: layout.Layout{Nodes: *nodes, ExternalIPs: *external}, Images: layout.Images{}, CRDs: crds}
	for _, image := range images {
		if err := opts.Images.Add(image); err != nil {
			return err
		}
	}
	var err error
	if opts.Layout.Dir, err = prepareDir(*dir); err != nil {
		return err
	}
	err = run(opts, *stdin)
	if *remove {
		err = errors.Join(err, os.RemoveAll(opts.Layout.Dir))
	}
	return err
}

// prepareDir makes the directory and removes a former cluster's state from it; anything else in it stays.
func prepareDir(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	if former, err := layout.Load(dir); err == nil && linkExists(former.HostLink()) && listens(former) {
		return "", fmt.Errorf("a cluster runs in %s: end it first (genkan-cluster ctl --dir %s down)", dir, dir)
	}
	for _, name := range []string{"cluster.json", "control.sock", "etcd", "images.json", "kubeconfig", "kubelet", "pki", "pods"} {
		if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
			return "", err
		}
	}
	for _, name := range []string{"kubelet", "pki", "pods"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			return "", err
		}
	}
	return dir, nil
}

func run(opts options, untilStdinCloses bool) error {
	net, err := claimNetwork()
	if err != nil {
		return err
	}
	opts.Layout.Net, opts.Layout.Supervisor = net, os.Getpid()
	if err := opts.Layout.Save(); err != nil {
		return err
	}
	// Until the first byte on this pipe the one inside waits: its network interface is not there yet.
	told, tell, err := os.Pipe()
	if err != nil {
		return err
	}
	inside := exec.Command("/proc/self/exe", InsideCommand)
	inside.Stdin, inside.Stdout, inside.Stderr = told, os.Stdout, os.Stderr
	inside.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWPID | syscall.CLONE_NEWNS,
		Pdeathsig:  syscall.SIGKILL,
		// A Ctrl-C on the terminal is for this process alone; it ends the others in one step.
		Setpgid: true,
	}
	if err := inside.Start(); err != nil {
		return fmt.Errorf("cannot make namespaces: %w", err)
	}
	told.Close()
	go endOn(inside.Process, untilStdinCloses)
	if err := joinHost(opts.Layout, inside.Process.Pid); err != nil {
		inside.Process.Kill()
		inside.Wait()
		return err
	}
	if err := json.NewEncoder(tell).Encode(opts); err != nil {
		return err
	}
	err = inside.Wait()
	// The kernel takes network namespaces apart seconds after their last process: this much need not wait for it.
	removeLink(opts.Layout.HostLink())
	return errors.Join(ignoreKill(err), awaitLinkGone(opts.Layout.HostLink()))
}

// endOn ends the cluster at a signal, or when the standard input is closed.
func endOn(inside *os.Process, untilStdinCloses bool) {
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	if untilStdinCloses {
		go func() {
			io.Copy(io.Discard, bufio.NewReader(os.Stdin))
			end <- syscall.SIGHUP
		}()
	}
	<-end
	inside.Kill()
}

// ignoreKill: killing the one inside is how a cluster is ended.
func ignoreKill(err error) error {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() && status.Signal() == syscall.SIGKILL {
			return nil
		}
		return fmt.Errorf("the cluster ended: %w", err)
	}
	return err
}
