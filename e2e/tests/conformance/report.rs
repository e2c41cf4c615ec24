//! The suite's report: whether one is worse than another, and the table that the README has of it.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use serde::Deserialize;

/// Around the table in the README.
const MARKERS: [&str; 2] = ["<!-- conformance: written by make conformance -->\n", "<!-- conformance ends -->\n"];

/// What the suite found.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Report {
    #[serde(rename = "gatewayAPIVersion")]
    version: String,
    #[serde(rename = "gatewayAPIChannel")]
    channel: String,
    profiles: Vec<Profile>,
    #[serde(default)]
    succeeded_provisional_tests: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Profile {
    name: String,
    core: Tests,
    #[serde(default)]
    extended: Option<Tests>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Tests {
    statistics: Statistics,
    #[serde(default)]
    failed_tests: Vec<String>,
    #[serde(default)]
    skipped_tests: Vec<String>,
    #[serde(default)]
    supported_features: Vec<String>,
    #[serde(default)]
    unsupported_features: Vec<String>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Statistics {
    passed: u32,
    failed: u32,
    skipped: u32,
}

impl Report {
    /// Reads a report as the suite writes it.
    pub(crate) fn read(text: &str) -> Self {
        serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("no report: {error}\n{text}"))
    }

    /// Why this one is worse than another one, or about something else; empty if it is neither.
    pub(crate) fn worse_than(&self, other: &Self) -> Vec<String> {
        let mut worse = Vec::new();
        if (&self.version, &self.channel) != (&other.version, &other.channel) {
            worse.push(format!("it is about Gateway API {}, {} channel", self.version, self.channel));
        }
        for profile in &self.profiles {
            if !other.profiles.iter().any(|one| one.name == profile.name) {
                worse.push(format!("{} is claimed, and was not", profile.name));
            }
        }
        for before in &other.profiles {
            match self.profiles.iter().find(|one| one.name == before.name) {
                Some(profile) => profile.worse_than(before, &mut worse),
                None => worse.push(format!("{} is not claimed any more", before.name)),
            }
        }
        let lost = missing(&other.succeeded_provisional_tests, &self.succeeded_provisional_tests);
        worse.extend(lost.map(|test| format!("{test} (provisional) does not pass any more")));
        worse
    }

    /// Whether a test is among those that failed. Some tests are in no profile: what became of them it does not tell.
    pub(crate) fn tells_failed(&self, test: &str) -> bool {
        let parts = self.profiles.iter().flat_map(|profile| [Some(&profile.core), profile.extended.as_ref()]);
        parts.flatten().any(|tests| tests.failed_tests.iter().any(|failed| failed == test))
    }

    /// The table of the README.
    pub(crate) fn table(&self) -> String {
        let mut text =
            format!("Gateway API {}, {} channel, by its own conformance suite:\n\n", self.version, self.channel);
        text += "| Profile | Core tests | Extended tests | Extended features | Failed | Skipped |\n|---|---|---|---|---|---|\n";
        let mut sum = Row::default();
        for profile in &self.profiles {
            let row = Row::of(profile);
            // Writing into a String cannot fail.
            let _ = writeln!(text, "| {} | {} |", profile.name, row.cells());
            sum.add(&row);
        }
        let _ = writeln!(text, "| sum over profiles | {} |", sum.cells());
        text
    }
}

impl Profile {
    fn worse_than(&self, before: &Self, worse: &mut Vec<String>) {
        let none = Tests::default();
        let name = &self.name;
        let pairs = [
            ("core", &self.core, &before.core),
            ("extended", self.extended.as_ref().unwrap_or(&none), before.extended.as_ref().unwrap_or(&none)),
        ];
        for (level, own, old) in pairs {
            let new = |now: &[String], then: &[String], what: &str| -> Vec<String> {
                missing(now, then).map(|test| format!("{name} {level}: {test} {what}")).collect()
            };
            worse.extend(new(&own.failed_tests, &old.failed_tests, "failed"));
            worse.extend(new(&own.skipped_tests, &old.skipped_tests, "was skipped"));
            worse.extend(new(&own.supported_features, &old.supported_features, "is claimed, and was not"));
            worse.extend(new(&old.supported_features, &own.supported_features, "is not claimed any more"));
            if own.statistics.passed < old.statistics.passed {
                let [now, then] = [own, old].map(|tests| tests.statistics.passed);
                worse.push(format!("{name} {level}: {now} tests passed; {then} did"));
            }
        }
    }
}

/// A line of the table.
#[derive(Debug, Default)]
struct Row {
    core: Statistics,
    extended: Statistics,
    /// Features that are claimed, and that there are.
    features: [usize; 2],
}

impl Row {
    fn of(profile: &Profile) -> Self {
        let none = Tests::default();
        let extended = profile.extended.as_ref().unwrap_or(&none);
        let claimed = extended.supported_features.len();
        let features = [claimed, claimed + extended.unsupported_features.len()];
        Self { core: profile.core.statistics, extended: extended.statistics, features }
    }

    fn add(&mut self, other: &Self) {
        self.core.add(other.core);
        self.extended.add(other.extended);
        self.features = [0, 1].map(|index| self.features[index] + other.features[index]);
    }

    fn cells(&self) -> String {
        let of = |part: Statistics| format!("{} of {}", part.passed, part.passed + part.failed + part.skipped);
        let [claimed, all] = self.features;
        let (failed, skipped) = (self.core.failed + self.extended.failed, self.core.skipped + self.extended.skipped);
        format!("{} | {} | {claimed} of {all} | {failed} | {skipped}", of(self.core), of(self.extended))
    }
}

impl Statistics {
    fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

/// What of one list is not in another.
fn missing<'a>(of: &'a [String], from: &'a [String]) -> impl Iterator<Item = &'a String> {
    of.iter().filter(|one| !from.contains(one))
}

/// The table that a README has.
pub(crate) fn table_of(readme: &str) -> Option<&str> {
    let (_, rest) = readme.split_once(MARKERS[0])?;
    Some(rest.split_once(MARKERS[1])?.0)
}

/// Puts the table of a report into the README.
pub(crate) fn update_readme(path: &Path, report: &Report) {
    let readme = fs::read_to_string(path).unwrap();
    let old = table_of(&readme).unwrap_or_else(|| panic!("{} has no {}", path.display(), MARKERS[0].trim()));
    let [begin, end] = MARKERS;
    let text = readme.replace(&format!("{begin}{old}{end}"), &format!("{begin}{}{end}", report.table()));
    fs::write(path, text).unwrap();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(core: &str, extended: &str) -> Report {
        Report::read(&format!(
            "gatewayAPIVersion: v1\ngatewayAPIChannel: experimental\nprofiles:\n- name: GATEWAY-HTTP\n  core: {core}\n  \
             extended: {extended}\n"
        ))
    }

    fn good() -> Report {
        report(
            "{statistics: {Passed: 3, Failed: 0, Skipped: 0}}",
            "{statistics: {Passed: 1, Failed: 0, Skipped: 0}, supportedFeatures: [A], unsupportedFeatures: [B]}",
        )
    }

    #[test]
    fn a_report_is_no_worse_than_itself() {
        assert_eq!(good().worse_than(&good()), [""; 0]);
    }

    #[test]
    fn a_test_that_fails_now_is_worse() {
        let bad = report(
            "{statistics: {Passed: 2, Failed: 1, Skipped: 0}, failedTests: [X]}",
            "{statistics: {Passed: 1, Failed: 0, Skipped: 0}, supportedFeatures: [A], unsupportedFeatures: [B]}",
        );
        let told = ["GATEWAY-HTTP core: X failed", "GATEWAY-HTTP core: 2 tests passed; 3 did"];
        assert_eq!(bad.worse_than(&good()), told);
        assert_eq!(good().worse_than(&bad), [""; 0]);
        assert!(bad.tells_failed("X") && !good().tells_failed("X"));
    }

    #[test]
    fn other_claims_are_told_in_both_directions() {
        let other = report(
            "{statistics: {Passed: 3, Failed: 0, Skipped: 0}}",
            "{statistics: {Passed: 1, Failed: 0, Skipped: 0}, supportedFeatures: [B], unsupportedFeatures: [A]}",
        );
        let told =
            ["GATEWAY-HTTP extended: B is claimed, and was not", "GATEWAY-HTTP extended: A is not claimed any more"];
        assert_eq!(other.worse_than(&good()), told);
    }

    #[test]
    fn a_profile_that_is_gone_is_worse() {
        let none = Report::read("gatewayAPIVersion: v1\ngatewayAPIChannel: experimental\nprofiles: []\n");
        assert_eq!(none.worse_than(&good()), ["GATEWAY-HTTP is not claimed any more"]);
    }

    #[test]
    fn the_table_has_a_line_for_each_profile_and_their_sum() {
        let table = good().table();
        assert!(table.contains("| GATEWAY-HTTP | 3 of 3 | 1 of 1 | 1 of 2 | 0 | 0 |\n"), "{table}");
        assert!(table.ends_with("| sum over profiles | 3 of 3 | 1 of 1 | 1 of 2 | 0 | 0 |\n"), "{table}");
    }
}
