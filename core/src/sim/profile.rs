//! How a vendor behaves on the whole: how fast it is, how often and how it fails, and how much it takes on.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::script::Script;
use crate::chance::exponential;
use crate::rng::Rng;
use crate::time::{Millis, Timestamp};

/// A vendor's behaviour over many attempts.
#[derive(Debug, Clone)]
pub struct Profile {
    /// How long a whole answer takes. A stream takes as long, and has its first token after a third of it.
    pub latency: Latency,
    /// How often it fails, in 1/10 000.
    pub failures_per_myriad: u32,
    /// What it then does: one of these, each as likely as the others.
    pub failures: Vec<Script>,
    /// Tokens of a prompt.
    pub prompt_tokens: u32,
    /// Tokens of an answer, on average.
    pub tokens: u32,
    /// Words that an answer is told in, whatever its usage says; none: one for each token.
    pub words: Option<u32>,
    /// What it takes in a minute.
    pub limits: Option<Limits>,
    /// How many it serves at once; to others it says 503.
    pub capacity: Option<usize>,
}

/// A floor, and above it an exponential tail: of all that have this mean and this 95th percentile, the distribution that
/// assumes least.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Latency {
    /// The mean.
    pub mean: Millis,
    /// What one in twenty exceeds.
    pub p95: Millis,
}

/// Limits as the vendors state them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Requests a minute.
    pub requests: u32,
    /// Tokens a minute, of prompts and answers.
    pub tokens: u32,
}

/// What a vendor has to remember to behave by a [`Profile`].
#[derive(Debug, Clone, Default)]
pub(super) struct Load {
    requests: Bucket,
    tokens: Bucket,
    /// When those that it serves will be over.
    ends: BinaryHeap<Reverse<Timestamp>>,
}

/// A bucket that is as large as a minute's worth, and full again in a minute.
#[derive(Debug, Clone, Default)]
struct Bucket {
    /// What has been taken out, in 1/60 000: what runs in each millisecond is then a whole number.
    taken: u64,
    at: Timestamp,
}

const MINUTE_MS: u64 = 60_000;

/// Words of an answer, unless it is told otherwise: enough for a stream to be one.
const WORDS: u32 = 4;

impl Profile {
    /// One that answers well.
    pub fn new(mean_ms: u64, p95_ms: u64) -> Self {
        Self {
            latency: Latency { mean: Millis(mean_ms), p95: Millis(p95_ms) },
            failures_per_myriad: 0,
            failures: vec![Script::status(500), Script::status(503), Script::reset(20)],
            prompt_tokens: 500,
            tokens: 250,
            words: Some(WORDS),
            limits: None,
            capacity: None,
        }
    }

    /// Failing so often, in one of these ways.
    #[must_use]
    pub fn failing(self, per_myriad: u32, failures: impl Into<Vec<Script>>) -> Self {
        Self { failures_per_myriad: per_myriad, failures: failures.into(), ..self }
    }

    /// So many times as slow.
    #[must_use]
    pub fn slowed(self, times: u64) -> Self {
        let Latency { mean, p95 } = self.latency;
        let latency = Latency { mean: Millis(mean.0.saturating_mul(times)), p95: Millis(p95.0.saturating_mul(times)) };
        Self { latency, ..self }
    }

    /// What it does with whoever asks for next to nothing: whether it answers at all.
    pub(super) fn on_the_whole(&self) -> Script {
        let failure = self.failures.first().filter(|_| self.failures_per_myriad >= 10_000);
        failure.cloned().unwrap_or_else(|| Script::answer(20))
    }

    /// What it does with an attempt.
    pub(super) fn draw(&self, now: Timestamp, load: &mut Load, rng: &mut Rng) -> Script {
        let tokens = u64::from(self.tokens);
        let output = u32::try_from(tokens / 2 + exponential(rng, tokens / 2)).unwrap_or(u32::MAX);
        let took = self.latency.draw(rng);
        let fails = rng.below(10_000) < self.failures_per_myriad.into();
        if let Some(limits) = self.limits
            && let Err(wait) = load.charge(now, limits, self.prompt_tokens.saturating_add(self.tokens))
        {
            let refusal = Script::status(429).with_header("retry-after", &wait.as_secs_ceil().to_string());
            return refusal.with_header("x-ratelimit-remaining-requests", "0");
        }
        if self.capacity.is_some_and(|capacity| load.serving(now) >= capacity) {
            return Script::status(503).saying("server_error", "overloaded");
        }
        let failure = usize::try_from(rng.below(self.failures.len() as u64)).ok();
        if let Some(failure) = failure.and_then(|nth| self.failures.get(nth)).filter(|_| fails) {
            return failure.clone();
        }
        if self.capacity.is_some() {
            load.ends.push(Reverse(now + took));
        }
        let first = took.0 / 3;
        let words = self.words.unwrap_or(output);
        Script::answer(took.0)
            .streaming_after(first)
            .pace((took.0 - first) / u64::from(words.saturating_sub(1).max(1)))
            .tokens(words)
            .counting(self.prompt_tokens, output)
    }
}

