//! The port: one exchange's way to the vendors, the clock and the client.

use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use bytes::Bytes;
use http::StatusCode;
use tidegate_core::classify::Fault;
use tidegate_core::drive::{ATTEMPTS_AT_ONCE, Attempt, AttemptId, Event, Port};
use tidegate_core::gateway::Gateway;
use tidegate_core::queue::Submission;
use tidegate_core::reply::{Head, Reply};
use tidegate_core::time::Timestamp;

use crate::clock;
use crate::isolate::Visit;
use crate::js::{self, told};
use crate::queue::SUBMIT;

/// Carries out what one exchange decides.
pub(crate) struct EdgePort {
    visit: Visit,
    hands: js::Port,
    /// By the slot that JavaScript keeps each in.
    under_way: [Option<AttemptId>; ATTEMPTS_AT_ONCE],
    /// Where the reply is put, if no client waits for it.
    kept: Option<Rc<RefCell<Option<Reply>>>>,
}

impl EdgePort {
    pub(crate) fn new(visit: Visit, hands: js::Port) -> Self {
        Self { visit, hands, under_way: [None; ATTEMPTS_AT_ONCE], kept: None }
    }

    /// One whose reply is kept rather than sent.
    pub(crate) fn keeping(visit: Visit, hands: js::Port, kept: Rc<RefCell<Option<Reply>>>) -> Self {
        let mut port = Self::new(visit, hands);
        port.kept = Some(kept);
        port
    }

    /// What JavaScript has told: of the attempt in a slot, or that the time has come.
    fn event(&self, told: u8) -> Event {
        let (slot, what) = (told / told::PER_SLOT, told % told::PER_SLOT);
        let Some(attempt) = self.under_way[usize::from(slot)] else { return Event::Timeout };
        match what {
            told::HEAD => {
                let head = self.hands.head(slot);
                let mut lines = head.split('\n');
                match lines.next().map(str::as_bytes).map(StatusCode::from_bytes) {
                    Some(Ok(status)) => Event::Head { attempt, status, headers: js::unpack(lines) },
                    _ => Event::Fail { attempt, fault: Fault::Broken },
                }
            }
            told::PIECE => Event::Piece { attempt, bytes: self.hands.piece(slot).into() },
            told::END => Event::End { attempt },
            told::BROKEN => Event::Fail { attempt, fault: Fault::Broken },
            told::TIMEOUT => Event::Timeout,
            _ => unreachable!("runtime.js tells nothing else"),
        }
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
        let url = self.visit.url(&attempt);
        let mut slots = (0..).zip(&mut self.under_way);
        let free = slots.find(|(_, under_way)| under_way.is_none());
        let (slot, under_way) = free.expect("no more are under way at once than the core says");
        *under_way = Some(attempt.id);
        self.hands.send(slot, url, &js::pack(&attempt.headers), &attempt.body);
    }

    fn cancel(&mut self, attempt: AttemptId) {
        for (slot, under_way) in (0..).zip(&mut self.under_way) {
            if under_way.take_if(|id| *id == attempt).is_some() {
                self.hands.cancel(slot);
            }
        }
    }

    fn reply(&mut self, reply: Reply) {
        if let Some(kept) = &self.kept {
            self.hands.respond(reply.status.as_u16(), "", &[]);
            *kept.borrow_mut() = Some(reply);
            return;
        }
        self.hands.respond(reply.status.as_u16(), &js::pack(&reply.headers), &reply.body);
    }

    fn relay(&mut self, head: Head) {
        self.hands.relay(head.status.as_u16(), &js::pack(&head.headers));
    }

    fn enqueue(&mut self, submission: Submission) {
        // Without a binding there is nobody to ask, which comes to the same as nobody answering.
        let queues = self.visit.queues().unwrap_or_default();
        let path = format!("{SUBMIT}{}", self.visit.region());
        self.hands.store(&queues, &path, &submission.to_bytes());
    }

    fn write(&mut self, bytes: Bytes) {
        self.hands.write(&bytes);
    }

    async fn wait(&mut self, until: Timestamp) -> Event {
        // No waker is kept: JavaScript steps the exchange when something has come.
        let told = poll_fn(|_| match self.hands.next(clock::to_js(until.0)) {
            told::NOTHING => Poll::Pending,
            told => Poll::Ready(told),
        });
        match told.await {
            told::STORED => Event::Stored(Some(self.hands.stored()).filter(|id| !id.is_empty())),
            told => self.event(told),
        }
    }
}

/// A client that goes away drops the port in the middle of things.
impl Drop for EdgePort {
    fn drop(&mut self) {
        self.hands.close();
    }
}
