//! HTTP/1 heads: where a request's head ends, and whether it may be passed on at all.
//!
//! Pure and incremental: one pass over the bytes, whatever the pieces in which they arrive. What two programs could
//! read in two ways is refused rather than repaired, because such a request is how one is smuggled inside another
//! (RFC 9112 section 11.2). It does not build a head: the engine parses the bytes again once they are known to be good.

mod fields;
mod request_line;

use http::StatusCode;

use self::fields::Fields;
use super::body::BodyLength;

/// How large a head may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HeadLimits {
    /// Bytes of the request line, without its CRLF.
    pub(crate) request_line: usize,
    /// Bytes of one header line, without its CRLF.
    pub(crate) header_line: usize,
    /// Bytes of the whole head.
    pub(crate) head: usize,
    /// Header fields.
    pub(crate) fields: usize,
}

/// A complete head that may be passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// Where it begins: past empty lines before it (RFC 9112 section 2.2).
    pub(crate) start: usize,
    /// Where it ends: past the empty line.
    pub(crate) end: usize,
    /// What follows it.
    pub(crate) body: BodyLength,
}

/// Why a request is refused before anything else looks at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HeadError {
    /// The request line is over its limit.
    #[error("the request line is too long")]
    RequestLineTooLong,
    /// A header line is over its limit.
    #[error("a header line is too long")]
    HeaderLineTooLong,
    /// The head is over its limit.
    #[error("the head is too large")]
    HeadTooLarge,
    /// More header fields than allowed.
    #[error("there are too many header fields")]
    TooManyFields,
    /// CR without LF, or LF without CR.
    #[error("a line does not end in CRLF")]
    BareLineEnd,
    /// NUL or another control byte.
    #[error("the head has a control byte")]
    ControlByte,
    /// Not `method target version` with single spaces.
    #[error("the request line is malformed")]
    BadRequestLine,
    /// The target is none of the four forms, or has bytes that a URI can't have.
    #[error("the request target is malformed")]
    BadTarget,
    /// An HTTP version other than 1.0 and 1.1.
    #[error("the HTTP version is not supported")]
    BadVersion,
    /// A line that begins with a space or tab: a folded value.
    #[error("a header line is folded")]
    Folded,
    /// A header line without a colon, or whose name is empty, has other bytes than a token's, or a space at its end.
    #[error("a header name is malformed")]
    BadFieldName,
    /// `CONNECT`, which is for forward proxies, or `TRACE`, which shows what proxies add.
    #[error("the method is not allowed")]
    BadMethod,
    /// HTTP/1.1 without `Host`.
    #[error("Host is missing")]
    MissingHost,
    /// More than one `Host`.
    #[error("Host is repeated")]
    RepeatedHost,
    /// `Host` other than the host of an absolute target (RFC 9112 section 3.2.2 would ignore it; whoever does not would
    /// see another request).
    #[error("Host is not that of the target")]
    OtherHost,
    /// `Content-Length` that is no number, or repeated, even with the same value.
    #[error("Content-Length is malformed or repeated")]
    BadContentLength,
    /// `Transfer-Encoding` together with `Content-Length`, with HTTP/1.0, or repeated.
    #[error("Transfer-Encoding is repeated or in contradiction")]
    BadTransferEncoding,
    /// `Transfer-Encoding` other than `chunked`.
    #[error("the transfer coding is not known")]
    UnknownTransferEncoding,
}

/// Scans one head.
#[derive(Debug)]
pub(crate) struct HeadScanner {
    limits: HeadLimits,
    stage: Stage,
    /// Where the head begins.
    start: usize,
    /// Where the line that is not complete yet begins.
    line: usize,
    /// What has been looked at.
    cursor: usize,
    minor: Minor,
    fields: Fields,
}

/// The minor version of HTTP/1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Minor {
    Zero,
    One,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    RequestLine,
    Fields,
}

