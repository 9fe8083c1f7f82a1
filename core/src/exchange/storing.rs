//! A request that nobody can serve, kept for later: it is stored first, and then its client is told where to ask.

use super::{Exchange, State};
use crate::dialect::unstreamed;
use crate::drive::Action;
use crate::hints::MayQueue;
use crate::queue::{STORE_MAX, Submission, accepted};
use crate::record::How;
use crate::reply::ApiError;
use crate::time::Timestamp;

/// Whether a request may be kept for later.
#[derive(Debug, Default)]
pub(super) enum Queueing {
    /// It is answered now, whatever there is to say.
    #[default]
    Never,
    /// It is kept where nobody can serve it.
    Allowed(Box<Submission>),
    /// It was kept, and is carried out now: if nobody can serve it, it goes back to where it was. What its route does
    /// beyond that, for a client that waits, is not done for it.
    IsJob,
}

/// What a client is told if its request cannot be stored.
#[derive(Debug)]
pub(super) struct Storing {
    error: ApiError,
    pub(super) until: Timestamp,
}

impl Exchange {
    /// It may be kept for later, as this, if that is anything.
    pub(crate) fn allow_queue(&mut self, submission: Option<Submission>) {
        self.queueing = submission.map_or(Queueing::Never, |submission| Queueing::Allowed(Box::new(submission)));
    }

    /// It has been kept, and is carried out now.
    pub(crate) fn note_job(&mut self) {
        self.queueing = Queueing::IsJob;
        let hints = self.hints.get_or_insert_default();
        hints.queue = Some(MayQueue::Was);
    }

    pub(super) fn is_job(&self) -> bool {
        matches!(self.queueing, Queueing::IsJob)
    }

    /// Has the request stored, if it may be: then what is to be said waits for that. `false`: it may not.
    pub(super) fn store(&mut self, error: &ApiError) -> bool {
        // What is as little use later is not kept, nor what its client has no money for; and a stream that has begun cannot
        // turn into a promise.
        let may_pass = error.status.is_server_error() || error.kind == "rate_limit_error";
        if !may_pass
            || error.retry_in.is_none()
            || self.keep_alive.has_begun
            || !matches!(self.queueing, Queueing::Allowed(_))
        {
            return false;
        }
        let Queueing::Allowed(mut submission) = std::mem::take(&mut self.queueing) else { return false };
        if self.request.stream {
            submission.body = unstreamed(&submission.body);
        }
        self.actions.push_back(Action::Enqueue(submission));
        self.state = State::Storing(Box::new(Storing { error: error.clone(), until: self.now + STORE_MAX }));
        true
    }

    /// It is stored, under this id; or it is not, and nothing is claimed of it.
    pub(super) fn settle_storing(&mut self, id: Option<&str>) {
        let State::Storing(storing) = std::mem::replace(&mut self.state, State::Over) else { return };
        let Some(id) = id else {
            if !self.say_canned() {
                self.refuse(&storing.error, self.tried.last().map(|ending| ending.target));
            }
            return;
        };
        self.how = How::Queued;
        let mut reply = accepted(id, storing.error.retry_in, self.request.stream);
        self.put_headers(&mut reply.headers, None);
        self.reply(reply);
    }
}
