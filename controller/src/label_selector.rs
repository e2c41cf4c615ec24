//! Label selectors as text, as `kubectl -l` and `--watch-namespace-selector` take them.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// What labels must be like: every requirement holds. Without requirements everything is selected.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelSelector(Vec<Requirement>);

/// Why a text is no selector.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no label selector: write requirements like app=web, app!=web, app, !app, app in (a,b), app notin (a,b)"
)]
pub struct SelectorError(String);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Requirement {
    key: String,
    condition: Condition,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Condition {
    Exists,
    Absent,
    In(Vec<String>),
    /// True as well when there is no such label.
    NotIn(Vec<String>),
}

impl LabelSelector {
    /// Whether labels are selected.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.iter().all(|Requirement { key, condition }| match (labels.get(key), condition) {
            (found, Condition::Exists) => found.is_some(),
            (found, Condition::Absent) => found.is_none(),
            (found, Condition::In(values)) => found.is_some_and(|value| values.contains(value)),
            (found, Condition::NotIn(values)) => !found.is_some_and(|value| values.contains(value)),
        })
    }
}

impl FromStr for LabelSelector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, SelectorError> {
        let parts = split(text).into_iter().map(str::trim);
        let requirement = |part| Requirement::read(part).ok_or_else(|| SelectorError(text.to_owned()));
        if text.trim().is_empty() {
            Ok(Self::default())
        } else {
            parts.map(requirement).collect::<Result<_, _>>().map(Self)
        }
    }
}

/// The parts between commas that are not in parentheses.
fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut start, mut inside) = (Vec::new(), 0, false);
    for (at, character) in text.char_indices() {
        match character {
            '(' => inside = true,
            ')' => inside = false,
            ',' if !inside => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

impl Requirement {
    fn read(text: &str) -> Option<Self> {
        let of = |key: &str, condition| is_key(key.trim()).then(|| Self { key: key.trim().to_owned(), condition });
        let one = |value: &str| is_value(value.trim()).then(|| vec![value.trim().to_owned()]);
        if let Some(key) = text.strip_prefix('!') {
            return of(key, Condition::Absent);
        }
        if let Some((key, value)) = text.split_once("!=") {
            return of(key, Condition::NotIn(one(value)?));
        }
        if let Some((key, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
            return of(key, Condition::In(one(value)?));
        }
        let Some((head, values)) = text.split_once('(') else { return of(text, Condition::Exists) };
        let values: Vec<_> = values.strip_suffix(')')?.split(',').map(str::trim).map(str::to_owned).collect();
        let (key, operator) = head.trim().rsplit_once(char::is_whitespace)?;
        match operator {
            _ if !values.iter().all(|value| is_value(value)) => None,
            "in" => of(key, Condition::In(values)),
            "notin" => of(key, Condition::NotIn(values)),
            _ => None,
        }
    }
}

fn is_key(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_./".contains(c))
}

fn is_value(text: &str) -> bool {
    text.len() <= 63 && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

impl fmt::Display for LabelSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Requirement { key, condition }) in self.0.iter().enumerate() {
            f.write_str(if index == 0 { "" } else { "," })?;
            match condition {
                Condition::Exists => write!(f, "{key}")?,
                Condition::Absent => write!(f, "!{key}")?,
                Condition::In(values) => write!(f, "{key} in ({})", values.join(","))?,
                Condition::NotIn(values) => write!(f, "{key} notin ({})", values.join(","))?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_requirement_must_hold() {
        let labels: BTreeMap<String, String> =
            [("app", "web"), ("tier", "front")].map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        for (text, selected) in [
            ("", true),
            ("app", true),
            ("!app", false),
            ("!other", true),
            ("app=web", true),
            ("app == web , tier!=back", true),
            ("app!=web", false),
            ("other!=web", true),
            ("app in (shop, web),tier", true),
            ("app in (shop)", false),
            ("app notin (shop,web)", false),
            ("other notin (a)", true),
            ("app=web,other", false),
        ] {
            let selector: LabelSelector = text.parse().unwrap();
            assert_eq!(selector.matches(&labels), selected, "{text}");
            assert_eq!(selector.to_string().parse(), Ok(selector), "{text}");
        }
    }

    #[test]
    fn what_is_no_selector_is_refused() {
        for text in ["a b", "=x", "a in x", "a in (x", "a within (x)", "a,,b", "a=b=c", "a=b c"] {
            assert!(text.parse::<LabelSelector>().is_err(), "{text}");
        }
    }
}
