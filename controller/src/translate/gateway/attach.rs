//! Attachment: which listeners of which Gateways a route of any kind is served on (`parentRefs`, `useDefaultGateways`),
//! and for which hosts.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use genkan_routing::name::{HostPattern, TableId};

use super::allowed::RouteKind;
use super::findings::Findings;
use super::grant::GATEWAY_GROUP;
use super::hostname::{self, intersect};
use super::parent::ParentKey;
use super::ports::{Parent, ParentListener};
use super::reason::{
    GATEWAY_CLASS_NOT_FOUND, INVALID_KIND, NO_MATCHING_LISTENER_HOSTNAME, NO_MATCHING_PARENT, NOT_ALLOWED_BY_LISTENERS,
    UNSUPPORTED_VALUE,
};
use super::status::ParentReference;
use crate::resources::NamespacedName;
use crate::small_map::SmallSet;
use crate::translate::reader::{Dependency, Reader};

/// The field of a route that asks for default Gateways.
pub(crate) const DEFAULTS: &str = "spec.useDefaultGateways";

/// What became of one parentRef that concerns us, or at a default Gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ParentOutcome {
    /// Its place in `parentRefs`; `None` is a default Gateway that took the route.
    pub(crate) index: Option<usize>,
    /// It, with what the API fills in.
    pub(crate) reference: ParentReference,
    /// Whether the parent is known to be ours, so that the route's status tells what became of it.
    pub(crate) ours: bool,
    /// Where the route is attached.
    pub(crate) attached: Result<Vec<Attachment>, Refused>,
    /// Whether the route is accepted where it is attached: that is for its rules to say.
    pub(crate) accepted: bool,
}

impl ParentOutcome {
    /// The field of the route that leads there.
    pub(crate) fn field(&self) -> Cow<'static, str> {
        self.index.map_or(Cow::Borrowed(DEFAULTS), |index| Cow::Owned(parent_ref(index)))
    }
}

/// Why a route is not attached to a parent: its `Accepted` condition there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    /// The reason.
    pub(crate) reason: &'static str,
    /// For people.
    pub(crate) message: Cow<'static, str>,
}

/// A listener that a route is attached to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Attachment {
    /// Whose listener it is.
    pub(crate) parent: ParentKey,
    /// The listener's name.
    pub(crate) listener: Arc<str>,
    /// Where the hosts go; `None` when the listener is not served. The API counts such routes as attached.
    pub(crate) table: Option<TableId>,
    /// The hosts that route and listener have in common.
    pub(crate) hosts: SmallSet<HostPattern>,
}

/// A route that wants to attach.
pub(crate) struct Candidate<'a> {
    /// What it is.
    pub(crate) kind: RouteKind,
    /// Its namespace and name.
    pub(crate) name: &'a NamespacedName,
    /// `spec.hostnames`.
    pub(crate) hostnames: &'a [String],
    /// `spec.parentRefs`.
    pub(crate) parents: &'a [ParentReference],
    /// Whether it goes to default Gateways as well (`spec.useDefaultGateways`).
    pub(crate) defaults: bool,
}

/// The field of a parentRef.
fn parent_ref(index: usize) -> String {
    format!("spec.parentRefs[{index}]")
}

