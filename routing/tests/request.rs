//! Canonical forms on arbitrary input: they never panic, and what they return holds what they promise.

use genkan_routing::name::Hostname;
use genkan_routing::request::{canonical_host, normalize_path, query_value};
use proptest::prelude::*;

/// Text in which dots, slashes and escapes meet often.
fn path() -> impl Strategy<Value = String> {
    prop_oneof![
        "(/|//|\\.|\\.\\.|%2e|%2F|%25|%c3|%A9|%|a|é|A){0,12}",
        "/(/|\\.|\\.\\.|%2e|%2F|a|b){0,12}",
        "/(a|b|\\.{1,3}|%2[eEfF]){0,3}(/(a|b|\\.{1,3}|%2[eEfF]){0,3}){0,5}",
        ".*",
    ]
}

/// nginx's rules once more, by whole segments: decode everything, split, resolve.
fn by_segments(raw: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = raw.strip_prefix('/')?.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        let mut byte = *first;
        if byte == b'%' {
            let digits = after.get(..2).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))?;
            byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
            rest = &after[2..];
        } else if byte == b'#' {
            return None;
        }
        bytes.push(byte);
    }
    if bytes.iter().any(u8::is_ascii_control) {
        return None;
    }
    let mut kept: Vec<&[u8]> = Vec::new();
    let mut directory = true;
    for segment in bytes.split(|byte| *byte == b'/') {
        directory = matches!(segment, b"" | b"." | b"..");
        match segment {
            b"" | b"." => {}
            b".." => drop(kept.pop()?),
            other => kept.push(other),
        }
    }
    let mut path: Vec<u8> = kept.iter().flat_map(|segment| [b"/", *segment].concat()).collect();
    if directory {
        path.push(b'/');
    }
    let escape = |byte: &u8| format!("%{byte:02X}");
    let chunks = path
        .utf8_chunks()
        .map(|chunk| format!("{}{}", chunk.valid(), chunk.invalid().iter().map(escape).collect::<String>()));
    Some(chunks.collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]

    #[test]
    fn paths_agree_with_resolution_by_segments(raw in path()) {
        prop_assert_eq!(normalize_path(&raw).ok().map(|path| path.into_owned()), by_segments(&raw));
    }

    #[test]
    fn a_normalized_path_has_nothing_left_to_resolve(raw in path()) {
        if let Ok(path) = normalize_path(&raw) {
            prop_assert!(path.starts_with('/') && !path.contains("//"), "{}", path);
            prop_assert!(!path.split('/').any(|segment| matches!(segment, "." | "..")), "{}", path);
            // What was decoded to `%` or `#` would be read again.
            if !path.contains(['%', '#']) {
                let again = normalize_path(&path);
                prop_assert_eq!(again.as_deref(), Ok(&*path));
            }
        }
    }

    #[test]
    fn a_canonical_host_is_its_own_canonical_form(
        raw in prop_oneof![".*", "[a-cA-C0-9.:_*@\\[\\]-]{0,12}", "[a-z]{1,3}(\\.[A-Z]{1,3}){0,3}\\.?(:[0-9]{0,6})?"]
    ) {
        if let Ok(host) = canonical_host(&raw) {
            let again = canonical_host(&host);
            prop_assert_eq!(again.as_deref(), Ok(&*host));
            prop_assert_eq!(host.to_ascii_lowercase(), &*host);
            prop_assert!(!host.ends_with('.'));
        }
    }

    #[test]
    fn every_hostname_of_a_manifest_is_reachable(raw in "[a-zA-Z0-9_]{1,5}(-[a-z0-9]{1,3})?(\\.[a-zA-Z0-9]{1,5}){0,3}\\.?") {
        let name = Hostname::parse(&raw).unwrap();
        let authority = format!("{raw}:8080");
        let host = canonical_host(&authority);
        prop_assert_eq!(host.as_deref(), Ok(name.as_str()));
    }

    #[test]
    fn query_values_survive_encoding(name in ".{0,8}", value in ".{0,8}", other in "[a-z]{0,3}") {
        let encode = |text: &str| text.bytes().map(|byte| format!("%{byte:02x}")).collect::<String>();
        let query = format!("{}={}&{}={other}", encode(&name), encode(&value), encode(&name));
        let found = query_value(Some(&query), &name);
        prop_assert_eq!(found.as_deref(), Some(value.as_str()));
    }

    #[test]
    fn any_query_is_survived(query in ".*", name in ".{0,3}") {
        let _ = query_value(Some(&query), &name);
    }
}
