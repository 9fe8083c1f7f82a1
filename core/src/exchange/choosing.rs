//! Whom to ask next, and when: candidates in their order, one-off failures once more, throttled ones when their time has
//! come, and all of them again while budget and deadline last.

use std::collections::VecDeque;
use std::sync::Arc;

use super::live::{Live, Terms};
use super::queueing::Place;
use super::{Exchange, Ready, State};
use crate::backoff::delay;
use crate::classify::{Failure, Outcome};
use crate::concurrency::Claim;
use crate::config::{Candidate, ContentFilter};
use crate::drive::{Action, Attempt, AttemptId};
use crate::gateway::Gateway;
use crate::notice::Notice;
use crate::route::Rejection;
use crate::time::{Millis, Timestamp};

/// A lease outlives the attempt's own limits by this much, so that no second probe enters while one is being settled.
pub(super) const LEASE_MARGIN: Millis = Millis(5000);

/// A pause takes at least this long, so that a rounding of zero does not spin.
const PAUSE_MIN: Millis = Millis(10);

/// Where the search for a candidate stands.
#[derive(Debug, Default)]
pub(super) struct Walk {
    /// The next candidate in the plan's order.
    pub(super) next: usize,
    /// The candidate to be asked again before any other.
    pub(super) again: Option<usize>,
    /// Tries again on the candidate at hand, of `retry.same_target`.
    pub(super) same_target: u32,
    /// Times that the whole plan was gone through.
    laps: u32,
    /// Candidates that are never asked again for this request, and why.
    pub(super) spent: Vec<(usize, Rejection)>,
    /// Whether the route's last resort has been tried.
    pub(super) desperate: bool,
    /// Candidates that others are asked before: they are not well, or probes are about to find out.
    doubtful: VecDeque<usize>,
    /// The request did not fit into a context of this size.
    pub(super) context_above: Option<u64>,
    /// Candidates that failed in this lap or still rest from one before, and when they may be asked again.
    failed: Vec<(usize, Timestamp)>,
    /// How many attempts there had been when this lap began.
    pub(super) tried_before: usize,
    /// Where it waits for a slot: then the lap is not over yet.
    pub(super) place: Option<Place>,
    /// Why candidates were passed over in this lap: the latest reason of each.
    pub(super) rejections: Vec<(usize, Rejection)>,
}

impl Walk {
    fn begin_lap(&mut self, now: Timestamp, tried: usize) {
        self.tried_before = tried;
        self.failed.retain(|(_, back_at)| *back_at > now);
        self.rejections.clear();
    }

    pub(super) fn reject(&mut self, index: usize, rejection: Rejection) {
        self.rejections.retain(|(known, _)| *known != index);
        self.rejections.push((index, rejection));
    }

    /// Notes a failure, and from when its candidate may be asked again.
    pub(super) fn rest(&mut self, index: usize, back_at: Timestamp) {
        self.failed.push((index, back_at));
    }
}

impl Exchange {
    pub(super) fn choose(&mut self, gateway: &mut Gateway) {
        if self.gone {
            return self.leave_queue(gateway);
        }
        if !self.let_in(gateway) || self.answer_from_cache(gateway) {
            return;
        }
        if self.is_out_of_budget() {
            return self.give_up(gateway);
        }
        if let Some(ranking) = self.plan.ranking.take() {
            self.rank(gateway, ranking);
        }
        let mut again = self.walk.again.take();
        if again.is_none() && self.walk.next == 0 && self.walk.place.is_none() {
            self.walk.begin_lap(self.now, self.tried.len());
        }
        while let Some(index) = again.take().or_else(|| self.next_candidate(gateway)) {
            let rejection = match self.ask(gateway, index) {
                Ok(()) => return,
                Err(rejection) => rejection,
            };
            let throttled_for = match rejection {
                Rejection::RateLimited { retry_in_ms } | Rejection::AtLimit { retry_in_ms, .. } => Some(retry_in_ms),
                _ => None,
            };
            self.pass_over(index, rejection);
            if let Some(wait) = throttled_for
                && self.is_worth_waiting(wait)
                && self.may_wait(gateway)
            {
                self.walk.again = Some(index);
                return self.pause(wait);
            }
        }
        self.end_lap(gateway);
    }

    /// The next candidate in the plan's order; those that are in doubt come after all others.
    fn next_candidate(&mut self, gateway: &Gateway) -> Option<usize> {
        self.walk.same_target = 0;
        if self.walk.next == 0 {
            self.walk.doubtful.clear();
        }
        let count = self.plan.candidates.len();
        while self.walk.next < count {
            let index = self.walk.next;
            self.walk.next += 1;
            if self.has_had_its_turn(index) {
                continue;
            }
            if count == 1 || !gateway.is_doubtful(self.now, &self.plan.candidates[index]) {
                return Some(index);
            }
            self.walk.doubtful.push_back(index);
        }
        self.walk.doubtful.pop_front()
    }

