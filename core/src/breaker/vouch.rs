//! How probes that cost nothing end an open time, where they can tell that it has done its work.
//!
//! A client's request is the honest probe, and a dear one: somebody waits for it. That a vendor lists its models costs
//! nobody anything and proves less. So it may do all but the last step, and only where it has shown that it can tell.

use super::{Breaker, Leases, Phase, Transition, Trip};
use crate::config::BreakerPolicy;
use crate::rng::Rng;
use crate::time::Timestamp;

impl Breaker {
    /// Since when it has been past its open time, with no probe admitted yet; `None` in any other state.
    pub fn ripe_since(&self, now: Timestamp) -> Option<Timestamp> {
        match self.phase {
            Phase::Open { until, .. } if until <= now.max(self.clock) => Some(until),
            _ => None,
        }
    }

    /// From when on a voucher can count; `None` unless it is open, or past its open time with no probe admitted yet.
    pub fn vouchable_at(&self) -> Option<Timestamp> {
        match self.phase {
            Phase::Open { held_until, .. } => Some(held_until),
            Phase::Closed { .. } | Phase::HalfOpen { .. } => None,
        }
    }

    /// Hears a voucher: a probe that costs nothing found the target `well`, or not, while no attempt may be made.
    ///
    /// As many in a row as it takes successful probes let attempts through, and the last success is still to be a real
    /// one: half-open, and one success short of closed, for that a vendor lists its models does not prove that it
    /// answers. They do so before the open time is over only if they are `telling`, that is, if the same probe has been
    /// seen to fail when attempts did; and never before what a vendor's Retry-After or an operator asked for. One that
    /// finds it unwell once the open time is over is a probe that failed.
    pub fn vouch(
        &mut self,
        now: Timestamp,
        policy: &BreakerPolicy,
        well: bool,
        telling: bool,
        rng: &mut Rng,
    ) -> Option<Transition> {
        let now = self.advance(now);
        let Phase::Open { until, held_until, vouchers, .. } = &mut self.phase else { return None };
        let is_over = *until <= now;
        if !well {
            *vouchers = 0;
            return is_over.then(|| self.trip(now, policy, Trip::Probe, rng));
        }
        if now < *held_until {
            return None;
        }
        *vouchers = vouchers.saturating_add(1);
        let needed = policy.successes.max(1);
        if *vouchers < needed || !(telling || is_over) {
            return None;
        }
        self.enter(Phase::HalfOpen { leases: Leases::default(), successes: needed - 1, slow: 0, early: !is_over });
        Some(Transition::HalfOpened)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::breaker::{HEARD_IN, Order, Reported, Snapshot, State, Trip, Verdict};
    use crate::time::Millis;

    const POLICY: BreakerPolicy = BreakerPolicy {
        window: crate::config::Window::Leaky,
        min_requests: 1,
        failure_rate_permille: 0,
        failures: 1,
        slow_first_token: Millis(10_000),
        slow_rate_permille: 0,
        open: Millis(60_000),
        open_max: Millis(120_000),
        probes: 2,
        successes: 3,
        ramp: Millis(0),
    };

    struct World {
        breaker: Breaker,
        rng: Rng,
        now: Timestamp,
    }

    impl World {
        /// Open, since a failure a second ago.
        fn open() -> Self {
            let mut world = Self { breaker: Breaker::new(), rng: Rng::from_seed(1), now: Timestamp(1_000_000) };
            assert!(matches!(world.attempt(Verdict::Failure), Some(Transition::Opened { .. })));
            world.now = world.now + Millis(1000);
            world
        }

        fn attempt(&mut self, verdict: Verdict) -> Option<Transition> {
            let (ticket, _) = self.breaker.admit(self.now, &POLICY, Millis(1000), &mut self.rng).unwrap();
            self.breaker.finish(self.now, &POLICY, ticket, verdict, &mut self.rng)
        }

        fn vouch(&mut self, well: bool, telling: bool) -> Option<Transition> {
            self.breaker.vouch(self.now, &POLICY, well, telling, &mut self.rng)
        }

        fn wait(&mut self) {
            self.now = self.now + self.breaker.retry_in(self.now).unwrap();
        }
    }

    #[test]
    fn telling_vouchers_in_a_row_let_attempts_through_early_and_a_real_success_closes_it() {
        let mut world = World::open();
        for well in [true, true, false, true, true] {
            assert_eq!(world.vouch(well, true), None);
        }
        assert_eq!(world.breaker.state(world.now), State::Open);
        assert_eq!(world.vouch(true, true), Some(Transition::HalfOpened));
        assert_eq!(world.breaker.vouchable_at(), None);
        assert_eq!(world.attempt(Verdict::Success), Some(Transition::Closed));
    }

    #[test]
    fn no_more_than_the_probes_at_once_until_then_and_the_first_failure_reopens_it_for_longer() {
        for verdict in [Verdict::Failure, Verdict::RateLimited] {
            let mut world = World::open();
            for _ in 0..3 {
                world.vouch(true, true);
            }
            let ticket = world.breaker.admit(world.now, &POLICY, Millis(1000), &mut world.rng).unwrap().0;
            let _other = world.breaker.admit(world.now, &POLICY, Millis(1000), &mut world.rng).unwrap().0;
            assert!(world.breaker.admit(world.now, &POLICY, Millis(1000), &mut world.rng).is_err());
            let reopened = world.breaker.finish(world.now, &POLICY, ticket, verdict, &mut world.rng);
            let Some(Transition::Opened { open_for, why: Trip::Probe }) = reopened else { panic!("{reopened:?}") };
            assert!(open_for >= Millis(60_000), "twice the first, at least half of that: {open_for}");
        }
    }

    #[test]
    fn vouchers_that_tell_nothing_wait_for_the_open_time_to_be_over() {
        let mut world = World::open();
        (0..9).for_each(|_| assert_eq!(world.vouch(true, false), None));
        assert_eq!(world.breaker.ripe_since(world.now), None);
        world.wait();
        assert_eq!(world.breaker.ripe_since(world.now), Some(world.now));
        assert_eq!(world.vouch(true, false), Some(Transition::HalfOpened));
    }

    #[test]
    fn an_unwell_target_is_reopened_once_its_open_time_is_over_and_not_before() {
        let mut world = World::open();
        let left = world.breaker.retry_in(world.now);
        assert_eq!(world.vouch(false, true), None);
        assert_eq!(world.breaker.retry_in(world.now), left);
        world.wait();
        let Some(Transition::Opened { open_for, why: Trip::Probe }) = world.vouch(false, true) else { panic!() };
        assert!(open_for >= Millis(60_000));
    }

    #[test]
    fn what_was_asked_for_is_waited_for() {
        let held = |world: &mut World, what: &str| {
            (0..9).for_each(|_| assert_eq!(world.vouch(true, true), None, "{what}"));
            world.wait();
            (0..2).for_each(|_| assert_eq!(world.vouch(true, true), None, "{what}: vouchers are counted from then on"));
            assert_eq!(world.vouch(true, true), Some(Transition::HalfOpened), "{what}");
        };
        let mut world = World::open();
        world.breaker.lengthen(world.now, &POLICY, Millis(100_000));
        held(&mut world, "a vendor's Retry-After");
        let mut world = World::open();
        let _ = world.breaker.obey(world.now, &POLICY, Order::Open(Millis(5000)));
        held(&mut world, "an operator's order");
        let mut world = World { breaker: Breaker::new(), ..World::open() };
        let reported = Reported { remaining: Millis(5000), held: Millis(5000), trips: 1 };
        world.breaker.open_remote(world.now, &POLICY, reported);
        held(&mut world, "what other gateways were asked for");
    }

    #[test]
    fn what_has_been_ended_is_not_brought_back_by_others_who_heard_of_it() {
        let mut world = World::open();
        let Snapshot { remaining_ms, held_ms, trips, .. } = world.breaker.snapshot(world.now);
        let told = Reported { remaining: remaining_ms, held: held_ms, trips };
        assert_eq!(world.breaker.open_remote(world.now, &POLICY, told), None);
        assert_eq!(world.breaker.vouchable_at(), Some(world.now), "nor is it held by being told of");
        for _ in 0..3 {
            world.vouch(true, true);
        }
        assert_eq!(world.breaker.open_remote(world.now, &POLICY, told), None);
        assert_eq!(world.breaker.state(world.now), State::HalfOpen);
        let mut closed = World { breaker: world.breaker.clone(), rng: world.rng.clone(), ..world };
        assert_eq!(closed.attempt(Verdict::Success), Some(Transition::Closed));
        closed.now = closed.now + (HEARD_IN - Millis(1));
        assert_eq!(closed.breaker.open_remote(closed.now, &POLICY, told), None, "told before it had closed");
        let opens = |mut world: World, told| {
            let transition = world.breaker.open_remote(world.now, &POLICY, told);
            assert!(matches!(transition, Some(Transition::Opened { why: Trip::Reported, .. })), "{transition:?}");
        };
        let later = World { breaker: closed.breaker.clone(), rng: closed.rng.clone(), now: closed.now + Millis(1) };
        opens(later, told);
        for world in [world, closed] {
            opens(world, Reported { trips: trips + 1, ..told });
        }
    }

    #[test]
    fn what_others_were_asked_to_wait_for_is_waited_for_even_so() {
        let mut world = World::open();
        for _ in 0..3 {
            world.vouch(true, true);
        }
        let told = Reported { remaining: Millis(50_000), held: Millis(7000), trips: 1 };
        let opened = world.breaker.open_remote(world.now, &POLICY, told);
        assert_eq!(opened, Some(Transition::Opened { open_for: Millis(7000), why: Trip::Reported }));
    }

    #[test]
    fn a_retry_after_that_is_over_sooner_holds_for_no_longer() {
        let mut world = World::open();
        world.breaker.lengthen(world.now, &POLICY, Millis(2000));
        world.now = world.now + Millis(2000);
        for _ in 0..3 {
            world.vouch(true, true);
        }
        assert_eq!(world.breaker.state(world.now), State::HalfOpen);
    }

    #[test]
    fn closed_and_half_open_hear_nothing() {
        let mut world = World { breaker: Breaker::new(), ..World::open() };
        let before = world.breaker.clone();
        assert_eq!((world.vouch(false, true), world.vouch(true, true)), (None, None));
        assert_eq!(world.breaker.snapshot(world.now), before.snapshot(world.now));
    }
}
