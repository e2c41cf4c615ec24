package up

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/gateway-api/pkg/consts"

	"genkan/e2e/cluster/layout"
)

// gatewayAPI stands for the CRDs of Gateway API, experimental channel, that lie beside this executable.
const gatewayAPI = "gateway-api"

var crdResource = schema.GroupVersionResource{
	Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions",
}

// client asks the API server whether the cluster can be used.
type client struct {
	plain   *kubernetes.Clientset
	dynamic *dynamic.DynamicClient
}

func newClient(l layout.Layout) (*client, error) {
	config, err := clientcmd.BuildConfigFromFlags("", l.Kubeconfig())
	if err != nil {
		return nil, err
	}
	config.QPS, config.Timeout = -1, 10*time.Second
	plain, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	dynamic, err := dynamic.NewForConfig(config)
	return &client{plain: plain, dynamic: dynamic}, err
}

func (c *client) apiReady() error {
	_, err := c.plain.Discovery().RESTClient().Get().AbsPath("/readyz").DoRaw(context.Background())
	return err
}

func (c *client) nodesReady(want int) func() error {
	return func() error {
		nodes, err := c.plain.CoreV1().Nodes().List(context.Background(), metav1.ListOptions{})
		if err != nil {
			return err
		}
		ready := 0
		for _, node := range nodes.Items {
			for _, condition := range node.Status.Conditions {
				if condition.Type == corev1.NodeReady && condition.Status == corev1.ConditionTrue {
					ready++
				}
			}
		}
		if ready < want {
			return fmt.Errorf("%d of %d are ready", ready, want)
		}
		return nil
	}
}

// controllersReady: what Pods need of the controllers before the first can be made is there.
func (c *client) controllersReady() error {
	_, err := c.plain.CoreV1().ServiceAccounts("default").Get(context.Background(), "default", metav1.GetOptions{})
	if err != nil {
		return err
	}
	_, err = c.plain.CoreV1().ConfigMaps("default").Get(context.Background(), "kube-root-ca.crt", metav1.GetOptions{})
	return err
}

// installCRDs applies the manifests of each directory and waits until they are served.
func (c *client) installCRDs(directories []string) error {
	for _, directory := range directories {
		if directory == gatewayAPI {
			executable, err := os.Executable()
			if err != nil {
				return err
			}
			directory = filepath.Join(filepath.Dir(executable), "crds", gatewayAPI)
		}
		files, err := filepath.Glob(filepath.Join(directory, "*.yaml"))
		if err != nil {
			return err
		}
		if len(files) == 0 {
			return fmt.Errorf("no manifests in %s (Gateway API %s: scripts/cluster-build puts them there)",
				directory, consts.BundleVersion)
		}
		var installed []string
		for _, file := range files {
			names, err := c.install(file)
			if err != nil {
				return fmt.Errorf("%s: %w", file, err)
			}
			installed = append(installed, names...)
		}
		for _, name := range installed {
			if err := c.awaitEstablished(name); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	return nil
}

// install creates the CRDs of a file and returns their names.
func (c *client) install(file string) ([]string, error) {
	open, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer open.Close()
	var names []string
	decoder := yaml.NewYAMLOrJSONDecoder(open, 4096)
	for {
		object := &unstructured.Unstructured{}
		err := decoder.Decode(&object.Object)
		if errors.Is(err, io.EOF) {
			return names, nil
		}
		if err != nil {
			return nil, err
		}
		if object.GetKind() != "CustomResourceDefinition" {
			continue
		}
		names = append(names, object.GetName())
		_, err = c.dynamic.Resource(crdResource).Create(context.Background(), object, metav1.CreateOptions{})
		if err != nil && !apierrors.IsAlreadyExists(err) {
			return nil, err
		}
	}
}

func (c *client) awaitEstablished(name string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for {
		found, err := c.dynamic.Resource(crdResource).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if established(found) {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.New("not established")
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func established(crd *unstructured.Unstructured) bool {
	conditions, _, _ := unstructured.NestedSlice(crd.Object, "status", "conditions")
	for _, condition := range conditions {
		fields, ok := condition.(map[string]any)
		if ok && strings.EqualFold(fmt.Sprint(fields["type"]), "Established") && fields["status"] == "True" {
			return true
		}
	}
	return false
}
