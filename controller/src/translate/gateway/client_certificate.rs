//! The certificate that is shown to backends: a Gateway's (`tls.backend.clientCertificateRef`), or what another object
//! refers to in the same way.

use std::sync::Arc;

use gateway_api::apis::experimental::gateways::{Gateway, GatewayTlsBackendClientCertificateRef};
use genkan_routing::model::Certificate;

use super::findings::Findings;
use super::gateways::Refusal;
use super::grant::{GATEWAY_GROUP, GrantFrom, GrantTo, permits};
use super::reason::{INVALID_CLIENT_CERTIFICATE_REF, REF_NOT_PERMITTED};
use crate::resources::NamespacedName;
use crate::translate::reader::Reader;

/// Where it is written.
const FIELD: &str = "spec.tls.backend.clientCertificateRef";

/// Reads it; `None` when the Gateway shows none.
pub(crate) fn read(
    name: &NamespacedName,
    gateway: &Gateway,
    reader: &Reader<'_>,
    findings: &mut Findings,
) -> Option<Result<Arc<Certificate>, Refusal>> {
    let reference = gateway.spec.tls.as_ref()?.backend.as_ref()?.client_certificate_ref.as_ref()?;
    let from = GrantFrom { group: GATEWAY_GROUP, kind: "Gateway", namespace: &name.namespace };
    Some(resolve(from, reference, reader, findings).inspect_err(|Refusal { reason, message }| {
        let message = format!("{message}; backends for which there is a BackendTLSPolicy get no request through it");
        findings.error(FIELD, reason, message, "name a Secret of type kubernetes.io/tls");
    }))
}

/// The certificate of a Secret that an object refers to.
pub(crate) fn resolve(
    from: GrantFrom<'_>,
    reference: &GatewayTlsBackendClientCertificateRef,
    reader: &Reader<'_>,
    findings: &mut Findings,
) -> Result<Arc<Certificate>, Refusal> {
    let invalid = |message| Refusal { reason: INVALID_CLIENT_CERTIFICATE_REF, message };
    let (group, kind) = (reference.group.as_deref().unwrap_or_default(), reference.kind.as_deref().unwrap_or("Secret"));
    if !group.is_empty() || kind != "Secret" {
        let kind = if group.is_empty() { kind.to_owned() } else { format!("{kind}.{group}") };
        return Err(invalid(format!("a certificate can't be of kind {kind}")));
    }
    let namespace = reference.namespace.as_deref().filter(|namespace| !namespace.is_empty());
    let namespace: Arc<str> = namespace.unwrap_or(from.namespace).into();
    if *namespace != *from.namespace {
        let to = GrantTo { group: "", kind: "Secret", name: &reference.name };
        if !permits(reader.reference_grants_in(&namespace), from, to) {
            let (kind, own, name) = (from.kind, from.namespace, &reference.name);
            let message = format!("no ReferenceGrant in {namespace} allows {kind}s of {own} to use Secret {name}");
            return Err(Refusal { reason: REF_NOT_PERMITTED, message });
        }
    }
    reader.certificate(&NamespacedName::new(namespace, reference.name.as_str())).map_err(|error| {
        findings.extend(error.problem());
        invalid(error.to_string())
    })
}
