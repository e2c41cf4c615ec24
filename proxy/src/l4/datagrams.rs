//! Datagrams: a UDP socket that knows at which of our addresses a datagram arrived, and answers from there.
//!
//! A socket bound to every address would let the system choose the source of an answer by its route, and a client
//! that hears from another address than it asked takes the answer for a stranger's.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket as StdUdpSocket};
use std::os::fd::AsRawFd;

use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, cmsg_space, recvmsg, sendmsg, setsockopt, sockopt,
};
use tokio::io::Interest;
use tokio::net::UdpSocket;

/// Room for what comes beside a datagram.
const CONTROL: usize = cmsg_space::<libc::in_pktinfo>() + cmsg_space::<libc::in6_pktinfo>();

/// Who talks with which of our addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Flow {
    /// The client.
    pub(crate) client: SocketAddr,
    /// Our address; `None` where the system does not tell.
    pub(crate) local: Option<IpAddr>,
}

/// A socket that clients send to.
#[derive(Debug)]
pub(crate) struct Datagrams(UdpSocket);

/// Lets a socket tell where datagrams arrived. To be called before it is bound, so that it holds for the first one.
pub(crate) fn tell_destinations(socket: &socket2::Socket, is_ipv6: bool) -> io::Result<()> {
    if is_ipv6 {
        setsockopt(socket, sockopt::Ipv6RecvPacketInfo, &true)?;
    } else {
        setsockopt(socket, sockopt::Ipv4PacketInfo, &true)?;
    }
    Ok(())
}

impl Datagrams {
    /// A bound socket, in the current runtime.
    pub(crate) fn new(socket: StdUdpSocket) -> io::Result<Self> {
        UdpSocket::from_std(socket).map(Self)
    }

    /// What it is bound to.
    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// Waits until there may be a datagram.
    pub(crate) async fn readable(&self) -> io::Result<()> {
        self.0.readable().await
    }

    /// Takes a datagram that is there.
    pub(crate) fn try_receive(&self, buffer: &mut [u8]) -> io::Result<(usize, Flow)> {
        self.0.try_io(Interest::READABLE, || {
            let (mut parts, mut control) = ([IoSliceMut::new(buffer)], [0; CONTROL]);
            let flags = MsgFlags::empty();
            let message = recvmsg::<SockaddrStorage>(self.0.as_raw_fd(), &mut parts, Some(&mut control), flags)?;
            let client = message.address.as_ref().and_then(socket_address);
            let client = client.ok_or(io::ErrorKind::InvalidData)?;
            let local = message.cmsgs()?.find_map(|control| match control {
                ControlMessageOwned::Ipv4PacketInfo(info) => {
                    Some(IpAddr::V4(Ipv4Addr::from(info.ipi_spec_dst.s_addr.to_ne_bytes())))
                }
                ControlMessageOwned::Ipv6PacketInfo(info) => Some(IpAddr::V6(Ipv6Addr::from(info.ipi6_addr.s6_addr))),
                _ => None,
            });
            Ok((message.bytes, Flow { client, local }))
        })
    }

    /// Sends a datagram to a client, from the address that it sent to.
    pub(crate) fn try_send(&self, flow: &Flow, bytes: &[u8]) -> io::Result<usize> {
        let send = |control: &[ControlMessage<'_>]| {
            let (parts, to) = ([IoSlice::new(bytes)], SockaddrStorage::from(flow.client));
            let sent = sendmsg(self.0.as_raw_fd(), &parts, control, MsgFlags::empty(), Some(&to))?;
            Ok(sent)
        };
        // Not by the runtime's knowledge, which of a new socket is that it can't be written to.
        match flow.local {
            None => send(&[]),
            Some(IpAddr::V4(local)) => {
                let s_addr = u32::from_ne_bytes(local.octets());
                let ipi_spec_dst = libc::in_addr { s_addr };
                let info = libc::in_pktinfo { ipi_ifindex: 0, ipi_spec_dst, ipi_addr: libc::in_addr { s_addr: 0 } };
                send(&[ControlMessage::Ipv4PacketInfo(&info)])
            }
            Some(IpAddr::V6(local)) => {
                let ipi6_addr = libc::in6_addr { s6_addr: local.octets() };
                send(&[ControlMessage::Ipv6PacketInfo(&libc::in6_pktinfo { ipi6_addr, ipi6_ifindex: 0 })])
            }
        }
    }
}

fn socket_address(address: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = address.as_sockaddr_in().map(|v4| SocketAddr::new(v4.ip().into(), v4.port()));
    // The scope of a link-local client is needed to answer it.
    v4.or_else(|| address.as_sockaddr_in6().map(|v6| std::net::SocketAddrV6::from(*v6).into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listener::socket::{PortSocket, bind};
    use crate::listener::table::Wire;

    #[tokio::test]
    async fn an_answer_comes_from_the_address_that_was_asked() {
        let bound = bind(Wire::Udp, None, 0, 1, false).unwrap();
        let PortSocket::Udp(socket) = bound.sockets.into_iter().next().unwrap() else { panic!("asked for UDP") };
        let socket = Datagrams::new(socket).unwrap();
        // Every address of 127.0.0.0/8 is this machine's; without help the answer would come from 127.0.0.1.
        for asked in ["127.0.0.2", "127.0.0.1"] {
            let asked = SocketAddr::new(asked.parse().unwrap(), bound.address.port());
            let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            client.send_to(b"hello", asked).await.unwrap();
            let mut buffer = [0; 16];
            let (count, flow) = loop {
                socket.readable().await.unwrap();
                match socket.try_receive(&mut buffer) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    received => break received.unwrap(),
                }
            };
            assert_eq!(&buffer[..count], b"hello");
            assert_eq!(flow.client.port(), client.local_addr().unwrap().port());
            socket.try_send(&flow, b"answer").unwrap();
            let (count, from) = client.recv_from(&mut buffer).await.unwrap();
            assert_eq!((&buffer[..count], from), (&b"answer"[..], asked));
        }
    }
}
