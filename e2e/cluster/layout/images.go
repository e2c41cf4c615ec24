package layout

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// HostImage is an image that every cluster knows: the Pod's command, found on this machine.
const HostImage = "host"

// Image is what stands for a container image.
type Image struct {
	// Executable is its absolute path; empty for HostImage.
	Executable string `json:"executable"`
	// Args come before the arguments of the Pod, unless the Pod has a command of its own.
	Args []string `json:"args,omitempty"`
}

// Images is what stands for each image, by the image's name.
type Images map[string]Image

// Add understands NAME=EXECUTABLE [ARG...].
func (i Images) Add(text string) error {
	name, command, ok := strings.Cut(text, "=")
	words := strings.Fields(command)
	if !ok || name == "" || len(words) == 0 {
		return fmt.Errorf("%q is no image: NAME=EXECUTABLE [ARG...] is", text)
	}
	path, err := exec.LookPath(words[0])
	if err != nil {
		return fmt.Errorf("image %s: %w", name, err)
	}
	if path, err = filepath.Abs(path); err != nil {
		return err
	}
	i[name] = Image{Executable: path, Args: words[1:]}
	return nil
}

// Find looks an image up by all of its reference, then without tag and digest, then by the last part of its path.
func (i Images) Find(reference string) (Image, bool) {
	plain, _, _ := strings.Cut(reference, "@")
	if colon := strings.LastIndex(plain, ":"); colon > strings.LastIndex(plain, "/") {
		plain = plain[:colon]
	}
	last := plain[strings.LastIndex(plain, "/")+1:]
	for _, name := range []string{reference, plain, last} {
		if image, ok := i[name]; ok {
			return image, true
		}
	}
	return Image{}, last == HostImage
}

// SaveImages writes the images where the kubelet looks each time that it starts a container.
func (l Layout) SaveImages(images Images) error {
	data, err := json.MarshalIndent(images, "", "  ")
	if err != nil {
		return err
	}
	return WriteFile(l.Images(), data, 0o644)
}

// LoadImages reads what SaveImages wrote.
func (l Layout) LoadImages() (Images, error) {
	images := Images{}
	data, err := os.ReadFile(l.Images())
	if errors.Is(err, fs.ErrNotExist) {
		return images, nil
	}
	if err != nil {
		return nil, err
	}
	return images, json.Unmarshal(data, &images)
}
