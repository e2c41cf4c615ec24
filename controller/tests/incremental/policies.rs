//! Policies that target Services, as the changes of the world have them.

use genkan_controller::resources::{Key, Kind, Object, Resources};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

use super::{Step, follow, namespace, object, service, settings};

/// Some for a port, some for a whole Service; their authorities come and go.
pub(crate) fn backend_tls_policy() -> impl Strategy<Value = Object> {
    let validation = select(vec![
        json!({"hostname": "web.test", "caCertificateRefs": [{"group": "", "kind": "ConfigMap", "name": "ca"}]}),
        json!({"hostname": "web.test", "caCertificateRefs": [{"group": "", "kind": "Secret", "name": "ca"}]}),
        json!({"hostname": "web.test", "wellKnownCACertificates": "System"}),
        json!({"hostname": "*.web.test", "wellKnownCACertificates": "System"}),
    ]);
    let names = (namespace(), select(vec!["p1", "p2"]), select(vec!["a", "b"]), option::of(Just("http")));
    (names, option::of(0u8..2), validation).prop_map(|((namespace, name, service, section), age, validation)| {
        let created = age.map(|age| format!("2024-01-0{}T00:00:00Z", age + 1));
        let target = json!({"group": "", "kind": "Service", "name": service, "sectionName": section});
        Object::BackendTlsPolicy(object(json!({
            "metadata": {"namespace": namespace, "name": name, "creationTimestamp": created},
            "spec": {"targetRefs": [target], "validation": validation},
        })))
    })
}

/// Session persistence and retry budgets, some with a value that is none.
pub(crate) fn traffic_policy() -> impl Strategy<Value = Object> {
    let service = select(vec!["a", "b"]);
    let names = (namespace(), select(vec!["p1", "p2"]), service, option::of(0u8..2));
    (names, any::<bool>(), select(vec![10, 101])).prop_map(|((namespace, name, service, age), sessions, percent)| {
        let mut metadata = json!({"namespace": namespace, "name": name});
        if let Some(age) = age {
            metadata["creationTimestamp"] = json!(format!("2024-01-0{}T00:00:00Z", age + 1));
        }
        let mut spec = json!({
            "targetRefs": [{"group": "", "kind": "Service", "name": service}],
            "retryConstraint": {"budget": {"percent": percent}},
        });
        if sessions {
            spec["sessionPersistence"] = json!({"sessionName": "s"});
        }
        Object::XBackendTrafficPolicy(object(json!({"metadata": metadata, "spec": spec})))
    })
}

/// Of every kind of target, sound and broken.
pub(crate) fn route_policy() -> impl Strategy<Value = Object> {
    let target = select(vec![
        ("Gateway", "g1", None),
        ("Gateway", "g1", Some("web")),
        ("ListenerSet", "l1", None),
        ("ListenerSet", "l1", Some("extra-0")),
        ("HTTPRoute", "r1", None),
        ("HTTPRoute", "r1", Some("named")),
        ("HTTPRoute", "r2", None),
        ("GRPCRoute", "r1", None),
        ("Service", "a", None),
        ("Service", "b", None),
    ]);
    let settings = || {
        option::of(select(vec![
            json!({"bodySize": {"max": "1m"}, "timeouts": {"read": "5s"}}),
            json!({"bodySize": {"max": "2m"}, "affinity": {"type": "Cookie"}}),
            json!({"loadBalancing": {"algorithm": "PeakEwma"}, "affinity": {"type": "None"}}),
            json!({"ipAccess": {"deny": ["none"]}, "timeouts": {"request": "5s"}}),
            json!({"externalAuth": {"backendRef": {"name": "b", "port": 80}}}),
            json!({"circuitBreaking": {"maxRequests": 9}}),
        ]))
    };
    let name = (namespace(), select(vec!["p1", "p2", "p3"]), option::of(1u8..3));
    (name, proptest::collection::vec(target, 0..3), settings(), settings()).prop_map(
        |((namespace, name, age), targets, defaults, overrides)| {
            let target = |(kind, name, section): &(&str, &str, Option<&str>)| {
                let group = if *kind == "Service" { "" } else { "gateway.networking.k8s.io" };
                json!({"group": group, "kind": kind, "name": name, "sectionName": section})
            };
            let created = age.map(|age| format!("2024-01-0{age}T00:00:00Z"));
            Object::RoutePolicy(object(json!({
                "metadata": {"namespace": namespace, "name": name, "creationTimestamp": created},
                "spec": {
                    "targetRefs": targets.iter().map(target).collect::<Vec<_>>(),
                    "defaults": defaults, "overrides": overrides,
                },
            })))
        },
    )
}

