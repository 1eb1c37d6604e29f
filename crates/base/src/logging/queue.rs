//! The lines of a server between those who log and the one thread that writes them: whoever logs never waits for whoever reads.
//!
//! Owns: the lines that wait, the loss where their room is full, the thread. Does not own: how a line looks.
//!
//! ```text
//!  push ─▶ waiting, 128 KiB ── the thread takes all of it ──▶ standard error: a pipe (64 KiB), a terminal, a file
//!            └ full: lost and counted, and so is what comes then, until the thread takes what waits: the note stands where lines are missing
//! ```
//! What the thread has taken is as much again, so that a log of which nobody reads a word costs 256 KiB and no more. How it ends: with the process,
//! which gives it a moment to write what it has ([`Queue::is_written_within`]).
//!
//! Alternative: `tracing-appender`. Its queue is bounded by lines and not by bytes, the log does not tell what it lost, nothing can wait for a panic's
//! words to be written, and at the end it gives up all that waits where its queue is full, which it tells on standard output.

use std::io::{self, Write};
use std::mem;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;

use crate::clock::{Clock as _, SystemClock};

/// Bytes of lines that may wait: some 600 lines, at the level `info` what a busy server says in minutes.
const ROOM: usize = 128 << 10;
/// What is kept of a buffer that has grown: there are two processes for each camera of a cluster, and they say little.
const KEPT: usize = 4 << 10;
/// Where the reader's room is full and writing does not wait for it, it is tried so often.
const AGAIN: Duration = Duration::from_millis(20);
/// The thread's stack. It is touched where it is used: by some KiB, and where the note is made by some more.
const STACK: usize = 256 << 10;

#[derive(Debug, Default)]
struct State {
    /// Whole lines, in their order.
    waiting: Vec<u8>,
    /// Lines that would stand behind them.
    lost: u64,
    /// The thread writes what it took.
    writing: bool,
}

impl State {
    fn is_written(&self) -> bool {
        self.waiting.is_empty() && !self.writing
    }
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// Something waits.
    filled: Condvar,
    /// Nothing waits, and nothing is being written.
    written: Condvar,
    lost: Counter,
}

/// Takes lines. Clones are the same queue; by default there is no thread, and they wait.
#[derive(Debug, Clone, Default)]
pub(super) struct Queue(Arc<Shared>);

impl Queue {
    /// Starts the thread, which writes to `out`. `lost` counts lines; `note` makes the line that tells how many nobody read for how long.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub(super) fn start(
        out: impl Write + Send + 'static,
        lost: Counter,
        note: impl Fn(u64, Duration) -> Vec<u8> + Send + 'static,
    ) -> io::Result<Self> {
        let queue = Self(Arc::new(Shared {
            lost,
            ..Shared::default()
        }));
        let writing = queue.clone();
        thread::Builder::new()
            .name("log".to_owned())
            .stack_size(STACK)
            .spawn(move || writing.write_on(out, note))?;
        Ok(queue)
    }

    /// Adds a line, with its end. Never waits: where there is no room it is lost. A line that is longer than all the room has it for itself.
    pub(super) fn push(&self, line: &[u8]) {
        let mut state = self.state();
        let is_full = !state.waiting.is_empty() && state.waiting.len() + line.len() > ROOM;
        // A short one that would fit again comes after the lost ones, and so would stand before their note.
        if is_full || state.lost > 0 {
            state.lost += 1;
            self.0.lost.inc();
            return;
        }
        let sleeps = state.is_written();
        state.waiting.extend_from_slice(line);
        drop(state);
        if sleeps {
            self.0.filled.notify_one();
        }
    }

    /// Waits until everything is written, for so long at most; whether it is.
    pub(super) fn is_written_within(&self, patience: Duration) -> bool {
        let waited = self
            .0
            .written
            .wait_timeout_while(self.state(), patience, |state| !state.is_written());
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.is_written()
    }

    /// Takes what waits, where there is no thread.
    pub(super) fn taken(&self) -> Vec<u8> {
        mem::take(&mut self.state().waiting)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_on(&self, mut out: impl Write, note: impl Fn(u64, Duration) -> Vec<u8>) {
        let mut lines = Vec::new();
        let mut took = Duration::ZERO;
        loop {
            let lost = self.take(&mut lines);
            let begun = SystemClock.monotonic();
            self.write_lines(&mut out, &lines);
            if lost > 0 {
                // They were lost while the lines before these were written.
                self.write_lines(&mut out, &note(lost, took));
            }
            took = SystemClock.monotonic().saturating_duration_since(begun);
        }
    }

    /// Waits for lines and takes them all; how many were lost behind them.
    fn take(&self, lines: &mut Vec<u8>) -> u64 {
        lines.clear();
        lines.shrink_to(KEPT);
        let mut state = self.state();
        state.writing = false;
        if state.is_written() {
            self.0.written.notify_all();
        }
        let filled = self
            .0
            .filled
            .wait_while(state, |state| state.waiting.is_empty());
        let mut state = filled.unwrap_or_else(PoisonError::into_inner);
        state.writing = true;
        mem::swap(&mut state.waiting, lines);
        mem::take(&mut state.lost)
    }

    /// Each line by one write, so that it stays whole beside what a child process writes into the same pipe.
    fn write_lines(&self, out: &mut impl Write, lines: &[u8]) {
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            if write_line(out, line).is_err() {
                self.0.lost.inc();
            }
        }
    }
}

