//! Annotations of ingress-nginx that are known and do not act: those without effect so far, those about security, which
//! fail closed, those about the inside of nginx, and raw configuration.
//!
//! A flat table. When one of them gets an effect, it moves to the file of its concept.

use crate::annotation::Annotation;
use crate::definition::{OFF, Risk, Scope};

/// Authentication and the web application firewall.
pub(crate) const AUTH: &[Annotation] = &[
    Annotation::not_yet_security("auth-url", "a URL", &[], "Asks this URL whether a request may pass").risk(Risk::High),
    Annotation::not_yet("auth-method", "an HTTP method", &[], "The method of the request to auth-url"),
    Annotation::not_yet("auth-signin", "a URL", &[], "Where a client without access is sent").risk(Risk::High),
    Annotation::not_yet(
        "auth-signin-redirect-param",
        "a query parameter",
        &["rd"],
        "The parameter that carries the original URL to auth-signin",
    )
    .risk(Risk::Medium),
    Annotation::not_yet(
        "auth-response-headers",
        "header names, separated by commas",
        &[],
        "Headers of auth-url's answer that the backend gets",
    )
    .risk(Risk::Medium),
    Annotation::not_yet(
        "auth-proxy-set-headers",
        "a ConfigMap: namespace/name",
        &[],
        "Further headers of the request to auth-url",
    )
    .risk(Risk::Medium),
    Annotation::not_yet("auth-request-redirect", "a URL", &[], "X-Auth-Request-Redirect of the request to auth-url")
        .risk(Risk::Medium),
    Annotation::not_yet("auth-cache-key", "text with $variables", &[], "Keeps answers of auth-url by this key")
        .risk(Risk::Medium),
    Annotation::not_yet(
        "auth-cache-duration",
        "statuses and a time, in a list separated by commas",
        &[],
        "How long answers of auth-url are kept",
    )
    .risk(Risk::Medium),
    Annotation::not_yet("auth-keepalive", "a whole number", &["0"], "Idle connections to the host of auth-url"),
    Annotation::not_yet(
        "auth-keepalive-requests",
        "a whole number",
        &["1000"],
        "Requests per kept connection to the host of auth-url",
    ),
    Annotation::not_yet(
        "auth-keepalive-timeout",
        "seconds",
        &["60"],
        "Idle time of a kept connection to the host of auth-url",
    ),
    Annotation::ignored(
        "auth-keepalive-share-vars",
        "true or false",
        "Shares nginx variables with the request to auth-url",
    ),
    Annotation::not_yet(
        "auth-always-set-cookie",
        "true or false",
        OFF,
        "Passes cookies of auth-url on with every status",
    ),
    Annotation::refused("auth-snippet", "Raw nginx configuration of the request to auth-url"),
    Annotation::not_yet_security(
        "satisfy",
        "any or all",
        &["all"],
        "Whether one of address list, password and auth-url is enough",
    ),
    Annotation::not_yet_security(
        "auth-tls-secret",
        "a Secret: namespace/name",
        &[],
        "Asks for a client certificate of this authority",
    )
    .risk(Risk::Medium)
    .scope(Scope::Host),
    Annotation::not_yet_security(
        "auth-tls-verify-client",
        "on, off, optional or optional_no_ca",
        &["off"],
        "Whether a client certificate is required",
    )
    .risk(Risk::Medium)
    .scope(Scope::Host),
    Annotation::not_yet("auth-tls-verify-depth", "a whole number", &["1"], "The longest chain of client certificates")
        .scope(Scope::Host),
    Annotation::not_yet(
        "auth-tls-error-page",
        "a URL or path",
        &[],
        "Where a client without a valid certificate is sent",
    )
    .risk(Risk::High)
    .scope(Scope::Host),
    Annotation::not_yet(
        "auth-tls-pass-certificate-to-upstream",
        "true or false",
        OFF,
        "Sends the client certificate to the backend",
    )
    .scope(Scope::Host),
    Annotation::not_yet_security(
        "auth-tls-match-cn",
        "CN= and a regular expression",
        &[],
        "Which client certificates pass",
    )
    .risk(Risk::High)
    .scope(Scope::Host),
    Annotation::not_yet_security("enable-modsecurity", "true or false", OFF, "Web application firewall"),
    Annotation::not_yet("enable-owasp-core-rules", "true or false", OFF, "The OWASP rules of enable-modsecurity"),
    Annotation::not_yet(
        "modsecurity-transaction-id",
        "text with $variables",
        &[],
        "The id of a request in the firewall's log",
    )
    .risk(Risk::High),
    Annotation::refused("modsecurity-snippet", "Raw rules of enable-modsecurity"),
];

