//! Ports as Services have them: what is spoken on the wire, and a number.

use std::fmt;

use serde::Serialize;

/// What a port is a port of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Wire {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// A port as clients see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct PublicPort {
    /// What is spoken there.
    pub wire: Wire,
    /// Its number.
    pub number: u16,
}

impl Wire {
    /// Of the field `protocol` of a Service's port.
    pub fn of_service(protocol: Option<&str>) -> Option<Self> {
        match protocol {
            None | Some("TCP") => Some(Self::Tcp),
            Some("UDP") => Some(Self::Udp),
            Some(_) => None,
        }
    }

    /// As ids and names have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

impl PublicPort {
    /// What [`fmt::Display`] writes.
    pub fn parse(text: &str) -> Option<Self> {
        let (number, wire) = text.split_once('/')?;
        let wire = [Wire::Tcp, Wire::Udp].into_iter().find(|it| it.as_str() == wire)?;
        Some(Self { wire, number: number.parse().ok()? })
    }
}

impl fmt::Display for PublicPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.wire.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for wire in [Wire::Tcp, Wire::Udp] {
            let port = PublicPort { wire, number: 443 };
            assert_eq!(PublicPort::parse(&port.to_string()), Some(port));
        }
        assert!(["", "443", "443/sctp", "70000/tcp"].iter().all(|text| PublicPort::parse(text).is_none()));
    }
}
