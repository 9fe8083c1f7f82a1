//! Waiting for something to become true: bounded, and without guessing how long it takes.

use std::time::{Duration, Instant};

/// Longer than anything that is waited for takes, even on a slow machine under load.
pub const PATIENCE: Duration = Duration::from_mins(3);

/// Asks until there is an answer.
///
/// # Panics
///
/// When there is none within [`PATIENCE`].
pub async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let started = Instant::now();
    let mut pause = tokio::time::interval(Duration::from_millis(10));
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(started.elapsed() < PATIENCE, "waited {} s in vain for {what}", PATIENCE.as_secs());
        pause.tick().await;
    }
}
