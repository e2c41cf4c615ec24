//! Gateways: one unit of work per Gateway. It says which of the Gateway's listeners are sound in themselves; what they
//! make of each other across Gateways is the business of [`ports`](super::ports).

use std::sync::Arc;

use gateway_api::apis::experimental::gatewayclasses::GatewayClass;
use gateway_api::apis::experimental::gateways::{Gateway, GatewayDefaultScope};
use genkan_routing::model::{Certificate, ClientAuth, ClientAuthMode};
use genkan_routing::name::HostPattern;

use super::addresses::Request;
use super::allowed::AllowedRoutes;
use super::client_auth::Frontend;
use super::client_certificate;
use super::findings::Findings;
use super::infrastructure::Wish;
use super::listener;
use super::listener_sets;
use super::parameters::{self, AddressSource, InvalidParameters, Parameters};
use super::parent::ParentKey;
use super::protocol::ListenerProtocol;
use super::rank::RouteAge;
use super::reason::{GATEWAY_CLASS_NOT_FOUND, INVALID_PARAMETERS, NO_VALID_CA_CERTIFICATE, UNSUPPORTED_ADDRESS};
use super::unused;
use crate::resources::{Key, Kind, NamespacedName};
use crate::translate::assembly::Contribution;
use crate::translate::memo::Output;
use crate::translate::reader::Reader;

/// The type of addresses that we have.
const IP_ADDRESS: &str = "IPAddress";

/// A Gateway, read.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct GatewayOutcome {
    /// Whether its class is ours, or missing; otherwise another controller's Gateway, of which nothing is said.
    pub(crate) ours: bool,
    /// Who wins a conflict with another Gateway.
    pub(crate) age: RouteAge,
    /// Why the Gateway's `Accepted` condition is false, when it is; nothing of it is served then.
    pub(crate) refused: Option<Refusal>,
    /// Whether it takes routes that do not name it (`defaultScope`).
    pub(crate) is_default: bool,
    /// Where its addresses come from.
    pub(crate) source: AddressSource,
    /// The addresses that it asks for, as `spec.addresses` lists them; `None` is one that can't be an address.
    pub(crate) requests: Vec<Option<Request>>,
    /// What is kept in the cluster for it.
    pub(crate) wish: Wish,
    /// The certificate that it shows to backends, or why there is none where one is asked for.
    pub(crate) client: Option<Result<Arc<Certificate>, Refusal>>,
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

/// Why nothing of a Gateway is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// The API's word.
    pub(crate) reason: &'static str,
    /// For people.
    pub(crate) message: String,
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
    /// Its certificates; only where TLS ends here.
    pub(crate) certificates: Vec<Arc<Certificate>>,
    /// What its clients are asked for; only where TLS ends here.
    pub(crate) client_auth: Option<Arc<ClientAuth>>,
    /// The part of the Gateway that says so.
    pub(crate) asked_by: Option<String>,
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
    /// A reference that is needed to serve did not resolve. The port and hostname are claimed all the same.
    pub(crate) unusable: bool,
}

impl GatewayListener {
    /// Whether clients get in whose certificates are worth nothing, though they are asked for.
    pub(crate) fn lets_anybody_in(&self) -> bool {
        self.client_auth.as_ref().is_some_and(|asked| asked.mode == ClientAuthMode::AcceptAny)
    }
}

impl Verdict {
    /// Whether the listener is as it should be, apart from references.
    pub(crate) fn is_accepted(&self) -> bool {
        self.accepted.is_none() && self.conflicted.is_none()
    }

    /// Whether the listener claims its port and hostname. One with a broken certificate does: its hosts must not pass
    /// to another Gateway because a Secret was lost.
    pub(crate) fn claims(&self) -> bool {
        // Nor because those who say who may come in were lost.
        self.accepted.is_none_or(|reason| reason == NO_VALID_CA_CERTIFICATE) && self.conflicted.is_none()
    }

