//! Canary: which share of a rule's requests goes to another backend (`nginx.ingress.kubernetes.io/canary-*`).

use http::HeaderName;
use serde::{Serialize, Serializer};

use super::pattern::Pattern;
use crate::model::Backend;

/// Sends some requests to `backend` instead of the rule's own backends.
///
/// Order of judgement: header, cookie, weight. A canary without endpoints serves nothing: the primary does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Canary {
    /// Where canary requests go.
    pub backend: Backend,
    /// `canary-by-header` with `-value` or `-pattern`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<CanaryHeader>,
    /// `canary-by-cookie`: `always` and `never` decide, anything else falls through.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cookie: Option<String>,
    /// `canary-weight`: of `total` requests this many go to the canary; 0 never, `total` or more always.
    pub weight: u32,
    /// `canary-weight-total`: at least 100, the default.
    pub total: u32,
}

/// The header that decides, and how its value is judged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CanaryHeader {
    /// The header's name.
    #[serde(serialize_with = "super::headers::serialize_name")]
    pub name: HeaderName,
    /// How the value decides.
    pub rule: CanaryHeaderRule,
}

/// How a canary header's value decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CanaryHeaderRule {
    /// `always` takes the canary, `never` the primary, anything else falls through.
    AlwaysNever,
    /// Exactly this value takes the canary, anything else falls through.
    Value(String),
    /// A value in which this is found takes the canary, anything else falls through.
    Pattern(Pattern),
    /// The pattern did not compile: the primary at once, as ingress-nginx does.
    Broken,
}

impl Serialize for CanaryHeaderRule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::AlwaysNever => serializer.serialize_str("always/never"),
            Self::Value(value) => serializer.collect_str(&format_args!("value={value}")),
            Self::Pattern(pattern) => serializer.collect_str(&format_args!("pattern={}", pattern.source())),
            Self::Broken => serializer.serialize_str("broken"),
        }
    }
}
