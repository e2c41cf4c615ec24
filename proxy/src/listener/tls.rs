//! TLS: certificates by server name, and the configuration of each handshake.
//!
//! ```text
//!  publish:    snapshot -> TlsTable { loaded certificates (what changed, is loaded), policies of each listener: one,
//!                                     and one for each set of versions and ciphers that its names have }
//!  handshake:  ClientHello -> snapshot's certificates of its server name -> the one that the client can check
//!                          -> the policy's ServerConfig, with this certificate
//!                          -> HTTP, or the snapshot's stream of what is terminated for the name
//!              or none:    -> snapshot's stream of its server name: the connection is passed on unopened
//! ```
//!
//! Thousands of hosts cost one loaded certificate each and nothing else. Tickets belong to the listener: rustls resumes
//! a session only for the server name that it was made for, and no listener accepts another's, nor those of an earlier
//! policy. So a session never gets anywhere that its handshake could not (compare CVE-2025-23419), and resumption
//! keeps no memory on our side. What a client is asked to prove belongs to the policy for the same reason: a resumed
//! session is not asked again, so whoever was let in by other roots makes a full handshake. So do names with other
//! versions and ciphers.

use std::collections::HashMap;
use std::sync::Arc;

use genkan_routing::model::{Certificate, ClientAuth, Listener, Protocol, SharedMap, Stream, Terminated, UnknownName};
use genkan_routing::name::{CertificateId, HostPattern, ListenerId};
use genkan_routing::policy::tls::{Cipher, TlsSettings, TlsVersion};
use genkan_routing::snapshot::{Handshake, Snapshot};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::CertificateDer;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    ServerConfig, ServerConnection, SignatureAlgorithm, SupportedCipherSuite, SupportedProtocolVersion, version,
};

use super::client_auth;
use super::passthrough::Passages;
use crate::connection::TlsInfo;
use crate::metrics::{Metrics, StreamMetrics};
use crate::tls_provider::PROVIDER;

/// The loaded certificates and the listeners' policies.
#[derive(Debug, Default)]
pub(crate) struct TlsTable {
    /// What `certificates` was made of.
    sources: SharedMap<CertificateId, Arc<Certificate>>,
    /// With their keys, as the TLS library wants them.
    certificates: SharedMap<CertificateId, Arc<CertifiedKey>>,
    policies: HashMap<ListenerId, Arc<Policies>>,
    /// Of listeners that pass something on.
    passages: HashMap<ListenerId, Arc<Passages>>,
}

/// What follows from a ClientHello.
#[derive(Debug)]
pub(crate) enum Next {
    /// The handshake goes on with this configuration, and then it is HTTP.
    Open(Arc<ServerConfig>),
    /// The handshake goes on with this configuration, and what the connection carries is passed on and counted here.
    OpenStream(Arc<ServerConfig>, Arc<Stream>, Arc<StreamMetrics>),
    /// The connection is passed on as it is, and counted here.
    PassOn(Arc<Stream>, Arc<StreamMetrics>),
    /// Nothing is here for the server name.
    Refuse(UnknownName),
}

/// What all handshakes of a listener have in common.
#[derive(Debug)]
struct Policies {
    /// What `others` was made of.
    tls: SharedMap<HostPattern, Arc<TlsSettings>>,
    terminated: SharedMap<HostPattern, Arc<Terminated>>,
    http2: bool,
    client_auth: Option<Arc<ClientAuth>>,
    /// Of names that nothing is said of, and of none.
    usual: Arc<ServerConfig>,
    /// Of other names.
    others: HashMap<Arc<TlsSettings>, Arc<ServerConfig>>,
    /// Those of what is opened and passed on, where clients of HTTPS are asked for certificates: there they are not.
    unasked: Option<Box<Self>>,
}

/// A listener without certificates. The handshake can't succeed with it, and we never let it begin.
#[derive(Debug)]
struct NoCertificate;

