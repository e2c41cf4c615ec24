//! Command lines to try: one for each thing that a model can show. Pure.

use std::collections::BTreeSet;

use genkan_routing::model::{Action, Filter, Host, Match, Model, PathMatch, Protocol, Rule};
use genkan_routing::name::HostPattern;
use genkan_routing::policy::cors::{CorsOrigin, CorsOrigins};
use genkan_routing::policy::redirect::Scheme;

/// The most hosts for which a plain request is shown.
const MAX_HOSTS: usize = 5;

/// A command and what it shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Suggestion {
    /// What to look for in the answer.
    pub(super) shows: String,
    /// A shell command.
    pub(super) command: String,
}

/// Requests that show what `model` does, sent to `http_port` or `https_port` of this machine.
pub(super) fn suggestions(model: &Model) -> Vec<Suggestion> {
    let mut found = Vec::new();
    let mut hosts_shown = BTreeSet::new();
    let mut features_shown = BTreeSet::new();
    for listener in model.listeners.values() {
        let scheme = match listener.protocol {
            Protocol::Http => Scheme::Http,
            Protocol::Https => Scheme::Https,
        };
        for table in listener.sections.iter().filter_map(|section| model.tables.get(&section.table)) {
            for (pattern, host) in &table.hosts {
                let target = Target { scheme, port: listener.port, pattern };
                for entry in entries(model, host, &target) {
                    features(&entry, &mut features_shown, &mut found);
                    let shown = format!("{} {pattern}", scheme.as_str());
                    if hosts_shown.len() < MAX_HOSTS && hosts_shown.insert(shown) {
                        found.push(
                            entry
                                .suggestion(format!("{} is served by {}", target.host(), entry.rule.origin.object), ""),
                        );
                    }
                }
            }
        }
    }
    found
}

/// Where a request goes.
#[derive(Clone, Copy)]
struct Target<'m> {
    scheme: Scheme,
    port: u16,
    pattern: &'m HostPattern,
}

impl Target<'_> {
    /// A host that the pattern covers.
    fn host(&self) -> String {
        match self.pattern {
            HostPattern::Exact(name) => name.to_string(),
            HostPattern::OneLabel(suffix) | HostPattern::Suffix(suffix) => format!("any.{suffix}"),
            HostPattern::Any => "localhost".to_owned(),
        }
    }
}

/// A match of a host with the rule that it leads to.
struct Entry<'m> {
    target: Target<'m>,
    matched: &'m Match,
    rule: &'m Rule,
}

impl Entry<'_> {
    fn suggestion(&self, shows: String, options: &str) -> Suggestion {
        let host = self.target.host();
        let path = match &self.matched.path {
            PathMatch::Exact(path) => path.as_str(),
            PathMatch::Prefix(prefix) => prefix.as_str(),
            PathMatch::Regex(_) => "/",
        };
        // Names below localhost reach this machine by themselves (RFC 6761); others must be told where to go.
        let own = host == "localhost" || host.ends_with(".localhost");
        let resolve = if own { String::new() } else { format!(" --resolve {host}:{}:127.0.0.1", self.target.port) };
        let insecure = if self.target.scheme == Scheme::Https { " -k" } else { "" };
        let url = format!("{}://{host}:{}{path}", self.target.scheme.as_str(), self.target.port);
        Suggestion { shows, command: format!("curl -s{insecure}{resolve}{options} {url}") }
    }
}

/// The matches of a host that a plain GET can reach and that lead somewhere on this scheme.
fn entries<'m>(model: &'m Model, host: &'m Host, target: &Target<'m>) -> Vec<Entry<'m>> {
    host.matches
        .iter()
        .filter(|matched| matched.method.is_none() && matched.headers.is_empty() && matched.query.is_empty())
        .filter_map(|matched| Some((matched, model.rules.get(&matched.rule)?)))
        .filter(|(_, rule)| !rule.labels.ingress.is_empty() && matches!(rule.action, Action::Forward(_)))
        .map(|(matched, rule)| Entry { target: *target, matched, rule })
        .collect()
}

/// One suggestion for each feature that was not shown yet.
fn features(entry: &Entry<'_>, shown: &mut BTreeSet<&'static str>, found: &mut Vec<Suggestion>) {
    let redirected = entry.target.scheme == Scheme::Http;
    if let Action::Forward(forward) = &entry.rule.action
        && let Some(canary) = &forward.canary
        && shown.insert("canary")
    {
        let share = format!("{} of {} requests go to the canary", canary.weight, canary.total);
        let mut suggestion = entry.suggestion(share, "");
        suggestion.command = format!("for i in $(seq 20); do {} | grep -o '\"name\":[^,]*'; done", suggestion.command);
        found.push(suggestion);
    }
    for filter in &entry.rule.filters {
        match filter {
            Filter::HttpsRedirect(_) if redirected && shown.insert("https") => {
                found.push(entry.suggestion("HTTP is sent to HTTPS".to_owned(), " -i"));
            }
            Filter::Cors(cors) if shown.insert("cors") => {
                let origin = match &cors.origins {
                    CorsOrigins::List(origins) => origins.iter().find_map(|origin| match origin {
                        CorsOrigin::Exact(origin) => Some(origin.clone()),
                        CorsOrigin::Wildcard(_) => None,
                    }),
                    CorsOrigins::All => None,
                };
                let origin = origin.unwrap_or_else(|| "https://app.example.com".to_owned());
                let options = format!(" -i -X OPTIONS -H 'Origin: {origin}' -H 'Access-Control-Request-Method: GET'");
                found.push(entry.suggestion(format!("a preflight from {origin} is answered"), &options));
            }
            Filter::RateLimit(limit) if shown.insert("rate limit") => {
                let mut suggestion = entry.suggestion(
                    format!("more than {} requests at once are refused with {}", limit.burst + 1, limit.status),
                    " -o /dev/null -w '%{http_code}\\n'",
                );
                suggestion.command = format!("for i in $(seq {}); do {}; done", limit.burst + 5, suggestion.command);
                found.push(suggestion);
            }
            Filter::Compression(_) if shown.insert("compression") => {
                let options = " -o /dev/null -D - --compressed";
                found.push(entry.suggestion("the response is compressed".to_owned(), options));
            }
            _ => {}
        }
    }
}
