package kubelet

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	podresource "k8s.io/kubernetes/pkg/api/v1/resource"
	"k8s.io/kubernetes/pkg/volume/configmap"
	"k8s.io/kubernetes/pkg/volume/secret"
	volumeutil "k8s.io/kubernetes/pkg/volume/util"
)

type payload = map[string]volumeutil.FileProjection

// volumes are the directories of one Pod's volumes.
type volumes struct {
	worker *worker
	dir    string

	mutex  sync.Mutex
	tokens map[string]*token
}

// token is a service account token in a volume, and when to ask for the next one.
type token struct {
	value string
	renew time.Time
}

// path is the directory of a volume, or the place on this machine that it stands for.
func (v *volumes) path(volume *corev1.Volume) string {
	if volume.HostPath != nil {
		return volume.HostPath.Path
	}
	return filepath.Join(v.dir, volume.Name)
}

// refresh makes all volumes, or brings them up to date. What has not changed is not written again.
func (v *volumes) refresh(pod *corev1.Pod) error {
	v.mutex.Lock()
	defer v.mutex.Unlock()
	var failures []error
	for index := range pod.Spec.Volumes {
		volume := &pod.Spec.Volumes[index]
		if err := v.refreshOne(pod, volume); err != nil {
			failures = append(failures, fmt.Errorf("volume %s: %w", volume.Name, err))
		}
	}
	return errors.Join(failures...)
}

func (v *volumes) refreshOne(pod *corev1.Pod, volume *corev1.Volume) error {
	if volume.HostPath != nil {
		return nil
	}
	dir := v.path(volume)
	if volume.EmptyDir != nil {
		return v.makeEmptyDir(pod, dir)
	}
	files, err := v.payload(pod, volume)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	writer, err := volumeutil.NewAtomicWriter(dir, pod.Namespace+"/"+pod.Name)
	if err != nil {
		return err
	}
	return writer.Write(files, func(subPath string) error {
		return giveToGroup(filepath.Join(dir, subPath), fsGroup(pod))
	})
}

func (v *volumes) makeEmptyDir(pod *corev1.Pod, dir string) error {
	err := os.Mkdir(dir, 0o777)
	if errors.Is(err, os.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	mode := os.FileMode(0o777)
	if group := fsGroup(pod); group != nil {
		mode |= os.ModeSetgid
		if err := os.Chown(dir, -1, int(*group)); err != nil {
			return err
		}
	}
	return os.Chmod(dir, mode)
}

func fsGroup(pod *corev1.Pod) *int64 {
	if pod.Spec.SecurityContext == nil {
		return nil
	}
	return pod.Spec.SecurityContext.FSGroup
}

// giveToGroup lets the Pod's group read what was written.
func giveToGroup(dir string, group *int64) error {
	if group == nil {
		return nil
	}
	return filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err != nil || info.Mode()&os.ModeSymlink != 0 {
			return err
		}
		if err := os.Chown(path, -1, int(*group)); err != nil {
			return err
		}
		return os.Chmod(path, info.Mode().Perm()|(info.Mode().Perm()&0o700)>>3)
	})
}

// payload is the content of a volume by path.
func (v *volumes) payload(pod *corev1.Pod, volume *corev1.Volume) (payload, error) {
	switch {
	case volume.ConfigMap != nil:
		source := volume.ConfigMap
		return v.configMap(pod, source.Name, source.Items, source.DefaultMode, source.Optional)
	case volume.Secret != nil:
		source := volume.Secret
		return v.secret(pod, source.SecretName, source.Items, source.DefaultMode, source.Optional)
	case volume.DownwardAPI != nil:
		return v.downward(pod, volume.DownwardAPI.Items, volume.DownwardAPI.DefaultMode)
	case volume.Projected != nil:
		all := payload{}
		for index := range volume.Projected.Sources {
			part, err := v.projection(pod, &volume.Projected.Sources[index], volume.Name, volume.Projected.DefaultMode)
			if err != nil {
				return nil, err
			}
			maps.Copy(all, part)
		}
		return all, nil
	}
	return nil, errors.New("this kind of volume is not known here")
}

func (v *volumes) projection(
	pod *corev1.Pod, source *corev1.VolumeProjection, volume string, mode *int32,
) (payload, error) {
	switch {
	case source.ConfigMap != nil:
		return v.configMap(pod, source.ConfigMap.Name, source.ConfigMap.Items, mode, source.ConfigMap.Optional)
	case source.Secret != nil:
		return v.secret(pod, source.Secret.Name, source.Secret.Items, mode, source.Secret.Optional)
	case source.DownwardAPI != nil:
		return v.downward(pod, source.DownwardAPI.Items, mode)
	case source.ServiceAccountToken != nil:
		value, err := v.token(pod, volume, source.ServiceAccountToken)
		if err != nil {
			return nil, err
		}
		return payload{source.ServiceAccountToken.Path: {Data: []byte(value), Mode: *mode}}, nil
	}
	return nil, errors.New("this kind of projection is not known here")
}

