//! Mirrors: copies of requests, sent while the request itself goes its way.
//!
//! ```text
//!  intake --Copy--> Mirrors::send --task--> Client --> endpoint, whose answer is read and thrown away
//!  body of the request --Tee--> waiting parts (bounded) --> CopiedBody
//! ```
//!
//! Nothing here is ever waited for: a copy whose endpoint is slower than the client is given up, and what waits is
//! bounded, for one copy and for all of a worker.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::task;
use tokio::time::sleep;

use super::client::{CallBody, CallError, Client, Destination};
use crate::metrics::{Metrics, MirrorResult};

/// The most copies of a worker that are under way.
const MOST_COPIES: usize = 256;

/// The most bytes of a body that wait for its endpoint.
const MOST_WAITING: usize = 1 << 20;

/// The most bytes of all bodies of a worker that wait.
const MOST_WAITING_IN_ALL: usize = 16 << 20;

/// How long an answer may take once the request has been sent to its own backend.
const ANSWER_TIME: Duration = Duration::from_secs(10);

/// A copy of a request.
#[derive(Debug)]
pub(crate) struct Copy {
    /// Where it goes.
    pub(crate) destination: Destination,
    /// What the endpoint is to see.
    pub(crate) head: http::request::Parts,
}

/// Sends a worker's copies.
#[derive(Debug)]
pub(crate) struct Mirrors {
    client: Arc<Client>,
    metrics: Arc<Metrics>,
    under_way: Arc<AtomicUsize>,
    waiting: Arc<AtomicUsize>,
}

/// Where a request's body is copied to. Dropped before the body has ended, it ends the copy.
#[derive(Debug)]
pub(crate) struct Tee {
    parts: mpsc::UnboundedSender<Part>,
    waiting: Waiting,
    fate: Option<oneshot::Sender<Fate>>,
}

/// The body of a copy.
#[derive(Debug)]
pub(crate) struct CopiedBody {
    parts: mpsc::UnboundedReceiver<Part>,
    waiting: Waiting,
}

/// Bytes that wait: of this copy, and of all.
#[derive(Clone, Debug)]
struct Waiting {
    own: Arc<AtomicUsize>,
    all: Arc<AtomicUsize>,
}

#[derive(Debug)]
enum Part {
    Data(Bytes),
    End,
}

/// How a request's body ended, as far as the copy is concerned.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Complete,
    Behind,
}

