//! One story for each thing a breaker does.

use super::Verdict::{Failure, Neutral, RateLimited, Slow, Success};
use super::*;

const LEASE: Millis = Millis(30_000);

const POLICY: BreakerPolicy = BreakerPolicy {
    window: Window::Buckets(Millis(30_000)),
    min_requests: 20,
    failure_rate_permille: 500,
    failures: 5,
    slow_first_token: Millis(10_000),
    slow_rate_permille: 800,
    open: Millis(5000),
    open_max: Millis(120_000),
    probes: 2,
    successes: 3,
    ramp: Millis(0),
};

/// A breaker with its policy, a clock and a generator, so that a story need not repeat them.
#[derive(Clone)]
struct World {
    breaker: Breaker,
    policy: BreakerPolicy,
    now: Timestamp,
    rng: Rng,
}

impl World {
    fn new(policy: BreakerPolicy) -> Self {
        Self { breaker: Breaker::new(), policy, now: Timestamp(1_000_000), rng: Rng::from_seed(3) }
    }

    fn pass(&mut self, length: Millis) {
        self.now = self.now + length;
    }

    fn admit(&mut self) -> Result<(Ticket, Option<Transition>), Refused> {
        self.breaker.admit(self.now, &self.policy, LEASE, &mut self.rng)
    }

    fn ticket(&mut self) -> Ticket {
        self.admit().unwrap().0
    }

    fn finish(&mut self, ticket: Ticket, verdict: Verdict) -> Option<Transition> {
        self.breaker.finish(self.now, &self.policy, ticket, verdict, &mut self.rng)
    }

    fn order(&mut self, order: Order) -> Option<Transition> {
        self.breaker.obey(self.now, &self.policy, order)
    }

    fn attempt(&mut self, verdict: Verdict) -> Option<Transition> {
        let ticket = self.ticket();
        self.finish(ticket, verdict)
    }

    fn attempts(&mut self, verdicts: &[(u32, Verdict)]) {
        for &(times, verdict) in verdicts {
            for _ in 0..times {
                assert_eq!(self.attempt(verdict), None, "tripped too early");
            }
        }
    }

    fn state(&self) -> State {
        self.breaker.state(self.now)
    }

    /// Fails until it opens, and returns for how long.
    fn trip(&mut self) -> Millis {
        loop {
            if let Some(Transition::Opened { open_for, .. }) = self.attempt(Failure) {
                return open_for;
            }
        }
    }

    /// Waits until it is half-open.
    fn wait(&mut self) {
        let left = self.breaker.retry_in(self.now).unwrap();
        self.pass(left);
        assert_eq!(self.state(), State::HalfOpen);
    }

    fn recover(&mut self) {
        self.wait();
        for _ in 1..self.policy.successes {
            assert_eq!(self.attempt(Success), None);
        }
        assert_eq!(self.attempt(Success), Some(Transition::Closed));
    }
}

fn why(transition: Option<Transition>) -> Option<Trip> {
    match transition? {
        Transition::Opened { why, .. } => Some(why),
        Transition::HalfOpened | Transition::Closed | Transition::HeldOff { .. } => None,
    }
}

#[test]
fn hard_failures_in_a_row_open_it_at_exactly_the_set_number() {
    let mut world = World::new(POLICY);
    world.attempts(&[(4, Failure), (1, Success), (4, Failure), (1, Slow), (4, Failure)]);
    assert_eq!(why(world.attempt(Failure)), Some(Trip::Consecutive));
    assert_eq!(world.state(), State::Open);
}

#[test]
fn throttling_and_neutral_ends_neither_add_to_a_row_nor_break_it() {
    let mut world = World::new(POLICY);
    world.attempts(&[(10, RateLimited), (4, Failure), (2, RateLimited), (100, Neutral)]);
    assert_eq!(world.breaker.counts(world.now).consecutive, 4);
    assert_eq!(why(world.attempt(Failure)), Some(Trip::Consecutive));
}

#[test]
fn half_of_the_window_failing_opens_it_once_there_are_enough_samples() {
    let mut world = World::new(BreakerPolicy { failures: 0, ..POLICY });
    world.attempts(&[(19, Failure)]);
    assert_eq!(why(world.attempt(Success)), Some(Trip::FailureRate));

    let mut world = World::new(BreakerPolicy { failures: 0, ..POLICY });
    world.attempts(&[(11, Success), (9, Failure), (1, RateLimited)]);
    assert_eq!(why(world.attempt(RateLimited)), Some(Trip::FailureRate));
}

