//! Policies that target Services, as the changes of the world have them.

use genkan_controller::resources::Object;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::json;

use super::{namespace, object};

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
    ]);
    let settings = || {
        option::of(select(vec![
            json!({"bodySize": {"max": "1m"}, "timeouts": {"read": "5s"}}),
            json!({"bodySize": {"max": "2m"}, "affinity": {"type": "Cookie"}}),
            json!({"loadBalancing": {"algorithm": "PeakEwma"}, "affinity": {"type": "None"}}),
            json!({"ipAccess": {"deny": ["none"]}, "timeouts": {"request": "5s"}}),
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
