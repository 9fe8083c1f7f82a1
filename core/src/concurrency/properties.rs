//! A limiter against a naive model, for any policy and any events, and against vendors of any capacity.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::rng::Rng;

const KEY: KeyId = KeyId(0);

/// Something that happens to a limiter.
#[derive(Debug, Clone)]
enum Event {
    Pass(u64),
    /// Somebody asks, and waits if there is no slot.
    Ask {
        priority: u64,
        deadline: u64,
        lasts: u64,
    },
    /// One of those who wait looks again.
    Look(prop::sample::Index),
    /// One of those who wait goes away with a word. Without one it just does not look again.
    Leave(prop::sample::Index),
    /// One of all attempts that were ever begun ends, perhaps once more.
    End(prop::sample::Index, Told),
    Quota(u64, u64),
}

fn event() -> impl Strategy<Value = Event> {
    let told = prop_oneof![6 => Just(Told::Borne), 2 => Just(Told::TooMuch), 1 => Just(Told::Nothing)];
    prop_oneof![
        4 => (0..400_u64).prop_map(Event::Pass),
        8 => (1..=5_u64, 0..3000_u64, 1..3000_u64)
            .prop_map(|(priority, deadline, lasts)| Event::Ask { priority, deadline, lasts }),
        8 => any::<prop::sample::Index>().prop_map(Event::Look),
        1 => any::<prop::sample::Index>().prop_map(Event::Leave),
        6 => (any::<prop::sample::Index>(), told).prop_map(|(which, told)| Event::End(which, told)),
        1 => (0..9_u64, 0..2000_u64).prop_map(|(requests, ms)| Event::Quota(requests, ms)),
    ]
}

fn policy() -> impl Strategy<Value = ConcurrencyPolicy> {
    (1..4_u32, 0..4_u32, 0..6_u32, 0..6_u32, 1..1000_u32).prop_map(|(min, more, most, queue, decrease_to_permille)| {
        ConcurrencyPolicy { min, start: min + more, max: min + more + most, queue, decrease_to_permille }
    })
}

/// The limiter, and lists that say what must be so.
struct Model {
    limiter: Limiter,
    policy: ConcurrencyPolicy,
    now: Timestamp,
    rng: Rng,
    /// Every slot that was handed out, when it runs out, and whether it has been given back.
    slots: Vec<(Slot, Timestamp, bool)>,
    waiting: Vec<Waiter>,
}

/// One who waits.
struct Waiter {
    claim: Claim,
    look_at: Timestamp,
    /// Whether nobody has pushed it out.
    has_place: bool,
}

impl Model {
    fn new(policy: ConcurrencyPolicy) -> Self {
        let (limiter, rng) = (Limiter::new(&policy), Rng::from_seed(7));
        Self { limiter, policy, now: Timestamp(1_000_000), rng, slots: Vec::new(), waiting: Vec::new() }
    }

    fn in_flight(&self) -> u64 {
        self.slots.iter().filter(|(_, expires, ended)| *expires > self.now && !ended).count() as u64
    }

    /// Those who wait and have a place that is kept for them.
    fn present(&self) -> impl Iterator<Item = &Waiter> {
        self.waiting.iter().filter(|waiter| waiter.has_place && self.now < waiter.look_at + GRACE)
    }

    /// Asks for a slot, and else waits.
    fn ask(&mut self, claim: Claim, had_place: bool) {
        let limit = self.limiter.load(self.now, &self.policy, Some(KEY)).limit;
        let ahead = self.present().filter(|other| other.claim.rank() < claim.rank()).count() as u64;
        let may_take = self.in_flight() + ahead < limit;
        let told = self.limiter.check(self.now, &self.policy, KEY, &claim);
        assert_eq!(told.is_ok(), may_take, "within the limit, and in order");
        if let Err(retry_in) = told {
            assert!(retry_in > Millis::ZERO && retry_in <= WAIT_TOLD_MAX);
            return self.wait(claim, had_place);
        }
        let slot = self.limiter.take(self.now, &claim);
        self.slots.push((slot, self.now + claim.lasts, false));
    }

    fn wait(&mut self, claim: Claim, had_place: bool) {
        let is_full = self.present().count() as u64 >= self.policy.queue.into();
        let last = self.present().max_by_key(|waiter| waiter.claim.rank()).map(|waiter| waiter.claim);
        let is_more_urgent = last.is_some_and(|last| claim.priority < last.priority);
        let waits = self.limiter.wait(self.now, &self.policy, KEY, &claim, &mut self.rng);
        assert_eq!(waits.is_some(), had_place || !is_full || is_more_urgent);
        let Some((look_at, number)) = waits else { return };
        assert!(self.now < look_at && look_at <= claim.deadline && look_at <= self.now + LOOK_MAX);
        if is_full && !had_place {
            let pushed_out = self.waiting.iter_mut().find(|waiter| Some(waiter.claim) == last);
            pushed_out.expect("a full queue has a last").has_place = false;
        }
        let claim = Claim { place: Some(number), ..claim };
        self.waiting.push(Waiter { claim, look_at, has_place: true });
    }

