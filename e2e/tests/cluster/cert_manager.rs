//! cert-manager's HTTP-01 flow: its real controllers and its real solver (`e2e/peers/cert-manager`), and pebble as ACME
//! server. All of it runs in Pods, Genkan too: challenges come to port 80.
//!
//! ```text
//!  Ingress --cert-manager--> Order, Challenge --> solver's Pod, Service, Ingress --Genkan--> http://HOST/.well-known/
//!                                                                                asked by cert-manager, then by pebble
//!  Genkan <-- Secret <--cert-manager-- certificate <-- pebble
//! ```

use std::collections::BTreeSet;
use std::net::IpAddr;

use genkan_e2e::cluster::{Namespace, Pod};
use genkan_e2e::http1;
use genkan_e2e::tls::{self, Hello, Pair};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};

use crate::peers;
use crate::site::{Site, echoes};

/// How cert-manager makes an Ingress for a challenge: of a class by field or by annotation, or as a path of the Ingress
/// that is there. Each is the name of an Ingress here, and of its host below `.test`.
const WAYS: [&str; 3] = ["field", "annotation", "in-place"];

#[test]
fn certificates_are_issued_for_hosts_that_redirect_and_ask_for_authentication() {
    let site = Site::new("cert-manager");
    let namespace = &site.namespace;
    install(namespace);
    let genkan = start_genkan(&site);
    let acme = start_acme_server(namespace, genkan.at(80).ip());
    start_cert_manager(namespace, acme);
    namespace.apply(&(echoes("web", 1) + &issuer(&site, acme)));
    namespace.kubectl(&["wait", "--for=condition=Ready", "issuer/acme", "--timeout=120s"]);
    let written = WAYS.map(|way| {
        namespace.apply(&guarded(&site, way));
        annotations(namespace, way)
    });
    let shown = |way: &str| {
        let stream = tls::connect(genkan.at(443), &Hello::to(&format!("{way}.test"))).unwrap();
        tls::shown(&stream)
    };

    for way in WAYS {
        // cert-manager writes one of its own first where it edits the Ingress.
        let mut issued = None;
        namespace.wait_until(&format!("a certificate is issued to {way}.test"), || {
            issued = leaf(namespace, way).filter(|leaf| by_pebble(leaf));
            issued.is_some()
        });
        namespace.wait_until("it is shown", || Some(shown(way)) == issued);
    }
    assert_answered(namespace);
    for (way, written) in WAYS.into_iter().zip(written) {
        // Everything else of the host is as it was.
        let answer = http1::get(genkan.at(80), &format!("{way}.test"), "/");
        if asks_for_authentication(way) {
            // Closed as long as authentication does not act.
            assert_eq!(answer.status, 503, "{way}");
        } else {
            let location = format!("https://{way}.test");
            assert_eq!((answer.status, answer.field("location")), (308, Some(location.as_str())), "{way}");
        }
        assert_eq!(annotations(namespace, way), written);
    }
    namespace.wait_until("the solvers are gone", || ingresses(namespace) == BTreeSet::from(WAYS.map(String::from)));
    let told: Vec<_> = problems(&genkan).iter().map(|problem| problem["origin"].to_string()).collect();
    assert!(!told.iter().any(|origin| origin.contains("cert-manager.io")), "{told:?}");
}

/// The others only redirect, so that it is seen that they do.
fn asks_for_authentication(way: &str) -> bool {
    way != "annotation"
}

/// Provides the executables and CRDs of cert-manager.
fn install(namespace: &Namespace<'_>) {
    let images = [("cert-manager", "controller"), ("cert-manager-acmesolver", "acmesolver")];
    let crds = peers::provide(namespace, "cert-manager", &images).join("crds").display().to_string();
    namespace.kubectl(&["apply", "--server-side", "--filename", &crds]);
    namespace.kubectl(&["wait", "--for=condition=Established", "--filename", &crds, "--timeout=120s"]);
    peers::allow_everything(namespace);
}

/// Genkan on its usual ports, which writes what it was asked by which scheme, and which Ingress it was for.
fn start_genkan(site: &Site<'_>) -> Pod {
    let name = site.namespace.name();
    let settings = json!({"log-format-upstream": "$scheme $host $uri $status $ingress_name"});
    let settings = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": settings});
    site.namespace.apply(&settings.to_string());
    let configmap = format!("--configmap={name}/settings");
    // The test asks the Pod's address what is wrong.
    site.pod(&["--expose-configuration", &configmap])
}

/// Pebble, and its DNS server that answers this address for every name. Returns the address of both.
fn start_acme_server(namespace: &Namespace<'_>, answer: IpAddr) -> IpAddr {
    let config = json!({"pebble": {
        "listenAddress": "0.0.0.0:14000",
        "managementListenAddress": "127.0.0.1:15000",
        "certificate": "/config/tls.crt",
        "privateKey": "/config/tls.key",
        "httpPort": 80,
        "tlsPort": 443,
    }});
    let pair = Pair::new(&["acme.test"]);
    let data = json!({"pebble.json": config.to_string(), "tls.crt": pair.certificate, "tls.key": pair.key});
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "acme"}, "stringData": data});
    namespace.apply(&secret.to_string());
    let ports = ["-dns01", ":53", "-management", "127.0.0.1:8055", "-http01", "", "-https01", "", "-tlsalpn01", ""];
    let answers = ["-defaultIPv4", &answer.to_string(), "-defaultIPv6", ""];
    let dns: Vec<_> = ["pebble-challtestsrv"].into_iter().chain(ports).chain(answers).collect();
    let pebble = ["pebble", "-config", "/config/pebble.json", "-dnsserver", "127.0.0.1:53", "-strict"];
    // By default it waits some seconds and refuses some requests, to try its clients.
    let calm = json!([
        {"name": "PEBBLE_VA_NOSLEEP", "value": "1"},
        {"name": "PEBBLE_WFE_NONCEREJECT", "value": "0"},
    ]);
    let probe = json!({"httpGet": {"path": "/dir", "port": 14000, "scheme": "HTTPS"}, "periodSeconds": 1});
    let mut server =
        json!({"name": "pebble", "image": "host", "command": pebble, "env": calm, "readinessProbe": probe});
    server["volumeMounts"] = json!([{"name": "config", "mountPath": "/config"}]);
    let containers = json!([{"name": "dns", "image": "host", "command": dns}, server]);
    let volumes = json!([{"name": "config", "secret": {"secretName": "acme"}}]);
    let pod = peers::start(namespace, "acme", &json!({"containers": containers, "volumes": volumes}));
    pod.address.expect("it has an address")
}

