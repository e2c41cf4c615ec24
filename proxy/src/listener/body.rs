//! HTTP/1 request bodies: where they end.
//!
//! The stream hands the engine not one byte past the end of a request, so whatever the engine does with a body, the
//! next head begins where the client began it. Chunk framing is checked as strictly as heads are: CRLF only, no
//! control bytes in extensions, sizes of hexadecimal digits. Decoding is the engine's.

/// Digits of a chunk's size: more say nothing, and parsers differ about leading zeros.
const MAX_SIZE_DIGITS: u8 = 16;

/// Bytes of a chunk's size line, extensions included.
const MAX_SIZE_LINE: usize = 4096;
/// Bytes of all trailer lines.
const MAX_TRAILERS: usize = 16 << 10;

/// What follows a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyLength {
    /// So many bytes; 0 without a body.
    Known(u64),
    /// Chunks.
    Chunked,
}

/// Counts a body's bytes as they pass.
#[derive(Debug)]
pub(crate) enum BodyCounter {
    /// So many bytes are still to come.
    Known(u64),
    /// Chunks.
    Chunked(ChunkScanner),
}

/// Chunk framing that is wrong (RFC 9112 section 7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the chunked body is malformed")]
pub(crate) struct ChunkError;

/// Follows chunk framing.
#[derive(Debug)]
pub(crate) struct ChunkScanner {
    state: ChunkState,
    /// Bytes of the size line or of the trailers so far.
    line: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ChunkState {
    /// In the size; the second is how many digits there were.
    Size(u64, u8),
    /// In an extension.
    Extension(u64),
    /// LF of the size line is next.
    SizeLf(u64),
    /// So many bytes of data are next.
    Data(u64),
    DataCr,
    DataLf,
    /// At the beginning of a trailer line, or of the last line.
    TrailerStart,
    /// Inside a trailer line.
    Trailer,
    TrailerLf,
    /// LF of the last line is next.
    LastLf,
    Done,
}

impl BodyCounter {
    /// A counter at the first byte of a body.
    pub(crate) fn new(length: BodyLength) -> Self {
        match length {
            BodyLength::Known(length) => Self::Known(length),
            BodyLength::Chunked => Self::Chunked(ChunkScanner { state: ChunkState::Size(0, 0), line: 0 }),
        }
    }

    /// How many of the next bytes belong to the body; they count as passed.
    pub(crate) fn pass(&mut self, bytes: &[u8]) -> Result<usize, ChunkError> {
        match self {
            Self::Known(left) => {
                let passed = bytes.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= passed as u64;
                Ok(passed)
            }
            Self::Chunked(scanner) => scanner.pass(bytes),
        }
    }

    /// How many bytes may be read without passing the end: chunks may end anywhere.
    pub(crate) fn at_most(&self) -> u64 {
        match self {
            Self::Known(left) => *left,
            Self::Chunked(_) => u64::MAX,
        }
    }

    /// Whether the body has passed.
    pub(crate) fn is_complete(&self) -> bool {
        match self {
            Self::Known(left) => *left == 0,
            Self::Chunked(scanner) => scanner.state == ChunkState::Done,
        }
    }
}

impl ChunkScanner {
    fn pass(&mut self, bytes: &[u8]) -> Result<usize, ChunkError> {
        let mut at = 0;
        while self.state != ChunkState::Done {
            if let ChunkState::Data(left) = self.state {
                let passed = (bytes.len() - at).min(usize::try_from(left).unwrap_or(usize::MAX));
                at += passed;
                self.state = match left - passed as u64 {
                    0 => ChunkState::DataCr,
                    left => ChunkState::Data(left),
                };
            }
            let Some(&byte) = bytes.get(at) else { break };
            self.state = self.step(byte)?;
            at += 1;
        }
        Ok(at)
    }

