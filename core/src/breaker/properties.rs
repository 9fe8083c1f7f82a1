//! The breaker against a naive model, for any policy, any events and any clock.
//!
//! The model keeps every result and every probe in a list and recounts from scratch. It does not predict jitter or the
//! ramp's draw: there it checks that what the breaker did lies within what it may do.

use proptest::prelude::*;

use super::*;
use crate::rng::Rng;

/// Something that happens to a breaker.
#[derive(Debug, Clone)]
enum Event {
    Pass(u64),
    /// The clock says something else altogether.
    Jump(u64),
    Admit(u64),
    /// Which of all tickets ever handed out, finished ones too, and whether its group can spare it.
    Finish(prop::sample::Index, Verdict, bool),
    Lengthen(u64),
    /// Whether it was found well, and whether that tells anything.
    Vouch(bool, bool),
    Remote(Reported),
    /// The last resort of a route.
    Hasten,
    Relent,
    ForceOpen(u64),
    ForceClose,
    Reset,
    Restart,
}

fn mostly<T: Arbitrary>(usual: impl Strategy<Value = T>) -> impl Strategy<Value = T> {
    prop_oneof![9 => usual, 1 => any::<T>()]
}

fn length() -> impl Strategy<Value = u64> {
    mostly(0..5000_u64)
}

fn policy() -> impl Strategy<Value = BreakerPolicy> {
    let window =
        prop_oneof![3 => mostly(0..20_000_u64).prop_map(|ms| Window::Buckets(Millis(ms))), 1 => Just(Window::Leaky)];
    let rates = (mostly(0..=1000_u32), mostly(0..=1000_u32));
    let counts = (mostly(0..8_u32), mostly(0..5_u32), mostly(0..4_u32), mostly(0..4_u32));
    (window, rates, counts, (length(), length(), length())).prop_map(|(window, rates, counts, lengths)| BreakerPolicy {
        window,
        min_requests: counts.0,
        failure_rate_permille: rates.0,
        failures: counts.1,
        slow_first_token: Millis(1),
        slow_rate_permille: rates.1,
        open: Millis(lengths.0),
        open_max: Millis(lengths.1),
        probes: counts.2,
        successes: counts.3,
        ramp: Millis(lengths.2),
    })
}

fn verdict() -> impl Strategy<Value = Verdict> {
    prop_oneof![
        4 => Just(Verdict::Success),
        2 => Just(Verdict::Slow),
        4 => Just(Verdict::Failure),
        1 => Just(Verdict::RateLimited),
        1 => Just(Verdict::Neutral),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        20 => (0..3000_u64).prop_map(Event::Pass),
        40 => prop_oneof![9 => 0..3000_u64, 1 => Just(30_000)].prop_map(Event::Admit),
        60 => (any::<prop::sample::Index>(), verdict(), prop::bool::weighted(0.8))
            .prop_map(|(which, verdict, may_open)| Event::Finish(which, verdict, may_open)),
        2 => length().prop_map(Event::Lengthen),
        12 => (prop::bool::weighted(0.8), any::<bool>()).prop_map(|(well, telling)| Event::Vouch(well, telling)),
        2 => (length(), length(), mostly(0..5_u32)).prop_map(|(remaining, held, trips)| {
            Event::Remote(Reported { remaining: Millis(remaining), held: Millis(held), trips })
        }),
        1 => Just(Event::Hasten),
        1 => Just(Event::Relent),
        1 => mostly(0..40_000_u64).prop_map(Event::ForceOpen),
        1 => Just(Event::ForceClose),
        1 => Just(Event::Reset),
        1 => Just(Event::Restart),
    ]
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    prop::collection::vec(event(), 0..300)
}

/// A clock gone mad as well: back and forth by seconds, then perhaps to the end of time.
fn mad_events() -> impl Strategy<Value = Vec<Event>> {
    let jump = prop_oneof![6 => 0..60_000_u64, 1 => any::<u64>(), 1 => u64::MAX - 5000..=u64::MAX];
    prop::collection::vec(prop_oneof![20 => event(), 1 => jump.prop_map(Event::Jump)], 0..300)
}

