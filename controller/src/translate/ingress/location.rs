//! Locations of a host: who owns which path, and in which order paths are tried.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use genkan_routing::name::HostPattern;
use genkan_routing::policy::canary::Canary;
use genkan_routing::report::Problem;

use super::fragment::{BackendRef, Body, Fragment, PathRule};
use super::rule::{Redirects, rewrites};

/// A path of a host, and what is there.
pub(super) struct Location<'f> {
    /// The path as written.
    pub(super) text: Arc<str>,
    /// Whether only the path itself is meant, where the host's paths are no regular expressions.
    pub(super) exact: bool,
    /// What is there.
    pub(super) content: Content<'f>,
    /// Takes some of its requests away.
    pub(super) canary: Option<Box<Canary>>,
}

/// What is at a location.
#[derive(Clone, Copy)]
pub(super) enum Content<'f> {
    /// A path of an Ingress.
    Path(Served<'f>, &'f PathRule),
    /// `/` of a host of an Ingress that does not say it, or of every host by `spec.defaultBackend`.
    Root(Served<'f>, Option<&'f BackendRef>, Redirects),
    /// `/` of every other host.
    Unclaimed,
    /// `/healthz` of every other host.
    Health,
}

/// An Ingress that is served.
#[derive(Clone, Copy)]
pub(super) struct Served<'f> {
    /// The Ingress.
    pub(super) fragment: &'f Fragment,
    /// What it says.
    pub(super) body: &'f Body,
}

impl<'f> Served<'f> {
    /// Its paths for a host.
    pub(super) fn paths(self, host: &HostPattern) -> impl Iterator<Item = &'f PathRule> {
        self.body.rules.iter().filter(move |rules| rules.host == *host).flat_map(|rules| &rules.paths)
    }

    /// Whether one of its rules is for the host.
    pub(super) fn names(self, host: &HostPattern) -> bool {
        self.body.rules.iter().any(|rules| rules.host == *host)
    }
}

/// The locations of a host by path. One path may be there twice, as exact path and as prefix.
#[derive(Default)]
pub(super) struct Locations<'f>(BTreeMap<(Arc<str>, bool), Location<'f>>);

impl<'f> Locations<'f> {
    /// Gives every path to the first that asks for it; tells the others.
    pub(super) fn claim(host: &HostPattern, ingresses: &[Served<'f>], problems: &mut Vec<Problem>) -> Self {
        let mut locations = Self::default();
        for served in ingresses {
            for rule in served.paths(host) {
                if let Some(owner) = locations.get(&rule.path.text, rule.path.is_exact()) {
                    problems.extend(taken(host, *served, rule, owner));
                } else {
                    locations.insert(rule.path.text.clone(), rule.path.is_exact(), Content::Path(*served, rule));
                }
            }
        }
        locations
    }

    /// Adds a location, unless its path has an owner.
    pub(super) fn insert(&mut self, text: Arc<str>, exact: bool, content: Content<'f>) {
        let key = (text.clone(), exact);
        self.0.entry(key).or_insert(Location { text, exact, content, canary: None });
    }

    /// The location at a path.
    pub(super) fn get(&self, text: &Arc<str>, exact: bool) -> Option<&Location<'f>> {
        self.0.get(&(text.clone(), exact))
    }

    /// As [`Self::get`], to change it.
    pub(super) fn get_mut(&mut self, text: &Arc<str>, exact: bool) -> Option<&mut Location<'f>> {
        self.0.get_mut(&(text.clone(), exact))
    }

    /// Whether somebody owns a path, exactly or as prefix.
    pub(super) fn owned(&self, text: &str) -> bool {
        let text: Arc<str> = text.into();
        self.get(&text, true).is_some() || self.get(&text, false).is_some()
    }

    /// Whether the paths of the host are regular expressions: one location that wants it turns all of them.
    pub(super) fn regex_mode(&self) -> bool {
        self.0.values().any(|location| match location.content {
            Content::Path(Served { body, .. }, _) | Content::Root(Served { body, .. }, _, Redirects::Act) => {
                body.settings.use_regex || rewrites(body, &location.text)
            }
            _ => false,
        })
    }

    /// The locations by length of their text, then by text, both descending.
    pub(super) fn ordered(&self) -> Vec<&Location<'f>> {
        let mut all: Vec<_> = self.0.values().collect();
        all.sort_by_key(|location| (Reverse(location.text.len()), Reverse(location.text.clone()), !location.exact));
        all
    }
}

fn taken(host: &HostPattern, loser: Served<'_>, rule: &PathRule, owner: &Location<'_>) -> Option<Problem> {
    let Content::Path(winner, _) = owner.content else { return None };
    let text = &rule.path.text;
    let message = if std::ptr::eq(winner.fragment, loser.fragment) {
        format!("the path {text} of host {host} is written twice in this Ingress; only the first is served")
    } else {
        let name = winner.fragment.name();
        format!("the path {text} of host {host} belongs to Ingress {name}, which comes first; this one is not served")
    };
    let mend = "of several Ingresses the oldest comes first, of those of one age the last by namespace and name";
    Some(Problem::error(loser.fragment.origin(rule.field()), "PathConflict", message).with_mend(mend))
}
