//! Set-up: the wasm target, the two cargo tools of the edge, npm packages, the Python environment, a mock vendor.
//!
//! Each part has its own directory in the cache, named by what is in it (a version, or the hash of a lock file), and a
//! marker file that is written last. A part whose marker exists is never touched again, so that the usual case costs a few
//! look-ups; a part that was cut off half-way is made anew. A lock file keeps two runs from making the same part.

use crate::place;
use crate::run::{cargo, output, run, stage};
use anyhow::{Context as _, Result, bail};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The version that works with the `worker` crate of the same number.
const WORKER_BUILD: &str = "0.8.7";
const VIDAIMOCK: &str = "0.3.1";
const WASM: &str = "wasm32-unknown-unknown";
/// Where tools are compiled.
const TOOLS_TARGET: &str = "tools/target";
const MARKER: &str = ".complete";

/// Where the tools are once they are installed.
pub(crate) struct Tools {
    pub(crate) worker_build: PathBuf,
    pub(crate) wasm_bindgen: PathBuf,
    /// `node_modules/.bin`: node, wrangler, workerd, esbuild, wasm-opt.
    pub(crate) node_bin: PathBuf,
}

/// Installs whatever is missing, for the edge and for the client tests.
pub(crate) fn everything() -> Result<()> {
    let tools = edge()?;
    let python = python()?;
    let vidaimock = vidaimock()?;
    // Nothing is left to be compiled.
    let _ = fs::remove_dir_all(place::cache()?.join(TOOLS_TARGET));
    eprintln!("worker-build  {}", tools.worker_build.display());
    eprintln!("wasm-bindgen  {}", tools.wasm_bindgen.display());
    eprintln!("npm           {}", tools.node_bin.display());
    eprintln!("python        {}", python.display());
    eprintln!("vidaimock     {}", vidaimock.display());
    Ok(())
}

/// Installs whatever the worker needs to be built and run, and says where it is.
pub(crate) fn edge() -> Result<Tools> {
    wasm_target()?;
    let node_bin = node()?;
    let worker_build = cargo_tool("worker-build", WORKER_BUILD, |_| ())?.join("bin/worker-build");
    let wasm_bindgen = cargo_tool("wasm-bindgen-cli", &wasm_bindgen_version()?, |_| ())?.join("bin/wasm-bindgen");
    Ok(Tools { worker_build, wasm_bindgen, node_bin })
}

/// A mock vendor that the tests put behind the gateway; returns its program.
///
/// A program and not a dependency of the tests: it would bring 136 packages into our lock file, and more than double the
/// time of its build, because ours is optimized.
pub(crate) fn vidaimock() -> Result<PathBuf> {
    let dir = cargo_tool("vidaimock", VIDAIMOCK, |install| {
        install.arg("--debug").env("CARGO_PROFILE_DEV_DEBUG", "0");
    })?;
    Ok(dir.join("bin/vidaimock"))
}

/// The Python environment with the clients and llmock; returns its interpreter.
pub(crate) fn python() -> Result<PathBuf> {
    let wanted = place::root()?.join("tests/python/requirements.txt");
    let name = format!("venv-{}", place::hash_of(std::slice::from_ref(&wanted))?);
    let dir = part(&name, "the Python environment (about 20 s)", |dir| {
        let made = run(Command::new("python3").args(["-m", "venv"]).arg(dir));
        made.context("python3 with its venv module is needed (on Debian: python3-venv)")?;
        let mut pip = Command::new(dir.join("bin/python"));
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"]).arg(&wanted);
        run(&mut pip)
    })?;
    Ok(dir.join("bin/python"))
}

/// The npm packages, by lock file; returns the directory of their programs.
///
/// Install scripts stay off: they only replace small launchers by the programs that these find anyway, and newer
/// npm versions ask before they run any.
fn node() -> Result<PathBuf> {
    let home = place::root()?.join("tests/node");
    let files = ["package.json", "package-lock.json"].map(|name| home.join(name));
    let name = format!("node-{}", place::hash_of(&files)?);
    let dir = part(&name, "npm packages (about 10 s)", |dir| {
        for file in &files {
            let name = file.file_name().context("a lock file has a name")?;
            fs::copy(file, dir.join(name)).with_context(|| format!("cannot copy {}", file.display()))?;
        }
        let mut npm = Command::new("npm");
        npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]);
        run(npm.current_dir(dir)).context("node with npm is needed, and the npm registry")
    })?;
    let modules = dir.join("node_modules");
    link(&modules, &home.join("node_modules"))?;
    Ok(modules.join(".bin"))
}

