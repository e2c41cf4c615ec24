//! XBackends: one unit of work each, which says at which Gateways it gets requests and what of it does not act. What it
//! means for a route is the business of [`x_backend`](super::x_backend).

use std::collections::BTreeSet;
use std::sync::Arc;

use super::findings::Findings;
use super::notes::with_notes;
use super::reason::{ACCEPTED, UNSUPPORTED_PROTOCOL, UNSUPPORTED_VALUE};
use super::status::{Cond, CondKind, ParentReference, ParentStatus, Wanted};
use super::users::Users;
use super::x_backend;
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
        let mut names: BTreeSet<_> = self.0.stale(dirty);
        let changed = super::changed_objects(dirty).filter(|key| key.kind == Kind::XBackend);
        names.extend(changed.map(|key| key.name.clone()));
        if first {
            names.extend(world.resources.x_backends.keys().cloned());
        }
        for name in names {
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
    let refused = refusal(name, backend);
    if let Some((reason, message)) = &refused {
        findings.error("spec", reason, format!("{message}; requests for it are answered with 500"), "");
    }
    check_idle_fields(backend, &mut findings);
    let problems = findings.into_problems();
    let accepted = match refused {
        Some((reason, message)) => Cond::fails(CondKind::Accepted, reason, message),
        None => Cond::holds(CondKind::Accepted, ACCEPTED, with_notes("the backend gets requests", &problems)),
    };
    let parent = |gateway: &NamespacedName| ParentStatus {
        parent_ref: ParentReference::gateway(gateway.namespace.clone(), gateway.name.clone()),
        conditions: vec![accepted.clone()],
    };
    let parents = users.of(&key, reader).map(parent).collect();
    let statuses = vec![(key, Arc::new(Wanted::XBackend { parents }))];
    Some(Contribution { problems, statuses, ..Contribution::default() })
}

/// Why no route can use it.
fn refusal(name: &NamespacedName, backend: &XBackend) -> Option<(&'static str, String)> {
    if let Err(invalid) = x_backend::check(name, backend) {
        return Some((invalid.reason, invalid.message));
    }
    let protocol = backend.spec.protocol.as_deref()?;
    let known = PROTOCOLS.contains(&protocol);
    (!known).then(|| (UNSUPPORTED_PROTOCOL, format!("XBackend {name}: the protocol {protocol} is not supported")))
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