func (v *volumes) configMap(
	pod *corev1.Pod, name string, items []corev1.KeyToPath, mode *int32, optional *bool,
) (payload, error) {
	object, err := v.worker.kubelet.configMap(pod.Namespace, name)
	mayMiss := optional != nil && *optional
	if apierrors.IsNotFound(err) && mayMiss {
		object, err = &corev1.ConfigMap{}, nil
	}
	if err != nil {
		return nil, err
	}
	return configmap.MakePayload(items, object, mode, mayMiss)
}

func (v *volumes) secret(
	pod *corev1.Pod, name string, items []corev1.KeyToPath, mode *int32, optional *bool,
) (payload, error) {
	object, err := v.worker.kubelet.secret(pod.Namespace, name)
	mayMiss := optional != nil && *optional
	if apierrors.IsNotFound(err) && mayMiss {
		object, err = &corev1.Secret{}, nil
	}
	if err != nil {
		return nil, err
	}
	return secret.MakePayload(items, object, mode, mayMiss)
}

func (v *volumes) downward(pod *corev1.Pod, items []corev1.DownwardAPIVolumeFile, mode *int32) (payload, error) {
	files := payload{}
	for _, item := range items {
		var value string
		var err error
		if item.FieldRef != nil {
			value, err = v.worker.field(pod, item.FieldRef.FieldPath)
		} else {
			value, err = podresource.ExtractResourceValueByContainerNameAndNodeAllocatable(
				item.ResourceFieldRef, pod, item.ResourceFieldRef.ContainerName, v.worker.node.allocatable)
		}
		if err != nil {
			return nil, err
		}
		file := volumeutil.FileProjection{Data: []byte(value), Mode: *mode}
		if item.Mode != nil {
			file.Mode = *item.Mode
		}
		files[filepath.Clean(item.Path)] = file
	}
	return files, nil
}

// token asks for a token bound to the Pod, and for the next one when four fifths of its life are over.
func (v *volumes) token(pod *corev1.Pod, volume string, source *corev1.ServiceAccountTokenProjection) (string, error) {
	key := volume + "/" + source.Path
	if former := v.tokens[key]; former != nil && time.Now().Before(former.renew) {
		return former.value, nil
	}
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
		ExpirationSeconds: source.ExpirationSeconds,
		BoundObjectRef: &authenticationv1.BoundObjectReference{
			Kind: "Pod", APIVersion: "v1", Name: pod.Name, UID: pod.UID,
		},
	}}
	if source.Audience != "" {
		request.Spec.Audiences = []string{source.Audience}
	}
	answer, err := v.worker.kubelet.client.CoreV1().ServiceAccounts(pod.Namespace).CreateToken(
		context.Background(), pod.Spec.ServiceAccountName, request, metav1.CreateOptions{})
	if err != nil {
		return "", err
	}
	life := time.Until(answer.Status.ExpirationTimestamp.Time)
	v.tokens[key] = &token{value: answer.Status.Token, renew: time.Now().Add(life * 4 / 5)}
	return answer.Status.Token, nil
}

// uses tells whether the ConfigMap or Secret is in a volume.
func (v *volumes) uses(object any) bool {
	pod := v.worker.latest()
	for _, volume := range pod.Spec.Volumes {
		sources := []corev1.VolumeProjection{}
		if volume.Projected != nil {
			sources = volume.Projected.Sources
		}
		switch object := object.(type) {
		case *corev1.ConfigMap:
			if volume.ConfigMap != nil {
				sources = append(sources, corev1.VolumeProjection{ConfigMap: &corev1.ConfigMapProjection{
					LocalObjectReference: volume.ConfigMap.LocalObjectReference,
				}})
			}
			for _, source := range sources {
				if source.ConfigMap != nil && source.ConfigMap.Name == object.Name && pod.Namespace == object.Namespace {
					return true
				}
			}
		case *corev1.Secret:
			if volume.Secret != nil && volume.Secret.SecretName == object.Name && pod.Namespace == object.Namespace {
				return true
			}
			for _, source := range sources {
				if source.Secret != nil && source.Secret.Name == object.Name && pod.Namespace == object.Namespace {
					return true
				}
			}
		}
	}
	return false
}

// configMap comes from the watch; one that was made a moment ago is asked for.
func (k *Kubelet) configMap(namespace, name string) (*corev1.ConfigMap, error) {
	object, err := k.configMaps.ConfigMaps(namespace).Get(name)
	if apierrors.IsNotFound(err) {
		return k.client.CoreV1().ConfigMaps(namespace).Get(context.Background(), name, metav1.GetOptions{})
	}
	return object, err
}

// secret comes from the watch; one that was made a moment ago is asked for.
func (k *Kubelet) secret(namespace, name string) (*corev1.Secret, error) {
	object, err := k.secrets.Secrets(namespace).Get(name)
	if apierrors.IsNotFound(err) {
		return k.client.CoreV1().Secrets(namespace).Get(context.Background(), name, metav1.GetOptions{})
	}
	return object, err
}
