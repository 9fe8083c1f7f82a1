//! The checked configuration: what every other module reads.
//!
//! A [`Config`] can only be had by checking a document ([`Config::from_toml`], [`Config::from_json`]), so whoever holds
//! one need not check again: ids are in range, names resolve, durations are sane. Vendors, targets and routes are
//! held in vectors and named by small ids, so that a decision never looks up a string.

use std::collections::BTreeMap;

use crate::dialect::chat::Abilities;
use crate::dialect::{Operation, anthropic, gemini, openai};
use crate::price::{Price, Tariff};
use crate::secret::Secret;
use crate::time::{Millis, Timestamp};

mod alerts;
mod check;
mod defaults;
mod document;
mod error;
mod policy;
mod queue;
mod reader;
mod route;
mod store;
mod units;
mod values;

#[cfg(all(test, feature = "toml"))]
mod tests;

pub use crate::dialect::{DefaultParameters, Dialect};
pub use alerts::AlertPolicy;
pub use error::{ConfigError, ConfigErrors, Place};
pub use policy::{
    BreakerPolicy, BudgetPolicy, ConcurrencyPolicy, Guard, HealthPolicy, HedgeAfter, HedgePolicy, Limits, ProbeKind,
    RetryPolicy, Timeouts, Window,
};
pub use queue::{QueuePolicy, Webhook};
pub use route::{
    After, CachePolicy, Canary, Candidate, Choice, Choices, Column, ContentFilter, Exhausted, Kind, Parameters, Route,
    ScorePolicy, Sticky, Strategy, Tasks, When,
};
pub use store::{StoreKind, StorePolicy};
pub(crate) use units::decimal;
pub use units::duration;

use document::Node;

/// A whole, checked configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The listener and its limits.
    pub server: Server,
    /// Process-wide retry budget: retries as a share of traffic, in 1/1000 (200 is 20 %).
    pub retry_share_permille: u32,
    /// Who may call. Empty: anonymous, on loopback only.
    pub clients: Vec<Client>,
    /// Vendors in the order of their names; [`VendorId`] indexes it.
    pub vendors: Vec<Vendor>,
    /// Targets (vendor + model) in the order of their names; [`TargetId`] indexes it.
    pub targets: Vec<Target>,
    /// Routes in the order of their names; [`RouteId`] indexes it.
    pub routes: Vec<Route>,
    /// Whether any route goes by what a client has marked a request with.
    pub goes_by_tags: bool,
    /// Each target's own breaker, in the order of the targets, then those of routes; [`BreakerId`] indexes it.
    pub breakers: Vec<Guard>,
    /// What is kept of requests that nobody could serve; `None`: nothing.
    pub queue: Option<QueuePolicy>,
    /// What operators are called for; `None`: nothing.
    pub alerts: Option<AlertPolicy>,
    /// What outlives the process; `None`: nothing does.
    pub store: Option<StorePolicy>,
    /// The file that prices of the operator's own are in, for the adapter to read; see [`Config::with_prices`].
    pub prices: Option<String>,
    /// Everything a client may put in `model`: routes, `vendor/model`, aliases, and bare model names that are unique.
    pub names: BTreeMap<String, Name>,
}

/// Index into [`Config::vendors`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VendorId(pub usize);

/// Index into [`Config::targets`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TargetId(pub usize);

/// Index into [`Config::routes`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteId(pub usize);

/// Index into [`Config::breakers`]; that of a target's own breaker is the target's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BreakerId(pub usize);

/// Index into [`Vendor::keys`] of the target's vendor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub usize);

/// What a name in a request's `model` stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Name {
    /// A route with its candidates.
    Route(RouteId),
    /// One target, pinned: no failover beyond it.
    Target(TargetId),
}

/// `[server]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Where the native server listens, `host:port`. Default `127.0.0.1:8080`.
    pub listen: String,
    /// Largest request body in bytes. Default 20 MiB.
    pub body_max: u64,
    /// Largest reply of a vendor that is held in memory, in bytes. Default 64 MiB.
    pub reply_max: u64,
    /// How long a connection may be idle, and a client may take to send a request's head. Default 75 s, as nginx: clients
    /// keep connections for their next call, and one that is closed as it begins fails it.
    pub request_head: Millis,
    /// How long a client may take to send a request's body, or to take in a piece of a reply. Default 60 s.
    pub client_stall: Millis,
    /// How long a client that waits for its stream is left without a byte before it is sent a comment; `None`: for any
    /// time. Default 15 s, as the event stream standard recommends.
    pub keep_alive: Option<Millis>,
    /// Connections held at once; further ones wait to be accepted. Default 10 000.
    pub connections_max: u32,
    /// How long requests in flight may still run after SIGTERM. Default 30 s.
    pub drain: Millis,
    /// Requests whose records are kept for `GET /admin/requests`; zero: none. Default 1000.
    pub records: u32,
    /// What `/admin/*` asks for as a bearer token. Absent: loopback only.
    pub admin_key: Option<Secret>,
}

