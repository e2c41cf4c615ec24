//! Notes: what a condition that holds says of what is not as it is written. Every field acts, or the object's status says
//! that it does not.

use std::borrow::Cow;

use genkan_routing::report::{Problem, Severity};

/// So many problems are told; the report has them all.
const TOLD: usize = 4;

/// The message of a condition, with the problems that no other condition tells. Without any it is borrowed: most messages
/// are the same for thousands of objects.
pub(crate) fn with_notes<'p>(
    message: &'static str,
    problems: impl IntoIterator<Item = &'p Problem>,
) -> Cow<'static, str> {
    match tell(problems) {
        Some(told) => Cow::Owned(format!("{message}, but not all is as it is written: {told}")),
        None => Cow::Borrowed(message),
    }
}

/// The message of a condition that does not hold, with the problems that are why.
pub(crate) fn because<'p>(message: &'static str, problems: impl IntoIterator<Item = &'p Problem>) -> Cow<'static, str> {
    match tell(problems) {
        Some(told) => Cow::Owned(format!("{message}: {told}")),
        None => Cow::Borrowed(message),
    }
}

fn tell<'p>(problems: impl IntoIterator<Item = &'p Problem>) -> Option<String> {
    let mut problems = problems.into_iter().filter(|problem| problem.severity != Severity::Info);
    let told: Vec<_> = problems.by_ref().take(TOLD).map(note).collect();
    let more = match problems.count() {
        0 => String::new(),
        count => format!("; and {count} more, see the report"),
    };
    (!told.is_empty()).then(|| told.join("; ") + &more)
}

fn note(problem: &Problem) -> String {
    match problem.origin.field.is_empty() {
        true => problem.message.clone(),
        false => format!("{}: {}", problem.origin.field, problem.message),
    }
}

/// Whether a field is another one, or a part of it.
pub(crate) fn is_within(field: &str, outer: &str) -> bool {
    let rest = field.strip_prefix(outer);
    rest.is_some_and(|rest| outer.is_empty() || rest.is_empty() || rest.starts_with(['.', '[']))
}

#[cfg(test)]
mod tests {
    use genkan_routing::name::{ObjectRef, Origin};

    use super::*;

    fn problem(field: &str) -> Problem {
        Problem::warning(Origin::new(ObjectRef::new("HTTPRoute", "web", "a"), field), "UnsupportedValue", "no effect")
    }

    #[test]
    fn what_is_not_as_it_is_written_is_told_in_few_words() {
        assert_eq!(with_notes("attached", []), "attached");
        let two = [problem("spec.a"), problem("")];
        assert_eq!(
            with_notes("attached", &two),
            "attached, but not all is as it is written: spec.a: no effect; no effect"
        );
        assert_eq!(because("nothing is served", &two), "nothing is served: spec.a: no effect; no effect");
        let many: Vec<_> = (0..6).map(|index| problem(&format!("spec.a[{index}]"))).collect();
        assert!(with_notes("attached", &many).ends_with("spec.a[3]: no effect; and 2 more, see the report"));
    }

    #[test]
    fn a_field_is_within_itself_and_what_holds_it() {
        for (field, outer, within) in [
            ("spec.listeners[1].tls", "spec.listeners[1]", true),
            ("spec.listeners[1]", "spec.listeners[1]", true),
            ("spec.listeners[10]", "spec.listeners[1]", false),
            ("spec.listeners[1]", "spec.listeners", true),
            ("spec.tls", "", true),
        ] {
            assert_eq!(is_within(field, outer), within, "{field} {outer}");
        }
    }
}
