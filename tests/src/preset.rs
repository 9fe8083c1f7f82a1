//! A config of `presets/` as its users run it, but for where its vendors are.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};
use tidegate_core::config::Config;

use crate::gateway::{Gateway, Runtime, Scratch, Setup};
use crate::http::{Reply, Request};
use crate::vendors::{Cast, Vendor};
use crate::world::{chat, question, root};

/// A gateway with a preset, and sandbox vendors in place of those that it names.
#[derive(Debug)]
pub struct Preset {
    /// Where the gateway runs.
    pub runtime: Runtime,
    /// The gateway itself.
    pub gateway: Gateway,
    vendors: Cast,
}

impl Preset {
    /// Starts all of it.
    ///
    /// # Panics
    ///
    /// When there is no such preset, or it does not start.
    pub async fn start(runtime: Runtime, file: &str) -> Self {
        let text =
            fs::read_to_string(root().join("presets").join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        let assumed = |name: &str| Some(made_up_key(name));
        let config = Config::from_toml(&text, file, &assumed).unwrap_or_else(|errors| panic!("{errors}"));
        let vendors = Cast::start(config.vendors.iter().map(|vendor| vendor.name.as_str())).await;
        let mut variables = Vec::new();
        for vendor in &config.vendors {
            let keys = vendor.keys.iter().filter(|key| key.secret.is_some());
            variables.extend(keys.map(|key| (key.name.clone(), made_up_key(&key.name))));
            variables.push((address_of(&vendor.name), vendors.vendor(&vendor.name).base_url_in(vendor.dialect)));
        }
        let setup = Setup { runtime, config: elsewhere(file, &text), variables, storage: Scratch::new() };
        Self { runtime, gateway: Gateway::start(&setup), vendors }
    }

    /// The sandbox vendor that stands in for the one of that name.
    pub fn vendor(&self, name: &str) -> &Vendor {
        self.vendors.vendor(name)
    }

    /// Sends a request.
    pub async fn send(&self, request: Request) -> Reply {
        request.send(self.gateway.address).await
    }

    /// A chat completion in one piece.
    pub async fn ask(&self, model: &str) -> Reply {
        self.send(chat(&question(model))).await
    }

    /// `POST /admin/breakers`: `open`, `close` or `reset`.
    pub async fn order(&self, target: &str, order: &str) {
        let order = json!({"target": target, "order": order});
        let _ = self.send(Request::post("/admin/breakers", &order)).await.expect(200);
    }

    /// `GET /admin/status`, for one target.
    ///
    /// # Panics
    ///
    /// When it has no such target.
    pub async fn target(&self, name: &str) -> Value {
        let status = self.send(Request::get("/admin/status")).await.expect(200).json();
        let mut targets = status["targets"].as_array().expect("a list of targets").iter();
        targets.find(|target| target["target"] == name).unwrap_or_else(|| panic!("no {name} in {status}")).clone()
    }
}

fn made_up_key(variable: &str) -> String {
    format!("sk-made-up-for-{variable}")
}

fn address_of(vendor: &str) -> String {
    format!("ADDRESS_OF_{}", vendor.to_uppercase().replace('-', "_"))
}

/// Writes a preset with its vendors' addresses taken from the environment. Its path is always the same, as is that of the
/// worker which is made of it.
fn elsewhere(file: &str, text: &str) -> PathBuf {
    let mut vendor = "";
    let lines = text.lines().map(|line| {
        if let Some(table) = line.strip_prefix('[') {
            let table = table.split(']').next().unwrap_or("");
            vendor = table.strip_prefix("vendors.").unwrap_or("");
        }
        if line.starts_with("base_url") && !vendor.is_empty() {
            format!("base_url = {{ env = \"{}\" }}\n", address_of(vendor))
        } else {
            format!("{line}\n")
        }
    });
    let folder = std::env::temp_dir().join("tidegate-tests-presets");
    let path = folder.join(file.replace('/', "-"));
    let text: String = lines.collect();
    // Left alone if it is the same, since both runtimes may start at once.
    if fs::read_to_string(&path).is_ok_and(|old| old == text) {
        return path;
    }
    fs::create_dir_all(&folder).and_then(|()| fs::write(&path, text)).unwrap_or_else(|error| panic!("{file}: {error}"));
    path
}
