//! Access log: the line per request, TCP connection or UDP session (ConfigMap `log-format-upstream`,
//! `log-format-stream`, `log-format-escape-json`, ...).

use serde::Serialize;

/// ingress-nginx's default line (`log-format-upstream`).
pub const DEFAULT_FORMAT: &str = "$remote_addr - $remote_user [$time_local] \"$request\" $status $body_bytes_sent \
    \"$http_referer\" \"$http_user_agent\" $request_length $request_time [$proxy_upstream_name] \
    [$proxy_alternative_upstream_name] $upstream_addr $upstream_response_length $upstream_response_time \
    $upstream_status $req_id";

/// ingress-nginx's default line of TCP and UDP (`log-format-stream`).
pub const DEFAULT_STREAM_FORMAT: &str =
    "[$remote_addr] [$time_local] $protocol $status $bytes_sent $bytes_received $session_time";

/// The `$variables` of a line of TCP or UDP, sorted.
pub const STREAM_VARIABLES: &[&str] = &[
    "bytes_received",
    "bytes_sent",
    "connection",
    "hostname",
    "msec",
    "protocol",
    "proxy_protocol_addr",
    "proxy_protocol_port",
    "proxy_upstream_name",
    "remote_addr",
    "remote_port",
    "server_addr",
    "server_port",
    "session_time",
    "status",
    "time_iso8601",
    "time_local",
    "upstream_addr",
    "upstream_bytes_received",
    "upstream_bytes_sent",
    "upstream_connect_time",
    "upstream_session_time",
];

/// Whether `$name` may stand in a line of TCP or UDP.
pub fn is_stream_variable(name: &str) -> bool {
    STREAM_VARIABLES.binary_search(&name).is_ok()
}

/// The `$variables` of a log line, sorted. What has no value is written as [`Escape`] says.
pub const VARIABLES: &[&str] = &[
    "args",
    "best_http_host",
    "body_bytes_sent",
    "bytes_sent",
    "connection",
    "connection_requests",
    "content_length",
    "content_type",
    "escaped_request_uri",
    "host",
    "hostname",
    "ingress_name",
    "is_args",
    "location_path",
    "msec",
    "namespace",
    "pass_access_scheme",
    "pass_port",
    "pass_server_port",
    "proxy_add_x_forwarded_for",
    "proxy_alternative_upstream_name",
    "proxy_protocol_addr",
    "proxy_protocol_port",
    "proxy_upstream_name",
    "query_string",
    "remote_addr",
    "remote_port",
    "remote_user",
    "req_id",
    "request",
    "request_id",
    "request_length",
    "request_method",
    "request_time",
    "request_uri",
    "scheme",
    "server_addr",
    "server_name",
    "server_port",
    "server_protocol",
    "service_name",
    "service_port",
    "ssl_cipher",
    "ssl_client_i_dn",
    "ssl_client_s_dn",
    "ssl_client_verify",
    "ssl_protocol",
    "ssl_server_name",
    "status",
    "the_real_ip",
    "time_iso8601",
    "time_local",
    "upstream_addr",
    "upstream_connect_time",
    "upstream_header_time",
    "upstream_response_length",
    "upstream_response_time",
    "upstream_status",
    "uri",
];

/// What begins the variables that name a header, cookie or query parameter: `$http_user_agent`, `$cookie_session`.
pub const VARIABLE_PREFIXES: &[&str] = &["http_", "sent_http_", "upstream_http_", "cookie_", "arg_"];

/// Whether `$name` may stand in a log line.
pub fn is_variable(name: &str) -> bool {
    let named = |prefix: &&str| name.strip_prefix(*prefix).is_some_and(|rest| !rest.is_empty());
    VARIABLES.binary_search(&name).is_ok() || VARIABLE_PREFIXES.iter().any(named)
}

