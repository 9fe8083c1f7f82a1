//! The worker: build it, and run it locally in the real runtime.

use crate::group::Group;
use crate::place::{self, Fnv};
use crate::run::{cargo, run, scrub};
use crate::setup::{self, Tools};
use anyhow::{Context as _, Result, bail};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::env;
use std::fs::{self, File};
use std::hash::Hasher as _;
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
const START_MAX: Duration = Duration::from_mins(1);

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
    let worker = build(&tools, options.config.as_deref(), shrink)?;
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

/// Builds the worker with a config compiled in, and returns its entry point.
///
/// The default config goes where wrangler.toml looks for it, each other one into a directory of its own, so that tests
/// with their configs do not disturb a deployment. What is there already for the same wasm and tools is left as it is.
///
/// To `shrink` it takes as long as to link it, and is of no use where it is only run here.
pub(crate) fn build(tools: &Tools, config: Option<&Path>, shrink: bool) -> Result<PathBuf> {
    let root = place::root()?;
    let (config, out) = match config {
        None => (root.join("tidegate.toml"), root.join("edge/build")),
        Some(config) => {
            let config = std::path::absolute(config).context("--config")?;
            let mut hash = Fnv::default();
            hash.write(config.as_os_str().as_encoded_bytes());
            (config, place::target()?.join(format!("edge/{:016x}", hash.finish())))
        }
    };
    if !config.is_file() {
        bail!("there is no config at {}", config.display());
    }
    // Two builds with different configs write the same wasm file: the lock keeps one from bundling the other's.
    let locks = place::target()?.join("edge");
    fs::create_dir_all(&locks).with_context(|| format!("cannot create {}", locks.display()))?;
    let lock = File::create(locks.join(".lock")).context("cannot create the worker's lock file")?;
    lock.lock().context("cannot lock the worker's build")?;

    let mut compile = cargo();
    compile.args(["build", "--lib", "--release", "--target", "wasm32-unknown-unknown"]);
    run(prepare(&mut compile, tools, &config)?.current_dir(root.join("edge")))?;
    let stamp = format!("{}{}", stamp()?, if shrink { "" } else { " as linked" });
    if fs::read_to_string(out.join(".stamp")).is_ok_and(|old| old == stamp) {
        return Ok(out.join("index.js"));
    }
    let mut bundle = Command::new(&tools.worker_build);
    scrub(&mut bundle);
    bundle.args(["--release"].into_iter().chain((!shrink).then_some("--no-opt")));
    bundle.arg("--out-dir").arg(&out).arg(root.join("edge"));
    run(prepare(&mut bundle, tools, &config)?)?;
    fs::write(out.join(".stamp"), stamp).context("cannot write the worker's stamp")?;
    Ok(out.join("index.js"))
}

/// The environment of both steps. It must be equal in both: the second repeats the first's compilation, and finds
/// nothing to do only if nothing that cargo or wasm-bindgen look at has changed.
fn prepare<'a>(command: &'a mut Command, tools: &Tools, config: &Path) -> Result<&'a mut Command> {
    Ok(command
        .env("PATH", path_with(&tools.node_bin)?)
        .env("TIDEGATE_CONFIG", config)
        .env("CARGO_TARGET_DIR", place::target()?)
        // A fifth less to upload and to start up with: what a worker does for a request is mostly waiting.
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "s")
        // worker-build sets it too; wasm-bindgen's macro reads it where cargo cannot see that.
        .env("WASM_BINDGEN_USE_JS_SYS", "1")
        .env("WASM_BINDGEN_BIN", &tools.wasm_bindgen)
        .env("WASM_OPT_BIN", tools.node_bin.join("wasm-opt"))
        .env("ESBUILD_BIN", tools.node_bin.join("esbuild")))
}

/// Names what the bundle is made from: the wasm, and the tools by the directories they were installed to.
fn stamp() -> Result<String> {
    let root = place::root()?;
    let wasm = place::target()?.join("wasm32-unknown-unknown/release/tidegate_edge.wasm");
    place::hash_of(&[wasm, root.join("Cargo.lock"), root.join("tests/node/package-lock.json")])
}

fn path_with(first: &Path) -> Result<std::ffi::OsString> {
    let rest = env::var_os("PATH").unwrap_or_default();
    let all = std::iter::once(first.to_path_buf()).chain(env::split_paths(&rest));
    env::join_paths(all).context("PATH")
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

/// A port that was free a moment ago.
pub(crate) fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port")?;
    Ok(listener.local_addr().context("no free port")?.port())
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
