//! How a request ends that nobody could serve, and how a stream ends that had begun.

use http::StatusCode;

use super::{Exchange, Refusal, Said, State};
use crate::classify::Outcome;
use crate::config::TargetId;
use crate::drive::Action;
use crate::gateway::Gateway;
use crate::notice::Notice;
use crate::reply::{ApiError, Tried};
use crate::route::Rejection;
use crate::time::Millis;

impl Exchange {
    /// Nobody is left to ask, or nothing is left to ask with.
    pub(super) fn give_up(&mut self, gateway: &mut Gateway) {
        match self.refusal.take() {
            Some(Refusal { target, cost, said: Said::Whole(whole) }) => self.answer(Some(whole), target, cost),
            Some(Refusal { target, said: Said::Stream(bytes), .. }) => {
                self.begin_stream(target);
                self.actions.push_back(Action::Write(bytes));
                self.state = State::Over;
            }
            None => {
                let error = self.failure(gateway);
                let mut reply = error.reply();
                self.put_headers(&mut reply.headers, self.tried.last().map(|ending| ending.target));
                self.reply(reply);
            }
        }
    }

    /// A stream that the client was reading broke off: it ends in an error, so that nobody takes it for whole.
    pub(super) fn break_stream(&mut self, gateway: &mut Gateway, target: TargetId, outcome: Outcome) {
        let (name, outcome) = (&self.config.target(target).name, outcome.name());
        gateway.notify(Notice::StreamBroken { request_id: self.request_id.clone(), target: name.clone(), outcome });
        let message = format!(
            "The stream from {name} broke off ({outcome}) after it had begun: what was received is not the whole answer. \
             Send the request again."
        );
        let mut error = ApiError::new(StatusCode::BAD_GATEWAY, "upstream_error", "stream_interrupted", message);
        error.attempts = self.report();
        self.actions.push_back(Action::Write(error.event()));
    }

    /// The error that says why nobody served.
    fn failure(&self, gateway: &Gateway) -> ApiError {
        let mut error = if self.tried.is_empty() { self.nobody_was_asked() } else { self.everybody_failed() };
        error.retry_in = Some(self.soonest(gateway));
        error.attempts = self.report();
        error
    }

    fn nobody_was_asked(&self) -> ApiError {
        let rejections = &self.walk.rejections;
        let all = |is: fn(Rejection) -> bool| rejections.iter().all(|(_, rejection)| is(*rejection));
        let model = &self.request.model;
        if rejections.is_empty() {
            let message = format!("The time for this request ran out before a target of `{model}` could be asked.");
            return ApiError::new(StatusCode::GATEWAY_TIMEOUT, "server_error", "upstream_timeout", message);
        }
        if all(|rejection| matches!(rejection, Rejection::RateLimited { .. })) {
            return throttled();
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
            let message = format!("No target of `{model}` answered in time. The last attempt ended as {name}.");
            return ApiError::new(StatusCode::GATEWAY_TIMEOUT, "server_error", "upstream_timeout", message);
        }
        let message = format!("Every attempt at `{model}` failed. The last one ended as {name}.");
        ApiError::new(StatusCode::BAD_GATEWAY, "server_error", "upstream_error", message)
    }

    /// When a candidate may be used again: what the client's `Retry-After` says.
    fn soonest(&self, gateway: &Gateway) -> Millis {
        let waits = self.plan.candidates.iter().map(|candidate| {
            let rejection = gateway.would_admit(self.now, candidate.target).err();
            rejection.and_then(Rejection::retry_in).unwrap_or(Millis::ZERO)
        });
        waits.min().unwrap_or(Millis::ZERO)
    }

    /// The attempts, as an error reports them.
    fn report(&self) -> Vec<Tried> {
        let tried = self.tried.iter().map(|ending| Tried {
            target: self.config.target(ending.target).name.clone(),
            outcome: ending.outcome.name(),
            status: ending.outcome.status(),
            ms: ending.took,
        });
        tried.collect()
    }
}

fn throttled() -> ApiError {
    let message = "Every vendor that could serve this request throttles it. Come back when Retry-After says.";
    ApiError::new(StatusCode::TOO_MANY_REQUESTS, "rate_limit_error", "rate_limit_exceeded", message)
}

fn credentials() -> ApiError {
    let message = "The gateway's own keys were refused by every vendor that could serve this request, or have nothing \
                   left to spend. This is for the gateway's operator to mend: your own key is not at fault.";
    ApiError::new(StatusCode::BAD_GATEWAY, "server_error", "upstream_credentials", message)
}
