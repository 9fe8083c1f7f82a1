//! Where the configuration comes from: a file, else the keys in the environment, else simulated vendors.

use std::fmt::Write as _;
use std::path::Path;

use tidegate_core::config::{Config, assumed_secret, toml_to_json_alone};

use crate::prices::{self, PricesFile};
use crate::sandbox::{Sandbox, VendorSpec};

/// What to serve, and what to tell whoever started it.
pub(crate) struct Setup {
    pub(crate) config: Config,
    pub(crate) source: Source,
    /// Vendors that live as long as the server does.
    pub(crate) sandbox: Option<Sandbox>,
    /// Lines for the start, in plain words.
    pub(crate) remarks: Vec<String>,
}

/// A configuration as it was written: secrets are named in it, and never stand in it.
pub(crate) struct Source {
    name: String,
    text: String,
    prices: Option<PricesFile>,
}

/// A vendor in the cloud: with a key of its own in the environment it is served.
struct Hosted {
    preset: &'static str,
    /// The variables that may hold a key, the preset's last: of those that are set, the first counts.
    keys: &'static [&'static str],
    /// The variable by which its SDKs are sent elsewhere, where they have one.
    base_url: Option<&'static str>,
    /// What stands for it in the `default` route.
    first: &'static str,
}

/// In the order in which the `default` route asks them: those whose models are their own, then hosts of open ones, then
/// one that asks others.
const HOSTED: [Hosted; 10] = [
    Hosted {
        preset: include_str!("../../presets/openai.toml"),
        keys: &["OPENAI_API_KEY"],
        base_url: Some("OPENAI_BASE_URL"),
        first: "openai/gpt-5.4-mini",
    },
    Hosted {
        preset: include_str!("../../presets/anthropic.toml"),
        keys: &["ANTHROPIC_API_KEY"],
        base_url: Some("ANTHROPIC_BASE_URL"),
        first: "anthropic/claude-sonnet-5-5",
    },
    Hosted {
        preset: include_str!("../../presets/gemini.toml"),
        // As Google's own SDK chooses.
        keys: &["GOOGLE_API_KEY", "GEMINI_API_KEY"],
        base_url: None,
        first: "gemini/gemini-3.5-flash-lite",
    },
    hosted(include_str!("../../presets/deepseek.toml"), &["DEEPSEEK_API_KEY"], "deepseek/deepseek-flash"),
    hosted(include_str!("../../presets/mistral.toml"), &["MISTRAL_API_KEY"], "mistral/mistral-small-2603"),
    hosted(include_str!("../../presets/xai.toml"), &["XAI_API_KEY"], "xai/grok-4.7"),
    hosted(include_str!("../../presets/groq.toml"), &["GROQ_API_KEY"], "groq/openai/gpt-oss-120b"),
    hosted(include_str!("../../presets/together.toml"), &["TOGETHER_API_KEY"], "together/zai-org/GLM-5.3-Flash"),
    hosted(include_str!("../../presets/fireworks.toml"), &["FIREWORKS_API_KEY"], "fireworks/glm-5p3-flash"),
    hosted(include_str!("../../presets/openrouter.toml"), &["OPENROUTER_API_KEY"], "openrouter/openrouter/auto"),
];

