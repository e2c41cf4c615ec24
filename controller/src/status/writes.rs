//! Writes that run, and what each of them writes: one that breaks off by a defect of ours is over as well, or what it
//! writes would be under way for ever.

use std::collections::HashMap;
use std::future::Future;

use tokio::task::{Id, JoinSet};

use super::failing::Failure;

/// Writes that run. `W` is what is written, `T` what a write that did not fail gives.
#[derive(Debug)]
pub(super) struct Writes<W, T> {
    tasks: JoinSet<Result<T, Failure>>,
    running: HashMap<Id, W>,
}

impl<W, T> Default for Writes<W, T> {
    fn default() -> Self {
        Self { tasks: JoinSet::new(), running: HashMap::new() }
    }
}

impl<W, T: Send + 'static> Writes<W, T> {
    /// Begins one.
    pub(super) fn begin(&mut self, write: W, task: impl Future<Output = Result<T, Failure>> + Send + 'static) {
        let task = self.tasks.spawn(task);
        self.running.insert(task.id(), write);
    }

    /// Waits for the next that ends; `None` when none runs. Who does not wait till then misses nothing.
    pub(super) async fn ended(&mut self) -> Option<(W, Result<T, Failure>)> {
        loop {
            let (id, outcome) = match self.tasks.join_next_with_id().await? {
                Ok(ended) => ended,
                Err(error) => (error.id(), Err(Failure::broken(&error))),
            };
            if let Some(write) = self.running.remove(&id) {
                return Some((write, outcome));
            }
        }
    }

    /// What is being written.
    pub(super) fn running(&self) -> impl ExactSizeIterator<Item = &W> {
        self.running.values()
    }

    /// Ends all of them.
    pub(super) async fn abandon(&mut self) {
        self.tasks.shutdown().await;
        self.running.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_write_ends_also_one_that_panics() {
        let mut writes = Writes::default();
        writes.begin("sound", async { Ok(1) });
        writes.begin("failed", async { Err(Failure::silent()) });
        writes.begin("broken", async { panic!("as in a test") });
        let mut ended = Vec::new();
        while let Some((write, outcome)) = writes.ended().await {
            ended.push((write, outcome.ok()));
        }
        ended.sort_unstable();
        assert_eq!(ended, [("broken", None), ("failed", None), ("sound", Some(1))]);
        assert_eq!(writes.running().len(), 0);
    }

    #[tokio::test]
    async fn writes_that_are_abandoned_end_nowhere() {
        let mut writes = Writes::<_, ()>::default();
        writes.begin("endless", std::future::pending());
        assert_eq!(writes.running().collect::<Vec<_>>(), [&"endless"]);
        writes.abandon().await;
        assert!(writes.ended().await.is_none() && writes.running().len() == 0);
    }
}
