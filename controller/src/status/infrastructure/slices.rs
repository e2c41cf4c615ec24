//! Slices: where the Service of a Gateway leads to. It selects no Pods, as a selector only reaches those of its own
//! namespace: its EndpointSlices are those of the Service that selects our Pods, with the ports of the Gateway. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::discovery::v1::{Endpoint, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use crate::resources::{NamespacedName, SLICE_KEEPER, Service};
use crate::translate::{GatewayService, Infrastructure, ServiceSpec};

/// EndpointSlices by their name.
pub(super) type Slices = BTreeMap<NamespacedName, Arc<EndpointSlice>>;

/// The label that says whose endpoints a slice holds.
pub(super) const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// The annotation that says which Service a slice is like: the one of the release whose Pods it leads to.
const LIKE: &str = "genkan.dev/gateway-service";

/// What is to be done about a slice.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum SliceAction {
    /// It is to be made.
    Create(Arc<EndpointSlice>),
    /// It is to be so. Its version is named: what was changed meanwhile is looked at first.
    Replace(Arc<EndpointSlice>),
    /// It, of this uid, is to go.
    Delete(Box<str>),
}

/// What there is to know about the Service of a Gateway.
pub(super) type Viewed = (Infrastructure, Option<Arc<Service>>);

/// What is to be done about the slices of a Gateway's Service. `ours` are those of our own Service, `present` those that
/// are kept by a Genkan for that Service.
pub(super) fn actions(
    name: &NamespacedName,
    viewed: &Viewed,
    ours: &Slices,
    present: &Slices,
) -> BTreeMap<NamespacedName, SliceAction> {
    let Some(slices) = wanted(name, viewed, ours) else { return BTreeMap::new() };
    let mut actions = BTreeMap::new();
    for (slice, wanted) in &slices {
        match present.get(slice) {
            None => drop(actions.insert(slice.clone(), SliceAction::Create(wanted.clone()))),
            Some(present) if says(present, wanted) => {}
            Some(present) if present.address_type == wanted.address_type => {
                let mut wanted = EndpointSlice::clone(wanted);
                wanted.metadata.uid.clone_from(&present.metadata.uid);
                wanted.metadata.resource_version.clone_from(&present.metadata.resource_version);
                actions.insert(slice.clone(), SliceAction::Replace(Arc::new(wanted)));
            }
            Some(present) => drop(actions.insert(slice.clone(), deleted(present))),
        }
    }
    for (slice, present) in present.iter().filter(|(slice, _)| !slices.contains_key(*slice)) {
        actions.insert(slice.clone(), deleted(present));
    }
    actions
}

fn deleted(slice: &EndpointSlice) -> SliceAction {
    SliceAction::Delete(slice.metadata.uid.clone().unwrap_or_default().into())
}

/// The slices that the Service is to have; `None`: those that it has are let alone.
fn wanted(name: &NamespacedName, (infrastructure, service): &Viewed, ours: &Slices) -> Option<Slices> {
    let kept = service.as_ref()?.of_gateway.as_deref()?;
    match infrastructure {
        Infrastructure::Service(wanted) => {
            let spec = wanted.spec.as_ref()?;
            // An owner that is gone would take them with it, and what is not ours is not led anywhere.
            let is_its_own = kept.owner.as_deref() == Some(&*wanted.owner);
            (is_its_own && kept.is_kept_by(wanted.controller(), &wanted.owner))
                .then(|| ours.iter().map(|(of, slice)| mirrored(name, &kept.uid, spec, of, slice)).collect())
        }
        // Where it leads nobody answers for the Gateway any more, and it may take a while until it is gone.
        Infrastructure::Idle | Infrastructure::Nothing => Some(Slices::new()),
    }
}

/// The Service whose endpoints a slice holds.
pub(super) fn service_of(name: &NamespacedName, slice: &EndpointSlice) -> Option<NamespacedName> {
    Some(NamespacedName::new(name.namespace.clone(), label(slice, SERVICE_NAME)?))
}

