//! Paths of fields in an object.

/// One step from a value into it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The value of a map's key.
    Key(String),
    /// The element of a list, from 0.
    Index(usize),
}

/// The path of a field as kubectl prints it: `spec.rules[0].host`; keys with dots or slashes are in brackets.
pub(crate) fn display(path: &[Step]) -> String {
    let mut text = String::new();
    for step in path {
        match step {
            Step::Index(index) => text.push_str(&format!("[{index}]")),
            Step::Key(key) if key.contains(['.', '/', '[', ' ']) => text.push_str(&format!("[{key}]")),
            Step::Key(key) if text.is_empty() => text.push_str(key),
            Step::Key(key) => text.push_str(&format!(".{key}")),
        }
    }
    text
}
