//! A gateway under test, native or edge: a real process with a config file and an environment of its own.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::process::Signal;

use crate::process::{Process, built};

/// The first worker is compiled, on a machine that may be busy; others wait for it.
const START_MAX: Duration = Duration::from_mins(30);

/// Where the gateway runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Runtime {
    /// The server: `tidegate serve`.
    Native,
    /// The worker, in workerd: `cargo xtask edge`.
    Edge,
}

/// What a gateway is started with.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Where it runs.
    pub runtime: Runtime,
    /// Its config.
    pub config: PathBuf,
    /// The variables that the config names.
    pub variables: Vec<(String, String)>,
    /// Where the worker's Durable Objects keep what they store.
    pub storage: Scratch,
}

/// A running gateway. Dropping it ends it, with all of its children.
#[derive(Debug)]
pub struct Gateway {
    /// Where it listens.
    pub address: SocketAddr,
    process: Process,
    /// Held until the process has ended, which the fields' order sees to.
    _storage: Scratch,
}

/// A directory that is gone with its owner.
#[derive(Debug, Clone)]
pub struct Scratch(std::sync::Arc<Directory>);

#[derive(Debug)]
struct Directory(PathBuf);

impl Runtime {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Native, Self::Edge];

    /// As test names begin.
    pub fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Edge => "edge",
        }
    }
}

impl Gateway {
    /// Starts one, and returns when it serves.
    ///
    /// # Panics
    ///
    /// When it does not start; the message shows its output.
    pub fn start(setup: &Setup) -> Self {
        let mut command = match setup.runtime {
            Runtime::Native => native(setup),
            Runtime::Edge => edge(setup),
        };
        let process = Process::spawn(&mut command);
        let address = process.wait_for(START_MAX, listening_at);
        Self { address, process, _storage: setup.storage.clone() }
    }

    /// What it has printed so far.
    pub fn output(&self) -> String {
        self.process.output()
    }

    /// Asks it to end, as a process manager does.
    pub fn terminate(&self) {
        self.process.signal(Signal::TERM);
    }

    /// Ends it in the middle of whatever it does, as the kernel does when memory is short.
    ///
    /// # Panics
    ///
    /// When it does not end.
    pub fn kill(&mut self) {
        self.process.signal(Signal::KILL);
        self.process.wait();
    }

    /// Waits for its end; says whether it was content with it.
    ///
    /// # Panics
    ///
    /// When it does not end.
    pub fn ended_well(&mut self) -> bool {
        self.process.wait().success()
    }
}

/// The address in the line that says where a gateway listens.
pub fn listening_at(line: &str) -> Option<SocketAddr> {
    let (_, rest) = line.split_once("listen")?;
    let (_, address) = rest.split_once("http://")?;
    address.trim().parse().ok()
}

impl Scratch {
    /// A new, empty directory.
    ///
    /// # Panics
    ///
    /// When it cannot be made.
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("tidegate-tests-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap_or_else(|error| panic!("cannot create {}: {error}", path.display()));
        Self(std::sync::Arc::new(Directory(path)))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0.0
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // What is left in the system's own temporary directory is its to clear.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn native(setup: &Setup) -> Command {
    let mut command = Command::new(built("TIDEGATE_BIN", "tidegate"));
    command.args(["serve", "--listen", "127.0.0.1:0", "--config"]).arg(&setup.config);
    // Where a relative path of its config leads.
    command.current_dir(setup.storage.path());
    // Nothing of ours: no vendor keys, no proxy.
    command.env_clear().envs(setup.variables.iter().cloned());
    command
}

fn edge(setup: &Setup) -> Command {
    let mut command = Command::new(built("TIDEGATE_XTASK", "xtask"));
    command.args(["edge", "--exit-with-stdin", "--port", "0", "--config"]).arg(&setup.config);
    command.arg("--persist").arg(setup.storage.path());
    for (name, value) in &setup.variables {
        command.args(["--var", &format!("{name}={value}")]);
    }
    command
}
