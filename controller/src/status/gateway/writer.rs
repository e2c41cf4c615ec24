//! The writer of statuses of Gateway API: only while leading, only what differs, what is most urgent first.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use kube::Client;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::yield_now;
use tokio::time::{Instant, interval_at, sleep_until};

use super::super::failing::{Failing, Failure};
use super::super::writes::Writes;
use super::finish::{Bound, Surroundings};
use super::ledger::{Ledger, Outcome, SeenObject, Write};
use super::pace::Pace;
use super::version::{self, Features, Installed};
use super::write::Pen;
use crate::resources::Key;
use crate::translate::Statuses;
use crate::trouble::Trouble;
use crate::watch::Address;

/// Writes at the same time.
const AT_ONCE: usize = 16;
/// Everything is looked at again so often: what a write met may have been told nowhere.
const EVERY: Duration = Duration::from_secs(60);

/// What happened. All of it belongs together: objects as they were translated to these statuses.
#[derive(Debug)]
pub struct News {
    /// Objects that changed; `None`: they are gone.
    pub seen: Vec<(Key, Option<SeenObject>)>,
    /// What statuses are to say.
    pub statuses: Arc<Statuses>,
    /// Which listeners are bound.
    pub bound: Arc<Bound>,
}

/// The writer's other end: tells it what happened.
#[derive(Clone, Debug)]
pub struct GatewayStatusWriter {
    notes: mpsc::UnboundedSender<Note>,
    trouble: Trouble,
}

enum Note {
    News(News),
    /// Write nothing any more.
    End(oneshot::Sender<()>),
}

/// Where somebody is reached, once that is known.
type Reached = watch::Receiver<Option<BTreeSet<Address>>>;

impl GatewayStatusWriter {
    /// Starts the writer. `controller`: our `controllerName`; `addresses`: where the controller is reached, and where the
    /// nodes of our Pods are.
    pub fn start(
        client: Client,
        controller: Arc<str>,
        addresses: [Reached; 2],
        leading: watch::Receiver<bool>,
    ) -> Self {
        let (told, installed) = watch::channel(None);
        tokio::spawn(version::follow(client.clone(), told));
        Self::with_version(client, controller, addresses, leading, installed)
    }

    fn with_version(
        client: Client,
        controller: Arc<str>,
        [addresses, nodes]: [Reached; 2],
        leading: watch::Receiver<bool>,
        installed: watch::Receiver<Option<Installed>>,
    ) -> Self {
        let (sender, notes) = mpsc::unbounded_channel();
        let failing = Failing::new("Gateway API");
        let trouble = failing.trouble().clone();
        let writer = Writer {
            pen: Pen::new(client, controller.clone()),
            ledger: Ledger::new(controller),
            addresses,
            nodes,
            leading,
            installed,
            undeclared: false,
            pace: Pace::new(Instant::now()),
            writes: Writes::default(),
            failing,
            contested: false,
        };
        tokio::spawn(writer.run(notes));
        Self { notes: sender, trouble }
    }

    /// Tells what happened.
    pub fn tell(&self, news: News) {
        // The writer ends only at the end of the process.
        let _ = self.notes.send(Note::News(news));
    }

    /// Ends it: when this returns, nothing is written any more. What was written stays: it says what is configured, and
    /// another replica says the same.
    pub async fn end(&self) {
        let (done, ended) = oneshot::channel();
        let _ = self.notes.send(Note::End(done));
        // Dropping the other end says the same.
        let _ = ended.await;
    }

    /// What keeps statuses from being written.
    pub fn trouble(&self) -> &Trouble {
        &self.trouble
    }
}

struct Writer {
    pen: Pen,
    ledger: Ledger,
    addresses: Reached,
    nodes: Reached,
    leading: watch::Receiver<bool>,
    installed: watch::Receiver<Option<Installed>>,
    /// Whether what is installed does not know the features of classes, though it could not be asked.
    undeclared: bool,
    pace: Pace,
    writes: Writes<Write, Outcome>,
    failing: Failing<Key>,
    /// Whether it was told that somebody else writes the same statuses.
    contested: bool,
}

