//! XBackendTrafficPolicies: what they say of a Service's clusters (session persistence and retry budget), and one unit of
//! work each that tells what of a policy does not act.
//!
//! A Service has at most one: the oldest, then the first by name. It acts whatever kind of route leads to the Service.

use std::sync::Arc;
use std::time::Duration;

use gateway_api::apis::experimental::xbackendtrafficpolicies::{
    XBackendTrafficPolicy, XBackendTrafficPolicyRetryConstraint, XBackendTrafficPolicyTargetRefs,
};
use genkan_routing::policy::affinity::Affinity;
use genkan_routing::policy::retry_budget::RetryBudget;

use super::affinity::{self, SessionOwner, SessionSpec};
use super::ancestors::Ancestors;
use super::due;
use super::findings::Findings;
use super::gateways::Refusal;
use super::reason::{CONFLICTED, INVALID, TARGET_NOT_FOUND, UNSUPPORTED_VALUE};
use super::status::Wanted;
use super::timing;
use super::users::Users;
use crate::resources::{Key, Kind, NamespacedName};
use crate::translate::assembly::{Batch, Contribution};
use crate::translate::memo::Memo;
use crate::translate::reader::{Dependency, Dirty, Reader};
use crate::translate::world::World;

/// What a policy says of the clusters of its Services.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TrafficPolicy {
    /// Keeps clients with one endpoint.
    pub(crate) affinity: Option<Arc<Affinity>>,
    /// Limits further attempts.
    pub(crate) retry_budget: Option<RetryBudget>,
}

/// The units of work, and what they gave last.
#[derive(Debug, Default)]
pub(crate) struct TrafficPolicies(Memo<NamespacedName, Contribution>);

impl TrafficPolicies {
    /// Redoes the units that `dirty` meets (all of them when `first`), and adds their changes to `batch`.
    pub(crate) fn update(&mut self, world: &World<'_>, users: &Users, first: bool, dirty: &Dirty, batch: &mut Batch) {
        for name in due(&self.0, Kind::XBackendTrafficPolicy, world, first, dirty) {
            batch.push(self.0.refresh(&name, world.reader(), |reader| {
                reader.is_served(Kind::XBackendTrafficPolicy, &name).then(|| read(&name, users, reader)).flatten()
            }));
        }
    }

    /// Whether any unit read this.
    pub(crate) fn is_read(&self, dependency: &Dependency) -> bool {
        self.0.is_read(dependency)
    }
}

/// What the policy of a Service says.
pub(crate) fn of_service(service: &NamespacedName, reader: &Reader<'_>) -> TrafficPolicy {
    match acting(service, reader) {
        Some((name, policy)) => parse(name, policy, &mut findings(name)),
        None => TrafficPolicy::default(),
    }
}

/// Says what became of a policy; `None` when it does not exist.
fn read(name: &NamespacedName, users: &Users, reader: &Reader<'_>) -> Option<Contribution> {
    let policy = reader.x_backend_traffic_policy(name)?;
    let mut findings = findings(name);
    parse(name, policy, &mut findings);
    let mut ancestors = Ancestors::default();
    for (index, target) in policy.spec.target_refs.iter().enumerate() {
        let idle = check_target(name, target, &format!("spec.targetRefs[{index}]"), reader, &mut findings);
        if is_service(target) {
            let service = NamespacedName::new(name.namespace.clone(), target.name.as_str());
            ancestors.add(users.of(&Key { kind: Kind::Service, name: service }, reader), idle.as_ref());
        }
    }
    ancestors.check(&mut findings);
    let problems = findings.into_problems();
    let ancestors = ancestors.status(None, &problems.iter().collect::<Vec<_>>(), &[]);
    let key = Key { kind: Kind::XBackendTrafficPolicy, name: name.clone() };
    let statuses = vec![(key, Arc::new(Wanted::Policy { ancestors }))];
    Some(Contribution { problems, statuses, ..Contribution::default() })
}

fn findings(name: &NamespacedName) -> Findings {
    Findings::new(Key { kind: Kind::XBackendTrafficPolicy, name: name.clone() }.object_ref())
}

