//! Explanations: which match serves a request, and why every other one does not. For operators, not for the data path.
//!
//! The search is linear and independent of the compiled index; a property test holds its winner equal to
//! [`Snapshot::route`](super::Snapshot::route).

use std::cmp::Reverse;
use std::fmt;

use serde::Serialize;

use super::conditions::path_fits;
use super::reasons::{describe, misfit, outranked};
use super::reference::specificity;
use super::{RequestView, Snapshot};
use crate::model::{Host, Listener, Match, Model};
use crate::name::{HostPattern, ListenerId, Origin, RuleId, TableId};

/// How many candidates are listed whose path does not fit; a host may have thousands.
const LISTED_MISFITS: usize = 20;

/// How a request was routed. `Display` is for people, `Serialize` for programs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// `GET a.example.com/path?query`.
    pub request: String,
    /// The listener that was asked.
    pub listener: ListenerId,
    /// The hostname of the section that the host belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub section: Option<HostPattern>,
    /// Hostnames of sections that cover the host too, but less specifically; their matches are never asked.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub passed_over: Vec<HostPattern>,
    /// What serves the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub winner: Option<Candidate>,
    /// Why nothing serves it: a listener, section, host or match is wanting.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// What does not serve it, in the order in which matches are asked.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lost: Vec<Loser>,
    /// How many more matches don't fit by their path and are not listed in `lost`.
    pub unlisted: usize,
}

/// A match of a host that covers the request's host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Candidate {
    /// The table of the host.
    pub table: TableId,
    /// The host that it belongs to.
    pub host: HostPattern,
    /// Its position in the order of that host, from 0.
    pub rank: usize,
    /// Its conditions, in words.
    pub conditions: String,
    /// The rule it leads to.
    pub rule: RuleId,
    /// Where the rule came from; `None` when the model has no such rule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
}

/// A candidate that did not win.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Loser {
    /// The candidate.
    #[serde(flatten)]
    pub candidate: Candidate,
    /// Why, in plain words.
    pub reason: String,
}

impl Snapshot {
    /// Which match serves a request, and why the others don't: the answer of [`Self::route`] with its reasons. Slow.
    pub fn explain(&self, listener: &ListenerId, request: &RequestView<'_>) -> Explanation {
        let mut explanation = Explanation {
            request: describe_request(request),
            listener: listener.clone(),
            section: None,
            passed_over: Vec::new(),
            winner: None,
            failure: None,
            lost: Vec::new(),
            unlisted: 0,
        };
        explanation.failure = match self.model.listeners.get(listener) {
            None => Some(format!("there is no listener {listener}")),
            Some(listener) => {
                let hosts = covering_hosts(&self.model, listener, request.host, &mut explanation);
                explanation.ask(&self.model, &hosts, request)
            }
        };
        explanation
    }
}

struct Asked<'m> {
    table: &'m TableId,
    pattern: &'m HostPattern,
    host: &'m Host,
}

/// The hosts that are asked, in order. Notes the sections.
fn covering_hosts<'m>(model: &'m Model, listener: &'m Listener, host: &str, note: &mut Explanation) -> Vec<Asked<'m>> {
    let covering = || listener.sections.iter().filter(|section| section.hostname.matches(host));
    let Some(best) = covering().map(|section| &section.hostname).max_by_key(|hostname| specificity(hostname)) else {
        return Vec::new();
    };
    note.section = Some(best.clone());
    note.passed_over = covering().map(|section| section.hostname.clone()).filter(|other| other != best).collect();
    let mut hosts = Vec::new();
    for section in covering().filter(|section| section.hostname == *best) {
        let table = model.tables.get(&section.table).into_iter().flat_map(|table| &table.hosts);
        let covering = table.filter(|(pattern, _)| pattern.matches(host));
        hosts.extend(covering.map(|(pattern, host)| Asked { table: &section.table, pattern, host }));
    }
    hosts.sort_by_key(|asked| Reverse(specificity(asked.pattern)));
    hosts
}

/// What has been found on the way through the hosts.
enum Found<'m> {
    Nothing,
    /// The first match that fits leads to no rule, so the rest of this host is not asked.
    DeadEnd,
    Winner(&'m HostPattern, &'m Match),
}

