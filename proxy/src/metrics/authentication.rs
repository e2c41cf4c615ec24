//! Metrics of authentication: what became of the questions who a client is.

use std::sync::atomic::{AtomicU64, Ordering};

use super::text::{Kind, Text};

/// What became of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthResult {
    /// The request may pass.
    Allowed,
    /// It may not.
    Denied,
    /// There is no answer, or none that says yes or no.
    Failed,
    /// The answer did not come in time.
    Timeout,
}

/// Counts of questions by result.
#[derive(Debug, Default)]
pub struct AuthMetrics {
    /// To services.
    pub external: Counts,
    /// For passwords.
    pub basic: Counts,
}

/// Counts by result.
#[derive(Debug, Default)]
pub struct Counts([AtomicU64; ALL.len()]);

const ALL: [(AuthResult, &str); 4] = [
    (AuthResult::Allowed, "allowed"),
    (AuthResult::Denied, "denied"),
    (AuthResult::Failed, "failed"),
    (AuthResult::Timeout, "timeout"),
];

impl Counts {
    /// Counts a question.
    pub fn count(&self, result: AuthResult) {
        for (_, count) in ALL.iter().zip(&self.0).filter(|((known, _), _)| *known == result) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl AuthMetrics {
    /// Nothing before the first question of a kind: most installations ask none.
    pub(super) fn encode(&self, text: &mut Text<'_>) {
        let external = ("genkan_external_auth_total", "Requests that a service was asked about, by its answer.");
        let basic = ("genkan_basic_auth_total", "Requests that were asked for a password, by what came of it.");
        for ((name, help), counts) in [(external, &self.external), (basic, &self.basic)] {
            let counts = counts.0.each_ref().map(|count| count.load(Ordering::Relaxed));
            if counts.iter().all(|count| *count == 0) {
                continue;
            }
            text.family(name, help, Kind::Counter);
            for ((_, result), count) in ALL.iter().zip(counts) {
                text.sample(name, &[("result", result)], count as f64);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_counted_by_kind_and_result() {
        let metrics = AuthMetrics::default();
        let encode = || {
            let mut out = String::new();
            metrics.encode(&mut Text::new(&mut out, "c=\"d\""));
            out
        };
        assert_eq!(encode(), "");
        metrics.external.count(AuthResult::Timeout);
        let text = encode();
        assert!(text.contains("genkan_external_auth_total{c=\"d\",result=\"timeout\"} 1\n"), "{text}");
        assert!(!text.contains("basic"), "{text}");
    }
}