/// `[clients.NAME]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// The name in reports; never the key.
    pub name: String,
    /// What it sends as `Authorization: Bearer`.
    pub key: Secret,
    /// Routes it may use; `None` is all, and every target.
    pub routes: Option<Vec<RouteId>>,
    /// What it may use.
    pub limits: Limits,
    /// What it may spend; `None` is any amount.
    pub budget: Option<BudgetPolicy>,
}

/// `[vendors.NAME]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vendor {
    /// As in the config: `openai`.
    pub name: String,
    /// The wire format it speaks.
    pub dialect: Dialect,
    /// Without a slash at the end: `https://api.openai.com/v1`.
    pub base_url: String,
    /// At least one; a vendor that needs none has a single [`Key`] without a secret.
    pub keys: Vec<Key>,
    /// Whose part of the built-in price table is its own.
    pub prices: Option<&'static str>,
    /// How long connecting may take: one limit per vendor, since connections are pooled per vendor.
    pub connect: Millis,
    /// Top-level parameters of a request that it refuses, in alphabetical order. [`Parameters`] says what becomes of them.
    pub unsupported: Vec<String>,
    /// Top-level parameters that it calls otherwise, as (the client's name, the vendor's), in the order of the first. No
    /// name is on both sides, nor in `unsupported`, so the order in which they are applied does not matter.
    pub rename: Vec<(String, String)>,
}

/// One of a vendor's keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// The environment variable (or wrangler secret) it came from: what messages call it.
    pub name: String,
    /// `None` for a vendor that asks for no key.
    pub secret: Option<Secret>,
    /// What may be used of it, by all of its vendor's models together.
    pub limits: Limits,
    /// How often it is drawn among those that can be used. Where no key of a vendor has one, the first is used.
    pub weight: Option<u32>,
}

impl Key {
    /// That of a vendor which asks for none.
    fn none() -> Self {
        Self { name: NO_KEY.to_owned(), secret: None, limits: Limits::default(), weight: None }
    }
}

/// Where a target's price comes from; each stands above those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PricedBy {
    /// The table that is built in, or nothing.
    Table,
    /// The file that `prices.file` names.
    File,
    /// The configuration.
    Config,
}

/// `[models."vendor/model"]`: the unit that a breaker guards, all routes together but for those that have one of their own.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// `vendor/model`, as clients and reports say it.
    pub name: String,
    /// Whose it is.
    pub vendor: VendorId,
    /// What the vendor calls the model.
    pub upstream: String,
    /// Context window in tokens, where it is known.
    pub context: Option<u64>,
    /// What routing assumes until it has measured; `None`: what the other candidates of a route take.
    pub typical_first_token: Option<Millis>,
    /// The same for a whole answer, which is not streamed.
    pub typical_answer: Option<Millis>,
    /// What it is good at, in the words that clients have for their tasks.
    pub strengths: Vec<String>,
    /// What its tokens cost; `None` is unknown, which is not zero.
    pub price: Option<Tariff>,
    /// Where that comes from.
    pub priced_by: PricedBy,
    /// What it can do: a request for more goes to another candidate.
    pub abilities: Abilities,
    /// What it is asked with where the client says nothing of it.
    pub default_parameters: DefaultParameters,
    /// [`Vendor::unsupported`], and what this model refuses beyond it.
    pub unsupported: Vec<String>,
    /// [`Vendor::rename`], with what this model calls otherwise than its vendor's others.
    pub rename: Vec<(String, String)>,
    /// Its limits in time, when it is called by its own name.
    pub timeouts: Timeouts,
    /// How it is found out whether it is well.
    pub health: HealthPolicy,
    /// How often it is tried, when it is called by its own name.
    pub retry: RetryPolicy,
    /// How many attempts may be under way at once; `None`: any number.
    pub concurrency: Option<ConcurrencyPolicy>,
    /// What it may be asked for in a minute, with all keys together.
    pub limits: Limits,
}

impl Target {
    /// What an answer of a kind is said to take.
    pub fn typical(&self, stream: bool) -> Option<Millis> {
        if stream { self.typical_first_token } else { self.typical_answer }
    }
}

