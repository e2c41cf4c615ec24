//! Access log: format text compiled once, one line per request, TCP connection or UDP session, written in batches.
//!
//! ```text
//!  AccessLog policy --Format::compile--> Format (in the table)
//!  request's end: LogRecord + Format --> line --> buffer of all workers --writer thread--> output
//! ```
//!
//! A request never waits for the output: when that is too slow, lines are dropped and counted.

mod clock;
mod escape;
mod format;
mod record;
mod stream;
mod variables;
mod writer;

pub(crate) use self::format::Format;
pub(crate) use self::record::{Attempt, LogRecord, RawRequestLine};
pub(crate) use self::stream::{StreamAttempt, StreamFormat, StreamRecord};
pub(crate) use self::writer::Writer;
