//! An attempt's endpoint in pingora's words.

use std::sync::Arc;

use pingora_core::upstreams::peer::{H1UpgradePolicy, HttpPeer};
use pingora_core::utils::tls::{WrappedX509, parse_x509};

use crate::exchange::Target;

/// Streams on one HTTP/2 connection to an endpoint; pingora's default of 1 makes a connection of every request.
const MAX_H2_STREAMS: usize = 100;

/// Makes peers of attempts.
pub(super) struct Peers {
    /// pingora builds a verifier even where nothing is verified, and needs an authority for that; this one has signed
    /// nothing. Without it, an image without system certificates could not reach endpoints over TLS at all.
    nobody: Option<Arc<[WrappedX509]>>,
}

impl Peers {
    pub(super) fn new() -> Self {
        let issued = rcgen::generate_simple_self_signed(vec!["nobody.invalid".to_owned()]);
        let nobody = issued.map(|issued| -> Arc<[WrappedX509]> {
            Arc::new([WrappedX509::new(issued.cert.der().to_vec(), parse_x509)])
        });
        Self { nobody: nobody.ok() }
    }

    /// The peer that pingora connects to for an attempt. What decides who may share a kept connection is part of
    /// pingora's key (address, server name, verification) or of `connection_group`.
    pub(super) fn of(&self, target: &Target<'_>) -> Box<HttpPeer> {
        let verify = target.tls.is_some_and(|tls| tls.verify);
        let server_name = match target.tls.map(|tls| tls.server_name.as_deref()) {
            None => String::new(),
            Some(Some(name)) => name.to_owned(),
            // rustls sends no server name for an address. Verification, where it is on, then asks for the address.
            Some(None) => target.address.ip().to_string(),
        };
        let mut peer = HttpPeer::new(target.address, target.tls.is_some(), server_name);
        peer.group_key = target.connection_group;
        let options = &mut peer.options;
        options.verify_cert = verify;
        options.verify_hostname = verify;
        if target.tls.is_some() && !verify {
            options.ca.clone_from(&self.nobody);
        }
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
        Box::new(peer)
    }
}
