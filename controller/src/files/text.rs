//! Text of a manifest file to documents: generic values with the line each begins on.
//!
//! A file is cut at its document markers before anything is parsed, so a broken document loses only itself. YAML is
//! read as `kubectl` reads it (YAML 1.1): plain `yes`, `no`, `on`, `off`, `y` and `n` are booleans, `0644` is octal,
//! `<<` merges. Keys keep the text that was written (`8080:` is the key `"8080"`). A key that is given twice is
//! refused, and aliases may not multiply a document (see [`MAX_REPLAYED`]).
//!
//! It knows nothing of Kubernetes.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::num::NonZeroU64;

use rustc_hash::FxHasher;
use serde::Deserialize;
use serde::de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use serde_saphyr::options::DuplicateKeyPolicy;

/// Files that are longer are not read: 64 MiB. The objects of a large cluster fit several times over.
pub(super) const MAX_FILE: usize = 64 << 20;

/// How many nodes aliases may add to one document. Without aliases a document cannot have more nodes than bytes, so
/// this is the only limit that a "billion laughs" document needs.
const MAX_REPLAYED: usize = 100_000;

/// How a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Syntax {
    /// One or more YAML documents.
    Yaml,
    /// One or more JSON values, one after another.
    Json,
}

/// One document of a file. Lines and columns count from 1.
#[derive(Debug)]
pub(super) struct Document<'a> {
    /// The document's own text.
    pub(super) text: &'a str,
    /// The line of the file that `text` begins on.
    pub(super) first_line: usize,
    /// The line of the document's first node.
    pub(super) line: usize,
    /// What it says.
    pub(super) value: Result<Value, SyntaxError>,
}

/// A document that is not well-formed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(super) struct SyntaxError {
    /// Line in the file.
    pub(super) line: usize,
    /// Column in characters; 0 when it is not known.
    pub(super) column: usize,
    /// What is wrong.
    pub(super) message: String,
}

/// A document of a YAML file before it is parsed.
#[derive(Clone, Copy, Debug)]
pub(super) struct YamlText<'a> {
    text: &'a str,
    first_line: usize,
}

impl<'a> YamlText<'a> {
    /// A hash of the text: documents with the same one say the same.
    pub(super) fn digest(self) -> Option<NonZeroU64> {
        let mut hasher = FxHasher::default();
        self.text.hash(&mut hasher);
        NonZeroU64::new(hasher.finish())
    }

    /// The line of its first node.
    pub(super) fn line(self) -> usize {
        self.first_line + self.text.split_inclusive('\n').take_while(|line| is_blank(line)).count()
    }

    /// Parses it; `None` for an empty one (only comments, or `null`).
    pub(super) fn parse(self) -> Option<Document<'a>> {
        let Self { text, first_line } = self;
        let value = match serde_saphyr::from_str_with_options::<Unique>(text, yaml_options()) {
            Ok(Unique(Value::Null)) => return None,
            Ok(Unique(value)) => Ok(value),
            Err(error) => Err(yaml_error(&error, first_line)),
        };
        Some(Document { text, first_line, line: self.line(), value })
    }
}

/// Cuts a YAML file into its documents.
pub(super) fn yaml_texts(text: &str) -> impl Iterator<Item = YamlText<'_>> {
    chunks(without_mark(text)).into_iter().map(|(first_line, text)| YamlText { text, first_line })
}

/// Parses every document. Empty ones (only comments, or `null`) are left out.
pub(super) fn documents(text: &str, syntax: Syntax) -> Vec<Document<'_>> {
    match syntax {
        Syntax::Yaml => yaml_texts(text).filter_map(YamlText::parse).collect(),
        Syntax::Json => json_documents(without_mark(text)),
    }
}

fn without_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

/// The options that every YAML text of this module and of [`super::locate`] is read with.
pub(super) fn yaml_options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        duplicate_keys: DuplicateKeyPolicy::Error,
        legacy_octal_numbers: true,
        with_snippet: false,
        emit_comments: false,
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: MAX_REPLAYED },
        budget: serde_saphyr::budget! {
            max_events: usize::MAX,
            max_nodes: usize::MAX,
            max_total_scalar_bytes: usize::MAX,
            simple_key_max_lookahead: 64 << 10,
        },
    }
}

