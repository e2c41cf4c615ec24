//! The writer of Ingresses' `status.loadBalancer`: only while leading, only Ingresses of ours, only what differs.
//!
//! ```text
//!  Ingress seen --+
//!  addresses    --+--> ledger --> server-side apply, a few at once --> seen again: nothing differs
//!  leadership   --+
//! ```
//!
//! Server-side apply under a field manager of our own makes the API server keep who owns what: nothing but the
//! addresses is ever touched. When leadership ends, so does every write that runs: another may be writing already.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::networking::v1::Ingress;
use kube::Client;
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, interval_at, sleep_until, timeout};

use super::clear::clear;
use super::failing::{Failing, Failure};
use super::ledger::{Ledger, Outcome, Write};
use super::writes::Writes;
use crate::resources::NamespacedName;
use crate::trouble::Trouble;
use crate::watch::Address;

/// Who owns the fields that we write.
pub(super) const MANAGER: &str = "genkan-ingress-controller";
/// Writes at the same time.
pub(super) const AT_ONCE: usize = 8;
/// One write may take so long.
pub(super) const WRITE_TIME: Duration = Duration::from_secs(10);
/// The end may take so long: taking all addresses away.
pub const END_TIME: Duration = Duration::from_secs(20);

/// An Ingress as the API server has it.
#[derive(Clone, Debug, PartialEq)]
pub struct IngressState {
    /// `metadata.uid`.
    pub uid: Arc<str>,
    /// `status.loadBalancer.ingress`.
    pub published: Arc<[Address]>,
}

/// The writer's other end: tells it what was seen.
#[derive(Clone, Debug)]
pub struct StatusWriter {
    notes: mpsc::UnboundedSender<Note>,
    trouble: Trouble,
}

enum Note {
    /// An Ingress of ours; `None`: it is gone, or no longer ours.
    Ingress(NamespacedName, Option<IngressState>),
    /// Write nothing any more; before that, if so, take the addresses away from all of them.
    End { clear: bool, done: oneshot::Sender<()> },
}

impl StatusWriter {
    /// Starts the writer. `every`: everything is looked at again (`--status-update-interval`).
    pub fn start(
        client: Client,
        every: Duration,
        addresses: watch::Receiver<Option<BTreeSet<Address>>>,
        leading: watch::Receiver<bool>,
    ) -> Self {
        let (sender, notes) = mpsc::unbounded_channel();
        let failing = Failing::new("Ingresses");
        let trouble = failing.trouble().clone();
        let mut writer = Writer {
            client,
            addresses,
            leading,
            ledger: Ledger::default(),
            writes: Writes::default(),
            failing,
            contested: false,
        };
        writer.want();
        tokio::spawn(writer.run(notes, every));
        Self { notes: sender, trouble }
    }

    /// Tells how an Ingress of ours looks; `None` when it is gone or no longer ours.
    pub fn seen(&self, name: NamespacedName, state: Option<IngressState>) {
        // The writer ends only at the end of the process.
        let _ = self.notes.send(Note::Ingress(name, state));
    }

    /// Ends it: when this returns, nothing is written any more. With `clear` our addresses are first taken away from
    /// every Ingress of ours that has them, if we lead.
    pub async fn end(&self, clear: bool) {
        let (done, ended) = oneshot::channel();
        let _ = self.notes.send(Note::End { clear, done });
        // Dropping the other end says the same.
        let _ = ended.await;
    }

    /// What keeps statuses from being written.
    pub fn trouble(&self) -> &Trouble {
        &self.trouble
    }
}

struct Writer {
    client: Client,
    addresses: watch::Receiver<Option<BTreeSet<Address>>>,
    leading: watch::Receiver<bool>,
    ledger: Ledger,
    writes: Writes<Write, Outcome>,
    failing: Failing<NamespacedName>,
    /// Whether it was told that somebody else writes the same statuses.
    contested: bool,
}

