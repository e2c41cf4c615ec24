//! TLSRoutes, TCPRoutes and UDPRoutes: one unit of work per route. It reads what the route is attached to and where it
//! leads; which of several routes a listener's connections follow is the business of [`streams`](super::streams).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use genkan_routing::model::{Stream, StreamBackend, Target};
use genkan_routing::name::HostPattern;

use super::allowed::RouteKind;
use super::attach::{self, Candidate, ParentOutcome};
use super::backend::{self, Reference};
use super::findings::Findings;
use super::parent::ParentKey;
use super::ports::Parent;
use super::rank::RouteAge;
use super::reason::UNSUPPORTED_VALUE;
use super::route_status::{self, Faults};
use super::status::Wanted;
use super::streams::SlotKey;
use crate::resources::{BackendReference, Key, Kind, Resources, StreamRoute, StreamRule};
use crate::translate::assembly::{ClusterWant, Contribution};
use crate::translate::memo::Output;
use crate::translate::reader::Reader;

/// The kinds of objects that are read here.
pub(crate) const KINDS: [Kind; 3] = [Kind::TlsRoute, Kind::TcpRoute, Kind::UdpRoute];

/// A route, read.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct StreamRouteOutcome {
    /// One for each parentRef that concerns us.
    pub(crate) parents: Vec<ParentOutcome>,
    /// The listeners and server names that it wants, where it is attached. Of TCP and UDP the name is any.
    pub(crate) places: BTreeSet<(SlotKey, HostPattern)>,
    /// The oldest of several gets the connections.
    pub(crate) age: RouteAge,
    /// Where it leads.
    pub(crate) stream: Arc<Stream>,
    /// What it adds to the model, apart from the stream, and what is wrong.
    pub(crate) contribution: Arc<Contribution>,
}

impl Output for StreamRouteOutcome {
    fn share(&mut self, old: &Self) {
        if self.stream == old.stream {
            self.stream = Arc::clone(&old.stream);
        }
        if self.contribution == old.contribution {
            self.contribution = Arc::clone(&old.contribution);
        } else {
            Arc::make_mut(&mut self.contribution).share_statuses(&old.contribution);
        }
    }
}

/// Every route of these kinds.
pub(crate) fn all(resources: &Resources) -> impl Iterator<Item = Key> + '_ {
    let Resources { tls_routes, tcp_routes, udp_routes, .. } = resources;
    let of = [(Kind::TlsRoute, tls_routes), (Kind::TcpRoute, tcp_routes), (Kind::UdpRoute, udp_routes)];
    of.into_iter().flat_map(|(kind, routes)| routes.keys().map(move |name| Key { kind, name: name.clone() }))
}

/// Reads a route; `None` when it does not exist, or is of another kind.
pub(crate) fn read(
    key: &Key,
    parents: &BTreeMap<ParentKey, Parent>,
    reader: &Reader<'_>,
) -> Option<StreamRouteOutcome> {
    let (kind, route) = find(key, reader)?;
    let mut findings = Findings::new(key.object_ref());
    let references: Vec<_> = route.spec.parent_refs.iter().map(Into::into).collect();
    let candidate = Candidate {
        kind,
        name: &key.name,
        hostnames: if kind == RouteKind::Tls { &route.spec.hostnames } else { &[] },
        parents: &references,
    };
    if route.spec.use_default_gateways.is_some() {
        let message = "no Gateway is a default one; the route is attached to its parentRefs only";
        findings.warning("spec.useDefaultGateways", UNSUPPORTED_VALUE, message, "name the Gateway in parentRefs");
    }
    let outcomes = attach::attach(&candidate, parents, reader, &mut findings);
    let created = route.metadata.creation_timestamp.as_ref().map(|time| time.0);
    let age = RouteAge::new(created, kind.as_str(), &key.name.namespace, &key.name.name);
    let places = outcomes.iter().filter_map(|parent| parent.attached.as_ref().ok()).flatten().flat_map(|attachment| {
        let slot = SlotKey { parent: attachment.parent.clone(), listener: attachment.listener.clone() };
        attachment.hosts.iter().map(move |host| (slot.clone(), host.clone()))
    });
    let places: BTreeSet<_> = places.collect();
    let mut resolved = Resolved::default();
    // Nothing is said about routes of others.
    if !outcomes.is_empty() {
        resolved = read_rules(&route.spec.rules, kind, key, reader, &mut findings);
    }
    let stream = Stream {
        origin: findings.origin("spec.rules[0]"),
        accept_proxy_protocol: false,
        send_proxy_protocol: false,
        settings: None,
        backends: resolved.backends,
    };
    let problems = findings.into_problems();
    let parents = route_status::parents(&outcomes, &resolved.faults, &problems);
    let contribution = Contribution {
        statuses: vec![(key.clone(), Arc::new(Wanted::Route { parents }))],
        clusters: if places.is_empty() { Vec::new() } else { resolved.clusters },
        problems,
        ..Contribution::default()
    };
    let (stream, contribution) = (Arc::new(stream), Arc::new(contribution));
    Some(StreamRouteOutcome { parents: outcomes, places, age, stream, contribution })
}

