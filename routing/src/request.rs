//! Parts of a request in canonical form: host, path, query parameters.
//!
//! Whatever a client can spell in several ways gets one spelling here, so that no rule is passed by with `%2e%2e`, `//`
//! or `EXAMPLE.com.:80`. What has no safe reading is refused, never guessed. The usual request is canonical already: one
//! scan, nothing allocated.
//!
//! These functions know neither the model nor HTTP heads; absolute-form targets are taken apart by the caller.

use std::borrow::Cow;
use std::net::Ipv6Addr;

/// The longest host that is routed, in bytes: no DNS name is longer (RFC 1035, 2.3.4, without the final dot).
const MAX_HOST: usize = 253;

/// Why a request's target can't be routed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// The path climbs above `/`, has a broken percent-encoding, or a control byte: 400 as nginx.
    #[error("the path is malformed")]
    BadPath,
    /// The host is no hostname: 400.
    #[error("the host is malformed")]
    BadHost,
}

/// The path as routing compares it: percent-decoded once, slashes merged, `.` and `..` resolved (nginx `$uri` with
/// `merge_slashes on`).
///
/// * `%2F` is a slash and `%2E` a dot like any other, as in nginx.
/// * Slashes are merged before dot segments are resolved: `/a//../b` is `/b`.
/// * Decoding happens once: `%2541` becomes `%41`. The result therefore isn't to be normalized again.
/// * Bytes that are no UTF-8 after decoding stay percent-encoded in upper case (`%ff` becomes `%FF`). All of them are
///   above 0x7f, so none could have been a slash or a dot; different bytes stay different, and only a rule whose own
///   path spells `%FF` could take one for the other.
///
/// `raw` is the path alone, without query. Borrowed when it is already in that form.
///
/// # Errors
///
/// [`TargetError::BadPath`] for a path that doesn't begin with `/` (`*` too), climbs above the root, has a `%` without
/// two hexadecimal digits, a control byte (encoded or not; nginx refuses only NUL), or a bare `#`, behind which nginx
/// and its upstreams would read different paths.
pub fn normalize_path(raw: &str) -> Result<Cow<'_, str>, TargetError> {
    let bytes = raw.as_bytes();
    if bytes.first() != Some(&b'/') {
        return Err(TargetError::BadPath);
    }
    if is_normal(bytes) {
        return Ok(Cow::Borrowed(raw));
    }
    rebuild(bytes).map(Cow::Owned)
}

/// The host of a `Host` field or `:authority` in canonical form: without port and final dot, in lower case, an IPv6
/// literal without its brackets. Empty stays empty (HTTP/1.0, or an authority without a name).
///
/// Borrowed unless a letter has to change. A canonical host is its own canonical form.
///
/// # Errors
///
/// [`TargetError::BadHost`] for anything that no [`Hostname`](crate::name::Hostname) consists of (letters, digits, `-`,
/// `_` and single dots between them), more than 253 bytes, user information, a broken port or IPv6 literal, and a port
/// without a host.
pub fn canonical_host(raw: &str) -> Result<Cow<'_, str>, TargetError> {
    if raw.is_empty() {
        return Ok(Cow::Borrowed(raw));
    }
    if let Some(rest) = raw.strip_prefix('[') {
        let (literal, port) = rest.split_once(']').ok_or(TargetError::BadHost)?;
        let port_is_sound = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
        return if port_is_sound { ipv6(literal) } else { Err(TargetError::BadHost) };
    }
    let name = match raw.split_once(':') {
        None => raw,
        Some((_, port)) if port.contains(':') => return ipv6(raw),
        Some((name, port)) if is_port(port) => name,
        Some(_) => return Err(TargetError::BadHost),
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.len() > MAX_HOST {
        return Err(TargetError::BadHost);
    }
    // A dot at the start, at the end or after another dot bounds an empty label.
    let (mut before, mut upper) = (HostByte::Dot, false);
    for byte in name.bytes() {
        let class = HOST_BYTES[usize::from(byte)];
        if class == HostByte::Bad || (class == HostByte::Dot && before == HostByte::Dot) {
            return Err(TargetError::BadHost);
        }
        upper |= class == HostByte::Upper;
        before = class;
    }
    match (before, upper) {
        (HostByte::Dot, _) => Err(TargetError::BadHost),
        (_, true) => Ok(Cow::Owned(name.to_ascii_lowercase())),
        (_, false) => Ok(Cow::Borrowed(name)),
    }
}

/// The decoded value of the first query parameter of this name; empty for a parameter without `=`.
///
/// `query` is raw, without `?`. `+` and `%XX` are decoded in names and values (`application/x-www-form-urlencoded`); a
/// `%` without two hexadecimal digits stays a `%`. Bytes that are no UTF-8 become U+FFFD. Borrowed when nothing has to
/// be decoded.
pub fn query_value<'q>(query: Option<&'q str>, name: &str) -> Option<Cow<'q, str>> {
    query?.split('&').filter(|pair| !pair.is_empty()).find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode_form(key) == name).then(|| decode_form(value))
    })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum HostByte {
    Bad,
    Plain,
    Upper,
    Dot,
}

