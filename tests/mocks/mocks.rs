//! The mock vendors as real processes, and a gateway in front of all of them.

use std::env;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tidegate_tests::gateway::{Gateway, Runtime, Scratch, Setup};
use tidegate_tests::process::Process;
use tidegate_tests::world::{data, root};

/// Python and node take their time on a machine under load.
const START_MAX: Duration = Duration::from_mins(5);
const ADMIN_KEY: &str = "admin-key-for-this-test";

/// A gateway, and the mocks behind it.
pub(crate) struct World {
    pub(crate) gateway: Gateway,
    pub(crate) llmock: Mock,
    _others: [Mock; 2],
}

/// A mock vendor. Dropping it ends it.
pub(crate) struct Mock {
    pub(crate) address: SocketAddr,
    _process: Process,
}

impl World {
    /// Starts all of it.
    pub(crate) fn start(runtime: Runtime) -> Self {
        let (llmock, aimock, vidaimock) = (llmock(), aimock(), vidaimock());
        let at = |name: &str, mock: &Mock, path: &str| (name.to_owned(), format!("http://{}{path}", mock.address));
        let mut variables = vec![
            at("LLMOCK_OPENAI", &llmock, "/v1"),
            at("LLMOCK_ANTHROPIC", &llmock, "/anthropic"),
            at("LLMOCK_GEMINI", &llmock, "/gemini/v1beta"),
        ];
        for (name, mock) in [("AIMOCK", &aimock), ("VIDAIMOCK", &vidaimock)] {
            for (dialect, path) in [("OPENAI", "/v1"), ("ANTHROPIC", ""), ("GEMINI", "/v1beta")] {
                variables.push(at(&format!("{name}_{dialect}"), mock, path));
            }
        }
        variables.push(("KEY".to_owned(), "any-key-will-do".to_owned()));
        variables.push(("ADMIN_KEY".to_owned(), ADMIN_KEY.to_owned()));
        let setup = Setup { runtime, config: data("mocks.toml"), variables, storage: Scratch::new() };
        Self { gateway: Gateway::start(&setup), llmock, _others: [aimock, vidaimock] }
    }

    /// The last lines of the gateway's log.
    pub(crate) fn log_tail(&self) -> String {
        const LINES: usize = 30;
        let output = self.gateway.output();
        let lines: Vec<&str> = output.lines().collect();
        lines[lines.len().saturating_sub(LINES)..].join("\n")
    }
}

/// llmock's own command, which is beside the interpreter.
pub(crate) fn llmock_command() -> Command {
    clean(&interpreter("TIDEGATE_PYTHON").with_file_name("llmock"))
}

/// llmock, from `PyPI`. It says which port it was told, not which it has, so that a free one is looked for first.
fn llmock() -> Mock {
    let port = {
        let free = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("there is a free port");
        free.local_addr().expect("it is bound").port()
    };
    let mut command = llmock_command();
    command.args(["serve", "--host", "127.0.0.1", "--port", &port.to_string(), "--response-style", "echo"]);
    let process = Process::spawn(&mut command);
    process.wait_for(START_MAX, |line| line.contains("Application startup complete").then_some(()));
    Mock { address: SocketAddr::from(([127, 0, 0, 1], port)), _process: process }
}

/// npm's `@copilotkit/aimock`, with answers to what [`crate::answers`] asks and to nothing else.
fn aimock() -> Mock {
    let mut command = clean(&interpreter("TIDEGATE_NODE"));
    command.arg(root().join("tests/node/node_modules/@copilotkit/aimock/dist/cli.js"));
    command.args(["--host", "127.0.0.1", "--port", "0", "--strict", "--fixtures"]).arg(data("aimock.json"));
    serving(&mut command)
}

/// The crate vidaimock, installed as a program.
fn vidaimock() -> Mock {
    let mut command = clean(&interpreter("TIDEGATE_VIDAIMOCK"));
    command.args(["--host", "127.0.0.1", "--port", "0"]);
    serving(&mut command)
}

/// Starts a mock that says at which address it serves.
fn serving(command: &mut Command) -> Mock {
    let process = Process::spawn(command);
    let address = process.wait_for(START_MAX, |line| {
        let (_, address) = line.split_once("running at http://").or_else(|| line.split_once("listening on http://"))?;
        address.trim().parse().ok()
    });
    Mock { address, _process: process }
}

/// A program that `cargo xtask test` has installed.
fn interpreter(variable: &str) -> PathBuf {
    let path = env::var_os(variable).map(PathBuf::from).filter(|path| path.is_file());
    path.unwrap_or_else(|| panic!("{variable} names no program: run `cargo xtask test`"))
}

/// With neither a proxy nor settings of whoever runs the tests.
fn clean(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear();
    command
}
