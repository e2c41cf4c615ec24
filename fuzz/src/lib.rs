//! What several fuzz targets share: texts inside plain data, and requests that a model has something to say about. And
//! what the target of Gateway API's objects is made of.

pub mod gateway_objects;
pub mod isolation;
pub mod weight;

use genkan_routing::model::{Match, Model, PathMatch, ValueMatch};
use genkan_routing::name::ListenerId;
use genkan_routing::snapshot::{Matched, RequestView, Snapshot};
use http::{HeaderMap, HeaderValue, Method};
use serde::Serialize;
use serde_json::Value;

/// How many requests a model is asked at most.
const MAX_REQUESTS: usize = 200;

/// Panics when a text inside of a value has a control character other than a tab: it could end a header or a log line.
pub fn assert_no_control_characters(what: &str, value: &impl Serialize) {
    let value = serde_json::to_value(value).expect("plain data serializes");
    each_text(&value, &mut |text| {
        let found = text.chars().find(|c| c.is_control() && *c != '\t');
        assert!(found.is_none(), "{what}: control character {found:?} in {text:?}");
    });
}

fn each_text(value: &Value, see: &mut impl FnMut(&str)) {
    match value {
        Value::String(text) => see(text),
        Value::Array(values) => values.iter().for_each(|value| each_text(value, see)),
        Value::Object(fields) => fields.values().for_each(|value| each_text(value, see)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Panics when the compiled table answers a request otherwise than the search through the model that specifies it.
pub fn assert_routes_as_specified(snapshot: &Snapshot, listener: &ListenerId, request: &RequestView<'_>) {
    let told = |matched: Option<Matched<'_>>| {
        matched.map(|matched| (matched.host.clone(), matched.matched.clone(), matched.rule.id.clone()))
    };
    let (compiled, searched) = (snapshot.route(listener, request), snapshot.route_by_search(listener, request));
    assert_eq!(told(compiled), told(searched), "{listener}: {request:?}");
}

/// Asks a snapshot for what its own hosts and matches name, and for their neighbours.
pub fn assert_routes_what_it_names(snapshot: &Snapshot) {
    let model = snapshot.model();
    let mut left = MAX_REQUESTS;
    for (host, matched) in named(model) {
        for path in paths(&matched.path) {
            for listener in model.listeners.keys() {
                if left == 0 {
                    return;
                }
                left -= 1;
                assert_routes_as_specified(snapshot, listener, &request(&host, &path, matched, &headers(matched)));
            }
        }
    }
}

fn named(model: &Model) -> impl Iterator<Item = (String, &Match)> {
    model.tables.values().flat_map(|table| &table.hosts).flat_map(|(pattern, host)| {
        // `*` and `**` stand for labels; one label satisfies both.
        let name = pattern.to_string().replace("**", "label").replace('*', "label");
        let deeper = format!("deeper.{name}");
        host.matches.iter().flat_map(move |matched| [(name.clone(), matched), (deeper.clone(), matched)])
    })
}

fn paths(path: &PathMatch) -> Vec<String> {
    match path {
        PathMatch::Exact(path) => vec![path.clone(), format!("{path}/")],
        PathMatch::Prefix(prefix) => {
            let prefix = prefix.as_str().trim_end_matches('/');
            vec![format!("{prefix}/"), format!("{prefix}/below"), format!("{prefix}beside")]
        }
        PathMatch::Regex(pattern) => {
            let plain: String = pattern.source().chars().filter(|c| c.is_alphanumeric() || *c == '/').collect();
            vec!["/".to_owned(), format!("/{plain}"), plain]
        }
    }
}

fn headers(matched: &Match) -> HeaderMap {
    let value = |value: &ValueMatch| match value {
        ValueMatch::Exact(text) => HeaderValue::from_str(text).ok(),
        ValueMatch::Regex(pattern) => HeaderValue::from_str(pattern.source()).ok(),
    };
    let fields = matched.headers.iter();
    fields.filter_map(|field| Some((field.name.clone(), value(&field.value)?))).collect()
}

fn request<'r>(host: &'r str, path: &'r str, matched: &'r Match, headers: &'r HeaderMap) -> RequestView<'r> {
    RequestView { host, path, query: None, method: matched.method.as_ref().unwrap_or(&Method::GET), headers }
}
