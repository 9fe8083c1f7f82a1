//! Compiles the config in: checks it with every error at its place, and writes it as the JSON that the worker reads.

use std::env;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use tidegate_core::config::{prices_file, prices_to_json, worker_json};

/// Names the config, as an absolute path. `cargo xtask edge --config` sets it.
const CONFIG: &str = "TIDEGATE_CONFIG";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-env-changed={CONFIG}");
    let default = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("../tidegate.toml");
    let path = env::var_os(CONFIG).map_or(default, PathBuf::from);
    println!("cargo::rerun-if-changed={}", path.display());
    let out = Path::new(&env::var("OUT_DIR")?).join("config.json");
    let text = fs::read_to_string(&path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    match worker_json(&text, &path.display().to_string()) {
        Ok(json) => {
            fs::write(out.with_file_name("prices.json"), prices(&path, &json)?)?;
            fs::write(out, json)?;
        }
        Err(errors) => {
            for line in errors.to_string().lines() {
                println!("cargo::error={line}");
            }
        }
    }
    Ok(())
}

/// The prices of the operator's own that the config names a file of, as JSON; an empty table where it names none.
fn prices(config: &Path, json: &str) -> Result<String, Box<dyn Error>> {
    let Some(file) = prices_file(json)? else { return Ok("{}".to_owned()) };
    let path = config.parent().unwrap_or(Path::new(".")).join(file);
    println!("cargo::rerun-if-changed={}", path.display());
    let text = fs::read_to_string(&path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    prices_to_json(&text, &path.display().to_string(), json).map_err(|errors| errors.to_string().into())
}