/// A breaker in a sentence: what it must do, kept in lists.
struct Model {
    policy: BreakerPolicy,
    now: u64,
    state: ModelState,
    trips: u32,
    /// Since it last closed.
    results: Vec<(u64, Verdict)>,
    /// Rises with each transition.
    era: u32,
    /// Whether it was said that it should be open.
    held_off: bool,
}

#[derive(Debug, Clone)]
enum ModelState {
    Closed { since: u64, ramping: bool },
    Open { until: u64, held_until: u64, vouchers: u32, by_order: bool },
    HalfOpen { probes: Vec<Probe>, successes: u32, slow: u32, early: bool },
}

#[derive(Debug, Clone)]
struct Probe {
    number: usize,
    expires: u64,
}

/// A ticket with what the model knows of it.
#[derive(Debug, Clone, Copy)]
struct Issued {
    ticket: Ticket,
    era: u32,
    number: usize,
}

impl Model {
    fn new(policy: BreakerPolicy) -> Self {
        let state = ModelState::Closed { since: 0, ramping: false };
        Self { policy, now: 0, state, trips: 0, results: Vec::new(), era: 0, held_off: false }
    }

    fn probes_max(&self) -> usize {
        usize::try_from(self.policy.probes.max(1)).unwrap()
    }

    fn cap(&self) -> u64 {
        self.policy.open_max.0.max(1)
    }

    fn forgive(&mut self) {
        if matches!(self.state, ModelState::Closed { since, .. } if self.now - since >= self.cap()) {
            self.trips = 0;
        }
    }

    fn counts(&self) -> Counts {
        let Window::Buckets(span) = self.policy.window else {
            return Counts { consecutive: self.consecutive(), ..Counts::default() };
        };
        let width = (span.0 / 10).max(1);
        let recent: Vec<Verdict> = self
            .results
            .iter()
            .filter(|(at, _)| self.now / width - at / width < 10)
            .map(|&(_, verdict)| verdict)
            .collect();
        let count = |wanted| u32::try_from(recent.iter().filter(|&&verdict| verdict == wanted).count()).unwrap();
        Counts {
            failures: count(Verdict::Failure),
            slow: count(Verdict::Slow),
            limited: count(Verdict::RateLimited),
            total: u32::try_from(recent.len()).unwrap(),
            consecutive: self.consecutive(),
        }
    }

    fn consecutive(&self) -> u32 {
        let leaky = self.policy.window == Window::Leaky;
        let max = if leaky && self.policy.failures > 0 { self.policy.failures } else { u32::MAX };
        self.results.iter().fold(0, |row: u32, (_, verdict)| match verdict {
            Verdict::Failure => (row + 1).min(max),
            Verdict::Success | Verdict::Slow if leaky => row.saturating_sub(1),
            Verdict::Success | Verdict::Slow => 0,
            Verdict::RateLimited | Verdict::Neutral => row,
        })
    }

    /// Why the last result trips a closed breaker, if it does.
    fn trips_now(&self) -> Option<Trip> {
        let (policy, counts) = (&self.policy, self.counts());
        let share = |part: u32, permille: u32| {
            permille > 0 && u128::from(part) * 1000 >= u128::from(counts.total) * u128::from(permille)
        };
        let enough = policy.window != Window::Leaky && counts.total >= policy.min_requests;
        if policy.failures > 0 && counts.consecutive >= policy.failures {
            Some(Trip::Consecutive)
        } else if enough && share(counts.failures + counts.limited, policy.failure_rate_permille) {
            Some(Trip::FailureRate)
        } else if enough && share(counts.slow, policy.slow_rate_permille) {
            Some(Trip::SlowRate)
        } else {
            None
        }
    }

    fn live(probes: &[Probe], now: u64) -> usize {
        probes.iter().filter(|probe| now < probe.expires).count()
    }

    fn state(&self) -> State {
        match self.state {
            ModelState::Closed { .. } => State::Closed,
            ModelState::Open { until, .. } if self.now < until => State::Open,
            ModelState::Open { .. } | ModelState::HalfOpen { .. } => State::HalfOpen,
        }
    }

