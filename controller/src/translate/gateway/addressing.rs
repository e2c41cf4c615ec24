//! Addressing: where each Gateway is reached, and what is kept in the cluster so that it stays so.
//!
//! ```text
//!  Gateways, oldest first --> allocate --> wanted --> Service of the Gateway (the leader writes it)
//!                                            |                 | seen again
//!                                            +--> effective <--+   where addresses are recorded: both
//! ```

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use genkan_routing::report::Problem;

use super::addresses::{Allocation, Claim, Refused, Request, allocate};
use super::findings::Findings;
use super::gateways::{GatewayOutcome, Refusal};
use super::infrastructure::{Infrastructure, Record, service_of};
use super::parameters::AddressSource;
use super::reason::{ADDRESS_NOT_ASSIGNED, ADDRESS_NOT_USABLE};
use crate::resources::{Key, Kind, NamespacedName};
use crate::settings::Settings;

/// Where all Gateways are reached.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Plan {
    /// By Gateway; only those that are ours.
    pub(crate) gateways: BTreeMap<NamespacedName, Addressing>,
    /// What is to become of Services, by their name. What is not in it stays as it is.
    pub(crate) infrastructure: BTreeMap<NamespacedName, Infrastructure>,
    /// What can't be had.
    pub(crate) problems: Vec<Problem>,
    /// The addresses that each Gateway is to have, also before they are recorded.
    pub(crate) promised: BTreeMap<NamespacedName, Vec<IpAddr>>,
}

/// Where a Gateway is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Addressing {
    /// Its own addresses; `None`: it is on the controller's.
    pub(crate) own: Option<Vec<IpAddr>>,
    /// Why its `Programmed` condition is false, when an address is the reason.
    pub(crate) trouble: Option<Refusal>,
}

/// Plans for Gateways in order of age. What the plan before has `promised` to a Gateway of which nothing is recorded may
/// be on its way to the record: nobody else gets it, however old.
pub(crate) fn plan(
    gateways: &[(&NamespacedName, &Arc<GatewayOutcome>)],
    promised: &BTreeMap<NamespacedName, Vec<IpAddr>>,
    settings: &Settings,
) -> Plan {
    let requests: Vec<Vec<Request>> = gateways.iter().map(|(_, gateway)| asked(gateway)).collect();
    let claims: Vec<_> = gateways
        .iter()
        .zip(&requests)
        .map(|((name, gateway), requests)| {
            let promised = promised.get(*name).map(Vec::as_slice).unwrap_or_default();
            claim(name, gateway, requests, promised)
        })
        .collect();
    let allocations = allocate(&claims, &settings.bind_addresses);
    let mut plan = Plan::default();
    for ((name, gateway), allocation) in gateways.iter().zip(allocations) {
        if settings.record_addresses {
            plan.promised.insert((*name).clone(), allocation.addresses.clone());
            plan.keep(name, gateway, &allocation, settings);
        }
        if !gateway.ours {
            continue;
        }
        let key = Key { kind: Kind::Gateway, name: (*name).clone() };
        let mut findings = Findings::new(key.object_ref());
        let addressing = match gateway.source {
            _ if gateway.refused.is_some() => Addressing::default(),
            AddressSource::Shared => shared(gateway, settings, &mut findings),
            AddressSource::Pool(_) => pooled(name, gateway, allocation, settings, &mut findings),
        };
        plan.gateways.insert((*name).clone(), addressing);
        plan.problems.extend(findings.into_problems());
    }
    plan
}

/// What a Gateway asks of a pool: one address, unless it says more.
fn asked(gateway: &GatewayOutcome) -> Vec<Request> {
    if gateway.requests.is_empty() { vec![Request::Any] } else { gateway.requests.iter().flatten().copied().collect() }
}

fn claim<'a>(
    name: &'a NamespacedName,
    gateway: &'a GatewayOutcome,
    requests: &'a [Request],
    promised: &'a [IpAddr],
) -> Claim<'a> {
    let kept = || match gateway.wish.record.addresses() {
        [] => promised,
        recorded => recorded,
    };
    let (pool, recorded) = match &gateway.source {
        // A mistake in its parameters must not cost it its addresses for good.
        _ if gateway.ours && gateway.refused.is_some() => (None, gateway.wish.record.addresses()),
        // It can't be recorded that it has one.
        _ if gateway.wish.record == Record::Foreign => (None, &[][..]),
        AddressSource::Pool(pool) => (Some(&**pool), kept()),
        AddressSource::Shared => (None, &[][..]),
    };
    Claim { gateway: name, pool, requests, recorded }
}

