//! The worker, run locally in the real runtime.

use crate::group::Group;
use crate::place;
use crate::run::{path_with, scrub};
use crate::setup::{self, Tools};
use crate::worker;
use anyhow::{Context as _, Result, bail};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::env;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

/// wrangler runs the `[build]` command of wrangler.toml whenever it starts. Under [`serve`] the worker is built already,
/// perhaps with another config; this variable tells our own command to leave it alone.
const BUILT: &str = "TIDEGATE_WORKER_BUILT";
/// wrangler starts in about a second; a machine under load takes longer.
const START_MAX: Duration = Duration::from_mins(10);

struct Options {
    config: Option<PathBuf>,
    port: u16,
    persist: Option<PathBuf>,
    vars: Vec<String>,
    build_only: bool,
    exit_with_stdin: bool,
}

/// `cargo xtask edge`.
pub(crate) fn main(args: lexopt::Parser) -> Result<()> {
    let options = parse(args)?;
    if options.build_only && env::var_os(BUILT).is_some() {
        return Ok(());
    }
    let tools = setup::edge()?;
    let shrink = options.build_only || options.config.is_none();
    let worker = worker::build(&tools, options.config.as_deref(), shrink)?;
    if options.build_only { Ok(()) } else { serve(&tools, &worker, &options) }
}

fn parse(mut args: lexopt::Parser) -> Result<Options> {
    use lexopt::{Arg, ValueExt as _};
    let mut options = Options {
        config: None,
        port: 8787,
        persist: None,
        vars: Vec::new(),
        build_only: false,
        exit_with_stdin: false,
    };
    while let Some(arg) = args.next()? {
        match arg {
            Arg::Long("config") => options.config = Some(args.value()?.into()),
            Arg::Long("port") => options.port = args.value()?.parse()?,
            Arg::Long("persist") => options.persist = Some(args.value()?.into()),
            Arg::Long("var") => options.vars.push(var(&args.value()?.string()?)?),
            Arg::Long("build-only") => options.build_only = true,
            Arg::Long("exit-with-stdin") => options.exit_with_stdin = true,
            other => return Err(other.unexpected().into()),
        }
    }
    Ok(options)
}

/// `NAME=VALUE` as wrangler wants it, `NAME:VALUE`.
fn var(text: &str) -> Result<String> {
    let (name, value) = text.split_once('=').with_context(|| format!("--var takes NAME=VALUE, not {text:?}"))?;
    Ok(format!("{name}:{value}"))
}

enum Event {
    Stop,
}

/// Runs the worker until it is told to stop.
fn serve(tools: &Tools, worker: &Path, options: &Options) -> Result<()> {
    let events = events(options.exit_with_stdin)?;
    let port = if options.port == 0 { free_port()? } else { options.port };
    let mut wrangler = Group::spawn(&mut dev(tools, worker, port, options)?)?;
    let started = Instant::now();
    let mut ready = false;
    loop {
        match events.recv_timeout(Duration::from_millis(50)) {
            Ok(Event::Stop) | Err(RecvTimeoutError::Disconnected) => return Ok(()),
            Err(RecvTimeoutError::Timeout) => {}
        }
        if let Some(status) = wrangler.ended()? {
            bail!("wrangler has ended by itself: {status}");
        }
        if !ready && is_ready(port) {
            ready = true;
            println!("listening on http://127.0.0.1:{port}");
            std::io::stdout().flush().context("standard output is closed")?;
        }
        if !ready && started.elapsed() > START_MAX {
            bail!("the worker did not answer within {} s", START_MAX.as_secs());
        }
    }
}

fn dev(tools: &Tools, worker: &Path, port: u16, options: &Options) -> Result<Command> {
    let persist = match &options.persist {
        Some(dir) => std::path::absolute(dir).context("--persist")?,
        None => place::root()?.join(".wrangler/state"),
    };
    let mut command = wrangler(tools)?;
    command.arg("dev").arg(worker).arg("--persist-to").arg(persist);
    command.args(["--local", "--ip", "127.0.0.1", "--port", &port.to_string(), "--inspector-port", "0"]);
    command.arg("--show-interactive-dev-session=false");
    for var in &options.vars {
        command.args(["--var", var]);
    }
    // Standard output is ours, for the one line that says where the worker listens.
    command.stdin(Stdio::null()).stdout(std::io::stderr());
    Ok(command)
}

/// wrangler, at the root of the clone, with a worker that is built already.
pub(crate) fn wrangler(tools: &Tools) -> Result<Command> {
    let mut command = Command::new(tools.node_bin.join("wrangler"));
    scrub(&mut command);
    let root = place::root()?;
    command.env("PATH", path_with(&tools.node_bin)?).env(BUILT, "1").current_dir(&root);
    // Left alone it looks for it beside the worker, which is elsewhere when the target directory is.
    command.arg("--config").arg(root.join("wrangler.toml"));
    // It neither asks anything, nor reports to its vendor.
    command.env("CI", "1").env("WRANGLER_SEND_METRICS", "false");
    Ok(command)
}

/// What may end a run: a signal, or the end of standard input if that was asked for.
fn events(with_stdin: bool) -> Result<Receiver<Event>> {
    let (send, receive) = mpsc::channel();
    let mut signals =
        signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGHUP]).context("cannot listen for signals")?;
    if with_stdin {
        let send = send.clone();
        thread::spawn(move || {
            let mut ignored = [0; 256];
            while matches!(std::io::stdin().read(&mut ignored), Ok(1..)) {}
            // Nobody listens any more only if the run has ended already.
            let _ = send.send(Event::Stop);
        });
    }
    thread::spawn(move || {
        for _ in signals.forever() {
            let _ = send.send(Event::Stop);
        }
    });
    Ok(receive)
}

/// A port that was free a moment ago, and that nobody is given who asks for any: it stays free until wrangler comes to it.
pub(crate) fn free_port() -> Result<u16> {
    // Systems hand out ports from 32768 on.
    const PORTS: std::ops::Range<u64> = 20_000..32_000;
    let by_chance = || PORTS.start + RandomState::new().build_hasher().finish() % (PORTS.end - PORTS.start);
    let ports = std::iter::repeat_with(by_chance).take(100).filter_map(|port| u16::try_from(port).ok());
    let mut free = ports.filter(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok());
    free.next().context("no free port")
}

fn is_ready(port: u16) -> bool {
    get(port, "/healthz").is_ok_and(|status| status == 200)
}

/// The status of one plain GET on loopback.
pub(crate) fn get(port: u16, path: &str) -> Result<u16> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_millis(500))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n")?;
    let mut reply = Vec::new();
    stream.take(1024).read_to_end(&mut reply)?;
    let status = String::from_utf8_lossy(&reply).split(' ').nth(1).and_then(|status| status.parse().ok());
    status.context("no HTTP reply")
}
