"""The driver of bench/gateways: starts a control plane and genkan, makes Gateways and routes, asks until they answer.

When the API server tells of a new route is known from a watch of our own beside genkan's. Whoever asks has begun before
the route is made, so that what is measured is genkan, up to the time of one request.
"""

import concurrent.futures
import http.client
import json
import multiprocessing
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse

import cluster
from cluster import WRITERS, ApiServer, cpu, end, settle
from fixtures import TENANTS, ask, backend, endpoints, memory, report, service

GROUP = "gateway.networking.k8s.io"
NEW = "genkan.test/new"
PATIENCE = 60
ASKING = 0.0005

cluster.PATHS.update({
    "GatewayClass": f"/apis/{GROUP}/v1/gatewayclasses",
    "Gateway": f"/apis/{GROUP}/v1/namespaces/{{}}/gateways",
    "HTTPRoute": f"/apis/{GROUP}/v1/namespaces/{{}}/httproutes",
    "GatewayParameters": "/apis/genkan.dev/v1alpha1/namespaces/{}/gatewayparameters",
})


def gateway_class(network):
    """A class whose Gateways have loopback addresses that no other cluster on this machine has."""
    reference = {"group": "genkan.dev", "kind": "GatewayParameters", "namespace": "default", "name": "bench"}
    pool = {"dynamic": [f"127.{network}.1.0/24"]}
    return [
        {"apiVersion": "genkan.dev/v1alpha1", "kind": "GatewayParameters",
         "metadata": {"name": "bench", "namespace": "default"}, "spec": {"addresses": {"mode": "Pool", "pool": pool}}},
        {"apiVersion": f"{GROUP}/v1", "kind": "GatewayClass", "metadata": {"name": "bench"},
         "spec": {"controllerName": "genkan.dev/gateway-controller", "parametersRef": reference}},
    ]


def gateway(number):
    allowed = {"namespaces": {"from": "All"}}
    listener = {"name": "web", "port": 80, "protocol": "HTTP", "allowedRoutes": allowed}
    return {"apiVersion": f"{GROUP}/v1", "kind": "Gateway",
            "metadata": {"name": f"gate-{number}", "namespace": "default"},
            "spec": {"gatewayClassName": "bench", "listeners": [listener]}}


def route(name, number, gateways, labels=None):
    tenant = number % TENANTS
    return {"apiVersion": f"{GROUP}/v1", "kind": "HTTPRoute",
            "metadata": {"name": name, "namespace": f"tenant-{tenant}", "labels": labels or {}},
            "spec": {"parentRefs": [{"name": f"gate-{number % gateways}", "namespace": "default"}],
                     "hostnames": [f"{name}.example.com"], "rules": rules(number, "/")}}


def rules(number, path):
    backends = [{"name": f"web-{number % TENANTS}", "port": 80}]
    return [{"matches": [{"path": {"type": "PathPrefix", "value": path}}], "backendRefs": backends}]


def fill(api, address, port):
    """Namespaces with a Service each."""
    for number in range(TENANTS):
        api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": f"tenant-{number}"}})
        without_selector = service(number)
        del without_selector["spec"]["selector"]
        api.create(without_selector)
        api.create(endpoints(number, port, address))


def addresses(api, gateways):
    """Where each Gateway is, once all are there."""
    deadline = time.perf_counter() + PATIENCE
    while True:
        found = {item["metadata"]["name"]: item.get("status", {}).get("addresses") for item in listed(api, "gateways")}
        if sum(bool(at) for at in found.values()) == gateways:
            return [found[f"gate-{number}"][0]["value"] for number in range(gateways)]
        if time.perf_counter() > deadline:
            raise RuntimeError(f"Gateways without an address: {found}")
        time.sleep(0.05)


def listed(api, plural):
    return api.call("GET", f"/apis/{GROUP}/v1/{plural}?resourceVersion=0")["items"]


def until_attached(api, wanted):
    """Asks until `attachedRoutes` of all Gateways is right; returns when it was."""
    deadline = time.perf_counter() + PATIENCE
    while True:
        items = listed(api, "gateways")
        now = time.perf_counter()
        listeners = {item["metadata"]["name"]: item["status"].get("listeners", []) for item in items}
        have = {name: [listener["attachedRoutes"] for listener in own] for name, own in listeners.items()}
        if have == wanted:
            return now
        if now > deadline:
            wrong = {name: (have.get(name), count) for name, count in wanted.items() if have.get(name) != count}
            raise RuntimeError(f"attachedRoutes, as they are and should be: {wrong}")
        time.sleep(0.02)


