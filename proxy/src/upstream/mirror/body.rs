//! The body of a copy, from the request that it comes in with to the connection of the mirror.
//!
//! ```text
//!  Tee --part--> waiting parts (bounded) --poll_part--> CopiedBody, held by the mirror's connection
//!                      ^ Waiting, held by the copy's task: when it ends, nothing waits any more
//! ```

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::load::Loads;

/// The most bytes of a body that wait for its endpoint.
pub(super) const MOST_WAITING: usize = 1 << 20;

/// Where a request's body is copied to. Dropped before the body has ended, it ends the copy.
#[derive(Debug)]
pub(crate) struct Tee {
    parts: Arc<Parts>,
    fate: Option<oneshot::Sender<Fate>>,
}

/// The body of a copy, as its connection reads it.
#[derive(Debug)]
pub(crate) struct CopiedBody(Arc<Parts>);

/// The copy's hold on what waits. What a connection never reads would otherwise wait as long as that lives.
#[derive(Debug)]
pub(super) struct Waiting(Arc<Parts>);

/// How a request's body ended, as far as the copy is concerned.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fate {
    Complete,
    Behind,
}

#[derive(Debug)]
struct Parts {
    queue: Mutex<Queue>,
    loads: Loads,
}

#[derive(Debug)]
struct Queue {
    parts: VecDeque<Bytes>,
    /// Bytes of all parts.
    length: usize,
    state: State,
    /// Whether the connection has the body still.
    held: bool,
    reader: Option<Waker>,
    copy: Option<Waker>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    Ended,
    /// The request ended before its body.
    Broken,
    /// Nobody wants more.
    Closed,
}

/// A body that waits in these counts.
pub(super) fn body(loads: &Loads, fate: oneshot::Sender<Fate>) -> (Tee, CopiedBody, Waiting) {
    let queue = Queue { parts: VecDeque::new(), length: 0, state: State::Open, held: true, reader: None, copy: None };
    let parts = Arc::new(Parts { queue: Mutex::new(queue), loads: loads.clone() });
    (Tee { parts: Arc::clone(&parts), fate: Some(fate) }, CopiedBody(Arc::clone(&parts)), Waiting(parts))
}

impl Tee {
    /// Copies a part. Whether more may come.
    pub(crate) fn part(&mut self, part: &Bytes) -> bool {
        let fate = {
            let mut queue = self.parts.queue.lock();
            if queue.state == State::Closed {
                // The endpoint wants no more of it, and may have answered.
                Fate::Complete
            } else if queue.length + part.len() > MOST_WAITING || !self.parts.loads.add(part.len()) {
                Fate::Behind
            } else {
                queue.length += part.len();
                queue.parts.push_back(part.clone());
                let reader = queue.reader.take();
                drop(queue);
                wake(reader);
                return true;
            }
        };
        self.decide(fate);
        false
    }

    /// The body has ended.
    pub(crate) fn end(mut self) {
        self.parts.leave(State::Ended);
        self.decide(Fate::Complete);
    }

    fn decide(&mut self, fate: Fate) {
        if let Some(decide) = self.fate.take() {
            // A copy that is over already needs no fate.
            let _ = decide.send(fate);
        }
    }
}

impl Drop for Tee {
    fn drop(&mut self) {
        self.parts.leave(State::Broken);
    }
}

impl CopiedBody {
    /// The next part; an error when the request itself ended before its body, so that the copy is not taken for whole.
    pub(in crate::upstream) fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        let mut queue = self.0.queue.lock();
        if let Some(part) = queue.parts.pop_front() {
            queue.length -= part.len();
            self.0.loads.remove(part.len());
            return Poll::Ready(Some(Ok(part)));
        }
        match queue.state {
            State::Open => {
                queue.reader = Some(cx.waker().clone());
                Poll::Pending
            }
            State::Ended => Poll::Ready(None),
            State::Broken | State::Closed => Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into()))),
        }
    }
}