impl TlsTable {
    /// The table of a snapshot, sharing with `previous` what did not change.
    pub(crate) fn build(snapshot: &Snapshot, previous: Option<&Self>) -> Self {
        let model = snapshot.model();
        let (before, mut certificates) =
            previous.map_or_else(Default::default, |table| (table.sources.clone(), table.certificates.clone()));
        for (id, _, new) in before.unshared(&model.certificates).filter(|(_, old, new)| old != new) {
            match new {
                Some(source) => drop(certificates.insert(id.clone(), load(source))),
                None => drop(certificates.remove(id)),
            }
        }
        let policies = model
            .listeners
            .values()
            .filter(|listener| listener.protocol == Protocol::Https)
            .filter_map(|listener| {
                let http2 = snapshot.client(&listener.id).http2;
                let kept = previous.and_then(|table| table.policies.get(&listener.id));
                let kept = kept.filter(|kept| kept.http2 == http2 && kept.client_auth == listener.client_auth);
                if let Some(kept) = kept.filter(|kept| kept.are_of(listener)) {
                    return Some((listener.id.clone(), Arc::clone(kept)));
                }
                match Policies::new(http2, listener, kept.map(AsRef::as_ref)) {
                    Ok(policies) => Some((listener.id.clone(), Arc::new(policies))),
                    Err(error) => {
                        tracing::error!(listener = %listener.id, %error, "TLS can't be set up");
                        None
                    }
                }
            })
            .collect();
        let passages = model.listeners.values().filter_map(|listener| {
            let known = previous.and_then(|table| table.passages.get(&listener.id));
            Some((listener.id.clone(), Passages::build(listener, known)?))
        });
        Self { sources: model.certificates.clone(), certificates, policies, passages: passages.collect() }
    }

    /// Whether the listener speaks TLS here.
    pub(crate) fn serves(&self, listener: &ListenerId) -> bool {
        self.policies.contains_key(listener)
    }

    /// What follows from a ClientHello.
    pub(crate) fn next(
        &self,
        snapshot: &Snapshot,
        listener: &ListenerId,
        hello: &ClientHello<'_>,
        metrics: &Metrics,
    ) -> Next {
        let next = snapshot.handshake(listener, hello.server_name()).and_then(|handshake| {
            let default = snapshot.default_certificate(listener);
            let settings = snapshot.tls_settings(listener, hello.server_name());
            let policies = self.policies.get(listener);
            let count = |stream| Some(self.passages.get(listener)?.metrics(stream, metrics));
            match handshake {
                Handshake::Opened(ids) => self.config(policies?.of(settings), ids, default, hello).map(Next::Open),
                Handshake::PassedOn(stream) => Some(Next::PassOn(Arc::clone(stream), count(stream)?)),
                // It ends before anybody proves anything.
                Handshake::Terminated(to) if to.stream.leads_nowhere() => {
                    Some(Next::PassOn(Arc::clone(&to.stream), count(&to.stream)?))
                }
                Handshake::Terminated(to) => {
                    let common = policies?.unasked().of(settings);
                    let mut config = self.config(common, &to.certificates, default, hello)?;
                    // What the connection carries is for the endpoint to know.
                    Arc::make_mut(&mut config).alpn_protocols.clear();
                    Some(Next::OpenStream(config, Arc::clone(&to.stream), count(&to.stream)?))
                }
            }
        });
        let unknown = || snapshot.model().listeners.get(listener).map(|listener| listener.unknown_name);
        next.unwrap_or_else(|| Next::Refuse(unknown().unwrap_or_default()))
    }

    /// The configuration for a handshake with one of these certificates, else with the default one.
    fn config(
        &self,
        common: &ServerConfig,
        ids: &[CertificateId],
        default: Option<&CertificateId>,
        hello: &ClientHello<'_>,
    ) -> Option<Arc<ServerConfig>> {
        let mut keys: Vec<_> = ids.iter().filter_map(|id| self.certificates.get(id)).collect();
        if keys.is_empty() {
            keys.extend(default.and_then(|id| self.certificates.get(id)));
        }
        let key = choose(&keys, hello)?;
        // Some ten pointers are copied, which is nothing beside a handshake.
        let mut config = common.clone();
        config.cert_resolver = Arc::new(SingleCertAndKey::from(Arc::clone(key)));
        Some(Arc::new(config))
    }
}

