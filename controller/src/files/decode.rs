//! A document to typed objects: which kinds and versions are read, lists, names.
//!
//! Kinds that Genkan does not read are counted and left alone; a known kind in a version that is not read, a value
//! of the wrong type and a bad name are told with field, line and column. An object is taken whole or not at all.

use std::num::NonZeroU64;

use serde_json::{Map, Value};

use super::locate::Locator;
use super::text::Document;
use crate::kinds::{ENTRIES, Entry, Step, TypeError, Unknown, display};
use crate::resources::{Key, Kind, Object, Unreadable};

/// What one document, or one item of a list, turned out to be.
#[derive(Debug)]
pub(super) enum Item {
    /// An object.
    Object(Decoded),
    /// What can be read of an object, for where no earlier version of it is there. A failure before it says what can't.
    Rest(Decoded),
    /// A kind that is not read, as kubectl writes it: `Deployment.apps`.
    Other(String),
    /// Something that is wrong.
    Failed(Failure),
}

/// An object and where it begins.
#[derive(Clone, Debug)]
pub(super) struct Decoded {
    pub(super) key: Key,
    pub(super) line: usize,
    pub(super) object: Object,
    /// What can't be read of it, if anything.
    pub(super) unreadable: Option<Unreadable>,
    /// [`YamlText::digest`](super::text::YamlText::digest) of its document, if that holds nothing else.
    pub(super) digest: Option<NonZeroU64>,
}

/// Why a document gives no object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// The object, when so much could be told.
    pub(super) key: Option<Key>,
    pub(super) line: usize,
    pub(super) column: usize,
    /// Where in the document, as kubectl prints it; empty for the whole.
    pub(super) field: String,
    pub(super) reason: &'static str,
    pub(super) message: String,
    pub(super) mend: &'static str,
    /// False if it is worth a warning only: a document that does not claim to be a Kubernetes object, an unknown field.
    pub(super) error: bool,
}

/// Groups that held a kind before its present one.
const OLD_GROUPS: &[(&str, Kind)] = &[("extensions", Kind::Ingress)];

const NAME_RULE: &str = "names consist of a-z, 0-9, '-' and '.', begin and end with a letter or digit, and have at \
                         most 253 characters (RFC 1123)";

/// Everything that a document says.
pub(super) fn decode(document: &Document<'_>) -> Vec<Item> {
    match &document.value {
        Ok(value) => {
            let mut decoder =
                Decoder { document, locator: Locator::new(document), path: Vec::new(), items: Vec::new() };
            decoder.value(value.clone(), None);
            decoder.items
        }
        Err(error) => vec![Item::Failed(Failure {
            key: None,
            line: error.line,
            column: error.column,
            field: String::new(),
            reason: "InvalidSyntax",
            message: error.message.clone(),
            mend: "",
            error: true,
        })],
    }
}

struct Decoder<'a> {
    document: &'a Document<'a>,
    locator: Locator<'a>,
    /// Where in the document the present value stands.
    path: Vec<Step>,
    items: Vec<Item>,
}

