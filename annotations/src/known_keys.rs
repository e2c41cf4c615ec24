//! ConfigMap keys of ingress-nginx that are known and do not act: those without effect so far, those about security, which
//! fail closed, those about the inside of nginx, and raw configuration.
//!
//! A flat table. When one of them gets an effect, it moves to the file of its concept.

use crate::config_map::Key;
use crate::definition::OFF;

/// Headers, listeners, errors and limits of HTTP.
pub(crate) const HTTP: &[Key] = &[
    Key::not_yet(
        "allow-cross-namespace-resources",
        "true or false",
        OFF,
        "Lets annotations name Secrets of other namespaces",
    ),
    Key::not_yet(
        "global-allowed-response-headers",
        "header names, separated by commas",
        &[],
        "Names that the annotation custom-headers may set",
    ),
    Key::not_yet("add-headers", "a ConfigMap: namespace/name", &[], "Sets response headers everywhere"),
    Key::not_yet("proxy-set-headers", "a ConfigMap: namespace/name", &[], "Sets request headers everywhere"),
    Key::not_yet("hide-headers", "header names, separated by commas", &[], "Removes response headers of backends"),
    Key::not_yet("allow-backend-server-header", "true or false", OFF, "Passes the backend's Server header on"),
    Key::not_yet("server-tokens", "true or false", OFF, "Names the proxy in a Server header and on error pages"),
    Key::not_yet(
        "ignore-invalid-headers",
        "true or false",
        &["true"],
        "Drops request headers with a bad name instead of answering 400",
    ),
    Key::not_yet(
        "forwarded-for-proxy-protocol-header",
        "a header name",
        &["X-Forwarded-For-Proxy-Protocol"],
        "Carries the PROXY address inside nginx",
    ),
    Key::not_yet(
        "forwarded-host-header",
        "a header name",
        &["X-Forwarded-Host"],
        "What X-Original-Forwarded-Host is made of",
    ),
    Key::not_yet("proxy-protocol-header-timeout", "a duration", &["5s"], "Time for a PROXY header"),
    Key::not_yet("relative-redirects", "true or false", OFF, "Default of the annotation"),
    Key::not_yet("custom-http-errors", "statuses, separated by commas", &[], "Default of the annotation"),
    Key::not_yet("disable-proxy-intercept-errors", "true or false", OFF, "Turns custom-http-errors off"),
    Key::not_yet("limit-rate", "KiB per second", &["0"], "Default of the annotation"),
    Key::not_yet("limit-rate-after", "KiB", &["0"], "Default of the annotation"),
    Key::not_yet(
        "limit-conn-zone-variable",
        "a $variable",
        &["$binary_remote_addr"],
        "What the limits tell clients apart by",
    ),
    Key::not_yet(
        "block-user-agents",
        "texts and regular expressions, separated by commas",
        &[],
        "Answers these User-Agents with 403",
    ),
    Key::not_yet(
        "block-referers",
        "texts and regular expressions, separated by commas",
        &[],
        "Answers these Referers with 403",
    ),
    Key::not_yet("bind-address", "IP addresses, separated by commas", &[], "The addresses of the listeners"),
    Key::not_yet("disable-ipv6", "true or false", OFF, "Opens no IPv6 listeners"),
    Key::not_yet("disable-ipv6-dns", "true or false", OFF, "Asks for no IPv6 addresses of external names"),
    Key::not_yet("gzip-disable", "regular expressions", &[], "User-Agents that get no gzip"),
    Key::not_yet("enable-brotli", "true or false", OFF, "Compresses responses with Brotli"),
    Key::not_yet("brotli-level", "0 to 11", &["4"], "How hard Brotli tries"),
    Key::not_yet("brotli-min-length", "bytes", &["20"], "Responses with a smaller Content-Length are left alone"),
    Key::not_yet("brotli-types", "media types, separated by spaces", &[], "Which media types Brotli compresses"),
];

/// The way to the backend.
pub(crate) const UPSTREAM: &[Key] = &[
    Key::not_yet(
        "proxy-ssl-location-only",
        "true or false",
        &["true", "false"],
        "Keeps proxy-ssl annotations to their own paths",
    ),
    Key::not_yet("proxy-http-version", "1.0 or 1.1", &["1.1"], "Default of the annotation"),
    Key::not_yet("proxy-cookie-domain", "off, or two domains", OFF, "Default of the annotation"),
    Key::not_yet("proxy-cookie-path", "off, or two paths", OFF, "Default of the annotation"),
    Key::not_yet("proxy-redirect-from", "off, default or a URL", &["off", "default"], "Default of the annotation"),
    Key::not_yet("proxy-redirect-to", "off or a URL", OFF, "Default of the annotation"),
];

