//! Apply: a rule and its clusters with what policies say of them. It ends in the same filters and settings that
//! annotations give to Ingresses.

use std::collections::BTreeMap;
use std::sync::Arc;

use genkan_policies::AffinitySettings;
use genkan_routing::model::{Action, Deny, Filter, Filters, Forward, Rule};
use genkan_routing::name::{ObjectRef, RuleId};
use genkan_routing::policy::affinity::Affinity;
use genkan_routing::policy::health::Counted;

use super::Lookup;
use super::acts::Noting;
use super::merge::{Decided, Level, Said, decide, order};
use super::settings::{Field, Limits, Value};
use super::target::Target;
use crate::resources::{Key, Kind, NamespacedName};
use crate::translate::cluster::{ClusterSpec, Sessions};
use crate::translate::gateway::affinity::{self, SessionOwner, SessionSpec};
use crate::translate::gateway::findings::Findings;
use crate::translate::gateway::timing;
use crate::translate::reader::Dependency;

/// What policies need to know of a rule.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hooks {
    /// Its `name`.
    pub(crate) name: Option<Arc<str>>,
    /// Its place in the route.
    pub(crate) index: usize,
    /// The policies that its filters name.
    pub(crate) references: Vec<NamespacedName>,
    /// What it says itself.
    pub(crate) own: Own,
}

/// What a rule says itself, so that no default counts.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Own {
    /// `timeouts.request`.
    pub(crate) request: bool,
    /// `timeouts.backendRequest`.
    pub(crate) backend_request: bool,
    /// `retry`.
    pub(crate) retry: bool,
    /// `sessionPersistence`.
    pub(crate) session: bool,
}

/// A rule to which policies are applied.
pub(crate) struct Subject<'a> {
    /// The rule.
    pub(crate) rule: &'a mut Rule,
    /// Its id on whatever listeners.
    pub(crate) id: &'a RuleId,
    /// Its backends' clusters.
    pub(crate) clusters: &'a mut [ClusterSpec],
    /// Those of whom else it speaks to: mirrors, and services that are asked about requests. What is said of the route's
    /// endpoints is not about them.
    pub(crate) aside: &'a mut [ClusterSpec],
    /// The cluster of the service that policies ask about its requests.
    pub(crate) asked: Option<&'a mut ClusterSpec>,
    /// What it says itself.
    pub(crate) own: Own,
    /// `metadata.uid` of its route.
    pub(crate) uid: Option<&'a str>,
}

/// The fields that become filters.
const FILTERS: [Field; 7] = [
    Field::BodySize,
    Field::RateLimit,
    Field::ConnectionLimit,
    Field::IpAccess,
    Field::BasicAuth,
    Field::ExternalAuth,
    Field::Compression,
];

/// Applies what is said at these levels, from the Gateway's down to the rule's, and at the Services of the clusters.
pub(crate) fn apply(subject: Subject<'_>, levels: &[&Level], policies: Lookup<'_>, noting: &mut Noting<'_>) {
    let [services, aside] = [&subject.clusters, &subject.aside]
        .map(|specs| specs.iter().map(|spec| policies.of_service(spec)).collect::<Vec<_>>());
    if levels.is_empty() && services.iter().chain(&aside).all(Option::is_none) {
        return;
    }
    noting.pass(levels.iter().copied().chain(services.iter().chain(&aside).flatten()));
    let said = order(levels.iter().copied());
    add_filters(subject.rule, &said, noting);
    for (spec, service) in subject.aside.iter_mut().zip(&aside) {
        set_endpoints(spec, &order(service.iter()), noting);
    }
    if let Some(spec) = subject.asked {
        let service = policies.of_service(spec);
        noting.pass(service.iter());
        set_endpoints(spec, &order(service.iter()), noting);
    }
    let Action::Forward(forward) = &mut subject.rule.action else { return };
    set_timing(forward, subject.own, &said, noting);
    set_buffering(forward, &said, noting);
    let said: Vec<_> = services.iter().map(|service| order(levels.iter().copied().chain(service))).collect();
    for (spec, said) in subject.clusters.iter_mut().zip(&said) {
        set_endpoints(spec, said, noting);
    }
    let decided: Vec<_> = said.iter().map(|said| decide(said, Field::Affinity)).collect();
    let of_rule = OfRule { own: subject.own.session, id: subject.id, uid: subject.uid };
    set_sessions(forward, subject.clusters, &decided, (of_rule, policies), noting);
}

