//! Statuses: what translation says about objects of Gateway API and of the policies attached to them, in the API's words.
//!
//! Pure data, without generations and times: what stayed equal keeps its pointer, and files have a status too. Whoever
//! writes it adds what only the API server knows, and whether the ports that a listener needs are really bound.
//!
//! It serializes as the API's `status`, but for `observedGeneration`, `lastTransitionTime` and `controllerName`.

use std::borrow::Cow;
use std::sync::Arc;

use genkan_routing::model::SharedMap;
use genkan_routing::name::ListenerId;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::grant::GATEWAY_GROUP;
use crate::resources::Key;

/// The statuses of all objects that are ours to speak about. An object that is not in it belongs to others, and its
/// status is let alone.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Statuses {
    /// By object. What did not change keeps its pointer.
    pub objects: SharedMap<Key, Arc<Wanted>>,
}

/// What the status of an object is to say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Wanted {
    /// Of a GatewayClass.
    Class(ClassStatus),
    /// Of a Gateway.
    Gateway(GatewayStatus),
    /// Of a ListenerSet.
    ListenerSet(ListenerSetStatus),
    /// Of a route of any kind: one for each parentRef of ours, in the order of the spec. Empty when none is ours (any
    /// more): then what we wrote before is taken away.
    Route {
        /// `status.parents`.
        parents: Vec<ParentStatus>,
    },
    /// Of a policy: one for each Gateway through which it acts, at most [`MAX_ANCESTORS`].
    Policy {
        /// `status.ancestors`.
        ancestors: Vec<AncestorStatus>,
    },
    /// Of an XBackend, whose API calls the ancestors parents.
    XBackend {
        /// `status.parents`.
        parents: Vec<ParentStatus>,
    },
    /// Of a Gateway or ListenerSet that may have been ours and that nothing is served of any more. It is said only where
    /// the status is ours by now.
    Withdrawn {
        /// What is true of it.
        conditions: Vec<Cond>,
    },
}

/// How many ancestors a policy can have; the API wants that no entry is added beyond, and that the policy does not count
/// there.
pub const MAX_ANCESTORS: usize = 16;

/// How many characters a condition's message can have (API: maxLength); with more the API server refuses all of the
/// status, again and again.
const MAX_MESSAGE: usize = 32_768;

/// The status of a GatewayClass.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClassStatus {
    /// What is true of it.
    pub conditions: Vec<Cond>,
    /// What works, in order of name.
    #[serde(serialize_with = "features")]
    pub supported_features: &'static [&'static str],
}

/// The status of a Gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GatewayStatus {
    /// Where it is reached.
    pub addresses: Vec<GatewayAddress>,
    /// Whether it is reached where the controller is, too: there is nothing to see of that here.
    #[serde(skip)]
    pub shared_addresses: bool,
    /// Whether it is reached at the nodes of our Pods: there is nothing to see of that here either.
    #[serde(skip)]
    pub node_addresses: bool,
    /// What is true of it. `Programmed` is true here when nothing but ports that can't be bound speaks against it.
    pub conditions: Vec<Cond>,
    /// Its own listeners, in the order of the spec.
    pub listeners: Vec<ListenerStatus>,
    /// How many ListenerSets are attached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attached_listener_sets: Option<u32>,
}

/// An address of a Gateway.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct GatewayAddress {
    /// `IPAddress`, `Hostname`, or a name with a domain.
    #[serde(rename = "type")]
    pub kind: Cow<'static, str>,
    /// The address.
    pub value: String,
}

impl GatewayAddress {
    /// Of an IP address, or of a name.
    pub fn read(text: &str) -> Self {
        let kind = if text.parse::<std::net::IpAddr>().is_ok() { "IPAddress" } else { "Hostname" };
        Self { kind: kind.into(), value: text.to_owned() }
    }
}

/// The status of a ListenerSet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ListenerSetStatus {
    /// What is true of it; see [`GatewayStatus::conditions`].
    pub conditions: Vec<Cond>,
    /// Its listeners, in the order of the spec. Without any when it is not allowed.
    pub listeners: Vec<ListenerStatus>,
}

