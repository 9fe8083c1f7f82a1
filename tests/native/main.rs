//! What only the native server has: a command line, a listener with limits, a drain, and output that must keep secrets.

mod command;
mod ledger;
mod limits;
mod listener;
mod log;
mod queue;
mod records;
mod secrets;

use std::fs;

use tidegate_tests::gateway::{Gateway, Runtime, Scratch, Setup};
use tidegate_tests::vendors::{Vendor, Vendors};

/// Two vendors, one route; anybody on this machine may call.
const CONFIG: &str = r#"
[vendors.a]
dialect = "openai"
base_url = { env = "SANDBOX_A" }
keys = [{ env = "KEY_A" }]

[models]
"a/tide" = {}

[routes.default]
models = ["a/tide"]
"#;

const KEY_A: &str = "sk-of-vendor-a-that-nobody-may-see";

/// A server with [`CONFIG`], and the vendor behind it.
struct Served {
    gateway: Gateway,
    vendor: Vendor,
    _vendors: Vendors,
}

impl Served {
    /// Starts it; `server` is its `[server]` table.
    async fn with(server: &str) -> Self {
        Self::start(&format!("[server]\n{server}\n{CONFIG}"), &[]).await
    }

    async fn start(config: &str, variables: &[(&str, &str)]) -> Self {
        let vendors = Vendors::start().await;
        let storage = Scratch::new();
        let address = vendors.a.base_url();
        let all = [("SANDBOX_A", address.as_str()), ("KEY_A", KEY_A)];
        let all = all.iter().chain(variables).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let setup = Setup {
            runtime: Runtime::Native,
            config: write(&storage, config),
            variables: all.collect(),
            storage: storage.clone(),
        };
        Self { gateway: Gateway::start(&setup), vendor: vendors.a.clone(), _vendors: vendors }
    }
}

fn write(to: &Scratch, config: &str) -> std::path::PathBuf {
    let path = to.path().join("tidegate.toml");
    fs::write(&path, config).expect("the scratch directory is ours");
    path
}
