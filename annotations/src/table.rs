//! The two tables: every annotation and every ConfigMap key that is known, put together from the files of the concepts.

use std::collections::HashMap;
use std::sync::LazyLock;

use crate::annotation::Annotation;
use crate::config_map::Key;
use crate::definition::Support;
use crate::{
    access_log, admission, authentication, backend_protocol, basic_auth, body_limit, buffering, canary, client,
    compression, connection_limit, cors, forwarded, hsts, ip_access, known_annotations, known_keys, load_balance,
    passthrough, rate_limit, redirect, retry, rewrite, service_upstream, stream, timeouts, upstream,
};

/// A subject and its rows.
pub type Group<T> = (&'static str, &'static [T]);

static ANNOTATIONS: &[Group<Annotation>] = &[
    ("Redirects", redirect::ANNOTATIONS),
    ("Rewrites", rewrite::ANNOTATIONS),
    ("Rate limits", rate_limit::ANNOTATIONS),
    ("Connection limit", connection_limit::ANNOTATIONS),
    ("CORS", cors::ANNOTATIONS),
    ("Body limit", body_limit::ANNOTATIONS),
    ("Buffering", buffering::ANNOTATIONS),
    ("Time-outs", timeouts::ANNOTATIONS),
    ("Retries", retry::ANNOTATIONS),
    ("IP access", ip_access::ANNOTATIONS),
    ("Basic authentication", basic_auth::ANNOTATIONS),
    ("Canary", canary::ANNOTATIONS),
    ("Backend protocol", backend_protocol::ANNOTATIONS),
    ("Load balancing", load_balance::ANNOTATIONS),
    ("The Service's own address", service_upstream::ANNOTATIONS),
    ("TLS passthrough", passthrough::ANNOTATIONS),
    ("Access log", access_log::ANNOTATIONS),
    ("Admission", admission::ANNOTATIONS),
    ("Authentication and firewall", known_annotations::AUTH),
    ("TLS", known_annotations::TLS),
    ("Cookie stickiness", known_annotations::AFFINITY),
    ("The way to the backend", known_annotations::UPSTREAM),
    ("Hosts, errors, tracing and raw configuration", known_annotations::OTHER),
];

static KEYS: &[Group<Key>] = &[
    ("Redirects", redirect::KEYS),
    ("Rate limits", rate_limit::KEYS),
    ("Connection limit", connection_limit::KEYS),
    ("Body limit", body_limit::KEYS),
    ("Buffering", buffering::KEYS),
    ("Time-outs", timeouts::KEYS),
    ("Retries", retry::KEYS),
    ("IP access", ip_access::KEYS),
    ("Load balancing", load_balance::KEYS),
    ("The Service's own address", service_upstream::KEYS),
    ("TCP and UDP", stream::KEYS),
    ("Access log", access_log::KEYS),
    ("Compression", compression::KEYS),
    ("HSTS", hsts::KEYS),
    ("Forwarded headers", forwarded::KEYS),
    ("Client connections", client::KEYS),
    ("Upstream connections", upstream::KEYS),
    ("Admission", admission::KEYS),
    ("Headers, listeners, errors and limits", known_keys::HTTP),
    ("The way to the backend", known_keys::UPSTREAM),
    ("TLS", known_keys::TLS),
    ("Authentication", authentication::KEYS),
    ("Authentication and firewall", known_keys::AUTH),
    ("Logs and tracing", known_keys::LOG),
    ("The inside of nginx and raw configuration", known_keys::NGINX),
];

static ANNOTATION_INDEX: LazyLock<HashMap<&str, &Annotation>> = LazyLock::new(|| {
    annotations().flat_map(|definition| definition.spellings().map(move |name| (name, definition))).collect()
});

static KEY_INDEX: LazyLock<HashMap<&str, &Key>> = LazyLock::new(|| {
    keys().flat_map(|definition| definition.spellings().map(move |name| (name, definition))).collect()
});

/// Every annotation by subject, in the order of the reference page.
pub fn annotation_groups() -> impl Iterator<Item = Group<Annotation>> {
    ANNOTATIONS.iter().copied()
}

/// Every ConfigMap key by subject, in the order of the reference page.
pub fn key_groups() -> impl Iterator<Item = Group<Key>> {
    KEYS.iter().copied()
}

/// Every annotation, in the order of the reference page.
pub fn annotations() -> impl Iterator<Item = &'static Annotation> {
    annotation_groups().flat_map(|(_, rows)| rows)
}

/// Every ConfigMap key, in the order of the reference page.
pub fn keys() -> impl Iterator<Item = &'static Key> {
    key_groups().flat_map(|(_, rows)| rows)
}

/// The annotation of this name or alias, without a prefix.
pub fn annotation(name: &str) -> Option<&'static Annotation> {
    ANNOTATION_INDEX.get(name).copied()
}

/// The ConfigMap key of this name.
pub fn key(name: &str) -> Option<&'static Key> {
    KEY_INDEX.get(name).copied()
}

/// Every spelling of every annotation that may be written.
pub(crate) fn annotation_names() -> impl Iterator<Item = &'static str> {
    annotations().filter(|row| !matches!(row.support, Support::Refused)).flat_map(|row| row.spellings())
}

/// Every ConfigMap key.
pub(crate) fn key_names() -> impl Iterator<Item = &'static str> {
    keys().map(|definition| definition.name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::definition::{Definition, OnInvalid, Risk};

    fn check<E: Copy + 'static>(rows: impl Iterator<Item = &'static Definition<E>>) {
        let mut seen = BTreeSet::new();
        for row in rows {
            for name in row.spellings() {
                assert!(seen.insert(name), "{name} is defined twice");
                let sound = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
                assert!(!name.is_empty() && name.chars().all(sound), "{name}");
            }
            assert!(row.doc.len() >= 10 && !row.doc.ends_with('.') && !row.doc.contains('\n'), "{}", row.name);
            assert!(!row.value.is_empty(), "{} does not say what may be written", row.name);
            assert!(!row.is_supported() || !row.default.is_empty(), "{} has no default", row.name);
            assert_eq!(matches!(row.support, Support::Refused), row.risk == Risk::Critical, "{}", row.name);
            if matches!(row.support, Support::NotYetSecurity(_)) {
                assert_eq!(row.on_invalid, OnInvalid::FailsClosed, "{}", row.name);
            }
        }
    }

    #[test]
    fn names_are_unique_and_every_row_is_documented() {
        check(annotations());
        check(keys());
    }

    #[test]
    fn all_names_of_ingress_nginx_are_known() {
        let known: BTreeSet<&str> = annotations().flat_map(|row| row.spellings()).collect();
        let removed = ["enable-influxdb", "secure-verify-ca-secret", "session-cookie-hash"];
        let current = known.iter().filter(|name| !removed.contains(*name) && !name.starts_with("influxdb-")).count();
        assert_eq!((current, keys().count()), (138, 194));
    }

    #[test]
    fn aliases_lead_to_their_row() {
        assert_eq!(annotation("whitelist-source-range").map(|row| row.name), Some("allowlist-source-range"));
        assert_eq!(annotation("limit-whitelist").map(|row| row.name), Some("limit-allowlist"));
        assert!(annotation("no-such").is_none() && key("no-such").is_none());
    }
}
