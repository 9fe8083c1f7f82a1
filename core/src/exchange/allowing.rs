//! What a client may use: its request is counted once, before anybody is asked, and settled when it is over.

use http::{HeaderMap, HeaderValue, StatusCode};

use super::choosing::LEASE_MARGIN;
use super::{Exchange, State};
use crate::config::TargetId;
use crate::dialect::Operation;
use crate::gateway::{Gateway, used};
use crate::limit::{AtLimit, Dimension, Hold, Need, Use};
use crate::quota;
use crate::reply::{self, ApiError};
use crate::rng::Rng;
use crate::tokens::Estimate;

/// How the client's limits stand to this request.
#[derive(Debug, Default)]
pub(super) struct Admission {
    /// Whether they have been asked.
    is_settled: bool,
    /// What was taken of them.
    pub(super) hold: Option<Hold>,
    /// What the client is told of them, in its own dialect.
    pub(super) told: HeaderMap,
}

impl Exchange {
    /// Asks the client's limits, once. `false`: there is no room, and the client has been told.
    pub(super) fn let_in(&mut self, gateway: &mut Gateway) -> bool {
        let Some(client) = self.client.filter(|_| !std::mem::replace(&mut self.admission.is_settled, true)) else {
            return true;
        };
        let first = self.plan.candidates[0].target;
        let tokens = if self.weighs_tokens(first) { gateway.estimate(first, &self.request).total() } else { 0 };
        let longest = self.plan.candidates.iter().map(|candidate| candidate.timeouts.total).max();
        let lasts = self.plan.retry.deadline + longest.unwrap_or_default() + LEASE_MARGIN;
        let admitted = gateway.let_in(self.now, client, tokens, lasts);
        self.admission.told =
            quota::of_client(gateway.room(self.now, client), self.request.surface.dialect(), self.now);
        match admitted {
            Ok(hold) => {
                self.admission.hold = hold;
                true
            }
            Err(refusal) => {
                let name = &self.config.clients[client].name;
                self.refuse(&at_limit(name, refusal), None);
                false
            }
        }
    }

    /// Settles what the client's request has used, once it is over.
    pub(super) fn let_out(&mut self, gateway: &mut Gateway) {
        if !matches!(self.state, State::Over) || !self.aside.is_empty() {
            return;
        }
        if let (Some(client), Some(hold)) = (self.client, self.admission.hold.take()) {
            gateway.let_out(self.now, client, hold, self.used());
        }
    }

    /// What all attempts have used. Where any of them was counted, those that nobody counted are not the client's to pay.
    fn used(&self) -> Use {
        let uses = self.tried.iter().map(|attempt| used(attempt.outcome, attempt.usage));
        uses.fold(Use::Nothing, |sum, more| match (sum, more) {
            (Use::Tokens(sum), Use::Tokens(more)) => Use::Tokens(sum.saturating_add(more)),
            (Use::Nothing, other) | (other, Use::Nothing) => other,
            (Use::Tokens(0) | Use::Unknown, Use::Unknown) | (Use::Unknown, Use::Tokens(0)) => Use::Unknown,
            (counted @ Use::Tokens(_), Use::Unknown) | (Use::Unknown, counted) => counted,
        })
    }

    /// What an attempt at a target will take of limits, as far as anybody there asks.
    pub(super) fn need(&self, gateway: &Gateway, target: TargetId) -> Need {
        let mut need = Need { client: self.client, ..Need::default() };
        if self.weighs_tokens(target) {
            let Estimate { input, output } = gateway.estimate(target, &self.request);
            (need.input, need.output) = (input, output);
        }
        if self.config.vendor_of(target).keys.iter().any(|key| key.weight.is_some()) {
            // The same for asking and for being let in, and another for each attempt.
            need.draw = Rng::from_name(self.begun.into(), &self.request_id).next_u64();
        }
        need
    }

    /// Whether anybody asks how many tokens an attempt at a target will come to. To count tokens costs none.
    pub(super) fn weighs_tokens(&self, target: TargetId) -> bool {
        let client = self.client.map(|client| &self.config.clients[client]);
        self.request.operation() != Operation::CountTokens
            && (client.is_some_and(|client| client.limits.tpm.is_some() || client.budget.is_some())
                || self.config.target(target).limits.tpm.is_some()
                || self.config.vendor_of(target).keys.iter().any(|key| key.limits.tpm.is_some()))
    }
}

/// The client has used what it may.
fn at_limit(name: &str, AtLimit { what, retry_in }: AtLimit) -> ApiError {
    let used_up = match what {
        Dimension::Requests => "has used up its requests a minute",
        Dimension::Tokens => "has too few of its tokens a minute left for this request",
        Dimension::Concurrency => "has as many requests under way as it may",
        Dimension::Money => "has to wait for its share of its budget",
    };
    let message = format!("The client `{name}` {used_up}. Come back when Retry-After says.");
    let error = ApiError::new(StatusCode::TOO_MANY_REQUESTS, "rate_limit_error", "rate_limit_exceeded", message);
    error.with_retry_in(Some(retry_in))
}

/// What the client may spend would not pay for this request.
pub(super) fn over_budget() -> ApiError {
    let message = "What is left of this client's budget does not pay for this request. Come back when Retry-After says, \
                   or have the operator raise the budget.";
    let error = ApiError::new(StatusCode::TOO_MANY_REQUESTS, "insufficient_quota", "insufficient_quota", message);
    // SDKs take every 429 for one that passes in a moment.
    error.with_header(reply::SHOULD_RETRY, HeaderValue::from_static("false"))
}

/// There is nobody whose price is known.
pub(super) fn unpriced(model: &str) -> ApiError {
    let message = format!(
        "This client has a budget, and nobody knows what the targets of `{model}` cost: the operator has to set their \
         `price`."
    );
    ApiError::new(StatusCode::FORBIDDEN, "permission_error", "model_not_priced", message)
}
