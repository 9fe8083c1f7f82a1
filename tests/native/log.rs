//! The log, and those who should read it and do not.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, ChildStderr, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tidegate_tests::gateway::{Scratch, listening_at};
use tidegate_tests::vendors::Vendors;
use tidegate_tests::wait::PATIENCE;
use tidegate_tests::world::{chat, question};
use tokio::time::timeout;

use crate::command::tidegate;
use crate::{CONFIG, KEY_A, write};

/// A server whose log is nobody's yet.
struct Unread {
    child: Child,
    address: SocketAddr,
    vendors: Vendors,
    _scratch: Scratch,
}

impl Unread {
    async fn start(verbosity: &str) -> Self {
        let (vendors, scratch) = (Vendors::start().await, Scratch::new());
        let mut command = tidegate(&["serve", "--listen", "127.0.0.1:0", "--config"]);
        command.arg(write(&scratch, CONFIG)).env("RUST_LOG", verbosity);
        command.envs([("SANDBOX_A", vendors.a.base_url().as_str()), ("KEY_A", KEY_A)]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it can be started");
        let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let address = lines.map_while(Result::ok).find_map(|line| listening_at(&line)).expect("it listens");
        Self { child, address, vendors, _scratch: scratch }
    }

    /// Has it answer so many requests.
    async fn answers(&self, count: usize) {
        for _ in 0..count {
            let answer = timeout(PATIENCE, chat(&question("default")).send(self.address)).await;
            let answer = answer.expect("a log that is not read must not hold it up");
            assert_eq!(answer.status, 200, "{answer}");
        }
    }

    fn log(&mut self) -> ChildStderr {
        self.child.stderr.take().expect("it is piped")
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn nobody_need_read_the_log() {
    let mut server = Unread::start("info").await;
    server.vendors.a.answers("tide", 503).await;
    drop(server.log());
    // Far more than a breaker needs to open, which would be logged.
    for _ in 0..20 {
        let reply = chat(&question("default")).send(server.address).await;
        assert!([502, 503].contains(&reply.status), "{reply}");
    }
}

#[tokio::test]
async fn whoever_stops_reading_the_log_holds_nothing_up_and_is_told_what_he_missed() {
    let mut server = Unread::start("trace").await;
    let log = server.log();
    // At four lines each, more than a pipe takes and than may wait.
    server.answers(1500).await;
    let mut lines = BufReader::new(log).lines().map_while(Result::ok);
    let lost = lines.find(|line| line.contains("lines of the log are lost")).expect("it is told");
    let count = lost.split(' ').find_map(|word| word.parse::<u64>().ok());
    assert!(count.is_some_and(|count| count > 100) && lost.contains("WARN"), "{lost}");
    kill_process(Pid::from_child(&server.child), Signal::TERM).expect("it is there");
    assert!(lines.any(|line| line.contains("draining")), "and it goes on from there, to its end");
    lines.for_each(drop);
    assert!(server.child.wait().expect("it ends").success());
}

#[tokio::test]
async fn a_log_that_is_never_read_keeps_no_process_alive() {
    let mut server = Unread::start("trace").await;
    let _unread = server.log();
    server.answers(400).await;
    kill_process(Pid::from_child(&server.child), Signal::TERM).expect("it is there");
    let ended = tokio::task::spawn_blocking(move || server.child.wait().expect("it ends").success());
    assert!(timeout(PATIENCE, ended).await.expect("it ends").expect("no panic"));
}
