//! Deny: refuses every request of a rule whose security settings could not be understood.

use genkan_routing::model::Deny;
use http::StatusCode;

/// The status of the refusal; 503 where the model's is no status.
pub(super) fn status(deny: &Deny) -> StatusCode {
    StatusCode::from_u16(deny.status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE)
}
