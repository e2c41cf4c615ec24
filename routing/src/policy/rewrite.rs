//! Rewrite: the host and path that a backend sees (`rewrite-target`; Gateway API `HTTPURLRewriteFilter`).

use serde::{Serialize, Serializer};

use crate::name::Hostname;

/// Changes of the request before it is forwarded. The query is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rewrite {
    /// The `Host` that the backend sees.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<Hostname>,
    /// The path that the backend sees.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<PathRewrite>,
}

/// How a path is replaced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum PathRewrite {
    /// The whole path by this text.
    Full(String),
    /// The prefix that matched by this text (Gateway API `ReplacePrefixMatch`).
    Prefix(String),
    /// The whole path by this template, its groups filled from the regular expression that matched (`rewrite-target`).
    /// A result that does not begin with `/` gets one.
    Template(Template),
}

/// Literal text and references to capture groups: `/$2` is parsed once. Groups beyond `$9` are written `${10}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    parts: Vec<TemplatePart>,
}

/// A part of a [`Template`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TemplatePart {
    /// Text as it is.
    Literal(String),
    /// The text of a capture group; empty when the group took no part in the match.
    Group(usize),
}

impl Template {
    /// Parses `$n` (one digit, as nginx) and `${n}`; any other `$` is literal.
    pub fn parse(text: &str) -> Self {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            literal.push_str(&rest[..at]);
            let after = &rest[at + 1..];
            let (group, used) = parse_group(after);
            match group {
                Some(group) => {
                    if !literal.is_empty() {
                        parts.push(TemplatePart::Literal(std::mem::take(&mut literal)));
                    }
                    parts.push(TemplatePart::Group(group));
                }
                None => literal.push('$'),
            }
            rest = &after[used..];
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            parts.push(TemplatePart::Literal(literal));
        }
        Self { parts }
    }

    /// The parts in order.
    pub fn parts(&self) -> &[TemplatePart] {
        &self.parts
    }

    /// The highest group that is referred to; 0 when none is.
    pub fn max_group(&self) -> usize {
        let group = |part: &TemplatePart| if let TemplatePart::Group(group) = part { *group } else { 0 };
        self.parts.iter().map(group).max().unwrap_or(0)
    }

    /// The text with its groups filled from `captures`.
    pub fn expand(&self, captures: &regex::Captures<'_>) -> String {
        let mut text = String::new();
        for part in &self.parts {
            match part {
                TemplatePart::Literal(literal) => text.push_str(literal),
                TemplatePart::Group(group) => text.push_str(captures.get(*group).map_or("", |found| found.as_str())),
            }
        }
        text
    }
}

/// The group at the start of `after` (what follows a `$`), and how many bytes it took.
fn parse_group(after: &str) -> (Option<usize>, usize) {
    if let Some(digit) = after.chars().next().and_then(|c| c.to_digit(10)) {
        return (Some(digit as usize), 1);
    }
    let Some(inner) = after.strip_prefix('{') else { return (None, 0) };
    match inner.split_once('}').and_then(|(number, _)| Some((number.parse().ok()?, number.len()))) {
        Some((group, length)) if length <= 3 => (Some(group), length + 2),
        _ => (None, 0),
    }
}

impl Serialize for Template {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut text = String::new();
        for part in &self.parts {
            match part {
                TemplatePart::Literal(literal) => text.push_str(literal),
                TemplatePart::Group(group) if *group < 10 => text.push_str(&format!("${group}")),
                TemplatePart::Group(group) => text.push_str(&format!("${{{group}}}")),
            }
        }
        serializer.serialize_str(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_filled_and_other_dollars_stay() {
        let template = Template::parse("/$2/$x${1}$");
        let captures = regex::Regex::new("/(a)/(b)").unwrap();
        assert_eq!(template.expand(&captures.captures("/a/b").unwrap()), "/b/$xa$");
        assert_eq!(template.max_group(), 2);
    }
}
