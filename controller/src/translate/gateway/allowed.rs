//! Allowed routes: which routes a listener takes (`listeners[].allowedRoutes`).

use std::sync::Arc;

use gateway_api::apis::experimental::gateways::{
    GatewayListenersAllowedRoutes, GatewayListenersAllowedRoutesNamespaces, GatewayListenersAllowedRoutesNamespacesFrom,
};

use super::findings::Findings;
use super::grant::GATEWAY_GROUP;
use super::reason::{INVALID, INVALID_ROUTE_KINDS, UNSUPPORTED_VALUE};
use super::selector::{IDLE_SELECTOR, Selector};
use crate::resources::NamespacedName;
use crate::translate::reader::Reader;

/// A kind of route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum RouteKind {
    /// HTTPRoute.
    Http,
    /// GRPCRoute.
    Grpc,
    /// TLSRoute.
    Tls,
    /// TCPRoute.
    Tcp,
    /// UDPRoute.
    Udp,
}

impl RouteKind {
    /// The API's name.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Http => "HTTPRoute",
            Self::Grpc => "GRPCRoute",
            Self::Tls => "TLSRoute",
            Self::Tcp => "TCPRoute",
            Self::Udp => "UDPRoute",
        }
    }
}

/// Which routes a listener takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AllowedRoutes {
    /// Sorted; empty when only kinds were listed that can't be served.
    pub(crate) kinds: Vec<RouteKind>,
    /// From which namespaces.
    pub(crate) namespaces: AllowedNamespaces,
}

/// From which namespaces a listener takes routes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AllowedNamespaces {
    /// That of the Gateway or ListenerSet.
    Same,
    /// Every one.
    All,
    /// Those whose labels are selected.
    Selected(Selector),
    /// None: the selector is missing or broken.
    Nobody,
}

impl AllowedRoutes {
    /// Reads `allowedRoutes` of a listener that can serve the routes of `servable`. The second value is the reason of the
    /// listener's `ResolvedRefs`, when it is false.
    pub(crate) fn parse(
        spec: Option<&GatewayListenersAllowedRoutes>,
        servable: &[RouteKind],
        field: &str,
        findings: &mut Findings,
    ) -> (Self, Option<&'static str>) {
        let (kinds, reason) = parse_kinds(spec, servable, field, findings);
        let namespaces = spec.and_then(|spec| spec.namespaces.as_ref());
        let namespaces = parse_namespaces(namespaces, &format!("{field}.namespaces"), findings);
        (Self { kinds, namespaces }, reason)
    }

    /// Whether a route of this kind may attach from `namespace` to a listener whose Gateway or ListenerSet is in `parent`.
    pub(crate) fn permit(&self, kind: RouteKind, namespace: &Arc<str>, parent: &str, reader: &Reader<'_>) -> bool {
        let from_there = || match &self.namespaces {
            AllowedNamespaces::Same => **namespace == *parent,
            AllowedNamespaces::All => true,
            AllowedNamespaces::Selected(selector) => {
                let object = reader.namespace(&NamespacedName::new("", namespace.clone()));
                selector.matches(namespace, object.and_then(|object| object.metadata.labels.as_ref()))
            }
            AllowedNamespaces::Nobody => false,
        };
        self.kinds.contains(&kind) && from_there()
    }
}

fn parse_kinds(
    spec: Option<&GatewayListenersAllowedRoutes>,
    servable: &[RouteKind],
    field: &str,
    findings: &mut Findings,
) -> (Vec<RouteKind>, Option<&'static str>) {
    let listed = spec.and_then(|spec| spec.kinds.as_deref()).unwrap_or_default();
    if listed.is_empty() {
        return (servable.to_vec(), None);
    }
    let (mut kinds, mut reason) = (Vec::new(), None);
    for (index, entry) in listed.iter().enumerate() {
        let ours = entry.group.as_deref().unwrap_or(GATEWAY_GROUP) == GATEWAY_GROUP;
        match servable.iter().find(|kind| ours && kind.as_str() == entry.kind) {
            Some(kind) if !kinds.contains(kind) => kinds.push(*kind),
            Some(_) => {}
            None => {
                let message = format!("routes of kind {} can't be served by this listener", entry.kind);
                let names: Vec<_> = servable.iter().map(|kind| kind.as_str()).collect();
                let mend = format!("list only {}, or leave kinds out", names.join(" and "));
                findings.error(format!("{field}.kinds[{index}]"), INVALID_ROUTE_KINDS, message, mend);
                reason = Some(INVALID_ROUTE_KINDS);
            }
        }
    }
    kinds.sort_unstable();
    (kinds, reason)
}

fn parse_namespaces(
    spec: Option<&GatewayListenersAllowedRoutesNamespaces>,
    field: &str,
    findings: &mut Findings,
) -> AllowedNamespaces {
    let from = spec.and_then(|spec| spec.from.as_ref());
    let selects = from == Some(&GatewayListenersAllowedRoutesNamespacesFrom::Selector);
    if !selects && spec.is_some_and(|spec| spec.selector.is_some()) {
        findings.warning(format!("{field}.selector"), UNSUPPORTED_VALUE, IDLE_SELECTOR, "write from: Selector");
    }
    match from {
        None | Some(GatewayListenersAllowedRoutesNamespacesFrom::Same) => AllowedNamespaces::Same,
        Some(GatewayListenersAllowedRoutesNamespacesFrom::All) => AllowedNamespaces::All,
        Some(GatewayListenersAllowedRoutesNamespacesFrom::Selector) => {
            let field = format!("{field}.selector");
            match spec.and_then(|spec| spec.selector.as_ref()).map(Selector::parse) {
                Some(Ok(selector)) => AllowedNamespaces::Selected(selector),
                Some(Err(error)) => {
                    findings.error(field, INVALID, format!("{error}; no route is allowed"), "");
                    AllowedNamespaces::Nobody
                }
                None => {
                    let mend = "add a selector, or use All or Same";
                    findings.error(field, INVALID, "the selector is missing; no route is allowed", mend);
                    AllowedNamespaces::Nobody
                }
            }
        }
    }
}
