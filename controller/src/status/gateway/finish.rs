//! Finishing: what a status is to say, with what translation can't know: which ports are bound, where the controller is
//! reached, and which version of the API is installed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use genkan_routing::name::ListenerId;
use serde_json::{Value, json};

use super::version::{Features, Installed, supported};
use crate::translate::Statuses;
use crate::translate::gateway::status::{
    ClassStatus, Cond, CondKind, GatewayAddress, GatewayStatus, ListenerStatus, MAX_ANCESTORS, Wanted,
};
use crate::watch::{Address, SeenStatus};

/// How many parents a route's status can have; an XBackend's as well.
const MAX_PARENTS: usize = 32;
/// As many addresses a Gateway's status can have (API: maxItems); with more the API server refuses all of it.
const MAX_ADDRESSES: usize = 16;

/// Which listeners of the model are bound.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bound {
    /// Those that are.
    pub bound: BTreeSet<ListenerId>,
    /// Those that can't be, and why.
    pub failed: BTreeMap<ListenerId, String>,
}

/// What is true besides what translation knows.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Surroundings {
    /// Which listeners are bound.
    pub(super) bound: Arc<Bound>,
    /// Where the controller is reached; `None` while it is not known.
    pub(super) addresses: Option<BTreeSet<Address>>,
    /// The nodes that our Pods run on; `None` while they are not known.
    pub(super) nodes: Option<BTreeSet<Address>>,
    /// Which version of the API is installed; `None` while it is not known. Then nothing is written of classes.
    pub(super) installed: Option<Installed>,
}

/// A status that is to be written.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Finished {
    /// All of it, but for generations and times.
    pub(super) status: Value,
    /// The list in it that other controllers write into as well.
    pub(super) list: Option<&'static str>,
}

/// Finishes a status; `None` while what it needs is not known. `seen` is what is there: entries of other controllers are
/// in the same list, which is of a limited length, and what is not known yet stays as it is.
pub(super) fn finish(wanted: &Wanted, around: &Surroundings, controller: &str, seen: &SeenStatus) -> Option<Finished> {
    let foreign = seen.foreign.len();
    let (status, list) = match wanted {
        Wanted::Class(status) => (class(status, around.installed.as_ref()?, seen), None),
        Wanted::Gateway(status) => (value(&gateway(status.clone(), around, seen)), None),
        Wanted::Withdrawn { .. } => (value(wanted), None),
        Wanted::ListenerSet(status) => {
            let mut status = status.clone();
            program(&mut status.listeners, &mut status.conditions, &around.bound);
            (value(&status), None)
        }
        Wanted::Route { .. } | Wanted::XBackend { .. } => {
            (entries(wanted, "parents", controller, MAX_PARENTS.saturating_sub(foreign)), Some("parents"))
        }
        Wanted::Policy { .. } => {
            (entries(wanted, "ancestors", controller, MAX_ANCESTORS.saturating_sub(foreign)), Some("ancestors"))
        }
    };
    Some(Finished { status, list })
}

/// All statuses for whoever wants to see them, by object. What is not served by a cluster has no more than this: who the
/// controller is, and where it is reached, is not said.
pub fn shown(statuses: &Statuses, bound: &Bound) -> BTreeMap<String, Value> {
    let show = |wanted: &Wanted| match wanted {
        Wanted::Gateway(status) => {
            let mut status = status.clone();
            program(&mut status.listeners, &mut status.conditions, bound);
            value(&status)
        }
        Wanted::ListenerSet(status) => {
            let mut status = status.clone();
            program(&mut status.listeners, &mut status.conditions, bound);
            value(&status)
        }
        other => value(other),
    };
    statuses.objects.iter().map(|(key, wanted)| (key.to_string(), show(wanted))).collect()
}

/// The types that are written have no maps with keys that are no texts: nothing can go wrong.
fn value(status: &impl serde::Serialize) -> Value {
    serde_json::to_value(status).unwrap_or_default()
}

