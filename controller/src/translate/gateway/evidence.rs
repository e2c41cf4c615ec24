//! Evidence: how well it is known that a Gateway has an address or a port.
//!
//! What is recorded stands on a Service in the Gateway's namespace, where a tenant may write whatever it likes. So a record
//! alone gives nobody what another has by better evidence: by what this process gave and saw recorded, or by a record that
//! agrees with what tenants can't write.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::infrastructure::Wish;
use super::target_ports::Target;
use crate::resources::Shown;

/// How many kinds of evidence there are.
pub(crate) const GRADES: usize = 5;

/// The place among them of what only a record says.
pub(crate) const RECORDED: usize = 3;

/// What a Gateway has, by how well it is known.
///
/// 1. We gave it, and saw it recorded. A record that was lost since changes nothing, unless it is [refuted](refute).
/// 2. It is recorded, and we gave it, or the Gateway's status says it.
/// 3. The Gateway's status says it: the record was lost before we came.
/// 4. It is recorded. It may be true: a status is written last.
/// 5. We gave it, and nothing is recorded yet. Another replica may have decided otherwise, and records say so.
pub(crate) type Evidence<T> = [Vec<T>; GRADES];

/// What was given to a Gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Given<T> {
    /// All of it.
    pub(crate) all: Vec<T>,
    /// What of it was seen recorded.
    pub(crate) proven: Vec<T>,
}

/// What was given to a Gateway of this uid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Promise {
    /// The Gateway's uid.
    pub(crate) uid: Arc<str>,
    /// Addresses of a pool.
    pub(crate) addresses: Given<IpAddr>,
    /// Ports that its Service leads to.
    pub(crate) ports: Given<Target>,
}

impl Promise {
    /// Itself, if it was made to this Gateway and not to an earlier one of the name.
    pub(crate) fn to(&self, wish: &Wish) -> Option<&Self> {
        (self.uid == wish.uid).then_some(self)
    }

    /// Whether a status says something else than was promised: it may be late, or we are.
    pub(crate) fn is_contradicted_by(&self, shown: &Shown) -> bool {
        let (addresses, ports) = (&self.addresses.all, &self.ports.all);
        // Those of a Gateway without any of a pool are its Service's, or the controller's.
        let elsewhere = !addresses.is_empty() && shown.addresses.iter().any(|address| !addresses.contains(address));
        elsewhere || shown.ports.iter().any(|port| !ports.contains(port))
    }
}

impl<T: Copy + PartialEq> Given<T> {
    /// Notes what is given now: `before` is what was, `recorded` what the record says.
    pub(crate) fn now(all: Vec<T>, before: Option<&Self>, recorded: &[T]) -> Self {
        let known = |it: &T| recorded.contains(it) || before.is_some_and(|before| before.proven.contains(it));
        Self { proven: all.iter().copied().filter(known).collect(), all }
    }
}

/// Weighs what is known of a Gateway.
pub(crate) fn weigh<T: Copy + PartialEq>(recorded: &[T], shown: &[T], before: Option<&Given<T>>) -> Evidence<T> {
    let (proven, given) = before.map_or((&[][..], &[][..]), |before| (&before.proven, &before.all));
    let agreed = recorded.iter().filter(|it| shown.contains(it) || given.contains(it)).copied().collect();
    [proven.to_vec(), agreed, shown.to_vec(), recorded.to_vec(), given.to_vec()]
}

/// What the record and the status of a Gateway say; nothing where there is none.
#[derive(Clone, Debug, Default)]
pub(crate) struct Said<'a, T> {
    /// The record.
    pub(crate) recorded: &'a [T],
    /// The status.
    pub(crate) shown: &'a [T],
}

impl<T: PartialEq> Said<'_, T> {
    /// What both say.
    fn agreed(&self) -> impl Iterator<Item = &T> {
        self.recorded.iter().filter(|it| self.shown.contains(it))
    }

    fn has_any(&self, it: &T) -> bool {
        self.recorded.contains(it) || self.shown.contains(it)
    }
}

