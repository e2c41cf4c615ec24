//! Manifests for tests, as text.

use std::fmt::Write;
use std::net::SocketAddr;

/// A Service `name` in `default` with port 80 (named `http`), and an EndpointSlice with these endpoints.
pub fn service(name: &str, endpoints: &[SocketAddr]) -> String {
    let mut text = format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{ name: {name} }}\n\
         spec: {{ ports: [{{ name: http, port: 80 }}] }}\n---\n"
    );
    // One slice per endpoint: every test backend has a port of its own.
    for (index, endpoint) in endpoints.iter().enumerate() {
        let family = if endpoint.is_ipv4() { "IPv4" } else { "IPv6" };
        // Writing into a String cannot fail.
        let _ = write!(
            text,
            "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
             metadata: {{ name: {name}-{index}, labels: {{ kubernetes.io/service-name: {name} }} }}\n\
             addressType: {family}\nports: [{{ name: http, port: {} }}]\n\
             endpoints: [{{ addresses: [\"{}\"], conditions: {{ ready: true }} }}]\n---\n",
            endpoint.port(),
            endpoint.ip()
        );
    }
    text
}

/// An Ingress `name` in `default` that sends a host's paths below `/` to port 80 of a Service.
pub fn ingress(name: &str, host: &str, service: &str, annotations: &[(&str, &str)]) -> String {
    let mut text =
        format!("apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata:\n  name: {name}\n  annotations:\n");
    for (key, value) in annotations {
        let _ = writeln!(text, "    nginx.ingress.kubernetes.io/{key}: \"{value}\"");
    }
    if annotations.is_empty() {
        text.push_str("    example.com/none: none\n");
    }
    let _ = write!(
        text,
        "spec:\n  rules:\n    - host: \"{host}\"\n      http:\n        paths:\n          - path: /\n            pathType: Prefix\n\
         \x20           backend: {{ service: {{ name: {service}, port: {{ number: 80 }} }} }}\n---\n"
    );
    text
}

/// An Ingress like [`ingress`], whose host is served over TLS with a Secret too; HTTP is not redirected.
pub fn tls_ingress(name: &str, host: &str, service: &str, secret: &str) -> String {
    let plain = ingress(name, host, service, &[("ssl-redirect", "false")]);
    plain.replace("spec:\n", &format!("spec:\n  tls: [{{ hosts: [\"{host}\"], secretName: {secret} }}]\n"))
}

/// A TLS Secret in `default`.
pub fn secret(name: &str, certificate: &str, key: &str) -> String {
    let indented = |text: &str| text.lines().map(|line| format!("    {line}\n")).collect::<String>();
    format!(
        "apiVersion: v1\nkind: Secret\ntype: kubernetes.io/tls\nmetadata: {{ name: {name} }}\nstringData:\n  \
         tls.crt: |\n{}  tls.key: |\n{}---\n",
        indented(certificate),
        indented(key)
    )
}

/// The ConfigMap that is read without `--configmap`.
pub fn config_map(data: &[(&str, &str)]) -> String {
    let mut text = "apiVersion: v1\nkind: ConfigMap\n\
                    metadata: { namespace: ingress-nginx, name: ingress-nginx-controller }\ndata:\n"
        .to_owned();
    for (key, value) in data {
        let _ = writeln!(text, "  {key}: '{}'", value.replace('\'', "''"));
    }
    text + "---\n"
}
