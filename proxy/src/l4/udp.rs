//! UDP: sessions of clients. What a client sends from one address and port goes to one endpoint through a socket of the
//! session's own, and what comes back there goes to the client.
//!
//! ```text
//!  client --datagram--> port (one loop per worker) --by flow--> session --> endpoint
//!     ^                                                            |
//!     +------------------------------------------------------------+  one task per session
//! ```
//!
//! The kernel gives all datagrams of a flow to one worker's socket, so sessions are nobody else's. As in nginx, a
//! session ends when each of the client's datagrams had its answers, or when nothing has moved for a while.

use std::cell::RefCell;
use std::io;
use std::net::{SocketAddr, UdpSocket as StdUdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use socket2::SockRef;
use tokio::io::{Interest, Ready};
use tokio::net::UdpSocket;
use tokio::sync::{Notify, oneshot, watch};
use tokio::task;
use tokio::time::{sleep, sleep_until};

use super::datagrams::{Datagrams, Flow};
use super::record::{BAD_GATEWAY, Identity, OK, Running, unspecified_like};
use crate::listener::accept::{PAUSE, Stop};
use crate::listener::table::{Entrance, PortKey};
use crate::random;
use crate::shared::{OpenConnection, Shared};
use crate::upstream::endpoint::Picked;

/// The largest datagram.
const LARGEST: usize = 64 << 10;

/// Datagrams that a port takes before others get their turn.
const BURST: usize = 64;

/// How long a session may still wait for an answer once the proxy shuts down: many never get one.
const LAST_CHANCE: Duration = Duration::from_secs(2);

thread_local! {
    /// Only in use while a socket is polled, so one does for all of a worker.
    static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; LARGEST].into());
}

/// The sessions of a port on this worker.
#[derive(Debug)]
struct Port {
    key: PortKey,
    socket: Datagrams,
    shared: Arc<Shared>,
    sessions: Mutex<FxHashMap<Flow, Arc<Session>>>,
    end: watch::Receiver<Option<Stop>>,
}

/// A client's session.
#[derive(Debug)]
struct Session {
    flow: Flow,
    upstream: UdpSocket,
    running: Mutex<Running>,
    /// Datagrams from the client, and to it.
    requests: AtomicU64,
    responses: AtomicU64,
    /// Responses to each request.
    expected: u64,
    timeout: Duration,
    over: AtomicBool,
    ended: Notify,
    _picked: Picked,
    _open: OpenConnection,
}

/// Takes datagrams until `stop`. When the port is no longer wanted its sessions end at once, so that the port can be
/// bound again; when the proxy shuts down they may wait for their answers.
pub(crate) async fn run(socket: StdUdpSocket, key: PortKey, shared: Arc<Shared>, mut stop: oneshot::Receiver<Stop>) {
    let (say_end, end) = watch::channel(None);
    let port = match Datagrams::new(socket) {
        Ok(socket) => Arc::new(Port { key, socket, shared, sessions: Mutex::default(), end }),
        Err(error) => return tracing::error!(port = ?key, %error, "a worker can't receive at a port"),
    };
    let why = loop {
        tokio::select! {
            biased;
            why = &mut stop => break why.unwrap_or(Stop::Removed),
            ready = port.socket.readable() => match ready {
                Ok(()) => port.take_burst().await,
                Err(error) => port.recover(&error).await,
            },
        }
    };
    if why == Stop::Removed {
        let sessions = std::mem::take(&mut *port.sessions.lock());
        for session in sessions.into_values() {
            session.end(OK);
        }
    }
    say_end.send_replace(Some(why));
}

impl Port {
    /// Takes what is there, but not for ever.
    async fn take_burst(self: &Arc<Self>) {
        for _ in 0..BURST {
            let taken = BUFFER.with_borrow_mut(|buffer| {
                let (count, flow) = self.socket.try_receive(buffer)?;
                self.take(flow, buffer.get(..count).unwrap_or_default());
                Ok::<_, io::Error>(())
            });
            match taken {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => return self.recover(&error).await,
            }
        }
        task::yield_now().await;
    }

    async fn recover(&self, error: &io::Error) {
        tracing::warn!(port = ?self.key, %error, "receiving pauses");
        sleep(PAUSE).await;
    }

    /// Passes a datagram on: in the session of its flow, else in a new one. An endpoint that turns out to be gone loses
    /// the session, and the datagram goes to the next.
    fn take(self: &Arc<Self>, flow: Flow, bytes: &[u8]) {
        let known = self.sessions.lock().get(&flow).filter(|session| !session.is_over()).cloned();
        let table = self.shared.table.load();
        let Some(entrance) = table.listeners.entrance(&self.key) else { return };
        if table.listeners.is_for_others(&self.key, || flow.local) {
            return;
        }
        if let Some(session) = known {
            match session.forward(bytes) {
                Ok(()) => return self.forget_if_over(&session),
                Err(error) => {
                    tracing::debug!(client = %flow.client, %error, "an endpoint is gone");
                    session.end(BAD_GATEWAY);
                    self.forget_if_over(&session);
                }
            }
        }
        match self.begin(flow, entrance) {
            Ok(Some(session)) => {
                self.sessions.lock().insert(flow, Arc::clone(&session));
                if let Err(error) = session.forward(bytes) {
                    tracing::debug!(client = %flow.client, %error, "an endpoint can't be reached");
                    session.end(BAD_GATEWAY);
                }
                self.forget_if_over(&session);
                task::spawn(answer(Arc::clone(self), session));
            }
            Ok(None) => entrance.metrics(&self.shared.metrics).dropped(),
            Err(error) => {
                tracing::warn!(client = %flow.client, %error, "a session can't be opened");
                entrance.metrics(&self.shared.metrics).dropped();
            }
        }
    }

