use std::collections::BTreeSet;

use proptest::prelude::*;

use super::super::evidence::{Given, certain, weigh};
use super::*;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn pool(dynamic: &str, reserved: &str) -> Pool {
    let ranges = |text: &str| text.split_whitespace().map(|range| range.parse().unwrap()).collect();
    Pool { dynamic: ranges(dynamic), reserved: ranges(reserved) }
}

/// A Gateway of a test.
#[derive(Clone, Debug)]
struct Asker {
    name: NamespacedName,
    requests: Vec<Request>,
    has: Evidence<IpAddr>,
}

/// A Gateway of which nothing is known but its record.
fn asker(name: &str, requests: &[Request], recorded: &[&str]) -> Asker {
    let recorded: Vec<_> = recorded.iter().map(|text| ip(text)).collect();
    Asker { name: NamespacedName::new("default", name), requests: requests.to_vec(), has: weigh(&recorded, &[], None) }
}

fn claims<'a>(askers: &'a [Asker], pool: &'a Pool) -> Vec<Claim<'a>> {
    let claim =
        |asker: &'a Asker| Claim { gateway: &asker.name, pool: Some(pool), requests: &asker.requests, has: &asker.has };
    askers.iter().map(claim).collect()
}

fn given_to(askers: &[Asker], pool: &Pool) -> Vec<Vec<String>> {
    let all = allocate(&claims(askers, pool), &[]).into_iter();
    all.map(|one| one.addresses.iter().map(ToString::to_string).collect()).collect()
}

#[test]
fn each_gets_the_first_that_is_free() {
    let pool = pool("10.0.0.1-10.0.0.2 10.0.1.0/24", "");
    let askers = [asker("a", &[Request::Any], &[]), asker("b", &[Request::Any, Request::Any], &[])];
    assert_eq!(given_to(&askers, &pool), [vec!["10.0.0.1"], vec!["10.0.0.2", "10.0.1.0"]]);
}

#[test]
fn what_is_recorded_goes_before_age_and_before_names() {
    let pool = pool("10.0.0.1-10.0.0.9", "");
    let first = Request::Exactly(ip("10.0.0.1"));
    let askers = [asker("old", &[first], &[]), asker("young", &[Request::Any], &["10.0.0.1"])];
    let all = allocate(&claims(&askers, &pool), &[]);
    assert_eq!(all[0].refused, [Refused::Taken(ip("10.0.0.1"), Some(NamespacedName::new("default", "young")))]);
    assert_eq!(all[1].addresses, [ip("10.0.0.1")]);
    // What both have by the record belongs to the older.
    let askers = [asker("old", &[Request::Any], &["10.0.0.1"]), asker("young", &[Request::Any], &["10.0.0.1"])];
    assert_eq!(given_to(&askers, &pool), [["10.0.0.1"], ["10.0.0.2"]]);
}

#[test]
fn a_record_that_nothing_confirms_takes_no_address_away() {
    let pool = pool("10.0.0.1-10.0.0.9", "10.0.0.20");
    let [mine, theirs] = [ip("10.0.0.1"), ip("10.0.0.2")];
    let named = Request::Exactly(theirs);
    let given = Given::now(vec![theirs], None, &[theirs]);
    for victim in
        [weigh(&[theirs], &[], Some(&given)), weigh(&[theirs], &[theirs], None), weigh(&[], &[], Some(&given))]
    {
        for request in [Request::Any, named] {
            // The thief is older, has an address of its own, and writes the other's into its record.
            let thief = Asker { has: weigh(&[theirs], &[mine], None), ..asker("thief", &[request], &[]) };
            let askers = [thief, Asker { has: victim.clone(), ..asker("victim", &[Request::Any], &[]) }];
            let all = allocate(&claims(&askers, &pool), &[]);
            assert_eq!(all[1].addresses, [theirs], "{victim:?}");
            assert_eq!(all[0].addresses, if request == Request::Any { vec![mine] } else { vec![] });
        }
    }
}

#[test]
fn records_go_before_what_was_only_promised() {
    let pool = pool("10.0.0.1-10.0.0.9", "");
    let given = Given::now(vec![ip("10.0.0.1")], None, &[]);
    let promised = Asker { has: weigh(&[], &[], Some(&given)), ..asker("a", &[Request::Any], &[]) };
    let askers = [promised, asker("b", &[Request::Any], &["10.0.0.1"])];
    assert_eq!(given_to(&askers, &pool), [["10.0.0.2"], ["10.0.0.1"]]);
}

#[test]
fn reserved_addresses_are_for_who_names_them() {
    let pool = pool("10.0.0.1", "10.0.0.2");
    let reserved = Request::Exactly(ip("10.0.0.2"));
    let askers = [asker("a", &[Request::Any], &["10.0.0.2"]), asker("b", &[Request::Any], &[])];
    let all = allocate(&claims(&askers, &pool), &[]);
    // Not any more: it once named it.
    assert_eq!(all[0].addresses, [ip("10.0.0.1")]);
    assert_eq!((&all[1].addresses[..], &all[1].refused[..]), (&[][..], &[Refused::Exhausted][..]));
    let askers = [asker("a", &[Request::Any, reserved], &[])];
    assert_eq!(given_to(&askers, &pool), [["10.0.0.1", "10.0.0.2"]]);
}