/// A slice of ours as one of a Gateway's Service.
fn mirrored(
    service: &NamespacedName,
    uid: &str,
    spec: &ServiceSpec,
    of: &NamespacedName,
    slice: &EndpointSlice,
) -> (NamespacedName, Arc<EndpointSlice>) {
    let digest = ring::digest::digest(&ring::digest::SHA256, of.name.as_bytes());
    let digest: String = digest.as_ref().iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    let name = NamespacedName::new(service.namespace.clone(), format!("{}-{digest}", service.name));
    let label = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
    let labels = [SLICE_KEEPER, GatewayService::MANAGED_BY, (SERVICE_NAME, &*service.name)].map(label);
    let metadata = ObjectMeta {
        name: Some(name.name.to_string()),
        namespace: Some(name.namespace.to_string()),
        labels: Some(labels.into()),
        annotations: Some([(LIKE.to_owned(), like_of(of, slice))].into()),
        owner_references: Some(vec![OwnerReference {
            api_version: "v1".to_owned(),
            kind: "Service".to_owned(),
            name: service.name.to_string(),
            uid: uid.to_owned(),
            controller: Some(true),
            block_owner_deletion: None,
        }]),
        ..ObjectMeta::default()
    };
    let port = |port: &crate::translate::TargetPort| EndpointPort {
        name: Some(port.name()),
        port: Some(port.target.into()),
        protocol: Some(port.public.wire.as_str().to_ascii_uppercase()),
        app_protocol: None,
    };
    let mirror = EndpointSlice {
        address_type: slice.address_type.clone(),
        endpoints: slice.endpoints.iter().map(endpoint).collect(),
        metadata,
        ports: Some(spec.ports.iter().map(port).collect()),
    };
    (name, Arc::new(mirror))
}

/// An endpoint without what only means something beside its Pod.
fn endpoint(endpoint: &Endpoint) -> Endpoint {
    Endpoint {
        addresses: endpoint.addresses.clone(),
        conditions: endpoint.conditions.clone(),
        node_name: endpoint.node_name.clone(),
        zone: endpoint.zone.clone(),
        ..Endpoint::default()
    }
}

/// Whether a slice says what it is to say. What others add to its labels is theirs.
fn says(present: &EndpointSlice, wanted: &EndpointSlice) -> bool {
    let labels = wanted.metadata.labels.iter().flatten();
    let like = |slice: &EndpointSlice| slice.metadata.annotations.as_ref().and_then(|all| all.get(LIKE)).cloned();
    let owner =
        |slice: &EndpointSlice| slice.metadata.owner_references.iter().flatten().map(|it| it.uid.clone()).next();
    present.address_type == wanted.address_type
        && present.endpoints == wanted.endpoints
        && present.ports == wanted.ports
        && owner(present) == owner(wanted)
        && like(present) == like(wanted)
        && labels.into_iter().all(|(key, value)| label(present, key) == Some(value))
}

/// The Service that a slice is like, if that is another release's than the one of `ours`.
pub(super) fn rival<'s>(slice: &'s EndpointSlice, ours: &Slices) -> Option<&'s str> {
    let like = slice.metadata.annotations.as_ref()?.get(LIKE)?;
    (!ours.iter().any(|(of, slice)| like_of(of, slice) == *like)).then_some(like)
}

/// The Service that this slice of ours is of.
fn like_of(of: &NamespacedName, slice: &EndpointSlice) -> String {
    format!("{}/{}", of.namespace, label(slice, SERVICE_NAME).unwrap_or_default())
}

fn label<'s>(slice: &'s EndpointSlice, key: &str) -> Option<&'s str> {
    slice.metadata.labels.as_ref()?.get(key).map(String::as_str)
}

#[cfg(test)]
pub(super) mod tests {
    use genkan_policies::ServiceKind;
    use serde_json::json;

    use super::super::action::tests::{leading, name};
    use super::*;