    /// Asks a candidate, or has the request written for it first.
    fn ask(&mut self, gateway: &mut Gateway, index: usize) -> Result<(), Rejection> {
        let claim = self.claim(gateway, index);
        self.may_ask(gateway, index, &claim)?;
        if let Some(ready) = self.prepared.take_if(|ready| ready.candidate == index) {
            let live = self.admit(gateway, &ready, &claim, false);
            let begun = live.map(|live| self.begin_attempt(gateway, live, &ready));
            self.prepared = Some(ready);
            return begun;
        }
        self.walk.again = Some(index);
        self.state = State::Preparing(index);
        Ok(())
    }

    /// Whether a candidate can be asked now, as far as this request and the gateway know.
    pub(super) fn may_ask(&self, gateway: &Gateway, index: usize, claim: &Claim) -> Result<(), Rejection> {
        let candidate = &self.plan.candidates[index];
        if let Some((_, rejection)) = self.walk.spent.iter().find(|(spent, _)| *spent == index) {
            return Err(rejection.clone());
        }
        let context = self.config.target(candidate.target).context;
        if self.walk.context_above.is_some_and(|too_small| context.is_none_or(|context| context <= too_small)) {
            return Err(Rejection::ContextTooSmall);
        }
        if let Some((_, back_at)) =
            self.walk.failed.iter().find(|(failed, back_at)| *failed == index && *back_at > self.now)
        {
            return Err(Rejection::Resting { retry_in_ms: self.now.until(*back_at) });
        }
        gateway.would_admit_claim(self.now, candidate, claim)
    }

    /// What follows a failure of the vendor: the same target once more if it may have been an accident, else the next.
    pub(super) fn follow_failure(
        &mut self,
        gateway: &mut Gateway,
        index: usize,
        failure: Failure,
        hint: Option<Millis>,
    ) {
        let hint = hint.unwrap_or(Millis::ZERO);
        let once_more = failure.is_one_off()
            && self.walk.same_target < self.plan.retry.same_target
            && (hint == Millis::ZERO || self.is_worth_waiting(hint))
            && !self.is_out_of_budget()
            && is_usable(&gateway.would_admit(self.now, &self.plan.candidates[index]))
            && gateway.allow_retry(self.now);
        if once_more {
            self.walk.again = Some(index);
            self.pause(hint);
            self.walk.same_target += 1;
        } else {
            self.walk.rest(index, self.now + hint);
        }
    }

    /// `routes.X.after`: some kinds of failure lead to a candidate of their own, if its turn is yet to come.
    pub(super) fn follow_kind(&mut self, outcome: Outcome) {
        if self.walk.again.is_some() {
            return;
        }
        let target = match outcome {
            Outcome::HardFailure(Failure::Connect | Failure::Reset) => self.plan.after.connection,
            outcome if outcome.is_timeout() => self.plan.after.timeout,
            _ => None,
        };
        let is_wanted = |candidate: &Candidate| Some(candidate.target) == target;
        let place = self.plan.candidates.iter().position(is_wanted);
        if let Some(index) = place.filter(|index| *index >= self.walk.next && !self.has_had_its_turn(*index)) {
            self.walk.again = Some(index);
            self.walk.same_target = 0;
        }
    }

    pub(super) fn is_out_of_budget(&self) -> bool {
        self.begun >= self.plan.retry.attempts || self.now >= self.deadline()
    }

    /// Admits an attempt. A hedge's answer that its vendor's filter stopped must not win over one that may be whole.
    pub(super) fn admit(
        &self,
        gateway: &mut Gateway,
        ready: &Ready,
        claim: &Claim,
        is_hedge: bool,
    ) -> Result<Live, Rejection> {
        let candidate = &self.plan.candidates[ready.candidate];
        let timeouts = candidate.timeouts;
        let begins_in = if self.request.stream { timeouts.head.max(timeouts.first_token) } else { timeouts.answer };
        let permit = gateway.admit(self.now, candidate, begins_in + LEASE_MARGIN, claim)?;
        let terms = Terms {
            stream: self.request.stream,
            reader: Arc::clone(&ready.reader),
            timeouts,
            deadline: self.deadline(),
            reroutes_filtered: is_hedge || self.plan.content_filter == ContentFilter::Reroute,
            reply_bytes_max: usize::try_from(self.config.server.reply_max).unwrap_or(usize::MAX),
        };
        Ok(Live::new(AttemptId(self.begun), ready.candidate, permit, terms, self.now))
    }

