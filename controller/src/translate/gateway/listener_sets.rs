//! ListenerSets: one unit of work per set. It says whether the set's Gateway takes it, and which of its listeners are
//! sound in themselves; what they make of the Gateway's and of other sets' is the business of
//! [`family`](super::family).

use std::sync::Arc;

use gateway_api::apis::experimental::gateways::{
    Gateway, GatewayAllowedListenersNamespaces, GatewayAllowedListenersNamespacesFrom as From,
};

use super::client_auth::Frontend;
use super::findings::Findings;
use super::gateways::{self, GatewayListener};
use super::grant::GATEWAY_GROUP;
use super::listener;
use super::parent::ParentKey;
use super::rank::RouteAge;
use super::reason::{INVALID, NO_MATCHING_PARENT, NOT_ALLOWED, UNSUPPORTED_VALUE};
use super::selector::{IDLE_SELECTOR, Selector};
use crate::resources::{Key, Kind, NamespacedName};
use crate::translate::assembly::Contribution;
use crate::translate::memo::Output;
use crate::translate::reader::Reader;

/// A ListenerSet of a Gateway that is ours, read.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SetOutcome {
    /// The Gateway.
    pub(crate) gateway: NamespacedName,
    /// Who wins a conflict with another set.
    pub(crate) age: RouteAge,
    /// Whether the Gateway takes it; nothing of it is served otherwise.
    pub(crate) allowed: bool,
    /// Its listeners, in the order of the object.
    pub(crate) listeners: Vec<GatewayListener>,
    /// What is wrong, apart from conflicts with others.
    pub(crate) contribution: Arc<Contribution>,
}

impl Output for SetOutcome {
    fn share(&mut self, old: &Self) {
        if self.contribution == old.contribution {
            self.contribution = old.contribution.clone();
        }
    }
}

/// Reads a set; `None` when it does not exist, or nothing is to be said about it.
pub(crate) fn read(name: &NamespacedName, reader: &Reader<'_>) -> Option<SetOutcome> {
    let set = reader.listener_set(name)?;
    let reference = &set.spec.parent_ref;
    let group = reference.group.as_deref().unwrap_or(GATEWAY_GROUP);
    if (group, reference.kind.as_deref().unwrap_or("Gateway")) != (GATEWAY_GROUP, "Gateway") {
        return None;
    }
    let namespace = reference.namespace.as_deref().filter(|namespace| !namespace.is_empty());
    let namespace: Arc<str> = namespace.map_or_else(|| name.namespace.clone(), Into::into);
    let parent = NamespacedName::new(namespace, reference.name.as_str());
    let key = Key { kind: Kind::ListenerSet, name: name.clone() };
    let mut findings = Findings::new(key.object_ref());
    let created = set.metadata.creation_timestamp.as_ref().map(|time| time.0);
    let age = RouteAge::new(created, Kind::ListenerSet.as_str(), &name.namespace, &name.name);
    let (mut allowed, mut listeners) = (false, Vec::new());
    match reader.gateway(&parent).filter(|_| reader.is_watched(&parent.namespace)) {
        None => {
            let message = format!("Gateway {parent} does not exist; the listeners are not served");
            findings.error("spec.parentRef", NO_MATCHING_PARENT, message, "create the Gateway, or name another");
        }
        // Nothing is said about it, and it may be ours later.
        Some(gateway) if !gateways::is_ours(gateway, reader) => {}
        Some(gateway) => {
            allowed = is_allowed(gateway, &parent, &name.namespace, reader);
            if allowed {
                let owner = ParentKey::ListenerSet(name.clone());
                // What is wrong with it is told at the Gateway.
                let mut elsewhere = Findings::new(key.object_ref());
                let spec = gateway.spec.tls.as_ref().and_then(|tls| tls.frontend.as_ref());
                let frontend = Frontend::read(spec, &parent, reader, &mut elsewhere);
                listeners = listener::read_all(&owner, &set.spec.listeners, &frontend, reader, &mut findings);
            } else {
                let message = format!("Gateway {parent} takes no ListenerSets from here; the listeners are not served");
                findings.error("spec.parentRef", NOT_ALLOWED, message, "change spec.allowedListeners of the Gateway");
            }
        }
    }
    let contribution = Arc::new(Contribution { problems: findings.into_problems(), ..Contribution::default() });
    Some(SetOutcome { gateway: parent, age, allowed, listeners, contribution })
}

/// Whether a Gateway takes sets of a namespace. Without a word about it, it takes none.
fn is_allowed(gateway: &Gateway, name: &NamespacedName, namespace: &Arc<str>, reader: &Reader<'_>) -> bool {
    let allowed = gateway.spec.allowed_listeners.as_ref().and_then(|allowed| allowed.namespaces.as_ref());
    match allowed.and_then(|allowed| allowed.from.as_ref()) {
        None | Some(From::None) => false,
        Some(From::All) => true,
        Some(From::Same) => name.namespace == *namespace,
        Some(From::Selector) => selector_of(allowed).is_some_and(|selector| {
            let object = reader.namespace(&NamespacedName::new("", namespace.clone()));
            selector.matches(namespace, object.and_then(|object| object.metadata.labels.as_ref()))
        }),
    }
}

fn selector_of(allowed: Option<&GatewayAllowedListenersNamespaces>) -> Option<Selector> {
    allowed.and_then(|allowed| allowed.selector.as_ref()).and_then(|selector| Selector::parse(selector).ok())
}

/// Tells of `allowedListeners` that no set can be allowed by, as of a selector that is missing or broken, and of a selector
/// that is not asked.
pub(crate) fn check_allowed(gateway: &Gateway, findings: &mut Findings) {
    let allowed = gateway.spec.allowed_listeners.as_ref().and_then(|allowed| allowed.namespaces.as_ref());
    let Some(allowed) = allowed else { return };
    if allowed.from != Some(From::Selector) {
        if allowed.selector.is_some() {
            let field = "spec.allowedListeners.namespaces.selector";
            findings.warning(field, UNSUPPORTED_VALUE, IDLE_SELECTOR, "write from: Selector");
        }
        return;
    }
    let problem = match allowed.selector.as_ref().map(Selector::parse) {
        Some(Ok(_)) => return,
        Some(Err(error)) => format!("{error}; no ListenerSet is allowed"),
        None => "the selector is missing; no ListenerSet is allowed".to_owned(),
    };
    findings.error("spec.allowedListeners.namespaces.selector", INVALID, problem, "");
}
