//! HTTPRoutes and GRPCRoutes: one unit of work per route. It reads what the route is attached to and what its rules do;
//! the hosts are put together from all routes by [`hosts`](super::hosts).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use gateway_api::apis::experimental::grpcroutes::GrpcRouteUseDefaultGateways;
use gateway_api::apis::experimental::httproutes::HttpRouteUseDefaultGateways;
use genkan_routing::name::{HostPattern, TableId};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::allowed::RouteKind;
use super::attach::{self, Attachment, Candidate, ParentOutcome, Refused};
use super::backend_tls;
use super::findings::Findings;
use super::naming;
use super::parent::ParentKey;
use super::policy::{Acts, Lookup, RoutePolicies};
use super::ports::Parent;
use super::rank::RouteAge;
use super::reason::{HOSTNAME_CONFLICT, NO_MATCHING_PARENT};
use super::route_status::{self, Faults};
use super::rule::{self, RankedMatch, RuleContext, RuleSpec};
use super::status::{ParentReference, Wanted};
use super::variants::{Draft, Making, Place, Rules, Side};
use crate::resources::{Key, Kind, NamespacedName};
use crate::small_map::SmallSet;
use crate::translate::assembly::Contribution;
use crate::translate::memo::Output;
use crate::translate::reader::Reader;

/// A route, read.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct RouteOutcome {
    /// One for each parentRef that concerns us.
    pub(crate) parents: Vec<ParentOutcome>,
    /// Who wins a hostname that routes of two kinds want.
    pub(crate) age: RouteAge,
    /// The hosts of tables where the matches go, unless another route has them.
    pub(crate) hosts: SmallSet<(TableId, HostPattern)>,
    /// The matches of all rules.
    pub(crate) matches: Arc<Vec<RankedMatch>>,
    /// Tables for which the matches are others.
    pub(crate) apart: BTreeMap<TableId, Arc<Vec<RankedMatch>>>,
    /// The Gateways that it is attached to.
    pub(crate) gateways: SmallSet<NamespacedName>,
    /// What policies do there.
    pub(crate) acts: Acts,
    /// Backends that get nothing of it, as what they ask for can't be done.
    pub(crate) idle: BTreeSet<Key>,
    /// Rules, clusters and problems.
    pub(crate) contribution: Arc<Contribution>,
}

impl Output for RouteOutcome {
    fn share(&mut self, old: &Self) {
        if self.matches == old.matches {
            self.matches = old.matches.clone();
        }
        if self.contribution == old.contribution {
            self.contribution = old.contribution.clone();
        } else {
            let contribution = Arc::make_mut(&mut self.contribution);
            contribution.share_statuses(&old.contribution);
            let known: BTreeMap<_, _> = old.contribution.rules.iter().map(|rule| (&rule.id, rule)).collect();
            for rule in &mut contribution.rules {
                if let Some(same) = known.get(&rule.id).filter(|known| **known == rule) {
                    *rule = Arc::clone(same);
                }
            }
        }
    }
}

impl RouteOutcome {
    /// The matches of all rules, as they are for a table.
    pub(crate) fn matches_of(&self, table: &TableId) -> &[RankedMatch] {
        self.apart.get(table).unwrap_or(&self.matches)
    }
}

/// A route as it is written.
struct RouteSpec<'a> {
    kind: RouteKind,
    created: Option<&'a Time>,
    uid: Option<&'a str>,
    hostnames: &'a [String],
    parents: Vec<ParentReference>,
    defaults: bool,
    rules: Vec<RuleSpec<'a>>,
}

/// What of the world a route is read with.
pub(crate) struct Surroundings<'a> {
    /// What it may attach to.
    pub(crate) parents: &'a BTreeMap<ParentKey, Parent>,
    /// Who has the hosts of a table that the route wants.
    pub(crate) winner: &'a dyn Fn(&TableId) -> Option<&'a Key>,
    /// What is said of it besides.
    pub(crate) policies: &'a RoutePolicies,
}

