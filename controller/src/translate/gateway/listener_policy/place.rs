//! Place: the settings of a port and of the listeners that are served there, as the policies say.
//!
//! What acts before it is known which listener a client means belongs to the port. There a policy counts that covers
//! every listener of the port; one that covers only some would change what the others get.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use genkan_routing::model::{ListenerSettings, Protocol, ProxySettings};
use genkan_routing::name::HostPattern;
use genkan_routing::policy::client::ClientSettings;

use super::ListenerPolicies;
use super::effects::{Effects, Through};
use super::settings::{Field, Value};
use crate::resources::NamespacedName;
use crate::translate::gateway::naming;
use crate::translate::gateway::parent::ParentKey;
use crate::translate::gateway::policy::merge::{Said, decide, order};
use crate::translate::gateway::protocol::ListenerProtocol;

/// A listener that is served at a port.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    /// The object that has it.
    pub(crate) parent: ParentKey,
    /// The Gateway that this is, or belongs to.
    pub(crate) gateway: NamespacedName,
    /// Its name.
    pub(crate) listener: Arc<str>,
    /// What it speaks.
    pub(crate) protocol: ListenerProtocol,
    /// Which hosts it is for.
    pub(crate) hostname: HostPattern,
}

impl Member {
    /// As the status of a policy names it at its Gateway.
    fn place(&self, policy: &NamespacedName) -> Cow<'_, str> {
        match &self.parent {
            ParentKey::Gateway(_) => Cow::Borrowed(&*self.listener),
            ParentKey::ListenerSet(_) => Cow::Owned(self.told_in("", &policy.namespace)),
        }
    }

    /// What is told of it in a namespace: with its name, which `word` comes before, only in its own.
    fn told_in(&self, word: &str, namespace: &str) -> String {
        let name = self.parent.name();
        let parent = naming::told_in(namespace, self.parent.kind(), name);
        if *name.namespace == *namespace { format!("{word}{} of {parent}", self.listener) } else { parent }
    }
}

/// A port.
#[derive(Clone, Copy, Debug)]
pub(crate) struct At<'a> {
    /// As clients know it.
    pub(crate) number: u16,
    /// What is spoken there.
    pub(crate) protocol: Protocol,
    /// Whether Ingresses are served there as well.
    pub(crate) of_ingress: bool,
    /// The listeners that are served there.
    pub(crate) members: &'a [Member],
}

/// What policies say of a port. Nothing stands for the settings of the whole proxy.
#[derive(Clone, Debug, Default)]
pub(crate) struct Placed {
    /// Of the port.
    pub(crate) client: Option<Arc<ClientSettings>>,
    /// Whether connections begin with a PROXY header, if anything is said of it.
    pub(crate) proxy_protocol: Option<bool>,
    /// Of each of its listeners.
    pub(crate) listeners: Vec<Option<Arc<ListenerSettings>>>,
}

/// Gives ports and listeners their settings.
pub(crate) struct Placing<'a> {
    policies: &'a ListenerPolicies,
    global: &'a ProxySettings,
    effects: Effects,
    /// By what was decided, so that listeners of which the same is said share it.
    shared: BTreeMap<Vec<Id>, Arc<ListenerSettings>>,
}

/// A field, and who decides it: the policy, and whether it overrides.
type Id = (Field, NamespacedName, bool);

impl<'a> Placing<'a> {
    /// Settings as these policies say, else as the whole proxy's.
    pub(crate) fn new(policies: &'a ListenerPolicies, global: &'a ProxySettings) -> Self {
        Self { policies, global, effects: Effects::default(), shared: BTreeMap::new() }
    }

    /// What the policies did.
    pub(crate) fn into_effects(self) -> Effects {
        self.effects
    }

    /// The settings of a port and its listeners.
    pub(crate) fn port(&mut self, at: At<'_>) -> Placed {
        let mut placed = Placed { listeners: vec![None; at.members.len()], ..Placed::default() };
        let policies = self.policies;
        if policies.is_empty() {
            return placed;
        }
        let levels: Vec<_> = at
            .members
            .iter()
            .map(|member| policies.of_listener(&member.parent, &member.gateway, &member.listener))
            .collect();
        let said: Vec<_> = levels.iter().map(|levels| order(levels.iter())).collect();
        for (member, said) in at.members.iter().zip(&said) {
            for one in said {
                self.effects.reach(&Through { said: *one, gateway: &member.gateway });
            }
        }
        let mut of_port = Vec::new();
        for field in Field::OF_PORTS.into_iter().filter(|field| concerns_port(*field, at.protocol)) {
            of_port.extend(self.of_port(at, field, &said).map(|(id, value)| (field, id, value)));
        }
        if !of_port.is_empty() {
            let mut client = self.global.client.clone();
            of_port.iter().for_each(|(_, _, value)| value.set_client(&mut client));
            placed.client = Some(Arc::new(client));
        }
        placed.proxy_protocol = of_port.iter().find_map(|(_, _, value)| match value {
            Value::ProxyProtocol(required) => Some(*required),
            _ => None,
        });
        // Its PROXY header is waited for where the rest of it is dealt with.
        let timeouts = of_port.into_iter().filter(|(field, ..)| *field == Field::Timeouts);
        let timeouts: Vec<_> = timeouts.filter(|_| at.protocol == Protocol::Tcp).collect();
        for ((member, said), settings) in at.members.iter().zip(&said).zip(&mut placed.listeners) {
            *settings = self.of_listener(at, member, said, timeouts.clone());
        }
        placed
    }

