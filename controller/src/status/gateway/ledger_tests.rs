//! The ledger by itself: what is written when, and in which order.

use genkan_routing::model::SharedMap;
use genkan_routing::name::ListenerId;
use serde_json::json;

use super::super::finish::Bound;
use super::super::version::Installed;
use super::*;
use crate::translate::gateway::status::{
    ClassStatus, Cond, CondKind, GatewayStatus, ListenerStatus, ParentReference, ParentStatus,
};

const OURS: &str = "genkan.dev/gateway-controller";

fn route(name: &str) -> Key {
    Key::new(Kind::HttpRoute, "web", name)
}

fn parent(reason: &'static str) -> Wanted {
    let parent_ref = ParentReference::gateway("infra".into(), "edge".into());
    let conditions = vec![Cond::holds(CondKind::Accepted, reason, "")];
    Wanted::Route { parents: vec![ParentStatus { parent_ref, conditions }] }
}

fn class() -> Wanted {
    let conditions = vec![Cond::holds(CondKind::Accepted, "Accepted", "")];
    Wanted::Class(ClassStatus { conditions, supported_features: &[] })
}

fn statuses(objects: &[(Key, Wanted)]) -> Arc<Statuses> {
    let mut map = SharedMap::default();
    for (key, wanted) in objects {
        map.insert(key.clone(), Arc::new(wanted.clone()));
    }
    Arc::new(Statuses { objects: map })
}

/// An object with a status, as the API server would give it.
fn object(uid: &str, version: &str, status: &Value) -> Option<SeenObject> {
    let seen = SeenStatus::read(&json!({"metadata": {"resourceVersion": version}, "status": status}), OURS);
    Some(SeenObject { uid: uid.into(), generation: 1, status: Arc::new(seen) })
}

fn fresh(uid: &str, version: &str) -> Option<SeenObject> {
    object(uid, version, &json!({}))
}

/// The answer to a write.
fn written(write: &Write, version: &str) -> Outcome {
    let mut seen = SeenStatus::of(&write.status, OURS);
    seen.version = version.into();
    Outcome::Written(seen)
}

/// Everything that statuses need is known, and these listeners are bound.
fn known(bound: &[&str]) -> Surroundings {
    let bound = bound.iter().map(|id| ListenerId::new(*id)).collect();
    Surroundings {
        bound: Arc::new(Bound { bound, ..Bound::default() }),
        addresses: Some(BTreeSet::new()),
        nodes: None,
        installed: Some(Installed::read(Some("v1.6.3"))),
    }
}

fn edge() -> Key {
    Key::new(Kind::Gateway, "infra", "edge")
}

/// A Gateway with one listener of so many routes.
fn gateway(attached_routes: u32) -> Wanted {
    let programmed = || vec![Cond::holds(CondKind::Programmed, "Programmed", "")];
    let listener = ListenerStatus {
        name: "web".into(),
        supported_kinds: Vec::new(),
        attached_routes,
        conditions: programmed(),
        bound: vec![ListenerId::new("http")],
    };
    Wanted::Gateway(GatewayStatus {
        addresses: Vec::new(),
        shared_addresses: false,
        node_addresses: false,
        conditions: programmed(),
        listeners: vec![listener],
        attached_listener_sets: None,
    })
}

/// Leads, and looks at everything.
fn lead(ledger: &mut Ledger, now: Instant) {
    ledger.lead(true, now);
    while ledger.is_looking() {
        ledger.look_on(now);
    }
}

fn look_at_all(ledger: &mut Ledger, now: Instant) {
    ledger.look_at_all();
    while ledger.is_looking() {
        ledger.look_on(now);
    }
}

/// A ledger that leads and wants one route to be accepted, which has no status.
fn begin() -> (Ledger, Instant) {
    let (mut ledger, now) = (Ledger::new(OURS.into()), Instant::now());
    lead(&mut ledger, now);
    ledger.want(statuses(&[(route("a"), parent("Accepted"))]), now);
    ledger.note(&route("a"), fresh("u", "1"), now);
    (ledger, now)
}