impl Drop for CopiedBody {
    fn drop(&mut self) {
        self.0.close(|queue| queue.held = false);
    }
}

impl Waiting {
    /// Whether the connection has the body still.
    pub(super) fn is_held(&self) -> bool {
        self.0.queue.lock().held
    }

    /// Resolves once the connection has let go of the body: took all of it, or wants no more.
    pub(super) async fn released(&self) {
        poll_fn(|cx| {
            let mut queue = self.0.queue.lock();
            if !queue.held {
                return Poll::Ready(());
            }
            queue.copy = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.close(|_| ());
    }
}

impl Parts {
    /// Nothing more comes.
    fn leave(&self, state: State) {
        let mut queue = self.queue.lock();
        if queue.state == State::Open {
            queue.state = state;
            let reader = queue.reader.take();
            drop(queue);
            wake(reader);
        }
    }

    /// Nobody wants what waits, or more.
    fn close(&self, change: impl FnOnce(&mut Queue)) {
        let mut queue = self.queue.lock();
        change(&mut queue);
        queue.state = State::Closed;
        self.loads.remove(std::mem::take(&mut queue.length));
        let unread = std::mem::take(&mut queue.parts);
        let waiting = [queue.reader.take(), queue.copy.take()];
        drop(queue);
        waiting.into_iter().for_each(wake);
        drop(unread);
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(body: &mut CopiedBody) -> Option<io::Result<Bytes>> {
        match body.poll_part(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(part) => part,
            Poll::Pending => panic!("nothing has come"),
        }
    }

    fn fate(decided: oneshot::Receiver<Fate>) -> Option<Fate> {
        { decided }.try_recv().ok()
    }

    #[test]
    fn a_copy_that_falls_behind_is_given_up_and_owes_nothing() {
        let loads = Loads::default();
        let (sender, decided) = oneshot::channel();
        let (mut tee, mut body, waiting) = super::body(&loads, sender);
        let part = Bytes::from(vec![0; MOST_WAITING / 2]);
        assert!(tee.part(&part) && tee.part(&part));
        assert!(next(&mut body).unwrap().is_ok());
        assert!(tee.part(&part), "what was read waits no longer");
        assert!(!tee.part(&part));
        assert!(matches!(fate(decided), Some(Fate::Behind)));
        assert_eq!(loads.waiting(), [MOST_WAITING; 2]);
        drop(body);
        assert_eq!(loads.waiting(), [0; 2]);
        drop(waiting);
        assert_eq!(loads.waiting(), [0; 2]);
    }

    #[test]
    fn what_a_connection_keeps_unread_waits_no_longer_than_the_copy() {
        let loads = Loads::default();
        let (sender, decided) = oneshot::channel();
        let (mut tee, mut body, waiting) = super::body(&loads, sender);
        assert!(tee.part(&Bytes::from_static(b"abc")) && waiting.is_held());
        drop(waiting);
        assert_eq!(loads.waiting(), [0; 2]);
        assert!(next(&mut body).unwrap().is_err(), "it is not taken for whole");
        assert!(!tee.part(&Bytes::from_static(b"abc")));
        assert!(matches!(fate(decided), Some(Fate::Complete)));
    }

    #[test]
    fn a_body_that_breaks_off_is_not_taken_for_whole() {
        let (sender, decided) = oneshot::channel();
        let (mut tee, mut body, _waiting) = super::body(&Loads::default(), sender);
        assert!(tee.part(&Bytes::from_static(b"a")));
        drop(tee);
        assert_eq!(next(&mut body).unwrap().unwrap(), "a");
        assert!(next(&mut body).unwrap().is_err());
        assert!(fate(decided).is_none());
    }

    #[test]
    fn a_body_that_ends_ends_the_copy_too() {
        let (sender, decided) = oneshot::channel();
        let (tee, mut body, _waiting) = super::body(&Loads::default(), sender);
        tee.end();
        assert!(next(&mut body).is_none());
        assert!(matches!(fate(decided), Some(Fate::Complete)));
    }
}
