// Package kubelet is a kubelet whose containers are processes of this machine. It keeps the promises of a real one that a
// proxy and its rollouts depend on: addresses, volumes that follow their objects, security contexts, probes, hooks, grace
// periods and status. What it does not have: images (an executable stands for each), cgroups, host ports, persistent
// volumes.
//
//	kubelet.go    watches, and hands each Pod to its worker     schedule.go      binds Pods to nodes
//	node.go       nodes and their leases                        loadbalancer.go  addresses for Services
//	pod.go        the life of one Pod                           status.go        what the API server is told of it
//	container.go  the life of one container                     probes.go        asks it how it is
//	process.go    starts a process in namespaces                mounts.go        what it sees as its files
//	network.go    network namespaces                            volumes.go, env.go, security.go, hooks.go
package kubelet

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/record"

	"genkan/e2e/cluster/layout"
)

// Kubelet runs the Pods of all nodes.
type Kubelet struct {
	layout layout.Layout
	client *kubernetes.Clientset
	events record.EventRecorder
	// network makes the Pods' network namespaces; nodes holds those of the nodes, by name.
	network *network
	nodes   map[string]*node

	pods       corelisters.PodLister
	nodeLister corelisters.NodeLister
	configMaps corelisters.ConfigMapLister
	secrets    corelisters.SecretLister

	mutex   sync.Mutex
	workers map[types.UID]*worker
	// assumed are the Pods that were bound, until the watch tells so.
	assumed map[types.UID]string
	// unbound wakes the scheduler.
	unbound chan struct{}
}

// Main is `genkan-cluster kubelet`.
func Main(args []string) error {
	flags := flag.NewFlagSet("kubelet", flag.ExitOnError)
	dir := flags.String("dir", "", "directory of the cluster")
	if err := flags.Parse(args); err != nil {
		return err
	}
	// Go tries out process handles at their first use, by a process that ends at once. Were that the first one in a new PID
	// namespace, the namespace would end with it.
	if _, err := os.FindProcess(os.Getpid()); err != nil {
		return err
	}
	log.SetFlags(log.Ltime | log.Lmicroseconds)
	l, err := layout.Load(*dir)
	if err != nil {
		return err
	}
	config, err := clientcmd.BuildConfigFromFlags("", l.Kubeconfig())
	if err != nil {
		return err
	}
	config.QPS = -1
	config.UserAgent = "genkan-kubelet"
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	k := &Kubelet{
		layout: l, client: client, events: eventRecorder(client), network: newNetwork(l),
		nodes: map[string]*node{}, workers: map[types.UID]*worker{}, assumed: map[types.UID]string{},
		unbound: make(chan struct{}, 1),
	}
	return k.run(context.Background())
}

func eventRecorder(client kubernetes.Interface) record.EventRecorder {
	broadcaster := record.NewBroadcaster()
	broadcaster.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: client.CoreV1().Events("")})
	return broadcaster.NewRecorder(scheme.Scheme, corev1.EventSource{Component: "kubelet"})
}

func (k *Kubelet) run(ctx context.Context) error {
	for index := range k.layout.Nodes {
		if err := k.registerNode(ctx, index); err != nil {
			return fmt.Errorf("node %s: %w", k.layout.NodeName(index), err)
		}
	}
	factory := informers.NewSharedInformerFactory(k.client, 0)
	core := factory.Core().V1()
	k.pods, k.nodeLister = core.Pods().Lister(), core.Nodes().Lister()
	k.configMaps, k.secrets = core.ConfigMaps().Lister(), core.Secrets().Lister()
	handlers := map[cache.SharedIndexInformer]cache.ResourceEventHandlerFuncs{
		core.Pods().Informer(): {
			AddFunc:    func(object any) { k.podChanged(object.(*corev1.Pod)) },
			UpdateFunc: func(_, object any) { k.podChanged(object.(*corev1.Pod)) },
			DeleteFunc: k.podDeleted,
		},
		core.Nodes().Informer():      onAny(func(any) { k.wakeScheduler() }),
		core.ConfigMaps().Informer(): onAny(k.volumeSourceChanged),
		core.Secrets().Informer():    onAny(k.volumeSourceChanged),
		core.Services().Informer():   onAny((&balancer{kubelet: k}).serviceChanged),
	}
	for informer, handler := range handlers {
		if _, err := informer.AddEventHandler(handler); err != nil {
			return err
		}
	}
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	go k.schedule(ctx)
	go k.refreshTokens(ctx)
	<-ctx.Done()
	return ctx.Err()
}

func onAny(f func(any)) cache.ResourceEventHandlerFuncs {
	return cache.ResourceEventHandlerFuncs{AddFunc: f, UpdateFunc: func(_, object any) { f(object) }}
}

func (k *Kubelet) podChanged(pod *corev1.Pod) {
	if pod.Spec.NodeName == "" {
		k.wakeScheduler()
		return
	}
	node := k.nodes[pod.Spec.NodeName]
	if node == nil {
		return
	}
	k.mutex.Lock()
	delete(k.assumed, pod.UID)
	found := k.workers[pod.UID]
	if found == nil {
		found = newWorker(k, node, pod)
		k.workers[pod.UID] = found
		go found.run()
	}
	k.mutex.Unlock()
	found.update(pod)
}

func (k *Kubelet) podDeleted(object any) {
	if gone, ok := object.(cache.DeletedFinalStateUnknown); ok {
		object = gone.Obj
	}
	pod, ok := object.(*corev1.Pod)
	if !ok {
		return
	}
	k.mutex.Lock()
	found := k.workers[pod.UID]
	delete(k.workers, pod.UID)
	delete(k.assumed, pod.UID)
	k.mutex.Unlock()
	if found != nil {
		found.removed()
	}
}

// volumeSourceChanged brings the volumes of the Pods that use the ConfigMap or Secret up to date.
func (k *Kubelet) volumeSourceChanged(object any) {
	for _, w := range k.allWorkers() {
		if w.volumes.uses(object) {
			go w.refreshVolumes()
		}
	}
}

func (k *Kubelet) refreshTokens(ctx context.Context) {
	ticker := time.NewTicker(time.Minute)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			for _, w := range k.allWorkers() {
				w.refreshVolumes()
			}
		}
	}
}

func (k *Kubelet) allWorkers() []*worker {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	all := make([]*worker, 0, len(k.workers))
	for _, w := range k.workers {
		all = append(all, w)
	}
	return all
}
