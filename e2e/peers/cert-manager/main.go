// cert-manager for the tests: its real controllers and its real HTTP-01 solver, which are packages of its Go module.
// Only the two commands that start them are not published as modules, so they are here.
package main

import (
	"fmt"
	"os"
)

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: genkan-cert-manager controller|acmesolver FLAG...")
		os.Exit(2)
	}
	var err error
	switch command, arguments := os.Args[1], os.Args[2:]; command {
	case "controller":
		err = controllers(arguments)
	case "acmesolver":
		err = solve(arguments)
	default:
		err = fmt.Errorf("unknown command %q", command)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
