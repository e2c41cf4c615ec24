//! Keys of the ConfigMap about the way to backends: kept connections, time-outs and retries, edited while Genkan runs.

// What fails here fails the test, and the panic says where.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;

use genkan_e2e::http1::{self, Client};
use genkan_e2e::manifests::{config_map, ingress, service};
use genkan_e2e::{Echo, Genkan, Options};

/// Genkan with one worker, so that there is one pool, and `web.test` that leads to these endpoints.
fn serve(endpoints: &[SocketAddr], data: &[(&str, &str)]) -> Genkan {
    let web = service("web", endpoints) + &ingress("web", "web.test", "web", &[]);
    let files = [("web.yaml", &*web), ("settings.yaml", &*config_map(data))];
    Genkan::serve_with(&files, Options::with(&["--workers", "1"]))
}

fn set(genkan: &Genkan, data: &[(&str, &str)]) {
    genkan.write("settings.yaml", &config_map(data));
}

/// How many of `count` requests, one after the other, came over each connection to the echo.
fn uses(genkan: &Genkan, count: usize) -> Vec<usize> {
    let mut uses = BTreeMap::new();
    for _ in 0..count {
        let peer = http1::get(genkan.http(), "web.test", "/").json()["peer"].as_str().unwrap().to_owned();
        *uses.entry(peer).or_default() += 1;
    }
    uses.into_values().collect()
}

/// A backend that takes connections and never says anything: they wait in its queue.
fn silent() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Connections that wait in a listener's queue.
fn waiting(listener: &TcpListener) -> usize {
    listener.set_nonblocking(true).unwrap();
    std::iter::from_fn(|| listener.accept().ok()).count()
}

#[test]
fn connections_to_a_backend_are_kept_as_their_keys_say() {
    let echo = Echo::start("web");
    let genkan = serve(&[echo.address()], &[]);
    assert_eq!(uses(&genkan, 6), [6], "one connection is enough for requests one after the other");
    set(&genkan, &[("upstream-keepalive-requests", "2")]);
    // One may be left over with a request from before, and one be left behind.
    genkan.wait_until("two requests each", || uses(&genkan, 6).into_iter().max() == Some(2));
    set(&genkan, &[("upstream-keepalive-connections", "0")]);
    genkan.wait_until("none is kept", || uses(&genkan, 4) == [1, 1, 1, 1]);
    set(&genkan, &[("upstream-keepalive-timeout", "0")]);
    genkan.wait_until("none is kept without idle time", || uses(&genkan, 4) == [1, 1, 1, 1]);
    set(&genkan, &[("upstream-keepalive-time", "0s")]);
    genkan.wait_until("none grows old", || uses(&genkan, 4) == [1, 1, 1, 1]);
    set(&genkan, &[]);
    genkan.wait_until("one is kept", || uses(&genkan, 4) == [4]);
}

#[test]
fn an_idle_connection_to_a_backend_is_closed_by_upstream_keepalive_timeout() {
    let (listener, address) = silent();
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = [0; 4096];
        assert!(stream.read(&mut head).unwrap() > 0);
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").unwrap();
        // By default it would stay open for longer than the test waits.
        tell.send(stream.read(&mut head).unwrap()).unwrap();
    });
    let genkan = serve(&[address], &[("upstream-keepalive-timeout", "1")]);
    assert_eq!(http1::get(genkan.http(), "web.test", "/").status, 200);
    assert_eq!(told.recv_timeout(genkan_e2e::PATIENCE).expect("the connection ends"), 0);
}

#[test]
fn a_silent_backend_is_504_by_proxy_read_timeout_after_as_many_tries_as_the_keys_say() {
    let (listener, address) = silent();
    let genkan = serve(&[address], &[("proxy-read-timeout", "1"), ("proxy-next-upstream-tries", "2")]);
    assert_eq!(http1::get(genkan.http(), "web.test", "/").status, 504);
    assert_eq!(waiting(&listener), 2);
    set(&genkan, &[("proxy-read-timeout", "1"), ("proxy-next-upstream", "off")]);
    genkan.wait_until("no further try", || {
        assert_eq!(http1::get(genkan.http(), "web.test", "/").status, 504);
        waiting(&listener) == 1
    });
}

#[test]
fn statuses_are_tried_elsewhere_as_proxy_next_upstream_says() {
    let (good, other) = (Echo::start("good"), Echo::start("other"));
    // Nothing else may be in the line: ports and request identifiers hold any digits by chance.
    let lines = ("log-format-upstream", "$upstream_status");
    let genkan = serve(&[good.address(), other.address()], &[lines]);
    let statuses = |method: &str| {
        let answer = http1::request(genkan.http(), method, "web.test", "/status/503", &[], b"");
        assert_eq!(answer.status, 503, "{answer:?}");
        genkan.log_line().trim().to_owned()
    };
    assert_eq!(statuses("GET"), "503");
    let tried = ("proxy-next-upstream", "error timeout http_503");
    set(&genkan, &[lines, tried, ("proxy-next-upstream-tries", "3")]);
    genkan.wait_until("three tries", || statuses("GET") == "503, 503, 503");
    assert_eq!(statuses("POST"), "503", "a POST may change something twice");
    set(&genkan, &[lines, ("proxy-next-upstream", "http_503"), ("retry-non-idempotent", "true")]);
    genkan.wait_until("a POST too", || statuses("POST") == "503, 503, 503");
}

#[test]
fn a_backend_that_takes_no_body_is_504_by_proxy_send_timeout() {
    let (_listener, address) = silent();
    // What the backend has to say about the body that it does not take is awaited after the time-out; by default of
    // proxy-send-timeout the test would give up.
    let data = [("proxy-send-timeout", "1"), ("proxy-read-timeout", "1"), ("proxy-body-size", "0")];
    let genkan = serve(&[address], &data);
    let mut client = Client::connect(genkan.http()).unwrap();
    let mut upload = client.stream().try_clone().unwrap();
    // More than all buffers on the way.
    let length = 64 << 20;
    client.send("POST", "web.test", "/", &[("Content-Length", &length.to_string())], b"").unwrap();
    // Whether all of it is taken after the answer is the proxy's business.
    let sent = thread::spawn(move || (0..length >> 20).all(|_| upload.write_all(&[b'x'; 1 << 20]).is_ok()));
    assert_eq!(client.answer("POST").unwrap().status, 504);
    assert!(genkan.log_line().contains(" 504 "));
    drop((client, genkan));
    sent.join().unwrap();
}

#[test]
fn a_backend_that_accepts_nothing_is_504_by_proxy_connect_timeout() {
    let (_listener, address) = silent();
    // A full queue lets further handshakes wait. Which connection finds it full is the system's business.
    let mut queue = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, std::time::Duration::from_millis(300)) {
        queue.push(stream);
        assert!(queue.len() < 10_000, "the queue of a listener has no end");
    }
    let genkan = serve(&[address], &[("proxy-connect-timeout", "1"), ("proxy-next-upstream", "off")]);
    assert_eq!(http1::get(genkan.http(), "web.test", "/").status, 504);
}
