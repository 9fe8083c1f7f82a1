//! What an exchange leaves behind for whoever asks how it went.

use super::live::{Ended, Live};
use super::{Exchange, State};
use crate::config::Candidate;
use crate::drive::AttemptId;
use crate::gateway::Gateway;
use crate::hints::Hints;
use crate::ledger::Cause;
use crate::price::Picodollars;
use crate::record::{Attempted, How, Record};
use crate::route::Rejection;
use crate::time::Timestamp;

/// Hints with more text than this are honoured, but not kept: no record may grow with what a client makes up.
const HINT_BYTES_MAX: usize = 1024;

impl Exchange {
    /// Who asks, as an index into the config's clients, and what else they asked of the gateway.
    pub(crate) fn note_asker(&mut self, client: Option<usize>, hints: Hints) {
        self.client = client;
        let is_asked_first = matches!(self.state, State::Choosing);
        if is_asked_first && self.plan.candidates.iter().any(|of| self.weighs_tokens(of.target)) {
            // Here, where the gateway is not held: it is asked before the request is written for anybody.
            self.request.weight();
        }
        self.read_to_estimate();
        self.hints = (hints != Hints::default() && hints.text_bytes() <= HINT_BYTES_MAX).then(|| Box::new(hints));
    }

    /// Takes for granted that a candidate cannot be asked: what a recorded request asked for beside its model is not known.
    pub(crate) fn presume(&mut self, target: &str, why: &Rejection) {
        let named = |candidate: &Candidate| self.config.target(candidate.target).name == target;
        if let Some(index) = self.plan.candidates.iter().position(named) {
            self.walk.spent.push((index, why.clone()));
        }
    }

    /// On whose behalf an attempt is made.
    pub(super) fn cause(&self, attempt: AttemptId) -> Cause<'_> {
        let (client, route) = (self.client, self.plan.route);
        Cause { request_id: &self.request_id, attempt: attempt.0, client, route, probe: false }
    }

    /// How an attempt ended. What it cost is known once it is settled.
    pub(super) fn ending(&self, live: &Live, ended: &Ended) -> Attempted {
        Attempted {
            nth: live.id.0,
            target: live.permit.target,
            key: live.permit.key(),
            sent_at: live.sent_at,
            head: live.head_at,
            first_token_at: live.first_token_at,
            last_at: live.last_at,
            ended_at: self.now,
            outcome: ended.outcome,
            retry_after: ended.retry_after,
            usage: ended.usage,
            cost: None,
            sent_turn: live.permit.turn(),
            ended_turn: self.turn,
        }
    }

    /// What the attempt cost that has just been settled.
    pub(super) fn note_cost(&mut self, cost: Option<Picodollars>) {
        if let Some(last) = self.tried.last_mut() {
            last.cost = cost;
        }
    }

    /// A candidate is not asked.
    pub(super) fn pass_over(&mut self, index: usize, why: Rejection) {
        let target = self.plan.candidates[index].target;
        self.notes.pass_over(self.now, target, &why);
        self.walk.reject(index, why);
    }

    /// Nobody is asked until then.
    pub(super) fn note_pause(&mut self, until: Timestamp) {
        self.notes.pause(self.now, until);
    }

    /// Leaves the record with the gateway, once everything is settled.
    pub(super) fn file(&mut self, gateway: &mut Gateway) {
        if self.is_filed || !matches!(self.state, State::Over) || !self.aside.is_empty() {
            return;
        }
        self.is_filed = true;
        let how = match self.how {
            _ if self.gone => How::ClientGone,
            How::Answered if self.status.is_none_or(|status| !(200..300).contains(&status)) => How::Refused,
            how => how,
        };
        gateway.file(Record {
            request_id: std::mem::take(&mut self.request_id),
            model: std::mem::take(&mut self.request.model),
            route: self.plan.route,
            client: self.client,
            surface: self.request.surface,
            stream: self.request.stream,
            hints: self.hints.take(),
            weight: self.request.weighed(),
            stick: self.plan.basis.stick,
            shadow: self.shadow,
            started_at: self.started_at,
            excluded: std::mem::take(&mut self.plan.excluded),
            notes: std::mem::take(&mut self.notes),
            attempts: std::mem::take(&mut self.tried),
            how,
            kept_from: self.kept_from,
            status: self.status,
            ended_at: self.now,
        });
    }
}
