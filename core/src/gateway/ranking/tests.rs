//! Strategies at work: a fleet of targets whose answers take what they take, asked over and over.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::classify::{Failure, Outcome};
use crate::concurrency::Claim;
use crate::config::{Config, Strategy, TargetId};
use crate::dialect::{Request, Surface};
use crate::gateway::{Permit, Settlement};
use crate::rng::Rng;

/// What the write-ups measured of five vendors, in ms.
const PUBLISHED: [u64; 5] = [850, 950, 1100, 1300, 1800];

/// Targets with answers drawn around a mean, and a route over all of them.
struct Fleet {
    gateway: Gateway,
    candidates: Vec<Candidate>,
    strategy: Strategy,
    means: Vec<u64>,
    now: Timestamp,
    rng: Rng,
    /// What strategies draw from.
    draws: Rng,
    running: BTreeMap<(Timestamp, usize), (Permit, Settlement)>,
    /// Who was asked, and what the first token took.
    asked: Vec<(usize, u64)>,
}

impl Fleet {
    fn new(strategy: Strategy, means: &[u64], seed: u64) -> Self {
        Self::with_models(strategy, means, seed, |_| String::new())
    }

    fn with_models(strategy: Strategy, means: &[u64], seed: u64, model: impl Fn(usize) -> String) -> Self {
        let mut document = "[vendors.v]\ndialect = \"openai\"\nbase_url = \"http://v.test\"\n".to_owned();
        for nth in 0..means.len() {
            writeln!(document, "[models.\"v/m{nth}\"]\n{}", model(nth)).unwrap();
        }
        let models: Vec<String> = (0..means.len()).map(|nth| format!("v/m{nth}")).collect();
        writeln!(document, "[routes.all]\nmodels = {models:?}").unwrap();
        let config = Config::from_toml(&document, "fleet.toml", &|_| None).unwrap_or_else(|errors| panic!("{errors}"));
        Self {
            candidates: config.routes[0].candidates.clone(),
            gateway: Gateway::new(Arc::new(config), seed, Timestamp(1_000_000)),
            strategy,
            means: means.to_vec(),
            now: Timestamp(1_000_000),
            rng: Rng::from_seed(seed),
            draws: Rng::from_seed(!seed),
            running: BTreeMap::new(),
            asked: Vec::new(),
        }
    }

    /// One more request, so long after the last; says who was asked.
    fn ask(&mut self, after: u64) -> usize {
        self.run_until(self.now + Millis(after));
        let mut candidates = self.candidates.clone();
        let by = RankBy::Strategy(self.strategy);
        let ranking = Ranking { by, first: candidates.len(), only_best: false };
        self.gateway.rank(self.now, &mut candidates, ranking, (&Basis::default(), &stream()), &mut self.draws);
        let target = candidates[0].target;
        self.send(target);
        target.0
    }

    fn send(&mut self, target: TargetId) {
        let candidate = self.candidates.iter().find(|candidate| candidate.target == target).unwrap();
        let permit = self
            .gateway
            .admit(self.now, candidate, Millis::from_secs(60), &Claim::LAST)
            .expect("nobody is shut off for long");
        let mean = self.means[target.0];
        let took = Millis(mean * 6 / 10 + self.rng.below(mean * 8 / 10 + 1));
        let settlement = settlement(Outcome::Success, Some(took), took);
        self.running.insert((self.now + took, self.asked.len()), (permit, settlement));
        self.asked.push((target.0, took.0));
    }

    fn run_until(&mut self, until: Timestamp) {
        while let Some(entry) = self.running.first_entry().filter(|entry| entry.key().0 <= until) {
            let ((at, _), (permit, settlement)) = entry.remove_entry();
            self.gateway.settle(at, permit, &settlement);
        }
        self.now = until;
    }

    fn ask_times(&mut self, times: usize, after: u64) -> &[(usize, u64)] {
        let from = self.asked.len();
        (0..times).for_each(|_| {
            self.ask(after);
        });
        &self.asked[from..]
    }
}

fn stream() -> Request {
    let body = r#"{"model":"all","stream":true,"messages":[]}"#;
    Request::read(Surface::Chat, body.into()).unwrap()
}

fn settlement(outcome: Outcome, first_token: Option<Millis>, took: Millis) -> Settlement {
    Settlement { stream: true, first_token, ..Settlement::new(outcome, took) }
}

fn mean(asked: &[(usize, u64)]) -> u64 {
    asked.iter().map(|(_, took)| took).sum::<u64>() / asked.len() as u64
}

fn share_permille(asked: &[(usize, u64)], target: usize) -> usize {
    asked.iter().filter(|(asked, _)| *asked == target).count() * 1000 / asked.len()
}

#[test]
fn latency_is_lower_than_in_turns() {
    let in_turns = PUBLISHED.iter().sum::<u64>() / 5;
    for (after, at_most) in [(4000, 1080), (1000, 1080), (100, 1100), (20, 1120)] {
        let mut fleet = Fleet::new(Strategy::Latency, &PUBLISHED, 1);
        let came = mean(fleet.ask_times(4000, after));
        assert!(came <= at_most && at_most < in_turns, "{came} ms with a request each {after} ms");
    }
    let mut fleet = Fleet::new(Strategy::InverseLatency, &PUBLISHED, 1);
    let came = mean(fleet.ask_times(4000, 1000));
    assert!(came < in_turns - 50, "{came}");
}