    /// `retry.wait`: a throttled target is waited for this long rather than left.
    fn is_worth_waiting(&self, wait: Millis) -> bool {
        wait <= self.plan.retry.wait && self.fits(wait)
    }

    /// Whether an attempt can be made after such a wait.
    fn fits(&self, wait: Millis) -> bool {
        self.begun < self.plan.retry.attempts && self.now + wait < self.deadline()
    }

    /// Whoever has been turned away and waits to come back makes a retry. Whoever waits for a first attempt does not.
    fn may_wait(&self, gateway: &mut Gateway) -> bool {
        self.tried.is_empty() || gateway.allow_retry(self.now)
    }

    fn begin_attempt(&mut self, gateway: &mut Gateway, mut live: Live, ready: &Ready) {
        let id = live.permit.target;
        let target = self.config.target(id);
        if let Some(last) = self.tried.last().filter(|last| last.target != id) {
            gateway.notify(Notice::FailedOver {
                request_id: self.request_id.clone(),
                from: self.config.target(last.target).name.clone(),
                outcome: last.outcome.to_string(),
                to: target.name.clone(),
            });
        }
        self.leave_queue(gateway);
        self.note_shadow(gateway, id);
        self.hand_over(&mut live);
        self.send(gateway, &live, ready);
        self.plan_hedge(gateway, id);
        self.state = State::Attempting(Box::new(live));
    }

    /// Sends an attempt that has been admitted.
    pub(super) fn send(&mut self, gateway: &Gateway, live: &Live, ready: &Ready) {
        self.begun += 1;
        self.walk.rejections.retain(|(index, _)| *index != live.candidate);
        let id = live.permit.target;
        let target = self.config.target(id);
        let mut headers = gateway.headers_for(&live.permit);
        if self.asked().goes_through(self.config.vendors[target.vendor.0].dialect) {
            headers.extend(self.request.forwarded.clone());
        }
        self.actions.push_back(Action::Send(Box::new(Attempt {
            id: live.id,
            vendor: target.vendor,
            target: id,
            operation: ready.prepared.operation,
            headers,
            body: ready.prepared.body.clone(),
        })));
    }

    /// Every candidate has been asked or passed over. Another lap is worth it for those that said when to come back, and
    /// otherwise for those whose failure may pass.
    fn end_lap(&mut self, gateway: &mut Gateway) {
        if self.wait_for_slot(gateway) {
            return;
        }
        let wait = self.soonest_gate(gateway).or_else(|| self.soonest_recovery(gateway));
        match wait {
            Some(wait) if self.may_wait(gateway) => {
                self.walk.next = 0;
                self.pause(wait);
                self.walk.laps += 1;
            }
            _ => self.despair(gateway),
        }
    }

    /// Until the first of those that are throttled may be asked, if an attempt then still fits.
    fn soonest_gate(&self, gateway: &Gateway) -> Option<Millis> {
        let throttled = self.walk.rejections.iter().filter(|(_, why)| why.is_throttling());
        let waits = throttled.map(|(index, _)| {
            // Asked anew: time has passed since they were passed over.
            let claim = self.claim(gateway, *index);
            let now_said = gateway.would_admit_claim(self.now, &self.plan.candidates[*index], &claim).err();
            now_said.and_then(|why| why.retry_in()).unwrap_or(Millis::ZERO)
        });
        waits.min().filter(|wait| self.fits(*wait))
    }

    /// Until the first of those that failed may be asked once more, if an attempt then still fits.
    fn soonest_recovery(&self, gateway: &Gateway) -> Option<Millis> {
        let usable = |index: usize| is_usable(&gateway.would_admit(self.now, &self.plan.candidates[index]));
        let failed = self.walk.failed.iter().filter(|(index, _)| usable(*index));
        failed.map(|(_, back_at)| self.now.until(*back_at)).min().filter(|wait| self.fits(*wait))
    }

    /// Waits, and a jittered backoff longer, so that those who were turned away together do not come back together. The
    /// backoff takes no more than half of what time there is, or there would be none for the attempt.
    fn pause(&mut self, wait: Millis) {
        let wait = wait.max(PAUSE_MIN);
        let slack = (self.now + wait).until(self.deadline());
        let (policy, nth) = (self.plan.retry, self.walk.laps + self.walk.same_target);
        let backoff = delay(self.rng(), &policy, nth);
        let until = self.now + wait + backoff.min(Millis(slack.0 / 2));
        let until = until.min(self.deadline());
        self.note_pause(until);
        self.state = State::Pausing(until);
    }
}

/// Whether a target can be asked, if only in its turn.
fn is_usable(admission: &Result<(), Rejection>) -> bool {
    matches!(admission, Ok(()) | Err(Rejection::Busy { .. }))
}
