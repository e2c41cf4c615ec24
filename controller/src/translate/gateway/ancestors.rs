//! Ancestors: at which Gateways a policy or a backend acts, and what is said of it there.

use std::collections::BTreeMap;

use genkan_routing::report::Problem;

use super::findings::Findings;
use super::gateways::Refusal;
use super::notes::with_notes;
use super::reason::{ACCEPTED, UNSUPPORTED_VALUE};
use super::status::{AncestorStatus, Cond, CondKind, MAX_ANCESTORS, ParentReference};
use crate::resources::NamespacedName;

/// The Gateways through which the targets of a policy get anything, and what became of it at each.
#[derive(Debug, Default)]
pub(crate) struct Ancestors(BTreeMap<NamespacedName, Target>);

/// What became of a policy at the targets behind a Gateway.
#[derive(Debug, Default)]
struct Target {
    acts: bool,
    idle: Option<Refusal>,
}

impl Ancestors {
    /// Adds the Gateways of a target. `idle`: why the policy does not act on it.
    pub(crate) fn add<'g>(&mut self, gateways: impl Iterator<Item = &'g NamespacedName>, idle: Option<&Refusal>) {
        for gateway in gateways {
            let target = self.0.entry(gateway.clone()).or_default();
            target.acts |= idle.is_none();
            target.idle = target.idle.take().or_else(|| idle.cloned());
        }
    }

    /// Tells when there are more than a status has room for.
    pub(crate) fn check(&self, findings: &mut Findings) {
        if self.0.len() > MAX_ANCESTORS {
            let count = self.0.len();
            let message =
                format!("{count} Gateways use it and a status has room for {MAX_ANCESTORS}; it acts at all of them");
            findings.warning("status.ancestors", UNSUPPORTED_VALUE, message, "");
        }
    }

    /// What the status of the policy says. It is accepted where it acts on any target.
    pub(crate) fn status(
        self,
        refused: Option<&Refusal>,
        problems: &[&Problem],
        others: &[Cond],
    ) -> Vec<AncestorStatus> {
        let ancestor = |(gateway, target): (NamespacedName, Target)| {
            let idle = target.idle.filter(|_| !target.acts);
            let accepted = match refused.cloned().or(idle) {
                Some(Refusal { reason, message }) => Cond::fails(CondKind::Accepted, reason, message),
                None => {
                    let message = with_notes("the policy acts", problems.iter().copied());
                    Cond::holds(CondKind::Accepted, ACCEPTED, message)
                }
            };
            AncestorStatus {
                ancestor_ref: ParentReference::gateway(gateway.namespace, gateway.name),
                conditions: [&[accepted], others].concat(),
            }
        };
        self.0.into_iter().take(MAX_ANCESTORS).map(ancestor).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_accepted_where_it_acts_on_any_target() {
        let gateways =
            |names: &[&str]| names.iter().map(|name| NamespacedName::new("infra", *name)).collect::<Vec<_>>();
        let idle = Refusal { reason: "TargetNotFound", message: "none".to_owned() };
        let mut ancestors = Ancestors::default();
        ancestors.add(gateways(&["a", "b"]).iter(), Some(&idle));
        ancestors.add(gateways(&["b"]).iter(), None);
        let told = |status: Vec<AncestorStatus>| -> Vec<_> {
            let reason = |ancestor: AncestorStatus| ancestor.conditions[0].reason;
            status.into_iter().map(reason).collect()
        };
        assert_eq!(told(ancestors.status(None, &[], &[])), ["TargetNotFound", "Accepted"]);
        let mut ancestors = Ancestors::default();
        ancestors.add(gateways(&["a"]).iter(), None);
        let refused = Refusal { reason: "Invalid", message: "broken".to_owned() };
        assert_eq!(told(ancestors.status(Some(&refused), &[], &[])), ["Invalid"]);
    }
}