#[test]
fn what_was_written_is_not_written_again() {
    let (mut ledger, now) = begin();
    let write = ledger.next(8, 0).unwrap();
    assert!(ledger.next(8, 0).is_none(), "one write of an object at a time");
    assert!(!ledger.done(&write, written(&write, "2"), now));
    look_at_all(&mut ledger, now + LONGEST);
    assert!(ledger.next(8, 0).is_none());
    ledger.note(&route("a"), object("u", "2", &write.status), now);
    assert!(ledger.next(8, 0).is_none());
    assert!(!ledger.differs(&route("a")));
}

#[test]
fn what_is_there_already_is_not_written() {
    let (mut ledger, now) = begin();
    let status = ledger.next(8, 0).unwrap().status;
    let mut ledger = Ledger::new(OURS.into());
    lead(&mut ledger, now);
    ledger.note(&route("a"), object("u", "1", &status), now);
    ledger.want(statuses(&[(route("a"), parent("Accepted"))]), now);
    assert!(ledger.next(8, 0).is_none());
}

#[test]
fn entries_of_other_controllers_stay_and_say_which_version_was_read() {
    let (mut ledger, now) = begin();
    let foreign = json!({"parentRef": {"name": "other"}, "controllerName": "other.test/x", "conditions": []});
    let mine = json!({"parentRef": {"name": "gone"}, "controllerName": OURS, "conditions": []});
    let status = json!({"parents": [mine, foreign]});
    ledger.note(&route("a"), object("u", "7", &status), now);
    let write = ledger.next(8, 0).unwrap();
    assert_eq!((&*write.basis, write.shared), ("7", true));
    let parents = write.status["parents"].as_array().unwrap();
    assert_eq!((parents.len(), &parents[0], &parents[1]["controllerName"]), (2, &foreign, &json!(OURS)));
}

#[test]
fn what_is_ours_no_more_is_taken_away_and_what_never_was_is_let_alone() {
    let (mut ledger, now) = begin();
    let status = ledger.next(8, 0).unwrap().status;
    let none = Wanted::Route { parents: Vec::new() };
    for (wanted, expected) in [(Some(none), Some(json!({"parents": []}))), (None, None)] {
        let mut ledger = Ledger::new(OURS.into());
        lead(&mut ledger, now);
        ledger.note(&route("a"), object("u", "1", &status), now);
        ledger.want(statuses(&wanted.map(|wanted| (route("a"), wanted)).into_iter().collect::<Vec<_>>()), now);
        assert_eq!(ledger.next(8, 0).map(|write| write.status), expected);
    }
}

#[test]
fn gateways_come_before_policies_and_those_before_routes() {
    let (mut ledger, now) = (Ledger::new(OURS.into()), Instant::now());
    lead(&mut ledger, now);
    ledger.surround(known(&[]), now);
    let gateway_class = Key::new(Kind::GatewayClass, "", "z");
    let policy = Key::new(Kind::BackendTlsPolicy, "web", "a");
    let ancestors = Wanted::Policy { ancestors: Vec::new() };
    let mine = json!({"ancestors": [{"ancestorRef": {"name": "gone"}, "controllerName": OURS, "conditions": []}]});
    ledger.note(&route("a"), fresh("u", "1"), now);
    ledger.note(&policy, object("v", "1", &mine), now);
    ledger.note(&gateway_class, fresh("w", "1"), now);
    let all = [(route("a"), parent("Accepted")), (policy.clone(), ancestors), (gateway_class.clone(), class())];
    ledger.want(statuses(&all), now);
    let order: Vec<_> = std::iter::from_fn(|| ledger.next(8, 0)).map(|write| write.key).collect();
    assert_eq!(order, [gateway_class, policy, route("a")]);
}

