//! `Vary`: which request headers a response depends on (RFC 9110, section 12.5.5).

use http::header::VARY;
use http::{HeaderMap, HeaderValue};

/// Adds a name unless it, or `*`, is there.
pub(super) fn add(headers: &mut HeaderMap, name: &'static str) {
    let there = headers.get_all(VARY).iter().any(|field| {
        let mut names = field.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        names.any(|there| there == b"*" || there.eq_ignore_ascii_case(name.as_bytes()))
    });
    if !there {
        headers.append(VARY, HeaderValue::from_static(name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_added_once() {
        for (there, expected) in [
            (vec![], vec!["origin"]),
            (vec!["Accept, Origin"], vec!["Accept, Origin"]),
            (vec!["*"], vec!["*"]),
            (vec!["Accept", "X-Origin"], vec!["Accept", "X-Origin", "origin"]),
        ] {
            let mut headers = HeaderMap::new();
            for field in there {
                headers.append(VARY, HeaderValue::from_static(field));
            }
            add(&mut headers, "origin");
            assert_eq!(headers.get_all(VARY).iter().collect::<Vec<_>>(), expected);
        }
    }
}
