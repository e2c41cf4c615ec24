//! TCP and UDP services: the ports of the ConfigMaps, from the flags to the bytes.

// What fails here fails the test, and the panic says where.
#![allow(clippy::unwrap_used)]

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::mpsc;
use std::thread;

use genkan_e2e::genkan::free_address;
use genkan_e2e::manifests::service;
use genkan_e2e::streams::{ask, connect, tcp_echo, udp_echo};
use genkan_e2e::{Genkan, Options, PATIENCE};

/// A ConfigMap of entries in `default`.
fn entries(name: &str, entries: &[(SocketAddr, &str)]) -> String {
    let mut text = format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{ name: {name} }}\ndata:\n");
    for (port, value) in entries {
        // Writing into a String cannot fail.
        let _ = writeln!(text, "  \"{}\": {value}", port.port());
    }
    text + "---\n"
}

fn options() -> Options {
    Options::with(&["--tcp-services-configmap", "default/tcp", "--udp-services-configmap", "default/udp"])
}

fn serve(files: &[(&str, &str)]) -> Genkan {
    Genkan::serve_with(files, options())
}

/// What comes back for these bytes until the end.
fn exchange(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = connect(address);
    stream.write_all(bytes).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

fn is_open(address: SocketAddr) -> bool {
    TcpStream::connect(address).is_ok()
}

/// The problem at an entry, as reason and message.
fn problem(genkan: &Genkan, field: &str) -> Option<(String, String)> {
    let problems = genkan.problems();
    let found = problems.iter().find(|problem| problem["origin"].as_str().unwrap().ends_with(field))?;
    let text = |field: &str| found[field].as_str().unwrap().to_owned();
    Some((text("reason"), text("message")))
}

#[test]
fn tcp_goes_both_ways_with_half_close_and_proxy_headers_in_and_out() {
    let (plain, announced) = (free_address(), free_address());
    let text = [
        service("echo", &[tcp_echo("hello ")]),
        entries("tcp", &[(plain, "default/echo:http"), (announced, "default/echo:80:PROXY:PROXY")]),
        entries("udp", &[]),
    ];
    let genkan = serve(&[("all.yaml", &text.concat())]);
    assert_eq!(exchange(plain, b"world"), "hello world");
    let line = genkan.log_line();
    assert!(line.starts_with("[127.0.0.1] [") && line.contains("] TCP 200 11 5 "), "{line}");

    let header = "PROXY TCP4 192.0.2.7 198.51.100.1 4000 443\r\n";
    assert_eq!(exchange(announced, format!("{header}world").as_bytes()), format!("hello {header}world"));
    let line = genkan.log_line();
    assert!(line.starts_with("[192.0.2.7] ["), "{line}");
    let (_, metrics) = genkan.admin_get("/metrics");
    let series =
        format!("protocol=\"tcp\",port=\"{}\",namespace=\"default\",name=\"tcp\",status=\"200\"}} 1", plain.port());
    assert!(metrics.contains(&series), "{series} is not in\n{metrics}");
}

#[test]
fn udp_answers_each_client() {
    let port = free_address();
    let backend = udp_echo("got ");
    let udp = |text: String| text.replace("[{ name: http, port: ", "[{ name: http, protocol: UDP, port: ");
    let text = [udp(service("dns", &[backend])), entries("tcp", &[]), entries("udp", &[(port, "default/dns:80")])];
    let genkan = serve(&[("all.yaml", &text.concat())]);
    for number in 0..5 {
        assert_eq!(ask(port, &number.to_string()), format!("got {number}"));
    }
    let line = genkan.log_line();
    assert!(line.contains("] UDP 200 5 1 "), "{line}");
}

#[test]
fn ports_open_and_close_with_their_entries_and_endpoints() {
    let (one, two) = (free_address(), free_address());
    let backend = tcp_echo("a");
    let files = [
        ("service.yaml", &*service("echo", &[backend])),
        ("tcp.yaml", &entries("tcp", &[(one, "default/echo:80")])),
        ("udp.yaml", &entries("udp", &[])),
    ];
    let genkan = serve(&files);
    assert_eq!(exchange(one, b""), "a");
    assert!(!is_open(two));
    let mut running = connect(one);

    genkan.write("tcp.yaml", &entries("tcp", &[(two, "default/echo:80")]));
    genkan.wait_until("the new port opens", || is_open(two));
    genkan.wait_until("the old port closes", || !is_open(one));
    assert_eq!(exchange(two, b""), "a");
    // What runs is not touched.
    running.write_all(b"b").unwrap();
    running.shutdown(Shutdown::Write).unwrap();
    let mut text = String::new();
    running.read_to_string(&mut text).unwrap();
    assert_eq!(text, "ab");

    let field = format!("data[{}]", two.port());
    genkan.write("service.yaml", &service("echo", &[]));
    genkan.wait_until("the port without endpoints closes", || !is_open(two));
    genkan.wait_until("it is told", || problem(&genkan, &field).is_some());
    let (reason, message) = problem(&genkan, &field).unwrap();
    assert_eq!(reason, "NoEndpoints", "{message}");
    assert!(message.ends_with("the port is not opened"), "{message}");
    genkan.write("service.yaml", &service("echo", &[backend]));
    genkan.wait_until("the port opens again", || is_open(two));
}

#[test]
fn reserved_ports_are_refused_and_lose_only_themselves() {
    let port = free_address();
    let reserved = SocketAddr::new(port.ip(), 10247);
    let text = [
        service("echo", &[tcp_echo("a")]),
        entries("tcp", &[(reserved, "default/echo:80"), (port, "default/echo:80")]),
        entries("udp", &[]),
    ];
    let genkan = serve(&[("all.yaml", &text.concat())]);
    assert_eq!(exchange(port, b""), "a");
    let (reason, message) = problem(&genkan, "data[10247]").expect("it is told");
    assert_eq!(reason, "ReservedPort", "{message}");
    // The admin port is whatever its flag says.
    let admin = entries("tcp", &[(genkan.admin(), "default/echo:80")]);
    genkan.write("all.yaml", &[service("echo", &[tcp_echo("a")]), admin, entries("udp", &[])].concat());
    let field = format!("data[{}]", genkan.admin().port());
    genkan.wait_until("it is told", || problem(&genkan, &field).is_some_and(|(reason, _)| reason == "ReservedPort"));
}

#[test]
fn an_endpoint_that_cannot_be_reached_is_passed_over() {
    let port = free_address();
    let text = [
        service("echo", &[free_address(), tcp_echo("a")]),
        entries("tcp", &[(port, "default/echo:80")]),
        entries("udp", &[]),
    ];
    let _genkan = serve(&[("all.yaml", &text.concat())]);
    for _ in 0..6 {
        assert_eq!(exchange(port, b"b"), "ab");
    }
}

#[test]
fn a_drain_lets_a_connection_finish() {
    let port = free_address();
    let text = [service("echo", &[tcp_echo("a")]), entries("tcp", &[(port, "default/echo:80")]), entries("udp", &[])];
    let mut genkan = serve(&[("all.yaml", &text.concat())]);
    let mut running = connect(port);
    let mut first = [0];
    running.read_exact(&mut first).unwrap();
    genkan.terminate();
    genkan.wait_until("the port closes", || !is_open(port));
    running.write_all(b"still here").unwrap();
    let mut text = [0; 10];
    running.read_exact(&mut text).unwrap();
    assert_eq!(&text, b"still here");
    let (sender, ended) = mpsc::channel();
    let waiting = thread::spawn(move || {
        let status = genkan.wait();
        let _ = sender.send(status);
    });
    assert!(ended.try_recv().is_err(), "the process ended with a connection open");
    drop(running);
    assert!(ended.recv_timeout(PATIENCE).unwrap().success());
    waiting.join().unwrap();
}
