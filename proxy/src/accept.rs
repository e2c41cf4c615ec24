//! Lists with weights: `Accept`, `Accept-Encoding` (RFC 9110, section 12.4).

/// The names of a list with their weights in thousandths (`q=0.8` is 800). Names are as the client wrote them, in any
/// case; an unreadable weight is 0, so that nothing is done that the client may not have asked for.
pub(crate) fn raw_items(field: &[u8]) -> impl Iterator<Item = (&str, u16)> {
    field.split(|byte| *byte == b',').filter_map(|item| {
        let mut parts = std::str::from_utf8(item).ok()?.split(';');
        let name = parts.next()?.trim();
        let weight = parts.find_map(|parameter| {
            let (key, value) = parameter.split_once('=')?;
            key.trim().eq_ignore_ascii_case("q").then(|| weight(value.trim()))
        });
        (!name.is_empty()).then(|| (name, weight.unwrap_or(1000)))
    })
}

/// As [`raw_items`], with the names that Genkan knows in lower case.
pub(crate) fn items(field: &[u8]) -> impl Iterator<Item = (&str, u16)> {
    raw_items(field).map(|(name, weight)| {
        let known = KNOWN.iter().find(|known| known.eq_ignore_ascii_case(name));
        (known.copied().unwrap_or(name), weight)
    })
}

/// Names that somebody asks for.
const KNOWN: &[&str] = &[
    "*",
    "application/json",
    "application/problem+json",
    "application/xhtml+xml",
    "gzip",
    "identity",
    "text/html",
    "text/plain",
    "x-gzip",
];

/// `0`, `0.5`, `0.123`, `1`, `1.000`.
fn weight(text: &str) -> u16 {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = fraction.bytes().all(|byte| byte.is_ascii_digit());
    match whole {
        "1" if digits => 1000,
        "0" if digits && fraction.len() <= 3 => fraction
            .bytes()
            .chain(std::iter::repeat(b'0'))
            .take(3)
            .fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0')),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_read_in_thousandths() {
        for (text, expected) in
            [("1", 1000), ("1.000", 1000), ("0", 0), ("0.5", 500), ("0.25", 250), ("0.001", 1), ("x", 0), ("2", 0)]
        {
            assert_eq!(weight(text), expected, "{text}");
        }
    }

    #[test]
    fn names_come_with_their_weights() {
        let list: Vec<_> = items(b"GZIP;q=0.5, br ;level=1; Q=0.1,, identity").collect();
        assert_eq!(list, [("gzip", 500), ("br", 100), ("identity", 1000)]);
    }
}