/// The policy that acts on a Service.
fn acting<'a>(
    service: &NamespacedName,
    reader: &Reader<'a>,
) -> Option<(&'a NamespacedName, &'a Arc<XBackendTrafficPolicy>)> {
    if !reader.is_watched(&service.namespace) {
        return None;
    }
    let policies = reader.x_backend_traffic_policies_of(service);
    // Objects from files have no time; they count as older than any that has one.
    policies.min_by_key(|(name, policy)| (policy.metadata.creation_timestamp.as_ref().map(|time| time.0), *name))
}

/// The Services that a policy targets.
pub(crate) fn services(policy: &XBackendTrafficPolicy) -> impl Iterator<Item = &str> {
    policy.spec.target_refs.iter().filter(|target| is_service(target)).map(|target| target.name.as_str())
}

fn is_service(target: &XBackendTrafficPolicyTargetRefs) -> bool {
    target.group.is_empty() && target.kind == "Service"
}

/// Why the policy does not act on what it targets.
fn check_target(
    name: &NamespacedName,
    target: &XBackendTrafficPolicyTargetRefs,
    field: &str,
    reader: &Reader<'_>,
    findings: &mut Findings,
) -> Option<Refusal> {
    let mut refuse = |reason, message: String, mend: &str| {
        findings.error(field, reason, message.clone(), mend);
        Some(Refusal { reason, message })
    };
    if !is_service(target) {
        let message = format!("the policy does not act on {} {}", target.kind, target.name);
        return refuse(INVALID, message, "name a Service");
    }
    let service = NamespacedName::new(name.namespace.clone(), target.name.as_str());
    if reader.service(&service).is_none() {
        return refuse(TARGET_NOT_FOUND, format!("Service {service} does not exist"), "create it, or name another");
    }
    let (winner, _) = acting(&service, reader).filter(|(winner, _)| *winner != name)?;
    let message = format!("XBackendTrafficPolicy {winner} is older and acts on Service {service} instead");
    refuse(CONFLICTED, message, "join both into one policy")
}

fn parse(name: &NamespacedName, policy: &XBackendTrafficPolicy, findings: &mut Findings) -> TrafficPolicy {
    let id = format!("xbackendtrafficpolicy/{name}");
    let owner = SessionOwner { id: &id, uid: policy.metadata.uid.as_deref(), path_of_match: false };
    let sessions = policy.spec.session_persistence.as_ref().map(SessionSpec::from);
    let constraint = policy.spec.retry_constraint.as_ref();
    TrafficPolicy {
        affinity: sessions.map(|spec| affinity::affinity(spec, owner, "spec.sessionPersistence", findings)),
        retry_budget: constraint.map(|spec| budget(spec, findings)),
    }
}

/// A budget; what is not understood is reported and as if it were not written.
fn budget(spec: &XBackendTrafficPolicyRetryConstraint, findings: &mut Findings) -> RetryBudget {
    let mut budget = RetryBudget::default();
    let share = spec.budget.as_ref();
    if let Some(percent) = share.and_then(|share| share.percent) {
        match u8::try_from(percent) {
            Ok(percent @ 0..=100) => budget.percent = percent,
            _ => bad("budget.percent", format!("{percent} is no percentage"), "write 0 to 100", findings),
        }
    }
    if let Some(interval) = interval(share.and_then(|share| share.interval.as_ref()), "budget", findings) {
        budget.interval = interval;
    }
    let floor = spec.min_retry_rate.as_ref();
    if let Some(count) = floor.and_then(|floor| floor.count) {
        match u32::try_from(count) {
            Ok(count) => budget.floor = count,
            Err(_) => {
                bad("minRetryRate.count", format!("{count} is no number of retries"), "write 0 or more", findings)
            }
        }
    }
    if let Some(interval) = interval(floor.and_then(|floor| floor.interval.as_ref()), "minRetryRate", findings) {
        budget.floor_interval = interval;
    }
    budget
}

fn interval(text: Option<&String>, part: &str, findings: &mut Findings) -> Option<Duration> {
    let field = format!("spec.retryConstraint.{part}.interval");
    let interval = timing::duration(text, &field, findings);
    if interval.is_none() && text.is_some_and(|text| timing::is_zero(text)) {
        let message = "nothing can be counted in no time; the default is used";
        findings.warning(field, UNSUPPORTED_VALUE, message, "write 1s or more");
    }
    interval
}

fn bad(field: &str, message: String, mend: &str, findings: &mut Findings) {
    let message = format!("{message}; the default is used");
    findings.error(format!("spec.retryConstraint.{field}"), UNSUPPORTED_VALUE, message, mend);
}
