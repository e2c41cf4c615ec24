//! Gateways with Services of their own: the chart as it is installed, its two replicas under the rights that it gives them,
//! and Gateways of a tenant in another namespace.

use std::net::SocketAddr;

use genkan_e2e::Cluster;
use genkan_e2e::cluster::{Namespace, Options};
use genkan_e2e::http1::Client;
use serde_json::{Value, json};

use crate::chart::{RELEASE, Release, ready_endpoints};
use crate::site::echoes;

/// What makes GatewayClasses ours.
pub(crate) const CONTROLLER: &str = "genkan.test/gateways";

/// A class; with parameters of this type, or without any.
pub(crate) fn class(name: &str, namespace: &str, kind: Option<&str>) -> Value {
    let reference = json!({"group": "genkan.dev", "kind": "GatewayParameters", "namespace": namespace, "name": name});
    let mut class = json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "GatewayClass", "metadata": {"name": name},
        "spec": {"controllerName": CONTROLLER},
    });
    let mut items = Vec::new();
    if let Some(kind) = kind {
        class["spec"]["parametersRef"] = reference;
        items.push(json!({
            "apiVersion": "genkan.dev/v1alpha1", "kind": "GatewayParameters",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"addresses": {"mode": "Service", "service": {"type": kind}}},
        }));
    }
    items.push(class);
    json!({"apiVersion": "v1", "kind": "List", "items": items})
}

/// A Gateway that serves HTTP at these ports, and a route of it.
pub(crate) fn gateway(name: &str, class: &str, ports: &[u16]) -> String {
    let infrastructure = json!({"labels": {"team": "web"}, "annotations": {"lb.test/inside": "true"}});
    giving(name, class, ports, &infrastructure)
}

/// One that gives its Service this.
fn giving(name: &str, class: &str, ports: &[u16], infrastructure: &Value) -> String {
    let listener = |port: &u16| json!({"name": format!("p{port}"), "port": port, "protocol": "HTTP"});
    let listeners: Vec<_> = ports.iter().map(listener).collect();
    let items = [
        json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "metadata": {"name": name},
            "spec": {
                "gatewayClassName": class, "listeners": listeners, "infrastructure": infrastructure,
            },
        }),
        json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": name},
            "spec": {
                "parentRefs": [{"name": name}], "hostnames": [format!("{name}.test")],
                "rules": [{"backendRefs": [{"name": "web", "port": 80}]}],
            },
        }),
    ];
    json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string()
}

/// What a tenant has.
pub(crate) struct Tenant<'n> {
    pub(crate) namespace: &'n Namespace<'n>,
}

impl Tenant<'_> {
    fn service(&self, gateway: &str) -> Option<Value> {
        self.namespace.get(&format!("service/{gateway}-gateway"))
    }

    /// Where our Pods are, for a port of a Gateway.
    fn endpoints(&self, gateway: &str, port: u16) -> Vec<SocketAddr> {
        ready_endpoints(self.namespace, &format!("{gateway}-gateway"), &format!("tcp-{port}"))
    }

    /// The port of our Pods that the Service leads to.
    pub(crate) fn target(&self, gateway: &str, port: u16) -> Option<u64> {
        let service = self.service(gateway)?;
        let ports = service["spec"]["ports"].as_array()?.iter();
        ports.clone().find(|it| it["port"] == port).and_then(|port| port["targetPort"].as_u64())
    }

    /// Waits until a Gateway is programmed, and gives its addresses.
    pub(crate) fn programmed(&self, gateway: &str) -> Vec<String> {
        let name = format!("gateway/{gateway}");
        let mut addresses = Vec::new();
        self.namespace.wait_until(&format!("{name} is programmed"), || {
            let Some(object) = self.namespace.get(&name) else { return false };
            let status = &object["status"];
            let texts = status["addresses"].as_array().into_iter().flatten();
            addresses = texts.map(|address| address["value"].as_str().unwrap().to_owned()).collect();
            let mut conditions = status["conditions"].as_array().into_iter().flatten();
            conditions.any(|it| it["type"] == "Programmed" && it["status"] == "True") && !addresses.is_empty()
        });
        addresses
    }

    /// Whether both of our Pods answer for a Gateway, and for no other.
    pub(crate) fn is_served(&self, gateway: &str, port: u16) -> bool {
        let endpoints = self.endpoints(gateway, port);
        let status = |at: &SocketAddr, host: &str| Client::connect(*at).ok()?.get(host, "/").ok().map(|it| it.status);
        endpoints.len() == 2
            && endpoints.iter().all(|at| status(at, &format!("{gateway}.test")) == Some(200))
            && endpoints.iter().all(|at| status(at, "elsewhere.test") == Some(404))
    }
}