#[test]
fn a_refused_write_waits_for_the_version_that_refused_it() {
    let (mut ledger, now) = begin();
    for version in ["2", "3", "4"] {
        let write = ledger.next(8, 0).unwrap();
        ledger.done(&write, Outcome::Outdated, now);
        assert!(ledger.next(8, 0).is_none());
        // It may be one that never comes.
        assert_eq!(ledger.due(), Some(now + PATIENCE));
        ledger.note(&route("a"), fresh("u", version), now);
    }
    let write = ledger.next(8, 0).unwrap();
    assert_eq!(&*write.basis, "4");
    // The newer version may be seen before the refusal of the older one.
    ledger.note(&route("a"), fresh("u", "5"), now);
    ledger.done(&write, Outcome::Outdated, now);
    let write = ledger.next(8, 0).unwrap();
    assert_eq!(&*write.basis, "5");
    // Whoever sees nothing new is not asked at once again.
    ledger.done(&write, Outcome::Outdated, now);
    ledger.wake(now + PATIENCE);
    let write = ledger.next(8, 0).unwrap();
    ledger.done(&write, Outcome::Outdated, now + PATIENCE);
    assert_eq!(ledger.due(), Some(now + PATIENCE * 3));
}

#[test]
fn what_failed_is_tried_later_and_later() {
    let (mut ledger, mut now) = begin();
    for wait in [PATIENCE, PATIENCE * 2, PATIENCE * 4] {
        let write = ledger.next(8, 0).unwrap();
        ledger.done(&write, Outcome::Failed, now);
        assert_eq!(ledger.due(), Some(now + wait));
        assert!(ledger.differs(&route("a")));
        now += wait;
        ledger.wake(now);
    }
    let write = ledger.next(8, 0).unwrap();
    ledger.done(&write, Outcome::Gone, now);
    assert_eq!((ledger.due(), ledger.next(8, 0).is_none()), (None, true));
}

#[test]
fn an_object_made_anew_is_written_at_once() {
    for outcome in [Outcome::Failed, Outcome::Outdated, Outcome::Gone] {
        let (mut ledger, now) = begin();
        let write = ledger.next(8, 0).unwrap();
        ledger.note(&route("a"), None, now);
        ledger.note(&route("a"), fresh("v", "5"), now);
        ledger.done(&write, outcome, now);
        assert_eq!(&*ledger.next(8, 0).unwrap().uid, "v");
    }
}

#[test]
fn who_overwrites_is_answered_later_and_later_and_told() {
    let (mut ledger, mut now) = begin();
    let (mut contested, mut waits) = (Vec::new(), Vec::new());
    for version in 2..10 {
        let write = ledger.next(8, 0).unwrap();
        contested.push(ledger.done(&write, written(&write, "9"), now));
        ledger.note(&route("a"), fresh("u", &version.to_string()), now);
        assert!(ledger.next(8, 0).is_none(), "not at once");
        let due = ledger.due().unwrap();
        waits.push((due - now).as_secs());
        now = due;
        ledger.wake(now);
    }
    assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
    assert_eq!(contested, [false, false, false, true, false, false, false, false]);
    // After a quiet time all is forgotten.
    let write = ledger.next(8, 0).unwrap();
    ledger.done(&write, written(&write, "20"), now + FORGET);
    ledger.note(&route("a"), fresh("u", "21"), now + FORGET);
    assert_eq!(ledger.due(), Some(now + FORGET + PATIENCE));
}

#[test]
fn another_word_waits_for_the_pace_only() {
    let (mut ledger, now) = begin();
    let write = ledger.next(8, 0).unwrap();
    ledger.want(statuses(&[(route("a"), parent("Other"))]), now);
    assert!(ledger.next(8, 0).is_none(), "the first one runs");
    ledger.done(&write, written(&write, "2"), now);
    assert_eq!(ledger.due(), Some(now + PACE));
    ledger.wake(now + PACE);
    let write = ledger.next(8, 0).unwrap();
    assert_eq!((&*write.basis, &write.status["parents"][0]["conditions"][0]["reason"]), ("2", &json!("Other")));
}

#[test]
fn who_does_not_lead_writes_nothing_and_who_leads_again_everything() {
    let (mut ledger, now) = begin();
    ledger.lead(false, now);
    assert!(ledger.next(8, 0).is_none());
    ledger.note(&route("a"), fresh("u", "2"), now);
    assert!(ledger.next(8, 0).is_none());
    lead(&mut ledger, now);
    assert!(ledger.next(8, 0).is_some());
    // What ran when it ceased to lead is forgotten.
    ledger.lead(false, now);
    lead(&mut ledger, now);
    assert!(ledger.next(8, 0).is_some());
}

