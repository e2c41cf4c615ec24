//! Fields: what a policy of any kind says, field by field.

use std::collections::BTreeMap;
use std::fmt::Debug;

use crate::resources::{Kind, NamespacedName};
use crate::translate::gateway::policy::index::Outcome;
use crate::translate::reader::Reader;

/// A field of a kind of policies. Each is taken from one policy as a whole.
pub(crate) trait PolicyField: Copy + Ord + Debug + 'static {
    /// The kind of the policies that have it.
    const KIND: Kind;
    /// What may be said of it.
    type Value: Clone + Debug + Eq;

    /// As a policy writes it.
    fn as_str(self) -> &'static str;

    /// Whether it acts on targets of a kind.
    fn acts_on(self, _target: Kind) -> bool {
        true
    }

    /// Reads a policy; `None` when it does not exist.
    fn read(name: &NamespacedName, reader: &Reader<'_>) -> Option<Outcome<Self>>;
}

/// What `defaults` or `overrides` of a policy say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fields<F: PolicyField>(BTreeMap<F, F::Value>);

impl<F: PolicyField> Fields<F> {
    /// What is said of a field.
    pub(crate) fn get(&self, field: F) -> Option<&F::Value> {
        self.0.get(&field)
    }

    /// Says something of a field.
    pub(crate) fn set(&mut self, field: F, value: F::Value) {
        self.0.insert(field, value);
    }

    /// The fields of which something is said.
    pub(crate) fn names(&self) -> impl Iterator<Item = F> {
        self.0.keys().copied()
    }

    /// What of it acts on targets of a kind.
    pub(crate) fn of_target(&self, kind: Kind) -> Self {
        self.0.iter().filter(|(field, _)| field.acts_on(kind)).map(|(field, value)| (*field, value.clone())).collect()
    }
}

// Derived, it would ask for a default field.
impl<F: PolicyField> Default for Fields<F> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<F: PolicyField> FromIterator<(F, F::Value)> for Fields<F> {
    fn from_iter<T: IntoIterator<Item = (F, F::Value)>>(values: T) -> Self {
        Self(values.into_iter().collect())
    }
}
