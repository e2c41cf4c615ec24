//! Hold: what a policy says of a port that nobody who comes to the port later may undo.

use std::sync::Arc;

use genkan_routing::model::Protocol;

use super::ListenerPolicies;
use super::place::concerns_port;
use super::settings::Field;
use crate::resources::NamespacedName;
use crate::translate::gateway::parent::ParentKey;
use crate::translate::gateway::policy::fields::PolicyField as _;
use crate::translate::gateway::policy::merge::order;
use crate::translate::gateway::rank::RouteAge;

/// Something that a policy says of a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hold {
    /// Who says it.
    pub(crate) policy: NamespacedName,
    field: Field,
    overrides: bool,
    age: RouteAge,
}

impl Hold {
    /// What it says something of.
    pub(crate) fn field(&self) -> &'static str {
        self.field.as_str()
    }

    /// Whether it was said before something of this age came.
    pub(crate) fn is_before(&self, age: &RouteAge) -> bool {
        self.age.was_there_for(age)
    }
}

impl ListenerPolicies {
    /// What is said of a listener's port that others may not undo.
    pub(crate) fn holds(
        &self,
        (parent, gateway, listener): (&ParentKey, &NamespacedName, &Arc<str>),
        protocol: Protocol,
    ) -> Vec<Hold> {
        let levels = self.of_listener(parent, gateway, listener);
        let mut holds = Vec::new();
        for one in order(levels.iter()) {
            let fields =
                Field::OF_PORTS.into_iter().filter(|field| field.keeps_port() && concerns_port(*field, protocol));
            for field in fields.filter(|field| one.says(*field).is_some()) {
                let (policy, age) = (one.policy.clone(), one.age.clone());
                holds.push(Hold { policy, field, overrides: one.overrides, age });
            }
        }
        holds
    }
}
