//! Faults: what can't be read of a policy at all. Its values are judged where they are understood.

use crate::resources::{Unreadable, UnreadablePart};

/// What can't be read of a policy.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Faults<'a>(&'a [UnreadablePart]);

/// `defaults` or `overrides` of a policy, and what can't be read there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part<'a> {
    /// Which of them.
    pub(crate) name: &'static str,
    faults: Faults<'a>,
}

/// What is wrong with a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault<'a> {
    /// There is no telling which fields are written. It is told where the part is.
    Whole(&'a str),
    /// It can't be read.
    Broken(&'a str),
    /// It can be read without something in it that is not known.
    Partly(&'a str),
}

impl<'a> Faults<'a> {
    /// Those that matter: while an earlier version holds none does.
    pub(crate) fn of(unreadable: Option<&'a Unreadable>) -> Self {
        Self(unreadable.filter(|unreadable| !unreadable.served).map_or(&[], |unreadable| &unreadable.parts))
    }

    /// Whether there are none.
    pub(crate) fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// What is wrong with something that stands there.
    pub(crate) fn at(self, field: &str) -> Option<&'a str> {
        self.0.iter().find(|part| part.field == field).map(|part| part.why.as_str())
    }

    /// Those of `defaults` or `overrides`.
    pub(crate) fn part(self, name: &'static str) -> Part<'a> {
        Part { name, faults: self }
    }
}

impl<'a> Part<'a> {
    /// Why it can't be told which fields are written, if so.
    pub(crate) fn whole(self) -> Option<&'a str> {
        self.faults.at(&format!("spec.{}", self.name))
    }

    /// What is wrong with a field.
    pub(crate) fn fault(self, field: &str) -> Option<Fault<'a>> {
        let path = format!("spec.{}.{field}", self.name);
        let part = self.faults.0.iter().find(|part| part.field == path);
        let of_part = |part: &'a UnreadablePart| match part.partly {
            true => Fault::Partly(&part.why),
            false => Fault::Broken(&part.why),
        };
        self.whole().map(Fault::Whole).or(part.map(of_part))
    }
}
