//! Routes of streams: TLSRoute, TCPRoute and UDPRoute are one type. They differ in the listeners that take them and in
//! that only TLSRoutes have hostnames. Older versions of the API require less than newer ones, and so does the type.

use serde::Deserialize;

use super::Metadata;

/// A TLSRoute, TCPRoute or UDPRoute.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct StreamRoute {
    /// Its metadata.
    pub metadata: Metadata,
    /// `spec`.
    pub spec: StreamRouteSpec,
}

/// `spec` of a [`StreamRoute`].
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StreamRouteSpec {
    /// `hostnames`: the names that TLS clients ask for. TLSRoutes only.
    #[serde(default)]
    pub hostnames: Vec<String>,
    /// `parentRefs`.
    #[serde(default)]
    pub parent_refs: Vec<ParentReference>,
    /// `rules`.
    #[serde(default)]
    pub rules: Vec<StreamRule>,
    /// `useDefaultGateways`.
    pub use_default_gateways: Option<String>,
}

/// An entry of `spec.rules`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StreamRule {
    /// `name`.
    pub name: Option<String>,
    /// `backendRefs`.
    #[serde(default)]
    pub backend_refs: Vec<BackendReference>,
}

/// A reference to what a route attaches to.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ParentReference {
    /// `group`.
    pub group: Option<String>,
    /// `kind`.
    pub kind: Option<String>,
    /// `namespace`.
    pub namespace: Option<String>,
    /// `name`.
    pub name: String,
    /// `sectionName`.
    pub section_name: Option<String>,
    /// `port`.
    pub port: Option<i32>,
}

/// A reference to what answers, with its share.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct BackendReference {
    /// `group`.
    pub group: Option<String>,
    /// `kind`.
    pub kind: Option<String>,
    /// `namespace`.
    pub namespace: Option<String>,
    /// `name`.
    pub name: String,
    /// `port`.
    pub port: Option<i32>,
    /// `weight`.
    pub weight: Option<i32>,
}
