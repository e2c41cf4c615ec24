"""Peers: how each proxy is configured for the same work, one worker each, without an access log."""

import json
import os
import subprocess
from pathlib import Path

from .processes import Process, free_port

ROOT = Path(__file__).resolve().parents[2]


def version(command, pattern=None):
    """The first line that a program says about its version."""
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = (result.stdout + result.stderr).strip().splitlines()
    return next((line.strip() for line in lines if not pattern or pattern in line), "unknown")


class Work:
    """What every proxy is asked to do: forward `hosts` to the backend, in plaintext and over TLS."""

    def __init__(self, folder, backend_port, hosts, certificate, key):
        self.folder = folder
        self.backend_port = backend_port
        self.hosts = hosts
        self.certificate = certificate
        self.key = key


class Peer:
    """A proxy that can be started for some work."""

    name = ""
    tls = True
    http2 = True
    many_hosts = True

    def start(self, work):
        """Starts it; returns (process, plaintext port, TLS port or None)."""
        raise NotImplementedError

    def version(self):
        raise NotImplementedError


class Nginx(Peer):
    name = "nginx"
    # What ingress-nginx tells the backend, and so does Genkan.
    fields = {
        "Host": "$http_host", "X-Request-ID": "$request_id", "X-Real-IP": "$remote_addr",
        "X-Forwarded-For": "$remote_addr", "X-Forwarded-Host": "$http_host", "X-Forwarded-Port": "$server_port",
        "X-Forwarded-Proto": "$scheme", "X-Forwarded-Scheme": "$scheme", "X-Scheme": "$scheme",
        "X-Original-Forwarded-For": "$http_x_forwarded_for", "Proxy": '""',
    }

    def __init__(self, single=False):
        """`single`: one process, which serves by itself."""
        self.single = single

    def version(self):
        return version(["nginx", "-v"])

    def start(self, work):
        http, https = free_port(), free_port()
        folder = work.folder / self.name
        folder.mkdir(exist_ok=True)
        fields = " ".join(f"proxy_set_header {name} {value};" for name, value in self.fields.items())
        servers = "".join(f"""
    server {{ listen {http} reuseport{' default_server' if first else ''}; listen {https} ssl http2 reuseport;
      server_name {host}; keepalive_requests 1000000000;
      ssl_certificate {work.certificate}; ssl_certificate_key {work.key}; ssl_protocols TLSv1.2 TLSv1.3;
      location / {{ proxy_pass http://backend; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off;
        {fields} }} }}"""
                          .replace(" reuseport", " reuseport" if first else "")
                          for first, host in ((index == 0, host) for index, host in enumerate(work.hosts)))
        (folder / "nginx.conf").write_text(f"""
daemon off; master_process {'off' if self.single else 'on'}; worker_processes 1; pid {folder}/pid;
error_log {folder}/error.log crit;
events {{ worker_connections 8192; }}
http {{ access_log off; server_names_hash_max_size 8192; server_names_hash_bucket_size 128;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/f;
    uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
    upstream backend {{ server 127.0.0.1:{work.backend_port}; keepalive 320; keepalive_requests 1000000000; }}
    {servers} }}""")
        process = Process(self.name, ["nginx", "-c", str(folder / "nginx.conf"), "-p", str(folder)], folder / "log")
        return process.wait_for(http), http, https