/// What a Gateway no longer gives goes from its Service, the last of it too, and what others wrote stays.
fn follows_what_its_gateway_gives(tenant: &Tenant<'_>) {
    let team = tenant.namespace;
    team.kubectl(&["annotate", "service", "edge-gateway", "theirs.test/note=a"]);
    team.kubectl(&["label", "service", "edge-gateway", "theirs=a"]);
    let given = |field: &str, key: &str| tenant.service("edge").unwrap()["metadata"][field][key].clone();
    let next = json!({"labels": {"team": "other"}, "annotations": {"lb.test/outside": "true"}});
    team.apply(&giving("edge", "plain", &[80, 8080], &next));
    team.wait_until("what it gives changes", || {
        given("labels", "team") == "other"
            && given("annotations", "lb.test/outside") == "true"
            && given("annotations", "lb.test/inside").is_null()
    });
    team.apply(&giving("edge", "plain", &[80, 8080], &json!({})));
    team.wait_until("what it gave goes", || {
        ["lb.test/outside", "genkan.dev/infrastructure"].iter().all(|key| given("annotations", key).is_null())
            && given("labels", "team").is_null()
    });
    assert_eq!((given("annotations", "theirs.test/note"), given("labels", "theirs")), (json!("a"), json!("a")));
    assert_eq!(given("labels", "app.kubernetes.io/managed-by"), "genkan");
}

/// An external address is not in the way of what changes.
fn lets_what_an_administrator_wrote_be(tenant: &Tenant<'_>) {
    let team = tenant.namespace;
    let external = json!({"spec": {"externalIPs": ["192.0.2.77"]}}).to_string();
    team.kubectl(&["patch", "service", "edge-gateway", "--type=merge", "--patch", &external]);
    team.apply(&gateway("edge", "plain", &[80, 8080, 8081]));
    team.wait_until("its new port is led to", || tenant.target("edge", 8081).is_some());
    assert_eq!(tenant.service("edge").unwrap()["spec"]["externalIPs"], json!(["192.0.2.77"]));
    team.apply(&gateway("edge", "plain", &[80, 8080]));
}

/// While it can lead to nothing the Service stays, and what comes there goes nowhere.
fn leads_nowhere_for_a_while(tenant: &Tenant<'_>) {
    let team = tenant.namespace;
    let mut idle: Value = serde_json::from_str(&gateway("edge", "plain", &[80])).unwrap();
    idle["items"][0]["spec"]["listeners"][0]["protocol"] = "a.test/x".into();
    team.apply(&idle.to_string());
    team.wait_until("it leads nowhere", || tenant.endpoints("edge", 80).is_empty());
    assert!(tenant.service("edge").is_some());
    team.apply(&gateway("edge", "plain", &[80]));
    team.wait_until("both Pods serve it again", || tenant.is_served("edge", 80));
}