const fn hosted(preset: &'static str, keys: &'static [&'static str], first: &'static str) -> Hosted {
    Hosted { preset, keys, base_url: None, first }
}

/// A server of the operator's own: with its address in the environment it is served, with one model. Which ones it has
/// would have to be asked of it, and it may not be up yet.
struct Local {
    preset: &'static str,
    name: &'static str,
    /// The variable that says where it is: a host, with or without a port, or a URL, with or without `/v1`.
    address: &'static str,
    /// Its port, where the address has neither that nor a scheme.
    port: u16,
    /// The variable by which the server itself is told the key to ask for.
    key: Option<&'static str>,
    /// The variable that names the model.
    model: &'static str,
    /// The model without that, where any name will do.
    any_model: Option<&'static str>,
}

/// In the order in which the `default` route asks them, after all [`HOSTED`] ones.
const LOCAL: [Local; 3] = [
    Local {
        preset: include_str!("../../presets/vllm.toml"),
        name: "vllm",
        address: "VLLM_BASE_URL",
        port: 8000,
        key: Some("VLLM_API_KEY"),
        model: "VLLM_MODEL",
        any_model: None,
    },
    Local {
        preset: include_str!("../../presets/ollama.toml"),
        name: "ollama",
        address: "OLLAMA_HOST",
        port: 11434,
        key: None,
        model: "OLLAMA_MODEL",
        any_model: None,
    },
    Local {
        preset: include_str!("../../presets/llamacpp.toml"),
        name: "llamacpp",
        address: "LLAMACPP_BASE_URL",
        port: 8080,
        key: Some("LLAMA_API_KEY"),
        model: "LLAMACPP_MODEL",
        any_model: Some("default"),
    },
];

/// Looks up a variable; an empty one is as good as none.
type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// What one vendor adds to the configuration.
struct Found {
    text: String,
    /// What stands for it in the `default` route; none, if the operator has to say more.
    first: Option<String>,
    remark: String,
}

/// What the sandbox's vendors ask for as a key: they take any.
const SANDBOX_KEY: &str = "sandbox-key-that-opens-nothing";

/// Finds the configuration and checks it.
pub(crate) async fn set_up(file: Option<&Path>) -> Result<Setup, String> {
    match file {
        Some(file) => {
            let (config, source) = read(file, &environment)?;
            Ok(Setup { config, source, sandbox: None, remarks: Vec::new() })
        }
        None => match from_environment(&environment)? {
            Some(setup) => Ok(setup),
            None => simulated().await,
        },
    }
}

/// Reads and checks a file, and the keys that it needs.
pub(crate) fn from_file(file: &Path) -> Result<Config, String> {
    read(file, &environment).map(|(config, _)| config)
}

/// Reads and checks a file for what calls nobody: its keys are taken to be there.
pub(crate) fn without_keys(file: &Path) -> Result<(Config, Source), String> {
    read(file, &assumed_secret)
}

fn read(file: &Path, secrets: Environment<'_>) -> Result<(Config, Source), String> {
    let (name, text) = text_of(file)?;
    let config = Config::from_toml(&text, &name, secrets).map_err(|errors| errors.to_string())?;
    let (config, prices) = prices::with_file(config, file)?;
    Ok((config, Source { name, text, prices }))
}

impl Source {
    /// All of it in one JSON document, which names no other file.
    pub(crate) fn json(&self) -> Result<String, String> {
        let prices = self.prices.as_ref().map(|(name, text)| (text.as_str(), name.as_str()));
        toml_to_json_alone(&self.text, &self.name, prices).map_err(|errors| errors.to_string())
    }

    fn made_up(text: String) -> Self {
        Self { name: "the built-in configuration".to_owned(), text, prices: None }
    }
}

/// The name of a file and the text in it.
pub(crate) fn text_of(file: &Path) -> Result<(String, String), String> {
    let name = file.display().to_string();
    match std::fs::read_to_string(file) {
        Ok(text) => Ok((name, text)),
        Err(error) => Err(format!("{name} cannot be read: {error}")),
    }
}

/// A variable of the environment; an empty one is as good as none.
fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The vendors that the environment speaks of. `None` if there is none that can be asked.
fn from_environment(environment: Environment<'_>) -> Result<Option<Setup>, String> {
    let hosted = HOSTED.iter().filter_map(|vendor| vendor.find(environment));
    let local = LOCAL.iter().filter_map(|vendor| vendor.find(environment));
    let (mut text, mut route, mut remarks) = (String::new(), Vec::new(), Vec::new());
    for found in hosted.chain(local) {
        remarks.push(found.remark);
        if let Some(first) = found.first {
            text.push_str(&found.text);
            route.push(quoted(&first));
        }
    }
    if route.is_empty() {
        for remark in remarks {
            tracing::warn!("{remark}");
        }
        return Ok(None);
    }
    let _ = write!(text, "[routes.default]\nmodels = [{}]\n", route.join(", "));
    let secrets = |name: &str| {
        let value = environment(name)?;
        Some(LOCAL.iter().find(|local| local.address == name).map_or(value.clone(), |local| local.url(&value)))
    };
    let config = Config::from_toml(&text, "the built-in presets", &secrets).map_err(|errors| errors.to_string())?;
    Ok(Some(Setup { config, source: Source::made_up(text), sandbox: None, remarks }))
}

impl Hosted {
    fn find(&self, environment: Environment<'_>) -> Option<Found> {
        let key = self.keys.iter().find(|key| environment(key).is_some())?;
        let mut text = self.keys.iter().fold(self.preset.to_owned(), |text, other| text.replace(other, key));
        let mut remark = format!("{key} is set: its vendor is served, with {} in the route `default`", self.first);
        if let Some(variable) = self.base_url.filter(|variable| environment(variable).is_some()) {
            text = with_base_url(&text, variable);
            let _ = write!(remark, ", at {variable}");
        }
        Some(Found { text, first: Some(self.first.to_owned()), remark: format!("{remark}.") })
    }
}

impl Local {
    fn find(&self, environment: Environment<'_>) -> Option<Found> {
        environment(self.address)?;
        let Some(model) = environment(self.model).or_else(|| self.any_model.map(str::to_owned)) else {
            let remark = format!("{} is set: say in {} which of its models is to be served.", self.address, self.model);
            return Some(Found { text: String::new(), first: None, remark });
        };
        let first = format!("{}/{model}", self.name);
        let mut text = with_base_url(self.preset, self.address);
        if let Some(key) = self.key.filter(|key| environment(key).is_some()) {
            let _ = writeln!(text, "keys = [{{ env = \"{key}\" }}]");
        }
        let _ = write!(text, "[models.{}]\nprice = {{ input = 0, output = 0 }}\n", quoted(&first));
        let remark = format!("{} is set: {first} is served, and in the route `default`.", self.address);
        Some(Found { text, first: Some(first), remark })
    }

    /// The base URL that an address stands for.
    fn url(&self, address: &str) -> String {
        let (scheme, rest) = address.split_once("://").unwrap_or(("http", address));
        let rest = rest.trim_end_matches('/');
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        // Behind the bracket of an IPv6 address, if it is one.
        let (host, port) = match authority.rfind(':').filter(|colon| authority.rfind(']') < Some(*colon)) {
            Some(colon) => authority.split_at(colon),
            None if address.contains("://") => (authority, ""),
            None => (authority, &*format!(":{}", self.port)),
        };
        let host = if host.is_empty() { "127.0.0.1" } else { host };
        let version = if path.ends_with("/v1") { "" } else { "/v1" };
        format!("{scheme}://{host}{port}{path}{version}")
    }
}

/// A preset whose vendor is where `variable` says.
fn with_base_url(preset: &str, variable: &str) -> String {
    let mut text = String::new();
    for line in preset.lines() {
        let _ = if line.starts_with("base_url = ") {
            writeln!(text, "base_url = {{ env = \"{variable}\" }}")
        } else {
            writeln!(text, "{line}")
        };
    }
    text
}

/// As TOML writes a string: as JSON does.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
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
    Ok(Setup { config, source: Source::made_up(text), sandbox: Some(sandbox), remarks })
}

