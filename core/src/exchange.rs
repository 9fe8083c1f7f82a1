//! One client request as a state machine: attempts, retries, failover, commit, settlement.
//!
//! The adapter's loop ([`drive`](crate::drive::drive)) asks [`poll_action`](Exchange::poll_action) what to do, does it, and
//! tells [`handle`](Exchange::handle) what came of it. Whatever needs the shared state (may this target be used, what
//! became of it) is done in [`consult`](Exchange::consult), which borrows the [`Gateway`] for that step alone; reading a
//! vendor's bytes needs no gateway and never holds it up.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;

mod allowing;
mod answering;
mod caching;
mod choosing;
mod ending;
mod estimating;
mod exhausted;
mod hedge;
mod held;
mod keep_alive;
mod live;
mod preparing;
mod queueing;
mod recording;
mod rescue;
mod storing;
mod suiting;

use crate::classify::{Failure, Outcome};
use crate::config::{AlertPolicy, Config, ContentFilter, TargetId};
use crate::dialect::{Prepared, Reader, Request};
use crate::drive::{Action, Event};
use crate::gateway::{Gateway, Settlement};
use crate::hints::Hints;
use crate::price::Picodollars;
use crate::record::{Attempted, How, Notes};
use crate::rng::Rng;
use crate::route::{Plan, Rejection};
use crate::time::{Millis, Timestamp};
use allowing::Admission;
use caching::Caching;
use choosing::Walk;
use ending::Parting;
use hedge::Hedge;
use keep_alive::{COMMENT, KeepAlive};
use live::{Ended, Live, Progress, Whole};
use rescue::Broken;
use storing::{Queueing, Storing};

/// One client request.
#[derive(Debug)]
pub struct Exchange {
    config: Arc<Config>,
    request: Request,
    request_id: String,
    plan: Plan,
    /// The latest time an adapter has told.
    now: Timestamp,
    started_at: Timestamp,
    state: State,
    /// Its own draws, from the first on.
    rng: Option<Rng>,
    actions: VecDeque<Action>,
    walk: Walk,
    /// The request as the candidate that was last looked at takes it.
    prepared: Option<Ready>,
    /// What the vendor that was asked last said is left of its quota.
    quota: HeaderMap,
    /// Attempts that are over.
    tried: Vec<Attempted>,
    /// What to answer if no other candidate can serve: the vendor's own refusal.
    refusal: Option<Refusal>,
    keep_alive: KeepAlive,
    /// What it has to do with the cache of its route.
    caching: Option<Box<Caching>>,
    /// Whether the client has gone away: nothing is said to it any more.
    gone: bool,
    /// The client's stream, once it has broken off and another vendor is to go on with it.
    broken: Option<Box<Broken>>,
    /// Attempts that have begun.
    begun: u32,
    /// A second attempt beside the one under way.
    hedge: Hedge,
    has_hedged: bool,
    /// Attempts that are over while the request goes on with another: their leases are to be given back.
    aside: Vec<(Box<Live>, Box<Ended>)>,
    queueing: Queueing,
    // === What its record is made of, beside what it needs itself ===
    client: Option<usize>,
    /// How the client's own limits stand to it.
    admission: Admission,
    hints: Option<Box<Hints>>,
    notes: Notes,
    how: How,
    /// Whose answer it was that the cache of its route has kept, if it was one.
    kept_from: Option<TargetId>,
    /// Whom the route's shadow would have asked first.
    shadow: Option<TargetId>,
    /// What the client has been sent.
    status: Option<u16>,
    /// The gateway's turn at which it was consulted last.
    turn: u64,
    /// Whether the gateway has its record, or wants none.
    is_filed: bool,
}

#[derive(Debug)]
enum State {
    /// The request is to be written for this candidate: takes time, and needs no gateway.
    Preparing(usize),
    /// The next candidate is to be picked: needs the gateway.
    Choosing,
    /// An attempt is under way.
    Attempting(Box<Live>),
    /// An attempt is over and its lease is to be given back: needs the gateway.
    Settling(Box<Live>, Box<Ended>),
    /// Waiting before the next attempt.
    Pausing(Timestamp),
    /// Nobody can serve it, and it is being stored.
    Storing(Box<Storing>),
    Over,
}

/// A request as one candidate takes it.
#[derive(Debug)]
struct Ready {
    /// The candidate's place in the plan.
    candidate: usize,
    prepared: Prepared,
    /// How its answer is read.
    reader: Arc<Reader>,
}

