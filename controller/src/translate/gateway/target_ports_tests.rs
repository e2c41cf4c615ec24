use proptest::prelude::*;

use super::super::evidence::{Given, certain, weigh};
use super::*;
use crate::resources::Wire;

const RANGE: RangeInclusive<u16> = 20000..=20011;

fn tcp(number: u16) -> PublicPort {
    PublicPort { wire: Wire::Tcp, number }
}

fn service(name: &str) -> NamespacedName {
    NamespacedName::new("x", name)
}

fn claim(wanted: &[u16], recorded: &[(u16, u16)]) -> PortClaim {
    let recorded: Vec<_> = recorded.iter().map(|(public, target)| (tcp(*public), *target)).collect();
    let wanted = Some(wanted.iter().map(|number| tcp(*number)).collect());
    PortClaim { service: service("some"), wanted, has: weigh(&recorded, &[], None) }
}

fn ports<'a>(occupied: &[u16], led: LedPorts, freed: &'a [u16]) -> Ports<'a> {
    Ports { range: &RANGE, occupied: occupied.iter().copied().collect(), led, freed }
}

fn given(claims: &[PortClaim], ports: &Ports<'_>) -> Vec<Vec<(u16, u16)>> {
    let all = allocate(claims, ports).into_iter();
    all.map(|one| one.into_iter().map(|(public, target)| (public.number, target)).collect()).collect()
}

fn targets(claims: &[PortClaim]) -> Vec<Vec<(u16, u16)>> {
    given(claims, &ports(&[20000], LedPorts::default(), &[]))
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
    let kept = |shown: &[Target]| PortClaim {
        service: service("kept"),
        wanted: None,
        has: certain(weigh(&[port], shown, None)),
    };
    assert_eq!(targets(&[claim(&[80], &[]), kept(&[port])]), [[(80, 20002)], [(80, 20001)]]);
    assert_eq!(targets(&[claim(&[80], &[]), kept(&[])]), [vec![(80, 20001)], vec![]]);
}

#[test]
fn who_comes_when_all_are_given_gets_none() {
    let all: Vec<_> = (1..=11).collect();
    let given = targets(&[claim(&all, &[]), claim(&[80], &[])]);
    assert_eq!((given[0].len(), given[1].len()), (11, 0));
}

#[test]
fn nobody_new_gets_a_port_that_the_service_of_another_leads_to() {
    let (gone, mine) = (service("gone"), service("mine"));
    let led = || LedPorts::of(&[(20001, &gone), (20002, &mine)]);
    let of = |wanted: &[u16], has: Evidence<Target>| {
        let claim = PortClaim { service: mine.clone(), has, ..claim(wanted, &[]) };
        given(&[claim], &ports(&[20000], led(), &[])).remove(0)
    };
    let target = |target: u16| [(tcp(80), target)];
    assert_eq!(of(&[80], Evidence::default()), [(80, 20003)], "also not what its own leads to for another port");
    assert_eq!(of(&[80], weigh(&target(20001), &[], None)), [(80, 20003)], "a record says what a tenant wants");
    assert_eq!(of(&[80], weigh(&target(20002), &[], None)), [(80, 20002)]);
    let before = Given::now(target(20001).to_vec(), None, &target(20001));
    assert_eq!(of(&[80], weigh(&[], &[], Some(&before))), [(80, 20001)], "what somebody has stays");
    assert_eq!(of(&[80], weigh(&target(20001), &target(20001), None)), [(80, 20001)]);
}

#[test]
fn what_was_free_longest_is_given_again_first_and_after_all_that_is_new() {
    let all = |freed: &[u16], wanted: u16| -> Vec<u16> {
        let wanted: Vec<_> = (1..=wanted).collect();
        given(&[claim(&wanted, &[])], &ports(&[], LedPorts::default(), freed))[0].iter().map(|it| it.1).collect()
    };
    assert_eq!(all(&[20003, 20000], 2), [20001, 20002]);
    assert_eq!(all(&[20003, 20000, 1], 12)[9..], [20011, 20003, 20000]);
    let set = |ports: &[u16]| ports.iter().copied().collect::<BTreeSet<_>>();
    let first = freed(&set(&[1, 2, 3]), &set(&[2]), &[]);
    assert_eq!(first, [1, 3]);
    assert_eq!(freed(&set(&[2, 1]), &set(&[1]), &first), [3, 2]);
    assert_eq!(freed(&set(&[1]), &set(&[]), &[3, 2]), [3, 2, 1]);
}