    /// Checks an admission and follows it. Returns the model's view of the ticket.
    fn admitted(
        &mut self,
        number: usize,
        lease: u64,
        result: Result<(Ticket, Option<Transition>), Refused>,
    ) -> Option<Issued> {
        let (now, max) = (self.now, self.probes_max());
        if self.state() == State::HalfOpen && !matches!(self.state, ModelState::HalfOpen { .. }) {
            assert_eq!(result.map(|(_, transition)| transition), Ok(Some(Transition::HalfOpened)));
            self.state = ModelState::HalfOpen { probes: Vec::new(), successes: 0, slow: 0, early: false };
            self.era += 1;
        } else if let Ok((_, transition)) = result {
            assert_eq!(transition, None);
        }
        match &mut self.state {
            ModelState::Open { until, by_order, .. } => {
                let refused = result.expect_err("open admits nothing");
                assert_eq!(refused.retry_in.0, *until - now);
                let cap = if *by_order { ORDER_MAX.0 } else { self.policy.open_max.0.max(1) };
                assert!((1..=cap).contains(&refused.retry_in.0));
            }
            ModelState::Closed { since, ramping } => match result {
                Err(refused) => {
                    assert!(*ramping && now - *since < self.policy.ramp.0, "closed admits all but for the ramp");
                    assert!((1..=1000).contains(&refused.retry_in.0));
                }
                Ok((ticket, _)) => assert_eq!(ticket.lease, None),
            },
            ModelState::HalfOpen { probes, .. } if Self::live(probes, now) >= max => {
                let soonest = probes.iter().map(|probe| probe.expires).filter(|&at| at > now).min().unwrap();
                assert_eq!(result.expect_err("no place is free").retry_in.0, soonest - now);
            }
            ModelState::HalfOpen { probes, .. } => {
                assert!(result.is_ok(), "a place is free");
                if probes.len() >= max.saturating_add(lease::REMEMBERED_MAX) {
                    let first = (0..probes.len()).min_by_key(|&i| (probes[i].expires, probes[i].number)).unwrap();
                    assert!(probes.remove(first).expires <= now);
                }
                probes.push(Probe { number, expires: now.saturating_add(lease.max(1)) });
                assert!(Self::live(probes, now) <= max);
            }
        }
        result.ok().map(|(ticket, _)| Issued { ticket, era: self.era, number })
    }

    /// What a result must lead to, but for how long it opens.
    fn finished(&mut self, issued: Issued, verdict: Verdict, may_open: bool) -> Option<Expected> {
        if issued.era != self.era {
            return None;
        }
        let needed = self.policy.successes.max(1);
        let slow_trips = self.policy.slow_rate_permille > 0 && self.policy.window != Window::Leaky;
        match &mut self.state {
            ModelState::Open { .. } => unreachable!("no ticket is of an open era"),
            ModelState::Closed { .. } if verdict == Verdict::Neutral => None,
            ModelState::Closed { .. } => {
                self.results.push((self.now, verdict));
                match self.trips_now() {
                    Some(trip) if may_open => Some(Expected::Opened(trip)),
                    Some(trip) => (!std::mem::replace(&mut self.held_off, true)).then_some(Expected::HeldOff(trip)),
                    None => {
                        self.held_off = false;
                        None
                    }
                }
            }
            ModelState::HalfOpen { probes, successes, slow, .. } => {
                let place = probes.iter().position(|probe| probe.number == issued.number)?;
                probes.remove(place);
                match verdict {
                    Verdict::Neutral => None,
                    Verdict::Failure | Verdict::RateLimited => Some(Expected::Opened(Trip::Probe)),
                    Verdict::Slow if slow_trips => {
                        *slow += 1;
                        (*slow >= needed).then_some(Expected::Opened(Trip::SlowRate))
                    }
                    Verdict::Success | Verdict::Slow => {
                        *successes += 1;
                        (*successes >= needed).then_some(Expected::Closed)
                    }
                }
            }
        }
    }

