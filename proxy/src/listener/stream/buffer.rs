//! Bytes that have arrived and are not handed out yet.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};

/// Bytes of one read.
const READ: usize = 8192;

/// Bytes that have arrived and are not handed out yet.
#[derive(Debug, Default)]
pub(super) struct Buffer {
    bytes: Vec<u8>,
    /// What is handed out of `bytes` already.
    start: usize,
}

impl Buffer {
    pub(super) fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, start: 0 }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or_default()
    }

    pub(super) fn len(&self) -> usize {
        self.bytes().len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes().is_empty()
    }

    pub(super) fn add(&mut self, bytes: &[u8]) {
        if self.start > 0 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    pub(super) fn consume(&mut self, count: usize) {
        self.start = (self.start + count).min(self.bytes.len());
        if self.start == self.bytes.len() {
            self.bytes.clear();
            self.start = 0;
        }
    }

    /// Moves at most `limit` bytes to `out`; returns how many.
    pub(super) fn hand_out(&mut self, out: &mut ReadBuf<'_>, limit: usize) -> usize {
        let count = self.len().min(limit).min(out.remaining());
        out.put_slice(self.bytes().get(..count).unwrap_or_default());
        self.consume(count);
        count
    }

    /// Gives memory back when nothing is kept: idle connections are many.
    pub(super) fn shrink(&mut self) {
        if self.is_empty() {
            *self = Self::default();
        }
    }

    /// Reads once from `source`; 0 is its end.
    pub(super) fn poll_fill<T>(&mut self, cx: &mut Context<'_>, source: &mut T) -> Poll<io::Result<usize>>
    where
        T: AsyncRead + Unpin,
    {
        // Read into the stack first, so that a connection has no buffer of its own while it is idle.
        let mut space = [MaybeUninit::uninit(); READ];
        let mut read = ReadBuf::uninit(&mut space);
        ready!(Pin::new(source).poll_read(cx, &mut read))?;
        self.add(read.filled());
        Poll::Ready(Ok(read.filled().len()))
    }

    /// The first line without its end, at most `limit` bytes of it.
    pub(super) fn first_line(&self, limit: usize) -> &[u8] {
        let bytes = self.bytes();
        let begin = bytes.iter().position(|byte| !matches!(byte, b'\r' | b'\n')).unwrap_or(bytes.len());
        let line = bytes.get(begin..).unwrap_or_default();
        let end = line.iter().position(|byte| matches!(byte, b'\r' | b'\n')).unwrap_or(line.len());
        line.get(..end.min(limit)).unwrap_or_default()
    }
}
