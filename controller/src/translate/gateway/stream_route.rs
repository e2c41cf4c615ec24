//! TLSRoutes, TCPRoutes and UDPRoutes: one unit of work per route. It reads what the route is attached to and where it
//! leads, from each of its listeners in the form in which that hands over; which of several routes a listener's connections follow is the business of [`streams`](super::streams).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use genkan_routing::model::{Stream, StreamBackend, Target};
use genkan_routing::name::{HostPattern, ListenerId, Origin};

use super::allowed::RouteKind;
use super::attach::{self, Candidate, DEFAULTS, ParentOutcome};
use super::backend::{self, Invalid, Reference};
use super::backend_tls;
use super::findings::Findings;
use super::parent::ParentKey;
use super::ports::{Parent, ParentListener};
use super::protocol::{ListenerProtocol, TlsMode};
use super::rank::RouteAge;
use super::reason::{HOSTNAME_CONFLICT, UNSUPPORTED_PROTOCOL, UNSUPPORTED_VALUE};
use super::route_status::{self, Faults};
use super::status::Wanted;
use super::streams::{Place, SlotKey};
use super::traffic_policy::{self, TrafficPolicy};
use super::users::{self, Use};
use crate::resources::{BackendReference, Key, Kind, NamespacedName, StreamRoute, StreamRule};
use crate::translate::assembly::{ClusterWant, Contribution};
use crate::translate::cluster::{ClusterSpec, Shown, Usage};
use crate::translate::memo::Output;
use crate::translate::reader::Reader;

/// The kinds of objects that are read here.
pub(crate) const KINDS: [Kind; 3] = [Kind::TlsRoute, Kind::TcpRoute, Kind::UdpRoute];

/// A route, read.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct StreamRouteOutcome {
    /// One for each parentRef that concerns us.
    pub(crate) parents: Vec<ParentOutcome>,
    /// The listeners and server names that it wants, where it is attached, and where it leads from there. A name that
    /// belongs to another listener of the port is not among them. Of TCP and UDP the name is any.
    pub(crate) places: BTreeMap<Place, Arc<Stream>>,
    /// The oldest of several gets the connections.
    pub(crate) age: RouteAge,
    /// Which Services get what TLS carried that ended here, and through which Gateways.
    pub(crate) uses: BTreeSet<Use>,
    /// What it adds to the model, apart from the stream, and what is wrong.
    pub(crate) contribution: Arc<Contribution>,
}

impl Output for StreamRouteOutcome {
    fn share(&mut self, old: &Self) {
        for (place, stream) in &mut self.places {
            if let Some(same) = old.places.get(place).filter(|old| *old == stream) {
                *stream = Arc::clone(same);
            }
        }
        if self.contribution == old.contribution {
            self.contribution = Arc::clone(&old.contribution);
        } else {
            Arc::make_mut(&mut self.contribution).share_statuses(&old.contribution);
        }
    }
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
        defaults: route.spec.use_default_gateways.as_deref() == Some("All"),
    };
    if let Some(other) = route.spec.use_default_gateways.as_deref().filter(|scope| !["All", "None", ""].contains(scope))
    {
        let message = format!("the scope {other} is not known; the route is attached to its parentRefs only");
        findings.warning(DEFAULTS, UNSUPPORTED_VALUE, message, "write All or None");
    }
    let mut outcomes = attach::attach(&candidate, parents, reader, &mut findings);
    let created = route.metadata.creation_timestamp.as_ref().map(|time| time.0);
    let age = RouteAge::new(created, kind.as_str(), &key.name.namespace, &key.name.name);
    let sources = sources(&outcomes, parents, &mut findings);
    let mut resolved = Resolved::default();
    // Nothing is said about routes of others.
    if !outcomes.is_empty() {
        resolved.forms = forms(&sources);
        resolved.read(&route.spec.rules, kind, key, reader, &mut findings);
    }
    let problems = findings.into_problems();
    let parents = route_status::parents(&mut outcomes, &resolved.faults, &problems);
    let uses = resolved.uses(&sources);
    let streams: Vec<_> = resolved.streams(Origin::new(key.object_ref(), "spec.rules[0]")).collect();
    let stream_of =
        |form: &Form| streams.iter().find(|(known, _)| *known == form).map(|(_, stream)| Arc::clone(stream));
    let places: BTreeMap<_, _> =
        sources.into_iter().filter_map(|(place, source)| Some((place, stream_of(&source.form)?))).collect();
    let contribution = Contribution {
        statuses: vec![(key.clone(), Arc::new(Wanted::Route { parents }))],
        clusters: if places.is_empty() { Vec::new() } else { resolved.clusters },
        problems,
        ..Contribution::default()
    };
    Some(StreamRouteOutcome { parents: outcomes, places, age, uses, contribution: Arc::new(contribution) })
}