#[cfg(test)]
mod tests {
    use tidegate_core::config::{Name, RouteId, Target, Vendor};
    use tidegate_core::dialect::Dialect;

    use super::*;

    /// What comes of variables, none of which is empty.
    fn found(variables: &[(&str, &str)]) -> Option<Setup> {
        let environment =
            |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        from_environment(&environment).unwrap_or_else(|errors| panic!("{errors}"))
    }

    /// The `default` route's targets.
    fn route(config: &Config) -> Vec<&Target> {
        assert_eq!(config.names["default"], Name::Route(RouteId(0)));
        config.routes[0].candidates.iter().map(|candidate| config.target(candidate.target)).collect()
    }

    fn names(config: &Config) -> Vec<&str> {
        route(config).into_iter().map(|target| target.name.as_str()).collect()
    }

    fn key_of(vendor: &Vendor) -> Option<&str> {
        vendor.keys[0].secret.as_ref().map(|_| vendor.keys[0].name.as_str())
    }

    const KEY: &str = "a-key-that-is-long-enough-for-any-vendor";

    #[test]
    fn each_key_alone_makes_a_config_with_its_vendor() {
        for vendor in &HOSTED {
            for key in vendor.keys {
                let setup = found(&[(key, KEY)]).expect("a vendor");
                assert_eq!(names(&setup.config), [vendor.first]);
                let [one] = &setup.config.vendors[..] else { panic!("one vendor for {key}") };
                assert!(vendor.first.starts_with(&format!("{}/", one.name)), "{}", vendor.first);
                assert_eq!(key_of(one), Some(*key));
                assert!(one.base_url.starts_with("https://"), "{}", one.base_url);
                let [remark] = &setup.remarks[..] else { panic!("{:?}", setup.remarks) };
                assert!(remark.starts_with(&format!("{key} is set")) && remark.contains(vendor.first), "{remark}");
            }
        }
        assert!(found(&[]).is_none());
    }