impl<'a> RouteSpec<'a> {
    fn read(key: &Key, reader: &Reader<'a>) -> Option<Self> {
        match key.kind {
            Kind::HttpRoute => {
                let route = reader.http_route(&key.name)?;
                let rules = route.spec.rules.as_ref().map(|rules| rules.iter().map(RuleSpec::from).collect());
                Some(Self {
                    kind: RouteKind::Http,
                    created: route.metadata.creation_timestamp.as_ref(),
                    uid: route.metadata.uid.as_deref(),
                    hostnames: route.spec.hostnames.as_deref().unwrap_or_default(),
                    parents: route.spec.parent_refs.iter().flatten().map(ParentReference::from).collect(),
                    defaults: route.spec.use_default_gateways == Some(HttpRouteUseDefaultGateways::All),
                    // Files may lack what the API server fills in.
                    rules: rules.unwrap_or_else(|| vec![RuleSpec::of_no_rules()]),
                })
            }
            Kind::GrpcRoute => {
                let route = reader.grpc_route(&key.name)?;
                Some(Self {
                    kind: RouteKind::Grpc,
                    created: route.metadata.creation_timestamp.as_ref(),
                    uid: route.metadata.uid.as_deref(),
                    hostnames: route.spec.hostnames.as_deref().unwrap_or_default(),
                    parents: route.spec.parent_refs.iter().flatten().map(ParentReference::from).collect(),
                    defaults: route.spec.use_default_gateways == Some(GrpcRouteUseDefaultGateways::All),
                    rules: route.spec.rules.iter().flatten().map(RuleSpec::from).collect(),
                })
            }
            _ => None,
        }
    }
}

/// Reads a route; `None` when it does not exist.
pub(crate) fn read(key: &Key, surroundings: &Surroundings<'_>, reader: &Reader<'_>) -> Option<RouteOutcome> {
    let spec = RouteSpec::read(key, reader)?;
    let mut findings = Findings::new(key.object_ref());
    check_parents(&spec, &mut findings);
    let RouteSpec { kind, hostnames, defaults, .. } = spec;
    let candidate = Candidate { kind, name: &key.name, hostnames, parents: &spec.parents, defaults };
    let mut parents = attach::attach(&candidate, surroundings.parents, reader, &mut findings);
    let unreadable = reader.unreadable(key);
    // Of a route that was never readable nothing but its parents is known.
    let is_known = unreadable.is_none_or(|unreadable| unreadable.served);
    let hosts = if is_known { hosts(&parents) } else { SmallSet::default() };
    yield_to_winners(&key.name.namespace, &mut parents, surroundings.winner, &mut findings);
    let name = &key.name;
    let age = RouteAge::new(spec.created.map(|time| time.0), spec.kind.as_str(), &name.namespace, &name.name);
    let known = attachments(&parents).filter_map(|attachment| surroundings.parents.get(&attachment.parent));
    let gateways = known.map(|parent| parent.gateway.clone()).collect();
    let mut outcome = RouteOutcome { parents, age, hosts, gateways, ..RouteOutcome::default() };
    let mut contribution = Contribution::default();
    let why = unreadable.map(|unreadable| unreadable.why.clone());
    let mut faults = Faults { rules: spec.rules.len(), unreadable: why, ..Faults::default() };
    if !outcome.parents.is_empty() && is_known {
        let (matches, drafts) = read_rules(&spec, key, &outcome.age, &mut faults, reader, &mut findings);
        let policies = Lookup { all: surroundings.policies, reader };
        let making = Making { route: key, uid: spec.uid, matches, drafts, policies };
        let places = places(&outcome, surroundings);
        let Rules { matches, apart, rules, clusters } =
            making.split(places, |spec| backend_tls::is_for(spec, reader), &mut outcome.acts);
        (outcome.matches, outcome.apart) = (matches, apart);
        // Rules that nothing leads to are not part of the model.
        if attachments(&outcome.parents).any(|attachment| attachment.table.is_some()) {
            (contribution.rules, contribution.clusters) = (rules, clusters);
        }
    }
    contribution.problems = findings.into_problems();
    let parents = route_status::parents(&mut outcome.parents, &faults, &contribution.problems);
    contribution.statuses = vec![(key.clone(), Arc::new(Wanted::Route { parents }))];
    // Kept for as long as the route is.
    contribution.shrink();
    (outcome.contribution, outcome.idle) = (Arc::new(contribution), faults.idle);
    Some(outcome)
}