/// A change where there are policies.
pub(crate) fn step() -> impl Strategy<Value = Step> {
    let gone = (namespace(), select(vec!["p1", "p2", "p3"]));
    prop_oneof![
        6 => route_policy().prop_map(Step::Apply),
        1 => service().prop_map(Step::Apply),
        1 => gone.prop_map(|(namespace, name)| Step::Remove(Key::new(Kind::RoutePolicy, namespace, name))),
    ]
}

/// A Gateway, Services, and a route whose rule has these filters.
pub(crate) fn world(filters: &Value) -> Resources {
    let mut resources = Resources::default();
    let class = json!({"controllerName": "genkan.dev/gateway-controller"});
    resources.apply(Object::GatewayClass(object(json!({"metadata": {"name": "genkan"}, "spec": class}))));
    let listener = json!({"name": "web", "port": 9000, "protocol": "HTTP"});
    let gateway = json!({"gatewayClassName": "genkan", "listeners": [listener]});
    resources.apply(Object::Gateway(object(json!({"metadata": {"namespace": "x", "name": "g1"}, "spec": gateway}))));
    for name in ["a", "b"] {
        let metadata = json!({"namespace": "x", "name": name});
        resources.apply(Object::Service(object(json!({"metadata": metadata, "spec": {"ports": [{"port": 80}]}}))));
    }
    let rule = json!({"name": "named", "filters": filters, "backendRefs": [{"name": "a", "port": 80}]});
    let route = json!({"parentRefs": [{"name": "g1"}], "rules": [rule]});
    resources.apply(Object::HttpRoute(object(json!({"metadata": {"namespace": "x", "name": "r1"}, "spec": route}))));
    resources
}

fn said(name: &str, targets: &Value, defaults: &Value) -> Step {
    Step::Apply(Object::RoutePolicy(object(json!({
        "metadata": {"namespace": "x", "name": name}, "spec": {"targetRefs": targets, "defaults": defaults},
    }))))
}

/// Policies of a name that come, say something else and go.
fn rounds(name: &str, policies: [Step; 2]) -> Vec<Vec<Step>> {
    let gone = Step::Remove(Key::new(Kind::RoutePolicy, "x", name));
    policies.into_iter().chain([gone]).map(|step| vec![step]).collect()
}

#[test]
fn a_policy_of_the_service_that_another_policy_asks_is_followed() {
    let route = json!([{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": "r1"}]);
    let asks = said("asks", &route, &json!({"externalAuth": {"backendRef": {"name": "b", "port": 80}}}));
    let service = json!([{"group": "", "kind": "Service", "name": "b"}]);
    let few = [7, 8].map(|max| said("few", &service, &json!({"circuitBreaking": {"maxRequests": max}})));
    let rounds = [vec![asks]].into_iter().chain(rounds("few", few)).collect();
    follow(&settings(), world(&json!([])), rounds).unwrap();
}

#[test]
fn a_policy_that_a_rule_with_broken_filters_names_is_followed() {
    let filters = json!([
        {"type": "RequestHeaderModifier", "requestHeaderModifier": {"remove": ["no name"]}},
        {"type": "ExtensionRef", "extensionRef": {"group": "genkan.dev", "kind": "RoutePolicy", "name": "named"}},
    ]);
    let read = ["5s", "6s"].map(|read| said("named", &json!([]), &json!({"timeouts": {"read": read}})));
    follow(&settings(), world(&filters), rounds("named", read)).unwrap();
}
