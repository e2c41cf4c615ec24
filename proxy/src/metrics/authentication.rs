//! Metrics of authentication: what became of the questions who a client is.

use super::results::{Counts, Results};
use super::text::Text;

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
    pub external: Counts<AuthResult>,
    /// For passwords.
    pub basic: Counts<AuthResult>,
}

impl Results for AuthResult {
    const ALL: &'static [(Self, &'static str)] =
        &[(Self::Allowed, "allowed"), (Self::Denied, "denied"), (Self::Failed, "failed"), (Self::Timeout, "timeout")];
}

impl AuthMetrics {
    pub(super) fn encode(&self, text: &mut Text<'_>) {
        self.external.encode(
            text,
            "genkan_external_auth_total",
            "Requests that a service was asked about, by its answer.",
        );
        self.basic.encode(
            text,
            "genkan_basic_auth_total",
            "Requests that were asked for a password, by what came of it.",
        );
    }
}
