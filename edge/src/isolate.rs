//! What all requests of this isolate share, and what one request borrows of it.
//!
//! Isolates come and go as the platform pleases, and many run at once: whatever is kept here is a cache, whose loss costs
//! nothing but time. What has to outlive it, the keeper knows.

use std::cell::{Cell, OnceCell, RefCell, RefMut};
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use js_sys::futures::{JsFuture, future_to_promise};
use js_sys::{Math, Reflect};
use tidegate_core::api::Awaited;
use tidegate_core::config::{Config, TargetId};
use tidegate_core::dialect::Operation;
use tidegate_core::drive::Attempt;
use tidegate_core::gateway::Gateway;
use tidegate_core::health::LINGER;
use tidegate_core::keeper::{FIRST_VIEW_WAIT, Report, View};
use tidegate_core::notice::Notice;
use tidegate_core::time::Timestamp;
use tidegate_core::{api, drive};
use wasm_bindgen::JsValue;
use worker::{Context, Delay, Env, State, console_error, console_log, console_warn};

use crate::{clock, js};

/// What the Durable Object binding is called in wrangler.toml.
const KEEPER: &str = "KEEPER";

/// And that of the queue.
const QUEUE: &str = "QUEUE";

thread_local! {
    /// `None` inside: the config is not usable, which has been logged.
    static ISOLATE: OnceCell<Option<Rc<Isolate>>> = const { OnceCell::new() };
}

/// The shared state of an isolate.
pub(crate) struct Isolate {
    pub(crate) config: Arc<Config>,
    // Borrowed for one decision, never across an await.
    gateway: RefCell<Gateway>,
    /// By [`TargetId`] and [`Operation`].
    urls: Vec<[Option<String>; Operation::ALL.len()]>,
    /// Which keeper to tell. An isolate stays where it is, so its first request settles it.
    region: String,
    has_asked: Cell<bool>,
    /// When a request sees to what the gateway has to do; the end of time if none does.
    alarm_at: Cell<Timestamp>,
}

/// What keeps the isolate alive while there is something to do.
pub(crate) enum Host {
    /// A request.
    Request(Context),
    /// A Durable Object.
    Object(Rc<State>),
}

impl Host {
    fn wait_until(&self, doing: impl Future<Output = ()> + 'static) {
        match self {
            Self::Request(context) => context.wait_until(doing),
            Self::Object(state) => state.wait_until(doing),
        }
    }
}

/// One request's hold on its isolate.
#[derive(Clone)]
pub(crate) struct Visit {
    isolate: Rc<Isolate>,
    env: Env,
    host: Rc<Host>,
    /// How long what is done for the gateway may go on in this request's name; settled when it is asked first.
    lingers_until: Rc<Cell<Option<Timestamp>>>,
}

impl Isolate {
    /// The isolate, set up by its first request. `None`: its config is not usable.
    fn enter(region: impl FnOnce() -> String, env: &Env) -> Option<Rc<Self>> {
        ISOLATE.with(|isolate| isolate.get_or_init(|| Self::new(region, env).map(Rc::new)).clone())
    }

    fn new(region: impl FnOnce() -> String, env: &Env) -> Option<Self> {
        // Variables and secrets are both plain strings there.
        let variable = |name: &str| Reflect::get(env, &name.into()).ok().and_then(|value| value.as_string());
        let config = match Config::from_json(&js::config(), "tidegate.toml", &variable)
            .and_then(|config| config.with_prices_json(&js::prices(), "the prices"))
        {
            Ok(config) => Arc::new(config),
            Err(errors) => {
                console_error!("The worker cannot start with this configuration:\n{errors}");
                return None;
            }
        };
        let joined = |names: Vec<&str>| names.join("\n");
        let (of_requests, of_responses) = (api::read_headers().collect(), drive::read_headers().collect());
        js::read_headers(&joined(of_requests), &joined(of_responses));
        let targets = (0..config.targets.len()).map(TargetId);
        let urls = targets.map(|target| Operation::ALL.map(|operation| config.url(target, operation))).collect();
        let mut gateway = Gateway::new(Arc::clone(&config), seed(), clock::now());
        gateway.share();
        Some(Self {
            config,
            gateway: RefCell::new(gateway),
            urls,
            region: region(),
            has_asked: Cell::new(false),
            alarm_at: Cell::new(Timestamp::MAX),
        })
    }
}

