//! `cargo xtask bench`: what Tidegate costs, as ratios that repeat.
//!
//! Load generator, gateway and an instant vendor share one CPU, so that nothing depends on where the scheduler puts them;
//! direct, pass-through and Tidegate, which passes on, translates, and keeps a ledger, take turns within each round, so that
//! whatever drifts drifts for all; and the figures are medians over rounds. CPU time per request is that of the gateway
//! process alone, from the kernel's own accounting: as a ratio to the pass-through in the same round it repeats within a
//! few percent, where throughput and the 99th percentile do not.

mod report;

use crate::edge::{free_port, get};
use crate::group::Group;
use crate::place;
use crate::run::{cargo, output, run, stage};
use anyhow::{Context as _, Result, bail, ensure};
use report::{Cell, Report, Sample, Through};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

const CONNECTIONS: [u32; 3] = [1, 16, 64];
/// The thread that writes the ledger.
const WRITER: &str = "ledger";
const START_MAX: Duration = Duration::from_secs(10);

/// How long to measure.
struct Plan {
    rounds: usize,
    seconds: f64,
}

/// `cargo xtask bench`.
pub(crate) fn main(mut args: lexopt::Parser) -> Result<()> {
    let (mut plan, mut json) = (Plan { rounds: 9, seconds: 0.8 }, false);
    while let Some(arg) = args.next()? {
        match arg {
            lexopt::Arg::Long("quick") => plan = Plan { rounds: 3, seconds: 0.4 },
            lexopt::Arg::Long("json") => json = true,
            other => return Err(other.unexpected().into()),
        }
    }
    stage("build", build)?;
    // The servers lead groups of their own, which Ctrl-C does not reach: they end when `bench` is dropped.
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [SIGHUP, SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&interrupted)).context("cannot listen for signals")?;
    }
    let mut bench = Bench::start(interrupted)?;
    let report = stage("measure", || bench.measure(&plan))?;
    if json {
        println!("{}", report.json());
    } else {
        print!("{report}");
    }
    Ok(())
}

fn build() -> Result<()> {
    // Together, so that both stacks are compiled with the same features of the same crates.
    run(cargo().args(["build", "--release", "--package", "tidegate", "--package", "tidegate-tests", "--bins"]))
}

/// The processes that stand still while load passes through them.
struct Bench {
    bin: PathBuf,
    /// Where the servers' logs are.
    dir: PathBuf,
    pin: Pin,
    vendor: Server,
    floor: Server,
    tidegate: Server,
    /// The same with a ledger.
    ledger: Server,
    interrupted: Arc<AtomicBool>,
}

struct Server {
    group: Group,
    port: u16,
}

impl Bench {
    fn start(interrupted: Arc<AtomicBool>) -> Result<Self> {
        let bin = place::target()?.join("release");
        let dir = place::target()?.join("bench");
        fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        let pin = Pin::find();

        let mut command = pin.command(&bin.join("bench_vendor"));
        let vendor = Server::start(&dir, "vendor", &mut command, |command, port| {
            command.arg(format!("127.0.0.1:{port}"));
        })?;
        let address = format!("http://127.0.0.1:{}", vendor.port);
        let mut command = pin.command(&bin.join("bench_passthrough"));
        let floor = Server::start(&dir, "passthrough", &mut command, |command, port| {
            command.arg(format!("127.0.0.1:{port}")).arg(format!("{address}/v1"));
        })?;
        let config = config_for(&address);
        let tidegate = Server::tidegate(&bin, &dir, &pin, "tidegate", &config)?;
        // A ledger that begins anew each time, on whatever disk the build is on.
        let database = dir.join("ledger.db");
        for file in ["ledger.db", "ledger.db-wal", "ledger.db-shm"] {
            let _ = fs::remove_file(dir.join(file));
        }
        let store = format!("[store]\nkind = \"sqlite\"\npath = {:?}\n", database.to_string_lossy());
        let ledger = Server::tidegate(&bin, &dir, &pin, "ledger", &format!("{store}{config}"))?;
        Ok(Self { bin, dir, pin, vendor, floor, tidegate, ledger, interrupted })
    }

