package kubelet

import (
	"context"
	"fmt"
	"log"
	"net/netip"
	"runtime"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/retry"
)

// node is a name, an address and a network namespace, in which Pods with hostNetwork run.
type node struct {
	name        string
	address     netip.Addr
	namespace   *namespace
	allocatable corev1.ResourceList
}

// zones: nodes take them in turn, so that topology hints have something to tell apart.
var zones = []string{"zone-a", "zone-b", "zone-c"}

func (k *Kubelet) registerNode(ctx context.Context, index int) error {
	n := &node{name: k.layout.NodeName(index), address: k.layout.NodeIP(index), allocatable: capacity()}
	var err error
	if n.namespace, err = k.network.create(n.name, n.address); err != nil {
		return err
	}
	if err := k.serveNode(n); err != nil {
		return err
	}
	k.nodes[n.name] = n
	object := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: n.name, Labels: map[string]string{
		corev1.LabelHostname: n.name, corev1.LabelOSStable: "linux", corev1.LabelArchStable: runtime.GOARCH,
		corev1.LabelTopologyZone: zones[index%len(zones)], corev1.LabelTopologyRegion: "here",
	}}}
	nodes := k.client.CoreV1().Nodes()
	if _, err = nodes.Create(ctx, object, metav1.CreateOptions{}); err != nil {
		return err
	}
	// Controllers write to the new node at the same time.
	err = retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		object, err := nodes.Get(ctx, n.name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		// Admission taints a new node as not ready, and the controller that would lift that does not run here.
		object.Spec.Taints = nil
		if object, err = nodes.Update(ctx, object, metav1.UpdateOptions{}); err != nil {
			return err
		}
		object.Status = k.nodeStatus(n, index)
		_, err = nodes.UpdateStatus(ctx, object, metav1.UpdateOptions{})
		return err
	})
	if err != nil {
		return err
	}
	go k.keepLease(ctx, n.name)
	return nil
}

func capacity() corev1.ResourceList {
	return corev1.ResourceList{
		corev1.ResourceCPU:    resource.MustParse(fmt.Sprint(runtime.NumCPU())),
		corev1.ResourceMemory: resource.MustParse("16Gi"),
		corev1.ResourcePods:   resource.MustParse("1000"),
	}
}

// nodeStatus is told once: a test may write another status, and it stays.
func (k *Kubelet) nodeStatus(n *node, index int) corev1.NodeStatus {
	now := metav1.Now()
	condition := func(kind corev1.NodeConditionType, status corev1.ConditionStatus, reason string) corev1.NodeCondition {
		return corev1.NodeCondition{
			Type: kind, Status: status, Reason: reason, LastHeartbeatTime: now, LastTransitionTime: now,
		}
	}
	addresses := []corev1.NodeAddress{
		{Type: corev1.NodeInternalIP, Address: n.address.String()}, {Type: corev1.NodeHostName, Address: n.name},
	}
	if k.layout.ExternalIPs {
		external := k.layout.NodeExternalIP(index).String()
		addresses = append(addresses, corev1.NodeAddress{Type: corev1.NodeExternalIP, Address: external})
	}
	return corev1.NodeStatus{
		Addresses: addresses, Capacity: n.allocatable, Allocatable: n.allocatable,
		Conditions: []corev1.NodeCondition{
			condition(corev1.NodeReady, corev1.ConditionTrue, "KubeletReady"),
			condition(corev1.NodeMemoryPressure, corev1.ConditionFalse, "KubeletHasSufficientMemory"),
			condition(corev1.NodeDiskPressure, corev1.ConditionFalse, "KubeletHasNoDiskPressure"),
			condition(corev1.NodePIDPressure, corev1.ConditionFalse, "KubeletHasSufficientPID"),
		},
		DaemonEndpoints: corev1.NodeDaemonEndpoints{KubeletEndpoint: corev1.DaemonEndpoint{Port: serverPort}},
		NodeInfo: corev1.NodeSystemInfo{
			OperatingSystem: runtime.GOOS, Architecture: runtime.GOARCH, ContainerRuntimeVersion: "process://1",
			KubeletVersion: "v1.36.3", OSImage: "this machine", MachineID: n.name, SystemUUID: n.name, BootID: n.name,
		},
	}
}

// keepLease renews the node's lease, as a sign of life for whoever watches leases.
func (k *Kubelet) keepLease(ctx context.Context, name string) {
	leases := k.client.CoordinationV1().Leases(corev1.NamespaceNodeLease)
	const period = 10 * time.Second
	seconds := int32(4 * period / time.Second)
	for ; ctx.Err() == nil; time.Sleep(period) {
		now := metav1.NowMicro()
		lease, err := leases.Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			_, err = leases.Create(ctx, &coordinationv1.Lease{
				ObjectMeta: metav1.ObjectMeta{Name: name},
				Spec: coordinationv1.LeaseSpec{
					HolderIdentity: &name, LeaseDurationSeconds: &seconds, AcquireTime: &now, RenewTime: &now,
				},
			}, metav1.CreateOptions{})
		} else if err == nil {
			lease.Spec.RenewTime = &now
			_, err = leases.Update(ctx, lease, metav1.UpdateOptions{})
		}
		if err != nil {
			log.Printf("lease of %s: %v", name, err)
		}
	}
}
