//! TCP and UDP, passed on as they are; and TLS whose server name is to be passed on, unopened or opened.
//!
//! ```text
//!  accept loop --> tcp: PROXY header -> endpoint -> PROXY header -> bytes both ways
//!  establish ----> tcp: ClientHello ------^   or what TLS carries
//!  UDP socket ---> udp: client's address -> session: endpoint, its own socket, datagrams both ways
//!                            +-- datagrams: which of our addresses a client means, and answers from there
//! ```
//!
//! A connection or session takes the table's endpoints when it begins and keeps its own until it ends, whatever is
//! published meanwhile. Balancing is round robin, as ingress-nginx's for TCP and UDP.

pub(crate) mod datagrams;
mod record;
pub(crate) mod tcp;
pub(crate) mod udp;

use genkan_routing::model::{Stream, Target};
use genkan_routing::policy::stream::StreamSettings;

use crate::filters::weighted;
use crate::table::{ClusterEntry, ProxyTable};

/// How connections and sessions of a stream are passed on.
fn settings<'t>(table: &'t ProxyTable, stream: &'t Stream) -> &'t StreamSettings {
    let global = || &table.snapshot.model().settings.stream;
    stream.settings.as_ref().map_or_else(global, |settings| &settings.stream)
}

/// The cluster that one random number chooses for a connection or session.
fn choose<'t>(table: &'t ProxyTable, stream: &Stream, random: u64) -> Option<&'t ClusterEntry> {
    let chosen = weighted::by_weight(stream.backends.iter().map(|backend| backend.weight), random)?;
    match &stream.backends.get(chosen)?.target {
        Target::Cluster(id) => table.cluster_of(id),
        Target::Invalid { .. } => None,
    }
}
