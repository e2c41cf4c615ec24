package kubelet

import (
	"context"
	"log"
	"sync"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// balancer gives each Service of type LoadBalancer an address, as the controller of a cloud does. Nothing answers there:
// the address is for status.
type balancer struct {
	kubelet *Kubelet

	mutex sync.Mutex
	next  int
	given map[types.UID]string
}

func (b *balancer) serviceChanged(object any) {
	service := object.(*corev1.Service)
	if service.Spec.Type != corev1.ServiceTypeLoadBalancer || service.Spec.LoadBalancerClass != nil ||
		service.DeletionTimestamp != nil || len(service.Status.LoadBalancer.Ingress) > 0 {
		return
	}
	b.mutex.Lock()
	if b.given == nil {
		b.given = map[types.UID]string{}
	}
	address, ok := b.given[service.UID]
	if !ok {
		address = b.kubelet.layout.BalancerIP(b.next).String()
		b.next++
		b.given[service.UID] = address
	}
	b.mutex.Unlock()
	changed := service.DeepCopy()
	changed.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: address}}
	services := b.kubelet.client.CoreV1().Services(service.Namespace)
	// A conflict means that a newer object is on its way here.
	if _, err := services.UpdateStatus(context.Background(), changed, metav1.UpdateOptions{}); err != nil {
		log.Printf("load balancer of %s/%s: %v", service.Namespace, service.Name, err)
	}
}
