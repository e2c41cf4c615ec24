//! TLS of XBackends: what is asked of the certificate that is met outside, and what is shown there. Without all of what
//! it asks for an XBackend is closed.

use genkan_routing::model::{ClientCertificate, UpstreamTls, Verify};

use super::client_certificate;
use super::findings::Findings;
use super::gateways::Refusal;
use super::grant::GrantFrom;
use super::reason::{INVALID, UNSUPPORTED_VALUE};
use super::validation::{Owner, Validation};
use super::x_backend::{CLOSED, GROUP, KIND};
use crate::resources::{NamespacedName, XBackendSpec, XBackendTls};
use crate::translate::reader::Reader;

/// `spec.tls`, read.
pub(super) struct Tls {
    /// TLS towards the backend (`None` is plaintext), or why nothing can be sent.
    pub(super) settings: Result<Option<UpstreamTls>, Refusal>,
    /// The first reference that leads nowhere.
    pub(super) unresolved: Option<Refusal>,
}

/// Reads it. Everything that is wrong is told.
pub(super) fn read(name: &NamespacedName, spec: &XBackendSpec, reader: &Reader<'_>, findings: &mut Findings) -> Tls {
    let mut refuse = |field: &str, reason, message: String, mend: &str| {
        findings.error(format!("spec.tls.{field}"), reason, format!("{message}; {CLOSED}"), mend);
        Tls { settings: Err(Refusal { reason, message }), unresolved: None }
    };
    let plain = Tls { settings: Ok(None), unresolved: None };
    let Some(tls) = &spec.tls else { return plain };
    let shows = match tls.mode.as_str() {
        "None" => return plain,
        "ServerOnly" => false,
        "ClientAndServer" => true,
        mode => {
            let mend = "write None, ServerOnly or ClientAndServer";
            return refuse("mode", UNSUPPORTED_VALUE, format!("tls.mode {mode:?} is not supported"), mend);
        }
    };
    let Some(validation) = &tls.validation else {
        let message = "tls has no validation, so nobody knows whom to trust".to_owned();
        return refuse("validation", INVALID, message, "add validation");
    };
    let owner = Owner {
        id: &format!("xbackend/{name}"),
        namespace: &name.namespace,
        field: "spec.tls.validation",
        closed: CLOSED,
    };
    let Validation { server_name, trust, unresolved } = owner.read(validation, reader, findings);
    let client = if shows { client(name, tls, reader, findings).map(Some) } else { Ok(None) };
    let refused = client.as_ref().err().filter(|_| tls.client_certificate_ref.is_some());
    let unresolved = unresolved.or_else(|| refused.cloned());
    let settings = trust.and_then(|trust| {
        let verify = Verify::Trust(reader.made_once(trust));
        Ok(Some(UpstreamTls { server_name, verify, client: client? }))
    });
    Tls { settings, unresolved }
}

/// Whether it refers to other objects.
pub(super) fn refers(spec: &XBackendSpec) -> bool {
    let Some(tls) = spec.tls.as_ref().filter(|tls| tls.mode != "None") else { return false };
    let validation = tls.validation.as_ref();
    let authorities = validation.and_then(|validation| validation.ca_certificate_refs.as_ref());
    let shows = tls.mode == "ClientAndServer" && tls.client_certificate_ref.is_some();
    shows || authorities.is_some_and(|references| !references.is_empty())
}

/// The certificate that is shown.
fn client(
    name: &NamespacedName,
    tls: &XBackendTls,
    reader: &Reader<'_>,
    findings: &mut Findings,
) -> Result<ClientCertificate, Refusal> {
    let found = match &tls.client_certificate_ref {
        Some(reference) => {
            let from = GrantFrom { group: GROUP, kind: KIND, namespace: &name.namespace };
            client_certificate::resolve(from, reference, reader, findings)
        }
        None => {
            let message = "with mode ClientAndServer a certificate is shown, and none is named".to_owned();
            Err(Refusal { reason: INVALID, message })
        }
    };
    found.map(ClientCertificate).inspect_err(|Refusal { reason, message }| {
        let mend = "name a Secret of type kubernetes.io/tls";
        findings.error("spec.tls.clientCertificateRef", reason, format!("{message}; {CLOSED}"), mend);
    })
}
