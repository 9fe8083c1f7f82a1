//! How a request ends that nobody could serve, and how a stream ends that had begun.

use bytes::Bytes;
use http::StatusCode;

use super::allowing::over_budget;
use super::live::{Ended, Live};
use super::{Exchange, Refusal, Said, State};
use crate::classify::Outcome;
use crate::config::TargetId;
use crate::gateway::Gateway;
use crate::notice::Notice;
use crate::record::How;
use crate::reply::{ApiError, Tried};
use crate::route::Rejection;
use crate::time::Millis;

/// How a stream ends that the client is reading.
pub(super) enum Parting {
    /// Whole: with what its vendor forgot to say, if anything.
    Well(Option<Bytes>),
    /// In an error.
    Broken(Bytes),
    /// Not yet: another vendor may go on with it.
    Open,
}

impl Exchange {
    /// Nobody is left to ask, or nothing is left to ask with.
    pub(super) fn give_up(&mut self, gateway: &mut Gateway) {
        self.leave_queue(gateway);
        if self.broken.is_some() {
            return self.end_broken(gateway);
        }
        if let Some(refusal) = self.refusal.take() {
            return self.tell(refusal);
        }
        if self.say_estimate(gateway) {
            return;
        }
        let error = self.failure(gateway);
        if self.store(&error) {
            return;
        }
        if error.status == StatusCode::BAD_REQUEST || !self.say_canned() {
            self.refuse(&error, self.tried.last().map(|ending| ending.target));
        }
    }

    /// Tells the client what a vendor said.
    pub(super) fn tell(&mut self, Refusal { target, cost, said }: Refusal) {
        match said {
            Said::Whole(whole) => self.answer(whole, target, cost),
            Said::Stream(bytes) => {
                self.begin_stream(Some(target));
                self.write(bytes);
                self.state = State::Over;
            }
        }
    }

    /// How the stream that the client is reading ends, now that its vendor has nothing more to say.
    pub(super) fn part(&mut self, live: &mut Live, outcome: Outcome) -> Parting {
        match outcome {
            Outcome::Success | Outcome::Filtered if live.is_whole() => Parting::Well(live.farewell()),
            // The client has had its last word: nothing that comes after it is of any use.
            _ if live.is_done() => Parting::Well(None),
            outcome if self.keep_remains(live, outcome) => Parting::Open,
            // It ends in an error, so that nobody takes it for whole.
            outcome => {
                let error = self.interrupted(live.permit.target, outcome);
                Parting::Broken(live.broken(&error, self.request.surface, &self.request_id))
            }
        }
    }

    /// The error in which a stream ends that nobody goes on with.
    pub(super) fn interrupted(&self, target: TargetId, outcome: Outcome) -> ApiError {
        let message = format!(
            "The stream from {} broke off ({}) after it had begun: what was received is not the whole answer. Send \
             the request again.",
            self.config.target(target).name,
            outcome.name()
        );
        let mut error = ApiError::new(StatusCode::BAD_GATEWAY, "upstream_error", "stream_interrupted", message);
        error.attempts = self.report();
        error
    }

    /// Says goodbye to the client, and tells of it if that was not as it should be.
    pub(super) fn say(&mut self, gateway: &mut Gateway, parting: Parting, candidate: usize, ended: &Ended) {
        self.state = State::Over;
        let target = self.plan.candidates[candidate].target;
        match parting {
            Parting::Well(farewell) => {
                self.pass_on(target, farewell.unwrap_or_default());
                self.note_rescue(gateway, target);
            }
            Parting::Broken(error) => self.say_broken(gateway, error, target, ended.outcome),
            Parting::Open => self.seek_rescue(gateway, candidate, ended),
        }
    }

    /// Ends the client's stream in an error.
    pub(super) fn say_broken(&mut self, gateway: &mut Gateway, error: Bytes, target: TargetId, outcome: Outcome) {
        self.state = State::Over;
        self.how = How::Broken;
        self.write(error);
        let (request_id, target) = (self.request_id.clone(), self.config.target(target).name.clone());
        gateway.notify(Notice::StreamBroken { request_id, target, outcome: outcome.name() });
    }

    /// The error that says why nobody served.
    fn failure(&self, gateway: &Gateway) -> ApiError {
        let mut error = if self.tried.is_empty() { self.nobody_was_asked() } else { self.everybody_failed() };
        // A request that suits nobody suits nobody later.
        let is_final = matches!(error.status, StatusCode::BAD_REQUEST | StatusCode::FORBIDDEN);
        error.retry_in = (!is_final).then(|| self.soonest(gateway));
        error.attempts = self.report();
        error
    }

