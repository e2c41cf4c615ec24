//! The writer: takes lines from all workers and writes them in batches.
//!
//! ```text
//!  workers --line--> buffer (bounded) --at 64 KiB or after 100 ms--> thread --> output
//! ```
//!
//! Workers only append to the buffer. While the output blocks, lines gather; beyond the bound they are dropped and
//! counted. What is in the buffer is written before the writer goes.

use std::cell::RefCell;
use std::io::{self, Write};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::format::Format;
use super::record::LogRecord;
use super::stream::{StreamFormat, StreamRecord};
use crate::config::AccessLogOutput;
use crate::metrics::Metrics;

/// A batch is written at this size, in bytes.
const BATCH: usize = 64 << 10;
/// Further lines are dropped while this many bytes wait.
const LIMIT: usize = 8 << 20;
/// No line waits longer than this for its batch.
const LONGEST_WAIT: Duration = Duration::from_millis(100);

/// Where finished requests are logged. Shared by all workers; writes what it holds when it is dropped.
#[derive(Debug)]
pub(crate) struct Writer {
    output: Output,
    metrics: Arc<Metrics>,
}

#[derive(Debug)]
enum Output {
    Off,
    Channel(mpsc::Sender<String>),
    Thread { queue: Arc<Queue>, thread: Option<JoinHandle<()>> },
}

/// What workers and the thread share.
#[derive(Debug, Default)]
struct Queue {
    state: Mutex<State>,
    /// Something for the thread to do: a first line, a full batch, a wish to flush or to stop.
    work: Condvar,
    /// A batch was written.
    written: Condvar,
}

#[derive(Debug, Default)]
struct State {
    lines: Vec<u8>,
    /// Lines that were taken in, and those of them that are written or lost.
    taken: u64,
    done: u64,
    hurry: bool,
    stop: bool,
}

thread_local! {
    static LINE: RefCell<String> = const { RefCell::new(String::new()) };
}

impl Writer {
    /// A writer to the configured output. `metrics` counts lost lines.
    ///
    /// # Errors
    ///
    /// When the thread can't be started.
    pub(crate) fn start(output: &AccessLogOutput, metrics: Arc<Metrics>) -> io::Result<Self> {
        match output {
            AccessLogOutput::Off => Ok(Self { output: Output::Off, metrics }),
            AccessLogOutput::Channel(sender) => Ok(Self { output: Output::Channel(sender.clone()), metrics }),
            AccessLogOutput::Stdout => Self::to(io::stdout(), metrics),
        }
    }

    /// A writer to any output.
    fn to(sink: impl Write + Send + 'static, metrics: Arc<Metrics>) -> io::Result<Self> {
        let queue = Arc::new(Queue::default());
        let (for_thread, lost) = (Arc::clone(&queue), Arc::clone(&metrics));
        let thread = std::thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || for_thread.drain_into(sink, &lost))?;
        Ok(Self { output: Output::Thread { queue, thread: Some(thread) }, metrics })
    }

    /// Logs a request. Never waits for the output.
    pub(crate) fn log(&self, format: &Format, record: &LogRecord<'_>) {
        self.write(|line| format.render(record, line));
    }

    /// Logs a TCP connection or UDP session. Never waits for the output.
    pub(crate) fn log_stream(&self, format: &StreamFormat, record: &StreamRecord<'_>) {
        self.write(|line| format.render(record, line));
    }

    fn write(&self, render: impl FnOnce(&mut String)) {
        if matches!(self.output, Output::Off) {
            return;
        }
        LINE.with_borrow_mut(|line| {
            line.clear();
            render(line);
            self.line(line);
        });
    }

    fn line(&self, line: &str) {
        match &self.output {
            Output::Off => {}
            Output::Channel(sender) => {
                if sender.send(line.to_owned()).is_err() {
                    self.metrics.log_lines_dropped(1);
                }
            }
            Output::Thread { queue, .. } => {
                if !queue.push(line) {
                    self.metrics.log_lines_dropped(1);
                }
            }
        }
    }

    /// Waits until every line that was logged before is written.
    pub(crate) fn flush(&self) {
        if let Output::Thread { queue, .. } = &self.output {
            queue.flush();
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if let Output::Thread { queue, thread } = &mut self.output {
            queue.state.lock().stop = true;
            queue.work.notify_one();
            if let Some(thread) = thread.take() {
                // It cannot panic; there is nobody left to tell if it did.
                let _ = thread.join();
            }
        }
    }
}

