//! Client certificates: what `spec.tls.frontend` of a Gateway asks clients for, by port of its TLS listeners.
//!
//! It fails closed: a listener whose clients should show certificates of authorities that can't be read is not served,
//! in either mode. Authorities that can be read count without those that can't: fewer clients get in, never more.

use std::collections::BTreeMap;
use std::sync::Arc;

use gateway_api::apis::experimental::gateways::{
    GatewayTlsFrontend, GatewayTlsFrontendDefaultValidation, GatewayTlsFrontendDefaultValidationMode,
    GatewayTlsFrontendPerPortTlsValidation, GatewayTlsFrontendPerPortTlsValidationMode,
};
use genkan_routing::model::{ClientAuth, ClientAuthMode};

use super::findings::Findings;
use super::gateways::GatewayListener;
use super::grant::{GATEWAY_GROUP, GrantFrom, GrantTo, permits};
use super::protocol::ListenerProtocol;
use super::reason::{
    INVALID_CA_CERTIFICATE_KIND, INVALID_CA_CERTIFICATE_REF, NO_VALID_CA_CERTIFICATE, REF_NOT_PERMITTED,
    UNSUPPORTED_VALUE,
};
use crate::authorities::Authorities;
use crate::resources::{Kind, NamespacedName};
use crate::translate::reader::Reader;

/// What the clients of a Gateway are asked for.
#[derive(Debug, Default)]
pub(crate) struct Frontend {
    default: Asked,
    ports: BTreeMap<u16, Asked>,
}

/// What the clients of a port are asked for.
#[derive(Clone, Debug, Default)]
enum Asked {
    /// Nothing.
    #[default]
    Nothing,
    /// A certificate.
    Certificate {
        /// Of which authorities; `None` when none can be used.
        auth: Option<Arc<ClientAuth>>,
        /// The first reason why an authority can't be used.
        unresolved: Option<&'static str>,
        /// The part of the Gateway that says so.
        field: String,
    },
}

/// `validation` of either place.
struct Validation<'a> {
    field: String,
    references: Vec<AuthorityReference<'a>>,
    mode: ClientAuthMode,
}

/// An entry of `caCertificateRefs`.
struct AuthorityReference<'a> {
    group: &'a str,
    kind: &'a str,
    namespace: Option<&'a str>,
    name: &'a str,
}

macro_rules! validation {
    ($($of:ty, $mode:ty;)+) => {
        $(impl<'a> From<(String, &'a $of)> for Validation<'a> {
            fn from((field, spec): (String, &'a $of)) -> Self {
                let references = spec.ca_certificate_refs.iter().map(|reference| AuthorityReference {
                    group: &reference.group,
                    kind: &reference.kind,
                    namespace: reference.namespace.as_deref().filter(|namespace| !namespace.is_empty()),
                    name: &reference.name,
                });
                let mode = match spec.mode {
                    Some(<$mode>::AllowInsecureFallback) => ClientAuthMode::AcceptAny,
                    Some(<$mode>::AllowValidOnly) | None => ClientAuthMode::Require,
                };
                Self { field, references: references.collect(), mode }
            }
        })+
    };
}

validation! {
    GatewayTlsFrontendDefaultValidation, GatewayTlsFrontendDefaultValidationMode;
    GatewayTlsFrontendPerPortTlsValidation, GatewayTlsFrontendPerPortTlsValidationMode;
}