impl Writer {
    async fn run(mut self, mut notes: mpsc::UnboundedReceiver<Note>, every: Duration) {
        let mut ticks = interval_at(Instant::now() + every, every);
        loop {
            self.write();
            let due = self.ledger.due();
            tokio::select! {
                note = notes.recv() => match note {
                    Some(Note::Ingress(name, state)) => {
                        self.ledger.note(&name, state, Instant::now());
                        // It is gone; or what seemed to fail was done.
                        if !self.ledger.differs(&name) {
                            self.failing.mended(&name);
                        }
                    }
                    Some(Note::End { clear, done }) => {
                        self.end(clear).await;
                        // Whoever asked may have given up.
                        let _ = done.send(());
                        return;
                    }
                    None => return,
                },
                Ok(()) = self.addresses.changed() => self.want(),
                Ok(()) = self.leading.changed() => {
                    if !*self.leading.borrow_and_update() {
                        self.writes.abandon().await;
                    }
                    self.want();
                }
                _ = ticks.tick() => self.ledger.look_at_all(Instant::now()),
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => self.ledger.wake(Instant::now()),
                Some((write, outcome)) = self.writes.ended() => self.written(&write, outcome),
            }
        }
    }

    /// Tells the ledger what Ingresses are to have: nothing, unless we lead and know our addresses.
    fn want(&mut self) {
        let addresses = self.addresses.borrow_and_update().clone();
        let leading = *self.leading.borrow();
        self.ledger.want(addresses.filter(|_| leading).map(Arc::new), Instant::now());
        self.failing.retain(|name| self.ledger.differs(name));
    }

    fn write(&mut self) {
        // It may have ended a moment ago, and the ledger not know yet.
        if !*self.leading.borrow() {
            return;
        }
        while let Some(write) = self.ledger.next(AT_ONCE) {
            let (client, running) = (self.client.clone(), write.clone());
            self.writes.begin(write, async move { apply(&client, &running).await });
        }
    }

    fn written(&mut self, write: &Write, outcome: Result<Outcome, Failure>) {
        let (outcome, failure) = match outcome {
            Ok(outcome) => (outcome, None),
            Err(failure) => (Outcome::Failed, Some(failure)),
        };
        let contested = self.ledger.done(write, outcome, Instant::now());
        // It may have been noted since that it is gone, or has what was written though no answer came.
        match failure.filter(|_| self.ledger.differs(&write.name)) {
            Some(failure) => self.failing.failed(&write.name, failure),
            None => self.failing.mended(&write.name),
        }
        if contested && !std::mem::replace(&mut self.contested, true) {
            tracing::warn!(
                ingress = %write.name,
                "somebody else keeps writing its status: are there two controllers of one class, or of one Lease each?"
            );
        }
    }

    async fn end(&mut self, clear: bool) {
        if clear && timeout(END_TIME, self.clear()).await.is_err() {
            tracing::warn!("not every Ingress lost its address in time");
        }
        self.writes.abandon().await;
    }

    /// Takes our addresses away, also those that are being written just now.
    async fn clear(&mut self) {
        while let Some((write, outcome)) = self.writes.ended().await {
            self.written(&write, outcome);
        }
        let ours = self.addresses.borrow().clone().unwrap_or_default();
        if *self.leading.borrow() && !ours.is_empty() {
            clear(&self.client, self.ledger.that_have(&ours)).await;
        }
    }
}

/// Writes the addresses of one Ingress. One that is gone, or is another one by now, is no error.
async fn apply(client: &Client, write: &Write) -> Result<Outcome, Failure> {
    let Write { name, uid, addresses, .. } = write;
    let ingresses: Api<Ingress> = Api::namespaced(client.clone(), &name.namespace);
    let patch = Patch::Apply(body(name, uid, addresses));
    // Whoever wrote the addresses before, ingress-nginx for example, no longer answers there.
    let params = PatchParams::apply(MANAGER).force();
    match timeout(WRITE_TIME, ingresses.patch_status(&name.name, &params, &patch)).await {
        Ok(Ok(_)) => Ok(Outcome::Written),
        Ok(Err(kube::Error::Api(status))) if matches!(status.code, 404 | 409) => Ok(Outcome::Gone),
        Ok(Err(error)) => Err(error.into()),
        Err(_) => Err(Failure::silent()),
    }
}

fn body(name: &NamespacedName, uid: &str, addresses: &BTreeSet<Address>) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {"namespace": &*name.namespace, "name": &*name.name, "uid": uid},
        "status": {"loadBalancer": {"ingress": addresses.iter().map(entry).collect::<Vec<_>>()}},
    })
}

/// An address as an entry of `status.loadBalancer.ingress`.
pub(super) fn entry(address: &Address) -> Value {
    match address {
        Address::Ip(ip) => json!({"ip": ip}),
        Address::Hostname(hostname) => json!({"hostname": hostname}),
    }
}

#[cfg(test)]
#[path = "writer_tests.rs"]
mod tests;
