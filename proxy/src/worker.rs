//! Workers: one thread each, with a single-threaded runtime, accept queues and upstream pools of its own.
//!
//! A connection lives and ends on the worker that accepted it, so a request wakes no other thread.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task;
use tokio::time::sleep;

use crate::engine::Engine;
use crate::l4;
use crate::listener::accept::{self, Stop};
use crate::listener::establish::{Accept, EstablishError, Established, establish};
use crate::listener::socket::PortSocket;
use crate::listener::table::PortKey;
use crate::shared::Shared;
use crate::upstream::checks;

/// How long a connection that has not sent its first request yet may still do so once the proxy shuts down.
const LAST_CHANCE: Duration = Duration::from_secs(2);

/// How often run-time state that nobody needs any more is forgotten, apart from publishing.
const TIDY_INTERVAL: Duration = Duration::from_secs(60);

/// A worker's thread. Dropping it cuts what still runs there, and waits for the thread's end.
#[derive(Debug)]
pub(crate) struct Worker {
    commands: Option<mpsc::UnboundedSender<Command>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
enum Command {
    Open(PortKey, PortSocket),
    /// Close these ports because nobody wants them any more, or all because the proxy shuts down.
    Close(Option<Vec<PortKey>>, oneshot::Sender<()>),
    CloseIdle(oneshot::Sender<()>),
}

/// The engine that serves new connections, last, and those that still serve older ones.
struct Engines {
    shared: Arc<Shared>,
    all: Mutex<Vec<Arc<Engine>>>,
}

/// An accept loop of this worker.
struct OpenPort {
    stop: oneshot::Sender<Stop>,
    task: task::JoinHandle<()>,
}

impl Worker {
    /// Starts a worker. `shutdown` becomes true when running requests are the last ones.
    pub(crate) fn start(index: usize, shared: Arc<Shared>, shutdown: watch::Receiver<bool>) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (commands, receiver) = mpsc::unbounded_channel();
        let thread = Builder::new().name(format!("worker-{index}")).spawn(move || {
            // One worker tidies up and asks for health for all.
            let _tidying = (index == 0).then(|| runtime.spawn(tidy(Arc::clone(&shared))));
            let _checking = (index == 0).then(|| runtime.spawn(checks::run(Arc::clone(&shared))));
            runtime.block_on(run(receiver, shared, shutdown));
        })?;
        Ok(Self { commands: Some(commands), thread: Some(thread) })
    }

    /// Accepts or receives at a socket.
    pub(crate) fn open(&self, port: PortKey, socket: PortSocket) {
        self.send(Command::Open(port, socket));
    }

    /// Takes what waits at these ports, or at all when the proxy shuts down, and closes them; the receiver is resolved
    /// when that is done.
    pub(crate) fn close(&self, ports: Option<Vec<PortKey>>) -> oneshot::Receiver<()> {
        let (done, receiver) = oneshot::channel();
        self.send(Command::Close(ports, done));
        receiver
    }

    /// Closes connections that wait for a next request.
    pub(crate) fn close_idle(&self) -> oneshot::Receiver<()> {
        let (done, receiver) = oneshot::channel();
        self.send(Command::CloseIdle(done));
        receiver
    }

    fn send(&self, command: Command) {
        // A worker lives as long as its sender; if its thread is gone all the same, so are its connections.
        if let Some(commands) = &self.commands {
            let _ = commands.send(command);
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.commands = None;
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("a worker panicked");
        }
    }
}

impl Engines {
    fn new(shared: &Arc<Shared>) -> Arc<Self> {
        Arc::new(Self { shared: Arc::clone(shared), all: Mutex::default() })
    }

    /// The engine for a new connection: another one once a setting has changed that engines are made with.
    fn current(&self) -> Arc<Engine> {
        let mut all = self.all.lock();
        if let Some(engine) = all.last().filter(|engine| !engine.is_outdated()) {
            return Arc::clone(engine);
        }
        all.retain(|engine| Arc::strong_count(engine) > 1);
        let engine = Arc::new(Engine::new(Arc::clone(&self.shared)));
        all.push(Arc::clone(&engine));
        engine
    }

    async fn close_idle(&self) {
        let all = self.all.lock().clone();
        for engine in all {
            engine.close_idle().await;
        }
    }
}

