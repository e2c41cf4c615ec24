//! The request line: `method SP target SP version` (RFC 9112 section 3).

use super::{HeadError, Minor, is_token};

/// Checks a request line and returns the minor version, and the authority of an absolute target.
pub(super) fn check(line: &[u8]) -> Result<(Minor, Option<&[u8]>), HeadError> {
    let mut parts = line.split(|&byte| byte == b' ');
    let (Some(method), Some(target), Some(version), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(HeadError::BadRequestLine);
    };
    if !is_token(method) {
        return Err(HeadError::BadRequestLine);
    }
    // First, as the other versions' targets are none of our business.
    let minor = check_version(version)?;
    if matches!(method, b"CONNECT" | b"TRACE") {
        return Err(HeadError::BadMethod);
    }
    if is_target(method, target) { Ok((minor, authority(target))) } else { Err(HeadError::BadTarget) }
}

/// Three of the four forms of RFC 9112 section 3.2 (the fourth is CONNECT's), of visible ASCII only and without a
/// fragment, which is never sent.
fn is_target(method: &[u8], target: &[u8]) -> bool {
    let (path, query) = target.split_at(target.iter().position(|&byte| byte == b'?').unwrap_or(target.len()));
    // Of the bytes that no URI has (RFC 3986, section 2), clients send some all the same, as JSON, and the engine takes
    // them. The others it would refuse without a line in the access log.
    path.iter().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'#' | b'<' | b'>' | b'`'))
        && query.iter().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'#' | b'<' | b'>' | b'"'))
        && match target {
            [b'/', ..] => true,
            b"*" => method == b"OPTIONS",
            [] => false,
            _ => authority(target).is_some(),
        }
}

/// The authority of a target in absolute form, which is not empty.
fn authority(target: &[u8]) -> Option<&[u8]> {
    if target.starts_with(b"/") {
        return None;
    }
    let (scheme, rest) = target.split_at(target.iter().position(|&byte| byte == b':')?);
    let known = scheme.eq_ignore_ascii_case(b"http") || scheme.eq_ignore_ascii_case(b"https");
    let rest = rest.strip_prefix(b"://").filter(|_| known)?;
    rest.split(|byte| matches!(byte, b'/' | b'?')).next().filter(|authority| !authority.is_empty())
}

fn check_version(version: &[u8]) -> Result<Minor, HeadError> {
    match version {
        b"HTTP/1.1" => Ok(Minor::One),
        b"HTTP/1.0" => Ok(Minor::Zero),
        [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'] => Err(HeadError::BadVersion),
        _ => Err(HeadError::BadRequestLine),
    }
}
