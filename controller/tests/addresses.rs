//! Addresses of Gateways in a cluster: what is recorded where tenants write moves no address from one to another, and
//! replicas that learn of things in another order agree.

#![allow(clippy::unwrap_used, reason = "a step that fails fails the test")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use genkan_controller::resources::{Key, Kind, NamespacedName, Object, Resources, Shown};
use genkan_controller::settings::Settings;
use genkan_controller::translate::gateway::status::Wanted;
use genkan_controller::translate::{Change, Infrastructure, Translation, Translator};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::{Value, json};

/// A replica: what it was told, and what it made of it.
struct Replica {
    resources: Resources,
    translator: Translator,
    last: Translation,
}

impl Replica {
    fn new() -> Self {
        Self::knowing(Resources::default())
    }

    /// One that begins with all this.
    fn knowing(resources: Resources) -> Self {
        let settings = Settings { record_addresses: true, target_ports: Some(20000..=20003), ..Settings::default() };
        let mut translator = Translator::new(settings);
        let last = translator.update(&resources, &BTreeSet::new());
        Self { resources, translator, last }
    }

    fn told(&mut self, objects: &[Object]) {
        let changes = objects.iter().map(|object| Change::Object(Key::of(object))).collect();
        for object in objects {
            self.resources.apply(object.clone());
        }
        self.last = self.translator.update(&self.resources, &changes);
    }

    fn told_gone(&mut self, kind: Kind, name: &str) {
        let key = Key::new(kind, "x", name);
        assert!(self.resources.remove(&key));
        self.last = self.translator.update(&self.resources, &BTreeSet::from([Change::Object(key)]));
    }

    /// What it would write as the leader.
    fn written(&self) -> Vec<Object> {
        let all = self.last.infrastructure.iter().filter_map(|(name, wanted)| match wanted {
            Infrastructure::Service(wanted) => Some(service(&name.name, &serde_json::to_value(wanted).unwrap())),
            Infrastructure::Idle | Infrastructure::Nothing => None,
        });
        all.collect()
    }

    /// Writes as the leader, and hears of it: Services, then their slices. Gives the Services.
    fn lead(&mut self) -> Vec<Object> {
        let written = self.written();
        self.told(&written);
        let infrastructure = self.last.infrastructure.clone();
        for (name, wanted) in infrastructure.iter() {
            match wanted {
                Infrastructure::Service(wanted) if wanted.spec.is_some() => {
                    self.told(&[slice(&name.name, &serde_json::to_value(wanted).unwrap())]);
                }
                Infrastructure::Service(_) => {}
                Infrastructure::Idle | Infrastructure::Nothing => {
                    if let (Infrastructure::Idle, Some(service)) = (wanted, self.resources.services.get(name)) {
                        let mut service = genkan_controller::resources::Service::clone(service);
                        for port in &mut service.ports {
                            port.target_port = Some(IntOrString::String("nowhere".to_owned()));
                        }
                        self.told(&[Object::Service(Arc::new(service))]);
                    }
                    let key = Key::new(Kind::EndpointSlice, "x", format!("{}-1", name.name));
                    if self.resources.contains(&key) {
                        self.told_gone(Kind::EndpointSlice, &key.name.name);
                    }
                }
            }
        }
        written
    }

    /// `status.addresses` of a Gateway.
    fn status(&self, gateway: &str) -> Vec<String> {
        let key = Key::new(Kind::Gateway, "x", gateway);
        let status = serde_json::to_value(self.last.statuses.get(&key).unwrap()).unwrap();
        let addresses = status["addresses"].as_array().into_iter().flatten();
        addresses.map(|address| address["value"].as_str().unwrap().to_owned()).collect()
    }

    /// Where each Gateway is served.
    fn served(&self) -> BTreeMap<String, String> {
        let listeners = self.last.model.listeners.values().filter(|listener| !listener.addresses.is_empty());
        let at = |listener: &Arc<genkan_routing::model::Listener>| listener.addresses[0].to_string();
        listeners.map(|listener| (listener.id.to_string(), at(listener))).collect()
    }