impl Queue {
    /// Takes a line in, unless too much waits already.
    fn push(&self, line: &str) -> bool {
        let mut state = self.state.lock();
        if state.lines.len() + line.len() >= LIMIT {
            return false;
        }
        let before = state.lines.len();
        state.lines.extend_from_slice(line.as_bytes());
        state.lines.push(b'\n');
        state.taken += 1;
        if before == 0 || (before < BATCH && BATCH <= state.lines.len()) {
            self.work.notify_one();
        }
        true
    }

    fn flush(&self) {
        let mut state = self.state.lock();
        let target = state.taken;
        while state.done < target {
            state.hurry = true;
            self.work.notify_one();
            self.written.wait(&mut state);
        }
    }

    /// The thread: writes batch after batch until it is told to stop and nothing is left.
    fn drain_into(&self, mut sink: impl Write, metrics: &Metrics) {
        let mut batch = Vec::with_capacity(BATCH);
        while let Some(taken) = self.next_batch(&mut batch) {
            let written = sink.write_all(&batch).and_then(|()| sink.flush());
            let mut state = self.state.lock();
            if written.is_err() {
                metrics.log_lines_dropped(taken - state.done);
            }
            state.done = taken;
            self.written.notify_all();
            drop(state);
            batch.clear();
        }
    }

    /// Waits for a batch. Returns how many lines were taken in up to its end; `None` once all is done.
    fn next_batch(&self, batch: &mut Vec<u8>) -> Option<u64> {
        let mut state = self.state.lock();
        while state.lines.is_empty() {
            if state.stop {
                return None;
            }
            self.work.wait(&mut state);
        }
        let deadline = Instant::now() + LONGEST_WAIT;
        while state.lines.len() < BATCH && !state.hurry && !state.stop {
            if self.work.wait_until(&mut state, deadline).timed_out() {
                break;
            }
        }
        state.hurry = false;
        std::mem::swap(&mut state.lines, batch);
        Some(state.taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::ConstantLabels;

    fn metrics() -> Arc<Metrics> {
        Arc::new(Metrics::new(&ConstantLabels::default(), None))
    }

    fn dropped(metrics: &Metrics) -> u64 {
        let text = metrics.encode();
        let line = text.lines().find(|line| line.starts_with("genkan_access_log_dropped_lines_total{")).unwrap();
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }

    /// An output that tests can read.
    #[derive(Clone, Debug, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_was_flushed_is_written_in_order() {
        let sink = Sink::default();
        let writer = Writer::to(sink.clone(), metrics()).unwrap();
        writer.line("one");
        writer.line("two");
        writer.flush();
        assert_eq!(sink.0.lock().as_slice(), b"one\ntwo\n");
    }

    #[test]
    fn nothing_is_lost_when_the_writer_goes() {
        let sink = Sink::default();
        let writer = Writer::to(sink.clone(), metrics()).unwrap();
        for number in 0..100_000 {
            writer.line(&number.to_string());
        }
        drop(writer);
        let written = String::from_utf8(sink.0.lock().clone()).unwrap();
        assert!(written.lines().map(|line| line.parse::<u32>().unwrap()).eq(0..100_000));
    }

    /// An output that blocks until its channel is closed.
    struct Stuck(mpsc::Receiver<()>);

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_stuck_output_costs_lines_but_blocks_nobody() {
        let (open, stuck) = mpsc::channel();
        let metrics = metrics();
        let writer = Writer::to(Stuck(stuck), Arc::clone(&metrics)).unwrap();
        let line = "x".repeat(1 << 20);
        for _ in 0..40 {
            writer.line(&line);
        }
        assert!(dropped(&metrics) >= 40 - 2 * 8, "{}", dropped(&metrics));
        drop(open);
        writer.flush();
    }

    #[test]
    fn lines_that_a_broken_output_refuses_are_counted() {
        struct Broken;
        impl Write for Broken {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let metrics = metrics();
        let writer = Writer::to(Broken, Arc::clone(&metrics)).unwrap();
        writer.line("one");
        writer.flush();
        writer.line("two");
        drop(writer);
        assert_eq!(dropped(&metrics), 2);
    }

    #[test]
    fn a_channel_gets_one_message_per_line() {
        let (sender, receiver) = mpsc::channel();
        let metrics = metrics();
        let writer = Writer::start(&AccessLogOutput::Channel(sender), Arc::clone(&metrics)).unwrap();
        writer.line("one");
        assert_eq!(receiver.recv().unwrap(), "one");
        drop(receiver);
        writer.line("two");
        assert_eq!(dropped(&metrics), 1);
    }
}
