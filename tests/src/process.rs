//! A program under test: its output is kept for failure messages, and it never outlives the test.

use std::env;
use std::io::{BufRead as _, BufReader, Read};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

/// How long a program that was asked to end may take.
const GRACE: Duration = Duration::from_mins(1);

/// A running program.
#[derive(Debug)]
pub struct Process {
    child: Child,
    output: Arc<Output>,
}

/// All lines that it has printed, on either stream.
#[derive(Debug, Default)]
struct Output {
    lines: Mutex<Lines>,
    more: Condvar,
}

#[derive(Debug, Default)]
struct Lines {
    lines: Vec<String>,
    /// Streams that have ended: two of them, and the program prints nothing more.
    ended: u8,
}

impl Process {
    /// Starts a program as the leader of a process group.
    ///
    /// # Panics
    ///
    /// When it cannot be started.
    pub fn spawn(command: &mut Command) -> Self {
        command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        let output = Arc::new(Output::default());
        collect(child.stdout.take().expect("it is piped"), Arc::clone(&output));
        collect(child.stderr.take().expect("it is piped"), Arc::clone(&output));
        Self { child, output }
    }

    /// Waits for a line that `find` finds something in.
    ///
    /// # Panics
    ///
    /// When there is none within `longest`, or the program has ended without it.
    pub fn wait_for<T>(&self, longest: Duration, find: impl Fn(&str) -> Option<T>) -> T {
        let deadline = Instant::now() + longest;
        let mut lines = self.output.lock();
        loop {
            if let Some(found) = lines.lines.iter().find_map(|line| find(line)) {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let text = lines.lines.join("\n");
            assert!(lines.ended < 2, "it has ended without the line that was waited for:\n{text}");
            assert!(!left.is_zero(), "no such line within {longest:?}:\n{text}");
            lines = self.output.more.wait_timeout(lines, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// What it has printed so far.
    pub fn output(&self) -> String {
        self.output.lock().lines.join("\n")
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        // It may have ended already, which the test will notice by itself.
        let _ = kill_process(Pid::from_child(&self.child), signal);
    }

    /// Closes its standard input.
    pub fn close_stdin(&mut self) {
        drop(self.child.stdin.take());
    }

    /// Waits for its end, and for the last of its output.
    ///
    /// # Panics
    ///
    /// When it does not end in time.
    pub fn wait(&mut self) -> ExitStatus {
        let Some(status) = self.end_within(GRACE) else {
            panic!("it does not end:\n{}", self.output());
        };
        let mut lines = self.output.lock();
        while lines.ended < 2 {
            let (next, timeout) = self.output.more.wait_timeout(lines, GRACE).unwrap_or_else(PoisonError::into_inner);
            assert!(!timeout.timed_out(), "it has ended, but a child of its holds its output open");
            lines = next;
        }
        status
    }

    fn end_within(&mut self, longest: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + longest;
        loop {
            match self.child.try_wait() {
                Ok(None) if Instant::now() < deadline => thread::park_timeout(Duration::from_millis(5)),
                Ok(status) => return status,
                Err(error) => panic!("a child cannot be waited for: {error}"),
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // What serves the edge ends its own children when its standard input closes; the rest is told by a signal.
        self.close_stdin();
        self.signal(Signal::TERM);
        self.end_within(GRACE);
        // Whoever is left of the group. An error means that nobody is.
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        let _ = self.child.wait();
    }
}

impl Output {
    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A program that `cargo xtask test` has built: by the variable that it sets, else beside the tests themselves.
///
/// # Panics
///
/// When it is not there.
pub fn built(variable: &str, name: &str) -> PathBuf {
    let beside = || Some(env::current_exe().ok()?.parent()?.parent()?.join(name));
    let path = env::var_os(variable).map(PathBuf::from).or_else(beside);
    path.filter(|path| path.is_file()).unwrap_or_else(|| panic!("{name} is not built: run `cargo xtask test`"))
}

fn collect(stream: impl Read + Send + 'static, output: Arc<Output>) {
    thread::spawn(move || {
        for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
            output.lock().lines.push(String::from_utf8_lossy(&line).into_owned());
            output.more.notify_all();
        }
        output.lock().ended += 1;
        output.more.notify_all();
    });
}
