"""The driver of bench/cluster: starts a control plane, fills it, runs genkan against it, changes objects, asks until the
change is served."""

import concurrent.futures
import http.client
import json
import os
import pathlib
import random
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse

from fixtures import TENANTS, ask, backend, endpoints, free_port, ingress, memory, report, service, until

PATHS = {
    "Namespace": "/api/v1/namespaces",
    "IngressClass": "/apis/networking.k8s.io/v1/ingressclasses",
    "Ingress": "/apis/networking.k8s.io/v1/namespaces/{}/ingresses",
    "Service": "/api/v1/namespaces/{}/services",
    "EndpointSlice": "/apis/discovery.k8s.io/v1/namespaces/{}/endpointslices",
}
WRITERS = 8
PUBLISHED = "192.0.2.1"


class ApiServer:
    """A client of the API server with a kept connection for each thread."""

    def __init__(self, kubectl, kubeconfig):
        text = subprocess.run(
            [*kubectl, "--kubeconfig", kubeconfig, "config", "view", "--raw", "-o", "json"],
            check=True, capture_output=True, text=True,
        ).stdout
        config = json.loads(text)
        self.address = urllib.parse.urlparse(config["clusters"][0]["cluster"]["server"])
        self.token = config["users"][0]["user"]["token"]
        # The certificate is checked by nobody: the server is our own child.
        self.context = ssl._create_unverified_context()
        self.local = threading.local()

    def call(self, method, path, value=None, kind="application/json"):
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": kind}
        text = None if value is None else json.dumps(value)
        for attempt in range(3):
            try:
                if getattr(self.local, "connection", None) is None:
                    self.local.connection = http.client.HTTPSConnection(
                        self.address.hostname, self.address.port, context=self.context, timeout=60)
                self.local.connection.request(method, path, text, headers)
                response = self.local.connection.getresponse()
                body = response.read()
                break
            except (OSError, http.client.HTTPException):
                # The server ends a kept connection now and then.
                self.local.connection = None
                if attempt == 2:
                    raise
        # Made by an attempt whose answer was lost.
        if attempt > 0 and method == "POST" and response.status == 409:
            return value
        if response.status >= 300:
            raise RuntimeError(f"{method} {path}: {response.status} {body[:300]}")
        return json.loads(body)

    @staticmethod
    def path(value):
        return PATHS[value["kind"]].format(value["metadata"].get("namespace", ""))

    def create(self, value):
        return self.call("POST", self.path(value), value)

    def replace(self, value):
        return self.call("PUT", f"{self.path(value)}/{value['metadata']['name']}", value)


def fill(api, routes, address, port):
    for number in range(TENANTS):
        api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": f"tenant-{number}"}})
    api.create({
        "apiVersion": "networking.k8s.io/v1", "kind": "IngressClass", "metadata": {"name": "nginx"},
        "spec": {"controller": "k8s.io/ingress-nginx"},
    })

    def route(number):
        without_selector = service(number)
        # Its slice is ours: with a selector the cluster's own controllers would make another.
        del without_selector["spec"]["selector"]
        for value in (without_selector, endpoints(number, port, address), ingress(number, "/")):
            api.create(value)

    with concurrent.futures.ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(route, range(routes)))


def start(genkan, kubeconfig, log, *more):
    port, admin_port = free_port(), free_port()
    began = time.perf_counter()
    process = subprocess.Popen(
        [genkan, "controller", "--kubeconfig", kubeconfig, "--http-port", str(port), "--https-port", str(free_port()),
         "--healthz-port", str(admin_port), "--healthz-host", "127.0.0.1", "--publish-status-address", PUBLISHED,
         "--update-status-on-shutdown=false", "--post-shutdown-grace-period", "0", *more],
        stdout=subprocess.DEVNULL, stderr=log, env={**os.environ, "POD_NAMESPACE": "default", "POD_NAME": "bench"},
    )
    while True:
        if process.poll() is not None:
            raise RuntimeError(f"genkan ended with {process.returncode}")
        try:
            admin = http.client.HTTPConnection("127.0.0.1", admin_port, timeout=5)
            if ask(admin, "admin", "/readyz")[0] == 200:
                return process, port, time.perf_counter() - began
        except OSError:
            pass
        time.sleep(0.01)


