//! Weighted: which backend of a rule gets a request (Gateway API `backendRefs[].weight`).

use genkan_routing::model::Backend;

use crate::random;

/// The index of the backend that one random number chooses: each has its weight's share of the sum. `None` when every
/// weight is 0 or there is no backend (500 in Gateway API).
pub(crate) fn choose(backends: &[Backend], random: u64) -> Option<usize> {
    by_weight(backends.iter().map(|backend| backend.weight), random)
}

/// As [`choose`] for anything with these weights.
pub(crate) fn by_weight(mut weights: impl ExactSizeIterator<Item = u32> + Clone, random: u64) -> Option<usize> {
    if weights.len() == 1 {
        return weights.next().filter(|weight| *weight > 0).map(|_| 0);
    }
    let sum: u64 = weights.clone().map(u64::from).sum();
    let mut point = random::below(sum, random);
    weights.position(|weight| {
        let weight = u64::from(weight);
        let hit = point < weight;
        point = point.saturating_sub(weight);
        hit
    })
}

#[cfg(test)]
mod tests {
    use genkan_routing::model::Target;

    use super::*;

    fn backends(weights: &[u32]) -> Vec<Backend> {
        let backend = |weight: &u32| Backend {
            weight: *weight,
            target: Target::Invalid { reason: String::new() },
            filters: vec![],
        };
        weights.iter().map(backend).collect()
    }

    #[test]
    fn each_backend_gets_its_share() {
        let backends = backends(&[1, 0, 3]);
        let mut hits = [0; 3];
        for step in 0..1000_u64 {
            hits[choose(&backends, step * (u64::MAX / 1000)).unwrap()] += 1;
        }
        assert_eq!(hits[1], 0);
        assert!((249..=251).contains(&hits[0]), "{hits:?}");
    }

    #[test]
    fn without_weight_nothing_is_chosen() {
        assert_eq!(choose(&backends(&[]), 0), None);
        assert_eq!(choose(&backends(&[0]), 0), None);
        assert_eq!(choose(&backends(&[0, 0]), 5), None);
        assert_eq!(choose(&backends(&[u32::MAX, u32::MAX]), u64::MAX), Some(1));
    }
}