    /// A slice of our own Service with Pods at these addresses.
    pub(in super::super) fn own(name: &str, addresses: &[&str]) -> (NamespacedName, Arc<EndpointSlice>) {
        let endpoint = |address: &&str| {
            json!({"addresses": [address], "nodeName": "n1", "zone": "z1",
                "conditions": {"ready": true, "serving": true, "terminating": false},
                "targetRef": {"kind": "Pod", "name": "genkan-1", "namespace": "genkan"}})
        };
        let endpoints: Vec<_> = addresses.iter().map(endpoint).collect();
        let slice = json!({"metadata": {"namespace": "genkan", "name": name}, "addressType": "IPv4",
            "endpoints": endpoints, "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]});
        (NamespacedName::new("genkan", name), Arc::new(serde_json::from_value(slice).unwrap()))
    }

    /// The Gateway's Service, wanted and made.
    pub(in super::super) fn viewed(ports: &[(u16, u16)]) -> Viewed {
        let wanted = Infrastructure::Service(Arc::new(leading(ServiceKind::LoadBalancer, ports)));
        let Some(super::super::action::Action::Create(body)) = super::super::action::action(&name(), &wanted, None)
        else {
            panic!("nothing to create")
        };
        let mut body = body;
        body["spec"]["externalTrafficPolicy"] = "Cluster".into();
        body["spec"]["clusterIP"] = "10.0.0.9".into();
        (wanted, Some(Arc::new(super::super::action::tests::made(body, "s"))))
    }

    fn obeyed(actions: BTreeMap<NamespacedName, SliceAction>, present: &mut Slices) {
        for (name, action) in actions {
            match action {
                SliceAction::Create(slice) | SliceAction::Replace(slice) => {
                    let mut slice = EndpointSlice::clone(&slice);
                    slice.metadata.uid = Some(format!("u-{}", name.name));
                    drop(present.insert(name, Arc::new(slice)));
                }
                SliceAction::Delete(uid) => {
                    let gone = present.remove(&name).unwrap();
                    assert_eq!(gone.metadata.uid.as_deref(), Some(&*uid));
                }
            }
        }
    }

    #[test]
    fn slices_are_those_of_our_pods_with_the_ports_of_the_gateway() {
        let ours = Slices::from([own("genkan-a", &["10.1.0.1", "10.1.0.2"])]);
        let mut present = Slices::new();
        obeyed(actions(&name(), &viewed(&[(80, 20000), (443, 20001)]), &ours, &present), &mut present);
        let (slice, made) = present.first_key_value().unwrap();
        assert!(&*slice.namespace == "web" && slice.name.starts_with("edge-gateway-"), "{slice}");
        let value = serde_json::to_value(&**made).unwrap();
        assert_eq!(value["metadata"]["labels"][SERVICE_NAME], "edge-gateway");
        assert_eq!(value["metadata"]["ownerReferences"][0]["uid"], "s");
        assert_eq!(
            value["ports"],
            json!([{"name": "tcp-80", "port": 20000, "protocol": "TCP"}, {"name": "tcp-443", "port": 20001, "protocol": "TCP"}])
        );
        let conditions = json!({"ready": true, "serving": true, "terminating": false});
        let endpoint = json!({"addresses": ["10.1.0.1"], "nodeName": "n1", "zone": "z1", "conditions": conditions});
        assert_eq!(value["endpoints"][0], endpoint);
        assert_eq!(actions(&name(), &viewed(&[(80, 20000), (443, 20001)]), &ours, &present), BTreeMap::new());
    }

    #[test]
    fn slices_follow_pods_and_ports() {
        let viewed = |ports: &[(u16, u16)]| super::tests::viewed(ports);
        let mut ours = Slices::from([own("a", &["10.1.0.1"]), own("b", &["10.1.0.2"])]);
        let mut present = Slices::new();
        obeyed(actions(&name(), &viewed(&[(80, 20000)]), &ours, &present), &mut present);
        assert_eq!(present.len(), 2);
        ours.extend([own("a", &["10.1.0.1", "10.1.0.3"])]);
        ours.remove(&NamespacedName::new("genkan", "b"));
        let now = actions(&name(), &viewed(&[(80, 20000)]), &ours, &present);
        let kinds: Vec<_> = now.values().map(|action| matches!(action, SliceAction::Replace(_))).collect();
        assert!(kinds.len() == 2 && kinds.contains(&true) && kinds.contains(&false), "{now:?}");
        obeyed(now, &mut present);
        assert_eq!(present.len(), 1);
        let moved = actions(&name(), &viewed(&[(80, 20000), (81, 20005)]), &ours, &present);
        assert!(matches!(moved.values().next(), Some(SliceAction::Replace(_))), "{moved:?}");
        // As long as the Service is not there, or is another's, nothing is led anywhere.
        let (wanted, _) = viewed(&[(80, 20000)]);
        assert_eq!(actions(&name(), &(wanted, None), &ours, &present), BTreeMap::new());
    }
    #[test]
    fn slices_of_another_release_are_known() {
        let of = |service: &str| -> Slices {
            let (name, slice) = own("a", &["10.1.0.1"]);
            let mut slice = EndpointSlice::clone(&slice);
            slice.metadata.labels = Some([(SERVICE_NAME.to_owned(), service.to_owned())].into());
            [(name, Arc::new(slice))].into()
        };
        let (blue, green) = (of("blue"), of("green"));
        let made = |ours: &Slices| match actions(&name(), &viewed(&[(80, 20000)]), ours, &Slices::new()).pop_first() {
            Some((_, SliceAction::Create(slice))) => slice,
            other => panic!("{other:?}"),
        };
        assert_eq!(rival(&made(&blue), &green), Some("genkan/blue"));
        assert_eq!(rival(&made(&blue), &blue), None);
    }

    #[test]
    fn a_service_that_is_to_lead_nowhere_has_no_slices() {
        let ours = Slices::from([own("a", &["10.1.0.1"])]);
        let mut present = Slices::new();
        let (wanted, service) = viewed(&[(80, 20000)]);
        obeyed(actions(&name(), &(wanted, service.clone()), &ours, &present), &mut present);
        for nothing in [Infrastructure::Idle, Infrastructure::Nothing] {
            let mut present = present.clone();
            obeyed(actions(&name(), &(nothing, service.clone()), &ours, &present), &mut present);
            assert!(present.is_empty());
        }
    }
}
