//! What is written to the API server, by whom (the leader), and its end.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use genkan_proxy::Proxy;
use kube::Client;
use tokio::sync::watch::{Receiver, Sender, channel};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::flags::ClusterFlags;
use crate::leader::{Election, RELEASE_TIME};
use crate::status::{
    END_TIME, Events, GatewayStatusWriter, InfrastructureWriter, OwnPod, StatusWriter, follow_hosts, has_siblings,
};
use crate::watch::Address;

/// The end does not wait longer for the API server.
pub(super) const LEAVE_TIME: Duration = Duration::from_secs(30);
/// Of it, finding out whether we are the last.
const SIBLINGS_TIME: Duration = Duration::from_secs(5);
// However long each of its parts takes: the Lease is given back.
const _: () = assert!(SIBLINGS_TIME.as_secs() + END_TIME.as_secs() + RELEASE_TIME.as_secs() < LEAVE_TIME.as_secs());

/// What is written.
pub(super) struct Writing {
    pub(super) leading: Receiver<bool>,
    pub(super) status: Option<StatusWriter>,
    pub(super) infrastructure: InfrastructureWriter,
    pub(super) gateway_status: Option<GatewayStatusWriter>,
    pub(super) events: Events,
    pub(super) sync_events: bool,
    /// Says whether we lead. Kept here, so that leadership can be ended before the Lease is given back.
    lead: Sender<bool>,
    election: Option<Arc<Election>>,
    electing: Option<JoinHandle<()>>,
    addresses: Receiver<Option<BTreeSet<Address>>>,
    clear: bool,
}

impl Writing {
    /// Stands for election, and begins to write what is to be told. `controller`: our `controllerName` in Gateway API.
    pub(super) fn start(
        client: &Client,
        pod: &OwnPod,
        controller: &str,
        flags: &ClusterFlags,
        proxy: &Arc<Proxy>,
    ) -> Self {
        let (lead, leading) = channel(flags.disable_leader_election);
        let election = (!flags.disable_leader_election).then(|| {
            let (namespace, name) = (pod.namespace.clone(), flags.election_id.clone());
            Arc::new(Election::new(namespace, name, pod.name.clone(), flags.election_ttl))
        });
        let electing = election.clone().map(|election| {
            tokio::spawn(measure(election.name.clone(), leading.clone(), proxy.clone()));
            let (client, lead) = (client.clone(), lead.clone());
            tokio::spawn(async move { election.run(client, &lead).await })
        });
        let (sender, addresses) = channel(None);
        let status = flags.update_status.then(|| {
            let every = flags.status_update_interval();
            tokio::spawn(flags.publish().follow(client.clone(), pod.clone(), every, sender));
            StatusWriter::start(client.clone(), every, addresses.clone(), leading.clone())
        });
        let gateway_status = flags.update_status.then(|| {
            let (sender, nodes) = channel(None);
            if flags.gateway_service.is_some() {
                let every = flags.status_update_interval();
                tokio::spawn(follow_hosts(client.clone(), pod.clone(), every, sender));
            }
            let reached = [addresses.clone(), nodes];
            GatewayStatusWriter::start(client.clone(), controller.into(), reached, leading.clone())
        });
        Self {
            infrastructure: InfrastructureWriter::start(client.clone(), leading.clone(), &flags.leads_to()),
            events: Events::start(client.clone(), pod.name.clone(), leading.clone()),
            leading,
            status,
            gateway_status,
            sync_events: !flags.disable_sync_events,
            lead,
            election,
            electing,
            addresses,
            clear: flags.update_status_on_shutdown,
        }
    }

    /// Waits until we begin or cease to lead.
    pub(super) async fn changed(&mut self) -> bool {
        match self.leading.changed().await {
            Ok(()) => *self.leading.borrow_and_update(),
            // Nobody says it any more: it never changes.
            Err(_) => std::future::pending().await,
        }
    }

    /// What ends it: takes our addresses away if nobody else serves them, ceases to write, and only then gives the Lease
    /// back, so that never two write.
    pub(super) fn leave(&mut self, client: Client, pod: OwnPod) -> impl Future<Output = ()> + use<> {
        let (status, gateway_status) = (self.status.clone(), self.gateway_status.clone());
        let infrastructure = self.infrastructure.end();
        let (clear, leading, addresses) = (self.clear, self.leading.clone(), self.addresses.clone());
        let (lead, election, electing) = (self.lead.clone(), self.election.clone(), self.electing.take());
        async move {
            if let Some(status) = status {
                let few = addresses.borrow().as_ref().is_some_and(|addresses| addresses.len() <= 1);
                let leads = *leading.borrow();
                let clear = clear && leads && few && is_last(&client, &pod).await;
                if clear {
                    tracing::info!("no other replica runs: the addresses of Ingresses are taken away");
                }
                status.end(clear).await;
            }
            if let Some(status) = gateway_status {
                status.end().await;
            }
            infrastructure.await;
            if let Some(electing) = electing {
                electing.abort();
                // It ends by being aborted.
                let _ = electing.await;
            }
            if let Some(election) = election {
                lead.send_replace(false);
                election.release(client).await;
            }
        }
    }

    /// What is wrong with it, a line for each.
    pub(super) fn troubles(&self) -> impl Fn() -> Vec<String> + Send + Sync + use<> {
        let status = self.status.as_ref().map(StatusWriter::trouble).cloned();
        let gateway_status = self.gateway_status.as_ref().map(GatewayStatusWriter::trouble).cloned();
        let election = self.election.as_ref().map(|election| election.trouble().clone());
        let infrastructure = self.infrastructure.troubles().to_vec();
        move || {
            let all = [&election, &status, &gateway_status].into_iter().flatten().chain(&infrastructure);
            all.filter_map(|trouble| trouble.line()).collect()
        }
    }
}

/// Keeps the metric of leadership.
async fn measure(name: String, mut leading: Receiver<bool>, proxy: Arc<Proxy>) {
    loop {
        let value = if *leading.borrow_and_update() { 1.0 } else { 0.0 };
        proxy.metrics().leader.replace([([name.clone()], value)]);
        if leading.changed().await.is_err() {
            return;
        }
    }
}

/// Whether no other Pod of our workload runs. When that can't be told, the statuses stay.
async fn is_last(client: &Client, pod: &OwnPod) -> bool {
    match timeout(SIBLINGS_TIME, has_siblings(client, pod)).await {
        Ok(Ok(siblings)) => !siblings,
        Ok(Err(error)) => {
            tracing::warn!(%error, "whether we are the last replica can't be told: statuses stay as they are");
            false
        }
        Err(_) => {
            tracing::warn!("the API server does not say whether we are the last replica: statuses stay as they are");
            false
        }
    }
}