impl Writer {
    async fn run(mut self, mut notes: mpsc::UnboundedReceiver<Note>) {
        let mut ticks = interval_at(Instant::now() + EVERY, EVERY);
        self.surround(None);
        self.lead();
        loop {
            self.write();
            let held = self.ledger.is_waiting().then(|| self.pace.next()).filter(|next| *next > Instant::now());
            let due = self.ledger.due();
            tokio::select! {
                note = notes.recv() => match note {
                    Some(Note::News(news)) => self.take(news),
                    Some(Note::End(done)) => {
                        self.writes.abandon().await;
                        // Whoever asked may have given up.
                        let _ = done.send(());
                        return;
                    }
                    None => return,
                },
                Ok(()) = self.addresses.changed() => self.surround(None),
                Ok(()) = self.nodes.changed() => self.surround(None),
                Ok(()) = self.installed.changed() => {
                    self.undeclared = false;
                    self.surround(None);
                }
                Ok(()) = self.leading.changed() => {
                    if !*self.leading.borrow() {
                        self.writes.abandon().await;
                    }
                    self.lead();
                }
                _ = ticks.tick() => self.ledger.look_at_all(),
                () = yield_now(), if self.ledger.is_looking() => self.ledger.look_on(Instant::now()),
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => self.ledger.wake(Instant::now()),
                () = sleep_until(held.unwrap_or_else(Instant::now)), if held.is_some() => {}
                Some((write, outcome)) = self.writes.ended() => self.written(&write, outcome),
            }
        }
    }

    fn take(&mut self, News { seen, statuses, bound }: News) {
        let now = Instant::now();
        self.surround(Some(bound));
        self.ledger.want(statuses, now);
        for (key, seen) in seen {
            self.ledger.note(&key, seen, now);
        }
        // Some are gone; or what seemed to fail was done.
        self.failing.retain(|key| self.ledger.differs(key));
    }

    fn surround(&mut self, bound: Option<Arc<Bound>>) {
        let bound = bound.unwrap_or_else(|| self.ledger.surroundings().bound.clone());
        let addresses = self.addresses.borrow_and_update().clone();
        let nodes = self.nodes.borrow_and_update().clone();
        let installed = self.installed.borrow_and_update().clone();
        let installed = match self.undeclared {
            true => installed.map(|installed| installed.with_features(Features::Undeclared)),
            false => installed,
        };
        self.ledger.surround(Surroundings { bound, addresses, nodes, installed }, Instant::now());
    }

    fn lead(&mut self) {
        let leading = *self.leading.borrow_and_update();
        self.ledger.lead(leading, Instant::now());
        // Whoever leads now has the trouble.
        self.failing.retain(|key| leading && self.ledger.differs(key));
    }

    fn write(&mut self) {
        // It may have ended a moment ago, and the ledger not know yet.
        if !*self.leading.borrow() {
            return;
        }
        let (time, now) = (Timestamp::now().as_second(), Instant::now());
        while self.pace.next() <= now
            && let Some(write) = self.ledger.next(AT_ONCE, time)
        {
            self.pace.spend(now);
            let (pen, running) = (self.pen.clone(), write.clone());
            self.writes.begin(write, async move { pen.write(&running).await });
        }
    }

    fn written(&mut self, write: &Write, outcome: Result<Outcome, Failure>) {
        let (outcome, failure) = match outcome {
            Ok(outcome) => (outcome, None),
            Err(failure) => (Outcome::Failed, Some(failure)),
        };
        if let Some(failure) = failure.as_ref().filter(|failure| failure.is_refusal_of_all()) {
            self.pace.rest(failure.retry_after, Instant::now());
        }
        let undeclared = outcome == Outcome::Undeclared;
        let contested = self.ledger.done(write, outcome, Instant::now());
        // It may have been noted since that it is gone, or has what was written though no answer came.
        match failure.filter(|_| self.ledger.differs(&write.key)) {
            Some(failure) => self.failing.failed(&write.key, failure),
            None => self.failing.mended(&write.key),
        }
        if undeclared && !std::mem::replace(&mut self.undeclared, true) {
            tracing::info!("the Gateway API that is installed has no supportedFeatures of classes: they are left out");
            self.surround(None);
        }
        if contested && !std::mem::replace(&mut self.contested, true) {
            tracing::warn!(
                object = %write.key,
                "somebody else keeps writing its status: are there two controllers of one name, or of one Lease each?"
            );
        }
    }
}

#[cfg(test)]
#[path = "writer_tests.rs"]
mod tests;
