//! Sockets: bound so that every worker has a queue of its own, and no other program shares the port.
//!
//! With `SO_REUSEPORT` alone, a second Genkan (or any program of the same user that sets it) would bind the same port
//! without an error and get a part of the connections. So the port is first bound without it, which fails when anybody
//! has it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

use super::table::Wire;
use crate::l4::datagrams::tell_destinations;

/// Connections that wait in one worker's queue; the system's `net.core.somaxconn` may allow fewer.
const BACKLOG: i32 = 65_535;
/// How long sent bytes may stay unacknowledged, and how long a client may leave its window closed. It ends connections
/// to clients that vanished while we write.
const USER_TIMEOUT: Duration = Duration::from_secs(60);
/// Probes find vanished clients of connections on which nobody writes, such as WebSockets.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);

/// The sockets of a port, one for each worker.
#[derive(Debug)]
pub(crate) struct PortSockets {
    /// What they are bound to.
    pub(crate) address: SocketAddr,
    /// One for each worker.
    pub(crate) sockets: Vec<PortSocket>,
}

/// A worker's socket of a port.
#[derive(Debug)]
pub(crate) enum PortSocket {
    /// Listening.
    Tcp(TcpListener),
    /// Receiving.
    Udp(UdpSocket),
}

/// Binds `count` sockets to one port. `address` `None` is every address of the machine, IPv6 and IPv4, or IPv4 alone
/// where IPv6 is off. With `shared`, the port is ours already at an overlapping address, so that nobody else can have
/// it and the question is skipped.
pub(crate) fn bind(
    wire: Wire,
    address: Option<IpAddr>,
    port: u16,
    count: usize,
    shared: bool,
) -> io::Result<PortSockets> {
    let all_v6 = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port);
    let all_v4 = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port);
    match address {
        Some(ip) => bind_all(wire, SocketAddr::new(ip, port), ip.is_ipv6(), count, shared),
        None => match bind_all(wire, all_v6, false, count, shared) {
            Err(error) if lacks_ipv6(&error) => bind_all(wire, all_v4, false, count, shared),
            result => result,
        },
    }
}

fn bind_all(wire: Wire, mut address: SocketAddr, only_v6: bool, count: usize, shared: bool) -> io::Result<PortSockets> {
    if !shared && address.port() != 0 {
        new_socket(wire, address, only_v6)?.bind(&address.into())?;
    }
    let mut sockets = Vec::with_capacity(count);
    for _ in 0..count {
        let socket = new_socket(wire, address, only_v6)?;
        socket.set_reuse_port(true)?;
        socket.bind(&address.into())?;
        // The first socket decides the port that the system chooses.
        if let Some(bound) = socket.local_addr()?.as_socket() {
            address.set_port(bound.port());
        }
        sockets.push(match wire {
            Wire::Tcp => PortSocket::Tcp(socket.into()),
            Wire::Udp => PortSocket::Udp(socket.into()),
        });
    }
    // Only now: a queue that exists gets connections, and a later failure would lose them.
    for socket in &sockets {
        if let PortSocket::Tcp(listener) = socket {
            SockRef::from(listener).listen(BACKLOG)?;
        }
    }
    Ok(PortSockets { address, sockets })
}

/// A socket whose connections inherit its options (Linux), which saves a few system calls on each.
fn new_socket(wire: Wire, address: SocketAddr, only_v6: bool) -> io::Result<Socket> {
    let (kind, protocol) = match wire {
        Wire::Tcp => (Type::STREAM, Protocol::TCP),
        Wire::Udp => (Type::DGRAM, Protocol::UDP),
    };
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    if address.is_ipv6() {
        socket.set_only_v6(only_v6)?;
    }
    socket.set_nonblocking(true)?;
    if wire == Wire::Udp {
        // No `SO_REUSEADDR`, with which UDP sockets share a port.
        tell_destinations(&socket, address.is_ipv6())?;
        return Ok(socket);
    }
    // Connections that linger from before must not keep the port from us.
    socket.set_reuse_address(true)?;
    tune(&SockRef::from(&socket))?;
    Ok(socket)
}

/// The options of connections that are passed on, at both ends.
pub(crate) fn tune(socket: &SockRef<'_>) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_IDLE).with_interval(KEEPALIVE_INTERVAL);
    socket.set_tcp_keepalive(&keepalive)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
    Ok(())
}

fn lacks_ipv6(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL | libc::EPROTONOSUPPORT))
}
