//! GRPCRoutes: calls reach the backend of their service and method, in HTTP/2 whatever the Service says.

// What fails here fails the test, and the panic says where.
#![allow(clippy::unwrap_used)]

use genkan_e2e::manifests::service;
use genkan_e2e::{Echo, Genkan, grpc, http1};

const GATEWAY: &str = "apiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\nmetadata: { name: genkan }\n\
                       spec: { controllerName: genkan.dev/gateway-controller }\n---\n\
                       apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: { name: web }\nspec:\n  \
                       gatewayClassName: genkan\n  listeners: [{ name: http, port: 80, protocol: HTTP }]\n---\n";

/// A route of the calls for `calls.test` that one match is for.
fn route(name: &str, method: &str, service: &str) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: GRPCRoute\nmetadata: {{ name: {name} }}\nspec:\n  \
         parentRefs: [{{ name: web }}]\n  hostnames: [calls.test]\n  \
         rules: [{{ matches: [{{ method: {method} }}], backendRefs: [{{ name: {service}, port: 80 }}] }}]\n---\n"
    )
}

#[test]
fn calls_pass_both_ways_to_the_backend_of_their_method() {
    let (streams, others) = (Echo::start("streams"), Echo::start("others"));
    let text = [
        GATEWAY.to_owned(),
        service("streams", &[streams.address()]),
        service("others", &[others.address()]),
        route("stream", "{ service: echo.Echo, method: Stream }", "streams"),
        route("other", "{ service: echo.Echo }", "others"),
        route("broken", "{ service: broken.Echo }", "missing"),
    ];
    let genkan = Genkan::serve(&text.concat());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut connection = grpc::connect(genkan.http()).await;
        let mut call = grpc::Stream::open(&mut connection, "calls.test").await;
        for message in ["one", "two"] {
            assert_eq!(call.exchange(message).await.unwrap(), message);
        }
        assert_eq!(call.finish().await["grpc-status"], "0");
        // A request of any other kind is a call too, as far as the route is concerned.
        let (status, headers, body) = grpc::get(&mut connection, "calls.test", "/echo.Echo/Other").await.unwrap();
        assert_eq!((status, &headers["x-echo-name"]), (200, &"others".parse().unwrap()));
        assert!(String::from_utf8_lossy(&body).contains("\"HTTP/2.0\""), "{body:?}");
    });
}

#[test]
fn what_no_rule_is_for_is_not_found_and_what_leads_nowhere_is_told() {
    let text = GATEWAY.to_owned() + &route("broken", "{ service: broken.Echo }", "missing");
    let genkan = Genkan::serve(&text);
    for (path, call, plain) in [("/other.Echo/Get", "12", 404), ("/broken.Echo/Get", "14", 500)] {
        assert_eq!(http1::get(genkan.http(), "calls.test", path).status, plain, "{path}");
        let fields = [("content-type", "application/grpc")];
        let answer = http1::request(genkan.http(), "POST", "calls.test", path, &fields, b"");
        assert_eq!((answer.status, answer.field("grpc-status")), (200, Some(call)), "{path}");
    }
}
