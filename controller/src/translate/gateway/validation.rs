//! Validation: whom to trust at a backend, and by which name, as a BackendTLSPolicy or an XBackend says it
//! (`BackendTLSPolicyValidation`). All of it fails closed; what then happens to the backend is its owner's business.

use std::sync::Arc;

use gateway_api::apis::standard::backendtlspolicies::{
    BackendTlsPolicyValidation, BackendTlsPolicyValidationCaCertificateRefs, BackendTlsPolicyValidationSubjectAltNames,
    BackendTlsPolicyValidationSubjectAltNamesType as NameType,
};
use genkan_routing::model::{Authority, SubjectAltName, Trust};
use genkan_routing::name::HostPattern;

use super::findings::Findings;
use super::gateways::Refusal;
use super::hostname;
use super::reason::{INVALID, INVALID_CA_CERTIFICATE_REF, INVALID_KIND, NO_VALID_CA_CERTIFICATE};
use crate::authorities;
use crate::resources::NamespacedName;
use crate::translate::reader::Reader;

/// `wellKnownCACertificates`: the authorities of the system.
const SYSTEM: &str = "System";

/// Who says whom to trust.
#[derive(Clone, Copy)]
pub(crate) struct Owner<'a> {
    /// What tells what it trusts from what others trust, in the ids of clusters.
    pub(crate) id: &'a str,
    /// Where the authorities are.
    pub(crate) namespace: &'a Arc<str>,
    /// Where it says so.
    pub(crate) field: &'a str,
    /// What follows where it can't be fulfilled.
    pub(crate) closed: &'a str,
}

/// A validation, read.
pub(crate) struct Validation {
    /// The name that is asked for; `None` when it is none.
    pub(crate) server_name: Option<Arc<str>>,
    /// Whom to trust, or why nobody can be.
    pub(crate) trust: Result<Trust, Refusal>,
    /// The first reference that leads to no authority. Others may lead to some.
    pub(crate) unresolved: Option<Refusal>,
}

