//! The judge: what is refused and what is only warned of. Pure: the same review and the same state give the same verdict.
//!
//! Refused is what ingress-nginx refuses: values and risks of annotations, snippets, blocked words, strict path types, a
//! catch-all that is turned off, hosts, paths and regular expressions that can't be, and paths of another Ingress.
//! Everything else that `genkan check` tells is a warning. What may be created after the Ingress, a Service or a Secret,
//! is never a reason to refuse it.

use std::collections::BTreeSet;

use genkan_routing::name::HostPattern;
use genkan_routing::report::{Problem, Severity};

use super::inspect::inspect;
use super::review::Review;
use crate::control::Control;
use crate::resources::{Ingress, Key, Resources};
use crate::translate::{Overlap, Trial};

/// Reasons of problems for which an Ingress is refused.
const REFUSED: &[&str] = &[
    "AnnotationRiskTooHigh",
    "BlockedAnnotationValue",
    "CatchAllDisabled",
    "InvalidAnnotation",
    "InvalidHost",
    "InvalidPath",
    "InvalidRegex",
    "SnippetRefused",
];

/// Reasons of problems that time mends, not whoever writes the Ingress; and that the whole is not served, which follows.
const UNTOLD: &[&str] = &["NoEndpoints", "ExternalNameUnresolved", "IngressRejected"];

/// The prefix of annotations without `--annotations-prefix`.
const DEFAULT_PREFIX: &str = "nginx.ingress.kubernetes.io";

/// The longest warning, in characters: the API server may cut longer ones.
const LONGEST_WARNING: usize = 256;

/// Warnings at most; the API server passes on 4096 characters in all.
const MOST_WARNINGS: usize = 15;

/// The longest message, in characters.
const LONGEST_MESSAGE: usize = 4096;

/// What flags say about admission.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// `--watch-namespace`: Ingresses elsewhere are somebody else's.
    pub watch_namespace: Option<String>,
    /// `--deep-inspect`.
    pub deep_inspect: bool,
}

/// What the judge looks at.
#[derive(Clone, Copy, Debug)]
pub struct View<'v> {
    /// What is served.
    pub control: &'v Control,
    /// What it was made from.
    pub resources: &'v Resources,
    /// Objects besides.
    pub lent: &'v Resources,
    /// The flags.
    pub rules: &'v Rules,
}

/// The answer to a review.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Whether the Ingress may be stored.
    pub allowed: bool,
    /// Why not.
    pub message: String,
    /// What kubectl prints.
    pub warnings: Vec<String>,
}

/// A verdict and what it was found with.
#[derive(Clone, Debug, Default)]
pub struct Judgement {
    /// The answer.
    pub verdict: Verdict,
    /// How many Ingresses were looked at.
    pub ingresses: usize,
    /// Secrets and ConfigMaps that the Ingress names and that are not in the view.
    pub missing: BTreeSet<Key>,
}

/// Judges a review.
pub fn judge(view: View<'_>, review: &Review) -> Judgement {
    let allowed = || Verdict { allowed: true, ..Verdict::default() };
    let elsewhere = view.rules.watch_namespace.as_ref().is_some_and(|only| **only != *review.name.namespace);
    let Some(ingress) = review.ingress.as_ref().filter(|_| !elsewhere) else {
        return Judgement { verdict: allowed(), ..Judgement::default() };
    };
    let (trial, missing) = view.control.try_on(view.resources, view.lent, &review.name, ingress);
    let ingresses = trial.ingresses;
    let verdict = if trial.ours {
        weigh(view, ingress, &trial)
    } else {
        // All that is told of it is that it names our class and there is none.
        Verdict { warnings: warnings(trial.problems.iter().map(text)), ..allowed() }
    };
    Judgement { verdict, ingresses, missing }
}

