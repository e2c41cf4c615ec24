//! Actions: what a Service lacks of what it is to be, and how that is asked of the API server. Pure.

use std::collections::{BTreeMap, BTreeSet};

use genkan_policies::{ExternalTrafficPolicy, ServiceKind};
use k8s_openapi::api::core::v1;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::{Map, Value, json};

use crate::resources::{Form, NamespacedName, OfGateway, Service};
use crate::translate::{GatewayService, GivenKeys, Infrastructure, ServiceSpec, TargetPort};

/// The `targetPort` of a Service that leads nowhere.
const NOWHERE: &str = "nowhere";

/// What is to be done about a Service.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Action {
    /// It is to be made.
    Create(Value),
    /// Its metadata is to say this besides what others say there; what is null goes. The body names its uid.
    Describe(Value),
    /// Its spec is to say this, and lists are to be no longer. The body names its uid.
    Merge(Value),
    /// It, of this uid, is to go.
    Delete(Box<str>),
}

/// What is to be done about a Service that is so; nothing when it is as it is to be, or is not ours.
pub(super) fn action(name: &NamespacedName, wanted: &Infrastructure, service: Option<&Service>) -> Option<Action> {
    let of_gateway = service.map(|service| service.of_gateway.as_deref());
    match (wanted, of_gateway) {
        (Infrastructure::Service(wanted), None) => Some(Action::Create(created(name, wanted))),
        (Infrastructure::Service(wanted), Some(Some(seen))) if seen.is_kept_by(wanted.controller(), &wanted.owner) => {
            // Of an earlier Gateway of that name: it would be collected as garbage later, under the new one.
            if seen.is_of_another(&wanted.owner) || seen.form.is_fixed_otherwise(wanted.spec.as_ref()) {
                return Some(Action::Delete(seen.uid.clone()));
            }
            if seen.differs(wanted) {
                return Some(Action::Describe(described(wanted, seen)));
            }
            let spec = wanted
                .spec
                .as_ref()
                .filter(|spec| service.is_some_and(|service| differs(service, &seen.form, spec)))?;
            Some(Action::Merge(json!({"metadata": {"uid": seen.uid}, "spec": merged(spec)})))
        }
        (Infrastructure::Nothing, Some(Some(seen))) if seen.is_managed() => Some(Action::Delete(seen.uid.clone())),
        (Infrastructure::Idle, Some(Some(seen))) if seen.is_managed() => {
            let ports = idle(&service?.ports)?;
            Some(Action::Merge(json!({"metadata": {"uid": seen.uid}, "spec": {"ports": ports}})))
        }
        (Infrastructure::Service(_), Some(_)) | (Infrastructure::Idle | Infrastructure::Nothing, _) => None,
    }
}

impl OfGateway {
    /// Whether it lacks something, or has what the Gateway no longer asks for.
    fn differs(&self, wanted: &GatewayService) -> bool {
        let lacks = |have: &BTreeMap<String, String>, want: &BTreeMap<String, String>| {
            want.iter().any(|(key, value)| have.get(key) != Some(value))
        };
        let given = GatewayService::GIVEN;
        self.owner.as_deref() != Some(&*wanted.owner)
            || lacks(&self.labels, &wanted.labels)
            || lacks(&self.annotations, &wanted.annotations)
            || self.annotations.contains_key(given) != wanted.annotations.contains_key(given)
    }
}

impl Form {
    /// Whether it has what can't be changed otherwise than it is to be.
    fn is_fixed_otherwise(&self, spec: Option<&ServiceSpec>) -> bool {
        let Some(spec) = spec else { return !self.headless };
        let class = spec.load_balancer_class.as_deref();
        let other_class =
            class.is_some() && &*self.kind == spec.kind.as_str() && self.load_balancer_class.as_deref() != class;
        let other_address =
            spec.kind == ServiceKind::ClusterIp && spec.address.is_some_and(|ip| self.cluster_ips.first() != Some(&ip));
        self.headless || other_class || other_address
    }
}

