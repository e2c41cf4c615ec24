//! Numbered places whose copies share what did not change: a table of thousands of rules is copied for each change of
//! one of them.

use std::sync::Arc;

/// How many places are copied together.
const CHUNK: usize = 64;

/// Values by number. A copy costs a pointer for every [`CHUNK`] places, a change copies one chunk of pointers.
#[derive(Debug)]
pub(crate) struct Slots<T>(Vec<Arc<[Slot<T>; CHUNK]>>);

type Slot<T> = Option<Arc<T>>;

impl<T> Slots<T> {
    /// The value at a number.
    pub(crate) fn get(&self, number: usize) -> Option<&Arc<T>> {
        self.0.get(number / CHUNK)?.get(number % CHUNK)?.as_ref()
    }

    /// Sets the value at a number; numbers without a value may be left out on the way.
    pub(crate) fn set(&mut self, number: usize, value: Slot<T>) {
        while self.0.len() <= number / CHUNK {
            self.0.push(Arc::new([const { None }; CHUNK]));
        }
        let slot = self.0.get_mut(number / CHUNK).and_then(|chunk| Arc::make_mut(chunk).get_mut(number % CHUNK));
        if let Some(slot) = slot {
            *slot = value;
        }
    }
}

impl<T> Clone for Slots<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_keeps_its_values_and_shares_the_chunks_that_did_not_change() {
        let mut old = Slots::default();
        for number in 0..1000 {
            old.set(number, Some(Arc::new(number)));
        }
        let mut new = old.clone();
        new.set(500, None);
        new.set(2000, Some(Arc::new(7)));
        let at = |slots: &Slots<usize>, number| slots.get(number).map(|value| **value);
        assert_eq!((at(&old, 500), at(&new, 500)), (Some(500), None));
        assert_eq!((at(&old, 2000), at(&new, 2000), at(&new, 1999)), (None, Some(7), None));
        assert_eq!((at(&old, 999), at(&new, 999)), (Some(999), Some(999)));
        let shared = old.0.iter().zip(&new.0).filter(|(old, new)| Arc::ptr_eq(old, new)).count();
        assert_eq!(shared, old.0.len() - 1);
    }
}
