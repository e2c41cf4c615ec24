//! Evidence: how well it is known that a Gateway has an address or a port.
//!
//! What is recorded stands on a Service in the Gateway's namespace, where a tenant may write whatever it likes. So a record
//! alone gives nobody what another has by better evidence: by what this process gave and saw recorded, or by a record that
//! agrees with what tenants can't write.

use std::net::IpAddr;
use std::sync::Arc;

use super::infrastructure::Wish;
use super::target_ports::Target;

/// How many kinds of evidence there are.
pub(crate) const GRADES: usize = 5;

/// What a Gateway has, by how well it is known.
///
/// 1. We gave it, and saw it recorded. A record that was lost since changes nothing.
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
    fn what_was_seen_recorded_once_needs_no_record_any_more() {
        let given = Given::now(vec![1], None, &[1]);
        assert_eq!(Given::now(vec![1, 2], Some(&given), &[]).proven, [1]);
        assert_eq!(Given::now(vec![2], Some(&given), &[]).proven, [0; 0]);
    }
}