#[test]
fn a_new_leader_looks_at_some_objects_at_a_time_at_gateways_first() {
    let (mut ledger, now) = (Ledger::new(OURS.into()), Instant::now());
    ledger.surround(known(&["http"]), now);
    let routes: Vec<_> = (0..2 * LOOKS).map(|number| route(&format!("r{number:03}"))).collect();
    let wanted = routes.iter().map(|route| (route.clone(), parent("Accepted"))).chain([(edge(), gateway(1))]);
    ledger.want(statuses(&wanted.collect::<Vec<_>>()), now);
    for key in routes.iter().chain([&edge()]) {
        ledger.note(key, fresh("u", "1"), now);
    }
    ledger.lead(true, now);
    assert!(!ledger.is_waiting());
    let mut written = Vec::new();
    for (looks, all) in [(1, LOOKS), (2, 2 * LOOKS), (3, 2 * LOOKS + 1)] {
        ledger.look_on(now);
        written.extend(std::iter::from_fn(|| ledger.next(usize::MAX, 0)).map(|write| write.key));
        assert_eq!((written.len(), ledger.is_looking()), (all, looks < 3));
    }
    assert_eq!(written[0], edge());
    // Who leads no longer looks at nothing.
    ledger.lead(true, now);
    ledger.lead(false, now);
    assert!(!ledger.is_looking());
}

#[test]
fn a_generation_that_was_translated_is_told() {
    let (mut ledger, now) = begin();
    let write = ledger.next(8, 1_700_000_000).unwrap();
    let condition = &write.status["parents"][0]["conditions"][0];
    assert_eq!(condition["observedGeneration"], 1);
    assert_eq!(condition["lastTransitionTime"], "2023-11-14T22:13:20Z");
    ledger.done(&write, written(&write, "2"), now);
    let newer = object("u", "3", &write.status).map(|seen| SeenObject { generation: 2, ..seen });
    ledger.note(&route("a"), newer, now + PACE);
    let condition = &ledger.next(8, 1_800_000_000).unwrap().status["parents"][0]["conditions"][0];
    assert_eq!(condition["observedGeneration"], 2);
    assert_eq!(condition["lastTransitionTime"], "2023-11-14T22:13:20Z", "it did not change");
}

#[test]
fn what_is_bound_is_told_at_gateways() {
    let (mut ledger, now) = (Ledger::new(OURS.into()), Instant::now());
    lead(&mut ledger, now);
    ledger.surround(known(&[]), now);
    ledger.want(statuses(&[(edge(), gateway(1)), (route("a"), parent("Accepted"))]), now);
    ledger.note(&edge(), fresh("u", "1"), now);
    let programmed = |write: &Write| write.status["listeners"][0]["conditions"][0]["status"].clone();
    let write = ledger.next(8, 0).unwrap();
    assert_eq!((programmed(&write), write.shared), (json!("False"), false), "nobody else writes into it");
    ledger.done(&write, written(&write, "2"), now);
    ledger.surround(known(&["http"]), now + PACE);
    let write = ledger.next(8, 0).unwrap();
    assert_eq!(programmed(&write), json!("True"));
    ledger.done(&write, written(&write, "3"), now + PACE);
    // What did not change is not written, whatever else is bound.
    ledger.surround(known(&["http", "other"]), now + PACE * 2);
    assert!(ledger.next(8, 0).is_none() && !ledger.differs(&edge()));
}

