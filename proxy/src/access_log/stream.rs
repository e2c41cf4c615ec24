//! The line per TCP connection and UDP session: nginx's text with the `$variables` of its stream module.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use genkan_routing::policy::access_log::{Escape, FormatPart, format_parts};

use super::clock::{self, Second};
use super::format::{FormatError, Line};
use super::variables::{Seconds, hostname};

/// A finished connection or session.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StreamRecord<'a> {
    /// `TCP` or `UDP`.
    pub(crate) protocol: &'static str,
    /// `$connection`.
    pub(crate) connection: u64,
    /// The client, as a PROXY header announced it, else the peer.
    pub(crate) client: SocketAddr,
    /// What a PROXY header announced.
    pub(crate) announced: Option<SocketAddr>,
    /// Our address.
    pub(crate) local: SocketAddr,
    /// The cluster's name; empty before one was chosen.
    pub(crate) upstream_name: &'a str,
    /// The endpoints that were tried; the last one served if it was connected to.
    pub(crate) attempts: &'a [StreamAttempt],
    /// 200, 400 or 502.
    pub(crate) status: u16,
    /// From the client.
    pub(crate) bytes_received: u64,
    /// To the client.
    pub(crate) bytes_sent: u64,
    /// From the beginning to the end.
    pub(crate) session_time: Duration,
    /// The end.
    pub(crate) now: SystemTime,
}

/// One try of one endpoint.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StreamAttempt {
    /// The endpoint.
    pub(crate) address: SocketAddr,
    /// How long it took to connect; `None` when that failed.
    pub(crate) connect_time: Option<Duration>,
}

/// A compiled log format of TCP and UDP.
#[derive(Debug)]
pub(crate) struct StreamFormat {
    segments: Box<[Segment]>,
    escape: Escape,
}

type Render = fn(&StreamRecord<'_>, &Second, &mut Line<'_>);

#[derive(Debug)]
enum Segment {
    Literal(String),
    Variable(Render),
}

/// Sorted by name; the same names as the routing crate's `STREAM_VARIABLES`.
const TABLE: &[(&str, Render)] = &[
    ("bytes_received", |r, _, line| line.plain(r.bytes_received)),
    ("bytes_sent", |r, _, line| line.plain(r.bytes_sent)),
    ("connection", |r, _, line| line.plain(r.connection)),
    ("hostname", |_, _, line| line.text(hostname())),
    ("msec", |r, _, line| line.plain(Seconds(r.now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()))),
    ("protocol", |r, _, line| line.plain(r.protocol)),
    ("proxy_protocol_addr", |r, _, line| {
        if let Some(announced) = r.announced {
            line.plain(announced.ip());
        }
    }),
    ("proxy_protocol_port", |r, _, line| {
        if let Some(announced) = r.announced {
            line.plain(announced.port());
        }
    }),
    ("proxy_upstream_name", |r, _, line| line.text(r.upstream_name)),
    ("remote_addr", |r, _, line| line.plain(r.client.ip())),
    ("remote_port", |r, _, line| line.plain(r.client.port())),
    ("server_addr", |r, _, line| line.plain(r.local.ip())),
    ("server_port", |r, _, line| line.plain(r.local.port())),
    ("session_time", |r, _, line| line.plain(Seconds(r.session_time))),
    ("status", |r, _, line| line.plain(format_args!("{:03}", r.status))),
    ("time_iso8601", |_, second, line| line.text(&second.iso8601)),
    ("time_local", |_, second, line| line.text(&second.local)),
    ("upstream_addr", |r, _, line| attempts(r, line, |attempt, line| line.plain(attempt.address))),
    // What failed to connect got nothing.
    ("upstream_bytes_received", |r, _, line| {
        attempts(r, line, |attempt, line| line.plain(attempt.connect_time.map_or(0, |_| r.bytes_sent)));
    }),
    ("upstream_bytes_sent", |r, _, line| {
        attempts(r, line, |attempt, line| line.plain(attempt.connect_time.map_or(0, |_| r.bytes_received)));
    }),
    ("upstream_connect_time", |r, _, line| {
        attempts(r, line, |attempt, line| match attempt.connect_time {
            Some(time) => line.plain(Seconds(time)),
            None => line.plain("-"),
        });
    }),
    ("upstream_session_time", |r, _, line| {
        attempts(r, line, |attempt, line| {
            line.plain(Seconds(attempt.connect_time.map(|_| r.session_time).unwrap_or_default()))
        });
    }),
];