def cpu(pid):
    """Seconds of CPU that a process has used."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def settle(process):
    """Waits until nothing is done any more: after the start, statuses are written."""
    used = cpu(process.pid)
    while True:
        time.sleep(1)
        now = cpu(process.pid)
        if now - used < 0.03:
            return
        used = now


def published(api, routes):
    """Fails unless every Ingress has its status."""
    items = api.call("GET", "/apis/networking.k8s.io/v1/ingresses?resourceVersion=0")["items"]
    have = sum(item["status"]["loadBalancer"] == {"ingress": [{"ip": PUBLISHED}]} for item in items)
    if have != routes:
        raise RuntimeError(f"{have} of {routes} Ingresses have their status")


def timed_changes(api, port, routes, changes, address, ports):
    """Endpoints and routes in turn, of objects chosen at random."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    taken = {"endpoints": [], "route": []}
    at = {}
    for turn in range(changes):
        number = random.randrange(routes)
        host = f"web-{number}.example.com"
        state = at.setdefault(number, {"path": "/", "port": 0})
        if turn % 2 == 0:
            state["port"] = 1 - state["port"]
            wanted = ("one", "two")[state["port"]]
            api.replace(endpoints(number, ports[state["port"]], address))
            accepted = time.perf_counter()
            served = until(connection, host, state["path"], lambda answer: answer[1] == wanted)
            taken["endpoints"].append(max(0, served - accepted))
        else:
            state["path"] = f"/changed-{turn}"
            api.replace(ingress(number, state["path"]))
            accepted = time.perf_counter()
            served = until(connection, host, state["path"], lambda answer: answer[0] == 200)
            taken["route"].append(max(0, served - accepted))
    return taken


