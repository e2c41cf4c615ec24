//! Hosts: the matches and rules of one host from all Ingresses that have something for it. One unit of work per host.

use genkan_routing::model::{
    Action, Deny, DirectResponse, Filter, Forward, Host, Match, PathMatch, PathPrefix, Rule, RuleLabels,
};
use genkan_routing::name::{HostPattern, ObjectRef, Origin, RuleId};
use genkan_routing::report::Problem;
use std::sync::Arc;

use super::default_backend::DefaultBackend;
use super::fragment::{BackendRef, Fragment, PathRule};
use super::location::{Content, Location, Locations, Served};
use super::rule::{self, HostContext, Redirects};
use super::{canary, passthrough};
use crate::translate::assembly::Contribution;

/// The table of all Ingresses.
pub(in crate::translate) const TABLE: &str = "ingress";

/// What a host adds to the model. `members` are in order of rank. Without any Ingress that is no canary, a host does
/// not exist; the host of everybody else always does.
pub(super) fn assemble<'f>(
    host: &HostPattern,
    members: impl Iterator<Item = &'f Arc<Fragment>>,
    context: HostContext<'_>,
    default_backend: &DefaultBackend,
) -> Contribution {
    let mut out = Contribution::default();
    let served = members.filter_map(|fragment| Some(Served { fragment, body: fragment.body.as_ref()? }));
    let (canaries, ingresses): (Vec<_>, Vec<_>) = served.partition(|served| served.body.settings.canary.is_some());
    let mut locations = Locations::claim(host, &ingresses, &mut out.problems);
    let exists = *host == HostPattern::Any || ingresses.iter().any(|served| served.names(host));
    if exists {
        add_root(host, &ingresses, &mut locations, &mut out.problems);
        passthrough::of_host(host, &ingresses, &locations, context.reader.settings(), &mut out);
    }
    canary::attach(host, &canaries, &mut locations, &mut out);
    if exists {
        let mut assembly = HostAssembly { host, context, default_backend, matches: Vec::new(), out };
        assembly.app_root(&ingresses);
        if locations.regex_mode() {
            assembly.regexes(&locations)
        } else {
            assembly.plain(&locations)
        }
        assembly.matches.shrink_to_fit();
        out = assembly.out;
        out.hosts.push((context.table.clone(), host.clone(), Arc::new(Host { matches: assembly.matches })));
    }
    out.shrink();
    out
}

/// Every host has a `/`. That of a host of Ingresses is guarded by the settings of the first of them.
fn add_root<'f>(
    host: &HostPattern,
    ingresses: &[Served<'f>],
    locations: &mut Locations<'f>,
    problems: &mut Vec<Problem>,
) {
    if *host != HostPattern::Any {
        // A rejected one without a backend for it has no wish for `/`.
        let has_root = |served: &&Served<'_>| !served.body.closed || served.body.default_backend.is_some();
        let first = ingresses.iter().filter(has_root).find(|served| served.names(host));
        let content = first.map(|first| Content::Root(*first, first.body.root_backend(), Redirects::Act));
        locations.insert("/".into(), false, content.unwrap_or(Content::Unclaimed));
        return;
    }
    locations.insert("/healthz".into(), false, Content::Health);
    let claims = |served: &&Served<'_>| served.body.catch_all && served.body.default_backend.is_some();
    let mut claimants = ingresses.iter().filter(claims);
    let winner = claimants.next();
    for loser in claimants {
        let name = winner.map(|winner| winner.fragment.name().to_string()).unwrap_or_default();
        let message = format!("requests for other hosts belong to Ingress {name}, which comes first");
        let problem = Problem::error(loser.fragment.origin("spec.defaultBackend"), "PathConflict", message);
        problems.push(problem.with_mend("remove one of them"));
    }
    let content = winner.map(|it| Content::Root(*it, it.body.root_backend(), Redirects::Rest));
    locations.insert("/".into(), false, content.unwrap_or(Content::Unclaimed));
}

/// The matches and rules of a host while they are made.
struct HostAssembly<'a> {
    host: &'a HostPattern,
    context: HostContext<'a>,
    default_backend: &'a DefaultBackend,
    matches: Vec<Match>,
    out: Contribution,
}

