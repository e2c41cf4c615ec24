//! Annotations of one Ingress -> [`IngressSettings`].
//!
//! Walks the table of definitions over what is written under the prefix. What a value means is said in the file of its
//! concept; this file owns what holds for all of them: spellings, risk, the blocklist, and what follows from a value
//! that can't be understood.

use std::collections::BTreeMap;

use genkan_routing::name::ObjectRef;
use genkan_routing::report::{Problem, Severity};

use crate::config_map::GlobalConfig;
use crate::definition::{Definition, MEND_UNSUPPORTED, MEND_UNSUPPORTED_SECURITY, OnInvalid, Support};
use crate::notes::Notes;
use crate::settings::IngressSettings;
use crate::suggest::nearest;
use crate::table;
use crate::value::{ValueError, quoted};
use crate::{
    authentication, basic_auth, canary, connection_limit, cors, ip_access, load_balance, rate_limit, redirect,
};

/// A row of the table of annotations.
pub type Annotation = Definition<Effect>;

/// Puts a value, which is not blank, into effect.
pub type Effect = fn(&mut Builder<'_>, &str) -> Result<(), ValueError>;

/// Where annotations stand, and what they fall back to.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The prefix that is ours, without the final `/`: `nginx.ingress.kubernetes.io`.
    pub prefix: &'a str,
    /// The Ingress, for messages and for the zones of limits.
    pub object: &'a ObjectRef,
    /// What the ConfigMap says.
    pub global: &'a GlobalConfig,
}

/// What [`parse`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parsed {
    /// Effective settings.
    pub settings: IngressSettings,
    /// Whether anything is written that fails closed: the paths are not for everybody, so that what can't be served of
    /// them must not be left to another's path.
    pub guarded: bool,
    /// Everything to say about the annotations.
    pub problems: Vec<Problem>,
}

/// Settings under construction: what single annotations set, and the parts of what takes several.
#[derive(Debug)]
pub struct Builder<'a> {
    pub(crate) context: Context<'a>,
    pub(crate) settings: IngressSettings,
    pub(crate) basic_auth: basic_auth::Parts,
    pub(crate) canary: canary::Parts,
    pub(crate) connection_limit: connection_limit::Parts,
    pub(crate) cors: cors::Parts,
    pub(crate) ip_access: ip_access::Parts,
    pub(crate) load_balance: load_balance::Parts,
    pub(crate) rate_limit: rate_limit::Parts,
    pub(crate) redirect: redirect::Parts,
    /// Keys of the ConfigMap that this Ingress replaces or does without.
    pub(crate) replaced_keys: Vec<&'static str>,
    guarded: bool,
    notes: Notes,
}

/// Reads the annotations under `context.prefix`; others are left alone. Never fails: every problem is reported, and
/// its annotation falls back or fails closed as its definition says.
pub fn parse(annotations: &BTreeMap<String, String>, context: &Context<'_>) -> Parsed {
    let written = under_prefix(annotations, context.prefix);
    let mut builder = Builder::new(*context);
    builder.check_blocklist(&written);
    for definition in table::annotations() {
        if let Some((spelling, value)) = builder.choose_spelling(definition, &written) {
            builder.at(spelling);
            builder.apply(definition, spelling, value);
        }
    }
    for name in written.keys().filter(|name| table::annotation(name).is_none()) {
        builder.at(name);
        builder.unknown(name);
    }
    builder.finish()
}

/// What is written under the prefix, by the name behind it.
fn under_prefix<'a>(annotations: &'a BTreeMap<String, String>, prefix: &str) -> BTreeMap<&'a str, &'a str> {
    let name = |key: &'a str| key.strip_prefix(prefix)?.strip_prefix('/');
    annotations.iter().filter_map(|(key, value)| Some((name(key)?, value.as_str()))).collect()
}

