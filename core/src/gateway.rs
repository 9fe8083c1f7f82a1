//! What all requests share: breakers, keys, statistics, the retry budget, and what operators are told.
//!
//! Every decision is made here, under one short borrow and with the time passed in: the native server keeps the gateway in
//! a mutex, the worker keeps one per isolate. The order of calls for one attempt is [`admit`](Gateway::admit), the
//! attempt itself, [`settle`](Gateway::settle); a permit that is never settled costs a half-open breaker one place until
//! its lease runs out, nothing more.

use std::collections::VecDeque;
use std::sync::Arc;

mod admission;
mod alerting;
mod caching;
mod ejection;
mod health;
mod hedging;
mod keys;
mod limits;
mod ranking;
mod rescues;
mod shadows;
mod sharing;
mod slots;
mod spending;
mod suiting;
mod together;

use http::HeaderMap;

use crate::backoff::RetryBudget;
use crate::breaker::{Breaker, Order, State, Ticket, Transition};
use crate::cache::Cache;
use crate::classify::Outcome;
use crate::concurrency::{Limiter, Slot};
use crate::config::{BreakerId, Config, KeyId, TargetId};
use crate::dialect::Request;
use crate::health::{Health, Prober};
use crate::ledger::{Cause, Ledger};
use crate::notice::Notice;
use crate::price::{Picodollars, Usage};
use crate::quota::Remaining;
use crate::record::{Record, Records};
use crate::rng::Rng;
use crate::stats::{Begun, TargetStats};
use crate::time::{Millis, Timestamp};
use crate::tokens::{Calibration, Estimate, Weight};

use alerting::Alerting;
pub(crate) use health::ChatProbe;
pub(crate) use hedging::Hedging;
use keys::vendor_headers;
pub(crate) use limits::used;
use limits::{Held, Limiting};
pub(crate) use shadows::Shadowing;
pub(crate) use spending::Spending;
#[cfg(feature = "toml")]
pub(crate) use together::shared_limits;

/// Notices kept for an adapter that is slow to take them.
const NOTICES_MAX: usize = 1024;

/// The state that all requests share.
#[derive(Debug)]
pub struct Gateway {
    config: Arc<Config>,
    /// The latest time told: a step back is time standing still.
    now: Timestamp,
    /// For names; what requests and breakers draw is theirs.
    rng: Rng,
    /// By [`TargetId`].
    targets: Vec<TargetState>,
    /// By [`BreakerId`].
    breakers: Vec<BreakerState>,
    /// Until when each key is left alone, by vendor and [`KeyId`].
    quarantines: Vec<Vec<Timestamp>>,
    /// What is sent with each key, by vendor and [`KeyId`]: made once, cloned cheaply.
    headers: Vec<Vec<HeaderMap>>,
    limits: Limiting,
    /// Whether other gateways keep them too.
    shares_limits: bool,
    /// When they were told of this one's use, by the numbers of the reports.
    told_at: VecDeque<(u64, Timestamp)>,
    retries: RetryBudget,
    caches: Vec<Option<Cache>>,
    /// By [`RouteId`](crate::config::RouteId).
    hedging: Vec<Hedging>,
    /// By [`RouteId`](crate::config::RouteId).
    shadows: Vec<Shadowing>,
    /// Streams that another target brought to their end, by [`RouteId`](crate::config::RouteId).
    rescued: Vec<u64>,
    /// None where nobody wants to be called.
    alerting: Option<Box<Alerting>>,
    notices: VecDeque<Notice>,
    notices_lost: u64,
    draining: bool,
    reporter: u64,
    reports: u64,
    prober: Prober,
    /// Turns that exchanges have had.
    turn: u64,
    records: Records,
    /// None where nothing is stored.
    ledger: Option<Ledger>,
    /// The number of the latest order that the keeper told of; `None` until it has told anything.
    obeyed: Option<u64>,
    /// When to ask the keeper again.
    view_due: Timestamp,
}

#[derive(Debug)]
struct TargetState {
    /// None where any number of attempts may be under way.
    limiter: Option<Limiter>,
    health: Health,
    stats: TargetStats,
    /// Until when each key is throttled here, by [`KeyId`].
    gates: Vec<Timestamp>,
    spending: Spending,
    tokens: Calibration,
}