#[test]
fn nothing_is_said_of_classes_before_it_is_known_what_is_installed() {
    let (mut ledger, now) = (Ledger::new(OURS.into()), Instant::now());
    lead(&mut ledger, now);
    let key = Key::new(Kind::GatewayClass, "", "a");
    let said = json!({"type": "SupportedVersion", "status": "True", "reason": "SupportedVersion", "message": "v1.6.3"});
    ledger.note(&key, object("u", "1", &json!({"conditions": [said]})), now);
    ledger.want(statuses(&[(key.clone(), class())]), now);
    assert!(ledger.next(8, 0).is_none() && !ledger.differs(&key) && ledger.due().is_none());
    ledger.surround(Surroundings { installed: Some(Installed::untold()), ..Surroundings::default() }, now);
    let write = ledger.next(8, 0).unwrap();
    assert_eq!(write.status["conditions"].as_array().unwrap().len(), 2, "what another said stays");
}

#[test]
fn addresses_that_come_to_be_known_are_written_and_those_before_stay_until_then() {
    let (mut ledger, now) = (Ledger::new(OURS.into()), Instant::now());
    lead(&mut ledger, now);
    let mut shared = gateway(1);
    if let Wanted::Gateway(status) = &mut shared {
        status.shared_addresses = true;
    }
    ledger.surround(Surroundings { addresses: None, ..known(&["http"]) }, now);
    let there = json!({"addresses": [{"type": "Hostname", "value": "lb.test"}]});
    ledger.note(&edge(), object("u", "1", &there), now);
    ledger.want(statuses(&[(edge(), shared)]), now);
    let write = ledger.next(8, 0).unwrap();
    assert_eq!(write.status["addresses"], there["addresses"]);
    ledger.done(&write, written(&write, "2"), now);
    let addresses = Some(BTreeSet::from([crate::watch::Address::Ip("10.0.0.1".to_owned())]));
    ledger.surround(Surroundings { addresses, ..known(&["http"]) }, now + PACE);
    assert_eq!(ledger.next(8, 0).unwrap().status["addresses"][0]["value"], "10.0.0.1");
}

#[test]
fn what_is_written_again_and_again_is_written_at_a_slower_pace() {
    let (mut ledger, mut now) = (Ledger::new(OURS.into()), Instant::now());
    lead(&mut ledger, now);
    ledger.surround(known(&["http"]), now);
    ledger.note(&edge(), fresh("u", "1"), now);
    let mut waits = Vec::new();
    for routes in 1..=5 {
        ledger.want(statuses(&[(edge(), gateway(routes))]), now);
        let write = ledger.next(8, 0).unwrap();
        ledger.done(&write, written(&write, &routes.to_string()), now);
        ledger.want(statuses(&[(edge(), gateway(100 + routes))]), now);
        let due = ledger.due().unwrap();
        waits.push(due - now);
        now = due;
        ledger.wake(now);
    }
    assert_eq!(waits, [PACE, PACE * 2, PACE * 4, SLOW_PACE, SLOW_PACE]);
    let write = ledger.next(8, 0).unwrap();
    ledger.done(&write, written(&write, "9"), now + REST);
    ledger.want(statuses(&[(edge(), gateway(7))]), now + REST);
    assert_eq!(ledger.due(), Some(now + REST + PACE), "after a rest it is quick again");
}

#[test]
fn what_ceases_to_be_ours_is_taken_back_once() {
    let (mut ledger, now) = begin();
    let write = ledger.next(8, 0).unwrap();
    ledger.done(&write, written(&write, "2"), now);
    ledger.note(&route("a"), object("u", "2", &write.status), now);
    ledger.want(statuses(&[]), now + PATIENCE);
    let back = ledger.next(8, 0).unwrap();
    assert_eq!(back.status, json!({"parents": []}));
    ledger.done(&back, written(&back, "3"), now + PATIENCE);
    // Another installation of our name may have it now.
    ledger.note(&route("a"), object("u", "4", &write.status), now + LONGEST);
    look_at_all(&mut ledger, now + LONGEST + LONGEST);
    assert!(ledger.next(8, 0).is_none() && ledger.due().is_none());
}

