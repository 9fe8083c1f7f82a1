//! One gateway with its vendors behind it, and how scenarios talk to it.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tidegate_core::config::Dialect;

use crate::gateway::{Gateway, Runtime, Scratch, Setup};
use crate::http::{Opened, Reply, Request};
use crate::vendors::{Vendor, Vendors};

/// The config of the scenarios, in `tests/data`.
pub const CONFORMANCE: &str = "conformance.toml";
/// The config of those for whom something holds that no other could live with.
pub const BRIEF: &str = "brief.toml";
/// Opens every model.
pub const CLIENT_KEY: &str = "client-key-for-everything";
/// Opens the routes `guests` and `forked` alone.
pub const GUEST_KEY: &str = "client-key-for-one-route";
/// Opens the routes of the official clients.
pub const SDK_KEY: &str = "client-key-for-the-sdks";
/// Opens every model, a few times a minute.
pub const HURRIED_KEY: &str = "client-key-for-a-few-requests";
/// Another client's, without limits.
pub const NEIGHBOUR_KEY: &str = "client-key-of-a-third-who-is-not-limited";
/// Opens every model, for one request at a time.
pub const SINGLE_KEY: &str = "client-key-for-one-at-a-time";
/// Opens every model, for as long as there is money.
pub const BUDGET_KEY: &str = "client-key-for-little-money";
/// Opens every model, for few words.
pub const WORDY_KEY: &str = "client-key-for-few-words";
/// Opens `/admin`.
pub const ADMIN_KEY: &str = "admin-key-for-this-test";

/// Where vendor `c` is told of jobs that are over. Its answer is a fault of this path, since vendors have no such thing.
pub const WEBHOOK: &str = "/webhook";
/// Where the slow vendor is told of alerts.
pub const ALERTS: &str = "/alerts";

/// The keys that the gateway has for its vendors. The last four characters tell which one a vendor was sent.
const VENDOR_KEYS: [(&str, &str); 9] = [
    ("KEY_A", "sk-of-vendor-a-aaaa"),
    ("KEY_B", "sk-of-vendor-b-bbbb"),
    ("KEY_C", "sk-of-vendor-c-cccc"),
    ("KEY_SLOW", "sk-of-vendor-slow-0000"),
    ("KEY_FIRST", "sk-of-vendor-pair-1111"),
    ("KEY_SECOND", "sk-of-vendor-pair-2222"),
    // The sandbox refuses these two kinds.
    ("KEY_BAD", "bad-key-of-a-vendor-3333"),
    ("KEY_WORSE", "bad-key-of-a-vendor-4444"),
    ("KEY_BROKE", "broke-key-of-a-vendor-5555"),
];

/// A gateway and its vendors.
#[derive(Debug)]
pub struct World {
    /// Where the gateway runs.
    pub runtime: Runtime,
    /// The vendor that is asked first.
    pub a: Vendor,
    /// The one that stands in for it.
    pub b: Vendor,
    /// The last resort.
    pub c: Vendor,
    /// The one that takes its time.
    pub slow: Vendor,
    /// The gateway itself.
    pub gateway: Gateway,
    _vendors: Vendors,
}

impl World {
    /// Starts all of it with a config of `tests/data`.
    pub async fn start(runtime: Runtime, config: &str) -> Self {
        let vendors = Vendors::start().await;
        vendors.slow.path_answers(ALERTS, 200).await;
        let setup = Setup { config: data(config), ..setup(runtime, &vendors, Scratch::new()) };
        let gateway = Gateway::start(&setup);
        let [a, b, c, slow] = [&vendors.a, &vendors.b, &vendors.c, &vendors.slow].map(Vendor::clone);
        Self { runtime, a, b, c, slow, gateway, _vendors: vendors }
    }

    /// Sends a request with the client's key.
    pub async fn send(&self, request: Request) -> Reply {
        with_key(request).send(self.gateway.address).await
    }

    /// Sends a request with the client's key, and leaves the body to be read.
    ///
    /// # Panics
    ///
    /// When there is no answer.
    pub async fn open(&self, request: Request) -> Opened {
        with_key(request).open(self.gateway.address).await.unwrap_or_else(|error| panic!("no answer: {error}"))
    }

    /// A chat completion in one piece.
    pub async fn ask(&self, model: &str) -> Reply {
        self.send(chat(&question(model))).await
    }

    /// A chat completion as a stream, read to its end.
    pub async fn stream(&self, model: &str) -> Reply {
        self.send(chat(&streamed(model))).await
    }

