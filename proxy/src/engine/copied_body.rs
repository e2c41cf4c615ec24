//! A request's body on its way to the copies of the request, however often it is sent to endpoints.

use bytes::Bytes;
use smallvec::SmallVec;

use crate::upstream::mirror::Tee;

/// Where a request's body is copied to. Every part is copied once, also when another attempt sends it again.
#[derive(Debug, Default)]
pub(super) struct CopiedBody {
    tees: SmallVec<[Tee; 1]>,
    /// Bytes that were copied.
    copied: usize,
    /// Bytes that passed in the current attempt.
    passed: usize,
}

impl FromIterator<Tee> for CopiedBody {
    fn from_iter<I: IntoIterator<Item = Tee>>(tees: I) -> Self {
        Self { tees: tees.into_iter().collect(), ..Self::default() }
    }
}

impl CopiedBody {
    /// What passes from now on begins with the body's first byte.
    pub(super) fn begin_attempt(&mut self) {
        self.passed = 0;
    }

    /// A part passes on its way to the endpoint.
    pub(super) fn pass(&mut self, part: Option<&Bytes>, end: bool) {
        if self.tees.is_empty() {
            return;
        }
        if let Some(part) = part {
            let known = self.copied.saturating_sub(self.passed).min(part.len());
            self.passed += part.len();
            self.copied = self.copied.max(self.passed);
            let new = part.slice(known..);
            if !new.is_empty() {
                self.tees.retain(|tee| tee.part(&new));
            }
        }
        if end {
            std::mem::take(&mut self.tees).into_iter().for_each(Tee::end);
        }
    }
}