def wanted(gateways, numbers):
    counts = {f"gate-{number}": [0] for number in range(gateways)}
    for number in numbers:
        counts[f"gate-{number % gateways}"][0] += 1
    return counts


class Events:
    """When the API server told of each new route."""

    def __init__(self, kubectl, kubeconfig):
        api = ApiServer(kubectl, kubeconfig)
        since = api.call("GET", f"/apis/{GROUP}/v1/httproutes?limit=1")["metadata"]["resourceVersion"]
        self.connection = http.client.HTTPSConnection(api.address.hostname, api.address.port, context=api.context)
        query = urllib.parse.urlencode({"watch": 1, "resourceVersion": since, "labelSelector": NEW})
        headers = {"Authorization": f"Bearer {api.token}"}
        self.connection.request("GET", f"/apis/{GROUP}/v1/httproutes?{query}", headers=headers)
        self.response = self.connection.getresponse()
        self.times = {}
        threading.Thread(target=self.follow, daemon=True).start()

    def follow(self):
        for line in self.response:
            now = time.perf_counter()
            event = json.loads(line)
            if event["type"] == "ADDED":
                self.times[event["object"]["metadata"]["name"]] = now

    def of(self, name):
        deadline = time.perf_counter() + PATIENCE
        while name not in self.times:
            if time.perf_counter() > deadline:
                raise RuntimeError(f"the API server never told of {name}")
            time.sleep(0.001)
        return self.times[name]


def new_routes(api, events, where, numbers):
    """Makes one route after the other; how long each took to answer, from its watch event and from its acceptance."""
    taken = {"event": [], "acceptance": []}
    connections = {}

    def make(value):
        api.create(value)
        return time.perf_counter()

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        for number in numbers:
            at = where[number % len(where)]
            connection = connections.setdefault(at, http.client.HTTPConnection(at, 80, timeout=30))
            name = f"new-{number}"
            host = f"{name}.example.com"
            if ask(connection, host, "/")[0] != 404:
                raise RuntimeError("the route is there before it is made")
            accepted = pool.submit(make, route(name, number, len(where), {NEW: "yes"}))
            deadline = time.perf_counter() + PATIENCE
            while ask(connection, host, "/")[0] != 200:
                if time.perf_counter() > deadline:
                    raise RuntimeError(f"{host} does not answer")
                # Asking without a pause would take a processor from those that are measured.
                time.sleep(ASKING)
            served = time.perf_counter()
            taken["event"].append(max(0, served - events.of(name)))
            taken["acceptance"].append(max(0, served - accepted.result()))
            # Long enough for the statuses that follow from it to be written; not in step with anything else that happens
            # again and again.
            time.sleep(random.uniform(0.05, 0.1))
    return taken


def churn(kubectl, kubeconfig, routes, rate, over, made):
    """Changes one route after the other, `rate` a second, until it is told to end. A process of its own."""
    api = ApiServer(kubectl, kubeconfig)
    began = time.perf_counter()
    turns = iter(range(sys.maxsize))
    lock = threading.Lock()

    def work():
        while not over.is_set():
            with lock:
                turn = next(turns)
            time.sleep(max(0, began + turn / rate - time.perf_counter()))
            number = turn % routes
            path = f"/apis/{GROUP}/v1/namespaces/tenant-{number % TENANTS}/httproutes/web-{number}"
            change = {"spec": {"rules": rules(number, f"/changed-{turn}")}}
            api.call("PATCH", path, change, "application/merge-patch+json")
            with made.get_lock():
                made.value += 1

    with concurrent.futures.ThreadPoolExecutor(WRITERS) as pool:
        for worker in [pool.submit(work) for _ in range(WRITERS)]:
            worker.result()


def churned(kubectl, kubeconfig, routes, rate, measure):
    """Measures while routes change; what comes out, and how many changed in a second."""
    # A fresh process: what was opened here is not shared.
    context = multiprocessing.get_context("spawn")
    over, made = context.Event(), context.Value("q", 0)
    process = context.Process(target=churn, args=(kubectl, kubeconfig, routes, rate, over, made), daemon=True)
    process.start()
    try:
        deadline = time.perf_counter() + PATIENCE
        while made.value < WRITERS:
            if not process.is_alive() or time.perf_counter() > deadline:
                raise RuntimeError("no route changes")
            time.sleep(0.01)
        began, before = time.perf_counter(), made.value
        measured = measure()
        if not process.is_alive():
            raise RuntimeError("routes stopped changing")
        return measured, (made.value - before) / (time.perf_counter() - began)
    finally:
        over.set()
        process.join(10)
        process.kill()


