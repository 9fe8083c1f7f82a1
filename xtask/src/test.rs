//! `cargo xtask test`: everything that must hold before a change is merged, in one command.
//!
//! Without a filter: format, lints on the host and for wasm, the worker's bundle, then all tests. With one: only the tests
//! whose name contains it. A failed stage does not hide the next ones; the last line sums up.

use crate::edge;
use crate::fuzz;
use crate::place;
use crate::run::{cargo, run, stage};
use crate::setup;
use crate::worker;
use anyhow::{Context as _, Result};
use std::env;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};

const WASM_CLIPPY: [&str; 8] = [
    "clippy",
    "--package=tidegate-core",
    "--package=tidegate-edge",
    "--target=wasm32-unknown-unknown",
    "--lib",
    "--",
    "-D",
    "warnings",
];

/// How many random cases each property is tried with.
const PROPERTY_CASES: &str = "10000";

/// How many tests passed and failed; a stage that fails without any test to blame counts as one failure.
#[derive(Debug, Default, PartialEq)]
struct Tally {
    passed: u64,
    failed: u64,
}

/// `cargo xtask test [FILTER]`.
pub(crate) fn main(mut args: lexopt::Parser) -> Result<ExitCode> {
    let filter = match args.next()? {
        Some(lexopt::Arg::Value(filter)) => Some(filter.to_string_lossy().into_owned()),
        Some(other) => return Err(other.unexpected().into()),
        None => None,
    };
    // Asked for first: while tests run, cargo may replace the program that this process was started from.
    let this = env::current_exe().context("the path of this program")?;
    let mut tally = Tally::default();
    tally.stage("set-up", setup::everything);
    if filter.is_none() {
        tally.stage("format", || run(cargo().args(["fmt", "--all", "--check"])));
        tally.stage("lints", || run(cargo().args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])));
        tally.stage("lints for wasm", || run(cargo().args(WASM_CLIPPY)));
        tally.stage("worker", upload);
    }
    // All targets in one go, so that the tests run against the very binaries built with them.
    tally.stage("build", || run(cargo().args(["build", "--workspace", "--all-targets"])));
    let mut tests = Tally::default();
    tally.stage("tests", || cargo_test(filter.as_deref(), this, &mut tests));
    tally.stage("fuzz", || {
        let (passed, failed) = fuzz::briefly(filter.as_deref())?;
        tests.passed += passed;
        tests.failed += failed;
        Ok(())
    });
    tally.passed += tests.passed;
    tally.failed += tests.failed;
    println!("tidegate: {} passed, {} failed", tally.passed, tally.failed);
    Ok(if tally.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Tally {
    fn stage(&mut self, name: &str, work: impl FnOnce() -> Result<()>) {
        if let Err(error) = stage(name, work) {
            eprintln!("{name}: {error:#}");
            self.failed += 1;
        }
    }

    /// Adds what one line of a test runner's output says, if it is a summary. libtest and libtest-mimic print the same:
    /// `test result: ok. 12 passed; 0 failed; 0 ignored; …`.
    fn read(&mut self, line: &str) {
        let Some((_, counts)) = line.split_once("test result: ") else { return };
        let count = |word: &str| {
            let before = counts.split_once(word)?.0.trim_end();
            before.rsplit(' ').next()?.parse::<u64>().ok()
        };
        self.passed += count("passed").unwrap_or(0);
        self.failed += count("failed").unwrap_or(0);
    }
}

/// The worker with the default config builds, and its upload bundles.
fn upload() -> Result<()> {
    let tools = setup::edge()?;
    let worker = worker::build(&tools, None, true)?;
    run(edge::wrangler(&tools)?
        .args(["deploy", "--dry-run", "--outdir"])
        .arg(place::target()?.join("edge/upload"))
        .arg(worker))
}

/// Runs the tests, passing their output on line by line, and counts.
///
/// An error means that cargo failed although no test did: something did not compile, or a runner crashed.
fn cargo_test(filter: Option<&str>, this: PathBuf, tally: &mut Tally) -> Result<()> {
    let mut command = cargo();
    command.args(["test", "--workspace", "--no-fail-fast"]).args(filter);
    // What the tests of `tests/` start: the server, the worker (by this program), the clients, the mock vendors.
    command.env("TIDEGATE_XTASK", this).env("TIDEGATE_BIN", place::target()?.join("debug/tidegate"));
    command.env("TIDEGATE_NODE", setup::edge()?.node_bin.join("node")).env("TIDEGATE_PYTHON", setup::python()?);
    command.env("TIDEGATE_VIDAIMOCK", setup::vidaimock()?);
    // By hand, `cargo test` tries each property a few hundred times; here it has to hold for longer.
    command.env("PROPTEST_CASES", PROPERTY_CASES);
    let status = pass_on(command.stdout(Stdio::piped()), |line| tally.read(line))?;
    anyhow::ensure!(status || tally.failed > 0, "cargo test failed, though no test that ran did");
    Ok(())
}

/// Runs a command, prints its lines as they come and shows each to `see`; whether it ended well.
fn pass_on(command: &mut Command, mut see: impl FnMut(&str)) -> Result<bool> {
    let mut child = command.spawn().context("cannot start cargo")?;
    let lines = BufReader::new(child.stdout.take().context("its output is piped")?);
    let mut out = std::io::stdout().lock();
    for line in lines.split(b'\n') {
        let line = line.context("cannot read what the tests print")?;
        let line = String::from_utf8_lossy(&line);
        writeln!(out, "{line}").context("standard output is closed")?;
        see(&line);
    }
    Ok(child.wait().context("cannot wait for cargo")?.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summaries_are_added_up_and_other_lines_are_not() {
        let mut tally = Tally::default();
        for line in [
            "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s",
            "test tests::three_passed ... ok",
            "3 passed; 4 failed",
            "test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 7 filtered out; finished in 1.20s",
        ] {
            tally.read(line);
        }
        assert_eq!(tally, Tally { passed: 15, failed: 2 });
    }

    #[test]
    fn a_failed_stage_is_a_failure_and_a_good_one_is_not_a_test() {
        let mut tally = Tally::default();
        tally.stage("good", || Ok(()));
        tally.stage("bad", || anyhow::bail!("as expected"));
        assert_eq!(tally, Tally { passed: 0, failed: 1 });
    }
}
