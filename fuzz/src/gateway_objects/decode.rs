//! From a JSON value to an object of a kind.

use std::sync::Arc;

use genkan_controller::resources::{Kind, Object};
use serde_json::Value;

/// The object; `None` where the value is none of this kind, which the API server or the reading of files refuses.
pub(super) fn object(kind: Kind, value: Value) -> Option<Object> {
    macro_rules! typed {
        ($($kind:ident),*) => {
            match kind {
                $(Kind::$kind => Object::$kind(Arc::new(serde_json::from_value(value).ok()?)),)*
                // Those that nothing here makes.
                #[allow(unreachable_patterns)]
                _ => return None,
            }
        };
    }
    Some(typed!(
        Ingress,
        IngressClass,
        Service,
        EndpointSlice,
        Secret,
        ConfigMap,
        Namespace,
        GatewayClass,
        Gateway,
        HttpRoute,
        ReferenceGrant,
        ListenerSet,
        GrpcRoute,
        TlsRoute,
        TcpRoute,
        UdpRoute,
        BackendTlsPolicy,
        XBackendTrafficPolicy,
        XBackend,
        GatewayParameters,
        RoutePolicy,
        ListenerPolicy
    ))
}