impl Config {
    /// Reads and checks a TOML document. `file` is what messages call it; `secrets` looks up an environment variable.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it, each with its line and a remedy.
    #[cfg(feature = "toml")]
    pub fn from_toml(text: &str, file: &str, secrets: &dyn Fn(&str) -> Option<String>) -> Result<Self, ConfigErrors> {
        let document = Node::from_toml(text, file)?;
        check::check(&document, file, Some(text), secrets)
    }

    /// Reads and checks the JSON that [`toml_to_json`] made of a TOML document.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it, each with its key and a remedy. JSON keeps no lines.
    pub fn from_json(text: &str, file: &str, secrets: &dyn Fn(&str) -> Option<String>) -> Result<Self, ConfigErrors> {
        let document = Node::from_json(text, file)?;
        check::check(&document, file, None, secrets)
    }

    /// The same with prices from another document, of which each table is named by a target; what the configuration says
    /// itself stands above them.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the document, each with its line and a remedy.
    #[cfg(feature = "toml")]
    pub fn with_prices(self, text: &str, file: &str) -> Result<Self, ConfigErrors> {
        let document = Node::from_toml(text, file)?;
        check::with_prices(self, &document, file, Some(text))
    }

    /// The same, with the JSON that [`toml_to_json`] made of such a document.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the document, each with its key and a remedy.
    pub fn with_prices_json(self, text: &str, file: &str) -> Result<Self, ConfigErrors> {
        let document = Node::from_json(text, file)?;
        check::with_prices(self, &document, file, None)
    }

    /// Whether `listen` may be listened on: an address that others can reach needs clients with keys. A document's own
    /// `server.listen` has been checked; this is for one that comes from elsewhere.
    ///
    /// # Errors
    ///
    /// What is wrong with it, and what to do.
    pub fn check_exposure(&self, listen: &str) -> Result<(), String> {
        check::exposure(listen, self.clients.is_empty())
            .map_err(|refusal| format!("{listen}: {}. {}", refusal.problem, refusal.remedy))
    }

    /// Whether what is queued would outlive the native server. The worker's storage always does.
    ///
    /// # Errors
    ///
    /// What to do, if it would not.
    pub fn check_durability(&self) -> Result<(), String> {
        let is_durable = self.store.as_ref().is_some_and(|store| store.kind == StoreKind::Sqlite);
        if self.queue.is_none() || is_durable {
            return Ok(());
        }
        Err("queue: whoever is told that a request is queued relies on it, and nothing here outlives the process. Add \
             [store] with kind = \"sqlite\" and a path."
            .to_owned())
    }

    /// The target with this id.
    pub fn target(&self, id: TargetId) -> &Target {
        &self.targets[id.0]
    }

    /// What a target's tokens cost at a moment; `None` is unknown.
    pub fn price(&self, id: TargetId, now: Timestamp) -> Option<Price> {
        self.target(id).price.as_ref().map(|tariff| tariff.at(now))
    }

    /// A target as it is used when called by its own name.
    pub fn candidate(&self, id: TargetId) -> Candidate {
        let Target { timeouts, retry, .. } = self.target(id);
        Candidate { target: id, breaker: id.into(), timeouts: *timeouts, quarantine: retry.quarantine, weight: 1 }
    }

    /// The breaker with this id.
    pub fn guard(&self, id: BreakerId) -> &Guard {
        &self.breakers[id.0]
    }

    /// All breakers of a target: its own, and those of routes.
    pub fn breakers_of(&self, id: TargetId) -> impl Iterator<Item = BreakerId> + use<'_> {
        let of_routes = (self.targets.len()..self.breakers.len()).map(BreakerId);
        [id.into()].into_iter().chain(of_routes.filter(move |breaker| self.guard(*breaker).target == id))
    }

    /// Where a target takes an operation; `None` where its dialect has no such thing.
    pub fn url(&self, id: TargetId, operation: Operation) -> Option<String> {
        let (target, vendor) = (self.target(id), self.vendor_of(id));
        let path = match vendor.dialect {
            Dialect::OpenAi => openai::path(operation)?.into(),
            Dialect::Anthropic => anthropic::path(operation)?.into(),
            Dialect::Gemini => gemini::path(operation, &target.upstream),
        };
        Some(format!("{}{path}", vendor.base_url))
    }

    /// Where a free probe of a target goes; `None` where it has none.
    pub fn probe_url(&self, id: TargetId) -> Option<String> {
        let (target, vendor) = (self.target(id), self.vendor_of(id));
        let path = target.health.path.as_str();
        Some(match (target.health.probe, vendor.dialect) {
            (ProbeKind::Models, Dialect::OpenAi | Dialect::Gemini) => format!("{}/models", vendor.base_url),
            (ProbeKind::Models, Dialect::Anthropic) => format!("{}/v1/models", vendor.base_url),
            (ProbeKind::Get, _) if path.starts_with('/') => format!("{}{path}", origin(&vendor.base_url)),
            (ProbeKind::Get, _) => path.to_owned(),
            (ProbeKind::Chat | ProbeKind::None, _) => return None,
        })
    }

    /// The vendor of this target.
    pub fn vendor_of(&self, id: TargetId) -> &Vendor {
        &self.vendors[self.target(id).vendor.0]
    }
}

