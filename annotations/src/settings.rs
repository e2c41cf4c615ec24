//! The effective settings of one Ingress: annotation over ConfigMap over built-in default, typed and combined.
//!
//! Plain data. How they come about is in the file of each concept; what becomes of them is the translator's business.

use std::sync::Arc;

use genkan_routing::name::{Hostname, HostnameError};
use genkan_routing::policy::body_limit::BodyLimit;
use genkan_routing::policy::canary::CanaryHeader;
use genkan_routing::policy::connection_limit::ConnectionLimit;
use genkan_routing::policy::cors::Cors;
use genkan_routing::policy::ip_access::IpAccess;
use genkan_routing::policy::load_balance::LoadBalance;
use genkan_routing::policy::rate_limit::RateLimit;
use genkan_routing::policy::redirect::Redirect;
use genkan_routing::policy::retry::Retry;
use genkan_routing::policy::rewrite::Template;
use genkan_routing::policy::timeouts::Timeouts;
use serde::Serialize;

use crate::buffering::BufferingSettings;
use crate::config_map::GlobalConfig;
use crate::ip_access;

/// What the annotations of one Ingress ask for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct IngressSettings {
    /// The Ingress as a whole is not used: a value that ingress-nginx's admission refuses, a snippet, a word of the
    /// blocklist. The translator decides whether an older version stays.
    pub rejected: bool,
    /// Every path of the Ingress answers 503, for this reason: a security setting that can't be understood or is not
    /// supported.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deny: Option<String>,
    /// Every path of the Ingress but those of `no-auth-locations` answers 503, for this reason: authentication that is
    /// not supported.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deny_authentication: Option<String>,
    /// HTTP to HTTPS.
    pub https_redirect: HttpsRedirectSettings,
    /// `app-root`: `/` of every host of the Ingress leads here with 302; begins with `/`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app_root: Option<String>,
    /// `rewrite-target`. Has no effect on a path whose text equals [`RewriteTarget::source`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rewrite_target: Option<RewriteTarget>,
    /// `use-regex`: all paths of the Ingress's hosts are regular expressions.
    pub use_regex: bool,
    /// `upstream-vhost`: the `Host` that backends see.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream_vhost: Option<UpstreamVhost>,
    /// `temporal-redirect`, else `permanent-redirect`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redirect: Option<Redirect>,
    /// `limit-rps` and `limit-rpm`, each with its zone; both apply.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rate_limits: Vec<RateLimit>,
    /// `limit-connections`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection_limit: Option<ConnectionLimit>,
    /// `enable-cors` and `cors-*`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cors: Option<Cors>,
    /// `proxy-body-size`; `None` is without limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body_limit: Option<BodyLimit>,
    /// Allow and deny lists, `block-cidrs` included; `None` when both are empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip_access: Option<IpAccess>,
    /// `auth-type: basic`, for every path but those of `no-auth-locations`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub basic_auth: Option<BasicAuthSettings>,
    /// `canary: "true"`: the Ingress creates nothing of its own and takes requests from another's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canary: Option<CanarySettings>,
    /// `proxy-request-buffering`, `proxy-buffering` and what belongs to it.
    pub buffering: BufferingSettings,
    /// `proxy-connect-timeout`, `-send-timeout`, `-read-timeout`.
    pub timeouts: Arc<Timeouts>,
    /// `proxy-next-upstream*`.
    pub retry: Arc<Retry>,
    /// `backend-protocol`.
    pub backend_protocol: BackendProtocol,
    /// `upstream-hash-by`, else `load-balance`.
    pub load_balance: LoadBalance,
    /// Whether `upstream-hash-by` or `load-balance` is written on this Ingress. The first Ingress that writes one
    /// decides for a Service port that several share.
    pub load_balance_explicit: bool,
    /// `service-upstream`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub service_upstream: bool,
    /// `ssl-passthrough`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub passthrough: bool,
    /// `enable-access-log`.
    pub access_log: bool,
}

/// When and how HTTP is sent to HTTPS (`ssl-redirect`, `force-ssl-redirect`, `preserve-trailing-slash`,
/// `use-port-in-redirects`, ConfigMap `http-redirect-code`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpsRedirectSettings {
    /// Where the host has a certificate (`ssl-redirect`, true).
    pub ssl_redirect: bool,
    /// Also where it has none (`force-ssl-redirect`, false).
    pub force: bool,
    /// Keep a final `/` (`preserve-trailing-slash`, false).
    pub preserve_trailing_slash: bool,
    /// Write the HTTPS port into the `Location` (`use-port-in-redirects`, false).
    pub use_port: bool,
    /// 301, 302, 307 or 308 (`http-redirect-code`, 308).
    pub status: u16,
}

