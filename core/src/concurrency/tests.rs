//! What a limiter does, step by step.

use super::*;

const NOW: Timestamp = Timestamp(1_000_000);
const KEY: KeyId = KeyId(0);

fn policy(start: u32) -> ConcurrencyPolicy {
    ConcurrencyPolicy { start, ..ConcurrencyPolicy::default() }
}

/// At most so many, for good.
fn fixed(limit: u32) -> ConcurrencyPolicy {
    ConcurrencyPolicy { start: limit, min: limit, max: limit, ..ConcurrencyPolicy::default() }
}

fn claim(priority: u64, deadline: u64) -> Claim {
    let priority = Priority::numbered(priority).unwrap();
    Claim { priority, deadline: NOW + Millis(deadline), lasts: Millis(60_000), ..Claim::LAST }
}

fn at(ms: u64) -> Timestamp {
    NOW + Millis(ms)
}

/// A limiter with its policy, and the slots that are taken.
struct Fixture {
    limiter: Limiter,
    policy: ConcurrencyPolicy,
    slots: Vec<Slot>,
    rng: Rng,
}

impl Fixture {
    fn new(policy: ConcurrencyPolicy) -> Self {
        Self { limiter: Limiter::new(&policy), policy, slots: Vec::new(), rng: Rng::from_seed(1) }
    }

    fn ask(&mut self, now: Timestamp, claim: &Claim) -> bool {
        let free = self.limiter.check(now, &self.policy, KEY, claim).is_ok();
        if free {
            self.slots.push(self.limiter.take(now, claim));
        }
        free
    }

    /// Takes every slot there is.
    fn fill(&mut self, now: Timestamp) -> usize {
        while self.ask(now, &claim(3, 1000)) {}
        self.slots.len()
    }

    /// The attempt that was begun first ends.
    fn end(&mut self, now: Timestamp, told: Told) {
        let slot = self.slots.remove(0);
        self.limiter.give_back(now, &self.policy, KEY, slot, told);
    }

    fn wait(&mut self, now: Timestamp, claim: &Claim) -> Option<Claim> {
        let (_, number) = self.limiter.wait(now, &self.policy, KEY, claim, &mut self.rng)?;
        Some(Claim { place: Some(number), ..*claim })
    }

    fn limit(&self, now: Timestamp) -> u64 {
        self.limiter.load(now, &self.policy, Some(KEY)).limit
    }
}

#[test]
fn the_limit_holds_and_a_slot_that_comes_back_is_free() {
    let mut fixture = Fixture::new(fixed(2));
    assert_eq!(fixture.fill(NOW), 2);
    let told = fixture.limiter.check(NOW, &fixture.policy, KEY, &Claim::LAST);
    assert_eq!(told, Err(Millis(500)), "one of two, a second each");
    let slot = fixture.slots[0];
    fixture.end(at(10), Told::Nothing);
    assert!(fixture.ask(at(10), &claim(3, 1000)));
    fixture.limiter.give_back(at(20), &fixture.policy, KEY, slot, Told::Nothing);
    assert!(!fixture.ask(at(20), &Claim::LAST), "given back twice, it is free once");
}

#[test]
fn a_slot_whose_end_is_never_told_runs_out() {
    let mut fixture = Fixture::new(fixed(1));
    fixture.fill(NOW);
    assert!(!fixture.ask(at(59_999), &Claim::LAST));
    assert!(fixture.ask(at(60_000), &claim(3, 70_000)));
    assert_eq!(fixture.limiter.slots.size(), 1, "it is not even remembered");
    fixture.end(at(60_000), Told::Borne);
    assert!(!fixture.ask(at(60_000), &Claim::LAST), "its late end frees no other's");
}

#[test]
fn it_grows_fast_to_what_was_borne_and_slowly_from_there() {
    let mut fixture = Fixture::new(policy(4));
    for _ in 0..4 {
        fixture.fill(NOW);
        fixture.end(at(10), Told::Borne);
    }
    assert_eq!(fixture.limit(NOW), 8, "by one for each answer");
    fixture.fill(NOW);
    fixture.end(at(20), Told::TooMuch);
    assert_eq!(fixture.limit(NOW), 7, "by a whole one, where a tenth would be less");
    for answers in 1..=40 {
        fixture.fill(at(30));
        fixture.end(at(30), Told::Borne);
        assert_eq!(fixture.limit(NOW), if answers <= 32 { 7 } else { 8 }, "by one for a round of answers");
    }
}

