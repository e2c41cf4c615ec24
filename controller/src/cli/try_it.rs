//! Command lines to try: one for each thing that a model can show, and one for each host. Pure.
//!
//! Only requests that a backend answers are worth showing: hosts with a certificate of their own are asked over TLS,
//! rules that redirect, refuse this machine or have no endpoint are passed over.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use genkan_routing::model::{Action, Filter, Forward, Listener, Match, Model, PathMatch, Protocol, Rule, Target};
use genkan_routing::name::HostPattern;
use genkan_routing::policy::canary::{Canary, CanaryHeaderRule};
use genkan_routing::policy::cors::{Cors, CorsOrigin, CorsOrigins};
use genkan_routing::policy::rate_limit::RateLimit;
use genkan_routing::policy::redirect::Scheme;
use ipnet::IpNet;

/// The most commands that are shown.
const MOST: usize = 8;

/// The longest loop of a command.
const MOST_REPEATS: u32 = 50;

/// What features show, from the most instructive.
const FEATURES: [fn(&Entry<'_>) -> Option<Suggestion>; 6] = [tls, canary, rewrite, cors, rate_limit, compression];

/// A command and what it shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Suggestion {
    /// What to look for in the answer.
    pub(super) shows: String,
    /// A shell command.
    pub(super) command: String,
}

/// Requests that show what `model` does, sent to its ports on this machine: each feature once, then the hosts that no
/// feature has shown.
pub(super) fn suggestions(model: &Model) -> Vec<Suggestion> {
    let entries = entries(model);
    let mut hosts_shown = BTreeSet::new();
    let mut features = Vec::new();
    for feature in FEATURES {
        // A feature that many hosts have is shown where nothing else has been.
        let able = || entries.iter().filter_map(|entry| Some((entry, feature(entry)?)));
        let fresh = able().find(|(entry, _)| !hosts_shown.contains(&entry.host()));
        if let Some((entry, suggestion)) = fresh.or_else(|| able().next()) {
            hosts_shown.insert(entry.host());
            features.push(suggestion);
        }
    }
    let hosts = entries.iter().filter(|entry| hosts_shown.insert(entry.host())).map(Entry::plain);
    features.into_iter().chain(hosts).take(MOST).collect()
}

/// A request that a backend answers.
struct Entry<'m> {
    scheme: Scheme,
    port: u16,
    pattern: &'m HostPattern,
    path: String,
    rule: &'m Rule,
    forward: &'m Forward,
}

impl Entry<'_> {
    /// A host that the pattern covers.
    fn host(&self) -> String {
        match self.pattern {
            HostPattern::Exact(name) => name.to_string(),
            HostPattern::OneLabel(suffix) | HostPattern::Suffix(suffix) => format!("any.{suffix}"),
            HostPattern::Any => "localhost".to_owned(),
        }
    }

    fn curl(&self, options: &str) -> String {
        let host = self.host();
        // Names below localhost reach this machine by themselves (RFC 6761); others must be told where to go.
        let own = host == "localhost" || host.ends_with(".localhost");
        let resolve = if own { String::new() } else { format!(" --resolve {host}:{}:127.0.0.1", self.port) };
        let insecure = if self.scheme == Scheme::Https { " -k" } else { "" };
        format!("curl -s{insecure}{resolve}{options} {}://{host}:{}{}", self.scheme.as_str(), self.port, self.path)
    }

    fn plain(&self) -> Suggestion {
        let labels = &self.rule.labels;
        let over = if self.scheme == Scheme::Https { " over TLS" } else { "" };
        let to = match &*labels.service {
            "" => String::new(),
            service => format!(" to Service {service}"),
        };
        let shows = format!("{}{} goes{over}{to} ({})", self.host(), self.path, self.rule.origin.object);
        Suggestion { shows, command: self.curl("") }
    }
}

