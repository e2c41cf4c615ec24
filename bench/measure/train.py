"""Requests of every kind that bench/run measures, to Genkan alone: what a profile for the compiler is taken from."""

import sys
import tempfile
from pathlib import Path

from . import load
from .__main__ import SCENARIOS, make_certificate, start_backend, url_of
from .peers import ALL_POLICIES, ALL_POLICIES_CONFIG, Genkan, Work

REQUESTS = 20000
LARGE_REQUESTS = 2000
HOSTS = 100


def train(scenario, folder):
    policies = ("genkan", ALL_POLICIES, ALL_POLICIES_CONFIG, "/(.*)") if scenario.policies else ()
    folder.mkdir()
    folder.chmod(0o755)
    backend, port = start_backend(folder)
    hosts = ["bench.test"] + [f"h{number}.bench.test" for number in range(1, min(scenario.hosts, HOSTS))]
    process, http, https = Genkan(*policies).start(Work(folder, port, hosts, *make_certificate(folder)))
    try:
        requests = LARGE_REQUESTS if scenario.path == "/64k" else REQUESTS
        url = url_of(scenario, http, https)
        seen, _ = load.saturate(url, requests, http2=scenario.http2, host=hosts[-1])
        if seen.failed or seen.requests != requests:
            sys.exit(f"{scenario.title}: {seen}")
    finally:
        process.stop()
        backend.stop()


def main():
    with tempfile.TemporaryDirectory(prefix="genkan-train-") as name:
        Path(name).chmod(0o755)
        for scenario in SCENARIOS:
            print(f"training: {scenario.title}", file=sys.stderr)
            train(scenario, Path(name) / scenario.name)


if __name__ == "__main__":
    main()
