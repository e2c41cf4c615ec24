//! The rights that the chart gives: with these and no others every kind gets its status, and Gateways what is kept for
//! them. Tests that run as the administrator show none of it.

use genkan_e2e::Cluster;
use genkan_e2e::cluster::{Namespace, Options};
use serde_json::Value;

use crate::chart::{Release, pods};
use crate::gateways::{CONTROLLER, class};
use crate::site::echoes;

/// Everything of a tenant that has a status. Its GatewayClass `pool` gives addresses of our Pods' own loopback.
const OBJECTS: &str = r#"
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: all}
spec:
  gatewayClassName: plain
  allowedListeners: {namespaces: {from: Same}}
  listeners:
  - {name: http, port: 80, protocol: HTTP}
  - {name: tls, port: 443, protocol: TLS, hostname: tls.test, tls: {mode: Passthrough}}
  - {name: tcp, port: 9000, protocol: TCP}
  - {name: udp, port: 9001, protocol: UDP}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: pooled}
spec: {gatewayClassName: pool, listeners: [{name: http, port: 8080, protocol: HTTP}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: ListenerSet
metadata: {name: more}
spec:
  parentRef: {group: gateway.networking.k8s.io, kind: Gateway, name: all}
  listeners: [{name: more, port: 81, protocol: HTTP}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: http}
spec:
  parentRefs: [{name: all, sectionName: http}]
  hostnames: [http.test]
  rules:
  - backendRefs: [{name: web, port: 80}, {group: gateway.networking.x-k8s.io, kind: XBackend, name: out, port: 80}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: {name: grpc}
spec:
  parentRefs: [{name: all, sectionName: http}]
  hostnames: [grpc.test]
  rules: [{backendRefs: [{name: web, port: 80}]}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: TLSRoute
metadata: {name: tls}
spec: {parentRefs: [{name: all, sectionName: tls}], hostnames: [tls.test], rules: [{backendRefs: [{name: web, port: 80}]}]}
---
apiVersion: gateway.networking.k8s.io/v1alpha2
kind: TCPRoute
metadata: {name: tcp}
spec: {parentRefs: [{name: all, sectionName: tcp}], rules: [{backendRefs: [{name: web, port: 80}]}]}
---
apiVersion: gateway.networking.k8s.io/v1alpha2
kind: UDPRoute
metadata: {name: udp}
spec: {parentRefs: [{name: all, sectionName: udp}], rules: [{backendRefs: [{name: dns, port: 53}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: dns}
spec: {selector: {app: web}, ports: [{name: dns, protocol: UDP, port: 53}]}
---
apiVersion: gateway.networking.x-k8s.io/v1alpha1
kind: XBackend
metadata: {name: out}
spec: {type: ExternalHostname, port: {port: 80}, externalHostname: {hostname: out.test}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: BackendTLSPolicy
metadata: {name: secured}
spec:
  targetRefs: [{group: "", kind: Service, name: web}]
  validation: {hostname: web.test, wellKnownCACertificates: System}
---
apiVersion: gateway.networking.x-k8s.io/v1alpha1
kind: XBackendTrafficPolicy
metadata: {name: sticky}
spec: {targetRefs: [{group: "", kind: Service, name: web}], sessionPersistence: {sessionName: s}}
---
apiVersion: genkan.dev/v1alpha1
kind: RoutePolicy
metadata: {name: small}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: http}]
  defaults: {bodySize: {max: 1m}}
---
apiVersion: genkan.dev/v1alpha1
kind: ListenerPolicy
metadata: {name: quick}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: all}]
  defaults: {timeouts: {header: 10s}}
---
"#;

/// Each kind with a status, and one of it.
const STATUSES: [&str; 15] = [
    "gatewayclass/plain",
    "gatewayclass/pool",
    "gateway/all",
    "gateway/pooled",
    "listenerset.gateway.networking.k8s.io/more",
    "httproute/http",
    "grpcroute/grpc",
    "tlsroute/tls",
    "tcproute/tcp",
    "udproute/udp",
    "xbackend/out",
    "backendtlspolicy/secured",
    "xbackendtrafficpolicy/sticky",
    "routepolicy/small",
    "listenerpolicy/quick",
];

fn pool(namespace: &Namespace<'_>) -> String {
    let own = namespace.name();
    format!(
        "apiVersion: genkan.dev/v1alpha1\nkind: GatewayParameters\nmetadata: {{name: pool}}\n\
         spec: {{addresses: {{mode: Pool, pool: {{dynamic: [127.9.0.1-127.9.0.9]}}}}}}\n---\n\
         apiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\nmetadata: {{name: pool}}\nspec: {{controllerName: \
         {CONTROLLER}, parametersRef: {{group: genkan.dev, kind: GatewayParameters, namespace: {own}, name: pool}}}}\n"
    )
}

/// Whether a status says `Accepted`: by its own conditions, or by those of an entry of a list that is ours.
fn is_accepted(status: &Value) -> bool {
    let holds = |owner: &Value| {
        let mut conditions = owner["conditions"].as_array().into_iter().flatten();
        conditions.any(|condition| condition["type"] == "Accepted" && condition["status"] == "True")
    };
    let lists = ["parents", "ancestors"].iter().filter_map(|list| status[*list].as_array());
    holds(status) || lists.flatten().any(|entry| entry["controllerName"] == CONTROLLER && holds(entry))
}

#[test]
fn the_rights_of_the_chart_are_enough_for_every_status_and_every_gateway() {
    let cluster = Cluster::start(&Options { nodes: 2, gateway_api: true, ..Options::default() });
    let (own, team) = (cluster.namespace("chart"), cluster.namespace("team"));
    Release { namespace: &own }
        .apply("install", &[&format!("controller.extraArgs.gateway-controller-name={CONTROLLER}")]);
    own.apply(&class("plain", own.name(), None).to_string());
    own.apply(&pool(&own));
    team.apply(&(echoes("web", 1) + OBJECTS));

    for object in STATUSES {
        let status = || team.get(object).is_some_and(|found| is_accepted(&found["status"]));
        team.wait_until(&format!("the status of {object} says that it is accepted"), status);
    }
    for (gateway, headless) in [("all", false), ("pooled", true)] {
        team.wait_until(&format!("{gateway} is programmed"), || {
            let status = team.get(&format!("gateway/{gateway}")).unwrap()["status"].clone();
            let mut conditions = status["conditions"].as_array().into_iter().flatten();
            conditions.any(|it| it["type"] == "Programmed" && it["status"] == "True")
        });
        let service = team.get(&format!("service/{gateway}-gateway")).expect("what is kept for it");
        assert_eq!(service["spec"]["clusterIP"] == "None", headless, "{service}");
    }
    for pod in pods(&own) {
        let log = own.log(&pod);
        let refused: Vec<_> = log.lines().filter(|line| line.to_lowercase().contains("forbidden")).collect();
        assert!(refused.is_empty(), "{pod}: {refused:#?}");
    }
}