impl Owner<'_> {
    /// Reads what it says. Everything that is wrong is told.
    pub(crate) fn read(
        self,
        spec: &BackendTlsPolicyValidation,
        reader: &Reader<'_>,
        findings: &mut Findings,
    ) -> Validation {
        let server_name = self.server_name(&spec.hostname, findings);
        let names = self.names(spec, findings);
        let mut unresolved = None;
        let authorities = self.authorities(spec, &mut unresolved, reader, findings);
        let (server_name, trust) = match (server_name, names, authorities) {
            (Ok(server_name), Ok(names), Ok(authorities)) => {
                (Some(server_name), Ok(Trust { id: self.id.into(), authorities, names }))
            }
            // What leads to no authority has a reason of its own in the API: it is the one to tell.
            (server_name, _, Err(refusal)) => (server_name.ok(), Err(refusal)),
            (Err(refusal), _, Ok(_)) => (None, Err(refusal)),
            (Ok(server_name), Err(refusal), Ok(_)) => (Some(server_name), Err(refusal)),
        };
        Validation { server_name, trust, unresolved }
    }

    /// Tells what makes it impossible to fulfil.
    fn invalid(self, field: &str, message: String, mend: &str, findings: &mut Findings) -> Refusal {
        let told = format!("{message}; {}", self.closed);
        findings.error(format!("{}.{field}", self.field), INVALID, told, mend);
        Refusal { reason: INVALID, message }
    }

    fn server_name(self, text: &str, findings: &mut Findings) -> Result<Arc<str>, Refusal> {
        let message = match hostname::parse(text) {
            Ok(HostPattern::Exact(name)) => return Ok(name.as_str().into()),
            Ok(_) => format!("{text:?} is a wildcard, which is nobody's name"),
            Err(error) => format!("hostname {text:?}: {error}"),
        };
        Err(self.invalid("hostname", message, "write the name in the endpoints' certificate", findings))
    }

    /// The names of which a certificate must have one; without any it is the hostname.
    fn names(
        self,
        validation: &BackendTlsPolicyValidation,
        findings: &mut Findings,
    ) -> Result<Vec<SubjectAltName>, Refusal> {
        let specs = validation.subject_alt_names.iter().flatten().enumerate();
        // All of them are told. To leave out one that is broken would ask for less, but not for what is written.
        let names: Vec<_> = specs.map(|(index, spec)| self.alt_name(spec, index, findings)).collect();
        names.into_iter().collect()
    }

    fn alt_name(
        self,
        spec: &BackendTlsPolicyValidationSubjectAltNames,
        index: usize,
        findings: &mut Findings,
    ) -> Result<SubjectAltName, Refusal> {
        let message = match spec.r#type {
            NameType::Hostname => {
                let text = spec.hostname.as_deref().unwrap_or_default();
                match hostname::parse(text) {
                    Ok(_) => return Ok(SubjectAltName::Dns(text.to_ascii_lowercase().into())),
                    Err(error) => format!("hostname {text:?}: {error}"),
                }
            }
            NameType::Uri => {
                let text = spec.uri.as_deref().unwrap_or_default();
                let is_scheme = |scheme: &str| scheme.starts_with(|first: char| first.is_ascii_alphabetic());
                if text.split_once(':').is_some_and(|(scheme, rest)| is_scheme(scheme) && !rest.is_empty()) {
                    return Ok(SubjectAltName::Uri(text.into()));
                }
                format!("{text:?} is no absolute URI")
            }
        };
        Err(self.invalid(&format!("subjectAltNames[{index}]"), message, "", findings))
    }

    /// The authorities that are named; `None` are those of the system.
    fn authorities(
        self,
        validation: &BackendTlsPolicyValidation,
        unresolved: &mut Option<Refusal>,
        reader: &Reader<'_>,
        findings: &mut Findings,
    ) -> Result<Option<Vec<Authority>>, Refusal> {
        let references = validation.ca_certificate_refs.as_deref().unwrap_or_default();
        let well_known = validation.well_known_ca_certificates.as_deref().filter(|text| !text.is_empty());
        match (references, well_known) {
            ([], Some(SYSTEM)) => return Ok(None),
            ([], Some(other)) => {
                let message = format!("the authorities {other} are not known");
                let mend = "write System, or name a ConfigMap in caCertificateRefs";
                return Err(self.invalid("wellKnownCACertificates", message, mend, findings));
            }
            ([], None) => {
                let message = "there is no authority".to_owned();
                let mend = "name a ConfigMap, or write wellKnownCACertificates: System";
                return Err(self.invalid("caCertificateRefs", message, mend, findings));
            }
            (_, Some(_)) => {
                let message = "caCertificateRefs and wellKnownCACertificates can't be combined".to_owned();
                return Err(self.invalid("wellKnownCACertificates", message, "remove one of them", findings));
            }
            (_, None) => {}
        }
        let mut found = Vec::new();
        for (index, reference) in references.iter().enumerate() {
            match self.authority(reference, reader) {
                Ok(authorities) => found.extend(authorities),
                Err(refusal) => {
                    let field = format!("{}.caCertificateRefs[{index}]", self.field);
                    let mend = "name a ConfigMap with the authorities' certificates in ca.crt";
                    findings.error(field, refusal.reason, refusal.message.clone(), mend);
                    unresolved.get_or_insert(refusal);
                }
            }
        }
        match &unresolved {
            Some(Refusal { message, .. }) if found.is_empty() => {
                let refusal = Refusal { reason: NO_VALID_CA_CERTIFICATE, message: message.clone() };
                let told = format!("there is no authority; {}", self.closed);
                findings.error(format!("{}.caCertificateRefs", self.field), refusal.reason, told, "");
                Err(refusal)
            }
            _ => Ok(Some(found)),
        }
    }

    fn authority(
        self,
        reference: &BackendTlsPolicyValidationCaCertificateRefs,
        reader: &Reader<'_>,
    ) -> Result<Vec<Authority>, Refusal> {
        let name = NamespacedName::new(self.namespace.clone(), reference.name.as_str());
        let found = match (&*reference.group, &*reference.kind) {
            ("", "ConfigMap") => reader.authorities_of_config_map(&name),
            ("", "Secret") => reader.authorities_of_secret(&name),
            (group, kind) => {
                let kind = if group.is_empty() { kind.to_owned() } else { format!("{kind}.{group}") };
                let message = format!("authorities can't be of kind {kind}");
                return Err(Refusal { reason: INVALID_KIND, message });
            }
        };
        let found =
            found.map_err(|error| Refusal { reason: INVALID_CA_CERTIFICATE_REF, message: error.to_string() })?;
        let authority = |from: &authorities::Authority| Authority {
            fingerprint: Arc::clone(&from.fingerprint),
            der: Arc::clone(&from.der),
        };
        Ok(found.iter().map(authority).collect())
    }
}
