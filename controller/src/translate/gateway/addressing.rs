//! Addressing: where each Gateway is reached, and what is kept in the cluster so that it stays so.
//!
//! ```text
//!  Gateways, oldest first --> allocate --> wanted --> Service of the Gateway (the leader writes it)
//!       evidence ---------------^            |                 | seen again, once
//!                                            +--> effective <--+   where addresses are recorded: both
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use genkan_routing::report::Problem;

use super::addresses::{Allocation, Claim, Pool, Refused, Request, allocate};
use super::evidence::{Given, Promise};
use super::findings::Findings;
use super::gateways::{GatewayOutcome, Refusal};
use super::infrastructure::{GatewayService, Infrastructure, Record, service_of};
use super::known::{Known, Named};
use super::naming;
use super::parameters::AddressSource;
use super::reason::{ADDRESS_NOT_ASSIGNED, ADDRESS_NOT_USABLE};
use super::serviced::{self, Asked};
use super::status::GatewayAddress;
use super::target_ports::{self, Target};
use crate::resources::{Key, Kind, NamespacedName, PublicPort};
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
    /// What each Gateway is to have, also before it is recorded.
    pub(crate) promised: BTreeMap<NamespacedName, Promise>,
    /// The ports that Gateways had and have no longer, that which is free longest in front.
    pub(crate) freed: Vec<u16>,
    /// The pools that Gateways have their addresses from, each once.
    pools: Vec<Arc<Pool>>,
}

/// Where a Gateway is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Addressing {
    /// Where.
    pub(crate) reach: Reach,
    /// Why its `Programmed` condition is false, when an address is the reason.
    pub(crate) trouble: Option<Refusal>,
}

/// Where a Gateway is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// On the controller's addresses.
    Controller,
    /// At addresses of its own, of this host.
    Own(Vec<IpAddr>),
    /// Through a Service of its own.
    Service {
        /// The ports of ours that it leads to.
        targets: BTreeMap<PublicPort, u16>,
        /// The Service's addresses.
        addresses: Assigned,
    },
}

/// The addresses of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Assigned {
    /// These.
    These(Vec<GatewayAddress>),
    /// Those of the nodes that our Pods run on.
    Nodes,
}

impl Default for Assigned {
    fn default() -> Self {
        Self::These(Vec::new())
    }
}

/// Plans for Gateways in order of age.
pub(crate) fn plan(gateways: &[Named<'_>], known: &Known<'_>, settings: &Settings) -> Plan {
    let requests: Vec<Vec<Request>> = gateways.iter().map(|(_, gateway)| asked(gateway)).collect();
    let evidence = known.addresses(gateways);
    let all = gateways.iter().zip(&requests).zip(&evidence);
    let claims: Vec<_> = all
        .map(|(((name, gateway), requests), has)| Claim { gateway: name, pool: pool(gateway), requests, has })
        .collect();
    let allocations = allocate(&claims, &settings.bind_addresses);
    let holders = holders(gateways, &allocations);
    let ports = known.allocate_ports(gateways, settings);
    let full = full_namespaces(gateways, &ports, settings);
    let mut plan = Plan { pools: pools(gateways), ..Plan::default() };
    for (((name, gateway), allocation), ports) in gateways.iter().zip(allocations).zip(ports) {
        let promise = known.promise(name, gateway, &allocation, ports);
        let (addresses, ports) = (promise.addresses.clone(), promise.ports.clone());
        if settings.record_addresses {
            plan.keep(name, gateway, &promise, settings);
            plan.promised.insert((*name).clone(), promise);
        }
        if !gateway.ours {
            continue;
        }
        let key = Key { kind: Kind::Gateway, name: (*name).clone() };
        let mut findings = Findings::new(key.object_ref());
        let addressing = match &gateway.source {
            // What is kept for it is still its own, and the controller's addresses are not.
            _ if gateway.refused.is_some() => Addressing { reach: kept(gateway, addresses, ports), trouble: None },
            AddressSource::Shared => shared(gateway, settings, &mut findings),
            AddressSource::Service(template) => {
                let wanted = known.ports.get(*name).map_or(0, BTreeSet::len);
                let asked = Asked { wanted, ports, is_full: full.contains(&*name.namespace) };
                serviced::addressing(name, gateway, template, asked, &mut findings)
            }
            AddressSource::Pool(_) => {
                tell_lost(name, gateway, &allocation, &holders, &mut findings);
                pooled(name, gateway, &allocation.refused, addresses, settings, &mut findings)
            }
        };
        plan.gateways.insert((*name).clone(), addressing);
        plan.problems.extend(findings.into_problems());
    }
    plan.freed = known.freed_by(&plan.promised);
    plan
}

/// The namespaces whose Gateways have as many ports as they may have.
fn full_namespaces<'a>(gateways: &[Named<'a>], ports: &[Vec<Target>], settings: &Settings) -> BTreeSet<&'a str> {
    let Some(range) = &settings.target_ports else { return BTreeSet::new() };
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for ((name, _), ports) in gateways.iter().zip(ports) {
        *counts.entry(&name.namespace).or_default() += ports.len();
    }
    counts.into_iter().filter(|(_, count)| *count >= target_ports::of_namespace(range)).map(|(name, _)| name).collect()
}