#[test]
fn a_gateway_that_ceases_to_be_ours_is_taken_back_unless_it_was_given_to_another() {
    let marked = |version: &str, generation: i64, status: &Value| {
        let status = Arc::new(SeenStatus::of(status, OURS).at(version, true));
        Some(SeenObject { uid: "u".into(), generation, status })
    };
    for (generation, expected) in [(1, Some("Pending")), (2, None)] {
        let (mut ledger, now) = (Ledger::new(OURS.into()), Instant::now());
        lead(&mut ledger, now);
        ledger.surround(known(&["http"]), now);
        ledger.note(&edge(), fresh("u", "1"), now);
        ledger.want(statuses(&[(edge(), gateway(1))]), now);
        let write = ledger.next(8, 0).unwrap();
        ledger.done(&write, written(&write, "2"), now);
        ledger.note(&edge(), marked("2", 1, &write.status), now);
        ledger.want(statuses(&[]), now + PATIENCE);
        ledger.note(&edge(), marked("3", generation, &write.status), now + PATIENCE);
        let back = ledger.next(8, 0).map(|write| write.status);
        assert_eq!(back.as_ref().map(|back| back["conditions"][1]["reason"].as_str().unwrap()), expected);
        assert!(back.is_none_or(|back| back.get("listeners").is_none()));
    }
}

#[test]
fn nothing_is_withdrawn_from_what_was_never_ours() {
    let (mut ledger, now) = (Ledger::new(OURS.into()), Instant::now());
    lead(&mut ledger, now);
    let conditions = vec![Cond::fails(CondKind::Accepted, "Pending", "")];
    ledger.want(statuses(&[(edge(), Wanted::Withdrawn { conditions })]), now);
    ledger.note(&edge(), object("u", "1", &json!({"listeners": [{"name": "web"}]})), now);
    assert!(ledger.next(8, 0).is_none());
    let seen = object("u", "2", &json!({})).unwrap();
    let status = Arc::new((*seen.status).clone().at("3", true));
    ledger.note(&edge(), Some(SeenObject { status, ..seen }), now);
    assert!(ledger.next(8, 0).is_some());
}

#[test]
fn a_thousand_routes_are_written_once_each_and_counted_by_few_writes() {
    let (mut ledger, mut now) = (Ledger::new(OURS.into()), Instant::now());
    lead(&mut ledger, now);
    ledger.surround(known(&["http"]), now);
    ledger.note(&edge(), fresh("u", "1"), now);
    let (mut wanted, mut counts, mut writes) = (Vec::new(), Vec::new(), 0);
    let mut write_all = |ledger: &mut Ledger, now: Instant, told: u32| {
        while let Some(write) = ledger.next(16, 0) {
            writes += 1;
            if write.key == edge() {
                let count = write.status["listeners"][0]["attachedRoutes"].as_u64().unwrap();
                assert_eq!(count, u64::from(told), "no write says what was true before");
                counts.push((now, count));
            }
            let answer = written(&write, &format!("w{writes}"));
            ledger.done(&write, answer, now);
            let seen = SeenStatus::of(&write.status, OURS).at(&format!("w{writes}"), false);
            let seen = SeenObject { uid: write.uid.clone(), generation: 1, status: Arc::new(seen) };
            ledger.note(&write.key, Some(seen), now);
        }
    };
    // They come within a second, a batch each 10 ms.
    let began = now;
    for batch in 1..=100_u32 {
        for at in (batch - 1) * 10..batch * 10 {
            let key = route(&format!("{at:04}"));
            wanted.push((key.clone(), parent("Accepted")));
            ledger.note(&key, fresh(&at.to_string(), "1"), now);
        }
        let gateway = (edge(), gateway(batch * 10));
        ledger.want(statuses(&[wanted.clone(), vec![gateway]].concat()), now);
        ledger.wake(now);
        write_all(&mut ledger, now, batch * 10);
        now += Duration::from_millis(10);
    }
    let last = now;
    while let Some(due) = ledger.due() {
        now = due;
        ledger.wake(now);
        write_all(&mut ledger, now, 1000);
    }
    let (at, count) = *counts.last().unwrap();
    assert_eq!((count, writes - counts.len()), (1000, 1000), "one write for each route");
    assert!(at - last <= SLOW_PACE, "{:?}", at - last);
    assert!(counts.len() <= 6, "{:?}", counts.iter().map(|(at, count)| (*at - began, count)).collect::<Vec<_>>());
}