/// Attaches a route to what it names, and to default Gateways. Empty when nothing of it concerns us.
pub(crate) fn attach(
    candidate: &Candidate<'_>,
    parents: &BTreeMap<ParentKey, Parent>,
    reader: &Reader<'_>,
    findings: &mut Findings,
) -> Vec<ParentOutcome> {
    let mut outcomes = Vec::new();
    let mut hosts: Option<Vec<HostPattern>> = None;
    for (index, reference) in candidate.parents.iter().enumerate() {
        let field = parent_ref(index);
        let Some((key, parent)) = find(candidate, reference, &field, parents, reader, findings) else { continue };
        let attached = parent.and_then(|parent| {
            // Broken hostnames are told once, and only if the route is any of our business.
            let hosts = hosts.get_or_insert_with(|| parse_hostnames(candidate.hostnames, findings));
            let found = select(candidate, reference, &key, parent, hosts, reader);
            found.map_err(|refusal| refusal.tell(&field, &key, findings))
        });
        let ours = parents.get(&key).is_some_and(|parent| parent.refused != Some(GATEWAY_CLASS_NOT_FOUND));
        outcomes.push(ParentOutcome {
            index: Some(index),
            reference: reference.clone(),
            ours,
            attached,
            accepted: true,
        });
    }
    if candidate.defaults {
        // Of those that don't take it its author need not know.
        for (key, parent) in defaults(candidate, parents, reader) {
            let hosts = hosts.get_or_insert_with(|| parse_hostnames(candidate.hostnames, findings));
            let reference = default_reference(key.name());
            let Ok(attached) = select(candidate, &reference, key, parent, hosts, reader) else { continue };
            outcomes.push(ParentOutcome { index: None, reference, ours: true, attached: Ok(attached), accepted: true });
        }
        check_defaults(&outcomes, findings);
    }
    // Kept for as long as the route is, as are the attachments.
    outcomes.shrink_to_fit();
    outcomes
}

/// The default Gateways that a route does not name as a whole anyway.
fn defaults<'p>(
    candidate: &Candidate<'_>,
    parents: &'p BTreeMap<ParentKey, Parent>,
    reader: &Reader<'_>,
) -> Vec<(&'p ParentKey, &'p Parent)> {
    reader.note(Dependency::DefaultGateways);
    let is_named = |gateway: &NamespacedName| {
        candidate.parents.iter().any(|reference| {
            let namespace = reference.namespace_or(&candidate.name.namespace).clone();
            let whole = ParentReference { namespace: Some(namespace), ..reference.clone() };
            whole == default_reference(gateway)
        })
    };
    let all = parents.iter().filter(|(key, parent)| parent.is_default && !is_named(key.name()));
    let all = all.inspect(|(key, _)| reader.note(Dependency::Parent((*key).clone())));
    all.filter(|(_, parent)| parent.refused.is_none()).collect()
}

/// A Gateway as the status of a route that it took names it.
fn default_reference(gateway: &NamespacedName) -> ParentReference {
    ParentReference::gateway(gateway.namespace.clone(), gateway.name.clone())
}

/// Tells of a wish for default Gateways that nothing follows from.
fn check_defaults(outcomes: &[ParentOutcome], findings: &mut Findings) {
    if outcomes.iter().all(|outcome| outcome.index.is_some()) {
        let message = "no default Gateway takes the route";
        let mend = "name a Gateway in parentRefs, or have defaultScope: All and allowedRoutes written in one";
        findings.warning(DEFAULTS, NO_MATCHING_PARENT, message, mend);
    }
}

/// What a reference names; `None` when it is another controller's, or nothing can be said about it.
fn find<'p>(
    candidate: &Candidate<'_>,
    reference: &ParentReference,
    field: &str,
    parents: &'p BTreeMap<ParentKey, Parent>,
    reader: &Reader<'_>,
    findings: &mut Findings,
) -> Option<(ParentKey, Result<&'p Parent, Refused>)> {
    if *reference.group != *GATEWAY_GROUP {
        return None; // A Service is a parent in a mesh, others belong to other controllers.
    }
    let is_set = *reference.kind == *"ListenerSet";
    if *reference.kind != *"Gateway" && !is_set {
        let message =
            format!("a parent of kind {} is not supported yet; the route is not attached to it", reference.kind);
        findings.warning(format!("{field}.kind"), INVALID_KIND, message, "name a Gateway");
        return None;
    }
    let namespace = reference.namespace_or(&candidate.name.namespace).clone();
    let name = NamespacedName::new(namespace, reference.name.clone());
    let key = if is_set { ParentKey::ListenerSet(name.clone()) } else { ParentKey::Gateway(name.clone()) };
    reader.note(Dependency::Parent(key.clone()));
    if let Some(parent) = parents.get(&key) {
        // Why it serves nothing is told at the parent.
        let message = || format!("the {} is not accepted", key.kind()).into();
        let found = parent.refused.map_or(Ok(parent), |reason| Err(Refused { reason, message: message() }));
        return Some((key, found));
    }
    let exists = if is_set { reader.listener_set(&name).is_some() } else { reader.gateway(&name).is_some() };
    if exists {
        return None;
    }
    let message = format!("{key} does not exist; the route is not attached to it");
    findings.error(field, NO_MATCHING_PARENT, message.clone(), format!("create the {}, or name another", key.kind()));
    Some((key, Err(Refused { reason: NO_MATCHING_PARENT, message: message.into() })))
}