impl<'a> Builder<'a> {
    fn new(context: Context<'a>) -> Self {
        Self {
            context,
            // Whether the ConfigMap denies everything is known only when all annotations are read.
            settings: IngressSettings {
                deny: None,
                deny_authentication: None,
                ..IngressSettings::from_global(context.global)
            },
            basic_auth: basic_auth::Parts::default(),
            canary: canary::Parts::default(),
            connection_limit: connection_limit::Parts::default(),
            cors: cors::Parts::default(),
            ip_access: ip_access::Parts::default(),
            load_balance: load_balance::Parts::default(),
            rate_limit: rate_limit::Parts::default(),
            redirect: redirect::Parts::default(),
            replaced_keys: Vec::new(),
            guarded: false,
            notes: Notes::new(context.object),
        }
    }

    /// From now on problems are about the annotation of this name.
    pub(crate) fn at(&mut self, name: &str) {
        self.notes.at(format!("metadata.annotations[{}/{}]", self.context.prefix, name.escape_debug()));
    }

    /// Says something about the annotation that is being read.
    pub(crate) fn note(&mut self, severity: Severity, reason: &'static str, message: impl Into<String>, mend: &str) {
        self.notes.add(severity, reason, message, mend);
    }

    /// A warning that a value is valid and not supported.
    pub(crate) fn unsupported_value(&mut self, message: impl Into<String>) {
        self.note(Severity::Warning, "UnsupportedAnnotation", message, "");
    }

    /// Every path answers 503. The first reason stays.
    pub(crate) fn deny(&mut self, reason: impl Into<String>) {
        self.settings.deny.get_or_insert_with(|| reason.into());
    }

    /// As [`Self::deny`], for the paths that ask for authentication.
    pub(crate) fn deny_authentication(&mut self, reason: impl Into<String>) {
        self.settings.deny_authentication.get_or_insert_with(|| reason.into());
    }

    fn check_blocklist(&mut self, written: &BTreeMap<&str, &str>) {
        for (name, value) in written {
            for word in self.context.global.annotation_value_word_blocklist.iter().filter(|word| value.contains(*word))
            {
                let message = format!("the value contains {}, which the ConfigMap blocks", quoted(word));
                self.settings.rejected = true;
                self.at(name);
                self.note(Severity::Error, "BlockedAnnotationValue", message, "");
            }
        }
    }

