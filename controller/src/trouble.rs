//! Trouble: what keeps a task in the background from its work, told once in the log and at `/readyz` for as long as it
//! lasts. It makes nobody unready: what is served does not depend on it.

use std::collections::BTreeSet;
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
    /// What was said since all was well.
    told: BTreeSet<String>,
}

impl Trouble {
    /// Says what is wrong. Gives whether it is news, and so for the log: errors that take turns are told once each.
    pub fn set(&self, what: impl Into<String>) -> bool {
        let what = what.into();
        let mut state = self.0.lock();
        if state.told.len() >= REMEMBERED {
            state.told.clear();
        }
        let news = state.told.insert(what.clone());
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_is_news_once_until_all_is_well() {
        let trouble = Trouble::default();
        assert_eq!(trouble.line(), None);
        assert!(trouble.set("forbidden"));
        assert!(!trouble.set("forbidden"));
        assert!(trouble.set("refused"));
        assert!(!trouble.set("forbidden"));
        assert_eq!(trouble.clone().line().as_deref(), Some("forbidden"));
        trouble.clear();
        assert_eq!(trouble.line(), None);
        assert!(trouble.set("forbidden"));
    }
}
