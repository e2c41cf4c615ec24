//! The writer of infrastructure: keeps the Services of Gateways as translation wants them. Only while leading, only what
//! is ours, only what differs.
//!
//! ```text
//!  wanted and seen --> action --> create, apply or delete, a few at once --> seen again: nothing to do
//! ```
//!
//! Every write says which object it is about: none that exists is made again, and one of another uid is never touched.

mod action;
mod pace;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1;
use kube::Client;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use self::action::{Action, action};
use self::pace::Pace;
use super::failing::Failure;
use super::writer::{AT_ONCE, WRITE_TIME};
use crate::resources::{NamespacedName, Service};
use crate::translate::Infrastructure;
use crate::trouble::{self, Trouble};

/// Who owns the fields that we write.
const MANAGER: &str = "genkan-infrastructure";
/// What failed so often in a row is told at its Gateway: once is nothing.
const TOLD: u32 = 2;

/// What is to become of Services, by their name, and how they are.
pub type View = BTreeMap<NamespacedName, (Infrastructure, Option<Arc<Service>>)>;

/// Services that can't be written, and the HTTP status (0: none) that says so.
pub type Unwritten = Arc<BTreeMap<NamespacedName, u16>>;

/// The writer's other end: tells it what is wanted and seen.
#[derive(Debug)]
pub struct InfrastructureWriter {
    view: watch::Sender<View>,
    unwritten: watch::Receiver<Unwritten>,
    end: Option<oneshot::Sender<oneshot::Sender<()>>>,
    trouble: Trouble,
}

impl InfrastructureWriter {
    /// Starts the writer.
    pub fn start(client: Client, leading: watch::Receiver<bool>) -> Self {
        let (view, views) = watch::channel(View::new());
        let (end, ended) = oneshot::channel();
        let (tell, unwritten) = watch::channel(Unwritten::default());
        let trouble = Trouble::default();
        let writer = Writer {
            client,
            views,
            leading,
            writes: JoinSet::new(),
            under_way: BTreeSet::new(),
            paces: BTreeMap::new(),
            unwritten: tell,
            trouble: trouble.clone(),
        };
        tokio::spawn(writer.run(ended));
        Self { view, unwritten, end: Some(end), trouble }
    }

    /// Tells how everything is, and is to be.
    pub fn look(&self, view: View) {
        self.view.send_if_modified(|present| {
            let news = *present != view;
            *present = view;
            news
        });
    }

    /// Ends it: when what this gives is ready, nothing is written any more.
    pub fn end(&mut self) -> impl Future<Output = ()> + use<> {
        let end = self.end.take();
        async move {
            let (done, ended) = oneshot::channel();
            if end.is_some_and(|end| end.send(done).is_ok()) {
                // Dropping the other end says the same.
                let _ = ended.await;
            }
        }
    }

    /// What it can't write for longer than a moment.
    pub fn unwritten(&self) -> watch::Receiver<Unwritten> {
        self.unwritten.clone()
    }

    /// What keeps it from writing.
    pub fn trouble(&self) -> &Trouble {
        &self.trouble
    }
}

struct Writer {
    client: Client,
    views: watch::Receiver<View>,
    leading: watch::Receiver<bool>,
    writes: JoinSet<(NamespacedName, Action, Result<(), Failure>)>,
    /// What is being written.
    under_way: BTreeSet<NamespacedName>,
    /// What was done.
    paces: BTreeMap<NamespacedName, Pace<Action>>,
    unwritten: watch::Sender<Unwritten>,
    trouble: Trouble,
}

impl Writer {
    async fn run(mut self, mut end: oneshot::Receiver<oneshot::Sender<()>>) {
        loop {
            let due = self.write(Instant::now());
            tokio::select! {
                asked = &mut end => {
                    self.writes.shutdown().await;
                    if let Ok(done) = asked {
                        // Whoever asked may have given up.
                        let _ = done.send(());
                    }
                    return;
                }
                Ok(()) = self.views.changed() => {}
                Ok(()) = self.leading.changed() => {
                    if !*self.leading.borrow() {
                        // Another may be writing already.
                        self.writes.shutdown().await;
                        self.under_way.clear();
                        self.paces.clear();
                        self.tell();
                    }
                }
                Some(written) = self.writes.join_next() => {
                    if let Ok((name, action, outcome)) = written {
                        self.written(name, action, outcome, Instant::now());
                    }
                }
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
            }
        }
    }

