//! The writer of Ingresses' `status.loadBalancer`: only while leading, only Ingresses of ours, only what differs.
//!
//! ```text
//!  Ingress seen --+
//!  addresses    --+--> what differs --> queue --> server-side apply, a few at once --> seen again: nothing differs
//!  leadership   --+
//! ```
//!
//! Server-side apply under a field manager of our own makes the API server keep who owns what: nothing but the
//! addresses is ever touched, and taking them away leaves what others wrote.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::networking::v1::Ingress;
use kube::Client;
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, interval_at, timeout};

use crate::resources::NamespacedName;
use crate::watch::Address;

/// Who owns the fields that we write.
const MANAGER: &str = "genkan-ingress-controller";
/// Writes at the same time.
const AT_ONCE: usize = 8;
/// One write may take so long.
const WRITE_TIME: Duration = Duration::from_secs(10);
/// Taking all addresses away at the end may take so long.
const CLEAR_TIME: Duration = Duration::from_secs(20);

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
pub struct StatusWriter(mpsc::UnboundedSender<Note>);

enum Note {
    /// An Ingress of ours; `None`: it is gone, or no longer ours.
    Ingress(NamespacedName, Option<IngressState>),
    /// Take the addresses away from all of them.
    Clear(oneshot::Sender<()>),
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
        let writer = Writer {
            client,
            addresses,
            leading,
            ingresses: BTreeMap::new(),
            queue: BTreeSet::new(),
            writing: BTreeSet::new(),
            writes: JoinSet::new(),
        };
        tokio::spawn(writer.run(notes, every));
        Self(sender)
    }

    /// Tells how an Ingress of ours looks; `None` when it is gone or no longer ours.
    pub fn seen(&self, name: NamespacedName, state: Option<IngressState>) {
        // The writer ends only with the process.
        let _ = self.0.send(Note::Ingress(name, state));
    }

    /// Takes our addresses away from every Ingress of ours that has them, if we lead.
    pub async fn clear(&self) {
        let (done, cleared) = oneshot::channel();
        let _ = self.0.send(Note::Clear(done));
        if timeout(CLEAR_TIME, cleared).await.is_err() {
            tracing::warn!("not every Ingress lost its address in time");
        }
    }
}

struct Writer {
    client: Client,
    addresses: watch::Receiver<Option<BTreeSet<Address>>>,
    leading: watch::Receiver<bool>,
    ingresses: BTreeMap<NamespacedName, IngressState>,
    /// Those that differ.
    queue: BTreeSet<NamespacedName>,
    writing: BTreeSet<NamespacedName>,
    writes: JoinSet<(NamespacedName, BTreeSet<Address>, Result<(), String>)>,
}

impl Writer {
    async fn run(mut self, mut notes: mpsc::UnboundedReceiver<Note>, every: Duration) {
        let mut ticks = interval_at(Instant::now() + every, every);
        loop {
            self.write();
            tokio::select! {
                note = notes.recv() => match note {
                    Some(Note::Ingress(name, state)) => self.note(name, state),
                    Some(Note::Clear(done)) => {
                        self.clear().await;
                        // Whoever asked may have given up.
                        let _ = done.send(());
                        return;
                    }
                    None => return,
                },
                Ok(()) = self.addresses.changed() => self.look_at_all(),
                Ok(()) = self.leading.changed() => self.look_at_all(),
                _ = ticks.tick() => self.look_at_all(),
                Some(written) = self.writes.join_next() => {
                    if let Ok((name, addresses, outcome)) = written {
                        self.written(&name, addresses, outcome);
                    }
                }
            }
        }
    }

    fn note(&mut self, name: NamespacedName, state: Option<IngressState>) {
        match state {
            Some(state) => drop(self.ingresses.insert(name.clone(), state)),
            None => drop(self.ingresses.remove(&name)),
        }
        self.look_at(name);
    }

    fn look_at_all(&mut self) {
        let names: Vec<_> = self.ingresses.keys().cloned().collect();
        names.into_iter().for_each(|name| self.look_at(name));
    }

    /// Queues an Ingress if it differs.
    fn look_at(&mut self, name: NamespacedName) {
        let wanted = self.addresses.borrow().clone().filter(|_| *self.leading.borrow());
        let differs = match (self.ingresses.get(&name), wanted) {
            (Some(state), Some(wanted)) => !has(state, &wanted),
            _ => false,
        };
        if differs {
            self.queue.insert(name)
        } else {
            self.queue.remove(&name)
        };
    }