    /// Which port of ours each port of a Gateway is at.
    fn ports(&self) -> Vec<(String, u16)> {
        let listeners = self.last.model.listeners.values().filter(|listener| listener.id.to_string().contains("/tcp/"));
        listeners.map(|listener| (listener.id.to_string(), listener.port)).collect()
    }

    /// What one that begins now knows: statuses say what this one makes them say.
    fn afterwards(&self) -> Resources {
        let mut resources = self.resources.clone();
        for name in resources.gateways.keys().cloned().collect::<Vec<_>>() {
            let wanted = self.last.statuses.get(&Key { kind: Kind::Gateway, name: name.clone() }).unwrap();
            let status = match &**wanted {
                Wanted::Gateway(status) => status,
                // Nothing is said of it any more.
                Wanted::Withdrawn { .. } => {
                    resources.shown.remove(&name);
                    continue;
                }
                other => panic!("{other:?}"),
            };
            let conditions = status.conditions.iter();
            let conditions = conditions.map(|it| json!({"type": it.kind.as_str(), "message": it.message}));
            let status = json!({"addresses": status.addresses, "conditions": conditions.collect::<Vec<_>>()});
            resources.shown.insert(name, Shown::read(&json!({"status": status})));
        }
        resources
    }
}

fn object<T: serde::de::DeserializeOwned>(value: Value) -> Arc<T> {
    Arc::new(serde_json::from_value(value).unwrap())
}

/// The Service that this is written as.
fn service(name: &str, wanted: &Value) -> Object {
    let owner = json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "name": wanted["gateway"],
        "uid": wanted["owner"], "controller": true});
    let metadata = json!({"namespace": "x", "name": name, "uid": name, "labels": wanted["labels"],
        "annotations": wanted["annotations"], "ownerReferences": [owner]});
    let port = |port: &Value| {
        let name = format!("{}-{}", port["wire"].as_str().unwrap().to_lowercase(), port["number"]);
        json!({"name": name, "protocol": port["wire"], "port": port["number"], "targetPort": port["target"]})
    };
    let spec = match wanted["spec"].as_object() {
        None => json!({"clusterIP": "None"}),
        Some(spec) => json!({
            "type": spec["type"], "clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1"],
            "ports": spec["ports"].as_array().unwrap().iter().map(port).collect::<Vec<_>>(),
        }),
    };
    let balancer = json!({"loadBalancer": {"ingress": [{"ip": "198.51.100.7"}]}});
    let status = if spec["type"] == "LoadBalancer" { balancer } else { json!({}) };
    Object::Service(object(json!({"metadata": metadata, "spec": spec, "status": status})))
}

/// The slice by which this Service leads to a Pod of ours.
fn slice(service: &str, wanted: &Value) -> Object {
    let labels = json!({"kubernetes.io/service-name": service, "endpointslice.kubernetes.io/managed-by": "genkan.dev"});
    let ports: Vec<_> =
        wanted["spec"]["ports"].as_array().unwrap().iter().map(|it| json!({"port": it["target"]})).collect();
    Object::EndpointSlice(object(json!({
        "metadata": {"namespace": "x", "name": format!("{service}-1"), "labels": labels},
        "addressType": "IPv4", "endpoints": [{"addresses": ["10.1.0.1"]}], "ports": ports,
    })))
}

/// The class `plain`, without parameters, and Gateways of it with these ports.
fn plain(gateways: &[(&str, &[u16])]) -> Vec<Object> {
    let spec = json!({"controllerName": "genkan.dev/gateway-controller"});
    let class = Object::GatewayClass(object(json!({"metadata": {"name": "plain"}, "spec": spec})));
    let gateway = |(name, ports): &(&str, &[u16])| {
        let listener = |port: &u16| json!({"name": format!("p{port}"), "port": port, "protocol": "HTTP"});
        let spec = json!({"gatewayClassName": "plain", "listeners": ports.iter().map(listener).collect::<Vec<_>>()});
        Object::Gateway(object(json!({"metadata": {"namespace": "x", "name": name, "uid": name}, "spec": spec})))
    };
    let all = gateways.iter().flat_map(|it| [gateway(it), route(it.0)]);
    [class].into_iter().chain(all).collect()
}

