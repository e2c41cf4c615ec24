//! Ranges of IP addresses: `192.0.2.10-192.0.2.20`, `192.0.2.0/28`, `2001:db8::5`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// Addresses of one family, from the first to the last. None of them is one that a host can't have, as `0.0.0.0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IpRange {
    first: IpAddr,
    last: IpAddr,
}

/// Why a text is no range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IpRangeError {
    /// No address where one should be.
    #[error("{0:?} is no IP address")]
    Address(String),
    /// A prefix length that the family does not have.
    #[error("/{0} is no prefix length")]
    Prefix(String),
    /// Of two families, or the last before the first.
    #[error("{0} comes after {1}")]
    Order(IpAddr, IpAddr),
    /// Holds addresses that no host can be reached at.
    #[error("{0} is no address that a host can have")]
    NoHost(IpAddr),
}

impl IpRange {
    /// Whether an address is in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        address.is_ipv4() == self.first.is_ipv4() && (self.first..=self.last).contains(&address)
    }

    /// Whether all addresses of another are in it.
    pub fn covers(&self, other: &Self) -> bool {
        self.contains(other.first) && self.contains(other.last)
    }

    /// Its addresses in order, made as they are asked for: there may be more than can be counted.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + use<> {
        let last = self.last;
        std::iter::successors(Some(self.first), move |address| (*address != last).then(|| next(*address)))
    }

    fn new(first: IpAddr, last: IpAddr) -> Result<Self, IpRangeError> {
        if first.is_ipv4() != last.is_ipv4() || first > last {
            return Err(IpRangeError::Order(first, last));
        }
        let range = Self { first, last };
        for (from, to) in no_host() {
            if range.contains(from) || range.contains(to) || (from..=to).contains(&first) {
                return Err(IpRangeError::NoHost(if (from..=to).contains(&first) { first } else { from }));
            }
        }
        Ok(range)
    }
}

/// Blocks whose addresses no host has: "this network", multicast and broadcast, of IPv6 the unspecified address, IPv4 in
/// IPv6, link-local (which needs an interface) and multicast.
fn no_host() -> [(IpAddr, IpAddr); 6] {
    let v4 = |a, b| (IpAddr::V4(Ipv4Addr::from_bits(a)), IpAddr::V4(Ipv4Addr::from_bits(b)));
    let v6 = |a, b| (IpAddr::V6(Ipv6Addr::from_bits(a)), IpAddr::V6(Ipv6Addr::from_bits(b)));
    let block = |top: u128, bits: u32| v6(top << (128 - bits), ((top + 1) << (128 - bits)).wrapping_sub(1));
    [
        v4(0, 0x00ff_ffff),
        v4(0xe000_0000, u32::MAX),
        v6(0, 0),
        v6(0xffff_0000_0000, 0xffff_ffff_ffff),
        block(0xfe80 >> 6, 10),
        v6(0xff << 120, u128::MAX),
    ]
}

fn next(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(address) => IpAddr::V4(Ipv4Addr::from_bits(address.to_bits().wrapping_add(1))),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits().wrapping_add(1))),
    }
}

fn address(text: &str) -> Result<IpAddr, IpRangeError> {
    text.trim().parse().map_err(|_| IpRangeError::Address(text.to_owned()))
}

impl FromStr for IpRange {
    type Err = IpRangeError;

    fn from_str(text: &str) -> Result<Self, IpRangeError> {
        if let Some((first, last)) = text.split_once('-') {
            return Self::new(address(first)?, address(last)?);
        }
        let Some((base, prefix)) = text.split_once('/') else {
            let only = address(text)?;
            return Self::new(only, only);
        };
        let wrong = || IpRangeError::Prefix(prefix.to_owned());
        let bits: u32 = prefix.parse().map_err(|_| wrong())?;
        match address(base)? {
            IpAddr::V4(base) => {
                let host = u32::MAX.checked_shr(bits).unwrap_or(0);
                let first = base.to_bits() & !host;
                let range = (bits <= 32).then(|| (Ipv4Addr::from_bits(first), Ipv4Addr::from_bits(first | host)));
                let (first, last) = range.ok_or_else(wrong)?;
                Self::new(first.into(), last.into())
            }
            IpAddr::V6(base) => {
                let host = u128::MAX.checked_shr(bits).unwrap_or(0);
                let first = base.to_bits() & !host;
                let range = (bits <= 128).then(|| (Ipv6Addr::from_bits(first), Ipv6Addr::from_bits(first | host)));
                let (first, last) = range.ok_or_else(wrong)?;
                Self::new(first.into(), last.into())
            }
        }
    }
}

impl fmt::Display for IpRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last { write!(f, "{}", self.first) } else { write!(f, "{}-{}", self.first, self.last) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(text: &str) -> IpRange {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn three_forms_are_read() {
        assert_eq!(range("192.0.2.10-192.0.2.12").to_string(), "192.0.2.10-192.0.2.12");
        assert_eq!(range("192.0.2.10/30").to_string(), "192.0.2.8-192.0.2.11");
        assert_eq!(range("192.0.2.10/32").to_string(), "192.0.2.10");
        assert_eq!(range("2001:db8::5").to_string(), "2001:db8::5");
        assert_eq!(range("2001:db8::/126").to_string(), "2001:db8::-2001:db8::3");
    }

    #[test]
    fn addresses_come_in_order_to_the_last() {
        let all: Vec<_> = range("192.0.2.254-192.0.3.1").addresses().map(|address| address.to_string()).collect();
        assert_eq!(all, ["192.0.2.254", "192.0.2.255", "192.0.3.0", "192.0.3.1"]);
        assert_eq!(range("2001:db8::/32").addresses().nth(2).unwrap().to_string(), "2001:db8::2");
    }

    #[test]
    fn families_do_not_mix() {
        assert!(!range("192.0.2.0/24").contains("::ffff:192.0.2.1".parse().unwrap()));
        assert!(range("192.0.2.0/24").covers(&range("192.0.2.7")));
        assert!(!range("192.0.2.0/24").covers(&range("192.0.2.7-192.0.3.7")));
    }

    #[test]
    fn what_no_host_can_have_is_refused() {
        let all = ["0.0.0.0", "0.0.0.0/0", "224.0.0.1", "255.255.255.255", "::", "::/0", "ff02::1", "::ffff:1.2.3.4"];
        for text in all.into_iter().chain(["fe80::1", "192.0.2.0-255.255.255.255", "1.2.3.4-1.2.3.3", "1.2.3.4-::5"]) {
            assert!(text.parse::<IpRange>().is_err(), "{text}");
        }
        for text in ["", "a", "1.2.3.4/33", "::1/129", "1.2.3.4/", "1.2.3.4-", "1.2.3.4/a", "1.2.3/24", "-1.2.3.4"] {
            assert!(text.parse::<IpRange>().is_err(), "{text}");
        }
        assert_eq!(range("127.0.1.0/24").to_string(), "127.0.1.0-127.0.1.255");
        assert_eq!(range("::1").to_string(), "::1");
    }
}
