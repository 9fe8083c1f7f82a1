//! A stream that breaks off while the client reads it, where the route has another vendor go on with it.
//!
//! To the client it stays one answer: what follows is what it has not had, in the words and under the ids in which the
//! answer began. Only an answer of text is gone on with, and only as far as the request's attempts, its deadline and the
//! retry budget allow. Whatever becomes of a rescue, it never hides why it was needed: unless the answer gets whole, the client
//! is told of the first failure.

use bytes::Bytes;

use super::live::{Ended, Live};
use super::{Exchange, State};
use crate::classify::Outcome;
use crate::config::TargetId;
use crate::dialect::{Remains, Request, Rescue};
use crate::gateway::Gateway;
use crate::notice::Notice;
use crate::route::Rejection;

/// A client's stream that has broken off.
#[derive(Debug)]
pub(super) struct Broken {
    /// Who broke it off first.
    by: TargetId,
    /// And how.
    outcome: Outcome,
    /// What is left of it; none while an attempt goes on with it.
    remains: Option<Remains>,
    /// The request that asks to go on from the text so far.
    continued: Option<Request>,
    /// Whether the client has been told who goes on.
    is_marked: bool,
}

impl Exchange {
    /// What a vendor is asked now.
    pub(super) fn asked(&self) -> &Request {
        let continued = self.broken.as_ref().and_then(|broken| broken.continued.as_ref());
        continued.unwrap_or(&self.request)
    }

    /// Keeps what is left of the client's stream when its vendor fails. `false`: it is to end now. What is the caller's
    /// fault, or a filter's verdict, another vendor is not asked to undo.
    pub(super) fn keep_remains(&mut self, live: &mut Live, outcome: Outcome) -> bool {
        let is_failure =
            matches!(outcome, Outcome::HardFailure(_) | Outcome::RateLimited(_) | Outcome::CredentialFault);
        if self.broken.is_none() && !is_failure {
            return false;
        }
        let Some(remains) = live.take_remains() else { return false };
        let first = || Broken { by: live.permit.target, outcome, remains: None, continued: None, is_marked: false };
        self.broken.get_or_insert_with(|| Box::new(first())).remains = Some(remains);
        true
    }

    /// Looks for a vendor to go on with the client's stream, after an attempt that failed.
    pub(super) fn seek_rescue(&mut self, gateway: &mut Gateway, candidate: usize, ended: &Ended) {
        if self.is_out_of_budget() || !self.prepare_rescue() || !gateway.allow_retry(self.now) {
            return self.end_broken(gateway);
        }
        self.state = State::Choosing;
        let is_spent = self.walk.spent.iter().any(|(spent, _)| *spent == candidate);
        match ended.outcome {
            _ if is_spent => {}
            Outcome::HardFailure(failure) => self.follow_failure(gateway, candidate, failure, ended.retry_after),
            Outcome::RateLimited(_) | Outcome::CredentialFault => self.walk.again = Some(candidate),
            // It cannot go on with this answer, or tells another.
            _ => self.walk.spent.push((candidate, Rejection::NoRescue)),
        }
    }

    /// Settles what a successor is to be asked. `false`: nobody can go on from what the client has had.
    fn prepare_rescue(&mut self) -> bool {
        let Some(broken) = &mut self.broken else { return false };
        let Some(rescue) = self.plan.stream_cut else { return false };
        let Some(text) = broken.remains.as_ref().and_then(|remains| remains.text(rescue)) else { return false };
        if rescue == Rescue::Continue {
            let Ok(continued) = self.request.continued(text) else { return false };
            if broken.continued.replace(continued).is_none() {
                let candidates = self.plan.candidates.iter().enumerate();
                let cannot = candidates.filter(|(_, known)| !self.config.target(known.target).abilities.prefill);
                let why = || Rejection::Unsupported { what: "prefill".into() };
                self.walk.spent.extend(cannot.map(|(index, _)| (index, why())));
            }
        }
        broken.is_marked = false;
        self.prepared = None;
        true
    }

    /// Gives an attempt that begins the stream that it is to go on with, if there is one.
    pub(super) fn hand_over(&mut self, live: &mut Live) {
        let remains = self.broken.as_mut().and_then(|broken| broken.remains.take());
        if let (Some(remains), Some(rescue)) = (remains, self.plan.stream_cut) {
            live.resume(remains, rescue);
        }
    }

    /// Passes on what a target said. What is said in place of another who failed is marked, in a comment.
    pub(super) fn pass_on(&mut self, target: TargetId, bytes: Bytes) {
        if let Some(broken) = self.broken.as_mut().filter(|broken| !broken.is_marked && !bytes.is_empty()) {
            broken.is_marked = true;
            let name = &self.config.target(target).name;
            self.write(format!(": tidegate rescued by {name}\n\n").into());
        }
        self.write(bytes);
    }

    /// The stream has ended well. If that was another's doing than of who began it, the operator is told.
    pub(super) fn note_rescue(&mut self, gateway: &mut Gateway, by: TargetId) {
        let (Some(broken), Some(rescue)) = (self.broken.take(), self.plan.stream_cut) else { return };
        if let Some(route) = self.plan.route {
            gateway.note_rescue(route);
        }
        let name = |target: TargetId| self.config.target(target).name.clone();
        gateway.notify(Notice::StreamRescued {
            request_id: self.request_id.clone(),
            from: name(broken.by),
            to: name(by),
            how: rescue.name(),
        });
    }

    /// Ends the client's stream with the error in which it first broke off.
    pub(super) fn end_broken(&mut self, gateway: &mut Gateway) {
        let Some(broken) = self.broken.take() else { return };
        let Broken { by, outcome, remains, .. } = *broken;
        let error = self.interrupted(by, outcome);
        let mut remains = remains.expect("an attempt that is over has given back what it was to go on with");
        let said = remains.broken(&error, self.request.surface, &self.request_id);
        self.say_broken(gateway, said, by, outcome);
    }
}
