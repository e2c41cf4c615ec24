//! Trouble: what keeps a task in the background from its work, told once in the log and at `/readyz` for as long as it
//! lasts. It makes nobody unready: what is served does not depend on it.
//!
//! Whoever reaches the admin port reads `/readyz`: names of objects and what the API server says, which has them too,
//! are for the log alone.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::sync::Arc;

use parking_lot::Mutex;

/// Different sentences that are remembered as told; beyond it some are told again.
const REMEMBERED: usize = 16;

/// What is wrong with a task, if anything. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Trouble(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    now: Option<String>,
    /// What was said since all was well, with its details.
    told: BTreeSet<(String, String)>,
}

impl Trouble {
    /// Says what is wrong, in words for everybody; `detail` is for the log. Gives whether it is news, and so to be
    /// logged: errors that take turns are told once each.
    pub fn set(&self, what: impl Into<String>, detail: &dyn Display) -> bool {
        let what = what.into();
        let mut state = self.0.lock();
        if state.told.len() >= REMEMBERED {
            state.told.clear();
        }
        let news = state.told.insert((what.clone(), detail.to_string()));
        state.now = Some(what);
        news
    }

    /// All is well.
    pub fn clear(&self) {
        *self.0.lock() = State::default();
    }

    /// What is wrong now.
    pub fn line(&self) -> Option<String> {
        self.0.lock().now.clone()
    }
}

/// The HTTP status of an error of the API server; 0 when there was none.
pub(crate) fn status(error: &kube::Error) -> u16 {
    if let kube::Error::Api(status) = error { status.code } else { 0 }
}

/// A status of [`status`] in words for everybody.
pub(crate) fn cause(status: u16) -> String {
    let how = if status == 0 { "no answer".to_owned() } else { format!("HTTP status {status}") };
    format!("{how}; the log says more")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_is_news_once_until_all_is_well() {
        let trouble = Trouble::default();
        assert_eq!(trouble.line(), None);
        assert!(trouble.set("forbidden", &"to me"));
        assert!(!trouble.set("forbidden", &"to me"));
        assert!(trouble.set("refused", &""));
        assert!(!trouble.set("forbidden", &"to me"));
        assert!(trouble.set("forbidden", &"to all"), "the log has not said so");
        assert_eq!(trouble.clone().line().as_deref(), Some("forbidden"));
        trouble.clear();
        assert_eq!(trouble.line(), None);
        assert!(trouble.set("forbidden", &"to me"));
    }
}
