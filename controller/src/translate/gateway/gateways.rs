//! Gateways: one unit of work per Gateway. It says which of the Gateway's listeners are sound in themselves; what they
//! make of each other across Gateways is the business of [`ports`](super::ports).

use std::sync::Arc;

use gateway_api::apis::experimental::gatewayclasses::GatewayClass;
use gateway_api::apis::experimental::gateways::Gateway;
use genkan_routing::model::Certificate;
use genkan_routing::name::HostPattern;

use super::allowed::AllowedRoutes;
use super::findings::Findings;
use super::listener;
use super::protocol::ListenerProtocol;
use super::rank::RouteAge;
use super::reason::{GATEWAY_CLASS_NOT_FOUND, INVALID_PARAMETERS, UNSUPPORTED_ADDRESS, UNSUPPORTED_VALUE};
use crate::resources::{Key, Kind, NamespacedName};
use crate::translate::assembly::Contribution;
use crate::translate::memo::Output;
use crate::translate::reader::Reader;

/// A Gateway, read.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct GatewayOutcome {
    /// Whether its class is ours, or missing; otherwise another controller's Gateway, of which nothing is said.
    pub(crate) ours: bool,
    /// Who wins a conflict with another Gateway.
    pub(crate) age: RouteAge,
    /// The reason of the Gateway's `Accepted` condition, when it is false; nothing of it is served then.
    pub(crate) refused: Option<&'static str>,
    /// Its listeners, in the order of the object.
    pub(crate) listeners: Vec<GatewayListener>,
    /// What is wrong, apart from conflicts with other Gateways.
    pub(crate) contribution: Arc<Contribution>,
}

impl Output for GatewayOutcome {
    fn share(&mut self, old: &Self) {
        if self.contribution == old.contribution {
            self.contribution = old.contribution.clone();
        }
    }
}

/// A listener of a Gateway.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct GatewayListener {
    /// `name`.
    pub(crate) name: Arc<str>,
    /// `spec.listeners[...]`.
    pub(crate) field: String,
    /// `port`; 0 when it is no port.
    pub(crate) port: u16,
    /// What it speaks; `None` when that is not supported.
    pub(crate) protocol: Option<ListenerProtocol>,
    /// Which hosts it is for.
    pub(crate) hostname: HostPattern,
    /// Which routes it takes.
    pub(crate) allowed: AllowedRoutes,
    /// Its conditions.
    pub(crate) verdict: Verdict,
    /// Its certificates; only with HTTPS.
    pub(crate) certificates: Vec<Arc<Certificate>>,
}

/// The conditions of a listener: each is the reason when it is not as it should be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// `Accepted` is false.
    pub(crate) accepted: Option<&'static str>,
    /// `Conflicted` is true.
    pub(crate) conflicted: Option<&'static str>,
    /// `ResolvedRefs` is false.
    pub(crate) resolved_refs: Option<&'static str>,
    /// A reference that is needed to serve did not resolve.
    pub(crate) unusable: bool,
}

impl Verdict {
    /// Whether the listener claims its port and hostname. One with a broken certificate does: its hosts must not pass
    /// to another Gateway because a Secret was lost.
    pub(crate) fn claims(&self) -> bool {
        self.accepted.is_none() && self.conflicted.is_none()
    }

    /// Whether the listener is served.
    pub(crate) fn serves(&self) -> bool {
        self.claims() && !self.unusable
    }
}

/// Reads a Gateway; `None` when it does not exist.
pub(crate) fn read(name: &NamespacedName, reader: &Reader<'_>) -> Option<GatewayOutcome> {
    let gateway = reader.gateway(name)?;
    let key = Key { kind: Kind::Gateway, name: name.clone() };
    let mut findings = Findings::new(key.object_ref());
    let created = gateway.metadata.creation_timestamp.as_ref().map(|time| time.0);
    let age = RouteAge::new(created, Kind::Gateway.as_str(), &name.namespace, &name.name);
    let class = class_of(gateway, reader);
    let ours = !matches!(class, Class::Foreign);
    let refused = match class {
        Class::Foreign => None,
        Class::Missing => {
            let message = format!("GatewayClass {} does not exist; nothing is served", gateway.spec.gateway_class_name);
            let mend = format!("create it with controllerName: {}", reader.settings().gateway_controller_name);
            findings.error("spec.gatewayClassName", GATEWAY_CLASS_NOT_FOUND, message, mend);
            Some(GATEWAY_CLASS_NOT_FOUND)
        }
        Class::Ours(class) => check_parameters(gateway, class, &mut findings),
    };
    let mut listeners = Vec::new();
    if ours && refused.is_none() {
        check_unsupported(gateway, &mut findings);
        listeners = listener::read_all(name, gateway, reader, &mut findings);
        listener::find_conflicts(&mut listeners, &mut findings);
    }
    let contribution = Arc::new(Contribution { problems: findings.into_problems(), ..Contribution::default() });
    Some(GatewayOutcome { ours, age, refused, listeners, contribution })
}

enum Class<'a> {
    Ours(&'a GatewayClass),
    Foreign,
    Missing,
}

fn class_of<'a>(gateway: &Gateway, reader: &Reader<'a>) -> Class<'a> {
    match reader.gateway_class(&NamespacedName::new("", gateway.spec.gateway_class_name.as_str())) {
        None => Class::Missing,
        Some(class) if class.spec.controller_name == reader.settings().gateway_controller_name => Class::Ours(class),
        Some(_) => Class::Foreign,
    }
}

/// `parametersRef` of the class and the Gateway: Genkan knows no kind of parameters, and the API wants what refers to an
/// unknown one to be rejected.
fn check_parameters(gateway: &Gateway, class: &GatewayClass, findings: &mut Findings) -> Option<&'static str> {
    let mend = "remove parametersRef";
    if let Some(parameters) = &class.spec.parameters_ref {
        let message = format!("the GatewayClass has parameters of kind {}, which is not supported", parameters.kind);
        findings.error("spec.gatewayClassName", INVALID_PARAMETERS, message, mend);
        return Some(INVALID_PARAMETERS);
    }
    let parameters = gateway.spec.infrastructure.as_ref()?.parameters_ref.as_ref()?;
    let message = format!("parameters of kind {} are not supported", parameters.kind);
    findings.error("spec.infrastructure.parametersRef", INVALID_PARAMETERS, message, mend);
    Some(INVALID_PARAMETERS)
}

/// Fields of the Gateway as a whole that are not honoured, and are no reason to serve nothing.
fn check_unsupported(gateway: &Gateway, findings: &mut Findings) {
    for (index, _) in gateway.spec.addresses.iter().flatten().enumerate() {
        let message = "the Gateway is served on every address that Genkan listens on, not on this one alone";
        findings.warning(format!("spec.addresses[{index}]"), UNSUPPORTED_ADDRESS, message, "use --bind-address");
    }
    if gateway.spec.tls.as_ref().is_some_and(|tls| tls.backend.is_some()) {
        let message = "client certificates towards backends are not supported yet; backends get none";
        findings.warning("spec.tls.backend", UNSUPPORTED_VALUE, message, "");
    }
    if gateway.spec.allowed_listeners.as_ref().is_some_and(|allowed| allowed.namespaces.is_some()) {
        let message = "ListenerSets are not supported yet; none is attached";
        findings.warning("spec.allowedListeners", UNSUPPORTED_VALUE, message, "write the listeners into the Gateway");
    }
}
