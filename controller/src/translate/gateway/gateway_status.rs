//! The status of a Gateway and of its listeners.

use std::borrow::Cow;

use genkan_routing::report::{Problem, Severity};

use super::addressing::{Addressing, Assigned, Reach};
use super::attached::Attached;
use super::gateways::{GatewayListener, GatewayOutcome, Refusal, Verdict};
use super::listener_sets::SetOutcome;
use super::parent::ParentKey;
use super::ports::{Parent, ParentListener};
use super::reason::{
    ACCEPTED, ASSIGNED, CONFIGURATION_CHANGED, GATEWAY_CLASS_NOT_FOUND, INVALID, LISTENERS_NOT_VALID, NO_CONFLICTS,
    NOT_ALLOWED, PARENT_NOT_ACCEPTED, PENDING, PROGRAMMED, RESOLVED_REFS, UNSUPPORTED_VALUE,
};
use super::status::{Cond, CondKind, GatewayAddress, GatewayStatus, ListenerSetStatus, ListenerStatus};
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
}

/// The status of a Gateway; `None` while it is not known to be ours.
pub(crate) fn status(known: &Known<'_>, attached_listener_sets: Option<u32>) -> Option<GatewayStatus> {
    let outcome = known.outcome;
    if !outcome.ours || refusal_of(outcome) == Some(GATEWAY_CLASS_NOT_FOUND) {
        return None;
    }
    let placed = || outcome.listeners.iter().zip(&known.parent.listeners);
    let listeners = placed().map(|(listener, placed)| known.listener(listener, placed)).collect();
    let accepted = known.accepted();
    let programmed = known.programmed(accepted.state);
    let mut conditions = vec![accepted, programmed];
    conditions.extend(known.resolved_refs());
    if outcome.insecure_frontend {
        let message = "clients are let in whatever certificates they show, or none";
        conditions.push(Cond::holds(CondKind::InsecureFrontendValidationMode, CONFIGURATION_CHANGED, message));
    }
    if let Reach::Service { targets, .. } = &known.addressing.reach
        && !targets.is_empty()
    {
        conditions.push(Cond::holds(CondKind::TargetPorts, ASSIGNED, Shown::tell(targets.iter())));
    }
    Some(GatewayStatus {
        addresses: known.addresses(),
        shared_addresses: known.addressing.reach == Reach::Controller,
        node_addresses: matches!(&known.addressing.reach, Reach::Service { addresses: Assigned::Nodes, .. }),
        conditions,
        listeners,
        attached_listener_sets,
    })
}

/// The status of a ListenerSet; `None` while its Gateway is not known to be ours.
pub(crate) fn of_set(known: &Known<'_>, set: &SetOutcome) -> Option<ListenerSetStatus> {
    if refusal_of(known.outcome) == Some(GATEWAY_CLASS_NOT_FOUND) {
        return None;
    }
    let both = |reason, message: &'static str| {
        [CondKind::Accepted, CondKind::Programmed].map(|kind| Cond::fails(kind, reason, message)).to_vec()
    };
    let placed = || set.listeners.iter().zip(&known.parent.listeners);
    let sound = known.parent.listeners.iter().filter(|listener| listener.verdict.serves()).count();
    let conditions = match sound {
        _ if known.outcome.refused.is_some() => both(PARENT_NOT_ACCEPTED, "the Gateway is not accepted"),
        _ if !set.allowed => both(NOT_ALLOWED, "the Gateway takes no ListenerSets from here"),
        0 => both(LISTENERS_NOT_VALID, "no listener can be served"),
        sound => {
            let accepted = if sound == known.parent.listeners.len() {
                Cond::holds(CondKind::Accepted, ACCEPTED, "the listeners are served")
            } else {
                Cond::holds(CondKind::Accepted, LISTENERS_NOT_VALID, "some listeners can't be served")
            };
            let unplaced = known.parent.listeners.iter().all(|listener| listener.bound.is_none());
            let programmed = match &known.addressing.trouble {
                Some(Refusal { message, .. }) if unplaced => {
                    Cond::fails(CondKind::Programmed, PENDING, message.clone())
                }
                _ => Cond::holds(CondKind::Programmed, PROGRAMMED, "the listeners are served"),
            };
            vec![accepted, programmed]
        }
    };
    let listeners = placed().map(|(listener, placed)| known.listener(listener, placed)).collect();
    Some(ListenerSetStatus { conditions, listeners })
}

fn refusal_of(outcome: &GatewayOutcome) -> Option<&'static str> {
    outcome.refused.as_ref().map(|refusal| refusal.reason)
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
                Cond::holds(CondKind::Accepted, LISTENERS_NOT_VALID, "some listeners can't be served")
            }
            _ => Cond::holds(CondKind::Accepted, ACCEPTED, "the Gateway is served"),
        }
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

    /// Whether the references of the Gateway as a whole are resolved, if there are any.
    fn resolved_refs(&self) -> Option<Cond> {
        Some(match self.outcome.client.as_ref()? {
            Ok(_) => Cond::holds(CondKind::ResolvedRefs, RESOLVED_REFS, "all references are resolved"),
            Err(Refusal { reason, message }) => Cond::fails(CondKind::ResolvedRefs, reason, message.clone()),
        })
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
        match verdict.accepted.or(verdict.conflicted) {
            None => Cond::holds(CondKind::Accepted, ACCEPTED, "the listener can be served"),
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
        let fields = [Some(&listener.field), listener.asked_by.as_ref()];
        let told = fields.into_iter().flatten().find_map(|field| self.told(field, reason));
        Cond::fails(CondKind::ResolvedRefs, reason, told.map_or(UNTOLD, |problem| Cow::Owned(problem.message.clone())))
    }

    fn listener_programmed(&self, verdict: Verdict, placed: &ParentListener) -> Cond {
        if placed.bound.is_some() {
            return Cond::holds(CondKind::Programmed, PROGRAMMED, "the listener is served");
        }
        if verdict.serves() {
            return Cond::fails(CondKind::Programmed, PENDING, "it has no address, or no port of our Pods, yet");
        }
        let message =
            if verdict.is_accepted() { "references that it needs are not resolved" } else { "it is not accepted" };
        let reason = verdict.conflicted.unwrap_or(INVALID);
        Cond::fails(CondKind::Programmed, reason, message)
    }

    /// What the report says about a part of the Gateway for this reason.
    fn message(&self, field: &str, reason: &str) -> Cow<'static, str> {
        self.told(field, reason).map_or(UNTOLD, |problem| Cow::Owned(problem.message.clone()))
    }

    fn told(&self, field: &str, reason: &str) -> Option<&Problem> {
        let within = |problem: &&&Problem| {
            let rest = problem.origin.field.strip_prefix(field);
            rest.is_some_and(|rest| field.is_empty() || rest.is_empty() || rest.starts_with('.'))
        };
        let mut told = self.problems.iter().filter(|problem| problem.severity == Severity::Error).filter(within);
        told.find(|problem| problem.reason == reason).copied()
    }
}
