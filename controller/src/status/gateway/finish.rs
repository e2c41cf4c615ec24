//! Finishing: what a status is to say, with what translation can't know: which ports are bound, where the controller is
//! reached, and which version of the API is installed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use genkan_routing::name::ListenerId;
use serde_json::{Value, json};

use super::version::Installed;
use crate::translate::Statuses;
use crate::translate::gateway::status::{
    ClassStatus, Cond, CondKind, GatewayAddress, GatewayStatus, ListenerStatus, MAX_ANCESTORS, Wanted,
};
use crate::watch::Address;

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
    /// Which version of the API is installed; `None` while it is not known.
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

/// Finishes a status. `foreign`: how many entries other controllers have in its list, which is of a limited length.
pub(super) fn finish(wanted: &Wanted, around: &Surroundings, controller: &str, foreign: usize) -> Finished {
    let (status, list) = match wanted {
        Wanted::Class(status) => (value(&class(status.clone(), around)), None),
        Wanted::Gateway(status) => (value(&gateway(status.clone(), around)), None),
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
    Finished { status, list }
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

fn class(mut status: ClassStatus, around: &Surroundings) -> ClassStatus {
    let about_version = |condition: &Cond| condition.kind == CondKind::SupportedVersion;
    match &around.installed {
        // Nobody can say it: then it is not said.
        None => status.conditions.retain(|condition| !about_version(condition)),
        Some(installed) => {
            for condition in status.conditions.iter_mut().filter(|condition| about_version(condition)) {
                *condition = installed.condition();
            }
        }
    }
    status
}

fn gateway(mut status: GatewayStatus, around: &Surroundings) -> GatewayStatus {
    let elsewhere = match (status.shared_addresses, status.node_addresses) {
        (true, _) => Some(&around.addresses),
        (_, true) => Some(&around.nodes),
        (false, false) => None,
    };
    if let Some(addresses) = elsewhere {
        status.addresses.extend(addresses.iter().flatten().map(shared));
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

    /// The reasons of `Programmed`: of the Gateway, and of its listeners.
    fn reasons(wanted: &Wanted, around: &Surroundings) -> Vec<String> {
        let status = finish(wanted, around, OURS, 0).status;
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
        let status = finish(&wanted(&["a"]), &around(&["a"], &[]), OURS, 0).status;
        assert_eq!(status["addresses"], json!([{"type": "IPAddress", "value": "10.0.0.1"}]));
        let nodes = (1..40).map(|node| Address::Ip(format!("10.0.0.{node}"))).collect();
        let many = Surroundings { addresses: Some(nodes), ..around(&["a"], &[]) };
        let status = finish(&wanted(&["a"]), &many, OURS, 0).status;
        assert_eq!(status["addresses"].as_array().unwrap().len(), MAX_ADDRESSES);
    }

    #[test]
    fn a_gateway_at_nodes_has_the_addresses_of_the_nodes_of_our_pods() {
        let Wanted::Gateway(status) = wanted(&["a"]) else { panic!() };
        let at_nodes = Wanted::Gateway(GatewayStatus { shared_addresses: false, node_addresses: true, ..status });
        let nodes = Some(BTreeSet::from([Address::Ip("10.0.0.7".to_owned())]));
        let around = Surroundings { nodes, ..around(&["a"], &[]) };
        let status = finish(&at_nodes, &around, OURS, 0).status;
        assert_eq!(status["addresses"], json!([{"type": "IPAddress", "value": "10.0.0.7"}]));
        let unknown = Surroundings { nodes: None, ..around };
        assert_eq!(reasons(&at_nodes, &unknown), ["AddressNotAssigned", "Programmed"]);
    }

    #[test]
    fn a_list_is_no_longer_than_the_api_takes() {
        let parent_ref = ParentReference::gateway("infra".into(), "edge".into());
        let parents = vec![ParentStatus { parent_ref, conditions: Vec::new() }; 3];
        let wanted = Wanted::Route { parents };
        for (foreign, ours) in [(0, 3), (30, 2), (32, 0), (40, 0)] {
            let finished = finish(&wanted, &Surroundings::default(), OURS, foreign);
            assert_eq!(finished.status["parents"].as_array().unwrap().len(), ours);
        }
        let finished = finish(&wanted, &Surroundings::default(), OURS, 0);
        assert_eq!((finished.list, &finished.status["parents"][0]["controllerName"]), (Some("parents"), &json!(OURS)));
    }

    #[test]
    fn a_version_is_told_only_when_it_is_known() {
        let conditions = vec![Cond::holds(CondKind::SupportedVersion, "SupportedVersion", "")];
        let wanted = Wanted::Class(ClassStatus { conditions, supported_features: &[] });
        let told = |installed| {
            let around = Surroundings { installed, ..Surroundings::default() };
            finish(&wanted, &around, OURS, 0).status["conditions"].as_array().unwrap().clone()
        };
        assert!(told(None).is_empty());
        assert_eq!(told(Some(Installed::read(Some("v1.6.3"))))[0]["status"], "True");
        assert_eq!(told(Some(Installed::read(Some("v0.8.1"))))[0]["status"], "False");
    }
}
