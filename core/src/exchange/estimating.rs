//! How many tokens a prompt has, where no vendor that could be asked counts them: our own estimate, marked as one.

use http::header::HeaderValue;
use http::{HeaderMap, StatusCode};
use serde_json::json;

use super::Exchange;
use crate::config::TargetId;
use crate::dialect::Operation;
use crate::gateway::Gateway;
use crate::reply::{self, Reply};

impl Exchange {
    /// Reads the prompt where no vendor counts: here, where the gateway is not held, since all of a long one takes time.
    pub(super) fn read_to_estimate(&self) {
        let operation = self.request.operation();
        let counts = |id: TargetId| self.config.url(id, operation).is_some();
        let is_ours = operation == Operation::CountTokens && !self.plan.candidates.iter().any(|of| counts(of.target));
        if is_ours && self.request.chat().is_ok() {
            self.request.weight();
        }
    }

    /// Answers with the estimate for the candidate that would be asked first. `false`: no count was asked for, or of nothing
    /// that any vendor could read.
    pub(super) fn say_estimate(&mut self, gateway: &Gateway) -> bool {
        let Some(first) = self.plan.candidates.first() else { return false };
        if self.request.operation() != Operation::CountTokens || self.request.chat().is_err() {
            return false;
        }
        let estimate = gateway.estimate(first.target, &self.request);
        let mut headers = HeaderMap::new();
        self.put_headers(&mut headers, None);
        headers.insert(reply::ESTIMATED, HeaderValue::from_static("true"));
        let mut reply = Reply::json(StatusCode::OK, &json!({"input_tokens": estimate.input}));
        reply.headers.extend(headers);
        self.reply(reply);
        true
    }
}