impl Visit {
    /// Enters the isolate. `None`: its config is not usable.
    pub(crate) fn begin(request: &web_sys::Request, env: Env, context: Context) -> Option<Self> {
        Self::enter(|| region(request), env, Host::Request(context))
    }

    /// The same for whatever else there is to do; the first to enter settles the region.
    pub(crate) fn enter(region: impl FnOnce() -> String, env: Env, host: Host) -> Option<Self> {
        let isolate = Isolate::enter(region, &env)?;
        Some(Self { isolate, env, host: Rc::new(host), lingers_until: Rc::default() })
    }

    /// The configuration.
    pub(crate) fn config(&self) -> &Arc<Config> {
        &self.isolate.config
    }

    /// Where an attempt is to be sent.
    pub(crate) fn url(&self, attempt: &Attempt) -> &str {
        let url = self.isolate.urls[attempt.target.0][attempt.operation as usize].as_deref();
        url.expect("core asks nothing of a vendor that its dialect lacks")
    }

    /// Lends the gateway for one step, then passes on what the step had to tell.
    pub(crate) fn with_gateway<T>(&self, now: Timestamp, step: impl FnOnce(&mut Gateway) -> T) -> T {
        let mut gateway = self.isolate.gateway.borrow_mut();
        let result = step(&mut gateway);
        let (notice, mut report) = (gateway.poll_notice(), gateway.poll_report(now));
        let lines_due = gateway.lines_due();
        // Lines that nobody is going to come back for do not wait for others.
        if report.is_none() && lines_due.is_some_and(|at| !self.lingers_to(now, at)) {
            report = gateway.poll_last_report(now);
        }
        let due_at = gateway.poll_timeout().into_iter().chain(lines_due).min();
        let asks = gateway.wants_view(now);
        drop(gateway);
        if let Some(first) = notice {
            self.log_notices(first);
        }
        if let Some(report) = report {
            self.tell_keeper(report);
        } else if asks {
            self.host.wait_until(self.ask_keeper(None));
        }
        if let Some(at) = due_at {
            self.set_alarm(now, at);
        }
        result
    }

    /// Has this request see to what is due at `at`, if that is soon and nobody sees to it yet.
    fn set_alarm(&self, now: Timestamp, at: Timestamp) {
        let pending = self.isolate.alarm_at.get();
        // One that has passed was lost with its request's context, or is about to ring.
        if pending > now && pending <= at {
            return;
        }
        if self.lingers_to(now, at) {
            self.isolate.alarm_at.set(at);
            self.attend_at(now, at);
        }
    }

    /// Whether this request may still see to what is due then.
    fn lingers_to(&self, now: Timestamp, at: Timestamp) -> bool {
        let lingers_until = self.lingers_until.get().unwrap_or(now + LINGER);
        self.lingers_until.set(Some(lingers_until));
        at <= lingers_until
    }

    /// Whether an alarm that rings is the one that was set last.
    pub(crate) fn takes_alarm(&self, at: Timestamp) -> bool {
        let is_last = self.isolate.alarm_at.get() == at;
        if is_last {
            self.isolate.alarm_at.set(Timestamp::MAX);
        }
        is_last
    }

    /// Goes on with this after the answer, for as long as the platform lets it.
    pub(crate) fn wait_until(&self, doing: impl Future<Output = ()> + 'static) {
        self.host.wait_until(doing);
    }