#[derive(Debug)]
struct BreakerState {
    breaker: Breaker,
    /// Its draws.
    rng: Rng,
    /// Whether it has changed since the keeper was told.
    unreported: bool,
    /// The number of the report that told of its last change.
    told_in: u64,
    /// What an operator has ordered since then.
    order: Option<Order>,
}

/// The right to one attempt at a target with a key. To be settled, whatever comes of it.
#[derive(Debug)]
#[must_use = "a permit that is not settled holds a probe's place until its lease runs out"]
pub struct Permit {
    /// Whom to ask.
    pub target: TargetId,
    breaker: BreakerId,
    key: KeyId,
    ticket: Ticket,
    begun: Begun,
    /// Where attempts under way are counted.
    slot: Option<Slot>,
    /// What it has taken of limits.
    held: Option<Box<Held>>,
    turn: u64,
}

/// What came of an attempt.
#[derive(Debug, Clone, Copy)]
pub struct Settlement {
    /// What became of it.
    pub outcome: Outcome,
    /// Whether a stream was asked for.
    pub stream: bool,
    /// From sending to the first token, for a stream that got so far.
    pub first_token: Option<Millis>,
    /// From sending to the end.
    pub took: Millis,
    /// What the vendor counted.
    pub usage: Option<Usage>,
    /// What the request weighs, where anybody asked.
    pub weight: Option<Weight>,
    /// The vendor's own hint.
    pub retry_after: Option<Millis>,
    /// What the vendor said is left to the key.
    pub remaining: Option<Remaining>,
    /// Until when the key is used up, by what the vendor says.
    pub used_up: Option<Timestamp>,
    /// Stream events that did not read and were left out.
    pub malformed: u32,
    /// How long a refused key is left alone.
    pub quarantine: Millis,
}

impl Settlement {
    /// Of an attempt that was not a stream, and of which nothing else is known.
    pub fn new(outcome: Outcome, took: Millis) -> Self {
        Self {
            outcome,
            stream: false,
            first_token: None,
            took,
            usage: None,
            weight: None,
            retry_after: None,
            remaining: None,
            used_up: None,
            malformed: 0,
            quarantine: Millis::ZERO,
        }
    }
}

impl Permit {
    /// The key to ask with.
    pub(crate) fn key(&self) -> KeyId {
        self.key
    }

    /// The turn in which it was given.
    pub(crate) fn turn(&self) -> u64 {
        self.turn
    }
}

impl Gateway {
    /// A gateway that knows nothing yet. `seed` settles every draw it will ever make.
    pub fn new(config: Arc<Config>, seed: u64, now: Timestamp) -> Self {
        let mut rng = Rng::from_seed(seed);
        let targets = config.targets.iter().map(|target| TargetState {
            limiter: target.concurrency.as_ref().map(Limiter::new),
            health: Health::default(),
            stats: TargetStats::new(),
            gates: vec![Timestamp(0); config.vendors[target.vendor.0].keys.len()],
            spending: Spending::default(),
            tokens: Calibration::default(),
        });
        let breakers = config.breakers.iter().map(|guard| BreakerState {
            breaker: Breaker::new(),
            rng: Rng::from_name(seed, &guard.name),
            unreported: false,
            told_in: 0,
            order: None,
        });
        Self {
            targets: targets.collect(),
            breakers: breakers.collect(),
            quarantines: config.vendors.iter().map(|vendor| vec![Timestamp(0); vendor.keys.len()]).collect(),
            headers: config.vendors.iter().map(vendor_headers).collect(),
            limits: Limiting::new(&config),
            shares_limits: false,
            told_at: VecDeque::new(),
            retries: RetryBudget::new(config.retry_share_permille),
            caches: caching::caches(&config),
            hedging: vec![Hedging::default(); config.routes.len()],
            shadows: vec![Shadowing::default(); config.routes.len()],
            rescued: vec![0; config.routes.len()],
            alerting: Alerting::new(&config),
            notices: VecDeque::new(),
            notices_lost: 0,
            draining: false,
            reporter: rng.next_u64(),
            reports: 0,
            prober: Prober::new(&config, seed, now),
            turn: 0,
            records: Records::new(config.server.records),
            ledger: config.store.as_ref().map(|store| Ledger::new(store.lines_max, store.flush)),
            obeyed: None,
            view_due: now + sharing::VIEW_EVERY,
            now,
            rng,
            config,
        }
    }