impl Frontend {
    /// Reads `spec.tls.frontend`.
    pub(crate) fn read(
        spec: Option<&GatewayTlsFrontend>,
        gateway: &NamespacedName,
        reader: &Reader<'_>,
        findings: &mut Findings,
    ) -> Self {
        let Some(spec) = spec else { return Self::default() };
        let mut read = |validation: Option<Validation<'_>>| match validation {
            None => Asked::Nothing,
            Some(validation) => validation.read(gateway, reader, findings),
        };
        let field = "spec.tls.frontend.default.validation".to_owned();
        let default = read(spec.default.validation.as_ref().map(|validation| (field, validation).into()));
        let mut ports = BTreeMap::new();
        for (index, entry) in spec.per_port.iter().flatten().enumerate() {
            let field = format!("spec.tls.frontend.perPort[{index}].tls.validation");
            // An entry without validation asks for nothing, whatever the default says.
            let asked = read(entry.tls.validation.as_ref().map(|validation| (field, validation).into()));
            if let Ok(port) = u16::try_from(entry.port) {
                // The API server lets no port appear twice; of two in a file the first counts.
                ports.entry(port).or_insert(asked);
            }
        }
        Self { default, ports }
    }

    /// Has the clients of a listener that opens TLS asked, if it is one of HTTPS: of others the API does not speak.
    pub(crate) fn apply(&self, listener: &mut GatewayListener, findings: &mut Findings) {
        let Asked::Certificate { auth, unresolved, field } = self.ports.get(&listener.port).unwrap_or(&self.default)
        else {
            return;
        };
        if listener.protocol != Some(ListenerProtocol::Https) {
            let message = format!("{field} is for HTTPS; clients of this listener are not asked for certificates");
            findings.warning(format!("{}.tls", listener.field), UNSUPPORTED_VALUE, message, "");
            return;
        }
        listener.client_auth.clone_from(auth);
        listener.asked_by = Some(field.clone());
        listener.verdict.resolved_refs = listener.verdict.resolved_refs.or(*unresolved);
        if auth.is_none() {
            let message = "clients must show certificates, and no authority for them can be used; the listener is not \
                served, as without it everyone would get in";
            let mend = "mend caCertificateRefs of spec.tls.frontend";
            findings.error(format!("{}.tls", listener.field), NO_VALID_CA_CERTIFICATE, message, mend);
            listener.verdict.accepted = Some(NO_VALID_CA_CERTIFICATE);
        }
    }
}

impl Validation<'_> {
    fn read(self, gateway: &NamespacedName, reader: &Reader<'_>, findings: &mut Findings) -> Asked {
        let mut auth = ClientAuth { mode: self.mode, fingerprints: Vec::new(), roots: Vec::new() };
        let mut unresolved = self.references.is_empty().then_some(INVALID_CA_CERTIFICATE_REF);
        for (index, reference) in self.references.iter().enumerate() {
            match reference.resolve(gateway, reader) {
                Ok(authorities) => {
                    for authority in authorities.iter() {
                        auth.fingerprints.push(authority.fingerprint.to_string());
                        auth.roots.push(Arc::clone(&authority.der));
                    }
                }
                Err((reason, message, mend)) => {
                    findings.error(format!("{}.caCertificateRefs[{index}]", self.field), reason, message, mend);
                    unresolved = unresolved.or(Some(reason));
                }
            }
        }
        let auth = (!auth.roots.is_empty()).then(|| Arc::new(auth));
        Asked::Certificate { auth, unresolved, field: self.field }
    }
}

impl AuthorityReference<'_> {
    /// The authorities, or the reason of the condition, what is wrong, and the mend.
    fn resolve(
        &self,
        gateway: &NamespacedName,
        reader: &Reader<'_>,
    ) -> Result<Authorities, (&'static str, String, String)> {
        let mend = || "name a ConfigMap with a certificate authority in ca.crt".to_owned();
        let kind = match (self.group, self.kind) {
            ("", "ConfigMap") => Kind::ConfigMap,
            ("", "Secret") => Kind::Secret,
            (_, kind) => {
                let message = format!("certificate authorities can't be of kind {kind}");
                return Err((INVALID_CA_CERTIFICATE_KIND, message, mend()));
            }
        };
        let namespace = self.namespace.map_or_else(|| gateway.namespace.clone(), Arc::from);
        if namespace != gateway.namespace {
            let from = GrantFrom { group: GATEWAY_GROUP, kind: "Gateway", namespace: &gateway.namespace };
            let to = GrantTo { group: "", kind: self.kind, name: self.name };
            if !permits(reader.reference_grants_in(&namespace), from, to) {
                let (kind, name, of) = (self.kind, self.name, &gateway.namespace);
                let message = format!("no ReferenceGrant in {namespace} allows Gateways of {of} to use {kind} {name}");
                let mend = format!("create a ReferenceGrant in {namespace} from Gateway to {kind} {name}");
                return Err((REF_NOT_PERMITTED, message, mend));
            }
        }
        let name = NamespacedName::new(namespace, self.name);
        let authorities = match kind {
            Kind::Secret => reader.authorities_of_secret(&name),
            _ => reader.authorities_of_config_map(&name),
        };
        authorities.map_err(|error| (INVALID_CA_CERTIFICATE_REF, error.to_string(), mend()))
    }
}
