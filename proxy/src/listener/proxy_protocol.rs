//! PROXY protocol: the header with which a load balancer in front announces the client (versions 1 and 2 of HAProxy's
//! `proxy-protocol.txt`).
//!
//! Pure: says what the first bytes of a connection are. Whether a header is required is the listener's matter; there
//! is no guessing, since a client could write one as well.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str;

/// Bytes of a version 1 header, CRLF included.
const MAX_V1: usize = 107;
/// Bytes that a version 2 header may announce after its fixed part: addresses and TLVs. nginx takes 4096 in all.
const MAX_V2_BODY: usize = 4096 - V2_FIXED;
/// Signature, version and command, family, length.
const V2_FIXED: usize = 16;
const V2_SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const V1_SIGNATURE: &[u8] = b"PROXY ";

/// A header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ProxyHeader {
    /// Its bytes; what follows is the client's.
    pub(crate) len: usize,
    /// The client's source and destination; `None` when the sender speaks for itself (`LOCAL`) or does not know
    /// (`UNKNOWN`, `UNSPEC`), so that the connection's own addresses hold.
    pub(crate) addresses: Option<(SocketAddr, SocketAddr)>,
}

/// The bytes are no PROXY header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ProxyHeaderError {
    /// Neither version's signature.
    #[error("the connection does not begin with a PROXY header")]
    NoHeader,
    /// A signature, then something that the version does not allow.
    #[error("the PROXY header is malformed")]
    Malformed,
    /// Longer than a header may be.
    #[error("the PROXY header is too long")]
    TooLong,
}

/// Reads a header at the beginning of `bytes`; `None` when there are too few bytes to tell.
pub(crate) fn parse(bytes: &[u8]) -> Result<Option<ProxyHeader>, ProxyHeaderError> {
    if begins_alike(bytes, V2_SIGNATURE) {
        parse_v2(bytes)
    } else if begins_alike(bytes, V1_SIGNATURE) {
        parse_v1(bytes)
    } else {
        Err(ProxyHeaderError::NoHeader)
    }
}

/// A version 1 header that announces a client, as `haproxy` and nginx write it.
pub(crate) fn v1_header(source: SocketAddr, destination: SocketAddr) -> String {
    let (from, to) = (source.ip().to_canonical(), destination.ip().to_canonical());
    let (family, from, to) = match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => ("TCP4", IpAddr::V4(from), IpAddr::V4(to)),
        (from, to) => ("TCP6", as_v6(from).into(), as_v6(to).into()),
    };
    format!("PROXY {family} {from} {to} {} {}\r\n", source.port(), destination.port())
}

fn as_v6(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    }
}

/// Whether one of the two is the beginning of the other.
fn begins_alike(bytes: &[u8], signature: &[u8]) -> bool {
    bytes.iter().zip(signature).all(|(byte, expected)| byte == expected)
}

fn parse_v1(bytes: &[u8]) -> Result<Option<ProxyHeader>, ProxyHeaderError> {
    let window = bytes.get(..MAX_V1).unwrap_or(bytes);
    let Some(end) = window.windows(2).position(|pair| pair == b"\r\n") else {
        return if window.len() == MAX_V1 { Err(ProxyHeaderError::TooLong) } else { Ok(None) };
    };
    let line = window.get(..end).and_then(|line| str::from_utf8(line).ok()).ok_or(ProxyHeaderError::Malformed)?;
    let mut words = line.split(' ').skip(1);
    let addresses = match words.next() {
        // What follows is to be ignored.
        Some("UNKNOWN") => None,
        Some("TCP4") => Some(v1_addresses::<Ipv4Addr>(words)?),
        Some("TCP6") => Some(v1_addresses::<Ipv6Addr>(words)?),
        _ => return Err(ProxyHeaderError::Malformed),
    };
    Ok(Some(ProxyHeader { len: end + 2, addresses }))
}

fn v1_addresses<'a, A: str::FromStr + Into<IpAddr>>(
    mut words: impl Iterator<Item = &'a str>,
) -> Result<(SocketAddr, SocketAddr), ProxyHeaderError> {
    let mut word = || words.next().ok_or(ProxyHeaderError::Malformed);
    let (source, destination, source_port, destination_port) = (word()?, word()?, word()?, word()?);
    if words.next().is_some() {
        return Err(ProxyHeaderError::Malformed);
    }
    let address = |ip: &str, port: &str| {
        let ip: IpAddr = ip.parse::<A>().ok()?.into();
        Some(SocketAddr::new(ip.to_canonical(), v1_port(port)?))
    };
    address(source, source_port).zip(address(destination, destination_port)).ok_or(ProxyHeaderError::Malformed)
}