    fn step(&mut self, event: &Event) {
        match event {
            Event::Pass(ms) => self.now = self.now + Millis(*ms),
            Event::Ask { priority, deadline, lasts } => {
                let priority = Priority::numbered(*priority).expect("one of five");
                let deadline = self.now + Millis(1 + deadline);
                self.ask(Claim { priority, deadline, lasts: Millis(*lasts), ..Claim::LAST }, false);
            }
            Event::Look(which) if !self.waiting.is_empty() => {
                let Waiter { claim, look_at, has_place } = self.waiting.swap_remove(which.index(self.waiting.len()));
                if self.now < claim.deadline {
                    self.ask(claim, has_place && self.now < look_at + GRACE);
                } else {
                    self.limiter.leave(&claim);
                }
            }
            Event::Leave(which) if !self.waiting.is_empty() => {
                let waiter = self.waiting.swap_remove(which.index(self.waiting.len()));
                self.limiter.leave(&waiter.claim);
            }
            Event::End(which, told) if !self.slots.is_empty() => {
                let which = which.index(self.slots.len());
                let (slot, _, ended) = &mut self.slots[which];
                *ended = true;
                self.limiter.give_back(self.now, &self.policy, KEY, *slot, *told);
            }
            Event::Quota(requests, ms) => {
                let quota = Remaining { requests: *requests, until: self.now + Millis(*ms), at: self.now };
                self.limiter.note_quota(KEY, quota);
            }
            _ => {}
        }
        let ConcurrencyPolicy { min, max, queue, .. } = self.policy;
        let load = self.limiter.load(self.now, &self.policy, None);
        assert!((min.into()..=max.into()).contains(&load.limit), "{load:?}");
        assert!((u64::from(min) * ONE..=u64::from(max) * ONE).contains(&self.limiter.level));
        assert_eq!(load.in_flight, self.in_flight());
        assert!(load.waiting <= queue.into(), "{load:?}");
        assert!(self.limiter.slots.size() <= max as usize, "memory is bounded by the limit");
    }
}

proptest! {
    #[test]
    fn whatever_happens_the_limit_the_bound_and_the_order_hold(
        policy in policy(),
        events in prop::collection::vec(event(), 0..60),
    ) {
        let mut model = Model::new(policy);
        for event in &events {
            model.step(event);
        }
        // In silence everything comes free: what was never told, and who never came back.
        model.now = model.now + Millis(10_000);
        let load = model.limiter.load(model.now, &model.policy, Some(KEY));
        prop_assert_eq!((load.in_flight, load.waiting), (0, 0));
        prop_assert!(model.limiter.check(model.now, &model.policy, KEY, &Claim::LAST).is_ok());
    }
}

/// A vendor that answers as many at once as it can, each in its time, and refuses the others.
#[derive(Debug, Default)]
struct Outcome {
    answered: u64,
    refused: u64,
    /// Answers of the first half of the time: it may still learn.
    learning: u64,
}

/// Half as many clients again as the vendor bears, each of which asks again as soon as it is answered or has waited.
fn run(capacity: u64, service: u64, start: u32, seed: u64) -> Outcome {
    const SECONDS: u64 = 120;
    let policy = ConcurrencyPolicy { start, ..ConcurrencyPolicy::default() };
    let (mut limiter, mut rng, mut jitter) = (Limiter::new(&policy), Rng::from_seed(seed), Rng::from_seed(!seed));
    let beginning = Timestamp(1_000_000);
    let mut agenda: BTreeMap<(Timestamp, u64), Next> = BTreeMap::new();
    let (mut busy, mut made, mut outcome) = (0, 0, Outcome::default());
    let mut plan = |agenda: &mut BTreeMap<_, _>, at: Timestamp, next: Next| {
        made += 1;
        agenda.insert((at, made), next);
    };
    for nth in 0..capacity + capacity.div_ceil(2) {
        plan(&mut agenda, beginning + Millis(nth), Next::Ask(None));
    }
    while let Some(((now, _), next)) = agenda.pop_first() {
        let elapsed = now.since(beginning);
        if elapsed > Millis::from_secs(SECONDS) {
            break;
        }
        match next {
            Next::Ask(waiting) => {
                let fresh = Claim {
                    priority: Priority::default(),
                    deadline: now + Millis(60_000),
                    lasts: Millis(60_000),
                    ..Claim::LAST
                };
                let claim = waiting.filter(|claim: &Claim| now < claim.deadline).unwrap_or(fresh);
                if limiter.check(now, &policy, KEY, &claim).is_ok() {
                    let slot = limiter.take(now, &claim);
                    let fits = busy < capacity;
                    busy += u64::from(fits);
                    let takes = if fits { Millis(service / 2 + jitter.below(service)) } else { Millis(10) };
                    plan(&mut agenda, now + takes, Next::End(slot, fits));
                } else {
                    let waits = limiter.wait(now, &policy, KEY, &claim, &mut rng);
                    let (look_at, place) = waits.map_or((now + Millis(1000), None), |(at, number)| (at, Some(number)));
                    plan(&mut agenda, look_at, Next::Ask(Some(Claim { place, ..claim })));
                }
            }
            Next::End(slot, answered) => {
                busy -= u64::from(answered);
                limiter.give_back(now, &policy, KEY, slot, if answered { Told::Borne } else { Told::TooMuch });
                if elapsed < Millis::from_secs(SECONDS / 2) {
                    outcome.learning += u64::from(answered);
                } else {
                    outcome.answered += u64::from(answered);
                    outcome.refused += u64::from(!answered);
                }
                plan(&mut agenda, now, Next::Ask(None));
            }
        }
    }
    outcome
}

enum Next {
    Ask(Option<Claim>),
    End(Slot, bool),
}

proptest! {
    // Each is two minutes of a vendor's life.
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn it_finds_what_a_vendor_bears(capacity in 2..60_u64, service in 200..2000_u64, start in 1..200_u32, seed in any::<u64>()) {
        let outcome = run(capacity, service, start, seed);
        let possible = capacity * 60_000 / service;
        let (answered, refused) = (outcome.answered, outcome.refused);
        prop_assert!(answered * 10 > possible * 8, "{answered} of {possible} answered, {refused} refused");
        prop_assert!(refused * 20 < answered, "{answered} of {possible} answered, {refused} refused");
        prop_assert!(outcome.learning * 2 > possible, "{} while it learnt", outcome.learning);
    }
}
