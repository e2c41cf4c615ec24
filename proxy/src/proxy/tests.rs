//! Ports, limits and draining, over real sockets. What is asked is refused by the listener itself, so that no backend
//! is needed to see that a port is served.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;

use genkan_routing::model::{Listener, Protocol};
use genkan_routing::policy::client::ClientSettings;
use genkan_routing::snapshot::Snapshot;
use socket2::{Domain, Socket, Type};

use super::*;
use crate::listener::tests::support::{LOCALHOST, PATIENCE, listener, snapshot};

fn start(workers: usize) -> Proxy {
    Proxy::start(ProxyConfig { workers, ..ProxyConfig::default() }).unwrap()
}

fn of(listeners: impl IntoIterator<Item = Listener>) -> Arc<Snapshot> {
    snapshot(listeners, [], ClientSettings::default())
}

/// A plaintext listener at a given port.
fn at(id: &str, port: u16) -> Listener {
    Listener { port, ..listener(id, Protocol::Http) }
}

fn connect(address: SocketAddr) -> TcpStream {
    let client = TcpStream::connect(address).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client
}

/// A request without `Host`, which the listener refuses.
fn ask(client: &mut TcpStream) {
    client.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
}

fn answer(client: &mut TcpStream) -> io::Result<String> {
    let mut answer = String::new();
    client.read_to_string(&mut answer)?;
    Ok(answer)
}

/// Whether a listener of ours answers there.
fn is_served(address: SocketAddr) -> bool {
    let Ok(mut client) = TcpStream::connect(address) else { return false };
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    ask(&mut client);
    answer(&mut client).unwrap().starts_with("HTTP/1.1 400 ")
}

#[test]
fn ports_open_and_close_by_publish() {
    let proxy = start(2);
    assert_eq!(proxy.addresses(), []);
    let published = proxy.publish(of([at("a", 0), at("b", 0)]));
    assert_eq!(published.bound, proxy.addresses());
    let [(_, a), (_, b)] = published.bound[..] else { panic!("{published:?}") };
    assert!(is_served(a) && is_served(b));
    assert_eq!(proxy.publish(of([at("b", 0)])).bound, published.bound[1..]);
    assert!(!is_served(a) && is_served(b));
    // Closed for good when publish returns, so the port can be had at once.
    let reopened = proxy.publish(of([at("a", a.port()), at("b", 0)]));
    assert!(reopened.failed.is_empty(), "{:?}", reopened.failed);
    assert!(is_served(a) && is_served(b));
}

#[test]
fn every_worker_accepts_at_the_same_port() {
    let proxy = start(4);
    let published = proxy.publish(of([at("a", 0)]));
    let address = published.bound[0].1;
    for _ in 0..32 {
        assert!(is_served(address));
    }
}

#[test]
fn a_port_passes_from_one_listener_to_another() {
    let proxy = start(1);
    let port = proxy.publish(of([at("a", 0)])).bound[0].1.port();
    proxy.publish(of([]));
    assert_eq!(proxy.publish(of([at("a", port)])).bound.len(), 1);
    let published = proxy.publish(of([at("b", port)]));
    assert!(published.failed.is_empty(), "{:?}", published.failed);
    assert_eq!(published.bound, [(ListenerId::new("b"), SocketAddr::new(LOCALHOST, port))]);
    assert!(is_served(published.bound[0].1));
}

