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
    printcolumn = r#"{"name": "Type", "type": "string", "jsonPath": ".spec.addresses.service.type"}"#,
    printcolumn = r#"{"name": "Dynamic", "type": "string", "jsonPath": ".spec.addresses.pool.dynamic"}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct GatewayParametersSpec {
    /// Where the addresses of Gateways come from. Without it: in a cluster Service, where the controller was told which
    /// Service leads to it (--gateway-service), Shared otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub addresses: Option<Addresses>,
}

/// Where the addresses of Gateways come from.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("!has(self.pool) || self.mode == 'Pool'", "pool is only for mode Pool"))]
#[x_kube(validation = ("!has(self.service) || self.mode == 'Service'", "service is only for mode Service"))]
pub struct Addresses {
    /// Service: each Gateway has a Service of its own beside it, whose ports lead to ports of the controller's Pods that
    /// no other Gateway has; its addresses are the Gateway's. Without a cluster it is as Shared. Pool: each Gateway has
    /// addresses of its own, which this host has and Genkan binds. Shared: all Gateways are served on the controller's own
    /// addresses; of Gateways that want the same port and hostname the oldest has it.
    pub mode: AddressMode,
    /// The Services of mode Service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceTemplate>,
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

/// What the Service of a Gateway is like.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "!has(self.loadBalancerClass) || !has(self.type) || self.type == 'LoadBalancer'",
    "loadBalancerClass is only for type LoadBalancer"
))]
#[x_kube(validation = (
    "!has(self.externalTrafficPolicy) || !has(self.type) || self.type != 'ClusterIP'",
    "externalTrafficPolicy is not for type ClusterIP"
))]
pub struct ServiceTemplate {
    /// The type of the Service.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<ServiceKind>,
    /// `spec.loadBalancerClass` of the Service: which load balancer it is for. A Gateway's own parameters can't change it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 316))]
    pub load_balancer_class: Option<String>,
    /// `spec.externalTrafficPolicy` of the Service. Local keeps the addresses of clients.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_traffic_policy: Option<ExternalTrafficPolicy>,
}

/// LoadBalancer: the Gateway has the addresses that the cluster's load balancer gives the Service. NodePort: those of
/// the nodes that the controller's Pods run on, at ports that the Service tells. ClusterIP: addresses inside of the
/// cluster. Without it, LoadBalancer; in a Gateway's own parameters that of its class, and they may name one that reaches
/// no further.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum ServiceKind {
    /// Reached inside of the cluster only.
    #[serde(rename = "ClusterIP")]
    ClusterIp,
    /// Reached at ports of nodes besides.
    NodePort,
    /// Reached through a load balancer besides.
    #[default]
    LoadBalancer,
}

/// Which nodes pass connections from outside on.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExternalTrafficPolicy {
    /// Every node does, from an address of its own.
    Cluster,
    /// Only those that a Pod of the controller runs on, which sees the client's address.
    Local,
}

impl ServiceTemplate {
    /// The type, also where none is written.
    pub fn kind(&self) -> ServiceKind {
        self.kind.unwrap_or_default()
    }
}

impl ServiceKind {
    /// The API's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ClusterIp => "ClusterIP",
            Self::NodePort => "NodePort",
            Self::LoadBalancer => "LoadBalancer",
        }
    }
}

impl ExternalTrafficPolicy {
    /// The API's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cluster => "Cluster",
            Self::Local => "Local",
        }
    }
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
    fn a_service_without_a_type_is_a_load_balancer() {
        let template: ServiceTemplate = serde_json::from_value(json!({"externalTrafficPolicy": "Local"})).unwrap();
        assert_eq!((template.kind, template.kind()), (None, ServiceKind::LoadBalancer));
        assert_eq!(template.external_traffic_policy, Some(ExternalTrafficPolicy::Local));
        assert!(ServiceKind::ClusterIp < ServiceKind::NodePort && ServiceKind::NodePort < ServiceKind::LoadBalancer);
    }

    #[test]
    fn every_field_has_its_line_in_the_reference() {
        let page = include_str!("../../docs/gateway-parameters.md");
        crate::reference::every_field_has_its_line(page, &GatewayParameters::crd(), "addresses");
    }

    #[test]
    fn the_api_server_checks_what_can_be_checked_there() {
        let definition = serde_json::to_value(GatewayParameters::crd()).unwrap();
        let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
        let addresses = &schema["properties"]["addresses"];
        assert_eq!(addresses["properties"]["mode"]["enum"], json!(["Shared", "Pool", "Service"]));
        let rules = |of: &serde_json::Value| -> Vec<String> {
            let rules = of["x-kubernetes-validations"].as_array().unwrap().iter();
            rules.map(|rule| rule["message"].as_str().unwrap().to_owned()).collect()
        };
        assert_eq!(rules(addresses), ["pool is only for mode Pool", "service is only for mode Service"]);
        let service = &addresses["properties"]["service"];
        assert_eq!(service["properties"]["type"]["enum"], json!(["ClusterIP", "NodePort", "LoadBalancer"]));
        assert_eq!(service["properties"]["type"].get("default"), None, "what is left out is the class's");
        assert_eq!(
            rules(service),
            ["loadBalancerClass is only for type LoadBalancer", "externalTrafficPolicy is not for type ClusterIP"]
        );
        let pool = &addresses["properties"]["pool"];
        assert_eq!(pool["x-kubernetes-validations"][0]["message"], "a pool needs addresses");
        let range = &pool["properties"]["dynamic"];
        assert_eq!(range["maxItems"], 64);
        assert!(range["items"]["pattern"].is_string(), "{range}");
    }
}
