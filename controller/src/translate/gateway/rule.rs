//! Rules: what those of HTTPRoutes and GRPCRoutes have in common. Both are matches, filters and backends, and a rule that
//! is broken answers 500.

use gateway_api::apis::experimental::grpcroutes::{GrpcRouteRules, GrpcRouteRulesMatches};
use gateway_api::apis::experimental::httproutes::{
    HttpRouteRules, HttpRouteRulesMatches, HttpRouteRulesRetry, HttpRouteRulesTimeouts,
};
use genkan_routing::model::{Action, Backend, Deny, Filter, Filters, Forward, Match, Rule, RuleLabels, Target};
use genkan_routing::name::RuleId;

use super::affinity::{self, SessionOwner, SessionSpec};
use super::allowed::RouteKind;
use super::backend::{self, BackendSpec, Backends};
use super::external_auth;
use super::filter_spec::FilterSpec;
use super::filters::{self, FilterError, Place};
use super::findings::Findings;
use super::grpc_match::{self, Specificity};
use super::matches;
use super::mirror;
use super::policy::{Hooks, Own};
use super::rank::{Position, Rank, RouteAge};
use super::reason::{INCOMPATIBLE_FILTERS, UNSUPPORTED_VALUE};
use super::route_status::Faults;
use super::timing;
use super::variants::Draft;
use crate::resources::NamespacedName;
use crate::translate::reader::Reader;

/// A rule as it is written.
#[derive(Debug)]
pub(crate) struct RuleSpec<'a> {
    name: Option<&'a str>,
    matches: Matches<'a>,
    filters: Vec<FilterSpec<'a>>,
    backends: Vec<BackendSpec<'a>>,
    session: Option<SessionSpec<'a>>,
    timeouts: Option<&'a HttpRouteRulesTimeouts>,
    retry: Option<&'a HttpRouteRulesRetry>,
}

/// A match and its precedence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RankedMatch {
    /// Smaller wins.
    pub(crate) rank: Rank,
    /// The match.
    pub(crate) matched: Match,
}

/// A rule while it is read.
pub(crate) struct RuleContext<'a> {
    /// What its route is.
    pub(crate) kind: RouteKind,
    /// Its route.
    pub(crate) route: &'a NamespacedName,
    /// The age of its route.
    pub(crate) age: &'a RouteAge,
    /// `metadata.uid` of its route; files have none.
    pub(crate) uid: Option<&'a str>,
    /// Its place in the route.
    pub(crate) index: usize,
    /// The id that follows from these.
    pub(crate) id: RuleId,
    /// `spec.rules[...]`.
    pub(crate) field: String,
    /// As it is written.
    pub(crate) spec: &'a RuleSpec<'a>,
}

/// The id of a rule of a route.
pub(crate) fn id(kind: RouteKind, route: &NamespacedName, index: usize) -> RuleId {
    RuleId::new(format!("{}/{route}/{index}", kind.as_str().to_ascii_lowercase()))
}

#[derive(Clone, Copy, Debug)]
enum Matches<'a> {
    Http(&'a [HttpRouteRulesMatches]),
    Grpc(&'a [GrpcRouteRulesMatches]),
}

impl<'a> From<&'a HttpRouteRules> for RuleSpec<'a> {
    fn from(rule: &'a HttpRouteRules) -> Self {
        Self {
            name: rule.name.as_deref(),
            matches: Matches::Http(rule.matches.as_deref().unwrap_or_default()),
            filters: rule.filters.iter().flatten().map(FilterSpec::from).collect(),
            backends: rule.backend_refs.iter().flatten().map(BackendSpec::from).collect(),
            session: rule.session_persistence.as_ref().map(SessionSpec::from),
            timeouts: rule.timeouts.as_ref(),
            retry: rule.retry.as_ref(),
        }
    }
}

impl<'a> From<&'a GrpcRouteRules> for RuleSpec<'a> {
    fn from(rule: &'a GrpcRouteRules) -> Self {
        Self {
            name: rule.name.as_deref(),
            matches: Matches::Grpc(rule.matches.as_deref().unwrap_or_default()),
            filters: rule.filters.iter().flatten().map(FilterSpec::from).collect(),
            backends: rule.backend_refs.iter().flatten().map(BackendSpec::from).collect(),
            session: rule.session_persistence.as_ref().map(SessionSpec::from),
            timeouts: None,
            retry: None,
        }
    }
}

