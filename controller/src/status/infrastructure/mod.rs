//! The writer of infrastructure: keeps the Services of Gateways as translation wants them, and their EndpointSlices as our
//! own Service has them. Only while leading, only what is ours, only what differs.
//!
//! ```text
//!  wanted and seen --> action --> create, patch or delete, a few at once --> seen again: nothing to do
//!    slices of our own Service --> slices of the Gateways' Services ----^
//! ```
//!
//! Every write says which object it is about: none that exists is made again, and one of another uid is never touched.

mod action;
mod follow;
mod lacking;
mod pace;
mod slices;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Client;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep_until, timeout};

use self::action::Action;
use self::follow::Followed;
use self::lacking::{Act, Lacking, Object};
use self::pace::Pace;
use self::slices::SliceAction;
use super::failing::Failure;
use super::writer::{AT_ONCE, WRITE_TIME};
use super::writes::Writes;
use crate::resources::{NamespacedName, Service};
use crate::translate::Infrastructure;
use crate::trouble::{self, Trouble};

/// Who owns the fields that we write.
const MANAGER: &str = "genkan-infrastructure";
/// What failed so often in a row is told at its Gateway: once is nothing.
const TOLD: u32 = 2;
/// An API server that has too much to do is left alone for so long, unless it says for how long.
const SHORT_REST: Duration = Duration::from_secs(1);
/// And no longer than this, whatever it says.
const LONGEST_REST: Duration = Duration::from_secs(60);
/// Another release is told of for so long after its slices were seen.
const RIVAL_TIME: Duration = Duration::from_secs(300);

/// What is to become of Services, by their name, and how they are.
pub type View = BTreeMap<NamespacedName, (Infrastructure, Option<Arc<Service>>)>;

/// What Services of Gateways lead to.
#[derive(Clone, Debug, Default)]
pub struct Leading {
    /// The Service that selects our Pods; `None`: Gateways have no Services that lead anywhere.
    pub service: Option<NamespacedName>,
    /// The namespace whose Gateways are served; `None`: of all.
    pub namespace: Option<String>,
}

/// Services that can't be written, and the HTTP status (0: none) that says so.
pub type Unwritten = Arc<BTreeMap<NamespacedName, u16>>;

/// The writer's other end: tells it what is wanted and seen.
#[derive(Debug)]
pub struct InfrastructureWriter {
    view: watch::Sender<View>,
    unwritten: watch::Receiver<Unwritten>,
    end: Option<oneshot::Sender<oneshot::Sender<()>>>,
    /// What keeps it from writing, and from knowing what to write.
    troubles: Vec<Trouble>,
}

impl InfrastructureWriter {
    /// Starts the writer.
    pub fn start(client: Client, leading: watch::Receiver<bool>, leads_to: &Leading) -> Self {
        let troubles = [Trouble::default(), Trouble::default()];
        let follow = |service| {
            let [of_service, of_gateways] = troubles.clone();
            let namespace = leads_to.namespace.as_deref();
            let ours = follow::of_service(client.clone(), service, of_service);
            (ours, follow::of_gateways(client.clone(), namespace, of_gateways))
        };
        let followed = leads_to.service.as_ref().map_or_else(|| (follow::nothing(), follow::nothing()), follow);
        Self::following(client, leading, followed, troubles.to_vec())
    }