    /// `GET /admin/status`, for one target.
    ///
    /// # Panics
    ///
    /// When it has no such target.
    pub async fn target(&self, name: &str) -> Value {
        let status = self.admin(Request::get("/admin/status")).await.expect(200).json();
        let targets = status["targets"].as_array().expect("a list of targets");
        targets
            .iter()
            .find(|target| target["target"] == name)
            .unwrap_or_else(|| panic!("no {name} in {status}"))
            .clone()
    }

    /// The state of a target's breaker.
    pub async fn breaker(&self, target: &str) -> String {
        self.target(target).await["breaker"]["state"].as_str().expect("a state").to_owned()
    }

    /// Sends a request with the admin's key.
    pub async fn admin(&self, request: Request) -> Reply {
        request.header("authorization", &format!("Bearer {ADMIN_KEY}")).send(self.gateway.address).await
    }
}

/// What a gateway with the config of the scenarios is started with.
pub fn setup(runtime: Runtime, vendors: &Vendors, storage: Scratch) -> Setup {
    let clients = [
        ("CLIENT_KEY", CLIENT_KEY),
        ("GUEST_KEY", GUEST_KEY),
        ("SDK_KEY", SDK_KEY),
        ("HURRIED_KEY", HURRIED_KEY),
        ("NEIGHBOUR_KEY", NEIGHBOUR_KEY),
        ("SINGLE_KEY", SINGLE_KEY),
        ("WORDY_KEY", WORDY_KEY),
        ("BUDGET_KEY", BUDGET_KEY),
    ];
    let others = [
        ("ADMIN_KEY", ADMIN_KEY),
        ("QUEUE_KEY", "a-key-of-the-queue-that-is-long-enough"),
        ("QUEUE_WEBHOOK_KEY", "a-key-of-the-webhook-that-is-long-enough"),
        ("ALERTS_WEBHOOK_KEY", "a-key-for-alerts-that-is-long-enough-too"),
    ];
    let own = clients.iter().chain(&others);
    let fixed = own.chain(&VENDOR_KEYS).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let addresses = [
        ("SANDBOX_A", &vendors.a),
        ("SANDBOX_B", &vendors.b),
        ("SANDBOX_C", &vendors.c),
        ("SANDBOX_SLOW", &vendors.slow),
    ];
    // Each vendor speaks all dialects; a config says at which address it is spoken to in which.
    let addresses = addresses.into_iter().flat_map(|(name, vendor)| {
        let dialects = [("", Dialect::OpenAi), ("_ANTHROPIC", Dialect::Anthropic), ("_GEMINI", Dialect::Gemini)];
        dialects.map(|(end, dialect)| (format!("{name}{end}"), vendor.base_url_in(dialect)))
    });
    // The last resort is also told of each job that is over.
    let webhook = ("QUEUE_WEBHOOK".to_owned(), format!("{}{WEBHOOK}", vendors.c.base_url_in(Dialect::Anthropic)));
    let alerts = ("ALERTS_WEBHOOK".to_owned(), format!("{}{ALERTS}", vendors.slow.base_url_in(Dialect::Anthropic)));
    let unheeding = ("UNHEEDING".to_owned(), vendors.unheeding.base_url());
    let variables = fixed.chain(addresses).chain([webhook, alerts, unheeding]).collect();
    Setup { runtime, config: data(CONFORMANCE), variables, storage }
}

/// A file of `tests/data`.
pub fn data(name: &str) -> PathBuf {
    root().join("tests/data").join(name)
}

/// The root of the clone: upwards from where cargo starts tests, because the path compiled in may be that of another
/// clone when two of them share a target directory.
///
/// # Panics
///
/// Outside a clone.
pub fn root() -> PathBuf {
    let here = std::env::current_dir().expect("a working directory");
    let root = here.ancestors().find(|dir| dir.join("xtask/Cargo.toml").is_file());
    root.map(Path::to_path_buf).expect("tests run inside a clone")
}

/// `POST /v1/chat/completions`.
pub fn chat(body: &Value) -> Request {
    Request::post("/v1/chat/completions", body)
}

/// A body that asks for an answer in one piece.
pub fn question(model: &str) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": "Is the tide in?"}]})
}

/// A body that asks for a stream.
pub fn streamed(model: &str) -> Value {
    json!({"model": model, "stream": true, "messages": [{"role": "user", "content": "Is the tide in?"}]})
}

/// A body that asks for a stream so long that whoever leaves it leaves it in the middle: fifteen seconds of the slow vendor's.
pub fn long_streamed(model: &str) -> Value {
    json!({"model": model, "stream": true, "messages": [{"role": "user", "content": "Say 300 words about the tide."}]})
}

fn with_key(request: Request) -> Request {
    request.or_header("authorization", &format!("Bearer {CLIENT_KEY}"))
}