/// The class `pool` and its parameters: two addresses for whoever asks.
fn class(range: &str) -> Vec<Object> {
    let reference = json!({"group": "genkan.dev", "kind": "GatewayParameters", "namespace": "x", "name": "pool"});
    let spec = json!({"controllerName": "genkan.dev/gateway-controller", "parametersRef": reference});
    let addresses = json!({"mode": "Pool", "pool": {"dynamic": [range]}});
    let metadata = json!({"namespace": "x", "name": "pool"});
    vec![
        Object::GatewayClass(object(json!({"metadata": {"name": "pool"}, "spec": spec}))),
        Object::GatewayParameters(object(json!({"metadata": metadata, "spec": {"addresses": addresses}}))),
    ]
}

/// A Gateway; by its name the older.
fn gateway(name: &str) -> Object {
    let listener = json!({"name": "web", "port": 80, "protocol": "HTTP"});
    let spec = json!({"gatewayClassName": "pool", "listeners": [listener]});
    Object::Gateway(object(json!({"metadata": {"namespace": "x", "name": name, "uid": name}, "spec": spec})))
}

/// A route, so that the Gateway's listener is served.
fn route(gateway: &str) -> Object {
    let spec = json!({"parentRefs": [{"name": gateway}], "rules": [{}]});
    Object::HttpRoute(object(json!({"metadata": {"namespace": "x", "name": gateway}, "spec": spec})))
}

/// The Service of a Gateway with these addresses in its record.
fn forged(gateway: &str, addresses: &str) -> Object {
    let labels = json!({"app.kubernetes.io/managed-by": "genkan", "gateway.networking.k8s.io/gateway-name": gateway});
    let annotations = json!({"genkan.dev/gateway-controller": "genkan.dev/gateway-controller",
        "genkan.dev/addresses": addresses});
    let wanted = json!({"gateway": gateway, "owner": gateway, "labels": labels, "annotations": annotations});
    service(&format!("{gateway}-gateway"), &wanted)
}

/// A site with two Gateways that have their addresses: `a`, which counts as the older, and `b`.
fn site() -> Replica {
    let mut replica = Replica::new();
    replica.told(&[class("192.0.2.1-192.0.2.9"), vec![gateway("a"), gateway("b"), route("a"), route("b")]].concat());
    replica.lead();
    assert_eq!(
        (replica.status("a"), replica.status("b")),
        (vec!["192.0.2.1".to_owned()], vec!["192.0.2.2".to_owned()])
    );
    replica
}

#[test]
fn a_record_that_a_tenant_forges_takes_no_address_from_another() {
    let mut replica = site();
    let (before, later) = (replica.served(), replica.afterwards());
    let forged = forged("a", "192.0.2.2");
    replica.told(std::slice::from_ref(&forged));
    assert_eq!(replica.served(), before);
    let told = |replica: &Replica| {
        let mut problems = replica.last.report.problems();
        problems.any(|problem| problem.message.contains("192.0.2.2, which is Gateway x/b's"))
    };
    assert!(told(&replica), "{:?}", replica.last.report);
    replica.lead();
    assert!(!told(&replica), "the record is mended");
    assert_eq!(replica.served(), before);
    // One that begins now has statuses to go by, which tenants can't write.
    let mut resources = later;
    resources.apply(forged);
    let mut other = Replica::knowing(resources);
    other.lead();
    assert_eq!(other.served(), before);
}

#[test]
fn a_gateway_is_served_while_its_service_is_gone_or_somebody_elses() {
    let mut replica = site();
    let before = replica.served();
    replica.told_gone(Kind::Service, "b-gateway");
    assert_eq!(replica.served(), before);
    replica.told(&[Object::Service(object(json!({"metadata": {"namespace": "x", "name": "b-gateway"}})))]);
    assert_eq!(replica.served(), before, "but it is told");
    assert!(replica.last.report.problems().any(|problem| problem.message.contains("is not of this Gateway")));
    // Another Gateway does not get what it has.
    replica.told(&[gateway("0"), route("0")]);
    replica.lead();
    assert_eq!(replica.status("0"), ["192.0.2.3"]);
    // A restart in between loses nothing either: it is not served until it is recorded again, at the same address.
    let mut resources = replica.afterwards();
    resources.remove(&Key::new(Kind::Service, "x", "b-gateway"));
    let mut later = Replica::knowing(resources);
    later.lead();
    assert_eq!(later.status("b"), ["192.0.2.2"]);
}

