//! `cargo xtask fuzz`: `tests/fuzz/` with libFuzzer in it, on a stable compiler and with no tool to install.
//!
//! What cargo-fuzz does is little without the address sanitizer, which safe Rust does not need: a few flags that have the
//! compiler count which edges of the program an input takes. The library itself comes with a crate, as C++ source.
//!
//! All targets are one program, because linking is what takes time. Each is a process of its own all the same, so
//! that what guides it is its own coverage.

use crate::place;
use crate::run::{cargo, output, run};
use anyhow::{Context as _, Result, ensure};
use lexopt::ValueExt as _;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Mutex;
use std::thread;

/// Counts edges, and shows libFuzzer what is compared with what, so that it need not guess the words of a protocol.
const FLAGS: [&str; 6] = [
    "--cfg=fuzzing",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
];

/// A hang is an input that takes longer than this, in seconds; they take a millisecond.
const HANG_SECONDS: u32 = 10;
/// Longer ones find little more, and are slow. Most of the golden files are shorter.
const INPUT_BYTES_MAX: u32 = 4096;
/// How long each target runs in `cargo xtask test`: long enough for tens of thousands of inputs.
const BRIEF_SECONDS: u32 = 3;
/// How long may be spent to make an input smaller that was found to do harm.
const SHRINK_SECONDS: u32 = 10;

/// A run of some targets.
struct Campaign {
    program: PathBuf,
    /// Where logs are written, and inputs that are worth keeping.
    home: PathBuf,
    seeds: PathBuf,
    seconds: u32,
    /// Whether to go on from where the last run ended: not in the tests, whose time is bounded.
    goes_on: bool,
}