#[test]
fn the_order_of_results_makes_no_difference_to_the_ratio() {
    let policy = BreakerPolicy { failures: 0, ..POLICY };
    let mut good_first = World::new(policy);
    good_first.attempts(&[(10, Success), (9, Failure)]);
    let mut bad_first = World::new(policy);
    bad_first.attempts(&[(10, Failure), (9, Success)]);
    assert_eq!(why(good_first.attempt(Failure)), Some(Trip::FailureRate));
    assert_eq!(why(bad_first.attempt(Success)), Some(Trip::FailureRate));
}

#[test]
fn what_is_older_than_the_window_no_longer_counts() {
    let mut world = World::new(BreakerPolicy { failures: 0, ..POLICY });
    world.attempts(&[(19, Failure)]);
    world.pass(Millis(30_000));
    world.attempts(&[(19, Failure)]);
    assert_eq!(world.breaker.counts(world.now).total, 19);
}

#[test]
fn a_target_that_is_only_slow_opens_it_without_one_error() {
    let mut world = World::new(POLICY);
    world.attempts(&[(4, Success), (15, Slow)]);
    assert_eq!(why(world.attempt(Slow)), Some(Trip::SlowRate));
}

#[test]
fn rules_that_are_switched_off_never_trip() {
    let off = BreakerPolicy { failures: 0, failure_rate_permille: 0, slow_rate_permille: 0, min_requests: 0, ..POLICY };
    let mut world = World::new(off);
    world.attempts(&[(100, Failure), (100, Slow), (100, RateLimited)]);
    let mut leaky = World::new(BreakerPolicy { window: Window::Leaky, ..off });
    leaky.attempts(&[(100, Failure)]);
}

#[test]
fn open_it_refuses_everything_and_says_for_how_long() {
    let mut world = World::new(POLICY);
    let open_for = world.trip();
    assert!((Millis(2500)..=Millis(5000)).contains(&open_for));
    assert_eq!(world.admit(), Err(Refused { retry_in: open_for }));
    world.pass(open_for - Millis(1));
    assert_eq!(world.admit(), Err(Refused { retry_in: Millis(1) }));
    world.pass(Millis(1));
    assert!(matches!(world.admit(), Ok((_, Some(Transition::HalfOpened)))));
}

#[test]
fn results_still_in_flight_neither_prolong_open_nor_disturb_half_open() {
    let mut world = World::new(POLICY);
    let early = world.ticket();
    world.trip();
    let left = world.breaker.retry_in(world.now);
    assert_eq!(world.finish(early, Failure), None);
    assert_eq!(world.breaker.retry_in(world.now), left);
    world.wait();
    let probe = world.ticket();
    for verdict in [Success, Success, Success, Failure] {
        assert_eq!(world.finish(early, verdict), None);
    }
    assert_eq!(world.finish(probe, Failure).and_then(|t| why(Some(t))), Some(Trip::Probe));
}

#[test]
fn half_open_admits_a_few_probes_and_closes_after_enough_successes() {
    let mut world = World::new(POLICY);
    world.trip();
    world.wait();
    let (first, second) = (world.ticket(), world.ticket());
    assert_eq!(world.admit(), Err(Refused { retry_in: LEASE }));
    assert_eq!(world.finish(first, Success), None);
    assert_eq!(world.finish(first, Success), None);
    let third = world.ticket();
    assert!(world.admit().is_err(), "a double finish freed a place");
    assert_eq!(world.finish(second, Success), None);
    assert_eq!(world.finish(third, Success), Some(Transition::Closed));
    assert_eq!(world.breaker.counts(world.now), Counts::default());
    world.attempts(&[(4, Failure)]);
}

#[test]
fn the_first_failed_or_throttled_probe_opens_it_again_for_longer() {
    for verdict in [Failure, RateLimited] {
        let mut world = World::new(POLICY);
        world.trip();
        for longest in [10_000, 20_000, 40_000, 80_000, 120_000, 120_000] {
            world.wait();
            assert_eq!(world.attempt(Success), None);
            let Some(Transition::Opened { open_for, why: Trip::Probe }) = world.attempt(verdict) else {
                panic!("a failed probe did not open it")
            };
            assert!((longest / 2..=longest).contains(&open_for.0), "{open_for} of {longest}");
        }
    }
}