    /// The configuration it decides by.
    pub fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// A name for a request, unlike any other's.
    pub fn request_id(&mut self) -> String {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let bytes = self.rng.next_u64().to_be_bytes();
        let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 0xf]).map(|digit| DIGITS[usize::from(digit)]);
        // By hand: this is on every request's way, and formatting takes ten times as long.
        let mut id = String::with_capacity("tg-".len() + 2 * bytes.len());
        id.push_str("tg-");
        id.extend(digits.map(char::from));
        id
    }

    /// From now on [`is_ready`](Self::is_ready) is false: no new requests should come.
    pub fn drain(&mut self) {
        self.draining = true;
    }

    /// Whether new requests are welcome. What vendors are up to never changes it.
    pub fn is_ready(&self) -> bool {
        !self.draining
    }

    // === Attempts ===

    /// Notes that a client's request has come, which is what the retry budget is a share of.
    pub fn note_request(&mut self, now: Timestamp) {
        let now = self.advance(now);
        self.retries.request(now);
    }

    /// Notes that a client has sent a request once more by itself: a retry like our own, and nothing to earn retries with.
    pub fn note_client_retry(&mut self, now: Timestamp) {
        let now = self.advance(now);
        self.retries.note(now);
    }

    /// Takes in what came of an attempt, and says what it cost where that is known.
    pub fn settle(&mut self, now: Timestamp, permit: Permit, settlement: &Settlement) -> Option<Picodollars> {
        self.settle_for(now, permit, settlement, &Cause::default())
    }

    /// The same, for the ledger's sake by whom it was asked for.
    pub fn settle_for(
        &mut self,
        now: Timestamp,
        permit: Permit,
        settlement: &Settlement,
        cause: &Cause<'_>,
    ) -> Option<Picodollars> {
        if let (Outcome::Success, Some(usage)) = (settlement.outcome, settlement.usage) {
            let dialect = self.config.vendor_of(permit.target).dialect;
            self.targets[permit.target.0].tokens.note(settlement.weight.as_ref(), dialect, usage);
        }
        self.settle_timed(now, permit, settlement, settlement.first_token, cause)
    }

    /// The same, where `waited` is what tells how quick the target is.
    fn settle_timed(
        &mut self,
        now: Timestamp,
        permit: Permit,
        settlement: &Settlement,
        waited: Option<Millis>,
        cause: &Cause<'_>,
    ) -> Option<Picodollars> {
        let now = self.advance(now);
        let Permit { target: id, breaker: breaker_id, key, ticket, begun, slot, held, .. } = permit;
        let config = Arc::clone(&self.config);
        let (target, policy) = (config.target(id), &config.guard(breaker_id).policy);
        let slow = settlement.first_token.is_some_and(|took| took > policy.slow_first_token);
        let verdict = settlement.outcome.verdict(slow);
        let may_open = self.holder(now, breaker_id).is_none();
        let state = &mut self.breakers[breaker_id.0];
        let transition = state.breaker.finish_guarded(now, policy, ticket, verdict, may_open, &mut state.rng);
        if let (Outcome::HardFailure(_), Some(hint)) = (settlement.outcome, settlement.retry_after) {
            state.breaker.lengthen(now, policy, hint);
        }
        let known = &mut self.targets[id.0].stats;
        known.end(now, begun, settlement);
        if transition == Some(Transition::Closed) {
            known.forgive(now);
        }
        if let Some(slot) = slot {
            self.give_slot_back(now, id, key, slot, settlement);
        }
        if let Some(transition) = transition {
            self.note_transition(breaker_id, transition);
        }
        self.note_attempt(now, id, settlement.outcome, waited);
        if self.alerting.is_some() {
            self.watch_attempt(now, id, settlement, cause);
        }
        self.heed_key(now, id, key, settlement);
        if settlement.malformed > 0 {
            self.notify(Notice::EventsSkipped { target: target.name.clone(), count: settlement.malformed });
        }
        let set_aside = held.as_ref().and_then(|held| held.set_aside());
        let bill = self.bill(now, id, key, settlement, cause, set_aside);
        if let Some(held) = held {
            self.settle_room(now, id, key, *held, settlement, bill.owed);
        }
        bill.cost
    }

    /// How many tokens a request will come to at a target. Whoever needs it asks for [`Request::weight`] first, where the
    /// gateway is not yet held: that is the part that takes time.
    pub fn estimate(&self, id: TargetId, request: &Request) -> Estimate {
        let dialect = self.config.vendor_of(id).dialect;
        self.targets[id.0].tokens.estimate(request.weight(), dialect, request.is_chat())
    }

    /// Spends one retry of the process-wide budget, if it can be afforded.
    pub fn allow_retry(&mut self, now: Timestamp) -> bool {
        let now = self.advance(now);
        self.retries.spend(now)
    }

    // === Records ===

    /// An exchange's turn begins: at what time, as the gateway sees it, and which turn it is. Both only ever grow.
    pub(crate) fn begin_turn(&mut self, now: Timestamp) -> (Timestamp, u64) {
        self.turn += 1;
        (self.advance(now), self.turn)
    }

    /// Keeps the record of a request that is over.
    pub(crate) fn file(&mut self, record: Record) {
        if self.alerting.is_some() {
            self.watch_request(&record);
        }
        self.records.push(record);
    }

    /// The records of requests from this number on, `max` of them at most; the number is moved on behind them. Also how
    /// many there were that have given way to others since.
    pub fn records_since(&self, next: &mut u64, max: usize) -> (Vec<Record>, u64) {
        self.records.since(next, max)
    }

    /// The latest requests.
    pub(crate) fn records(&self) -> &Records {
        &self.records
    }

    // === What others are told ===

    /// Queues a notice; the oldest go when nobody takes them.
    pub fn notify(&mut self, notice: Notice) {
        if self.notices.len() == NOTICES_MAX {
            self.notices.pop_front();
            self.notices_lost += 1;
        }
        self.notices.push_back(notice);
    }

    /// The oldest notice that nobody has taken.
    pub fn poll_notice(&mut self) -> Option<Notice> {
        match std::mem::take(&mut self.notices_lost) {
            0 => self.notices.pop_front(),
            count => Some(Notice::Lost { count }),
        }
    }

    // === What pages show ===

    /// A breaker, for status pages.
    pub(crate) fn breaker(&self, id: BreakerId) -> &Breaker {
        &self.breakers[id.0].breaker
    }

    /// A target's statistics, for status pages.
    pub(crate) fn stats(&self, id: TargetId) -> &TargetStats {
        &self.targets[id.0].stats
    }

    /// What a target's answers have cost, for status pages.
    pub(crate) fn spending(&self, id: TargetId) -> Spending {
        self.targets[id.0].spending
    }

    // === Within ===

    fn advance(&mut self, now: Timestamp) -> Timestamp {
        self.now = self.now.max(now);
        self.now
    }

    fn note_transition(&mut self, id: BreakerId, transition: Transition) {
        // Half-open is where an open breaker leads by itself: the keeper is told of trips and recoveries.
        self.breakers[id.0].unreported |= matches!(transition, Transition::Opened { .. } | Transition::Closed);
        self.announce(id, transition);
    }

    fn announce(&mut self, id: BreakerId, transition: Transition) {
        let target = self.config.guard(id).target;
        match transition {
            Transition::Opened { .. } => self.prober.wake(target, self.now),
            // Those who let attempts through go by what comes of them, and begin anew once they are all through.
            Transition::Closed => self.targets[target.0].health.forget(),
            Transition::HalfOpened | Transition::HeldOff { .. } => {}
        }
        let target = self.config.guard(id).name.clone();
        self.notify(match transition {
            Transition::Opened { open_for, why } => Notice::BreakerOpened { target, open_ms: open_for, why },
            Transition::HalfOpened => Notice::BreakerHalfOpened { target },
            Transition::Closed => Notice::BreakerClosed { target },
            Transition::HeldOff { why } => {
                let holder = self.holder(self.now, id).map(|route| self.config.routes[route.0].name.clone());
                Notice::BreakerHeldOff { target, route: holder.unwrap_or_default(), why }
            }
        });
    }
}

/// The state's name as pages and metrics say it.
pub(crate) fn state_name(state: State) -> &'static str {
    match state {
        State::Closed => "closed",
        State::Open => "open",
        State::HalfOpen => "half_open",
    }
}

#[cfg(test)]
mod tests;