impl HostAssembly<'_> {
    /// `app-root` goes before everything: in nginx it acts before a location is chosen.
    fn app_root(&mut self, ingresses: &[Served<'_>]) {
        let with = |served: &&Served<'_>| served.body.settings.app_root.is_some() && served.names(self.host);
        let Some(served) = ingresses.iter().find(with) else { return };
        let Some(to) = &served.body.settings.app_root else { return };
        let id = RuleId::new(format!("ingress/{}/app-root/{}", served.fragment.name(), self.host));
        let labels = rule::labels(served.fragment, None, &"/".into());
        let redirect = rule::app_root_redirect(to);
        let access_log = served.body.settings.access_log;
        let origin = served.fragment.origin("metadata.annotations");
        let rule = rule::redirect_rule(id, origin, labels, redirect, access_log);
        self.push(PathMatch::Exact("/".to_owned()), rule);
    }

    /// First match wins, in order of locations.
    fn regexes(&mut self, locations: &Locations<'_>) {
        for location in locations.ordered() {
            let path = match location.content {
                Content::Path(served, rule) => match rule.path.pattern() {
                    Ok(pattern) => PathMatch::Regex(pattern),
                    Err(error) => {
                        self.bad_pattern(served, rule, &error.to_string());
                        if let Some(around) = rule.path.around().filter(|_| served.body.guarded) {
                            self.closed(location, PathMatch::Regex(around), served, Some(rule));
                        }
                        continue;
                    }
                },
                // Rewrites are filled from groups, of which group 0 is always there.
                Content::Root(..) => match genkan_routing::policy::pattern::Pattern::nginx_location("/") {
                    Ok(pattern) => PathMatch::Regex(pattern),
                    Err(_) => continue,
                },
                Content::Unclaimed | Content::Health => prefix(&location.text),
            };
            self.location(location, path);
        }
    }

    /// Exact paths first, then prefixes from the longest.
    fn plain(&mut self, locations: &Locations<'_>) {
        let ordered = locations.ordered();
        for location in ordered.iter().filter(|location| location.exact) {
            self.location(location, PathMatch::Exact(location.text.to_string()));
        }
        for location in ordered.iter().filter(|location| !location.exact) {
            self.slash_redirect(location, locations);
        }
        for location in ordered.iter().filter(|location| !location.exact) {
            self.location(location, prefix(&location.text));
        }
    }

    /// `/foo/` also answers `/foo`, by sending it to `/foo/`, unless somebody owns `/foo`.
    fn slash_redirect(&mut self, location: &Location<'_>, locations: &Locations<'_>) {
        let Content::Path(served, rule) = location.content else { return };
        let Some(bare) = location.text.strip_suffix('/').filter(|bare| !bare.is_empty()) else { return };
        if locations.owned(bare) {
            return;
        }
        let id = RuleId::new(format!("{}/slash", path_rule_id(served, rule)));
        let labels = rule::labels(served.fragment, rule.backend.as_ref(), &location.text);
        let redirect = rule::slash_redirect(&location.text);
        let origin = served.fragment.origin(rule.field());
        let rule = rule::redirect_rule(id, origin, labels, redirect, served.body.settings.access_log);
        self.push(PathMatch::Exact(bare.to_owned()), rule);
    }

    fn location(&mut self, location: &Location<'_>, path: PathMatch) {
        let rule = match location.content {
            Content::Path(served, rule) if rule.closed => return self.closed(location, path, served, Some(rule)),
            Content::Root(served, ..) if served.body.closed => return self.closed(location, path, served, None),
            Content::Path(served, rule) => {
                let id = RuleId::new(path_rule_id(served, rule));
                self.ingress_rule(id, rule.field(), served, rule.backend.as_ref(), location, Redirects::Act)
            }
            Content::Root(served, backend, redirects) => {
                let id = self.root_rule_id(served);
                let field = if backend.is_some() { "spec.defaultBackend" } else { "" };
                self.ingress_rule(id, field.to_owned(), served, backend, location, redirects)
            }
            Content::Unclaimed => self.unclaimed_rule(),
            Content::Health => self.builtin_rule("healthz", Action::Respond(DirectResponse { status: 200 })),
        };
        self.push(path, rule);
    }

    /// What is nobody else's either, and can't be served: 503.
    fn closed(&mut self, location: &Location<'_>, path: PathMatch, served: Served<'_>, rule: Option<&PathRule>) {
        let (id, field) = match rule {
            Some(rule) => (RuleId::new(path_rule_id(served, rule)), rule.field()),
            None => (self.root_rule_id(served), "spec.defaultBackend".to_owned()),
        };
        let unserved = || "the path can't be served, and is not for everybody".to_owned();
        let reason = served.body.settings.deny.clone().unwrap_or_else(unserved);
        let mut filters = self.context.common_filters();
        filters.push(Filter::Deny(Deny { status: 503, reason }));
        let rule = Rule {
            id,
            origin: served.fragment.origin(field),
            labels: rule::labels(served.fragment, None, &location.text),
            filters: self.context.pool.share(filters),
            action: Action::Respond(DirectResponse { status: 503 }),
            access_log: served.body.settings.access_log,
        };
        self.push(path, rule);
    }

    fn ingress_rule(
        &mut self,
        id: RuleId,
        field: String,
        served: Served<'_>,
        backend: Option<&BackendRef>,
        location: &Location<'_>,
        redirects: Redirects,
    ) -> Rule {
        let Served { fragment, body } = served;
        let mut filters = self.context.filters(body, &location.text, redirects);
        if redirects == Redirects::Act {
            filters.extend(rule::rewrite(fragment, body, &location.text, backend, &mut self.out.problems));
        }
        let action = match backend {
            Some(backend) => {
                let at = if field.starts_with("spec.rules") { format!("{field}.backend") } else { field.clone() };
                let spec = rule::cluster_spec(fragment, body, backend);
                let mut forward = self.context.forward(body, spec, fragment.origin(at), &mut self.out);
                forward.canary.clone_from(&location.canary);
                Action::Forward(forward)
            }
            None => self.default_action(),
        };
        // What no backend of the Ingress answers belongs to nobody, in logs and metrics.
        let labels = match backend {
            Some(backend) => rule::labels(fragment, Some(backend), &location.text),
            None => RuleLabels::default(),
        };
        let filters = self.context.pool.share(filters);
        Rule { id, origin: fragment.origin(field), labels, filters, action, access_log: body.settings.access_log }
    }

    fn unclaimed_rule(&mut self) -> Rule {
        let action = self.default_action();
        let access_log = self.context.config.proxy.access_log.default_backend;
        let rule = self.builtin_rule("default-backend", action);
        // A host that goes takes its rules along: those of everybody else are not among them.
        let id = match self.host {
            HostPattern::Any => rule.id,
            host => RuleId::new(format!("{}/{host}", rule.id)),
        };
        Rule { id, access_log, ..rule }
    }

    fn builtin_rule(&self, name: &'static str, action: Action) -> Rule {
        let origin = Origin::new(ObjectRef::new("Genkan", "", name), "");
        let filters = self.context.pool.share(self.context.common_filters());
        Rule { id: RuleId::new(name), origin, labels: RuleLabels::default(), filters, action, access_log: false }
    }

    fn default_action(&mut self) -> Action {
        let Some(spec) = &self.default_backend.service else {
            return Action::Respond(DirectResponse { status: 404 });
        };
        let service = ObjectRef::new("Service", spec.service.namespace.clone(), spec.service.name.clone());
        let want = self.context.reader.want(spec.clone(), Origin::new(service, ""));
        let backend = rule::backend(want, &mut self.out);
        let global = &self.context.config.global;
        let (timeouts, retry) = (global.timeouts.clone(), global.retry.clone());
        let (backends, buffering) = (vec![backend], global.buffering.policy());
        Action::Forward(Forward { backends, canary: None, timeouts, retry, affinity: None, buffering })
    }

    fn bad_pattern(&mut self, served: Served<'_>, rule: &PathRule, error: &str) {
        let message = format!(
            "the paths of host {} are regular expressions, and {:?} is none that can be used: {error}; {}",
            self.host,
            rule.path.text,
            if served.body.guarded { "what begins like it answers 503" } else { "the path is not served" }
        );
        let origin = served.fragment.origin(format!("{}.path", rule.field()));
        let mend = "write a regular expression without look-around and back-references";
        self.out.problems.push(Problem::error(origin, "InvalidRegex", message).with_mend(mend));
    }

    fn root_rule_id(&self, served: Served<'_>) -> RuleId {
        RuleId::new(format!("ingress/{}/default/{}", served.fragment.name(), self.host))
    }

    fn push(&mut self, path: PathMatch, rule: Rule) {
        self.matches.push(Match { path, method: None, headers: Vec::new(), query: Vec::new(), rule: rule.id.clone() });
        self.out.rules.push(Arc::new(rule));
    }
}

fn path_rule_id(served: Served<'_>, rule: &PathRule) -> String {
    format!("ingress/{}/{}/{}", served.fragment.name(), rule.index.0, rule.index.1)
}

/// A prefix of which is known that it begins with `/`; anything else matches nothing but itself.
fn prefix(text: &str) -> PathMatch {
    match PathPrefix::parse(text) {
        Ok(prefix) => PathMatch::Prefix(prefix),
        Err(_) => PathMatch::Exact(text.to_owned()),
    }
}
