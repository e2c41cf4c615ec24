//! The shared map against the standard library's, and what its copies share.

use std::collections::BTreeMap;

use genkan_routing::model::SharedMap;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    Insert(u16, u8),
    Remove(u16),
    Change(u16, u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (0u16..400, any::<u8>()).prop_map(|(key, value)| Step::Insert(key, value)),
        2 => (0u16..400).prop_map(Step::Remove),
        1 => (0u16..400, any::<u8>()).prop_map(|(key, value)| Step::Change(key, value)),
    ];
    prop::collection::vec(step, 0..300)
}

fn take(steps: &[Step], map: &mut SharedMap<u16, u8>, naive: &mut BTreeMap<u16, u8>) {
    for step in steps {
        match step {
            Step::Insert(key, value) => assert_eq!(map.insert(*key, *value), naive.insert(*key, *value)),
            Step::Remove(key) => assert_eq!(map.remove(key), naive.remove(key)),
            Step::Change(key, value) => {
                let (here, there) = (map.get_mut(key), naive.get_mut(key));
                assert_eq!(here, there);
                if let (Some(here), Some(there)) = (here, there) {
                    (*here, *there) = (*value, *value);
                }
            }
        }
    }
}

proptest! {
    /// Also after a copy was taken, which must stay as it was.
    #[test]
    fn it_says_what_a_standard_map_says(start in 0u16..300, first in steps(), second in steps()) {
        let mut naive: BTreeMap<u16, u8> = (0..start).map(|key| (key, 0)).collect();
        let mut map: SharedMap<_, _> = naive.clone().into_iter().collect();
        take(&first, &mut map, &mut naive);
        let (copy, naive_copy) = (map.clone(), naive.clone());
        take(&second, &mut map, &mut naive);

        prop_assert!(map.iter().eq(&naive));
        prop_assert!(copy.iter().eq(&naive_copy));
        prop_assert_eq!((map.len(), copy.len()), (naive.len(), naive_copy.len()));
        for key in 0..400 {
            prop_assert_eq!(map.get(&key), naive.get(&key));
        }
        prop_assert_eq!(map == copy, naive == naive_copy);
        let rebuilt: SharedMap<_, _> = naive.clone().into_iter().rev().collect();
        prop_assert_eq!(&rebuilt, &map);

        let told: BTreeMap<_, _> = copy.unshared(&map).map(|(key, old, new)| (*key, (old, new))).collect();
        for key in 0..400 {
            let (old, new) = (naive_copy.get(&key), naive.get(&key));
            match told.get(&key) {
                Some(told) => prop_assert_eq!(*told, (old, new)),
                None => prop_assert_eq!(old, new),
            }
        }
    }
}

#[test]
fn a_copy_with_one_change_shares_nearly_everything() {
    let old: SharedMap<u32, u32> = (0..10_000).map(|key| (key * 2, 0)).collect();
    assert_eq!(old.unshared(&old.clone()).count(), 0);
    let mut new = old.clone();
    new.insert(5_000, 1);
    assert!(old.unshared(&new).count() <= 64);
    new.insert(5_001, 1);
    new.remove(&7_000);
    let changed: Vec<_> = old.unshared(&new).filter(|(_, old, new)| old != new).map(|(key, ..)| *key).collect();
    assert_eq!(changed, [5_000, 5_001, 7_000]);
    assert!(old.unshared(&new).count() <= 3 * 64);
}