class HaProxy(Peer):
    name = "haproxy"
    fields = {
        "X-Real-IP": "%[src]", "X-Forwarded-For": "%[src]", "X-Forwarded-Host": "%[req.hdr(host)]",
        "X-Forwarded-Port": "%[dst_port]",
        **{name: "%[ssl_fc,iif(https,http)]" for name in ("X-Forwarded-Proto", "X-Forwarded-Scheme", "X-Scheme")},
    }

    def version(self):
        return version(["haproxy", "-v"])

    def start(self, work):
        http, https = free_port(), free_port()
        folder = work.folder / self.name
        folder.mkdir(exist_ok=True)
        (folder / "pair.pem").write_text(Path(work.certificate).read_text() + Path(work.key).read_text())
        (folder / "hosts.map").write_text("".join(f"{host} backend\n" for host in work.hosts))
        fields = "\n  ".join(f"http-request set-header {name} {value}" for name, value in self.fields.items())
        (folder / "haproxy.cfg").write_text(f"""
global
  nbthread 1
  maxconn 8192
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  option http-keep-alive
  http-reuse always
frontend front
  bind 127.0.0.1:{http}
  bind 127.0.0.1:{https} ssl crt {folder}/pair.pem alpn h2,http/1.1
  http-request del-header Proxy
  {fields}
  unique-id-format %{{+X}}o%ci%cp%fi%fp%Ts%rt%pid
  unique-id-header X-Request-ID
  use_backend %[req.hdr(host),field(1,:),map({folder}/hosts.map)]
backend backend
  server one 127.0.0.1:{work.backend_port} pool-max-conn -1
""")
        process = Process(self.name, ["haproxy", "-db", "-f", str(folder / "haproxy.cfg")], folder / "log")
        return process.wait_for(http), http, https


