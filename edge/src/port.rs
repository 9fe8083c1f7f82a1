//! The port: one exchange's way to the vendors, the clock and the client.

use std::rc::Rc;

use bytes::Bytes;
use http::StatusCode;
use js_sys::futures::JsFuture;
use tidegate_core::classify::Fault;
use tidegate_core::drive::{Attempt, AttemptId, Event, Port};
use tidegate_core::gateway::Gateway;
use tidegate_core::reply::{Head, Reply};
use tidegate_core::time::Timestamp;

use crate::clock;
use crate::isolate::Visit;
use crate::js::{self, event};
use crate::outlet::{Answer, Outlet};

/// Carries out what one exchange decides.
pub(crate) struct EdgePort {
    visit: Rc<Visit>,
    outlet: Outlet,
    hands: js::Port,
    under_way: Option<AttemptId>,
}

impl EdgePort {
    pub(crate) fn new(visit: Rc<Visit>, outlet: Outlet) -> Self {
        Self { visit, outlet, hands: js::Port::new(), under_way: None }
    }

    /// What JavaScript has told of the attempt under way.
    fn event(&mut self, told: u8) -> Option<Event> {
        let attempt = self.under_way?;
        Some(match told {
            event::HEAD => {
                let head = self.hands.head();
                let mut lines = head.lines();
                let status = lines.next().and_then(|status| StatusCode::from_bytes(status.as_bytes()).ok())?;
                Event::Head { attempt, status, headers: js::unpack(lines) }
            }
            event::PIECE => Event::Piece { attempt, bytes: self.hands.piece().into() },
            event::END => Event::End { attempt },
            event::BROKEN => Event::Fail { attempt, fault: Fault::Broken },
            event::TIMEOUT => Event::Timeout,
            _ => unreachable!("runtime.js tells nothing else"),
        })
    }
}

impl Port for EdgePort {
    fn now(&self) -> Timestamp {
        clock::now()
    }

    fn with_gateway<T>(&self, step: impl FnOnce(&mut Gateway) -> T) -> T {
        self.visit.with_gateway(clock::now(), step)
    }

    fn send(&mut self, attempt: Attempt) {
        let url = self.visit.url(attempt.vendor, attempt.operation);
        self.under_way = Some(attempt.id);
        self.hands.send(url, &js::pack(&attempt.headers), &attempt.body);
    }

    fn cancel(&mut self, attempt: AttemptId) {
        if self.under_way.take_if(|id| *id == attempt).is_some() {
            self.hands.cancel();
        }
    }

    fn reply(&mut self, reply: Reply) {
        self.outlet.answer(Answer::Whole(reply));
    }

    fn relay(&mut self, head: Head) {
        self.outlet.answer(Answer::Stream(head));
    }

    fn write(&mut self, bytes: Bytes) {
        self.outlet.write(bytes);
    }

    async fn wait(&mut self, until: Timestamp) -> Event {
        self.outlet.drained().await;
        let told = JsFuture::from(self.hands.wait(clock::to_js(until.0))).await;
        let told = told.ok().and_then(|told| told.as_f64()).expect("it resolves to a number, and never rejects");
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "one of a few small numbers")]
        let told = told as u8;
        self.event(told).unwrap_or(Event::Timeout)
    }
}

/// A client that goes away drops the port in the middle of things.
impl Drop for EdgePort {
    fn drop(&mut self) {
        self.hands.close();
    }
}
