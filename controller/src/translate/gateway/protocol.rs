//! Protocols of listeners, as Gateway API names them, and which routes each can serve.

use genkan_routing::model::Protocol;

use super::allowed::RouteKind;

/// What a listener speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum ListenerProtocol {
    /// HTTP in plaintext.
    Http,
    /// HTTP in TLS.
    Https,
    /// Anything in TLS.
    Tls(TlsMode),
    /// TCP connections as they are.
    Tcp,
    /// UDP sessions.
    Udp,
}

/// Where the TLS of a listener ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum TlsMode {
    /// Here.
    Terminate,
    /// At the backend.
    Passthrough,
}

impl ListenerProtocol {
    /// The API's name.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Http => "HTTP",
            Self::Https => "HTTPS",
            Self::Tls(_) => "TLS",
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        }
    }

    /// Whether TLS ends here, so that there are certificates.
    pub(crate) fn opens_tls(self) -> bool {
        matches!(self, Self::Https | Self::Tls(TlsMode::Terminate))
    }

    /// Whether its routes are of streams.
    pub(crate) fn is_stream(self) -> bool {
        matches!(self, Self::Tls(_) | Self::Tcp | Self::Udp)
    }

    /// The routes that it can serve: `supportedKinds` of a listener that lists none, in order.
    pub(crate) fn route_kinds(self) -> &'static [RouteKind] {
        match self {
            Self::Http | Self::Https => &[RouteKind::Http, RouteKind::Grpc],
            Self::Tls(_) => &[RouteKind::Tls],
            Self::Tcp => &[RouteKind::Tcp],
            Self::Udp => &[RouteKind::Udp],
        }
    }

    /// What the model's listener on the port speaks. HTTPS and TLS share ports: the client's server name tells them
    /// apart.
    pub(crate) fn on_port(self) -> Protocol {
        match self {
            Self::Http => Protocol::Http,
            Self::Https | Self::Tls(_) => Protocol::Https,
            Self::Tcp => Protocol::Tcp,
            Self::Udp => Protocol::Udp,
        }
    }
}
