//! Mirrors: copies of requests, sent while the request itself goes its way.
//!
//! ```text
//!  intake --Copy--> Mirrors::send --task--> Client --> endpoint, whose answer is read and thrown away
//!  body of the request --Tee--> waiting parts (mirror/body.rs) --> CopiedBody
//! ```
//!
//! Nothing here is ever waited for: a copy whose endpoint is slower than the client is given up, and what waits is
//! bounded, for one copy, for all of a tenant and for all of a worker (`mirror/load.rs`). Beyond what waits here, a
//! connection holds at most [`SEND_BUFFER`](super::client::SEND_BUFFER) for each of its copies.

mod body;
mod load;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming};
use tokio::sync::oneshot;
use tokio::task;
use tokio::time::sleep;

pub(crate) use self::body::{CopiedBody, Tee};
use self::body::{Fate, Waiting};
use self::load::Ledger;
use super::balance::Balancer;
use super::client::{CallBody, CallError, Client, Destination, Used};
use super::health::Outcome;
use crate::metrics::{Metrics, MirrorResult};

/// How long an answer may take once the request has been sent to its own backend.
const ANSWER_TIME: Duration = Duration::from_secs(10);

/// A copy of a request.
#[derive(Debug)]
pub(crate) struct Copy {
    /// Where it goes.
    pub(crate) destination: Destination,
    /// Whoever chose the endpoint, and is told what became of it.
    pub(crate) balancer: Arc<Balancer>,
    /// What the endpoint is to see.
    pub(crate) head: http::request::Parts,
}

/// Sends a worker's copies.
#[derive(Debug)]
pub(crate) struct Mirrors {
    client: Arc<Client>,
    metrics: Arc<Metrics>,
    ledger: Ledger,
}

/// How far a copy got.
#[derive(Debug, Default)]
struct Progress {
    /// The connection, from the answer's head until it is free for another request.
    used: Option<Used>,
    /// What became of it at the endpoint.
    outcome: Option<Outcome>,
    answered: bool,
}

impl Mirrors {
    pub(crate) fn new(metrics: Arc<Metrics>) -> Self {
        Self { client: Arc::default(), metrics, ledger: Ledger::default() }
    }

    /// Sends a copy. The body goes to what is returned; `None` when there is none, or nobody who would take it.
    pub(crate) fn send(&self, copy: Copy, has_body: bool) -> Option<Tee> {
        let Some(place) = self.ledger.place(&copy.destination.cluster.service.namespace, Instant::now()) else {
            self.metrics.mirrors.count(MirrorResult::TooMany);
            return None;
        };
        let (fate, decided) = oneshot::channel();
        let (body, waiting, tee) = if has_body {
            let (tee, body, waiting) = body::body(place.loads(), fate);
            (CallBody::Copied(body), Some(waiting), Some(tee))
        } else {
            // The receiver is alive: it is right here.
            let _ = fate.send(Fate::Complete);
            (CallBody::Empty, None, None)
        };
        let (client, metrics) = (Arc::clone(&self.client), Arc::clone(&self.metrics));
        task::spawn(async move {
            metrics.mirrors.count(run(&client, copy, body, waiting.as_ref(), decided).await);
            drop(waiting);
            drop(place);
        });
        tee
    }
}

/// Sends a copy, until its answer has come or it is given up.
async fn run(
    client: &Arc<Client>,
    copy: Copy,
    body: CallBody,
    waiting: Option<&Waiting>,
    decided: oneshot::Receiver<Fate>,
) -> MirrorResult {
    let mut progress = Progress::default();
    let Copy { destination, balancer, head } = copy;
    let result = tokio::select! {
        // First: the exchange fails as well when its body breaks off.
        biased;
        result = given_up(decided) => result,
        answered = exchange(client, &destination, head, body, waiting, &mut progress) => of_answer(answered),
    };
    if result == MirrorResult::Timeout {
        progress.outcome.get_or_insert(Outcome::Failed);
    }
    if let Some(outcome) = progress.outcome {
        balancer.note(&destination.picked, outcome, Instant::now());
    }
    // Before the answer's head the client itself takes the request back. Afterwards it goes on sending the body, and
    // waits for ever where the endpoint takes no more of it.
    if let Some(used) = progress.used
        && waiting.is_some_and(Waiting::is_held)
    {
        used.break_off();
    }
    if progress.answered { MirrorResult::Answered } else { result }
}

/// Sends the copy and reads the answer to its end.
async fn exchange(
    client: &Arc<Client>,
    destination: &Destination,
    head: http::request::Parts,
    body: CallBody,
    waiting: Option<&Waiting>,
    progress: &mut Progress,
) -> Result<(), CallError> {
    let begun = Instant::now();
    let (answer, used) = client.send(destination, head, body).await.inspect_err(|error| {
        // A kept connection may end at any time, which says nothing of the endpoint.
        let is_its = !matches!(error, CallError::Request(_) | CallError::Stale(_));
        progress.outcome = is_its.then_some(Outcome::Failed);
    })?;
    progress.outcome = Some(Outcome::Status(answer.status().as_u16()));
    progress.used = Some(used);
    destination.picked.observe(begun.elapsed(), Instant::now());
    let mut answer = answer.into_body();
    while let Some(frame) = next_frame(&mut answer).await {
        frame?;
    }
    progress.answered = true;
    if let Some(waiting) = waiting {
        // An endpoint may answer before it has read everything.
        waiting.released().await;
    }
    if let Some(used) = progress.used.take() {
        used.keep().await;
    }
    Ok(())
}

/// The next part of a body.
pub(super) async fn next_frame(body: &mut Incoming) -> Option<Result<Frame<Bytes>, hyper::Error>> {
    std::future::poll_fn(|cx| std::pin::Pin::new(&mut *body).poll_frame(cx)).await
}

fn of_answer(answered: Result<(), CallError>) -> MirrorResult {
    match answered {
        Ok(()) => MirrorResult::Answered,
        Err(error) => {
            tracing::debug!(%error, "a mirrored request failed");
            match error {
                CallError::ConnectTimeout => MirrorResult::Timeout,
                CallError::Connect(_) | CallError::Request(_) | CallError::Http(_) | CallError::Stale(_) => {
                    MirrorResult::Failed
                }
            }
        }
    }
}

/// Resolves when the copy is to be given up.
async fn given_up(decided: oneshot::Receiver<Fate>) -> MirrorResult {
    match decided.await {
        Ok(Fate::Complete) => {
            sleep(ANSWER_TIME).await;
            MirrorResult::Timeout
        }
        Ok(Fate::Behind) => MirrorResult::Behind,
        Err(_) => MirrorResult::Incomplete,
    }
}