/// Writes all of it. Whoever holds the other descriptors of the same pipe or terminal can have made it one that does not wait (a shell, a supervisor): then
/// the thread waits, as it would at any other.
#[expect(
    clippy::disallowed_methods,
    reason = "this thread has nothing else to do, and ends with its process"
)]
fn write_line(out: &mut impl Write, mut line: &[u8]) -> io::Result<()> {
    while !line.is_empty() {
        match out.write(line) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => line = line.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(AGAIN),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// As the subscriber writes: an event at a time.
impl Write for Queue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead as _, BufReader, PipeReader, pipe};
    use std::os::unix::net::UnixStream;

    /// Nothing takes so long, unless the machine is drowning.
    const SOON: Duration = Duration::from_secs(60);

    struct Log {
        queue: Queue,
        lost: Counter,
        reader: BufReader<PipeReader>,
        pushed: u64,
        read: u64,
    }

    impl Log {
        fn new() -> Self {
            let (reader, writer) = pipe().expect("a pipe");
            let lost = Counter::default();
            let note = |lost: u64, _: Duration| format!("{lost} lost\n").into_bytes();
            Self {
                queue: Queue::start(writer, lost.clone(), note).expect("a thread"),
                lost,
                reader: BufReader::new(reader),
                pushed: 0,
                read: 0,
            }
        }

        /// Logs one line more: its number, and so many letters.
        fn push(&mut self, letters: usize) {
            let line = format!("line {} {}\n", self.pushed, "x".repeat(letters));
            self.queue.push(line.as_bytes());
            self.pushed += 1;
        }

        /// Logs until so many are lost.
        fn overflow(&mut self, lost: u64) {
            while self.lost.get() < lost {
                self.push(200);
            }
        }

        /// Reads all that was logged: each line is whole and has its place, and a note stands for each that is missing. How many are.
        fn read(&mut self) -> u64 {
            let mut missing = 0;
            while self.read < self.pushed {
                let mut line = String::new();
                self.reader.read_line(&mut line).expect("readable");
                if let Some(lost) = line.strip_suffix(" lost\n") {
                    let lost: u64 = lost.parse().expect("a number");
                    self.read += lost;
                    missing += lost;
                    continue;
                }
                let number = format!("line {} x", self.read);
                assert!(line.starts_with(&number), "{number}: {line}");
                assert!(line.ends_with("x\n"), "{line}");
                self.read += 1;
            }
            missing
        }
    }

    #[test]
    fn a_pipe_that_nobody_reads_holds_up_nobody_and_the_lost_lines_are_told_in_their_place() {
        let mut log = Log::new();
        for round in 1..=3 {
            let before = log.lost.get();
            // It returns, although nobody reads.
            log.overflow(before + 5);
            let missing = log.read();
            assert_eq!(missing, log.lost.get() - before, "round {round}");
            log.push(7);
            assert_eq!(log.read(), 0, "it goes on");
        }
    }

    #[test]
    fn a_short_line_does_not_overtake_the_note_of_a_long_one_that_was_lost() {
        let mut log = Log::new();
        log.overflow(1);
        // The room that is left takes no line of 200 letters, but one of these.
        for letters in [1, 200, 1] {
            log.push(letters);
        }
        assert_eq!(log.read(), log.lost.get());
    }

    #[test]
    fn what_waits_is_bounded_and_given_back() {
        let mut log = Log::new();
        log.overflow(1);
        assert!(log.queue.state().waiting.len() <= ROOM);
        log.read();
        // Two lines, each taken by itself: both buffers were in the thread's hands.
        for _ in 0..2 {
            log.push(1);
            log.read();
            assert!(log.queue.is_written_within(SOON));
        }
        let kept = log.queue.state().waiting.capacity();
        assert!(kept <= KEPT, "{kept}");
    }

    #[test]
    fn a_line_that_is_longer_than_the_room_is_written() {
        let mut log = Log::new();
        log.push(ROOM + 1);
        assert_eq!(log.read(), 0);
    }

    /// A shell or a supervisor holds the other end's descriptors, and can make it so.
    #[test]
    fn a_log_whose_writes_do_not_wait_loses_nothing_and_tears_no_line() {
        let (reader, writer) = UnixStream::pair().expect("a pair");
        writer.set_nonblocking(true).expect("set");
        let lost = Counter::default();
        let queue = Queue::start(writer, lost.clone(), |_, _| Vec::new()).expect("a thread");
        // More than a socket takes at once.
        let letters = 1 << 20;
        queue.push(format!("{}\n", "x".repeat(letters)).as_bytes());
        let mut line = String::new();
        BufReader::new(reader)
            .read_line(&mut line)
            .expect("readable");
        assert_eq!((line.len(), lost.get()), (letters + 1, 0));
    }

    /// P8.
    #[test]
    fn all_is_written_before_the_end_and_a_pipe_that_nobody_reads_does_not_hold_it_up() {
        let mut log = Log::new();
        for _ in 0..10 {
            log.push(100);
        }
        assert!(log.queue.is_written_within(SOON));
        // The reader has no need to be fast: it is in the pipe.
        assert_eq!(log.read(), 0);
        log.overflow(1);
        assert!(!log.queue.is_written_within(Duration::from_millis(1)));
    }

    #[test]
    fn lines_of_a_pipe_that_is_closed_are_counted() {
        let (reader, writer) = pipe().expect("a pipe");
        drop(reader);
        let lost = Counter::default();
        let queue = Queue::start(writer, lost.clone(), |_, _| Vec::new()).expect("a thread");
        queue.push(b"one\n");
        queue.push(b"two\n");
        assert!(queue.is_written_within(SOON));
        assert_eq!(lost.get(), 2);
    }
}
