//! Sockets: bound so that every worker has an accept queue of its own, and no other program shares the port.
//!
//! With `SO_REUSEPORT` alone, a second Genkan (or any program of the same user that sets it) would bind the same port
//! without an error and get a part of the connections. So the port is first bound without it, which fails when anybody
//! has it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

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
    /// One for each worker, listening.
    pub(crate) sockets: Vec<TcpListener>,
}

/// Binds `count` sockets to one port. `address` `None` is every address of the machine, IPv6 and IPv4, or IPv4 alone
/// where IPv6 is off. With `shared`, the port is ours already at an overlapping address, so that nobody else can have
/// it and the question is skipped.
pub(crate) fn bind(address: Option<IpAddr>, port: u16, count: usize, shared: bool) -> io::Result<PortSockets> {
    let all_v6 = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port);
    let all_v4 = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port);
    match address {
        Some(ip) => bind_all(SocketAddr::new(ip, port), ip.is_ipv6(), count, shared),
        None => match bind_all(all_v6, false, count, shared) {
            Err(error) if lacks_ipv6(&error) => bind_all(all_v4, false, count, shared),
            result => result,
        },
    }
}

fn bind_all(mut address: SocketAddr, only_v6: bool, count: usize, shared: bool) -> io::Result<PortSockets> {
    if !shared && address.port() != 0 {
        new_socket(address, only_v6)?.bind(&address.into())?;
    }
    let mut sockets = Vec::with_capacity(count);
    for _ in 0..count {
        let socket = new_socket(address, only_v6)?;
        socket.set_reuse_port(true)?;
        socket.bind(&address.into())?;
        let listener = TcpListener::from(socket);
        // The first socket decides the port that the system chooses.
        address.set_port(listener.local_addr()?.port());
        sockets.push(listener);
    }
    // Only now: a queue that exists gets connections, and a later failure would lose them.
    for listener in &sockets {
        SockRef::from(listener).listen(BACKLOG)?;
    }
    Ok(PortSockets { address, sockets })
}

/// A socket whose connections inherit its options (Linux), which saves a few system calls on each.
fn new_socket(address: SocketAddr, only_v6: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(only_v6)?;
    }
    // Connections that linger from before must not keep the port from us.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_IDLE).with_interval(KEEPALIVE_INTERVAL);
    socket.set_tcp_keepalive(&keepalive)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
    Ok(socket)
}

fn lacks_ipv6(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL | libc::EPROTONOSUPPORT))
}
