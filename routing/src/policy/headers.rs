//! Headers: set, add and remove header fields of requests or responses (Gateway API `HTTPHeaderFilter`).

use http::{HeaderName, HeaderValue};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

/// Changes of a head: removals first, then replacements, then additions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HeaderOps {
    /// Names to remove.
    #[serde(skip_serializing_if = "Vec::is_empty", serialize_with = "serialize_names")]
    pub remove: Vec<HeaderName>,
    /// Fields that replace every field of their name.
    #[serde(skip_serializing_if = "Vec::is_empty", serialize_with = "serialize_fields")]
    pub set: Vec<(HeaderName, HeaderValue)>,
    /// Fields added to those that are there.
    #[serde(skip_serializing_if = "Vec::is_empty", serialize_with = "serialize_fields")]
    pub add: Vec<(HeaderName, HeaderValue)>,
}

impl HeaderOps {
    /// Whether nothing is changed.
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.set.is_empty() && self.add.is_empty()
    }
}

/// Serializes a header name as its text.
pub fn serialize_name<S: Serializer>(name: &HeaderName, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(name.as_str())
}

fn serialize_names<S: Serializer>(names: &[HeaderName], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(names.iter().map(HeaderName::as_str))
}

fn serialize_fields<S: Serializer>(fields: &[(HeaderName, HeaderValue)], serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(fields.len()))?;
    for (name, value) in fields {
        map.serialize_entry(name.as_str(), &String::from_utf8_lossy(value.as_bytes()))?;
    }
    map.end()
}
