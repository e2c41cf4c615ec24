package main

import (
	"context"
	"errors"
	"flag"
	"net/http"
	"os/signal"
	"syscall"

	"github.com/cert-manager/cert-manager/pkg/issuer/acme/http/solver"
	logf "github.com/cert-manager/cert-manager/pkg/logs"
)

// solve answers one HTTP-01 challenge until it is told to stop. Its flags are those that cert-manager's controllers
// give to the solver's Pod.
func solve(arguments []string) error {
	server := &solver.HTTP01Solver{}
	flags := flag.NewFlagSet("acmesolver", flag.ContinueOnError)
	flags.IntVar(&server.ListenPort, "listen-port", 8089, "the port to listen on")
	flags.StringVar(&server.Domain, "domain", "", "the host that is asked for")
	flags.StringVar(&server.Token, "token", "", "the token that is asked for")
	flags.StringVar(&server.Key, "key", "", "what is answered")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	failed := make(chan error, 1)
	go func() { failed <- server.Listen(logf.FromContext(ctx)) }()
	select {
	case err := <-failed:
		if errors.Is(err, http.ErrServerClosed) {
			return nil
		}
		return err
	case <-ctx.Done():
		// The process ends with its connections.
		return nil
	}
}