    #[test]
    fn all_at_once_stand_in_one_route() {
        let keys = HOSTED.iter().flat_map(|vendor| vendor.keys).map(|key| (*key, KEY));
        let addresses = LOCAL.iter().map(|vendor| (vendor.address, "10.0.0.7"));
        let models = LOCAL.iter().map(|vendor| (vendor.model, "org/some-model"));
        let setup = found(&keys.chain(addresses).chain(models).collect::<Vec<_>>()).expect("vendors");
        let local = LOCAL.iter().map(|vendor| format!("{}/org/some-model", vendor.name));
        let expected: Vec<String> = HOSTED.iter().map(|vendor| vendor.first.to_owned()).chain(local).collect();
        assert_eq!(names(&setup.config), expected);
        let gemini = setup.config.vendors.iter().find(|vendor| vendor.name == "gemini").expect("it is there");
        assert_eq!(key_of(gemini), Some("GOOGLE_API_KEY"), "it wins over GEMINI_API_KEY");
    }

    #[test]
    fn every_preset_is_known() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../presets");
        let files = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
        // What stands in folders of their own are whole systems, not vendors.
        let mut presets: Vec<String> =
            files.filter(|file| file.is_file()).map(|file| std::fs::read_to_string(file).expect("a file")).collect();
        let mut known: Vec<&str> = HOSTED.iter().map(|vendor| vendor.preset).collect();
        known.extend(LOCAL.iter().map(|vendor| vendor.preset));
        presets.sort();
        known.sort_unstable();
        assert_eq!(presets, known);
    }

    #[test]
    fn presets_say_what_their_vendors_are_like() {
        let vendor = |key: &str| found(&[(key, KEY)]).expect("a vendor").config.vendors.remove(0);
        assert_eq!(vendor("ANTHROPIC_API_KEY").dialect, Dialect::Anthropic);
        assert_eq!(vendor("GEMINI_API_KEY").dialect, Dialect::Gemini);
        let renamed = |key: &str| -> Vec<String> {
            vendor(key).rename.iter().map(|(from, to)| format!("{from} is {to}")).collect()
        };
        assert_eq!(renamed("OPENAI_API_KEY"), ["max_tokens is max_completion_tokens"]);
        assert_eq!(renamed("MISTRAL_API_KEY"), ["max_completion_tokens is max_tokens", "seed is random_seed"]);
        assert!(vendor("MISTRAL_API_KEY").unsupported.iter().any(|name| name == "stream_options"));
        assert!(vendor("GROQ_API_KEY").unsupported.iter().any(|name| name == "logprobs"));
        let setup = found(&[("DEEPSEEK_API_KEY", KEY)]).expect("a vendor");
        let [deepseek] = route(&setup.config)[..] else { panic!("one target") };
        assert!(deepseek.abilities.tools && !deepseek.abilities.json_schema);
        let setup = found(&[("ANTHROPIC_API_KEY", KEY)]).expect("a vendor");
        let [claude] = route(&setup.config)[..] else { panic!("one target") };
        assert_eq!((claude.abilities.max_output, claude.context), (64_000, Some(1_000_000)));
        assert!(claude.price.is_some());
    }

    #[test]
    fn the_sdks_variables_lead_elsewhere() {
        let setup = found(&[
            ("OPENAI_API_KEY", KEY),
            ("OPENAI_BASE_URL", "https://proxy.example.com/openai/v1/"),
            ("ANTHROPIC_API_KEY", KEY),
        ])
        .expect("vendors");
        let urls: Vec<&str> = setup.config.vendors.iter().map(|vendor| vendor.base_url.as_str()).collect();
        assert_eq!(urls, ["https://api.anthropic.com", "https://proxy.example.com/openai/v1"]);
        assert!(setup.remarks[0].ends_with(", at OPENAI_BASE_URL."), "{}", setup.remarks[0]);
        assert!(found(&[("OPENAI_BASE_URL", "https://proxy.example.com/v1")]).is_none(), "an address is no key");
        let environment = |name: &str| Some(if name == "OPENAI_API_KEY" { KEY } else { "nowhere" }.to_owned());
        let Err(errors) = from_environment(&environment) else { panic!("`nowhere` is no URL") };
        assert!(errors.contains("vendors.openai.base_url: not a URL"), "{errors}");
    }

    #[test]
    fn an_own_server_is_asked_for_the_model_that_the_operator_names() {
        let setup = found(&[("OLLAMA_HOST", "0.0.0.0"), ("OLLAMA_MODEL", "qwen3:8b")]).expect("a vendor");
        assert_eq!(names(&setup.config), ["ollama/qwen3:8b"]);
        let [ollama] = route(&setup.config)[..] else { panic!("one target") };
        assert_eq!((ollama.upstream.as_str(), ollama.price.is_some()), ("qwen3:8b", true));
        assert_eq!(key_of(&setup.config.vendors[0]), None);

        assert!(found(&[("OLLAMA_HOST", "127.0.0.1")]).is_none(), "it does not say which model");
        let setup = found(&[("OLLAMA_HOST", "127.0.0.1"), ("GROQ_API_KEY", KEY)]).expect("a vendor");
        assert_eq!(setup.remarks[1], "OLLAMA_HOST is set: say in OLLAMA_MODEL which of its models is to be served.");

        let setup = found(&[("LLAMACPP_BASE_URL", "http://gpu:8080"), ("LLAMA_API_KEY", KEY)]).expect("a vendor");
        assert_eq!(names(&setup.config), ["llamacpp/default"]);
        assert_eq!(key_of(&setup.config.vendors[0]), Some("LLAMA_API_KEY"));

        let environment = |name: &str| match name {
            "VLLM_BASE_URL" => Some("http://gpu:8000".to_owned()),
            "VLLM_MODEL" => Some("a \"model\"\n[server]".to_owned()),
            _ => None,
        };
        let Err(errors) = from_environment(&environment) else { panic!("that is no name") };
        assert!(errors.contains("1 to 200 characters of ASCII and no spaces"), "{errors}");
    }

    #[test]
    fn an_address_may_be_short() {
        let [_, ollama, _] = &LOCAL;
        for (address, url) in [
            ("127.0.0.1", "http://127.0.0.1:11434/v1"),
            ("0.0.0.0:8000", "http://0.0.0.0:8000/v1"),
            (":8000", "http://127.0.0.1:8000/v1"),
            ("[::1]", "http://[::1]:11434/v1"),
            ("[::1]:8000", "http://[::1]:8000/v1"),
            ("gpu.example.com/ollama", "http://gpu.example.com:11434/ollama/v1"),
            ("http://localhost:11434", "http://localhost:11434/v1"),
            ("http://localhost:11434/v1/", "http://localhost:11434/v1"),
            ("https://ollama.example.com/", "https://ollama.example.com/v1"),
        ] {
            assert_eq!(ollama.url(address), url, "{address}");
        }
    }
}