#[test]
fn a_neutral_end_gives_the_place_back_and_decides_nothing() {
    let mut world = World::new(POLICY);
    world.trip();
    world.wait();
    world.attempts(&[(50, Neutral)]);
    assert_eq!(world.state(), State::HalfOpen);
}

#[test]
fn a_probe_that_hangs_loses_its_place_when_its_lease_runs_out() {
    let mut world = World::new(POLICY);
    world.trip();
    world.wait();
    let (hung, lost) = (world.ticket(), world.ticket());
    world.pass(LEASE - Millis(1));
    assert_eq!(world.admit(), Err(Refused { retry_in: Millis(1) }));
    world.pass(Millis(1));
    let third = world.ticket();
    assert_eq!(world.finish(lost, Neutral), None);
    assert_eq!(world.finish(lost, Failure), None, "it has been heard of");
    assert_eq!(
        why(world.finish(hung, Failure)),
        Some(Trip::Probe),
        "better late than never, though its place was taken"
    );
    assert_eq!(world.finish(third, Failure), None);
}

#[test]
fn slow_probes_are_no_recovery_and_as_many_as_it_takes_to_close_open_it_again() {
    let mut world = World::new(POLICY);
    world.trip();
    world.wait();
    world.attempts(&[(2, Slow), (2, Success)]);
    assert_eq!(why(world.clone().attempt(Slow)), Some(Trip::SlowRate));
    assert_eq!(world.attempt(Success), Some(Transition::Closed));

    let mut unminding = World::new(BreakerPolicy { slow_rate_permille: 0, ..POLICY });
    unminding.trip();
    unminding.wait();
    unminding.attempts(&[(2, Slow)]);
    assert_eq!(unminding.attempt(Slow), Some(Transition::Closed));
}

#[test]
fn the_doubling_is_forgotten_only_after_a_long_healthy_time() {
    let mut world = World::new(POLICY);
    world.trip();
    world.recover();
    world.pass(POLICY.open_max - Millis(1));
    assert!(world.trip() >= Millis(5000), "forgotten too early");
    world.recover();
    world.pass(POLICY.open_max);
    assert!(world.trip() <= Millis(5000), "not forgotten");
}

#[test]
fn after_closing_traffic_grows_from_a_tenth_to_all() {
    let ramp = Millis(10_000);
    let mut world = World::new(BreakerPolicy { ramp, ..POLICY });
    world.trip();
    world.recover();
    for (elapsed, expected) in [(0, 1000), (5000, 5500), (9000, 9100), (10_000, 10_000)] {
        let mut world = world.clone();
        world.pass(Millis(elapsed));
        assert_eq!(world.breaker.would_admit(world.now, &world.policy), Ok(()));
        let mut passed: u32 = 0;
        for _ in 0..10_000 {
            match world.admit() {
                Ok(_) => passed += 1,
                Err(refused) => assert!(refused.retry_in > Millis::ZERO && refused.retry_in <= RAMP_RETRY_MAX),
            }
        }
        assert!(passed.abs_diff(expected) <= 80, "{passed} of 10 000 after {elapsed} ms");
    }
    // Of the thousand numbers that may be drawn, a tenth passes to the number.
    for _ in 0..5000 {
        let drawn = world.rng.clone().below(1000);
        assert_eq!(world.admit().is_ok(), drawn < 100, "{drawn}");
    }
}

#[test]
fn the_leaky_mode_counts_up_and_down_and_half_opens_as_soundly() {
    let mut world = World::new(BreakerPolicy { window: Window::Leaky, failures: 3, ..POLICY });
    world.attempts(&[(9, Success), (2, Failure), (1, Slow), (1, Failure), (30, RateLimited), (30, Neutral)]);
    assert_eq!(why(world.attempt(Failure)), Some(Trip::Consecutive));
    world.wait();
    let (first, _second) = (world.ticket(), world.ticket());
    assert!(world.admit().is_err());
    assert_eq!(world.finish(first, Success), None);
    assert_eq!(world.attempt(Slow), None);
    assert_eq!(world.attempt(Success), Some(Transition::Closed));
    world.attempts(&[(2, Failure)]);
}

