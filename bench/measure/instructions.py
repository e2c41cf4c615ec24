"""The command bench/instructions: instructions of one request by origin (callgrind), CPU time in user and kernel space.

Start-up, connections and idle work cancel out: the count of N requests is taken from the count of 2 N in the same
process. Numbers of instructions repeat to a few in a thousand on any machine, unlike times.
"""

import argparse
import re
import subprocess
import tempfile
from collections import Counter
from pathlib import Path

from . import load
from .__main__ import make_certificate, start_backend
from .peers import ALL_POLICIES, ALL_POLICIES_CONFIG, Genkan, Minimal, Nginx, Work
from .processes import TICKS

CONNECTIONS = 4

# Origin of a function, by the first pattern that its name or its object matches. Inlined code counts as its caller's.
ORIGINS = [
    ("allocation", r"^_?mi_|^mi_|malloc|^free$|^realloc|^calloc|^_int_|__rust_(de|re)?alloc|^__rdl|^ngx_p?c?n?alloc|^ngx_palloc|mimalloc"),
    ("copying", r"mem(cpy|move|set|cmp|chr)|bcmp"),
    ("Genkan", r"genkan"),
    ("pingora", r"pingora"),
    ("HTTP codecs and heads", r"^<?&?(mut )?(http|httparse|hyper|h2|bytes|http_body|http_body_util)::|httparse|<http::|<bytes::|http::header|http::uri"),
    ("runtime (tokio, mio)", r"tokio|mio::|futures|parking_lot|async"),
    ("libc, system calls, clock", r"^(read|readv|write|writev|recv|send|epoll|clock_gettime|syscall|close|__|pthread)|vdso|0x"),
]


def origin(function):
    return next((name for name, pattern in ORIGINS if re.search(pattern, function)), "std and others")


def self_costs(path):
    """Instructions of each function itself, of a callgrind profile."""
    costs, names = Counter(), {}
    function, skip = "", False
    for line in Path(path).read_text(errors="replace").splitlines():
        if line.startswith("fn="):
            number, _, name = line[3:].partition(" ")
            if name:
                names[number] = name
            function = names[number]
        elif line.startswith("cfn="):
            number, _, name = line[4:].partition(" ")
            if name:
                names[number] = name
        elif line.startswith("calls="):
            skip = True  # the next line is what the callee cost
        elif line and line[0] in "0123456789+-*":
            if not skip:
                # A cost of zero may be left out.
                costs[function] += int((line.split() + ["0"])[1])
            skip = False
    return costs


class Counted:
    """A peer whose program runs under callgrind."""

    def __init__(self, peer, profile):
        self.peer, self.profile = peer, profile

    def start(self, work):
        from . import peers

        plain = peers.Process

        def under_callgrind(name, command, log):
            prefix = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={self.profile}", "--compress-strings=yes"]
            process = plain(name, prefix + command, log)
            patient = process.wait_for
            process.wait_for = lambda port: patient(port, seconds=120)
            return process

        peers.Process = under_callgrind
        try:
            return self.peer.start(work)
        finally:
            peers.Process = plain


def dump(process):
    subprocess.run(["callgrind_control", "-d", str(process.process.pid)], check=True, capture_output=True)


def count(peer, work, requests):
    """Instructions per request by function."""
    profile = work.folder / f"profile-{peer.name.replace(' ', '-').replace(',', '')}"
    process, http, _ = Counted(peer, profile).start(work)
    try:
        for number in (requests, requests, 2 * requests):
            seen, _ = load.saturate(f"http://127.0.0.1:{http}/1k", number, connections=CONNECTIONS, host=work.hosts[0])
            if seen.failed or seen.requests != number:
                raise RuntimeError(f"{peer.name}: {seen}")
            dump(process)
    finally:
        process.stop()
    once, twice = self_costs(f"{profile}.2"), self_costs(f"{profile}.3")
    return {name: (twice[name] - once[name]) / requests for name in twice | once if twice[name] != once[name]}


def times(peer, work, requests):
    """Microseconds in user and kernel space per request, without callgrind."""
    process, http, _ = peer.start(work)
    try:
        def spent():
            fields = Path(f"/proc/{process.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
            return int(fields[11]) / TICKS, int(fields[12]) / TICKS

        url = f"http://127.0.0.1:{http}/1k"
        load.saturate(url, 2000, connections=64, host=work.hosts[0])
        before = spent()
        load.saturate(url, requests, connections=64, host=work.hosts[0])
        return [(now - then) / requests * 1e6 for now, then in zip(spent(), before)]
    finally:
        process.stop()


def main():
    parser = argparse.ArgumentParser(prog="bench/instructions", description=__doc__)
    parser.add_argument("--only", help="programs whose name contains this")
    parser.add_argument("--requests", type=int, default=1000, help="N; 2 N are counted too")
    parser.add_argument("--functions", type=int, default=0, help="list so many functions of each program")
    settings = parser.parse_args()
    peers = [Genkan(), Genkan("genkan, all policies", ALL_POLICIES, ALL_POLICIES_CONFIG, "/(.*)"),
             Minimal("minimal-pingora"), Minimal("minimal-hyper"), Nginx(single=True)]
    columns = {}
    with tempfile.TemporaryDirectory(prefix="genkan-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        backend, port = start_backend(folder)
        work = Work(folder, port, ["bench.test"], *make_certificate(folder))
        try:
            for peer in peers:
                if settings.only and settings.only not in peer.name:
                    continue
                costs = count(peer, work, settings.requests)
                columns[peer.name] = costs, times(peer, work, 20000)
                if settings.functions:
                    print(f"\n{peer.name}")
                    for function, cost in sorted(costs.items(), key=lambda item: -item[1])[:settings.functions]:
                        print(f"{cost:9.0f}  {origin(function):28} {function[:150]}")
        finally:
            backend.stop()
    print("\n| instructions per request | " + " | ".join(columns) + " |\n|---|" + "---|" * len(columns))
    for name in [name for name, _ in ORIGINS] + ["std and others"]:
        sums = [sum(cost for function, cost in costs.items() if origin(function) == name) for costs, _ in columns.values()]
        print(f"| {name} | " + " | ".join(f"{one:,.0f}" for one in sums) + " |")
    print("| **all in user space** | " + " | ".join(f"**{sum(costs.values()):,.0f}**" for costs, _ in columns.values()) + " |")
    for row, name in enumerate(("user", "kernel")):
        print(f"| {name} time (us) | " + " | ".join(f"{spent[row]:.1f}" for _, spent in columns.values()) + " |")


if __name__ == "__main__":
    main()