    fn following(
        client: Client,
        leading: watch::Receiver<bool>,
        (ours, present): (Followed, Followed),
        following: Vec<Trouble>,
    ) -> Self {
        let (view, views) = watch::channel(View::new());
        let (end, ended) = oneshot::channel();
        let (tell, unwritten) = watch::channel(Unwritten::default());
        let [trouble, nowhere, rival] = [Trouble::default(), Trouble::default(), Trouble::default()];
        let writer = Writer {
            client,
            views,
            leading,
            ours,
            present,
            writes: Writes::default(),
            paces: BTreeMap::new(),
            unwritten: tell,
            trouble: trouble.clone(),
            nowhere: nowhere.clone(),
            rival: rival.clone(),
            rival_seen: None,
            lacking: Lacking::default(),
            turn: "".into(),
            rest: None,
        };
        tokio::spawn(writer.run(ended));
        let troubles = [trouble, nowhere, rival].into_iter().chain(following).collect();
        Self { view, unwritten, end: Some(end), troubles }
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
    pub fn troubles(&self) -> &[Trouble] {
        &self.troubles
    }
}

struct Writer {
    client: Client,
    views: watch::Receiver<View>,
    leading: watch::Receiver<bool>,
    /// The slices of our own Service.
    ours: Followed,
    /// Those that are kept for Gateways.
    present: Followed,
    writes: Writes<(Object, Act), ()>,
    /// What was done.
    paces: BTreeMap<Object, Pace<Act>>,
    unwritten: watch::Sender<Unwritten>,
    /// What it can't write.
    trouble: Trouble,
    /// That there is nothing to lead to.
    nowhere: Trouble,
    /// That another release has the same Gateways, and when that was seen last.
    rival: Trouble,
    rival_seen: Option<Instant>,
    lacking: Lacking,
    /// The namespace that had its turn last.
    turn: Arc<str>,
    /// Until when the API server wants to be left alone.
    rest: Option<Instant>,
}

impl Writer {
    async fn run(mut self, mut end: oneshot::Receiver<oneshot::Sender<()>>) {
        loop {
            let due = self.write(Instant::now());
            tokio::select! {
                asked = &mut end => {
                    self.writes.abandon().await;
                    if let Ok(done) = asked {
                        // Whoever asked may have given up.
                        let _ = done.send(());
                    }
                    return;
                }
                Ok(()) = self.views.changed() => {}
                Ok(()) = self.ours.changed() => {}
                Ok(()) = self.present.changed() => {}
                Ok(()) = self.leading.changed() => {
                    if !*self.leading.borrow() {
                        // Another may be writing already.
                        self.writes.abandon().await;
                        self.paces.clear();
                        (self.lacking, self.rest, self.rival_seen) = (Lacking::default(), None, None);
                        self.tell();
                    }
                }
                Some(((object, act), outcome)) = self.writes.ended() => {
                    self.written(object, act, outcome, Instant::now());
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
        let (ours, present) = (self.ours.borrow_and_update(), self.present.borrow_and_update());
        self.lacking.update(&self.views.borrow_and_update(), ours.as_ref(), present.as_ref());
        drop((ours, present));
        let under_way = self.writes.running();
        let objects: BTreeSet<_> = self.lacking.all().chain(under_way).map(|(object, _)| object).collect();
        for (object, pace) in &mut self.paces {
            if !objects.contains(object) {
                pace.settled(now);
            }
        }
        self.paces.retain(|_, pace| !pace.is_over(now));
        let due = self.begin(now);
        self.tell();
        due
    }

    /// Begins as much as may be under way, of all namespaces in turn.
    fn begin(&mut self, now: Instant) -> Option<Instant> {
        if let Some(rest) = self.rest.filter(|rest| *rest > now) {
            return Some(rest);
        }
        if self.writes.running().len() >= AT_ONCE {
            // The end of one is the time for another.
            return None;
        }
        let mut due: Option<Instant> = None;
        let mut waiting: BTreeMap<Arc<str>, VecDeque<&(Object, Act)>> = BTreeMap::new();
        let under_way: BTreeSet<_> = self.writes.running().map(|(object, _)| object).collect();
        for one in self.lacking.all().filter(|(object, _)| !under_way.contains(object)) {
            let (object, act) = one;
            match self.paces.get(object).map(|pace| pace.due(act)).filter(|again| *again > now) {
                Some(again) => due = Some(due.map_or(again, |due| due.min(again))),
                None => waiting.entry(object.name().namespace.clone()).or_default().push_back(one),
            }
        }
        while self.writes.running().len() < AT_ONCE {
            let after = (Bound::Excluded(self.turn.clone()), Bound::Unbounded);
            let next = waiting.range::<Arc<str>, _>(after).next().or_else(|| waiting.iter().next());
            let Some(namespace) = next.map(|(namespace, _)| namespace.clone()) else { break };
            let one = waiting.get_mut(&namespace).and_then(VecDeque::pop_front);
            if waiting.get(&namespace).is_none_or(VecDeque::is_empty) {
                waiting.remove(&namespace);
            }
            self.turn = namespace;
            let Some(write) = one.cloned() else { continue };
            let (client, (object, act)) = (self.client.clone(), write.clone());
            self.writes.begin(write, async move { perform(&client, &object, &act).await });
        }
        due
    }

    fn written(&mut self, object: Object, act: Act, outcome: Result<(), Failure>, now: Instant) {
        let pace = self.paces.entry(object.clone()).or_insert_with(|| Pace::new(object.at_once(), now));
        let failed = outcome.err().map(|failure| {
            if failure.is_refusal_of_all() || failure.retry_after.is_some() {
                // Whatever else is asked now is refused as well.
                self.rest = Some(now + failure.retry_after.unwrap_or(SHORT_REST).min(LONGEST_REST));
            }
            let Failure { code, error, .. } = failure;
            if pace.failed().is_none_or(|(_, known)| known != code) {
                let (what, name) = match &object {
                    Object::Service(name) => ("the Service", name),
                    Object::Slice(name) => ("an EndpointSlice", name),
                };
                tracing::warn!(%name, %error, "{what} of a Gateway is not written; it will be tried again");
            }
            code
        });
        pace.done(act, failed, now);
    }

    /// Says what is wrong now.
    fn tell(&mut self) {
        self.tell_rival();
        if self.lacking.leads_nowhere() {
            let line = "Services of Gateways lead nowhere: the Service that --gateway-service names selects no Pods";
            if self.nowhere.set(line, &"") {
                tracing::warn!("{line}; what they led to before stays");
            }
        } else {
            self.nowhere.clear();
        }
        let failing = || self.paces.iter().filter_map(|(object, pace)| Some((object, pace.failed()?)));
        match failing().next() {
            // The log has it already.
            Some((_, (_, code))) => {
                let line = format!("Services of Gateways are not written: {}", trouble::cause(code));
                self.trouble.set(line, &"");
            }
            None => self.trouble.clear(),
        }
        let told = failing().filter(|(_, (times, _))| *times >= TOLD);
        let of_service = |(object, (_, code)): (&Object, (u32, u16))| match object {
            Object::Service(name) => Some((name.clone(), code)),
            Object::Slice(_) => None,
        };
        let unwritten: BTreeMap<_, _> = told.filter_map(of_service).collect();
        self.unwritten.send_if_modified(|present| {
            let news = **present != unwritten;
            if news {
                *present = Arc::new(unwritten);
            }
            news
        });
    }
}

impl Writer {
    /// Says that another release keeps our Services as well. Its slices go again and again, so it is told for a while.
    fn tell_rival(&mut self) {
        let now = Instant::now();
        if let Some(service) = self.lacking.rival() {
            self.rival_seen = Some(now);
            let line = "another release of Genkan keeps the Services of the same Gateways";
            if self.rival.set(line, &service) {
                tracing::warn!(service, "{line}: give one of them another --gateway-controller-name");
            }
        } else if self.rival_seen.is_none_or(|seen| now.duration_since(seen) > RIVAL_TIME) {
            self.rival.clear();
        }
    }
}

/// Does one thing. An object that is there already, is gone, or is another one by now, is no error: it will be seen.
async fn perform(client: &Client, object: &Object, act: &Act) -> Result<(), Failure> {
    let asked = async {
        match (object, act) {
            (Object::Service(name), Act::Service(action)) => write_service(client, name, action).await,
            (Object::Slice(name), Act::Slice(action)) => write_slice(client, name, action).await,
            // They are made together.
            _ => Ok(()),
        }
    };
    match timeout(WRITE_TIME, asked).await {
        Ok(Err(kube::Error::Api(status))) if matches!(status.code, 404 | 409) => Ok(()),
        Ok(outcome) => Ok(outcome?),
        Err(_) => Err(Failure::silent()),
    }
}

async fn write_service(client: &Client, name: &NamespacedName, action: &Action) -> kube::Result<()> {
    let services: Api<v1::Service> = Api::namespaced(client.clone(), &name.namespace);
    match action {
        Action::Create(body) => {
            let service = serde_json::from_value(body.clone()).map_err(kube::Error::SerdeError)?;
            services.create(&posted(), &service).await.map(drop)
        }
        Action::Describe(body) => services.patch(&name.name, &patched(), &Patch::Strategic(body)).await.map(drop),
        Action::Merge(body) => services.patch(&name.name, &patched(), &Patch::Merge(body)).await.map(drop),
        Action::Delete(uid) => services.delete(&name.name, &of_uid(uid)).await.map(drop),
    }
}

async fn write_slice(client: &Client, name: &NamespacedName, action: &SliceAction) -> kube::Result<()> {
    let slices: Api<EndpointSlice> = Api::namespaced(client.clone(), &name.namespace);
    match action {
        SliceAction::Create(slice) => slices.create(&posted(), slice).await.map(drop),
        SliceAction::Replace(slice) => slices.replace(&name.name, &posted(), slice).await.map(drop),
        SliceAction::Delete(uid) => slices.delete(&name.name, &of_uid(uid)).await.map(drop),
    }
}

fn posted() -> PostParams {
    PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() }
}

fn patched() -> PatchParams {
    PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() }
}

fn of_uid(uid: &str) -> DeleteParams {
    DeleteParams::default().preconditions(Preconditions { uid: Some(uid.to_owned()), ..Preconditions::default() })
}

#[cfg(test)]
mod tests;
