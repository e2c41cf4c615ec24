//! Names: hostnames and host patterns, references to objects, and the ids that tie the model together.
//!
//! Every name is validated when it is made, so nothing past this module has to ask again.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};

/// A DNS name or IP literal in canonical form: lower case, without a final dot (RFC 1123, RFC 4343).
///
/// At most 253 bytes; labels of letters, digits, `-` and `_` (ingress-nginx accepts `_`), at most 63 bytes each.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hostname(Arc<str>);

/// Why a text is not a [`Hostname`] or [`HostPattern`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostnameError {
    /// Nothing was written.
    #[error("a hostname must not be empty")]
    Empty,
    /// More than 253 bytes, or a label of more than 63.
    #[error("a hostname has at most 253 characters, and each label at most 63")]
    TooLong,
    /// A label is empty, or begins or ends with `-`.
    #[error("every label of a hostname must begin and end with a letter or digit")]
    BadLabel,
    /// A character that no hostname has.
    #[error("{0:?} is not allowed in a hostname")]
    BadCharacter(char),
    /// `*` anywhere but as the whole first label.
    #[error("'*' is allowed only as the whole first label, as in *.example.com")]
    BadWildcard,
}

impl Hostname {
    /// Parses a hostname without a port; see [`Hostname`] for the rules.
    pub fn parse(text: &str) -> Result<Self, HostnameError> {
        let text = text.strip_suffix('.').unwrap_or(text);
        if text.is_empty() {
            return Err(HostnameError::Empty);
        }
        if text.parse::<std::net::Ipv6Addr>().is_ok() {
            return Ok(Self(text.to_ascii_lowercase().into()));
        }
        if text.len() > 253 {
            return Err(HostnameError::TooLong);
        }
        for label in text.split('.') {
            check_label(label)?;
        }
        Ok(Self(text.to_ascii_lowercase().into()))
    }

    /// The canonical text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn check_label(label: &str) -> Result<(), HostnameError> {
    if label == "*" {
        return Err(HostnameError::BadWildcard);
    }
    if label.len() > 63 {
        return Err(HostnameError::TooLong);
    }
    if let Some(bad) = label.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))) {
        return Err(if bad == '*' { HostnameError::BadWildcard } else { HostnameError::BadCharacter(bad) });
    }
    if label.is_empty() || label.starts_with('-') || label.ends_with('-') {
        return Err(HostnameError::BadLabel);
    }
    Ok(())
}

impl Borrow<str> for Hostname {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Hostname {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Hostname {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl Serialize for Hostname {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// Which hosts something is for. Ordered from the most to the least specific *kind*; see
/// [`HostPattern::matches`] for what each covers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostPattern {
    /// This name only.
    Exact(Hostname),
    /// `*.suffix` where `*` stands for exactly one label (Ingress v1 `rules[].host`).
    OneLabel(Hostname),
    /// `*.suffix` where `*` stands for one or more labels (Gateway API `hostnames`).
    Suffix(Hostname),
    /// Every host, also none.
    Any,
}

impl HostPattern {
    /// Parses `name` or `*.name`, the star standing for exactly one label (Ingress v1). Empty text is [`Self::Any`].
    pub fn parse_one_label(text: &str) -> Result<Self, HostnameError> {
        Self::parse_with(text, Self::OneLabel)
    }

    /// Parses `name` or `*.name`, the star standing for one or more labels (Gateway API). Empty text is [`Self::Any`].
    pub fn parse_suffix(text: &str) -> Result<Self, HostnameError> {
        Self::parse_with(text, Self::Suffix)
    }

    fn parse_with(text: &str, wildcard: fn(Hostname) -> Self) -> Result<Self, HostnameError> {
        if text.is_empty() {
            return Ok(Self::Any);
        }
        match text.strip_prefix("*.") {
            Some(suffix) => Ok(wildcard(Hostname::parse(suffix)?)),
            None => Ok(Self::Exact(Hostname::parse(text)?)),
        }
    }

