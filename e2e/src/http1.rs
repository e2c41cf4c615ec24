//! A blocking HTTP/1.1 client that keeps its connection, over any stream.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::genkan::PATIENCE;

/// A kept connection.
pub struct Client<S> {
    stream: S,
    buffer: Vec<u8>,
}

/// An answer as it came over the wire, its body without framing.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The head as text, without the empty line.
    pub head: String,
    /// The body.
    pub body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Debug)]
pub enum Failure {
    /// The connection ended before a byte of the answer: the request may be sent again on another one.
    Unanswered,
    /// Anything else: a request was lost.
    Lost(String),
}

impl Answer {
    /// The first value of a header field; names are compared without case.
    pub fn field(&self, name: &str) -> Option<&str> {
        let fields = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        fields.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).next()
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Whether the connection is not to be used again.
    pub fn closes(&self) -> bool {
        self.field("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }
}

impl Client<TcpStream> {
    /// A plaintext connection.
    pub fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self::new(stream))
    }
}

impl<S: Read + Write> Client<S> {
    /// A client on a stream that is connected.
    pub fn new(stream: S) -> Self {
        Self { stream, buffer: Vec::new() }
    }

    /// The stream, for what a client does not do.
    pub fn stream(&mut self) -> &mut S {
        &mut self.stream
    }

    /// `GET`, without further header fields.
    pub fn get(&mut self, host: &str, path: &str) -> Result<Answer, Failure> {
        self.request("GET", host, path, &[], b"")
    }

    /// Sends a request and reads its answer.
    pub fn request(
        &mut self,
        method: &str,
        host: &str,
        path: &str,
        fields: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Answer, Failure> {
        self.send(method, host, path, fields, body).map_err(|error| self.classify(&error))?;
        self.answer(method)
    }

    /// Sends a request.
    pub fn send(
        &mut self,
        method: &str,
        host: &str,
        path: &str,
        fields: &[(&str, &str)],
        body: &[u8],
    ) -> io::Result<()> {
        let mut text = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n");
        for (name, value) in fields {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        if !body.is_empty() {
            text.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        text.push_str("\r\n");
        let mut bytes = text.into_bytes();
        bytes.extend(body);
        self.stream.write_all(&bytes)?;
        self.stream.flush()
    }

    /// Reads the answer to a request with this method.
    pub fn answer(&mut self, method: &str) -> Result<Answer, Failure> {
        let mut answer = self.head()?;
        let bodiless = method == "HEAD" || matches!(answer.status, 101 | 204 | 304);
        let chunked = answer.field("transfer-encoding").is_some_and(|value| value.contains("chunked"));
        let length = answer.field("content-length").map(|value| value.parse::<usize>().unwrap());
        let lost = |error: io::Error| Failure::Lost(format!("in the body: {error}"));
        answer.body = match length {
            _ if bodiless => Vec::new(),
            _ if chunked => self.chunks().map_err(lost)?,
            Some(length) => self.take(length).map_err(lost)?,
            None => self.rest().map_err(lost)?,
        };
        Ok(answer)
    }

    /// Reads the head of an answer.
    pub fn head(&mut self) -> Result<Answer, Failure> {
        let end = loop {
            if let Some(at) = find(&self.buffer, b"\r\n\r\n") {
                break at;
            }
            self.fill().map_err(|error| self.classify(&error))?;
        };
        let head = String::from_utf8_lossy(&self.take(end).unwrap()).into_owned();
        self.take(4).unwrap();
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.ok_or_else(|| Failure::Lost(format!("no status in {head:?}")))?;
        Ok(Answer { status, head, body: Vec::new() })
    }

    /// Exactly this many bytes.
    pub fn take(&mut self, length: usize) -> io::Result<Vec<u8>> {
        while self.buffer.len() < length {
            self.fill()?;
        }
        Ok(self.buffer.drain(..length).collect())
    }

    /// The next chunk of a chunked body; empty at its end.
    pub fn chunk(&mut self) -> io::Result<Vec<u8>> {
        let line = self.line()?;
        let size = usize::from_str_radix(line.split(';').next().unwrap_or_default().trim(), 16);
        let chunk = self.take(size.map_err(io::Error::other)?)?;
        self.line()?;
        Ok(chunk)
    }

    fn chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let chunk = self.chunk()?;
            if chunk.is_empty() {
                return Ok(body);
            }
            body.extend(chunk);
        }
    }

    /// Everything until the connection ends.
    pub fn rest(&mut self) -> io::Result<Vec<u8>> {
        loop {
            match self.fill() {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(std::mem::take(&mut self.buffer)),
                Err(error) => return Err(error),
            }
        }
    }

    fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(at) = find(&self.buffer, b"\r\n") {
                let line = self.buffer.drain(..at + 2).take(at).collect();
                return String::from_utf8(line).map_err(io::Error::other);
            }
            self.fill()?;
        }
    }

    fn fill(&mut self) -> io::Result<()> {
        let mut piece = [0; 16 << 10];
        match self.stream.read(&mut piece)? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            count => {
                self.buffer.extend(&piece[..count]);
                Ok(())
            }
        }
    }

    /// What an error before or in an answer's head means.
    fn classify(&self, error: &io::Error) -> Failure {
        use ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
        match error.kind() {
            BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof if self.buffer.is_empty() => {
                Failure::Unanswered
            }
            _ => Failure::Lost(format!("{error} after {:?}", String::from_utf8_lossy(&self.buffer))),
        }
    }
}

/// `GET` on a connection of its own.
pub fn get(address: SocketAddr, host: &str, path: &str) -> Answer {
    request(address, "GET", host, path, &[], b"")
}

/// A request on a connection of its own.
pub fn request(
    address: SocketAddr,
    method: &str,
    host: &str,
    path: &str,
    fields: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    let mut client = Client::connect(address).unwrap_or_else(|error| panic!("{address}: {error}"));
    client.request(method, host, path, fields, body).unwrap_or_else(|failure| panic!("{host}{path}: {failure:?}"))
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}
