//! Failing: writes that failed and are still to be done, told once for each way in which they do.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::time::Duration;

use tokio::task::JoinError;

use crate::trouble::{self, Trouble};

/// How a write failed.
#[derive(Debug)]
pub(super) struct Failure {
    /// The HTTP status; 0 when there was no answer.
    pub(super) code: u16,
    pub(super) error: String,
    /// When to come again, if the API server said so.
    pub(super) retry_after: Option<Duration>,
}

/// Objects that differ from what they are to be and whose last write failed, and by which HTTP status.
#[derive(Debug)]
pub(super) struct Failing<K> {
    /// Whose statuses they are.
    of: &'static str,
    objects: BTreeMap<K, u16>,
    trouble: Trouble,
}

impl Failure {
    /// The API server did not answer in time.
    pub(super) fn silent() -> Self {
        Self { code: 0, error: "the API server does not answer".to_owned(), retry_after: None }
    }

    /// The write broke off by a defect of ours.
    pub(super) fn broken(error: &JoinError) -> Self {
        Self { code: 0, error: error.to_string(), retry_after: None }
    }

    /// Whether the API server has too much to do: then it would refuse others as well.
    pub(super) fn is_refusal_of_all(&self) -> bool {
        matches!(self.code, 429 | 503)
    }
}

impl From<kube::Error> for Failure {
    fn from(error: kube::Error) -> Self {
        let seconds = match &error {
            kube::Error::Api(status) => status.details.as_ref().map_or(0, |details| details.retry_after_seconds),
            _ => 0,
        };
        let retry_after = (seconds > 0).then(|| Duration::from_secs(seconds.into()));
        Self { code: trouble::status(&error), error: error.to_string(), retry_after }
    }
}

impl<K: Ord + Clone + Display> Failing<K> {
    /// Nothing fails; `of` says in the plural whose statuses these are.
    pub(super) fn new(of: &'static str) -> Self {
        Self { of, objects: BTreeMap::new(), trouble: Trouble::default() }
    }

    /// What is told to everybody.
    pub(super) fn trouble(&self) -> &Trouble {
        &self.trouble
    }

    /// What fails for one object fails for thousands, a missing right for example: it is told once.
    pub(super) fn failed(&mut self, object: &K, Failure { code, error, .. }: Failure) {
        let news = !self.objects.values().any(|known| *known == code);
        self.objects.insert(object.clone(), code);
        let count = self.objects.len();
        if news {
            tracing::warn!(%object, %error, "its status is not written; it will be tried again, as will others");
        } else {
            tracing::debug!(%object, %error, count, "its status is not written");
        }
        self.tell();
    }

    /// An object is as it is to be, or gone.
    pub(super) fn mended(&mut self, object: &K) {
        self.objects.remove(object);
        self.tell();
    }

    /// Forgets those that do not differ any more.
    pub(super) fn retain(&mut self, differs: impl Fn(&K) -> bool) {
        self.objects.retain(|object, _| differs(object));
        self.tell();
    }

    /// Says what is wrong now: how the first of those that fail does.
    fn tell(&self) {
        match self.objects.values().next() {
            // The log has it already.
            Some(code) => {
                let line = format!("statuses of {} are not written: {}", self.of, trouble::cause(*code));
                self.trouble.set(line, &"");
            }
            None => self.trouble.clear(),
        }
    }
}
