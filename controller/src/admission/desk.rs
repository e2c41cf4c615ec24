//! The desk: where the server's threads ask and the main loop answers.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::judge::Verdict;
use super::review::Review;
use crate::resources::Resources;

/// Questions that wait at most; the API server asks again.
const QUEUE: usize = 256;

/// Where to ask.
#[derive(Clone, Debug)]
pub struct Desk(mpsc::Sender<Question>);

/// The other side.
#[derive(Debug)]
pub struct Questions(mpsc::Receiver<Question>);

/// A review that waits for its verdict.
#[derive(Debug)]
pub struct Question {
    /// What is asked.
    pub review: Review,
    /// What was fetched for it: Secrets and ConfigMaps that only this Ingress refers to. `None` before anything was.
    pub lent: Option<Resources>,
    /// How long it was judged.
    pub spent: Duration,
    reply: oneshot::Sender<Answer>,
}

/// What becomes of a question.
#[derive(Debug)]
pub struct Answer {
    /// The verdict.
    pub verdict: Verdict,
    /// How many Ingresses were looked at.
    pub ingresses: usize,
    /// How long it was judged.
    pub spent: Duration,
}

/// A desk and its other side.
pub fn desk() -> (Desk, Questions) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    (Desk(sender), Questions(receiver))
}

impl Desk {
    /// Asks, and waits for the answer; `None` when nobody answers any more.
    pub async fn ask(&self, review: Review) -> Option<Answer> {
        let (reply, answer) = oneshot::channel();
        self.0.send(Question { review, lent: None, spent: Duration::ZERO, reply }).await.ok()?;
        answer.await.ok()
    }

    /// Asks once more, with what was fetched meanwhile.
    pub async fn ask_again(&self, question: Question) {
        // Without another side nobody waits for the answer either.
        let _ = self.0.send(question).await;
    }
}

impl Questions {
    /// The next question. Cancelling loses nothing; without anybody who asks it waits for ever.
    pub async fn next(&mut self) -> Question {
        match self.0.recv().await {
            Some(question) => question,
            None => std::future::pending().await,
        }
    }
}

impl Question {
    /// Answers it.
    pub fn answer(self, verdict: Verdict, ingresses: usize) {
        // Whoever asked may have given up.
        let _ = self.reply.send(Answer { verdict, ingresses, spent: self.spent });
    }
}