/// What a vendor said: an answer, or a refusal that is the caller's to see if nobody serves.
#[derive(Debug)]
struct Refusal {
    target: TargetId,
    cost: Option<Picodollars>,
    said: Said,
}

#[derive(Debug)]
enum Said {
    Whole(Whole),
    /// A stream that the vendor's filter ended before its first token.
    Stream(Bytes),
}

impl Exchange {
    /// A request that has been read and planned. `request_id` comes from [`Gateway::request_id`].
    pub fn new(config: Arc<Config>, now: Timestamp, request_id: String, request: Request, mut plan: Plan) -> Self {
        let mut rng = None;
        if plan.canary.is_some() {
            plan.draw_canary(rng.insert(draws_of(&request_id)));
        }
        if plan.ranking.is_none() {
            plan.put_canary_first();
        }
        // The first candidate is nearly always the one that is asked, unless they are yet to be ranked.
        let state = if plan.ranking.is_some() { State::Choosing } else { State::Preparing(0) };
        // Whoever is called when requests fail hears of each, whether or not its record is kept.
        let is_watched = config.alerts.as_ref().is_some_and(AlertPolicy::watches_endings);
        let is_filed = config.server.records == 0 && !is_watched;
        let keep_alive = KeepAlive::new(config.server.keep_alive.filter(|_| request.stream), now);
        Self {
            config,
            request,
            request_id,
            plan,
            now,
            started_at: now,
            state,
            rng,
            actions: VecDeque::new(),
            walk: Walk::default(),
            prepared: None,
            quota: HeaderMap::new(),
            tried: Vec::new(),
            refusal: None,
            keep_alive,
            caching: None,
            gone: false,
            broken: None,
            begun: 0,
            hedge: Hedge::Off,
            has_hedged: false,
            aside: Vec::new(),
            queueing: Queueing::default(),
            client: None,
            admission: Admission::default(),
            hints: None,
            notes: Notes::default(),
            how: How::Answered,
            kept_from: None,
            shadow: None,
            status: None,
            turn: 0,
            is_filed,
        }
    }

    /// What to do next. Call it until it says to wait or to finish.
    pub fn poll_action(&mut self) -> Action {
        if let State::Preparing(index) = self.state {
            self.prepare(index);
        }
        self.prepare_hedge();
        if let Some(action) = self.actions.pop_front() {
            return action;
        }
        if !self.aside.is_empty() || self.hedge.needs_gateway() {
            return Action::Consult;
        }
        match &self.state {
            State::Preparing(_) | State::Choosing | State::Settling(..) => Action::Consult,
            State::Attempting(live) => Action::Wait(live.until().min(self.hedge.until()).min(self.keep_alive.due_at())),
            State::Pausing(until) => Action::Wait((*until).min(self.keep_alive.due_at())),
            State::Storing(storing) => Action::Wait(storing.until),
            State::Over if !self.is_filed || self.admission.hold.is_some() => Action::Consult,
            State::Over => Action::Finish,
        }
    }

    /// Whether everything is settled: dropping the exchange loses nothing.
    pub fn is_over(&self) -> bool {
        matches!(self.state, State::Over) && self.aside.is_empty() && self.is_filed && self.admission.hold.is_none()
    }

    /// Takes in what has happened. Events of an attempt that is no longer under way change nothing.
    pub fn handle(&mut self, now: Timestamp, event: Event) {
        self.now = self.now.max(now);
        let now = self.now;
        let is_storing = matches!(self.state, State::Storing(_));
        if matches!(event, Event::Timeout) && !self.is_over() && !is_storing && now >= self.keep_alive.due_at() {
            self.write(COMMENT);
        }
        match (&mut self.state, event) {
            (_, Event::ClientGone) => self.client_gone(),
            (State::Attempting(live), event) => {
                if let Some(hedge) = self.hedge.of(&event) {
                    match progress(hedge, now, event) {
                        Some(progress) => self.advance_hedge(progress),
                        None => live.timeout(now).into_iter().for_each(|progress| self.advance(progress)),
                    }
                } else {
                    match progress(live, now, event) {
                        Some(progress) => self.advance(progress),
                        None => self.hedge_timeout(),
                    }
                }
            }
            (State::Pausing(until), Event::Timeout) if *until <= now => self.state = State::Choosing,
            (State::Storing(_), Event::Stored(id)) => self.settle_storing(id.as_deref()),
            (State::Storing(storing), Event::Timeout) if storing.until <= now => self.settle_storing(None),
            _ => {}
        }
    }

