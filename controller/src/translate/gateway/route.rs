//! HTTPRoutes: one unit of work per route. It reads what the route is attached to and what its rules do; the hosts are
//! put together from all routes by [`hosts`](super::hosts).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use gateway_api::apis::experimental::httproutes::{HttpRoute, HttpRouteRules, HttpRouteSpec};
use genkan_routing::model::{Action, Backend, Deny, Filter, Filters, Forward, Match, Rule, RuleLabels, Target};
use genkan_routing::name::{HostPattern, RuleId, TableId};

use super::allowed::RouteKind;
use super::attach::{self, Attachment, Candidate, ParentOutcome};
use super::backend::{self, Backends};
use super::filter_spec::FilterSpec;
use super::filters::{self, FilterError, Place};
use super::findings::Findings;
use super::matches;
use super::parent::ParentKey;
use super::ports::Parent;
use super::rank::{Rank, RouteAge};
use super::reason::{INCOMPATIBLE_FILTERS, NO_MATCHING_PARENT, UNSUPPORTED_VALUE};
use super::timing;
use crate::resources::{Key, Kind, NamespacedName};
use crate::translate::assembly::{ClusterWant, Contribution};
use crate::translate::memo::Output;
use crate::translate::reader::Reader;

/// A route, read.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct RouteOutcome {
    /// One for each parentRef that concerns us.
    pub(crate) parents: Vec<ParentOutcome>,
    /// The reason of `ResolvedRefs`, when it is false.
    pub(crate) unresolved: Option<&'static str>,
    /// The rules that are not served as written.
    pub(crate) invalid_rules: BTreeSet<usize>,
    /// The hosts of tables where the matches go.
    pub(crate) hosts: BTreeSet<(TableId, HostPattern)>,
    /// The matches of all rules.
    pub(crate) matches: Arc<Vec<RankedMatch>>,
    /// Rules, clusters and problems.
    pub(crate) contribution: Arc<Contribution>,
}

/// A match and its precedence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RankedMatch {
    /// Smaller wins.
    pub(crate) rank: Rank,
    /// The match.
    pub(crate) matched: Match,
}

impl Output for RouteOutcome {
    fn share(&mut self, old: &Self) {
        if self.matches == old.matches {
            self.matches = old.matches.clone();
        }
        if self.contribution == old.contribution {
            self.contribution = old.contribution.clone();
        } else {
            let known: BTreeMap<_, _> = old.contribution.rules.iter().map(|rule| (&rule.id, rule)).collect();
            for rule in &mut Arc::make_mut(&mut self.contribution).rules {
                if let Some(same) = known.get(&rule.id).filter(|known| **known == rule) {
                    *rule = Arc::clone(same);
                }
            }
        }
    }
}

/// Reads a route; `None` when it does not exist.
pub(crate) fn read(
    name: &NamespacedName,
    parents: &BTreeMap<ParentKey, Parent>,
    reader: &Reader<'_>,
) -> Option<RouteOutcome> {
    let route = reader.http_route(name)?;
    let key = Key { kind: Kind::HttpRoute, name: name.clone() };
    let mut findings = Findings::new(key.object_ref());
    let spec = &route.spec;
    let candidate = Candidate {
        kind: RouteKind::Http,
        name,
        hostnames: spec.hostnames.as_deref().unwrap_or_default(),
        parents: spec.parent_refs.iter().flatten().map(Into::into).collect(),
    };
    check_parents(spec, &mut findings);
    let mut outcome =
        RouteOutcome { parents: attach::attach(&candidate, parents, reader, &mut findings), ..RouteOutcome::default() };
    let attached = outcome.parents.iter().filter_map(|parent| parent.attached.as_ref().ok()).flatten();
    outcome.hosts = attached.flat_map(hosts_of).collect();
    let mut contribution = Contribution::default();
    if !outcome.parents.is_empty() {
        let rules = read_rules(route, name, &mut outcome, reader, &mut findings);
        // Rules that nothing leads to are not part of the model.
        if !outcome.hosts.is_empty() {
            (contribution.rules, contribution.clusters) = rules;
        }
    }
    contribution.problems = findings.into_problems();
    outcome.contribution = Arc::new(contribution);
    Some(outcome)
}