impl HeadError {
    /// The status that the client gets.
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::RequestLineTooLong => StatusCode::URI_TOO_LONG,
            Self::HeaderLineTooLong | Self::HeadTooLarge | Self::TooManyFields => {
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
            }
            Self::BadMethod => StatusCode::METHOD_NOT_ALLOWED,
            Self::BadVersion => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            Self::UnknownTransferEncoding => StatusCode::NOT_IMPLEMENTED,
            Self::BareLineEnd
            | Self::ControlByte
            | Self::BadRequestLine
            | Self::BadTarget
            | Self::Folded
            | Self::BadFieldName
            | Self::MissingHost
            | Self::RepeatedHost
            | Self::OtherHost
            | Self::BadContentLength
            | Self::BadTransferEncoding => StatusCode::BAD_REQUEST,
        }
    }
}

impl HeadScanner {
    /// A scanner at the first byte of a head.
    pub(crate) fn new(limits: HeadLimits) -> Self {
        Self {
            limits,
            stage: Stage::RequestLine,
            start: 0,
            line: 0,
            cursor: 0,
            minor: Minor::One,
            fields: Fields::default(),
        }
    }

    /// Looks at what arrived since the last call. `buffer` begins with the bytes of all calls before, then has the new
    /// ones. `None` means that the head is not complete.
    pub(crate) fn scan(&mut self, buffer: &[u8]) -> Result<Option<Head>, HeadError> {
        loop {
            self.cursor += text_len(buffer.get(self.cursor..).unwrap_or_default());
            self.check_size()?;
            let end = match (buffer.get(self.cursor), buffer.get(self.cursor + 1)) {
                (None, _) | (Some(b'\r'), None) => return Ok(None),
                (Some(b'\r'), Some(b'\n')) => self.cursor,
                (Some(b'\r' | b'\n'), _) => return Err(HeadError::BareLineEnd),
                (Some(_), _) => return Err(HeadError::ControlByte),
            };
            let line = buffer.get(self.line..end).unwrap_or_default();
            self.cursor = end + 2;
            self.line = self.cursor;
            if self.cursor - self.start > self.limits.head {
                return Err(HeadError::HeadTooLarge);
            }
            match self.stage {
                // Empty lines before a request are counted into its size, so that they can't go on for ever.
                Stage::RequestLine if line.is_empty() => {}
                Stage::RequestLine => {
                    let (minor, authority) = request_line::check(line)?;
                    self.minor = minor;
                    self.fields.expect_host(authority);
                    self.stage = Stage::Fields;
                    self.start = end - line.len();
                }
                Stage::Fields if line.is_empty() => return self.finish().map(Some),
                Stage::Fields => self.fields.add(line, self.limits.fields)?,
            }
        }
    }

    fn check_size(&self) -> Result<(), HeadError> {
        let line = self.cursor - self.line;
        match self.stage {
            Stage::RequestLine if line > self.limits.request_line => Err(HeadError::RequestLineTooLong),
            Stage::Fields if line > self.limits.header_line => Err(HeadError::HeaderLineTooLong),
            Stage::RequestLine | Stage::Fields if self.cursor - self.start > self.limits.head => {
                Err(HeadError::HeadTooLarge)
            }
            Stage::RequestLine | Stage::Fields => Ok(()),
        }
    }

    fn finish(&self) -> Result<Head, HeadError> {
        let body = self.fields.finish(self.minor)?;
        Ok(Head { start: self.start, end: self.cursor, body })
    }
}

/// How many bytes at the beginning may occur inside a line: all but control bytes, tab excepted.
fn text_len(bytes: &[u8]) -> usize {
    bytes.iter().position(|&byte| (byte < 0x20 && byte != b'\t') || byte == 0x7f).unwrap_or(bytes.len())
}

/// Whether all bytes may occur in a token (RFC 9110 section 5.6.2).
fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty()
        && bytes.iter().all(|byte| {
            byte.is_ascii_alphanumeric()
                || matches!(
                    byte,
                    b'!' | b'#'
                        | b'$'
                        | b'%'
                        | b'&'
                        | b'\''
                        | b'*'
                        | b'+'
                        | b'-'
                        | b'.'
                        | b'^'
                        | b'_'
                        | b'`'
                        | b'|'
                        | b'~'
                )
        })
}

#[cfg(test)]
mod tests;
