//! The port: one exchange's way to the vendors, the clock and the client.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use reqwest::{Method, Request, Response};
use tidegate_core::classify::Fault;
use tidegate_core::drive::{ATTEMPTS_AT_ONCE, Attempt, AttemptId, Event, Port};
use tidegate_core::gateway::Gateway;
use tidegate_core::queue::Submission;
use tidegate_core::reply::{Head, Reply};
use tidegate_core::time::Timestamp;
use tokio::time::Sleep;

use crate::app::App;
use crate::clock;
use crate::outlet::{Answer, Outlet};

/// Carries out what one exchange decides.
pub(crate) struct NativePort {
    app: Arc<App>,
    outlet: Outlet,
    upstreams: [Option<(AttemptId, Upstream)>; ATTEMPTS_AT_ONCE],
    alarm: Option<Alarm>,
    /// The request on its way into the queue.
    storing: Option<Storing>,
}

/// The id under which a request is stored, once it is.
type Storing = Pin<Box<dyn Future<Output = Option<String>> + Send>>;

enum Upstream {
    Sending(Pin<Box<dyn Future<Output = reqwest::Result<Response>> + Send>>),
    Receiving(Response),
}

/// A timer that is set as seldom as can be: a stream moves its deadline with every piece, and most never come.
struct Alarm {
    rings_at: Timestamp,
    sleep: Pin<Box<Sleep>>,
}

impl NativePort {
    pub(crate) fn new(app: Arc<App>, outlet: Outlet) -> Self {
        Self { app, outlet, upstreams: [None, None], alarm: None, storing: None }
    }
}

impl Port for NativePort {
    fn now(&self) -> Timestamp {
        clock::now()
    }

    fn with_gateway<T>(&self, step: impl FnOnce(&mut Gateway) -> T) -> T {
        self.app.with_gateway(step)
    }

    fn send(&mut self, attempt: Attempt) {
        let (client, url) = self.app.upstream(&attempt);
        let mut request = Request::new(Method::POST, url.clone());
        *request.headers_mut() = attempt.headers;
        *request.body_mut() = Some(attempt.body.into());
        let free = self.upstreams.iter_mut().find(|upstream| upstream.is_none());
        let free = free.expect("no more are under way at once than the core says");
        *free = Some((attempt.id, Upstream::Sending(Box::pin(client.execute(request)))));
    }

    fn cancel(&mut self, attempt: AttemptId) {
        for upstream in &mut self.upstreams {
            upstream.take_if(|(id, _)| *id == attempt);
        }
    }

    fn reply(&mut self, reply: Reply) {
        self.outlet.answer(Answer::Whole(reply));
    }

    fn relay(&mut self, head: Head) {
        self.outlet.answer(Answer::Stream(head));
    }

    fn enqueue(&mut self, submission: Submission) {
        self.storing = match &self.app.jobs {
            Some(jobs) => Some(Box::pin(jobs.submit(submission))),
            None => Some(Box::pin(std::future::ready(None))),
        };
    }

    fn write(&mut self, bytes: Bytes) {
        self.outlet.write(bytes);
    }

    async fn wait(&mut self, until: Timestamp) -> Event {
        self.outlet.drained().await;
        let alarm = Alarm::ring(&mut self.alarm, until);
        let [one, other] = &mut self.upstreams;
        // What has arrived comes before what is late: a slow client must not make a vendor look silent.
        tokio::select! {
            biased;
            event = next_event(one) => event,
            event = next_event(other) => event,
            event = stored(&mut self.storing) => event,
            () = alarm => Event::Timeout,
        }
    }
}

/// What becomes of the request that is being stored; nothing ever where there is none.
async fn stored(storing: &mut Option<Storing>) -> Event {
    let Some(stored) = storing else {
        return std::future::pending().await;
    };
    let id = stored.await;
    *storing = None;
    Event::Stored(id)
}

/// The next event of an attempt; none ever comes where there is no attempt.
async fn next_event(upstream: &mut Option<(AttemptId, Upstream)>) -> Event {
    let Some((attempt, state)) = upstream else {
        return std::future::pending().await;
    };
    let attempt = *attempt;
    match state {
        Upstream::Sending(sending) => match sending.await {
            Ok(mut response) => {
                let (status, headers) = (response.status(), std::mem::take(response.headers_mut()));
                *state = Upstream::Receiving(response);
                Event::Head { attempt, status, headers }
            }
            Err(error) => fail(upstream, attempt, &error),
        },
        Upstream::Receiving(response) => match response.chunk().await {
            Ok(Some(bytes)) => Event::Piece { attempt, bytes },
            Ok(None) => {
                *upstream = None;
                Event::End { attempt }
            }
            Err(error) => fail(upstream, attempt, &error),
        },
    }
}

fn fail(upstream: &mut Option<(AttemptId, Upstream)>, attempt: AttemptId, error: &reqwest::Error) -> Event {
    *upstream = None;
    // The error's text may hold the vendor's URL, never a key; it stays out of the reply all the same.
    tracing::debug!("attempt {attempt:?} failed: {error}");
    Event::Fail { attempt, fault: fault(error) }
}

/// What the client's errors come to.
pub(crate) fn fault(error: &reqwest::Error) -> Fault {
    if error.is_connect() { Fault::Connect } else { Fault::Broken }
}

impl Alarm {
    /// Rings at `until`.
    async fn ring(alarm: &mut Option<Self>, until: Timestamp) {
        let alarm = alarm.get_or_insert_with(|| Self {
            rings_at: until,
            sleep: Box::pin(tokio::time::sleep_until(clock::instant(until))),
        });
        if until < alarm.rings_at {
            alarm.set(until);
        }
        loop {
            alarm.sleep.as_mut().await;
            if clock::now() >= until {
                return;
            }
            // It was set for an earlier deadline that has moved on since.
            alarm.set(until);
        }
    }

    fn set(&mut self, until: Timestamp) {
        self.rings_at = until;
        self.sleep.as_mut().reset(clock::instant(until));
    }
}