/// TLS towards clients.
pub(crate) const TLS: &[Key] = &[
    Key::not_yet("ssl-protocols", "TLSv1.2 and TLSv1.3", &["TLSv1.2 TLSv1.3"], "TLS versions; both are always on"),
    Key::not_yet("ssl-ciphers", "an OpenSSL list", &[], "Ciphers of TLS 1.2"),
    Key::not_yet("ssl-ecdh-curve", "a list of groups", &["auto"], "Groups of the key exchange"),
    Key::not_yet("ssl-dh-param", "a Secret: namespace/name", &[], "Diffie-Hellman parameters"),
    Key::not_yet("ssl-early-data", "true or false", OFF, "Requests in the first flight of TLS 1.3"),
    Key::not_yet("ssl-session-cache", "true or false", &["true"], "Remembers TLS 1.2 sessions"),
    Key::not_yet("ssl-session-cache-size", "a size", &["10m"], "Memory of ssl-session-cache"),
    Key::not_yet("ssl-session-timeout", "a time", &["10m"], "How long TLS sessions are remembered"),
    Key::not_yet("ssl-session-tickets", "true or false", OFF, "Hands TLS sessions to clients"),
    Key::not_yet("ssl-session-ticket-key", "base64 of 48 or 80 bytes", &[], "The key of ssl-session-tickets"),
    Key::not_yet("ssl-reject-handshake", "true or false", OFF, "Refuses handshakes for unknown names"),
    Key::not_yet("enable-ocsp", "true or false", OFF, "Staples OCSP answers"),
    Key::ignored("ssl-buffer-size", "a size", "Buffer of TLS records"),
];

/// Authentication and the web application firewall.
pub(crate) const AUTH: &[Key] = &[
    Key::not_yet_security("global-auth-url", "a URL", &[], "Asks this URL whether a request may pass, everywhere"),
    Key::not_yet("global-auth-method", "an HTTP method", &[], "The method of the request to global-auth-url"),
    Key::not_yet("global-auth-signin", "a URL", &[], "Where a client without access is sent"),
    Key::not_yet(
        "global-auth-signin-redirect-param",
        "a query parameter",
        &["rd"],
        "The parameter that carries the original URL to global-auth-signin",
    ),
    Key::not_yet(
        "global-auth-response-headers",
        "header names, separated by commas",
        &[],
        "Headers of global-auth-url's answer that the backend gets",
    ),
    Key::not_yet(
        "global-auth-request-redirect",
        "a URL",
        &[],
        "X-Auth-Request-Redirect of the request to global-auth-url",
    ),
    Key::not_yet("global-auth-cache-key", "text with $variables", &[], "Keeps answers of global-auth-url by this key"),
    Key::not_yet(
        "global-auth-cache-duration",
        "statuses and a time, in a list separated by commas",
        &[],
        "How long answers of global-auth-url are kept",
    ),
    Key::not_yet(
        "global-auth-always-set-cookie",
        "true or false",
        OFF,
        "Passes cookies of global-auth-url on with every status",
    ),
    Key::refused("global-auth-snippet", "Raw nginx configuration of the request to global-auth-url"),
    Key::not_yet_security("enable-modsecurity", "true or false", OFF, "Web application firewall"),
    Key::not_yet("enable-owasp-modsecurity-crs", "true or false", OFF, "The OWASP rules of enable-modsecurity"),
    Key::refused("modsecurity-snippet", "Raw rules of enable-modsecurity"),
];

/// Logs and tracing.
pub(crate) const LOG: &[Key] = &[
    Key::not_yet(
        "access-log-path",
        "a path",
        &["/var/log/nginx/access.log", "/dev/stdout"],
        "Where the access log is written; it is standard output",
    ),
    Key::not_yet("http-access-log-path", "a path", &["/dev/stdout"], "Where the access log of HTTP is written"),
    Key::not_yet(
        "stream-access-log-path",
        "a path",
        &["/dev/stdout"],
        "Where the access log of TCP and UDP is written",
    ),
    Key::not_yet("enable-auth-access-log", "true or false", OFF, "Logs the requests to auth-url"),
    Key::not_yet("skip-access-log-urls", "URIs, separated by commas", &[], "URIs that are not logged"),
    Key::not_yet(
        "error-log-path",
        "a path",
        &["/var/log/nginx/error.log", "/dev/stderr"],
        "Where the error log is written; it is standard error",
    ),
    Key::not_yet(
        "error-log-level",
        "debug, info, notice, warn, error, crit, alert or emerg",
        &["notice"],
        "The least severity of the error log",
    ),
    Key::not_yet("enable-syslog", "true or false", OFF, "Sends logs to syslog"),
    Key::not_yet("syslog-host", "a host", &[], "Where enable-syslog sends to"),
    Key::not_yet("syslog-port", "a port", &["514"], "Where enable-syslog sends to"),
    Key::not_yet("enable-opentelemetry", "true or false", OFF, "Traces requests"),
    Key::not_yet("opentelemetry-operation-name", "text", &[], "The name of the span"),
    Key::not_yet(
        "opentelemetry-trust-incoming-span",
        "true or false",
        &["true", "false"],
        "Continues the client's trace",
    ),
    Key::not_yet("otlp-collector-host", "a host", &[], "Where traces are sent"),
    Key::not_yet("otlp-collector-port", "a port", &["4317"], "Where traces are sent"),
    Key::not_yet("otel-service-name", "text", &["nginx"], "The service of the traces"),
    Key::not_yet(
        "otel-sampler",
        "AlwaysOn, AlwaysOff or TraceIdRatioBased",
        &["AlwaysOn", "AlwaysOff"],
        "Which requests are traced",
    ),
    Key::not_yet("otel-sampler-ratio", "a fraction", &["0.01"], "The share of requests that are traced"),
    Key::not_yet(
        "otel-sampler-parent-based",
        "true or false",
        &["true", "false"],
        "Follows the client's decision to trace",
    ),
    Key::not_yet("otel-max-queuesize", "a whole number", &["2048"], "Spans that wait to be sent"),
    Key::not_yet("otel-schedule-delay-millis", "milliseconds", &["5000"], "Time between two sendings of spans"),
    Key::not_yet("otel-max-export-batch-size", "a whole number", &["512"], "Spans per sending"),
];