#[test]
fn a_retry_after_only_lengthens_and_only_while_open() {
    let mut world = World::new(POLICY);
    world.breaker.lengthen(world.now, &POLICY, Millis(60_000));
    assert_eq!(world.state(), State::Closed);
    let open_for = world.trip();
    world.breaker.lengthen(world.now, &POLICY, Millis(1));
    assert_eq!(world.breaker.retry_in(world.now), Some(open_for));
    world.breaker.lengthen(world.now, &POLICY, Millis(60_000));
    assert_eq!(world.breaker.retry_in(world.now), Some(Millis(60_000)));
    world.breaker.lengthen(world.now, &POLICY, Millis(u64::MAX));
    assert_eq!(world.breaker.retry_in(world.now), Some(POLICY.open_max));
    world.wait();
    world.breaker.lengthen(world.now, &POLICY, Millis(60_000));
    assert_eq!(world.state(), State::HalfOpen);
}

fn reported(remaining: u64, trips: u32) -> Reported {
    Reported { remaining: Millis(remaining), held: Millis::ZERO, trips }
}

#[test]
fn what_others_report_only_adds_caution() {
    let mut world = World::new(POLICY);
    let stale = world.ticket();
    assert_eq!(world.breaker.open_remote(world.now, &POLICY, reported(0, 9)), None);
    let opened = world.breaker.open_remote(world.now, &POLICY, reported(u64::MAX, 2));
    assert_eq!(opened, Some(Transition::Opened { open_for: POLICY.open_max, why: Trip::Reported }));
    assert_eq!(world.breaker.open_remote(world.now, &POLICY, reported(1, 0)), None);
    assert_eq!(world.breaker.retry_in(world.now), Some(POLICY.open_max));
    assert_eq!(world.finish(stale, Success), None);
    world.wait();
    let Some(Transition::Opened { open_for, .. }) = world.attempt(Failure) else { panic!("a failed probe") };
    assert!((10_000..=20_000).contains(&open_for.0), "the reported openings count: {open_for}");
}

#[test]
fn orders_open_and_close_it() {
    let mut world = World::new(POLICY);
    let forced = world.order(Order::Open(Millis(u64::MAX)));
    assert_eq!(forced, Some(Transition::Opened { open_for: ORDER_MAX, why: Trip::Forced }));
    assert_eq!(world.order(Order::Close), Some(Transition::Closed));
    assert_eq!(world.order(Order::Close), None);
    world.trip();
    world.order(Order::Close);
    assert!(world.trip() >= Millis(5000), "closing by order does not forgive");
    assert_eq!(world.order(Order::Reset), Some(Transition::Closed));
    assert!(world.trip() <= Millis(5000), "a reset does");
    world.order(Order::Reset);
    let early = world.ticket();
    assert_eq!(world.order(Order::Reset), None);
    world.finish(early, Failure);
    assert_eq!(world.breaker.counts(world.now), Counts::default());
}

#[test]
fn an_open_by_order_is_ended_by_time_or_another_order_and_by_nothing_else() {
    const HALF_AN_HOUR: Millis = Millis::from_secs(1800);
    let mut world = World::new(POLICY);
    let early = world.ticket();
    world.order(Order::Open(HALF_AN_HOUR));
    world.finish(early, Success);
    world.breaker.hasten(world.now);
    assert_eq!(world.breaker.relent(world.now), None);
    world.breaker.lengthen(world.now, &POLICY, Millis(u64::MAX));
    world.breaker.open_remote(world.now, &POLICY, reported(u64::MAX, 0));
    (0..9).for_each(|_| assert_eq!(world.breaker.vouch(world.now, &POLICY, true, true, &mut world.rng), None));
    assert_eq!(world.breaker.retry_in(world.now), Some(HALF_AN_HOUR), "neither shorter nor longer, whatever comes");
    assert!(world.breaker.is_by_order(world.now) && world.breaker.snapshot(world.now).by_order);
    let restored = Breaker::restore(world.breaker.snapshot(world.now), Timestamp(5), &POLICY);
    assert_eq!(restored.retry_in(Timestamp(5)), Some(HALF_AN_HOUR));

    world.order(Order::Open(Millis(1000)));
    assert_eq!(world.breaker.retry_in(world.now), Some(Millis(1000)), "the last order counts");
    world.pass(Millis(1000));
    assert!(!world.breaker.is_by_order(world.now));
    assert_eq!(world.breaker.relent(world.now), Some(Transition::Closed));
}