impl Explanation {
    /// Fills in the winner and the losers; returns why there is no winner.
    fn ask(&mut self, model: &Model, hosts: &[Asked<'_>], request: &RequestView<'_>) -> Option<String> {
        let mut winner: Option<(&HostPattern, &Match)> = None;
        for asked in hosts {
            let mut found = winner.map_or(Found::Nothing, |(host, matched)| Found::Winner(host, matched));
            let inherited = winner.is_some();
            for (rank, matched) in asked.host.matches.iter().enumerate() {
                let origin = model.rules.get(&matched.rule).map(|rule| rule.origin.clone());
                let exists = origin.is_some();
                let reason = match (misfit(matched, request), &found) {
                    (Some(reason), _) => reason,
                    (None, Found::Winner(host, _)) if inherited && *host == asked.pattern => {
                        "an earlier section has this host too".to_owned()
                    }
                    (None, Found::Winner(..)) if inherited => format!("less specific host {}", asked.pattern),
                    (None, Found::Winner(_, winner)) => outranked(winner, matched),
                    (None, Found::DeadEnd) => "an earlier match of this host leads to a missing rule".to_owned(),
                    (None, Found::Nothing) if exists => {
                        found = Found::Winner(asked.pattern, matched);
                        winner = Some((asked.pattern, matched));
                        self.winner = Some(candidate(asked, rank, matched, origin));
                        continue;
                    }
                    (None, Found::Nothing) => {
                        found = Found::DeadEnd;
                        format!("its rule {} does not exist, so this host is passed over", matched.rule)
                    }
                };
                self.note_loser(
                    candidate(asked, rank, matched, origin),
                    reason,
                    path_fits(&matched.path, request.path),
                );
            }
        }
        match (&self.winner, &self.section) {
            (Some(_), _) => None,
            (None, None) => Some("no section of the listener covers this host".to_owned()),
            (None, Some(_)) if hosts.is_empty() => Some("no rule is for this host".to_owned()),
            (None, Some(_)) => Some("no match of this host fits".to_owned()),
        }
    }

    fn note_loser(&mut self, candidate: Candidate, reason: String, path_fits: bool) {
        if path_fits || self.lost.len() < LISTED_MISFITS {
            self.lost.push(Loser { candidate, reason });
        } else {
            self.unlisted += 1;
        }
    }
}

fn candidate(asked: &Asked<'_>, rank: usize, matched: &Match, origin: Option<Origin>) -> Candidate {
    Candidate {
        table: asked.table.clone(),
        host: asked.pattern.clone(),
        rank,
        conditions: describe(matched),
        rule: matched.rule.clone(),
        origin,
    }
}

fn describe_request(request: &RequestView<'_>) -> String {
    let host = if request.host.is_empty() { "(no host)" } else { request.host };
    match request.query {
        Some(query) => format!("{} {host}{}?{query}", request.method, request.path),
        None => format!("{} {host}{}", request.method, request.path),
    }
}

/// `host a.example.com, match 2 (prefix /api) -> ingress/default/web/0/1, from Ingress default/web: spec.rules[0]`.
impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "host {}, match {} ({}) -> {}", self.host, self.rank, self.conditions, self.rule)?;
        match &self.origin {
            Some(origin) => write!(f, ", from {origin}"),
            None => Ok(()),
        }
    }
}

/// Several lines, without a final newline.
impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on listener {}", self.request, self.listener)?;
        if let Some(section) = &self.section {
            write!(f, "\nsection: {section}")?;
        }
        for hostname in &self.passed_over {
            write!(f, "\npassed over: less specific section {hostname}")?;
        }
        if let Some(failure) = &self.failure {
            write!(f, "\nnothing serves it: {failure}")?;
        }
        if let Some(winner) = &self.winner {
            write!(f, "\nserved by: {winner}")?;
        }
        for Loser { candidate, reason } in &self.lost {
            write!(f, "\nnot by: {candidate}\n        because {reason}")?;
        }
        match self.unlisted {
            0 => Ok(()),
            count => write!(f, "\nand {count} more that don't fit by their path"),
        }
    }
}