/// The verdict on an Ingress of ours.
fn weigh(view: View<'_>, ingress: &Ingress, trial: &Trial) -> Verdict {
    // A path of another Ingress is told as such.
    let overlaps = |problem: &Problem| trial.overlaps.iter().any(|it| it.field == problem.origin.field);
    let conflict = |problem: &Problem| matches!(problem.reason, "PathConflict" | "CanaryConflict") && overlaps(problem);
    let told = trial.problems.iter().filter(|it| !UNTOLD.contains(&it.reason) && !conflict(it));
    let (refused, warned): (Vec<_>, Vec<_>) = told.partition(|problem| is_refused(problem, ingress));
    let inspected = view.rules.deep_inspect.then(|| inspect(ingress)).flatten();
    let mut reasons: Vec<_> = inspected
        .map(|(field, found)| format!("{field}: {found:?} has no place there"))
        .into_iter()
        .chain(foreign_prefix(ingress, &view.control.settings().annotations_prefix))
        .collect();
    reasons.extend(refused.into_iter().map(text));
    reasons.extend(trial.overlaps.iter().map(overlap));
    let elsewhere = trial.elsewhere.iter().filter(|problem| !UNTOLD.contains(&problem.reason));
    let elsewhere = elsewhere.map(|problem| format!("{}: {}", problem.origin.object, text(problem)));
    Verdict {
        allowed: reasons.is_empty(),
        message: cut(&reasons.join("; "), LONGEST_MESSAGE),
        warnings: warnings(warned.into_iter().map(text).chain(elsewhere)),
    }
}

fn is_refused(problem: &Problem, ingress: &Ingress) -> bool {
    // An annotation without a value says nothing, for ingress-nginx.
    let says_nothing = problem.reason == "InvalidAnnotation" && is_blank_annotation(problem, ingress);
    REFUSED.contains(&problem.reason) && !says_nothing
}

fn is_blank_annotation(problem: &Problem, ingress: &Ingress) -> bool {
    let name = problem.origin.field.strip_prefix("metadata.annotations[").and_then(|field| field.strip_suffix(']'));
    let value = name.and_then(|name| ingress.metadata.annotations.as_ref()?.get(name));
    value.is_some_and(|value| value.trim().is_empty())
}

/// With a prefix of our own, annotations with the common one are meant for another controller, or in vain.
fn foreign_prefix(ingress: &Ingress, prefix: &str) -> Option<String> {
    let mut names = ingress.metadata.annotations.iter().flat_map(|all| all.keys());
    let has_default = |name: &String| name.strip_prefix(DEFAULT_PREFIX).is_some_and(|rest| rest.starts_with('/'));
    let name = names.find(|name| prefix != DEFAULT_PREFIX && has_default(name))?;
    Some(format!("metadata.annotations[{name}]: the prefix of annotations is {prefix} here, not {DEFAULT_PREFIX}"))
}

/// In ingress-nginx's words: people look for them.
fn overlap(overlap: &Overlap) -> String {
    let Overlap { host, path, owner, .. } = overlap;
    let host = if *host == HostPattern::Any { "_".to_owned() } else { host.to_string() };
    format!("host \"{host}\" and path \"{path}\" is already defined in ingress {owner}")
}

/// A problem in one line: where, what, and the mend if there is room for it.
fn text(problem: &Problem) -> String {
    let field = &problem.origin.field;
    // What is said of an annotation names it.
    let place = if field.is_empty() || field.starts_with("metadata.annotations[") { "" } else { field };
    let colon = if place.is_empty() { "" } else { ": " };
    let short = format!("{place}{colon}{}", problem.message);
    let long = if problem.mend.is_empty() { short.clone() } else { format!("{short}; {}", problem.mend) };
    if problem.severity == Severity::Info || long.chars().count() > LONGEST_WARNING { short } else { long }
}

fn warnings(texts: impl Iterator<Item = String>) -> Vec<String> {
    let mut all: Vec<_> = texts.map(|text| cut(&text, LONGEST_WARNING)).collect();
    if all.len() > MOST_WARNINGS {
        let more = all.len() - (MOST_WARNINGS - 1);
        all.truncate(MOST_WARNINGS - 1);
        all.push(format!("and {more} more; `genkan check` tells them all"));
    }
    all
}

/// At most so many characters; a sign at the end that there were more.
fn cut(text: &str, longest: usize) -> String {
    match text.char_indices().nth(longest) {
        None => text.to_owned(),
        Some(_) => text.chars().take(longest.saturating_sub(1)).chain(['…']).collect(),
    }
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