/// The inside of nginx, and raw configuration.
pub(crate) const NGINX: &[Key] = &[
    Key::not_yet("worker-processes", "auto or a whole number", &["auto"], "Threads; one per core is used"),
    Key::ignored("proxy-busy-buffers-size", "a size", "Buffers that wait for the client"),
    Key::ignored("client-header-buffer-size", "a size", "First buffer of a request's head"),
    Key::ignored("http2-max-field-size", "a size", "Removed from nginx; large-client-header-buffers limits heads"),
    Key::ignored("http2-max-header-size", "a size", "Removed from nginx; large-client-header-buffers limits heads"),
    Key::ignored("http2-max-requests", "a whole number", "Removed from nginx; keep-alive-requests limits connections"),
    Key::ignored("reuse-port", "true or false", "One listening socket per worker"),
    Key::ignored("access-log-params", "text", "Buffering of nginx's log file"),
    Key::ignored(
        "debug-connections",
        "IP addresses and networks, separated by commas",
        "nginx's debug log for these clients",
    ),
    Key::ignored("opentelemetry-config", "a path", "The file of nginx's tracing module"),
    Key::ignored("worker-cpu-affinity", "text", "Binds workers to cores"),
    Key::ignored("max-worker-connections", "a whole number", "Connections per worker"),
    Key::ignored("max-worker-open-files", "a whole number", "Open files per worker"),
    Key::ignored("enable-multi-accept", "true or false", "Accepts several connections at once"),
    Key::ignored("enable-aio-write", "true or false", "Writes files asynchronously"),
    Key::ignored("enable-serial-reloads", "true or false", "Queues reloads; there are none"),
    Key::ignored("map-hash-bucket-size", "a whole number", "Hash tables of nginx"),
    Key::ignored("server-name-hash-max-size", "a whole number", "Hash tables of nginx"),
    Key::ignored("server-name-hash-bucket-size", "a whole number", "Hash tables of nginx"),
    Key::ignored("proxy-headers-hash-max-size", "a whole number", "Hash tables of nginx"),
    Key::ignored("proxy-headers-hash-bucket-size", "a whole number", "Hash tables of nginx"),
    Key::ignored("variables-hash-bucket-size", "a whole number", "Hash tables of nginx"),
    Key::ignored("variables-hash-max-size", "a whole number", "Hash tables of nginx"),
    Key::ignored("lua-shared-dicts", "names and sizes, separated by commas", "Shared memory of nginx's scripts"),
    Key::ignored("default-type", "a media type", "The type of nginx's own bodies"),
    Key::ignored("grpc-buffer-size-kb", "KiB", "Buffer of gRPC responses"),
    Key::ignored(
        "nginx-status-ipv4-whitelist",
        "IP addresses, separated by commas",
        "Who may read nginx's status page",
    ),
    Key::ignored(
        "nginx-status-ipv6-whitelist",
        "IP addresses, separated by commas",
        "Who may read nginx's status page",
    ),
    Key::not_yet("use-geoip2", "true or false", OFF, "Looks up where clients are"),
    Key::ignored("geoip2-autoreload-in-minutes", "minutes", "How often the data of use-geoip2 is read again"),
    Key::ignored("app-root", "text", "Without effect in ingress-nginx, too: write the annotation"),
    Key::ignored("upstream-hash-by", "text", "Without effect in ingress-nginx, too: write the annotation"),
    Key::ignored(
        "upstream-hash-by-subset",
        "true or false",
        "Without effect in ingress-nginx, too: write the annotation",
    ),
    Key::ignored(
        "upstream-hash-by-subset-size",
        "a whole number",
        "Without effect in ingress-nginx, too: write the annotation",
    ),
    Key::refused("main-snippet", "Raw nginx configuration"),
    Key::refused("http-snippet", "Raw nginx configuration of HTTP"),
    Key::refused("server-snippet", "Raw nginx configuration of every server"),
    Key::refused("location-snippet", "Raw nginx configuration of every location"),
    Key::refused("stream-snippet", "Raw nginx configuration of TCP and UDP"),
];