impl Plan {
    /// What is to become of a Gateway's Service.
    fn keep(&mut self, name: &NamespacedName, gateway: &GatewayOutcome, allocation: &Allocation, settings: &Settings) {
        let is_ours = match gateway.wish.record {
            Record::Missing => false,
            Record::Own(_) | Record::Stale => true,
            Record::Foreign => return,
        };
        let infrastructure = match gateway.source {
            _ if gateway.ours && gateway.refused.is_some() => return,
            AddressSource::Pool(_) if gateway.ours => {
                let controller = &settings.gateway_controller_name;
                Infrastructure::Service(Arc::new(gateway.wish.service(name, &allocation.addresses, controller)))
            }
            _ if is_ours => Infrastructure::Nothing,
            _ => return,
        };
        self.infrastructure.insert(service_of(name), infrastructure);
    }
}

/// A Gateway on the controller's addresses. It is served there whatever it asks for.
fn shared(gateway: &GatewayOutcome, settings: &Settings, findings: &mut Findings) -> Addressing {
    let mut trouble = None;
    for (index, request) in gateway.requests.iter().enumerate() {
        let usable = match request {
            Some(Request::Any) => true,
            Some(Request::Exactly(address)) => settings.bind_addresses.contains(address),
            None => false,
        };
        if !usable {
            let message = "the Gateway is served on every address that Genkan listens on, not on this one alone";
            let mend = "use --bind-address, or a GatewayClass with a pool of addresses";
            findings.warning(format!("spec.addresses[{index}]"), ADDRESS_NOT_USABLE, message, mend);
            trouble = Some(Refusal { reason: ADDRESS_NOT_USABLE, message: message.to_owned() });
        }
    }
    Addressing { own: None, trouble }
}

/// A Gateway with addresses of a pool.
fn pooled(
    name: &NamespacedName,
    gateway: &GatewayOutcome,
    allocation: Allocation,
    settings: &Settings,
    findings: &mut Findings,
) -> Addressing {
    if gateway.wish.record == Record::Foreign {
        let service = service_of(name);
        let message = format!("Service {service} is not of this Gateway, so no address can be recorded there");
        let refusal = Refusal { reason: ADDRESS_NOT_ASSIGNED, message: message.clone() };
        findings.error("", ADDRESS_NOT_ASSIGNED, message, format!("rename or delete Service {service}"));
        return Addressing { own: Some(Vec::new()), trouble: Some(refusal) };
    }
    let mut trouble = None;
    for (field, reason, message, mend) in refusals(gateway, &allocation.refused) {
        trouble.get_or_insert_with(|| Refusal { reason, message: message.clone() });
        findings.error(field, reason, message, mend);
    }
    let mut own = allocation.addresses;
    if settings.record_addresses {
        let recorded = gateway.wish.record.addresses();
        if own.iter().any(|address| !recorded.contains(address)) {
            // It takes a moment, and is no problem.
            let message = "an address is being recorded on the Gateway's Service".to_owned();
            trouble.get_or_insert(Refusal { reason: ADDRESS_NOT_ASSIGNED, message });
        }
        own.retain(|address| recorded.contains(address));
    }
    Addressing { own: Some(own), trouble }
}

/// What a Gateway does not get: where it asks for it, the reason, the message and the mend.
fn refusals(gateway: &GatewayOutcome, refused: &[Refused]) -> Vec<(String, &'static str, String, &'static str)> {
    let field = |wanted: Option<Request>| {
        let index = gateway.requests.iter().position(|request| *request == wanted);
        index.map_or_else(|| "spec.addresses".to_owned(), |index| format!("spec.addresses[{index}]"))
    };
    let mut all = Vec::new();
    if gateway.requests.contains(&None) {
        all.push((field(None), ADDRESS_NOT_USABLE, "it is no IP address".to_owned(), "write an IP address"));
    }
    for refused in refused {
        all.push(match refused {
            Refused::NotInPool(address) => {
                let message = format!("{address} is not in the pool of the GatewayClass");
                let mend = "name an address of the pool, or leave the value out to get one";
                (field(Some(Request::Exactly(*address))), ADDRESS_NOT_USABLE, message, mend)
            }
            Refused::Taken(address, holder) => {
                let holder = holder.as_ref().map_or("Genkan itself".to_owned(), |name| format!("Gateway {name}"));
                let mend = "name another address, or leave the value out to get one";
                let message = format!("{holder} has {address}");
                (field(Some(Request::Exactly(*address))), ADDRESS_NOT_USABLE, message, mend)
            }
            Refused::Exhausted => {
                let message = "no address of the pool is free".to_owned();
                let mend = "add addresses to the GatewayParameters, or delete Gateways";
                (field(Some(Request::Any)), ADDRESS_NOT_ASSIGNED, message, mend)
            }
        });
    }
    all
}
