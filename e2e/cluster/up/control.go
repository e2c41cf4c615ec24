package up

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"genkan/e2e/cluster/layout"
)

const controlUsage = `Usage: genkan-cluster ctl --dir DIR COMMAND
  stop COMPONENT     end it as a crash does (etcd, kube-apiserver, kube-controller-manager)
  start COMPONENT    start it again
  restart COMPONENT  both
  pause COMPONENT    let it answer nothing while its connections stay open
  resume COMPONENT   let it go on
  image NAME=EXECUTABLE [ARG...]
                     say what stands for an image, from the next start of a container on
  down               end the cluster; returns when nothing of it is left
`

// Control is `genkan-cluster ctl`.
func Control(args []string) error {
	flags := flag.NewFlagSet("ctl", flag.ExitOnError)
	flags.Usage = func() { fmt.Fprint(flags.Output(), controlUsage) }
	dir := flags.String("dir", "", "directory of the cluster")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *dir == "" || flags.NArg() == 0 {
		flags.Usage()
		return errors.New("--dir and a command are needed")
	}
	absolute, err := filepath.Abs(*dir)
	if err != nil {
		return err
	}
	l, err := layout.Load(absolute)
	if err != nil {
		return err
	}
	answer, err := ask(l, strings.Join(flags.Args(), " "))
	if err != nil {
		return err
	}
	if answer != "" {
		return errors.New(answer)
	}
	if flags.Arg(0) == "down" {
		return awaitLinkGone(l.HostLink())
	}
	return nil
}

// ask sends one line and returns what is wrong with it: nothing if it was done.
func ask(l layout.Layout, line string) (string, error) {
	connection, err := net.Dial("unix", l.ControlSocket())
	if err != nil {
		return "", fmt.Errorf("no cluster runs in %s: %w", l.Dir, err)
	}
	defer connection.Close()
	if _, err := fmt.Fprintln(connection, line); err != nil {
		return "", err
	}
	answer, err := io.ReadAll(connection)
	return strings.TrimSpace(string(answer)), err
}

func listens(l layout.Layout) bool {
	connection, err := net.Dial("unix", l.ControlSocket())
	if err != nil {
		return false
	}
	connection.Close()
	return true
}

// control is the end of the socket that carries commands out.
type control struct {
	listener   net.Listener
	layout     layout.Layout
	components *components
}

func listenControl(l layout.Layout, c *components) (*control, error) {
	listener, err := net.Listen("unix", l.ControlSocket())
	if err != nil {
		return nil, err
	}
	return &control{listener: listener, layout: l, components: c}, nil
}

func (c *control) serve() {
	for {
		connection, err := c.listener.Accept()
		if err != nil {
			return
		}
		// One after the other: two commands about one component would get in each other's way.
		line, err := bufio.NewReader(connection).ReadString('\n')
		if err == nil {
			if err := c.carryOut(strings.TrimSpace(line)); err != nil {
				fmt.Fprintln(connection, err)
			}
		}
		connection.Close()
		if strings.TrimSpace(line) == "down" {
			os.Exit(0)
		}
	}
}

func (c *control) carryOut(line string) error {
	verb, rest, _ := strings.Cut(line, " ")
	switch verb {
	case "down":
		return nil
	case "stop":
		return c.components.stop(rest)
	case "start":
		return c.components.start(rest)
	case "restart":
		if err := c.components.stop(rest); err != nil {
			return err
		}
		return c.components.start(rest)
	case "pause":
		return c.components.signal(rest, syscall.SIGSTOP)
	case "resume":
		return c.components.signal(rest, syscall.SIGCONT)
	case "image":
		images, err := c.layout.LoadImages()
		if err != nil {
			return err
		}
		if err := images.Add(rest); err != nil {
			return err
		}
		return c.layout.SaveImages(images)
	}
	return fmt.Errorf("%q is no command", line)
}