#[test]
fn a_gateway_whose_parameters_are_lost_keeps_its_address_and_shows_no_other() {
    let mut replica = site();
    replica.told_gone(Kind::GatewayParameters, "pool");
    assert_eq!(replica.status("b"), ["192.0.2.2"]);
    let wanted = replica.last.statuses.get(&Key::new(Kind::Gateway, "x", "b")).unwrap();
    assert!(matches!(&**wanted, Wanted::Gateway(status) if !status.shared_addresses), "{wanted:?}");
    let later = Replica::knowing(replica.afterwards());
    assert_eq!(later.status("b"), ["192.0.2.2"]);
}

#[test]
fn each_port_of_a_gateway_with_a_service_leads_to_a_port_of_ours_that_stays_its_own() {
    let mut replica = Replica::new();
    replica.told(&plain(&[("a", &[80]), ("b", &[80])]));
    assert_eq!(replica.ports(), [], "nothing is recorded yet");
    replica.lead();
    let of = |gateway: &str, public: u16, port: u16| (format!("gateway/x/{gateway}/tcp/{public}"), port);
    let before = vec![of("a", 80, 20000), of("b", 80, 20001)];
    assert_eq!((replica.ports(), replica.status("b")), (before.clone(), vec!["198.51.100.7".to_owned()]));
    assert!(replica.last.model.listeners.values().any(|listener| (listener.port, listener.public_port) == (20001, 80)));

    // Others come, go and change: it stays.
    replica.told(&plain(&[("0", &[80]), ("a", &[80, 443])]));
    replica.lead();
    assert_eq!(replica.ports(), [of("0", 80, 20002), of("a", 443, 20003), before[0].clone(), before[1].clone()]);
    replica.told(&plain(&[("a", &[443])]));
    let written = replica.lead();
    assert_eq!(replica.ports(), [of("0", 80, 20002), of("a", 443, 20003), before[1].clone()]);
    // What is free again is given again, and who comes when nothing is gets nothing.
    replica.told(&plain(&[("c", &[80, 81])]));
    replica.lead();
    assert!(replica.ports().contains(&of("c", 80, 20000)) && replica.ports().len() == 4, "{:?}", replica.ports());
    let problems = &replica.last.report;
    assert!(problems.problems().any(|problem| problem.reason == "NoResources"), "{problems:?}");
    assert!(written.len() >= 3);
}

#[test]
fn a_target_port_that_a_tenant_forges_takes_no_port_from_another() {
    let mut replica = Replica::new();
    replica.told(&plain(&[("a", &[80]), ("b", &[80])]));
    let written = replica.lead();
    let (before, later) = (replica.ports(), replica.afterwards());
    // The older Gateway's author lets its Service lead to the port of the other.
    let Object::Service(service) = &written[0] else { panic!("{written:?}") };
    let mut forged = genkan_controller::resources::Service::clone(service);
    forged.ports[0].target_port = Some(IntOrString::Int(20001));
    let forged = Object::Service(Arc::new(forged));
    replica.told(std::slice::from_ref(&forged));
    assert_eq!(replica.ports(), before);
    assert_eq!(replica.written(), written, "it is mended");
    let mut resources = later;
    resources.apply(forged);
    let mut other = Replica::knowing(resources);
    other.lead();
    assert_eq!(other.ports(), before, "statuses tell whose it is");
}

#[test]
fn a_gateway_with_a_service_keeps_its_ports_while_its_class_is_broken() {
    let mut replica = Replica::new();
    replica.told(&plain(&[("a", &[80])]));
    replica.lead();
    let class = |reference: Value| {
        let spec = json!({"controllerName": "genkan.dev/gateway-controller", "parametersRef": reference});
        Object::GatewayClass(object(json!({"metadata": {"name": "plain"}, "spec": spec})))
    };
    let lost = json!({"group": "genkan.dev", "kind": "GatewayParameters", "namespace": "x", "name": "lost"});
    replica.told(&[class(lost)]);
    assert_eq!((replica.ports().len(), replica.status("a")), (0, vec!["198.51.100.7".to_owned()]));
    replica.told(&plain(&[("0", &[80])])[1..]);
    let resources = replica.afterwards();
    for mut replica in [replica, Replica::knowing(resources)] {
        replica.told(&[class(Value::Null)]);
        replica.lead();
        assert!(replica.ports().contains(&("gateway/x/a/tcp/80".to_owned(), 20000)), "{:?}", replica.ports());
    }
}

