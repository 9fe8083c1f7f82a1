//! What goes on when a part of it has panicked: that is a bug, and is logged as one, but no probes, no queue and no ledger until
//! somebody notices would be worse than the bug.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use tidegate_core::waits::BUG_REST;
use tracing::error;

/// How long what has panicked rests before it goes on.
pub(crate) const REST: Duration = Duration::from_millis(BUG_REST.0);

/// Takes one turn of something that goes on for ever; after one that panics comes a rest.
pub(crate) async fn turn(what: &str, rest: Duration, turn: impl Future<Output = ()>) {
    if caught_async(turn).await.is_none() {
        error!("{what} has panicked, and goes on in {rest:?}");
        tokio::time::sleep(rest).await;
    }
}

/// What comes of a task; `None`, if it panics.
pub(crate) async fn caught_async<T>(task: impl Future<Output = T>) -> Option<T> {
    let mut task = pin!(task);
    // One that has panicked is not polled again, and what it shares with others it shares under a lock or by messages.
    poll_fn(|context| match caught(|| task.as_mut().poll(context)) {
        Some(Poll::Pending) => Poll::Pending,
        Some(Poll::Ready(outcome)) => Poll::Ready(Some(outcome)),
        None => Poll::Ready(None),
    })
    .await
}

/// What comes of a step; `None`, if it panics. The caller sees to what it has left half done.
pub(crate) fn caught<T>(step: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(step)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_panics_goes_on_and_not_at_once() {
        let mut turns = 0;
        let mut take = async |rest| {
            turn("a task", rest, async {
                turns += 1;
                tokio::task::yield_now().await;
                assert!(turns == 2, "a bug");
            })
            .await;
            turns
        };
        assert_eq!(take(Duration::ZERO).await, 1);
        assert_eq!(take(Duration::from_hours(1)).await, 2, "nothing is wrong with this one, so there is no rest");
        let resting = take(Duration::from_hours(1));
        assert!(tokio::time::timeout(Duration::from_millis(20), resting).await.is_err());
    }
}
