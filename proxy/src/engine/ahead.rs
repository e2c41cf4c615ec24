//! Responses that are read ahead of clients that are slower than endpoints.
//!
//! The engine reads a response no faster than its client takes it, and holds the endpoint's connection meanwhile. Here a
//! task of its own writes to the client, and a stand-in takes the place of the client's session: it takes what the endpoint
//! sends as far as there is room, so that the engine is done when the endpoint is. Nothing is held back: the task writes what
//! there is as soon as the client takes it.
//!
//! ```text
//!  endpoint --> engine --> Ahead --> Queue --> writer task { client } --> the client
//!                                                  |
//!  finish: no more comes, wait for the task  <-----+ client
//! ```

use std::future::pending;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use http::HeaderMap;
use parking_lot::Mutex;
use pingora_core::protocols::Digest;
use pingora_core::protocols::http::custom::CustomMessageWrite;
use pingora_core::protocols::http::custom::server::Session as StandIn;
use pingora_core::protocols::http::{HttpTask, ServerSession as HttpSession};
use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_core::{Error, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::Session;
use tokio::sync::{Notify, mpsc};
use tokio::task::{JoinError, JoinHandle};

use super::pause::gone;
use super::replay::{Messages, nobody};
use super::request_body::in_time;
use crate::buffers::Memory;

/// A response that is being written to its client, whose session the task has. Dropping it ends the task.
pub(super) struct Writing {
    task: JoinHandle<HttpSession>,
    queue: Arc<Queue>,
}

impl Drop for Writing {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The stand-in.
struct Ahead {
    request: RequestHeader,
    /// Whether the request's body can't be sent again.
    truncated: bool,
    response: Option<Box<ResponseHeader>>,
    parts: mpsc::UnboundedSender<Part>,
    queue: Arc<Queue>,
    most: usize,
}

/// What is written at a time.
struct Part {
    tasks: Vec<HttpTask>,
    /// Bytes that it keeps.
    cost: usize,
    /// How many of them are counted.
    counted: usize,
}

/// What an allocation takes besides its bytes: it is rounded up, and somebody counts who has it.
const ALLOCATION: usize = 64;

/// What waits for the client.
#[derive(Debug)]
struct Queue {
    /// Bytes.
    waiting: AtomicUsize,
    memory: Mutex<Memory>,
    /// Something was written, or the client is gone.
    moved: Notify,
    gone: AtomicBool,
    /// Why it is, for the first who asks.
    why: Mutex<Option<Box<Error>>>,
}

/// Has a task write the response, until it is too late for the rest of it. The request must be at its end.
pub(super) fn begin(session: &mut Session, most: usize, memory: Memory, until: Option<Instant>) -> Writing {
    let client = std::mem::replace(&mut *session.downstream_session, nobody());
    let (parts, waiting) = mpsc::unbounded_channel();
    let queue = Arc::new(Queue {
        waiting: AtomicUsize::new(0),
        memory: Mutex::new(memory),
        moved: Notify::new(),
        gone: AtomicBool::new(false),
        why: Mutex::default(),
    });
    let (request, truncated) = (client.req_header().clone(), client.retry_buffer_truncated());
    let ahead = Ahead { request, truncated, response: None, parts, queue: Arc::clone(&queue), most };
    *session.downstream_session = HttpSession::new_custom(Box::new(ahead));
    Writing { task: tokio::spawn(write(client, waiting, Arc::clone(&queue), until)), queue }
}

impl Writing {
    /// Waits until the client has all that was read for it, and puts its session back. An error is the client's.
    pub(super) async fn finish(mut self, session: &mut Session) -> Result<()> {
        // With the stand-in goes its end of the queue.
        *session.downstream_session = nobody();
        match (&mut self.task).await.map_err(JoinError::try_into_panic) {
            Ok(client) => *session.downstream_session = client,
            Err(Ok(panic)) => resume_unwind(panic),
            // The runtime ends, and this with it.
            Err(Err(_)) => pending().await,
        }
        if self.queue.is_gone() { Err(self.queue.why()) } else { Ok(()) }
    }
}

/// Writes what comes until no more does, or it is too late.
async fn write(
    mut client: HttpSession,
    mut parts: mpsc::UnboundedReceiver<Part>,
    queue: Arc<Queue>,
    until: Option<Instant>,
) -> HttpSession {
    let written = in_time(until, write_all(&mut client, &mut parts, &queue)).await;
    let too_late = || Err(Error::new(ErrorType::WriteTimedout));
    if let Err(error) = written.unwrap_or_else(too_late) {
        queue.break_off(error.into_down());
    }
    client
}

async fn write_all(client: &mut HttpSession, parts: &mut mpsc::UnboundedReceiver<Part>, queue: &Queue) -> Result<()> {
    loop {
        let next = tokio::select! {
            biased;
            part = parts.recv() => part,
            gone = gone(client) => return Err(gone),
        };
        let Some(part) = next else { return Ok(()) };
        let written = client.response_duplex_vec(part.tasks).await;
        queue.written(part.cost, part.counted);
        written?;
    }
}

impl Queue {
    /// Whether `cost` bytes more may wait, and how many of them are counted. An empty queue takes whatever comes, as the
    /// client itself would.
    fn room(&self, cost: usize, most: usize) -> Option<usize> {
        let waiting = self.waiting.load(Ordering::Acquire);
        let fits = waiting + cost <= most && self.memory.lock().grow(cost);
        match (fits, waiting) {
            (true, _) => Some(cost),
            (false, 0) => Some(0),
            (false, _) => None,
        }
    }

    fn written(&self, cost: usize, counted: usize) {
        self.memory.lock().shrink(counted);
        self.waiting.fetch_sub(cost, Ordering::AcqRel);
        self.moved.notify_one();
    }

    fn break_off(&self, why: Box<Error>) {
        *self.why.lock() = Some(why);
        self.gone.store(true, Ordering::Release);
        self.moved.notify_one();
    }

    fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }

    fn why(&self) -> Box<Error> {
        self.why.lock().take().unwrap_or_else(|| Error::new_down(ErrorType::ConnectionClosed))
    }
}

impl Ahead {
    /// Takes what the endpoint sent, once there is room. Whether it is the response's end.
    async fn take(&mut self, mut tasks: Vec<HttpTask>) -> Result<bool> {
        let failed = tasks.iter().position(|task| matches!(task, HttpTask::Failed(_)));
        let failed = failed.and_then(|place| tasks.drain(place..).next());
        for task in &tasks {
            if let HttpTask::Header(head, _) = task
                && !head.status.is_informational()
            {
                self.response = Some(head.clone());
            }
        }
        let end = tasks.iter().any(HttpTask::is_end);
        tasks.retain(|task| !is_nothing(task));
        if !tasks.is_empty() {
            self.queue_up(tasks).await?;
        }
        match failed {
            Some(HttpTask::Failed(error)) => Err(error),
            _ => Ok(end),
        }
    }

    /// Waits for room.
    async fn queue_up(&self, tasks: Vec<HttpTask>) -> Result<()> {
        let cost = cost(&tasks);
        let counted = loop {
            if self.queue.is_gone() {
                return Err(self.queue.why());
            }
            if let Some(counted) = self.queue.room(cost, self.most) {
                break counted;
            }
            self.queue.moved.notified().await;
        };
        self.queue.waiting.fetch_add(cost, Ordering::AcqRel);
        self.parts.send(Part { tasks, cost, counted }).map_err(|_| self.queue.why())
    }

    /// Returns once the client is gone.
    async fn gone(&self) -> Box<Error> {
        while !self.queue.is_gone() {
            self.queue.moved.notified().await;
        }
        self.queue.why()
    }
}

/// Bytes that a part of these tasks keeps while it waits: where an endpoint sends a byte at a time, far more than that byte.
fn cost(tasks: &Vec<HttpTask>) -> usize {
    let places = size_of::<Part>() + tasks.capacity() * size_of::<HttpTask>();
    let data: usize = tasks.iter().map(|task| ALLOCATION + data(task).map_or(0, Bytes::len)).sum();
    ALLOCATION + places + data
}

/// Whether the client gets nothing by it: an encoder has such for most of what it takes.
fn is_nothing(task: &HttpTask) -> bool {
    let is_body = matches!(task, HttpTask::Body(..) | HttpTask::UpgradedBody(..));
    is_body && !task.is_end() && data(task).is_none_or(Bytes::is_empty)
}

fn data(task: &HttpTask) -> Option<&Bytes> {
    match task {
        HttpTask::Body(data, _) | HttpTask::UpgradedBody(data, _) => data.as_ref(),
        _ => None,
    }
}

#[async_trait]
impl StandIn for Ahead {
    fn req_header(&self) -> &RequestHeader {
        &self.request
    }

    fn req_header_mut(&mut self) -> &mut RequestHeader {
        &mut self.request
    }

    async fn read_body_bytes(&mut self) -> Result<Option<Bytes>> {
        Ok(None)
    }

    async fn drain_request_body(&mut self) -> Result<()> {
        Ok(())
    }

    async fn write_response_header(&mut self, head: Box<ResponseHeader>, end: bool) -> Result<()> {
        self.take(vec![HttpTask::Header(head, end)]).await.map(drop)
    }

    async fn write_response_header_ref(&mut self, head: &ResponseHeader, end: bool) -> Result<()> {
        self.write_response_header(Box::new(head.clone()), end).await
    }

    async fn write_body(&mut self, data: Bytes, end: bool) -> Result<()> {
        self.take(vec![HttpTask::Body(Some(data), end)]).await.map(drop)
    }

    async fn write_trailers(&mut self, trailers: HeaderMap) -> Result<()> {
        self.take(vec![HttpTask::Trailer(Some(Box::new(trailers)))]).await.map(drop)
    }

    async fn response_duplex_vec(&mut self, tasks: Vec<HttpTask>) -> Result<bool> {
        self.take(tasks).await
    }

    // Times are those of the client's session, which has them already.
    fn set_read_timeout(&mut self, _timeout: Option<Duration>) {}

    fn get_read_timeout(&self) -> Option<Duration> {
        None
    }

    fn set_write_timeout(&mut self, _timeout: Option<Duration>) {}

    fn get_write_timeout(&self) -> Option<Duration> {
        None
    }

    fn set_total_drain_timeout(&mut self, _timeout: Option<Duration>) {}

    fn get_total_drain_timeout(&self) -> Option<Duration> {
        None
    }

    fn request_summary(&self) -> String {
        String::new()
    }

    fn response_written(&self) -> Option<&ResponseHeader> {
        self.response.as_deref()
    }

    async fn shutdown(&mut self, _code: u32, _context: &str) {}

    fn is_body_done(&mut self) -> bool {
        true
    }

    // The last part says that it is the last.
    async fn finish(&mut self) -> Result<()> {
        Ok(())
    }

    fn is_body_empty(&mut self) -> bool {
        true
    }

    async fn read_body_or_idle(&mut self, _no_body_expected: bool) -> Result<Option<Bytes>> {
        Err(self.gone().await)
    }

    fn body_bytes_sent(&self) -> usize {
        0
    }

    fn body_bytes_read(&self) -> usize {
        0
    }

    fn digest(&self) -> Option<&Digest> {
        None
    }

    fn digest_mut(&mut self) -> Option<&mut Digest> {
        None
    }

    fn client_addr(&self) -> Option<&SocketAddr> {
        None
    }

    fn server_addr(&self) -> Option<&SocketAddr> {
        None
    }

    fn pseudo_raw_h1_request_header(&self) -> Bytes {
        Bytes::new()
    }

    fn enable_retry_buffering(&mut self) {}

    fn retry_buffer_truncated(&self) -> bool {
        self.truncated
    }

    fn get_retry_buffer(&self) -> Option<Bytes> {
        None
    }

    async fn finish_custom(&mut self) -> Result<()> {
        Ok(())
    }

    fn take_custom_message_reader(&mut self) -> Option<Messages> {
        None
    }

    fn restore_custom_message_reader(&mut self, _reader: Messages) -> Result<()> {
        Ok(())
    }

    fn take_custom_message_writer(&mut self) -> Option<Box<dyn CustomMessageWrite>> {
        None
    }

    fn restore_custom_message_writer(&mut self, _writer: Box<dyn CustomMessageWrite>) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;
    use crate::buffers::Buffers;
    use crate::metrics::{ConstantLabels, Metrics};

    /// A stand-in of which nothing is written, with so many bytes for its response and for its namespace.
    fn ahead(most: usize, memory: usize) -> (Ahead, mpsc::UnboundedReceiver<Part>, Arc<Metrics>) {
        let metrics = Arc::new(Metrics::new(&ConstantLabels::default(), None));
        let (parts, waiting) = mpsc::unbounded_channel();
        let queue = Arc::new(Queue {
            waiting: AtomicUsize::new(0),
            memory: Mutex::new(Buffers::new(Arc::clone(&metrics), memory).begin(&"default".into())),
            moved: Notify::new(),
            gone: AtomicBool::new(false),
            why: Mutex::default(),
        });
        let request = RequestHeader::build("GET", b"/", None).unwrap();
        (Ahead { request, truncated: false, response: None, parts, queue, most }, waiting, metrics)
    }

    fn part(data: &'static str, end: bool) -> Vec<HttpTask> {
        vec![HttpTask::Body(Some(Bytes::from_static(data.as_bytes())), end)]
    }

    #[test]
    fn a_part_counts_with_all_that_it_keeps() {
        const SOME: usize = 64 << 10;
        for (most, memory) in [(SOME, usize::MAX), (usize::MAX, 2 * SOME)] {
            let (mut ahead, mut waiting, metrics) = ahead(most, memory);
            while ahead.take(part("x", false)).now_or_never().is_some() {}
            let kept = waiting.len() * (size_of::<Part>() + size_of::<HttpTask>());
            assert!((SOME / 8..=SOME).contains(&kept), "{} parts of a byte", waiting.len());
            assert!((kept..=SOME).contains(&metrics.buffering.held()));
            while let Ok(part) = waiting.try_recv() {
                ahead.queue.written(part.cost, part.counted);
            }
            assert_eq!((metrics.buffering.held(), ahead.queue.waiting.load(Ordering::Relaxed)), (0, 0));
        }
    }

    #[test]
    fn what_is_empty_does_not_wait_unless_it_is_the_end() {
        let (mut ahead, mut waiting, _) = ahead(usize::MAX, usize::MAX);
        let nothing = || HttpTask::Body(None, false);
        assert!(!ahead.take(vec![nothing()]).now_or_never().unwrap().unwrap());
        assert!(!ahead.take(part("", false)).now_or_never().unwrap().unwrap());
        assert!(waiting.is_empty());
        let tasks = vec![nothing(), part("x", false).remove(0), nothing(), HttpTask::Body(None, true)];
        assert!(ahead.take(tasks).now_or_never().unwrap().unwrap());
        assert_eq!((waiting.len(), waiting.try_recv().unwrap().tasks.len()), (1, 2));
    }
}