/// `cargo xtask fuzz [--seconds N] [NAME]`.
pub(crate) fn main(mut args: lexopt::Parser) -> Result<ExitCode> {
    let (mut seconds, mut filter) = (60, None);
    while let Some(arg) = args.next()? {
        match arg {
            lexopt::Arg::Long("seconds") => seconds = args.value()?.parse()?,
            lexopt::Arg::Value(name) if filter.is_none() => filter = Some(name.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    let campaign = Campaign::new(seconds, true)?;
    let names = matching(&campaign.program, filter.as_deref())?;
    ensure!(!names.is_empty(), "there is no such target; there are: {}", list(&campaign.program)?);
    let (_, failed) = campaign.run(&names)?;
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs each target for a short time, and says how many passed and how many failed.
pub(crate) fn briefly(filter: Option<&str>) -> Result<(u64, u64)> {
    // The list comes from the program without the fuzzer, which is there already: a filter should not cost a build.
    let names = matching(&place::target()?.join("debug/tidegate-fuzz"), filter)?;
    if names.is_empty() {
        return Ok((0, 0));
    }
    Campaign::new(BRIEF_SECONDS, false)?.run(&names)
}

/// The targets that a filter names, by names that look like those of tests.
fn matching(program: &Path, filter: Option<&str>) -> Result<Vec<String>> {
    let names = list(program)?;
    let names = names.lines().filter(|name| filter.is_none_or(|filter| format!("fuzz::{name}").contains(filter)));
    Ok(names.map(str::to_owned).collect())
}

fn list(program: &Path) -> Result<String> {
    output(&mut Command::new(program))
}

/// Builds the targets with the fuzzer, in a directory of their own: everything in it is compiled otherwise.
fn build() -> Result<(PathBuf, PathBuf)> {
    let home = place::target()?.join("fuzz");
    let about = output(Command::new("rustc").arg("-vV").current_dir(place::root()?))?;
    let host = about.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc names no host")?;
    let mut build = cargo();
    // Only with a target named are build scripts and macros, which run here and now, spared the flags.
    build.args(["build", "--package=tidegate-fuzz", "--target", host]).current_dir(place::root()?);
    build.env("CARGO_TARGET_DIR", &home).env_remove("RUSTFLAGS").env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\x1f"));
    build.env("CARGO_PROFILE_DEV_OPT_LEVEL", "2");
    run(&mut build).context("the fuzz targets do not build (libFuzzer needs a C++ compiler)")?;
    Ok((home.join(host).join("debug/tidegate-fuzz"), home))
}

impl Campaign {
    fn new(seconds: u32, goes_on: bool) -> Result<Self> {
        let (program, home) = build()?;
        let seeds = place::root()?.join("tests/data/golden");
        Ok(Self { program, home, seeds, seconds, goes_on })
    }

    /// Runs targets, as many at once as there are processors; how many passed and how many failed.
    fn run(&self, names: &[String]) -> Result<(u64, u64)> {
        let queue = Mutex::new(names.iter());
        let next = || queue.lock().expect("no thread panics while it takes a name").next();
        let work = || {
            let (mut passed, mut failed) = (0, 0);
            while let Some(name) = next() {
                let count = if self.target(name)? { &mut passed } else { &mut failed };
                *count += 1;
            }
            Ok::<(u64, u64), anyhow::Error>((passed, failed))
        };
        let processors = thread::available_parallelism().map_or(1, usize::from);
        thread::scope(|scope| {
            let threads: Vec<_> = (0..processors).map(|_| scope.spawn(work)).collect();
            let (mut passed, mut failed) = (0, 0);
            for thread in threads {
                let (well, ill) = thread.join().expect("a thread that runs targets does not panic")?;
                (passed, failed) = (passed + well, failed + ill);
            }
            Ok((passed, failed))
        })
    }

    /// Runs one target; whether nothing was found.
    fn target(&self, name: &str) -> Result<bool> {
        let log = self.home.join(format!("{name}.log"));
        let found = self.home.join("found").join(name);
        // libFuzzer writes what it learns into the first directory that it is given: never into the seeds.
        let corpus = self.home.join(if self.goes_on { "corpus" } else { "brief" }).join(name);
        if !self.goes_on && corpus.is_dir() {
            fs::remove_dir_all(&corpus).with_context(|| format!("cannot clear {}", corpus.display()))?;
        }
        for dir in [&found, &corpus] {
            fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
        }
        let before = files(&found)?;
        let mut fuzz = self.fuzzer(name, &log)?;
        fuzz.arg(format!("-max_total_time={}", self.seconds)).arg(format!("-max_len={INPUT_BYTES_MAX}"));
        fuzz.arg(format!("-artifact_prefix={}/", found.display()));
        if !self.goes_on {
            // In the tests, the same inputs each time: news about a change, not about luck.
            fuzz.arg("-seed=1");
        }
        let status = fuzz.arg(corpus).arg(&self.seeds).status().context("cannot run the fuzzer")?;
        let said = fs::read(&log).with_context(|| format!("cannot read {}", log.display()))?;
        let said = String::from_utf8_lossy(&said);
        if status.success() {
            let done = said.lines().rfind(|line| line.contains("\tDONE ")).unwrap_or_default();
            println!("fuzz::{name} ... ok ({})", done.split_whitespace().collect::<Vec<_>>().join(" "));
            return Ok(true);
        }
        println!("fuzz::{name} ... FAILED\n{}", excerpt(&said));
        for input in files(&found)?.iter().filter(|file| !before.contains(file)) {
            self.report(name, input)?;
        }
        println!("  log: {}", log.display());
        Ok(false)
    }

    /// The fuzzer for a target, with what holds for every run.
    fn fuzzer(&self, name: &str, log: &Path) -> Result<Command> {
        let log = File::create(log).with_context(|| format!("cannot create {}", log.display()))?;
        let mut fuzz = Command::new(&self.program);
        fuzz.env("TIDEGATE_FUZZ", name).env("RUST_BACKTRACE", "1").stdout(log.try_clone()?).stderr(log);
        fuzz.arg(format!("-timeout={HANG_SECONDS}"));
        Ok(fuzz)
    }

    /// Shows an input that did harm, made smaller if that can be done, and how to try it again.
    fn report(&self, name: &str, input: &Path) -> Result<()> {
        let small = input.with_extension("small");
        let mut shrink = self.fuzzer(name, &input.with_extension("log"))?;
        shrink.arg("-minimize_crash=1").arg(format!("-max_total_time={SHRINK_SECONDS}"));
        shrink.arg(format!("-exact_artifact_path={}", small.display())).arg(input);
        shrink.status().context("cannot run the fuzzer")?;
        let input = if small.is_file() { &small } else { input };
        let bytes = fs::read(input).with_context(|| format!("cannot read {}", input.display()))?;
        println!("  input: {}", bytes.escape_ascii());
        println!("  again: cargo run -p tidegate-fuzz -- {name} {}", input.display());
        Ok(())
    }
}

/// What a log says of the fault: from the panic on, or its last lines.
fn excerpt(log: &str) -> String {
    const LINES_MAX: usize = 8;
    const LINE_CHARS_MAX: usize = 1000;
    let lines: Vec<&str> = log.lines().collect();
    let panic = lines.iter().position(|line| line.contains("panicked at") || line.starts_with("memory allocation of"));
    let from = panic.unwrap_or(lines.len().saturating_sub(LINES_MAX));
    let shown = lines[from..].iter().take(LINES_MAX).map(|line| line.chars().take(LINE_CHARS_MAX).collect());
    shown.collect::<Vec<String>>().join("\n")
}

fn files(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))?;
    entries.map(|entry| Ok(entry?.path())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_shown_from_where_it_begins() {
        let log = "INFO: Seed: 1\n#2\tINITED\nthread '<unnamed>' panicked at core/src/x.rs:1:2:\nwhy\nSUMMARY";
        assert!(excerpt(log).starts_with("thread '<unnamed>' panicked at core/src/x.rs:1:2:\nwhy\n"));
        let hang = "INFO: Seed: 1\n==1== ERROR: libFuzzer: timeout after 14 seconds";
        assert!(excerpt(hang).ends_with("timeout after 14 seconds"));
    }
}