impl Decoder<'_> {
    /// `inherited` is the apiVersion and kind that items of a typed list may leave out.
    fn value(&mut self, mut value: Value, inherited: Option<(&str, &str)>) {
        if let (Some((version, kind)), Value::Object(map)) = (inherited, &mut value) {
            map.entry("apiVersion").or_insert_with(|| version.into());
            map.entry("kind").or_insert_with(|| kind.into());
        }
        let text = |field| value.get(field).and_then(Value::as_str).filter(|text: &&str| !text.is_empty());
        let (Some(api_version), Some(kind)) = (text("apiVersion"), text("kind")) else {
            let foreign = |map: &Map<String, Value>| !map.contains_key("apiVersion") && !map.contains_key("kind");
            return self.not_an_object(value.as_object().is_some_and(foreign));
        };
        let (api_version, kind) = (api_version.to_owned(), kind.to_owned());
        match value.get_mut("items").map(Value::take) {
            Some(Value::Array(items)) if kind.ends_with("List") => self.list(items, &api_version, &kind),
            taken => {
                if let (Some(taken), Value::Object(map)) = (taken, &mut value) {
                    map.insert("items".to_owned(), taken);
                }
                self.object(value, &api_version, &kind);
            }
        }
    }

    fn list(&mut self, items: Vec<Value>, api_version: &str, kind: &str) {
        let inherited = kind.strip_suffix("List").filter(|kind| !kind.is_empty()).map(|kind| (api_version, kind));
        self.path.push(Step::Key("items".to_owned()));
        for (index, item) in items.into_iter().enumerate() {
            self.path.push(Step::Index(index));
            self.value(item, inherited);
            self.path.pop();
        }
        self.path.pop();
    }

    fn object(&mut self, mut value: Value, api_version: &str, kind: &str) {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let old = |entry: &&Entry| OLD_GROUPS.contains(&(group, entry.kind));
        let Some(entry) =
            ENTRIES.iter().filter(|entry| entry.kind.as_str() == kind).find(|e| e.group == group || old(e))
        else {
            let other = if group.is_empty() { kind.to_owned() } else { format!("{kind}.{group}") };
            return self.items.push(Item::Other(other));
        };
        let key = match self.settle_name(&mut value, entry.kind) {
            Ok(key) => key,
            Err((field, message)) => {
                let path = [Step::Key("metadata".to_owned()), Step::Key(field.to_owned())];
                return self.fail(None, &path, "InvalidName", format!("{kind}: {message}"), "");
            }
        };
        let served = entry.api_version(entry.versions[0]);
        if entry.group != group || !entry.versions.contains(&version) {
            let message = format!("apiVersion {api_version} of {kind} is not read");
            let path = [Step::Key("apiVersion".to_owned())];
            return self.fail(Some(key), &path, "UnsupportedVersion", format!("{message}; write {served}"), "");
        }
        if let Value::Object(map) = &mut value {
            map.insert("apiVersion".to_owned(), served.into());
        }
        match (entry.decode)(&value) {
            Ok((object, unknown)) => {
                unknown.iter().for_each(|unknown| self.unknown_field(&key, unknown));
                let decoded = self.decoded(object, Unreadable::in_doubt(entry.doubts(&unknown)));
                self.items.push(Item::Object(decoded));
            }
            Err(error) => {
                self.type_error(key, entry, &error);
                let why = format!("{}: {}", display(&error.path), entry.explain(&error).0).into();
                let rest = if entry.keeps_parts() { entry.decode_rest(&value, error) } else { None };
                if let Some((object, parts)) = rest {
                    let decoded = self.decoded(object, Some(Unreadable { why, served: false, parts }));
                    self.items.push(Item::Rest(decoded));
                }
            }
        }
    }

    fn decoded(&mut self, object: Object, unreadable: Option<Unreadable>) -> Decoded {
        let line = if self.path.is_empty() { self.document.line } else { self.locator.locate(&self.path).0 };
        // The same key as before, made of the names that the object holds.
        Decoded { key: Key::of(&object), line, object, unreadable, digest: None }
    }

    /// The key of an object; gives it the namespace that kubectl would. The error is a field of `metadata` and what
    /// is wrong with it.
    fn settle_name(&self, value: &mut Value, kind: Kind) -> Result<Key, (&'static str, String)> {
        let metadata = value.get_mut("metadata").and_then(Value::as_object_mut);
        let missing = || ("name", "metadata.name is missing".to_owned());
        let metadata = metadata.ok_or_else(missing)?;
        let name = match metadata.get("name") {
            None | Some(Value::Null) => return Err(missing()),
            Some(Value::String(name)) => name.clone(),
            Some(_) => return Err(("name", "metadata.name must be a text: put it in quotes".to_owned())),
        };
        if !is_subdomain(&name) || (kind == Kind::Namespace && !is_label(&name)) {
            return Err(("name", format!("{name:?} is not a valid name: {NAME_RULE}")));
        }
        if !kind.namespaced() {
            metadata.remove("namespace");
            return Ok(Key::new(kind, "", name));
        }
        let namespace = match metadata.get("namespace") {
            None | Some(Value::Null) => "default".to_owned(),
            Some(Value::String(namespace)) if namespace.is_empty() => "default".to_owned(),
            Some(Value::String(namespace)) => namespace.clone(),
            Some(_) => return Err(("namespace", "metadata.namespace must be a text: put it in quotes".to_owned())),
        };
        if !is_label(&namespace) {
            let message = format!("{namespace:?} is not a valid namespace: at most 63 of a-z, 0-9 and '-' (RFC 1123)");
            return Err(("namespace", message));
        }
        metadata.insert("namespace".to_owned(), namespace.clone().into());
        Ok(Key::new(kind, namespace, name))
    }

    fn type_error(&mut self, key: Key, entry: &Entry, error: &TypeError) {
        let (message, mend) = entry.explain(error);
        self.fail(Some(key), &error.path, "InvalidObject", message, mend);
    }

    fn unknown_field(&mut self, key: &Key, unknown: &Unknown) {
        let meant = unknown.nearest.map(|field| format!("; did you mean {field}?")).unwrap_or_default();
        let message = format!("there is no such field in {}, it is ignored{meant}", key.kind.as_str());
        self.fail(Some(key.clone()), &unknown.path, "UnknownField", message, "");
        self.only_warn();
    }

    /// `foreign`: a map that does not even try, such as Helm's values.
    fn not_an_object(&mut self, foreign: bool) {
        let message = if foreign {
            "this document has neither apiVersion nor kind: it is not a Kubernetes object and is left alone"
        } else {
            "apiVersion and kind must both be given, as text"
        };
        self.fail(None, &[], "NotAnObject", message.to_owned(), "");
        if foreign {
            self.only_warn();
        }
    }

    /// Makes the last failure a warning.
    fn only_warn(&mut self) {
        if let Some(Item::Failed(failure)) = self.items.last_mut() {
            failure.error = false;
        }
    }

    fn fail(&mut self, key: Option<Key>, inner: &[Step], reason: &'static str, message: String, mend: &'static str) {
        let whole: Vec<Step> = self.path.iter().chain(inner).cloned().collect();
        let (line, column) = self.locator.locate(&whole);
        let field = display(inner);
        self.items.push(Item::Failed(Failure { key, line, column, field, reason, message, mend, error: true }));
    }
}

/// RFC 1123 label: at most 63 of a-z, 0-9 and `-`, a letter or digit at both ends.
fn is_label(text: &str) -> bool {
    let alphanumeric = |byte: Option<&u8>| byte.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let bytes = text.as_bytes();
    bytes.len() <= 63
        && alphanumeric(bytes.first())
        && alphanumeric(bytes.last())
        && bytes.iter().all(|b| *b == b'-' || alphanumeric(Some(b)))
}

/// RFC 1123 subdomain: labels with dots between them. As in Kubernetes, a label of it may be longer than 63.
fn is_subdomain(text: &str) -> bool {
    text.len() <= 253
        && text.split('.').all(|label| {
            let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
            edge(label.bytes().next())
                && edge(label.bytes().next_back())
                && label.bytes().all(|b| b == b'-' || edge(Some(b)))
        })
}