/// Cuts at lines that begin with `---` or `...`: such a line ends a document wherever it stands, also inside of a
/// block scalar or a quoted text (YAML 1.2.2, production 206 c-forbidden). A part without any node (comments,
/// directives) belongs to the part that follows.
fn chunks(text: &str) -> Vec<(usize, &str)> {
    let mut chunks = Vec::new();
    let (mut begin, mut begin_line, mut has_node, mut has_marker) = (0, 1, false, false);
    let mut at = 0;
    for (index, line) in text.split_inclusive('\n').enumerate() {
        let (starts, ends) = (is_marker(line, "---"), is_marker(line, "..."));
        if (starts || ends) && has_node {
            chunks.push((begin_line, &text[begin..at]));
        }
        if ends {
            (begin, begin_line, has_node, has_marker) = (at + line.len(), index + 2, false, false);
        } else if starts {
            if has_node || has_marker {
                (begin, begin_line) = (at, index + 1);
            }
            (has_node, has_marker) = (!is_blank(line), true);
        } else {
            has_node |= !is_blank(line);
        }
        at += line.len();
    }
    if has_node {
        chunks.push((begin_line, &text[begin..]));
    }
    chunks
}

fn is_marker(line: &str, marker: &str) -> bool {
    line.strip_prefix(marker).is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
}

/// A line that holds no node: nothing, a comment, a directive or a bare `---`.
fn is_blank(line: &str) -> bool {
    let rest = if is_marker(line, "---") { line.get(3..).unwrap_or_default() } else { line };
    matches!(rest.trim_start().chars().next(), None | Some('#' | '%'))
}

fn yaml_error(error: &serde_saphyr::Error, first_line: usize) -> SyntaxError {
    let location = error.location();
    let number = |n: u64| usize::try_from(n).unwrap_or(0);
    let line = location.map_or(1, |location| number(location.line())).max(1);
    let column = location.map_or(0, |location| number(location.column()));
    SyntaxError { line: first_line + line - 1, column, message: error_text(error) }
}

/// The error's words without the position that the library appends; positions are told apart from messages, and the
/// library's are relative to the document.
fn error_text(error: &serde_saphyr::Error) -> String {
    let text = error.without_snippet().to_string();
    let text = text.lines().next().unwrap_or_default();
    let text = text.strip_prefix("error: ").unwrap_or(text);
    let end = text.find(" at line ").or_else(|| text.find(" (line ")).unwrap_or(text.len());
    text[..end].trim_end_matches([':', ',', '.', ' ']).to_owned()
}

fn json_documents(text: &str) -> Vec<Document<'_>> {
    let mut documents = Vec::new();
    let mut stream = serde_json::Deserializer::from_str(text).into_iter::<Unique>();
    loop {
        let begin = stream.byte_offset();
        let rest = text.get(begin..).unwrap_or_default();
        let blank = rest.len() - rest.trim_start().len();
        let line = 1 + text[..begin + blank].matches('\n').count();
        let value = match stream.next() {
            None => return documents,
            Some(Ok(Unique(Value::Null))) => continue,
            Some(Ok(Unique(value))) => Ok(value),
            Some(Err(error)) => {
                Err(SyntaxError { line: error.line().max(1), column: error.column(), message: json_error_text(&error) })
            }
        };
        let failed = value.is_err();
        let end = if failed { text.len() } else { stream.byte_offset() };
        documents.push(Document { text: &text[begin + blank..end], first_line: line, line, value });
        if failed {
            return documents;
        }
    }
}

fn json_error_text(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let end = text.rfind(" at line ").unwrap_or(text.len());
    text[..end].to_owned()
}

/// A [`Value`] in which no map gives a key twice, whatever the format.
struct Unique(Value);

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        UniqueVisitor.deserialize(deserializer).map(Self)
    }
}

struct UniqueVisitor;