    /// Asks the keeper what this isolate cannot know yet, if it is new, or what the request cannot be decided without. To be
    /// awaited: it takes no longer than it may, whatever becomes of the keeper.
    pub(crate) fn awaited_view(&self, awaited: &Awaited) -> Option<impl Future<Output = ()> + use<>> {
        let now = clock::now();
        let is_new = !self.isolate.has_asked.replace(true);
        if !is_new && !awaited.lacks_view(now, &self.gateway()) {
            return None;
        }
        let report = self.gateway().poll_first_report(now);
        let asking = self.ask_keeper(report);
        let asked = future_to_promise(async move {
            asking.await;
            Ok(JsValue::UNDEFINED)
        });
        let mut answer = JsFuture::from(asked.clone());
        let mut too_late = Delay::from(Duration::from_millis(FIRST_VIEW_WAIT.0));
        // An answer that comes too late for this request is of use to the next.
        self.host.wait_until(async move {
            let _ = JsFuture::from(asked).await;
        });
        Some(poll_fn(move |context| {
            let answered = Pin::new(&mut answer).poll(context).map(drop);
            if answered.is_ready() { answered } else { Pin::new(&mut too_late).poll(context) }
        }))
    }

    #[cold]
    fn tell_keeper(&self, report: Report) {
        self.host.wait_until(self.ask_keeper(Some(report)));
    }

    /// The gateway, for a step that has nothing to tell. Not to be held across an await.
    pub(crate) fn gateway(&self) -> RefMut<'_, Gateway> {
        self.isolate.gateway.borrow_mut()
    }

    /// Which keeper to tell.
    pub(crate) fn region(&self) -> &str {
        &self.isolate.region
    }

    /// All keepers.
    pub(crate) fn keepers(&self) -> Result<JsValue, JsValue> {
        Reflect::get(&self.env, &KEEPER.into())
    }

    /// Where the queue is.
    pub(crate) fn queues(&self) -> Result<JsValue, JsValue> {
        Reflect::get(&self.env, &QUEUE.into())
    }

    /// Tells the keeper a report, if there is one, and takes in its view.
    fn ask_keeper(&self, report: Option<Report>) -> Pin<Box<dyn Future<Output = ()>>> {
        let visit = self.clone();
        Box::pin(async move {
            let until = report.as_ref().and_then(Report::lines_until);
            let report = report.map(|report| serde_json::to_string(&report).expect("our own types have a JSON form"));
            let path = format!("/{}", visit.gateway().reporter());
            let answer = match visit.keepers() {
                Ok(keepers) => JsFuture::from(js::ask_keeper(&keepers, visit.region(), &path, report.as_deref())).await,
                Err(error) => Err(error),
            };
            let view = answer.map(|answer| answer.as_string().unwrap_or_default());
            let now = clock::now();
            match view.as_deref().map(serde_json::from_str::<View>) {
                // What the view changes is known to the keeper, and has been told by the isolate that saw it; lines that
                // have come in the meantime go next.
                Ok(Ok(view)) => visit.with_gateway(now, |gateway| {
                    gateway.handle_view(now, &view);
                    if let Some(until) = until {
                        gateway.lines_kept(until);
                    }
                }),
                Ok(Err(error)) => console_warn!("the keeper's view cannot be read: {error}"),
                Err(error) => console_warn!("the keeper cannot be reached: {}", js::message(error)),
            }
        })
    }

    #[cold]
    fn log_notices(&self, first: Notice) {
        let mut next = Some(first);
        while let Some(notice) = next {
            log(&notice);
            next = self.isolate.gateway.borrow_mut().poll_notice();
        }
    }
}

/// Tells the operator.
pub(crate) fn log(notice: &Notice) {
    if notice.is_warning() {
        console_warn!("{notice}");
    } else {
        console_log!("{notice}");
    }
}

/// The continent that the platform says the request comes from; `local` where there is no platform.
fn region(request: &web_sys::Request) -> String {
    let cf = Reflect::get(request, &"cf".into());
    let continent = cf.and_then(|cf| Reflect::get(&cf, &"continent".into()));
    continent.ok().and_then(|continent| continent.as_string()).unwrap_or_else(|| "local".to_owned())
}

/// 64 random bits: a worker has randomness only while it handles a request.
pub(crate) fn seed() -> u64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a random number below 2^32")]
    let half = || (Math::random() * 2_f64.powi(32)) as u64;
    half() << 32 | half()
}