def many_changes(api, routes, changes, address, ports):
    def change(turn):
        number = random.randrange(routes)
        if turn % 2 == 0:
            api.replace(endpoints(number, ports[turn // 2 % 2], address))
        else:
            api.replace(ingress(number, f"/again-{turn}"))

    with concurrent.futures.ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(change, range(changes)))


def review(number, turn):
    """An AdmissionReview as the API server sends it: of a host of one's own, of one that others serve, of one changed."""
    proposed = ingress(number, f"/new-{turn}")
    proposed["metadata"]["name"] = ("web-{}" if turn % 3 == 2 else "new-{}").format(number)
    if turn % 3 == 0:
        proposed["spec"]["rules"][0]["host"] = f"new-{turn}.example.com"
    kind = {"group": "networking.k8s.io", "version": "v1", "kind": "Ingress"}
    return {
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": f"review-{turn}", "kind": kind, "requestKind": kind,
            "resource": {"group": "networking.k8s.io", "version": "v1", "resource": "ingresses"},
            "name": proposed["metadata"]["name"], "namespace": proposed["metadata"]["namespace"],
            "operation": "UPDATE" if turn % 3 == 2 else "CREATE", "object": proposed,
        },
    }


def timed_reviews(port, routes, reviews):
    """One review after the other, on one connection."""
    connection = http.client.HTTPSConnection("127.0.0.1", port, context=ssl._create_unverified_context(), timeout=30)
    connection.connect()
    # Head and body are two writes; the second must not wait for the server's delayed acknowledgement.
    connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    taken = []
    for turn in range(reviews):
        text = json.dumps(review(random.randrange(routes), turn))
        began = time.perf_counter()
        connection.request("POST", "/networking/v1/ingresses", text, {"Content-Type": "application/json"})
        response = connection.getresponse()
        body = response.read()
        taken.append(time.perf_counter() - began)
        answer = json.loads(body)["response"] if response.status == 200 else {}
        if not answer.get("allowed"):
            raise RuntimeError(f"not allowed: {response.status} {body[:300]}")
    return taken


def measure_webhook(cluster, genkan, routes, reviews, folder):
    kubeconfig = f"{folder}/kubeconfig"
    network = json.loads(pathlib.Path(folder, "cluster.json").read_text())["net"]
    address = f"10.{network}.0.1"
    fill(ApiServer([cluster, "kubectl"], kubeconfig), routes, address, backend("one", address))
    print(f"{routes} Ingresses, Services and EndpointSlices; {reviews} reviews")
    webhook = free_port()
    # Its certificate is of its own making.
    flags = ["--validating-webhook", f"127.0.0.1:{webhook}", "--validating-webhook-service", "default/webhook",
             "--validating-webhook-configuration", "webhook", "--validating-webhook-secret", "default/webhook"]
    with open(f"{folder}/genkan.log", "w") as log:
        process, _, _ = start(genkan, kubeconfig, log, *flags)
        try:
            deadline = time.perf_counter() + 30
            while True:
                try:
                    timed_reviews(webhook, routes, 30)
                    break
                except (OSError, http.client.HTTPException):
                    # No certificate yet.
                    if time.perf_counter() > deadline:
                        raise
                    time.sleep(0.1)
            used = cpu(process.pid)
            report("reviewed", timed_reviews(webhook, routes, reviews))
            print(f"  {'CPU of each':<18} {(cpu(process.pid) - used) / reviews * 1000:7.2f} ms")
        finally:
            end(process)


def end(process):
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()


def measure(cluster, genkan, routes, changes, more, folder):
    kubeconfig = f"{folder}/kubeconfig"
    network = json.loads(pathlib.Path(folder, "cluster.json").read_text())["net"]
    address = f"10.{network}.0.1"
    ports = [backend("one", address), backend("two", address)]
    api = ApiServer([cluster, "kubectl"], kubeconfig)
    began = time.perf_counter()
    fill(api, routes, address, ports[0])
    print(f"{routes} Ingresses, Services and EndpointSlices, made in {time.perf_counter() - began:.0f} s")
    with open(f"{folder}/genkan.log", "w") as log:
        process, port, ready = start(genkan, kubeconfig, log)
        try:
            print(f"  {'ready':<18} {ready:7.2f} s")
            print(f"  {'CPU until then':<18} {cpu(process.pid):7.2f} s")
            settle(process)
            published(api, routes)
            print(f"  {'CPU with statuses':<18} {cpu(process.pid):7.2f} s, {routes} written")
            print(f"  {'memory':<18} {memory(process.pid):7.1f} MiB (highest {memory(process.pid, 'VmHWM'):.1f})")
            for what, seconds in timed_changes(api, port, routes, changes, address, ports).items():
                report(f"{what} changed", seconds)
            before, used = memory(process.pid), cpu(process.pid)
            began = time.perf_counter()
            many_changes(api, routes, more, address, ports)
            lasted = time.perf_counter() - began
            used = cpu(process.pid) - used
            settle(process)
            after = memory(process.pid)
            print(f"  {more} changes in {lasted:.0f} s, {used / max(1, more) * 1000:.2f} ms of CPU each: "
                  f"memory {before:.1f} -> {after:.1f} MiB ({(after / before - 1) * 100:+.1f} %)")
        finally:
            end(process)


def main():
    cluster, genkan, what = sys.argv[1:4]
    numbers = [int(argument) for argument in sys.argv[4:]]
    with tempfile.TemporaryDirectory() as folder:
        # It ends with its standard input, so also when this process is killed.
        up = subprocess.Popen(
            [cluster, "up", "--dir", folder, "--until-stdin-closes"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        try:
            for line in up.stdout:
                if line.strip() == "ready":
                    break
            else:
                raise RuntimeError("the control plane did not start")
            {"changes": measure, "webhook": measure_webhook}[what](cluster, genkan, *numbers, folder)
        finally:
            up.stdin.close()
            up.wait(30)


if __name__ == "__main__":
    main()
