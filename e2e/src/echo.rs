//! The backend `genkan echo`, as a process of its own.

use std::io::{BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::thread;

use crate::genkan::binary;

/// A running `genkan echo`. Killed when dropped.
pub struct Echo {
    child: Child,
    address: SocketAddr,
}

impl Echo {
    /// Starts a backend that calls itself `name`, on loopback.
    pub fn start(name: &str) -> Self {
        Self::start_at(name, Ipv4Addr::LOCALHOST.into())
    }

    /// Starts a backend at this address, on a port that the system chooses.
    pub fn start_at(name: &str, address: IpAddr) -> Self {
        let mut child = Command::new(binary())
            .args(["echo", "--listen", &SocketAddr::new(address, 0).to_string(), "--name", name])
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("genkan echo starts");
        let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        let first = lines.next().expect("echo says where it listens").unwrap();
        let address = first.rsplit(' ').next().and_then(|address| address.parse().ok());
        let address = address.unwrap_or_else(|| panic!("no address in {first:?}"));
        // Nobody reads further lines, but a full pipe would stop the process.
        thread::spawn(move || lines.for_each(drop));
        Self { child, address }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        // Already gone is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
