//! Values by the schema of a kind of our own: every field, from the day on which there is one. What the API server would
//! refuse comes up as well, as files are read without it.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use genkan_policies::definitions;
use serde_json::{Map, Value};

use super::gateways::GATEWAYS;
use super::services::{SECRETS, SERVICES};
use super::{NAMESPACES, TEXTS, Words};

/// The schema of `spec`, by kind.
static SPECS: LazyLock<BTreeMap<String, Value>> = LazyLock::new(|| {
    let spec = |definition| {
        let definition = serde_json::to_value(definition).expect("a definition is plain data");
        let kind = definition["spec"]["names"]["kind"].as_str().expect("a definition names its kind").to_owned();
        let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        (kind, schema["properties"]["spec"].clone())
    };
    definitions().into_iter().map(spec).collect()
});

/// Texts for fields of these names. Others get any of [`TEXTS`].
const BY_NAME: &[(&[&str], &[&str])] = &[
    (&["exempt", "allow", "deny", "trusted"], &["192.0.2.0/24", "::/0", "192.0.2.1", "10.0.0.0/8", "odd"]),
    (&["dynamic", "reserved"], &["192.0.2.1", "192.0.2.1-192.0.2.9", "192.0.2.128/26", "2001:db8::/126", "nowhere"]),
    (&["max", "maxSize", "size"], &["1m", "0", "8k", "99999999999g", "odd"]),
    (&["ciphers"], &["ECDHE-RSA-AES128-GCM-SHA256", "TLS_AES_256_GCM_SHA384", "ODD"]),
    (&["headerBuffers"], &["4 8k", "1 1", "9999 1m", "odd"]),
    (&["format", "streamFormat"], &["$remote_addr $status", "{\"a\": \"$host\"}", "$", "${odd"]),
    (&["types"], &["*", "text/css", "odd"]),
    (&["path"], &["/", "/healthz?a=b", "odd"]),
    (&["host", "hostname"], &["a.example.com", "*.example.com", "bad host"]),
    (&["kind"], &["Service", "Secret", "ConfigMap", "XBackend"]),
    (&["group"], &["", "gateway.networking.x-k8s.io"]),
    (&["namespace"], NAMESPACES),
    (&["header", "allowedHeaders", "allowedResponseHeaders"], &["x-one", "content-length", "host", "bad name"]),
    (&["secretName"], SECRETS),
    (&["realm"], &["Staff", "\u{e4}", "\""]),
];

/// Durations, told by what their pattern asks for.
const DURATIONS: &[&str] = &["1s", "0s", "500ms", "1h30m", "99999h", "odd"];

/// The schema of what stands at a path in the `spec` of a kind of ours.
pub(super) fn of(kind: &str, path: &[&str]) -> &'static Value {
    path.iter().fold(&SPECS[kind], |schema, name| &schema["properties"][name])
}

/// A value of a field of this name.
pub(super) fn value(words: &mut Words<'_>, name: &str, schema: &Value) -> Value {
    if let Some(all) = schema["enum"].as_array().filter(|all| !all.is_empty()) {
        let chosen = words.up_to(all.len());
        // One more than there are: a word that nobody knows. Whoever reads the kind refuses the object then.
        return all.get(chosen).cloned().unwrap_or_else(|| "Odd".into());
    }
    match schema["type"].as_str() {
        Some("object") => object(words, schema),
        Some("array") => words.list(2, |words| value(words, name, &schema["items"])),
        Some("boolean") => words.rarely(2).into(),
        Some("integer" | "number") => number(words, schema),
        _ => text(words, name, schema),
    }
}

/// Everything that is required, and of the rest some.
fn object(words: &mut Words<'_>, schema: &Value) -> Value {
    let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let required: Vec<_> = required.collect();
    let mut fields = Map::new();
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        if required.contains(&name.as_str()) || words.rarely(4) {
            fields.insert(name.clone(), value(words, name, field));
        }
    }
    Value::Object(fields)
}

/// Within its bounds and a little outside.
fn number(words: &mut Words<'_>, schema: &Value) -> Value {
    let bound = |name: &str| schema[name].as_f64().map(|bound| bound as i64);
    let (least, most) = (bound("minimum").unwrap_or(0), bound("maximum").unwrap_or(i64::from(i32::MAX)));
    words.of(&[least, 1, 2, 80, 429, 503, most, least - 1, most.min(i64::from(i32::MAX) - 1) + 1]).into()
}

fn text(words: &mut Words<'_>, name: &str, schema: &Value) -> Value {
    if schema["pattern"].as_str().is_some_and(|pattern| pattern.contains("h|m|s|ms")) {
        return words.text(DURATIONS);
    }
    if name == "name" {
        let all = [SERVICES, SECRETS, GATEWAYS, &["ca", "users", "x-one", "bad name"]].concat();
        return words.text(&all);
    }
    let known = BY_NAME.iter().find(|(names, _)| names.contains(&name));
    words.text(known.map_or(TEXTS, |(_, texts)| texts))
}
