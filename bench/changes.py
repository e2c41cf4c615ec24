"""The driver of bench/changes: makes manifests, runs genkan on them, changes them, asks until the change is served.

Two backends answer with their own name, so a response tells which endpoint it came from; a route's change is told by
its path, which answers 404 before.
"""

import http.client
import json
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

from fixtures import TENANTS, ask, backend, endpoints, free_port, ingress, memory, report, service, until


class Site:
    """Manifests in a folder. Every file is written beside the folder and renamed into it, as ConfigMaps and git do."""

    def __init__(self, root, routes, layout, port):
        self.folder = root / "manifests"
        self.folder.mkdir()
        self.scratch = root / "scratch"
        self.layout = layout
        self.objects = {}
        self.files = {}
        ingress_class = {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "IngressClass",
            "metadata": {"name": "nginx"},
            "spec": {"controller": "k8s.io/ingress-nginx"},
        }
        self.put("class", ingress_class, "class")
        for number in range(routes):
            for kind, value in (
                ("ingress", ingress(number, "/")), ("service", service(number)), ("endpoints", endpoints(number, port)),
            ):
                self.put(f"{kind}-{number}", value, f"tenant-{number % TENANTS}")
        for file in self.files:
            self.write(file)

    def put(self, key, value, tenant):
        file = key if self.layout == "each" else tenant
        self.objects[key] = value
        self.files.setdefault(file, []).append(key)

    def write(self, file):
        text = "---\n".join(json.dumps(self.objects[key], indent=1) + "\n" for key in self.files[file])
        self.scratch.write_text(text)
        self.scratch.rename(self.folder / f"{file}.yaml")
        return time.perf_counter()

    def change(self, key, value):
        """Returns when the file was in place."""
        self.objects[key] = value
        file = key if self.layout == "each" else f"tenant-{int(key.rsplit('-', 1)[1]) % TENANTS}"
        return self.write(file)


def start(genkan, folder, log):
    http_port, admin_port = free_port(), free_port()
    began = time.perf_counter()
    process = subprocess.Popen(
        [genkan, "run", folder, "--http-port", str(http_port), "--https-port", str(free_port()),
         "--healthz-port", str(admin_port), "--quiet"],
        stdout=subprocess.DEVNULL, stderr=log,
    )
    while True:
        if process.poll() is not None:
            raise RuntimeError(f"genkan ended with {process.returncode}")
        try:
            admin = http.client.HTTPConnection("127.0.0.1", admin_port, timeout=5)
            if ask(admin, "admin", "/readyz")[0] == 200:
                return process, http_port, time.perf_counter() - began
        except OSError:
            pass
        time.sleep(0.01)


def main():
    genkan, routes, changes, layout = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    ports = [backend("one"), backend("two")]
    with tempfile.TemporaryDirectory() as root:
        root = pathlib.Path(root)
        site = Site(root, routes, layout, ports[0])
        with open(root / "log", "w") as log:
            process, port, ready = start(genkan, site.folder, log)
        try:
            print(f"{routes} routes, {len(site.files)} files")
            print(f"  {'ready after':<18} {ready:7.2f} s")
            print(f"  {'memory when ready':<18} {memory(process.pid):7.1f} MiB   (peak {memory(process.pid, 'VmHWM'):.1f} MiB)")
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            step = max(1, routes // changes)
            taken = {"route": [], "endpoints": []}
            for turn in range(changes):
                number = turn * step % routes
                host = f"web-{number}.example.com"
                path = f"/changed-{turn}"
                if ask(connection, host, path)[0] != 404:
                    raise RuntimeError("the route is there before the change")
                began = site.change(f"ingress-{number}", ingress(number, path))
                taken["route"].append(until(connection, host, path, lambda answer: answer[0] == 200) - began)
                if ask(connection, host, path)[1] != "one":
                    raise RuntimeError("the endpoint is changed before the change")
                began = site.change(f"endpoints-{number}", endpoints(number, ports[1]))
                taken["endpoints"].append(until(connection, host, path, lambda answer: answer[1] == "two") - began)
            for what, seconds in taken.items():
                report(f"{what} changed", seconds)
            time.sleep(2)
            print(f"  {'memory at the end':<18} {memory(process.pid):7.1f} MiB")
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


if __name__ == "__main__":
    main()