/// TLS towards clients and backends.
pub(crate) const TLS: &[Annotation] = &[
    Annotation::not_yet("ssl-ciphers", "an OpenSSL list", &[], "Ciphers of TLS 1.2 for the host").scope(Scope::Host),
    Annotation::not_yet(
        "ssl-prefer-server-ciphers",
        "true or false",
        &["true"],
        "Whether the server's order of ciphers counts",
    )
    .scope(Scope::Host),
    Annotation::not_yet_security(
        "proxy-ssl-secret",
        "a Secret: namespace/name",
        &[],
        "The certificate shown to the backend, and the authorities of the backend's",
    )
    .risk(Risk::Medium)
    .scope(Scope::Host),
    Annotation::not_yet("proxy-ssl-ciphers", "an OpenSSL list", &["DEFAULT"], "Ciphers towards the backend")
        .risk(Risk::Medium),
    Annotation::not_yet("proxy-ssl-protocols", "TLSv1.2 and TLSv1.3", &[], "TLS versions towards the backend"),
    Annotation::not_yet("proxy-ssl-name", "a hostname", &[], "The name in the backend's certificate").risk(Risk::High),
    Annotation::not_yet_security("proxy-ssl-verify", "on or off", OFF, "Verifies the backend's certificate"),
    Annotation::not_yet(
        "proxy-ssl-verify-depth",
        "a whole number",
        &["1"],
        "The longest chain of the backend's certificates",
    ),
    Annotation::not_yet("proxy-ssl-server-name", "on or off", OFF, "Sends the server name to the backend"),
];

/// Cookie stickiness.
pub(crate) const AFFINITY: &[Annotation] = &[
    Annotation::not_yet("affinity", "cookie", &[], "Keeps a client on one endpoint by a cookie").scope(Scope::Service),
    Annotation::not_yet(
        "affinity-mode",
        "balanced or persistent",
        &["balanced"],
        "Whether clients move when endpoints are added",
    )
    .risk(Risk::Medium)
    .scope(Scope::Service),
    Annotation::not_yet(
        "affinity-canary-behavior",
        "sticky or legacy",
        &["sticky"],
        "Whether a client stays on its side of a canary",
    )
    .scope(Scope::Service),
    Annotation::not_yet("session-cookie-name", "a cookie name", &["INGRESSCOOKIE"], "The name of the affinity cookie")
        .risk(Risk::Medium)
        .scope(Scope::Service),
    Annotation::not_yet("session-cookie-path", "a path", &[], "The Path of the affinity cookie")
        .risk(Risk::Medium)
        .scope(Scope::Service),
    Annotation::not_yet("session-cookie-domain", "a domain", &[], "The Domain of the affinity cookie")
        .risk(Risk::Medium)
        .scope(Scope::Service),
    Annotation::not_yet("session-cookie-samesite", "None, Lax or Strict", &[], "The SameSite of the affinity cookie")
        .scope(Scope::Service),
    Annotation::not_yet(
        "session-cookie-conditional-samesite-none",
        "true or false",
        OFF,
        "Leaves SameSite=None out for browsers that misread it",
    )
    .scope(Scope::Service),
    Annotation::not_yet("session-cookie-secure", "true or false", OFF, "Marks the affinity cookie Secure")
        .scope(Scope::Service),
    Annotation::not_yet("session-cookie-expires", "seconds", &[], "The Expires of the affinity cookie")
        .risk(Risk::Medium)
        .scope(Scope::Service),
    Annotation::not_yet("session-cookie-max-age", "seconds", &[], "The Max-Age of the affinity cookie")
        .risk(Risk::Medium)
        .scope(Scope::Service),
    Annotation::not_yet(
        "session-cookie-change-on-failure",
        "true or false",
        OFF,
        "Moves a client whose endpoint failed",
    )
    .scope(Scope::Service),
    Annotation::ignored("session-cookie-hash", "text", "Has been without effect in ingress-nginx for years")
        .scope(Scope::Service),
];