/// What a Gateway asks of a pool: one address, unless it says more.
fn asked(gateway: &GatewayOutcome) -> Vec<Request> {
    if gateway.requests.is_empty() { vec![Request::Any] } else { gateway.requests.iter().flatten().copied().collect() }
}

/// The pools that Gateways are to have addresses from, also those that can have none now.
fn pools(gateways: &[Named<'_>]) -> Vec<Arc<Pool>> {
    let mut pools: Vec<Arc<Pool>> = Vec::new();
    for (_, gateway) in gateways {
        if let AddressSource::Pool(pool) = &gateway.source
            && !pools.contains(pool)
        {
            pools.push(Arc::clone(pool));
        }
    }
    pools
}

/// Where a Gateway's addresses come from, if it can have any now.
fn pool(gateway: &GatewayOutcome) -> Option<&Pool> {
    match &gateway.source {
        _ if gateway.refused.is_some() => None,
        // It can't be recorded that it has one.
        _ if gateway.wish.record == Record::Foreign => None,
        AddressSource::Pool(pool) => Some(pool),
        AddressSource::Shared | AddressSource::Service(_) => None,
    }
}

/// What is kept for a Gateway that is not served now.
fn kept(gateway: &GatewayOutcome, addresses: Given<IpAddr>, ports: Given<Target>) -> Reach {
    if ports.proven.is_empty() {
        return Reach::Own(addresses.proven);
    }
    let (addresses, _) = serviced::assigned(&gateway.wish.record);
    Reach::Service { targets: ports.proven.into_iter().collect(), addresses }
}

/// Who has which address.
fn holders<'a>(gateways: &[Named<'a>], allocations: &[Allocation]) -> BTreeMap<IpAddr, &'a NamespacedName> {
    let all = gateways.iter().zip(allocations);
    all.flat_map(|((name, _), given)| given.addresses.iter().map(|address| (*address, *name))).collect()
}

/// Says what a record claims that is another's.
fn tell_lost(
    name: &NamespacedName,
    gateway: &GatewayOutcome,
    allocation: &Allocation,
    holders: &BTreeMap<IpAddr, &NamespacedName>,
    findings: &mut Findings,
) {
    for address in gateway.wish.record.addresses().iter().filter(|it| !allocation.addresses.contains(it)) {
        let Some(holder) = holders.get(address) else { continue };
        let holder = naming::told_in(&name.namespace, "Gateway", holder);
        let message = format!("the Gateway's Service says {address}, which is {holder}'s: it is not served there");
        let mend = format!("leave the annotation {} to Genkan", GatewayService::ADDRESSES);
        findings.warning("", ADDRESS_NOT_USABLE, message, mend);
    }
}