/// Decimal digits without leading zeros.
fn v1_port(text: &str) -> Option<u16> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if plain { text.parse().ok() } else { None }
}

fn parse_v2(bytes: &[u8]) -> Result<Option<ProxyHeader>, ProxyHeaderError> {
    let Some(&[version_command, family, high, low]) = bytes.get(V2_SIGNATURE.len()..V2_FIXED) else {
        return Ok(None);
    };
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > MAX_V2_BODY {
        return Err(ProxyHeaderError::TooLong);
    }
    let local = match version_command {
        0x20 => true,
        0x21 => false,
        _ => return Err(ProxyHeaderError::Malformed),
    };
    let len = V2_FIXED + length;
    let Some(body) = bytes.get(V2_FIXED..len) else { return Ok(None) };
    let addresses = if local { None } else { v2_addresses(family, body)? };
    Ok(Some(ProxyHeader { len, addresses }))
}

/// The addresses of TCP over IPv4 or IPv6. Other families are to be treated as unknown; TLVs follow and are skipped.
fn v2_addresses(family: u8, body: &[u8]) -> Result<Option<(SocketAddr, SocketAddr)>, ProxyHeaderError> {
    match family {
        0x11 => {
            let (source, rest) = take::<4>(body)?;
            let (destination, rest) = take::<4>(rest)?;
            v2_ports(Ipv4Addr::from(source).into(), Ipv4Addr::from(destination).into(), rest)
        }
        0x21 => {
            let (source, rest) = take::<16>(body)?;
            let (destination, rest) = take::<16>(rest)?;
            v2_ports(Ipv6Addr::from(source).into(), Ipv6Addr::from(destination).into(), rest)
        }
        _ => Ok(None),
    }
}

fn v2_ports(
    source: IpAddr,
    destination: IpAddr,
    rest: &[u8],
) -> Result<Option<(SocketAddr, SocketAddr)>, ProxyHeaderError> {
    let (source_port, rest) = take::<2>(rest)?;
    let (destination_port, _tlvs) = take::<2>(rest)?;
    Ok(Some((
        SocketAddr::new(source.to_canonical(), u16::from_be_bytes(source_port)),
        SocketAddr::new(destination.to_canonical(), u16::from_be_bytes(destination_port)),
    )))
}