    /// Whether `host` (canonical: lower case, no port, no final dot) is covered.
    pub fn matches(&self, host: &str) -> bool {
        let stripped = |suffix: &Hostname| {
            host.strip_suffix(suffix.as_str()).and_then(|rest| rest.strip_suffix('.')).filter(|rest| !rest.is_empty())
        };
        match self {
            Self::Exact(name) => name.as_str() == host,
            Self::OneLabel(suffix) => stripped(suffix).is_some_and(|label| !label.contains('.')),
            Self::Suffix(suffix) => stripped(suffix).is_some(),
            Self::Any => true,
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => name.fmt(f),
            Self::OneLabel(suffix) => write!(f, "*.{suffix}"),
            Self::Suffix(suffix) => write!(f, "**.{suffix}"),
            Self::Any => f.write_str("*"),
        }
    }
}

/// As [`fmt::Display`]: `name`, `*.name` (one label), `**.name` (one or more labels), `*`.
impl Serialize for HostPattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// An object by kind, namespace and name. Cluster-scoped objects have an empty namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectRef {
    /// The API kind, as in manifests: `Ingress`.
    pub kind: &'static str,
    /// Empty for cluster-scoped kinds.
    pub namespace: Arc<str>,
    /// `metadata.name`.
    pub name: Arc<str>,
}

impl ObjectRef {
    /// A reference; pass an empty namespace for a cluster-scoped kind.
    pub fn new(kind: &'static str, namespace: impl Into<Arc<str>>, name: impl Into<Arc<str>>) -> Self {
        Self { kind, namespace: namespace.into(), name: name.into() }
    }
}

/// `Ingress default/web`, `GatewayClass genkan`.
impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            write!(f, "{} {}", self.kind, self.name)
        } else {
            write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
        }
    }
}

impl Serialize for ObjectRef {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The object and field that something came from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    /// The object.
    pub object: ObjectRef,
    /// The path of the field inside the object, as kubectl prints it: `spec.rules[0].http.paths[1].backend`,
    /// `metadata.annotations[nginx.ingress.kubernetes.io/limit-rps]`. Empty for the object as a whole.
    pub field: String,
}

impl Origin {
    /// An origin; an empty `field` means the whole object.
    pub fn new(object: ObjectRef, field: impl Into<String>) -> Self {
        Self { object, field: field.into() }
    }
}

/// `Ingress default/web: spec.rules[0].host`.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.field.is_empty() { self.object.fmt(f) } else { write!(f, "{}: {}", self.object, self.field) }
    }
}

impl Serialize for Origin {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// An id from its text.
            pub fn new(text: impl Into<Arc<str>>) -> Self {
                Self(text.into())
            }

            /// The id's text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }
    };
}

id!(
    /// A listener: `http`, `https`, or made from its Gateway's address and port.
    ListenerId
);
id!(
    /// A table of hosts that one or more listeners serve: `ingress`, `gateway/default/web/https`.
    TableId
);
id!(
    /// A rule of one object: `ingress/default/web/0/1`, `httproute/default/api/2`. Stable while the object keeps its
    /// shape; metrics, logs and limiters use it.
    RuleId
);
id!(
    /// A cluster: `default/web:80`, with a suffix where protocol or TLS settings set it apart (`default/web:80+grpc`).
    ClusterId
);
id!(
    /// A certificate: the Secret's `namespace/name`, or `generated` for the default one that Genkan makes.
    CertificateId
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostnames_are_canonical() {
        assert_eq!(Hostname::parse("Foo.Example.COM.").unwrap().as_str(), "foo.example.com");
    }

    #[test]
    fn hostnames_with_rubbish_are_refused() {
        for (text, error) in [
            ("", HostnameError::Empty),
            (".", HostnameError::Empty),
            ("a..b", HostnameError::BadLabel),
            ("-a.b", HostnameError::BadLabel),
            ("a b", HostnameError::BadCharacter(' ')),
            ("a\nb", HostnameError::BadCharacter('\n')),
            ("foo.*.com", HostnameError::BadWildcard),
            ("f*.com", HostnameError::BadWildcard),
        ] {
            assert_eq!(Hostname::parse(text), Err(error), "{text:?}");
        }
    }

    #[test]
    fn one_label_wildcard_covers_exactly_one_label() {
        let pattern = HostPattern::parse_one_label("*.example.com").unwrap();
        assert!(pattern.matches("a.example.com"));
        assert!(!pattern.matches("a.b.example.com"));
        assert!(!pattern.matches("example.com"));
        assert!(!pattern.matches(".example.com"));
        assert!(!pattern.matches("aexample.com"));
    }

    #[test]
    fn suffix_wildcard_covers_one_or_more_labels() {
        let pattern = HostPattern::parse_suffix("*.example.com").unwrap();
        assert!(pattern.matches("a.example.com"));
        assert!(pattern.matches("a.b.example.com"));
        assert!(!pattern.matches("example.com"));
    }
}
