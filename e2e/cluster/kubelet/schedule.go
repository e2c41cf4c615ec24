package kubelet

import (
	"context"
	"fmt"
	"log"
	"sort"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	corev1helpers "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
	"k8s.io/klog/v2"
)

func (k *Kubelet) wakeScheduler() {
	select {
	case k.unbound <- struct{}{}:
	default:
	}
}

// schedule binds Pods to nodes that their selector and affinity allow, to the one with the fewest Pods of the same owner:
// that is roughly what spreading and anti-affinity ask for.
func (k *Kubelet) schedule(ctx context.Context) {
	for {
		again := k.bindAll(ctx)
		var retry <-chan time.Time
		if again {
			retry = time.After(time.Second)
		}
		select {
		case <-ctx.Done():
			return
		case <-k.unbound:
		case <-retry:
		}
	}
}

// bindAll tells whether a Pod is left that should be tried again.
func (k *Kubelet) bindAll(ctx context.Context) bool {
	pods, err := k.pods.List(labels.Everything())
	if err != nil {
		return true
	}
	nodes, err := k.nodeLister.List(labels.Everything())
	if err != nil {
		return true
	}
	// Oldest first, and by name among those of one second.
	sort.Slice(pods, func(a, b int) bool {
		if !pods[a].CreationTimestamp.Equal(&pods[b].CreationTimestamp) {
			return pods[a].CreationTimestamp.Before(&pods[b].CreationTimestamp)
		}
		return pods[a].Name < pods[b].Name
	})
	again := false
	for _, pod := range pods {
		if !k.waitsForNode(pod) {
			continue
		}
		if err := k.bind(ctx, pod, k.choose(pod, pods, nodes)); err != nil {
			log.Printf("%s/%s: cannot bind: %v", pod.Namespace, pod.Name, err)
			again = true
		}
	}
	return again
}

func (k *Kubelet) waitsForNode(pod *corev1.Pod) bool {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	return pod.Spec.NodeName == "" && k.assumed[pod.UID] == "" && pod.DeletionTimestamp == nil &&
		!over(pod.Status.Phase) && pod.Spec.SchedulerName == corev1.DefaultSchedulerName &&
		len(pod.Spec.SchedulingGates) == 0
}

// choose is the name of a node, or nothing if none fits.
func (k *Kubelet) choose(pod *corev1.Pod, pods []*corev1.Pod, nodes []*corev1.Node) string {
	siblings, all := map[string]int{}, map[string]int{}
	k.mutex.Lock()
	for _, other := range pods {
		name := other.Spec.NodeName
		if name == "" {
			name = k.assumed[other.UID]
		}
		if name == "" || over(other.Status.Phase) {
			continue
		}
		all[name]++
		if other.Namespace == pod.Namespace && sameOwner(other, pod) {
			siblings[name]++
		}
	}
	k.mutex.Unlock()
	best := ""
	affinity := nodeaffinity.GetRequiredNodeAffinity(pod)
	for _, node := range nodes {
		fits, err := affinity.Match(node)
		if err != nil || !fits || node.Spec.Unschedulable || repels(node, pod) || k.nodes[node.Name] == nil {
			continue
		}
		if best == "" || siblings[node.Name] < siblings[best] ||
			siblings[node.Name] == siblings[best] && all[node.Name] < all[best] {
			best = node.Name
		}
	}
	return best
}

// repels tells whether the node has a taint that the Pod does not tolerate.
func repels(node *corev1.Node, pod *corev1.Pod) bool {
	_, found := corev1helpers.FindMatchingUntoleratedTaint(
		klog.Background(), node.Spec.Taints, pod.Spec.Tolerations,
		func(taint *corev1.Taint) bool { return taint.Effect != corev1.TaintEffectPreferNoSchedule }, false)
	return found
}

func sameOwner(a, b *corev1.Pod) bool {
	left, right := metav1.GetControllerOf(a), metav1.GetControllerOf(b)
	return left != nil && right != nil && left.UID == right.UID
}

func (k *Kubelet) bind(ctx context.Context, pod *corev1.Pod, node string) error {
	if node == "" {
		return k.unschedulable(ctx, pod)
	}
	err := k.client.CoreV1().Pods(pod.Namespace).Bind(ctx, &corev1.Binding{
		ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID},
		Target:     corev1.ObjectReference{Kind: "Node", Name: node},
	}, metav1.CreateOptions{})
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil // gone, or bound by somebody else: the watch will tell
	}
	if err == nil {
		k.mutex.Lock()
		k.assumed[pod.UID] = node
		k.mutex.Unlock()
	}
	return err
}

// unschedulable tells why the Pod waits; a change of the Pod or of a node tries it again.
func (k *Kubelet) unschedulable(ctx context.Context, pod *corev1.Pod) error {
	if conditionReason(pod, corev1.PodScheduled) == corev1.PodReasonUnschedulable {
		return nil
	}
	changed := pod.DeepCopy()
	message := fmt.Sprintf("0/%d nodes are available: none fits the Pod's selector and affinity", len(k.nodes))
	setCondition(&changed.Status, corev1.PodScheduled, false, corev1.PodReasonUnschedulable)
	for index := range changed.Status.Conditions {
		if changed.Status.Conditions[index].Type == corev1.PodScheduled {
			changed.Status.Conditions[index].Message = message
		}
	}
	k.events.Event(pod, corev1.EventTypeWarning, "FailedScheduling", message)
	_, err := k.client.CoreV1().Pods(pod.Namespace).UpdateStatus(ctx, changed, metav1.UpdateOptions{})
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	return err
}

func conditionReason(pod *corev1.Pod, kind corev1.PodConditionType) string {
	for _, condition := range pod.Status.Conditions {
		if condition.Type == kind {
			return condition.Reason
		}
	}
	return ""
}
