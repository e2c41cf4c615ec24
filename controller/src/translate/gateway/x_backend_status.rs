//! XBackends: one unit of work each, which says at which Gateways it gets requests and what of it does not act. What it
//! means for a route is the business of [`x_backend`](super::x_backend).

use std::sync::Arc;

use super::backend::Invalid;
use super::due;
use super::findings::Findings;
use super::gateways::Refusal;
use super::notes::with_notes;
use super::reason::{ACCEPTED, RESOLVED_REFS, UNSUPPORTED_PROTOCOL, UNSUPPORTED_VALUE};
use super::status::{Cond, CondKind, ParentReference, ParentStatus, Wanted};
use super::users::Users;
use super::x_backend::{self, CLOSED};
use super::x_backend_tls::{self, Tls};
use crate::resources::{Key, Kind, NamespacedName, XBackend};
use crate::translate::assembly::{Batch, Contribution};
use crate::translate::memo::Memo;
use crate::translate::reader::{Dependency, Dirty, Reader};
use crate::translate::world::World;

/// The words of `protocol` that some route can use.
const PROTOCOLS: [&str; 6] = ["TCP", "HTTP", "HTTP11", "HTTP2", "H2C", "GRPC"];

/// The units of work, and what they gave last.
#[derive(Debug, Default)]
pub(crate) struct XBackends(Memo<NamespacedName, Contribution>);

impl XBackends {
    /// Redoes the units that `dirty` meets (all of them when `first`), and adds their changes to `batch`.
    pub(crate) fn update(&mut self, world: &World<'_>, users: &Users, first: bool, dirty: &Dirty, batch: &mut Batch) {
        for name in due(&self.0, Kind::XBackend, world, first, dirty) {
            batch.push(self.0.refresh(&name, world.reader(), |reader| {
                reader.is_served(Kind::XBackend, &name).then(|| read(&name, users, reader)).flatten()
            }));
        }
    }

    /// Whether any unit read this.
    pub(crate) fn is_read(&self, dependency: &Dependency) -> bool {
        self.0.is_read(dependency)
    }
}

/// Says what became of a backend; `None` when it does not exist.
fn read(name: &NamespacedName, users: &Users, reader: &Reader<'_>) -> Option<Contribution> {
    let backend = reader.x_backend(name)?;
    let key = Key { kind: Kind::XBackend, name: name.clone() };
    let mut findings = Findings::new(key.object_ref());
    let refused = refusal(name, backend).inspect_err(|Refusal { reason, message }| {
        findings.error("spec", reason, format!("{message}; {CLOSED}"), "");
    });
    let Tls { settings, unresolved } = x_backend_tls::read(name, &backend.spec, reader, &mut findings);
    check_idle_fields(backend, &mut findings);
    let problems = findings.into_problems();
    let told_there = unresolved.as_ref().map(|refusal| refusal.reason);
    let accepted = match refused.and(settings) {
        Err(Refusal { reason, message }) => Cond::fails(CondKind::Accepted, reason, message),
        Ok(_) => {
            let notes = problems.iter().filter(|problem| Some(problem.reason) != told_there);
            Cond::holds(CondKind::Accepted, ACCEPTED, with_notes("the backend gets requests", notes))
        }
    };
    let resolved = x_backend_tls::refers(&backend.spec).then(|| match unresolved {
        Some(Refusal { reason, message }) => Cond::fails(CondKind::ResolvedRefs, reason, message),
        None => Cond::holds(CondKind::ResolvedRefs, RESOLVED_REFS, "all references are resolved"),
    });
    let conditions: Vec<_> = [accepted].into_iter().chain(resolved).collect();
    let parent = |gateway: &NamespacedName| ParentStatus {
        parent_ref: ParentReference::gateway(gateway.namespace.clone(), gateway.name.clone()),
        conditions: conditions.clone(),
    };
    let parents = users.of(&key, reader).map(parent).collect();
    let statuses = vec![(key, Arc::new(Wanted::XBackend { parents }))];
    Some(Contribution { problems, statuses, ..Contribution::default() })
}

/// Why no route can use it, TLS apart.
fn refusal(name: &NamespacedName, backend: &XBackend) -> Result<(), Refusal> {
    x_backend::check(name, backend).map_err(|Invalid { reason, message, .. }| Refusal { reason, message })?;
    match backend.spec.protocol.as_deref() {
        Some(protocol) if !PROTOCOLS.contains(&protocol) => {
            let message = format!("XBackend {name}: the protocol {protocol} is not supported");
            Err(Refusal { reason: UNSUPPORTED_PROTOCOL, message })
        }
        _ => Ok(()),
    }
}

/// Tells what it says and nothing follows from.
fn check_idle_fields(backend: &XBackend, findings: &mut Findings) {
    let mut warn = |field: &str, message: &str, mend: &str| findings.warning(field, UNSUPPORTED_VALUE, message, mend);
    if backend.spec.port.name.as_deref().is_some_and(|name| !name.is_empty()) {
        warn("spec.port.name", "nothing refers to a port of an XBackend by its name", "");
    }
    let Some(tls) = &backend.spec.tls else {
        if !matches!(backend.spec.protocol.as_deref(), Some("H2C" | "TCP")) {
            warn("spec.tls", "without it requests leave the cluster in plaintext", "add tls, or write protocol: H2C");
        }
        return;
    };
    if tls.client_certificate_ref.is_some() && tls.mode != "ClientAndServer" {
        let message = format!("with mode {} no certificate is shown", tls.mode);
        warn("spec.tls.clientCertificateRef", &message, "remove it");
    }
    if tls.validation.is_some() && tls.mode == "None" {
        warn("spec.tls.validation", "with mode None there is no TLS, and nothing to verify", "write mode: ServerOnly");
    }
}