/// A part of a log format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FormatPart<'f> {
    /// Text as it is.
    Literal(&'f str),
    /// The name of a variable, known or not; written `$name` or `${name}`.
    Variable(&'f str),
}

/// The parts of a log format in order. A `$` that begins no name is literal.
pub fn format_parts(format: &str) -> Vec<FormatPart<'_>> {
    let mut parts = Vec::new();
    let mut literal_from = 0;
    let mut at = 0;
    while let Some(dollar) = format[at..].find('$').map(|found| at + found) {
        let after = &format[dollar + 1..];
        let braced = after.strip_prefix('{').and_then(|inner| inner.split_once('}')).map(|(name, _)| name);
        let name = braced.unwrap_or_else(|| &after[..name_length(after)]);
        at = dollar + 1;
        if name.is_empty() || name_length(name) != name.len() {
            continue;
        }
        if literal_from < dollar {
            parts.push(FormatPart::Literal(&format[literal_from..dollar]));
        }
        parts.push(FormatPart::Variable(name));
        at += name.len() + if braced.is_some() { 2 } else { 0 };
        literal_from = at;
    }
    if literal_from < format.len() {
        parts.push(FormatPart::Literal(&format[literal_from..]));
    }
    parts
}

/// How many bytes at the start of `text` can be a variable's name.
fn name_length(text: &str) -> usize {
    text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(text.len())
}

/// How variables are written into the line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Escape {
    /// nginx's default: `\xNN` for `"`, `\` and control bytes; an empty value is `-`.
    #[default]
    Default,
    /// JSON string escapes; an empty value stays empty (`log-format-escape-json`).
    Json,
    /// No escaping; an empty value stays empty (`log-format-escape-none`).
    None,
}

/// Where and how requests are logged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AccessLog {
    /// False turns the log off (`disable-access-log`, `disable-http-access-log`).
    pub enabled: bool,
    /// nginx log format text with `$variables`; each is known, checked when the ConfigMap was read.
    pub format: String,
    /// How variables are escaped.
    pub escape: Escape,
    /// Also log requests that no rule of a user matched (`enable-access-log-for-default-backend`).
    pub default_backend: bool,
    /// The line per TCP connection and UDP session.
    pub stream: StreamLog,
}

/// Whether and how TCP connections and UDP sessions are logged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StreamLog {
    /// False turns it off (`disable-access-log`, `disable-stream-access-log`).
    pub enabled: bool,
    /// As [`AccessLog::format`], with the variables of [`STREAM_VARIABLES`] (`log-format-stream`).
    pub format: String,
}

impl Default for StreamLog {
    fn default() -> Self {
        Self { enabled: true, format: DEFAULT_STREAM_FORMAT.to_owned() }
    }
}

impl Default for AccessLog {
    fn default() -> Self {
        Self {
            enabled: true,
            format: DEFAULT_FORMAT.to_owned(),
            escape: Escape::Default,
            default_backend: false,
            stream: StreamLog::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_sorted_so_that_they_can_be_searched() {
        assert!(VARIABLES.is_sorted() && STREAM_VARIABLES.is_sorted());
    }

    #[test]
    fn every_variable_of_the_default_lines_is_known() {
        for (format, is_known) in
            [(DEFAULT_FORMAT, is_variable as fn(&str) -> bool), (DEFAULT_STREAM_FORMAT, is_stream_variable)]
        {
            for part in format_parts(format) {
                if let FormatPart::Variable(name) = part {
                    assert!(is_known(name), "{name}");
                }
            }
        }
    }

    #[test]
    fn formats_are_cut_into_literals_and_names() {
        use FormatPart::{Literal, Variable};
        assert_eq!(
            format_parts("a $host-${uri}x $ ${} ${a b} $"),
            [Literal("a "), Variable("host"), Literal("-"), Variable("uri"), Literal("x $ ${} ${a b} $")]
        );
        assert_eq!(format_parts("$a$b"), [Variable("a"), Variable("b")]);
        assert_eq!(format_parts(""), []);
    }

    #[test]
    fn a_prefix_alone_names_no_variable() {
        assert!(is_variable("http_user_agent"));
        assert!(!is_variable("http_"));
        assert!(!is_variable("no_such"));
    }
}
