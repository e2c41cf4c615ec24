//! Questions to services that say whether a request may pass: sent, and the answer read as a whole.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use hyper::body::Incoming;
use tokio::time::timeout_at;

use super::balance::Balancer;
use super::client::{CallBody, CallError, Client, Destination};
use super::health::Outcome;
use super::mirror::next_frame;
use crate::filters::external_auth::{Answer, MOST_ANSWER, Question};

/// A question on its way.
#[derive(Debug)]
pub(crate) struct Call {
    /// Where it goes.
    pub(crate) destination: Destination,
    /// Whoever chose the endpoint, and is told what became of it.
    pub(crate) balancer: Arc<Balancer>,
    /// What is asked.
    pub(crate) question: Question,
    /// When nobody waits any longer.
    pub(crate) until: Instant,
    /// How long the service may take; what the request itself may take can leave less.
    pub(crate) limit: Duration,
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
    let begun = Instant::now();
    let answer = timeout_at(call.until.into(), exchange(client, &call)).await.unwrap_or(Err(AskError::Timeout));
    let now = Instant::now();
    let outcome = match &answer {
        Ok(answer) => Some(Outcome::Status(answer.head.status.as_u16())),
        // Who had less than half of its time is not to blame.
        Err(AskError::Timeout) => ((now - begun) * 2 >= call.limit).then_some(Outcome::Failed),
        Err(AskError::TooLarge | AskError::Call(CallError::Request(_))) => None,
        Err(AskError::Call(_)) => Some(Outcome::Failed),
    };
    if let Some(outcome) = outcome {
        call.balancer.note(&call.destination.picked, outcome, now);
    }
    answer
}

async fn exchange(client: &Arc<Client>, call: &Call) -> Result<Answer, AskError> {
    let Call { destination, question, .. } = call;
    let begun = Instant::now();
    let body = || if question.body.is_empty() { CallBody::Empty } else { CallBody::Whole(question.body.clone()) };
    let (answer, used) = match client.send(destination, question.head.clone(), body()).await {
        // A question changes nothing, so that it may be asked twice.
        Err(CallError::Stale(_)) => client.send_anew(destination, question.head.clone(), body()).await?,
        sent => sent?,
    };
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
