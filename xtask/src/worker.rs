//! The worker as it is uploaded: the wasm, which is the same for every config, and a checked config beside it.

use crate::place::{self, Fnv};
use crate::run::{cargo, path_with, run, scrub};
use crate::setup::Tools;
use anyhow::{Context as _, Result, anyhow};
use std::fs::{self, File};
use std::hash::Hasher as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use tidegate_core::config::{ConfigErrors, prices_file, prices_to_json, worker_json};

/// Builds the worker with a config, and returns its entry point.
///
/// The default config goes where wrangler.toml looks for it, each other one into a directory of its own, so that tests
/// with their configs do not disturb a deployment.
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
    // First: what is wrong with it is told at once.
    let settings = Settings::read(&config)?;
    // Two builds write the same files: the lock keeps one from copying what the other has half written.
    let locks = place::target()?.join("edge");
    fs::create_dir_all(&locks).with_context(|| format!("cannot create {}", locks.display()))?;
    let lock = File::create(locks.join(".lock")).context("cannot create the worker's lock file")?;
    lock.lock().context("cannot lock the worker's build")?;

    let worker = compile(tools, shrink)?;
    let read = |path: PathBuf| fs::read(&path).with_context(|| format!("cannot read {}", path.display()));
    fs::create_dir_all(&out).with_context(|| format!("cannot create {}", out.display()))?;
    put(&out.join("index_bg.wasm"), &read(worker.join("index_bg.wasm"))?)?;
    put(&out.join("worker.js"), &read(worker.join("index.js"))?)?;
    put(&out.join("config.txt"), settings.config.as_bytes())?;
    put(&out.join("prices.txt"), settings.prices.as_bytes())?;
    let entry = out.join("index.js");
    put(&entry, &read(root.join("edge/src/entry.js"))?)?;
    Ok(entry)
}

/// Writes a file, unless it is as it should be: `wrangler dev` starts anew when one is written.
fn put(path: &Path, bytes: &[u8]) -> Result<()> {
    if fs::read(path).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}

/// What the worker is told, as the JSON that it reads: it carries no parser of TOML.
struct Settings {
    config: String,
    /// The prices of the operator's own that the config names a file of; an empty table where it names none.
    prices: String,
}

impl Settings {
    /// Reads a config and checks it, with every error at its place.
    fn read(path: &Path) -> Result<Self> {
        let text = |path: &Path| fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()));
        let refused = |errors: ConfigErrors| anyhow!("the worker is not built with this configuration:\n{errors}");
        let config = worker_json(&text(path)?, &path.display().to_string()).map_err(refused)?;
        let prices = match prices_file(&config)? {
            None => "{}".to_owned(),
            Some(file) => {
                let path = path.parent().unwrap_or(Path::new(".")).join(file);
                prices_to_json(&text(&path)?, &path.display().to_string(), &config).map_err(refused)?
            }
        };
        Ok(Self { config, prices })
    }
}

/// Compiles the worker, and returns the directory where it is. What is there already of the same wasm and tools is left as it
/// is.
fn compile(tools: &Tools, shrink: bool) -> Result<PathBuf> {
    let edge = place::root()?.join("edge");
    let mut compile = cargo();
    compile.args(["build", "--lib", "--release", "--target", "wasm32-unknown-unknown"]);
    run(prepare(&mut compile, tools)?.current_dir(&edge))?;
    let out = place::target()?.join(if shrink { "edge/shrunk" } else { "edge/as-linked" });
    let stamp = stamp()?;
    if fs::read_to_string(out.join(".stamp")).is_ok_and(|old| old == stamp) {
        return Ok(out);
    }
    let mut bundle = Command::new(&tools.worker_build);
    scrub(&mut bundle);
    bundle.args(["--release"].into_iter().chain((!shrink).then_some("--no-opt")));
    bundle.arg("--out-dir").arg(&out).arg(edge);
    run(prepare(&mut bundle, tools)?)?;
    fs::write(out.join(".stamp"), stamp).context("cannot write the worker's stamp")?;
    Ok(out)
}