#[test]
fn a_gateway_gets_a_service_that_leads_to_our_pods_whoever_of_them_leads() {
    // A cluster of its own: no other controller is to be asked about its Gateways.
    let cluster = Cluster::start(&Options { nodes: 2, gateway_api: true, ..Options::default() });
    let (own, team) = (cluster.namespace("chart"), cluster.namespace("team"));
    let release = Release { namespace: &own };
    release.apply("install", &[&format!("controller.gatewayControllerName={CONTROLLER}")]);
    for (name, kind) in [("plain", None), ("nodes", Some("NodePort")), ("inside", Some("ClusterIP"))] {
        own.apply(&class(name, own.name(), kind).to_string());
    }
    let tenant = Tenant { namespace: &team };
    team.apply(&(echoes("web", 1) + "---\n" + &gateway("edge", "plain", &[80, 8080])));
    team.wait_rolled_out("deployment/web");

    let addresses = tenant.programmed("edge");
    let service = tenant.service("edge").unwrap();
    assert_eq!(service["spec"]["type"], "LoadBalancer");
    assert_eq!(service["status"]["loadBalancer"]["ingress"][0]["ip"], *addresses[0]);
    assert_eq!(service["metadata"]["labels"]["team"], "web");
    assert_eq!(service["metadata"]["annotations"]["lb.test/inside"], "true");
    assert_eq!(service["metadata"]["ownerReferences"][0]["kind"], "Gateway");
    team.wait_until("both Pods serve it", || tenant.is_served("edge", 80) && tenant.is_served("edge", 8080));
    let target = tenant.target("edge", 80).unwrap();
    assert!((20000..30000).contains(&target), "{service}");

    follows_what_its_gateway_gives(&tenant);
    lets_what_an_administrator_wrote_be(&tenant);

    // One beside it has other ports, and what a tenant writes into its Service moves none.
    team.apply(&gateway("other", "inside", &[80]));
    let cluster_ip = tenant.programmed("other");
    assert_eq!(tenant.service("other").unwrap()["spec"]["clusterIP"], *cluster_ip[0]);
    let theft = json!([{"op": "replace", "path": "/spec/ports/0/targetPort", "value": target}]).to_string();
    team.kubectl(&["patch", "service", "other-gateway", "--type=json", "--patch", &theft]);
    team.wait_until("what was written is mended", || tenant.target("other", 80).is_some_and(|port| port != target));
    team.wait_until("both are served", || tenant.is_served("other", 80) && tenant.is_served("edge", 80));
    team.apply(&gateway("nodes", "nodes", &[80]));
    let nodes = tenant.programmed("nodes");
    let of_nodes = cluster.kubectl(&["get", "nodes", "--output", "jsonpath={.items[*].status.addresses[*].address}"]);
    assert!(nodes.iter().all(|node| of_nodes.split(' ').any(|it| it == node)), "{nodes:?}, not {of_nodes}");
    assert!(tenant.service("nodes").unwrap()["spec"]["ports"][0]["nodePort"].is_u64());

    // A leader that is gone leaves what is recorded, and another leads on.
    let lease = format!("lease/{RELEASE}-genkan-leader");
    let leader = own.get(&lease).unwrap()["spec"]["holderIdentity"].as_str().unwrap().to_owned();
    own.kubectl(&["delete", "pod", &leader, "--grace-period=0", "--force"]);
    own.wait_until("another leads", || own.get(&lease).is_some_and(|it| it["spec"]["holderIdentity"] != *leader));
    team.apply(&gateway("edge", "plain", &[80]));
    team.wait_until("it follows its Gateway", || tenant.target("edge", 8080).is_none());
    team.wait_until("both Pods serve it", || tenant.is_served("edge", 80));
    assert_eq!((tenant.target("edge", 80), tenant.programmed("edge")), (Some(target), addresses));

    leads_nowhere_for_a_while(&tenant);
    team.kubectl(&["delete", "gateway", "edge"]);
    team.wait_until("all of it goes", || {
        tenant.service("edge").is_none() && {
            let selector = "kubernetes.io/service-name=edge-gateway";
            team.kubectl(&["get", "endpointslices", "--selector", selector, "--output", "name"]).is_empty()
        }
    });
}
