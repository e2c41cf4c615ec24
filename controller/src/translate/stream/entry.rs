//! Entries: one line of a tcp-services or udp-services ConfigMap, as ingress-nginx writes them:
//! `9000: "namespace/service:port[:PROXY[:PROXY]]"`.

use std::sync::Arc;

use super::Carrier;
use crate::resources::NamespacedName;

/// What an entry asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// The Service.
    pub(super) service: NamespacedName,
    /// Its port: number or name.
    pub(super) port: Arc<str>,
    /// The first `PROXY`: clients begin with a PROXY header.
    pub(super) accept_proxy_protocol: bool,
    /// The second `PROXY`: endpoints get a PROXY header.
    pub(super) send_proxy_protocol: bool,
}

/// Why an entry is not used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum EntryError {
    /// The key.
    #[error("{0:?} is no port number")]
    Port(String),
    /// The value.
    #[error("{0:?} is not of the form NAMESPACE/SERVICE:PORT")]
    Service(String),
}

/// The external port of a key.
pub(super) fn parse_key(key: &str) -> Result<u16, EntryError> {
    // Two spellings of one port would be two entries for it.
    let plain = !key.starts_with('0') && key.bytes().all(|byte| byte.is_ascii_digit());
    key.parse().ok().filter(|_| plain).ok_or_else(|| EntryError::Port(key.to_owned()))
}

/// Reads a value. Words that have no effect are told to `ignored`: ingress-nginx passes over them.
pub(super) fn parse_value(value: &str, carrier: Carrier, mut ignored: impl FnMut(String)) -> Result<Entry, EntryError> {
    let mut fields = value.trim().split(':');
    let error = || EntryError::Service(value.to_owned());
    let service = fields.next().and_then(namespaced_name).ok_or_else(error)?;
    let port = fields.next().filter(|port| !port.is_empty()).ok_or_else(error)?;
    let mut proxy = |word: &str| match (word, carrier) {
        ("", _) => false,
        (word, Carrier::Tcp) if word.eq_ignore_ascii_case("PROXY") => true,
        (word, Carrier::Udp) if word.eq_ignore_ascii_case("PROXY") => {
            ignored("PROXY protocol is for TCP only; it is ignored".to_owned());
            false
        }
        (word, _) => {
            ignored(format!("{word:?} is not PROXY; it is ignored"));
            false
        }
    };
    let accept_proxy_protocol = proxy(fields.next().unwrap_or_default());
    let send_proxy_protocol = proxy(fields.next().unwrap_or_default());
    if let Some(rest) = fields.next() {
        ignored(format!("{rest:?} after the second PROXY is ignored"));
    }
    Ok(Entry { service, port: port.into(), accept_proxy_protocol, send_proxy_protocol })
}

fn namespaced_name(text: &str) -> Option<NamespacedName> {
    let (namespace, name) = text.split_once('/')?;
    let sound = !namespace.is_empty() && !name.is_empty() && !name.contains('/');
    sound.then(|| NamespacedName::new(namespace, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(value: &str, carrier: Carrier) -> (Result<Entry, EntryError>, Vec<String>) {
        let mut told = Vec::new();
        (parse_value(value, carrier, |message| told.push(message)), told)
    }

    #[test]
    fn the_fields_are_service_port_and_proxy_in_and_out() {
        for (value, accept, send) in [
            ("db/pg:5432", false, false),
            (" db/pg:5432\n", false, false),
            ("db/pg:5432:PROXY", true, false),
            ("db/pg:5432:proxy:Proxy", true, true),
            ("db/pg:5432::PROXY", false, true),
        ] {
            let entry = Entry {
                service: NamespacedName::new("db", "pg"),
                port: "5432".into(),
                accept_proxy_protocol: accept,
                send_proxy_protocol: send,
            };
            assert_eq!(parse(value, Carrier::Tcp), (Ok(entry), vec![]), "{value}");
        }
        assert_eq!(&*parse("db/pg:sql", Carrier::Tcp).0.unwrap().port, "sql");
    }

    #[test]
    fn what_has_no_effect_is_told() {
        for (value, carrier, accept, words) in [
            ("a/b:1:PROXY", Carrier::Udp, false, "for TCP only"),
            ("a/b:1:YES", Carrier::Tcp, false, "\"YES\" is not PROXY"),
            ("a/b:1:PROXY:PROXY:x", Carrier::Tcp, true, "\"x\" after the second PROXY"),
        ] {
            let (entry, told) = parse(value, carrier);
            assert_eq!(entry.unwrap().accept_proxy_protocol, accept, "{value}");
            assert!(matches!(&told[..], [one] if one.contains(words)), "{value}: {told:?}");
        }
    }

    #[test]
    fn values_without_namespace_service_or_port_are_refused() {
        for value in ["", "a", "a/b", "a/b:", "b:1", "/b:1", "a/:1", "a/b/c:1", ":1"] {
            assert_eq!(parse(value, Carrier::Tcp).0, Err(EntryError::Service(value.to_owned())), "{value}");
        }
    }

    #[test]
    fn a_port_has_one_spelling() {
        assert_eq!(parse_key("9000"), Ok(9000));
        for key in ["0", "09000", "+9000", "65536", "http", "", "9000-9010"] {
            assert_eq!(parse_key(key), Err(EntryError::Port(key.to_owned())), "{key}");
        }
    }
}
