# The commands of this repository. Each is a script under scripts/ that says what it does when read from the top.

.PHONY: test lint conformance fuzz quickstart bench dist cluster cluster-down

test: ## Every check that CI runs: formatting, lints, all tests, fuzz targets
	scripts/test

lint: ## Formatting and lints only
	scripts/lint

conformance: ## The conformance suite of Gateway API, or TESTS=NAME,NAME of it; RUNS=2 does all of it twice
	scripts/conformance

fuzz: ## Every fuzz target, a minute each
	scripts/fuzz

quickstart: ## Serve the quickstart example
	cargo run --release -- run examples/quickstart

bench: ## Measure against nginx, HAProxy, Envoy and two minimal proxies; writes bench/RESULTS.md
	bench/run

dist: ## target/dist/genkan, optimised by a profile of real requests; the Dockerfile's image is built without one
	scripts/dist

cluster: ## A Kubernetes cluster to play with, without containers; prints its KUBECONFIG (needs root and Go)
	@scripts/cluster up

cluster-down: ## End it
	@scripts/cluster down
