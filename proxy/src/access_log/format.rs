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

    /// Appends the line of a request, without a newline.
    pub(crate) fn render(&self, record: &LogRecord<'_>, out: &mut String) {
        let mut line = Line { out, escape: self.escape };
        for segment in &self.segments {
            if let Segment::Literal(text) = segment {
                line.out.push_str(text);
                continue;
            }
            let before = line.out.len();
            segment.render(record, &mut line);
            if line.out.len() == before && self.escape == Escape::Default {
                line.out.push('-');
            }
        }
    }
}

impl Line<'_> {
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
            return Some(Self::Variable(render));
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
            Self::Variable(render) => clock::with_second(record.now, |second| render(record, second, line)),
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
