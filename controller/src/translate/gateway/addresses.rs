//! Addresses: which Gateway has which addresses of a pool. Pure: the same claims give the same allocation, whoever asks.
//!
//! ```text
//!  evident and still fitting --> kept, the best evidence first, then the older Gateway
//!  named in spec.addresses   --> given, if it is in the pool and free
//!  any                       --> the first free one of the dynamic ranges
//! ```
//!
//! An address that a Gateway has stays its own whatever other Gateways do, or write into records of their own.

use std::collections::BTreeMap;
use std::net::IpAddr;

use genkan_policies::IpRange;

use super::evidence::{Evidence, GRADES};
use crate::resources::NamespacedName;

/// Addresses that Gateways may have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pool {
    /// Given to whoever asks for any; may be named as well.
    pub(crate) dynamic: Vec<IpRange>,
    /// Given only to who names them.
    pub(crate) reserved: Vec<IpRange>,
}

/// What a Gateway asks for, and what it has.
#[derive(Clone, Debug)]
pub(crate) struct Claim<'a> {
    /// The Gateway.
    pub(crate) gateway: &'a NamespacedName,
    /// Where its addresses come from. `None`: it can have none now, and what it has is kept for it.
    pub(crate) pool: Option<&'a Pool>,
    /// What it asks for.
    pub(crate) requests: &'a [Request],
    /// What it has.
    pub(crate) has: &'a Evidence<IpAddr>,
}

/// One address that a Gateway asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// Any of the dynamic ranges.
    Any,
    /// This one.
    Exactly(IpAddr),
}

/// What a Gateway gets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Allocation {
    /// Its addresses, in the order in which it asks for them. Of who can have none now: those that are kept for it.
    pub(crate) addresses: Vec<IpAddr>,
    /// What it asks for and does not get.
    pub(crate) refused: Vec<Refused>,
}

/// Why a Gateway does not get an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Its pool does not have it.
    NotInPool(IpAddr),
    /// Another Gateway has it; `None`: Genkan itself listens there.
    Taken(IpAddr, Option<NamespacedName>),
    /// No address of the dynamic ranges is free.
    Exhausted,
}

impl Pool {
    fn gives(&self, address: IpAddr) -> bool {
        self.dynamic.iter().any(|range| range.contains(address))
    }

    /// Whether an address is in it.
    pub(crate) fn has(&self, address: IpAddr) -> bool {
        self.gives(address) || self.reserved.iter().any(|range| range.contains(address))
    }
}

/// Gives every claim its addresses. Of equal evidence those in front win; nobody gets one of `occupied`.
pub(crate) fn allocate(claims: &[Claim<'_>], occupied: &[IpAddr]) -> Vec<Allocation> {
    let mut desk = Desk {
        taken: occupied.iter().map(|address| (*address, None)).collect(),
        slots: claims.iter().map(|claim| vec![None; claim.pool.map_or(0, |_| claim.requests.len())]).collect(),
        refused: vec![Vec::new(); claims.len()],
        claims,
    };
    for grade in 0..GRADES {
        (0..claims.len()).for_each(|index| desk.keep(index, grade));
    }
    (0..claims.len()).for_each(|index| desk.give_named(index));
    (0..claims.len()).for_each(|index| desk.give_any(index));
    let addresses = desk.slots.into_iter().map(|slots| slots.into_iter().flatten().collect::<Vec<_>>());
    addresses.zip(desk.refused).map(|(addresses, refused)| Allocation { addresses, refused }).collect()
}

/// Where addresses are handed out.
struct Desk<'a> {
    claims: &'a [Claim<'a>],
    /// By which claim an address is taken; `None`: by nobody's.
    taken: BTreeMap<IpAddr, Option<usize>>,
    /// For each claim its requests, fulfilled or not.
    slots: Vec<Vec<Option<IpAddr>>>,
    refused: Vec<Vec<Refused>>,
}

impl Desk<'_> {
    /// What it has by evidence of this grade and still fits.
    fn keep(&mut self, index: usize, grade: usize) {
        let claim = &self.claims[index];
        let has = &claim.has[grade];
        let Some(pool) = claim.pool else {
            for address in has {
                if !self.taken.contains_key(address) {
                    self.taken.insert(*address, Some(index));
                    self.slots[index].push(Some(*address));
                }
            }
            return;
        };
        let named = |address: &IpAddr| claim.requests.contains(&Request::Exactly(*address));
        for (slot, request) in claim.requests.iter().enumerate() {
            if let Request::Exactly(address) = request
                && has.contains(address)
                && pool.has(*address)
            {
                self.take(index, slot, *address);
            }
        }
        let mut any = has.iter().filter(|address| !named(address) && pool.gives(**address));
        for (slot, _) in claim.requests.iter().enumerate().filter(|(_, request)| **request == Request::Any) {
            while self.slots[index][slot].is_none()
                && let Some(address) = any.next()
            {
                self.take(index, slot, *address);
            }
        }
    }

    /// What is asked for by name.
    fn give_named(&mut self, index: usize) {
        let claim = &self.claims[index];
        let Some(pool) = claim.pool else { return };
        for (slot, request) in claim.requests.iter().enumerate() {
            let Request::Exactly(address) = *request else { continue };
            if self.slots[index][slot].is_some() {
                continue;
            }
            if !pool.has(address) {
                self.refused[index].push(Refused::NotInPool(address));
            } else if let Some(holder) = self.take(index, slot, address) {
                let holder = holder.and_then(|holder| self.claims.get(holder)).map(|claim| claim.gateway.clone());
                self.refused[index].push(Refused::Taken(address, holder));
            }
        }
    }

    /// What is asked for without a name.
    fn give_any(&mut self, index: usize) {
        let claim = &self.claims[index];
        let Some(pool) = claim.pool else { return };
        for (slot, _) in claim.requests.iter().enumerate().filter(|(_, request)| **request == Request::Any) {
            if self.slots[index][slot].is_some() {
                continue;
            }
            // At most as many are tried as are taken.
            let free = pool.dynamic.iter().flat_map(IpRange::addresses).find(|it| !self.taken.contains_key(it));
            match free {
                Some(address) => drop(self.take(index, slot, address)),
                None => self.refused[index].push(Refused::Exhausted),
            }
        }
    }

    /// Takes an address, or says who has it.
    fn take(&mut self, index: usize, slot: usize, address: IpAddr) -> Option<Option<usize>> {
        match self.taken.get(&address) {
            // Somebody who names an address twice has it once.
            Some(Some(holder)) if *holder == index => None,
            Some(holder) => Some(*holder),
            None => {
                self.taken.insert(address, Some(index));
                self.slots[index][slot] = Some(address);
                None
            }
        }
    }
}

#[cfg(test)]
#[path = "addresses_tests.rs"]
mod tests;