class Envoy(Peer):
    name = "envoy"
    # X-Forwarded-For, X-Forwarded-Proto and X-Request-ID it adds itself.
    fields = {
        "X-Real-IP": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%", "X-Forwarded-Host": "%REQ(:AUTHORITY)%",
        "X-Forwarded-Port": "%DOWNSTREAM_LOCAL_PORT%",
        **{name: "%REQ(X-FORWARDED-PROTO)%" for name in ("X-Forwarded-Scheme", "X-Scheme")},
    }

    def executable(self):
        import envoy  # the Python package that carries the executable

        return str(next(Path(envoy.__file__).parent.glob("_bin/envoy*")))

    def version(self):
        # "PATH  version: COMMIT/1.40.0/Clean/RELEASE/BoringSSL"
        return version([self.executable(), "--version"], "version").split("/")[-4]

    def start(self, work):
        http, https = free_port(), free_port()
        folder = work.folder / self.name
        folder.mkdir(exist_ok=True)
        manager = {
            "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "front", "codec_type": "AUTO", "use_remote_address": True,
            "route_config": {"request_headers_to_add": [
                {"header": {"key": name, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
                for name, value in self.fields.items()], "virtual_hosts": [
                {"name": host, "domains": [host, f"{host}:*"],
                 "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "backend"}}]} for host in work.hosts]},
            "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}]}
        chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
        tls = {"name": "envoy.transport_sockets.tls", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
            "common_tls_context": {"alpn_protocols": ["h2", "http/1.1"], "tls_certificates": [
                {"certificate_chain": {"filename": str(work.certificate)}, "private_key": {"filename": str(work.key)}}]}}}

        def listener(name, port, **extra):
            return {"name": name, "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
                    "filter_chains": [{**chain, **extra}]}

        backend = {"name": "backend", "type": "STATIC", "connect_timeout": "5s", "load_assignment": {
            "cluster_name": "backend", "endpoints": [{"lb_endpoints": [{"endpoint": {"address": {"socket_address": {
                "address": "127.0.0.1", "port_value": work.backend_port}}}}]}]}}
        (folder / "envoy.json").write_text(json.dumps({"static_resources": {
            "listeners": [listener("http", http), listener("https", https, transport_socket=tls)],
            "clusters": [backend]}}))
        process = Process(self.name, [self.executable(), "-c", str(folder / "envoy.json"), "--concurrency", "1",
                                      "--disable-hot-restart", "-l", "error"], folder / "log")
        return process.wait_for(http), http, https


class Minimal(Peer):
    """One of the two minimal proxies of bench/baselines: plaintext HTTP/1.1 to one backend, no routing."""

    tls = False
    http2 = False
    many_hosts = False

    def __init__(self, name):
        self.name = name

    def version(self):
        lock = (ROOT / "bench/baselines/Cargo.lock").read_text().split("[[package]]")
        crate = {"minimal-pingora": "pingora-proxy", "minimal-hyper": "hyper"}[self.name]
        package = next(entry for entry in lock if f'name = "{crate}"\n' in entry)
        return f"{crate} {package.split('version = ')[1].splitlines()[0].strip(chr(34))}"

    def start(self, work):
        port = free_port()
        executable = ROOT / "target/baselines/dist" / self.name
        command = [str(executable), f"127.0.0.1:{port}", f"127.0.0.1:{work.backend_port}", "1"]
        return Process(self.name, command, work.folder / f"{self.name}.log").wait_for(port), port, None


class Genkan(Peer):
    name = "genkan"

    def __init__(self, name="genkan", annotations=None, config=None, path="/"):
        self.name = name
        self.path = path
        self.annotations = annotations or {}
        self.config = {"disable-access-log": "true", "ssl-redirect": "false", "keep-alive-requests": "1000000000",
                       "upstream-keepalive-requests": "1000000000", **(config or {})}

    def executable(self):
        return os.environ.get("GENKAN", str(ROOT / "target/dist/genkan"))

    def version(self):
        return version([self.executable(), "--version"])

    def manifests(self, work):
        """Ingresses for the hosts, one Service with one endpoint, the certificate, the ConfigMap."""
        backend = {"service": {"name": "backend", "port": {"number": 80}}}
        ingress = [{
            "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
            "metadata": {"name": host.replace(".", "-"), "annotations": self.annotations},
            "spec": {"tls": [{"hosts": [host], "secretName": "certificate"}], "rules": [
                {"host": host, "http": {"paths": [
                    {"path": self.path, "pathType": "ImplementationSpecific", "backend": backend}]}}]},
        } for host in work.hosts]
        return ingress + [
            {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "backend"},
             "spec": {"ports": [{"name": "http", "port": 80, "targetPort": work.backend_port}]}},
            {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
             "metadata": {"name": "backend-1", "labels": {"kubernetes.io/service-name": "backend"}},
             "addressType": "IPv4", "ports": [{"name": "http", "port": work.backend_port}],
             "endpoints": [{"addresses": ["127.0.0.1"], "conditions": {"ready": True}}]},
            {"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "metadata": {"name": "certificate"},
             "stringData": {"tls.crt": Path(work.certificate).read_text(), "tls.key": Path(work.key).read_text()}},
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": "bench", "name": "genkan"},
             "data": self.config},
        ]

    def start(self, work):
        http, https, health = free_port(), free_port(), free_port()
        folder = work.folder / self.name
        folder.mkdir(exist_ok=True)
        items = self.manifests(work)
        (folder / "manifests.json").write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
        process = Process(self.name, [
            self.executable(), "run", str(folder / "manifests.json"), "--http-port", str(http), "--https-port", str(https),
            "--healthz-port", str(health), "--bind-address", "127.0.0.1", "--configmap", "bench/genkan", "--workers", "1",
        ], folder / "log")
        return process.wait_for(http), http, https


# Everything that this release can do on one rule, none of it refusing the measured request.
ALL_POLICIES = {f"nginx.ingress.kubernetes.io/{name}": value for name, value in {
    "force-ssl-redirect": "false",
    "enable-cors": "true",
    "cors-allow-origin": "https://app.example.com",
    "limit-rps": "1000000",
    "limit-rpm": "60000000",
    "limit-connections": "100000",
    "allowlist-source-range": "127.0.0.0/8,10.0.0.0/8",
    "denylist-source-range": "192.0.2.0/24",
    "proxy-body-size": "8m",
    "proxy-connect-timeout": "3",
    "proxy-read-timeout": "30",
    "proxy-send-timeout": "30",
    "proxy-next-upstream": "error timeout http_502",
    "rewrite-target": "/$1",
    "upstream-vhost": "backend.internal",
}.items()}
ALL_POLICIES_CONFIG = {"use-gzip": "true", "use-forwarded-headers": "true", "compute-full-forwarded-for": "true",
                       "proxy-real-ip-cidr": "127.0.0.0/8", "hsts": "true"}