    /// What is said of a field of a port by a policy that covers all of it.
    fn of_port<'s>(
        &mut self,
        at: At<'_>,
        field: Field,
        said: &[Vec<Said<'s, Field>>],
    ) -> Option<((NamespacedName, bool), &'s Value)> {
        let same = |one: &Said<'_, Field>, other: &Said<'_, Field>| {
            (one.policy, one.overrides) == (other.policy, other.overrides)
        };
        // A policy does not say everything everywhere: see `PolicyField::acts_on`.
        let covers = |one: &Said<'_, Field>, all: &[Said<'_, Field>]| {
            all.iter().any(|other| same(one, other) && other.says(field).is_some())
        };
        // The first listener that a policy does not cover. Where thousands are on a port all of them ask.
        let mut missed = BTreeMap::new();
        let mut misses = |one: &Said<'s, Field>| {
            *missed.entry((one.policy, one.overrides)).or_insert_with(|| {
                let at_member = said.iter().zip(at.members).find(|(all, _)| !covers(one, all));
                at_member.map(|(_, member)| member)
            })
        };
        let covering: Vec<_> = said
            .first()?
            .iter()
            .filter(|one| !at.of_ingress && one.says(field).is_some() && misses(one).is_none())
            .copied()
            .collect();
        let winner = covering.first();
        for (member, all) in at.members.iter().zip(said) {
            for one in all.iter().filter(|one| one.says(field).is_some()) {
                let through = Through { said: *one, gateway: &member.gateway };
                match winner {
                    Some(winner) if same(winner, one) => {
                        self.effects.acts(&through, field, &member.place(one.policy));
                    }
                    Some(winner) if covering.iter().any(|other| same(other, one)) => {
                        self.effects.loses(&through, field, winner);
                    }
                    _ => {
                        let why = whose(at, misses(one), one.policy);
                        self.effects.refused(&through, field, why);
                    }
                }
            }
        }
        let winner = winner?;
        Some(((winner.policy.clone(), winner.overrides), winner.says(field)?))
    }

    /// What is said of a listener, and of its port as far as it is dealt with here.
    fn of_listener(
        &mut self,
        at: At<'_>,
        member: &Member,
        said: &[Said<'_, Field>],
        of_port: Vec<(Field, (NamespacedName, bool), &Value)>,
    ) -> Option<Arc<ListenerSettings>> {
        let mut ids: Vec<Id> = Vec::new();
        let mut values = Vec::new();
        for (field, (policy, overrides), value) in of_port {
            ids.push((field, policy, overrides));
            values.push(value);
        }
        for field in Field::OF_LISTENERS.into_iter().filter(|field| concerns(*field, member.protocol)) {
            let Some(decided) = decide(said, field) else { continue };
            // Clients without a server name are the Ingresses'.
            if field == Field::Tls && at.of_ingress && member.hostname == HostPattern::Any {
                for one in said.iter().filter(|one| one.says(field).is_some()) {
                    let through = Through { said: *one, gateway: &member.gateway };
                    self.effects.refused(&through, field, whose(at, None, one.policy));
                }
                continue;
            }
            let through = Through { said: decided.winner, gateway: &member.gateway };
            self.effects.acts(&through, field, &member.place(through.said.policy));
            for loser in &decided.losers {
                self.effects.loses(&Through { said: *loser, gateway: &member.gateway }, field, &decided.winner);
            }
            ids.push((field, decided.winner.policy.clone(), decided.winner.overrides));
            values.push(decided.value);
        }
        if values.is_empty() {
            return None;
        }
        let global = self.global;
        let settings = self.shared.entry(ids).or_insert_with(|| Arc::new(settings(global, &values)));
        Some(Arc::clone(settings))
    }
}

fn settings(global: &ProxySettings, values: &[&Value]) -> ListenerSettings {
    let mut settings = ListenerSettings {
        forwarded: global.forwarded.clone(),
        access_log: global.access_log.clone(),
        stream: global.stream.clone(),
        tls: None,
    };
    for value in values {
        value.set_forwarded(&mut settings.forwarded);
        value.set_access_log(&mut settings.access_log);
        value.set_streams(&mut settings.stream);
        if let Value::Tls(tls) = value {
            settings.tls = Some(Arc::clone(tls));
        }
    }
    settings
}

/// Whose a port is besides, as the status of a policy tells it.
fn whose(at: At<'_>, other: Option<&Member>, policy: &NamespacedName) -> String {
    let number = at.number;
    match other {
        _ if at.of_ingress => format!("the Ingresses are served on port {number} too, as the ConfigMap says"),
        Some(other) => {
            let whose = other.told_in("listener ", &policy.namespace);
            format!("port {number} is that of {whose} too, which the policy does not cover")
        }
        None => format!("port {number} is that of others too"),
    }
}

/// Whether a field of ports says something of one that speaks this.
pub(super) fn concerns_port(field: Field, protocol: Protocol) -> bool {
    match protocol {
        Protocol::Http | Protocol::Https => true,
        Protocol::Tcp => field != Field::Http2,
        Protocol::Udp => false,
    }
}

/// Whether a field of listeners says something of one that speaks this.
fn concerns(field: Field, protocol: ListenerProtocol) -> bool {
    match field {
        Field::Tls => protocol.opens_tls(),
        Field::Forwarded => !protocol.is_stream(),
        Field::Streams => protocol.is_stream(),
        _ => true,
    }
}