#[test]
fn a_burst_of_refusals_is_one_and_what_was_sent_after_it_another() {
    let mut fixture = Fixture::new(policy(100));
    fixture.fill(NOW);
    for _ in 0..50 {
        fixture.end(at(10), Told::TooMuch);
    }
    assert_eq!(fixture.limit(NOW), 90);
    fixture.slots.clear();
    assert!(fixture.ask(at(20), &Claim::LAST));
    fixture.end(at(30), Told::TooMuch);
    assert_eq!(fixture.limit(NOW), 81);
}

#[test]
fn after_a_row_of_refusals_it_finds_back_to_what_was_borne_before() {
    let mut fixture = Fixture::new(policy(100));
    for _ in 0..20 {
        fixture.ask(NOW, &claim(3, 1000));
        fixture.end(NOW, Told::TooMuch);
    }
    assert!(fixture.limit(NOW) < 20);
    for _ in 0..80 {
        fixture.fill(NOW);
        fixture.end(NOW, Told::Borne);
    }
    assert_eq!(fixture.limit(NOW), 90);
}

#[test]
fn what_is_not_made_use_of_does_not_grow() {
    let mut fixture = Fixture::new(policy(10));
    for _ in 0..100 {
        for _ in 0..4 {
            fixture.ask(NOW, &Claim::LAST);
        }
        while !fixture.slots.is_empty() {
            fixture.end(NOW, Told::Borne);
        }
    }
    assert_eq!(fixture.limit(NOW), 10);
}

#[test]
fn what_the_vendor_says_is_left_holds_until_it_counts_anew_and_for_that_key() {
    let mut fixture = Fixture::new(policy(10));
    let quota = |requests, at| Remaining { requests, until: NOW + Millis(5000), at };
    fixture.limiter.note_quota(KEY, quota(3, at(2)));
    fixture.limiter.note_quota(KEY, quota(9, at(1)));
    assert_eq!(fixture.limit(NOW), 3, "what was said last counts, not what came last");
    assert_eq!(fixture.fill(NOW), 3);
    fixture.end(NOW, Told::Borne);
    assert!(fixture.limiter.check(NOW, &fixture.policy, KeyId(1), &Claim::LAST).is_ok());
    assert_eq!(fixture.limit(at(5000)), 10, "and what came in the meantime was no reason to grow");
    fixture.limiter.note_quota(KEY, quota(0, at(3)));
    assert_eq!(fixture.limit(NOW), 1, "somebody has to find out when there is more");
}

#[test]
fn a_free_slot_is_for_the_most_urgent_and_then_for_the_nearest_deadline() {
    let mut fixture = Fixture::new(fixed(1));
    fixture.fill(NOW);
    let waiting = [claim(5, 1000), claim(3, 9000), claim(3, 2000), claim(1, 9000)]
        .map(|claim| fixture.wait(NOW, &claim).unwrap());
    for next in [3, 2, 1, 0] {
        fixture.end(at(10), Told::Nothing);
        assert!(!fixture.ask(at(10), &claim(5, 1000)), "who comes later waits with the others");
        for other in (0..4).filter(|other| *other != next) {
            let told = fixture.limiter.check(at(10), &fixture.policy, KEY, &waiting[other]);
            assert!(told.is_err() || other > next || !is_waiting(&fixture, &waiting[other]), "{other} before {next}");
        }
        assert!(fixture.ask(at(10), &waiting[next]), "{next}");
    }
}

fn is_waiting(fixture: &Fixture, claim: &Claim) -> bool {
    let mut limiter = fixture.limiter.clone();
    let before = limiter.load(NOW, &fixture.policy, None).waiting;
    limiter.leave(claim);
    limiter.load(NOW, &fixture.policy, None).waiting < before
}

#[test]
fn a_full_queue_takes_only_who_is_more_urgent_than_its_last() {
    let mut fixture = Fixture::new(ConcurrencyPolicy { queue: 2, ..fixed(1) });
    fixture.fill(NOW);
    let first = fixture.wait(NOW, &claim(3, 1000)).unwrap();
    let last = fixture.wait(NOW, &claim(4, 1000)).unwrap();
    assert_eq!(fixture.wait(NOW, &claim(4, 10)), None, "an equal, though its deadline is nearer");
    let urgent = fixture.wait(NOW, &claim(1, 1000)).unwrap();
    assert_eq!(fixture.wait(NOW, &last), None, "it has lost its place");
    assert_eq!(fixture.wait(at(400), &first), Some(first), "and this one keeps it");
    assert_eq!(fixture.wait(at(400), &urgent), Some(urgent));
    assert_eq!(fixture.limiter.load(at(400), &fixture.policy, None).waiting, 2);
}

#[test]
fn who_does_not_come_back_loses_its_place() {
    let mut fixture = Fixture::new(fixed(1));
    fixture.fill(NOW);
    let gone = fixture.wait(NOW, &claim(1, 10_000)).unwrap();
    fixture.end(NOW, Told::Nothing);
    assert!(!fixture.ask(at(1500), &Claim::LAST), "it may still come");
    assert!(fixture.ask(at(1600), &Claim::LAST));
    assert!(fixture.wait(at(1700), &gone).is_some(), "later it may wait again");
}