fn find<'a>(key: &Key, reader: &Reader<'a>) -> Option<(RouteKind, &'a StreamRoute)> {
    match key.kind {
        Kind::TlsRoute => Some((RouteKind::Tls, reader.tls_route(&key.name)?)),
        Kind::TcpRoute => Some((RouteKind::Tcp, reader.tcp_route(&key.name)?)),
        Kind::UdpRoute => Some((RouteKind::Udp, reader.udp_route(&key.name)?)),
        _ => None,
    }
}

/// In which form a listener hands over what it gets.
#[derive(Clone, Debug, PartialEq)]
enum Form {
    /// As it came: TCP and UDP.
    AsItCame,
    /// As it came, and that is TLS.
    Sealed,
    /// What TLS carried that ended here, and what endpoints see of us where they get TLS again.
    Opened(Shown),
}

/// Where connections for a place come from.
struct Source {
    form: Form,
    gateway: NamespacedName,
}

/// The places that a route has, and how connections come from there. Tells which names it does not get.
fn sources(
    outcomes: &[ParentOutcome],
    parents: &BTreeMap<ParentKey, Parent>,
    findings: &mut Findings,
) -> BTreeMap<Place, Source> {
    let mut sources = BTreeMap::new();
    let (mut had, mut lost): (BTreeSet<(&ListenerId, &HostPattern)>, BTreeSet<_>) = Default::default();
    for attachment in outcomes.iter().filter_map(|parent| parent.attached.as_ref().ok()).flatten() {
        let Some(parent) = parents.get(&attachment.parent) else { continue };
        let named = |listener: &&ParentListener| listener.name == attachment.listener;
        let Some(listener) = parent.listeners.iter().find(named) else { continue };
        let Some(bound) = &listener.bound else { continue };
        for host in attachment.hosts.keys() {
            if !listener.has(host) {
                lost.insert((bound, host));
                continue;
            }
            had.insert((bound, host));
            let slot = SlotKey { parent: attachment.parent.clone(), listener: attachment.listener.clone() };
            let source = Source { form: Form::of(listener, parent), gateway: parent.gateway.clone() };
            sources.insert((slot, host.clone()), source);
        }
    }
    for (_, host) in lost.difference(&had) {
        let message = format!(
            "on a port of the route's listeners, {host} belongs to another listener, whose hostname is more specific; \
             no connection for it comes here"
        );
        let mend = "attach the route to that listener, or use another hostname or port";
        findings.warning("spec.hostnames", HOSTNAME_CONFLICT, message, mend);
    }
    sources
}

/// The forms in which a route gets something. One that gets nothing is read as if it did, so that it is told what is wrong.
fn forms(sources: &BTreeMap<Place, Source>) -> Vec<(Form, Vec<StreamBackend>)> {
    let mut forms: Vec<(Form, Vec<StreamBackend>)> = Vec::new();
    for source in sources.values() {
        if forms.iter().all(|(known, _)| *known != source.form) {
            forms.push((source.form.clone(), Vec::new()));
        }
    }
    if forms.is_empty() {
        forms.push((Form::AsItCame, Vec::new()));
    }
    forms
}

