//! Where the configuration comes from: a file, else the keys in the environment, else simulated vendors.

use std::fmt::Write as _;
use std::path::Path;

use tidegate_core::config::Config;

use crate::sandbox::{Sandbox, VendorSpec};

/// What to serve, and what to tell whoever started it.
pub(crate) struct Setup {
    pub(crate) config: Config,
    /// Vendors that live as long as the server does.
    pub(crate) sandbox: Option<Sandbox>,
    /// Lines for the start, in plain words.
    pub(crate) remarks: Vec<String>,
}

/// A vendor that is known without a configuration.
struct Known {
    variable: &'static str,
    /// Its part of the configuration, and the model that stands for it in the `default` route; `None` where its dialect
    /// is not there yet.
    preset: Option<(&'static str, &'static str)>,
}

/// In the order in which the `default` route asks them.
const KNOWN: [Known; 4] = [
    Known {
        variable: "OPENAI_API_KEY",
        preset: Some((include_str!("../../presets/openai.toml"), "openai/gpt-5.4-mini")),
    },
    Known { variable: "ANTHROPIC_API_KEY", preset: None },
    Known { variable: "GEMINI_API_KEY", preset: None },
    Known {
        variable: "DEEPSEEK_API_KEY",
        preset: Some((include_str!("../../presets/deepseek.toml"), "deepseek/deepseek-chat")),
    },
];

/// What the sandbox's vendors ask for as a key: they take any.
const SANDBOX_KEY: &str = "sandbox-key-that-opens-nothing";

/// Finds the configuration and checks it.
pub(crate) async fn set_up(file: Option<&Path>) -> Result<Setup, String> {
    match file {
        Some(file) => Ok(Setup { config: from_file(file)?, sandbox: None, remarks: Vec::new() }),
        None => match from_environment()? {
            Some(setup) => Ok(setup),
            None => simulated().await,
        },
    }
}

/// Reads and checks a file.
pub(crate) fn from_file(file: &Path) -> Result<Config, String> {
    let text = std::fs::read_to_string(file).map_err(|error| format!("{} cannot be read: {error}", file.display()))?;
    Config::from_toml(&text, &file.display().to_string(), &environment).map_err(|errors| errors.to_string())
}

/// A variable of the environment; an empty one is as good as none.
fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The vendors whose keys are set. `None` if none is.
fn from_environment() -> Result<Option<Setup>, String> {
    let found: Vec<&Known> = KNOWN.iter().filter(|known| environment(known.variable).is_some()).collect();
    let mut remarks = Vec::new();
    let (mut text, mut route) = (String::new(), Vec::new());
    for known in found {
        match known.preset {
            Some((preset, first)) => {
                text.push_str(preset);
                route.push(format!("\"{first}\""));
                remarks.push(format!("{} is set: its vendor's models are served.", known.variable));
            }
            None => {
                remarks.push(format!("{} is set, but this version does not speak its dialect yet.", known.variable));
            }
        }
    }
    if route.is_empty() {
        for remark in remarks {
            tracing::warn!("{remark}");
        }
        return Ok(None);
    }
    let _ = write!(text, "[routes.default]\nmodels = [{}]\n", route.join(", "));
    let config = Config::from_toml(&text, "the built-in presets", &environment).map_err(|errors| errors.to_string())?;
    Ok(Some(Setup { config, sandbox: None, remarks }))
}

/// Simulated vendors on loopback, and a `default` route across them.
async fn simulated() -> Result<Setup, String> {
    let specs = VendorSpec::defaults();
    let models: Vec<Vec<String>> = specs.iter().map(|spec| spec.profile.models.clone()).collect();
    let sandbox = Sandbox::start(specs).await.map_err(|error| error.to_string())?;
    let (mut text, mut route) = (String::new(), Vec::new());
    for (vendor, models) in sandbox.vendors().zip(models) {
        let name = format!("sandbox-{}", vendor.name);
        let _ = write!(
            text,
            "[vendors.{name}]\ndialect = \"openai\"\nbase_url = \"{}\"\nkeys = [{{ env = \"SANDBOX_KEY\" }}]\n",
            vendor.base_url()
        );
        for model in &models {
            let _ = write!(text, "[models.\"{name}/{model}\"]\nprice = {{ input = 0.4, output = 1.6 }}\n");
        }
        route.extend(models.first().map(|model| format!("\"{name}/{model}\"")));
    }
    let _ = write!(text, "[routes.default]\nmodels = [{}]\n", route.join(", "));
    let key = |_: &str| Some(SANDBOX_KEY.to_owned());
    let config = Config::from_toml(&text, "the embedded default", &key).map_err(|errors| errors.to_string())?;
    let mut remarks = vec![
        "No configuration and no vendor keys: these vendors are SIMULATED, and so are their answers and prices.".into(),
    ];
    remarks.extend(sandbox.vendors().map(|vendor| {
        format!("  sandbox-{:<10} http://{}  (POST /faults there to break it)", vendor.name, vendor.address)
    }));
    Ok(Setup { config, sandbox: Some(sandbox), remarks })
}
