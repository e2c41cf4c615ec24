//! Ports: one unit of work per entry, from its text to a listener, or to the reason why the port is not opened.

use std::sync::Arc;

use genkan_routing::model::{Listener, SharedMap, Stream, StreamBackend, Target};
use genkan_routing::name::{ListenerId, Origin};
use genkan_routing::report::Problem;

use super::entry::{self, Entry};
use super::{Carrier, EntryId};
use crate::settings::Settings;
use crate::translate::assembly::{ClusterWant, Contribution};
use crate::translate::cluster::{self, ClusterSpec};
use crate::translate::memo::Output;
use crate::translate::reader::Reader;

/// What follows where a port has nowhere to lead to.
const NOT_OPENED: &str = "the port is not opened";

/// Ports that ingress-nginx keeps for itself, besides those that flags choose: its inner TLS port, its default server,
/// its profiler, its status and its stream control. Here most of them are free; manifests stay portable.
const RESERVED: &[u16] = &[442, 8181, 10245, 10246, 10247];

/// What became of an entry.
#[derive(Debug, PartialEq)]
pub(super) struct Outcome {
    /// What to listen on; `None` when the port is not opened.
    pub(super) listener: Option<Arc<Listener>>,
    /// The wanted cluster, and what is wrong.
    pub(super) told: Option<Arc<Contribution>>,
}

impl Output for Outcome {
    fn share(&mut self, old: &Self) {
        if self.listener == old.listener {
            self.listener.clone_from(&old.listener);
        }
    }
}

/// Whether a port is the controller's own.
pub(super) fn is_reserved(number: u16, settings: &Settings) -> bool {
    settings.own_ports().any(|port| port == number) || RESERVED.contains(&number)
}

/// Reads the entry of this id.
pub(super) fn read(id: &EntryId, value: &str, reader: &Reader<'_>) -> Outcome {
    let origin = Origin::new(id.map.object(), format!("data[{}]", id.key.escape_debug()));
    let mut told = Contribution::default();
    let listener = open(id, value, &origin, reader, &mut told).unwrap_or_else(|problem| {
        told.problems.push(*problem);
        None
    });
    Outcome { listener, told: told.into_shared() }
}

fn open(
    id: &EntryId,
    value: &str,
    origin: &Origin,
    reader: &Reader<'_>,
    told: &mut Contribution,
) -> Result<Option<Arc<Listener>>, Box<Problem>> {
    let carrier = id.map.carrier;
    let invalid = |error: entry::EntryError| {
        let problem = Problem::error(origin.clone(), "InvalidStreamEntry", format!("{error}; {NOT_OPENED}"));
        Box::new(problem.with_mend("write PORT: NAMESPACE/SERVICE:PORT, as in 5432: default/postgres:5432"))
    };
    let number = entry::parse_key(&id.key).map_err(invalid)?;
    if is_reserved(number, reader.settings()) {
        let message = format!("port {number} is reserved for the controller itself; {NOT_OPENED}");
        let problem = Problem::warning(origin.clone(), "ReservedPort", message);
        return Err(Box::new(problem.with_mend("use another port")));
    }
    let ignored = |message| {
        let mend = "write PROXY, once for a header from clients, twice for one to endpoints too";
        told.problems.push(Problem::warning(origin.clone(), "InvalidStreamEntry", message).with_mend(mend));
    };
    let entry = entry::parse_value(value, carrier, ignored).map_err(invalid)?;
    let spec = ClusterSpec {
        usage: carrier.usage(),
        ..ClusterSpec::new(entry.service.namespace.clone(), entry.service.name.clone(), entry.port.clone())
    };
    let built = cluster::build(spec.id(), &spec, reader);
    if built.cluster.endpoints.is_empty() {
        // What is wrong with a cluster that nobody wants is told by nobody else.
        told.problems.extend(built.issues.iter().map(|issue| issue.problem_as(origin, NOT_OPENED)));
        return Ok(None);
    }
    let want = ClusterWant::new(spec, origin.clone());
    let listener = listener(number, carrier, origin, &entry, &want, reader.settings());
    told.clusters.push(want);
    Ok(Some(Arc::new(listener)))
}

fn listener(
    number: u16,
    carrier: Carrier,
    origin: &Origin,
    entry: &Entry,
    want: &ClusterWant,
    settings: &Settings,
) -> Listener {
    let stream = Stream {
        origin: origin.clone(),
        accept_proxy_protocol: entry.accept_proxy_protocol,
        send_proxy_protocol: entry.send_proxy_protocol,
        settings: None,
        backends: vec![StreamBackend { weight: 1, target: Target::Cluster(want.id.clone()) }],
    };
    Listener {
        id: ListenerId::new(format!("{}/{number}", carrier.as_str())),
        addresses: settings.bind_addresses.clone(),
        port: number,
        public_port: number,
        protocol: carrier.protocol(),
        sections: Vec::new(),
        certificates: SharedMap::default(),
        default_certificate: None,
        passthrough: SharedMap::default(),
        terminated: SharedMap::default(),
        client_auth: None,
        unknown_name: Default::default(),
        client: None,
        tls: SharedMap::default(),
        stream: Some(Arc::new(stream)),
    }
}
