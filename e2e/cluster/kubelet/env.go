package kubelet

import (
	"fmt"
	"sort"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	podresource "k8s.io/kubernetes/pkg/api/v1/resource"
	"k8s.io/kubernetes/pkg/fieldpath"
	"k8s.io/kubernetes/third_party/forked/golang/expansion"

	"genkan/e2e/cluster/layout"
)

// environment is a container's, in the order of a real kubelet: later ones win and may refer to earlier ones.
func (w *worker) environment(pod *corev1.Pod, container *corev1.Container) ([]string, error) {
	values := map[string]string{
		"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME": "/", "HOSTNAME": hostname(pod),
		// The API server itself: nothing routes the cluster address of its Service.
		"KUBERNETES_SERVICE_HOST":       w.kubelet.layout.API().String(),
		"KUBERNETES_SERVICE_PORT":       fmt.Sprint(layout.APIPort),
		"KUBERNETES_SERVICE_PORT_HTTPS": fmt.Sprint(layout.APIPort),
	}
	for _, from := range container.EnvFrom {
		if err := w.environmentFrom(values, pod.Namespace, from); err != nil {
			return nil, err
		}
	}
	mapping := expansion.MappingFuncFor(values)
	for _, variable := range container.Env {
		if variable.ValueFrom == nil {
			values[variable.Name] = expansion.Expand(variable.Value, mapping)
			continue
		}
		value, found, err := w.valueFrom(pod, container, variable.ValueFrom)
		if err != nil {
			return nil, fmt.Errorf("env %s: %w", variable.Name, err)
		}
		if found {
			values[variable.Name] = value
		}
	}
	env := make([]string, 0, len(values))
	for name, value := range values {
		env = append(env, name+"="+value)
	}
	sort.Strings(env)
	return env, nil
}

// expand replaces $(NAME) in a container's command and arguments.
func expand(words, env []string) []string {
	values := map[string]string{}
	for _, variable := range env {
		name, value, _ := strings.Cut(variable, "=")
		values[name] = value
	}
	mapping := expansion.MappingFuncFor(values)
	expanded := make([]string, len(words))
	for index, word := range words {
		expanded[index] = expansion.Expand(word, mapping)
	}
	return expanded
}

func (w *worker) environmentFrom(values map[string]string, namespace string, from corev1.EnvFromSource) error {
	if source := from.ConfigMapRef; source != nil {
		object, err := w.kubelet.configMap(namespace, source.Name)
		if skipMissing(err, source.Optional) {
			return nil
		}
		if err != nil {
			return err
		}
		for key, value := range object.Data {
			values[from.Prefix+key] = value
		}
	}
	if source := from.SecretRef; source != nil {
		object, err := w.kubelet.secret(namespace, source.Name)
		if skipMissing(err, source.Optional) {
			return nil
		}
		if err != nil {
			return err
		}
		for key, value := range object.Data {
			values[from.Prefix+key] = string(value)
		}
	}
	return nil
}

func (w *worker) valueFrom(
	pod *corev1.Pod, container *corev1.Container, from *corev1.EnvVarSource,
) (value string, found bool, err error) {
	switch {
	case from.FieldRef != nil:
		value, err = w.field(pod, from.FieldRef.FieldPath)
		return value, err == nil, err
	case from.ResourceFieldRef != nil:
		name := from.ResourceFieldRef.ContainerName
		if name == "" {
			name = container.Name
		}
		value, err = podresource.ExtractResourceValueByContainerNameAndNodeAllocatable(
			from.ResourceFieldRef, pod, name, w.node.allocatable)
		return value, err == nil, err
	case from.ConfigMapKeyRef != nil:
		source := from.ConfigMapKeyRef
		object, err := w.kubelet.configMap(pod.Namespace, source.Name)
		if skipMissing(err, source.Optional) {
			return "", false, nil
		}
		if err != nil {
			return "", false, err
		}
		value, found = object.Data[source.Key]
		return value, found, missingKey(found, source.Optional, source.Key, "ConfigMap", source.Name)
	case from.SecretKeyRef != nil:
		source := from.SecretKeyRef
		object, err := w.kubelet.secret(pod.Namespace, source.Name)
		if skipMissing(err, source.Optional) {
			return "", false, nil
		}
		if err != nil {
			return "", false, err
		}
		data, found := object.Data[source.Key]
		return string(data), found, missingKey(found, source.Optional, source.Key, "Secret", source.Name)
	}
	return "", false, fmt.Errorf("this kind of source is not known here")
}

// field is a value of the downward API; the addresses are known here before the API server is told.
func (w *worker) field(pod *corev1.Pod, path string) (string, error) {
	switch path {
	case "spec.nodeName":
		return w.node.name, nil
	case "spec.serviceAccountName":
		return pod.Spec.ServiceAccountName, nil
	case "status.hostIP", "status.hostIPs":
		return w.node.address.String(), nil
	case "status.podIP", "status.podIPs":
		return w.address().String(), nil
	}
	return fieldpath.ExtractFieldPathAsString(pod, path)
}

func hostname(pod *corev1.Pod) string {
	name := pod.Name
	if pod.Spec.Hostname != "" {
		name = pod.Spec.Hostname
	}
	return name[:min(len(name), 63)]
}

func skipMissing(err error, optional *bool) bool {
	return apierrors.IsNotFound(err) && optional != nil && *optional
}

func missingKey(found bool, optional *bool, key, kind, name string) error {
	if found || optional != nil && *optional {
		return nil
	}
	return fmt.Errorf("couldn't find key %s in %s %s", key, kind, name)
}