/// What every byte is in a host.
const HOST_BYTES: [HostByte; 256] = {
    let mut table = [HostByte::Bad; 256];
    let mut byte = 0u8;
    while byte < 0x80 {
        table[byte as usize] = match byte {
            b'.' => HostByte::Dot,
            b'A'..=b'Z' => HostByte::Upper,
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => HostByte::Plain,
            _ => HostByte::Bad,
        };
        byte += 1;
    }
    table
};

fn is_port(text: &str) -> bool {
    text.len() <= 5 && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn ipv6(literal: &str) -> Result<Cow<'_, str>, TargetError> {
    literal.parse::<Ipv6Addr>().map_err(|_| TargetError::BadHost)?;
    let upper = literal.bytes().any(|byte| byte.is_ascii_uppercase());
    Ok(if upper { Cow::Owned(literal.to_ascii_lowercase()) } else { Cow::Borrowed(literal) })
}

/// Bytes at which [`is_normal`] has to look closer.
const NOTABLE: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 0x20 {
        table[byte] = true;
        byte += 1;
    }
    table[0x7f] = true;
    table[b'/' as usize] = true;
    table[b'%' as usize] = true;
    table[b'#' as usize] = true;
    table
};

/// Whether a path that begins with `/` has nothing to decode, merge, resolve or refuse.
fn is_normal(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|byte| NOTABLE[usize::from(*byte)]) {
        let Some((b'/', after)) = rest.get(at..).and_then(<[u8]>::split_first) else { return false };
        if matches!(after, [b'/', ..] | [b'.'] | [b'.', b'/', ..] | [b'.', b'.'] | [b'.', b'.', b'/', ..]) {
            return false;
        }
        rest = after;
    }
    true
}

/// Decodes, merges and resolves a path that begins with `/`.
fn rebuild(bytes: &[u8]) -> Result<String, TargetError> {
    let mut path = Vec::with_capacity(bytes.len());
    path.push(b'/');
    let mut segment = 1;
    let mut rest = bytes.get(1..).unwrap_or_default();
    while let Some((&first, after)) = rest.split_first() {
        let (byte, after) = match first {
            b'%' => decode_escape(after).ok_or(TargetError::BadPath)?,
            b'#' => return Err(TargetError::BadPath),
            other => (other, after),
        };
        rest = after;
        if byte.is_ascii_control() {
            return Err(TargetError::BadPath);
        }
        if byte != b'/' {
            path.push(byte);
        } else {
            segment = end_segment(&mut path, segment)?;
            if path.len() > segment {
                path.push(b'/');
                segment = path.len();
            }
        }
    }
    end_segment(&mut path, segment)?;
    Ok(String::from_utf8(path).unwrap_or_else(|error| escape_invalid(error.as_bytes())))
}

/// Resolves the segment that starts at `start` and ends with the path: `.` is dropped, `..` drops its parent too.
/// Returns where the segment starts now.
fn end_segment(path: &mut Vec<u8>, start: usize) -> Result<usize, TargetError> {
    let keep = match path.get(start..) {
        Some(b".") => start,
        Some(b"..") => {
            // The parent ends with the slash before `start`; what is before its own slash stays.
            let above = path.get(..start.saturating_sub(1)).unwrap_or_default();
            above.iter().rposition(|byte| *byte == b'/').ok_or(TargetError::BadPath)? + 1
        }
        _ => return Ok(start),
    };
    path.truncate(keep);
    Ok(keep)
}

/// The byte that two hexadecimal digits at the start of `text` stand for, and what follows them.
fn decode_escape(text: &[u8]) -> Option<(u8, &[u8])> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (&[high, low], after) = text.split_first_chunk()?;
    Some((digit(high)? << 4 | digit(low)?, after))
}