impl Plan {
    /// The addresses that Gateways have for themselves, or are to have. What is of no pool is nobody's own, whatever is kept
    /// for a Gateway: its status may show the controller's addresses, and what its Service says is a tenant's word.
    pub(crate) fn own_addresses(&self) -> BTreeSet<IpAddr> {
        let had = self.gateways.values().filter_map(|addressing| match &addressing.reach {
            Reach::Own(addresses) => Some(addresses),
            Reach::Controller | Reach::Service { .. } => None,
        });
        let promised = self.promised.values().map(|promise| &promise.addresses.all);
        let of_pool = |address: &IpAddr| self.pools.iter().any(|pool| pool.has(*address));
        had.chain(promised).flatten().copied().filter(of_pool).collect()
    }

    /// What is to become of a Gateway's Service.
    fn keep(&mut self, name: &NamespacedName, gateway: &GatewayOutcome, promise: &Promise, settings: &Settings) {
        let is_ours = match gateway.wish.record {
            Record::Missing => false,
            Record::Own(_) | Record::Stale => true,
            Record::Foreign => return,
        };
        let controller = &settings.gateway_controller_name;
        let infrastructure = match &gateway.source {
            _ if gateway.ours && gateway.refused.is_some() => return,
            AddressSource::Pool(_) if gateway.ours => {
                Infrastructure::Service(Arc::new(gateway.wish.service(name, &promise.addresses.all, controller)))
            }
            AddressSource::Service(template) if gateway.ours => {
                match (serviced::spec(gateway, template, &promise.ports.all), &gateway.wish.record) {
                    (Some(spec), _) => {
                        Infrastructure::Service(Arc::new(gateway.wish.leading(name, Some(spec), controller)))
                    }
                    // A Service has a port at least. One that is there stays: it may have an address that is hard to get.
                    (None, Record::Own(_)) => Infrastructure::Idle,
                    (None, Record::Stale) => Infrastructure::Nothing,
                    (None, Record::Missing | Record::Foreign) => return,
                }
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
    Addressing { reach: Reach::Controller, trouble }
}

/// A Gateway with addresses of a pool.
fn pooled(
    name: &NamespacedName,
    gateway: &GatewayOutcome,
    refused: &[Refused],
    addresses: Given<IpAddr>,
    settings: &Settings,
    findings: &mut Findings,
) -> Addressing {
    if gateway.wish.record == Record::Foreign {
        let service = service_of(name);
        let message = format!("Service {service} is not of this Gateway, so no address can be recorded there");
        let refusal = Refusal { reason: ADDRESS_NOT_ASSIGNED, message: message.clone() };
        findings.error("", ADDRESS_NOT_ASSIGNED, message, format!("rename or delete Service {service}"));
        // What it had before it still has.
        return Addressing { reach: Reach::Own(addresses.proven), trouble: Some(refusal) };
    }
    let mut trouble = None;
    for (field, reason, message, mend) in refusals(&name.namespace, gateway, refused) {
        trouble.get_or_insert_with(|| Refusal { reason, message: message.clone() });
        findings.error(field, reason, message, mend);
    }
    if !settings.record_addresses {
        return Addressing { reach: Reach::Own(addresses.all), trouble };
    }
    if addresses.proven.len() < addresses.all.len() {
        // It takes a moment; the writer of infrastructure tells when it does not succeed.
        let message = "an address is being recorded on the Gateway's Service".to_owned();
        trouble.get_or_insert(Refusal { reason: ADDRESS_NOT_ASSIGNED, message });
    }
    Addressing { reach: Reach::Own(addresses.proven), trouble }
}

/// What a Gateway does not get: where it asks for it, the reason, the message and the mend.
fn refusals(
    namespace: &str,
    gateway: &GatewayOutcome,
    refused: &[Refused],
) -> Vec<(String, &'static str, String, &'static str)> {
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
                let told = |name| naming::told_in(namespace, "Gateway", name);
                let holder = holder.as_ref().map_or("Genkan itself".to_owned(), told);
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
