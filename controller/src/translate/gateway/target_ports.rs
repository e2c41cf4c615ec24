//! Target ports: which port of our Pods the Service of a Gateway leads to for each port of the Gateway. Pure: the same
//! claims give the same allocation, whoever asks.
//!
//! No two Gateways have the same one, so a connection says by its port alone whose it is. A port that a Gateway has stays
//! its own whatever other Gateways do, or write into Services of their own; it moves only when it is no longer asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use super::evidence::{Evidence, GRADES};
use crate::resources::PublicPort;

/// A port of a Gateway, and the one of our Pods.
pub(crate) type Target = (PublicPort, u16);

/// What a Gateway asks for, and what it has.
#[derive(Clone, Debug)]
pub(crate) struct PortClaim {
    /// The ports that it asks for. `None`: it can have none now, and what it has is kept for it.
    pub(crate) wanted: Option<BTreeSet<PublicPort>>,
    /// What it has.
    pub(crate) has: Evidence<Target>,
}

/// Gives every claim its ports; what is missing in it can't be had. Of equal evidence those in front win, nobody gets one
/// of `occupied`, and new ones are the least that are free.
pub(crate) fn allocate(
    claims: &[PortClaim],
    range: &RangeInclusive<u16>,
    occupied: &BTreeSet<u16>,
) -> Vec<BTreeMap<PublicPort, u16>> {
    let mut taken = occupied.clone();
    let mut given = vec![BTreeMap::new(); claims.len()];
    for grade in 0..GRADES {
        for (claim, given) in claims.iter().zip(&mut given) {
            for (public, target) in &claim.has[grade] {
                let asked = claim.wanted.as_ref().is_none_or(|wanted| wanted.contains(public));
                if asked && range.contains(target) && !given.contains_key(public) && taken.insert(*target) {
                    given.insert(*public, *target);
                }
            }
        }
    }
    // What is taken by now stays taken, so the next that is free is never before the last one.
    let mut free = range.clone().filter(|port| !taken.contains(port));
    for (claim, given) in claims.iter().zip(&mut given) {
        for public in claim.wanted.iter().flatten() {
            if !given.contains_key(public)
                && let Some(target) = free.next()
            {
                given.insert(*public, target);
            }
        }
    }
    given
}

#[cfg(test)]
#[path = "target_ports_tests.rs"]
mod tests;
