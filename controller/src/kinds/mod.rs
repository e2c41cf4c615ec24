//! Kinds: which kinds of objects Genkan reads, in which groups and versions, and how a JSON value becomes one.
//!
//! Files and the API server share this table.

mod path;
mod rest;
mod typed;

use std::sync::Arc;

use kube::Resource;
use serde::de::DeserializeOwned;
use serde_json::Value;

pub(crate) use self::path::{Step, display};
use self::typed::typed;
pub(crate) use self::typed::{TypeError, Unknown};
use crate::resources::{Kind, Object, slim};

/// An object and the fields of its value that its type does not know.
pub(crate) type Known = (Object, Vec<Unknown>);

/// How a kind is written and read.
pub(crate) struct Entry {
    /// The kind.
    pub(crate) kind: Kind,
    /// Its API group; empty for the core group.
    pub(crate) group: &'static str,
    /// Versions that decode as the first one, newest first.
    pub(crate) versions: &'static [&'static str],
    /// Its name in paths of the API.
    pub(crate) plural: &'static str,
    /// From a value to an object.
    pub(crate) decode: fn(&Value) -> Result<Known, TypeError>,
}

macro_rules! entry {
    ($kind:ident, $group:expr, [$($version:literal),+], $plural:literal, $decode:ident) => {
        Entry {
            kind: Kind::$kind,
            group: $group,
            versions: &[$($version),+],
            plural: $plural,
            decode: |value| $decode(value).map(|(object, unknown)| (Object::$kind(Arc::new(object)), unknown)),
        }
    };
}

const GATEWAY: &str = "gateway.networking.k8s.io";
const GATEWAY_X: &str = "gateway.networking.x-k8s.io";
const OWN: &str = genkan_policies::GROUP;

/// Every kind that is read. The types of Gateway API read older versions too.
pub(crate) const ENTRIES: &[Entry] = &[
    entry!(Ingress, "networking.k8s.io", ["v1"], "ingresses", own),
    entry!(IngressClass, "networking.k8s.io", ["v1"], "ingressclasses", slimmed),
    entry!(Service, "", ["v1"], "services", own),
    entry!(EndpointSlice, "discovery.k8s.io", ["v1"], "endpointslices", own),
    entry!(Secret, "", ["v1"], "secrets", own),
    entry!(ConfigMap, "", ["v1"], "configmaps", slimmed),
    entry!(Namespace, "", ["v1"], "namespaces", slimmed),
    entry!(GatewayClass, GATEWAY, ["v1", "v1beta1"], "gatewayclasses", slimmed),
    entry!(Gateway, GATEWAY, ["v1", "v1beta1"], "gateways", slimmed),
    entry!(HttpRoute, GATEWAY, ["v1", "v1beta1"], "httproutes", slimmed),
    entry!(ReferenceGrant, GATEWAY, ["v1", "v1beta1"], "referencegrants", slimmed),
    entry!(ListenerSet, GATEWAY, ["v1"], "listenersets", own),
    entry!(GrpcRoute, GATEWAY, ["v1"], "grpcroutes", slimmed),
    entry!(TlsRoute, GATEWAY, ["v1", "v1alpha3", "v1alpha2"], "tlsroutes", own),
    entry!(TcpRoute, GATEWAY, ["v1", "v1alpha2"], "tcproutes", own),
    entry!(UdpRoute, GATEWAY, ["v1", "v1alpha2"], "udproutes", own),
    entry!(BackendTlsPolicy, GATEWAY, ["v1", "v1alpha3"], "backendtlspolicies", slimmed),
    entry!(XBackendTrafficPolicy, GATEWAY_X, ["v1alpha1"], "xbackendtrafficpolicies", slimmed),
    entry!(XBackend, GATEWAY_X, ["v1alpha1"], "xbackends", own),
    entry!(GatewayParameters, OWN, ["v1alpha1"], "gatewayparameters", slimmed),
    entry!(ListenerPolicy, OWN, ["v1alpha1"], "listenerpolicies", slimmed),
    entry!(RoutePolicy, OWN, ["v1alpha1"], "routepolicies", slimmed),
];

/// Decodes a type that keeps what is read.
fn own<T: DeserializeOwned>(value: &Value) -> Result<(T, Vec<Unknown>), TypeError> {
    typed(value, &[])
}

/// Decodes a type of the API. Its status is written by us and others and read elsewhere: here it would make every
/// write of it a change, and an odd one would spoil the object.
fn slimmed<T: DeserializeOwned + Resource>(value: &Value) -> Result<(T, Vec<Unknown>), TypeError> {
    let (mut object, unknown): (T, _) = typed(value, &["status"])?;
    *object.meta_mut() = slim(std::mem::take(object.meta_mut()));
    Ok((object, unknown))
}

/// The entry of a kind.
pub(crate) fn entry(kind: Kind) -> &'static Entry {
    // `every_kind_has_one_entry` holds this.
    ENTRIES.iter().find(|entry| entry.kind == kind).unwrap_or(&ENTRIES[0])
}

/// The groups that every API server serves, of those above.
const BUILT_IN: [&str; 3] = ["", "networking.k8s.io", "discovery.k8s.io"];

impl Entry {
    /// Whether somebody must install the kind (by a CRD) before it is served.
    pub(crate) fn is_custom(&self) -> bool {
        !BUILT_IN.contains(&self.group)
    }

    /// `networking.k8s.io/v1`, or `v1` in the core group.
    pub(crate) fn api_version(&self, version: &str) -> String {
        if self.group.is_empty() { version.to_owned() } else { format!("{}/{version}", self.group) }
    }

    /// What is wrong with a value, as people should read it, and the mend.
    pub(crate) fn explain(&self, error: &TypeError) -> (String, &'static str) {
        let told = error.to_string();
        // Errors of serde quote the value; a Secret's must not be shown.
        let in_metadata = matches!(error.path.first(), Some(Step::Key(key)) if key == "metadata");
        let hidden = self.kind == Kind::Secret && !in_metadata;
        let mend = match () {
            () if hidden => "values of data are base64, values of stringData are text in quotes",
            () if told.ends_with("expected a string") => "put the value in quotes",
            () => "",
        };
        (if hidden { "the value has the wrong form".to_owned() } else { told }, mend)
    }
}

#[cfg(test)]
mod tests;
