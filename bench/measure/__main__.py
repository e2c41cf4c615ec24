"""The command: starts the peers with the same work, measures them in turn, writes bench/RESULTS.md."""

import argparse
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from . import load, report
from .peers import ALL_POLICIES, ALL_POLICIES_CONFIG, ROOT, Envoy, Genkan, HaProxy, Minimal, Nginx, Work
from .processes import Process, free_port


# Requests of the round that only warms up and shows how fast a proxy is.
WARM_UP = 4000


@dataclass(frozen=True)
class Scenario:
    """One kind of work."""

    name: str
    title: str
    path: str = "/1k"
    tls: bool = False
    http2: bool = False
    hosts: int = 1
    policies: bool = False


SCENARIOS = [
    Scenario("h1-1k", "HTTP/1.1 keep-alive, 1 KiB"),
    Scenario("h1-64k", "HTTP/1.1 keep-alive, 64 KiB", path="/64k"),
    Scenario("tls-1k", "HTTP/1.1 over TLS 1.3, 1 KiB", tls=True),
    Scenario("h2-1k", "HTTP/2 over TLS 1.3, 1 KiB", tls=True, http2=True),
    Scenario("hosts-1000", "HTTP/1.1, 1,000 hosts, 1 KiB", hosts=1000),
    Scenario("policies", "HTTP/1.1, all policies on, 1 KiB (Genkan against itself)", policies=True),
]


@dataclass
class Measured:
    """What was measured of one peer in one scenario, an entry per round."""

    cpu: list = field(default_factory=list)  # microseconds per request
    rate: list = field(default_factory=list)  # requests per second; the first is the warm-up's
    p99: list = field(default_factory=list)  # microseconds
    memory: float = 0.0  # MiB after the load
    failed: int = 0


def peers_of(scenario):
    genkan = Genkan()
    if scenario.policies:
        return [genkan, Genkan("genkan, all policies", ALL_POLICIES, ALL_POLICIES_CONFIG, "/(.*)")]
    all_peers = [Nginx(), HaProxy(), Envoy(), Minimal("minimal-pingora"), Minimal("minimal-hyper"), genkan]
    return [peer for peer in all_peers
            if (peer.tls or not scenario.tls) and (peer.http2 or not scenario.http2)
            and (peer.many_hosts or scenario.hosts == 1)]


def start_backend(folder):
    """An nginx that serves two files from memory."""
    port = free_port()
    files = folder / "files"
    files.mkdir()
    (files / "1k").write_bytes(b"x" * 1024)
    (files / "64k").write_bytes(b"x" * 65536)
    (folder / "backend.conf").write_text(f"""
daemon off; worker_processes 1; pid {folder}/backend.pid; error_log {folder}/backend.error crit;
events {{ worker_connections 8192; }}
http {{ access_log off; keepalive_requests 1000000000; open_file_cache max=10; sendfile on; tcp_nopush on;
  server {{ listen 127.0.0.1:{port}; root {files}; default_type application/octet-stream; }} }}""")
    command = ["nginx", "-c", str(folder / "backend.conf"), "-p", str(folder)]
    return Process("backend", command, folder / "backend.log").wait_for(port), port


def make_certificate(folder):
    certificate, key = folder / "tls.crt", folder / "tls.key"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                    "-keyout", key, "-out", certificate, "-days", "2", "-subj", "/CN=bench.test",
                    "-addext", "subjectAltName=DNS:bench.test,DNS:*.bench.test"], check=True, capture_output=True)
    return certificate, key


def measure(scenario, settings):
    """Every peer in turn, round after round, so that noise of the machine meets all of them."""
    results = {}
    with tempfile.TemporaryDirectory(prefix="genkan-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        certificate, key = make_certificate(folder)
        backend, backend_port = start_backend(folder)
        hosts = ["bench.test"] + [f"h{n}.bench.test" for n in range(1, scenario.hosts)]
        work = Work(folder, backend_port, hosts, certificate, key)
        running = []
        try:
            for peer in peers_of(scenario):
                running.append((peer, *peer.start(work)))
                results[peer.name] = Measured()
            for number in range(settings.rounds + 1):
                for peer, process, http, https in running:
                    one_round(scenario, settings, results[peer.name], process, http, https, hosts[-1], number == 0)
            for peer, process, http, https in running:
                results[peer.name].memory = process.resident_mib()
            if not scenario.policies:
                at_fixed_rate(scenario, settings, running, results, hosts[-1])
        finally:
            for _, process, *_ in running:
                process.stop()
            backend.stop()
    return results


def url_of(scenario, http, https):
    return f"https://127.0.0.1:{https}{scenario.path}" if scenario.tls else f"http://127.0.0.1:{http}{scenario.path}"


def one_round(scenario, settings, measured, process, http, https, host, warm_up):
    """As many requests as the proxy answers in about the time of a round, by what the rounds before have shown."""
    requests = WARM_UP if warm_up else max(WARM_UP, int(measured.rate[0] * settings.seconds))
    before = process.cpu_seconds()
    seen, seconds = load.saturate(url_of(scenario, http, https), requests, http2=scenario.http2, host=host)
    used = process.cpu_seconds() - before
    measured.failed += seen.failed
    measured.rate.append(seen.requests / seconds)
    if not warm_up:
        measured.cpu.append(used / max(1, seen.requests) * 1e6)


def at_fixed_rate(scenario, settings, running, results, host):
    """The same rate for all: half of what the slowest peer managed."""
    rate = int(min(statistics.median(results[peer.name].rate[1:]) for peer, *_ in running) / 2)
    for _ in range(settings.rounds):
        for peer, _, http, https in running:
            url = url_of(scenario, http, https)
            p99, failed = load.p99_at_rate(url, rate, settings.seconds, http2=scenario.http2, host=host)
            results[peer.name].p99.append(p99)
            results[peer.name].failed += failed


def main():
    parser = argparse.ArgumentParser(prog="bench/run", description=__doc__)
    parser.add_argument("--only", choices=[scenario.name for scenario in SCENARIOS], help="one scenario")
    parser.add_argument("--quick", action="store_true", help="2 rounds of 1 second; writes nothing")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=4)
    settings = parser.parse_args()
    if settings.quick:
        settings.rounds, settings.seconds = 2, 1
    tables = {}
    for scenario in SCENARIOS:
        if settings.only in (None, scenario.name):
            print(f"bench: {scenario.title}", file=sys.stderr)
            tables[scenario] = measure(scenario, settings)
            print(report.table(scenario, tables[scenario]), flush=True)
    if not settings.quick and not settings.only:
        versions = {peer.name: peer.version() for peer in peers_of(SCENARIOS[0])}
        report.write(ROOT / "bench/RESULTS.md", settings, versions, tables)
    failed = {name: one.failed for results in tables.values() for name, one in results.items() if one.failed}
    if failed:
        sys.exit(f"bench: failed requests: {failed}")


if __name__ == "__main__":
    main()