#[test]
fn a_port_in_use_costs_only_itself_and_is_tried_again() {
    let taken = std::net::TcpListener::bind((LOCALHOST, 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    let proxy = start(2);
    let both = || of([at("a", port), at("b", 0)]);
    let published = proxy.publish(both());
    let [(id, error)] = &published.failed[..] else { panic!("{published:?}") };
    assert_eq!((id.as_str(), error.kind()), ("a", io::ErrorKind::AddrInUse));
    assert_eq!(published.bound.len(), 1);
    assert!(is_served(published.bound[0].1));
    drop(taken);
    let published = proxy.publish(both());
    assert!(published.failed.is_empty(), "{:?}", published.failed);
    assert!(published.bound.iter().all(|(_, address)| is_served(*address)));
}

#[test]
fn a_port_that_another_program_would_share_is_in_use() {
    let other = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    other.set_reuse_port(true).unwrap();
    other.bind(&SocketAddr::new(LOCALHOST, 0).into()).unwrap();
    other.listen(1).unwrap();
    let port = other.local_addr().unwrap().as_socket().unwrap().port();
    let published = start(2).publish(of([at("a", port)]));
    assert_eq!(published.failed[0].1.kind(), io::ErrorKind::AddrInUse);
    let first = start(2);
    let port = first.publish(of([at("a", 0)])).bound[0].1.port();
    let published = start(2).publish(of([at("a", port)]));
    assert_eq!(published.failed[0].1.kind(), io::ErrorKind::AddrInUse);
}

#[test]
fn every_address_includes_ipv4() {
    let proxy = start(2);
    let everywhere = Listener { addresses: Vec::new(), ..listener("all", Protocol::Http) };
    let published = proxy.publish(of([everywhere]));
    let port = published.bound[0].1.port();
    assert!(is_served((Ipv4Addr::LOCALHOST, port).into()));
    // One address beside every address.
    let everywhere = Listener { addresses: Vec::new(), ..listener("all", Protocol::Http) };
    let one = Listener { addresses: vec![Ipv4Addr::new(127, 0, 0, 2).into()], ..at("one", port) };
    let published = proxy.publish(of([everywhere, one]));
    assert!(published.failed.is_empty(), "{:?}", published.failed);
    assert!(is_served((Ipv4Addr::LOCALHOST, port).into()) && is_served((Ipv4Addr::new(127, 0, 0, 2), port).into()));
}

#[test]
fn connections_over_the_limit_are_closed_at_once() {
    let proxy = start(1);
    let settings = ClientSettings { max_connections: 1, ..ClientSettings::default() };
    let address = proxy.publish(snapshot([at("a", 0)], [], settings)).bound[0].1;
    let mut first = connect(address);
    let mut second = connect(address);
    assert_eq!(answer(&mut second).unwrap(), "");
    assert_eq!(proxy.active_connections(), 1);
    ask(&mut first);
    assert!(answer(&mut first).unwrap().starts_with("HTTP/1.1 400 "));
    // The place is free once our end has seen the client's.
    drop(first);
    let asked_again = std::iter::repeat_with(|| {
        let mut client = connect(address);
        // A connection over the limit is closed without an answer, or reset under our request.
        let _ = client.write_all(b"GET / HTTP/1.1\r\n\r\n");
        let mut byte = [0];
        client.read(&mut byte).unwrap_or(0) == 1
    });
    assert!(asked_again.take(10_000).any(|answered| answered));
}

#[test]
fn connections_in_the_queue_of_a_closed_port_are_answered() {
    let proxy = start(2);
    let address = proxy.publish(of([at("a", 0)])).bound[0].1;
    let mut clients: Vec<_> = (0..64).map(|_| connect(address)).collect();
    proxy.publish(of([]));
    assert!(TcpStream::connect(address).is_err());
    for client in &mut clients {
        ask(client);
    }
    for client in &mut clients {
        assert!(answer(client).unwrap().starts_with("HTTP/1.1 400 "));
    }
}

#[tokio::test]
async fn a_drain_answers_what_has_arrived_and_opens_nothing() {
    let proxy = start(2);
    let address = proxy.publish(of([at("a", 0)])).bound[0].1;
    let mut clients: Vec<_> = (0..16).map(|_| connect(address)).collect();
    clients.iter_mut().for_each(ask);
    assert_eq!(proxy.drain().await, 0);
    assert_eq!(proxy.active_connections(), 0);
    for client in &mut clients {
        assert!(answer(client).unwrap().starts_with("HTTP/1.1 400 "));
    }
    assert!(TcpStream::connect(address).is_err());
    assert_eq!(proxy.publish(of([at("a", 0)])).bound, []);
}

#[tokio::test]
async fn a_drain_cuts_what_outlasts_the_time_out() {
    let config =
        ProxyConfig { workers: 1, drain_timeout: Some(std::time::Duration::from_millis(1)), ..ProxyConfig::default() };
    let proxy = Proxy::start(config).unwrap();
    let address = proxy.publish(of([at("a", 0)])).bound[0].1;
    let mut client = connect(address);
    assert_eq!(proxy.drain().await, 1);
    drop(proxy);
    // Cut: closed without an answer.
    assert_eq!(client.read(&mut [0; 8]).unwrap_or(0), 0);
}
