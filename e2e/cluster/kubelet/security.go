package kubelet

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
)

// security is what a process may do.
type security struct {
	uid, gid uint32
	groups   []uint32
	// bounding are the capabilities that the process can have at most, ambient those that it has though it is not root.
	bounding, ambient []uintptr
	unrestricted      bool
	noNewPrivileges   bool
	readOnlyRoot      bool
}

// capabilities by name, without "CAP_".
var capabilities = map[string]uintptr{
	"CHOWN": 0, "DAC_OVERRIDE": 1, "DAC_READ_SEARCH": 2, "FOWNER": 3, "FSETID": 4, "KILL": 5, "SETGID": 6, "SETUID": 7,
	"SETPCAP": 8, "LINUX_IMMUTABLE": 9, "NET_BIND_SERVICE": 10, "NET_BROADCAST": 11, "NET_ADMIN": 12, "NET_RAW": 13,
	"IPC_LOCK": 14, "IPC_OWNER": 15, "SYS_MODULE": 16, "SYS_RAWIO": 17, "SYS_CHROOT": 18, "SYS_PTRACE": 19,
	"SYS_PACCT": 20, "SYS_ADMIN": 21, "SYS_BOOT": 22, "SYS_NICE": 23, "SYS_RESOURCE": 24, "SYS_TIME": 25,
	"SYS_TTY_CONFIG": 26, "MKNOD": 27, "LEASE": 28, "AUDIT_WRITE": 29, "AUDIT_CONTROL": 30, "SETFCAP": 31,
	"MAC_OVERRIDE": 32, "MAC_ADMIN": 33, "SYSLOG": 34, "WAKE_ALARM": 35, "BLOCK_SUSPEND": 36, "AUDIT_READ": 37,
	"PERFMON": 38, "BPF": 39, "CHECKPOINT_RESTORE": 40,
}

const lastCapability = 40

// usualCapabilities are what container runtimes leave to a container that says nothing.
var usualCapabilities = []string{
	"CHOWN", "DAC_OVERRIDE", "FSETID", "FOWNER", "MKNOD", "NET_RAW", "SETGID", "SETUID", "SETFCAP", "SETPCAP",
	"NET_BIND_SERVICE", "SYS_CHROOT", "KILL", "AUDIT_WRITE",
}

// securityOf puts the container's settings over the Pod's.
func securityOf(pod *corev1.Pod, container *corev1.Container) (security, error) {
	var s security
	asNonRoot := false
	if of := pod.Spec.SecurityContext; of != nil {
		setID(&s.uid, of.RunAsUser)
		setID(&s.gid, of.RunAsGroup)
		for _, group := range of.SupplementalGroups {
			s.groups = append(s.groups, uint32(group))
		}
		if of.FSGroup != nil {
			s.groups = append(s.groups, uint32(*of.FSGroup))
		}
		asNonRoot = of.RunAsNonRoot != nil && *of.RunAsNonRoot
	}
	var changes corev1.Capabilities
	if of := container.SecurityContext; of != nil {
		setID(&s.uid, of.RunAsUser)
		setID(&s.gid, of.RunAsGroup)
		if of.RunAsNonRoot != nil {
			asNonRoot = *of.RunAsNonRoot
		}
		s.unrestricted = of.Privileged != nil && *of.Privileged
		s.noNewPrivileges = of.AllowPrivilegeEscalation != nil && !*of.AllowPrivilegeEscalation
		s.readOnlyRoot = of.ReadOnlyRootFilesystem != nil && *of.ReadOnlyRootFilesystem
		if of.Capabilities != nil {
			changes = *of.Capabilities
		}
	}
	if asNonRoot && s.uid == 0 {
		return s, errors.New("container has runAsNonRoot and would run as root: set runAsUser")
	}
	return s, s.setCapabilities(changes)
}

func setID(id *uint32, value *int64) {
	if value != nil {
		*id = uint32(*value)
	}
}

func (s *security) setCapabilities(changes corev1.Capabilities) error {
	names := slices.Clone(usualCapabilities)
	for _, drop := range changes.Drop {
		if string(drop) == "ALL" {
			names = nil
		}
		names = slices.DeleteFunc(names, func(name string) bool { return name == plainCapability(drop) })
	}
	for _, add := range changes.Add {
		if string(add) == "ALL" {
			s.unrestricted = true
			continue
		}
		number, ok := capabilities[plainCapability(add)]
		if !ok {
			return fmt.Errorf("%s is no capability", add)
		}
		names = append(names, plainCapability(add))
		// A file in an image may carry the capability; these executables carry none, so the process gets it this way.
		if s.uid != 0 {
			s.ambient = append(s.ambient, number)
		}
	}
	for _, name := range names {
		s.bounding = append(s.bounding, capabilities[name])
	}
	return nil
}

func plainCapability(name corev1.Capability) string {
	return strings.TrimPrefix(strings.ToUpper(string(name)), "CAP_")
}

// apply changes the calling thread, and fills in what the fork does.
func (s security) apply(attributes *syscall.SysProcAttr) error {
	attributes.Credential = &syscall.Credential{Uid: s.uid, Gid: s.gid, Groups: s.groups}
	attributes.AmbientCaps = s.ambient
	if !s.unrestricted {
		for number := uintptr(0); number <= lastCapability; number++ {
			if slices.Contains(s.bounding, number) {
				continue
			}
			// A kernel older than the capability does not know it.
			if err := unix.Prctl(unix.PR_CAPBSET_DROP, number, 0, 0, 0); err != nil && err != unix.EINVAL {
				return fmt.Errorf("cannot drop a capability: %w", err)
			}
		}
	}
	if s.noNewPrivileges {
		return unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
	}
	return nil
}
