//! Bodies of 2 GiB, both ways, in constant memory.

// What fails here fails the test, and the panic says where.
#![allow(clippy::unwrap_used)]

use std::io::{self, Cursor, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{LazyLock, Mutex};
use std::thread;
use std::time::Duration;

use genkan_e2e::http1::Client;
use genkan_e2e::manifests::{ingress, service};
use genkan_e2e::{Genkan, Options, PATIENCE};

/// Each body.
const SIZE: u64 = 2 << 30;
/// How much memory a transfer may add. A proxy that buffers needs a hundred times as much.
const GROWTH: u64 = 24 << 20;
/// One body at a time in this process: they share two cores and one bound of time.
static ALONE: Mutex<()> = Mutex::new(());

/// Reads the head of a message; gives what was read after it.
fn read_head(stream: &mut TcpStream) -> (String, Vec<u8>) {
    let mut bytes = Vec::new();
    loop {
        let mut piece = [0; 4096];
        let count = stream.read(&mut piece).unwrap();
        assert!(count > 0, "no head: {:?}", String::from_utf8_lossy(&bytes));
        bytes.extend(&piece[..count]);
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let rest = bytes.split_off(at + 4);
            return (String::from_utf8(bytes).unwrap(), rest);
        }
    }
}

/// Byte number `at` of a body: one that shows when pieces are lost, doubled or exchanged.
fn pattern(at: u64) -> u8 {
    (at ^ (at >> 8) ^ (at >> 16) ^ (at >> 24)) as u8
}

/// What is written and compared at a time.
const BLOCK: usize = 64 << 10;

/// Every block that a body can have: made once, so that making and checking 2 GiB is quick without optimization, too.
static BLOCKS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let low: Vec<u8> = (0..BLOCK as u64).map(pattern).collect();
    (0..=u8::MAX).map(|high| low.iter().map(|byte| byte ^ high).collect()).collect()
});

/// The block that begins at `at`, a multiple of its length: `pattern` of a sum of different bits is their patterns' xor.
fn block(at: u64) -> &'static [u8] {
    &BLOCKS[usize::from(pattern(at))]
}

/// Writes a whole body.
fn write_body(stream: &mut TcpStream) -> io::Result<()> {
    (0..SIZE).step_by(BLOCK).try_for_each(|at| stream.write_all(block(at)))
}

/// Reads a whole body, which begins with `begin`, and checks it.
fn read_body(stream: &mut TcpStream, begin: Vec<u8>) {
    let mut reader = Cursor::new(begin).chain(stream);
    let mut piece = vec![0; BLOCK];
    for at in (0..SIZE).step_by(BLOCK) {
        reader.read_exact(&mut piece).unwrap_or_else(|error| panic!("after {at} bytes: {error}"));
        assert!(piece == block(at), "the body is damaged near {at}");
    }
}

/// A backend that takes a body where the request has one, and gives one otherwise.
fn backend() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            thread::spawn(move || {
                let (head, rest) = read_head(&mut stream);
                if head.starts_with("PUT") {
                    assert!(head.to_lowercase().contains(&format!("content-length: {SIZE}\r\n")), "{head}");
                    read_body(&mut stream, rest);
                    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwhole").unwrap();
                } else {
                    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n");
                    stream.write_all(head.as_bytes()).unwrap();
                    // A client that goes away early says so itself, if that is wrong.
                    let _ = write_body(&mut stream);
                }
            });
        }
    });
    address
}

fn serve() -> Genkan {
    let annotations = [("proxy-body-size", "0"), ("proxy-read-timeout", "600"), ("proxy-send-timeout", "600")];
    let manifests = service("web", &[backend()]) + &ingress("web", "web.test", "web", &annotations);
    Genkan::serve_with(&[("web.yaml", &manifests)], Options::default())
}

/// Does `transfer` while the memory of the proxy is looked at all the time; it must not grow by more than [`GROWTH`].
fn in_constant_memory(genkan: &Genkan, transfer: impl FnOnce()) {
    let before = genkan.resident();
    let over = AtomicBool::new(false);
    let most = thread::scope(|scope| {
        let watched = scope.spawn(|| {
            let mut most = before;
            while !over.load(Ordering::Relaxed) {
                most = most.max(genkan.resident());
                // Sampling: buffered bytes would stay for as long as the transfer takes.
                thread::sleep(Duration::from_millis(10));
            }
            most
        });
        transfer();
        over.store(true, Ordering::Relaxed);
        watched.join().unwrap()
    });
    let grown = most - before;
    assert!(grown < GROWTH, "{grown} bytes more than the {before} before");
}

#[test]
fn two_gibibytes_go_up_in_constant_memory() {
    let _alone = ALONE.lock();
    let genkan = serve();
    in_constant_memory(&genkan, || {
        let mut client = Client::connect(genkan.http()).unwrap();
        let length = SIZE.to_string();
        client.send("PUT", "web.test", "/", &[("Content-Length", &length)], b"").unwrap();
        write_body(client.stream()).unwrap();
        let answer = client.answer("PUT").expect("an answer");
        assert_eq!((answer.status, answer.text().as_str()), (200, "whole"));
    });
}

#[test]
fn two_gibibytes_come_down_in_constant_memory() {
    let _alone = ALONE.lock();
    let genkan = serve();
    in_constant_memory(&genkan, || {
        let mut stream = TcpStream::connect(genkan.http()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: web.test\r\n\r\n").unwrap();
        let (head, begin) = read_head(&mut stream);
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        assert!(head.to_lowercase().contains(&format!("content-length: {SIZE}\r\n")), "{head}");
        read_body(&mut stream, begin);
    });
}

#[test]
fn a_client_that_does_not_read_holds_its_backend_back() {
    let _alone = ALONE.lock();
    let genkan = serve();
    let mut stream = TcpStream::connect(genkan.http()).unwrap();
    let before = genkan.resident();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: web.test\r\n\r\n").unwrap();
    let (head, _) = read_head(&mut stream);
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    // Until nothing moves any more: what is on its way fills the buffers of the sockets, and waits.
    let mut last = u64::MAX;
    genkan.wait_until("all buffers are full", || {
        let now = genkan.resident();
        thread::sleep(Duration::from_millis(200));
        std::mem::replace(&mut last, now) == now
    });
    assert!(last.saturating_sub(before) < GROWTH, "{last} after {before}");
}