impl StreamFormat {
    /// Compiles a format.
    ///
    /// # Errors
    ///
    /// [`FormatError::UnknownVariable`] for a variable that is not in the routing crate's list.
    pub(crate) fn compile(text: &str, escape: Escape) -> Result<Self, FormatError> {
        let segments = format_parts(text).into_iter().map(|part| match part {
            FormatPart::Literal(text) => Ok(Segment::Literal(text.to_owned())),
            FormatPart::Variable(name) => match TABLE.binary_search_by(|(known, _)| (*known).cmp(name)) {
                Ok(at) => TABLE.get(at).map(|(_, render)| Segment::Variable(*render)),
                Err(_) => None,
            }
            .ok_or_else(|| FormatError::UnknownVariable(name.to_owned())),
        });
        Ok(Self { segments: segments.collect::<Result<_, _>>()?, escape })
    }

    /// Appends the line of a connection or session, without a newline.
    pub(super) fn render(&self, record: &StreamRecord<'_>, out: &mut String) {
        clock::with_second(record.now, |second| {
            let mut line = Line::new(out, self.escape);
            for segment in &self.segments {
                match segment {
                    Segment::Literal(text) => line.literal(text),
                    Segment::Variable(render) => line.or_dash(|line| render(record, second, line)),
                }
            }
        });
    }
}

/// A list over the attempts.
fn attempts(record: &StreamRecord<'_>, line: &mut Line<'_>, value: impl Fn(&StreamAttempt, &mut Line<'_>)) {
    for (number, attempt) in record.attempts.iter().enumerate() {
        if number > 0 {
            line.plain(", ");
        }
        value(attempt, line);
    }
}

#[cfg(test)]
mod tests {
    use genkan_routing::policy::access_log::{DEFAULT_STREAM_FORMAT, STREAM_VARIABLES};

    use super::*;

    fn rendered(text: &str, escape: Escape, attempts: &[StreamAttempt]) -> String {
        let record = StreamRecord {
            protocol: "TCP",
            connection: 7,
            client: "192.0.2.1:555".parse().unwrap(),
            announced: None,
            local: "10.0.0.9:9000".parse().unwrap(),
            upstream_name: "",
            attempts,
            status: 200,
            bytes_received: 12,
            bytes_sent: 34,
            session_time: Duration::from_millis(1010),
            now: SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_123),
        };
        let mut out = String::new();
        StreamFormat::compile(text, escape).unwrap().render(&record, &mut out);
        out
    }

    #[test]
    fn the_table_has_the_variables_that_formats_may_use() {
        let names: Vec<_> = TABLE.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, STREAM_VARIABLES);
    }

    #[test]
    fn the_default_line_is_that_of_ingress_nginx() {
        let line = rendered(DEFAULT_STREAM_FORMAT, Escape::Default, &[]);
        let (before, after) = (line.find("] [").unwrap(), line.rfind(']').unwrap());
        assert_eq!((&line[..before], &line[after..]), ("[192.0.2.1", "] TCP 200 34 12 1.010"));
    }

    #[test]
    fn tries_are_lists_and_what_is_missing_is_a_dash_by_default() {
        let attempts = [
            StreamAttempt { address: "10.1.0.1:80".parse().unwrap(), connect_time: None },
            StreamAttempt { address: "10.1.0.2:80".parse().unwrap(), connect_time: Some(Duration::from_millis(2)) },
        ];
        let text = "$upstream_addr;$upstream_connect_time;$upstream_bytes_sent;$proxy_protocol_addr;$msec";
        let expected = "10.1.0.1:80, 10.1.0.2:80;-, 0.002;0, 12;-;1700000000.123";
        assert_eq!(rendered(text, Escape::Default, &attempts), expected);
        assert_eq!(rendered("<$proxy_upstream_name>", Escape::None, &[]), "<>");
    }

    #[test]
    fn variables_of_requests_are_unknown() {
        assert!(StreamFormat::compile("$request", Escape::Default).is_err());
    }
}
