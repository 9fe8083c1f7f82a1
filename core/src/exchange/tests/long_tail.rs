//! What hedging gains where vendors have a long tail, and what it costs. The README's figures are what this prints:
//! `cargo test -p tidegate-core --lib long_tail -- --nocapture`.

use super::*;
use crate::rng::Rng;
use crate::sim::BEGINNING;

const REQUESTS: usize = 5000;

/// One request every 200 ms: a quarter of an hour in all, and a little.
const BETWEEN: Millis = Millis(200);

/// A vendor's streams: the first token after 200 to 400 ms, and for 3 in 100 ten times as late.
fn long_tail(rng: &mut Rng) -> Vec<Script> {
    let mut first_token = || match (rng.below(100), rng.between(Millis(200), Millis(400)).0) {
        (0..3, ms) => ms * 10,
        (_, ms) => ms,
    };
    // A hedge takes from the other vendor's, so that there have to be enough for both.
    (0..2 * REQUESTS).map(|_| Script::answer(first_token())).collect()
}

/// What a route did.
#[derive(Debug)]
struct Measured {
    /// Of the times to the first token, in order.
    p50: u64,
    p95: u64,
    p99: u64,
    /// Attempts to a thousand requests.
    attempts_permille: u64,
}

fn measure(hedge: Option<Value>) -> Measured {
    let mut document = document();
    document["defaults"]["timeouts"]["head"] = json!("10s");
    document["defaults"]["timeouts"]["first_token"] = json!("10s");
    if let Some(hedge) = hedge {
        document["routes"]["chain"]["hedge"] = hedge;
    }
    let mut world = World::quiet(config(&document), 1);
    let mut rng = Rng::from_seed(7);
    world.script("a/m", long_tail(&mut rng));
    world.script("b/m", long_tail(&mut rng));
    let mut asked = Vec::new();
    for _ in 0..REQUESTS {
        asked.push((ask_stream(&mut world, "chain"), world.now()));
        world.run_for(BETWEEN);
    }
    world.run();
    let took = asked.into_iter().map(|(id, at)| {
        let answer = world.take_answer(id).expect("all are over");
        answer.began_at.expect("all were answered").since(at).0
    });
    let mut took: Vec<u64> = took.collect();
    took.sort_unstable();
    assert!(world.now() > BEGINNING + Millis(BETWEEN.0 * REQUESTS as u64));
    let attempts = world.attempts("a/m") + world.attempts("b/m");
    let quantile = |permille: usize| took[REQUESTS * permille / 1000];
    Measured {
        p50: quantile(500),
        p95: quantile(950),
        p99: quantile(990),
        attempts_permille: attempts * 1000 / REQUESTS as u64,
    }
}

#[test]
fn a_twentieth_more_load_cuts_the_long_tail_to_a_fourth() {
    let alone = measure(None);
    let hedged = measure(Some(json!({})));
    for (name, Measured { p50, p95, p99, attempts_permille }) in [("alone", &alone), ("hedged", &hedged)] {
        println!("{name}: first token p50 {p50} ms, p95 {p95} ms, p99 {p99} ms; {attempts_permille} attempts per 1000");
    }
    assert_eq!(alone.attempts_permille, 1000);
    assert!(hedged.attempts_permille <= 1050, "{hedged:?}");
    assert!(hedged.p99 * 4 <= alone.p99, "{hedged:?} against {alone:?}");
    assert!(hedged.p50 <= alone.p50 + 5, "nobody pays for it in waiting: {hedged:?} against {alone:?}");
}