#[test]
fn what_may_not_open_says_so_once_and_opens_when_it_may() {
    let mut world = World::new(POLICY);
    let mut attempt = |verdict, may_open| {
        let ticket = world.ticket();
        world.breaker.finish_guarded(world.now, &POLICY, ticket, verdict, may_open, &mut world.rng)
    };
    let held_off = Some(Transition::HeldOff { why: Trip::Consecutive });
    let wanted: Vec<_> = (1..9).map(|nth| held_off.filter(|_| nth == POLICY.failures)).collect();
    assert_eq!((1..9).map(|_| attempt(Failure, false)).collect::<Vec<_>>(), wanted, "once, and it goes on counting");
    assert_eq!(attempt(Neutral, false), None);
    assert_eq!(attempt(Failure, false), None, "what tells nothing does not begin it anew");
    assert_eq!(attempt(Success, false), None);
    (1..POLICY.failures).for_each(|_| assert_eq!(attempt(Failure, false), None));
    assert_eq!(attempt(Failure, false), held_off, "after a success it is another row");
    let opened = attempt(Failure, true);
    assert!(matches!(opened, Some(Transition::Opened { why: Trip::Consecutive, .. })), "{opened:?}");
}

#[test]
fn in_the_leaky_mode_a_level_that_was_held_off_comes_down_again() {
    let mut world = World::new(BreakerPolicy { window: Window::Leaky, ..POLICY });
    let policy = world.policy;
    let mut attempt = |verdict, may_open| {
        let ticket = world.ticket();
        world.breaker.finish_guarded(world.now, &policy, ticket, verdict, may_open, &mut world.rng)
    };
    (0..1000).for_each(|_| _ = attempt(Failure, false));
    assert_eq!(attempt(Success, true), None, "a success opens nothing, however long it was held off");
    assert!(attempt(Failure, true).is_some());
}

#[test]
fn it_survives_a_restart_under_another_clock() {
    let mut world = World::new(POLICY);
    let open_for = world.trip();
    world.pass(Millis(1000));
    let stored = serde_json::to_string(&world.breaker.snapshot(world.now)).unwrap();
    let wanted = format!(
        r#"{{"state":"open","remaining_ms":{},"held_ms":0,"closed_ms":0,"ramping":false,"trips":1,"by_order":false}}"#,
        open_for.0 - 1000
    );
    assert_eq!(stored, wanted);
    let later = Timestamp(77);
    let restored = Breaker::restore(serde_json::from_str(&stored).unwrap(), later, &POLICY);
    assert_eq!(restored.retry_in(later), Some(open_for - Millis(1000)));
    let endless = Snapshot { state: State::Open, remaining_ms: Millis(u64::MAX), ..Snapshot::default() };
    assert_eq!(Breaker::restore(endless, later, &POLICY).retry_in(later), Some(POLICY.open_max));
    let older = serde_json::from_str(r#"{"state":"half_open"}"#).unwrap();
    assert_eq!(Breaker::restore(older, later, &POLICY).state(later), State::HalfOpen);
}

#[test]
fn gateways_that_opened_at_one_instant_come_back_spread_out() {
    let mut tenths = [0; 10];
    for seed in 0..2000 {
        let mut world = World { rng: Rng::from_seed(seed), ..World::new(POLICY) };
        let after = world.trip().0 - 2500;
        tenths[usize::try_from((after / 250).min(9)).unwrap()] += 1;
    }
    assert!(tenths.iter().all(|n| (140..=260).contains(n)), "{tenths:?}");
}

#[test]
fn a_reload_that_changes_the_window_counts_anew_and_one_that_lowers_a_threshold_acts_at_once() {
    let mut world = World::new(POLICY);
    world.attempts(&[(3, Failure)]);
    world.policy.window = Window::Buckets(Millis(60_000));
    world.attempts(&[(1, RateLimited)]);
    assert_eq!(world.breaker.counts(world.now), Counts { limited: 1, total: 1, consecutive: 3, ..Counts::default() });
    world.policy.failures = 2;
    assert_eq!(why(world.attempt(Failure)), Some(Trip::Consecutive));
}

#[test]
fn fewer_probes_after_a_reload_hold_for_those_under_way() {
    let mut world = World::new(BreakerPolicy { probes: 5, ..POLICY });
    world.trip();
    world.wait();
    let tickets: Vec<Ticket> = (0..5).map(|_| world.ticket()).collect();
    world.policy.probes = 1;
    for ticket in &tickets[..4] {
        world.finish(*ticket, Neutral);
        assert!(world.admit().is_err());
    }
    world.finish(tickets[4], Neutral);
    let _probe = world.ticket();
    assert!(world.admit().is_err());
}
