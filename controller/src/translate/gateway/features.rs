//! Features: what of Gateway API works, by the names that the API gives its parts. GatewayClasses say it in their status,
//! and the conformance suite believes it. A name stands here when, and only when, everything that it stands for works.

use std::sync::LazyLock;

use super::parameters::AddressSource;

/// What works, in order of name, as the API wants it.
const SUPPORTED: &[&str] = &[
    "BackendTLSPolicy",
    "BackendTLSPolicySANValidation",
    "GRPCRoute",
    "GRPCRouteNamedRouteRule",
    "Gateway",
    "GatewayAddressEmpty",
    "GatewayBackendClientCertificate",
    "GatewayFrontendClientCertificateValidation",
    "GatewayFrontendClientCertificateValidationInsecureFallback",
    "GatewayHTTPListenerIsolation",
    "GatewayHTTPSListenerDetectMisdirectedRequests",
    "GatewayInfrastructure",
    "GatewayPort8080",
    "GatewayStaticAddresses",
    "HTTPRoute",
    "HTTPRoute303RedirectStatusCode",
    "HTTPRoute307RedirectStatusCode",
    "HTTPRoute308RedirectStatusCode",
    "HTTPRouteBackendProtocolH2C",
    "HTTPRouteBackendProtocolWebSocket",
    "HTTPRouteBackendRequestHeaderModification",
    "HTTPRouteBackendTimeout",
    "HTTPRouteCORS",
    "HTTPRouteDestinationPortMatching",
    "HTTPRouteHostRewrite",
    "HTTPRouteMethodMatching",
    "HTTPRouteNamedRouteRule",
    "HTTPRouteParentRefPort",
    "HTTPRoutePathRedirect",
    "HTTPRoutePathRewrite",
    "HTTPRoutePortRedirect",
    "HTTPRouteQueryParamMatching",
    "HTTPRouteRequestMirror",
    "HTTPRouteRequestMultipleMirrors",
    "HTTPRouteRequestPercentageMirror",
    "HTTPRouteRequestTimeout",
    "HTTPRouteResponseHeaderModification",
    "HTTPRouteRetry",
    "HTTPRouteRetryBackendTimeout",
    "HTTPRouteRetryConnectionError",
    "HTTPRouteSchemeRedirect",
    "ListenerSet",
    "ReferenceGrant",
    "TCPRoute",
    "TLSRoute",
    "TLSRouteModeMixed",
    "TLSRouteModeTerminate",
    "UDPRoute",
];

/// What of it works only where each Gateway has addresses of its own.
const WITH_OWN_ADDRESSES: &[&str] = &["GatewayInfrastructure", "GatewayStaticAddresses"];

/// What of it does not work where load balancers give the addresses: several at once, and taking one away again.
const WITH_OUR_ADDRESSES: &[&str] = &["GatewayStaticAddresses"];

/// What works for the Gateways of a class, in order of name.
pub(crate) fn supported(source: &AddressSource) -> &'static [&'static str] {
    static WITH_SHARED_ADDRESSES: LazyLock<Vec<&str>> = LazyLock::new(|| without(WITH_OWN_ADDRESSES));
    static WITH_SERVICES: LazyLock<Vec<&str>> = LazyLock::new(|| without(WITH_OUR_ADDRESSES));
    match source {
        AddressSource::Pool(_) => SUPPORTED,
        AddressSource::Shared => &WITH_SHARED_ADDRESSES,
        AddressSource::Service(_) => &WITH_SERVICES,
    }
}

fn without(names: &[&str]) -> Vec<&'static str> {
    SUPPORTED.iter().filter(|name| !names.contains(name)).copied().collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn features_are_sorted_and_none_is_of_a_mesh() {
        assert!(SUPPORTED.is_sorted_by(|one, other| one < other));
        assert!(!SUPPORTED.iter().any(|name| name.starts_with("Mesh")));
    }

    #[test]
    fn gateways_on_shared_addresses_can_not_choose_theirs() {
        let [own, shared] = [AddressSource::Pool(Arc::default()), AddressSource::Shared].map(|it| supported(&it));
        let missing: Vec<_> = own.iter().filter(|name| !shared.contains(name)).copied().collect();
        assert_eq!(missing, WITH_OWN_ADDRESSES);
        let services = supported(&AddressSource::Service(Arc::default()));
        let missing: Vec<_> = own.iter().filter(|name| !services.contains(name)).copied().collect();
        assert_eq!(missing, WITH_OUR_ADDRESSES);
    }
}
