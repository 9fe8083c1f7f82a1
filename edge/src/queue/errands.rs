//! What is under way outside the queue, and the alarm that waits for news of it.
//!
//! Each errand's end is news, and so is a request that has just been stored: an alarm that waited for all of a round to end
//! would have the quick wait for the slowest.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use tidegate_core::time::Timestamp;
use worker::Delay;

use crate::clock;

/// A longer timer rings at once: whoever waits longer looks again.
const TIMER_MS_MAX: u64 = i32::MAX as u64;

/// Errands under way.
#[derive(Default)]
pub(super) struct Errands {
    count: Cell<usize>,
    has_news: Cell<bool>,
    waiting: RefCell<Option<Waker>>,
}

impl Errands {
    /// Runs an errand: its end is news.
    pub(super) fn run(self: Rc<Self>, errand: impl Future<Output = ()>) -> impl Future<Output = ()> {
        self.count.set(self.count.get() + 1);
        async move {
            errand.await;
            self.count.set(self.count.get() - 1);
            self.news();
        }
    }

    /// Whether none is under way.
    pub(super) fn are_done(&self) -> bool {
        self.count.get() == 0
    }

    /// There is a reason to look.
    pub(super) fn news(&self) {
        self.has_news.set(true);
        if let Some(waiting) = self.waiting.take() {
            waiting.wake();
        }
    }

    /// Waits for a reason to look, or until something is due. It may also be over earlier.
    pub(super) async fn until_news_or(&self, due_at: Option<Timestamp>) {
        let now = clock::now();
        let wait = |at: Timestamp| Duration::from_millis(now.until(at).0.min(TIMER_MS_MAX));
        let mut due = due_at.map(|at| Delay::from(wait(at)));
        poll_fn(|context| {
            if self.has_news.replace(false) {
                return Poll::Ready(());
            }
            self.waiting.replace(Some(context.waker().clone()));
            due.as_mut().map_or(Poll::Pending, |due| Pin::new(due).poll(context))
        })
        .await;
    }
}
