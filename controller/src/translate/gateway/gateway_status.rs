//! The status of a Gateway and of its listeners.

use std::borrow::Cow;

use genkan_routing::report::{Problem, Severity};

use super::addressing::{Addressing, Assigned, Reach};
use super::attached::Attached;
use super::gateways::{GatewayListener, GatewayOutcome, Refusal, Verdict};
use super::listener_sets::SetOutcome;
use super::notes::{is_within, with_notes};
use super::parent::ParentKey;
use super::ports::{Parent, ParentListener};
use super::protocol::ListenerProtocol;
use super::reason::{
    ACCEPTED, ASSIGNED, CONFIGURATION_CHANGED, DEFAULT_SCOPE, GATEWAY_CLASS_NOT_FOUND, INVALID, LISTENERS_NOT_RESOLVED,
    LISTENERS_NOT_VALID, NO_CONFLICTS, NOT_ALLOWED, PARENT_NOT_ACCEPTED, PARENT_NOT_PROGRAMMED, PENDING,
    PORT_UNAVAILABLE, PROGRAMMED, RESOLVED_REFS, UNSUPPORTED_VALUE,
};
use super::status::{Cond, CondKind, GatewayAddress, GatewayStatus, ListenerSetStatus, ListenerStatus, Wanted};
use crate::resources::Shown;

/// Where the report has no better word.
const UNTOLD: Cow<'static, str> = Cow::Borrowed("see the report");

/// What there is to know about a Gateway, or about a ListenerSet and its Gateway.
pub(crate) struct Known<'a> {
    /// Which it is.
    pub(crate) key: &'a ParentKey,
    /// The Gateway by itself.
    pub(crate) outcome: &'a GatewayOutcome,
    /// What it is, beside others.
    pub(crate) parent: &'a Parent,
    /// How many routes its listeners have.
    pub(crate) attached: &'a Attached,
    /// Where it is reached.
    pub(crate) addressing: &'a Addressing,
    /// What is wrong with it.
    pub(crate) problems: &'a [&'a Problem],
    /// What is wrong with the Gateway by itself: what clients are asked for stands there, also for a ListenerSet.
    pub(crate) of_gateway: &'a [Problem],
}

/// The status of a Gateway; `None` when it is another controller's.
pub(crate) fn status(known: &Known<'_>, attached_listener_sets: Option<u32>) -> Option<Wanted> {
    let outcome = known.outcome;
    if !outcome.ours {
        return None;
    }
    if is_of_no_class(outcome) {
        return Some(withdrawn("the GatewayClass does not exist; nothing is served"));
    }
    let placed = || outcome.listeners.iter().zip(&known.parent.listeners);
    let listeners = placed().map(|(listener, placed)| known.listener(listener, placed)).collect();
    let accepted = known.accepted();
    let programmed = known.programmed(accepted.state);
    let mut conditions = vec![accepted, programmed];
    conditions.extend(known.resolved_refs());
    if outcome.listeners.iter().any(GatewayListener::lets_anybody_in) {
        let message = "clients are let in whatever certificates they show, or none";
        conditions.push(Cond::holds(CondKind::InsecureFrontendValidationMode, CONFIGURATION_CHANGED, message));
    }
    if known.parent.is_default && outcome.refused.is_none() {
        let message = "the Gateway has default scope All: it takes routes that ask for default Gateways";
        conditions.push(Cond::holds(CondKind::DefaultGateway, DEFAULT_SCOPE, message));
    }
    if let Reach::Service { targets, .. } = &known.addressing.reach
        && !targets.is_empty()
    {
        conditions.push(Cond::holds(CondKind::TargetPorts, ASSIGNED, Shown::tell(targets.iter())));
    }
    Some(Wanted::Gateway(GatewayStatus {
        addresses: known.addresses(),
        // Nothing of one that is refused is served there: names must not be led to where others answer.
        shared_addresses: known.addressing.reach == Reach::Controller && outcome.refused.is_none(),
        node_addresses: matches!(&known.addressing.reach, Reach::Service { addresses: Assigned::Nodes, .. }),
        conditions,
        listeners,
        attached_listener_sets,
    }))
}

/// The status of what may have been ours and is nobody's now.
pub(crate) fn withdrawn(message: &'static str) -> Wanted {
    let conditions = [CondKind::Accepted, CondKind::Programmed].map(|kind| Cond::fails(kind, PENDING, message));
    Wanted::Withdrawn { conditions: conditions.to_vec() }
}

