//! What vendors do in a storm.

use crate::rng::Rng;
use crate::sim::{Limits, Profile, Script};
use crate::time::Millis;

/// The longest `Retry-After` of a storm.
pub(super) const HINT_MAX: Millis = Millis(3000);

/// Which faults a seed's storm has, and how fast it turns.
pub(super) struct Weather {
    kinds: Vec<Kind>,
    /// Between two changes of a target's weather, on average. Short is flapping.
    pub(super) change_pause_ms: u64,
    /// Between two clients, on average.
    pub(super) arrival_pause_ms: u64,
}

type Kind = fn(&mut Rng) -> Profile;

/// All that a target may be up to for a while, beside being well.
const KINDS: [Kind; 12] = [
    |rng| failing(rng, outage),
    |_| fair().failing(10_000, vec![Script::hang()]),
    |rng| Profile { latency: Profile::new(900 + rng.below(4000), 6000).latency, ..fair() },
    throttled,
    |rng| failing(rng, |rng| good(rng).cut_after(token(rng))),
    |rng| failing(rng, |rng| good(rng).stall_after(token(rng))),
    |rng| failing(rng, |_| Script::status(401)),
    |rng| failing(rng, |rng| good(rng).malformed_after(token(rng))),
    |rng| failing(rng, |rng| good(rng).error_after(token(rng), "server_error", "server_error")),
    |rng| failing(rng, callers),
    |rng| failing(rng, odd),
    |rng| failing(rng, |rng| good(rng).filtered()),
];

impl Weather {
    pub(super) fn new(rng: &mut Rng) -> Self {
        let kinds = KINDS.iter().filter(|_| rng.below(2) == 0).copied().collect();
        let change_pause_ms = pick(rng, [400, 2000, 8000]);
        Self { kinds, change_pause_ms, arrival_pause_ms: 80 + rng.below(500) }
    }

    /// What a target does next: it is well a third of the time.
    pub(super) fn next(&self, rng: &mut Rng) -> Profile {
        let nth = usize::try_from(rng.below(self.kinds.len() as u64)).expect("below a length");
        match self.kinds.get(nth) {
            Some(kind) if rng.below(3) > 0 => kind(rng),
            _ => fair(),
        }
    }
}

/// Well, and fast.
pub(super) fn fair() -> Profile {
    Profile { tokens: 4, words: None, ..Profile::new(60, 90) }
}

/// Failing now and then, mostly, or always: the same way for a while.
fn failing(rng: &mut Rng, kind: impl Fn(&mut Rng) -> Script) -> Profile {
    let often = pick(rng, [1000, 5000, 10_000]);
    fair().failing(often, vec![kind(rng), kind(rng)])
}

fn outage(rng: &mut Rng) -> Script {
    match rng.below(6) {
        0 => Script::status(500),
        1 => Script::status(503).with_header("retry-after", "1"),
        2 => Script::status(529),
        3 => Script::reset(30),
        4 => Script::refuse(5),
        _ => Script::body(200, ""),
    }
}

fn throttled(rng: &mut Rng) -> Profile {
    match rng.below(3) {
        0 => Profile { limits: Some(Limits { requests: 60, tokens: 100_000 }), ..fair() },
        1 => fair().failing(5000, vec![Script::status(429)]),
        _ => {
            let hint = HINT_MAX.0.to_string();
            fair().failing(10_000, vec![Script::status(429).with_header("retry-after-ms", &hint)])
        }
    }
}

fn callers(rng: &mut Rng) -> Script {
    let refusal = Script::status(400);
    match rng.below(3) {
        0 => refusal,
        1 => refusal.saying("invalid_request_error", "context_length_exceeded"),
        _ => refusal.saying("invalid_request_error", "content_filter"),
    }
}

fn odd(rng: &mut Rng) -> Script {
    match rng.below(5) {
        0 => good(rng).without_done(),
        1 => good(rng).without_finish(),
        2 => good(rng).left_open(),
        3 => Script::body(200, "\u{1f}").with_header("content-encoding", "gzip"),
        _ => good(rng).first_token_after(500 + rng.below(2500)),
    }
}

fn good(rng: &mut Rng) -> Script {
    Script::answer(10 + rng.below(200)).tokens(1 + token(rng)).pace(rng.below(150))
}

fn pick<T: Copy>(rng: &mut Rng, of: [T; 3]) -> T {
    of[usize::try_from(rng.below(3)).expect("below three")]
}

fn token(rng: &mut Rng) -> u32 {
    u32::try_from(rng.below(5)).expect("below five")
}