impl Policies {
    /// Those of a listener; what is the same as in `kept` goes on with the tickets that it gave.
    fn new(http2: bool, listener: &Listener, kept: Option<&Self>) -> Result<Self, rustls::Error> {
        let policies = Self::asking(listener.client_auth.as_ref(), http2, listener, kept)?;
        let unasked = match &listener.client_auth {
            None => None,
            Some(_) => {
                let kept = kept.and_then(|kept| kept.unasked.as_deref());
                Some(Box::new(Self::asking(None, http2, listener, kept)?))
            }
        };
        Ok(Self { unasked, ..policies })
    }

    fn asking(
        client_auth: Option<&Arc<ClientAuth>>,
        http2: bool,
        listener: &Listener,
        kept: Option<&Self>,
    ) -> Result<Self, rustls::Error> {
        let make = |settings: &TlsSettings| config(http2, client_auth.map(AsRef::as_ref), settings).map(Arc::new);
        let usual = match kept {
            Some(kept) => Arc::clone(&kept.usual),
            None => make(&TlsSettings::default())?,
        };
        let mut others = HashMap::new();
        let terminated = listener.terminated.values().filter_map(|it| it.stream.settings.as_ref()?.tls.as_ref());
        for settings in listener.tls.values().chain(terminated) {
            if !others.contains_key(settings) {
                let known = kept.and_then(|kept| kept.others.get(settings));
                others
                    .insert(Arc::clone(settings), known.map_or_else(|| make(settings), |known| Ok(Arc::clone(known)))?);
            }
        }
        let (tls, terminated) = (listener.tls.clone(), listener.terminated.clone());
        Ok(Self { tls, terminated, http2, client_auth: client_auth.cloned(), usual, others, unasked: None })
    }

    /// Whether the names of a listener have the TLS settings that these were made of.
    fn are_of(&self, listener: &Listener) -> bool {
        self.tls == listener.tls && self.terminated == listener.terminated
    }

    /// Those that ask clients for nothing.
    fn unasked(&self) -> &Self {
        self.unasked.as_deref().unwrap_or(self)
    }

    fn of(&self, settings: Option<&Arc<TlsSettings>>) -> &ServerConfig {
        settings.and_then(|settings| self.others.get(settings)).unwrap_or(&self.usual)
    }
}

/// A configuration with tickets of its own, and without a certificate.
fn config(
    http2: bool,
    client_auth: Option<&ClientAuth>,
    settings: &TlsSettings,
) -> Result<ServerConfig, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(provider(settings))
        .with_protocol_versions(&versions(settings))?
        .with_client_cert_verifier(client_auth::verifier(client_auth)?)
        .with_cert_resolver(Arc::new(NoCertificate));
    // Where somebody has put the ciphers in order, the order is theirs.
    config.ignore_client_order = !settings.ciphers.is_empty();
    config.ticketer = ring::Ticketer::new()?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.alpn_protocols = if http2 { vec![b"h2".to_vec(), b"http/1.1".to_vec()] } else { vec![b"http/1.1".to_vec()] };
    Ok(config)
}

fn versions(settings: &TlsSettings) -> Vec<&'static SupportedProtocolVersion> {
    let all = [(TlsVersion::Tls13, &version::TLS13), (TlsVersion::Tls12, &version::TLS12)];
    all.into_iter().filter(|(version, _)| settings.has(*version)).map(|(_, version)| version).collect()
}

/// The provider with the ciphers that are wanted, in their order.
fn provider(settings: &TlsSettings) -> Arc<CryptoProvider> {
    if settings.ciphers.is_empty() {
        return Arc::clone(&PROVIDER);
    }
    let version_of = |suite: &SupportedCipherSuite| match suite.tls13() {
        Some(_) => TlsVersion::Tls13,
        None => TlsVersion::Tls12,
    };
    let mut suites = Vec::new();
    for version in [TlsVersion::Tls13, TlsVersion::Tls12] {
        let all = || PROVIDER.cipher_suites.iter().filter(|suite| version_of(suite) == version);
        let named = |cipher: Cipher| all().find(|suite| cipher_name(suite.suite()) == cipher.as_str()).copied();
        let wanted: Vec<_> = settings.ciphers_of(version).filter_map(named).collect();
        if wanted.is_empty() { suites.extend(all().copied()) } else { suites.extend(wanted) }
    }
    Arc::new(CryptoProvider { cipher_suites: suites, ..CryptoProvider::clone(&PROVIDER) })
}