impl Form {
    fn of(listener: &ParentListener, parent: &Parent) -> Self {
        match listener.protocol {
            Some(ListenerProtocol::Tls(TlsMode::Passthrough)) => Self::Sealed,
            Some(ListenerProtocol::Tls(TlsMode::Terminate)) => Self::Opened(parent.shown.clone()),
            _ => Self::AsItCame,
        }
    }

    /// The cluster that gets it, of the one that a reference names.
    fn lead(&self, spec: &ClusterSpec, reader: &Reader<'_>) -> Result<ClusterSpec, Invalid> {
        let speaks_tls = spec.transport.as_ref().is_some_and(|transport| transport.tls.is_some());
        match self {
            Self::Opened(shown) if spec.external.is_none() => {
                let shown = if backend_tls::is_for(spec, reader) { shown.clone() } else { Shown::Nothing };
                Ok(ClusterSpec { usage: Usage::Opened, shown, ..spec.clone() })
            }
            Self::Sealed if speaks_tls => {
                let message = "the backend gets TLS from here, and the listener passes on TLS that it does not open";
                let mend = "use a listener with mode: Terminate, or remove tls of the XBackend";
                Err(Invalid::reference(UNSUPPORTED_PROTOCOL, message.to_owned(), mend))
            }
            Self::AsItCame | Self::Sealed | Self::Opened(_) => Ok(spec.clone()),
        }
    }
}

/// What the rules of a route lead to.
#[derive(Default)]
struct Resolved {
    forms: Vec<(Form, Vec<StreamBackend>)>,
    clusters: Vec<ClusterWant>,
    faults: Faults,
    /// The first reason why a backend gets nothing though its reference is sound.
    broken: Option<&'static str>,
    /// XBackends that get nothing.
    idle: BTreeSet<Key>,
}

impl Resolved {
    /// Rules of streams match everything, so the first one gets all.
    fn read(&mut self, rules: &[StreamRule], kind: RouteKind, key: &Key, reader: &Reader<'_>, findings: &mut Findings) {
        self.faults.rules = rules.len();
        let references = rules.first().map(|rule| rule.backend_refs.as_slice()).unwrap_or_default();
        for (index, reference) in references.iter().enumerate() {
            let field = format!("spec.rules[0].backendRefs[{index}]");
            self.read_reference(reference, kind, key, &field, reader, findings);
        }
        let is_dead = |backend: &StreamBackend| matches!(backend.target, Target::Invalid { .. });
        match self.broken {
            Some(reason) if self.forms.iter().all(|(_, backends)| backends.iter().all(is_dead)) => {
                self.faults.breaks(0, reason);
            }
            Some(_) => self.faults.lessens(0),
            None => {}
        }
        if references.iter().all(|reference| reference.weight == Some(0)) {
            let all = if kind == RouteKind::Udp { "datagrams are dropped" } else { "connections are closed" };
            let (message, mend) = (format!("no backendRef gets anything; {all}"), "add a backendRef with a weight");
            findings.warning("spec.rules[0].backendRefs", UNSUPPORTED_VALUE, message, mend);
        }
        for index in 1..rules.len() {
            let message = "the first rule gets everything; this one has no effect";
            findings.warning(format!("spec.rules[{index}]"), UNSUPPORTED_VALUE, message, "write a route for it");
            self.faults.breaks(index, UNSUPPORTED_VALUE);
        }
    }

