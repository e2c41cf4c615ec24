//! Merge: which of several policies that say something of a field counts (GEP-713, inherited policies).
//!
//! ```text
//!  overrides:  Gateway > its listener > ListenerSet > its listener > route > rule > Service
//!  defaults:   Service > rule > route > listener > ListenerSet > listener > Gateway
//! ```
//!
//! Overrides come before defaults; at one level the oldest policy counts, then the first by name.

use std::sync::Arc;

use super::fields::{Fields, PolicyField};
use super::settings::Field;
use super::target::Target;
use crate::resources::{Kind, NamespacedName};
use crate::translate::gateway::rank::RouteAge;

/// What a policy says, understood. `Eq`, so that two that are one are equal without a look at their long lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Policy<F: PolicyField = Field> {
    /// Who counts among equals.
    pub(crate) age: RouteAge,
    /// What holds unless something more specific says otherwise.
    pub(crate) defaults: Fields<F>,
    /// What holds whatever something more specific says.
    pub(crate) overrides: Fields<F>,
}

/// A policy and its name.
pub(crate) type Named<F = Field> = (NamespacedName, Arc<Policy<F>>);

/// The policies of one target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Level<F: PolicyField = Field> {
    /// What they target.
    pub(crate) target: Target,
    /// The oldest first.
    pub(crate) policies: Vec<Named<F>>,
}

/// What one policy says at one level, in order of precedence among others.
#[derive(Debug)]
pub(crate) struct Said<'a, F: PolicyField = Field> {
    /// The policy.
    pub(crate) policy: &'a NamespacedName,
    /// What it targets.
    pub(crate) target: &'a Target,
    /// Whether it overrides.
    pub(crate) overrides: bool,
    /// How old it is.
    pub(crate) age: &'a RouteAge,
    settings: &'a Fields<F>,
}

/// Who says what holds, and who says otherwise in vain.
#[derive(Debug)]
pub(crate) struct Decided<'a, F: PolicyField = Field> {
    /// What holds.
    pub(crate) value: &'a F::Value,
    /// Who says so.
    pub(crate) winner: Said<'a, F>,
    /// Who says something in vain.
    pub(crate) losers: Vec<Said<'a, F>>,
}

/// Everything that is said at these levels, from the Gateway's down to the Service's, in order of precedence.
pub(crate) fn order<'a, F: PolicyField + 'a>(
    levels: impl DoubleEndedIterator<Item = &'a Level<F>> + Clone,
) -> Vec<Said<'a, F>> {
    let said = |level: &'a Level<F>, overrides| {
        level.policies.iter().map(move |(name, policy)| Said {
            policy: name,
            target: &level.target,
            overrides,
            age: &policy.age,
            settings: if overrides { &policy.overrides } else { &policy.defaults },
        })
    };
    let overrides = levels.clone().flat_map(|level| said(level, true));
    overrides.chain(levels.rev().flat_map(|level| said(level, false))).collect()
}

/// Who counts for a field; `None` when nobody says anything of it.
pub(crate) fn decide<'a, F: PolicyField>(said: &[Said<'a, F>], field: F) -> Option<Decided<'a, F>> {
    let mut saying = said.iter().filter_map(|said| Some((*said, said.settings.get(field)?)));
    let (winner, value) = saying.next()?;
    Some(Decided { value, winner, losers: saying.map(|(said, _)| said).collect() })
}

impl<F: PolicyField> Policy<F> {
    /// What of it acts on targets of a kind.
    pub(crate) fn of_target(self: &Arc<Self>, kind: Kind) -> Arc<Self> {
        if self.defaults.names().chain(self.overrides.names()).all(|field| field.acts_on(kind)) {
            return Arc::clone(self);
        }
        let (defaults, overrides) = (self.defaults.of_target(kind), self.overrides.of_target(kind));
        Arc::new(Self { age: self.age.clone(), defaults, overrides })
    }
}

// Derived, they would ask the same of what is said.
impl<F: PolicyField> Clone for Said<'_, F> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<F: PolicyField> Copy for Said<'_, F> {}

impl<'a, F: PolicyField> Said<'a, F> {
    /// Whether another says it of the same thing in the same way, so that only age decides.
    pub(crate) fn conflicts_with(&self, other: &Self) -> bool {
        self.overrides == other.overrides && self.target == other.target
    }

    /// What it says of a field.
    pub(crate) fn says(&self, field: F) -> Option<&'a F::Value> {
        self.settings.get(field)
    }
}