fn hosts_of(attachment: &Attachment) -> impl Iterator<Item = (TableId, HostPattern)> + '_ {
    let table = attachment.table.as_ref();
    table.into_iter().flat_map(|table| attachment.hosts.iter().map(|host| (table.clone(), host.clone())))
}

fn check_parents(spec: &HttpRouteSpec, findings: &mut Findings) {
    if spec.parent_refs.as_ref().is_none_or(Vec::is_empty) {
        let message = if spec.use_default_gateways.is_some() {
            "useDefaultGateways is not supported; without parentRefs the route is attached to nothing"
        } else {
            "without parentRefs the route is attached to nothing"
        };
        findings.warning("spec.parentRefs", NO_MATCHING_PARENT, message, "name a Gateway");
    }
}

/// Reads the rules into `outcome`; gives them with the clusters that they need.
fn read_rules(
    route: &HttpRoute,
    name: &NamespacedName,
    outcome: &mut RouteOutcome,
    reader: &Reader<'_>,
    findings: &mut Findings,
) -> (Vec<Arc<Rule>>, Vec<ClusterWant>) {
    let created = route.metadata.creation_timestamp.as_ref().map(|time| time.0);
    let age = RouteAge::new(created, RouteKind::Http.as_str(), &name.namespace, &name.name);
    // The API server fills in one rule for everything, which files may lack.
    let default = [HttpRouteRules::default()];
    let specs = route.spec.rules.as_deref().unwrap_or(&default);
    let (mut rules, mut clusters, mut ranked) = (Vec::new(), Vec::new(), Vec::new());
    for (index, spec) in specs.iter().enumerate() {
        let context = RuleContext { name, index, field: format!("spec.rules[{index}]"), spec };
        let matches = context.matches(findings);
        let (rule, needed) = context.read(outcome, reader, findings);
        if matches.len() < spec.matches.as_ref().map_or(0, Vec::len) {
            outcome.invalid_rules.insert(index);
        }
        if matches.is_empty() {
            continue;
        }
        let rank =
            |(at, matched): (usize, Match)| RankedMatch { rank: Rank::new(&matched, age.clone(), index, at), matched };
        ranked.extend(matches.into_iter().map(rank));
        rules.push(Arc::new(rule));
        clusters.extend(needed);
    }
    outcome.matches = Arc::new(ranked);
    (rules, clusters)
}

/// A rule while it is read.
struct RuleContext<'a> {
    name: &'a NamespacedName,
    index: usize,
    field: String,
    spec: &'a HttpRouteRules,
}

