//! Policies: the kinds of the group `genkan.dev`, as users write them.
//!
//! The CustomResourceDefinitions are made of these types (`genkan crds`), so what the API server accepts and what is
//! read are one. The crate owns what the strings in them mean as well; it decides nothing and does no I/O.

mod attachment;
mod authentication;
mod buffering;
mod gateway_parameters;
mod health;
mod ip_range;
mod listener_policy;
#[cfg(test)]
mod reference;
mod route_policy;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt as _;

pub use self::attachment::{PolicyAncestor, PolicyAncestorStatus, PolicyCondition, PolicyStatus, PolicyTarget};
pub use self::authentication::{
    AuthBackend, AuthProtocol, BasicAuthSettings, ExternalAuthSettings, ForwardBodySettings, GrpcAuthSettings,
    HttpAuthSettings, PasswordLayout,
};
pub use self::buffering::{BufferingSettings, RequestBufferingSettings, ResponseBufferingSettings};
pub use self::gateway_parameters::{
    AddressMode, AddressPool, Addresses, ExternalTrafficPolicy, GatewayParameters, GatewayParametersSpec, ServiceKind,
    ServiceTemplate,
};
pub use self::health::{
    ActiveHealthSettings, CircuitBreakingSettings, GrpcHealthSettings, HealthCheckSettings, HealthCheckType,
    HttpHealthSettings, PassiveHealthSettings,
};
pub use self::ip_range::{IpRange, IpRangeError};
pub use self::listener_policy::{
    AccessLogOptions, Believe, ClientLimits, ClientReception, ClientTimeouts, ForwardedOptions, Http2, ListenerPolicy,
    ListenerPolicySpec, LogEscape, ProxyProtocol, StreamOptions, TlsOptions, TlsProtocol,
};
pub use self::route_policy::{
    AffinityKind, AffinitySettings, BodySizeSettings, CompressionSettings, ConnectionLimitSettings, HashBy,
    HashSettings, IpAccessSettings, LoadBalancingAlgorithm, LoadBalancingSettings, RateLimitSettings, RetryOn,
    RetrySettings, RoutePolicy, RoutePolicySpec, RouteSettings, TimeoutSettings,
};

/// The group of all of them.
pub const GROUP: &str = "genkan.dev";

/// The definitions of all kinds, in order of name.
pub fn definitions() -> Vec<CustomResourceDefinition> {
    vec![GatewayParameters::crd(), ListenerPolicy::crd(), RoutePolicy::crd()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_of_a_definition_is_described() {
        fn check(schema: &serde_json::Value, path: &str) {
            for (name, field) in schema["properties"].as_object().into_iter().flatten() {
                let path = format!("{path}.{name}");
                assert!(field["description"].is_string(), "{path}");
                check(field, &path);
            }
        }
        for definition in definitions() {
            for version in &definition.spec.versions {
                let schema = serde_json::to_value(&version.schema.as_ref().unwrap().open_api_v3_schema).unwrap();
                check(&schema["properties"]["spec"], &definition.spec.names.kind);
                assert!(version.additional_printer_columns.is_some(), "{}", definition.spec.names.kind);
            }
            assert_eq!(definition.spec.group, GROUP);
        }
    }
}