/// Takes back what was proven once and is no longer true: a replica that was not told of everything, or began with what a
/// cache held, would keep it until it is started anew. It is no longer true when the Gateway's own record and status say
/// nothing of it, and both say that another Gateway has the `thing`, or that this one has something `instead`. One of them
/// alone refutes nothing: records are written by tenants, and statuses late. A Gateway without a record may have lost it, or
/// there was nothing left to give it: then what another has is the other's all the same.
pub(crate) fn refute<T: PartialEq, K: Ord>(
    evidence: &mut [Evidence<T>],
    said: &[Said<'_, T>],
    thing: impl Fn(&T) -> K,
    instead: impl Fn(&T, &T) -> bool,
) {
    let mut holders: BTreeMap<K, Vec<usize>> = BTreeMap::new();
    for (index, said) in said.iter().enumerate() {
        said.agreed().for_each(|it| holders.entry(thing(it)).or_default().push(index));
    }
    for (index, ([proven, ..], said)) in evidence.iter_mut().zip(said).enumerate() {
        proven.retain(|it| {
            let is_anothers = || holders.get(&thing(it)).is_some_and(|all| all.iter().any(|holder| *holder != index));
            said.has_any(it) || !(is_anothers() || said.agreed().any(|other| instead(other, it)))
        });
    }
}

/// Without what only a record says: for who can have nothing now, so that nobody keeps by writing records what it never
/// had.
pub(crate) fn certain<T>(evidence: Evidence<T>) -> Evidence<T> {
    let [proven, agreed, ..] = evidence;
    [proven, agreed, Vec::new(), Vec::new(), Vec::new()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_better_known_when_something_agrees_that_tenants_can_not_write() {
        let given = Given::now(vec![1, 2], None, &[2]);
        assert_eq!(given.proven, [2]);
        let weighed = weigh(&[1, 3, 4], &[3, 5], Some(&given));
        assert_eq!(weighed, [vec![2], vec![1, 3], vec![3, 5], vec![1, 3, 4], vec![1, 2]]);
        assert_eq!(certain(weighed), [vec![2], vec![1, 3], vec![], vec![], vec![]]);
    }

    #[test]
    fn what_was_proven_is_refuted_only_by_records_and_statuses_that_agree() {
        // A port of a Gateway, and one of ours.
        type Pair = (u16, u16);
        let after = |own: Said<'_, Pair>, other: Said<'_, Pair>| {
            let mut all =
                [weigh(&[], &[], Some(&Given { all: vec![(80, 1)], proven: vec![(80, 1)] })), Evidence::default()];
            refute(&mut all, &[own, other], |it| it.1, |one, other| one.0 == other.0 || one.1 == other.1);
            !all[0][0].is_empty()
        };
        let said = |recorded: &'static [Pair], shown: &'static [Pair]| Said { recorded, shown };
        let nothing = || said(&[], &[]);
        assert!(after(said(&[], &[(80, 1)]), said(&[(80, 1)], &[(80, 1)])), "the record is lost");
        assert!(after(nothing(), said(&[(80, 1)], &[])), "the record is lost, and another tenant wrote it");
        assert!(!after(nothing(), said(&[(80, 1)], &[(80, 1)])), "it has none, and another Gateway has it");
        assert!(after(said(&[(80, 2)], &[]), nothing()), "a tenant wrote it");
        assert!(after(said(&[(80, 2)], &[(80, 1)]), said(&[(80, 1)], &[])), "two tenants wrote it");
        assert!(after(said(&[(80, 1)], &[(80, 2)]), said(&[(80, 1)], &[(80, 1)])), "its own record says it");
        assert!(!after(said(&[(80, 2)], &[(80, 2)]), nothing()), "it has another");
        assert!(after(said(&[(81, 2)], &[(81, 2)]), nothing()), "of another port of the Gateway");
        assert!(!after(said(&[(81, 1)], &[(81, 1)]), nothing()), "it has it for another port");
        assert!(!after(said(&[(80, 2)], &[]), said(&[(443, 1)], &[(443, 1)])), "another Gateway has it");
    }

    #[test]
    fn what_was_seen_recorded_once_needs_no_record_any_more() {
        let given = Given::now(vec![1], None, &[1]);
        assert_eq!(Given::now(vec![1, 2], Some(&given), &[]).proven, [1]);
        assert_eq!(Given::now(vec![2], Some(&given), &[]).proven, [0; 0]);
    }
}
