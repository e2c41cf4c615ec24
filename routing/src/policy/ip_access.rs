//! IP access: which clients may come in (`allowlist-source-range`, `denylist-source-range`).

use ipnet::IpNet;
use serde::Serialize;

/// The deny list is judged first; with an allow list, whoever is not on it is refused. A refusal is 403.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct IpAccess {
    /// Refused.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub deny: Vec<IpNet>,
    /// When not empty, only these pass.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<IpNet>,
}