/// One entry for each path of each host; the hosts with a certificate over TLS, the others in plaintext.
fn entries(model: &Model) -> Vec<Entry<'_>> {
    let mut by_host: BTreeMap<&HostPattern, Vec<Entry<'_>>> = BTreeMap::new();
    for listener in model.listeners.values() {
        let scheme = match listener.protocol {
            Protocol::Http => Scheme::Http,
            Protocol::Https => Scheme::Https,
            Protocol::Tcp | Protocol::Udp => continue,
        };
        for table in listener.sections.iter().filter_map(|section| model.tables.get(&section.table)) {
            let opened = |pattern: &HostPattern| {
                has_certificate(listener, pattern)
                    && !listener.passthrough.contains_key(pattern)
                    && !listener.terminated.contains_key(pattern)
            };
            let served = |pattern: &&HostPattern| scheme == Scheme::Http || opened(pattern);
            for (pattern, host) in table.hosts.iter().filter(|(pattern, _)| served(pattern)) {
                let found = host.matches.iter().enumerate().filter_map(|(rank, matched)| {
                    let path = sample(host.matches.get(..rank)?, matched)?;
                    let rule = model.rules.get(&matched.rule)?;
                    let forward = answering(model, rule, scheme)?;
                    Some(Entry { scheme, port: listener.port, pattern, path, rule, forward })
                });
                by_host.entry(pattern).or_default().extend(found);
            }
        }
    }
    for entries in by_host.values_mut() {
        if entries.iter().any(|entry| entry.scheme == Scheme::Https) {
            entries.retain(|entry| entry.scheme == Scheme::Https);
        }
    }
    by_host.into_values().flatten().collect()
}

fn has_certificate(listener: &Listener, host: &HostPattern) -> bool {
    listener.certificates.keys().any(|pattern| match host {
        HostPattern::Exact(name) => pattern.matches(name.as_str()),
        wildcard => pattern == wildcard,
    })
}

/// A path that a plain GET can ask for to reach `matched`, behind the matches `before` it.
fn sample(before: &[Match], matched: &Match) -> Option<String> {
    let unconditional =
        |matched: &Match| matched.method.is_none() && matched.headers.is_empty() && matched.query.is_empty();
    let candidates = match &matched.path {
        _ if !unconditional(matched) => return None,
        PathMatch::Exact(path) => vec![path.clone()],
        PathMatch::Prefix(prefix) => vec![prefix.as_str().to_owned()],
        PathMatch::Regex(pattern) => {
            let literal = literal_prefix(pattern.source());
            let literal = literal.strip_suffix('/').unwrap_or(literal);
            vec![format!("{literal}/users"), format!("{literal}/"), literal.to_owned()]
        }
    };
    let reaches = |path: &String| {
        path.starts_with('/')
            && covers(&matched.path, path)
            && !before.iter().any(|earlier| unconditional(earlier) && covers(&earlier.path, path))
    };
    candidates.into_iter().find(reaches)
}

/// The text with which everything that a regular expression matches begins.
fn literal_prefix(source: &str) -> &str {
    let source = source.strip_prefix('^').unwrap_or(source);
    let Some(special) = source.find(|c: char| "\\.+*?()[]{}|^$".contains(c)) else { return source };
    let (literal, rest) = source.split_at(special);
    // What these follow may be missing.
    let optional = rest.starts_with(['?', '*', '{']);
    let end = literal.char_indices().next_back().filter(|_| optional).map_or(special, |(at, _)| at);
    literal.get(..end).unwrap_or(literal)
}

fn covers(condition: &PathMatch, path: &str) -> bool {
    match condition {
        PathMatch::Exact(exact) => exact == path,
        PathMatch::Prefix(prefix) => prefix.matches(path),
        PathMatch::Regex(pattern) => pattern.regex().is_match(path),
    }
}

/// What forwards the requests of a rule that come from this machine, when a backend answers them.
fn answering<'m>(model: &Model, rule: &'m Rule, scheme: Scheme) -> Option<&'m Forward> {
    let Action::Forward(forward) = &rule.action else { return None };
    let answers = |filter: &Filter| match filter {
        Filter::Redirect(_) | Filter::Deny(_) => false,
        Filter::HttpsRedirect(_) => scheme == Scheme::Https,
        Filter::IpAccess(access) => {
            !includes_us(&access.deny) && (access.allow.is_empty() || includes_us(&access.allow))
        }
        _ => true,
    };
    let has_endpoints = |target: &Target| match target {
        Target::Cluster(id) => model.clusters.get(id).is_some_and(|cluster| !cluster.endpoints.is_empty()),
        Target::Invalid { .. } => false,
    };
    let of_user = !rule.labels.ingress.is_empty();
    let served = forward.backends.iter().any(|backend| backend.weight > 0 && has_endpoints(&backend.target));
    (of_user && served && rule.filters.iter().all(answers)).then_some(forward)
}

