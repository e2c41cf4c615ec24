//! Target ports: which port of our Pods the Service of a Gateway leads to for each port of the Gateway. Pure: the same
//! claims give the same allocation, whoever asks.
//!
//! No two Gateways have the same one, so a connection says by its port alone whose it is. A port that a Gateway has stays
//! its own whatever other Gateways do, or write into Services of their own; it moves only when it is no longer asked for.
//! One that is free again is given again last of all, and to nobody while the Service of another still leads there.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::sync::Arc;

use super::evidence::{Evidence, GRADES, RECORDED};
use super::led::LedPorts;
use crate::resources::{NamespacedName, PublicPort};

/// A port of a Gateway, and the one of our Pods.
pub(crate) type Target = (PublicPort, u16);

/// Of a small range a namespace may have so many whatever its share would be.
const LEAST_OF_NAMESPACE: usize = 64;

/// What a Gateway asks for, and what it has.
#[derive(Clone, Debug)]
pub(crate) struct PortClaim {
    /// The Service that leads to its ports.
    pub(crate) service: NamespacedName,
    /// The ports that it asks for. `None`: it can have none now, and what it has is kept for it.
    pub(crate) wanted: Option<BTreeSet<PublicPort>>,
    /// What it has.
    pub(crate) has: Evidence<Target>,
}

/// What there is to give.
#[derive(Debug)]
pub(crate) struct Ports<'a> {
    /// All of it.
    pub(crate) range: &'a RangeInclusive<u16>,
    /// What nobody gets of it.
    pub(crate) occupied: BTreeSet<u16>,
    /// Where Services lead.
    pub(crate) led: LedPorts,
    /// What somebody had, that which is free longest in front.
    pub(crate) freed: &'a [u16],
}

/// So many ports of a range the Gateways of a namespace may have: no tenant takes all of them.
pub(crate) fn of_namespace(range: &RangeInclusive<u16>) -> usize {
    (range.len() / 4).max(LEAST_OF_NAMESPACE)
}

/// Gives every claim its ports; what is missing in it can't be had. Of equal evidence those in front win, and new ones are
/// the least that nobody had so far.
pub(crate) fn allocate(claims: &[PortClaim], ports: &Ports<'_>) -> Vec<BTreeMap<PublicPort, u16>> {
    let mut taken = ports.occupied.clone();
    let mut given = vec![BTreeMap::new(); claims.len()];
    let mut counts: BTreeMap<&Arc<str>, usize> = BTreeMap::new();
    for grade in 0..GRADES {
        for (claim, given) in claims.iter().zip(&mut given) {
            for (public, target) in &claim.has[grade] {
                let asked = claim.wanted.as_ref().is_none_or(|wanted| wanted.contains(public));
                // What only a record says may be said to get clients that are still led to whoever had the port.
                let led = grade >= RECORDED && ports.led.is_led_by_another(*target, &claim.service);
                let fits = asked && !led && ports.range.contains(target) && !given.contains_key(public);
                if fits && taken.insert(*target) {
                    given.insert(*public, *target);
                    *counts.entry(&claim.service.namespace).or_default() += 1;
                }
            }
        }
    }
    let rested: BTreeSet<_> = ports.freed.iter().collect();
    let new = ports.range.clone().filter(|port| !rested.contains(port));
    let again = ports.freed.iter().copied().filter(|port| ports.range.contains(port));
    // What is taken by now stays taken, so the next that is free is never before the last one.
    let mut free = new.chain(again).filter(|port| !taken.contains(port) && !ports.led.is_led(*port));
    let most = of_namespace(ports.range);
    for (claim, given) in claims.iter().zip(&mut given) {
        let count = counts.entry(&claim.service.namespace).or_default();
        for public in claim.wanted.iter().flatten() {
            if !given.contains_key(public)
                && *count < most
                && let Some(target) = free.next()
            {
                given.insert(*public, target);
                *count += 1;
            }
        }
    }
    given
}

/// What is free since `before`, behind what was free already, without what is given `now`.
pub(crate) fn freed(before: &BTreeSet<u16>, now: &BTreeSet<u16>, freed: &[u16]) -> Vec<u16> {
    let again = freed.iter().filter(|port| !before.contains(port));
    again.chain(before.iter()).filter(|port| !now.contains(port)).copied().collect()
}

#[cfg(test)]
#[path = "target_ports_tests.rs"]
mod tests;
