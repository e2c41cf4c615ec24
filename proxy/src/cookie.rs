//! Cookies of a request (RFC 6265, section 5.4).

use http::HeaderMap;
use http::header::COOKIE;

/// The value of the first cookie of this name, as it was sent. Names are compared case-sensitively.
pub(crate) fn value<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h [u8]> {
    values(headers, name).next()
}

/// The values of all cookies of this name, in order.
pub(crate) fn values<'h>(headers: &'h HeaderMap, name: &str) -> impl Iterator<Item = &'h [u8]> {
    let pairs = headers.get_all(COOKIE).iter().flat_map(|field| field.as_bytes().split(|byte| *byte == b';'));
    pairs.filter_map(move |pair| {
        let pair = pair.trim_ascii();
        let (key, value) = pair.split_at_checked(name.len())?;
        let value = value.strip_prefix(b"=")?;
        (key == name.as_bytes()).then_some(value)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_cookie_of_the_name_is_found() {
        let mut headers = HeaderMap::new();
        headers.append(COOKIE, "a=1; ab=2;b = 3".parse().unwrap());
        headers.append(COOKIE, "c=4;a=5; d=x=y".parse().unwrap());
        for (name, expected) in [("a", Some("1")), ("ab", Some("2")), ("c", Some("4")), ("d", Some("x=y")), ("e", None)]
        {
            assert_eq!(value(&headers, name), expected.map(str::as_bytes), "{name}");
        }
    }
}