/// Makes `at` a link to `to`, so that scripts beside it find their packages; replaced in one step.
fn link(to: &Path, at: &Path) -> Result<()> {
    if fs::read_link(at).is_ok_and(|now| now == to) {
        return Ok(());
    }
    let fresh = at.with_extension(std::process::id().to_string());
    std::os::unix::fs::symlink(to, &fresh).with_context(|| format!("cannot link {}", fresh.display()))?;
    fs::rename(&fresh, at).with_context(|| format!("cannot replace {}", at.display()))
}

fn cargo_tool(package: &str, version: &str, how: impl FnOnce(&mut Command)) -> Result<PathBuf> {
    let name = format!("tools/{package}-{version}");
    part(&name, &format!("{package} {version} (2 to 4 minutes)"), |dir| {
        let mut install = cargo();
        // Not `--locked`: wasm-bindgen-cli's own lock file names a version that was withdrawn.
        install.arg("install").arg(format!("{package}@{version}")).arg("--root").arg(dir);
        // No workspace: the tool is not part of this build. What the tools share is compiled once.
        install.current_dir(dir).arg("--target-dir").arg(place::cache()?.join(TOOLS_TARGET));
        // They run for seconds, and are compiled for minutes.
        install.env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1").env("CARGO_PROFILE_RELEASE_LTO", "off");
        install.env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16");
        how(&mut install);
        run(&mut install)
    })
}

/// The generated JavaScript must come from the same version of wasm-bindgen as the crate in the lock file.
fn wasm_bindgen_version() -> Result<String> {
    let file = place::root()?.join("Cargo.lock");
    let lock = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let version = version_in(&lock, "wasm-bindgen");
    version.map(str::to_owned).context("Cargo.lock has no wasm-bindgen: does edge still use the worker crate?")
}

fn version_in<'a>(lock: &'a str, package: &str) -> Option<&'a str> {
    let name = format!("name = \"{package}\"");
    let mut lines = lock.lines().skip_while(|line| *line != name).skip(1);
    lines.next()?.strip_prefix("version = \"")?.strip_suffix('"')
}

fn wasm_target() -> Result<()> {
    let root = place::root()?;
    let sysroot = output(Command::new("rustc").args(["--print", "sysroot"]).current_dir(&root))?;
    if Path::new(sysroot.trim()).join("lib/rustlib").join(WASM).is_dir() {
        return Ok(());
    }
    stage("install the wasm target", || {
        let added = run(Command::new("rustup").args(["target", "add", WASM]).current_dir(&root));
        added.context("rustup is needed to add the wasm target")
    })
}

/// Makes sure that one directory of the cache is there and whole.
fn part(name: &str, what: &str, make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let cache = place::cache()?;
    let dir = cache.join(name);
    if dir.join(MARKER).is_file() {
        return Ok(dir);
    }
    let _lock = lock(&cache)?;
    if dir.join(MARKER).is_file() {
        return Ok(dir); // Another run made it while this one waited.
    }
    if dir.exists() {
        fs::remove_dir_all(&dir).with_context(|| format!("cannot clear {}", dir.display()))?;
    }
    fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    stage(&format!("install {what}"), || make(&dir))?;
    fs::write(dir.join(MARKER), "").with_context(|| format!("cannot write to {}", dir.display()))?;
    Ok(dir)
}

/// Holds the cache for one run; let go when dropped, also when the process dies.
fn lock(cache: &Path) -> Result<File> {
    fs::create_dir_all(cache).with_context(|| format!("cannot create {}", cache.display()))?;
    let file = File::create(cache.join(".lock")).context("cannot create the cache's lock file")?;
    match file.try_lock() {
        Ok(()) => return Ok(file),
        Err(fs::TryLockError::WouldBlock) => eprintln!("another set-up is running; waiting for it"),
        Err(fs::TryLockError::Error(error)) => bail!("cannot lock the cache: {error}"),
    }
    file.lock().context("cannot lock the cache")?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_read_for_the_whole_name_only() {
        let lock = "[[package]]\nname = \"wasm-bindgen-futures\"\nversion = \"0.4.80\"\n\n\
                    [[package]]\nname = \"wasm-bindgen\"\nversion = \"0.2.130\"\n";
        assert_eq!(version_in(lock, "wasm-bindgen"), Some("0.2.130"));
        assert_eq!(version_in(lock, "wasm"), None);
    }
}