async fn run(mut commands: mpsc::UnboundedReceiver<Command>, shared: Arc<Shared>, shutdown: watch::Receiver<bool>) {
    let engines = Engines::new(&shared);
    let mut ports: HashMap<PortKey, OpenPort> = HashMap::new();
    while let Some(command) = commands.recv().await {
        match command {
            Command::Open(port, PortSocket::Tcp(listener)) => match TcpListener::from_std(listener) {
                Ok(listener) => {
                    ports.insert(port.clone(), accept_at(listener, port, &shared, &engines, &shutdown));
                }
                Err(error) => tracing::error!(?port, %error, "a worker can't accept at a port"),
            },
            Command::Open(port, PortSocket::Udp(socket)) => {
                let (stop, stopped) = oneshot::channel();
                let task = task::spawn(l4::udp::run(socket, port.clone(), Arc::clone(&shared), stopped));
                ports.insert(port, OpenPort { stop, task });
            }
            Command::Close(which, done) => {
                let why = if which.is_some() { Stop::Removed } else { Stop::Drained };
                let which = which.unwrap_or_else(|| ports.keys().cloned().collect());
                close(which.iter().filter_map(|port| ports.remove(port)).collect(), why).await;
                // Nobody waits any more, which changes nothing.
                let _ = done.send(());
            }
            Command::CloseIdle(done) => {
                engines.close_idle().await;
                let _ = done.send(());
            }
        }
    }
}

/// Lets limiters forget clients that have not been seen for a while.
async fn tidy(shared: Arc<Shared>) {
    loop {
        sleep(TIDY_INTERVAL).await;
        shared.table.load().evict(Instant::now());
    }
}

fn accept_at(
    listener: TcpListener,
    port: PortKey,
    shared: &Arc<Shared>,
    engines: &Arc<Engines>,
    shutdown: &watch::Receiver<bool>,
) -> OpenPort {
    let (stop, stopped) = oneshot::channel();
    let (for_requests, engines, shutdown) = (Arc::clone(shared), Arc::clone(engines), shutdown.clone());
    let serve = move |accept: Accept| match accept.entrance.stream.clone() {
        Some(stream) => drop(task::spawn(l4::tcp::serve(accept, stream, Arc::clone(&for_requests)))),
        None => drop(task::spawn(serve(accept, Arc::clone(&for_requests), engines.current(), shutdown.clone()))),
    };
    let task = task::spawn(accept::run(listener, port, Arc::clone(shared), stopped, serve));
    OpenPort { stop, task }
}

/// Stops the loops of ports, and waits until they have taken what was in their queues.
async fn close(ports: Vec<OpenPort>, why: Stop) {
    let tasks: Vec<_> = ports
        .into_iter()
        .map(|OpenPort { stop, task }| {
            // A loop that is gone has nothing to stop.
            let _ = stop.send(why);
            task
        })
        .collect();
    for task in tasks {
        if let Err(error) = task.await {
            tracing::error!(%error, "an accept loop panicked");
        }
    }
}

/// A connection's whole life. The engine gets it when there is a request to serve, so a silent one costs little, and
/// whatever the engine closes as idle has been served before.
async fn serve(accept: Accept, shared: Arc<Shared>, engine: Arc<Engine>, mut shutdown: watch::Receiver<bool>) {
    let peer = accept.peer;
    let for_engine = shutdown.clone();
    let first_request = async {
        match establish(accept, Arc::clone(&shared)).await? {
            Established::Client(mut stream) => Ok(stream.ready().await.then_some(Established::Client(stream))),
            passage @ Established::Passage(_) => Ok(Some(passage)),
        }
    };
    let last_chance = async {
        // The sender lives as long as the workers.
        let _ = shutdown.wait_for(|shut_down| *shut_down).await;
        sleep(LAST_CHANCE).await;
    };
    let established: Result<_, EstablishError> = tokio::select! {
        established = first_request => established,
        () = last_chance => return,
    };
    match established {
        Ok(Some(Established::Client(stream))) => engine.serve(stream, for_engine).await,
        // As a task of its own, so that neither is this one made for it nor the engine kept.
        Ok(Some(Established::Passage(passage))) => drop(task::spawn(l4::tcp::pass_through(*passage, shared))),
        Ok(None) => {}
        Err(error) => tracing::debug!(%peer, %error, "a connection ended before its first request"),
    }
}