    /// A new session; `None` when there is no endpoint, or no room.
    fn begin(&self, flow: Flow, entrance: &Entrance) -> io::Result<Option<Arc<Session>>> {
        let table = self.shared.table.load();
        let global = &table.snapshot.model().settings.stream;
        let limit = usize::try_from(global.max_sessions).unwrap_or(usize::MAX);
        let Some(stream) = &entrance.stream else { return Ok(None) };
        let settings = super::settings(&table, stream);
        let Some(cluster) = super::choose(&table, stream, random::next()) else { return Ok(None) };
        let Some(picked) = cluster.balancer.pick_in_turn(&[], Instant::now()) else { return Ok(None) };
        let Some(open) = self.shared.sessions.open(limit) else { return Ok(None) };
        let address = picked.address();
        let socket = StdUdpSocket::bind(SocketAddr::new(unspecified_like(address.ip()), 0))?;
        socket.connect(address)?;
        socket.set_nonblocking(true)?;
        let bound = self.socket.local_addr()?;
        let local = SocketAddr::new(flow.local.unwrap_or(bound.ip()), bound.port());
        let identity = Identity { protocol: "UDP", id: open.id(), peer: flow.client, local, announced: None };
        let mut running = Running::new(&self.shared, entrance.metrics(&self.shared.metrics), identity);
        running.set_log(table.logs().own(stream.settings.as_ref()));
        running.goes_to(&cluster.cluster.name);
        running.tried(address, Some(Duration::ZERO));
        let (requests, responses, over, ended) = Default::default();
        Ok(Some(Arc::new(Session {
            flow,
            upstream: UdpSocket::from_std(socket)?,
            running: Mutex::new(running),
            requests,
            responses,
            expected: settings.responses.into(),
            timeout: settings.timeout,
            over,
            ended,
            _picked: picked,
            _open: open,
        })))
    }

    /// A session that is over makes room for the client's next.
    fn forget_if_over(&self, session: &Arc<Session>) {
        if session.is_over() {
            let mut sessions = self.sessions.lock();
            if sessions.get(&session.flow).is_some_and(|known| Arc::ptr_eq(known, session)) {
                sessions.remove(&session.flow);
            }
        }
    }
}

impl Session {
    /// Sends a datagram of the client's on. Only a broken endpoint is an error: what the system has no room for is
    /// lost, as datagrams may be.
    fn forward(&self, bytes: &[u8]) -> io::Result<()> {
        // Not by the runtime's knowledge, which of a new socket is that it can't be written to.
        match SockRef::from(&self.upstream).send(bytes) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.running.lock().received(bytes.len());
        self.end_if_answered();
        Ok(())
    }

    /// Whether the endpoint has refused what it was sent, which a UDP socket tells by itself and not by a read.
    fn check(&self, ready: Ready) -> io::Result<()> {
        if ready.is_error() {
            match self.upstream.take_error()? {
                Some(error) => return Err(error),
                // A send has had it already.
                None => drop(self.upstream.try_io(Interest::ERROR, || Err::<(), _>(io::ErrorKind::WouldBlock.into()))),
            }
        }
        Ok(())
    }

    /// Passes on the endpoint's answers that are there.
    fn take_answers(&self, socket: &Datagrams) -> io::Result<()> {
        BUFFER.with_borrow_mut(|buffer| {
            for _ in 0..BURST {
                let count = match self.upstream.try_recv(buffer) {
                    Ok(count) => count,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                    Err(error) => return Err(error),
                };
                if let Err(error) = socket.try_send(&self.flow, buffer.get(..count).unwrap_or_default()) {
                    tracing::debug!(client = %self.flow.client, %error, "an answer is lost");
                }
                self.responses.fetch_add(1, Ordering::Relaxed);
                self.running.lock().sent(count);
                self.end_if_answered();
                if self.is_over() {
                    return Ok(());
                }
            }
            Ok(())
        })
    }

    fn is_answered(&self) -> bool {
        let wanted = self.requests.load(Ordering::Relaxed).saturating_mul(self.expected);
        self.responses.load(Ordering::Relaxed) >= wanted
    }

    fn end_if_answered(&self) {
        if self.is_answered() {
            self.end(OK);
        }
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// Ends it, unless it has ended already.
    fn end(&self, status: u16) {
        if !self.over.swap(true, Ordering::Relaxed) {
            self.running.lock().set_status(status);
            self.ended.notify_one();
        }
    }
}

/// Passes answers on until the session is over.
async fn answer(port: Arc<Port>, session: Arc<Session>) {
    let mut end = port.end.clone();
    let mut timeout = session.timeout;
    while !session.is_over() {
        let deadline = session.running.lock().traffic().last() + timeout;
        tokio::select! {
            () = session.ended.notified() => {}
            ready = session.upstream.ready(Interest::READABLE | Interest::ERROR) => {
                let taken = ready.and_then(|ready| {
                    session.check(ready)?;
                    session.take_answers(&port.socket)
                });
                if let Err(error) = taken {
                    tracing::debug!(client = %session.flow.client, %error, "an endpoint is gone");
                    session.end(BAD_GATEWAY);
                }
                task::yield_now().await;
            }
            () = sleep_until(deadline) => {
                if session.running.lock().traffic().last() + timeout <= tokio::time::Instant::now() {
                    session.end(if session.is_answered() { OK } else { BAD_GATEWAY });
                }
            }
            // The port's loop says it once, and is gone then.
            true = async { end.wait_for(Option::is_some).await.is_ok() }, if timeout > LAST_CHANCE => {
                timeout = LAST_CHANCE;
            }
        }
    }
    port.forget_if_over(&session);
}
