//! What a Gateway says that nothing follows from, as far as the API server lets it be said.

use std::collections::BTreeSet;

use gateway_api::apis::experimental::gateways::Gateway;

use super::findings::Findings;
use super::gateways::GatewayOutcome;
use super::parameters::AddressSource;
use super::protocol::ListenerProtocol;
use super::reason::UNSUPPORTED_VALUE;

/// Tells it. `recorded`: whether anything is kept in a cluster.
pub(crate) fn check(gateway: &Gateway, outcome: &GatewayOutcome, recorded: bool, findings: &mut Findings) {
    let mut warn = |field: String, message: &str, mend: &str| findings.warning(field, UNSUPPORTED_VALUE, message, mend);
    let infrastructure = gateway.spec.infrastructure.as_ref();
    let has_own = recorded && outcome.source != AddressSource::Shared;
    for (name, texts) in [
        ("labels", infrastructure.and_then(|infrastructure| infrastructure.labels.as_ref())),
        ("annotations", infrastructure.and_then(|infrastructure| infrastructure.annotations.as_ref())),
    ] {
        if !has_own && texts.is_some_and(|texts| !texts.is_empty()) {
            let mend = "use a GatewayClass whose Gateways have resources of their own";
            warn(format!("spec.infrastructure.{name}"), "nothing is kept in the cluster for this Gateway", mend);
        }
    }
    let opened = outcome.listeners.iter().filter(|listener| listener.protocol == Some(ListenerProtocol::Https));
    let opened: BTreeSet<_> = opened.map(|listener| listener.port).collect();
    let frontend = gateway.spec.tls.as_ref().and_then(|tls| tls.frontend.as_ref());
    if let Some(frontend) = frontend {
        if opened.is_empty() {
            warn(
                "spec.tls.frontend".to_owned(),
                "no listener of the Gateway speaks HTTPS",
                "add one with protocol HTTPS",
            );
        }
        for (index, entry) in frontend.per_port.iter().flatten().enumerate().filter(|_| !opened.is_empty()) {
            if !u16::try_from(entry.port).is_ok_and(|port| opened.contains(&port)) {
                let field = format!("spec.tls.frontend.perPort[{index}]");
                warn(field, "no listener of the Gateway speaks HTTPS on this port", "remove it, or add a listener");
            }
        }
    }
}
