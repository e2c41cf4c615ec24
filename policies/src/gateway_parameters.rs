//! GatewayParameters: how the Gateways of a GatewayClass, or one Gateway, get their addresses.

#![allow(unreachable_pub, reason = "the derived code repeats the types where nobody sees them")]

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How Gateways get their addresses. A GatewayClass names it in `spec.parametersRef`, a Gateway in
/// `spec.infrastructure.parametersRef`; what a Gateway's own says goes before what its class's says, within what that
/// allows.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "genkan.dev",
    version = "v1alpha1",
    kind = "GatewayParameters",
    plural = "gatewayparameters",
    singular = "gatewayparameters",
    namespaced,
    category = "genkan",
    derive = "PartialEq",
    doc = "How Gateways get their addresses: for spec.parametersRef of a GatewayClass, or for \
        spec.infrastructure.parametersRef of a Gateway.",
    printcolumn = r#"{"name": "Mode", "type": "string", "jsonPath": ".spec.addresses.mode"}"#,
    printcolumn = r#"{"name": "Dynamic", "type": "string", "jsonPath": ".spec.addresses.pool.dynamic"}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct GatewayParametersSpec {
    /// Where the addresses of Gateways come from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub addresses: Option<Addresses>,
}

/// Where the addresses of Gateways come from.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("!has(self.pool) || self.mode == 'Pool'", "pool is only for mode Pool"))]
pub struct Addresses {
    /// Shared: all Gateways are served on the controller's own addresses; of Gateways that want the same port and
    /// hostname the oldest has it. Pool: each Gateway has addresses of its own, which this host has and Genkan binds.
    /// Service: each Gateway has a Service of its own; not supported yet.
    pub mode: AddressMode,
    /// The addresses of mode Pool. A Gateway's own parameters may leave it out, for the pool of its class, and may name
    /// nothing outside that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<AddressPool>,
}

/// How a Gateway gets its address.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AddressMode {
    /// All Gateways are on the controller's own addresses.
    #[default]
    Shared,
    /// Each Gateway has addresses of this host.
    Pool,
    /// Each Gateway has a Service.
    Service,
}

/// Addresses of this host, as ranges: `192.0.2.10-192.0.2.20`, `192.0.2.0/28`, `2001:db8::5`.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "(has(self.dynamic) && size(self.dynamic) > 0) || (has(self.reserved) && size(self.reserved) > 0)",
    "a pool needs addresses"
))]
pub struct AddressPool {
    /// Ranges from which a Gateway gets an address when it names none in spec.addresses. It may also name one of these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 64),
        inner(length(min = 2, max = 91), regex(pattern = r"^[0-9a-fA-F.:]+([-/][0-9a-fA-F.:]+)?$"))
    )]
    pub dynamic: Vec<String>,
    /// Ranges whose addresses only Gateways get that name them in spec.addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 64),
        inner(length(min = 2, max = 91), regex(pattern = r"^[0-9a-fA-F.:]+([-/][0-9a-fA-F.:]+)?$"))
    )]
    pub reserved: Vec<String>,
}

#[cfg(test)]
mod tests {
    use kube::CustomResourceExt as _;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pool_is_read() {
        let parameters: GatewayParameters = serde_json::from_value(json!({
            "apiVersion": "genkan.dev/v1alpha1",
            "kind": "GatewayParameters",
            "metadata": {"name": "edge", "namespace": "genkan"},
            "spec": {"addresses": {"mode": "Pool", "pool": {"dynamic": ["192.0.2.0/28"]}}},
        }))
        .unwrap();
        let addresses = parameters.spec.addresses.unwrap();
        assert_eq!(addresses.mode, AddressMode::Pool);
        assert_eq!(addresses.pool.unwrap().dynamic, ["192.0.2.0/28"]);
    }

    #[test]
    fn the_api_server_checks_what_can_be_checked_there() {
        let definition = serde_json::to_value(GatewayParameters::crd()).unwrap();
        let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
        let addresses = &schema["properties"]["addresses"];
        assert_eq!(addresses["properties"]["mode"]["enum"], json!(["Shared", "Pool", "Service"]));
        assert_eq!(addresses["x-kubernetes-validations"][0]["message"], "pool is only for mode Pool");
        let pool = &addresses["properties"]["pool"];
        assert_eq!(pool["x-kubernetes-validations"][0]["message"], "a pool needs addresses");
        let range = &pool["properties"]["dynamic"];
        assert_eq!(range["maxItems"], 64);
        assert!(range["items"]["pattern"].is_string(), "{range}");
    }
}