/// A copy under way; counts until it is dropped.
struct UnderWay(Arc<AtomicUsize>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Mirrors {
    pub(crate) fn new(metrics: Arc<Metrics>) -> Self {
        Self { client: Arc::default(), metrics, under_way: Arc::default(), waiting: Arc::default() }
    }

    /// Sends a copy. The body goes to what is returned; `None` when there is none, or nobody who would take it.
    pub(crate) fn send(&self, copy: Copy, has_body: bool) -> Option<Tee> {
        if self.under_way.load(Ordering::Relaxed) >= MOST_COPIES {
            self.metrics.mirrors.count(MirrorResult::TooMany);
            return None;
        }
        self.under_way.fetch_add(1, Ordering::Relaxed);
        let place = UnderWay(Arc::clone(&self.under_way));
        let (fate, decided) = oneshot::channel();
        let (body, tee) = if has_body {
            let (sender, parts) = mpsc::unbounded_channel();
            let waiting = Waiting { own: Arc::default(), all: Arc::clone(&self.waiting) };
            let body = CopiedBody { parts, waiting: waiting.clone() };
            (CallBody::Copied(body), Some(Tee { parts: sender, waiting, fate: Some(fate) }))
        } else {
            // The receiver is alive: it is right here.
            let _ = fate.send(Fate::Complete);
            (CallBody::Empty, None)
        };
        let (client, metrics) = (Arc::clone(&self.client), Arc::clone(&self.metrics));
        task::spawn(async move {
            let result = tokio::select! {
                // First: the exchange fails as well when its body breaks off.
                biased;
                result = given_up(decided) => result,
                answered = exchange(&client, copy, body) => of_answer(answered),
            };
            metrics.mirrors.count(result);
            drop(place);
        });
        tee
    }
}

/// Sends the copy and reads the answer to its end.
async fn exchange(client: &Arc<Client>, copy: Copy, body: CallBody) -> Result<(), CallError> {
    let Copy { destination, head } = copy;
    let begun = std::time::Instant::now();
    let (answer, used) = client.send(&destination, head, body).await?;
    destination.picked.observe(begun.elapsed(), std::time::Instant::now());
    let mut answer = answer.into_body();
    while let Some(frame) = next_frame(&mut answer).await {
        frame?;
    }
    used.keep().await;
    Ok(())
}

async fn next_frame(body: &mut hyper::body::Incoming) -> Option<Result<hyper::body::Frame<Bytes>, hyper::Error>> {
    use hyper::body::Body;
    std::future::poll_fn(|cx| std::pin::Pin::new(&mut *body).poll_frame(cx)).await
}

fn of_answer(answered: Result<(), CallError>) -> MirrorResult {
    match answered {
        Ok(()) => MirrorResult::Answered,
        Err(error) => {
            tracing::debug!(%error, "a mirrored request failed");
            match error {
                CallError::ConnectTimeout => MirrorResult::Timeout,
                CallError::Connect(_) | CallError::Request(_) | CallError::Http(_) => MirrorResult::Failed,
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

impl Tee {
    /// Copies a part. Whether more may come.
    pub(crate) fn part(&mut self, part: &Bytes) -> bool {
        let length = part.len();
        if self.waiting.is_too_much(length) {
            self.decide(Fate::Behind);
            return false;
        }
        self.waiting.add(length);
        if self.parts.send(Part::Data(part.clone())).is_err() {
            // The endpoint wants no more of it, and may have answered.
            self.waiting.remove(length);
            self.decide(Fate::Complete);
            return false;
        }
        true
    }

    /// The body has ended.
    pub(crate) fn end(mut self) {
        // A copy that is over already needs no end.
        let _ = self.parts.send(Part::End);
        self.decide(Fate::Complete);
    }

    fn decide(&mut self, fate: Fate) {
        if let Some(decide) = self.fate.take() {
            // As above.
            let _ = decide.send(fate);
        }
    }
}

impl CopiedBody {
    /// The next part; an error when the request itself ended before its body, so that the copy is not taken for whole.
    pub(super) fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        Poll::Ready(match ready!(self.parts.poll_recv(cx)) {
            Some(Part::Data(part)) => {
                self.waiting.remove(part.len());
                Some(Ok(part))
            }
            Some(Part::End) => None,
            None => Some(Err(io::ErrorKind::UnexpectedEof.into())),
        })
    }
}

impl Drop for CopiedBody {
    fn drop(&mut self) {
        // What nobody reads waits no longer.
        self.parts.close();
        self.waiting.remove(self.waiting.own.load(Ordering::Relaxed));
    }
}

impl Waiting {
    fn is_too_much(&self, more: usize) -> bool {
        self.own.load(Ordering::Relaxed) + more > MOST_WAITING
            || self.all.load(Ordering::Relaxed) + more > MOST_WAITING_IN_ALL
    }

    fn add(&self, length: usize) {
        self.own.fetch_add(length, Ordering::Relaxed);
        self.all.fetch_add(length, Ordering::Relaxed);
    }

    fn remove(&self, length: usize) {
        self.own.fetch_sub(length, Ordering::Relaxed);
        self.all.fetch_sub(length, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tee(all: &Arc<AtomicUsize>) -> (Tee, CopiedBody, oneshot::Receiver<Fate>) {
        let (sender, parts) = mpsc::unbounded_channel();
        let (fate, decided) = oneshot::channel();
        let waiting = Waiting { own: Arc::default(), all: Arc::clone(all) };
        let body = CopiedBody { parts, waiting: waiting.clone() };
        (Tee { parts: sender, waiting, fate: Some(fate) }, body, decided)
    }

    fn next(body: &mut CopiedBody) -> Option<io::Result<Bytes>> {
        match body.poll_part(&mut Context::from_waker(std::task::Waker::noop())) {
            Poll::Ready(part) => part,
            Poll::Pending => panic!("nothing has come"),
        }
    }

    #[tokio::test]
    async fn a_copy_that_falls_behind_is_given_up_and_owes_nothing() {
        let all = Arc::default();
        let (mut tee, mut body, decided) = tee(&all);
        let part = Bytes::from(vec![0; MOST_WAITING / 2]);
        assert!(tee.part(&part) && tee.part(&part));
        assert!(next(&mut body).unwrap().is_ok());
        assert!(tee.part(&part), "what was read waits no longer");
        assert!(!tee.part(&part));
        assert_eq!(given_up(decided).await, MirrorResult::Behind);
        drop(body);
        assert_eq!(all.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn all_copies_together_are_bounded() {
        let all = Arc::default();
        let part = Bytes::from(vec![0; MOST_WAITING]);
        let mut copies: Vec<_> = (0..MOST_WAITING_IN_ALL / MOST_WAITING).map(|_| tee(&all)).collect();
        assert!(copies.iter_mut().all(|(tee, _, _)| tee.part(&part)));
        let (mut last, _body, _) = tee(&all);
        assert!(!last.part(&part));
        copies.pop();
        assert!(all.load(Ordering::Relaxed) < MOST_WAITING_IN_ALL);
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_is_not_taken_for_whole() {
        let (mut tee, mut body, decided) = tee(&Arc::default());
        assert!(tee.part(&Bytes::from_static(b"a")));
        drop(tee);
        assert_eq!(next(&mut body).unwrap().unwrap(), "a");
        assert!(next(&mut body).unwrap().is_err());
        assert_eq!(given_up(decided).await, MirrorResult::Incomplete);
    }

    #[test]
    fn a_body_that_ends_ends_the_copy_too() {
        let (tee, mut body, _decided) = tee(&Arc::default());
        tee.end();
        assert!(next(&mut body).is_none());
    }
}