    fn nobody_was_asked(&self) -> ApiError {
        let (model, rejections) = (&self.request.model, &self.walk.rejections);
        if rejections.is_empty() {
            let message = format!("The time for this request ran out before a target of `{model}` could be asked.");
            return ApiError::new(StatusCode::GATEWAY_TIMEOUT, "server_error", "upstream_timeout", message);
        }
        // Whoever does not suit the request has no say in what it is to wait for.
        let suited = || rejections.iter().map(|(_, why)| why).filter(|why| !why.is_unsuited());
        let all = |is: fn(&Rejection) -> bool| suited().all(is);
        if suited().next().is_none() {
            return self.nobody_suits();
        }
        if all(Rejection::is_throttling) {
            return throttled();
        }
        if all(|rejection| matches!(rejection, Rejection::OverBudget { .. })) {
            return over_budget();
        }
        if suited().any(|rejection| matches!(rejection, Rejection::Busy { .. })) {
            return overloaded(model);
        }
        if all(|rejection| matches!(rejection, Rejection::NoCredential { .. })) {
            return credentials();
        }
        let message =
            format!("No target of `{model}` can be used right now: each one is shut off after failures, or throttled.");
        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "server_error", "circuit_open", message)
    }

    /// What all attempts have in common speaks for them; otherwise the last one does.
    fn everybody_failed(&self) -> ApiError {
        let all = |is: fn(Outcome) -> bool| self.tried.iter().all(|ending| is(ending.outcome));
        if all(|outcome| matches!(outcome, Outcome::RateLimited(_))) {
            return throttled();
        }
        if all(|outcome| matches!(outcome, Outcome::RateLimited(_) | Outcome::CredentialFault)) {
            return credentials();
        }
        let model = &self.request.model;
        let last = self.tried.last().map_or(Outcome::Neutral, |ending| ending.outcome);
        let name = last.name();
        if last.is_timeout() {
            // That one was within all of its own limits: its outcome says nothing.
            let message = if last == Outcome::Neutral {
                format!("The time for this request ran out before a target of `{model}` had answered.")
            } else {
                format!("No target of `{model}` answered in time. The last attempt ended as {name}.")
            };
            return ApiError::new(StatusCode::GATEWAY_TIMEOUT, "server_error", "upstream_timeout", message);
        }
        let message = format!("Every attempt at `{model}` failed. The last one ended as {name}.");
        ApiError::new(StatusCode::BAD_GATEWAY, "server_error", "upstream_error", message)
    }

    /// When a candidate that suits the request may be used again: what the client's `Retry-After` says.
    fn soonest(&self, gateway: &Gateway) -> Millis {
        let rejected = || self.walk.rejections.iter().chain(&self.walk.spent);
        let suits = |index: usize| rejected().all(|(known, why)| *known != index || !why.is_unsuited());
        let suited = self.plan.candidates.iter().enumerate().filter(|(index, _)| suits(*index));
        let waits = suited.map(|(index, candidate)| {
            let rejection = gateway.would_admit_claim(self.now, candidate, &self.claim(gateway, index)).err();
            rejection.and_then(|why| why.retry_in()).unwrap_or(Millis::ZERO)
        });
        waits.min().unwrap_or(Millis::ZERO)
    }

    /// The attempts, as an error reports them.
    fn report(&self) -> Vec<Tried> {
        let tried = self.tried.iter().map(|ending| Tried {
            target: self.config.target(ending.target).name.clone(),
            outcome: ending.outcome.name(),
            status: ending.outcome.status(),
            ms: ending.took(),
        });
        tried.collect()
    }
}

fn throttled() -> ApiError {
    let message = "Every vendor that could serve this request throttles it, or has been asked for as much as this gateway may \
                   ask it for. Come back when Retry-After says.";
    ApiError::new(StatusCode::TOO_MANY_REQUESTS, "rate_limit_error", "rate_limit_exceeded", message)
}

fn overloaded(model: &str) -> ApiError {
    let message = format!(
        "As many requests are under way as the targets of `{model}` bear, and the time or the room to wait for one of \
         them to end is used up. Come back when Retry-After says."
    );
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "server_error", "overloaded", message)
}

fn credentials() -> ApiError {
    let message = "The gateway's own keys were refused by every vendor that could serve this request, or have nothing \
                   left to spend. This is for the gateway's operator to mend: your own key is not at fault.";
    ApiError::new(StatusCode::BAD_GATEWAY, "server_error", "upstream_credentials", message)
}
