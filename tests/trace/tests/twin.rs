//! Invariant 14: the same config, seed and events give the same decisions, byte for byte, on the host and in wasm.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use tidegate_core::sim;

/// Requests in a story: enough that every target trips, recovers, throttles and refuses more than once.
const REQUESTS: u32 = 300;

const SEEDS: [u64; 5] = [0, 1, 2, 0xdead_beef, u64::MAX];

/// Loads a module given no imports at all, and prints the story of a seed. A module that wants imports does not load.
const TELL: &str = r"
const [path, seed, requests] = process.argv.slice(1);
const module = new WebAssembly.Module(require('fs').readFileSync(path));
const imports = WebAssembly.Module.imports(module);
if (imports.length > 0) throw new Error('it imports ' + JSON.stringify(imports));
const { run, byte } = new WebAssembly.Instance(module, {}).exports;
const story = Buffer.alloc(run(BigInt.asIntN(64, BigInt(seed)), Number(requests)));
for (let at = 0; at < story.length; at++) story[at] = byte(at);
process.stdout.write(story);
";

#[test]
fn host_and_wasm_decide_alike() {
    let module = built();
    for seed in SEEDS {
        let there = told_in_wasm(&module, seed);
        let here = sim::trace(seed, REQUESTS);
        assert!(here.len() > 50_000 && here.contains(" open "), "a story that is worth comparing");
        let differing = here.lines().zip(there.lines()).find(|(here, there)| here != there);
        assert_eq!(differing, None, "seed {seed}: the first line that differs, host and wasm");
        assert!(here == there, "seed {seed}: one is longer than the other");
    }
}

/// Builds this crate for wasm with the cargo that runs the test, beside what that has built.
fn built() -> PathBuf {
    const TARGET: &str = "wasm32-unknown-unknown";
    let target_dir = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("cargo puts it into its target directory");
    let status = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["build", "--quiet", "--package=tidegate-trace", "--lib", "--target", TARGET, "--target-dir"])
        .arg(target_dir)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()
        .expect("cargo runs the test, so it can be run");
    assert!(
        status.success(),
        "the core does not build for {TARGET}; `rustup target add {TARGET}` if it is not installed"
    );
    target_dir.join(TARGET).join("debug/tidegate_trace.wasm")
}

fn told_in_wasm(module: &Path, seed: u64) -> String {
    let node = env::var_os("TIDEGATE_NODE").unwrap_or_else(|| OsString::from("node"));
    let output = Command::new(node)
        .args(["-e", TELL, "--"])
        .arg(module)
        .args([seed.to_string(), REQUESTS.to_string()])
        .output()
        .expect("node 18 or later is on the PATH");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("the story is text")
}
