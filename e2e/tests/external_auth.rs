//! External authentication: a route's service says which requests may pass, and who sends them.

// What fails here fails the test, and the panic says where.
#![allow(clippy::unwrap_used)]

use genkan_e2e::manifests::service;
use genkan_e2e::{Echo, Genkan, http1, judge};

const GATEWAY: &str = "apiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\nmetadata: { name: genkan }\n\
                       spec: { controllerName: genkan.dev/gateway-controller }\n---\n\
                       apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: { name: web }\nspec:\n  \
                       gatewayClassName: genkan\n  listeners: [{ name: http, port: 80, protocol: HTTP }]\n---\n";

fn route(backend: &str) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{ name: web }}\nspec:\n  \
         parentRefs: [{{ name: web }}]\n  hostnames: [web.test]\n  rules:\n  - filters:\n    - type: ExternalAuth\n      \
         externalAuth:\n        protocol: HTTP\n        backendRef: {{ name: {backend}, port: 80 }}\n        \
         http: {{ path: /check, allowedResponseHeaders: [X-User] }}\n    backendRefs: [{{ name: web, port: 80 }}]\n---\n"
    )
}

fn ask(genkan: &Genkan, fields: &[(&str, &str)]) -> http1::Answer {
    http1::request(genkan.http(), "GET", "web.test", "/a", fields, b"")
}

#[test]
fn only_what_the_service_lets_pass_reaches_the_backend() {
    let echo = Echo::start("web");
    let backends = [service("web", &[echo.address()]), service("words", &[judge::of_words()])].concat();
    let genkan = Genkan::serve(&[GATEWAY, &backends, &route("words")].concat());
    let answer = ask(&genkan, &[("authorization", "open"), ("x-user", "root")]);
    assert_eq!(answer.status, 200);
    assert!(answer.text().contains("ada") && !answer.text().contains("root"), "{}", answer.text());
    let answer = ask(&genkan, &[("x-user", "root")]);
    assert_eq!((answer.status, answer.field("x-why"), answer.text().as_str()), (403, Some("word"), "no"));
    let metrics = genkan.admin_get("/metrics").1;
    assert!(metrics.contains("genkan_external_auth_total"), "{metrics}");
}

#[test]
fn a_service_that_is_not_there_closes_the_route_until_it_is() {
    let echo = Echo::start("web");
    let backends = [service("web", &[echo.address()]), service("words", &[])].concat();
    let genkan = Genkan::serve(&[GATEWAY, &backends, &route("missing")].concat());
    assert_eq!(ask(&genkan, &[("authorization", "open")]).status, 500);
    let told = genkan.problem("BackendNotFound").unwrap().concat();
    assert!(told.contains("Service default/missing does not exist"), "{told}");
    let manifests = |backends: &str| [GATEWAY, backends, &route("words")].concat();
    genkan.write("manifests.yaml", &manifests(&backends));
    genkan.wait_until("the Service without endpoints is asked", || ask(&genkan, &[]).status == 503);
    let backends = [service("web", &[echo.address()]), service("words", &[judge::of_words()])].concat();
    genkan.write("manifests.yaml", &manifests(&backends));
    genkan.wait_until("the service answers", || ask(&genkan, &[("authorization", "open")]).status == 200);
}