/// The status of a listener of a Gateway or ListenerSet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ListenerStatus {
    /// Its name.
    pub name: Arc<str>,
    /// Kinds of routes that it takes, of the API's own group.
    #[serde(serialize_with = "kinds")]
    pub supported_kinds: Vec<&'static str>,
    /// How many routes are attached, also when it is not served.
    pub attached_routes: u32,
    /// What is true of it. `Programmed` is true here when nothing but `bound` speaks against it.
    pub conditions: Vec<Cond>,
    /// The listeners of the model that serve it: only when all of them are bound is it programmed.
    #[serde(skip)]
    pub bound: Vec<ListenerId>,
}

/// What a route, policy or backend refers to, as its status repeats it. Group and kind are there even where files leave
/// them out, as the API server would have added them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ParentReference {
    /// `group`.
    pub group: Arc<str>,
    /// `kind`.
    pub kind: Arc<str>,
    /// `namespace`, if written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<Arc<str>>,
    /// `name`.
    pub name: Arc<str>,
    /// `sectionName`, if written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub section_name: Option<Arc<str>>,
    /// `port`, if written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<i32>,
}

/// What became of a route at one of its parentRefs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ParentStatus {
    /// The parentRef, as the route writes it.
    pub parent_ref: ParentReference,
    /// What is true of it there.
    pub conditions: Vec<Cond>,
}

/// What became of a policy at a Gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AncestorStatus {
    /// The Gateway.
    pub ancestor_ref: ParentReference,
    /// What is true of it there.
    pub conditions: Vec<Cond>,
}

/// A condition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Cond {
    /// What it is about.
    #[serde(rename = "type")]
    pub kind: CondKind,
    /// Whether it holds.
    #[serde(rename = "status", serialize_with = "truth")]
    pub state: bool,
    /// Why, in the API's word.
    pub reason: &'static str,
    /// Why, for people. Most are the same for thousands of routes: those are borrowed.
    #[serde(serialize_with = "message")]
    pub message: Cow<'static, str>,
}

/// What a condition is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CondKind {
    /// It is sound enough to be served.
    Accepted,
    /// It is served.
    Programmed,
    /// Everything that it refers to is there and may be used.
    ResolvedRefs,
    /// Another listener has what it asks for.
    Conflicted,
    /// A part of it is not served, the rest is.
    PartiallyInvalid,
    /// We know the version of the API that is installed.
    SupportedVersion,
    /// Client certificates are asked for and not verified.
    InsecureFrontendValidationMode,
    /// Certificates or hostnames of listeners overlap.
    OverlappingTLSConfig,
    /// Another policy overrides a part of it.
    Overridden,
    /// It takes routes that do not name it.
    DefaultGateway,
    /// The ports of our Pods that its Service leads to; see [`Shown`](crate::resources::Shown).
    TargetPorts,
}

impl CondKind {
    /// Every kind.
    pub const ALL: [Self; 11] = [
        Self::Accepted,
        Self::Programmed,
        Self::ResolvedRefs,
        Self::Conflicted,
        Self::PartiallyInvalid,
        Self::SupportedVersion,
        Self::InsecureFrontendValidationMode,
        Self::OverlappingTLSConfig,
        Self::Overridden,
        Self::DefaultGateway,
        Self::TargetPorts,
    ];

    /// The API's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "Accepted",
            Self::Programmed => "Programmed",
            Self::ResolvedRefs => "ResolvedRefs",
            Self::Conflicted => "Conflicted",
            Self::PartiallyInvalid => "PartiallyInvalid",
            Self::SupportedVersion => "SupportedVersion",
            Self::InsecureFrontendValidationMode => "InsecureFrontendValidationMode",
            Self::OverlappingTLSConfig => "OverlappingTLSConfig",
            Self::Overridden => "Overridden",
            Self::DefaultGateway => "DefaultGateway",
            Self::TargetPorts => crate::resources::TARGET_PORTS,
        }
    }

    /// Whether conditions of this type are ours to write. Where an object becomes ours they are what we say.
    pub fn is_known(name: &str) -> bool {
        Self::ALL.iter().any(|kind| kind.as_str() == name)
    }
}

impl Statuses {
    /// What the status of an object is to say.
    pub fn get(&self, key: &Key) -> Option<&Arc<Wanted>> {
        self.objects.get(key)
    }

    /// Whether there is no object of ours.
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }
}