/// The status of a ListenerSet.
pub(crate) fn of_set(known: &Known<'_>, set: &SetOutcome) -> Wanted {
    if is_of_no_class(known.outcome) {
        return withdrawn("the GatewayClass of the Gateway does not exist; nothing is served");
    }
    let each = |accepted, programmed, message: &'static str| {
        let conditions = [(CondKind::Accepted, accepted), (CondKind::Programmed, programmed)];
        conditions.map(|(kind, reason)| Cond::fails(kind, reason, message)).to_vec()
    };
    let both = |reason, message| each(reason, reason, message);
    let placed = || set.listeners.iter().zip(&known.parent.listeners);
    let sound = known.parent.listeners.iter().filter(|listener| listener.verdict.serves()).count();
    let conditions = match sound {
        _ if known.outcome.refused.is_some() => {
            each(PARENT_NOT_ACCEPTED, PARENT_NOT_PROGRAMMED, "the Gateway is not accepted")
        }
        _ if !set.allowed => both(NOT_ALLOWED, "the Gateway takes no ListenerSets from here"),
        0 => both(LISTENERS_NOT_VALID, "no listener can be served"),
        sound => {
            let (reason, message) = match sound == known.parent.listeners.len() {
                true => (ACCEPTED, "the listeners are served"),
                false => (LISTENERS_NOT_VALID, "some listeners can't be served"),
            };
            let accepted = Cond::holds(CondKind::Accepted, reason, known.noted(message));
            let unplaced = known.parent.listeners.iter().all(|listener| listener.bound.is_none());
            let programmed = match &known.addressing.trouble {
                Some(Refusal { message, .. }) if unplaced => {
                    Cond::fails(CondKind::Programmed, PARENT_NOT_PROGRAMMED, message.clone())
                }
                _ => Cond::holds(CondKind::Programmed, PROGRAMMED, "the listeners are served"),
            };
            vec![accepted, programmed]
        }
    };
    let listeners = placed().map(|(listener, placed)| known.listener(listener, placed)).collect();
    Wanted::ListenerSet(ListenerSetStatus { conditions, listeners })
}

/// Whether the class of a Gateway does not exist.
fn is_of_no_class(outcome: &GatewayOutcome) -> bool {
    outcome.refused.as_ref().is_some_and(|refusal| refusal.reason == GATEWAY_CLASS_NOT_FOUND)
}

