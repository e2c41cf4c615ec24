"""What bench/changes and bench/cluster share: objects of many routes, backends that answer with their name, and asking
until an answer is there.

A route's backend tells by its name which endpoint a response came from; a route's change is told by its path, which
answers 404 before.
"""

import http.server
import pathlib
import socket
import threading
import time

TENANTS = 100


def ingress(number, path):
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {"name": f"web-{number}", "namespace": f"tenant-{number % TENANTS}"},
        "spec": {
            "ingressClassName": "nginx",
            "rules": [{
                "host": f"web-{number}.example.com",
                "http": {"paths": [{
                    "path": path,
                    "pathType": "Exact",
                    "backend": {"service": {"name": f"web-{number}", "port": {"number": 80}}},
                }]},
            }],
        },
    }


def service(number):
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": f"web-{number}", "namespace": f"tenant-{number % TENANTS}"},
        "spec": {"selector": {"app": f"web-{number}"}, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]},
    }


def endpoints(number, port, address="127.0.0.1"):
    name = f"web-{number}"
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": f"{name}-a1b2c",
            "namespace": f"tenant-{number % TENANTS}",
            "labels": {"kubernetes.io/service-name": name},
        },
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": port, "protocol": "TCP"}],
        "endpoints": [{"addresses": [address], "conditions": {"ready": True}}],
    }


def backend(name, address="127.0.0.1"):
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Head and body are two writes; the second must not wait for the client's delayed acknowledgement.
        disable_nagle_algorithm = True

        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", str(len(name)))
            self.end_headers()
            self.wfile.write(name.encode())

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer((address, 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_address[1]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def memory(pid, what="VmRSS"):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(what + ":"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"no {what}")


def ask(connection, host, path):
    connection.request("GET", path, headers={"Host": host})
    response = connection.getresponse()
    return response.status, response.read().decode()


def until(connection, host, path, wanted):
    """Asks until the answer is the wanted one; returns when it was there."""
    deadline = time.perf_counter() + 30
    while True:
        answer = ask(connection, host, path)
        now = time.perf_counter()
        if wanted(answer):
            return now
        if now > deadline:
            raise RuntimeError(f"{host}{path} still answers {answer}")


def report(what, seconds):
    times = sorted(second * 1000 for second in seconds)
    at = lambda share: times[min(len(times) - 1, int(len(times) * share))]
    print(f"  {what:<18} p50 {at(0.5):7.2f} ms   p99 {at(0.99):7.2f} ms   max {times[-1]:7.2f} ms", flush=True)