/// Whether a Service is like this, as far as it can be changed. What others add to it, as node ports, stays.
fn differs(service: &Service, form: &Form, spec: &ServiceSpec) -> bool {
    let ports: BTreeSet<_> = service.targets().map(|(public, target)| TargetPort { public, target }).collect();
    let policy = spec.external_traffic_policy.unwrap_or(ExternalTrafficPolicy::Cluster).as_str();
    let balanced = spec.kind == ServiceKind::LoadBalancer;
    let address = spec.address.filter(|_| balanced).map(|ip| ip.to_string());
    let named = |port: &v1::ServicePort| spec.ports.iter().any(|it| Some(it.name().as_str()) == port.name.as_deref());
    &*form.kind != spec.kind.as_str()
        || form.selects
        || ports != spec.ports.iter().copied().collect()
        || service.ports.len() != spec.ports.len()
        || !service.ports.iter().all(named)
        || (spec.kind != ServiceKind::ClusterIp && form.external_traffic_policy.as_deref() != Some(policy))
        || (balanced && form.load_balancer_ip.as_deref() != address.as_deref())
}

/// A spec as a merge patch writes it: what is null goes.
fn merged(spec: &ServiceSpec) -> Value {
    let balanced = spec.kind == ServiceKind::LoadBalancer;
    let mut value = json!({
        "type": spec.kind.as_str(),
        "ports": ports(spec),
        "externalTrafficPolicy": spec.external_traffic_policy.map(ExternalTrafficPolicy::as_str),
        "loadBalancerIP": spec.address.filter(|_| balanced),
        "selector": null,
    });
    // Not null where none is wanted: a webhook may have set one, and the API server takes no change of it. With another
    // type it goes by itself.
    if let (Some(class), Some(fields)) = (&spec.load_balancer_class, value.as_object_mut()) {
        fields.insert("loadBalancerClass".to_owned(), class.as_str().into());
    }
    value
}

fn ports(spec: &ServiceSpec) -> Vec<Value> {
    let port = |port: &TargetPort| json!({"name": port.name(), "protocol": port.public.wire, "port": port.public.number, "targetPort": port.target});
    spec.ports.iter().map(port).collect()
}

/// Ports as they are, but for where they lead to: it would be a record of what somebody else may have by now. Nothing if
/// that is so already.
fn idle(ports: &[v1::ServicePort]) -> Option<Vec<v1::ServicePort>> {
    let nowhere = IntOrString::String(NOWHERE.to_owned());
    let idle = |port: &v1::ServicePort| v1::ServicePort { target_port: Some(nowhere.clone()), ..port.clone() };
    ports.iter().any(|port| port.target_port.as_ref() != Some(&nowhere)).then(|| ports.iter().map(idle).collect())
}

/// The spec of a new Service.
fn first(spec: Option<&ServiceSpec>) -> Value {
    // Nothing selects Pods and nothing is balanced: it holds what is recorded.
    let Some(spec) = spec else { return json!({"clusterIP": "None"}) };
    let mut value = merged(spec);
    if let Some(fields) = value.as_object_mut() {
        fields.retain(|_, value| !value.is_null());
        if let Some(address) = spec.address.filter(|_| spec.kind == ServiceKind::ClusterIp) {
            fields.insert("clusterIP".to_owned(), address.to_string().into());
        }
    }
    value
}

/// A new Service.
fn created(name: &NamespacedName, wanted: &GatewayService) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "namespace": &*name.namespace,
            "name": &*name.name,
            "labels": wanted.labels,
            "annotations": wanted.annotations,
            "ownerReferences": [owner(wanted)],
        },
        "spec": first(wanted.spec.as_ref()),
    })
}

/// Metadata as a strategic merge patch writes it: owners that others add stay. What the Gateway gave once and gives no
/// longer goes, whoever wrote it: the Service notes what that was.
fn described(wanted: &GatewayService, seen: &OfGateway) -> Value {
    let given = seen.annotations.get(GatewayService::GIVEN).map(|text| GivenKeys::read(text)).unwrap_or_default();
    let note = [GatewayService::GIVEN.to_owned()];
    json!({"metadata": {
        "uid": seen.uid,
        "labels": patched(&wanted.labels, &seen.labels, given.labels.iter()),
        "annotations": patched(&wanted.annotations, &seen.annotations, given.annotations.iter().chain(&note)),
        "ownerReferences": [owner(wanted)],
    }})
}