impl Said<'_> {
    /// What sets it apart from all else that is said.
    pub(crate) fn id(&self) -> String {
        let part = if self.overrides { "overrides" } else { "defaults" };
        format!("routepolicy/{}/{part}/{}", self.policy, self.target.path())
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use genkan_routing::policy::body_limit::BodyLimit;
    use k8s_openapi::jiff::Timestamp;
    use proptest::prelude::*;

    use super::super::index::Outcome;
    use super::super::settings::{Settings, Value};
    use super::*;
    use crate::translate::reader::Reader;

    /// What policies may target, from the Gateway's down to the Service's: the kind, and whether a part of it.
    const LEVELS: [(Kind, bool); 7] = [
        (Kind::Gateway, false),
        (Kind::Gateway, true),
        (Kind::ListenerSet, false),
        (Kind::ListenerSet, true),
        (Kind::HttpRoute, false),
        (Kind::HttpRoute, true),
        (Kind::Service, false),
    ];

    /// A policy: the level that it is of, its age, its name, and which fields it defaults and overrides.
    #[derive(Clone, Debug)]
    struct Written {
        level: usize,
        created: Option<i64>,
        name: u8,
        says: [[bool; 2]; 2],
    }

    const FIELDS: [Field; 2] = [Field::BodySize, Field::Timeouts];

    fn written() -> impl Strategy<Value = Written> {
        let level = 0..LEVELS.len();
        (level, prop::option::of(0i64..3), any::<u8>(), any::<[[bool; 2]; 2]>())
            .prop_map(|(level, created, name, says)| Written { level, created, name, says })
    }

    fn name(written: &Written) -> NamespacedName {
        NamespacedName::new("n", format!("p{:03}", written.name))
    }

    fn settings(says: [bool; 2], id: u64) -> Settings {
        let said = FIELDS.into_iter().zip(says).filter(|(_, says)| *says);
        said.map(|(field, _)| (field, Value::BodySize(Some(BodyLimit(id))))).collect()
    }

    fn levels(all: &[Written]) -> Vec<Level> {
        let level = |at: usize| {
            let (kind, is_part) = LEVELS[at];
            let section = is_part.then(|| "part".into());
            let target = Target { section, ..Target::whole(kind, NamespacedName::new("n", "t")) };
            let of = all.iter().enumerate().filter(|(_, written)| written.level == at);
            let mut policies: Vec<_> = of
                .map(|(index, written)| {
                    let created = written.created.map(|second| Timestamp::from_second(second).unwrap());
                    let [defaults, overrides] = written.says;
                    let id = 2 * index as u64;
                    let policy = Policy {
                        age: RouteAge::new(created, "RoutePolicy", "n", &name(written).name),
                        defaults: settings(defaults, id),
                        overrides: settings(overrides, id + 1),
                    };
                    (name(written), Arc::new(policy))
                })
                .collect();
            policies.sort_by(|(_, one), (_, other)| one.age.cmp(&other.age));
            Level { target, policies }
        };
        (0..LEVELS.len()).map(level).collect()
    }

    /// The rules of the API, in words: the first of these that is there.
    fn naive(all: &[Written], field: usize) -> Option<u64> {
        let mut best: Option<((u8, i64, i64, u8), u64)> = None;
        for (index, written) in all.iter().enumerate() {
            for overrides in [false, true] {
                if !written.says[usize::from(overrides)][field] {
                    continue;
                }
                let depth = written.level as i64;
                let place = (
                    u8::from(!overrides),
                    if overrides { depth } else { -depth },
                    written.created.map_or(-1, |second| second),
                    written.name,
                );
                if best.is_none_or(|(known, _)| place < known) {
                    best = Some((place, 2 * index as u64 + u64::from(overrides)));
                }
            }
        }
        best.map(|(_, id)| id)
    }

    proptest! {
        #[test]
        fn who_counts_is_who_the_rules_name(all in prop::collection::vec(written(), 0..16)) {
            let mut names = std::collections::BTreeSet::new();
            let all: Vec<_> = all.into_iter().filter(|written| names.insert(written.name)).collect();
            let levels = levels(&all);
            let said = order(levels.iter());
            for (index, field) in FIELDS.into_iter().enumerate() {
                let decided = decide(&said, field);
                let found = decided.as_ref().map(|decided| match decided.value {
                    Value::BodySize(Some(BodyLimit(id))) => *id,
                    other => panic!("{other:?}"),
                });
                prop_assert_eq!(found, naive(&all, index));
                let saying = all.iter().flat_map(|written| written.says).filter(|says| says[index]).count();
                prop_assert_eq!(decided.map_or(0, |decided| 1 + decided.losers.len()), saying);
            }
        }
    }

    thread_local! {
        static COMPARED: Cell<usize> = const { Cell::new(0) };
    }

    /// A field whose values count how often they are compared.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
    struct Counting;

    #[derive(Clone, Debug, Eq)]
    struct Counted;

    impl PartialEq for Counted {
        fn eq(&self, _other: &Self) -> bool {
            COMPARED.set(COMPARED.get() + 1);
            true
        }
    }

    impl PolicyField for Counting {
        const KIND: Kind = Kind::RoutePolicy;
        type Value = Counted;

        fn as_str(self) -> &'static str {
            "counting"
        }

        fn read(_name: &NamespacedName, _reader: &Reader<'_>) -> Option<Outcome<Self>> {
            None
        }
    }

    #[test]
    fn what_one_policy_says_is_not_compared_with_itself() {
        let fields = || Fields::from_iter([(Counting, Counted)]);
        let policy = || Arc::new(Policy { age: RouteAge::default(), defaults: fields(), overrides: fields() });
        let name = NamespacedName::new("n", "p");
        let level = |policy: &Arc<Policy<Counting>>| Level {
            target: Target::whole(Kind::Gateway, name.clone()),
            policies: vec![(name.clone(), Arc::clone(policy))],
        };
        let (one, other) = (policy(), policy());
        assert_eq!(level(&one), level(&one));
        assert_eq!(COMPARED.get(), 0);
        assert_eq!(level(&one), level(&other));
        assert_eq!(COMPARED.get(), 2);
    }

    #[test]
    fn a_gateway_overrides_a_route_and_a_route_a_gateways_default() {
        let says = |defaults, overrides| [[defaults, false], [overrides, false]];
        let gateway = |says| Written { level: 0, created: None, name: 0, says };
        let route = |says| Written { level: 4, created: None, name: 1, says };
        let winner =
            |all: &[Written]| decide(&order(levels(all).iter()), Field::BodySize).unwrap().winner.policy.clone();
        let (first, second) = (name(&gateway(says(true, true))), name(&route(says(true, true))));
        assert_eq!(winner(&[gateway(says(true, false)), route(says(true, false))]), second);
        assert_eq!(winner(&[gateway(says(false, true)), route(says(false, true))]), first);
        assert_eq!(winner(&[gateway(says(true, false)), route(says(false, true))]), second);
    }
}