impl RuleContext<'_> {
    fn id(&self) -> RuleId {
        RuleId::new(format!("httproute/{}/{}", self.name, self.index))
    }

    /// The sound matches with their places in the list.
    fn matches(&self, findings: &mut Findings) -> Vec<(usize, Match)> {
        let id = self.id();
        match self.spec.matches.as_deref() {
            None | Some([]) => vec![(0, matches::everything(&id))],
            Some(specs) => specs
                .iter()
                .enumerate()
                .filter_map(|(at, spec)| {
                    let field = format!("{}.matches[{at}]", self.field);
                    Some((at, matches::parse(spec, &id, &field, findings)?))
                })
                .collect(),
        }
    }

    /// Everything but the matches.
    fn read(
        &self,
        outcome: &mut RouteOutcome,
        reader: &Reader<'_>,
        findings: &mut Findings,
    ) -> (Rule, Vec<ClusterWant>) {
        let prefix = self.spec.matches.iter().flatten().all(matches::is_prefix);
        let specs: Vec<_> = self.spec.filters.iter().flatten().map(FilterSpec::from).collect();
        let references = self.spec.backend_refs.as_deref().unwrap_or_default();
        let mut resolved =
            backend::resolve_all(references, RouteKind::Http, self.name, prefix, &self.field, reader, findings);
        outcome.unresolved = outcome.unresolved.or(resolved.unresolved);
        if resolved.backends.iter().any(|backend| matches!(backend.target, Target::Invalid { .. })) {
            outcome.invalid_rules.insert(self.index);
        }
        let labels = self.labels(&resolved);
        let redirects = specs.iter().any(|spec| matches!(spec, FilterSpec::Redirect(_)));
        self.check_backends(&mut resolved, redirects, findings);
        let filters = filters::parse_all(&specs, Place::Rule { prefix }).unwrap_or_else(|errors| {
            outcome.invalid_rules.insert(self.index);
            vec![self.deny(&errors, findings)]
        });
        if self.spec.session_persistence.is_some() {
            let message = "sessions are not kept with one endpoint yet; any endpoint may get a request";
            findings.warning(format!("{}.sessionPersistence", self.field), UNSUPPORTED_VALUE, message, "");
        }
        let timeouts = timing::timeouts(self.spec.timeouts.as_ref(), &format!("{}.timeouts", self.field), findings);
        let retry = timing::retry(self.spec.retry.as_ref(), &format!("{}.retry", self.field), findings);
        let forward = Forward {
            backends: resolved.backends,
            canary: None,
            timeouts: timeouts.into(),
            retry: retry.into(),
            affinity: None,
        };
        let origin = findings.origin(self.field.clone());
        let (filters, action) = (Filters::sorted(filters), Action::Forward(forward));
        let rule = Rule { id: self.id(), origin, labels, filters, action, access_log: true };
        (rule, resolved.clusters)
    }

    /// Rules without a backend that could get a request answer 500, unless they redirect.
    fn check_backends(&self, resolved: &mut Backends, redirects: bool, findings: &mut Findings) {
        let field = format!("{}.backendRefs", self.field);
        if redirects {
            if !resolved.backends.is_empty() {
                let message = "the rule redirects every request, so no backend gets one";
                findings.warning(field, INCOMPATIBLE_FILTERS, message, "remove backendRefs or the redirect");
            }
            return;
        }
        let reason = if resolved.backends.is_empty() {
            "the rule has no backendRefs"
        } else if resolved.backends.iter().all(|backend| backend.weight == 0) {
            "every backendRef has weight 0"
        } else {
            return;
        };
        let message = format!("{reason}; requests are answered with 500");
        findings.warning(field, UNSUPPORTED_VALUE, message, "add a backendRef with a weight");
        let target = Target::Invalid { reason: reason.to_owned() };
        resolved.backends = vec![Backend { weight: 1, target, filters: Vec::new() }];
        resolved.clusters.clear();
    }

    /// What a rule with broken filters does: answer 500. A request that a filter should have changed or refused must
    /// not pass without it.
    fn deny(&self, errors: &[(usize, FilterError)], findings: &mut Findings) -> Filter {
        let mut texts = Vec::with_capacity(errors.len());
        for (index, error) in errors {
            let message = format!("{error}; the rule answers 500");
            findings.error(format!("{}.filters[{index}]", self.field), error.reason(), message, "");
            texts.push(format!("filters[{index}]: {error}"));
        }
        Filter::Deny(Deny { status: 500, reason: texts.join("; ") })
    }

    fn labels(&self, resolved: &Backends) -> RuleLabels {
        let path = self.spec.matches.iter().flatten().next().and_then(|first| first.path.as_ref());
        let first = resolved.clusters.first().map(|want| &want.spec.service);
        RuleLabels {
            namespace: self.name.namespace.clone(),
            ingress: self.name.name.clone(),
            service: first.map(|service| service.name.clone()).unwrap_or_default(),
            service_port: first.map(|service| service.port.clone()).unwrap_or_default(),
            path: path.and_then(|path| path.value.as_deref()).unwrap_or("/").into(),
        }
    }
}