/// Whether a list of networks holds the address from which curl asks on this machine.
fn includes_us(networks: &[IpNet]) -> bool {
    networks.iter().any(|network| network.contains(&IpAddr::V4(Ipv4Addr::LOCALHOST)))
}

fn tls(entry: &Entry<'_>) -> Option<Suggestion> {
    (entry.scheme == Scheme::Https).then(|| entry.plain())
}

fn canary(entry: &Entry<'_>) -> Option<Suggestion> {
    let Canary { header, weight, total, .. } = entry.forward.canary.as_deref()?;
    if *weight > 0 {
        let shows = format!("{weight} of {total} requests go to the canary");
        let names = "grep -o '\"name\":[^,]*'";
        return Some(Suggestion {
            shows,
            command: format!("for i in $(seq 20); do {} | {names}; done", entry.curl("")),
        });
    }
    let header = header.as_ref()?;
    let value = match &header.rule {
        CanaryHeaderRule::AlwaysNever => "always",
        CanaryHeaderRule::Value(value) => value,
        CanaryHeaderRule::Pattern(_) | CanaryHeaderRule::Broken => return None,
    };
    let shows = format!("{}: {value} leads to the canary", header.name);
    Some(Suggestion { shows, command: entry.curl(&format!(" -H '{}: {value}'", header.name)) })
}

fn rewrite(entry: &Entry<'_>) -> Option<Suggestion> {
    let rewrites = |filter: &Filter| matches!(filter, Filter::Rewrite(rewrite) if rewrite.path.is_some());
    entry.rule.filters.iter().any(rewrites).then(|| {
        let shows = format!("the backend sees another path than {}", entry.path);
        Suggestion { shows, command: format!("{} | grep '\"path\"'", entry.curl("")) }
    })
}

fn cors(entry: &Entry<'_>) -> Option<Suggestion> {
    let exact = |cors: &Cors| match &cors.origins {
        CorsOrigins::All => Some("https://app.example.com".to_owned()),
        CorsOrigins::List(origins) => origins.iter().find_map(|origin| match origin {
            CorsOrigin::Exact(origin) => Some(origin.clone()),
            CorsOrigin::Wildcard(_) => None,
        }),
    };
    let origin = entry.rule.filters.iter().find_map(|filter| match filter {
        Filter::Cors(cors) => exact(cors),
        _ => None,
    })?;
    let options = format!(" -i -X OPTIONS -H 'Origin: {origin}' -H 'Access-Control-Request-Method: GET'");
    Some(Suggestion { shows: format!("a preflight from {origin} is answered"), command: entry.curl(&options) })
}

fn rate_limit(entry: &Entry<'_>) -> Option<Suggestion> {
    entry.rule.filters.iter().find_map(|filter| {
        let Filter::RateLimit(RateLimit { burst, status, exempt, .. }) = filter else { return None };
        let repeats = burst.saturating_add(5);
        if repeats > MOST_REPEATS || includes_us(exempt) {
            return None;
        }
        let shows = format!("more than {} requests at once are refused with {status}", burst + 1);
        let curl = entry.curl(" -o /dev/null -w '%{http_code}\\n'");
        Some(Suggestion { shows, command: format!("for i in $(seq {repeats}); do {curl}; done") })
    })
}

