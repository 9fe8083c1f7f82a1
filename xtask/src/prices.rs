//! Makes core's price table anew, from what is on `PyPI` now: for developers, never for the tests.
//!
//! The prices of genai-prices are a Python module, so a script reads them; this fetches the wheels and runs it. What it finds
//! to differ from litellm's own file is printed, for whoever commits the table to judge.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::place;
use crate::run::run;
use crate::setup;

/// Writes `core/src/price/table.tsv`, and `samples.tsv` for its tests.
pub(crate) fn main() -> Result<()> {
    let root = place::root()?;
    let python = setup::python()?;
    let wheels = place::cache()?.join("prices");
    if wheels.exists() {
        fs::remove_dir_all(&wheels).context("cannot clear the wheels of another day")?;
    }
    let mut pip = Command::new(&python);
    pip.args([
        "-m",
        "pip",
        "download",
        "--quiet",
        "--disable-pip-version-check",
        "--no-deps",
        "--only-binary",
        ":all:",
    ]);
    run(pip.arg("-d").arg(&wheels).args(["genai-prices", "litellm"])).context("PyPI is needed")?;
    let prices = root.join("core/src/price");
    let mut script = Command::new(&python);
    script.arg(root.join("xtask/src/prices.py"));
    script.args([wheel(&wheels, "genai_prices-")?, wheel(&wheels, "litellm-")?]);
    run(script.args([prices.join("table.tsv"), prices.join("samples.tsv")]))
}

fn wheel(dir: &Path, name: &str) -> Result<PathBuf> {
    let files = fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))?;
    let named = files
        .filter_map(Result::ok)
        .map(|file| file.path())
        .find(|path| path.file_name().is_some_and(|file| file.to_string_lossy().starts_with(name)));
    named.with_context(|| format!("pip has fetched no {name}*.whl"))
}
