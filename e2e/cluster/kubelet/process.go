package kubelet

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// launch is a process to start. The namespaces and limits are given to a thread of the kubelet, from which the process is
// forked: so no helper has to run first in the Pod's namespaces.
type launch struct {
	command []string
	// image is the executable to start whatever the command is called: a program may look at its name. Empty if the command
	// is one of the files that the process will see.
	image string
	env   []string
	dir   string
	// enter runs on the thread: it moves it into namespaces.
	enter    func() error
	security security
	output   *os.File
	// newPIDs gives the process a PID namespace of its own, so that all of its children end with it, and a /proc that shows
	// this namespace alone.
	newPIDs bool
}

// process is one that runs or ran.
type process struct {
	pid   int
	ended chan struct{}
	// code is the exit status, or 128 and the signal; it is there when ended is closed.
	code int32

	mutex sync.Mutex
	over  bool
}

func (l launch) start() (*process, error) {
	if len(l.command) == 0 {
		return nil, errors.New("there is no command")
	}
	var started *os.Process
	err := onOwnThread(func() error {
		if err := l.enter(); err != nil {
			return err
		}
		if l.newPIDs {
			if err := unix.Unshare(unix.CLONE_NEWPID); err != nil {
				return err
			}
		}
		path, err := l.find()
		if err != nil {
			return err
		}
		// What is traced stops before its first instruction: until then, nothing can be in its PID namespace.
		attributes := &syscall.SysProcAttr{Setsid: true, Ptrace: l.newPIDs}
		if err := l.security.apply(attributes); err != nil {
			return err
		}
		null, err := os.Open(os.DevNull)
		if err != nil {
			return err
		}
		defer null.Close()
		started, err = os.StartProcess(path, l.command, &os.ProcAttr{
			Dir: l.dir, Env: l.env, Files: []*os.File{null, l.output, l.output}, Sys: attributes,
		})
		if err != nil || !l.newPIDs {
			return err
		}
		if err := giveProc(started); err != nil {
			started.Kill()
			started.Wait()
			return err
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("cannot start %s: %w", l.command[0], err)
	}
	p := &process{pid: started.Pid, ended: make(chan struct{})}
	go p.wait(started)
	return p, nil
}

// giveProc mounts the /proc of the PID namespace of a process that the calling thread has started and traces, and lets the
// process go on. A proc file system shows the namespace of whoever mounts it, which for a thread stays what it was when
// the thread began; so another process has to do it.
func giveProc(started *os.Process) error {
	var status unix.WaitStatus
	for {
		if _, err := unix.Wait4(started.Pid, &status, 0, nil); err == nil {
			break
		} else if err != unix.EINTR {
			return err
		}
	}
	if !status.Stopped() {
		return fmt.Errorf("it did not start: wait status %#x", uint32(status))
	}
	mount, err := exec.LookPath("mount")
	if err != nil {
		return err
	}
	var output strings.Builder
	err = onOwnThread(func() error {
		if err := (&process{pid: started.Pid}).join(); err != nil {
			return err
		}
		command := exec.Command(mount, "--types", "proc", "--options", "nosuid,nodev,noexec", "proc", "/proc")
		command.Stderr = &output
		return command.Run()
	})
	if err != nil {
		return fmt.Errorf("cannot mount /proc: %w %s", err, output.String())
	}
	return unix.PtraceDetach(started.Pid)
}

// find looks the command up where the process will see it.
func (l launch) find() (string, error) {
	if l.image != "" {
		return l.image, nil
	}
	name := l.command[0]
	if strings.Contains(name, "/") {
		return name, nil
	}
	for _, variable := range l.env {
		path, ok := strings.CutPrefix(variable, "PATH=")
		if !ok {
			continue
		}
		for _, directory := range strings.Split(path, ":") {
			candidate := directory + "/" + name
			if info, err := os.Stat(candidate); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
				return candidate, nil
			}
		}
	}
	return "", exec.ErrNotFound
}

func (p *process) wait(started *os.Process) {
	state, err := started.Wait()
	p.mutex.Lock()
	p.over = true
	p.mutex.Unlock()
	p.code = 255
	if err == nil {
		status := state.Sys().(syscall.WaitStatus)
		if p.code = int32(status.ExitStatus()); status.Signaled() {
			p.code = 128 + int32(status.Signal())
		}
	}
	close(p.ended)
}

// signal does nothing when the process has ended: its id may be another's by then.
func (p *process) signal(signal syscall.Signal) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if !p.over {
		syscall.Kill(p.pid, signal)
	}
}

// join moves the calling thread into all namespaces of a container's first process.
func (p *process) join() error {
	// The kernel asks for a file system context of one's own before it lets a thread into a mount namespace.
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return err
	}
	// The mount namespace comes last: the paths of the others are of this one.
	for _, kind := range []struct {
		name string
		flag int
	}{
		{"net", unix.CLONE_NEWNET}, {"uts", unix.CLONE_NEWUTS}, {"pid", unix.CLONE_NEWPID}, {"mnt", unix.CLONE_NEWNS},
	} {
		if err := enterFile(fmt.Sprintf("/proc/%d/ns/%s", p.pid, kind.name), kind.flag); err != nil {
			return err
		}
	}
	return nil
}
