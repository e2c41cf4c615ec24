use proptest::prelude::*;

use super::super::evidence::{Given, certain, weigh};
use super::*;
use crate::resources::Wire;

const RANGE: RangeInclusive<u16> = 20000..=20011;

fn tcp(number: u16) -> PublicPort {
    PublicPort { wire: Wire::Tcp, number }
}

fn claim(wanted: &[u16], recorded: &[(u16, u16)]) -> PortClaim {
    let recorded: Vec<_> = recorded.iter().map(|(public, target)| (tcp(*public), *target)).collect();
    PortClaim { wanted: Some(wanted.iter().map(|number| tcp(*number)).collect()), has: weigh(&recorded, &[], None) }
}

fn targets(claims: &[PortClaim]) -> Vec<Vec<(u16, u16)>> {
    let all = allocate(claims, &RANGE, &BTreeSet::from([20000])).into_iter();
    all.map(|one| one.into_iter().map(|(public, target)| (public.number, target)).collect()).collect()
}

#[test]
fn new_ports_are_the_least_that_are_free_and_recorded_ones_stay() {
    let claims = [claim(&[80, 443], &[]), claim(&[80], &[(80, 20001)]), claim(&[80], &[(80, 1), (81, 20005)])];
    assert_eq!(targets(&claims), [vec![(80, 20002), (443, 20003)], vec![(80, 20001)], vec![(80, 20004)]]);
}

#[test]
fn what_a_tenant_writes_into_its_service_takes_no_port_away() {
    let [mine, theirs] = [(tcp(80), 20001), (tcp(80), 20002)];
    let given = Given::now(vec![theirs], None, &[theirs]);
    for victim in
        [weigh(&[theirs], &[], Some(&given)), weigh(&[theirs], &[theirs], None), weigh(&[], &[], Some(&given))]
    {
        let thief = PortClaim { has: weigh(&[theirs], &[mine], None), ..claim(&[80], &[]) };
        let victim = PortClaim { has: victim, ..claim(&[80], &[]) };
        assert_eq!(targets(&[thief, victim]), [[(80, 20001)], [(80, 20002)]]);
    }
}

#[test]
fn who_can_have_none_now_keeps_what_is_certain() {
    let port = (tcp(80), 20001);
    let kept = |shown: &[Target]| PortClaim { wanted: None, has: certain(weigh(&[port], shown, None)) };
    assert_eq!(targets(&[claim(&[80], &[]), kept(&[port])]), [[(80, 20002)], [(80, 20001)]]);
    assert_eq!(targets(&[claim(&[80], &[]), kept(&[])]), [vec![(80, 20001)], vec![]]);
}

#[test]
fn who_comes_when_all_are_given_gets_none() {
    let all: Vec<_> = (1..=11).collect();
    let given = targets(&[claim(&all, &[]), claim(&[80], &[])]);
    assert_eq!((given[0].len(), given[1].len()), (11, 0));
}

fn public() -> impl Strategy<Value = PublicPort> {
    (any::<bool>(), 1u16..5)
        .prop_map(|(udp, number)| PublicPort { wire: if udp { Wire::Udp } else { Wire::Tcp }, number })
}

fn some() -> impl Strategy<Value = Vec<Target>> {
    prop::collection::vec((public(), 19998u16..20014), 0..4)
}

fn claims() -> impl Strategy<Value = Vec<PortClaim>> {
    let one = (prop::collection::btree_set(public(), 0..4), some(), some(), some());
    let claim = |(wanted, recorded, shown, all): (_, Vec<_>, Vec<_>, _)| PortClaim {
        wanted: Some(wanted),
        has: weigh(&recorded, &shown, Some(&Given { all, proven: Vec::new() })),
    };
    prop::collection::vec(one.prop_map(claim), 0..5)
}

proptest! {
    #[test]
    fn no_port_is_given_twice_and_each_is_of_the_range(claims in claims(), occupied in 19998u16..20014) {
        let mut seen = BTreeSet::from([occupied]);
        for (claim, given) in claims.iter().zip(allocate(&claims, &RANGE, &BTreeSet::from([occupied]))) {
            for (public, target) in given {
                prop_assert!(seen.insert(target), "{target} twice");
                prop_assert!(RANGE.contains(&target) && claim.wanted.as_ref().unwrap().contains(&public));
            }
        }
    }

    #[test]
    fn what_was_given_and_recorded_stays_whoever_comes_or_goes(
        claims in claims(), newcomer in prop::collection::btree_set(public(), 0..4), forged in some(),
        place in 0usize..6, goes in 0usize..6, later in any::<bool>(),
    ) {
        let none = BTreeSet::new();
        let recorded = |claims: &[PortClaim]| -> Vec<PortClaim> {
            let given = allocate(claims, &RANGE, &none).into_iter().map(|one| one.into_iter().collect::<Vec<_>>());
            let has = |all: Vec<Target>| match later {
                true => weigh(&all, &all, None),
                false => weigh(&all, &[], Some(&Given::now(all.clone(), None, &all))),
            };
            claims.iter().zip(given).map(|(claim, all)| PortClaim { has: has(all), ..claim.clone() }).collect()
        };
        let mut after = recorded(&claims);
        if goes < after.len() {
            after.remove(goes);
        }
        let place = place.min(after.len());
        after.insert(place, PortClaim { wanted: Some(newcomer), has: weigh(&forged, &[], None) });
        let again = allocate(&after, &RANGE, &none);
        for (index, (claim, given)) in after.iter().zip(&again).enumerate().filter(|(index, _)| *index != place) {
            for (public, target) in &claim.has[1] {
                prop_assert_eq!(given.get(public), Some(target), "{} lost it", index);
            }
        }
    }
}
