//! What an operator asks of the gateway with a body, and what it answers.
//!
//! The body is read without the gateway; what comes of it, a [`Task`], is done with the gateway at hand. Adapters see an
//! [`Errand`] and hand it to [`Gateway::run`], whatever it is.

use http::StatusCode;

use crate::breaker::Order;
use crate::config::TargetId;
use crate::dialect::Dialect;
use crate::explain::Inquiry;
use crate::gateway::Gateway;
use crate::reply::{ApiError, Reply, name_request};
use crate::time::Timestamp;

pub(crate) mod orders;

/// A call of the admin interface whose body has been read.
#[derive(Debug)]
pub struct Errand {
    pub(crate) request_id: String,
    pub(crate) task: Task,
}

/// What is to be done.
#[derive(Debug)]
pub(crate) enum Task {
    /// Say who would be asked, and why the others would not.
    Explain(Box<Inquiry>),
    /// Open, close or reset a target's breaker.
    Order(TargetId, Order),
}

impl Gateway {
    /// Does what an operator has asked for, and answers.
    pub fn run(&mut self, now: Timestamp, errand: Errand) -> Reply {
        let Errand { request_id, task } = errand;
        let done: Result<Reply, Box<ApiError>> = match task {
            Task::Explain(inquiry) => Ok(Reply::json(StatusCode::OK, &self.explanation(now, &inquiry))),
            Task::Order(target, order) => {
                self.order(now, target, order);
                Ok(Reply::json(StatusCode::OK, &self.ordered(now, target)))
            }
        };
        match done {
            Ok(mut reply) => {
                name_request(&mut reply.headers, &request_id);
                reply
            }
            Err(error) => error.reply(Dialect::OpenAi, &request_id),
        }
    }
}
