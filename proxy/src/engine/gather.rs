//! Gathered writes: small ones wait for the next or for a flush, a large one takes them along.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use smallvec::SmallVec;
use tokio::io::AsyncWrite;

/// The most bytes that wait: a usual head with a small body.
const MOST: usize = 4096;

/// Bytes that were accepted and not written yet. Has no buffer while nothing waits: idle connections are many.
#[derive(Debug, Default)]
pub(super) struct Gather {
    waiting: Vec<u8>,
    /// Whether `waiting` was seen as it is.
    seen: bool,
}

impl Gather {
    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether this was asked before since the last write.
    pub(super) fn was_seen(&mut self) -> bool {
        std::mem::replace(&mut self.seen, true)
    }

    /// Takes bytes of `bufs`, at least one unless there is none; returns how many. What is too much to wait goes out
    /// together with what waits.
    pub(super) fn poll_write<T>(
        &mut self,
        cx: &mut Context<'_>,
        out: &mut T,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>>
    where
        T: AsyncWrite + Unpin,
    {
        self.seen = false;
        let length: usize = bufs.iter().map(|buf| buf.len()).sum();
        loop {
            if self.waiting.len() + length <= MOST {
                self.waiting.reserve(length);
                bufs.iter().for_each(|buf| self.waiting.extend_from_slice(buf));
                return Poll::Ready(Ok(length));
            }
            if self.waiting.is_empty() {
                return Pin::new(out).poll_write_vectored(cx, bufs);
            }
            let written = {
                let waiting = std::iter::once(IoSlice::new(&self.waiting));
                let together: SmallVec<[IoSlice<'_>; 4]> =
                    waiting.chain(bufs.iter().map(|buf| IoSlice::new(buf))).collect();
                ready!(Pin::new(&mut *out).poll_write_vectored(cx, &together))?
            };
            let before = self.waiting.len();
            self.written(written)?;
            if written > before {
                return Poll::Ready(Ok(written - before));
            }
        }
    }

    /// Writes all that waits.
    pub(super) fn poll_drain<T>(&mut self, cx: &mut Context<'_>, out: &mut T) -> Poll<io::Result<()>>
    where
        T: AsyncWrite + Unpin,
    {
        while !self.waiting.is_empty() {
            let written = ready!(Pin::new(&mut *out).poll_write(cx, &self.waiting))?;
            self.written(written)?;
        }
        Poll::Ready(Ok(()))
    }

    /// Forgets what was written of the waiting bytes.
    fn written(&mut self, count: usize) -> io::Result<()> {
        if count == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        if count < self.waiting.len() {
            self.waiting.drain(..count);
        } else {
            self.waiting = Vec::new();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Takes at most so many bytes at a time, and none every other time.
    #[derive(Default)]
    struct Slow {
        at_most: usize,
        taken: Vec<u8>,
        calls: usize,
        busy: bool,
    }

    impl AsyncWrite for Slow {
        fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
            self.poll_write_vectored(cx, &[IoSlice::new(buf)])
        }

        fn poll_write_vectored(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bufs: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            let this = self.get_mut();
            this.busy = !this.busy && this.at_most != usize::MAX;
            if this.busy {
                return Poll::Pending;
            }
            this.calls += 1;
            let all: Vec<u8> = bufs.iter().flat_map(|buf| buf.iter().copied()).take(this.at_most).collect();
            this.taken.extend_from_slice(&all);
            Poll::Ready(Ok(all.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn write_all(gather: &mut Gather, out: &mut Slow, mut bytes: &[u8]) {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        while !bytes.is_empty() {
            let (first, second) = bytes.split_at(bytes.len() / 2);
            if let Poll::Ready(taken) = gather.poll_write(&mut cx, out, &[IoSlice::new(first), IoSlice::new(second)]) {
                bytes = &bytes[taken.unwrap()..];
            }
        }
    }

    fn drain(gather: &mut Gather, out: &mut Slow) {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        while gather.poll_drain(&mut cx, out).map(Result::unwrap).is_pending() {}
    }

    #[test]
    fn a_head_and_a_small_body_are_one_write() {
        let (mut gather, mut out) = (Gather::default(), Slow { at_most: usize::MAX, ..Slow::default() });
        write_all(&mut gather, &mut out, b"head");
        write_all(&mut gather, &mut out, b"body");
        assert_eq!(out.calls, 0);
        drain(&mut gather, &mut out);
        assert_eq!((out.calls, out.taken.as_slice()), (1, &b"headbody"[..]));
        assert_eq!(gather.waiting.capacity(), 0);
    }

    #[test]
    fn a_large_body_takes_its_head_along() {
        let (mut gather, mut out) = (Gather::default(), Slow { at_most: usize::MAX, ..Slow::default() });
        write_all(&mut gather, &mut out, b"head");
        write_all(&mut gather, &mut out, &[b'x'; 2 * MOST]);
        assert_eq!((out.calls, out.taken.len()), (1, 4 + 2 * MOST));
    }

    #[test]
    fn a_write_makes_what_waits_new_again() {
        let (mut gather, mut out) = (Gather::default(), Slow::default());
        write_all(&mut gather, &mut out, b"a");
        assert_eq!((gather.was_seen(), gather.was_seen()), (false, true));
        write_all(&mut gather, &mut out, b"b");
        assert!(!gather.was_seen());
    }

    proptest! {
        #[test]
        fn every_byte_arrives_once_and_in_order(
            lengths in prop::collection::vec(0..3 * MOST, 0..6),
            at_most in 1..2 * MOST,
        ) {
            let (mut gather, mut out) = (Gather::default(), Slow { at_most, ..Slow::default() });
            let mut sent = Vec::new();
            for (place, length) in lengths.into_iter().enumerate() {
                let part: Vec<u8> = (0..length).map(|index| (index % 251 + place) as u8).collect();
                write_all(&mut gather, &mut out, &part);
                sent.extend(part);
            }
            drain(&mut gather, &mut out);
            prop_assert_eq!(out.taken, sent);
        }
    }
}
