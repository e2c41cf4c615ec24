"""Load: h2load over HTTP/1.1 and HTTP/2, as fast as it goes or at a fixed rate. Bounded in time and connections."""

import re
import subprocess
import tempfile
import time
from dataclasses import dataclass


@dataclass
class Load:
    """What a load generator saw."""

    requests: int
    failed: int


def options(url, connections, http2, streams, host):
    """Arguments that every run of h2load shares."""
    arguments = ["h2load", "-t", "1", "-c", str(connections), "-m", str(streams if http2 else 1)]
    if not http2:
        arguments.append("--h1")
    if host:
        arguments += ["-H", f":authority: {host}"]
    return arguments + [url]


def run(arguments):
    output = subprocess.run(arguments, capture_output=True, text=True, timeout=120, check=True).stdout
    counts = re.search(r"(\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", output)
    statuses = re.search(r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", output)
    if not counts or not statuses:
        raise RuntimeError(f"h2load said:\n{output}")
    good = int(statuses.group(1))
    bad = sum(int(statuses.group(n)) for n in (2, 3, 4)) + sum(int(counts.group(n)) for n in (2, 3, 4))
    return Load(good, bad)


def saturate(url, requests, connections=64, http2=False, streams=10, host=None):
    """`requests` as fast as they go through, with the seconds that they took. A number and not a time, so that none is
    under way when the CPU time is read, and handshakes weigh the same for every proxy."""
    arguments = options(url, connections, http2, streams, host)
    began = time.monotonic()
    seen = run(arguments[:1] + ["-n", str(requests)] + arguments[1:])
    return seen, time.monotonic() - began


def p99_at_rate(url, rate, seconds, connections=32, http2=False, host=None):
    """The 99th percentile of the time to answer, in microseconds, at `rate` requests a second."""
    with tempfile.NamedTemporaryFile("r", prefix="genkan-bench-") as log:
        per_client = max(1, rate // connections)
        arguments = options(url, connections, http2, 1, host)
        total = per_client * connections * seconds
        load = run(arguments[:1] + ["--rps", str(per_client), "-n", str(total), f"--log-file={log.name}"] + arguments[1:])
        times = sorted(int(line.split("\t")[2]) for line in log if line.count("\t") >= 2)
    if not times:
        raise RuntimeError("h2load logged no request")
    return times[min(len(times) - 1, int(len(times) * 0.99))], load.failed
