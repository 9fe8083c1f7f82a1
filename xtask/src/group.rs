//! A child that leads its own process group, and is stopped as a whole group.
//!
//! wrangler starts node, which starts esbuild and two workerds. Ending only the process we know would leave the rest
//! holding the port.

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long the leader may take to end by itself once it was asked to.
const GRACE: Duration = Duration::from_secs(5);
/// How long the others may take after it. Short, because where nobody reaps orphans the dead look alive.
const GRACE_OTHERS: Duration = Duration::from_secs(1);

/// A running process group; dropping it ends it: it is asked to, and what is left after a while is killed.
pub(crate) struct Group {
    leader: Child,
    id: Pid,
}

impl Group {
    /// Starts `command` as the leader of a new group.
    pub(crate) fn spawn(command: &mut Command) -> Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        let leader = command.process_group(0).spawn().with_context(|| format!("cannot start {name}"))?;
        let id = Pid::from_child(&leader);
        Ok(Self { leader, id })
    }

    /// The leader's process id.
    pub(crate) fn id(&self) -> u32 {
        self.leader.id()
    }

    /// The leader's exit status, if it has ended.
    pub(crate) fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.leader.try_wait().context("cannot ask for the state of a child")
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Errors below mean that there is nobody left in the group, which is what we want.
        let _ = kill_process_group(self.id, Signal::TERM);
        wait_while(GRACE, || matches!(self.leader.try_wait(), Ok(None)));
        wait_while(GRACE_OTHERS, || test_kill_process_group(self.id).is_ok());
        let _ = kill_process_group(self.id, Signal::KILL);
        let _ = self.leader.wait();
    }
}

fn wait_while(longest: Duration, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + longest;
    while condition() && Instant::now() < deadline {
        sleep(Duration::from_millis(20));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;
    use std::process::Stdio;

    #[test]
    fn dropping_a_group_ends_the_grandchildren_too() {
        let mut shell = Command::new("sh");
        shell.args(["-c", "sleep 600 & sleep 600"]).stdout(Stdio::piped());
        let mut group = Group::spawn(&mut shell).expect("sh starts");
        assert!(group.ended().expect("a state").is_none());
        let mut pipe = group.leader.stdout.take().expect("it is piped");
        drop(group);
        // The pipe ends only once every process that inherited it is gone.
        let mut rest = Vec::new();
        pipe.read_to_end(&mut rest).expect("the end of the pipe");
    }
}
