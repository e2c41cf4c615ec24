use serde_json::json;

use super::*;
use crate::resources::Key;

#[test]
fn every_kind_has_one_entry() {
    for kind in Kind::ALL {
        assert_eq!(ENTRIES.iter().filter(|entry| entry.kind == *kind).count(), 1, "{kind:?}");
        assert_eq!(entry(*kind).kind, *kind);
    }
}

/// A spec of each kind of Gateway API, and of our own, with fields that only the newest or the experimental types have, and the least
/// that the oldest version that is read demands.
fn specs(kind: Kind) -> [Value; 2] {
    let parents = json!([{"name": "g", "sectionName": "s", "port": 80}]);
    let backends = json!([{"name": "b", "port": 80, "weight": 2}]);
    let streams = json!({"parentRefs": parents, "rules": [{"name": "r", "backendRefs": backends}],
                         "useDefaultGateways": "All"});
    let validation = json!({"hostname": "b.test", "wellKnownCACertificates": "System",
                            "subjectAltNames": [{"type": "URI", "uri": "spiffe://b.test/b"}]});
    let targets = json!([{"group": "", "kind": "Service", "name": "b"}]);
    let listener = json!({"name": "l", "port": 80, "protocol": "HTTP"});
    match kind {
        Kind::GatewayClass => {
            let parameters = json!({"group": "a.test", "kind": "P", "name": "p"});
            [json!({"controllerName": "a.test/b", "parametersRef": parameters}), json!({"controllerName": "a.test/b"})]
        }
        Kind::Gateway => [
            json!({
                "gatewayClassName": "c", "listeners": [listener], "defaultScope": "All",
                "allowedListeners": {"namespaces": {"from": "Same"}},
                "tls": {"backend": {"clientCertificateRef": {"name": "s"}},
                        "frontend": {"default": {"validation": {"mode": "AllowInsecureFallback", "caCertificateRefs":
                            [{"group": "", "kind": "ConfigMap", "name": "ca"}]}}}},
            }),
            json!({"gatewayClassName": "c", "listeners": []}),
        ],
        Kind::ListenerSet => [
            json!({"parentRef": {"name": "g"}, "listeners": [listener]}),
            json!({"parentRef": {"name": "g"}, "listeners": []}),
        ],
        Kind::HttpRoute => [json!({"rules": [{"name": "r", "retry": {"attempts": 2, "backoff": "1s"}}]}), json!({})],
        Kind::GrpcRoute => {
            let method = json!({"type": "RegularExpression", "service": "s", "method": "m"});
            let persistence = json!({"sessionName": "s", "type": "Header"});
            [json!({"rules": [{"matches": [{"method": method}], "sessionPersistence": persistence}]}), json!({})]
        }
        Kind::TlsRoute => {
            let mut spec = streams;
            spec["hostnames"] = json!(["a.test"]);
            [spec, json!({"rules": [{}]})]
        }
        Kind::TcpRoute | Kind::UdpRoute => [streams, json!({"rules": [{}]})],
        Kind::ReferenceGrant => {
            let from = json!([{"group": "", "kind": "Service", "namespace": "n"}]);
            [json!({"from": from, "to": [{"group": "", "kind": "Secret", "name": "s"}]}), json!({"from": [], "to": []})]
        }
        Kind::BackendTlsPolicy => [
            json!({"targetRefs": targets, "validation": validation, "options": {"a.test/b": "c"}}),
            json!({"targetRefs": [], "validation": {"hostname": "b.test"}}),
        ],
        Kind::XBackendTrafficPolicy => {
            let budget = json!({"budget": {"percent": 20, "interval": "10s"}, "minRetryRate": {"count": 3}});
            let persistence = json!({"type": "Cookie", "cookieConfig": {"lifetimeType": "Permanent"}});
            [
                json!({"targetRefs": targets, "retryConstraint": budget, "sessionPersistence": persistence}),
                json!({"targetRefs": []}),
            ]
        }
        Kind::XBackend => {
            let tls =
                json!({"mode": "ClientAndServer", "validation": validation, "clientCertificateRef": {"name": "s"}});
            let port = json!({"name": "https", "port": 443});
            [
                json!({"type": "ExternalHostname", "externalHostname": {"hostname": "b.test"}, "port": port,
                       "protocol": "HTTP2", "tls": tls}),
                json!({"type": "Later", "port": {"port": 1}}),
            ]
        }
        Kind::GatewayParameters => {
            let pool = json!({"dynamic": ["192.0.2.0/28"], "reserved": ["192.0.2.16"]});
            [json!({"addresses": {"mode": "Pool", "pool": pool}}), json!({})]
        }
        Kind::ListenerPolicy => {
            let gateways =
                json!([{"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "a", "sectionName": "l"}]);
            let settings = json!({
                "timeouts": {"header": "1s", "body": "1s", "keepAlive": "1s"},
                "limits": {"connections": 5, "requestsPerConnection": 6, "headerBuffers": "4 8k", "headers": 7},
                "proxyProtocol": "Required",
                "http2": {"enabled": true, "maxConcurrentStreams": 5},
                "tls": {"minVersion": "TLSv1.2", "maxVersion": "TLSv1.3", "ciphers": ["TLS_AES_128_GCM_SHA256"]},
                "forwarded": {"trusted": ["10.0.0.0/8"], "believe": "Client", "header": "x-real-ip", "append": true},
                "accessLog": {"enabled": true, "format": "$status", "streamFormat": "$status", "escape": "JSON"},
                "streams": {"idle": "1m", "responses": 2},
            });
            [
                json!({"targetRefs": gateways, "defaults": settings, "overrides": settings}),
                json!({"targetRefs": gateways}),
            ]
        }
        Kind::RoutePolicy => {
            let routes =
                json!([{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": "a", "sectionName": "r"}]);
            let settings = json!({
                "rateLimit": {"requestsPerSecond": 5, "requestsPerMinute": 6, "burstMultiplier": 2, "status": 429,
                              "exempt": ["10.0.0.0/8"]},
                "connectionLimit": {"max": 3, "status": 503, "exempt": []},
                "bodySize": {"max": "1m"},
                "timeouts": {"connect": "1s", "send": "1s", "read": "1s", "request": "1s", "backendRequest": "1s"},
                "compression": {"enabled": true, "level": 3, "minLength": 100, "types": ["text/css"]},
                "ipAccess": {"allow": ["10.0.0.0/8"], "deny": ["10.1.0.0/16"]},
                "affinity": {"type": "Cookie", "name": "a", "lifetime": "1h", "permanent": true},
                "loadBalancing": {"algorithm": "ConsistentHash", "hash": {"by": "Header", "name": "x-user"}},
                "retries": {"attempts": 1, "on": ["Error"], "codes": [503], "backoff": "1s", "within": "5s",
                            "nonIdempotent": true},
            });
            [json!({"targetRefs": routes, "defaults": settings, "overrides": settings}), json!({"defaults": {}})]
        }
        Kind::Ingress
        | Kind::IngressClass
        | Kind::Service
        | Kind::EndpointSlice
        | Kind::Secret
        | Kind::ConfigMap
        | Kind::Namespace => unreachable!("{kind:?} is built in"),
    }
}

#[test]
fn every_served_version_of_a_kind_that_is_installed_is_read() {
    for entry in ENTRIES.iter().filter(|entry| entry.is_custom()) {
        for version in entry.versions {
            for spec in specs(entry.kind) {
                let metadata = json!({"namespace": "n", "name": "a"});
                let value = json!({"apiVersion": entry.api_version(version), "kind": entry.kind.as_str(),
                                   "metadata": metadata, "spec": spec});
                let (object, unknown) = (entry.decode)(&value).unwrap_or_else(|error| panic!("{value}: {error}"));
                assert_eq!(unknown, [], "{value}");
                let namespace = if entry.kind.namespaced() { "n" } else { "" };
                assert_eq!(Key::of(&object), Key::new(entry.kind, namespace, "a"));
            }
        }
    }
}

#[test]
fn what_is_told_by_controllers_is_no_part_of_an_object() {
    for entry in ENTRIES.iter().filter(|entry| entry.is_custom()) {
        let [spec, _] = specs(entry.kind);
        let of = |version: &str, status: Value| {
            let metadata = json!({"name": "a", "resourceVersion": version, "generation": 1});
            (entry.decode)(&json!({"metadata": metadata, "spec": spec, "status": status})).unwrap().0
        };
        let written = json!({"conditions": [], "parents": [], "ancestors": []});
        assert_eq!(of("1", json!(null)), of("2", written), "{:?}", entry.kind);
        // Also one that is of another form than the one we know.
        assert_eq!(of("1", json!({"parents": 5})), of("2", json!({})), "{:?}", entry.kind);
    }
}
