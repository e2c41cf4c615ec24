//! Holding: who keeps a port for what a ListenerPolicy says of it.
//!
//! `proxyProtocol` and `limits` act where the policy covers every listener of the port. A listener of somebody else that
//! comes later would switch them off for all of it, and the older Gateway's clients would be served as nobody meant, or not
//! at all. So whoever came first with a policy keeps the port, and what the policy does not cover is not served there.

use std::collections::BTreeSet;

use crate::resources::Kind;
use crate::translate::gateway::listener_policy::Hold;
use crate::translate::gateway::naming::told_in;
use crate::translate::gateway::parent::ParentKey;
use crate::translate::gateway::port::Obstacle;
use crate::translate::gateway::rank::RouteAge;
use crate::translate::gateway::reason::PORT_UNAVAILABLE;

/// A listener that is to be served at a port.
#[derive(Clone, Debug)]
pub(super) struct Newcomer<'a> {
    /// The object that has it.
    pub(super) parent: &'a ParentKey,
    /// That object's age.
    pub(super) age: &'a RouteAge,
    /// What policies say there that nobody may undo.
    pub(super) holds: Vec<Hold>,
}

/// What policies say of a port that cover all listeners so far.
#[derive(Debug, Default)]
pub(in crate::translate::gateway) struct Holding {
    parents: BTreeSet<ParentKey>,
    holds: Vec<Hold>,
}

impl Holding {
    /// Takes a listener in, unless it would undo what was said before it came.
    pub(super) fn join(&mut self, newcomer: Newcomer<'_>, port: u16) -> Result<(), Obstacle> {
        let Newcomer { parent, age, holds } = newcomer;
        if self.parents.is_empty() {
            self.holds = holds;
        } else {
            // Who does not cover the own listeners undoes nobody else's.
            let is_known = self.parents.contains(parent);
            let undone = self.holds.iter().find(|hold| !is_known && !holds.contains(hold) && hold.is_before(age));
            if let Some(hold) = undone {
                let policy = told_in(&parent.name().namespace, Kind::ListenerPolicy.as_str(), &hold.policy);
                let field = hold.field();
                let message = format!("{policy} came first and says {field} of port {port}, not of this listener");
                let mend = "use another port, or let the policy cover the listener";
                return Err(Obstacle { field: "port", reason: PORT_UNAVAILABLE, message, mend });
            }
            self.holds.retain(|hold| holds.contains(hold));
        }
        self.parents.insert(parent.clone());
        Ok(())
    }
}