/// Where passwords are (`auth-secret`), and how they are asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BasicAuthSettings {
    /// The Secret's namespace, where it is written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The Secret.
    pub secret: String,
    /// What is in it (`auth-secret-type`).
    pub layout: PasswordLayout,
    /// `auth-realm`, empty.
    pub realm: String,
}

/// How a Secret holds passwords.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum PasswordLayout {
    /// The key `auth` holds lines of htpasswd.
    #[default]
    File,
    /// Each key is a user, and its value the hash.
    Map,
}

/// A `rewrite-target`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RewriteTarget {
    /// As written, to compare with the rule's path.
    pub source: String,
    /// Parsed: literals and `$n`.
    pub template: Template,
}

/// An `upstream-vhost`. What only the backend knows is filled in by [`UpstreamVhost::resolve`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct UpstreamVhost {
    parts: Vec<VhostPart>,
}

/// A part of an [`UpstreamVhost`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum VhostPart {
    /// Text as it is.
    Literal(String),
    /// `$service_name`.
    ServiceName,
    /// `$service_port`.
    ServicePort,
}

/// A canary's rules, before its backend is known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CanarySettings {
    /// `canary-by-header` with `-value` or `-pattern`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<CanaryHeader>,
    /// `canary-by-cookie`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cookie: Option<String>,
    /// `canary-weight`, 0.
    pub weight: u32,
    /// `canary-weight-total`, at least 100.
    pub total: u32,
}

/// What endpoints speak (`backend-protocol`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum BackendProtocol {
    /// HTTP/1.1 in plaintext.
    #[default]
    Http,
    /// HTTP/1.1 over TLS; the certificate is not verified and no server name is sent.
    Https,
    /// HTTP/2 in plaintext by prior knowledge.
    Grpc,
    /// HTTP/2 over TLS, as [`Self::Https`].
    Grpcs,
}

impl BackendProtocol {
    /// Whether endpoints are spoken to over TLS.
    pub fn is_tls(self) -> bool {
        matches!(self, Self::Https | Self::Grpcs)
    }

    /// Whether endpoints are spoken to in HTTP/2.
    pub fn is_http2(self) -> bool {
        matches!(self, Self::Grpc | Self::Grpcs)
    }
}

impl Default for HttpsRedirectSettings {
    fn default() -> Self {
        Self { ssl_redirect: true, force: false, preserve_trailing_slash: false, use_port: false, status: 308 }
    }
}

impl UpstreamVhost {
    /// A vhost of these parts.
    pub(crate) fn new(parts: Vec<VhostPart>) -> Self {
        Self { parts }
    }

    /// The hostname for a backend: the Service's name and the port as the rule writes it.
    pub fn resolve(&self, service_name: &str, service_port: &str) -> Result<Hostname, HostnameError> {
        let part = |part: &VhostPart| match part {
            VhostPart::Literal(text) => text.clone(),
            VhostPart::ServiceName => service_name.to_owned(),
            VhostPart::ServicePort => service_port.to_owned(),
        };
        Hostname::parse(&self.parts.iter().map(part).collect::<String>())
    }
}

impl IngressSettings {
    /// The settings of an Ingress without annotations.
    pub fn from_global(global: &GlobalConfig) -> Self {
        Self {
            rejected: false,
            deny: global.denial(&[]).cloned(),
            deny_authentication: global.authentication_denial(&[]).cloned(),
            https_redirect: global.https_redirect,
            app_root: None,
            rewrite_target: None,
            use_regex: false,
            upstream_vhost: None,
            redirect: None,
            rate_limits: Vec::new(),
            connection_limit: None,
            cors: None,
            body_limit: global.body_limit,
            ip_access: ip_access::combine(&global.block_cidrs, global.deny.clone(), global.allow.clone()),
            basic_auth: None,
            canary: None,
            buffering: global.buffering,
            timeouts: global.timeouts.clone(),
            retry: global.retry.clone(),
            backend_protocol: BackendProtocol::default(),
            load_balance: global.load_balance.clone(),
            load_balance_explicit: false,
            service_upstream: global.service_upstream,
            passthrough: false,
            access_log: true,
        }
    }
}