fn find<'a>(key: &Key, reader: &Reader<'a>) -> Option<(RouteKind, &'a StreamRoute)> {
    match key.kind {
        Kind::TlsRoute => Some((RouteKind::Tls, reader.tls_route(&key.name)?)),
        Kind::TcpRoute => Some((RouteKind::Tcp, reader.tcp_route(&key.name)?)),
        Kind::UdpRoute => Some((RouteKind::Udp, reader.udp_route(&key.name)?)),
        _ => None,
    }
}

/// What the rules of a route lead to.
#[derive(Default)]
struct Resolved {
    backends: Vec<StreamBackend>,
    clusters: Vec<ClusterWant>,
    faults: Faults,
}

/// Rules of streams match everything, so the first one gets all.
fn read_rules(
    rules: &[StreamRule],
    kind: RouteKind,
    key: &Key,
    reader: &Reader<'_>,
    findings: &mut Findings,
) -> Resolved {
    let mut resolved = Resolved::default();
    resolved.faults.rules = rules.len();
    let (share, all) = match kind {
        RouteKind::Udp => ("its share of datagrams is dropped", "datagrams are dropped"),
        _ => ("its share of connections is closed", "connections are closed"),
    };
    let references = rules.first().map(|rule| rule.backend_refs.as_slice()).unwrap_or_default();
    for (index, reference) in references.iter().enumerate() {
        let field = format!("spec.rules[0].backendRefs[{index}]");
        let weight = reference.weight.unwrap_or(1);
        let cluster = backend::check_weight(weight)
            .and_then(|()| backend::resolve(Reference::from(reference), kind, &key.name, reader));
        let target = match cluster {
            Ok(spec) => {
                let target = Target::Cluster(spec.id());
                resolved.clusters.push(ClusterWant::new(spec, findings.origin(field)));
                target
            }
            Err(invalid) => {
                match invalid.unresolved {
                    Some(reason) => resolved.faults.unresolved = resolved.faults.unresolved.or(Some(reason)),
                    None => resolved.faults.breaks(0, invalid.reason),
                }
                let message = format!("{}; {share}", invalid.message);
                findings.error(field, invalid.reason, message, invalid.mend);
                Target::Invalid { reason: invalid.message }
            }
        };
        resolved.backends.push(StreamBackend { weight: u32::try_from(weight).unwrap_or(1), target });
    }
    if resolved.backends.iter().all(|backend| backend.weight == 0) {
        let (message, mend) = (format!("no backendRef gets anything; {all}"), "add a backendRef with a weight");
        findings.warning("spec.rules[0].backendRefs", UNSUPPORTED_VALUE, message, mend);
    }
    for index in 1..rules.len() {
        let message = "the first rule gets everything; this one has no effect";
        findings.warning(format!("spec.rules[{index}]"), UNSUPPORTED_VALUE, message, "write a route for it");
        resolved.faults.breaks(index, UNSUPPORTED_VALUE);
    }
    resolved
}

impl<'a> From<&'a BackendReference> for Reference<'a> {
    fn from(reference: &'a BackendReference) -> Self {
        Self {
            group: reference.group.as_deref(),
            kind: reference.kind.as_deref(),
            namespace: reference.namespace.as_deref(),
            name: &reference.name,
            port: reference.port,
        }
    }
}
