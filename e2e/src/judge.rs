//! Judge: a service that says over HTTP which requests may pass.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

/// Answers 200 and `X-User: ada` to whoever says `open` for a path below `/check`, and 403 with `X-Why` to others.
pub fn of_words() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            thread::spawn(move || while judge(&mut stream.as_ref().unwrap()) {});
        }
    });
    address
}

/// Whether there may be another request.
fn judge(stream: &mut &TcpStream) -> bool {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).unwrap_or(0) == 0 {
            return false;
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).to_lowercase();
    let open = head.contains("authorization: open") && head.starts_with("get /check/");
    let answer = if open {
        "HTTP/1.1 200 OK\r\nX-User: ada\r\nContent-Length: 0\r\n\r\n"
    } else {
        "HTTP/1.1 403 Forbidden\r\nX-Why: word\r\nContent-Length: 2\r\n\r\nno"
    };
    stream.write_all(answer.as_bytes()).is_ok()
}