    /// Compares a transition with what was expected, and follows it.
    fn follow(&mut self, expected: Option<Expected>, actual: Option<Transition>) {
        match (expected, actual) {
            (None, None) => {}
            (Some(Expected::Closed), Some(Transition::Closed)) => self.close(true),
            (Some(Expected::HeldOff(trip)), Some(Transition::HeldOff { why })) if trip == why => {}
            (Some(Expected::Opened(trip)), Some(Transition::Opened { open_for, why })) if trip == why => {
                self.forgive();
                let doubled = u128::from(self.policy.open.0) << self.trips.min(64);
                let whole = u64::try_from(doubled.clamp(1, u128::from(self.cap()))).unwrap();
                assert!((whole.div_ceil(2)..=whole).contains(&open_for.0), "open for {open_for} of {whole}");
                self.trips = self.trips.saturating_add(1);
                self.open(open_for.0, false);
            }
            (Some(Expected::HalfOpened), Some(Transition::HalfOpened)) => {
                let successes = self.policy.successes.max(1) - 1;
                let early = self.state() == State::Open;
                self.state = ModelState::HalfOpen { probes: Vec::new(), successes, slow: 0, early };
                self.era += 1;
            }
            (expected, actual) => panic!("expected {expected:?}, got {actual:?}"),
        }
    }

    fn open(&mut self, open_for: u64, held: bool) {
        let until = self.now.saturating_add(open_for);
        self.state =
            ModelState::Open { until, held_until: if held { until } else { self.now }, vouchers: 0, by_order: false };
        self.era += 1;
        self.held_off = false;
    }

    fn close(&mut self, ramping: bool) {
        self.state = ModelState::Closed { since: self.now, ramping };
        self.results.clear();
        self.era += 1;
        self.held_off = false;
    }

    fn is_by_order(&self) -> bool {
        matches!(self.state, ModelState::Open { until, by_order: true, .. } if self.now < until)
    }

    fn reset(&mut self, actual: Option<Transition>) {
        assert_eq!(actual.is_some(), self.state() != State::Closed);
        self.trips = 0;
        self.close(false);
    }

    fn lengthened(&mut self, by: u64) {
        self.prolonged(by, by);
    }

    fn prolonged(&mut self, by: u64, held: u64) {
        let (now, cap) = (self.now, self.cap());
        if let ModelState::Open { until, held_until, by_order: false, .. } = &mut self.state
            && now < *until
        {
            *held_until = (*held_until).max(now.saturating_add(held.min(cap)));
            *until = (*until).max(*held_until).max(now.saturating_add(by.min(cap)));
        }
    }

    /// What a voucher must lead to.
    fn vouched(&mut self, well: bool, telling: bool) -> Option<Expected> {
        let (now, needed) = (self.now, self.policy.successes.max(1));
        let ModelState::Open { until, held_until, vouchers, .. } = &mut self.state else { return None };
        if !well {
            *vouchers = 0;
            return (now >= *until).then_some(Expected::Opened(Trip::Probe));
        }
        if now >= *held_until {
            *vouchers += 1;
        }
        (now >= *held_until && *vouchers >= needed && (telling || now >= *until)).then_some(Expected::HalfOpened)
    }