#[test]
fn who_waits_looks_again_soon_and_at_its_deadline_at_the_latest() {
    let mut fixture = Fixture::new(fixed(1));
    fixture.fill(NOW);
    for deadline in [1, 3, 1000] {
        let claim = claim(3, deadline);
        let (look_at, _) = fixture.limiter.wait(NOW, &fixture.policy, KEY, &claim, &mut fixture.rng).unwrap();
        assert!(look_at > NOW && look_at <= claim.deadline.min(NOW + LOOK_MAX), "{look_at:?}");
    }
}

#[test]
fn the_wait_that_is_told_goes_by_how_long_answers_take_and_by_who_is_ahead() {
    let mut fixture = Fixture::new(fixed(2));
    for (began, took) in [(0, 2000), (3000, 1000)] {
        assert!(fixture.ask(at(began), &claim(3, 9000)));
        fixture.end(at(began + took), Told::Borne);
    }
    assert!(fixture.ask(at(5000), &claim(3, 9000)));
    let _ahead = fixture.wait(at(5000), &claim(1, 9000)).unwrap();
    let told = fixture.limiter.check(at(5000), &fixture.policy, KEY, &Claim::LAST);
    assert_eq!(told, Err(Millis(1875 / 2)), "one of two; 2 s, and 1 s that weighs an eighth");
}

#[test]
fn those_who_wait_look_again_in_the_middle_of_what_is_expected() {
    let mut fixture = Fixture::new(fixed(1));
    fixture.ask(NOW, &claim(3, 9000));
    fixture.end(at(80), Told::Borne);
    fixture.fill(at(80));
    let mut look_in = || {
        let mut limiter = fixture.limiter.clone();
        let (look_at, _) = limiter.wait(at(80), &fixture.policy, KEY, &claim(3, 9000), &mut fixture.rng).unwrap();
        at(80).until(look_at).0
    };
    let looks: Vec<u64> = (0..1000).map(|_| look_in()).collect();
    assert_eq!(looks.iter().min().zip(looks.iter().max()), Some((&20, &60)));
}

#[test]
fn who_leaves_makes_room_for_the_next() {
    let mut fixture = Fixture::new(fixed(1));
    fixture.fill(NOW);
    let urgent = fixture.wait(NOW, &claim(1, 9000)).unwrap();
    fixture.end(at(10), Told::Nothing);
    assert!(!fixture.ask(at(10), &Claim::LAST));
    fixture.limiter.leave(&urgent);
    assert!(fixture.ask(at(10), &Claim::LAST));
}

#[test]
fn an_overdue_waiter_holds_no_place_in_a_full_queue() {
    for late in [0, 7] {
        let mut fixture = Fixture::new(ConcurrencyPolicy { queue: 1, ..fixed(1) });
        fixture.fill(NOW);
        let claim = claim(3, 9000);
        let (look_at, _) = fixture.limiter.wait(NOW, &fixture.policy, KEY, &claim, &mut fixture.rng).unwrap();
        let overdue = look_at + GRACE;
        assert_eq!(fixture.wait(overdue - Millis(1), &claim), None);
        assert!(fixture.wait(overdue + Millis(late), &claim).is_some(), "{late} ms late");
    }
}

#[test]
fn a_queue_that_has_been_made_shorter_takes_nobody_until_it_is() {
    let mut fixture = Fixture::new(fixed(1));
    fixture.fill(NOW);
    for _ in 0..3 {
        fixture.wait(NOW, &claim(3, 9000)).unwrap();
    }
    fixture.policy.queue = 2;
    assert_eq!(fixture.wait(NOW, &claim(1, 9000)), None);
}

#[test]
fn at_its_floor_it_cannot_shrink_by_a_whole_attempt() {
    let mut fixture = Fixture::new(ConcurrencyPolicy { min: 2, ..policy(4) });
    for expected in [4, 3, 2, 2] {
        assert_eq!((fixture.limit(NOW), fixture.limiter.is_at_floor(&fixture.policy)), (expected, expected == 2));
        fixture.ask(NOW, &Claim::LAST);
        fixture.end(NOW, Told::TooMuch);
    }
}

#[test]
fn priorities_are_one_to_five() {
    assert!((1..=5).all(|number| Priority::numbered(number).is_some()));
    assert!([0, 6, 256 + 3, u64::MAX].iter().all(|number| Priority::numbered(*number).is_none()));
    assert!(Priority::numbered(1) < Priority::numbered(5));
}
