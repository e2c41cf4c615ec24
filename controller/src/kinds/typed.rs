//! A generic value to a typed one, noting where it fails and which fields the type does not know.
//!
//! It wraps the deserializer of [`Value`]. Every struct tells serde its fields, so unknown ones, which the types would
//! pass over, are found on the way, together with the known field that was probably meant.

use std::cell::RefCell;

use serde::de::value::StrDeserializer;
use serde::de::{self, DeserializeOwned, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Unexpected, Visitor};
use serde::forward_to_deserialize_any;
use serde_json::{Error, Map, Value};

use super::path::Step;

/// A field that its type does not know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unknown {
    pub(crate) path: Vec<Step>,
    /// The known field that was probably meant.
    pub(crate) nearest: Option<&'static str>,
}

/// Why a value does not have its type.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub(crate) struct TypeError {
    /// Where.
    pub(crate) path: Vec<Step>,
    #[source]
    pub(super) error: Error,
}

/// Decodes a value, except these of its fields.
pub(super) fn typed<T: DeserializeOwned>(
    value: &Value,
    except: &'static [&'static str],
) -> Result<(T, Vec<Unknown>), TypeError> {
    let notes = RefCell::new(Notes { except, ..Notes::default() });
    let result = T::deserialize(Noting { value, notes: &notes });
    let notes = notes.into_inner();
    match result {
        Ok(typed) => Ok((typed, notes.unknown)),
        Err(error) => Err(TypeError { path: notes.failed.unwrap_or_default(), error }),
    }
}

#[derive(Default)]
struct Notes {
    /// Fields of the whole value that are passed over.
    except: &'static [&'static str],
    path: Vec<Step>,
    unknown: Vec<Unknown>,
    failed: Option<Vec<Step>>,
}

#[derive(Clone, Copy)]
struct Noting<'a> {
    value: &'a Value,
    notes: &'a RefCell<Notes>,
}

impl<'a> Noting<'a> {
    /// Decodes a part of the value.
    fn inside<S: DeserializeSeed<'a>>(self, step: Step, seed: S) -> Result<S::Value, Error> {
        self.notes.borrow_mut().path.push(step);
        let result = seed.deserialize(self);
        let mut notes = self.notes.borrow_mut();
        if result.is_err() && notes.failed.is_none() {
            notes.failed = Some(notes.path.clone());
        }
        notes.path.pop();
        result
    }

    fn note_unknown(self, map: &Map<String, Value>, fields: &'static [&'static str]) {
        let mut notes = self.notes.borrow_mut();
        let top = notes.path.is_empty();
        for key in map.keys().filter(|key| !fields.contains(&key.as_str())) {
            // Not every type lists these two, and a status is not read at all.
            if top && matches!(key.as_str(), "apiVersion" | "kind" | "status") || is_passed_over(&notes.path) {
                continue;
            }
            let mut path = notes.path.clone();
            path.push(Step::Key(key.clone()));
            notes.unknown.push(Unknown { path, nearest: nearest(key, fields) });
        }
    }
}

/// Parts that API servers and controllers write, not users.
fn is_passed_over(path: &[Step]) -> bool {
    let key = |index: usize| match path.get(index) {
        Some(Step::Key(key)) => key.as_str(),
        _ => "",
    };
    key(0) == "status" || (key(0) == "metadata" && key(1) == "managedFields")
}

fn nearest(key: &str, fields: &'static [&'static str]) -> Option<&'static str> {
    let distance = |field: &str| strsim::damerau_levenshtein(&key.to_lowercase(), &field.to_lowercase());
    let (distance, field) = fields.iter().map(|field| (distance(field), *field)).min()?;
    (distance <= key.len() / 3).then_some(field)
}

impl<'de> Deserializer<'de> for Noting<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.value {
            Value::Array(items) => visitor.visit_seq(Items { whole: self, items: items.iter().enumerate() }),
            Value::Object(map) => visitor.visit_map(Entries { whole: self, entries: map.iter(), value: None }),
            other => other.deserialize_any(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.value.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.value.deserialize_enum(name, variants, visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.value {
            Value::Object(map) => self.note_unknown(map, fields),
            // Derived types would take the values of their fields, and an empty list for an object that says nothing.
            Value::Array(_) => return Err(de::Error::invalid_type(Unexpected::Seq, &visitor)),
            _ => {}
        }
        self.deserialize_any(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map identifier
    }
}

struct Items<'a> {
    whole: Noting<'a>,
    items: std::iter::Enumerate<std::slice::Iter<'a, Value>>,
}

impl<'a> SeqAccess<'a> for Items<'a> {
    type Error = Error;

    fn next_element_seed<S: DeserializeSeed<'a>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        let Some((index, value)) = self.items.next() else { return Ok(None) };
        Noting { value, ..self.whole }.inside(Step::Index(index), seed).map(Some)
    }

    /// Exact, so that lists get the room that they need: their elements are large and most have one.
    fn size_hint(&self) -> Option<usize> {
        Some(self.items.len())
    }
}

struct Entries<'a> {
    whole: Noting<'a>,
    entries: serde_json::map::Iter<'a>,
    value: Option<(&'a str, &'a Value)>,
}

impl<'a> MapAccess<'a> for Entries<'a> {
    type Error = Error;

    fn next_key_seed<S: DeserializeSeed<'a>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        let notes = self.whole.notes.borrow();
        let except = if notes.path.is_empty() { notes.except } else { &[] };
        drop(notes);
        let Some((key, value)) = self.entries.find(|(key, _)| !except.contains(&key.as_str())) else { return Ok(None) };
        self.value = Some((key, value));
        seed.deserialize(StrDeserializer::<Error>::new(key)).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'a>>(&mut self, seed: S) -> Result<S::Value, Error> {
        let missing = || serde::de::Error::custom("a value was asked for before its key");
        let (key, value) = self.value.take().ok_or_else(missing)?;
        Noting { value, ..self.whole }.inside(Step::Key(key.to_owned()), seed)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.entries.len())
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::networking::v1::Ingress;
    use serde_json::json;

    use super::super::path::display;
    use super::*;

    fn unknown(value: Value) -> Vec<(String, Option<&'static str>)> {
        let (_, unknown) = typed::<Ingress>(&value, &[]).unwrap();
        unknown.into_iter().map(|unknown| (display(&unknown.path), unknown.nearest)).collect()
    }

    #[test]
    fn unknown_fields_are_found_with_what_was_meant() {
        let found = unknown(json!({
            "apiVersion": "networking.k8s.io/v1",
            "kind": "Ingress",
            "metadata": {"name": "a", "labels": {"anything": "goes"}, "managedFields": [{"some": "thing"}]},
            "spec": {"rules": [{"host": "a", "http": {"paths": [{"pathtype": "Prefix", "zzz": 1, "backend": {}}]}}]},
            "status": {"other": 1},
        }));
        let path = "spec.rules[0].http.paths[0]";
        assert_eq!(found, [(format!("{path}.pathtype"), Some("pathType")), (format!("{path}.zzz"), None)]);
    }

    #[test]
    fn errors_say_where() {
        let error = typed::<Ingress>(&json!({"spec": {"rules": [{"host": "a"}, {"host": 5}]}}), &[]).unwrap_err();
        assert_eq!(display(&error.path), "spec.rules[1].host");
        assert_eq!(error.to_string(), "invalid type: integer `5`, expected a string");
    }
}