    /// The spelling that counts, and its value: the first that is not blank, else the first; a warning about others.
    fn choose_spelling<'w>(
        &mut self,
        definition: &Annotation,
        written: &BTreeMap<&'w str, &'w str>,
    ) -> Option<(&'static str, &'w str)> {
        let found = |spelling| written.get(spelling).map(|value| (spelling, *value));
        let mut all: Vec<_> = definition.spellings().filter_map(found).collect();
        let best = all.iter().position(|(_, value)| !value.trim().is_empty()).unwrap_or(0);
        if all.is_empty() {
            return None;
        }
        let chosen = all.remove(best);
        for (spelling, _) in all {
            let message = format!("{spelling} is not used, because {} says the same and counts", chosen.0);
            self.at(spelling);
            self.note(Severity::Warning, "IgnoredAnnotation", message, "remove one of the two");
        }
        Some(chosen)
    }

    fn apply(&mut self, definition: &Annotation, spelling: &str, value: &str) {
        if !matches!(definition.support, Support::Refused)
            && definition.risk > self.context.global.annotations_risk_level
        {
            let message = format!("{spelling} is of {} risk, more than the ConfigMap allows", definition.risk);
            self.settings.rejected = true;
            self.note(Severity::Error, "AnnotationRiskTooHigh", message, "raise annotations-risk-level");
        }
        let blank = value.trim().is_empty();
        let asks_nothing = |idle: &[&str]| blank || idle.iter().any(|idle| idle.eq_ignore_ascii_case(value.trim()));
        self.guarded |= match definition.support {
            Support::Supported(_) => definition.on_invalid == OnInvalid::FailsClosed,
            Support::NotYetSecurity(idle) => !asks_nothing(idle),
            Support::Ignored | Support::NotYet(_) | Support::Refused => false,
        };
        match definition.support {
            Support::Supported(_) if blank => self.blank(definition, spelling),
            Support::Supported(effect) => {
                if let Err(error) = effect(self, value) {
                    self.invalid(definition, spelling, value, &error);
                }
            }
            Support::Ignored => {
                let message = format!("{spelling} tunes the inside of nginx and is ignored");
                self.note(Severity::Info, "IgnoredAnnotation", message, "");
            }
            Support::NotYet(idle) if asks_nothing(idle) => {}
            Support::NotYet(_) => {
                let message = format!("{spelling} is not supported and has no effect");
                self.note(Severity::Warning, "UnsupportedAnnotation", message, MEND_UNSUPPORTED);
            }
            Support::NotYetSecurity(idle) if asks_nothing(idle) => self.replaced_keys.push(definition.name),
            Support::NotYetSecurity(_) => {
                let message = format!("{spelling} is not supported: every path answers 503, so that nothing is open");
                let reason = format!("the annotation {spelling} is not supported");
                if authentication::ANNOTATIONS.contains(&definition.name) {
                    self.deny_authentication(reason);
                } else {
                    self.deny(reason);
                }
                self.note(Severity::Error, "UnsupportedAnnotation", message, MEND_UNSUPPORTED_SECURITY);
            }
            Support::Refused => self.refuse(spelling),
        }
    }

    /// Raw nginx configuration.
    fn refuse(&mut self, spelling: &str) {
        let spelling = spelling.escape_debug();
        let message = format!("{spelling} is raw nginx configuration, which is never run: the Ingress is not used");
        self.settings.rejected = true;
        self.note(Severity::Error, "SnippetRefused", message, "say it with other annotations and remove this one");
    }

    fn blank(&mut self, definition: &Annotation, spelling: &str) {
        if definition.on_invalid == OnInvalid::FailsClosed {
            let message = format!("{spelling} is empty: {}", definition.on_invalid);
            self.deny(format!("the annotation {spelling} is empty"));
            self.note(Severity::Error, "InvalidAnnotation", message, &mend(definition));
        } else {
            let message = format!("{spelling} is empty and has no effect");
            self.note(Severity::Warning, "InvalidAnnotation", message, &mend(definition));
        }
    }

    fn invalid(&mut self, definition: &Annotation, spelling: &str, value: &str, error: &ValueError) {
        let severity = match definition.on_invalid {
            OnInvalid::FailsClosed => {
                self.deny(format!("the annotation {spelling} can't be understood"));
                Severity::Error
            }
            OnInvalid::RejectsIngress => {
                self.settings.rejected = true;
                Severity::Error
            }
            OnInvalid::FallsBack | OnInvalid::TurnsOff => Severity::Warning,
        };
        let message = format!("{spelling}: {} {error}: {}", quoted(value), definition.on_invalid);
        self.note(severity, "InvalidAnnotation", message, &mend(definition));
    }

    fn unknown(&mut self, name: &str) {
        if name.ends_with("-snippet") {
            return self.refuse(name);
        }
        let mut message =
            format!("unknown annotation {}/{} on {}", self.context.prefix, name.escape_debug(), self.notes.object());
        if let Some(known) = nearest(name, table::annotation_names()) {
            message.push_str(&format!(": did you mean {known}?"));
        }
        self.note(Severity::Warning, "UnknownAnnotation", message, "");
    }

    /// Combines the parts.
    fn finish(mut self) -> Parsed {
        basic_auth::finish(&mut self);
        canary::finish(&mut self);
        connection_limit::finish(&mut self);
        cors::finish(&mut self);
        ip_access::finish(&mut self);
        load_balance::finish(&mut self);
        rate_limit::finish(&mut self);
        redirect::finish(&mut self);
        self.inherit_denial();
        Parsed { settings: self.settings, guarded: self.guarded, problems: self.notes.into_problems() }
    }

    /// A security key of the ConfigMap that can't be used denies every rule that does not replace it.
    fn inherit_denial(&mut self) {
        let global = self.context.global;
        if let Some(reason) = global.denial(&self.replaced_keys) {
            self.deny(reason);
        }
        if let Some(reason) = global.authentication_denial(&self.replaced_keys) {
            self.deny_authentication(reason);
        }
    }
}

fn mend(definition: &Annotation) -> String {
    format!("write {}", definition.value)
}

/// Puts a parsed value into its place.
pub(crate) fn set<T>(slot: &mut T, value: Result<T, ValueError>) -> Result<(), ValueError> {
    *slot = value?;
    Ok(())
}
