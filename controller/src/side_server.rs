//! A server beside the proxy: a listener, a thread and a runtime of its own, so that neither can starve the other.
//! The admin server and the admission webhook are such servers.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinSet;

/// Connections at the same time; more wait to be accepted.
const MAX_CONNECTIONS: usize = 128;

/// A running server. Dropping it ends it and its connections.
#[derive(Debug)]
pub(crate) struct SideServer {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl SideServer {
    /// Binds an address and gives each connection to `serve`, on a thread with this name. Errors are those of binding
    /// and of making the thread.
    pub(crate) fn start<Serve, Served>(name: &'static str, address: SocketAddr, serve: Serve) -> io::Result<Self>
    where
        Serve: Fn(TcpStream, SocketAddr) -> Served + Send + 'static,
        Served: Future<Output = ()> + Send + 'static,
    {
        let listener = std::net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let listener = {
            let _inside = runtime.enter();
            TcpListener::from_std(listener)?
        };
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = accept(name, listener, serve) => {}
                    _ = stopped => {}
                }
            });
        })?;
        Ok(Self { address, stop: Some(stop), thread: Some(thread) })
    }

    /// The address that is bound.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for SideServer {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic was told when it happened.
            let _ = thread.join();
        }
    }
}

async fn accept<Serve, Served>(name: &'static str, listener: TcpListener, serve: Serve)
where
    Serve: Fn(TcpStream, SocketAddr) -> Served,
    Served: Future<Output = ()> + Send + 'static,
{
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        // The semaphore is never closed.
        let Ok(permit) = permits.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, peer)) => {
                let served = serve(stream, peer);
                connections.spawn(async move {
                    let _permit = permit;
                    served.await;
                });
            }
            Err(error) => {
                // Out of descriptors, most likely; accepting again at once would spin.
                tracing::warn!(%error, "cannot accept a connection to the {name} server");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
}