def told(what, taken):
    """From a route's watch event, and from the API server's answer to whoever made it, to its first response."""
    report(f"{what}, event", taken["event"])
    report(f"{what}, accepted", taken["acceptance"])


def measure(kubectl, genkan, rate, routes, gateways, new, folder):
    kubeconfig = f"{folder}/kubeconfig"
    network = json.loads(pathlib.Path(folder, "cluster.json").read_text())["net"]
    address = f"10.{network}.0.1"
    api = ApiServer(kubectl, kubeconfig)
    definitions = subprocess.run([genkan, "crds"], check=True, capture_output=True, text=True).stdout
    subprocess.run([*kubectl, "--kubeconfig", kubeconfig, "apply", "--server-side", "--filename", "-"],
                   input=definitions, text=True, check=True, stdout=subprocess.DEVNULL)
    subprocess.run([*kubectl, "--kubeconfig", kubeconfig, "wait", "--for=condition=Established", "crd",
                    "gatewayparameters.genkan.dev"], check=True, stdout=subprocess.DEVNULL)
    with open(f"{folder}/genkan.log", "w") as log:
        process, _, _ = cluster.start(genkan, kubeconfig, log, "--bind-address", "127.0.0.1")
        try:
            settle(process)
            empty = memory(process.pid)
            print(f"{routes} HTTPRoutes over {gateways} Gateways, {new} new routes each time", flush=True)
            print(f"  {'memory when empty':<28} {empty:7.1f} MiB", flush=True)
            fill(api, address, backend("web", address))
            for value in [*gateway_class(network), *(gateway(number) for number in range(gateways))]:
                api.create(value)
            where = addresses(api, gateways)
            began = time.perf_counter()
            with concurrent.futures.ThreadPoolExecutor(WRITERS) as pool:
                list(pool.map(lambda number: api.create(route(f"web-{number}", number, gateways)), range(routes)))
            made = time.perf_counter()
            right = until_attached(api, wanted(gateways, range(routes)))
            print(f"  {'routes made in':<28} {made - began:7.2f} s", flush=True)
            print(f"  {'attachedRoutes right after':<28} {right - made:7.2f} s", flush=True)
            settle(process)
            accepted(api, routes)
            used = memory(process.pid)
            print(f"  {'CPU with statuses':<28} {cpu(process.pid):7.2f} s", flush=True)
            print(f"  {'memory':<28} {used:7.1f} MiB, {used - empty:+.1f} (highest {memory(process.pid, 'VmHWM'):.1f})",
                  flush=True)
            events = Events(kubectl, kubeconfig)
            told("idle", new_routes(api, events, where, range(routes, routes + new)))
            numbers = range(routes + new, routes + 2 * new)
            busy = lambda: new_routes(api, events, where, numbers)
            taken, changed = churned(kubectl, kubeconfig, routes, rate, busy)
            told("churn", taken)
            print(f"  {'routes that changed':<28} {changed:7.1f} /s", flush=True)
            ended = time.perf_counter()
            right = until_attached(api, wanted(gateways, range(routes + 2 * new)))
            print(f"  {'attachedRoutes right after':<28} {right - ended:7.2f} s, after the churn", flush=True)
            settle(process)
            used = memory(process.pid)
            print(f"  {'memory at the end':<28} {used:7.1f} MiB, {used - empty:+.1f}", flush=True)
        finally:
            end(process)


def accepted(api, routes):
    """Fails unless every route has its status."""
    def is_accepted(item):
        parents = item.get("status", {}).get("parents", [])
        conditions = [condition for parent in parents for condition in parent["conditions"]]
        return any(one["type"] == "Accepted" and one["status"] == "True" for one in conditions)

    have = sum(is_accepted(item) for item in listed(api, "httproutes"))
    if have != routes:
        raise RuntimeError(f"{have} of {routes} routes are accepted")


def main():
    executable, genkan = sys.argv[1:3]
    numbers = [int(argument) for argument in sys.argv[3:]]
    # The clean-up below happens also when somebody ends us.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended from outside"))
    # Whoever waits for a socket gets to work soon after something has come.
    sys.setswitchinterval(0.0005)
    with tempfile.TemporaryDirectory() as folder:
        # It ends with its standard input, so also when this process is killed.
        up = subprocess.Popen(
            [executable, "up", "--dir", folder, "--crds", "gateway-api", "--until-stdin-closes"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        try:
            if not any(line.strip() == "ready" for line in up.stdout):
                raise RuntimeError("the control plane did not start")
            measure([executable, "kubectl"], genkan, *numbers, folder)
        finally:
            up.stdin.close()
            up.wait(30)


if __name__ == "__main__":
    main()