    fn read_reference(
        &mut self,
        reference: &BackendReference,
        kind: RouteKind,
        key: &Key,
        field: &str,
        reader: &Reader<'_>,
        findings: &mut Findings,
    ) {
        let weight = reference.weight.unwrap_or(1);
        let resolved = backend::check_weight(weight)
            .and_then(|()| backend::resolve(Reference::from(reference), kind, &key.name, reader));
        let weight = u32::try_from(weight).unwrap_or(1);
        let Self { forms, clusters, faults, broken, idle } = self;
        let mut refuse = |invalid: Invalid| {
            let share = match kind {
                RouteKind::Udp => "its share of datagrams is dropped",
                _ => "its share of connections is closed",
            };
            match invalid.unresolved {
                Some(reason) => faults.unresolved = faults.unresolved.or(Some(reason)),
                None => *broken = broken.or(Some(invalid.reason)),
            }
            findings.error(field, invalid.reason, format!("{}; {share}", invalid.message), invalid.mend);
            Target::Invalid { reason: invalid.message }
        };
        let spec = match resolved {
            Ok(spec) => spec,
            Err(invalid) => {
                idle.extend(invalid.idle(&reference.into(), &key.name));
                let target = refuse(invalid);
                forms.iter_mut().for_each(|(_, backends)| {
                    backends.push(StreamBackend { weight, target: target.clone() });
                });
                return;
            }
        };
        for (form, backends) in forms.iter_mut() {
            let target = match form.lead(&spec, reader) {
                Ok(spec) => {
                    let want = reader.want(spec, Origin::new(key.object_ref(), field));
                    let target = Target::Cluster(want.id.clone());
                    clusters.push(want);
                    target
                }
                Err(invalid) => {
                    idle.extend(invalid.idle(&reference.into(), &key.name));
                    refuse(invalid)
                }
            };
            backends.push(StreamBackend { weight, target });
        }
        tell_policies(&spec, forms, field, reader, findings);
    }

    /// Where each form leads.
    fn streams(&self, origin: Origin) -> impl Iterator<Item = (&Form, Arc<Stream>)> {
        self.forms.iter().map(move |(form, backends)| {
            let stream = Stream {
                origin: origin.clone(),
                accept_proxy_protocol: false,
                send_proxy_protocol: false,
                settings: None,
                backends: backends.clone(),
            };
            (form, Arc::new(stream))
        })
    }

    /// Which Services get what TLS carried, and which XBackends anything or nothing, through which Gateways.
    fn uses(&self, sources: &BTreeMap<Place, Source>) -> BTreeSet<Use> {
        let mut uses = BTreeSet::new();
        for source in sources.values() {
            let opened = matches!(source.form, Form::Opened(_));
            let counts = |spec: &ClusterSpec| spec.external.is_some() || (opened && spec.usage == Usage::Opened);
            let wanted = self.clusters.iter().map(|want| &want.spec).filter(|spec| counts(spec));
            let backends = wanted.map(|spec| users::backend(spec)).chain(self.idle.iter().cloned());
            uses.extend(backends.map(|backend| (backend, source.gateway.clone())));
        }
        uses
    }
}

/// Tells of policies of a Service that have no effect on what it gets from a route.
fn tell_policies(
    spec: &ClusterSpec,
    forms: &[(Form, Vec<StreamBackend>)],
    field: &str,
    reader: &Reader<'_>,
    findings: &mut Findings,
) {
    let Some(service) = spec.service_name() else { return };
    let passes_on = forms.iter().any(|(form, _)| !matches!(form, Form::Opened(_)));
    if passes_on && backend_tls::is_for(spec, reader) {
        let message = format!(
            "a BackendTLSPolicy is for Service {service}; it does not act on what comes from this route, which is \
             passed on as it came"
        );
        let mend = "where endpoints are to get TLS from here, use a TLSRoute on a listener with mode: Terminate";
        findings.warning(field, UNSUPPORTED_VALUE, message, mend);
    }
    if traffic_policy::of_service(&service, reader) != TrafficPolicy::default() {
        let message =
            format!("an XBackendTrafficPolicy is for Service {service}; it acts on requests, not on connections");
        findings.warning(field, UNSUPPORTED_VALUE, message, "");
    }
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