/// A list with us as the controller, no longer than there is room.
fn entries(wanted: &Wanted, list: &str, controller: &str, room: usize) -> Value {
    let mut status = value(wanted);
    if let Some(entries) = status.get_mut(list).and_then(Value::as_array_mut) {
        entries.truncate(room);
        for entry in entries.iter_mut().filter_map(Value::as_object_mut) {
            entry.insert("controllerName".to_owned(), json!(controller));
        }
    }
    status
}

fn class(status: &ClassStatus, installed: &Installed, seen: &SeenStatus) -> Value {
    let mut status = status.clone();
    // Who may not ask leaves it to those who may: they have the same name.
    let kept = || {
        let (known, message) = seen.kept.as_ref()?.supported_version.clone()?;
        Some(supported(known, message))
    };
    let version = installed.condition().or_else(kept);
    status.conditions.retain(|condition| condition.kind != CondKind::SupportedVersion);
    status.conditions.extend(version);
    let mut finished = value(&status);
    if let Some(fields) = finished.as_object_mut() {
        match installed.features() {
            Features::Objects => {}
            Features::Names => drop(fields.insert("supportedFeatures".to_owned(), json!(status.supported_features))),
            Features::Undeclared => drop(fields.remove("supportedFeatures")),
        }
    }
    finished
}

fn gateway(mut status: GatewayStatus, around: &Surroundings, seen: &SeenStatus) -> GatewayStatus {
    let elsewhere = match (status.shared_addresses, status.node_addresses) {
        (true, _) => Some(&around.addresses),
        (_, true) => Some(&around.nodes),
        (false, false) => None,
    };
    if let Some(addresses) = elsewhere {
        match addresses {
            Some(addresses) => status.addresses.extend(addresses.iter().map(shared)),
            // To take them away for a moment would send clients away: names in DNS follow them.
            None => status.addresses.extend(seen.kept.iter().flat_map(|kept| &kept.addresses).map(kept)),
        }
        if status.addresses.is_empty() {
            unprogram(&mut status.conditions, "AddressNotAssigned", "where the controller is reached is not known");
        }
    }
    status.addresses.truncate(MAX_ADDRESSES);
    program(&mut status.listeners, &mut status.conditions, &around.bound);
    status
}

fn shared(address: &Address) -> GatewayAddress {
    match address {
        Address::Ip(ip) => GatewayAddress { kind: "IPAddress".into(), value: ip.clone() },
        Address::Hostname(hostname) => GatewayAddress { kind: "Hostname".into(), value: hostname.clone() },
    }
}

fn kept((kind, value): &(String, String)) -> GatewayAddress {
    GatewayAddress { kind: kind.clone().into(), value: value.clone() }
}

/// Listeners whose ports are not bound are not programmed, nor is who has no other.
fn program(listeners: &mut [ListenerStatus], conditions: &mut [Cond], bound: &Bound) {
    let mut served = 0;
    for listener in listeners.iter_mut() {
        let failed = listener.bound.iter().find_map(|id| Some((id, bound.failed.get(id)?)));
        let waits = listener.bound.iter().any(|id| !bound.bound.contains(id));
        if let Some((id, error)) = failed {
            unprogram(&mut listener.conditions, "Invalid", format!("{id} can't be bound: {error}"));
        } else if waits {
            unprogram(&mut listener.conditions, "Pending", "its ports are not bound yet");
        }
        let programmed = |condition: &&Cond| condition.kind == CondKind::Programmed;
        served += usize::from(listener.conditions.iter().find(programmed).is_some_and(|condition| condition.state));
    }
    if served == 0 && !listeners.is_empty() {
        unprogram(conditions, "Invalid", "no listener is served");
    }
}