#[test]
fn what_can_not_be_had_is_refused_and_the_rest_is_given() {
    let pool = pool("10.0.0.1-10.0.0.3", "");
    let requests =
        [Request::Exactly(ip("192.0.2.1")), Request::Exactly(ip("10.0.0.2")), Request::Exactly(ip("10.0.0.1"))];
    let askers = [asker("a", &requests, &[])];
    let all = allocate(&claims(&askers, &pool), &[ip("10.0.0.1")]);
    assert_eq!(all[0].addresses, [ip("10.0.0.2")]);
    assert_eq!(all[0].refused, [Refused::NotInPool(ip("192.0.2.1")), Refused::Taken(ip("10.0.0.1"), None)]);
}

#[test]
fn who_can_have_none_now_keeps_what_is_recorded() {
    let pool = pool("10.0.0.1-10.0.0.3", "");
    let broken = |shown: &[IpAddr]| {
        let has = certain(weigh(&[ip("10.0.0.1"), ip("10.0.0.2")], shown, None));
        let askers = [asker("a", &[Request::Any], &[]), Asker { has, ..asker("broken", &[Request::Any], &[]) }];
        let mut claims = claims(&askers, &pool);
        claims[1].pool = None;
        allocate(&claims, &[]).into_iter().map(|one| one.addresses).collect::<Vec<_>>()
    };
    assert_eq!(broken(&[ip("10.0.0.1")]), [[ip("10.0.0.2")], [ip("10.0.0.1")]]);
    // What only its record says it may never have had.
    assert_eq!(broken(&[]), [vec![ip("10.0.0.1")], vec![]]);
}

/// Addresses of a pool so small that Gateways meet in it.
fn address() -> impl Strategy<Value = IpAddr> {
    (0u8..14).prop_map(|last| IpAddr::from([10, 0, 0, last]))
}

fn request() -> impl Strategy<Value = Request> {
    prop_oneof![2 => Just(Request::Any), 1 => address().prop_map(Request::Exactly)]
}

/// Of a Gateway: what it asks for, its record, its status, what was given to it.
type Drawn = (Vec<Request>, Vec<IpAddr>, Vec<IpAddr>, Vec<IpAddr>);

fn askers() -> impl Strategy<Value = Vec<Asker>> {
    let some = || prop::collection::vec(address(), 0..3);
    let one = (prop::collection::vec(request(), 1..3), some(), some(), some());
    prop::collection::vec(one, 0..8).prop_map(|all| {
        let named = |(index, (requests, recorded, shown, all)): (usize, Drawn)| Asker {
            name: NamespacedName::new("default", format!("g{index}")),
            requests,
            has: weigh(&recorded, &shown, Some(&Given { all, proven: Vec::new() })),
        };
        all.into_iter().enumerate().map(named).collect()
    })
}

/// The askers as they are when what they got was recorded: seen so by who gave it, or, by who came later, in statuses.
fn recorded(askers: &[Asker], pool: &Pool, later: bool) -> Vec<Asker> {
    let all = allocate(&claims(askers, pool), &[]);
    let after = |(asker, Allocation { addresses, .. }): (&Asker, Allocation)| {
        let given = Given::now(addresses.clone(), None, &addresses);
        let has = if later { weigh(&addresses, &addresses, None) } else { weigh(&addresses, &[], Some(&given)) };
        Asker { has, ..asker.clone() }
    };
    askers.iter().zip(all).map(after).collect()
}

proptest! {
    #[test]
    fn no_address_is_given_twice_and_each_is_of_the_pool(askers in askers(), occupied in address()) {
        let pool = pool("10.0.0.0-10.0.0.9", "10.0.0.10-10.0.0.11");
        let mut seen = BTreeSet::from([occupied]);
        for (asker, one) in askers.iter().zip(allocate(&claims(&askers, &pool), &[occupied])) {
            for address in &one.addresses {
                prop_assert!(seen.insert(*address), "{address} twice");
                prop_assert!(pool.has(*address));
                prop_assert!(pool.gives(*address) || asker.requests.contains(&Request::Exactly(*address)));
            }
            prop_assert!(one.addresses.len() + one.refused.len() <= asker.requests.len());
        }
    }

    #[test]
    fn what_was_given_and_recorded_stays_whoever_comes_or_goes(
        askers in askers(), newcomer in prop::collection::vec(request(), 1..3), forged in prop::collection::vec(address(), 0..3),
        place in 0usize..9, goes in 0usize..9, later in any::<bool>(),
    ) {
        let pool = pool("10.0.0.0-10.0.0.9", "10.0.0.10-10.0.0.11");
        let mut after = recorded(&askers, &pool, later);
        if goes < after.len() {
            after.remove(goes);
        }
        // Older than some: a Gateway from a backup, for example. Its record says whatever its author likes.
        let newcomer = Asker { has: weigh(&forged, &[], None), ..asker("new", &newcomer, &[]) };
        after.insert(place.min(after.len()), newcomer);
        let again = allocate(&claims(&after, &pool), &[]);
        for (asker, one) in after.iter().zip(&again).filter(|(asker, _)| &*asker.name.name != "new") {
            for address in &asker.has[1] {
                prop_assert!(one.addresses.contains(address), "{} lost {address}", asker.name);
            }
        }
    }

    #[test]
    fn what_is_recorded_is_what_would_be_given(askers in askers(), later in any::<bool>()) {
        let pool = pool("10.0.0.0-10.0.0.9", "10.0.0.10-10.0.0.11");
        let after = recorded(&askers, &pool, later);
        prop_assert_eq!(
            allocate(&claims(&after, &pool), &[]).into_iter().map(|one| one.addresses).collect::<Vec<_>>(),
            after.iter().map(|asker| asker.has[1].clone()).collect::<Vec<_>>()
        );
    }
}
