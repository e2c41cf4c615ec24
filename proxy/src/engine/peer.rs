//! An attempt's endpoint in pingora's words.

use pingora_core::upstreams::peer::{H1UpgradePolicy, HttpPeer};

use crate::exchange::Target;

/// Streams on one HTTP/2 connection to an endpoint; pingora's default of 1 makes a connection of every request.
const MAX_H2_STREAMS: usize = 100;

/// The peer that pingora connects to for an attempt. Fields that decide who may share a pooled connection are part of
/// the key (address, server name, verification) or of `connection_group`.
pub(super) fn of(target: &Target<'_>) -> Box<HttpPeer> {
    let tls = target.tls;
    // An empty server name sends no SNI, which also turns verification off; `verify` without a name is refused when
    // the model is made.
    let server_name = tls.and_then(|tls| tls.server_name.as_deref()).unwrap_or_default();
    let mut peer = HttpPeer::new(target.address, tls.is_some(), server_name.to_owned());
    peer.group_key = target.connection_group;
    let options = &mut peer.options;
    options.verify_cert = tls.is_some_and(|tls| tls.verify);
    options.verify_hostname = options.verify_cert;
    options.connection_timeout = Some(target.connect_timeout);
    options.total_connection_timeout = Some(target.connect_timeout);
    options.read_timeout = target.read_timeout;
    options.write_timeout = Some(target.send_timeout);
    options.idle_timeout = Some(target.idle_timeout);
    options.max_h2_streams = MAX_H2_STREAMS;
    options.tcp_keepalive = None;
    // Which upgrades are forwarded is decided with the rest of the hop-by-hop fields, on the plain head.
    options.http_upstream_request_policy.h1_upgrade = H1UpgradePolicy::Preserve;
    if target.http2 {
        options.set_http_version(2, 2);
    }
    Box::new(peer)
}