#[test]
fn who_becomes_slow_is_left_at_once_and_found_again_when_well() {
    let mut fleet = Fleet::new(Strategy::Latency, &[850, 1100, 1300], 1);
    assert!(share_permille(fleet.ask_times(300, 1000), 0) > 500);
    fleet.means[0] *= 5;
    assert!(share_permille(fleet.ask_times(12, 1000), 0) <= 450, "some were asked before the first slow answer came");
    assert!(share_permille(fleet.ask_times(600, 1000), 0) <= 60, "asked now and then");
    fleet.means[0] /= 5;
    fleet.ask_times(100, 1000);
    assert!(share_permille(fleet.ask_times(300, 1000), 0) > 500, "found within a hundred requests");
}

#[test]
fn a_failure_costs_traffic_although_it_comes_fast() {
    let mut fleet = Fleet::new(Strategy::Latency, &[300, 900], 1);
    fleet.ask_times(50, 1000);
    let permit = fleet.gateway.admit(fleet.now, &fleet.candidates[0], Millis(1000), &Claim::LAST).unwrap();
    let failed = settlement(Outcome::HardFailure(Failure::Connect), None, Millis(2));
    fleet.gateway.settle(fleet.now, permit, &failed);
    assert_eq!(share_permille(fleet.ask_times(10, 1000), 0), 0);
    fleet.ask_times(60, 1000);
    assert!(share_permille(fleet.ask_times(50, 1000), 0) > 700, "forgotten in time");
}

#[test]
fn a_new_target_is_tried_by_few_at_once() {
    // Three are known; the fourth is new, and said to be quick. It never answers.
    let typical = |nth| if nth == 3 { "typical_first_token = \"1ms\"".to_owned() } else { String::new() };
    for strategy in [Strategy::Latency, Strategy::InverseLatency] {
        let mut fleet = Fleet::with_models(strategy, &[800, 800, 800, 1_000_000_000], 1, typical);
        (0..3).for_each(|nth| fleet.send(TargetId(nth)));
        fleet.run_until(fleet.now + Millis(2000));
        let asked = fleet.ask_times(500, 10);
        let new = asked.iter().filter(|(target, _)| *target == 3).count();
        assert_eq!(new, 3, "as many as may find out what it takes");
    }
}

#[test]
fn what_is_typical_is_assumed_until_it_is_measured() {
    let slow = |nth| if nth == 0 { "typical_first_token = \"4s\"".to_owned() } else { String::new() };
    let mut fleet = Fleet::with_models(Strategy::Latency, &[100, 800], 1, slow);
    assert_eq!(share_permille(fleet.ask_times(20, 1000), 0), 0, "thought to be slow");
    fleet.ask_times(60, 1000);
    assert!(share_permille(fleet.ask_times(50, 1000), 0) > 900, "found out to be quick");
}

#[test]
fn a_preview_changes_nothing_and_tells_what_comes() {
    let mut fleet = Fleet::new(Strategy::InverseLatency, &PUBLISHED, 1);
    fleet.ask_times(100, 300);
    let ranking = Ranking { by: RankBy::Strategy(Strategy::InverseLatency), first: 5, only_best: false };
    let mut seen = fleet.candidates.clone();
    let before = format!("{:?}", fleet.gateway);
    fleet.gateway.preview(fleet.now, &mut seen, ranking, (&Basis::default(), &stream()));
    let mut draws = fleet.gateway.rng.clone();
    assert_eq!(format!("{:?}", fleet.gateway), before);
    let mut best = fleet.candidates.clone();
    let best_alone = Ranking { only_best: true, ..ranking };
    fleet.gateway.rank(fleet.now, &mut best, best_alone, (&Basis::default(), &stream()), &mut draws);
    assert_eq!(best, seen[..1]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn nobody_within_a_factor_of_four_is_left_alone(
        means in prop::collection::vec(300..1200_u64, 2..5),
        after in 250..10_000_u64,
        seed in any::<u64>(),
    ) {
        let mut fleet = Fleet::new(Strategy::Latency, &means, seed);
        let mut last = vec![0; means.len()];
        for nth in 0..1000 {
            last[fleet.ask(after)] = nth;
            prop_assert!(last.iter().all(|last| nth - last <= 250), "{last:?} at {nth}");
        }
    }

    #[test]
    fn whoever_is_much_slower_gets_a_small_share(
        fast in 100..1000_u64,
        factor in 3..50_u64,
        after in 20..10_000_u64,
        seed in any::<u64>(),
    ) {
        let mut fleet = Fleet::new(Strategy::Latency, &[fast * factor, fast, fast], seed);
        // Heavy traffic goes wherever there is room: this is about what is spent on finding out.
        let after = after.max(fast * 2);
        fleet.ask_times(30, after);
        prop_assert!(share_permille(fleet.ask_times(500, after), 0) <= 60);
    }

    #[test]
    fn the_same_seed_tells_the_same_story(means in prop::collection::vec(100..3000_u64, 1..6), seed in any::<u64>()) {
        for strategy in [Strategy::Latency, Strategy::InverseLatency] {
            let story = || Fleet::new(strategy, &means, seed).ask_times(100, 150).to_vec();
            prop_assert_eq!(story(), story());
        }
    }
}
