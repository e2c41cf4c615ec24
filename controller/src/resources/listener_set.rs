//! ListenerSets: listeners that are written beside a Gateway and attach to it. Their listeners are those of Gateways,
//! field by field, and are read as the same type.

use gateway_api::apis::experimental::gateways::GatewayListeners;
use serde::Deserialize;

use super::Metadata;

/// A ListenerSet.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct ListenerSet {
    /// Its metadata.
    pub metadata: Metadata,
    /// `spec`.
    pub spec: ListenerSetSpec,
}

/// `spec` of a [`ListenerSet`].
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListenerSetSpec {
    /// `parentRef`.
    pub parent_ref: ListenerSetParent,
    /// `listeners`.
    #[serde(default)]
    pub listeners: Vec<GatewayListeners>,
}

/// `spec.parentRef` of a [`ListenerSet`].
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct ListenerSetParent {
    /// `group`.
    pub group: Option<String>,
    /// `kind`.
    pub kind: Option<String>,
    /// `name`.
    pub name: String,
    /// `namespace`.
    pub namespace: Option<String>,
}
