// Genkan-cluster is a Kubernetes cluster in one executable, for tests and to play with: etcd, the API server, the
// controller manager, kubectl, a kubelet whose Pods are processes of this machine, and `up`, which runs all of them in
// namespaces that the kernel removes when it ends. No container engine is needed; root on Linux is.
package main

import (
	"fmt"
	"os"
	"runtime"

	"go.etcd.io/etcd/server/v3/etcdmain"
	_ "k8s.io/client-go/plugin/pkg/client/auth"
	"k8s.io/component-base/cli"
	"k8s.io/component-base/logs"
	kubectl "k8s.io/kubectl/pkg/cmd"
	kubectlutil "k8s.io/kubectl/pkg/cmd/util"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	manager "k8s.io/kubernetes/cmd/kube-controller-manager/app"

	"genkan/e2e/cluster/kubelet"
	"genkan/e2e/cluster/up"
)

const usage = `Usage: genkan-cluster COMMAND [FLAGS]
  up       start a cluster; -h lists the flags
  ctl      tell a running cluster to stop or start a component, to know an image, or to end
  kubectl  the Kubernetes command line
  etcd, kube-apiserver, kube-controller-manager, kubelet
           one component; up starts them
`

func init() {
	// The parent-death signal of what up starts is tied to the thread that starts it; the main goroutine keeps the main
	// thread. Namespaces of a Pod are never entered on the main thread either, because it cannot be ended on its own.
	runtime.LockOSThread()
}

func main() {
	if len(os.Args) < 2 {
		fmt.Fprint(os.Stderr, usage)
		os.Exit(2)
	}
	// Each component reads its own flags, and its name, from os.Args.
	os.Args = os.Args[1:]
	switch os.Args[0] {
	case "etcd":
		etcdmain.Main(os.Args)
	case "kube-apiserver":
		os.Exit(cli.Run(apiserver.NewAPIServerCommand()))
	case "kube-controller-manager":
		os.Exit(cli.Run(manager.NewControllerManagerCommand()))
	case "kubectl":
		logs.GlogSetter(kubectl.GetLogVerbosity(os.Args)) //nolint:errcheck // the default verbosity stays
		if err := cli.RunNoErrOutput(kubectl.NewDefaultKubectlCommand()); err != nil {
			kubectlutil.CheckErr(err)
		}
	case "kubelet":
		exit(kubelet.Main(os.Args[1:]))
	case "up":
		exit(up.Main(os.Args[1:]))
	case up.InsideCommand:
		exit(up.Inside(os.Args[1:]))
	case "ctl":
		exit(up.Control(os.Args[1:]))
	default:
		fmt.Fprint(os.Stderr, usage)
		os.Exit(2)
	}
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "genkan-cluster:", err)
		os.Exit(1)
	}
	os.Exit(0)
}