    /// The state after a byte of framing.
    fn step(&mut self, byte: u8) -> Result<ChunkState, ChunkError> {
        self.line += 1;
        let in_trailers = matches!(self.state, ChunkState::TrailerStart | ChunkState::Trailer | ChunkState::TrailerLf);
        if self.line > if in_trailers { MAX_TRAILERS } else { MAX_SIZE_LINE } {
            return Err(ChunkError);
        }
        match (self.state, byte) {
            (ChunkState::Size(size, digits), b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') if digits < MAX_SIZE_DIGITS => {
                let digit = char::from(byte).to_digit(16).ok_or(ChunkError)?;
                let size = size.checked_mul(16).and_then(|size| size.checked_add(u64::from(digit)));
                Ok(ChunkState::Size(size.ok_or(ChunkError)?, digits + 1))
            }
            (ChunkState::Size(size, 1..), b';') => Ok(ChunkState::Extension(size)),
            (ChunkState::Size(size, 1..) | ChunkState::Extension(size), b'\r') => Ok(ChunkState::SizeLf(size)),
            (ChunkState::Extension(size), byte) if is_text(byte) => Ok(ChunkState::Extension(size)),
            (ChunkState::SizeLf(size), b'\n') => {
                self.line = 0;
                Ok(if size == 0 { ChunkState::TrailerStart } else { ChunkState::Data(size) })
            }
            (ChunkState::DataCr, b'\r') => Ok(ChunkState::DataLf),
            (ChunkState::DataLf, b'\n') => {
                self.line = 0;
                Ok(ChunkState::Size(0, 0))
            }
            (ChunkState::TrailerStart, b'\r') => Ok(ChunkState::LastLf),
            (ChunkState::TrailerStart, b' ' | b'\t') => Err(ChunkError),
            (ChunkState::TrailerStart | ChunkState::Trailer, byte) if is_text(byte) => Ok(ChunkState::Trailer),
            (ChunkState::Trailer, b'\r') => Ok(ChunkState::TrailerLf),
            (ChunkState::TrailerLf, b'\n') => Ok(ChunkState::TrailerStart),
            (ChunkState::LastLf, b'\n') => Ok(ChunkState::Done),
            _ => Err(ChunkError),
        }
    }
}

/// Whether a byte may occur inside a line.
fn is_text(byte: u8) -> bool {
    byte == b'\t' || (byte >= 0x20 && byte != 0x7f)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(length: BodyLength, bytes: &[u8]) -> Result<(usize, bool), ChunkError> {
        let mut counter = BodyCounter::new(length);
        let passed = counter.pass(bytes)?;
        Ok((passed, counter.is_complete()))
    }

    #[test]
    fn a_known_length_ends_where_it_says() {
        assert_eq!(passed(BodyLength::Known(3), b"abcGET /"), Ok((3, true)));
        assert_eq!(passed(BodyLength::Known(3), b"ab"), Ok((2, false)));
        assert_eq!(passed(BodyLength::Known(0), b"GET /"), Ok((0, true)));
    }

    #[test]
    fn chunks_end_after_the_last_line() {
        for body in [
            &b"0\r\n\r\n"[..],
            b"3\r\nabc\r\n0\r\n\r\n",
            b"A\r\n0123456789\r\n2;name=\"v\"\r\nxy\r\n000\r\n\r\n",
            b"1\r\n\n\r\n0;x\r\nTrailer: value\r\nOther: 1\r\n\r\n",
        ] {
            let mut bytes = body.to_vec();
            bytes.extend_from_slice(b"GET / HTTP/1.1\r\n");
            assert_eq!(passed(BodyLength::Chunked, &bytes), Ok((body.len(), true)));
        }
    }

    #[test]
    fn pieces_of_any_size_give_the_same_end() {
        let body = b"5;a=b\r\nhello\r\n10\r\n0123456789abcdef\r\n0\r\nT: 1\r\n\r\n";
        for size in 1..body.len() {
            let mut counter = BodyCounter::new(BodyLength::Chunked);
            let total: usize = body.chunks(size).map(|piece| counter.pass(piece).unwrap()).sum();
            assert_eq!((total, counter.is_complete()), (body.len(), true), "{size}");
        }
    }

    #[test]
    fn ambiguous_framing_is_refused() {
        for body in [
            &b"\r\n"[..],
            b"3\nabc\r\n",
            b"3 \r\nabc\r\n",
            b" 3\r\nabc\r\n",
            b"0x3\r\nabc\r\n",
            b"+3\r\nabc\r\n",
            b"3;a\nb\r\nabc\r\n",
            b"3;a\rb\r\nabc\r\n",
            b"3\r\nabcd\r\n",
            b"3\r\nabc\n",
            b"11111111111111111\r\n",
            b"00000000000000003\r\nabc\r\n0\r\n\r\n",
            b"0\r\nT: 1\n\r\n",
            b"0\r\n folded\r\n\r\n",
        ] {
            assert_eq!(passed(BodyLength::Chunked, body), Err(ChunkError), "{:?}", String::from_utf8_lossy(body));
        }
    }

    #[test]
    fn endless_extensions_and_trailers_are_refused() {
        let extension = [b"1;".to_vec(), vec![b'x'; MAX_SIZE_LINE]].concat();
        assert_eq!(passed(BodyLength::Chunked, &extension), Err(ChunkError));
        let trailers = [b"0\r\n".to_vec(), b"a: b\r\n".repeat(MAX_TRAILERS)].concat();
        assert_eq!(passed(BodyLength::Chunked, &trailers), Err(ChunkError));
    }
}