impl RuleSpec<'_> {
    /// What the API server fills in for an HTTPRoute without rules: one for everything, which does nothing.
    pub(crate) fn of_no_rules() -> Self {
        Self {
            name: None,
            matches: Matches::Http(&[]),
            filters: Vec::new(),
            backends: Vec::new(),
            session: None,
            timeouts: None,
            retry: None,
        }
    }
}

impl Matches<'_> {
    fn len(&self) -> usize {
        match self {
            Self::Http(specs) => specs.len(),
            Self::Grpc(specs) => specs.len(),
        }
    }

    /// Whether every match is on a prefix of the path, by default too.
    fn are_prefixes(&self) -> bool {
        match self {
            Self::Http(specs) => specs.iter().all(matches::is_prefix),
            Self::Grpc(_) => false,
        }
    }

    /// The path of the first, as logs and metrics show it.
    fn label(&self) -> String {
        match self {
            Self::Http(specs) => {
                let path = specs.first().and_then(|first| first.path.as_ref());
                path.and_then(|path| path.value.as_deref()).unwrap_or("/").to_owned()
            }
            Self::Grpc(specs) => specs.first().map_or_else(|| "/".to_owned(), grpc_match::label),
        }
    }
}

impl RuleContext<'_> {
    /// The sound matches. A rule without any is for everything; one that has only broken ones, for nothing.
    pub(crate) fn matches(&self, faults: &mut Faults, findings: &mut Findings) -> Vec<RankedMatch> {
        let id = &self.id;
        let position = |index| Position { route: self.age.clone(), rule: self.index, index };
        let http = |at, matched| RankedMatch { rank: Rank::http(&matched, position(at)), matched };
        let grpc = |at, (matched, said)| RankedMatch { rank: Rank::grpc(&matched, said, position(at)), matched };
        let field = |at| format!("{}.matches[{at}]", self.field);
        let found: Vec<_> = match self.spec.matches {
            Matches::Http([]) => vec![http(0, matches::everything(id))],
            Matches::Grpc([]) => vec![grpc(0, (matches::everything(id), Specificity::default()))],
            Matches::Http(specs) => (specs.iter().enumerate())
                .filter_map(|(at, spec)| Some(http(at, matches::parse(spec, id, &field(at), findings)?)))
                .collect(),
            Matches::Grpc(specs) => (specs.iter().enumerate())
                .filter_map(|(at, spec)| Some(grpc(at, grpc_match::parse(spec, id, &field(at), findings)?)))
                .collect(),
        };
        match found.len() {
            0 => faults.breaks(self.index, UNSUPPORTED_VALUE),
            sound if sound < self.spec.matches.len() => faults.lessens(self.index),
            _ => {}
        }
        found
    }

    /// Everything but the matches.
    pub(crate) fn read(&self, faults: &mut Faults, reader: &Reader<'_>, findings: &mut Findings) -> Draft {
        let Self { spec, kind, route, .. } = *self;
        let prefix = spec.matches.are_prefixes();
        let mut resolved = backend::resolve_all(&spec.backends, kind, route, prefix, &self.field, reader, findings);
        faults.unresolved = faults.unresolved.or(resolved.unresolved);
        match resolved.broken {
            Some(reason) if resolved.are_all_invalid() => faults.breaks(self.index, reason),
            Some(_) => faults.lessens(self.index),
            None => {}
        }
        faults.idle.extend(resolved.idle.drain(..));
        let labels = self.labels(&resolved);
        self.check_backends(&mut resolved, findings);
        filters::tell_repeated(&spec.filters, &self.field, findings);
        let mut aside = Vec::new();
        let filters = match filters::parse_all(&spec.filters, Place::Rule { prefix }) {
            Ok(mut filters) => {
                let mirrors = mirror::resolve_all(&spec.filters, kind, route, &self.field, reader, findings);
                faults.unresolved = faults.unresolved.or(mirrors.unresolved);
                faults.idle.extend(mirrors.idle);
                if mirrors.broken {
                    faults.lessens(self.index);
                }
                filters.extend(mirrors.filters);
                aside.extend(mirrors.clusters);
                let services = external_auth::resolve_all(&spec.filters, kind, route, &self.field, reader, findings);
                faults.unresolved = faults.unresolved.or(services.unresolved);
                faults.idle.extend(services.idle);
                if let Some(reason) = services.broken {
                    faults.breaks(self.index, reason);
                }
                filters.extend(services.filters);
                aside.extend(services.clusters);
                filters.extend(self.check_references(faults, reader, findings));
                filters
            }
            Err(errors) => {
                faults.breaks(self.index, errors.first().map_or(UNSUPPORTED_VALUE, |(_, error)| error.reason()));
                vec![self.deny(&errors, findings)]
            }
        };
        let id = self.id.clone();
        let owner = SessionOwner { id: id.as_str(), uid: self.uid, path_of_match: true };
        let session = format!("{}.sessionPersistence", self.field);
        let affinity = spec.session.map(|spec| affinity::affinity(spec, owner, &session, findings));
        let timeouts = timing::timeouts(spec.timeouts, &format!("{}.timeouts", self.field), findings);
        let retry = timing::retry(spec.retry, &timeouts, &format!("{}.retry", self.field), findings);
        let forward = Forward {
            backends: resolved.backends,
            canary: None,
            timeouts: reader.timeouts(timeouts),
            retry: reader.retry(retry),
            affinity,
            buffering: None,
        };
        let origin = findings.origin(self.field.clone());
        let (filters, action) = (Filters::sorted(filters), Action::Forward(forward));
        let rule = Rule { id, origin, labels, filters, action, access_log: true };
        Draft { rule, clusters: resolved.clusters, aside, hooks: self.hooks() }
    }

    /// What policies need to know.
    fn hooks(&self) -> Hooks {
        let spec = self.spec;
        Hooks {
            name: spec.name.map(Into::into),
            index: self.index,
            references: self.references().map(|(_, name)| name).collect(),
            own: Own {
                request: spec.timeouts.is_some_and(|timeouts| timeouts.request.is_some()),
                backend_request: spec.timeouts.is_some_and(|timeouts| timeouts.backend_request.is_some()),
                retry: spec.retry.is_some(),
                session: spec.session.is_some(),
            },
        }
    }

    /// The policies that filters name, with their places.
    fn references(&self) -> impl Iterator<Item = (usize, NamespacedName)> {
        let name = |name: &str| NamespacedName::new(self.route.namespace.clone(), name);
        self.spec.filters.iter().enumerate().filter_map(move |(index, spec)| match spec {
            FilterSpec::Extension(extension) if extension.is_policy() => Some((index, name(extension.name))),
            _ => None,
        })
    }

    /// A filter that leads to no policy must not be passed over: its rule answers 500.
    fn check_references(&self, faults: &mut Faults, reader: &Reader<'_>, findings: &mut Findings) -> Option<Filter> {
        let mut deny = None;
        for (index, name) in self.references() {
            if reader.route_policy(&name).is_none() {
                let message = format!("RoutePolicy {name} does not exist");
                let field = format!("{}.filters[{index}].extensionRef", self.field);
                let told = format!("{message}; the rule answers 500");
                findings.error(field, UNSUPPORTED_VALUE, told, "create it, or name another");
                faults.breaks(self.index, UNSUPPORTED_VALUE);
                deny = Some(Filter::Deny(Deny { status: 500, reason: format!("filters[{index}]: {message}") }));
            }
        }
        deny
    }

    /// Rules without a backend that could get a request answer 500, unless they redirect.
    fn check_backends(&self, resolved: &mut Backends, findings: &mut Findings) {
        let field = format!("{}.backendRefs", self.field);
        if self.spec.filters.iter().any(|spec| matches!(spec, FilterSpec::Redirect(_))) {
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
        let first = resolved.clusters.first().map(|want| &want.spec.service);
        RuleLabels {
            namespace: self.route.namespace.clone(),
            ingress: self.route.name.clone(),
            service: first.map(|service| service.name.clone()).unwrap_or_default(),
            service_port: first.map(|service| service.port.clone()).unwrap_or_default(),
            path: self.spec.matches.label().into(),
        }
    }
}