    /// Begins what is to be done now. Gives when there is more.
    fn write(&mut self, now: Instant) -> Option<Instant> {
        if !*self.leading.borrow_and_update() {
            return None;
        }
        let (mut begun, mut due) = (Vec::new(), None);
        let view = self.views.borrow_and_update();
        for (name, (wanted, seen)) in view.iter().filter(|(name, _)| !self.under_way.contains(*name)) {
            let Some(action) = action(name, wanted, seen.as_deref()) else {
                if let Some(pace) = self.paces.get_mut(name) {
                    pace.settled();
                }
                continue;
            };
            match self.paces.get(name).map(|pace| pace.due(&action)).filter(|again| *again > now) {
                Some(again) => due = Some(due.map_or(again, |due: Instant| due.min(again))),
                _ if self.writes.len() + begun.len() < AT_ONCE => begun.push((name.clone(), action)),
                // The end of another is the time for it.
                _ => {}
            }
        }
        self.paces.retain(|name, _| view.contains_key(name));
        drop(view);
        for (name, action) in begun {
            let client = self.client.clone();
            self.under_way.insert(name.clone());
            self.writes.spawn(async move {
                let outcome = perform(&client, &name, &action).await;
                (name, action, outcome)
            });
        }
        self.tell();
        due
    }

    fn written(&mut self, name: NamespacedName, action: Action, outcome: Result<(), Failure>, now: Instant) {
        self.under_way.remove(&name);
        let pace = self.paces.entry(name.clone()).or_insert_with(|| Pace::new(now));
        let failed = outcome.err().map(|Failure { code, error }| {
            if pace.failed().is_none_or(|(_, known)| known != code) {
                tracing::warn!(service = %name, %error, "the Service of a Gateway is not written; it will be tried again");
            }
            code
        });
        pace.done(action, failed, now);
    }

    /// Says what is wrong now.
    fn tell(&self) {
        let failing = || self.paces.iter().filter_map(|(name, pace)| Some((name, pace.failed()?)));
        match failing().next() {
            // The log has it already.
            Some((_, (_, code))) => {
                let line = format!("Services of Gateways are not written: {}", trouble::cause(code));
                self.trouble.set(line, &"");
            }
            None => self.trouble.clear(),
        }
        let told = failing().filter(|(_, (times, _))| *times >= TOLD);
        let unwritten: BTreeMap<_, _> = told.map(|(name, (_, code))| (name.clone(), code)).collect();
        self.unwritten.send_if_modified(|present| {
            let news = **present != unwritten;
            if news {
                *present = Arc::new(unwritten);
            }
            news
        });
    }
}

/// Does one thing. An object that is there already, is gone, or is another one by now, is no error: it will be seen.
async fn perform(client: &Client, name: &NamespacedName, action: &Action) -> Result<(), Failure> {
    let services: Api<v1::Service> = Api::namespaced(client.clone(), &name.namespace);
    let asked = async {
        match action {
            Action::Create(body) => {
                let service = serde_json::from_value(body.clone()).map_err(kube::Error::SerdeError)?;
                let params = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
                services.create(&params, &service).await.map(drop)
            }
            Action::Apply(body) => {
                let params = PatchParams::apply(MANAGER).force();
                services.patch(&name.name, &params, &Patch::Apply(body)).await.map(drop)
            }
            Action::Delete(uid) => {
                let preconditions = Preconditions { uid: Some(uid.to_string()), ..Preconditions::default() };
                services.delete(&name.name, &DeleteParams::default().preconditions(preconditions)).await.map(drop)
            }
        }
    };
    match timeout(WRITE_TIME, asked).await {
        Ok(Err(kube::Error::Api(status))) if matches!(status.code, 404 | 409) => Ok(()),
        Ok(outcome) => Ok(outcome?),
        Err(_) => Err(Failure { code: 0, error: "the API server does not answer".to_owned() }),
    }
}

#[cfg(test)]
mod tests;