/// A map by `Kind namespace/name`.
impl Serialize for Statuses {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.objects.len()))?;
        for (key, wanted) in self.objects.iter() {
            map.serialize_entry(&key.to_string(), &**wanted)?;
        }
        map.end()
    }
}

impl Cond {
    /// A condition that holds.
    pub fn holds(kind: CondKind, reason: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, state: true, reason, message: message.into() }
    }

    /// A condition that does not hold.
    pub fn fails(kind: CondKind, reason: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self { state: false, ..Self::holds(kind, reason, message) }
    }
}

impl ParentReference {
    /// A Gateway as a whole, as policies name their ancestors.
    pub fn gateway(namespace: Arc<str>, name: Arc<str>) -> Self {
        Self {
            group: GATEWAY_GROUP.into(),
            kind: "Gateway".into(),
            namespace: Some(namespace),
            name,
            section_name: None,
            port: None,
        }
    }
}

impl Serialize for CondKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it")]
fn truth<S: Serializer>(state: &bool, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(if *state { "True" } else { "False" })
}

/// Every status becomes what is written here, so this is where no message is too long.
fn message<S: Serializer>(message: &str, serializer: S) -> Result<S::Ok, S::Error> {
    if message.len() <= MAX_MESSAGE || message.chars().nth(MAX_MESSAGE).is_none() {
        return serializer.serialize_str(message);
    }
    let cut: String = message.chars().take(MAX_MESSAGE - 1).chain(['…']).collect();
    serializer.serialize_str(&cut)
}

fn kinds<S: Serializer>(kinds: &[&'static str], serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct GroupKind {
        group: &'static str,
        kind: &'static str,
    }
    serializer.collect_seq(kinds.iter().map(|kind| GroupKind { group: GATEWAY_GROUP, kind }))
}

fn features<S: Serializer>(names: &&'static [&'static str], serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Feature {
        name: &'static str,
    }
    serializer.collect_seq(names.iter().map(|name| Feature { name }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn no_message_is_longer_than_the_api_takes() {
        let written = |length: usize| {
            let condition = Cond::holds(CondKind::Accepted, "Accepted", "é".repeat(length));
            serde_json::to_value(condition).unwrap()["message"].as_str().unwrap().to_owned()
        };
        assert_eq!(written(MAX_MESSAGE), "é".repeat(MAX_MESSAGE));
        assert_eq!(written(MAX_MESSAGE + 1), "é".repeat(MAX_MESSAGE - 1) + "…");
        assert_eq!(written(3 * MAX_MESSAGE).chars().count(), MAX_MESSAGE);
    }

    #[test]
    fn a_status_reads_as_the_api_writes_it() {
        let accepted = Cond::holds(CondKind::Accepted, "Accepted", "the route is served");
        let mut parent_ref = ParentReference::gateway("infra".into(), "edge".into());
        parent_ref.port = Some(80);
        let route = Wanted::Route { parents: vec![ParentStatus { parent_ref, conditions: vec![accepted] }] };
        let expected = json!({"parents": [{
            "parentRef": {
                "group": "gateway.networking.k8s.io", "kind": "Gateway", "namespace": "infra", "name": "edge", "port": 80
            },
            "conditions": [
                {"type": "Accepted", "status": "True", "reason": "Accepted", "message": "the route is served"}
            ],
        }]});
        assert_eq!(serde_json::to_value(&route).unwrap(), expected);
        let listener = ListenerStatus {
            name: "web".into(),
            supported_kinds: vec!["HTTPRoute"],
            attached_routes: 2,
            conditions: Vec::new(),
            bound: vec![ListenerId::new("http")],
        };
        let set = Wanted::ListenerSet(ListenerSetStatus { conditions: Vec::new(), listeners: vec![listener] });
        let expected = json!({"conditions": [], "listeners": [{
            "name": "web", "attachedRoutes": 2, "conditions": [],
            "supportedKinds": [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute"}],
        }]});
        assert_eq!(serde_json::to_value(&set).unwrap(), expected);
        let class = Wanted::Class(ClassStatus { conditions: Vec::new(), supported_features: &["Gateway"] });
        let expected = json!({"conditions": [], "supportedFeatures": [{"name": "Gateway"}]});
        assert_eq!(serde_json::to_value(&class).unwrap(), expected);
    }
}
