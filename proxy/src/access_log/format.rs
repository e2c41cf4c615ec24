//! Log formats: nginx's text with `$variables`, compiled once.

use genkan_routing::policy::access_log::{Escape, FormatPart, format_parts};
use http::HeaderName;

use super::clock;
use super::escape;
use super::record::LogRecord;
use super::variables::{self, Render};

/// A compiled log format.
#[derive(Debug)]
pub(crate) struct Format {
    segments: Box<[Segment]>,
    escape: Escape,
}

/// Why a format can't be compiled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FormatError {
    /// A `$variable` that nothing is known about.
    #[error("${0} is no variable of a log format")]
    UnknownVariable(String),
}

/// A line that is being written.
#[derive(Debug)]
pub(super) struct Line<'l> {
    out: &'l mut String,
    escape: Escape,
}

#[derive(Debug)]
enum Segment {
    Literal(String),
    Variable(Render),
    /// One that ingress-nginx sets for every request, so that empty is a value and not the lack of one.
    SetVariable(Render),
    RequestHeader(HeaderName),
    ResponseHeader(HeaderName),
    UpstreamHeader(HeaderName),
    Cookie(String),
    Argument(String),
    /// A header that no message can have.
    Empty,
}

impl Format {
    /// Compiles a format.
    ///
    /// # Errors
    ///
    /// [`FormatError::UnknownVariable`] for a variable that is not in the routing crate's list.
    pub(crate) fn compile(text: &str, escape: Escape) -> Result<Self, FormatError> {
        let segments = format_parts(text).into_iter().map(|part| match part {
            FormatPart::Literal(text) => Ok(Segment::Literal(text.to_owned())),
            FormatPart::Variable(name) => {
                Segment::variable(name).ok_or_else(|| FormatError::UnknownVariable(name.to_owned()))
            }
        });
        Ok(Self { segments: segments.collect::<Result<_, _>>()?, escape })
    }

    /// Whether a line says something of the header of an endpoint's response, which must be kept for it then.
    pub(crate) fn needs_upstream_header(&self) -> bool {
        self.segments.iter().any(|segment| matches!(segment, Segment::UpstreamHeader(_)))
    }

    /// Appends the line of a request, without a newline.
    pub(crate) fn render(&self, record: &LogRecord<'_>, out: &mut String) {
        let mut line = Line::new(out, self.escape);
        for segment in &self.segments {
            if let Segment::Literal(text) = segment {
                line.literal(text);
                continue;
            }
            match segment {
                Segment::SetVariable(_) => segment.render(record, &mut line),
                _ => line.or_dash(|line| segment.render(record, line)),
            }
        }
    }
}

impl<'l> Line<'l> {
    /// Continues `out`.
    pub(super) fn new(out: &'l mut String, escape: Escape) -> Self {
        Self { out, escape }
    }

    /// Appends text of the format itself.
    pub(super) fn literal(&mut self, text: &str) {
        self.out.push_str(text);
    }

    /// Appends a value; with default escaping a dash where it is empty.
    pub(super) fn or_dash(&mut self, value: impl FnOnce(&mut Self)) {
        let before = self.out.len();
        value(self);
        if self.out.len() == before && self.escape == Escape::Default {
            self.out.push('-');
        }
    }

    /// Appends a value that may hold anything.
    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        escape::push(self.escape, bytes, self.out);
    }

    /// As [`Line::bytes`].
    pub(super) fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    /// Appends numbers, addresses, times: what holds nothing to escape.
    pub(super) fn plain(&mut self, value: impl std::fmt::Display) {
        // Writing to a String cannot fail.
        let _ = std::fmt::Write::write_fmt(self.out, format_args!("{value}"));
    }
}

impl Segment {
    fn variable(name: &str) -> Option<Self> {
        // nginx writes the dashes of header names as underscores.
        let header = |name: &str, make: fn(HeaderName) -> Self| {
            HeaderName::try_from(name.replace('_', "-")).map_or(Self::Empty, make)
        };
        let rest = |prefix: &str| name.strip_prefix(prefix).filter(|rest| !rest.is_empty());
        if let Some(render) = variables::find(name) {
            let set = variables::ALWAYS_SET.contains(&name);
            return Some(if set { Self::SetVariable(render) } else { Self::Variable(render) });
        }
        if let Some(rest) = rest("http_") {
            return Some(header(rest, Self::RequestHeader));
        }
        if let Some(rest) = rest("sent_http_") {
            return Some(header(rest, Self::ResponseHeader));
        }
        if let Some(rest) = rest("upstream_http_") {
            return Some(header(rest, Self::UpstreamHeader));
        }
        if let Some(rest) = rest("cookie_") {
            return Some(Self::Cookie(rest.to_owned()));
        }
        rest("arg_").map(|rest| Self::Argument(rest.to_owned()))
    }

