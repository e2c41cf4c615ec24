//! Accepting: one loop per port and worker, which ends only when its port is closed.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::time::sleep;

use super::establish::Accept;
use super::table::PortKey;
use crate::shared::Shared;

/// How long accepting pauses when the process is out of descriptors or memory. The connections wait in the queue.
pub(crate) const PAUSE: Duration = Duration::from_millis(100);

/// Why a port is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// No listener has it any more.
    Removed,
    /// The proxy shuts down.
    Drained,
}

/// Accepts until `stop`, then takes what still waits in the queue and closes the socket, so that no connection that was
/// made is reset.
pub(crate) async fn run(
    listener: TcpListener,
    port: PortKey,
    shared: Arc<Shared>,
    mut stop: oneshot::Receiver<Stop>,
    serve: impl Fn(Accept),
) {
    let hand_over = |tcp, peer| {
        if let Some(accept) = admit(&shared, &port, tcp, peer) {
            serve(accept);
        }
    };
    loop {
        tokio::select! {
            biased;
            // An error means that the worker is gone, and this port with it.
            _ = &mut stop => break,
            accepted = listener.accept() => match accepted {
                Ok((tcp, peer)) => hand_over(tcp, peer),
                Err(error) => recover(&port, &error).await,
            },
        }
    }
    match listener.into_std() {
        Ok(listener) => take_queue(&listener, &port, hand_over),
        Err(error) => tracing::warn!(?port, %error, "a port's queue can't be emptied"),
    }
}

/// Counts a connection, unless it is not for this port or there are too many: then it is closed at once.
fn admit(shared: &Shared, port: &PortKey, tcp: TcpStream, peer: SocketAddr) -> Option<Accept> {
    let table = shared.table.load_full();
    if table.listeners.is_for_others(port, || Some(tcp.local_addr().ok()?.ip())) {
        tracing::debug!(%peer, ?port, "a connection came to an address that is others' own");
        return None;
    }
    let limit = table.snapshot.model().settings.client.max_connections;
    // A port is closed before the table without it is published.
    let entrance = Arc::clone(table.listeners.entrance(port)?);
    let at_listener = (&entrance.open, entrance.limit.unwrap_or(usize::MAX));
    let Some(open) = shared.open_connection(usize::try_from(limit).unwrap_or(usize::MAX), at_listener) else {
        tracing::debug!(%peer, limit, at_listener = entrance.limit, "a connection is over the limit");
        return None;
    };
    Some(Accept { tcp, open, table, entrance, peer })
}

/// Takes the connections that were made before the port was closed.
fn take_queue(listener: &StdListener, port: &PortKey, hand_over: impl Fn(TcpStream, SocketAddr)) {
    loop {
        match listener.accept().and_then(|(tcp, peer)| {
            tcp.set_nonblocking(true)?;
            Ok((TcpStream::from_std(tcp)?, peer))
        }) {
            Ok((tcp, peer)) => hand_over(tcp, peer),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(?port, %error, "a port's queue can't be emptied");
                return;
            }
        }
    }
}

/// Whether only the connection that was to be accepted is lost; accept(2) reports its errors as ours.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
        || matches!(
            error.raw_os_error(),
            Some(
                libc::EPERM | libc::EPROTO | libc::ENETDOWN | libc::ENETUNREACH | libc::EHOSTDOWN | libc::EHOSTUNREACH
            )
        )
}

async fn recover(port: &PortKey, error: &io::Error) {
    if !is_of_one_connection(error) {
        tracing::warn!(?port, %error, "accepting pauses");
        sleep(PAUSE).await;
    }
}
