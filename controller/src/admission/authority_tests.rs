//! Rotation, by a clock that is said.

use super::*;

const START: i64 = 1_800_000_000;

fn names() -> Vec<String> {
    ["web.ns.svc", "web.ns"].map(str::to_owned).into()
}

fn made(present: Option<&Authority>, now: i64) -> Option<Authority> {
    Authority::renew(present, &[], &names(), now).unwrap()
}

fn trusted(authority: &Authority, bundle: &Authority, now: i64) -> bool {
    authority.is_trusted_by(bundle.bundle().as_bytes(), &names(), now)
}

#[test]
fn what_is_made_is_trusted_by_its_bundle_and_stays() {
    let first = made(None, START).unwrap();
    assert!(trusted(&first, &first, START));
    assert!(!first.is_trusted_by(first.bundle().as_bytes(), &["other.ns.svc".to_owned()], START));
    assert!(!trusted(&first, &made(None, START).unwrap(), START));
    assert!(made(Some(&first), START).is_none());
    assert!(made(Some(&first), START + 59 * DAY).is_none());
}

#[test]
fn a_secret_gives_back_what_was_put_in() {
    let first = made(None, START).unwrap();
    let data = first.data();
    let read = Authority::read(&data).unwrap();
    assert_eq!((read.data(), read.cas()), (first.data(), first.cas()));
    assert!(read.certified().is_some());
    let other = made(None, START).unwrap().data();
    let mixed = |key: &str| {
        let mut data = data.clone();
        data.insert(key.to_owned(), other[key].clone());
        Authority::read(&data).map(drop).unwrap_err()
    };
    assert_eq!(mixed(KEY), AuthorityError::Mismatch(KEY));
    assert_eq!(mixed(CA_KEY), AuthorityError::Mismatch(CA_KEY));
    assert_eq!(Authority::read(&BTreeMap::new()).map(drop), Err(AuthorityError::Missing(CAS)));
    let rubbish = data.keys().map(|key| (key.clone(), ByteString(b"x".to_vec()))).collect();
    assert_eq!(Authority::read(&rubbish).map(drop), Err(AuthorityError::Unreadable(CAS)));
}

#[test]
fn a_certificate_is_renewed_by_the_same_ca_well_before_its_end() {
    let first = made(None, START).unwrap();
    let later = START + 61 * DAY;
    let second = made(Some(&first), later).unwrap();
    assert!(!second.same_certificate(&first));
    assert_eq!(second.cas(), first.cas());
    assert!(trusted(&second, &first, later));
    assert!(made(Some(&second), later).is_none());
}

#[test]
fn a_certificate_for_other_names_is_renewed_at_once() {
    let first = made(None, START).unwrap();
    let other = ["moved.ns.svc".to_owned()];
    let second = Authority::renew(Some(&first), &[], &other, START).unwrap().unwrap();
    assert!(second.is_trusted_by(first.bundle().as_bytes(), &other, START));
}

#[test]
fn over_years_every_replica_that_is_a_minute_behind_is_trusted() {
    let mut present = made(None, START).unwrap();
    let (mut cas, mut most) = (1, 0);
    for half_day in 1..2 * 365 * 3 {
        let now = START + half_day * DAY / 2;
        if let Some(next) = made(Some(&present), now) {
            cas += i32::from(next.cas()[0] != present.cas()[0]);
            // Neither does who has the new one fail at who has the old bundle, nor the other way round.
            assert!(trusted(&next, &present, now), "half day {half_day}");
            assert!(trusted(&present, &next, now), "half day {half_day}");
            present = next;
        }
        most = most.max(present.cas().len());
        assert!(trusted(&present, &present, now), "half day {half_day}");
    }
    assert_eq!(most, 2);
    assert_eq!(present.cas().len(), 1);
    assert!((4..=5).contains(&cas), "{cas}");
}

#[test]
fn after_a_long_sleep_all_is_new_at_once() {
    let first = made(None, START).unwrap();
    let now = START + 800 * DAY;
    let second = made(Some(&first), now).unwrap();
    assert!(trusted(&second, &second, now));
    assert_eq!(second.cas().len(), 1);
}

#[test]
fn what_was_trusted_before_the_secret_went_stays_so() {
    let first = made(None, START).unwrap();
    let second = Authority::renew(None, first.cas(), &names(), START + DAY).unwrap().unwrap();
    assert_eq!(second.cas().len(), 2);
    assert!(trusted(&first, &second, START + DAY));
    assert!(trusted(&second, &second, START + DAY));
    let third = made(Some(&second), START + 3 * DAY).unwrap();
    assert_eq!(third.cas().len(), 1);
    assert!(third.same_certificate(&second));
}
