//! Namespaces that come to be selected, and cease to be (`--watch-namespace-selector`).

use std::collections::BTreeSet;

use genkan_controller::resources::{Key, Kind, Object, Resources};
use genkan_controller::settings::Settings;
use genkan_controller::translate::{Change, Translation, Translator, translate};
use serde_json::{Value, json};

use super::object;

/// With a selector.
pub(crate) fn settings() -> Settings {
    Settings { namespace_selector: Some("team=web".parse().unwrap()), ..super::settings() }
}

fn namespace(labels: &Value) -> Object {
    Object::Namespace(object(json!({"metadata": {"name": "x", "labels": labels}})))
}

/// A Gateway, and one of each kind that hangs on it.
fn tenant() -> Vec<Object> {
    let named = |name: &str, spec: Value| json!({"metadata": {"namespace": "x", "name": name}, "spec": spec});
    let parents = json!([{"name": "g1"}]);
    let rules = json!([{"backendRefs": [{"name": "a", "port": 80}]}]);
    let route = |name| named(name, json!({"parentRefs": parents, "rules": rules}));
    let for_gateway = json!([{"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "g1"}]);
    let for_service = json!([{"group": "", "kind": "Service", "name": "a"}]);
    let listeners = json!([
        {"name": "web", "port": 80, "protocol": "HTTP", "hostname": "web.test"},
        {"name": "grpc", "port": 80, "protocol": "HTTP", "hostname": "grpc.test"},
        {"name": "tls", "port": 443, "protocol": "TLS", "tls": {"mode": "Passthrough"}},
        {"name": "tcp", "port": 9000, "protocol": "TCP"},
        {"name": "udp", "port": 9001, "protocol": "UDP"},
    ]);
    let http = json!({"parentRefs": [{"name": "g1", "sectionName": "web"}], "rules": [
        {"backendRefs": [{"name": "a", "port": 80}]},
        {"matches": [{"path": {"value": "/out"}}],
         "backendRefs": [{"group": "gateway.networking.x-k8s.io", "kind": "XBackend", "name": "out"}]},
    ]});
    let grpc = json!({"parentRefs": [{"name": "g1", "sectionName": "grpc"}], "rules": rules});
    let external = json!({
        "type": "ExternalHostname", "port": {"port": 443}, "externalHostname": {"hostname": "external.example.org"},
    });
    let more = json!({
        "parentRef": {"name": "g1"}, "listeners": [{"name": "more", "port": 8080, "protocol": "HTTP"}],
    });
    let gateway = json!({
        "gatewayClassName": "genkan", "allowedListeners": {"namespaces": {"from": "All"}}, "listeners": listeners,
    });
    let validation = json!({"hostname": "web.test", "wellKnownCACertificates": "System"});
    vec![
        Object::Gateway(object(named("g1", gateway))),
        Object::ListenerSet(object(named("l1", more))),
        Object::HttpRoute(object(named("r1", http))),
        Object::GrpcRoute(object(named("r1", grpc))),
        Object::TlsRoute(object(named(
            "r1",
            json!({
                "parentRefs": parents, "hostnames": ["tls.test"], "rules": rules,
            }),
        ))),
        Object::TcpRoute(object(route("r1"))),
        Object::UdpRoute(object(route("r1"))),
        Object::XBackend(object(named("out", external))),
        Object::BackendTlsPolicy(object(named("p1", json!({"targetRefs": for_service, "validation": validation})))),
        Object::XBackendTrafficPolicy(object(named("p1", json!({"targetRefs": for_service})))),
        Object::RoutePolicy(object(named(
            "p1",
            json!({
                "targetRefs": for_gateway, "defaults": {"timeouts": {"read": "5s"}},
            }),
        ))),
        Object::ListenerPolicy(object(named(
            "p1",
            json!({
                "targetRefs": for_gateway, "defaults": {"proxyProtocol": "Required"},
            }),
        ))),
    ]
}

struct Followed {
    resources: Resources,
    translator: Translator,
}

impl Followed {
    /// Takes a round of changes and holds what follows against a translation of everything.
    fn round(&mut self, objects: Vec<Object>) -> Translation {
        let changes: BTreeSet<_> = objects.iter().map(|object| Change::Object(Key::of(object))).collect();
        for object in objects {
            self.resources.apply(object);
        }
        self.check(&changes)
    }

    fn check(&mut self, changes: &BTreeSet<Change>) -> Translation {
        let followed = self.translator.update(&self.resources, changes);
        assert_eq!(followed, translate(&self.resources, &settings()));
        followed
    }
}

#[test]
fn objects_of_a_namespace_are_read_when_it_is_selected_and_forgotten_when_they_are_gone() {
    let mut followed = Followed { resources: Resources::default(), translator: Translator::new(settings()) };
    followed.check(&BTreeSet::new());
    let class = json!({"metadata": {"name": "genkan"}, "spec": {"controllerName": "genkan.dev/gateway-controller"}});
    let service = json!({
        "metadata": {"namespace": "x", "name": "a"},
        "spec": {"ports": [{"name": "http", "port": 80}, {"name": "udp", "port": 80, "protocol": "UDP"}]},
    });
    let tenant = tenant();
    let kinds: BTreeSet<_> = tenant.iter().map(Object::kind).collect();
    let keys: Vec<_> = tenant.iter().map(Key::of).collect();
    let mut world = vec![Object::GatewayClass(object(class)), Object::Service(object(service)), namespace(&json!({}))];
    world.extend(tenant);
    let told = |translation: &Translation| -> BTreeSet<_> {
        let keys = translation.statuses.objects.iter().map(|(key, _)| key);
        keys.filter(|key| key.kind != Kind::GatewayClass).map(|key| key.kind).collect()
    };
    assert_eq!(told(&followed.round(world)), BTreeSet::new());
    assert_eq!(told(&followed.round(vec![namespace(&json!({"team": "web"}))])), kinds);
    assert_eq!(told(&followed.round(vec![namespace(&json!({}))])), BTreeSet::new());
    assert_eq!(told(&followed.round(vec![namespace(&json!({"team": "web"}))])), kinds);

    let selector = Key::new(Kind::Namespace, "", "x");
    followed.round(vec![namespace(&json!({}))]);
    assert!(followed.translator.refers_to(&selector));
    for key in &keys {
        followed.resources.remove(key);
    }
    followed.check(&keys.into_iter().map(Change::Object).collect());
    assert!(!followed.translator.refers_to(&selector));
}