fn take<const N: usize>(bytes: &[u8]) -> Result<([u8; N], &[u8]), ProxyHeaderError> {
    bytes.split_first_chunk::<N>().map(|(taken, rest)| (*taken, rest)).ok_or(ProxyHeaderError::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v2(version_command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(body.len()).unwrap().to_be_bytes();
        [V2_SIGNATURE, &[version_command, family], &length, body].concat()
    }

    /// The header's own result; every shorter beginning must ask for more, and more bytes must change nothing.
    fn parse_in_pieces(bytes: &[u8]) -> Option<(SocketAddr, SocketAddr)> {
        for end in 0..bytes.len() {
            assert_eq!(parse(&bytes[..end]), Ok(None), "{end}");
        }
        let header = parse(bytes).unwrap().unwrap();
        assert_eq!(header.len, bytes.len());
        assert_eq!(parse(&[bytes, b"GET / HTTP/1.1\r\n"].concat()), Ok(Some(header)));
        header.addresses
    }

    fn pair(source: &str, destination: &str) -> Option<(SocketAddr, SocketAddr)> {
        Some((source.parse().unwrap(), destination.parse().unwrap()))
    }

    #[test]
    fn version_1_announces_addresses() {
        let header = b"PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\n";
        assert_eq!(parse_in_pieces(header), pair("192.0.2.1:56324", "198.51.100.7:443"));
        let header = b"PROXY TCP6 2001:db8::1 2001:db8::2 0 65535\r\n";
        assert_eq!(parse_in_pieces(header), pair("[2001:db8::1]:0", "[2001:db8::2]:65535"));
    }

    #[test]
    fn a_header_that_is_written_can_be_read() {
        for (source, destination, header) in [
            ("192.0.2.1:56324", "198.51.100.7:443", "PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\n"),
            ("[2001:db8::1]:1", "[::1]:65535", "PROXY TCP6 2001:db8::1 ::1 1 65535\r\n"),
            ("[::ffff:192.0.2.1]:1", "198.51.100.7:2", "PROXY TCP4 192.0.2.1 198.51.100.7 1 2\r\n"),
        ] {
            let (source, destination) = pair(source, destination).unwrap();
            assert_eq!(v1_header(source, destination), header);
            let read = SocketAddr::new(source.ip().to_canonical(), source.port());
            assert_eq!(parse_in_pieces(header.as_bytes()), Some((read, destination)));
        }
        // Both have to be of one family.
        let (source, destination) = pair("192.0.2.1:1", "[2001:db8::2]:2").unwrap();
        let header = v1_header(source, destination);
        assert_eq!(header, "PROXY TCP6 ::ffff:192.0.2.1 2001:db8::2 1 2\r\n");
        assert_eq!(parse_in_pieces(header.as_bytes()), Some((source, destination)));
    }

    #[test]
    fn unknown_keeps_the_connections_addresses() {
        assert_eq!(parse_in_pieces(b"PROXY UNKNOWN\r\n"), None);
        assert_eq!(parse_in_pieces(b"PROXY UNKNOWN ffff::1 whatever\r\n"), None);
        assert_eq!(parse_in_pieces(&v2(0x20, 0x11, &[0; 12])), None);
        assert_eq!(parse_in_pieces(&v2(0x20, 0x00, &[])), None);
        assert_eq!(parse_in_pieces(&v2(0x21, 0x00, &[1, 2, 3])), None);
        assert_eq!(parse_in_pieces(&v2(0x21, 0x31, &[0; 216])), None);
    }

    #[test]
    fn version_2_announces_addresses_and_may_have_more() {
        let body = [192, 0, 2, 1, 198, 51, 100, 7, 0xdc, 0x04, 0x01, 0xbb];
        assert_eq!(parse_in_pieces(&v2(0x21, 0x11, &body)), pair("192.0.2.1:56324", "198.51.100.7:443"));
        let with_tlv = [&body[..], &[0x04, 0, 3, 1, 2, 3]].concat();
        assert_eq!(parse_in_pieces(&v2(0x21, 0x11, &with_tlv)), pair("192.0.2.1:56324", "198.51.100.7:443"));
        let six =
            [&Ipv6Addr::LOCALHOST.octets()[..], &Ipv4Addr::new(10, 0, 0, 1).to_ipv6_mapped().octets(), &[0, 1, 0, 2]];
        assert_eq!(parse_in_pieces(&v2(0x21, 0x21, &six.concat())), pair("[::1]:1", "10.0.0.1:2"));
    }

    #[test]
    fn rubbish_is_refused() {
        for line in [
            "PROXY TCP4 192.0.2.1 198.51.100.7 1\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.7 1 2 3\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.7 1 65536\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.7 +1 2\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.7 01 2\r\n",
            "PROXY TCP4 192.0.2.1  198.51.100.7 1 2\r\n",
            "PROXY TCP4 ::1 ::1 1 2\r\n",
            "PROXY TCP6 192.0.2.1 198.51.100.7 1 2\r\n",
            "PROXY UDP4 192.0.2.1 198.51.100.7 1 2\r\n",
            "PROXY  TCP4 192.0.2.1 198.51.100.7 1 2\r\n",
            "PROXY \r\n",
        ] {
            assert_eq!(parse(line.as_bytes()), Err(ProxyHeaderError::Malformed), "{line}");
        }
        assert_eq!(parse(b"GET / HTTP/1.1\r\n"), Err(ProxyHeaderError::NoHeader));
        assert_eq!(parse(b"PROXX"), Err(ProxyHeaderError::NoHeader));
        assert_eq!(parse(b"\r\n\r\n\0\r\nQUIX"), Err(ProxyHeaderError::NoHeader));
        for header in
            [v2(0x31, 0x11, &[0; 12]), v2(0x22, 0x11, &[0; 12]), v2(0x21, 0x11, &[0; 11]), v2(0x21, 0x21, &[0; 35])]
        {
            assert_eq!(parse(&header), Err(ProxyHeaderError::Malformed));
        }
    }

    #[test]
    fn endless_headers_are_refused() {
        let line = [b"PROXY UNKNOWN ".to_vec(), vec![b'x'; MAX_V1]].concat();
        assert_eq!(parse(&line[..MAX_V1 - 1]), Ok(None));
        assert_eq!(parse(&line), Err(ProxyHeaderError::TooLong));
        let body = vec![0; MAX_V2_BODY + 1];
        assert_eq!(parse(&v2(0x21, 0x11, &body)[..V2_FIXED]), Err(ProxyHeaderError::TooLong));
    }
}