/// The Gateway of [`plain`] with its listener spoken to in another way.
fn speaking(name: &str, protocol: &str) -> Object {
    let listener = json!({"name": "p80", "port": 80, "protocol": protocol});
    let spec = json!({"gatewayClassName": "plain", "listeners": [listener]});
    Object::Gateway(object(json!({"metadata": {"namespace": "x", "name": name, "uid": name}, "spec": spec})))
}

#[test]
fn a_gateway_without_any_port_keeps_its_service_which_leads_nowhere() {
    let mut replica = Replica::new();
    replica.told(&plain(&[("a", &[80])]));
    replica.lead();
    replica.told(&[speaking("a", "a.test/x")]);
    let idle = NamespacedName::new("x", "a-gateway");
    assert_eq!(replica.last.infrastructure.get(&idle), Some(&Infrastructure::Idle));
    // Its slice still leads to 20000.
    replica.told(&plain(&[("b", &[80])]));
    replica.lead();
    assert_eq!(replica.ports(), [("gateway/x/b/tcp/80".to_owned(), 20001)]);
    assert!(!replica.resources.contains(&Key::new(Kind::EndpointSlice, "x", "a-gateway-1")));
    replica.told(&[speaking("a", "HTTP")]);
    replica.lead();
    assert_eq!(replica.ports().len(), 2);
}

#[test]
fn a_port_is_given_to_nobody_while_the_service_of_a_gateway_that_is_gone_leads_there() {
    let mut replica = Replica::new();
    replica.told(&plain(&[("a", &[80])]));
    replica.lead();
    replica.told_gone(Kind::Gateway, "a");
    // A load balancer is taken down for a while, and the next leader has not seen any of it.
    let later = Replica::knowing(replica.resources.clone());
    for mut replica in [replica, later] {
        replica.told(&plain(&[("b", &[80, 81, 82, 83])]));
        replica.lead();
        let ports = |replica: &Replica| replica.ports().into_iter().map(|(_, port)| port).collect::<Vec<_>>();
        assert_eq!(ports(&replica), [20001, 20002, 20003]);
        replica.told_gone(Kind::EndpointSlice, "a-gateway-1");
        replica.lead();
        assert_eq!(ports(&replica), [20001, 20002, 20003, 20000]);
    }
}

#[test]
fn a_gateway_of_a_class_that_is_gone_gets_its_ports_again_and_nobody_else_does() {
    let mut replica = Replica::new();
    let objects = plain(&[("b", &[80])]);
    replica.told(&objects);
    replica.lead();
    let before = replica.ports();
    let class = Key::new(Kind::GatewayClass, "", "plain");
    assert!(replica.resources.remove(&class));
    replica.last = replica.translator.update(&replica.resources, &BTreeSet::from([Change::Object(class)]));
    let mut later = Replica::knowing(replica.afterwards());
    // An older Gateway of another class comes first.
    let spec = json!({"controllerName": "genkan.dev/gateway-controller"});
    let other = Object::GatewayClass(object(json!({"metadata": {"name": "other"}, "spec": spec})));
    let listener = json!({"name": "p80", "port": 80, "protocol": "HTTP"});
    let spec = json!({"gatewayClassName": "other", "listeners": [listener]});
    let metadata = json!({"namespace": "x", "name": "a", "uid": "a"});
    let first = Object::Gateway(object(json!({"metadata": metadata, "spec": spec})));
    later.told(&[other, first, route("a")]);
    later.lead();
    assert_eq!(later.ports(), [("gateway/x/a/tcp/80".to_owned(), 20001)]);
    later.told(&objects[..1]);
    later.lead();
    assert!(later.ports().contains(&before[0]), "{:?}", later.ports());
}

