package up

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"

	"genkan/e2e/cluster/layout"
)

// Bridge is the network interface, inside, that Pods and nodes are attached to.
const Bridge = "pods"

// claimed keeps the claim for as long as this process lives.
var claimed net.Listener

// claimNetwork picks a 10.N.0.0/16 that neither this machine nor another cluster on it uses. The claim is an abstract
// socket: one process has it, and it goes with the process.
func claimNetwork() (byte, error) {
	routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
	if err != nil {
		return 0, err
	}
	services := netip.MustParsePrefix(layout.ServiceRange)
	for _, candidate := range rand.Perm(180) {
		l := layout.Layout{Net: byte(64 + candidate)}
		if l.Network().Overlaps(services) || routed(routes, l.Network()) {
			continue
		}
		if claimed, err = net.Listen("unix", fmt.Sprintf("@genkan-cluster-%s", l.Network())); err == nil {
			return l.Net, nil
		}
	}
	return 0, errors.New("no range 10.N.0.0/16 is free on this machine")
}

// routed tells whether a route other than the default one leads into the range.
func routed(routes []netlink.Route, network netip.Prefix) bool {
	for _, route := range routes {
		if route.Dst == nil {
			continue
		}
		ones, _ := route.Dst.Mask.Size()
		address, ok := netip.AddrFromSlice(route.Dst.IP.To4())
		if ok && ones > 0 && netip.PrefixFrom(address, ones).Overlaps(network) {
			return true
		}
	}
	return false
}

// joinHost makes the pair of interfaces of which one end is the host's and the other is inside, on the bridge.
func joinHost(l layout.Layout, inside int) error {
	attributes := netlink.NewLinkAttrs()
	attributes.Name, attributes.HardwareAddr = l.HostLink(), layout.Hardware(l.Host())
	pair := &netlink.Veth{LinkAttrs: attributes, PeerName: "host", PeerNamespace: netlink.NsPid(inside)}
	if err := netlink.LinkAdd(pair); err != nil {
		return fmt.Errorf("cannot join the host to the cluster: %w", err)
	}
	link, err := netlink.LinkByName(l.HostLink())
	if err != nil {
		return err
	}
	if err := netlink.AddrAdd(link, withNetwork(l, l.Host())); err != nil {
		return err
	}
	return netlink.LinkSetUp(link)
}

// makeBridge runs inside: the bridge, its address, and the host's interface on it.
func makeBridge(l layout.Layout) error {
	loopback, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	if err := netlink.LinkSetUp(loopback); err != nil {
		return err
	}
	attributes := netlink.NewLinkAttrs()
	// A bridge that is given no address takes a Pod's, and another one when that Pod goes.
	attributes.Name, attributes.HardwareAddr = Bridge, layout.Hardware(l.API())
	bridge := &netlink.Bridge{LinkAttrs: attributes}
	if err := netlink.LinkAdd(bridge); err != nil {
		return fmt.Errorf("cannot make a bridge: %w", err)
	}
	if err := netlink.AddrAdd(bridge, withNetwork(l, l.API())); err != nil {
		return err
	}
	host, err := netlink.LinkByName("host")
	if err != nil {
		return err
	}
	if err := netlink.LinkSetMaster(host, bridge); err != nil {
		return err
	}
	if err := netlink.LinkSetUp(host); err != nil {
		return err
	}
	return netlink.LinkSetUp(bridge)
}

func withNetwork(l layout.Layout, address netip.Addr) *netlink.Addr {
	return &netlink.Addr{IPNet: &net.IPNet{IP: address.AsSlice(), Mask: net.CIDRMask(l.Network().Bits(), 32)}}
}

func linkExists(name string) bool {
	_, err := netlink.LinkByName(name)
	return err == nil
}

// removeLink does nothing when the kernel was quicker.
func removeLink(name string) {
	if link, err := netlink.LinkByName(name); err == nil {
		netlink.LinkDel(link)
	}
}

// awaitLinkGone returns when the host has no such interface any more.
func awaitLinkGone(name string) error {
	updates, done := make(chan netlink.LinkUpdate, 64), make(chan struct{})
	defer close(done)
	if err := netlink.LinkSubscribe(updates, done); err != nil {
		return err
	}
	late := time.After(time.Minute)
	for linkExists(name) {
		select {
		case <-updates:
		case <-late:
			return fmt.Errorf("network interface %s is still there", name)
		}
	}
	return nil
}