    fn measure(&mut self, plan: &Plan) -> Result<Report> {
        let mut cells = Vec::new();
        for stream in [false, true] {
            for connections in CONNECTIONS {
                eprintln!("    {}, {connections} at once", if stream { "streaming" } else { "plain" });
                let mut cell = Cell::new(stream, connections);
                for _ in 0..plan.rounds {
                    for through in Through::ALL {
                        cell.add(through, self.sample(through, stream, connections, plan.seconds)?);
                    }
                }
                cells.push(cell);
            }
        }
        eprintln!("    a million lines of the ledger");
        let ledger = output(&mut self.pin.command(&self.bin.join("bench_ledger")))?.trim_end().to_owned();
        Ok(Report { cells, one_cpu: self.pin.0.is_some(), decision: decision()?, ledger })
    }

    /// An error if a server has ended, which explains requests that went wrong better than these do.
    fn all_run(&mut self) -> Result<()> {
        let servers = [
            ("vendor", &mut self.vendor),
            ("passthrough", &mut self.floor),
            ("tidegate", &mut self.tidegate),
            ("ledger", &mut self.ledger),
        ];
        for (name, server) in servers {
            server.runs(name, &self.dir)?;
        }
        Ok(())
    }

    fn sample(&mut self, through: Through, stream: bool, connections: u32, seconds: f64) -> Result<Sample> {
        ensure!(!self.interrupted.load(Ordering::Relaxed), "interrupted");
        let server = match through {
            Through::Direct => &self.vendor,
            Through::Floor => &self.floor,
            Through::Tidegate | Through::Translated => &self.tidegate,
            Through::Ledger => &self.ledger,
        };
        let mut load = self.pin.command(&self.bin.join("bench_load"));
        let kind = if stream { "stream" } else { "plain" };
        load.arg(format!("127.0.0.1:{}", server.port)).arg(through.route()).arg(kind);
        load.arg(connections.to_string()).arg(seconds.to_string()).stderr(Stdio::inherit());
        let before = [cpu_time(server.group.id(), None), cpu_time(server.group.id(), Some(WRITER))];
        let printed = output(&mut load)?;
        let after = [cpu_time(server.group.id(), None), cpu_time(server.group.id(), Some(WRITER))];
        let result: serde_json::Value = serde_json::from_str(&printed).context("the load generator printed no JSON")?;
        let number = |name: &str| result[name].as_f64().with_context(|| format!("the load generator gave no {name}"));
        let (sent, wrong) = (number("sent")?, number("wrong")?);
        if wrong > 0.0 {
            self.all_run()?;
            bail!("{wrong} of {sent} requests, {through}, went wrong: see the logs in {}", self.dir.display());
        }
        let [cpu_us, writer_us] = [0, 1].map(|of| {
            let (before, after) = before[of].zip(after[of])?;
            Some(after.saturating_sub(before).as_secs_f64() * 1e6 / sent)
        });
        Ok(Sample {
            per_s: number("counted")? / number("seconds")?,
            cpu_us,
            writer_us,
            p50_us: number("p50_us")?,
            p99_us: number("p99_us")?,
        })
    }
}

impl Server {
    /// Starts Tidegate with a config of its own, and waits until it serves.
    fn tidegate(bin: &Path, dir: &Path, pin: &Pin, name: &str, config: &str) -> Result<Self> {
        let file = dir.join(format!("{name}.toml"));
        fs::write(&file, config).with_context(|| format!("cannot write {}", file.display()))?;
        let mut command = pin.command(&bin.join("tidegate"));
        let server = Self::start(dir, name, &mut command, |command, port| {
            command.arg("serve").arg("--config").arg(&file).arg("--listen").arg(format!("127.0.0.1:{port}"));
            command.env("TIDEGATE_BENCH_KEY", "bench").env("NO_PROXY", "127.0.0.1");
        })?;
        let deadline = Instant::now() + START_MAX;
        while !get(server.port, "/readyz").is_ok_and(|status| status == 200) {
            wait_until(deadline, name)?;
        }
        Ok(server)
    }