impl<'de> DeserializeSeed<'de> for UniqueVisitor {
    type Value = Value;

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for UniqueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = seq.next_element_seed(UniqueVisitor)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut values = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            if values.contains_key(&key) {
                return Err(de::Error::custom(format_args!("duplicate key {key:?}")));
            }
            values.insert(key, map.next_value_seed(UniqueVisitor)?);
        }
        Ok(Value::Object(values))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn yaml(text: &str) -> Vec<(usize, Result<Value, SyntaxError>)> {
        documents(text, Syntax::Yaml).into_iter().map(|document| (document.line, document.value)).collect()
    }

    fn value(text: &str) -> Value {
        let mut all = yaml(text);
        assert_eq!(all.len(), 1, "{text}");
        all.remove(0).1.unwrap()
    }

    #[test]
    fn documents_are_told_apart_and_know_their_line() {
        let text = "# first\n---\na: 1\n---\n# nothing\n---\n\nb: |\n  ----\n  x\n--- # third\nc: 3\n...\n";
        assert_eq!(
            yaml(text),
            [(3, Ok(json!({"a": 1}))), (8, Ok(json!({"b": "----\nx\n"}))), (12, Ok(json!({"c": 3})))]
        );
    }

    #[test]
    fn directives_belong_to_the_document_that_follows() {
        assert_eq!(yaml("%YAML 1.1\n---\na: 1\n...\n%YAML 1.1\n---\nb: 2\n").len(), 2);
        assert!(yaml("%YAML 1.1\n---\na: 1\n...\n%YAML 1.1\n---\nb: 2\n").iter().all(|(_, value)| value.is_ok()));
    }

    #[test]
    fn a_broken_document_loses_only_itself_and_is_located_in_the_file() {
        let all = yaml("a: 1\n---\nb: 2\n  c: 3\n---\nd: 4\n");
        assert_eq!(all[0].1, Ok(json!({"a": 1})));
        let error = all[1].1.as_ref().unwrap_err();
        assert_eq!(error.line, 4, "{error:?}");
        assert!(error.column > 0, "{error:?}");
        assert!(!error.message.contains("line"), "{error:?}");
        assert_eq!(all[2].1, Ok(json!({"d": 4})));
    }

    #[test]
    fn booleans_and_octal_numbers_are_those_of_yaml_1_1_unless_quoted() {
        assert_eq!(
            value("a: yes\nb: off\nc: 0644\nd: \"yes\"\ne: 8080\n8080: x\n"),
            json!({"a": true, "b": false, "c": 420, "d": "yes", "e": 8080, "8080": "x"})
        );
    }

    #[test]
    fn merge_keys_and_aliases_work() {
        assert_eq!(
            value("base: &b {x: 1}\nuse:\n  <<: *b\n  y: 2\n"),
            json!({"base": {"x": 1}, "use": {"x": 1, "y": 2}})
        );
    }

    #[test]
    fn duplicate_keys_are_refused_in_both_formats() {
        let error = yaml("a: 1\nb:\n  x: 1\n  x: 2\n").remove(0).1.unwrap_err();
        assert_eq!(error.line, 4, "{error:?}");
        assert!(error.message.contains("duplicate"), "{error:?}");
        let error = documents("{\"a\": 1,\n\"a\": 2}", Syntax::Json).remove(0).value.unwrap_err();
        assert_eq!(error.line, 2, "{error:?}");
        assert!(error.message.contains("duplicate"), "{error:?}");
    }

    #[test]
    fn alias_bombs_are_refused() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..10 {
            let below = format!("*a{}", level - 1);
            text += &format!("a{level}: &a{level} [{}]\n", [below.as_str(); 10].join(", "));
        }
        assert!(yaml(&text).remove(0).1.is_err());
    }

    #[test]
    fn json_values_follow_one_another() {
        let all = documents("{\"a\": \"\\ud83d\\ude00\"}\n\n{\"b\": 2} [", Syntax::Json);
        let lines: Vec<_> = all.iter().map(|document| (document.line, document.value.is_ok())).collect();
        assert_eq!(lines, [(1, true), (3, true), (3, false)]);
        assert_eq!(all[0].value, Ok(json!({"a": "😀"})));
    }
}