/// What is wanted, and null for what was given, is still there and is wanted no longer.
fn patched<'k>(
    wanted: &BTreeMap<String, String>,
    seen: &BTreeMap<String, String>,
    given: impl Iterator<Item = &'k String>,
) -> Map<String, Value> {
    let gone = given.filter(|key| !wanted.contains_key(*key) && seen.contains_key(*key));
    let gone = gone.map(|key| (key.clone(), Value::Null));
    gone.chain(wanted.iter().map(|(key, value)| (key.clone(), value.as_str().into()))).collect()
}

fn owner(wanted: &GatewayService) -> Value {
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "name": &*wanted.gateway,
        "uid": &*wanted.owner,
        "controller": true,
    })
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::resources::{PublicPort, Wire};

    pub(in super::super) fn name() -> NamespacedName {
        NamespacedName::new("web", "edge-gateway")
    }

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    /// The Service of Gateway `edge` of this uid, with an address and a label.
    pub(in super::super) fn wanted(owner: &str, address: &str, team: Option<&str>) -> Infrastructure {
        let mut labels = map(&[GatewayService::MANAGED_BY, (crate::resources::GATEWAY_NAME, "edge")]);
        let mut annotations =
            map(&[(GatewayService::ADDRESSES, address), (GatewayService::CONTROLLER, "genkan.dev/c")]);
        if let Some(team) = team {
            labels.insert("team".to_owned(), team.to_owned());
            let given = GivenKeys { labels: ["team".to_owned()].into(), ..GivenKeys::default() };
            annotations.insert(GatewayService::GIVEN.to_owned(), given.to_string());
        }
        Infrastructure::Service(Arc::new(GatewayService {
            gateway: "edge".into(),
            owner: owner.into(),
            labels,
            annotations,
            spec: None,
        }))
    }

    /// The Service of the same Gateway that leads to our Pods: ports of the Gateway, and those of the Pods.
    pub(in super::super) fn leading(kind: ServiceKind, ports: &[(u16, u16)]) -> GatewayService {
        let Infrastructure::Service(wanted) = wanted("1", "", None) else { panic!() };
        let mut wanted = GatewayService::clone(&wanted);
        wanted.annotations.remove(GatewayService::ADDRESSES);
        let port = |(number, target): &(u16, u16)| TargetPort {
            public: PublicPort { wire: Wire::Tcp, number: *number },
            target: *target,
        };
        let ports = ports.iter().map(port).collect();
        let (load_balancer_class, external_traffic_policy, address) = (None, None, None);
        wanted.spec = Some(ServiceSpec { kind, ports, load_balancer_class, external_traffic_policy, address });
        wanted
    }

    /// The Service that a body makes.
    pub(in super::super) fn made(mut body: Value, uid: &str) -> Service {
        body["metadata"]["uid"] = uid.into();
        serde_json::from_value(body).unwrap()
    }

    fn create(wanted: &Infrastructure) -> Value {
        match action(&name(), wanted, None) {
            Some(Action::Create(body)) => body,
            other => panic!("{other:?}"),
        }
    }

    /// The Service after a patch of its metadata, as the API server makes it of it.
    fn described(service: &Value, action: Action) -> Value {
        let Action::Describe(patch) = action else { panic!("{action:?}") };
        assert_eq!(patch["metadata"]["uid"], service["metadata"]["uid"]);
        let mut service = service.clone();
        for field in ["labels", "annotations"] {
            for (key, value) in patch["metadata"][field].as_object().unwrap() {
                match value {
                    Value::Null => drop(service["metadata"][field].as_object_mut().unwrap().remove(key)),
                    value => service["metadata"][field][key] = value.clone(),
                }
            }
        }
        service["metadata"]["ownerReferences"] = patch["metadata"]["ownerReferences"].clone();
        service
    }

    /// The body of a new Service, with a uid.
    fn new(wanted: &Infrastructure) -> Value {
        let mut body = create(wanted);
        body["metadata"]["uid"] = "s".into();
        body
    }

    #[test]
    fn a_new_service_is_complete_at_once() {
        for team in [None, Some("a")] {
            let wanted = wanted("1", "10.0.0.1", team);
            assert_eq!(action(&name(), &wanted, Some(&made(create(&wanted), "s"))), None);
        }
    }

    #[test]
    fn what_the_gateway_no_longer_gives_is_taken_away_and_what_others_give_stays() {
        let mut service = new(&wanted("1", "", Some("a")));
        service["metadata"]["labels"]["theirs"] = "yes".into();
        for next in [wanted("1", "", Some("b")), wanted("1", "", None)] {
            let action = action(&name(), &next, Some(&made(service.clone(), "s"))).expect("something to do");
            service = described(&service, action);
            assert_eq!(super::action(&name(), &next, Some(&made(service.clone(), "s"))), None);
            assert_eq!(service["metadata"]["labels"]["theirs"], "yes");
        }
        let labels = service["metadata"]["labels"].as_object().unwrap();
        assert!(!labels.contains_key("team"), "{labels:?}");
        assert_eq!(service["metadata"]["annotations"].get(GatewayService::GIVEN), None);
    }

    #[test]
    fn what_somebody_notes_as_given_takes_nothing_of_ours_away() {
        let wanted = wanted("1", "10.0.0.1", None);
        let mut service = new(&wanted);
        let ours = [GatewayService::CONTROLLER, GatewayService::ADDRESSES].map(str::to_owned).into();
        let forged = GivenKeys { annotations: ours, labels: [GatewayService::MANAGED_BY.0.to_owned()].into() };
        service["metadata"]["annotations"][GatewayService::GIVEN] = forged.to_string().into();
        let action = action(&name(), &wanted, Some(&made(service.clone(), "s"))).expect("something to do");
        assert_eq!(described(&service, action), new(&wanted));
    }

    #[test]
    fn the_service_of_an_earlier_gateway_of_the_name_goes_first() {
        let service = made(create(&wanted("1", "10.0.0.1", None)), "s");
        let wanted = wanted("2", "10.0.0.1", None);
        assert_eq!(action(&name(), &wanted, Some(&service)), Some(Action::Delete("s".into())));
        assert!(matches!(action(&name(), &wanted, None), Some(Action::Create(_))));
    }

    /// The Service after an action, as the API server makes it of it.
    fn after(service: Option<&Value>, action: Action) -> Value {
        let mut service = match action {
            Action::Create(body) => body,
            Action::Merge(patch) => {
                let mut service = service.unwrap().clone();
                for (field, value) in patch["spec"].as_object().unwrap() {
                    service["spec"][field] = value.clone();
                }
                service
            }
            other => panic!("{other:?}"),
        };
        if service["spec"]["type"] != "ClusterIP" && service["spec"]["externalTrafficPolicy"].is_null() {
            service["spec"]["externalTrafficPolicy"] = "Cluster".into();
        }
        service["spec"]["clusterIP"] = "10.0.0.9".into();
        service["spec"]["clusterIPs"] = json!(["10.0.0.9"]);
        service
    }

    #[test]
    fn a_service_that_leads_to_us_follows_what_is_wanted_in_place() {
        let mut present: Option<Value> = None;
        let mut steps = vec![
            leading(ServiceKind::LoadBalancer, &[(80, 20000)]),
            leading(ServiceKind::LoadBalancer, &[(80, 20000), (443, 20001)]),
            leading(ServiceKind::LoadBalancer, &[(443, 20001)]),
            leading(ServiceKind::NodePort, &[(443, 20001)]),
            leading(ServiceKind::ClusterIp, &[(443, 20001)]),
        ];
        let mut local = leading(ServiceKind::LoadBalancer, &[(443, 20001)]);
        let spec = local.spec.as_mut().unwrap();
        spec.external_traffic_policy = Some(ExternalTrafficPolicy::Local);
        spec.address = "192.0.2.1".parse().ok();
        steps.push(local);
        for (step, wanted) in steps.into_iter().enumerate() {
            let wanted = Infrastructure::Service(Arc::new(wanted));
            let seen = present.clone().map(|service| made(service, "s"));
            let action = super::action(&name(), &wanted, seen.as_ref()).expect("something to do");
            assert_eq!(matches!(action, Action::Create(_)), step == 0, "{action:?}");
            let service = after(present.as_ref(), action);
            assert_eq!(super::action(&name(), &wanted, Some(&made(service.clone(), "s"))), None, "step {step}");
            present = Some(service);
        }
        // A selector would lead elsewhere, and a port that somebody adds nowhere.
        let wanted = Infrastructure::Service(Arc::new(leading(ServiceKind::ClusterIp, &[(443, 20001)])));
        for spoil in [
            |spec: &mut Value| spec["selector"] = json!({"app": "a"}),
            |spec: &mut Value| {
                spec["ports"].as_array_mut().unwrap().push(json!({"name": "more", "port": 1}));
            },
        ] {
            let mut service = after(None, super::action(&name(), &wanted, None).unwrap());
            spoil(&mut service["spec"]);
            assert!(matches!(super::action(&name(), &wanted, Some(&made(service, "s"))), Some(Action::Merge(_))));
        }
    }

    #[test]
    fn a_service_that_leads_nowhere_records_nothing_and_keeps_its_ports() {
        let balanced = Infrastructure::Service(Arc::new(leading(ServiceKind::LoadBalancer, &[(80, 20000)])));
        let mut service = after(None, super::action(&name(), &balanced, None).unwrap());
        service["metadata"]["uid"] = "s".into();
        service["spec"]["ports"][0]["nodePort"] = json!(30001);
        let action = super::action(&name(), &Infrastructure::Idle, Some(&made(service.clone(), "s"))).unwrap();
        let idle = after(Some(&service), action);
        assert_eq!(idle["spec"]["ports"][0]["nodePort"], 30001);
        let idle = made(idle, "s");
        assert_eq!(idle.targets().count(), 0);
        assert_eq!(super::action(&name(), &Infrastructure::Idle, Some(&idle)), None);
        assert!(matches!(super::action(&name(), &balanced, Some(&idle)), Some(Action::Merge(_))));
    }

    #[test]
    fn what_can_not_be_changed_is_made_again() {
        let balanced = leading(ServiceKind::LoadBalancer, &[(80, 20000)]);
        let mut of_class = balanced.clone();
        of_class.spec.as_mut().unwrap().load_balancer_class = Some("a.test/lb".to_owned());
        let mut at = leading(ServiceKind::ClusterIp, &[(80, 20000)]);
        at.spec.as_mut().unwrap().address = "10.0.0.8".parse().ok();
        let of = |wanted: GatewayService| Infrastructure::Service(Arc::new(wanted));
        let service = made(after(None, super::action(&name(), &of(balanced), None).unwrap()), "s");
        let record = wanted("1", "10.0.0.1", None);
        for other in [of(of_class), of(at), record.clone()] {
            assert_eq!(super::action(&name(), &other, Some(&service)), Some(Action::Delete("s".into())), "{other:?}");
        }
        let headless = made(create(&record), "s");
        let balanced = of(leading(ServiceKind::LoadBalancer, &[(80, 20000)]));
        assert_eq!(super::action(&name(), &balanced, Some(&headless)), Some(Action::Delete("s".into())));
    }

    #[test]
    fn what_lost_its_labels_or_its_owner_is_ours_again() {
        let wanted = wanted("1", "10.0.0.1", None);
        let body = new(&wanted);
        for (field, empty) in [("labels", json!({})), ("ownerReferences", json!([]))] {
            let mut body = body.clone();
            body["metadata"][field] = empty;
            let action = action(&name(), &wanted, Some(&made(body.clone(), "s"))).expect("something to do");
            let body = described(&body, action);
            assert_eq!(super::action(&name(), &wanted, Some(&made(body, "s"))), None);
        }
    }

    #[test]
    fn what_is_not_ours_is_let_alone() {
        let mut body = create(&wanted("1", "10.0.0.1", None));
        let other = made(body.clone(), "s");
        let Infrastructure::Service(service) = wanted("1", "10.0.0.2", None) else { panic!() };
        let mut elsewhere = GatewayService::clone(&service);
        elsewhere.annotations.insert(GatewayService::CONTROLLER.to_owned(), "genkan.dev/other".to_owned());
        assert_eq!(action(&name(), &Infrastructure::Service(Arc::new(elsewhere)), Some(&other)), None);
        body["metadata"]["labels"] = json!({crate::resources::GATEWAY_NAME: "edge"});
        body["metadata"]["ownerReferences"] = json!([]);
        let foreign = made(body, "s");
        assert_eq!(action(&name(), &wanted("1", "10.0.0.2", None), Some(&foreign)), None);
        assert_eq!(action(&name(), &Infrastructure::Nothing, Some(&foreign)), None);
        assert_eq!(action(&name(), &Infrastructure::Nothing, Some(&other)), Some(Action::Delete("s".into())));
        assert_eq!(action(&name(), &Infrastructure::Nothing, None), None);
    }
}
