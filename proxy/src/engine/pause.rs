//! Waiting for something else than the client, without losing sight of it.

use std::time::Instant;

use pingora_core::protocols::http::ServerSession as HttpSession;
use pingora_core::{Error, ErrorType, Result};
use pingora_proxy::Session;

use super::stream::EngineStream;

/// Waits. An error says that the client went away meanwhile.
pub(super) async fn pause(session: &mut Session, until: Instant) -> Result<()> {
    tokio::select! {
        biased;
        () = tokio::time::sleep_until(until.into()) => Ok(()),
        gone = gone(session.as_downstream_mut()) => Err(gone),
    }
}

/// Resolves once the client went away. What it still sends of its body is left for the attempt.
pub(super) async fn gone(client: &mut HttpSession) -> Box<Error> {
    if client.is_body_done() {
        return match client.read_body_or_idle(true).await {
            Ok(_) => std::future::pending().await,
            Err(error) => error,
        };
    }
    if let Some(stream) = client.watch_h2_stream_close() {
        let _ = stream.await;
    } else {
        // The stream itself, not the box that it is in.
        let stream = client.as_http1().and_then(|client| (**client.stream()).as_any().downcast_ref::<EngineStream>());
        match stream {
            Some(stream) => stream.closed().await,
            None => std::future::pending().await,
        }
    }
    Error::new_down(ErrorType::ConnectionClosed)
}
