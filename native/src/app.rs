//! What all requests of this process share: the gateway behind its lock, and one pooled client per vendor.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::Url;
use tidegate_core::config::{Config, TargetId, Vendor, VendorId};
use tidegate_core::dialect::Operation;
use tidegate_core::drive::Attempt;
use tidegate_core::gateway::Gateway;
use tidegate_core::notice::Notice;
use tidegate_core::time::Timestamp;
use tokio::sync::Notify;
use tracing::{info, warn};

use crate::clock;
use crate::jobs::Jobs;
use crate::store::ledger::Ledger;
use crate::store::{Store, configured};
use crate::tend::REST;

/// The shared state of a running server.
#[derive(Debug)]
pub struct App {
    pub(crate) config: Arc<Config>,
    /// When its gateway began.
    pub(crate) started_at: Timestamp,
    // A plain mutex: it is held for one decision, never across an await, and then it is the fastest there is.
    gateway: Mutex<Gateway>,
    /// What outlives the process, if anything does.
    pub(crate) store: Option<Store>,
    /// There is one where there is a store.
    pub(crate) ledger: Option<Ledger>,
    /// The way to the queue, if there is one.
    pub(crate) jobs: Option<Jobs>,
    /// For calls that are no vendor's.
    pub(crate) messenger: reqwest::Client,
    /// By [`VendorId`]: connections are a vendor's.
    clients: Vec<reqwest::Client>,
    /// By [`TargetId`] and [`Operation`].
    urls: Vec<[Option<Url>; Operation::ALL.len()]>,
    /// Until when the prober sleeps, in milliseconds since the epoch; 0 while it is awake.
    asleep_until: AtomicU64,
    wake: Notify,
}

impl App {
    /// Builds the clients and opens the store. Fails on a base URL that the HTTP client cannot use, without any TLS roots,
    /// or on a store that cannot be used.
    pub fn new(config: Config, seed: u64) -> Result<Self, String> {
        let config = Arc::new(config);
        let clients = config.vendors.iter().map(client).collect::<Result<_, _>>()?;
        let urls = (0..config.targets.len()).map(|index| urls(&config, TargetId(index))).collect::<Result<_, _>>()?;
        let store = config.store.as_ref().map(Store::open).transpose().map_err(|error| configured(&error))?;
        let ledger = store.as_ref().map(Ledger::open).transpose().map_err(|error| configured(&error))?;
        let jobs = match (&config.queue, &store) {
            (Some(_), Some(store)) => Some(Jobs::open(&config, store, seed, REST)?),
            _ => None,
        };
        let messenger = unaided().build().map_err(|error| format!("the HTTP client cannot be made: {error}"))?;
        let started_at = clock::now();
        let mut gateway = Gateway::new(Arc::clone(&config), seed, started_at);
        if let Some((store, ledger)) = store.as_ref().zip(ledger.as_ref()) {
            ledger.restore(started_at, &mut gateway).map_err(|why| configured(&store.unusable(why)))?;
        }
        let gateway = Mutex::new(gateway);
        let asleep_until = AtomicU64::new(0);
        Ok(Self {
            config,
            started_at,
            gateway,
            store,
            ledger,
            jobs,
            messenger,
            clients,
            urls,
            asleep_until,
            wake: Notify::new(),
        })
    }

    /// Lends the gateway for one step, then logs what the step had to tell.
    pub(crate) fn with_gateway<T>(&self, step: impl FnOnce(&mut Gateway) -> T) -> T {
        // A panic elsewhere is a bug, but not a reason to refuse everybody: the gateway's own steps are whole.
        let mut gateway = self.gateway.lock().unwrap_or_else(PoisonError::into_inner);
        let result = step(&mut gateway);
        let notice = gateway.poll_notice();
        let due_at = gateway.poll_timeout();
        drop(gateway);
        if due_at.is_some_and(|at| at.0 < self.asleep_until.load(Ordering::Relaxed)) {
            self.wake.notify_one();
        }
        if let Some(first) = notice {
            self.log_notices(first);
        }
        result
    }

    /// The prober sleeps until the gateway's timeout, or until a step makes that earlier.
    pub(crate) fn fall_asleep(&self) -> Option<Timestamp> {
        // Under the lock: no step comes between asking and telling.
        self.with_gateway(|gateway| {
            let next = gateway.poll_timeout();
            self.asleep_until.store(next.unwrap_or(Timestamp::MAX).0, Ordering::Relaxed);
            next
        })
    }

    /// The prober is awake, and looks by itself.
    pub(crate) fn is_awake(&self) {
        self.asleep_until.store(0, Ordering::Relaxed);
    }

    /// Something is to be done earlier than the prober thinks.
    pub(crate) async fn woken(&self) {
        self.wake.notified().await;
    }

    /// A vendor's client.
    pub(crate) fn client(&self, vendor: VendorId) -> &reqwest::Client {
        &self.clients[vendor.0]
    }

    /// The client for an attempt, and where it is to be sent.
    pub(crate) fn upstream(&self, attempt: &Attempt) -> (&reqwest::Client, &Url) {
        let url = self.urls[attempt.target.0][attempt.operation as usize].as_ref();
        (&self.clients[attempt.vendor.0], url.expect("core asks nothing of a vendor that its dialect lacks"))
    }

    #[cold]
    fn log_notices(&self, first: Notice) {
        let mut next = Some(first);
        while let Some(notice) = next {
            log(&notice);
            next = self.gateway.lock().unwrap_or_else(PoisonError::into_inner).poll_notice();
        }
    }
}

/// Tells the operator.
pub(crate) fn log(notice: &Notice) {
    if notice.is_warning() {
        warn!("{notice}");
    } else {
        info!("{notice}");
    }
}

/// A client that does what it is told, once: attempts are counted and budgeted in core, and nothing below it may try again
/// or go elsewhere.
fn unaided() -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        // Where there is to be no retry, none needs a copy of the request.
        .retry(reqwest::retry::never().max_retries_per_request(0))
        .redirect(reqwest::redirect::Policy::none())
        .tcp_nodelay(true)
}

fn client(vendor: &Vendor) -> Result<reqwest::Client, String> {
    unaided()
        .connect_timeout(Duration::from_millis(vendor.connect.0))
        .build()
        .map_err(|error| format!("vendors.{}: the HTTP client cannot be made: {error}", vendor.name))
}

fn urls(config: &Config, id: TargetId) -> Result<[Option<Url>; Operation::ALL.len()], String> {
    let mut urls = Operation::ALL.map(|_| None);
    for operation in Operation::ALL {
        let Some(url) = config.url(id, operation) else { continue };
        let vendor = &config.vendor_of(id).name;
        let parsed =
            Url::parse(&url).map_err(|error| format!("vendors.{vendor}.base_url: {url} is not a URL: {error}"))?;
        urls[operation as usize] = Some(parsed);
    }
    Ok(urls)
}