fn attachments(parents: &[ParentOutcome]) -> impl Iterator<Item = &Attachment> {
    parents.iter().filter_map(|parent| parent.attached.as_ref().ok()).flatten()
}

/// The hosts of tables that a route is for.
fn hosts(parents: &[ParentOutcome]) -> SmallSet<(TableId, HostPattern)> {
    let hosts_of = |attachment: &Attachment| {
        let hosts = attachment.table.iter().flat_map(|table| attachment.hosts.keys().map(move |host| (table, host)));
        hosts.map(|(table, host)| (table.clone(), host.clone())).collect::<Vec<_>>()
    };
    attachments(parents).flat_map(hosts_of).collect()
}

fn check_parents(spec: &RouteSpec<'_>, findings: &mut Findings) {
    if spec.parents.is_empty() && !spec.defaults {
        let message = "without parentRefs the route is attached to nothing";
        findings.warning("spec.parentRefs", NO_MATCHING_PARENT, message, "name a Gateway");
    }
}

/// Takes a route from the listeners where a route of another kind has a hostname that it wants.
fn yield_to_winners<'k>(
    namespace: &str,
    parents: &mut [ParentOutcome],
    winner: impl Fn(&TableId) -> Option<&'k Key>,
    findings: &mut Findings,
) {
    for parent in parents {
        let field = parent.field();
        let Ok(attached) = &mut parent.attached else { continue };
        let lost = |attachment: &Attachment| attachment.table.as_ref().and_then(&winner);
        let named = |attachment: &Attachment| Some((attachment.listener.clone(), lost(attachment)?));
        let Some((listener, winner)) = attached.iter().find_map(named) else { continue };
        attached.retain(|attachment| lost(attachment).is_none());
        let winner = naming::told_in(namespace, winner.kind.as_str(), &winner.name);
        let message = format!(
            "{winner} came first and has a hostname of this route on listener {listener}; there it is not served"
        );
        let mend = "on one listener a hostname is for HTTPRoutes or for GRPCRoutes: give one of them another";
        findings.error(field, HOSTNAME_CONFLICT, message.clone(), mend);
        if attached.is_empty() {
            parent.attached = Err(Refused { reason: HOSTNAME_CONFLICT, message: message.into() });
        }
    }
}

/// The tables where the matches go.
fn places(outcome: &RouteOutcome, surroundings: &Surroundings<'_>) -> BTreeMap<TableId, Place> {
    let place = |attachment: &Attachment| {
        let Attachment { parent: key, listener, .. } = attachment;
        let parent = surroundings.parents.get(key)?;
        let levels = surroundings.policies.of_listener(key, &parent.gateway, listener);
        let side = Side { shown: parent.shown.clone(), levels };
        Some((attachment.table.clone()?, Place { gateway: parent.gateway.clone(), side }))
    };
    attachments(&outcome.parents).filter_map(place).collect()
}

/// Reads the rules, and which clusters they need.
fn read_rules(
    spec: &RouteSpec<'_>,
    key: &Key,
    age: &RouteAge,
    faults: &mut Faults,
    reader: &Reader<'_>,
    findings: &mut Findings,
) -> (Vec<RankedMatch>, Vec<Draft>) {
    let (mut drafts, mut ranked) = (Vec::new(), Vec::new());
    for (index, rule) in spec.rules.iter().enumerate() {
        let field = format!("spec.rules[{index}]");
        let (kind, route, uid) = (spec.kind, &key.name, spec.uid);
        let id = rule::id(kind, route, index);
        let context = RuleContext { kind, route, age, uid, index, id, field, spec: rule };
        let matches = context.matches(faults, findings);
        let draft = context.read(faults, reader, findings);
        if matches.is_empty() {
            continue;
        }
        ranked.extend(matches);
        drafts.push(draft);
    }
    ranked.shrink_to_fit();
    (ranked, drafts)
}
