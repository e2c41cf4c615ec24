//! Actions: what a Service lacks of what it is to be, and how that is asked of the API server. Pure.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::resources::{NamespacedName, OfGateway, Service};
use crate::translate::{GatewayService, Infrastructure};

/// What is to be done about a Service.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Action {
    /// It is to be made.
    Create(Value),
    /// It is to say this. The body names its uid.
    Apply(Value),
    /// It, of this uid, is to go.
    Delete(Box<str>),
}

/// What is to be done about a Service that is so; nothing when it is as it is to be, or is not ours.
pub(super) fn action(name: &NamespacedName, wanted: &Infrastructure, seen: Option<&Service>) -> Option<Action> {
    let of_gateway = seen.map(|service| service.of_gateway.as_deref());
    match (wanted, of_gateway) {
        (Infrastructure::Service(wanted), None) => Some(Action::Create(created(name, wanted))),
        (Infrastructure::Service(wanted), Some(Some(seen))) if seen.is_kept_by(wanted.controller(), &wanted.owner) => {
            if seen.is_of_another(&wanted.owner) {
                // Of an earlier Gateway of that name: it would be collected as garbage later, under the new one.
                return Some(Action::Delete(seen.uid.clone()));
            }
            seen.differs(wanted).then(|| Action::Apply(applied(name, wanted, &seen.uid)))
        }
        (Infrastructure::Nothing, Some(Some(seen))) if seen.is_managed() => Some(Action::Delete(seen.uid.clone())),
        (Infrastructure::Service(_), Some(_)) | (Infrastructure::Nothing, _) => None,
    }
}

impl OfGateway {
    /// Whether it lacks something, or has what the Gateway no longer asks for.
    fn differs(&self, wanted: &GatewayService) -> bool {
        let lacks = |have: &BTreeMap<String, String>, want: &BTreeMap<String, String>| {
            want.iter().any(|(key, value)| have.get(key) != Some(value))
        };
        let digest = GatewayService::DIGEST;
        self.owner.as_deref() != Some(&*wanted.owner)
            || lacks(&self.labels, &wanted.labels)
            || lacks(&self.annotations, &wanted.annotations)
            || self.annotations.contains_key(digest) != wanted.annotations.contains_key(digest)
    }
}

/// A new Service: what never leaves it. The rest is applied afterwards, as what is given to a creation can't be taken
/// away by applying less.
fn created(name: &NamespacedName, wanted: &GatewayService) -> Value {
    let only = |all: &BTreeMap<String, String>, keys: &[&str]| -> BTreeMap<String, String> {
        all.iter()
            .filter(|(key, _)| keys.contains(&key.as_str()))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    };
    let labels = only(&wanted.labels, &[GatewayService::MANAGED_BY.0, crate::resources::GATEWAY_NAME]);
    let annotations = only(&wanted.annotations, &[GatewayService::ADDRESSES, GatewayService::CONTROLLER]);
    body(name, wanted, &labels, &annotations)
}

fn applied(name: &NamespacedName, wanted: &GatewayService, uid: &str) -> Value {
    let mut body = body(name, wanted, &wanted.labels, &wanted.annotations);
    body["metadata"]["uid"] = uid.into();
    body
}

fn body(
    name: &NamespacedName,
    wanted: &GatewayService,
    labels: &BTreeMap<String, String>,
    annotations: &BTreeMap<String, String>,
) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "namespace": &*name.namespace,
            "name": &*name.name,
            "labels": labels,
            "annotations": annotations,
            "ownerReferences": [{
                "apiVersion": "gateway.networking.k8s.io/v1",
                "kind": "Gateway",
                "name": &*wanted.gateway,
                "uid": &*wanted.owner,
                "controller": true,
            }],
        },
        // Nothing selects Pods and nothing is balanced: it holds what is recorded.
        "spec": {"clusterIP": "None"},
    })
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;

    use super::*;

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
            annotations.insert(GatewayService::DIGEST.to_owned(), format!("of {team}"));
        }
        Infrastructure::Service(Arc::new(GatewayService {
            gateway: "edge".into(),
            owner: owner.into(),
            labels,
            annotations,
        }))
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

    #[test]
    fn a_new_service_is_complete_at_once_unless_the_gateway_gives_labels() {
        let wanted_plain = wanted("1", "10.0.0.1", None);
        let service = made(create(&wanted_plain), "s");
        assert_eq!(action(&name(), &wanted_plain, Some(&service)), None);
        let wanted = wanted("1", "10.0.0.1", Some("a"));
        let service = made(create(&wanted), "s");
        let Some(Action::Apply(body)) = action(&name(), &wanted, Some(&service)) else { panic!("nothing to apply") };
        assert_eq!(body["metadata"]["uid"], "s");
        assert_eq!(action(&name(), &wanted, Some(&made(body, "s"))), None);
    }

    #[test]
    fn what_the_gateway_no_longer_gives_is_taken_away_and_what_others_give_stays() {
        let Some(Action::Apply(mut body)) =
            action(&name(), &wanted("1", "", Some("a")), Some(&made(create(&wanted("1", "", None)), "s")))
        else {
            panic!("nothing to apply")
        };
        body["metadata"]["labels"]["theirs"] = "yes".into();
        let service = made(body, "s");
        assert_eq!(action(&name(), &wanted("1", "", Some("a")), Some(&service)), None);
        assert!(matches!(action(&name(), &wanted("1", "", None), Some(&service)), Some(Action::Apply(_))));
    }

    #[test]
    fn the_service_of_an_earlier_gateway_of_the_name_goes_first() {
        let service = made(create(&wanted("1", "10.0.0.1", None)), "s");
        let wanted = wanted("2", "10.0.0.1", None);
        assert_eq!(action(&name(), &wanted, Some(&service)), Some(Action::Delete("s".into())));
        assert!(matches!(action(&name(), &wanted, None), Some(Action::Create(_))));
    }

    #[test]
    fn what_lost_its_labels_or_its_owner_is_ours_again() {
        let wanted = wanted("1", "10.0.0.1", None);
        let body = create(&wanted);
        let without = |field: &str| {
            let mut body = body.clone();
            body["metadata"].as_object_mut().unwrap().remove(field);
            made(body, "s")
        };
        for service in [without("labels"), without("ownerReferences")] {
            let Some(Action::Apply(body)) = action(&name(), &wanted, Some(&service)) else { panic!("{service:?}") };
            assert_eq!(action(&name(), &wanted, Some(&made(body, "s"))), None);
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
