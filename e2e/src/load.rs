//! Load: requests again and again, on threads of their own, while a test changes things.

use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::http1::{Client, Failure};

/// Between two requests of one client: leaves others some of two slow cores. It decides nothing.
const PAUSE: Duration = Duration::from_millis(5);

/// What load does until it is told to end. Clones share it.
#[derive(Clone, Default)]
pub struct Load {
    over: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
}

/// Requests to one host. See [`Requests::finish`].
pub struct Requests {
    load: Load,
    failures: Arc<Mutex<Vec<String>>>,
    thread: JoinHandle<u64>,
}

impl Load {
    /// Does `once` again and again on a thread of its own. Gives how often.
    pub fn run(&self, mut once: impl FnMut(u64) + Send + 'static) -> JoinHandle<u64> {
        let load = self.clone();
        thread::spawn(move || {
            let mut count = 0;
            while !load.is_over() {
                once(count);
                thread::sleep(PAUSE);
                count += 1;
                load.count();
            }
            count
        })
    }

    /// Whether it is to end.
    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// Counts one more.
    pub fn count(&self) {
        self.done.fetch_add(1, Ordering::Relaxed);
    }

    /// How many were done.
    pub fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// Tells it to end.
    pub fn end(&self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

impl Requests {
    /// Asks `host` for `/` over a kept connection to whatever address `address` gives when one is opened. Anything but
    /// 200 is a failure, and so is a connection that can't be opened or breaks in an answer. A kept connection that
    /// ended before an answer is replaced, as by any client.
    pub fn start(host: &str, mut address: impl FnMut() -> SocketAddr + Send + 'static) -> Self {
        let (load, failures, host) = (Load::default(), Arc::<Mutex<Vec<String>>>::default(), host.to_owned());
        let told = failures.clone();
        let mut kept: Option<Client<TcpStream>> = None;
        let thread = load.run(move |_| {
            if let Err(failure) = once(&mut kept, &host, &mut address) {
                kept = None;
                told.lock().unwrap().push(failure);
            }
        });
        Self { load, failures, thread }
    }

    /// How many were answered or failed so far.
    pub fn done(&self) -> u64 {
        self.load.done()
    }

    /// Ends it. Fails if a request failed, or there was none.
    pub fn finish(self) {
        self.load.end();
        let count = self.thread.join().unwrap();
        let failures = self.failures.lock().unwrap();
        assert!(count > 0, "no request was made");
        assert!(failures.is_empty(), "{} of {count} requests failed, the first: {}", failures.len(), failures[0]);
    }
}

fn once(
    kept: &mut Option<Client<TcpStream>>,
    host: &str,
    address: &mut impl FnMut() -> SocketAddr,
) -> Result<(), String> {
    let answer = match kept.as_mut().map(|client| client.get(host, "/")) {
        Some(Err(Failure::Unanswered)) | None => {
            let at = address();
            let client = Client::connect(at).map_err(|error| format!("{at} can't be connected to: {error}"))?;
            kept.insert(client).get(host, "/")
        }
        Some(outcome) => outcome,
    };
    match answer {
        Ok(answer) if answer.status == 200 => {
            if answer.closes() {
                *kept = None;
            }
            Ok(())
        }
        Ok(answer) => Err(format!("{answer:?}")),
        Err(failure) => Err(format!("{failure:?}")),
    }
}
