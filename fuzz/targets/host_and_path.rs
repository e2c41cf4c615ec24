//! Request targets: hosts, paths and queries in canonical form, and what a table makes of them.
//!
//! The input is lines: host, path, query, method, then header fields. The table is that of `host_and_path.yaml`.
//!
//! - A canonical host is its own canonical form; a normal path has nothing left to resolve, and is found again when
//!   every byte of it is percent-encoded.
//! - Query parameters read as the URL standard reads them.
//! - The compiled table answers as its model specifies.
#![no_main]

use std::borrow::Cow;
use std::sync::LazyLock;

use genkan_controller::files;
use genkan_controller::settings::Settings;
use genkan_controller::translate::translate;
use genkan_fuzz::assert_routes_as_specified;
use genkan_routing::request::{canonical_host, normalize_path, query_value};
use genkan_routing::snapshot::{RequestView, Snapshot};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use libfuzzer_sys::fuzz_target;

static SNAPSHOT: LazyLock<Snapshot> = LazyLock::new(|| {
    let loaded = files::parse("host_and_path.yaml", include_bytes!("host_and_path.yaml"));
    assert_eq!(loaded.problems, []);
    let translation = translate(&loaded.resources, &Settings::directory_mode());
    assert!(translation.model.rules.len() > 10, "{:#?}", translation.report);
    Snapshot::compile(translation.model)
});

fuzz_target!(|input: &str| {
    let mut lines = input.split('\n');
    let mut line = || lines.next().unwrap_or_default();
    let (host, path, query, method) = (line(), line(), line(), line());
    let query = (!query.is_empty()).then_some(query);
    check_query(query);
    let (Some(host), Some(path)) = (check_host(host), check_path(path)) else { return };
    let method = Method::from_bytes(method.as_bytes()).unwrap_or_default();
    let mut headers = HeaderMap::new();
    for (name, value) in lines.filter_map(|field| field.split_once(':')).take(100) {
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(value.trim())) {
            headers.append(name, value);
        }
    }
    let request = RequestView { host: &host, path: &path, query, method: &method, headers: &headers };
    for listener in SNAPSHOT.model().listeners.keys() {
        assert_routes_as_specified(&SNAPSHOT, listener, &request);
    }
});

fn check_host(raw: &str) -> Option<Cow<'_, str>> {
    let host = canonical_host(raw).ok()?;
    assert_eq!(canonical_host(&host), Ok(Cow::Borrowed(&*host)), "{raw:?}");
    assert!(host.len() <= 253, "{raw:?}");
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_' | b'.');
    if host.contains(':') {
        assert!(host.parse::<std::net::Ipv6Addr>().is_ok(), "{raw:?}");
    } else {
        assert!(host.bytes().all(plain), "{raw:?}");
        assert!(raw.is_empty() || host.split('.').all(|label| !label.is_empty()), "{raw:?}");
    }
    Some(host)
}

fn check_path(raw: &str) -> Option<Cow<'_, str>> {
    let path = normalize_path(raw).ok()?;
    let segments = path.strip_prefix('/').expect("a normal path begins with a slash");
    let mut parts: Vec<_> = segments.split('/').collect();
    // Only the last segment may be empty: a final slash.
    parts.pop_if(|last| last.is_empty());
    assert!(parts.iter().all(|part| !matches!(*part, "" | "." | "..")), "{raw:?} became {path:?}");
    assert!(!path.bytes().any(|byte| byte.is_ascii_control()), "{raw:?} became {path:?}");
    let encoded: String = segments.bytes().map(|byte| format!("%{byte:02x}")).collect();
    assert_eq!(normalize_path(&format!("/{encoded}")).as_deref(), Ok(&*path), "{raw:?}");
    Some(path)
}

fn check_query(query: Option<&str>) {
    let Some(query) = query else { return };
    for (name, _) in form_urlencoded::parse(query.as_bytes()) {
        let expected = form_urlencoded::parse(query.as_bytes()).find(|(other, _)| *other == name);
        assert_eq!(query_value(Some(query), &name), expected.map(|(_, value)| value), "{query:?}: {name:?}");
    }
    // Longer than every name in the query, so that no input can hold it.
    let absent = format!("{query}x");
    assert_eq!(query_value(Some(query), &absent), None);
}