fn start_cert_manager(namespace: &Namespace<'_>, dns: IpAddr) {
    let arguments = [
        format!("--namespace={}", namespace.name()),
        format!("--acme-http01-solver-nameservers={dns}:53"),
        "--dns01-check-retry-period=1s".to_owned(),
    ];
    let container = json!({"name": "main", "image": "cert-manager", "args": arguments});
    peers::start(namespace, "cert-manager", &json!({"containers": [container]}));
}

/// Gets certificates from the ACME server; Ingresses of solvers name the class by field, for one host by annotation.
fn issuer(site: &Site<'_>, acme: IpAddr) -> String {
    // The user that the solver's image says in a real cluster.
    let template = json!({"spec": {"securityContext": {"runAsNonRoot": true, "runAsUser": 65532}}});
    let by_field = json!({"http01": {"ingress": {"ingressClassName": site.class(), "podTemplate": template}}});
    let mut by_annotation = json!({"http01": {"ingress": {"class": site.class(), "podTemplate": template}}});
    by_annotation["selector"] = json!({"dnsNames": ["annotation.test"]});
    let acme = json!({
        "server": format!("https://{acme}:14000/dir"),
        "skipTLSVerify": true,
        "privateKeySecretRef": {"name": "acme-account"},
        "solvers": [by_field, by_annotation],
    });
    let metadata = json!({"name": "acme"});
    let spec = json!({"acme": acme});
    json!({"apiVersion": "cert-manager.io/v1", "kind": "Issuer", "metadata": metadata, "spec": spec}).to_string()
}

/// An Ingress that wants a certificate, sends plain requests to HTTPS and asks for authentication.
fn guarded(site: &Site<'_>, way: &str) -> String {
    let host = format!("{way}.test");
    let mut annotations = json!({
        "cert-manager.io/issuer": "acme",
        "cert-manager.io/private-key-algorithm": "ECDSA",
        "nginx.ingress.kubernetes.io/force-ssl-redirect": "true",
    });
    if asks_for_authentication(way) {
        annotations["nginx.ingress.kubernetes.io/auth-url"] = json!("http://auth.test/check");
    }
    if way == "in-place" {
        annotations["acme.cert-manager.io/http01-edit-in-place"] = json!("true");
    }
    let backend = json!({"service": {"name": "web", "port": {"number": 80}}});
    let spec = json!({
        "ingressClassName": site.class(),
        "tls": [{"hosts": [host], "secretName": format!("{way}-tls")}],
        "rules": [{"host": host, "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}],
    });
    let metadata = json!({"name": way, "annotations": annotations});
    json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": metadata, "spec": spec}).to_string()
}

fn annotations(namespace: &Namespace<'_>, ingress: &str) -> Value {
    namespace.get(&format!("ingress/{ingress}")).unwrap()["metadata"]["annotations"].take()
}

/// The names of all Ingresses.
fn ingresses(namespace: &Namespace<'_>) -> BTreeSet<String> {
    let text = namespace.kubectl(&["get", "ingress", "--output", "jsonpath={range .items[*]}{.metadata.name} {end}"]);
    text.split_whitespace().map(str::to_owned).collect()
}

/// The certificate in the Secret of an Ingress.
fn leaf(namespace: &Namespace<'_>, way: &str) -> Option<Vec<u8>> {
    namespace.get(&format!("secret/{way}-tls"))?;
    let template = "go-template={{index .data \"tls.crt\" | base64decode}}";
    let chain = namespace.kubectl(&["get", "secret", &format!("{way}-tls"), "--output", template]);
    CertificateDer::from_pem_slice(chain.as_bytes()).ok().map(|leaf| leaf.to_vec())
}

/// Whether pebble signed it: its name stands in the certificate.
fn by_pebble(certificate: &[u8]) -> bool {
    certificate.windows(6).any(|part| part == b"Pebble")
}

/// Every host's challenge was answered without TLS, by an Ingress of cert-manager's or by the host's own.
fn assert_answered(namespace: &Namespace<'_>) {
    let log = namespace.log("genkan");
    for way in WAYS {
        let asked = format!("http {way}.test /.well-known/acme-challenge/");
        let ingress = if way == "in-place" { " 200 in-place" } else { " 200 cm-acme-http-solver-" };
        assert!(log.lines().any(|line| line.starts_with(&asked) && line.contains(ingress)), "{way}:\n{log}");
    }
}

fn problems(genkan: &Pod) -> Vec<Value> {
    let answer = http1::request(genkan.at(10254), "GET", "admin", "/problems", &[("Accept", "application/json")], b"");
    answer.json().as_array().cloned().unwrap_or_else(|| panic!("no list: {answer:?}"))
}