#[test]
fn a_namespace_gets_its_share_and_keeps_what_it_has() {
    let range = 20000..=20999;
    let of = |namespace: &str, wanted: std::ops::Range<u16>, has: &[Target]| PortClaim {
        service: NamespacedName::new(namespace, "s"),
        wanted: Some(wanted.map(tcp).collect()),
        has: weigh(has, has, None),
    };
    let has: Vec<_> = (0..300).map(|number| (tcp(number), 20500 + number)).collect();
    let claims = [of("greedy", 0..900, &[]), of("modest", 0..9, &[]), of("early", 0..310, &has)];
    let ports = Ports { range: &range, occupied: BTreeSet::new(), led: LedPorts::default(), freed: &[] };
    let counts: Vec<_> = allocate(&claims, &ports).iter().map(BTreeMap::len).collect();
    assert_eq!(counts, [250, 9, 300]);
    assert_eq!(of_namespace(&RANGE), 64);
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
        service: service("none"),
        wanted: Some(wanted),
        has: weigh(&recorded, &shown, Some(&Given { all, proven: Vec::new() })),
    };
    let named = |claims: Vec<PortClaim>| {
        let named = |(index, claim): (usize, PortClaim)| PortClaim { service: service(&index.to_string()), ..claim };
        claims.into_iter().enumerate().map(named).collect()
    };
    prop::collection::vec(one.prop_map(claim), 0..5).prop_map(named)
}

proptest! {
    #[test]
    fn no_port_is_given_twice_and_each_is_of_the_range(
        claims in claims(), occupied in 19998u16..20014, led in prop::collection::vec((19998u16..20014, 0usize..6), 0..6),
        freed in prop::collection::vec(19998u16..20014, 0..6),
    ) {
        let services: Vec<_> = led.iter().map(|(port, by)| (*port, service(&by.to_string()))).collect();
        let led: Vec<_> = services.iter().map(|(port, by)| (*port, by)).collect();
        let freed: Vec<_> = freed.into_iter().collect::<BTreeSet<_>>().into_iter().collect();
        let ports = ports(&[occupied], LedPorts::of(&led), &freed);
        let mut seen = BTreeSet::from([occupied]);
        for (claim, given) in claims.iter().zip(allocate(&claims, &ports)) {
            for (public, target) in given {
                prop_assert!(seen.insert(target), "{target} twice");
                prop_assert!(RANGE.contains(&target) && claim.wanted.as_ref().unwrap().contains(&public));
                let is_told = claim.has[..RECORDED].iter().any(|grade| grade.contains(&(public, target)));
                prop_assert!(is_told || !ports.led.is_led_by_another(target, &claim.service), "{target} is led to");
            }
        }
    }

    #[test]
    fn what_was_given_and_recorded_stays_whoever_comes_or_goes(
        claims in claims(), newcomer in prop::collection::btree_set(public(), 0..4), forged in some(),
        place in 0usize..6, goes in 0usize..6, later in any::<bool>(),
    ) {
        let none = ports(&[], LedPorts::default(), &[]);
        let recorded = |claims: &[PortClaim]| -> Vec<PortClaim> {
            let given = allocate(claims, &none).into_iter().map(|one| one.into_iter().collect::<Vec<_>>());
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
        let service = service("new");
        after.insert(place, PortClaim { service, wanted: Some(newcomer), has: weigh(&forged, &[], None) });
        let again = allocate(&after, &none);
        for (index, (claim, given)) in after.iter().zip(&again).enumerate().filter(|(index, _)| *index != place) {
            for (public, target) in &claim.has[1] {
                prop_assert_eq!(given.get(public), Some(target), "{} lost it", index);
            }
        }
    }
}