    fn render(&self, record: &LogRecord<'_>, line: &mut Line<'_>) {
        match self {
            Self::Literal(_) | Self::Empty => {}
            Self::Variable(render) | Self::SetVariable(render) => {
                clock::with_second(record.now, |second| render(record, second, line));
            }
            Self::RequestHeader(name) => variables::request_header(record, name, line),
            Self::ResponseHeader(name) => variables::header(record.response, name, line),
            Self::UpstreamHeader(name) => variables::header(record.upstream_response, name, line),
            Self::Cookie(name) => {
                line.bytes(crate::cookie::value(&record.head.headers, name).unwrap_or_default());
            }
            Self::Argument(name) => line.text(variables::argument(record, name)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::OnceLock;
    use std::sync::atomic::AtomicU32;
    use std::time::{Duration, SystemTime};

    use genkan_routing::model::RuleLabels;
    use genkan_routing::name::ListenerId;
    use genkan_routing::policy::access_log::DEFAULT_FORMAT;
    use genkan_routing::policy::redirect::Scheme;
    use http::HeaderMap;

    use super::super::record::Attempt;
    use super::*;
    use crate::connection::{ConnectionInfo, Phase, TlsInfo};

    /// Renders `text` for one request of `GET /a%20b?X=1&y=2` that was tried twice.
    fn rendered(text: &str, escape: Escape, tries: usize) -> String {
        let connection = ConnectionInfo {
            id: 7,
            listener: ListenerId::new("https"),
            public_port: 443,
            peer: "10.0.0.1:40000".parse().unwrap(),
            local: "[::ffff:10.0.0.9]:8443".parse().unwrap(),
            proxied: Some(("192.0.2.1:555".parse().unwrap(), "203.0.113.1:443".parse().unwrap())),
            tls: Some(TlsInfo { server_name: Some("a.b".into()), version: "TLSv1.3", cipher: "C" }),
            requests: AtomicU32::new(3),
            phase: Phase::default(),
            client_text: OnceLock::new(),
        };
        let request = http::Request::builder()
            .uri("https://a.b:444/a%20b?X=1&y=2")
            .version(http::Version::HTTP_2)
            .header("user-agent", "say \"hi\"")
            .header("cookie", "c=1")
            .header("cookie", "d=2")
            .header("authorization", "Basic dXNlcjpwYXNz");
        let (head, ()) = request.body(()).unwrap().into_parts();
        let response: HeaderMap = [("x-sent".parse().unwrap(), "s".parse().unwrap())].into_iter().collect();
        let millis = Duration::from_millis;
        let attempts = [
            Attempt {
                address: SocketAddr::from(([10, 1, 0, 1], 80)),
                status: Some(502),
                response_length: 0,
                connect_time: None,
                header_time: None,
                response_time: Some(millis(2)),
            },
            Attempt {
                address: SocketAddr::from(([10, 1, 0, 2], 80)),
                status: Some(200),
                response_length: 10,
                connect_time: Some(millis(0)),
                header_time: Some(millis(5)),
                response_time: Some(millis(1006)),
            },
        ];
        let labels = RuleLabels { namespace: "ns".into(), ingress: "ing".into(), ..RuleLabels::default() };
        let record = LogRecord {
            connection: &connection,
            head: &head,
            client: "192.0.2.1".parse().unwrap(),
            scheme: Scheme::Https,
            authority: "a.b:444",
            port: 443,
            host: "a.b",
            path: "/a b",
            request_id: "id",
            labels: &labels,
            upstream_name: "ns-svc-80",
            alternative_upstream_name: "",
            status: 200,
            response: Some(&response),
            upstream_response: None,
            request_length: 100,
            body_bytes_sent: 10,
            bytes_sent: 150,
            request_time: millis(1010),
            attempts: &attempts[..tries],
            now: SystemTime::UNIX_EPOCH + millis(1_700_000_000_123),
        };
        let mut out = String::new();
        Format::compile(text, escape).unwrap().render(&record, &mut out);
        out
    }

    #[test]
    fn the_default_line_is_that_of_ingress_nginx() {
        let line = rendered(DEFAULT_FORMAT, Escape::Default, 1);
        let (before, rest) = line.split_once('[').unwrap();
        let (time, rest) = rest.split_once(']').unwrap();
        assert_eq!(before, "192.0.2.1 - user ");
        assert!(time.contains("/Nov/2023:"), "{time}");
        assert_eq!(
            rest,
            " \"GET /a%20b?X=1&y=2 HTTP/2.0\" 200 10 \"-\" \"say \\x22hi\\x22\" 100 1.010 [ns-svc-80] [] 10.1.0.1:80 0 \
             0.002 502 id"
        );
    }

    #[test]
    fn values_of_the_upstream_are_lists_over_the_attempts() {
        let format = "$upstream_addr|$upstream_status|$upstream_response_length|$upstream_response_time|\
                      $upstream_connect_time|$upstream_header_time";
        let expected = "10.1.0.1:80, 10.1.0.2:80|502, 200|0, 10|0.002, 1.006|-, 0.000|-, 0.005";
        assert_eq!(rendered(format, Escape::Default, 2), expected);
        assert_eq!(rendered(format, Escape::Default, 0), "-|-|-|-|-|-");
    }

    #[test]
    fn empty_values_are_a_dash_by_default_only() {
        for (escape, expected) in [(Escape::Default, "[-][-][-]"), (Escape::Json, "[][][]"), (Escape::None, "[][][]")] {
            assert_eq!(rendered("[$http_referer][$cookie_x][$ssl_client_s_dn]", escape, 0), expected);
            // Set by ingress-nginx, to nothing: no dash in the logs that people have parsers for.
            assert_eq!(rendered("[$proxy_alternative_upstream_name]", escape, 0), "[]");
        }
    }

    #[test]
    fn json_lines_can_be_read_back() {
        let line = rendered("{\"agent\": \"$http_user_agent\", \"user\": \"$remote_user\"}", Escape::Json, 1);
        let json: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(json["agent"], "say \"hi\"");
        assert_eq!(json["user"], "user");
    }

    #[test]
    fn every_other_variable_says_what_nginx_says() {
        for (text, expected) in [
            ("$args|$query_string|$is_args", "X=1&y=2|X=1&y=2|?"),
            ("$arg_x|$arg_Y|$arg_z", "1|2|-"),
            ("$cookie_d|$http_cookie", "2|c=1; d=2"),
            ("$host|$http_host|$best_http_host", "a.b|a.b:444|a.b:444"),
            ("$uri|$request_uri|${uri}x", "/a b|/a%20b?X=1&y=2|/a bx"),
            ("$escaped_request_uri", "%2Fa%2520b%3FX%3D1%26y%3D2"),
            ("$request_method $server_protocol $scheme $pass_access_scheme", "GET HTTP/2.0 https https"),
            ("$connection $connection_requests", "7 3"),
            ("$remote_addr $remote_port $the_real_ip", "192.0.2.1 555 192.0.2.1"),
            ("$proxy_protocol_addr $proxy_protocol_port", "192.0.2.1 555"),
            ("$server_addr $server_port $pass_port", "10.0.0.9 8443 443"),
            ("$ssl_protocol $ssl_cipher $ssl_server_name $ssl_client_verify", "TLSv1.3 C a.b NONE"),
            ("$namespace $ingress_name $service_name", "ns ing "),
            ("$sent_http_x_sent $upstream_http_x_sent", "s -"),
            ("$bytes_sent $request_length $msec $status", "150 100 1700000000.123 200"),
            ("$proxy_add_x_forwarded_for $req_id $request_id", "192.0.2.1 id id"),
            ("100$ $", "100$ $"),
        ] {
            assert_eq!(rendered(text, Escape::Default, 1), expected, "{text}");
        }
    }

    #[test]
    fn an_unknown_variable_is_an_error() {
        for name in ["nonsense", "http_", "upstream_cookie_x"] {
            let error = Format::compile(&format!("$status ${name}"), Escape::Default).unwrap_err();
            assert_eq!(error, FormatError::UnknownVariable(name.to_owned()));
        }
    }
}