/// The environment of both steps. It must be equal in both: the second repeats the first's compilation, and finds
/// nothing to do only if nothing that cargo or wasm-bindgen look at has changed.
fn prepare<'a>(command: &'a mut Command, tools: &Tools) -> Result<&'a mut Command> {
    Ok(command
        .env("PATH", path_with(&tools.node_bin)?)
        .env("CARGO_TARGET_DIR", place::target()?)
        // A fifth less to upload and to start up with: what a worker does for a request is mostly waiting.
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "s")
        // worker-build sets it too; wasm-bindgen's macro reads it where cargo cannot see that.
        .env("WASM_BINDGEN_USE_JS_SYS", "1")
        .env("WASM_BINDGEN_BIN", &tools.wasm_bindgen)
        .env("WASM_OPT_BIN", tools.node_bin.join("wasm-opt"))
        .env("ESBUILD_BIN", tools.node_bin.join("esbuild")))
}

/// Names what the worker is made from: the wasm, and the tools by the directories they were installed to.
fn stamp() -> Result<String> {
    let root = place::root()?;
    let wasm = place::target()?.join("wasm32-unknown-unknown/release/tidegate_edge.wasm");
    place::hash_of(&[wasm, root.join("Cargo.lock"), root.join("tests/node/package-lock.json")])
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_core::config::{Config, assumed_secret};

    const VENDOR: &str = "[vendors.v]\ndialect = \"openai\"\nbase_url = \"http://127.0.0.1:1\"\n[models.\"v/m\"]\n";

    /// What comes of files, `tidegate.toml` among them; the place where they are is left out of errors.
    fn read(name: &str, files: &[(&str, &str)]) -> Result<Settings, String> {
        let dir = std::env::temp_dir().join(format!("tidegate-worker-{}-{name}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        for (file, text) in files {
            fs::write(dir.join(file), text).unwrap();
        }
        let read = Settings::read(&dir.join("tidegate.toml"));
        fs::remove_dir_all(&dir).unwrap();
        read.map_err(|error| format!("{error:#}").replace(&format!("{}/", dir.display()), ""))
    }

    #[test]
    fn the_worker_reads_the_config_that_was_written() {
        let config = [VENDOR, "[prices]\nfile = \"own.toml\"\n"].concat();
        let prices = "[\"v/m\"]\ninput = 3\noutput = 4\n";
        let settings = read("whole", &[("tidegate.toml", &config), ("own.toml", prices)]).unwrap();
        let as_worker = Config::from_json(&settings.config, "tidegate.toml", &assumed_secret)
            .and_then(|config| config.with_prices_json(&settings.prices, "the prices"));
        let as_server = Config::from_toml(&config, "tidegate.toml", &assumed_secret)
            .and_then(|config| config.with_prices(prices, "own.toml"));
        assert_eq!(as_worker.unwrap(), as_server.unwrap());
        let alone = read("alone", &[("tidegate.toml", VENDOR)]).unwrap();
        let as_worker = Config::from_json(&alone.config, "tidegate.toml", &assumed_secret).unwrap();
        assert_eq!(as_worker.clone().with_prices_json(&alone.prices, "the prices").unwrap(), as_worker);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place_and_a_remedy() {
        let refused = |name, files: &[_]| read(name, files).map(drop).unwrap_err();
        let config = [VENDOR, "[prices]\nfile = \"own.toml\"\n"].concat();
        assert!(refused("gone", &[]).starts_with("cannot read tidegate.toml: "));
        assert!(refused("priceless", &[("tidegate.toml", &config)]).starts_with("cannot read own.toml: "));
        let misspelt = VENDOR.replace("base_url", "base_ulr");
        assert_eq!(
            refused("misspelt", &[("tidegate.toml", &misspelt)]),
            "the worker is not built with this configuration:\n\
             tidegate.toml:1:10: vendors.v: `base_url` is missing. Add base_url = \"https://api.openai.com/v1\".\n\
             tidegate.toml:3:1: vendors.v.base_ulr: unknown key. Did you mean `base_url`?"
        );
        let prices = "[\"v/n\"]\ninput = 3\noutput = 4\n";
        let unknown = refused("unknown", &[("tidegate.toml", &config), ("own.toml", prices)]);
        assert!(unknown.contains("\nown.toml:1:2: \"v/n\": there is no model `v/n`"), "{unknown}");
        let client = |nth| format!("[clients.c{nth}]\nkey = {{ env = \"C{nth}\" }}\ntpm = 1000\n");
        let crowded = VENDOR.to_owned() + &(0..1025).map(client).collect::<String>();
        let crowded = refused("crowded", &[("tidegate.toml", &crowded)]);
        assert!(crowded.contains("would have 1025 limits to keep together, and can keep 1024"), "{crowded}");
    }
}
