//! An attempt's endpoint in pingora's words.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Weak};

use genkan_routing::model::{Authority, Trust, UpstreamTls, Verify};
use parking_lot::Mutex;
use pingora_core::upstreams::peer::{H1UpgradePolicy, HttpPeer};
use pingora_core::utils::tls::{WrappedX509, parse_x509};
use rustc_hash::FxHashMap;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::secured;
use crate::error::Failure;
use crate::exchange::Target;
use crate::keyed;

/// Streams on one HTTP/2 connection to an endpoint; pingora's default of 1 makes a connection of every request.
const MAX_H2_STREAMS: usize = 100;

/// Certificates of authorities, as pingora has them.
type Authorities = Arc<[WrappedX509]>;

/// Makes peers of attempts.
pub(super) struct Peers {
    /// pingora builds a verifier even where nothing is verified, and needs an authority for that; this one has signed
    /// nothing. Without it, an image without system certificates could not reach endpoints over TLS at all.
    nobody: Option<Authorities>,
    /// By the address of what they were made from: no other has that address while a weak pointer to it is here. Each
    /// worker has such a map, so a strong one would be kept alive by the others for ever.
    known: Mutex<FxHashMap<usize, (Weak<Trust>, Authorities)>>,
}

impl Peers {
    pub(super) fn new() -> Self {
        let issued = rcgen::generate_simple_self_signed(vec!["nobody.invalid".to_owned()]);
        let nobody = issued
            .map(|issued| -> Authorities { Arc::new([WrappedX509::new(issued.cert.der().to_vec(), parse_x509)]) });
        Self { nobody: nobody.ok(), known: Mutex::default() }
    }

    /// The peer that pingora connects to for an attempt. What decides who may share a kept connection is part of
    /// pingora's key (address, server name, verification) or of `connection_group`, which has all of the TLS settings:
    /// neither authorities nor certificates of our own are in pingora's key.
    pub(super) fn of(&self, target: &Target<'_>) -> Result<Box<HttpPeer>, Failure> {
        let mut peer = match target.tls {
            None => pingora_peer(target, false, String::new()),
            Some(UpstreamTls { verify: Verify::Refused(reason), .. }) => {
                return Err(Failure::UpstreamTls(format!("{} ({reason})", target.address)));
            }
            Some(tls) if secured::is_needed(tls) => secured_peer(target, tls),
            Some(tls) => self.tls_peer(target, tls)?,
        };
        let options = &mut peer.options;
        options.connection_timeout = Some(target.connect_timeout);
        options.total_connection_timeout = Some(target.connect_timeout);
        options.read_timeout = target.read_timeout;
        options.write_timeout = Some(target.send_timeout);
        options.idle_timeout = Some(target.idle_timeout);
        options.max_h2_streams = MAX_H2_STREAMS;
        // Which upgrades are forwarded is decided with the rest of the hop-by-hop fields, on the plain head.
        options.http_upstream_request_policy.h1_upgrade = H1UpgradePolicy::Preserve;
        if target.http2 {
            options.set_http_version(2, 2);
        }
        Ok(Box::new(peer))
    }

    /// A peer whose TLS is pingora's.
    fn tls_peer(&self, target: &Target<'_>, tls: &UpstreamTls) -> Result<HttpPeer, Failure> {
        // rustls sends no server name for an address. Verification, where it is on, then asks for the address. An empty
        // name would turn it off.
        let name = tls.server_name.as_deref().filter(|name| !name.is_empty());
        let name = name.map_or_else(|| target.address.ip().to_string(), ToOwned::to_owned);
        let mut peer = pingora_peer(target, true, name);
        let verify = !matches!(tls.verify, Verify::Nothing);
        peer.options.verify_cert = verify;
        peer.options.verify_hostname = verify;
        peer.options.ca = match &tls.verify {
            Verify::Trust(trust) => match &trust.authorities {
                Some(authorities) => Some(self.authorities(trust, authorities).ok_or_else(|| {
                    Failure::UpstreamTls(format!("{} (none of the authorities is a certificate)", target.address))
                })?),
                None => None,
            },
            Verify::System | Verify::Refused(_) => None,
            Verify::Nothing => self.nobody.clone(),
        };
        Ok(peer)
    }

    /// The authorities of a policy; `None` when none of them is a certificate.
    fn authorities(&self, trust: &Arc<Trust>, authorities: &[Authority]) -> Option<Authorities> {
        let mut known = self.known.lock();
        let made = match known.get(&Arc::as_ptr(trust).addr()) {
            Some((_, made)) => Arc::clone(made),
            None => {
                // Policies that are gone.
                known.retain(|_, (trust, _)| trust.strong_count() > 0);
                let made = authorities.iter().filter_map(wrap).collect();
                known.insert(Arc::as_ptr(trust).addr(), (Arc::downgrade(trust), Arc::clone(&made)));
                made
            }
        };
        (!made.is_empty()).then_some(made)
    }
}

/// A peer of the attempt's address.
fn pingora_peer(target: &Target<'_>, tls: bool, server_name: String) -> HttpPeer {
    let mut peer = HttpPeer::new(target.address, tls, server_name);
    peer.group_key = target.connection_group;
    peer
}

/// A peer whose TLS is ours: plain to pingora, which must neither compare nor mistake it by its address.
fn secured_peer(target: &Target<'_>, tls: &UpstreamTls) -> HttpPeer {
    let told = SocketAddr::from((Ipv4Addr::UNSPECIFIED, target.address.port()));
    let mut peer = HttpPeer::new(told, false, String::new());
    peer.group_key = keyed::hash((target.connection_group, target.address));
    peer.options.custom_l4 = Some(secured::connector(target, tls));
    peer
}

/// A certificate as pingora has it; `None` for what is none, on which pingora's parser, this one, would panic, and rustls
/// refuse the whole connection.
fn wrap(authority: &Authority) -> Option<WrappedX509> {
    let der = rustls::pki_types::CertificateDer::from(&*authority.der);
    let sound = X509Certificate::from_der(&authority.der).is_ok() && rustls::RootCertStore::empty().add(der).is_ok();
    sound.then(|| WrappedX509::new(authority.der.to_vec(), parse_x509))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities_of_policies_that_are_gone_are_forgotten_by_every_worker() {
        let workers = [Peers::new(), Peers::new()];
        for _ in 0..10 {
            let trust =
                Arc::new(Trust { id: "default/policy".into(), authorities: Some(Vec::new()), names: Vec::new() });
            for peers in &workers {
                peers.authorities(&trust, &[]);
            }
        }
        for peers in workers {
            // The last one is found to be gone when the next one comes.
            assert_eq!(peers.known.lock().len(), 1);
        }
    }
}