    fn reported(&mut self, reported: Reported, actual: Option<Transition>) {
        let Reported { remaining: Millis(remaining), held: Millis(held), trips } = reported;
        let held = held.min(remaining);
        self.forgive();
        let has_ended = match &self.state {
            ModelState::HalfOpen { early, .. } => *early,
            ModelState::Closed { since, .. } => self.now - *since < HEARD_IN.0,
            ModelState::Open { .. } => false,
        };
        let is_over = has_ended && trips <= self.trips;
        let open_for = if is_over { held } else { remaining };
        if open_for == 0 {
            return assert_eq!(actual, None);
        }
        self.trips = self.trips.max(trips);
        if self.state() == State::Open {
            assert_eq!(actual, None);
            self.prolonged(open_for, held);
        } else {
            let (now, open_for, held) = (self.now, open_for.min(self.cap()), held.min(self.cap()));
            assert_eq!(actual, Some(Transition::Opened { open_for: Millis(open_for), why: Trip::Reported }));
            self.open(open_for, true);
            if let ModelState::Open { held_until, .. } = &mut self.state {
                *held_until = now.saturating_add(held);
            }
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Expected {
    Opened(Trip),
    HeldOff(Trip),
    HalfOpened,
    Closed,
}

/// The breaker and the model, side by side.
struct Twins {
    breaker: Breaker,
    model: Model,
    rng: Rng,
    /// The clock as the adapter tells it; the model's stands still when this one goes back.
    clock: u64,
    issued: Vec<Issued>,
    lease_max: u64,
    log: Vec<String>,
}

impl Twins {
    fn run(policy: BreakerPolicy, seed: u64, events: &[Event]) -> Self {
        let mut twins = Self {
            breaker: Breaker::new(),
            model: Model::new(policy),
            rng: Rng::from_seed(seed),
            clock: 0,
            issued: Vec::new(),
            lease_max: 0,
            log: Vec::new(),
        };
        for event in events {
            twins.step(event);
            twins.compare();
        }
        twins
    }

    fn step(&mut self, event: &Event) {
        let (now, policy) = (Timestamp(self.clock), self.model.policy);
        match event {
            Event::Pass(ms) => self.set_clock(self.clock.saturating_add(*ms)),
            Event::Jump(at) => self.set_clock(*at),
            Event::Admit(lease) => {
                let result = self.breaker.admit(now, &policy, Millis(*lease), &mut self.rng);
                self.log.push(format!("{result:?}"));
                self.lease_max = self.lease_max.max(*lease);
                self.issued.extend(self.model.admitted(self.issued.len(), *lease, result));
            }
            Event::Finish(..) if self.issued.is_empty() => {}
            Event::Finish(which, verdict, may_open) => self.finish(*which, *verdict, *may_open),
            Event::Lengthen(ms) => {
                self.breaker.lengthen(now, &policy, Millis(*ms));
                self.model.lengthened(*ms);
            }
            Event::Vouch(well, telling) => {
                let transition = self.breaker.vouch(now, &policy, *well, *telling, &mut self.rng);
                self.log.push(format!("{transition:?}"));
                let expected = self.model.vouched(*well, *telling);
                self.model.follow(expected, transition);
                assert_eq!(self.breaker.vouchable_at().is_some(), matches!(self.model.state, ModelState::Open { .. }));
            }
            Event::Remote(reported) => {
                let transition = self.breaker.open_remote(now, &policy, *reported);
                self.model.reported(*reported, transition);
            }
            Event::ForceOpen(ms) => {
                let open_for = Millis((*ms).clamp(1, ORDER_MAX.0));
                let transition = self.breaker.obey(now, &policy, Order::Open(Millis(*ms)));
                assert_eq!(transition, Some(Transition::Opened { open_for, why: Trip::Forced }));
                self.model.forgive();
                self.model.open(open_for.0, true);
                if let ModelState::Open { by_order, .. } = &mut self.model.state {
                    *by_order = true;
                }
            }
            Event::ForceClose => {
                let transition = self.breaker.obey(now, &policy, Order::Close);
                assert_eq!(transition.is_some(), !matches!(self.model.state, ModelState::Closed { .. }));
                match &mut self.model.state {
                    ModelState::Closed { ramping, .. } => *ramping = false,
                    _ => self.model.close(false),
                }
            }
            Event::Reset => {
                let transition = self.breaker.obey(now, &policy, Order::Reset);
                self.model.reset(transition);
            }
            Event::Relent => {
                let transition = self.breaker.relent(now);
                if self.model.is_by_order() {
                    assert_eq!(transition, None);
                } else {
                    self.model.reset(transition);
                }
            }
            Event::Hasten => {
                self.breaker.hasten(now);
                let now = self.model.now;
                if let ModelState::Open { until, by_order: false, .. } = &mut self.model.state {
                    *until = (*until).min(now);
                }
            }
            Event::Restart => self.restart(),
        }
    }

    fn set_clock(&mut self, at: u64) {
        self.clock = at;
        self.model.now = self.model.now.max(at);
        // A read does not move the breaker's clock, so have something harmless move it.
        self.breaker.lengthen(Timestamp(at), &self.model.policy, Millis::ZERO);
    }

    fn finish(&mut self, which: prop::sample::Index, verdict: Verdict, may_open: bool) {
        // Recent tickets more often than old ones: an eighth of the draws reaches all the way back.
        let back = which.index(self.issued.len()) >> which.index(8);
        let issued = self.issued[self.issued.len() - 1 - back];
        let before = self.breaker.clone();
        let policy = self.model.policy;
        let now = Timestamp(self.clock);
        let transition = self.breaker.finish_guarded(now, &policy, issued.ticket, verdict, may_open, &mut self.rng);
        self.log.push(format!("{transition:?}"));
        if issued.era != self.model.era {
            assert_eq!(self.breaker, before, "a result of an older generation changed something");
        }
        let expected = self.model.finished(issued, verdict, may_open);
        self.model.follow(expected, transition);
    }

    /// A snapshot keeps all that is to be seen, but for the window and the progress of probes.
    fn restart(&mut self) {
        let now = Timestamp(self.model.now);
        let stored = serde_json::to_string(&self.breaker.snapshot(now)).unwrap();
        let restored = Breaker::restore(serde_json::from_str(&stored).unwrap(), now, &self.model.policy);
        assert_eq!(restored.state(now), self.breaker.state(now));
        assert_eq!(restored.retry_in(now), self.breaker.retry_in(now));
        assert_eq!(restored.snapshot(now), self.breaker.snapshot(now));
        self.breaker = restored;
        self.issued.clear();
        self.model.results.clear();
        self.model.held_off = false;
        match self.model.state {
            ModelState::Open { until, held_until, by_order, .. } if now.0 < until => {
                self.model.state = ModelState::Open { until, held_until, vouchers: 0, by_order };
            }
            ModelState::Open { .. } | ModelState::HalfOpen { .. } => {
                let until = now.0;
                self.model.state = ModelState::Open { until, held_until: until, vouchers: 0, by_order: false };
            }
            ModelState::Closed { .. } => {}
        }
    }

    /// What is to be seen is the same, and looking changes nothing.
    fn compare(&mut self) {
        let (now, policy) = (Timestamp(self.clock), self.model.policy);
        let before = self.breaker.clone();
        assert_eq!(self.breaker.state(now), self.model.state());
        assert_eq!(self.breaker.counts(now), self.model.counts());
        let free = match &self.model.state {
            ModelState::HalfOpen { probes, .. } => Model::live(probes, self.model.now) < self.model.probes_max(),
            _ => self.model.state() != State::Open,
        };
        assert_eq!(self.breaker.would_admit(now, &policy).is_ok(), free);
        let open = self.breaker.retry_in(now);
        assert_eq!(open.is_some(), self.model.state() == State::Open);
        let by_order = self.model.is_by_order();
        assert_eq!(self.breaker.is_by_order(now), by_order);
        let cap = if by_order { ORDER_MAX.0 } else { self.model.cap() };
        assert!(open.is_none_or(|left| (1..=cap).contains(&left.0)));
        if let Phase::HalfOpen { leases, .. } = &self.breaker.phase {
            let room = self.model.probes_max().saturating_add(lease::REMEMBERED_MAX);
            assert!(leases.entries.len() <= room, "the lease table is bounded");
        }
        assert_eq!(self.breaker, before);
    }
}

proptest! {
    /// Invariants 1 to 5 and 7, over full ranges and with a clock gone mad.
    #[test]
    fn it_does_what_the_model_does(policy in policy(), seed: u64, events in mad_events()) {
        Twins::run(policy, seed, &events);
    }

    /// The same with a sane clock, so that runs get deep.
    #[test]
    fn it_does_what_the_model_does_under_a_sane_clock(policy in policy(), seed: u64, events in events()) {
        Twins::run(policy, seed, &events);
    }

    /// Invariant 14.
    #[test]
    fn the_same_seed_and_events_give_the_same_log(policy in policy(), seed: u64, events in mad_events()) {
        prop_assert_eq!(Twins::run(policy, seed, &events).log, Twins::run(policy, seed, &events).log);
    }

    /// Invariant 6: from wherever it is, it closes in time if probes succeed, whatever hangs.
    #[test]
    fn it_recovers_in_time(policy in policy(), seed: u64, events in events(), service in 0..1000_u64, lease in 1..100_000_u64) {
        let policy = BreakerPolicy { open_max: policy.open_max.min(Millis(1_000_000)), successes: policy.successes % 8, ..policy };
        let Twins { mut breaker, mut rng, clock, lease_max, .. } = Twins::run(policy, seed, &events);
        let begin = Timestamp(clock);
        let ordered = breaker.retry_in(begin).filter(|_| breaker.is_by_order(begin)).unwrap_or_default();
        let mut now = begin;
        while breaker.state(now) != State::Closed {
            match breaker.admit(now, &policy, Millis(lease), &mut rng) {
                Err(refused) => now = now + refused.retry_in,
                Ok((ticket, _)) => {
                    now = now + Millis(service);
                    breaker.finish(now, &policy, ticket, Verdict::Success, &mut rng);
                }
            }
        }
        let cap = policy.open_max.0.max(ordered.0).max(1);
        let bound = cap + lease_max.max(1) + u64::from(policy.successes.max(1)) * service;
        prop_assert!(now.since(begin).0 <= bound, "took {} of {bound}", now.since(begin));
    }

    /// Invariant 6: with every probe hung, a lease later there is a place.
    #[test]
    fn hung_probes_do_not_shut_it_for_ever(policy in policy(), seed: u64, events in events(), lease in 1..100_000_u64) {
        let policy = BreakerPolicy { probes: policy.probes % 8, ramp: Millis::ZERO, ..policy };
        let Twins { mut breaker, mut rng, clock, lease_max, .. } = Twins::run(policy, seed, &events);
        let mut now = Timestamp(clock);
        now = now + breaker.retry_in(now).unwrap_or_default();
        if breaker.state(now) == State::HalfOpen {
            for _ in 0..10 {
                _ = breaker.admit(now, &policy, Millis(lease), &mut rng);
            }
            prop_assert!(breaker.admit(now, &policy, Millis(lease), &mut rng).is_err());
            now = now + Millis(lease.max(lease_max));
        }
        prop_assert!(breaker.admit(now, &policy, Millis(lease), &mut rng).is_ok());
    }
}

#[test]
fn counters_saturate() {
    let policy = BreakerPolicy {
        window: Window::Buckets(Millis(u64::MAX)),
        min_requests: u32::MAX,
        failure_rate_permille: u32::MAX,
        failures: u32::MAX,
        slow_first_token: Millis(1),
        slow_rate_permille: 1000,
        open: Millis(u64::MAX),
        open_max: Millis(u64::MAX),
        probes: u32::MAX,
        successes: u32::MAX,
        ramp: Millis(u64::MAX),
    };
    let mut rng = Rng::from_seed(0);
    let mut breaker = Breaker::new();
    let now = Timestamp(1);
    let (ticket, _) = breaker.admit(now, &policy, Millis(u64::MAX), &mut rng).unwrap();
    breaker.finish(now, &policy, ticket, Verdict::Success, &mut rng);
    let full = Samples { total: u32::MAX, failures: u32::MAX, slow: 7, limited: u32::MAX };
    *breaker.recent.current(now) = full;
    breaker.consecutive = u32::MAX - 1;
    breaker.openings = u32::MAX;
    let opened = breaker.finish(now, &policy, ticket, Verdict::Failure, &mut rng);
    assert!(matches!(opened, Some(Transition::Opened { why: Trip::Consecutive, .. })));
    assert_eq!(
        breaker.counts(now),
        Counts { failures: u32::MAX, slow: 7, limited: u32::MAX, total: u32::MAX, consecutive: u32::MAX }
    );
    assert_eq!(breaker.openings, u32::MAX);
}
