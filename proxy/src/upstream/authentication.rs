//! Questions to services that say whether a request may pass: sent, and the answer read as a whole.

use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use hyper::body::Incoming;
use tokio::time::timeout_at;

use super::client::{CallBody, CallError, Client, Destination};
use super::mirror::next_frame;
use crate::filters::external_auth::{Answer, MOST_ANSWER, Question};

/// A question on its way.
#[derive(Debug)]
pub(crate) struct Call {
    /// Where it goes.
    pub(crate) destination: Destination,
    /// What is asked.
    pub(crate) question: Question,
    /// When nobody waits any longer.
    pub(crate) until: Instant,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    /// It did not come in time.
    #[error("no answer in time")]
    Timeout,
    /// More than anybody wants to read.
    #[error("the answer is larger than {MOST_ANSWER} bytes")]
    TooLarge,
    /// It could not be sent, or the connection broke.
    #[error(transparent)]
    Call(#[from] CallError),
}

impl AskError {
    /// Whether the service has certainly not seen the question.
    pub(crate) fn is_unseen(&self) -> bool {
        matches!(self, Self::Call(CallError::Connect(_) | CallError::ConnectTimeout))
    }
}

/// Asks, and waits for the answer.
pub(crate) async fn ask(client: &Arc<Client>, call: Call) -> Result<Answer, AskError> {
    timeout_at(call.until.into(), exchange(client, call)).await.map_err(|_| AskError::Timeout)?
}

async fn exchange(client: &Arc<Client>, call: Call) -> Result<Answer, AskError> {
    let Call { destination, question, .. } = call;
    let begun = Instant::now();
    let body = if question.body.is_empty() { CallBody::Empty } else { CallBody::Whole(question.body) };
    let (answer, used) = client.send(&destination, question.head, body).await?;
    destination.picked.observe(begun.elapsed(), Instant::now());
    let (head, body) = answer.into_parts();
    let (body, trailers) = read(body).await?;
    used.keep().await;
    Ok(Answer { head, body, trailers })
}

async fn read(mut body: Incoming) -> Result<(Bytes, HeaderMap), AskError> {
    let (mut read, mut trailers) = (BytesMut::new(), HeaderMap::new());
    while let Some(frame) = next_frame(&mut body).await {
        match frame.map_err(CallError::from)?.into_data() {
            Ok(part) if read.len() + part.len() > MOST_ANSWER => return Err(AskError::TooLarge),
            Ok(part) => read.extend_from_slice(&part),
            Err(other) => trailers.extend(other.into_trailers().unwrap_or_default()),
        }
    }
    Ok((read.freeze(), trailers))
}