    /// Whether the listener is served.
    pub(crate) fn serves(&self) -> bool {
        self.is_accepted() && !self.unusable
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
    let mut outcome = GatewayOutcome {
        ours,
        age,
        refused: None,
        is_default: gateway.spec.default_scope == Some(GatewayDefaultScope::All),
        source: AddressSource::Shared,
        requests: Vec::new(),
        wish: Wish::read(name, gateway, reader),
        client: None,
        listeners: Vec::new(),
        contribution: Arc::default(),
    };
    if ours {
        match accept(name, gateway, class, reader, &mut findings) {
            Err(refusal) => outcome.refused = Some(refusal),
            Ok((parameters, requests)) => {
                outcome.source = parameters.addresses;
                outcome.requests = requests;
                listener_sets::check_allowed(gateway, &mut findings);
                let spec = gateway.spec.tls.as_ref().and_then(|tls| tls.frontend.as_ref());
                let frontend = Frontend::read(spec, name, reader, &mut findings);
                let (owner, specs) = (ParentKey::Gateway(name.clone()), &gateway.spec.listeners);
                outcome.listeners = listener::read_all(&owner, specs, &frontend, reader, &mut findings);
                outcome.client = client_certificate::read(name, gateway, reader, &mut findings);
                listener::find_conflicts(&mut outcome.listeners, &mut findings);
                unused::check(gateway, &outcome, reader.settings().record_addresses, &mut findings);
            }
        }
    }
    outcome.contribution = Arc::new(Contribution { problems: findings.into_problems(), ..Contribution::default() });
    Some(outcome)
}

/// What a Gateway as a whole asks for, or why nothing of it is served.
fn accept(
    name: &NamespacedName,
    gateway: &Gateway,
    class: Class<'_>,
    reader: &Reader<'_>,
    findings: &mut Findings,
) -> Result<(Parameters, Vec<Option<Request>>), Refusal> {
    let mut refuse = |field: &str, reason, message: String, mend: String| {
        findings.error(field, reason, message.clone(), mend);
        Refusal { reason, message }
    };
    let field = "spec.gatewayClassName";
    let Class::Ours(class) = class else {
        let message = format!("GatewayClass {} does not exist; nothing is served", gateway.spec.gateway_class_name);
        let mend = format!("create it with controllerName: {}", reader.settings().gateway_controller_name);
        return Err(refuse(field, GATEWAY_CLASS_NOT_FOUND, message, mend));
    };
    let of_class = parameters::of_class(class, reader).map_err(|InvalidParameters { message, mend }| {
        refuse(field, INVALID_PARAMETERS, format!("the parameters of the GatewayClass can't be used: {message}"), mend)
    })?;
    let parameters = parameters::of_gateway(gateway, &name.namespace, &of_class, reader).map_err(
        |InvalidParameters { message, mend }| {
            refuse("spec.infrastructure.parametersRef", INVALID_PARAMETERS, message, mend)
        },
    )?;
    let requests = read_requests(gateway).map_err(|(index, kind)| {
        let message = format!("addresses of type {kind} are not supported");
        let mend = "name an IPAddress".to_owned();
        refuse(&format!("spec.addresses[{index}]"), UNSUPPORTED_ADDRESS, message, mend)
    })?;
    Ok((parameters, requests))
}

/// The addresses that a Gateway asks for, or the first that is of a type which we do not have.
fn read_requests(gateway: &Gateway) -> Result<Vec<Option<Request>>, (usize, &str)> {
    let all = gateway.spec.addresses.iter().flatten().enumerate();
    all.map(|(index, address)| match address.r#type.as_deref().unwrap_or(IP_ADDRESS) {
        IP_ADDRESS => match address.value.as_deref().unwrap_or_default() {
            "" => Ok(Some(Request::Any)),
            text => Ok(text.parse().ok().map(Request::Exactly)),
        },
        other => Err((index, other)),
    })
    .collect()
}

enum Class<'a> {
    Ours(&'a GatewayClass),
    Foreign,
    Missing,
}

/// Whether a Gateway is for us to speak about.
pub(crate) fn is_ours(gateway: &Gateway, reader: &Reader<'_>) -> bool {
    !matches!(class_of(gateway, reader), Class::Foreign)
}

fn class_of<'a>(gateway: &Gateway, reader: &Reader<'a>) -> Class<'a> {
    match reader.gateway_class(&NamespacedName::new("", gateway.spec.gateway_class_name.as_str())) {
        None => Class::Missing,
        Some(class) if class.spec.controller_name == reader.settings().gateway_controller_name => Class::Ours(class),
        Some(_) => Class::Foreign,
    }
}
