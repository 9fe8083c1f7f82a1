//! Vendors in this process that fail on command and remember what reached them.

use std::net::SocketAddr;
use std::num::NonZeroU32;

use serde_json::{Value, json};
use tidegate::sandbox::{Profile, Sandbox, VendorSpec};
use tidegate_core::config::Dialect;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::http::{Reply, Request};
use crate::wait;

/// Vendors `a`, `b`, `c` and `slow`. Dropping them closes their sockets.
#[derive(Debug)]
pub struct Vendors {
    /// The one that scenarios break first.
    pub a: Vendor,
    /// The one that stands in for it.
    pub b: Vendor,
    /// The last resort.
    pub c: Vendor,
    /// One that takes its time from word to word: long enough to be left in the middle.
    pub slow: Vendor,
    /// One that never comes to take a connection.
    pub unheeding: Unheeding,
    _sandbox: Sandbox,
}

/// Vendors by names of a config's choice. Dropping it closes their sockets.
#[derive(Debug)]
pub struct Cast {
    vendors: Vec<Vendor>,
    _sandbox: Sandbox,
}

/// An address where connecting takes for ever. Dropping it closes its socket.
#[derive(Debug)]
pub struct Unheeding {
    address: SocketAddr,
    /// Its queue has one place, which is taken, and nobody is ever let in.
    _queue: (TcpListener, TcpStream),
}

/// One of them.
#[derive(Debug, Clone)]
pub struct Vendor {
    name: String,
    address: SocketAddr,
}

/// A request as it reached a vendor.
#[derive(Debug, Clone)]
pub struct Seen(Value);

impl Vendors {
    /// Starts them on free ports.
    ///
    /// # Panics
    ///
    /// When there is no free port.
    pub async fn start() -> Self {
        let instant = Profile::instant();
        let slow = Profile { tokens_per_second: NonZeroU32::new(20), ..Profile::instant() };
        let profiles = [("a", &instant), ("b", &instant), ("c", &instant), ("slow", &slow)];
        let spec = |(name, profile): (&str, &Profile)| {
            let profile = profile.clone();
            VendorSpec { name: name.to_owned(), profile, port: None }
        };
        let sandbox = Sandbox::start(profiles.map(spec).into()).await.expect("there are free ports");
        let mut vendors =
            sandbox.vendors().map(|vendor| Vendor { name: vendor.name.to_owned(), address: vendor.address });
        let mut next = || vendors.next().expect("four were started");
        let (a, b, c, slow) = (next(), next(), next(), next());
        drop(vendors);
        Self { a, b, c, slow, unheeding: Unheeding::start().await, _sandbox: sandbox }
    }
}

impl Unheeding {
    async fn start() -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port");
        // Whoever is beyond these and one more gets no answer at all.
        let listener = socket.listen(0).expect("a port to listen at");
        let address = listener.local_addr().expect("it is bound");
        let first = TcpStream::connect(address).await.expect("there is one place");
        Self { address, _queue: (listener, first) }
    }

    /// What a config calls its API.
    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }
}

impl Cast {
    /// Starts them on free ports.
    ///
    /// # Panics
    ///
    /// When there is no free port.
    pub async fn start<'n>(names: impl Iterator<Item = &'n str>) -> Self {
        let spec = |name: &str| VendorSpec { name: name.to_owned(), profile: Profile::instant(), port: None };
        let sandbox = Sandbox::start(names.map(spec).collect()).await.expect("there are free ports");
        let vendor =
            |vendor: tidegate::sandbox::Vendor<'_>| Vendor { name: vendor.name.to_owned(), address: vendor.address };
        let vendors = sandbox.vendors().map(vendor).collect();
        Self { vendors, _sandbox: sandbox }
    }

    /// The vendor of that name.
    ///
    /// # Panics
    ///
    /// When there is none.
    pub fn vendor(&self, name: &str) -> &Vendor {
        let found = self.vendors.iter().find(|vendor| vendor.name == name);
        found.unwrap_or_else(|| panic!("there is no vendor {name}"))
    }
}

impl Vendor {
    /// What a config calls its API.
    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// What a config calls it where it is spoken to in this dialect.
    pub fn base_url_in(&self, dialect: Dialect) -> String {
        match dialect {
            Dialect::OpenAi => self.base_url(),
            Dialect::Anthropic => format!("http://{}", self.address),
            Dialect::Gemini => format!("http://{}/v1beta", self.address),
        }
    }

    /// From now on every request for `model` meets this fault: `{"kind": …}`.
    pub async fn fault(&self, model: &str, fault: Value) {
        self.order(json!({"fault": fault, "model": model})).await;
    }

    /// The next `times` requests for `model` meet this fault.
    pub async fn fault_times(&self, model: &str, times: u32, fault: Value) {
        self.order(json!({"fault": fault, "model": model, "times": times})).await;
    }

