//! The log: lines on standard error, written by a thread of its own.
//!
//! Whoever reads them may stall without going away: a collector that hangs, a terminal in which somebody marks text. Writing
//! then blocks for as long, and a request that logs would block with it, and all that its thread should have served. So
//! what is logged is put in a queue, which is bounded: what comes while it is full is lost, and counted, and told in its place
//! when lines are taken again.

use std::collections::VecDeque;
use std::io::{IsTerminal as _, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{panic, thread};

use tidegate_core::waits::LOG_WAIT;
use tracing::error;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};

/// Lines that wait to be written: some minutes of a busy server that has troubles to tell of.
const LINES_MAX: usize = 4096;

/// The log of this process. Dropping it waits, for a moment, until what there still is has been written.
pub(crate) struct Log(Arc<Lines>);

/// What is to be written.
#[derive(Debug, Default)]
struct Lines {
    state: Mutex<State>,
    /// There is a line.
    more: Condvar,
    /// All are written.
    none: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Line>,
    /// Whether one that waits no more is still being written.
    is_writing: bool,
}

#[derive(Debug)]
struct Line {
    text: Vec<u8>,
    /// How many that should follow it are lost.
    lost: u64,
}

impl Log {
    /// Logs from now on, what `RUST_LOG` says, and else all but what is for debugging. A panic is logged as well.
    pub(crate) fn start() -> Result<Self, String> {
        let wanted = std::env::var(EnvFilter::DEFAULT_ENV).unwrap_or_default();
        let wanted = if wanted.is_empty() { "info" } else { &wanted };
        let filter =
            EnvFilter::try_new(wanted).map_err(|error| format!("{}: `{wanted}`: {error}", EnvFilter::DEFAULT_ENV))?;
        let lines = Arc::<Lines>::default();
        let (written, pens) = (Arc::clone(&lines), Arc::clone(&lines));
        let thread = thread::Builder::new().name("log".to_owned()).spawn(move || written.write_to(std::io::stderr()));
        thread.map_err(|error| format!("the log's thread cannot be started: {error}"))?;
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(move || Pen(Arc::clone(&pens)))
            .with_ansi(std::io::stderr().is_terminal())
            .with_target(false)
            .log_internal_errors(false)
            .init();
        // What std would do writes to standard error itself, and waits for it.
        panic::set_hook(Box::new(|bug| error!("a bug in Tidegate: {bug}")));
        Ok(Self(lines))
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.0.settle(Duration::from_millis(LOG_WAIT.0));
    }
}

/// What a line is written with: it is handed over in one piece.
struct Pen(Arc<Lines>);

impl Write for Pen {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        self.0.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Lines {
    fn push(&self, text: &[u8]) {
        let mut state = self.lock();
        let is_full = state.waiting.len() >= LINES_MAX;
        match state.waiting.back_mut() {
            Some(last) if is_full => last.lost += 1,
            _ => state.waiting.push_back(Line { text: text.to_owned(), lost: 0 }),
        }
        drop(state);
        self.more.notify_one();
    }

    /// The next line, as soon as there is one. The one before it has been written.
    fn take(&self) -> Line {
        let mut state = self.lock();
        loop {
            state.is_writing = !state.waiting.is_empty();
            if let Some(line) = state.waiting.pop_front() {
                return line;
            }
            self.none.notify_all();
            state = self.more.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn write_to(&self, mut output: impl Write) {
        loop {
            // Whoever read them may be gone: there is nobody left to tell of that.
            let _ = self.take().write_to(&mut output);
        }
    }

    /// Waits until all is written, but no longer than this.
    fn settle(&self, longest: Duration) {
        let is_unwritten = |state: &mut State| state.is_writing || !state.waiting.is_empty();
        // Whether it is or not: whoever waits has something else to do.
        let _ = self.none.wait_timeout_while(self.lock(), longest, is_unwritten);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Line {
    fn write_to(&self, output: &mut impl Write) -> std::io::Result<()> {
        output.write_all(&self.text)?;
        if self.lost == 0 {
            return Ok(());
        }
        let mut time = String::new();
        // A clock that cannot be told leaves the line without its time.
        let _ = SystemTime.format_time(&mut Writer::new(&mut time));
        writeln!(output, "{time}  WARN {} lines of the log are lost: nobody took them in", self.lost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Sheet(std::sync::mpsc::Sender<Vec<u8>>);

    impl Write for Sheet {
        fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
            let _ = self.0.send(text.to_owned());
            Ok(text.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_beyond_the_bound_are_lost_and_counted_where_they_are_missing() {
        let lines = Lines::default();
        let push = |number: usize| lines.push(format!("line {number}\n").as_bytes());
        (0..LINES_MAX + 3).for_each(push);
        let mut output = Vec::new();
        lines.take().write_to(&mut output).unwrap();
        // One has room, and the next is lost again.
        (0..2).for_each(|number| push(10_000 + number));
        (1..=LINES_MAX).for_each(|_| lines.take().write_to(&mut output).unwrap());
        let text = String::from_utf8(output).unwrap();
        let told: Vec<_> = text.lines().skip(LINES_MAX - 1).collect();
        let [last, three, after, one] = told[..] else { panic!("{told:?}") };
        assert_eq!((last, after), ("line 4095", "line 10000"));
        assert!(three.ends_with("WARN 3 lines of the log are lost: nobody took them in"), "{three}");
        assert!(one.contains("WARN 1 lines") && one.starts_with("20"), "{one}");
    }

    #[test]
    fn whoever_ends_waits_for_the_last_line_but_not_for_ever() {
        let lines = Arc::<Lines>::default();
        lines.push(b"the last\n");
        lines.settle(Duration::from_millis(1));
        assert_eq!(lines.lock().waiting.len(), 1, "nobody writes, and it goes on");
        let (sheet, written) = std::sync::mpsc::channel();
        let writing = Arc::clone(&lines);
        thread::spawn(move || writing.write_to(Sheet(sheet)));
        lines.settle(Duration::from_mins(1));
        assert_eq!(written.try_recv().unwrap(), b"the last\n");
    }
}
