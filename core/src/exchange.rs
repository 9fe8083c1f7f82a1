//! One client request as a state machine: attempts, retries, failover, commit, settlement.
//!
//! The adapter's loop ([`drive`](crate::drive::drive)) asks [`poll_action`](Exchange::poll_action) what to do, does it, and
//! tells [`handle`](Exchange::handle) what came of it. Whatever needs the shared state (may this target be used, what
//! became of it) is done in [`consult`](Exchange::consult), which borrows the [`Gateway`] for that step alone; reading a
//! vendor's bytes needs no gateway and never holds it up.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};

mod ending;
mod live;

use crate::classify::Outcome;
use crate::config::{Config, ContentFilter, TargetId};
use crate::dialect::openai::Request;
use crate::drive::{Action, Attempt, AttemptId, Event};
use crate::gateway::{Gateway, Settlement};
use crate::notice::Notice;
use crate::price::Picodollars;
use crate::reply::{self, Head, Reply};
use crate::route::{Plan, Rejection};
use crate::time::{Millis, Timestamp};
use live::{Ended, Live, Progress, Terms, Whole};

/// A lease outlives the attempt's own limits by this much, so that no second probe enters while one is being settled.
const LEASE_MARGIN: Millis = Millis(5000);

/// Waiting for a throttled target takes at least this long, so that a rounding of zero does not spin.
const WAIT_MIN: Millis = Millis(10);

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
    actions: VecDeque<Action>,
    walk: Walk,
    tried: Vec<Ending>,
    /// What to answer if no other candidate can serve: the vendor's own refusal.
    refusal: Option<Refusal>,
    /// Whether the client has been answered, in whole or in its beginning.
    answered: bool,
}

#[derive(Debug)]
enum State {
    /// The next candidate is to be picked: needs the gateway.
    Choosing,
    /// An attempt is under way.
    Attempting(Box<Live>),
    /// An attempt is over and its lease is to be given back: needs the gateway.
    Settling(Box<Live>, Box<Ended>),
    /// Waiting before the next attempt.
    Pausing(Timestamp),
    Over,
}

/// Where the search for a candidate stands.
#[derive(Debug, Default)]
struct Walk {
    /// The next candidate in the plan's order.
    next: usize,
    /// The candidate to be asked again before any other.
    again: Option<usize>,
    /// Tries again on the candidate at hand, of `retry.same_target`.
    same_target: u32,
    /// Times that the whole plan was gone through.
    laps: u32,
    /// Attempts since this lap began.
    attempts_in_lap: u32,
    /// Candidates that were silent: never asked again for this request.
    silent: Vec<usize>,
    /// The request did not fit into a context of this size.
    context_above: Option<u64>,
    /// Why the candidates passed over in this lap were not taken.
    rejections: Vec<Rejection>,
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy)]
struct Ending {
    target: TargetId,
    outcome: Outcome,
    took: Millis,
}

/// A refusal that is the caller's to see if nobody serves.
#[derive(Debug)]
enum Refusal {
    Whole(Whole),
    /// A stream that the vendor's filter ended before its first token.
    Stream(Bytes),
}

impl Exchange {
    /// A request that has been read and planned. `request_id` comes from [`Gateway::request_id`].
    pub fn new(config: Arc<Config>, now: Timestamp, request_id: String, request: Request, plan: Plan) -> Self {
        Self {
            config,
            request,
            request_id,
            plan,
            now,
            started_at: now,
            state: State::Choosing,
            actions: VecDeque::new(),
            walk: Walk::default(),
            tried: Vec::new(),
            refusal: None,
            answered: false,
        }
    }

    /// What to do next. Call it until it says to wait or to finish.
    pub fn poll_action(&mut self) -> Action {
        if let Some(action) = self.actions.pop_front() {
            return action;
        }
        match &self.state {
            State::Choosing | State::Settling(..) => Action::Consult,
            State::Attempting(live) => Action::Wait(live.until()),
            State::Pausing(until) => Action::Wait(*until),
            State::Over => Action::Finish,
        }
    }

