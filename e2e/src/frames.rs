//! HTTP/2 frame by frame (RFC 9113, section 4.1), for what clients hide: settings, and how a connection ends.

use std::io::{self, Read, Write};

/// Parameters of a connection.
pub const SETTINGS: u8 = 4;
/// A question for a sign of life.
pub const PING: u8 = 6;
/// The end of a connection, announced.
pub const GOAWAY: u8 = 7;

/// The setting of how many streams a peer may have open.
pub const MAX_CONCURRENT_STREAMS: u16 = 3;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A client's side of a connection.
pub struct Frames<S>(S);

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its type.
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// Its stream; 0 is the connection.
    pub stream: u32,
    /// What it carries.
    pub payload: Vec<u8>,
}

impl<S: Read + Write> Frames<S> {
    /// Sends the preface, with settings that change nothing.
    pub fn open(mut stream: S) -> io::Result<Self> {
        stream.write_all(PREFACE)?;
        let mut frames = Self(stream);
        frames.send(&Frame { kind: SETTINGS, flags: 0, stream: 0, payload: Vec::new() })?;
        Ok(frames)
    }

    /// Sends a frame.
    pub fn send(&mut self, frame: &Frame) -> io::Result<()> {
        let length = u32::try_from(frame.payload.len()).map_err(io::Error::other)?;
        let mut bytes = length.to_be_bytes()[1..].to_vec();
        bytes.extend([frame.kind, frame.flags]);
        bytes.extend(frame.stream.to_be_bytes());
        bytes.extend(&frame.payload);
        self.0.write_all(&bytes)?;
        self.0.flush()
    }

    /// The next frame; `None` at the end of the connection.
    pub fn frame(&mut self) -> io::Result<Option<Frame>> {
        let mut head = [0; 9];
        match self.0.read_exact(&mut head) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error),
        }
        let [a, b, c, kind, flags, stream @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        self.0.read_exact(&mut payload)?;
        Ok(Some(Frame { kind, flags, stream: u32::from_be_bytes(stream), payload }))
    }

    /// The next frame of this type; others are passed over.
    pub fn next_of(&mut self, kind: u8) -> io::Result<Frame> {
        loop {
            match self.frame()? {
                Some(frame) if frame.kind == kind => return Ok(frame),
                Some(_) => {}
                None => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
    }

    /// What the proxy says that a setting is, in its first frame; `None` when it does not say.
    pub fn announced(&mut self, setting: u16) -> io::Result<Option<u32>> {
        let settings = self.next_of(SETTINGS)?;
        let all = settings.payload.chunks_exact(6).map(|pair| (u16::from_be_bytes([pair[0], pair[1]]), &pair[2..]));
        let value = |bytes: &[u8]| bytes.iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte));
        Ok(all.filter(|(name, _)| *name == setting).map(|(_, bytes)| value(bytes)).next_back())
    }
}
