//! What the suite prints: who said it, and how each test ended.
//!
//! Tests run side by side, and Go says whose lines follow: `=== RUN   TestGatewayAPI/TEST/PART`.

use std::collections::BTreeMap;

/// How many of the lines of a test that failed are shown.
const SHOWN: usize = 40;

/// What is known so far.
#[derive(Debug, Default)]
pub(crate) struct Output {
    /// Whose lines follow; empty for the setup.
    speaker: String,
    lines: BTreeMap<String, Vec<String>>,
}

/// What a line means.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Event {
    /// The base is ready; tests follow.
    SetUp,
    /// A test ended.
    Ended { test: String, state: State, seconds: String },
}

/// How a test ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum State {
    /// As it should.
    Passed,
    /// Not as it should.
    Failed,
    /// Before it began: what it is about is not claimed.
    Skipped,
}

impl Output {
    /// Takes a line.
    pub(crate) fn take(&mut self, line: &str) -> Option<Event> {
        if line == "setup is done" {
            return Some(Event::SetUp);
        }
        if let Some(path) =
            ["=== RUN", "=== CONT", "=== NAME", "=== PAUSE"].iter().find_map(|word| line.strip_prefix(word))
        {
            self.speaker = test_of(path.trim()).unwrap_or_default().to_owned();
            return None;
        }
        // Also those of parts of tests: what they mean, the lines of the part have told.
        if line.trim_start().starts_with("--- ") {
            return ended(line);
        }
        let own = self.lines.entry(self.speaker.clone()).or_default();
        own.push(line.to_owned());
        None
    }

    /// The last lines of a test, or of the setup for the empty name; of the same line again and again, one.
    pub(crate) fn tail(&self, test: &str) -> String {
        let mut lines: Vec<_> = self.lines.get(test).into_iter().flatten().cloned().collect();
        lines.dedup_by(|next, kept| timeless(next) == timeless(kept));
        lines[lines.len().saturating_sub(SHOWN)..].join("\n")
    }
}

/// The test of `TestGatewayAPI/TEST/PART`.
fn test_of(path: &str) -> Option<&str> {
    path.split('/').nth(1)
}

/// What `    --- PASS: TestGatewayAPI/TEST (1.20s)` says; nothing of parts of tests.
fn ended(line: &str) -> Option<Event> {
    let (word, rest) = line.trim_start().strip_prefix("--- ")?.split_once(": ")?;
    let (path, seconds) = rest.split_once(" (")?;
    let state = match word {
        "PASS" => State::Passed,
        "FAIL" => State::Failed,
        "SKIP" => State::Skipped,
        _ => return None,
    };
    if path.split('/').count() != 2 {
        return None;
    }
    let seconds = seconds.trim_end_matches("s)").to_owned();
    Some(Event::Ended { test: test_of(path)?.to_owned(), state, seconds })
}

/// A line without the time that the suite puts into it: `    http.go:246: 2026-01-02T03:04:05.678Z: text`.
fn timeless(line: &str) -> String {
    line.split_whitespace().filter(|word| !(word.contains('T') && word.ends_with("Z:"))).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_belong_to_the_test_that_was_named_last() {
        let mut output = Output::default();
        let text = "of the setup\n=== RUN   TestGatewayAPI\n=== RUN   TestGatewayAPI/One/a\n    a.go:1: of one\n\
                    === CONT  TestGatewayAPI/Two\n    b.go:2: of two\n=== NAME  TestGatewayAPI/One\n    a.go:3: again";
        assert!(text.lines().all(|line| output.take(line).is_none()));
        assert_eq!(output.tail(""), "of the setup");
        assert_eq!(output.tail("One"), "    a.go:1: of one\n    a.go:3: again");
        assert_eq!(output.tail("Two"), "    b.go:2: of two");
    }

    #[test]
    fn the_end_of_a_test_is_told_but_not_that_of_its_parts() {
        let mut output = Output::default();
        assert_eq!(output.take("        --- FAIL: TestGatewayAPI/One/a (0.10s)"), None);
        assert_eq!(output.take("--- FAIL: TestGatewayAPI (9.00s)"), None);
        let end = Event::Ended { test: "One".to_owned(), state: State::Failed, seconds: "1.20".to_owned() };
        assert_eq!(output.take("    --- FAIL: TestGatewayAPI/One (1.20s)"), Some(end));
    }

    #[test]
    fn what_is_said_again_and_again_is_shown_once() {
        let mut output = Output::default();
        output.take("    http.go:1: 2026-01-02T03:04:05.600Z: not yet");
        output.take("    http.go:1: 2026-01-02T03:04:05.700Z: not yet");
        output.take("    http.go:1: 2026-01-02T03:04:05.800Z: never");
        assert_eq!(output.tail("").lines().count(), 2);
    }
}