/// Why a route is attached to no listener of a parent.
enum Refusal {
    /// No listener has the `sectionName` and `port`.
    NoListener { known: String },
    /// `allowedRoutes` refuses it.
    NotAllowed,
    /// No host in common.
    NoHostname,
}

impl Refusal {
    fn tell(self, field: &str, parent: &ParentKey, findings: &mut Findings) -> Refused {
        let (reason, message, mend) = match self {
            Self::NoListener { known } => (
                NO_MATCHING_PARENT,
                format!("no listener of {parent} has this sectionName and port"),
                format!("its listeners are {known}"),
            ),
            Self::NotAllowed => (
                NOT_ALLOWED_BY_LISTENERS,
                format!("no listener of {parent} allows routes of this kind and namespace"),
                "change allowedRoutes of the listener".to_owned(),
            ),
            Self::NoHostname => (
                NO_MATCHING_LISTENER_HOSTNAME,
                format!("no hostname is covered by a listener of {parent}"),
                "change hostnames of the route, or hostname of the listener".to_owned(),
            ),
        };
        let message = format!("{message}; the route is not attached to it");
        findings.error(field, reason, message.clone(), mend);
        Refused { reason, message: message.into() }
    }
}

/// The listeners of a parent that a reference selects and that take the route.
fn select(
    candidate: &Candidate<'_>,
    reference: &ParentReference,
    key: &ParentKey,
    parent: &Parent,
    hosts: &[HostPattern],
    reader: &Reader<'_>,
) -> Result<Vec<Attachment>, Refusal> {
    let section = reference.section_name.as_deref().filter(|name| !name.is_empty());
    let selected = |listener: &&ParentListener| {
        section.is_none_or(|name| name == &*listener.name)
            && reference.port.is_none_or(|port| port == i32::from(listener.port))
    };
    let listeners: Vec<_> = parent.listeners.iter().filter(selected).collect();
    if listeners.is_empty() {
        let known: Vec<_> = parent.listeners.iter().map(|known| format!("{} ({})", known.name, known.port)).collect();
        return Err(Refusal::NoListener { known: known.join(", ") });
    }
    let allows = |listener: &&ParentListener| {
        listener.protocol.is_some()
            && listener.allowed.permit(candidate.kind, &candidate.name.namespace, &key.name().namespace, reader)
    };
    let listeners: Vec<_> = listeners.into_iter().filter(allows).collect();
    if listeners.is_empty() {
        return Err(Refusal::NotAllowed);
    }
    let mut attachments: Vec<_> = listeners
        .into_iter()
        .map(|listener| Attachment {
            parent: key.clone(),
            listener: listener.name.clone(),
            table: listener.table.clone(),
            hosts: hosts.iter().filter_map(|host| intersect(&listener.hostname, host)).collect(),
        })
        .filter(|attachment| !attachment.hosts.is_empty())
        .collect();
    attachments.shrink_to_fit();
    if attachments.is_empty() { Err(Refusal::NoHostname) } else { Ok(attachments) }
}

/// The hosts that a route is for. Without `hostnames` that is every host; hostnames that are all broken are none.
fn parse_hostnames(texts: &[String], findings: &mut Findings) -> Vec<HostPattern> {
    if texts.is_empty() {
        return vec![HostPattern::Any];
    }
    let mut hosts = Vec::with_capacity(texts.len());
    for (index, text) in texts.iter().enumerate() {
        match hostname::parse(text) {
            Ok(host) => hosts.push(host),
            Err(error) => {
                let message = format!("{error}; {text:?} is not served");
                findings.error(format!("spec.hostnames[{index}]"), UNSUPPORTED_VALUE, message, "");
            }
        }
    }
    hosts
}
