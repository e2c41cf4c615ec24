//! A blocking WebSocket client (RFC 6455) for short text messages.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};

use crate::http1::Client;

/// An open WebSocket.
pub struct WebSocket(Client<TcpStream>);

impl WebSocket {
    /// Opens one at `/ws` of a host.
    pub fn open(address: SocketAddr, host: &str) -> Self {
        let mut client = Client::connect(address).unwrap();
        let fields = [
            ("Connection", "Upgrade"),
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Version", "13"),
            // The sample nonce of RFC 6455, section 1.3, and what must be made of it.
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        let answer = client.request("GET", host, "/ws", &fields, b"").expect("an answer to the handshake");
        assert_eq!(answer.status, 101, "{answer:?}");
        assert_eq!(answer.field("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{answer:?}");
        Self(client)
    }

    /// Sends a text of at most 125 bytes and reads the message that comes back.
    pub fn exchange(&mut self, text: &str) -> io::Result<String> {
        let length = u8::try_from(text.len()).ok().filter(|length| *length < 126).expect("a short text");
        // FIN and text; masked, with a mask that changes nothing (section 5.3 asks only that there is one).
        let mut frame = vec![0x81, 0x80 | length, 0, 0, 0, 0];
        frame.extend(text.as_bytes());
        self.0.stream().write_all(&frame)?;
        let head = self.0.take(2)?;
        if head[0] != 0x81 || head[1] >= 126 {
            return Err(io::Error::other(format!("not a short text frame: {head:?}")));
        }
        let message = self.0.take(usize::from(head[1]))?;
        String::from_utf8(message).map_err(io::Error::other)
    }

    /// Waits for the end of the connection; what comes before it is given.
    pub fn rest(&mut self) -> io::Result<Vec<u8>> {
        self.0.rest()
    }
}