/// Says that something is not programmed after all.
fn unprogram(conditions: &mut [Cond], reason: &'static str, message: impl Into<std::borrow::Cow<'static, str>>) {
    let programmed = conditions.iter_mut().find(|condition| condition.kind == CondKind::Programmed && condition.state);
    if let Some(condition) = programmed {
        *condition = Cond::fails(CondKind::Programmed, reason, message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::translate::gateway::status::{ParentReference, ParentStatus};

    const OURS: &str = "genkan.dev/gateway-controller";

    fn programmed() -> Vec<Cond> {
        vec![Cond::holds(CondKind::Programmed, "Programmed", "")]
    }

    fn wanted(ids: &[&str]) -> Wanted {
        let listener = |id: &&str| ListenerStatus {
            name: (*id).into(),
            supported_kinds: Vec::new(),
            attached_routes: 0,
            conditions: programmed(),
            bound: vec![ListenerId::new(*id)],
        };
        Wanted::Gateway(GatewayStatus {
            addresses: Vec::new(),
            shared_addresses: true,
            node_addresses: false,
            conditions: programmed(),
            listeners: ids.iter().map(listener).collect(),
            attached_listener_sets: None,
        })
    }

    fn around(bound: &[&str], failed: &[&str]) -> Surroundings {
        let failed = failed.iter().map(|id| (ListenerId::new(*id), "in use".to_owned())).collect();
        let bound = Bound { bound: bound.iter().map(|id| ListenerId::new(*id)).collect(), failed };
        let addresses = Some(BTreeSet::from([Address::Ip("10.0.0.1".to_owned())]));
        Surroundings { bound: Arc::new(bound), addresses, nodes: None, installed: None }
    }

    fn finished(wanted: &Wanted, around: &Surroundings, seen: &Value) -> Value {
        finish(wanted, around, OURS, &SeenStatus::of(seen, OURS)).unwrap().status
    }

    /// The reasons of `Programmed`: of the Gateway, and of its listeners.
    fn reasons(wanted: &Wanted, around: &Surroundings) -> Vec<String> {
        let status = finished(wanted, around, &json!({}));
        let reason = |owner: &Value| owner["conditions"][0]["reason"].as_str().unwrap().to_owned();
        let listeners = status["listeners"].as_array().unwrap().iter().map(reason);
        [reason(&status)].into_iter().chain(listeners).collect()
    }

    #[test]
    fn what_is_not_bound_is_not_programmed() {
        let two = wanted(&["a", "b"]);
        let both = around(&["a", "b"], &[]);
        assert_eq!(reasons(&two, &both), ["Programmed"; 3]);
        assert_eq!(reasons(&two, &around(&["a"], &["b"])), ["Programmed", "Programmed", "Invalid"]);
        assert_eq!(reasons(&two, &around(&["a"], &[])), ["Programmed", "Programmed", "Pending"]);
        assert_eq!(reasons(&two, &around(&[], &["a", "b"])), ["Invalid"; 3]);
        let unknown = Surroundings { addresses: None, ..both };
        assert_eq!(reasons(&two, &unknown), ["AddressNotAssigned", "Programmed", "Programmed"]);
    }

    #[test]
    fn shared_addresses_are_those_of_the_controller() {
        let status = finished(&wanted(&["a"]), &around(&["a"], &[]), &json!({}));
        assert_eq!(status["addresses"], json!([{"type": "IPAddress", "value": "10.0.0.1"}]));
        let nodes = (1..40).map(|node| Address::Ip(format!("10.0.0.{node}"))).collect();
        let many = Surroundings { addresses: Some(nodes), ..around(&["a"], &[]) };
        let status = finished(&wanted(&["a"]), &many, &json!({}));
        assert_eq!(status["addresses"].as_array().unwrap().len(), MAX_ADDRESSES);
    }

    #[test]
    fn a_gateway_at_nodes_has_the_addresses_of_the_nodes_of_our_pods() {
        let Wanted::Gateway(status) = wanted(&["a"]) else { panic!() };
        let at_nodes = Wanted::Gateway(GatewayStatus { shared_addresses: false, node_addresses: true, ..status });
        let nodes = Some(BTreeSet::from([Address::Ip("10.0.0.7".to_owned())]));
        let around = Surroundings { nodes, ..around(&["a"], &[]) };
        let status = finished(&at_nodes, &around, &json!({}));
        assert_eq!(status["addresses"], json!([{"type": "IPAddress", "value": "10.0.0.7"}]));
        let unknown = Surroundings { nodes: None, ..around };
        assert_eq!(reasons(&at_nodes, &unknown), ["AddressNotAssigned", "Programmed"]);
    }

    #[test]
    fn addresses_stay_while_nobody_knows_better() {
        let there = json!({"addresses": [{"type": "IPAddress", "value": "10.9.9.9"}]});
        let unknown = Surroundings { addresses: None, ..around(&["a"], &[]) };
        let status = finished(&wanted(&["a"]), &unknown, &there);
        assert_eq!((&status["addresses"], &status["conditions"][0]["status"]), (&there["addresses"], &json!("True")));
        let none = Surroundings { addresses: Some(BTreeSet::new()), ..unknown };
        let status = finished(&wanted(&["a"]), &none, &there);
        assert_eq!((&status["addresses"], &status["conditions"][0]["status"]), (&json!([]), &json!("False")));
    }

    #[test]
    fn a_list_is_no_longer_than_the_api_takes() {
        let parent_ref = ParentReference::gateway("infra".into(), "edge".into());
        let parents = vec![ParentStatus { parent_ref, conditions: Vec::new() }; 3];
        let wanted = Wanted::Route { parents };
        let other = json!({"parentRef": {"name": "x"}, "controllerName": "other.test/x", "conditions": []});
        for (foreign, ours) in [(0, 3), (30, 2), (32, 0), (40, 0)] {
            let there = json!({"parents": vec![other.clone(); foreign]});
            let status = finished(&wanted, &Surroundings::default(), &there);
            assert_eq!(status["parents"].as_array().unwrap().len(), ours);
        }
        let finished = finish(&wanted, &Surroundings::default(), OURS, &SeenStatus::default()).unwrap();
        assert_eq!((finished.list, &finished.status["parents"][0]["controllerName"]), (Some("parents"), &json!(OURS)));
    }

    fn class_wanted() -> Wanted {
        let conditions = vec![Cond::holds(CondKind::SupportedVersion, "SupportedVersion", "")];
        Wanted::Class(ClassStatus { conditions, supported_features: &["Gateway", "HTTPRoute"] })
    }

    fn installed(installed: Installed) -> Surroundings {
        Surroundings { installed: Some(installed), ..Surroundings::default() }
    }

    #[test]
    fn a_version_is_told_only_when_it_is_known() {
        let seen = SeenStatus::default();
        assert_eq!(finish(&class_wanted(), &Surroundings::default(), OURS, &seen), None);
        let told =
            |at: Installed, there: Value| finished(&class_wanted(), &installed(at), &there)["conditions"].clone();
        assert_eq!(told(Installed::read(Some("v1.6.3")), json!({}))[0]["status"], "True");
        assert_eq!(told(Installed::read(Some("v0.8.1")), json!({}))[0]["status"], "False");
        assert_eq!(told(Installed::untold(), json!({})), json!([]));
        // Another installation of our name may ask.
        let there = json!({"conditions": [{"type": "SupportedVersion", "status": "True", "message": "v1.6.0"}]});
        let kept = told(Installed::untold(), there);
        assert_eq!((&kept[0]["status"], &kept[0]["message"]), (&json!("True"), &json!("v1.6.0")));
    }

    #[test]
    fn features_are_said_as_far_as_the_installed_release_knows_them() {
        let said = |features: Features| {
            let around = installed(Installed::read(Some("v1.3.0")).with_features(features));
            finished(&class_wanted(), &around, &json!({})).get("supportedFeatures").cloned()
        };
        assert_eq!(said(Features::Objects), Some(json!([{"name": "Gateway"}, {"name": "HTTPRoute"}])));
        assert_eq!(said(Features::Names), Some(json!(["Gateway", "HTTPRoute"])));
        assert_eq!(said(Features::Undeclared), None);
    }
}