/// The way to the backend.
pub(crate) const UPSTREAM: &[Annotation] = &[
    Annotation::not_yet(
        "upstream-hash-by-subset",
        "true or false",
        OFF,
        "upstream-hash-by chooses a few endpoints instead of one",
    )
    .scope(Scope::Service),
    Annotation::not_yet(
        "upstream-hash-by-subset-size",
        "a whole number",
        &["3"],
        "How many endpoints upstream-hash-by-subset chooses",
    )
    .scope(Scope::Service),
    Annotation::not_yet("proxy-http-version", "1.0 or 1.1", &["1.1"], "HTTP version towards the backend"),
    Annotation::ignored("proxy-busy-buffers-size", "a size", "Buffers that wait for the client"),
    Annotation::not_yet("proxy-cookie-domain", "off, or two domains", OFF, "Replaces the Domain of cookies")
        .risk(Risk::Medium),
    Annotation::not_yet("proxy-cookie-path", "off, or two paths", OFF, "Replaces the Path of cookies")
        .risk(Risk::Medium),
    Annotation::not_yet(
        "proxy-redirect-from",
        "off, default or a URL",
        &["off", "default"],
        "What is replaced in the backend's Location",
    )
    .risk(Risk::Medium),
    Annotation::not_yet("proxy-redirect-to", "off or a URL", OFF, "What proxy-redirect-from is replaced by")
        .risk(Risk::Medium),
    Annotation::not_yet(
        "connection-proxy-header",
        "close or keep-alive",
        &[],
        "The Connection header that the backend sees",
    ),
    Annotation::not_yet("x-forwarded-prefix", "a path", &[], "X-Forwarded-Prefix for the backend, with rewrite-target")
        .risk(Risk::Medium),
    Annotation::not_yet("limit-rate", "KiB per second", &["0"], "Bandwidth of a response"),
    Annotation::not_yet("limit-rate-after", "KiB", &["0"], "What a response may send before limit-rate begins"),
    Annotation::not_yet("mirror-target", "a URL", &[], "Sends a copy of each request here").risk(Risk::High),
    Annotation::not_yet("mirror-request-body", "on or off", &["on", "off"], "Whether the copy has the body"),
    Annotation::not_yet("mirror-host", "a hostname", &[], "The Host of the copy").risk(Risk::High),
    Annotation::not_yet("fastcgi-index", "a file name", &[], "The script for a URI that ends with a slash")
        .risk(Risk::Medium),
    Annotation::not_yet("fastcgi-params-configmap", "a ConfigMap: name", &[], "Parameters of FastCGI")
        .risk(Risk::Medium),
    Annotation::ignored("http2-push-preload", "true or false", "HTTP/2 push, which browsers no longer know"),
];

/// Hosts, errors, tracing and raw configuration.
pub(crate) const OTHER: &[Annotation] = &[
    Annotation::not_yet("server-alias", "hostnames, separated by commas", &[], "Further names for the Ingress's hosts")
        .risk(Risk::High)
        .scope(Scope::Host),
    Annotation::not_yet("from-to-www-redirect", "true or false", OFF, "Redirects between a host and www. before it")
        .scope(Scope::Host),
    Annotation::not_yet(
        "relative-redirects",
        "true or false",
        OFF,
        "Leaves scheme and host out of the proxy's own Location",
    ),
    Annotation::not_yet(
        "custom-http-errors",
        "statuses, separated by commas",
        &[],
        "Statuses whose page comes from the default backend",
    ),
    Annotation::not_yet(
        "default-backend",
        "a Service of the same namespace",
        &[],
        "Answers when no endpoint is there, and for custom-http-errors",
    ),
    Annotation::not_yet(
        "disable-proxy-intercept-errors",
        "true or false",
        OFF,
        "Leaves the backend's error pages alone",
    ),
    Annotation::not_yet("custom-headers", "a ConfigMap: namespace/name", &[], "Sets response headers")
        .risk(Risk::Medium),
    Annotation::ignored("enable-rewrite-log", "true or false", "Logs nginx's rewrites"),
    Annotation::not_yet("enable-opentelemetry", "true or false", OFF, "Traces requests"),
    Annotation::not_yet(
        "opentelemetry-trust-incoming-span",
        "true or false",
        &["true", "false"],
        "Continues the client's trace",
    ),
    Annotation::not_yet("opentelemetry-operation-name", "text", &[], "The name of the span").risk(Risk::Medium),
    Annotation::ignored("enable-influxdb", "true or false", "Removed from ingress-nginx"),
    Annotation::ignored("influxdb-measurement", "text", "Removed from ingress-nginx"),
    Annotation::ignored("influxdb-port", "a port", "Removed from ingress-nginx"),
    Annotation::ignored("influxdb-host", "a host", "Removed from ingress-nginx"),
    Annotation::ignored("influxdb-server-name", "text", "Removed from ingress-nginx"),
    Annotation::not_yet(
        "secure-verify-ca-secret",
        "a Secret",
        &[],
        "Removed from ingress-nginx; proxy-ssl-secret took its place",
    ),
    Annotation::refused("configuration-snippet", "Raw nginx configuration of a location"),
    Annotation::refused("server-snippet", "Raw nginx configuration of a server").scope(Scope::Host),
    Annotation::refused("stream-snippet", "Raw nginx configuration of TCP and UDP").scope(Scope::Controller),
];
