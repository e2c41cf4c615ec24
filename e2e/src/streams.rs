//! Peers of TCP and UDP: backends that say who they are, and clients that wait no longer than a test is patient.

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;

use crate::PATIENCE;

/// A TCP backend that says its name before it has heard anything, and sends back what it gets until the client has closed
/// its half.
pub fn tcp_echo(name: &'static str) -> SocketAddr {
    tcp_echo_at(Ipv4Addr::LOCALHOST.into(), name)
}

/// The same at this address.
pub fn tcp_echo_at(address: IpAddr, name: &'static str) -> SocketAddr {
    let listener = TcpListener::bind((address, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || {
                let (mut from, mut to) = (stream.try_clone().unwrap(), stream);
                // A client that has gone needs no answer.
                let _ = to.write_all(name.as_bytes());
                let _ = io::copy(&mut from, &mut to);
                let _ = to.shutdown(Shutdown::Write);
            });
        }
    });
    address
}

/// A UDP backend that answers with its name and the datagram.
pub fn udp_echo(name: &'static str) -> SocketAddr {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = socket.local_addr().unwrap();
    thread::spawn(move || {
        let mut buffer = [0; 2048];
        while let Ok((count, from)) = socket.recv_from(&mut buffer) {
            socket.send_to(&[name.as_bytes(), &buffer[..count]].concat(), from).unwrap();
        }
    });
    address
}

/// A UDP backend that answers with the port that a datagram came from, in five digits: it tells sessions apart.
pub fn udp_port_teller() -> SocketAddr {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = socket.local_addr().unwrap();
    thread::spawn(move || {
        let mut buffer = [0; 2048];
        while let Ok((_, from)) = socket.recv_from(&mut buffer) {
            socket.send_to(format!("{:05}", from.port()).as_bytes(), from).unwrap();
        }
    });
    address
}

/// A TCP connection whose reads end in time.
pub fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// What comes back for a datagram.
pub fn ask(address: SocketAddr, text: &str) -> String {
    ask_over(&client(address), text)
}

/// A UDP socket towards an address, whose reads end in time.
pub fn client(address: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.connect(address).unwrap();
    socket
}

/// What comes back over this socket for a datagram.
pub fn ask_over(socket: &UdpSocket, text: &str) -> String {
    socket.send(text.as_bytes()).unwrap();
    hear(socket)
}

/// The next datagram.
pub fn hear(socket: &UdpSocket) -> String {
    let mut buffer = [0; 2048];
    let count = socket.recv(&mut buffer).unwrap();
    String::from_utf8(buffer[..count].to_vec()).unwrap()
}
