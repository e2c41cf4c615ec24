//! Protocol: what a Service port's `appProtocol` says that its endpoints speak (Kubernetes KEP-3726; GEP-1911).

use genkan_routing::model::{HttpVersion, UpstreamTls};
use k8s_openapi::api::core::v1::ServicePort;

use super::{ClusterIssue, Transport};
use crate::resources::NamespacedName;

/// What the endpoints of a port speak. Without `appProtocol`: HTTP/1.1 in plaintext.
pub(super) fn of_port(
    service: &NamespacedName,
    port: Option<&ServicePort>,
    issues: &mut Vec<ClusterIssue>,
) -> Transport {
    let Some(protocol) = port.and_then(|port| port.app_protocol.as_deref()) else { return Transport::default() };
    of_word(protocol).unwrap_or_else(|| {
        issues.push(ClusterIssue::UnknownProtocol { service: service.clone(), protocol: protocol.to_owned() });
        Transport::default()
    })
}

/// Whether requests can be sent in a protocol.
pub(crate) fn is_of_requests(word: &str) -> bool {
    of_word(word).is_some()
}

/// Whether gRPC can: all of those but WebSocket.
pub(crate) fn is_of_calls(word: &str) -> bool {
    is_of_requests(word)
        && !matches!(&*word.to_ascii_lowercase(), "ws" | "wss" | "kubernetes.io/ws" | "kubernetes.io/wss")
}

fn of_word(protocol: &str) -> Option<Transport> {
    let unverified = || Some(UpstreamTls::UNVERIFIED);
    // Written in either case, as names of protocols in URIs are.
    let (version, tls) = match &*protocol.to_ascii_lowercase() {
        "http" | "ws" | "kubernetes.io/ws" => (HttpVersion::Http1, None),
        "h2c" | "kubernetes.io/h2c" | "grpc" => (HttpVersion::Http2, None),
        "https" | "wss" | "kubernetes.io/wss" => (HttpVersion::Http1, unverified()),
        _ => return None,
    };
    Some(Transport { version, tls })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_words_choose_version_and_tls() {
        for (word, version, tls) in [
            ("http", HttpVersion::Http1, false),
            ("https", HttpVersion::Http1, true),
            ("HTTPS", HttpVersion::Http1, true),
            ("h2c", HttpVersion::Http2, false),
            ("kubernetes.io/h2c", HttpVersion::Http2, false),
            ("ws", HttpVersion::Http1, false),
            ("kubernetes.io/ws", HttpVersion::Http1, false),
            ("wss", HttpVersion::Http1, true),
        ] {
            let transport = of_word(word).unwrap();
            assert_eq!((transport.version, transport.tls.is_some()), (version, tls), "{word}");
        }
        assert_eq!(of_word("mysql"), None);
        for (word, requests, calls) in
            [("http", true, true), ("H2C", true, true), ("wss", true, false), ("mysql", false, false)]
        {
            assert_eq!((is_of_requests(word), is_of_calls(word)), (requests, calls), "{word}");
        }
    }
}
