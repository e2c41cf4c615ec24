package kubelet

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// serverPort is where a node answers the API server, which asks for `kubectl logs`.
const serverPort = 10250

func (k *Kubelet) serveNode(n *node) error {
	// The API server does not check who signed this, so its own certificate does.
	pair, err := tls.LoadX509KeyPair(k.layout.File("pki", "apiserver.crt"), k.layout.File("pki", "apiserver.key"))
	if err != nil {
		return err
	}
	listener, err := n.namespace.listen(fmt.Sprintf("%s:%d", n.address, serverPort))
	if err != nil {
		return err
	}
	paths := http.NewServeMux()
	paths.HandleFunc("GET /containerLogs/{namespace}/{pod}/{container}", k.serveLogs)
	server := &http.Server{Handler: paths, ErrorLog: log.Default()}
	go func() {
		log.Print(server.Serve(tls.NewListener(listener, &tls.Config{Certificates: []tls.Certificate{pair}})))
	}()
	return nil
}

func (k *Kubelet) serveLogs(answer http.ResponseWriter, request *http.Request) {
	pod, err := k.pods.Pods(request.PathValue("namespace")).Get(request.PathValue("pod"))
	if err != nil {
		http.Error(answer, err.Error(), http.StatusNotFound)
		return
	}
	name := pod.Namespace + "_" + pod.Name
	if container := request.PathValue("container"); container != pod.Spec.Containers[0].Name {
		name += "." + container
	}
	file, err := os.Open(filepath.Join(k.layout.PodLogs(), name+".log"))
	if err != nil {
		http.Error(answer, "the container has not started", http.StatusNotFound)
		return
	}
	defer file.Close()
	query := request.URL.Query()
	if lines, err := strconv.Atoi(query.Get("tailLines")); err == nil {
		if err := skipToTail(file, lines); err != nil {
			http.Error(answer, err.Error(), http.StatusInternalServerError)
			return
		}
	}
	follow := query.Get("follow") == "true"
	for {
		if _, err := io.Copy(answer, file); err != nil || !follow {
			return
		}
		if flusher, ok := answer.(http.Flusher); ok {
			flusher.Flush()
		}
		select {
		case <-request.Context().Done():
			return
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// skipToTail leaves that many lines to read.
func skipToTail(file *os.File, lines int) error {
	var starts []int64
	offset := int64(0)
	reader := bufio.NewReader(file)
	for {
		line, err := reader.ReadString('\n')
		if strings.TrimSpace(line) != "" || err == nil {
			starts = append(starts, offset)
		}
		offset += int64(len(line))
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
	}
	target := offset
	if lines > 0 && len(starts) > 0 {
		target = starts[max(0, len(starts)-lines)]
	}
	_, err := file.Seek(target, io.SeekStart)
	return err
}