    fn write(&mut self) {
        let Some(wanted) = self.addresses.borrow().clone() else { return };
        while self.writing.len() < AT_ONCE {
            let Some(name) = self.queue.iter().find(|name| !self.writing.contains(*name)).cloned() else { return };
            self.queue.remove(&name);
            let Some(state) = self.ingresses.get(&name) else { continue };
            let (client, uid, wanted) = (self.client.clone(), state.uid.clone(), wanted.clone());
            self.writing.insert(name.clone());
            self.writes.spawn(async move {
                let outcome = apply(&client, &name, &uid, &wanted).await;
                (name, wanted, outcome)
            });
        }
    }

    fn written(&mut self, name: &NamespacedName, addresses: BTreeSet<Address>, outcome: Result<(), String>) {
        self.writing.remove(name);
        match outcome {
            // It will be seen; until then it must not be written again.
            Ok(()) => {
                if let Some(state) = self.ingresses.get_mut(name) {
                    state.published = addresses.into_iter().collect();
                }
                self.look_at(name.clone());
            }
            Err(error) => tracing::warn!(ingress = %name, %error, "its status is not written; it will be tried again"),
        }
    }

    async fn clear(&mut self) {
        while self.writes.join_next().await.is_some() {}
        let ours = self.addresses.borrow().clone().unwrap_or_default();
        if !*self.leading.borrow() || ours.is_empty() {
            return;
        }
        let mut names = self.ingresses.iter().filter(|(_, state)| has(state, &ours));
        loop {
            while self.writes.len() < AT_ONCE
                && let Some((name, state)) = names.next()
            {
                let (client, name, uid) = (self.client.clone(), name.clone(), state.uid.clone());
                self.writes.spawn(async move {
                    let outcome = apply(&client, &name, &uid, &BTreeSet::new()).await;
                    (name, BTreeSet::new(), outcome)
                });
            }
            match self.writes.join_next().await {
                Some(Ok((name, _, Err(error)))) => tracing::warn!(ingress = %name, %error, "its status is not cleared"),
                Some(_) => {}
                None => return,
            }
        }
    }
}

fn has(state: &IngressState, wanted: &BTreeSet<Address>) -> bool {
    state.published.iter().collect::<BTreeSet<_>>() == wanted.iter().collect()
}

/// Writes the addresses of one Ingress. One that is gone, or is another one by now, is no error.
async fn apply(client: &Client, name: &NamespacedName, uid: &str, addresses: &BTreeSet<Address>) -> Result<(), String> {
    let ingresses: Api<Ingress> = Api::namespaced(client.clone(), &name.namespace);
    let patch = Patch::Apply(body(name, uid, addresses));
    // Whoever wrote the addresses before, ingress-nginx for example, no longer answers there.
    let params = PatchParams::apply(MANAGER).force();
    match timeout(WRITE_TIME, ingresses.patch_status(&name.name, &params, &patch)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(kube::Error::Api(status))) if matches!(status.code, 404 | 409) => Ok(()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("the API server does not answer".to_owned()),
    }
}

fn body(name: &NamespacedName, uid: &str, addresses: &BTreeSet<Address>) -> Value {
    let entry = |address: &Address| match address {
        Address::Ip(ip) => json!({"ip": ip}),
        Address::Hostname(hostname) => json!({"hostname": hostname}),
    };
    let mut body = json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {"namespace": &*name.namespace, "name": &*name.name, "uid": uid},
    });
    if !addresses.is_empty() {
        body["status"] = json!({"loadBalancer": {"ingress": addresses.iter().map(entry).collect::<Vec<_>>()}});
    }
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> BTreeSet<Address> {
        texts.iter().map(|text| Address::from_text(text)).collect()
    }

    #[test]
    fn the_order_of_addresses_makes_no_difference() {
        let published = [Address::from_text("lb.test"), Address::from_text("1.2.3.4")];
        let state = IngressState { uid: "u".into(), published: published.into() };
        assert!(has(&state, &addresses(&["1.2.3.4", "lb.test"])));
        assert!(!has(&state, &addresses(&["1.2.3.4"])));
        assert!(!has(&state, &addresses(&[])));
    }

    #[test]
    fn nothing_but_the_addresses_is_claimed() {
        let name = NamespacedName::new("web", "shop");
        let written = body(&name, "u", &addresses(&["1.2.3.4", "lb.test"]));
        assert_eq!(
            written["status"],
            json!({"loadBalancer": {"ingress": [{"ip": "1.2.3.4"}, {"hostname": "lb.test"}]}})
        );
        assert_eq!(body(&name, "u", &addresses(&[])).get("status"), None);
        assert_eq!(written["metadata"], json!({"namespace": "web", "name": "shop", "uid": "u"}));
    }
}