fn add_filters(rule: &mut Rule, said: &[Said<'_>], noting: &mut Noting<'_>) {
    let mut filters = Vec::new();
    for field in FILTERS {
        let Some(decided) = decide(said, field) else { continue };
        noting.decided(field, &decided);
        match decided.value {
            Value::RateLimit { rates, status } => {
                filters.extend(rates.limits(&decided.winner.id(), *status).into_iter().map(Filter::RateLimit));
            }
            Value::ConnectionLimit { max, status, exempt } => {
                let limit = genkan_annotations::connection_limit(&decided.winner.id(), *max, *status, exempt);
                filters.extend(limit.map(Filter::ConnectionLimit));
            }
            Value::BodySize(limit) => filters.extend(limit.map(Filter::BodyLimit)),
            Value::IpAccess(access) => filters.extend(access.clone().map(Filter::IpAccess)),
            Value::BasicAuth(users) => filters.extend(users.clone().map(Filter::BasicAuth)),
            Value::Compression(compression) => filters.extend(compression.clone().map(Filter::Compression)),
            Value::Closed(why) => {
                let reason = format!("RoutePolicy {}: {why}", decided.winner.policy);
                filters.push(Filter::Deny(Deny { status: 503, reason }));
            }
            // Whoever knows its cluster asks it.
            Value::ExternalAuth(_)
            | Value::Timeouts(_)
            | Value::Buffering(_)
            | Value::Affinity(_)
            | Value::LoadBalancing(_)
            | Value::HealthCheck(_)
            | Value::CircuitBreaking(_)
            | Value::Retries(_) => {}
        }
    }
    if !filters.is_empty() {
        rule.filters = Filters::sorted(rule.filters.iter().cloned().chain(filters).collect());
    }
}

/// What is said of a Service's endpoints.
fn set_endpoints(spec: &mut ClusterSpec, said: &[Said<'_>], noting: &mut Noting<'_>) {
    for field in [Field::LoadBalancing, Field::HealthCheck, Field::CircuitBreaking] {
        let Some(decided) = decide(said, field) else { continue };
        noting.decided(field, &decided);
        let id: Arc<str> = decided.winner.id().into();
        match decided.value {
            Value::LoadBalancing(balance) => spec.load_balance = balance.clone(),
            Value::HealthCheck(health) => spec.health = health.clone().map(|policy| Counted { id, policy }),
            Value::CircuitBreaking(breaker) => spec.circuit_breaker = breaker.map(|policy| Counted { id, policy }),
            _ => {}
        }
    }
}

fn set_timing(forward: &mut Forward, own: Own, said: &[Said<'_>], noting: &mut Noting<'_>) {
    if let Some(decided) = decide(said, Field::Timeouts)
        && let Value::Timeouts(limits) = decided.value
    {
        let defaults = !decided.winner.overrides;
        let kept = (defaults && own.request, defaults && own.backend_request);
        let in_vain = kept.0 && limits.request.is_some() || kept.1 && limits.backend_request.is_some();
        set_timeouts(forward, limits, kept);
        noting.decided(Field::Timeouts, &decided);
        if in_vain {
            noting.decided_by_route(Field::Timeouts, &decided);
        }
        if !own.retry {
            Arc::make_mut(&mut forward.retry).on_timeout = forward.timeouts.backend_request.is_none();
        }
    }
    if let Some(decided) = decide(said, Field::Retries)
        && let Value::Retries(retry) = decided.value
    {
        if own.retry && !decided.winner.overrides {
            return noting.decided_by_route(Field::Retries, &decided);
        }
        noting.decided(Field::Retries, &decided);
        forward.retry = Arc::clone(retry);
    }
}

fn set_buffering(forward: &mut Forward, said: &[Said<'_>], noting: &mut Noting<'_>) {
    if let Some(decided) = decide(said, Field::Buffering)
        && let Value::Buffering(buffering) = decided.value
    {
        noting.decided(Field::Buffering, &decided);
        forward.buffering = *buffering;
    }
}

/// `kept` is whether the route's own `request` and `backendRequest` stay.
fn set_timeouts(forward: &mut Forward, limits: &Limits, kept: (bool, bool)) {
    let timeouts = Arc::make_mut(&mut forward.timeouts);
    timeouts.connect = limits.connect.unwrap_or(timeouts.connect);
    timeouts.send = limits.send.unwrap_or(timeouts.send);
    if let Some(request) = limits.request.filter(|_| !kept.0) {
        timeouts.request = request;
    }
    if let Some(request) = limits.backend_request.filter(|_| !kept.1) {
        timeouts.backend_request = request;
    }
    match limits.read {
        Some(read) => timeouts.read = read,
        None => timing::outlast(timeouts),
    }
}

/// A rule, for its sessions.
#[derive(Clone, Copy)]
struct OfRule<'a> {
    /// Whether it says itself what they are.
    own: bool,
    id: &'a RuleId,
    uid: Option<&'a str>,
}

/// Sessions are of the rule, whatever backend gets its first request, unless a Service has its own: then each backend has
/// what is decided for it.
fn set_sessions(
    forward: &mut Forward,
    clusters: &mut [ClusterSpec],
    decided: &[Option<Decided<'_>>],
    (rule, policies): (OfRule<'_>, Lookup<'_>),
    noting: &mut Noting<'_>,
) {
    let acts = |decided: &&Decided<'_>| !rule.own || decided.winner.overrides;
    for decided in decided.iter().flatten() {
        match acts(&decided) {
            true => noting.decided(Field::Affinity, decided),
            false => noting.decided_by_route(Field::Affinity, decided),
        }
    }
    let acting = || decided.iter().map(|decided| decided.as_ref().filter(acts));
    if acting().flatten().any(is_of_service) {
        let own = forward.affinity.take();
        for (spec, decided) in clusters.iter_mut().zip(acting()) {
            match (decided, &own) {
                (Some(decided), _) if is_of_service(decided) => spec.sessions = sessions(decided, policies),
                (Some(decided), _) => spec.sessions = kept(rule.sessions(decided)),
                (None, Some(own)) => spec.sessions = kept(Some((rule.id.as_str().into(), Arc::clone(own)))),
                (None, None) => {}
            }
        }
        return;
    }
    // All clusters have the same levels above their Services, so that the first speaks for all.
    let Some(decided) = acting().flatten().next() else { return };
    forward.affinity = rule.sessions(decided).map(|(_, affinity)| affinity);
    if matches!(decided.value, Value::Affinity(None)) {
        clusters.iter_mut().for_each(|spec| spec.sessions = Sessions::Off);
    }
}

impl OfRule<'_> {
    /// The rule's sessions as a policy above Services says, and what sets them apart. Which other listeners the route has
    /// must not matter, or clients would lose their sessions as they come and go; so the id is not the rule's own.
    fn sessions(&self, decided: &Decided<'_>) -> Option<(Arc<str>, Arc<Affinity>)> {
        let Value::Affinity(Some(settings)) = decided.value else { return None };
        let target = &decided.winner.target;
        let id = match target.object.kind {
            Kind::HttpRoute | Kind::GrpcRoute => self.id.to_string(),
            _ => format!("{}+{}", self.id, target.path()),
        };
        let affinity = affinity_of(settings, SessionOwner { id: &id, uid: self.uid, path_of_match: true })?;
        Some((id.into(), affinity))
    }
}

fn is_of_service(decided: &Decided<'_>) -> bool {
    decided.winner.target.object.kind == Kind::Service
}

fn kept(by: Option<(Arc<str>, Arc<Affinity>)>) -> Sessions {
    by.map_or(Sessions::Off, |(id, affinity)| Sessions::By { id, affinity })
}

/// The sessions of a cluster of its own.
fn sessions(decided: &Decided<'_>, policies: Lookup<'_>) -> Sessions {
    let Value::Affinity(Some(settings)) = decided.value else { return Sessions::Off };
    let id = decided.winner.id();
    let uid = policies.all.uid(decided.winner.policy);
    let affinity = affinity_of(settings, SessionOwner { id: &id, uid: uid.as_deref(), path_of_match: false });
    kept(affinity.map(|affinity| (id.as_str().into(), affinity)))
}

/// What is wrong with it was told where it was read.
fn affinity_of(settings: &AffinitySettings, owner: SessionOwner<'_>) -> Option<Arc<Affinity>> {
    let spec = SessionSpec::of_policy(settings)?;
    let mut told = Findings::new(ObjectRef::new("RoutePolicy", "", ""));
    Some(affinity::affinity(spec, owner, "", &mut told))
}

impl Lookup<'_> {
    /// What is said of a rule in particular: of its route, then of itself.
    pub(crate) fn of_rule(self, route: &Key, hooks: &Hooks) -> Vec<Level> {
        let Self { all, reader } = self;
        reader.note(Dependency::Object(route.clone()));
        for name in &hooks.references {
            reader.note(Dependency::Object(Key { kind: Kind::RoutePolicy, name: name.clone() }));
        }
        if all.is_empty() {
            return Vec::new();
        }
        let whole = Target::whole(route.kind, route.name.clone());
        // No name can be like that.
        let section = hooks.name.clone().unwrap_or_else(|| format!("rules[{}]", hooks.index).into());
        let part = Target { section: Some(section), ..whole.clone() };
        let named = if hooks.name.is_some() { all.at(&part) } else { &[] };
        let mut policies: BTreeMap<_, _> =
            named.iter().map(|(name, policy)| (policy.age.clone(), (name.clone(), policy.clone()))).collect();
        for reference in &hooks.references {
            if let Some((name, policy)) = all.named(reference) {
                policies.insert(policy.age.clone(), (name.clone(), policy));
            }
        }
        let levels = [all.level(whole), Some(Level { target: part, policies: policies.into_values().collect() })];
        levels.into_iter().flatten().filter(|level| !level.policies.is_empty()).collect()
    }

    /// What is said of a cluster's Service.
    fn of_service(self, spec: &ClusterSpec) -> Option<Level> {
        let service = Target::whole(Kind::Service, spec.service_name()?);
        self.reader.note(Dependency::Object(service.object.clone()));
        self.all.level(service)
    }
}
