//! BackendTLSPolicies: what they ask of TLS towards a Service's endpoints, and one unit of work each that says what
//! became of the policy.
//!
//! A port of a Service has at most one. One that names the port goes before one for the whole Service, then the oldest
//! wins, then the first by name. It acts on requests whatever kind of route leads to the Service, unless an annotation
//! says what its endpoints speak, and on what TLS carried that ended here; other bytes are passed on as they came. One
//! that is broken wins as well: then nothing is sent to the endpoints, as nobody knows whom to trust.

use std::sync::Arc;

use gateway_api::apis::standard::backendtlspolicies::{BackendTlsPolicy, BackendTlsPolicyTargetRefs};
use genkan_routing::model::{UpstreamTls, Verify};
use k8s_openapi::api::core::v1::ServicePort;

use super::ancestors::Ancestors;
use super::due;
use super::findings::Findings;
use super::gateways::Refusal;
use super::reason::{CONFLICTED, INVALID, RESOLVED_REFS, TARGET_NOT_FOUND, UNSUPPORTED_VALUE};
use super::status::{Cond, CondKind, Wanted};
use super::users::Users;
use super::validation::{Owner, Validation};
use crate::resources::{Key, Kind, NamespacedName};
use crate::translate::assembly::{Batch, Contribution};
use crate::translate::cluster::{ClusterSpec, Shown};
use crate::translate::memo::Memo;
use crate::translate::reader::{Dependency, Dirty, Reader};
use crate::translate::world::World;

/// The units of work, and what they gave last.
#[derive(Debug, Default)]
pub(crate) struct BackendTlsPolicies(Memo<NamespacedName, Contribution>);

impl BackendTlsPolicies {
    /// Redoes the units that `dirty` meets (all of them when `first`), and adds their changes to `batch`.
    pub(crate) fn update(&mut self, world: &World<'_>, users: &Users, first: bool, dirty: &Dirty, batch: &mut Batch) {
        for name in due(&self.0, Kind::BackendTlsPolicy, world, first, dirty) {
            batch.push(self.0.refresh(&name, world.reader(), |reader| {
                reader.is_served(Kind::BackendTlsPolicy, &name).then(|| read(&name, users, reader)).flatten()
            }));
        }
    }

    /// Whether any unit read this.
    pub(crate) fn is_read(&self, dependency: &Dependency) -> bool {
        self.0.is_read(dependency)
    }
}

/// What a policy asks for.
struct Parsed {
    server_name: Option<Arc<str>>,
    verify: Verify,
    /// Why nothing is sent, if so: `Accepted` is false.
    refused: Option<Refusal>,
    /// The first reference that leads to no authority: `ResolvedRefs` is false.
    unresolved: Option<Refusal>,
}

/// TLS towards a port of a Service, if a policy asks for it.
pub(crate) fn of_port(
    service: &NamespacedName,
    port: Option<&ServicePort>,
    shown: &Shown,
    reader: &Reader<'_>,
) -> Option<UpstreamTls> {
    let port = port.and_then(|port| port.name.as_deref()).filter(|name| !name.is_empty());
    let named = port.and_then(|port| acting(service, Some(port), reader));
    let (name, policy) = named.or_else(|| acting(service, None, reader))?;
    let Parsed { server_name, verify, .. } = parse(name, policy, reader, &mut findings(name));
    let (verify, client) = match (verify, shown) {
        (verify, Shown::Nothing) => (verify, None),
        (verify, Shown::Certificate(certificate)) => (verify, Some(certificate.clone())),
        (Verify::Refused(why), Shown::Broken) => (Verify::Refused(why), None),
        (_, Shown::Broken) => (Verify::Refused("the client certificate of the Gateway can't be used".into()), None),
    };
    Some(UpstreamTls { server_name, verify, client })
}

/// Whether a policy names the Service of a cluster. It may be for another port of it.
pub(crate) fn is_for(spec: &ClusterSpec, reader: &Reader<'_>) -> bool {
    let Some(service) = spec.service_name().filter(|service| reader.is_watched(&service.namespace)) else {
        return false;
    };
    reader.backend_tls_policies_of(&service).next().is_some()
}

/// The Services that a policy targets.
pub(crate) fn services(policy: &BackendTlsPolicy) -> impl Iterator<Item = &str> {
    policy.spec.target_refs.iter().filter(|target| is_service(target)).map(|target| target.name.as_str())
}

