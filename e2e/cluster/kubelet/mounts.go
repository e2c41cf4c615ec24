package kubelet

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// imageDir is where a container finds its executable: every user may search it, unlike the executable's own directory.
const imageDir = "/.image"

// root is what a container sees as its files: this machine's, under a writable layer in memory that nobody else sees, and
// the volumes on top.
type root struct {
	// scratch is an empty directory for the layer.
	scratch    string
	executable string
	volumes    []mount
	readOnly   bool
	hostname   string
}

// mount is a volume in a container.
type mount struct {
	source, target string
	readOnly       bool
}

// enter gives the calling thread a mount namespace with this root. Its /proc is empty.
func (r root) enter() error {
	if err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_NEWUTS); err != nil {
		return err
	}
	if err := unix.Sethostname([]byte(r.hostname)); err != nil {
		return err
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	top, err := r.layer()
	if err != nil {
		return err
	}
	for _, shared := range []string{"/dev", "/sys"} {
		if err := unix.Mount(shared, top+shared, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
			return fmt.Errorf("cannot mount %s: %w", shared, err)
		}
	}
	if r.executable != "" {
		target := filepath.Join(imageDir, filepath.Base(r.executable))
		if err := (mount{source: r.executable, target: target, readOnly: true}).bind(top); err != nil {
			return err
		}
	}
	for _, volume := range r.volumes {
		if err := volume.bind(top); err != nil {
			return err
		}
	}
	if r.readOnly {
		if err := unix.Mount("", top, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""); err != nil {
			return fmt.Errorf("cannot make / read-only: %w", err)
		}
	}
	return pivot(top)
}

// layer mounts this machine's files under a writable layer. The layer is on a file system of its own: one that is under
// the files that it covers is refused.
func (r root) layer() (string, error) {
	if err := unix.Mount("tmpfs", r.scratch, "tmpfs", 0, "mode=0755"); err != nil {
		return "", err
	}
	path := func(name string) string { return filepath.Join(r.scratch, name) }
	for _, name := range []string{"upper", "work", "root"} {
		if err := os.Mkdir(path(name), 0o755); err != nil {
			return "", err
		}
	}
	settings := fmt.Sprintf("lowerdir=/,upperdir=%s,workdir=%s", path("upper"), path("work"))
	if err := unix.Mount("overlay", path("root"), "overlay", 0, settings); err != nil {
		return "", fmt.Errorf("cannot mount an overlay of /: %w", err)
	}
	return path("root"), nil
}

// bind mounts the volume below top, making the place for it.
func (m mount) bind(top string) error {
	target := filepath.Join(top, resolveLinks(top, m.target))
	info, err := os.Stat(m.source)
	if err != nil {
		return err
	}
	if info.IsDir() {
		err = os.MkdirAll(target, 0o755)
	} else if err = os.MkdirAll(filepath.Dir(target), 0o755); err == nil {
		var file *os.File
		if file, err = os.OpenFile(target, os.O_CREATE, 0o644); err == nil {
			file.Close()
		}
	}
	if err != nil {
		return err
	}
	if err := unix.Mount(m.source, target, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("cannot mount %s: %w", m.target, err)
	}
	if m.readOnly {
		return unix.Mount("", target, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, "")
	}
	return nil
}

// resolveLinks follows symbolic links on the way to a path, such as /var/run to /run, without leaving top.
func resolveLinks(top, path string) string {
	done, rest := "/", strings.Split(strings.Trim(path, "/"), "/")
	for hops := 0; len(rest) > 0 && hops < 100; hops++ {
		part := rest[0]
		rest = rest[1:]
		next := filepath.Join(done, part)
		link, err := os.Readlink(filepath.Join(top, next))
		if err != nil {
			done = next
			continue
		}
		if filepath.IsAbs(link) {
			done = "/"
		}
		rest = append(strings.Split(strings.Trim(link, "/"), "/"), rest...)
	}
	return done
}

// pivot makes top the root of this mount namespace and lets go of the old one.
func pivot(top string) error {
	if err := os.Chdir(top); err != nil {
		return err
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("cannot change the root: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return err
	}
	return os.Chdir("/")
}
