//! The world's port: performs against scripted vendors on a virtual clock.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::AUTHORIZATION;

use super::answer::Answer;
use super::wire::Wanted;
use super::{Due, RequestId, Stage};
use crate::dialect::headers::{X_API_KEY, X_GOOG_API_KEY};
use crate::drive::{Attempt, AttemptId, Event, Port};
use crate::gateway::Gateway;
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
        let target = stage.gateway.config().target(attempt.target).name.clone();
        stage.tell(Some(self.id), format!("send {target}"));
        let dialect = stage.gateway.config().vendor_of(attempt.target).dialect;
        let keys = [AUTHORIZATION, X_API_KEY, X_GOOG_API_KEY];
        let key = keys.iter().find_map(|name| attempt.headers.get(name)?.to_str().ok()).unwrap_or("").to_owned();
        let vendor = &mut stage.vendors[attempt.target.0];
        vendor.seen.push(key);
        let script = vendor.next.pop_front().unwrap_or_else(|| vendor.usual.clone());
        let now = stage.now;
        for (after, event) in script.play(attempt.id, &Wanted::read(dialect, attempt.operation, &attempt.body)) {
            stage.plan(now + after, Due::Event(self.id, event));
        }
        stage.clients[self.id.0].live = Some((attempt.id, target));
    }

    fn cancel(&mut self, attempt: AttemptId) {
        let mut stage = self.stage.borrow_mut();
        if let Some((_, target)) = stage.clients[self.id.0].live.take_if(|(live, _)| *live == attempt) {
            stage.tell(Some(self.id), format!("cancel {target}"));
        }
    }

    fn reply(&mut self, reply: Reply) {
        self.stage.borrow_mut().reply(self.id, reply);
    }

    fn relay(&mut self, head: Head) {
        let mut stage = self.stage.borrow_mut();
        let answer = Answer::begun(head);
        stage.tell(Some(self.id), format!("relay {}", answer.summary()));
        stage.clients[self.id.0].answer = answer;
    }

    fn write(&mut self, bytes: Bytes) {
        self.stage.borrow_mut().clients[self.id.0].answer.body.extend_from_slice(&bytes);
    }

    fn wait(&mut self, until: Timestamp) -> impl Future<Output = Event> {
        Waiting { port: self, until, planned: false }
    }
}

/// A wait for the next event, or for a moment.
struct Waiting<'p> {
    port: &'p mut SimPort,
    until: Timestamp,
    planned: bool,
}

impl Future for Waiting<'_> {
    type Output = Event;

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Event> {
        let Self { port, until, planned } = &mut *self;
        let mut stage = port.stage.borrow_mut();
        let now = stage.now;
        let client = &mut stage.clients[port.id.0];
        if let Some(event) = client.inbox.pop_front() {
            if let Event::End { attempt } | Event::Fail { attempt, .. } = &event {
                client.live.take_if(|(live, _)| live == attempt);
            }
            port.spins = 0;
            return Poll::Ready(event);
        }
        if *until <= now {
            port.spins += 1;
            assert!(port.spins < SPINS_MAX, "waits for a moment that has passed, again and again");
            return Poll::Ready(Event::Timeout);
        }
        if !std::mem::replace(planned, true) {
            port.spins = 0;
            if client.live.is_none() {
                stage.tell(Some(port.id), format!("pause {}", now.until(*until).0));
            }
            stage.plan(*until, Due::Wake(port.id));
        }
        Poll::Pending
    }
}