#[test]
fn without_statuses_a_target_port_is_whose_service_leads_there() {
    let mut replica = Replica::new();
    replica.told(&plain(&[("a", &[80]), ("b", &[80])]));
    let written = replica.lead();
    let before = replica.ports();
    let Object::Service(service) = &written[0] else { panic!("{written:?}") };
    let mut forged = genkan_controller::resources::Service::clone(service);
    forged.ports[0].target_port = Some(IntOrString::Int(20001));
    let mut resources = replica.resources.clone();
    resources.apply(Object::Service(Arc::new(forged)));
    assert!(resources.shown.is_empty());
    let mut later = Replica::knowing(resources);
    later.lead();
    assert!(later.ports().contains(&before[1]), "{:?}", later.ports());
}

/// A leader is told one step after the other, another replica only as many of the first as it `heard`, and then of the end.
fn agree_at_the_end(steps: &[(&str, Vec<u16>)], heard: usize, statuses_last: bool) {
    let mut leader = Replica::new();
    let mut other = Replica::new();
    for (index, (name, ports)) in steps.iter().enumerate() {
        let objects = plain(&[(name, ports)]);
        // What becomes free by the first is given by the second.
        leader.told(&objects);
        leader.lead();
        leader.lead();
        if index < heard {
            other.told(&objects);
            other.lead();
            other.lead();
            assert_eq!(other.ports(), leader.ports());
        }
    }
    let end = leader.afterwards();
    let gone = other.resources.endpoint_slices.keys().filter(|name| !end.endpoint_slices.contains_key(*name));
    for name in gone.map(|name| name.name.to_string()).collect::<Vec<_>>() {
        other.told_gone(Kind::EndpointSlice, &name);
    }
    let services = end.services.values().cloned().map(Object::Service);
    let slices = end.endpoint_slices.values().cloned().map(Object::EndpointSlice);
    let classes = end.gateway_classes.values().cloned().map(Object::GatewayClass);
    let routes = end.http_routes.values().cloned().map(Object::HttpRoute);
    let gateways: Vec<_> = end.gateways.values().cloned().map(Object::Gateway).collect();
    let rest: Vec<_> = classes.chain(routes).chain(slices).chain(services).collect();
    if statuses_last {
        other.told(&gateways);
        other.told(&rest);
    }
    other.resources.shown.clone_from(&end.shown);
    other.told(&gateways);
    if !statuses_last {
        other.told(&rest);
    }
    assert_eq!(other.ports(), leader.ports());
    assert_eq!(other.written(), leader.written());
}

#[test]
fn a_replica_takes_a_port_from_a_gateway_that_has_none_any_more() {
    let all = vec![80, 81];
    // There is nothing left for the last, which had the port that `b` has now.
    let steps = [("a", vec![81]), ("c", all.clone()), ("b", all), ("a", vec![]), ("a", vec![81])];
    agree_at_the_end(&steps, 1, false);
}

proptest! {
    #[test]
    fn a_replica_that_missed_something_agrees_when_it_hears_the_end(
        steps in vec((select(vec!["a", "b", "c"]), subsequence(vec![80u16, 81], 0..3)), 1..12), heard in 0usize..12,
        statuses_last in any::<bool>(),
    ) {
        agree_at_the_end(&steps, heard, statuses_last);
    }

    #[test]
    fn replicas_that_hear_of_gateways_in_another_order_agree_when_they_are_recorded(
        orders in (Just(["a", "b", "c", "d"]).prop_shuffle(), Just(["a", "b", "c", "d"]).prop_shuffle()),
        cuts in vec(0usize..5, 2),
    ) {
        let mut leader = Replica::new();
        let mut other = Replica::new();
        for ((replica, order), cut) in [&mut leader, &mut other].into_iter().zip([orders.0, orders.1]).zip(cuts) {
            replica.told(&class("192.0.2.1-192.0.2.3"));
            for batch in [&order[..cut], &order[cut..]] {
                let both: Vec<_> = batch.iter().flat_map(|name| [gateway(name), route(name)]).collect();
                replica.told(&both);
            }
        }
        // One record after the other.
        for service in leader.lead() {
            other.told(&[service]);
        }
        prop_assert_eq!(leader.served(), other.served());
        prop_assert_eq!(leader.served().len(), 3);
        prop_assert_eq!(leader.written(), other.written());
    }
}
