//! Known: what is known of Gateways besides themselves, weighed as evidence of what each has, and what follows from it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use genkan_routing::model::Protocol;

use super::addresses::Allocation;
use super::evidence::{Evidence, Given, Promise, Said, certain, refute, weigh};
use super::gateways::GatewayOutcome;
use super::infrastructure::{Record, service_of};
use super::led::LedPorts;
use super::parameters::AddressSource;
use super::target_ports::{self, PortClaim, Ports, Target};
use crate::resources::{NamespacedName, PublicPort, Shown};
use crate::settings::Settings;

/// A Gateway and its name.
pub(crate) type Named<'a> = (&'a NamespacedName, &'a Arc<GatewayOutcome>);

/// What is known besides the Gateways and their Services.
pub(crate) struct Known<'a> {
    /// What the plan before promised. It may be on its way to the record: nobody else gets it, however old.
    pub(crate) promised: &'a BTreeMap<NamespacedName, Promise>,
    /// The ports that Gateways had and have no longer, that which is free longest in front.
    pub(crate) freed: &'a [u16],
    /// Where Services lead.
    pub(crate) led: LedPorts,
    /// What statuses say.
    pub(crate) shown: &'a BTreeMap<NamespacedName, Shown>,
    /// The ports that Gateways ask for.
    pub(crate) ports: BTreeMap<&'a NamespacedName, BTreeSet<PublicPort>>,
    /// The ports of TCP and UDP services, which are not for Gateways.
    pub(crate) services: &'a BTreeSet<(Protocol, u16)>,
}

impl Known<'_> {
    /// The addresses that each Gateway has.
    pub(crate) fn addresses(&self, gateways: &[Named<'_>]) -> Vec<Evidence<IpAddr>> {
        let said: Vec<_> = gateways.iter().map(|named| self.said_addresses(named)).collect();
        let weighed = |(said, (name, gateway)): (&Said<'_, IpAddr>, &Named<'_>)| {
            let evidence = weigh(said.recorded, said.shown, self.before(name, gateway).map(|before| &before.addresses));
            match &gateway.source {
                // A mistake in its parameters must not cost it its addresses for good.
                _ if gateway.ours && gateway.refused.is_some() => certain(evidence),
                AddressSource::Pool(_) if gateway.wish.record == Record::Foreign => certain(evidence),
                AddressSource::Pool(_) => evidence,
                AddressSource::Shared | AddressSource::Service(_) => Evidence::default(),
            }
        };
        let mut all: Vec<_> = said.iter().zip(gateways).map(weighed).collect();
        refute(&mut all, &said, |address| *address, |_, _| true);
        all
    }

    fn said_addresses<'s>(&'s self, (name, gateway): &Named<'s>) -> Said<'s, IpAddr> {
        let shown = self.shown.get(*name).map(|shown| &shown.addresses[..]).unwrap_or_default();
        Said { recorded: gateway.wish.record.addresses(), shown }
    }

    /// The ports that each Gateway with a Service gets.
    pub(crate) fn allocate_ports(&self, gateways: &[Named<'_>], settings: &Settings) -> Vec<Vec<Target>> {
        let Some(range) = &settings.target_ports else { return vec![Vec::new(); gateways.len()] };
        let said: Vec<_> = gateways.iter().map(|named| self.said_ports(named)).collect();
        let weighed = |(said, (name, gateway)): (&Said<'_, Target>, &Named<'_>)| {
            weigh(said.recorded, said.shown, self.before(name, gateway).map(|before| &before.ports))
        };
        let mut evidence: Vec<_> = said.iter().zip(gateways).map(weighed).collect();
        refute(&mut evidence, &said, |(_, target)| *target, |one, other| one.0 == other.0 || one.1 == other.1);
        let claims = evidence.into_iter().zip(gateways).map(|(has, (name, gateway))| self.claim(name, gateway, has));
        let claims: Vec<_> = claims.collect();
        let occupied = settings.own_ports().chain(self.services.iter().map(|(_, port)| *port)).collect();
        let ports = Ports { range, occupied, led: self.led.clone(), freed: self.freed };
        target_ports::allocate(&claims, &ports).into_iter().map(|one| one.into_iter().collect()).collect()
    }

    fn said_ports<'s>(&'s self, (name, gateway): &Named<'s>) -> Said<'s, Target> {
        let shown = self.shown.get(*name).map(|shown| &shown.ports[..]).unwrap_or_default();
        Said { recorded: gateway.wish.record.ports(), shown }
    }

    fn claim(&self, name: &NamespacedName, gateway: &GatewayOutcome, has: Evidence<Target>) -> PortClaim {
        let (wanted, has) = match &gateway.source {
            // As with addresses: what it has stays its own, whatever is wrong with it now.
            _ if gateway.ours && gateway.refused.is_some() => (None, certain(has)),
            AddressSource::Service(_) if gateway.wish.record == Record::Foreign => (None, certain(has)),
            AddressSource::Service(_) => (self.ports.get(name).cloned(), has),
            AddressSource::Shared | AddressSource::Pool(_) => (Some(BTreeSet::new()), Evidence::default()),
        };
        PortClaim { service: service_of(name), wanted, has }
    }

    /// What a Gateway is given, and what of it is proven.
    pub(crate) fn promise(
        &self,
        name: &NamespacedName,
        gateway: &GatewayOutcome,
        allocation: &Allocation,
        ports: Vec<Target>,
    ) -> Promise {
        let before = self.before(name, gateway);
        let (record, addresses) = (&gateway.wish.record, allocation.addresses.clone());
        Promise {
            uid: gateway.wish.uid.clone(),
            addresses: Given::now(addresses, before.map(|before| &before.addresses), record.addresses()),
            ports: Given::now(ports, before.map(|before| &before.ports), record.ports()),
        }
    }

    /// What was promised to a Gateway.
    fn before(&self, name: &NamespacedName, gateway: &GatewayOutcome) -> Option<&Promise> {
        self.promised.get(name).and_then(|promise| promise.to(&gateway.wish))
    }

    /// What is free now, when this is promised.
    pub(crate) fn freed_by(&self, promised: &BTreeMap<NamespacedName, Promise>) -> Vec<u16> {
        let targets = |all: &BTreeMap<NamespacedName, Promise>| -> BTreeSet<u16> {
            all.values().flat_map(|promise| promise.ports.all.iter().map(|(_, target)| *target)).collect()
        };
        target_ports::freed(&targets(self.promised), &targets(promised), self.freed)
    }
}
