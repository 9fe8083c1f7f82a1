//! Requests on their way into the queue and out of it, and what clients ask about them.

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, StatusCode};

use super::{Awaited, Call, FORWARDED, Incoming, Next, Reception, select, spoken};
use crate::config::{Config, Exhausted};
use crate::dialect::{Dialect, Request};
use crate::gateway::Gateway;
use crate::hints::{self, Hints, MayQueue};
use crate::queue::{self, About, Inquiry, Submission, Survey, Wish};
use crate::reply::ApiError;
use crate::route::Plan;
use crate::time::Timestamp;

/// A client asks about a job: of its own, if it turns out to be one.
pub(super) fn inquire(
    config: &Config,
    incoming: &Incoming<'_>,
    client: Option<usize>,
    id: &str,
    request_id: &str,
) -> Reception {
    let wish = if *incoming.method == Method::DELETE { Wish::Delete } else { Wish::Look };
    let about = About::Job { client: client_name(config, client), id: id.to_owned(), wish };
    let inquiry = Inquiry { about, dialect: spoken(incoming), request_id: request_id.to_owned() };
    if config.queue.is_none() {
        return Reception::Reply(Box::new(inquiry.unknown()));
    }
    Reception::Queue(Box::new(inquiry))
}

/// The operator asks about all jobs.
pub(super) fn survey(config: &Config, query: &str, request_id: &str) -> Result<Reception, Box<ApiError>> {
    let survey = Survey::read(query)?;
    if config.queue.is_none() {
        return Err(queue::off().into());
    }
    let (about, request_id) = (About::All(survey), request_id.to_owned());
    Ok(Reception::Queue(Box::new(Inquiry { about, dialect: Dialect::OpenAi, request_id })))
}

impl Awaited {
    /// What is to be kept of a request if nobody can serve it; `None`: nothing is.
    pub(super) fn submission(
        &self,
        body: Option<Bytes>,
        (plan, request, hints): &(Plan, Request, Hints),
    ) -> Result<Option<Submission>, Box<ApiError>> {
        let allowed = match hints.queue {
            Some(MayQueue::Allow) => true,
            Some(MayQueue::Never | MayQueue::Was) => false,
            None => plan.exhausted == Exhausted::Queue,
        };
        let Some(body) = body.filter(|_| allowed) else { return Ok(None) };
        let idempotency_key = hints::idempotency_key(&self.hints)?;
        let headers = self.hints.iter().chain(&self.forwarded).map(|(name, value)| (name.clone(), value.clone()));
        Ok(Some(Submission {
            client: client_name(&self.config, self.client),
            surface: request.surface,
            model: request.model.clone(),
            hints: hints.clone(),
            idempotency_key,
            headers: headers.collect(),
            body,
        }))
    }
}

/// A request that was queued, about to be carried out.
#[derive(Debug)]
#[must_use = "it is to be read"]
pub struct TakenUp {
    config: Arc<Config>,
    request_id: String,
    submission: Submission,
}

impl Gateway {
    /// Takes up what was queued.
    pub fn take_up(&mut self, now: Timestamp, submission: Submission) -> TakenUp {
        self.note_request(now);
        TakenUp { config: Arc::clone(self.config()), request_id: self.request_id(), submission }
    }
}

impl TakenUp {
    /// Reads the body and plans the request. Needs no gateway, and so holds nobody up. What cannot be made a request any more
    /// is answered at once: its client may be gone from the config, or its model.
    pub fn read(self, now: Timestamp) -> Next {
        let Self { config, request_id, submission } = self;
        let client = match &submission.client {
            Some(name) => match config.clients.iter().position(|client| client.name == *name) {
                Some(index) => Some(index),
                None => return Next::Reply(Box::new(client_gone().reply(submission.surface.dialect(), &request_id))),
            },
            None => None,
        };
        let awaited = Awaited {
            body_max: config.server.body_max,
            config,
            client,
            call: Call::Ask(submission.surface),
            forwarded: select(&submission.headers, FORWARDED),
            hints: select(&submission.headers, hints::HEADERS),
            request_id,
        };
        match awaited.read(now, submission.body) {
            Next::Exchange(mut exchange) => {
                exchange.note_job();
                Next::Exchange(exchange)
            }
            other => other,
        }
    }
}

fn client_gone() -> ApiError {
    let message = "The client that this request was queued for is no longer one of this gateway's.";
    ApiError::new(StatusCode::FORBIDDEN, "permission_error", "client_gone", message)
}

fn client_name(config: &Config, client: Option<usize>) -> Option<String> {
    client.map(|index| config.clients[index].name.clone())
}
