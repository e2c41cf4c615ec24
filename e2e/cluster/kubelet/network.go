package kubelet

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"genkan/e2e/cluster/layout"
	"genkan/e2e/cluster/up"
)

// namespaceDir is where `ip netns` looks as well.
const namespaceDir = "/run/netns"

// network gives each Pod an address and a network namespace that is joined to the bridge.
type network struct {
	layout layout.Layout

	mutex sync.Mutex
	next  int
	used  map[netip.Addr]bool
}

// namespace is a network namespace; it lives as long as its file is mounted.
type namespace struct {
	name    string
	address netip.Addr
}

func newNetwork(l layout.Layout) *network { return &network{layout: l, used: map[netip.Addr]bool{}} }

// take finds a free address. They are handed out in turn, so that a former Pod's address is not met again soon.
func (n *network) take() netip.Addr {
	n.mutex.Lock()
	defer n.mutex.Unlock()
	for {
		address := n.layout.PodIP(n.next)
		n.next++
		if !n.used[address] {
			n.used[address] = true
			return address
		}
	}
}

// create makes a namespace with loopback, a pair of interfaces of which one end is on the bridge, and a default route.
func (n *network) create(name string, address netip.Addr) (*namespace, error) {
	made := &namespace{name: name, address: address}
	if err := made.create(); err != nil {
		return nil, fmt.Errorf("network namespace: %w", err)
	}
	if err := n.attach(made); err != nil {
		made.remove()
		return nil, fmt.Errorf("network of %s: %w", name, err)
	}
	return made, nil
}

// release removes a Pod's namespace and lets its address be used again. The interface goes first: a connection that is
// still being closed would keep the namespace, and the address would answer for a Pod that is no more.
func (n *network) release(ns *namespace) {
	if link, err := netlink.LinkByName(ns.link()); err == nil {
		netlink.LinkDel(link)
	}
	ns.remove()
	n.mutex.Lock()
	defer n.mutex.Unlock()
	delete(n.used, ns.address)
}

func (ns *namespace) path() string { return filepath.Join(namespaceDir, ns.name) }

// link is the name of the interface on the bridge.
func (ns *namespace) link() string {
	octets := ns.address.As4()
	return fmt.Sprintf("v%d.%d", octets[2], octets[3])
}

func (ns *namespace) create() error {
	file, err := os.OpenFile(ns.path(), os.O_CREATE|os.O_EXCL, 0o444)
	if err != nil {
		return err
	}
	file.Close()
	return onOwnThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return err
		}
		return unix.Mount("/proc/thread-self/ns/net", ns.path(), "", unix.MS_BIND, "")
	})
}

// remove lets go of the namespace; it ends when the last process in it does.
func (ns *namespace) remove() {
	unix.Unmount(ns.path(), unix.MNT_DETACH)
	os.Remove(ns.path())
}

// enter moves the calling thread into the namespace.
func (ns *namespace) enter() error { return enterFile(ns.path(), unix.CLONE_NEWNET) }

// listen opens a socket in the namespace; it stays there.
func (ns *namespace) listen(address string) (net.Listener, error) {
	var listener net.Listener
	err := onOwnThread(func() error {
		err := ns.enter()
		if err == nil {
			listener, err = net.Listen("tcp", address)
		}
		return err
	})
	return listener, err
}

// attach joins the namespace to the bridge and gives it its address.
func (n *network) attach(ns *namespace) error {
	file, err := os.Open(ns.path())
	if err != nil {
		return err
	}
	defer file.Close()
	bridge, err := netlink.LinkByName(up.Bridge)
	if err != nil {
		return err
	}
	attributes := netlink.NewLinkAttrs()
	attributes.Name = ns.link()
	attributes.MasterIndex = bridge.Attrs().Index
	pair := &netlink.Veth{
		LinkAttrs: attributes, PeerName: "eth0", PeerNamespace: netlink.NsFd(int(file.Fd())),
		PeerHardwareAddr: layout.Hardware(ns.address),
	}
	if err := netlink.LinkAdd(pair); err != nil {
		return err
	}
	outer, err := netlink.LinkByName(ns.link())
	if err != nil {
		return err
	}
	if err := onOwnThread(func() error { return n.configure(ns) }); err != nil {
		return err
	}
	return netlink.LinkSetUp(outer)
}

// configure runs in the namespace.
func (n *network) configure(ns *namespace) error {
	if err := ns.enter(); err != nil {
		return err
	}
	for _, name := range []string{"lo", "eth0"} {
		link, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		if err := netlink.LinkSetUp(link); err != nil {
			return err
		}
	}
	link, err := netlink.LinkByName("eth0")
	if err != nil {
		return err
	}
	mask := net.CIDRMask(n.layout.Network().Bits(), 32)
	err = netlink.AddrAdd(link, &netlink.Addr{IPNet: &net.IPNet{IP: ns.address.AsSlice(), Mask: mask}})
	if err != nil {
		return err
	}
	return netlink.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Gw: n.layout.API().AsSlice()})
}

// onOwnThread runs f on a thread that ends afterwards, and with it whatever f changed about its thread.
func onOwnThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: so the thread ends with this goroutine
		done <- f()
	}()
	return <-done
}

func enterFile(path string, kind int) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	if err := unix.Setns(int(file.Fd()), kind); err != nil {
		return fmt.Errorf("cannot enter %s: %w", path, err)
	}
	return nil
}