fn compression(entry: &Entry<'_>) -> Option<Suggestion> {
    let compresses = |filter: &Filter| matches!(filter, Filter::Compression(_));
    entry.rule.filters.iter().any(compresses).then(|| Suggestion {
        shows: "the response is compressed".to_owned(),
        command: entry.curl(" -o /dev/null -D - --compressed"),
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::control::Control;
    use crate::files;
    use crate::resources::NamespacedName;
    use crate::settings::Settings;

    /// The commands for the manifests of a folder.
    fn commands(path: &Path) -> Vec<String> {
        let loaded = files::load(path);
        let settings = Settings {
            config_map: Some(NamespacedName::new("ingress-nginx", "ingress-nginx-controller")),
            config_map_required: false,
            ..Settings::directory_mode()
        };
        let control = Control::new(settings, &loaded.resources);
        suggestions(control.snapshot().model()).into_iter().map(|suggestion| suggestion.command).collect()
    }

    /// An Ingress: name, host, path and annotations.
    type Written<'a> = (&'a str, &'a str, &'a str, &'a [(&'a str, &'a str)]);

    /// The commands for Ingresses whose Service has an endpoint.
    fn of_ingresses(ingresses: &[Written<'_>]) -> Vec<String> {
        let mut text = String::from(
            "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {ports: [{port: 80}]}\n---\n\
             apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
             metadata: {name: web-1, labels: {kubernetes.io/service-name: web}}\naddressType: IPv4\n\
             ports: [{port: 8080}]\nendpoints: [{addresses: [192.0.2.1]}]\n",
        );
        for (name, host, path, annotations) in ingresses {
            let annotations: Vec<_> = annotations
                .iter()
                .map(|(name, value)| format!("nginx.ingress.kubernetes.io/{name}: '{value}'"))
                .collect();
            text.push_str(&format!(
                "---\napiVersion: networking.k8s.io/v1\nkind: Ingress\n\
                 metadata: {{name: {name}, annotations: {{{}}}}}\nspec: {{rules: [{{host: {host}, http: {{paths: \
                 [{{path: '{path}', pathType: ImplementationSpecific, \
                 backend: {{service: {{name: web, port: {{number: 80}}}}}}}}]}}}}]}}\n",
                annotations.join(", ")
            ));
        }
        let folder = tempfile::TempDir::new().unwrap();
        std::fs::write(folder.path().join("web.yaml"), text).unwrap();
        commands(folder.path())
    }

    #[test]
    fn the_quickstart_shows_each_feature_and_each_host_once() {
        let commands = commands(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/quickstart")));
        assert!(commands.len() <= MOST, "{commands:#?}");
        for part in [
            "seq 20); do curl -s http://canary.localhost:8080/ ",
            "http://rewrite.localhost:8080/v1/users | grep",
            "-X OPTIONS",
            "seq 15); do curl -s -o /dev/null",
            "--compressed",
            "curl -s -k https://secure.localhost:8443/",
        ] {
            assert_eq!(commands.iter().filter(|command| command.contains(part)).count(), 1, "{part}: {commands:#?}");
        }
        for host in ["shop.localhost", "shop.gateway.localhost", "secure.localhost", "canary.localhost"] {
            let url = format!("://{host}:");
            assert_eq!(commands.iter().filter(|command| command.contains(&url)).count(), 1, "{host}: {commands:#?}");
        }
    }

    #[test]
    fn what_no_backend_answers_is_not_shown() {
        let commands = of_ingresses(&[
            ("a", "a.test", "/", &[("permanent-redirect", "https://b.test")]),
            ("b", "b.test", "/", &[("force-ssl-redirect", "true")]),
            ("c", "c.test", "/", &[("allowlist-source-range", "10.0.0.0/8")]),
            ("d", "d.test", "/", &[("denylist-source-range", "127.0.0.0/8")]),
            ("e", "e.test", "/", &[("auth-url", "https://auth.test")]),
            ("f", "f.test", "/", &[("allowlist-source-range", "127.0.0.1")]),
        ]);
        assert_eq!(commands, ["curl -s --resolve f.test:8080:127.0.0.1 http://f.test:8080/"]);
    }

    #[test]
    fn limits_that_this_machine_cannot_reach_are_not_tried() {
        let plain = ["curl -s --resolve a.test:8080:127.0.0.1 http://a.test:8080/"];
        let exempt: &[_] = &[("limit-rps", "1"), ("limit-allowlist", "127.0.0.0/8")];
        assert_eq!(of_ingresses(&[("a", "a.test", "/", exempt)]), plain);
        assert_eq!(of_ingresses(&[("a", "a.test", "/", &[("limit-rps", "1000")])]), plain);
    }

    #[test]
    fn a_path_of_a_regular_expression_is_one_that_reaches_it() {
        let regex: &[_] = &[("use-regex", "true")];
        let shown = |path: &str| of_ingresses(&[("a", "localhost", path, regex)]);
        assert_eq!(shown("/api/v[0-9]+/.*"), Vec::<String>::new(), "no path can be guessed");
        assert_eq!(shown("/files?/(.*)"), ["curl -s http://localhost:8080/file/users"]);
        assert_eq!(shown("/a/(.*)"), ["curl -s http://localhost:8080/a/users"]);
    }

    #[test]
    fn the_list_stays_short() {
        let hosts: Vec<_> = (0..30).map(|number| format!("h{number}.test")).collect();
        let ingresses: Vec<_> = hosts.iter().map(|host| (host.as_str(), host.as_str(), "/", &[][..])).collect();
        assert_eq!(of_ingresses(&ingresses).len(), MOST);
    }
}