    /// Whether everything is settled: dropping the exchange loses nothing.
    pub fn is_over(&self) -> bool {
        matches!(self.state, State::Over)
    }

    /// Takes in what has happened. Events of an attempt that is no longer under way change nothing.
    pub fn handle(&mut self, now: Timestamp, event: Event) {
        self.now = self.now.max(now);
        let now = self.now;
        match (&mut self.state, event) {
            (_, Event::ClientGone) => self.client_gone(),
            (State::Attempting(live), event) => {
                if let Some(progress) = progress(live, now, event) {
                    self.advance(progress);
                }
            }
            (State::Pausing(until), Event::Timeout) if *until <= now => self.state = State::Choosing,
            _ => {}
        }
    }

    /// Decides with the gateway at hand: settles what has ended, and picks what comes next.
    pub fn consult(&mut self, gateway: &mut Gateway) {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Settling(live, ended) => self.settle(gateway, *live, *ended),
            State::Choosing => self.choose(gateway),
            other => self.state = other,
        }
    }

    fn advance(&mut self, progress: Progress) {
        match progress {
            Progress::Commit(bytes) => {
                let target = match &self.state {
                    State::Attempting(live) => live.permit.target,
                    _ => unreachable!("an attempt under way has told of progress"),
                };
                self.begin_stream(target);
                self.actions.push_back(Action::Write(bytes));
            }
            Progress::Write(bytes) => self.actions.push_back(Action::Write(bytes)),
            Progress::Over(ended) => self.end_attempt(ended),
        }
    }

    /// The attempt under way is over: its connection goes, its lease is about to.
    fn end_attempt(&mut self, ended: Box<Ended>) {
        if let State::Attempting(live) = std::mem::replace(&mut self.state, State::Over) {
            self.actions.push_back(Action::Cancel(live.id));
            self.state = State::Settling(live, ended);
        }
    }

    fn client_gone(&mut self) {
        self.answered = true;
        match &self.state {
            State::Attempting(_) => self.end_attempt(Box::new(Ended::of(Outcome::Neutral, None))),
            State::Settling(..) | State::Over => {}
            State::Choosing | State::Pausing(_) => self.state = State::Over,
        }
    }

    // === Choosing ===

    fn choose(&mut self, gateway: &mut Gateway) {
        if self.is_out_of_budget() {
            return self.give_up(gateway);
        }
        let again = self.walk.again.take();
        for index in again.into_iter().chain(self.walk.next..self.plan.candidates.len()) {
            if again != Some(index) {
                self.walk.next = index + 1;
                self.walk.same_target = 0;
            }
            match self.admit(gateway, index) {
                Ok(live) => return self.begin_attempt(gateway, live),
                Err(Rejection::RateLimited { retry_in_ms }) if self.is_worth_waiting(retry_in_ms) => {
                    self.walk.again = Some(index);
                    return self.pause(gateway, retry_in_ms);
                }
                Err(rejection) => self.walk.rejections.push(rejection),
            }
        }
        self.end_lap(gateway);
    }

    fn is_out_of_budget(&self) -> bool {
        self.attempts() >= self.plan.retry.attempts || self.now >= self.deadline()
    }

    fn admit(&self, gateway: &mut Gateway, index: usize) -> Result<Live, Rejection> {
        let candidate = &self.plan.candidates[index];
        if self.walk.silent.contains(&index) {
            return Err(Rejection::Silent);
        }
        let context = self.config.target(candidate.target).context;
        if self.walk.context_above.is_some_and(|too_small| context.is_none_or(|context| context <= too_small)) {
            return Err(Rejection::ContextTooSmall);
        }
        let timeouts = candidate.timeouts;
        let begins_in = if self.request.stream { timeouts.head.max(timeouts.first_token) } else { timeouts.answer };
        let permit = gateway.admit(self.now, candidate.target, begins_in + LEASE_MARGIN)?;
        let terms = Terms {
            operation: self.request.operation,
            stream: self.request.stream,
            wants_usage: self.request.wants_usage,
            timeouts,
            deadline: self.deadline(),
            reroutes_filtered: self.plan.content_filter == ContentFilter::Reroute,
            reply_bytes_max: usize::try_from(self.config.server.reply_max).unwrap_or(usize::MAX),
        };
        Ok(Live::new(AttemptId(self.attempts()), index, permit, terms, self.now))
    }

    /// `retry.wait`: a throttled target is waited for this long rather than left.
    fn is_worth_waiting(&self, wait: Millis) -> bool {
        wait <= self.plan.retry.wait && self.now + wait < self.deadline()
    }

    fn begin_attempt(&mut self, gateway: &mut Gateway, live: Live) {
        let id = live.permit.target;
        let target = self.config.target(id);
        if let Some(last) = self.tried.last().filter(|last| last.target != id) {
            gateway.notify(Notice::FailedOver {
                request_id: self.request_id.clone(),
                from: self.config.target(last.target).name.clone(),
                outcome: last.outcome.name(),
                to: target.name.clone(),
            });
        }
        self.walk.attempts_in_lap += 1;
        self.actions.push_back(Action::Send(Box::new(Attempt {
            id: live.id,
            vendor: target.vendor,
            target: id,
            operation: self.request.operation,
            headers: gateway.headers_for(&live.permit),
            body: self.request.body_for(&target.upstream),
        })));
        self.state = State::Attempting(Box::new(live));
    }

    /// Every candidate has been asked or passed over. Another lap is worth it only for failures that may pass.
    fn end_lap(&mut self, gateway: &mut Gateway) {
        let soonest_gate = self.walk.rejections.iter().filter_map(|rejection| match rejection {
            Rejection::RateLimited { retry_in_ms } => Some(*retry_in_ms),
            _ => None,
        });
        let wait = match soonest_gate.min() {
            Some(wait) => Some(wait),
            None if self.walk.attempts_in_lap > 0 && gateway.allow_retry(self.now) => Some(Millis::ZERO),
            None => None,
        };
        let fits = |wait: &Millis| self.attempts() < self.plan.retry.attempts && self.now + *wait < self.deadline();
        let Some(wait) = wait.filter(fits) else {
            return self.give_up(gateway);
        };
        self.walk.next = 0;
        self.walk.laps += 1;
        self.walk.attempts_in_lap = 0;
        self.walk.rejections.clear();
        self.pause(gateway, wait);
    }

    /// Waits, and a jittered backoff longer, so that those who were turned away together do not come back together.
    fn pause(&mut self, gateway: &mut Gateway, wait: Millis) {
        let backoff = gateway.backoff(&self.plan.retry, self.walk.laps + self.walk.same_target);
        let until = self.now + wait.max(WAIT_MIN) + backoff;
        self.state = State::Pausing(until.min(self.deadline()));
    }

    // === Settling ===

    fn settle(&mut self, gateway: &mut Gateway, live: Live, ended: Ended) {
        let committed = live.is_committed();
        let farewell = live.farewell();
        let target = live.permit.target;
        let took = self.now.since(live.sent_at);
        let cost = gateway.settle(
            self.now,
            live.permit,
            &Settlement {
                outcome: ended.outcome,
                first_token: live.first_token_at.map(|at| at.since(live.sent_at)),
                took,
                usage: ended.usage,
                retry_after: ended.retry_after,
                malformed: live.malformed,
                quarantine: self.plan.retry.quarantine,
            },
        );
        self.tried.push(Ending { target, outcome: ended.outcome, took });
        if !ended.last.is_empty() && committed {
            self.actions.push_back(Action::Write(ended.last.clone()));
        }
        if committed {
            self.end_stream(gateway, target, ended.outcome, farewell);
        } else if self.answered {
            self.state = State::Over;
        } else {
            self.follow(gateway, live.candidate, target, ended, cost);
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
        match ended.outcome {
            Outcome::Success | Outcome::CallerFault => self.answer(ended.whole, target, cost),
            Outcome::Filtered if self.plan.content_filter == ContentFilter::Return => {
                self.answer(ended.whole, target, cost);
            }
            Outcome::Filtered => self.refusal = Some(refusal(ended)),
            Outcome::TooLong => {
                // A context that is not known cannot be told to be smaller than another: nobody else is asked then.
                self.walk.context_above = Some(self.config.target(target).context.unwrap_or(u64::MAX));
                self.refusal = Some(refusal(ended));
            }
            Outcome::HardFailure(failure) => {
                let again = failure.is_one_off() && self.walk.same_target < self.plan.retry.same_target;
                if again && gateway.allow_retry(self.now) {
                    self.walk.again = Some(index);
                    self.pause(gateway, Millis::ZERO);
                    self.walk.same_target += 1;
                }
            }
            Outcome::Silent => self.walk.silent.push(index),
            // Another key of the same vendor, if there is one; otherwise the gateway passes it over.
            Outcome::RateLimited(_) | Outcome::CredentialFault => self.walk.again = Some(index),
            Outcome::Neutral => self.give_up(gateway),
        }
    }

    // === Answering ===

    /// Answers with the vendor's own bytes.
    fn answer(&mut self, whole: Option<Whole>, target: TargetId, cost: Option<Picodollars>) {
        let Whole { status, headers: theirs, body } = whole.expect("a whole reply was read to get here");
        let mut headers = HeaderMap::with_capacity(8);
        if let Some(content_type) = theirs.get(http::header::CONTENT_TYPE) {
            headers.insert(http::header::CONTENT_TYPE, content_type.clone());
        }
        if status.is_success() {
            let cost = cost.map_or(HeaderValue::from_static("unknown"), |cost| header_value(&cost.to_string()));
            headers.insert(reply::COST, cost);
        }
        self.put_headers(&mut headers, Some(target));
        self.reply(Reply { status, headers, body });
    }

    fn reply(&mut self, reply: Reply) {
        self.answered = true;
        self.actions.push_back(Action::Reply(Box::new(reply)));
        self.state = State::Over;
    }

    fn begin_stream(&mut self, target: TargetId) {
        self.answered = true;
        let mut head = Head::event_stream();
        self.put_headers(&mut head.headers, Some(target));
        self.actions.push_back(Action::Relay(Box::new(head)));
    }

    fn put_headers(&self, headers: &mut HeaderMap, target: Option<TargetId>) {
        if let Some(target) = target {
            headers.insert(reply::TARGET, header_value(&self.config.target(target).name));
        }
        headers.insert(reply::ATTEMPTS, HeaderValue::from(self.attempts()));
        let id = header_value(&self.request_id);
        headers.insert(reply::REQUEST_ID, id.clone());
        headers.insert(reply::SDK_REQUEST_ID, id);
    }

    // === Counting ===

    /// Attempts that have been begun.
    fn attempts(&self) -> u32 {
        let under_way = matches!(self.state, State::Attempting(_));
        u32::try_from(self.tried.len()).unwrap_or(u32::MAX).saturating_add(under_way.into())
    }

    fn deadline(&self) -> Timestamp {
        self.started_at + self.plan.retry.deadline
    }
}

/// What an event means to the attempt under way; nothing if it is another attempt's.
fn progress(live: &mut Live, now: Timestamp, event: Event) -> Option<Progress> {
    match event {
        Event::Head { attempt, status, headers } if attempt == live.id => {
            live.head(now, status, headers);
            None
        }
        Event::Piece { attempt, bytes } if attempt == live.id => live.piece(now, bytes),
        Event::End { attempt } if attempt == live.id => Some(live.end(now)),
        Event::Fail { attempt, fault } if attempt == live.id => Some(live.fail(now, fault)),
        Event::Timeout => live.timeout(now),
        _ => None,
    }
}

fn refusal(ended: Ended) -> Refusal {
    match ended.whole {
        Some(whole) => Refusal::Whole(whole),
        None => Refusal::Stream(ended.last),
    }
}

/// Names come from the config, where they were checked to be printable.
fn header_value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static("unprintable"))
}
