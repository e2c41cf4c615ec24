//! What start-up says: what was found, where it is served, what to try.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::net::SocketAddr;
use std::path::Path;

use genkan_routing::model::Model;
use genkan_routing::name::ListenerId;

use crate::cli::input::{LocatedProblem, count, plural};
use crate::cli::try_it::suggestions;
use crate::resources::{Kind, Resources};

/// Everything that start-up has to say.
pub(super) struct Summary<'a> {
    pub(super) path: &'a Path,
    pub(super) resources: &'a Resources,
    pub(super) other_kinds: &'a BTreeMap<String, usize>,
    pub(super) model: &'a Model,
    pub(super) problems: &'a BTreeSet<LocatedProblem>,
    pub(super) bound: &'a [(ListenerId, SocketAddr)],
    pub(super) admin: SocketAddr,
    pub(super) backends: usize,
    pub(super) try_it: bool,
}

impl Summary<'_> {
    /// The text, with a final newline.
    pub(super) fn text(&self) -> String {
        let mut text = format!("genkan {}: {}\n", env!("CARGO_PKG_VERSION"), self.path.display());
        let mut line = |name: &str, value: String| {
            // Writing into a String cannot fail.
            let _ = writeln!(text, "  {name:<10} {value}");
        };
        line("objects", self.objects());
        line("serving", self.serving());
        line("listening", self.listening());
        line("problems", count(self.problems));
        if self.backends > 0 {
            line("backends", format!("{} in this process", plural(self.backends, "echo server")));
        }
        for problem in self.problems {
            let _ = writeln!(text, "  {problem}");
        }
        if self.try_it {
            let suggestions = suggestions(self.model);
            if !suggestions.is_empty() {
                text.push_str("\nTry:\n");
            }
            for suggestion in suggestions {
                let _ = writeln!(text, "  # {}\n  {}", suggestion.shows, suggestion.command);
            }
        }
        text
    }

    fn objects(&self) -> String {
        let mut counts: BTreeMap<Kind, usize> = BTreeMap::new();
        for key in self.resources.keys() {
            *counts.entry(key.kind).or_default() += 1;
        }
        let mut parts: Vec<_> = counts.iter().map(|(kind, count)| format!("{count} {}", kind.as_str())).collect();
        let others: usize = self.other_kinds.values().sum();
        if others > 0 {
            let kinds: Vec<_> = self.other_kinds.keys().map(String::as_str).collect();
            parts.push(format!("{others} left alone ({})", kinds.join(", ")));
        }
        if parts.is_empty() { "none".to_owned() } else { parts.join(", ") }
    }

    fn serving(&self) -> String {
        let model = self.model;
        let hosts: usize = model.tables.values().map(|table| table.hosts.len()).sum();
        [
            plural(hosts, "host"),
            plural(model.rules.len(), "rule"),
            plural(model.clusters.len(), "cluster"),
            plural(model.certificates.len(), "certificate"),
        ]
        .join(", ")
    }

    fn listening(&self) -> String {
        let mut parts: Vec<_> = self.bound.iter().map(|(id, address)| format!("{id} {address}")).collect();
        parts.push(format!("admin {}", self.admin));
        parts.join(", ")
    }
}
