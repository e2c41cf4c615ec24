//! The ledger by itself: what is written when, and in which order.

use genkan_routing::model::SharedMap;
use serde_json::json;

use super::*;
use crate::translate::gateway::status::{ClassStatus, Cond, CondKind, ParentReference, ParentStatus};

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

/// A ledger that leads and wants one route to be accepted, which has no status.
fn begin() -> (Ledger, Instant) {
    let (mut ledger, now) = (Ledger::new(OURS.into()), Instant::now());
    ledger.lead(true, now);
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
    ledger.look_at_all(now + LONGEST);
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
    ledger.lead(true, now);
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
    assert_eq!(write.version.as_deref(), Some("7"));
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
        ledger.lead(true, now);
        ledger.note(&route("a"), object("u", "1", &status), now);
        ledger.want(statuses(&wanted.map(|wanted| (route("a"), wanted)).into_iter().collect::<Vec<_>>()), now);
        assert_eq!(ledger.next(8, 0).map(|write| write.status), expected);
    }
}

#[test]
fn gateways_come_before_policies_and_those_before_routes() {
    let (mut ledger, now) = (Ledger::new(OURS.into()), Instant::now());
    ledger.lead(true, now);
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
    let write = ledger.next(8, 0).unwrap();
    ledger.done(&write, Outcome::Outdated, now);
    assert!(ledger.next(8, 0).is_none());
    ledger.note(&route("a"), fresh("u", "2"), now + PATIENCE);
    let write = ledger.next(8, 0).unwrap();
    assert_eq!(write.version.as_deref(), Some("2"));
    // The newer version may be seen before the refusal of the older one.
    ledger.note(&route("a"), fresh("u", "3"), now);
    ledger.done(&write, Outcome::Outdated, now + PATIENCE + PACE);
    ledger.wake(now + PATIENCE + PATIENCE);
    assert_eq!(ledger.next(8, 0).unwrap().version.as_deref(), Some("3"));
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
    let mut contested = Vec::new();
    for version in 2..7 {
        let write = ledger.next(8, 0).unwrap();
        contested.push(ledger.done(&write, written(&write, "9"), now));
        ledger.note(&route("a"), fresh("u", &version.to_string()), now);
        assert!(ledger.next(8, 0).is_none(), "not at once");
        now += LONGEST;
        ledger.wake(now);
    }
    assert_eq!(contested, [false, false, false, true, false]);
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
    assert_eq!(
        (write.version.as_deref(), &write.status["parents"][0]["conditions"][0]["reason"]),
        (Some("2"), &json!("Other"))
    );
}

#[test]
fn who_does_not_lead_writes_nothing_and_who_leads_again_everything() {
    let (mut ledger, now) = begin();
    ledger.lead(false, now);
    assert!(ledger.next(8, 0).is_none());
    ledger.note(&route("a"), fresh("u", "2"), now);
    assert!(ledger.next(8, 0).is_none());
    ledger.lead(true, now);
    assert!(ledger.next(8, 0).is_some());
    // What ran when it ceased to lead is forgotten.
    ledger.lead(false, now);
    ledger.lead(true, now);
    assert!(ledger.next(8, 0).is_some());
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
    ledger.lead(true, now);
    let key = Key::new(Kind::GatewayClass, "", "a");
    ledger.note(&key, fresh("u", "1"), now);
    let mut wanted = class();
    if let Wanted::Class(class) = &mut wanted {
        class.conditions.push(Cond::holds(CondKind::SupportedVersion, "SupportedVersion", ""));
    }
    ledger.want(statuses(&[(key, wanted)]), now);
    let write = ledger.next(8, 0).unwrap();
    assert_eq!(write.status["conditions"].as_array().unwrap().len(), 1);
    assert_eq!(write.version, None, "nobody else writes into it");
    ledger.done(&write, written(&write, "2"), now);
    let installed = Some(super::super::version::Installed::read(Some("v1.6.3")));
    ledger.surround(Surroundings { installed, ..Surroundings::default() }, now + PACE);
    assert_eq!(ledger.next(8, 0).unwrap().status["conditions"].as_array().unwrap().len(), 2);
}