fn escape_invalid(bytes: &[u8]) -> String {
    use std::fmt::Write;
    let mut text = String::with_capacity(bytes.len() + 8);
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            // Writing to a String can't fail.
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

fn is_encoded(text: &str) -> bool {
    text.bytes().any(|byte| matches!(byte, b'%' | b'+'))
}

fn decode_form(text: &str) -> Cow<'_, str> {
    if !is_encoded(text) {
        return Cow::Borrowed(text);
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let (byte, after) = match first {
            b'%' => decode_escape(after).unwrap_or((b'%', after)),
            b'+' => (b' ', after),
            other => (other, after),
        };
        decoded.push(byte);
        rest = after;
    }
    Cow::Owned(match String::from_utf8(decoded) {
        Ok(text) => text,
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_normalized_as_nginx_does() {
        for (raw, expected) in [
            ("/", "/"),
            ("//", "/"),
            ("/a//b///c", "/a/b/c"),
            ("/a/", "/a/"),
            ("/a//", "/a/"),
            ("/.", "/"),
            ("/./a", "/a"),
            ("/a/.", "/a/"),
            ("/a/./b", "/a/b"),
            ("/a/..", "/"),
            ("/a/../", "/"),
            ("/a/b/..", "/a/"),
            ("/a/b/../c", "/a/c"),
            ("/a/b/../../c", "/c"),
            ("/a//../b", "/b"),
            ("/...", "/..."),
            ("/..a/.b", "/..a/.b"),
            ("/a./b..", "/a./b.."),
            ("/.well-known/acme-challenge/x", "/.well-known/acme-challenge/x"),
            ("/%61%2Fb", "/a/b"),
            ("/a%2f%2fb", "/a/b"),
            ("/a/%2e%2E/b", "/b"),
            ("/a%2f..%2fb", "/b"),
            ("/a%20b", "/a b"),
            ("/%25", "/%"),
            ("/%2541", "/%41"),
            ("/%3Fx%23y", "/?x#y"),
            ("/a+b", "/a+b"),
            ("/a\\..\\b", "/a\\..\\b"),
            ("/%C3%A9", "/é"),
            ("/é", "/é"),
            ("/%ff/%2e/%C3%28", "/%FF/%C3("),
        ] {
            assert_eq!(normalize_path(raw).as_deref(), Ok(expected), "{raw}");
        }
    }

    #[test]
    fn malformed_paths_are_refused() {
        for raw in [
            "",
            "*",
            "a",
            "http://a/",
            "/..",
            "/../a",
            "/a/../..",
            "/a/../../b",
            "//..",
            "/./..",
            "/%2e%2e",
            "/%",
            "/%4",
            "/%zz",
            "/%4z/a",
            "/a%",
            "/%00",
            "/%0a",
            "/%7f",
            "/a\nb",
            "/a\0",
            "/a#b",
            "/%+1",
        ] {
            assert_eq!(normalize_path(raw), Err(TargetError::BadPath), "{raw:?}");
        }
    }

    #[test]
    fn clean_paths_are_borrowed() {
        for raw in ["/", "/a", "/a/b.c/d", "/a/", "/.well-known/x", "/..a", "/a/...", "/é"] {
            assert!(matches!(normalize_path(raw), Ok(Cow::Borrowed(_))), "{raw}");
        }
    }

    #[test]
    fn hosts_lose_port_final_dot_and_case() {
        for (raw, expected) in [
            ("", ""),
            ("example.com", "example.com"),
            ("EXAMPLE.Com", "example.com"),
            ("example.com.", "example.com"),
            ("example.com:80", "example.com"),
            ("example.com:", "example.com"),
            ("Example.com.:8443", "example.com"),
            ("a_b-c.d", "a_b-c.d"),
            ("127.0.0.1:80", "127.0.0.1"),
            ("[::1]", "::1"),
            ("[2001:DB8::1]:443", "2001:db8::1"),
            ("::1", "::1"),
        ] {
            assert_eq!(canonical_host(raw).as_deref(), Ok(expected), "{raw}");
        }
    }

    #[test]
    fn rubbish_hosts_are_refused() {
        let long = "a.".repeat(127) + "a";
        for raw in [
            ".",
            "..",
            ".a",
            "a..b",
            "a..",
            ":80",
            "a:b",
            "a:80:90",
            "a:123456",
            "a b",
            "a\tb",
            "a\0",
            "a\n",
            "u@a",
            "a/b",
            "a\\b",
            "a%41",
            "*.a",
            "a,b",
            "é.com",
            "[::1",
            "::1]",
            "[::1]80",
            "[::1]:x",
            "[a]",
            "[fe80::1%25e]",
            "[]",
            &long,
        ] {
            assert_eq!(canonical_host(raw), Err(TargetError::BadHost), "{raw:?}");
        }
    }

    #[test]
    fn canonical_hosts_are_borrowed() {
        for raw in ["example.com", "example.com:80", "example.com.", "[::1]:80"] {
            assert!(matches!(canonical_host(raw), Ok(Cow::Borrowed(_))), "{raw}");
        }
    }

    #[test]
    fn query_values_are_decoded_and_the_first_counts() {
        for (query, name, expected) in [
            ("a=1&a=2", "a", Some("1")),
            ("b=1&a=2", "a", Some("2")),
            ("a", "a", Some("")),
            ("a=", "a", Some("")),
            ("a=b=c", "a", Some("b=c")),
            ("a=x+y%20z", "a", Some("x y z")),
            ("%61=1&a=2", "a", Some("1")),
            ("a+b=1", "a b", Some("1")),
            ("a%2Bb=1", "a+b", Some("1")),
            ("a+b=1", "a+b", None),
            ("a=%zz%4", "a", Some("%zz%4")),
            ("a=%ff", "a", Some("\u{fffd}")),
            ("a=1;b=2", "b", None),
            ("&&a=1", "a", Some("1")),
            ("&=1", "", Some("1")),
            ("A=1", "a", None),
            ("", "", None),
        ] {
            assert_eq!(query_value(Some(query), name).as_deref(), expected, "{query} {name}");
        }
        assert_eq!(query_value(None, "a"), None);
    }
}