    /// Decides with the gateway at hand: settles what has ended, and picks what comes next.
    pub fn consult(&mut self, gateway: &mut Gateway) {
        (self.now, self.turn) = gateway.begin_turn(self.now);
        self.settle_aside(gateway);
        self.consult_hedge(gateway);
        match std::mem::replace(&mut self.state, State::Over) {
            State::Settling(live, ended) => self.settle(gateway, *live, *ended),
            State::Choosing => self.choose(gateway),
            other => self.state = other,
        }
        self.let_out(gateway);
        self.file(gateway);
    }

    fn advance(&mut self, progress: Progress) {
        match progress {
            Progress::Commit(bytes) => {
                self.drop_hedge();
                let State::Attempting(live) = &mut self.state else {
                    unreachable!("an attempt under way has told of progress");
                };
                self.quota = std::mem::take(&mut live.quota);
                let target = live.permit.target;
                self.begin_stream(Some(target));
                self.write(bytes);
            }
            Progress::Write(bytes) => {
                let State::Attempting(live) = &self.state else { return };
                self.pass_on(live.permit.target, bytes);
            }
            Progress::Over(ended) => self.end_attempt(ended),
        }
    }

    /// The attempt under way is over: its connection goes, its lease is about to.
    fn end_attempt(&mut self, ended: Box<Ended>) {
        let State::Attempting(live) = std::mem::replace(&mut self.state, State::Over) else { return };
        if !self.is_answer(ended.outcome) && self.goes_on_with_hedge() {
            return self.put_aside(live, ended);
        }
        self.drop_hedge();
        self.actions.push_back(Action::Cancel(live.id));
        self.state = State::Settling(live, ended);
    }

    fn client_gone(&mut self) {
        self.gone = true;
        self.drop_hedge();
        match &mut self.state {
            State::Attempting(live) => {
                let ended = live.abandon();
                self.end_attempt(ended);
            }
            State::Settling(..) | State::Over => {}
            // Its place in a queue is the gateway's to give to another.
            _ if self.walk.place.is_some() => self.state = State::Choosing,
            State::Preparing(_) | State::Choosing | State::Pausing(_) | State::Storing(_) => self.state = State::Over,
        }
    }

    // === Settling ===

    fn settle(&mut self, gateway: &mut Gateway, mut live: Live, mut ended: Ended) {
        let target = live.permit.target;
        self.tried.push(self.ending(&live, &ended));
        let settlement = self.settlement(&live, &ended);
        if live.is_committed() && !self.gone {
            self.pass_on(target, std::mem::take(&mut ended.last));
        }
        let parting = (live.is_committed() || self.broken.is_some()).then(|| self.part(&mut live, ended.outcome));
        self.quota = live.quota;
        let cost = gateway.settle_for(self.now, live.permit, &settlement, &self.cause(live.id));
        self.note_cost(cost);
        match parting {
            _ if self.gone => self.state = State::Over,
            Some(parting) => {
                let is_whole = matches!(parting, Parting::Well(_)) && ended.outcome == Outcome::Success;
                let is_kept = is_whole && self.broken.is_none();
                self.say(gateway, parting, live.candidate, &ended);
                if is_kept {
                    self.keep_stream(gateway, target);
                }
            }
            None if ended.outcome == Outcome::Success => {
                self.keep_whole(gateway, target, &ended);
                self.follow(gateway, live.candidate, target, ended, cost);
            }
            None => self.follow(gateway, live.candidate, target, ended, cost),
        }
    }

    fn settlement(&self, live: &Live, ended: &Ended) -> Settlement {
        Settlement {
            outcome: if self.is_impatience(live, ended.outcome) { Outcome::Neutral } else { ended.outcome },
            stream: self.request.stream,
            first_token: live.first_token_at.map(|at| at.since(live.sent_at)),
            took: self.now.since(live.sent_at),
            usage: ended.usage,
            // What a vendor is given that goes on with a stream is more than the client's request.
            weight: self.request.weighed().filter(|_| self.broken.is_none()),
            retry_after: ended.retry_after,
            remaining: live.remaining,
            used_up: live.used_up,
            malformed: live.malformed(),
            quarantine: self.plan.candidates[live.candidate].quarantine,
        }
    }

