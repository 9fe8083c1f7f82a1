//! The world's port: performs against scripted vendors on a virtual clock.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::AUTHORIZATION;

use super::RequestId;
use super::answer::Answer;
use super::referee::Asked;
use super::stage::Stage;
use super::wire::Wanted;
use crate::dialect::headers::{X_API_KEY, X_GOOG_API_KEY};
use crate::drive::{Attempt, AttemptId, Event, Port};
use crate::gateway::Gateway;
use crate::queue::Submission;
use crate::reply::{Head, Reply};
use crate::time::Timestamp;

/// Waits in a row that may end at once: more, and the exchange waits for a moment that does not help it.
const SPINS_MAX: u32 = 1000;

/// One request's way into the world.
pub(super) struct SimPort {
    stage: Rc<RefCell<Stage>>,
    id: RequestId,
    spins: u32,
}

impl SimPort {
    pub(super) fn new(stage: Rc<RefCell<Stage>>, id: RequestId) -> Self {
        Self { stage, id, spins: 0 }
    }
}

impl Port for SimPort {
    fn now(&self) -> Timestamp {
        self.stage.borrow().now
    }

    fn with_gateway<T>(&self, step: impl FnOnce(&mut Gateway) -> T) -> T {
        let mut stage = self.stage.borrow_mut();
        let result = step(&mut stage.gateway);
        stage.tell_notices();
        result
    }

    fn send(&mut self, attempt: Attempt) {
        let mut stage = self.stage.borrow_mut();
        stage.tell_send(self.id, attempt.target);
        let config = Arc::clone(stage.gateway.config());
        let wanted = Wanted::read(&config, &attempt);
        if stage.keeps_story() {
            let keys = [AUTHORIZATION, X_API_KEY, X_GOOG_API_KEY];
            let key = keys.iter().find_map(|name| attempt.headers.get(name)?.to_str().ok()).unwrap_or("");
            stage.vendors[attempt.target.0].seen.push(key.to_owned());
        }
        let now = stage.now;
        let script = stage.script(self.id, attempt.target);
        let play = script.play(now, attempt.id, &wanted);
        stage.arrive(self.id, play);
        stage.referee.sent(now, attempt.target, Asked::Attempt(self.id, attempt.id));
        let client = stage.client(self.id);
        client.live.push((attempt.id, attempt.target));
        (client.record.sent, client.record.last_sent_at) = (client.record.sent + 1, now);
    }

    fn cancel(&mut self, attempt: AttemptId) {
        let mut stage = self.stage.borrow_mut();
        let live = &mut stage.client(self.id).live;
        if let Some(place) = live.iter().position(|(live, _)| *live == attempt) {
            let (_, target) = live.remove(place);
            stage.referee.ended(target, Asked::Attempt(self.id, attempt));
            stage.tell_cancel(self.id, target);
        }
    }

    fn reply(&mut self, reply: Reply) {
        self.stage.borrow_mut().reply(self.id, reply);
    }

    fn relay(&mut self, head: Head) {
        let mut stage = self.stage.borrow_mut();
        assert!(stage.client(self.id).answer.status.is_none(), "a request is answered once");
        let answer = Answer::begun(head, stage.now);
        stage.tell(Some(self.id), || format!("relay {}", answer.summary()));
        stage.client(self.id).answer = answer;
    }

    fn enqueue(&mut self, submission: Submission) {
        self.stage.borrow_mut().enqueue(self.id, &submission);
    }

    fn write(&mut self, bytes: Bytes) {
        let mut stage = self.stage.borrow_mut();
        let now = stage.now;
        let answer = &mut stage.client(self.id).answer;
        assert!(answer.streamed, "a stream is written to once it has begun");
        answer.body.extend_from_slice(&bytes);
        if !bytes.starts_with(b":") {
            answer.spoke_at.get_or_insert(now);
        }
    }

    fn wait(&mut self, until: Timestamp) -> impl Future<Output = Event> {
        assert!(until < Timestamp::MAX, "every wait has an end");
        Waiting { port: self, until, begun: false }
    }
}

/// A wait for the next event, or for a moment.
struct Waiting<'p> {
    port: &'p mut SimPort,
    until: Timestamp,
    begun: bool,
}

impl Future for Waiting<'_> {
    type Output = Event;

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Event> {
        let Self { port, until, begun } = &mut *self;
        let (id, until) = (port.id, *until);
        let mut stage = port.stage.borrow_mut();
        let now = stage.now;
        let client = stage.client(id);
        if let Some(event) = client.inbox.pop_front() {
            port.spins = 0;
            let of = client.live.iter().position(|(live, _)| event.attempt() == Some(*live));
            if let Some(place) = of {
                let (attempt, target) = client.live[place];
                if matches!(event, Event::End { .. } | Event::Fail { .. }) {
                    client.live.remove(place);
                    stage.referee.ended(target, Asked::Attempt(id, attempt));
                }
                stage.tell_event(id, target, &event);
            }
            return Poll::Ready(event);
        }
        if until <= now {
            port.spins += 1;
            assert!(port.spins < SPINS_MAX, "waits for a moment that has passed, again and again");
            return Poll::Ready(Event::Timeout);
        }
        if !std::mem::replace(begun, true) {
            port.spins = 0;
            if client.live.is_empty() {
                stage.tell(Some(id), || format!("pause {}", now.until(until).0));
            }
        }
        stage.wake(id, until);
        Poll::Pending
    }
}
