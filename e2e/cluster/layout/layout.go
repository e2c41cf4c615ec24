// Package layout says where the things of a cluster are: addresses in its network, files in its directory. It is what the
// supervisor on the host, the one inside and the kubelet agree on, and it does nothing itself.
//
//	10.N.0.1            the host, seen from the cluster
//	10.N.0.2            the API server; also the bridge that all Pods are on
//	10.N.1.1 ...        the nodes
//	10.N.2.1 - 249.254  Pods
//	10.N.250.1 ...      load balancers
package layout

import (
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
)

// APIPort is the API server's port on its address.
const APIPort = 6443

// ServiceRange holds the cluster addresses of Services. Nothing routes them: there is no kube-proxy.
const ServiceRange = "10.96.0.0/16"

// MaxNodes is how many addresses are set aside for nodes.
const MaxNodes = 100

// Layout is one cluster. It is written to its directory for whoever wants to know.
type Layout struct {
	// Dir is the directory of the cluster's state and logs, absolute.
	Dir string `json:"dir"`
	// Net is the N of the drawing above.
	Net byte `json:"net"`
	// Nodes is how many there are.
	Nodes int `json:"nodes"`
	// ExternalIPs gives each node an address of type ExternalIP as well (TEST-NET-3: nothing answers there).
	ExternalIPs bool `json:"externalIPs"`
	// Supervisor is the process id of `up` on the host.
	Supervisor int `json:"supervisor"`
}

func (l Layout) address(third, fourth byte) netip.Addr {
	return netip.AddrFrom4([4]byte{10, l.Net, third, fourth})
}

// Network is the range that all addresses of the cluster are in.
func (l Layout) Network() netip.Prefix { return netip.PrefixFrom(l.address(0, 0), 16) }

// Host is the host's address as the cluster sees it.
func (l Layout) Host() netip.Addr { return l.address(0, 1) }

// API is the address of the API server and of the bridge.
func (l Layout) API() netip.Addr { return l.address(0, 2) }

// NodeIP is the address of a node; the first is node 0.
func (l Layout) NodeIP(index int) netip.Addr { return l.address(1, byte(index+1)) }

// NodeExternalIP is the address of type ExternalIP of a node.
func (l Layout) NodeExternalIP(index int) netip.Addr {
	return netip.AddrFrom4([4]byte{203, 0, 113, byte(index + 1)})
}

// NodeName is the name of a node; the first is node 0.
func (l Layout) NodeName(index int) string { return fmt.Sprintf("node-%d", index+1) }

// PodIP is the address number n, wrapping around.
func (l Layout) PodIP(n int) netip.Addr {
	const perThird, thirds = 254, 248
	n %= perThird * thirds
	return l.address(byte(2+n/perThird), byte(1+n%perThird))
}

// BalancerIP is the address of load balancer number n.
func (l Layout) BalancerIP(n int) netip.Addr { return l.address(250, byte(1+n%254)) }

// Hardware is the hardware address of whoever has the address: always the same, so that nobody who remembers it is wrong.
func Hardware(address netip.Addr) net.HardwareAddr {
	octets := address.As4()
	return net.HardwareAddr{2, 'g', octets[0], octets[1], octets[2], octets[3]}
}

// HostLink is the name of the network interface that joins the host to the cluster.
func (l Layout) HostLink() string { return fmt.Sprintf("genkan%d", l.Net) }

// File is the path of a file of the cluster.
func (l Layout) File(name ...string) string {
	return filepath.Join(append([]string{l.Dir}, name...)...)
}

// Kubeconfig is the path of the administrator's kubeconfig.
func (l Layout) Kubeconfig() string { return l.File("kubeconfig") }

// Images is the path of the file that says what stands for an image.
func (l Layout) Images() string { return l.File("images.json") }

// ControlSocket is the path of the socket that `ctl` talks to.
func (l Layout) ControlSocket() string { return l.File("control.sock") }

// PodLogs is the directory of the Pods' output.
func (l Layout) PodLogs() string { return l.File("pods") }

// Save writes the layout to the cluster's directory.
func (l Layout) Save() error {
	data, err := json.MarshalIndent(l, "", "  ")
	if err != nil {
		return err
	}
	return WriteFile(l.File("cluster.json"), data, 0o644)
}

// Load reads the layout of the cluster in a directory.
func Load(dir string) (Layout, error) {
	var l Layout
	data, err := os.ReadFile(filepath.Join(dir, "cluster.json"))
	if err != nil {
		return l, fmt.Errorf("there is no cluster in %s: %w", dir, err)
	}
	return l, json.Unmarshal(data, &l)
}

// WriteFile replaces a file in one step, so that a reader never sees half of it.
func WriteFile(path string, data []byte, mode os.FileMode) error {
	part := path + ".part"
	if err := os.WriteFile(part, data, mode); err != nil {
		return err
	}
	return os.Rename(part, path)
}