    /// Whether an attempt ended because its client would not wait for longer, though by the operator's measure the target was
    /// not even slow: then nothing is known of it, and one client's haste shuts nobody else off.
    fn is_impatience(&self, live: &Live, outcome: Outcome) -> bool {
        let Some(patience) = self.plan.patience.filter(|_| self.request.stream) else { return false };
        let candidate = &self.plan.candidates[live.candidate];
        let is_late = match outcome {
            Outcome::Silent => patience < candidate.timeouts.head,
            outcome => outcome == Outcome::HardFailure(Failure::FirstToken),
        };
        let slow = self.config.guard(candidate.breaker).policy.slow_first_token;
        is_late && patience == candidate.timeouts.first_token && patience <= slow
    }

    /// Whether what came of an attempt is what the client is answered.
    fn is_answer(&self, outcome: Outcome) -> bool {
        match outcome {
            Outcome::Success | Outcome::CallerFault => true,
            Outcome::Filtered => self.plan.content_filter == ContentFilter::Return,
            _ => false,
        }
    }

    /// What follows from an attempt of which the client has seen nothing yet.
    fn follow(
        &mut self,
        gateway: &mut Gateway,
        index: usize,
        target: TargetId,
        ended: Ended,
        cost: Option<Picodollars>,
    ) {
        self.state = State::Choosing;
        let outcome = ended.outcome;
        match outcome {
            outcome if self.is_answer(outcome) => self.tell(Refusal::of(ended, target, cost)),
            Outcome::HardFailure(failure) => self.follow_failure(gateway, index, failure, ended.retry_after),
            // Another key of the same vendor, if there is one; otherwise the gateway passes it over.
            Outcome::RateLimited(_) | Outcome::CredentialFault => self.walk.again = Some(index),
            Outcome::Neutral => self.give_up(gateway),
            _ => self.note_ending(index, target, ended, cost),
        }
        if matches!(outcome, Outcome::HardFailure(_) | Outcome::Silent) {
            self.follow_kind(outcome);
        }
    }

    /// What an attempt's end means for those that may follow.
    fn note_ending(&mut self, index: usize, target: TargetId, ended: Ended, cost: Option<Picodollars>) {
        match ended.outcome {
            Outcome::Filtered => {
                self.walk.spent.push((index, Rejection::Filtered));
                self.refusal = Some(Refusal::of(ended, target, cost));
            }
            Outcome::TooLong => {
                // A context that is not known cannot be told to be smaller than another: nobody else is asked then.
                self.walk.context_above = Some(self.config.target(target).context.unwrap_or(u64::MAX));
                self.refusal = Some(Refusal::of(ended, target, cost));
            }
            // Of a hedge: the caller's to see if nobody has anything better to say.
            Outcome::CallerFault => self.refusal = Some(Refusal::of(ended, target, cost)),
            Outcome::Silent => self.walk.spent.push((index, Rejection::Silent)),
            Outcome::HardFailure(_) => self.walk.rest(index, self.now + ended.retry_after.unwrap_or(Millis::ZERO)),
            Outcome::Success | Outcome::RateLimited(_) | Outcome::CredentialFault | Outcome::Neutral => {}
        }
    }

    // === Counting ===

    /// Its own draws: they follow from its name alone, whatever else goes on.
    fn rng(&mut self) -> &mut Rng {
        self.rng.get_or_insert_with(|| draws_of(&self.request_id))
    }

    fn deadline(&self) -> Timestamp {
        self.started_at + self.plan.retry.deadline
    }
}

/// A request's own draws.
fn draws_of(request_id: &str) -> Rng {
    Rng::from_name(0, request_id)
}

/// What an event means to the attempt under way; nothing if it is another attempt's.
fn progress(live: &mut Live, now: Timestamp, event: Event) -> Option<Progress> {
    match event {
        Event::Head { attempt, status, headers } if attempt == live.id => {
            live.head(now, status, headers);
            None
        }
        // Pieces that lead nowhere must not put off the limits, however fast they come.
        Event::Piece { attempt, bytes } if attempt == live.id => live.piece(now, bytes).or_else(|| live.timeout(now)),
        Event::End { attempt } if attempt == live.id => Some(live.end(now)),
        Event::Fail { attempt, fault } if attempt == live.id => Some(live.fail(now, fault)),
        Event::Timeout => live.timeout(now),
        _ => None,
    }
}

impl Refusal {
    fn of(ended: Ended, target: TargetId, cost: Option<Picodollars>) -> Self {
        Self { target, cost, said: ended.whole.map_or(Said::Stream(ended.last), Said::Whole) }
    }
}

#[cfg(test)]
mod tests;
