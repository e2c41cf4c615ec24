//! TLS of Ingress hosts: which certificate a host has, and the one for everybody else.

use std::sync::Arc;

use genkan_routing::model::Certificate;
use genkan_routing::name::{HostPattern, ObjectRef, Origin};
use genkan_routing::report::Problem;

use super::fragment::{Body, Fragment, TlsEntry};
use crate::resources::NamespacedName;
use crate::translate::assembly::Contribution;
use crate::translate::memo::Output;
use crate::translate::reader::Reader;

/// The TLS of a host that has a certificate entry: then `ssl-redirect` acts. So it does as soon as the deciding Ingress
/// has `spec.tls`, whatever became of its Secret.
#[derive(Debug, PartialEq)]
pub(super) struct HostTls {
    /// Its own certificate; else the default one is shown.
    pub(super) certificate: Option<Arc<Certificate>>,
    /// What it adds to the model and the report.
    pub(super) told: Option<Arc<Contribution>>,
}

impl Output for HostTls {}

/// The certificate for everybody else.
#[derive(Debug, Default, PartialEq)]
pub(super) struct DefaultTls {
    /// `--default-ssl-certificate`, else the generated one.
    pub(super) certificate: Option<Arc<Certificate>>,
    /// What it adds to the model and the report.
    pub(super) told: Option<Arc<Contribution>>,
}

impl Output for DefaultTls {}

impl DefaultTls {
    /// Reads the Secret that the flags name.
    pub(super) fn read(reader: &Reader<'_>) -> Self {
        let settings = reader.settings();
        let fallback = || settings.fallback_certificate.clone();
        let mut told = Contribution::default();
        let certificate = match &settings.default_ssl_certificate {
            None => fallback(),
            Some(secret) => reader.certificate(secret).map(Some).unwrap_or_else(|error| {
                let object = ObjectRef::new("Secret", secret.namespace.clone(), secret.name.clone());
                let message = format!("{error}; as the default certificate, the generated one is shown");
                told.problems.push(Problem::error(Origin::new(object, ""), "DefaultCertificateUnusable", message));
                told.problems.extend(error.problem());
                fallback()
            }),
        };
        told.certificates.extend(certificate.clone());
        Self { certificate, told: told.into_shared() }
    }
}

/// The TLS of a host: the first of its Ingresses that has `spec.tls` decides. `None` without any.
pub(super) fn of_host<'f>(
    host: &HostPattern,
    members: impl Iterator<Item = &'f Arc<Fragment>>,
    reader: &Reader<'_>,
) -> Option<HostTls> {
    let deciding = members.filter_map(|fragment| Some((fragment, fragment.body.as_ref()?))).find(|(_, body)| {
        body.settings.canary.is_none() && !body.tls.is_empty() && body.rules.iter().any(|rules| rules.host == *host)
    });
    // Requests for no host of any Ingress get the default certificate, whatever `spec.tls` says.
    let (fragment, body) = deciding.filter(|_| *host != HostPattern::Any)?;
    let mut told = Contribution::default();
    let certificate = choose(host, fragment, body, reader, &mut told.problems);
    told.certificates.extend(certificate.clone());
    Some(HostTls { certificate, told: told.into_shared() })
}

/// The certificate of the entry that lists the host, else of any entry whose certificate covers it.
fn choose(
    host: &HostPattern,
    fragment: &Fragment,
    body: &Body,
    reader: &Reader<'_>,
    problems: &mut Vec<Problem>,
) -> Option<Arc<Certificate>> {
    let text = host.to_string();
    let listing = body.tls.iter().enumerate().find(|(_, entry)| entry.hosts.contains(&text));
    let Some((index, entry)) = listing else { return by_cover(host, fragment, body, reader, problems) };
    let secret = entry.secret.as_ref()?;
    let origin = fragment.origin(format!("spec.tls[{index}].secretName"));
    match reader.certificate(secret) {
        Ok(certificate) if covers(&certificate, host) => Some(certificate),
        Ok(certificate) => {
            let names: Vec<_> = certificate.names.iter().map(ToString::to_string).collect();
            let message = format!(
                "the certificate in Secret {secret} is for {}, not for {host}; the default certificate is shown",
                if names.is_empty() { "no host".to_owned() } else { names.join(", ") }
            );
            let mend = format!("name a Secret whose certificate is for {host}");
            problems.push(Problem::error(origin, "CertificateMismatch", message).with_mend(mend));
            None
        }
        Err(error) => {
            let message = format!("{error}; the default certificate is shown for {host}");
            let (reason, mend) = match error.problem() {
                None => {
                    ("SecretNotFound", "create it (cert-manager does so once it has the certificate) or name another")
                }
                // What to do is told at the Secret.
                Some(_) => ("InvalidCertificate", ""),
            };
            problems.push(Problem::error(origin, reason, message).with_mend(mend));
            problems.extend(error.problem());
            None
        }
    }
}

fn by_cover(
    host: &HostPattern,
    fragment: &Fragment,
    body: &Body,
    reader: &Reader<'_>,
    problems: &mut Vec<Problem>,
) -> Option<Arc<Certificate>> {
    let secret = |entry: &TlsEntry| -> Option<NamespacedName> { entry.secret.clone() };
    let found = body
        .tls
        .iter()
        .filter_map(secret)
        .filter_map(|secret| reader.certificate(&secret).ok())
        .find(|certificate| covers(certificate, host));
    if found.is_none() {
        let message = format!(
            "no entry of spec.tls lists {host} and no certificate of them covers it; the default certificate is shown"
        );
        let mend = format!("add {host} to the hosts of an entry");
        let problem = Problem::warning(fragment.origin("spec.tls"), "HostWithoutCertificate", message);
        problems.push(problem.with_mend(mend));
    }
    found
}

/// Whether a certificate is for a host. A wildcard host needs a certificate for the same wildcard.
fn covers(certificate: &Certificate, host: &HostPattern) -> bool {
    match host {
        HostPattern::Exact(name) => certificate.names.iter().any(|pattern| pattern.matches(name.as_str())),
        pattern => certificate.names.contains(pattern),
    }
}
