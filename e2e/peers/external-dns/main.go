// ExternalDNS, built from its Go module so that the tests run the real thing against the status that Genkan writes.
package main

import (
	_ "k8s.io/client-go/plugin/pkg/client/auth"

	"sigs.k8s.io/external-dns/controller"
)

func main() {
	controller.Execute()
}