/// The policy that acts on a port of a Service, by the port's name, or on its other ports.
fn acting<'a>(
    service: &NamespacedName,
    port: Option<&str>,
    reader: &Reader<'a>,
) -> Option<(&'a NamespacedName, &'a Arc<BackendTlsPolicy>)> {
    if !reader.is_watched(&service.namespace) {
        return None;
    }
    let targets = |policy: &BackendTlsPolicy| {
        let same = |target: &BackendTlsPolicyTargetRefs| *target.name == *service.name && section(target) == port;
        policy.spec.target_refs.iter().any(|target| is_service(target) && same(target))
    };
    let policies = reader.backend_tls_policies_of(service).filter(|(_, policy)| targets(policy));
    // Objects from files have no time; they count as older than any that has one.
    policies.min_by_key(|(name, policy)| (policy.metadata.creation_timestamp.as_ref().map(|time| time.0), *name))
}

fn is_service(target: &BackendTlsPolicyTargetRefs) -> bool {
    target.group.is_empty() && target.kind == "Service"
}

fn section(target: &BackendTlsPolicyTargetRefs) -> Option<&str> {
    target.section_name.as_deref().filter(|name| !name.is_empty())
}

fn findings(name: &NamespacedName) -> Findings {
    Findings::new(Key { kind: Kind::BackendTlsPolicy, name: name.clone() }.object_ref())
}

/// Says what became of a policy; `None` when it does not exist.
fn read(name: &NamespacedName, users: &Users, reader: &Reader<'_>) -> Option<Contribution> {
    let policy = reader.backend_tls_policy(name)?;
    let mut findings = findings(name);
    let parsed = parse(name, policy, reader, &mut findings);
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
    let unresolved = parsed.unresolved.as_ref().map(|refusal| refusal.reason);
    let notes: Vec<_> = problems.iter().filter(|problem| Some(problem.reason) != unresolved).collect();
    let resolved = condition(CondKind::ResolvedRefs, RESOLVED_REFS, "all references are resolved", parsed.unresolved);
    let ancestors = ancestors.status(parsed.refused.as_ref(), &notes, &[resolved]);
    let key = Key { kind: Kind::BackendTlsPolicy, name: name.clone() };
    let statuses = vec![(key, Arc::new(Wanted::Policy { ancestors }))];
    Some(Contribution { problems, statuses, ..Contribution::default() })
}

fn condition(kind: CondKind, reason: &'static str, message: &'static str, failed: Option<Refusal>) -> Cond {
    match failed {
        Some(Refusal { reason, message }) => Cond::fails(kind, reason, message),
        None => Cond::holds(kind, reason, message),
    }
}

/// Why the policy does not act on a Service that it targets.
fn check_target(
    name: &NamespacedName,
    target: &BackendTlsPolicyTargetRefs,
    field: &str,
    reader: &Reader<'_>,
    findings: &mut Findings,
) -> Option<Refusal> {
    if !is_service(target) {
        let message = format!("the policy does not act on {} {}", target.kind, target.name);
        findings.error(field, INVALID, message, "name a Service");
        return None;
    }
    let mut refuse = |field: String, reason, message: String, mend: &str| {
        findings.error(field, reason, message.clone(), mend);
        Some(Refusal { reason, message })
    };
    let service = NamespacedName::new(name.namespace.clone(), target.name.as_str());
    let Some(found) = reader.service(&service) else {
        let message = format!("Service {service} does not exist");
        return refuse(field.to_owned(), TARGET_NOT_FOUND, message, "create it, or name another");
    };
    let section = section(target);
    if let Some(section) = section
        && !found.ports.iter().any(|port| port.name.as_deref() == Some(section))
    {
        let message = format!("Service {service} has no port with the name {section}");
        return refuse(format!("{field}.sectionName"), TARGET_NOT_FOUND, message, "write the name of a port");
    }
    let (winner, _) = acting(&service, section, reader).filter(|(winner, _)| *winner != name)?;
    let message = format!("BackendTLSPolicy {winner} comes first and acts on Service {service} instead");
    refuse(field.to_owned(), CONFLICTED, message, "join both into one policy")
}

fn parse(name: &NamespacedName, policy: &BackendTlsPolicy, reader: &Reader<'_>, findings: &mut Findings) -> Parsed {
    for option in policy.spec.options.iter().flatten().map(|(key, _)| key) {
        let message = format!("the option {option} is not known and has no effect");
        findings.warning(format!("spec.options[{option}]"), UNSUPPORTED_VALUE, message, "");
    }
    let (id, namespace) = (&*name.to_string(), &name.namespace);
    let owner = Owner { id, namespace, field: "spec.validation", closed: "nothing is sent to the endpoints" };
    let Validation { server_name, trust, unresolved } = owner.read(&policy.spec.validation, reader, findings);
    match trust {
        Ok(trust) => Parsed { server_name, verify: Verify::Trust(reader.made_once(trust)), refused: None, unresolved },
        Err(refusal) => {
            let verify = Verify::Refused(format!("BackendTLSPolicy {name}: {}", refusal.message).into());
            Parsed { server_name, verify, refused: Some(refusal), unresolved }
        }
    }
}