impl Latency {
    fn draw(self, rng: &mut Rng) -> Millis {
        // The tail's own 95th percentile is ln 20 = 2.996 times its mean, so that p95 − mean is 1.996 of them.
        let tail = ((self.p95 - self.mean).0.saturating_mul(1000) / 1996).min(self.mean.0);
        self.mean - Millis(tail) + Millis(exponential(rng, tail))
    }
}

impl Load {
    /// Takes in one more, or says when to come back.
    fn charge(&mut self, now: Timestamp, limits: Limits, tokens: u32) -> Result<(), Millis> {
        let waits = [self.requests.wait(now, limits.requests, 1), self.tokens.wait(now, limits.tokens, tokens)];
        match waits.into_iter().max() {
            Some(wait) if wait > Millis::ZERO => Err(wait),
            _ => {
                self.requests.take(1);
                self.tokens.take(tokens);
                Ok(())
            }
        }
    }

    fn serving(&mut self, now: Timestamp) -> usize {
        while self.ends.peek().is_some_and(|Reverse(end)| *end <= now) {
            self.ends.pop();
        }
        self.ends.len()
    }
}

impl Bucket {
    /// How long until so much may be taken out.
    fn wait(&mut self, now: Timestamp, per_minute: u32, amount: u32) -> Millis {
        let rate = u64::from(per_minute.max(1));
        self.taken = self.taken.saturating_sub(now.since(self.at).0.saturating_mul(rate));
        self.at = now;
        // What is larger than the bucket passes when it is full.
        let amount = u64::from(amount).min(rate) * MINUTE_MS;
        Millis((self.taken + amount).saturating_sub(rate * MINUTE_MS).div_ceil(rate))
    }

    fn take(&mut self, amount: u32) {
        self.taken += u64::from(amount) * MINUTE_MS;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::BEGINNING;

    #[test]
    fn latencies_have_their_mean_and_their_95th_percentile() {
        let mut rng = Rng::from_seed(1);
        for (mean, p95) in [(850, 1200), (950, 1500), (1100, 1800), (1300, 2200), (1800, 3500)] {
            let latency = Latency { mean: Millis(mean), p95: Millis(p95) };
            let mut drawn: Vec<u64> = (0..20_000).map(|_| latency.draw(&mut rng).0).collect();
            drawn.sort_unstable();
            let measured = (drawn.iter().sum::<u64>() / 20_000, drawn[19_000]);
            assert!(measured.0.abs_diff(mean) * 50 < mean && measured.1.abs_diff(p95) * 25 < p95, "{measured:?}");
        }
    }

    #[test]
    fn a_minutes_worth_passes_at_once_and_then_what_runs_in() {
        let mut load = Load::default();
        let limits = Limits { requests: 60, tokens: 1_000_000 };
        assert!((0..60).all(|_| load.charge(BEGINNING, limits, 100).is_ok()));
        assert!(load.charge(BEGINNING, limits, 100).is_err());
        assert!(load.charge(BEGINNING + Millis(999), limits, 100).is_err());
        assert!(load.charge(BEGINNING + Millis(1000), limits, 100).is_ok());
        assert!(load.charge(BEGINNING + Millis(1000), limits, 100).is_err());
        let mut load = Load::default();
        let limits = Limits { requests: 1000, tokens: 6000 };
        assert!((0..6).all(|_| load.charge(BEGINNING, limits, 1000).is_ok()));
        assert_eq!(load.tokens.wait(BEGINNING, 6000, 1000), Millis(10_000));
    }

    #[test]
    fn no_more_are_served_at_once_than_it_has_room_for() {
        let (mut load, mut rng) = (Load::default(), Rng::from_seed(1));
        let profile = Profile { capacity: Some(2), ..Profile::new(1000, 1000) };
        let served = |load: &mut Load, rng: &mut Rng, now| {
            let before = load.serving(now);
            profile.draw(now, load, rng);
            load.serving(now) > before
        };
        assert!(served(&mut load, &mut rng, BEGINNING) && served(&mut load, &mut rng, BEGINNING));
        assert!(!served(&mut load, &mut rng, BEGINNING + Millis(999)));
        assert!(served(&mut load, &mut rng, BEGINNING + Millis(1000)));
    }
}