impl ResolvesServerCert for NoCertificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        None
    }
}

/// What a handshake agreed on, in the words of nginx's log variables, which are OpenSSL's.
pub(super) fn describe(session: &ServerConnection) -> TlsInfo {
    let version = match session.protocol_version() {
        Some(rustls::ProtocolVersion::TLSv1_3) => "TLSv1.3",
        Some(rustls::ProtocolVersion::TLSv1_2) => "TLSv1.2",
        _ => "",
    };
    let cipher = session.negotiated_cipher_suite().map_or("", |suite| cipher_name(suite.suite()));
    TlsInfo { server_name: session.server_name().map(|name| canonical_name(name).into()), version, cipher }
}

fn cipher_name(suite: rustls::CipherSuite) -> &'static str {
    use rustls::CipherSuite as Suite;
    match suite {
        Suite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        Suite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        Suite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        Suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 => "ECDHE-ECDSA-AES128-GCM-SHA256",
        Suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384 => "ECDHE-ECDSA-AES256-GCM-SHA384",
        Suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256 => "ECDHE-ECDSA-CHACHA20-POLY1305",
        Suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 => "ECDHE-RSA-AES128-GCM-SHA256",
        Suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 => "ECDHE-RSA-AES256-GCM-SHA384",
        Suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256 => "ECDHE-RSA-CHACHA20-POLY1305",
        _ => "",
    }
}

/// Lower case, without the final dot.
fn canonical_name(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

/// Of several certificates for a name, one whose signatures the client knows: elliptic curves first, which cost us a
/// tenth of RSA. If it knows none, the first, so that rustls refuses the handshake with the right alert.
fn choose<'k>(keys: &[&'k Arc<CertifiedKey>], hello: &ClientHello<'_>) -> Option<&'k Arc<CertifiedKey>> {
    let usable = || keys.iter().filter(|key| key.key.choose_scheme(hello.signature_schemes()).is_some());
    usable()
        .find(|key| key.key.algorithm() != SignatureAlgorithm::RSA)
        .or_else(|| usable().next())
        .or_else(|| keys.first())
        .copied()
}

fn load(source: &Certificate) -> Arc<CertifiedKey> {
    let chain = source.chain.iter().map(|der| CertificateDer::from(der.to_vec())).collect();
    Arc::new(CertifiedKey::new(chain, source.key.signing().clone()))
}

#[cfg(test)]
mod tests {
    use genkan_routing::model::Section;
    use genkan_routing::name::TableId;
    use genkan_routing::policy::client::ClientSettings;

    use super::*;
    use crate::listener::tests::support::{listener, snapshot};

    #[test]
    fn policies_are_the_same_ones_while_no_name_has_other_settings() {
        let mut https = listener("a", Protocol::Https);
        let name = |text: &str| HostPattern::parse_one_label(text).unwrap();
        https.tls = [(name("a.test"), Arc::new(TlsSettings::default()))].into();
        let table = |https: &Listener, previous: Option<&TlsTable>| {
            TlsTable::build(&snapshot([https.clone()], [], ClientSettings::default()), previous)
        };
        let policies = |table: &TlsTable| Arc::clone(&table.policies[&ListenerId::new("a")]);
        let first = table(&https, None);
        let section = Section { hostname: HostPattern::Any, table: TableId::new("t"), settings: None };
        let second = table(&Listener { sections: vec![section], ..https.clone() }, Some(&first));
        assert!(Arc::ptr_eq(&policies(&first), &policies(&second)));
        let other = TlsSettings { min_version: TlsVersion::Tls13, ..TlsSettings::default() };
        https.tls.insert(name("b.test"), Arc::new(other.clone()));
        let third = table(&https, Some(&second));
        let of = |settings: &TlsSettings| policies(&third).others.get(settings).cloned();
        assert!(of(&other).is_some());
        let kept = policies(&second).others.get(&TlsSettings::default()).cloned();
        assert!(of(&TlsSettings::default()).zip(kept).is_some_and(|(new, old)| Arc::ptr_eq(&new, &old)));
    }
}
