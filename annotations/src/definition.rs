//! What there is to know about one annotation or ConfigMap key: a row of the tables that parsing, validation, "did you
//! mean", the reference pages and the tests all derive from.

use std::fmt;

use serde::Serialize;

/// One annotation or key. `E` is the function that puts its value into effect.
#[derive(Clone, Copy, Debug)]
pub struct Definition<E> {
    /// Its name, without a prefix.
    pub name: &'static str,
    /// Other spellings; the name wins where both have a value.
    pub aliases: &'static [&'static str],
    /// What may be written, for people: `a whole number`.
    pub value: &'static str,
    /// What holds without it, for people.
    pub default: &'static str,
    /// What a value can do to others.
    pub risk: Risk,
    /// How far it reaches.
    pub scope: Scope,
    /// What follows from a value that can't be understood.
    pub on_invalid: OnInvalid,
    /// What it does, in one line.
    pub doc: &'static str,
    /// Whether and how it acts.
    pub support: Support<E>,
}

/// How much harm a value can do to others than its author (ingress-nginx's levels). Ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Risk {
    /// Touches only the Ingress itself.
    Low,
    /// Names other objects or takes free text.
    Medium,
    /// Reaches other hosts or takes expressions.
    High,
    /// Raw nginx configuration: always refused.
    Critical,
}

/// How far an annotation or key reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Scope {
    /// Every path of the Ingress.
    Path,
    /// Every path of the Ingress's hosts, also those of other Ingresses.
    Host,
    /// The Services that the Ingress names, wherever else they are used.
    Service,
    /// The Ingress as a whole.
    Ingress,
    /// Everything that is served.
    Controller,
}

/// What follows from a value that can't be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub enum OnInvalid {
    /// The rules answer 503: serving without the setting would be unsafe.
    FailsClosed,
    /// The Ingress as a whole is not used, as by ingress-nginx's admission.
    RejectsIngress,
    /// The default holds.
    FallsBack,
    /// The feature that it belongs to stays off.
    TurnsOff,
}

/// Whether and how an annotation or key acts.
#[derive(Clone, Copy, Debug)]
pub enum Support<E> {
    /// This puts its value into effect.
    Supported(E),
    /// Tunes something inside nginx that has no counterpart; nothing is lost by ignoring it.
    Ignored,
    /// Known and without effect so far; these values ask for nothing and are passed over.
    NotYet(&'static [&'static str]),
    /// Known, about security, and not enforced so far, so that the rules answer 503; these values ask for nothing.
    NotYetSecurity(&'static [&'static str]),
    /// Never: raw nginx configuration.
    Refused,
}

/// What to do about something known that has no effect so far.
pub(crate) const MEND_UNSUPPORTED: &str = "remove it; `genkan annotations` lists what is supported";

/// What to do about security that is not enforced so far.
pub(crate) const MEND_UNSUPPORTED_SECURITY: &str =
    "remove it if the paths may be open to everyone; `genkan annotations` lists what is supported";

/// Values of a switch that ask for nothing.
pub(crate) const OFF: &[&str] = &["false", "off", "0", "f"];

impl<E: Copy> Definition<E> {
    /// A row of low risk, for the paths of an Ingress, that falls back.
    pub(crate) const fn new(
        name: &'static str,
        value: &'static str,
        default: &'static str,
        doc: &'static str,
        support: Support<E>,
    ) -> Self {
        let (risk, scope, on_invalid) = (Risk::Low, Scope::Path, OnInvalid::FallsBack);
        Self { name, aliases: &[], value, default, risk, scope, on_invalid, doc, support }
    }

    /// A supported row.
    pub(crate) const fn on(
        name: &'static str,
        value: &'static str,
        default: &'static str,
        effect: E,
        doc: &'static str,
    ) -> Self {
        Self::new(name, value, default, doc, Support::Supported(effect))
    }

    /// A row of something inside nginx.
    pub(crate) const fn ignored(name: &'static str, value: &'static str, doc: &'static str) -> Self {
        Self::new(name, value, "", doc, Support::Ignored)
    }

    /// A row without effect so far; the values of `idle` ask for nothing.
    pub(crate) const fn not_yet(
        name: &'static str,
        value: &'static str,
        idle: &'static [&'static str],
        doc: &'static str,
    ) -> Self {
        Self::new(name, value, "", doc, Support::NotYet(idle))
    }

    /// A row about security that is not enforced so far; the values of `idle` ask for nothing.
    pub(crate) const fn not_yet_security(
        name: &'static str,
        value: &'static str,
        idle: &'static [&'static str],
        doc: &'static str,
    ) -> Self {
        let mut row = Self::new(name, value, "", doc, Support::NotYetSecurity(idle));
        row.on_invalid = OnInvalid::FailsClosed;
        row
    }

    /// A row of raw nginx configuration.
    pub(crate) const fn refused(name: &'static str, doc: &'static str) -> Self {
        let mut row = Self::new(name, "nginx configuration", "", doc, Support::Refused);
        row.risk = Risk::Critical;
        row.on_invalid = OnInvalid::RejectsIngress;
        row
    }

    pub(crate) const fn aliases(mut self, aliases: &'static [&'static str]) -> Self {
        self.aliases = aliases;
        self
    }

    pub(crate) const fn risk(mut self, risk: Risk) -> Self {
        self.risk = risk;
        self
    }

    pub(crate) const fn scope(mut self, scope: Scope) -> Self {
        self.scope = scope;
        self
    }

    pub(crate) const fn on_invalid(mut self, on_invalid: OnInvalid) -> Self {
        self.on_invalid = on_invalid;
        self
    }

    /// As [`OnInvalid::RejectsIngress`].
    pub(crate) const fn rejects(self) -> Self {
        self.on_invalid(OnInvalid::RejectsIngress)
    }

    /// As [`OnInvalid::FailsClosed`].
    pub(crate) const fn fails_closed(self) -> Self {
        self.on_invalid(OnInvalid::FailsClosed)
    }

    /// The name and the other spellings.
    pub fn spellings(&self) -> impl Iterator<Item = &'static str> + use<E> {
        std::iter::once(self.name).chain(self.aliases.iter().copied())
    }

    /// Whether it acts.
    pub fn is_supported(&self) -> bool {
        matches!(self.support, Support::Supported(_))
    }

    /// The status in a word or two, for reference pages.
    pub fn status(&self) -> &'static str {
        match self.support {
            Support::Supported(_) => "supported",
            Support::Ignored => "ignored",
            Support::NotYet(_) => "no effect yet",
            Support::NotYetSecurity(_) => "fails closed",
            Support::Refused => "refused",
        }
    }
}

impl fmt::Display for Risk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Low => "Low",
            Self::Medium => "Medium",
            Self::High => "High",
            Self::Critical => "Critical",
        })
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Path => "path",
            Self::Host => "host",
            Self::Service => "service",
            Self::Ingress => "ingress",
            Self::Controller => "controller",
        })
    }
}

/// What follows, as the end of a sentence.
impl fmt::Display for OnInvalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::FailsClosed => "every path answers 503",
            Self::RejectsIngress => "the Ingress is not used",
            Self::FallsBack => "the default holds",
            Self::TurnsOff => "the feature stays off",
        })
    }
}