    /// Starts a server on a free port and waits until it accepts connections. What it prints goes to a file.
    fn start(dir: &Path, name: &str, command: &mut Command, args: impl FnOnce(&mut Command, u16)) -> Result<Self> {
        let port = free_port()?;
        args(command, port);
        let log = File::create(dir.join(format!("{name}.log"))).context("cannot create a log file")?;
        command.stdin(Stdio::null()).stdout(log.try_clone().context("cannot share a log file")?).stderr(log);
        let mut server = Self { group: Group::spawn(command)?, port };
        let deadline = Instant::now() + START_MAX;
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            server.runs(name, dir)?;
            wait_until(deadline, name)?;
        }
        Ok(server)
    }

    fn runs(&mut self, name: &str, dir: &Path) -> Result<()> {
        match self.group.ended()? {
            None => Ok(()),
            Some(status) => bail!("{name} ended with {status}: see {}", dir.join(format!("{name}.log")).display()),
        }
    }
}

/// Rests between two looks at something that must happen before the deadline.
fn wait_until(deadline: Instant, name: &str) -> Result<()> {
    ensure!(Instant::now() < deadline, "{name} was not ready within {} s", START_MAX.as_secs());
    sleep(Duration::from_millis(20));
    Ok(())
}

/// Two routes over one model each, with a price, so that everything a plain deployment does is done: the name is resolved,
/// the body's `model` replaced, the breaker asked, usage read and the cost told. Clients speak OpenAI's dialect: one vendor's
/// answers pass through, the other's are translated.
fn config_for(address: &str) -> String {
    let (passed, translated) = (Through::Tidegate.route(), Through::Translated.route());
    format!(
        r#"
[vendors.instant]
dialect = "openai"
base_url = "{address}/v1"
keys = [{{ env = "TIDEGATE_BENCH_KEY" }}]

[vendors.foreign]
dialect = "anthropic"
base_url = "{address}"
keys = [{{ env = "TIDEGATE_BENCH_KEY" }}]

[models."instant/bench-model"]
price = {{ input = 1.00, output = 2.00 }}

[models."foreign/bench-model"]
price = {{ input = 1.00, output = 2.00 }}

[routes.{passed}]
models = ["instant/bench-model"]

[routes.{translated}]
models = ["foreign/bench-model"]
"#
    )
}

/// The CPU that everything is held on, where `taskset` is there to do it.
struct Pin(Option<u32>);

impl Pin {
    fn find() -> Self {
        let shown = Command::new("taskset").args(["-cp", &std::process::id().to_string()]).output();
        // It prints `pid 42's current affinity list: 0-3,7`: the last one is as good as any.
        let text = shown.ok().and_then(|output| String::from_utf8(output.stdout).ok());
        let cpu = text.and_then(|text| text.trim().rsplit([' ', ',', '-']).next()?.parse().ok());
        if cpu.is_none() {
            eprintln!("taskset is not there: without one CPU for all, the figures vary more");
        }
        Self(cpu)
    }

    fn command(&self, program: &Path) -> Command {
        let Some(cpu) = self.0 else { return Command::new(program) };
        let mut command = Command::new("taskset");
        command.arg("-c").arg(cpu.to_string()).arg(program);
        command
    }
}

/// The CPU time that all threads of a process have had, or those of this name; nothing where the kernel does not say.
fn cpu_time(process: u32, name: Option<&str>) -> Option<Duration> {
    let threads = fs::read_dir(format!("/proc/{process}/task")).ok()?;
    let each = threads.map(|thread| {
        let thread = thread.ok()?.path();
        if name.is_some_and(|name| fs::read_to_string(thread.join("comm")).is_ok_and(|is| is.trim_end() != name)) {
            return Some(Duration::ZERO);
        }
        let text = fs::read_to_string(thread.join("schedstat")).ok()?;
        text.split(' ').next()?.parse().ok().map(Duration::from_nanos)
    });
    each.sum()
}

/// What the micro-benchmark of one decision prints, if core has it.
fn decision() -> Result<Option<String>> {
    if !place::root()?.join("core/examples/decision.rs").is_file() {
        return Ok(None);
    }
    let mut command = cargo();
    command.args(["run", "--release", "--quiet", "--package", "tidegate-core", "--example", "decision"]);
    output(&mut command).map(|text| Some(text.trim_end().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_of_this_process_only_grows() {
        let Some(before) = cpu_time(std::process::id(), None) else { return };
        let started = Instant::now();
        while started.elapsed() < Duration::from_millis(5) {}
        let after = cpu_time(std::process::id(), None).expect("it was there before");
        assert!(after > before, "{after:?} after {before:?}");
        assert_eq!(cpu_time(std::process::id(), Some("nobody")), Some(Duration::ZERO));
    }
}