    /// From now on every request for `model` waits for its answer, until [`heal`](Self::heal) lets all of them have it.
    pub async fn holds(&self, model: &str) {
        self.fault(model, json!({"kind": "hold"})).await;
    }

    /// Every request for `model` is answered with `status`.
    pub async fn answers(&self, model: &str, status: u16) {
        self.fault(model, json!({"kind": "status", "status": status})).await;
    }

    /// The next `times` requests for `model` are answered with `status`.
    pub async fn answers_times(&self, model: &str, times: u32, status: u16) {
        self.fault_times(model, times, json!({"kind": "status", "status": status})).await;
    }

    /// The next `times` requests to `path` are answered with `status`, whatever model they are for.
    pub async fn path_answers_times(&self, path: &str, times: u32, status: u16) {
        let fault = json!({"kind": "status", "status": status});
        self.order(json!({"fault": fault, "path": path, "times": times})).await;
    }

    /// From now on, requests to `path` are answered with `status`, whatever model they are for.
    pub async fn path_answers(&self, path: &str, status: u16) {
        self.path_fault(path, json!({"kind": "status", "status": status})).await;
    }

    /// From now on, requests to `path` meet this fault, whatever model they are for.
    pub async fn path_fault(&self, path: &str, fault: Value) {
        self.order(json!({"fault": fault, "path": path})).await;
    }

    /// Ends all faults of `path`.
    pub async fn heal_path(&self, path: &str) {
        let _ = self.ask(Request::new("DELETE", &format!("/faults?path={path}"))).await;
    }

    /// How many requests to `path` have reached it.
    pub async fn path_count(&self, path: &str) -> u64 {
        let reply = self.ask(Request::get(&format!("/count?path={path}"))).await;
        reply.json()["count"].as_u64().expect("a count")
    }

    /// Ends all faults of `model`.
    pub async fn heal(&self, model: &str) {
        let _ = self.ask(Request::new("DELETE", &format!("/faults?model={model}"))).await;
    }

    /// How many requests for `model` have reached it.
    pub async fn count(&self, model: &str) -> u64 {
        let reply = self.ask(Request::get(&format!("/count?model={model}"))).await;
        reply.json()["count"].as_u64().expect("a count")
    }

    /// Waits until so many requests for `model` have reached it.
    pub async fn is_reached(&self, model: &str, times: u64) {
        let what = format!("request {times} for {model} at vendor {}", self.name);
        wait::until(&what, async || (self.count(model).await >= times).then_some(())).await;
    }

    /// The last requests for `model`, oldest first.
    pub async fn requests(&self, model: &str) -> Vec<Seen> {
        self.seen(&format!("model={model}")).await
    }

    /// The last requests to `path`, oldest first.
    pub async fn path_requests(&self, path: &str) -> Vec<Seen> {
        self.seen(&format!("path={path}")).await
    }

    async fn seen(&self, which: &str) -> Vec<Seen> {
        let mut reply = self.ask(Request::get(&format!("/requests?{which}"))).await.json();
        match reply["requests"].take() {
            Value::Array(requests) => requests.into_iter().map(Seen).collect(),
            other => panic!("not a list: {other}"),
        }
    }

    /// The one request for `model`.
    ///
    /// # Panics
    ///
    /// When there was none, or another.
    pub async fn only(&self, model: &str) -> Seen {
        let mut requests = self.requests(model).await;
        assert_eq!(requests.len(), 1, "requests for {model} at vendor {}", self.name);
        requests.remove(0)
    }

    /// Waits until the last request for `model` has been given up by the gateway.
    pub async fn saw_cancellation(&self, model: &str) {
        wait::until(&format!("a cancelled request for {model} at vendor {}", self.name), async || {
            self.requests(model).await.last().is_some_and(Seen::aborted).then_some(())
        })
        .await;
    }

    /// Asks the vendor itself, past the gateway.
    pub async fn ask(&self, request: Request) -> Reply {
        request.send(self.address).await
    }

    async fn order(&self, order: Value) {
        let _ = self.ask(Request::post("/faults", &order)).await.expect(201);
    }
}

impl Seen {
    /// The body, as JSON.
    pub fn body(&self) -> &Value {
        &self.0["body"]
    }

    /// The body, as it came.
    pub fn text(&self) -> &str {
        self.0["body_text"].as_str().unwrap_or("")
    }

    /// Where it was sent.
    pub fn path(&self) -> &str {
        self.0["path"].as_str().unwrap_or("")
    }

    /// All headers but those that hold keys.
    pub fn headers(&self) -> &Value {
        &self.0["headers"]
    }

    /// The end of the key it came with.
    pub fn key(&self) -> &str {
        self.0["key"].as_str().unwrap_or("")
    }

    /// The headers that held a key, or the query's parameter.
    pub fn key_in(&self) -> &Value {
        &self.0["key_in"]
    }

    /// Whether the gateway hung up before the answer was over.
    pub fn aborted(&self) -> bool {
        self.0["aborted"] == true
    }
}
