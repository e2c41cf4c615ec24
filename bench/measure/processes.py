"""Processes: start, wait until they answer, read CPU time and memory from /proc, stop."""

import os
import signal
import socket
import subprocess
import time
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


def free_port():
    """A TCP port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def children(pid):
    """The process and everything below it."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            below = task.read_text().split()
        except OSError:
            continue
        for child in below:
            found.extend(children(int(child)))
    return found


class Process:
    """A running program, and those that it started."""

    def __init__(self, name, command, log, env=None, cwd=None):
        self.name = name
        self.log = log
        with open(log, "wb") as output:
            self.process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
                                            env={**os.environ, **(env or {})}, cwd=cwd)

    def wait_for(self, port, seconds=20):
        """Returns when something accepts on `port`; raises with the program's output otherwise."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return self
            except OSError:
                time.sleep(0.02)
        raise RuntimeError(f"{self.name} does not answer on port {port}:\n{Path(self.log).read_text()[-2000:]}")

    def cpu_seconds(self):
        """User and system CPU time so far, children included."""
        total = 0
        for pid in children(self.process.pid):
            try:
                fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            total += int(fields[11]) + int(fields[12])
        return total / TICKS

    def resident_mib(self):
        """Resident memory, children included; memory that they share counts once for each."""
        total = 0
        for pid in children(self.process.pid):
            try:
                for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                    if line.startswith("VmRSS:"):
                        total += int(line.split()[1])
            except OSError:
                continue
        return total / 1024

    def stop(self):
        """Ends the whole process group."""
        for wanted in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self.process.pid, wanted)
            except ProcessLookupError:
                return
            try:
                self.process.wait(3)
                return
            except subprocess.TimeoutExpired:
                continue
