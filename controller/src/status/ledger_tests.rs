//! The ledger by itself: what is written when.

use super::*;

fn web() -> NamespacedName {
    NamespacedName::new("default", "web")
}

fn addresses(texts: &[&str]) -> BTreeSet<Address> {
    texts.iter().map(|text| Address::from_text(text)).collect()
}

fn state(uid: &str, published: &[&str]) -> Option<IngressState> {
    let published = published.iter().map(|text| Address::from_text(text)).collect();
    Some(IngressState { uid: uid.into(), published })
}

/// A ledger that wants `1.2.3.4` and knows an Ingress without an address.
fn begin() -> (Ledger, Instant) {
    let (mut ledger, now) = (Ledger::default(), Instant::now());
    ledger.want(Some(addresses(&["1.2.3.4"]).into()), now);
    ledger.note(&web(), state("u", &[]), now);
    (ledger, now)
}

#[test]
fn the_order_of_addresses_makes_no_difference() {
    let published = state("u", &["lb.test", "1.2.3.4"]).unwrap();
    assert!(has(&published, &addresses(&["1.2.3.4", "lb.test"])));
    assert!(!has(&published, &addresses(&["1.2.3.4"])));
    assert!(!has(&published, &addresses(&[])));
}

#[test]
fn what_was_written_is_not_written_again() {
    let (mut ledger, now) = begin();
    let write = ledger.next(8).unwrap();
    assert!(ledger.next(8).is_none());
    ledger.done(&write, Outcome::Written, now);
    ledger.look_at_all(now);
    assert!(ledger.next(8).is_none());
    assert_eq!(ledger.that_have(&addresses(&["1.2.3.4"])).len(), 1);
}

#[test]
fn what_is_noted_while_a_write_runs_is_newer_than_what_was_written() {
    let (mut ledger, now) = begin();
    let write = ledger.next(8).unwrap();
    ledger.note(&web(), state("u", &["9.9.9.9"]), now);
    assert!(ledger.next(8).is_none(), "one write of an Ingress at a time");
    ledger.done(&write, Outcome::Written, now);
    ledger.wake(now + LONGEST);
    assert!(ledger.next(8).is_some());
}

#[test]
fn an_ingress_made_anew_while_a_write_runs_is_written() {
    for outcome in [Outcome::Gone, Outcome::Written] {
        let (mut ledger, now) = begin();
        let write = ledger.next(8).unwrap();
        ledger.note(&web(), None, now);
        ledger.note(&web(), state("other", &[]), now);
        ledger.done(&write, outcome, now);
        assert_eq!(&*ledger.next(8).unwrap().uid, "other");
    }
}

#[test]
fn an_ingress_that_is_gone_is_left_alone_until_something_is_noted() {
    let (mut ledger, now) = begin();
    let write = ledger.next(8).unwrap();
    ledger.done(&write, Outcome::Gone, now);
    assert!(ledger.next(8).is_none());
    assert!(ledger.that_have(&addresses(&["1.2.3.4"])).is_empty(), "nothing was written");
    ledger.note(&web(), state("other", &[]), now);
    assert!(ledger.next(8).is_some());
}

#[test]
fn a_write_that_failed_is_tried_at_the_next_look() {
    let (mut ledger, now) = begin();
    let write = ledger.next(8).unwrap();
    ledger.done(&write, Outcome::Failed, now);
    assert!(ledger.next(8).is_none());
    ledger.look_at_all(now);
    assert!(ledger.next(8).is_some());
}

#[test]
fn whoever_overwrites_is_answered_later_every_time() {
    let (mut ledger, mut now) = begin();
    let mut waits = Vec::new();
    let mut told = 0;
    for _ in 0..9 {
        let write = ledger.next(8).unwrap();
        told += u32::from(ledger.done(&write, Outcome::Written, now));
        ledger.note(&web(), state("u", &["9.9.9.9"]), now);
        assert!(ledger.next(8).is_none());
        let due = ledger.due().unwrap();
        waits.push((due - now).as_secs());
        ledger.wake(now);
        assert!(ledger.next(8).is_none(), "not before its time");
        now = due;
        ledger.wake(now);
    }
    assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
    assert_eq!(told, 1);
    // Long left alone, it begins anew.
    let write = ledger.next(8).unwrap();
    ledger.done(&write, Outcome::Written, now);
    ledger.note(&web(), state("u", &["1.2.3.4"]), now);
    now += FORGET;
    ledger.note(&web(), state("u", &["9.9.9.9"]), now);
    let write = ledger.next(8).unwrap();
    ledger.done(&write, Outcome::Written, now);
    ledger.note(&web(), state("u", &["9.9.9.9"]), now);
    assert_eq!(ledger.due(), Some(now + PATIENCE));
}

#[test]
fn other_addresses_are_written_at_once() {
    let (mut ledger, now) = begin();
    let write = ledger.next(8).unwrap();
    ledger.done(&write, Outcome::Written, now);
    ledger.want(Some(addresses(&["5.6.7.8"]).into()), now);
    assert_eq!(*ledger.next(8).unwrap().addresses, addresses(&["5.6.7.8"]));
}

#[test]
fn nothing_is_written_when_nothing_is_wanted() {
    let (mut ledger, now) = begin();
    let _running = ledger.next(8).unwrap();
    ledger.want(None, now);
    ledger.note(&web(), state("u", &["9.9.9.9"]), now);
    ledger.look_at_all(now);
    assert!(ledger.next(8).is_none() && ledger.due().is_none());
    // Who leads again writes again, whatever became of the write that ran.
    ledger.want(Some(addresses(&["1.2.3.4"]).into()), now);
    assert!(ledger.next(8).is_some());
}

#[test]
fn no_more_than_some_are_written_at_once() {
    let (mut ledger, now) = begin();
    ledger.note(&NamespacedName::new("default", "second"), state("v", &[]), now);
    let first = ledger.next(1).unwrap();
    assert!(ledger.next(1).is_none());
    ledger.done(&first, Outcome::Written, now);
    assert!(ledger.next(1).is_some());
}
