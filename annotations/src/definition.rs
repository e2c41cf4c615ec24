//! What there is to know about one annotation or ConfigMap key.

use std::fmt;

use serde::Serialize;

/// How much harm a value can do to others than its author (ingress-nginx's levels). Ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Risk {
    /// Touches only the Ingress itself.
    Low,
    /// Names other objects or takes free text.
    Medium,
    /// Reaches other hosts or takes expressions.
    High,
    /// Raw nginx configuration: always refused.
    Critical,
}

impl fmt::Display for Risk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Low => "Low",
            Self::Medium => "Medium",
            Self::High => "High",
            Self::Critical => "Critical",
        })
    }
}