impl Known<'_> {
    /// The addresses that are known here.
    fn addresses(&self) -> Vec<GatewayAddress> {
        match &self.addressing.reach {
            Reach::Own(own) => own.iter().map(|ip| GatewayAddress::read(&ip.to_string())).collect(),
            Reach::Service { addresses: Assigned::These(all), .. } => all.clone(),
            Reach::Service { addresses: Assigned::Nodes, .. } | Reach::Controller => Vec::new(),
        }
    }

    fn accepted(&self) -> Cond {
        if let Some(Refusal { reason, message }) = &self.outcome.refused {
            return Cond::fails(CondKind::Accepted, reason, message.clone());
        }
        let listeners = &self.parent.listeners;
        let sound = listeners.iter().filter(|listener| listener.verdict.is_accepted()).count();
        match (sound, listeners.len()) {
            (0, 1..) => Cond::fails(CondKind::Accepted, LISTENERS_NOT_VALID, "no listener can be served"),
            (sound, all) if sound < all => {
                Cond::holds(CondKind::Accepted, LISTENERS_NOT_VALID, self.noted("some listeners can't be served"))
            }
            _ => Cond::holds(CondKind::Accepted, ACCEPTED, self.noted("the Gateway is served")),
        }
    }

    /// A message with what is not as it is written, apart from listeners and what has a condition of its own.
    fn noted(&self, message: &'static str) -> Cow<'static, str> {
        let client = self.outcome.client.as_ref().and_then(|client| client.as_ref().err());
        let elsewhere = |problem: &Problem| {
            is_within(&problem.origin.field, "spec.listeners")
                || client.is_some_and(|refusal| problem.reason == refusal.reason)
        };
        with_notes(message, self.problems.iter().copied().filter(|problem| !elsewhere(problem)))
    }

    fn programmed(&self, accepted: bool) -> Cond {
        let listeners = &self.parent.listeners;
        if !accepted {
            return Cond::fails(CondKind::Programmed, INVALID, "the Gateway is not accepted");
        }
        if let Some(Refusal { reason, message }) = &self.addressing.trouble {
            return Cond::fails(CondKind::Programmed, reason, message.clone());
        }
        if !listeners.is_empty() && listeners.iter().all(|listener| listener.bound.is_none()) {
            return Cond::fails(CondKind::Programmed, INVALID, "no listener is served");
        }
        Cond::holds(CondKind::Programmed, PROGRAMMED, "the Gateway is served")
    }

    /// Whether the references of the Gateway and of its listeners are resolved, if there are any.
    fn resolved_refs(&self) -> Option<Cond> {
        if let Some(Err(Refusal { reason, message })) = &self.outcome.client {
            return Some(Cond::fails(CondKind::ResolvedRefs, reason, message.clone()));
        }
        let listeners = &self.parent.listeners;
        let unresolved = listeners.iter().find(|listener| listener.verdict.resolved_refs.is_some());
        if let Some(listener) = unresolved {
            let message = format!("references of listener {} are not resolved", listener.name);
            return Some(Cond::fails(CondKind::ResolvedRefs, LISTENERS_NOT_RESOLVED, message));
        }
        let opens_tls = |listener: &GatewayListener| listener.protocol.is_some_and(ListenerProtocol::opens_tls);
        let has_any = self.outcome.client.is_some() || self.outcome.listeners.iter().any(opens_tls);
        has_any.then(|| Cond::holds(CondKind::ResolvedRefs, RESOLVED_REFS, "all references are resolved"))
    }

    fn listener(&self, listener: &GatewayListener, placed: &ParentListener) -> ListenerStatus {
        let verdict = placed.verdict;
        let kinds = &listener.allowed.kinds;
        ListenerStatus {
            name: listener.name.clone(),
            // What can't be spoken takes no routes.
            supported_kinds: kinds.iter().filter(|_| listener.protocol.is_some()).map(|kind| kind.as_str()).collect(),
            attached_routes: self.attached.count(self.key, &listener.name),
            conditions: vec![
                self.listener_accepted(&listener.field, verdict),
                self.conflicted(&listener.field, verdict),
                self.listener_resolved_refs(listener, verdict),
                self.listener_programmed(verdict, placed),
            ],
            bound: placed.bound.iter().cloned().collect(),
        }
    }

    fn listener_accepted(&self, field: &str, verdict: Verdict) -> Cond {
        if self.outcome.refused.is_some() {
            return Cond::fails(CondKind::Accepted, PENDING, "the Gateway is not accepted");
        }
        let told = |problem: &&Problem| Some(problem.reason) == verdict.resolved_refs;
        let notes = self.problems.iter().copied().filter(|problem| is_within(&problem.origin.field, field));
        match verdict.accepted.or(verdict.conflicted) {
            None => {
                let message = with_notes("the listener can be served", notes.filter(|problem| !told(problem)));
                Cond::holds(CondKind::Accepted, ACCEPTED, message)
            }
            // The API has this word for `Programmed` only.
            Some(INVALID) => Cond::fails(CondKind::Accepted, UNSUPPORTED_VALUE, self.message(field, INVALID)),
            Some(reason) => Cond::fails(CondKind::Accepted, reason, self.message(field, reason)),
        }
    }

    fn conflicted(&self, field: &str, verdict: Verdict) -> Cond {
        match verdict.conflicted {
            None => Cond::fails(CondKind::Conflicted, NO_CONFLICTS, "no other listener is in the way"),
            Some(reason) => Cond::holds(CondKind::Conflicted, reason, self.message(field, reason)),
        }
    }

    fn listener_resolved_refs(&self, listener: &GatewayListener, verdict: Verdict) -> Cond {
        let Some(reason) = verdict.resolved_refs else {
            return Cond::holds(CondKind::ResolvedRefs, RESOLVED_REFS, "all references are resolved");
        };
        // What its clients are asked for stands elsewhere in the Gateway.
        let asked_by = || told(self.of_gateway.iter(), listener.asked_by.as_ref()?, reason);
        let told = self.told(&listener.field, reason).or_else(asked_by);
        Cond::fails(CondKind::ResolvedRefs, reason, told.map_or(UNTOLD, |problem| Cow::Owned(problem.message.clone())))
    }

    fn listener_programmed(&self, verdict: Verdict, placed: &ParentListener) -> Cond {
        if placed.bound.is_some() {
            return Cond::holds(CondKind::Programmed, PROGRAMMED, "the listener is served");
        }
        let is_of_set = matches!(self.key, ParentKey::ListenerSet(_));
        let (reason, message): (_, Cow<'static, str>) = match (verdict.conflicted, verdict.accepted) {
            _ if self.outcome.refused.is_some() => (PENDING, "the Gateway is not accepted".into()),
            (Some(reason), _) => (reason, "it is not accepted".into()),
            // Of a Gateway's listeners the API has this word for `Accepted` only.
            (None, Some(PORT_UNAVAILABLE)) if is_of_set => (PORT_UNAVAILABLE, "it is not accepted".into()),
            (None, Some(_)) => (INVALID, "it is not accepted".into()),
            (None, None) if verdict.unusable => (INVALID, "references that it needs are not resolved".into()),
            // Nothing is wrong with the listener: the Gateway has no address for it.
            (None, None) => {
                let trouble = self.addressing.trouble.as_ref().map(|trouble| trouble.message.clone());
                (PENDING, trouble.map_or("it has no address, or no port of our Pods, yet".into(), Cow::Owned))
            }
        };
        Cond::fails(CondKind::Programmed, reason, message)
    }

    /// What the report says about a part of the Gateway for this reason.
    fn message(&self, field: &str, reason: &str) -> Cow<'static, str> {
        self.told(field, reason).map_or(UNTOLD, |problem| Cow::Owned(problem.message.clone()))
    }

    fn told(&self, field: &str, reason: &str) -> Option<&Problem> {
        told(self.problems.iter().copied(), field, reason)
    }
}

/// The error about a field, or a part of it, with this reason.
fn told<'p>(problems: impl IntoIterator<Item = &'p Problem>, field: &str, reason: &str) -> Option<&'p Problem> {
    let mut errors = problems.into_iter().filter(|problem| problem.severity == Severity::Error);
    errors.find(|problem| problem.reason == reason && is_within(&problem.origin.field, field))
}