/// A target's own breaker.
impl From<TargetId> for BreakerId {
    fn from(id: TargetId) -> Self {
        Self(id.0)
    }
}

/// A URL without its path.
fn origin(url: &str) -> &str {
    let host_at = url.find("://").map_or(0, |at| at + "://".len());
    let path_at = url[host_at..].find('/').map_or(url.len(), |at| host_at + at);
    &url[..path_at]
}

/// What stands for the key of a vendor that asks for none.
pub(crate) const NO_KEY: &str = "none";

/// Stands in for any secret: a URL, in case that is asked for, long enough for a key, and no two are the same.
pub fn assumed_secret(name: &str) -> Option<String> {
    Some(format!("https://assumed-to-be-set.invalid/{name}"))
}

/// The file of prices that a document names, given as the JSON that [`toml_to_json`] made of it: for whoever bundles both.
///
/// # Errors
///
/// It is no JSON.
pub fn prices_file(json: &str) -> Result<Option<String>, serde_json::Error> {
    let document: serde_json::Value = serde_json::from_str(json)?;
    Ok(document.pointer("/prices/file").and_then(serde_json::Value::as_str).map(str::to_owned))
}

/// Checks all of a TOML document but its secrets, which need not be set, and rewrites it as JSON.
///
/// # Errors
///
/// Everything that is wrong with it, each with its line and a remedy.
#[cfg(feature = "toml")]
pub fn toml_to_json(text: &str, file: &str) -> Result<String, ConfigErrors> {
    let document = Node::from_toml(text, file)?;
    check::check(&document, file, Some(text), &assumed_secret)?;
    Ok(serde_json::to_string(&document).expect("its keys are strings, and it writes to memory"))
}

/// The same of a configuration that stands alone: what the file of prices says that it names, `prices` with its text and its
/// name, is written at its models.
///
/// # Errors
///
/// Everything that is wrong with either, each with its line and a remedy.
#[cfg(feature = "toml")]
pub fn toml_to_json_alone(text: &str, file: &str, prices: Option<(&str, &str)>) -> Result<String, ConfigErrors> {
    let Some((prices, prices_file)) = prices else { return toml_to_json(text, file) };
    let mut document = Node::from_toml(text, file)?;
    let config = check::check(&document, file, Some(text), &assumed_secret)?;
    let listed = Node::from_toml(prices, prices_file)?;
    check::with_prices(config, &listed, prices_file, Some(prices))?;
    document.take_in_prices(listed);
    Ok(serde_json::to_string(&document).expect("its keys are strings, and it writes to memory"))
}

/// The same as [`toml_to_json`] for a worker, which reads JSON so that it need not carry a TOML parser. There are rules
/// for what isolates share with each other, as servers do not.
///
/// # Errors
///
/// Everything that is wrong with it, each with its line and a remedy.
#[cfg(feature = "toml")]
pub fn worker_json(text: &str, file: &str) -> Result<String, ConfigErrors> {
    let json = toml_to_json(text, file)?;
    check::sharing(&Config::from_json(&json, file, &assumed_secret)?, &Node::from_toml(text, file)?, file, text)?;
    Ok(json)
}

/// The same as [`toml_to_json`] for a document of prices; `config` is what [`toml_to_json`] made of the configuration that names it.
///
/// # Errors
///
/// Everything that is wrong with it, each with its line and a remedy.
#[cfg(feature = "toml")]
pub fn prices_to_json(text: &str, file: &str, config: &str) -> Result<String, ConfigErrors> {
    let config = Config::from_json(config, "tidegate.toml", &assumed_secret)?;
    let document = Node::from_toml(text, file)?;
    check::with_prices(config, &document, file, Some(text))?;
    Ok(serde_json::to_string(&document).expect("its keys are strings, and it writes to memory"))
}
