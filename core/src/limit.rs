//! Limits on what is used in a time: so many requests or tokens a minute, so much money a day.
//!
//! A [`Bucket`] is the generic cell rate algorithm (GCRA) as a bucket that leaks: what is used fills it, time empties it,
//! and whoever finds no room is told when there will be some. Up to its whole amount may be used at once, and beyond that
//! as much as has drained: in any window of `t`, no more than `amount + amount · t / period`.
//!
//! What will be used is not known before it has been, so it is reserved first: [`reserve`](Bucket::reserve), then
//! [`settle`](Bucket::settle) with what it came to, or [`refund`](Bucket::refund). Requests that are sent at one moment
//! cannot all find the same room, as they can where only what has ended is counted. A reservation that is never settled
//! drains like what was used, and is forgotten in time.
//!
//! **What a refund gives back** is what has not drained yet, or the room would be given twice. What has been settled drains
//! first and then reservations, the oldest first, so a refund is exact where the bucket is in use, and where it is not,
//! nobody misses it.
//!
//! [`Allowance`] is several limits that are asked and charged together, [`Budget`] one on money, which does not drain: it
//! begins anew with each period.
//!
//! All of it is in integers that cannot overflow: a client chooses `max_tokens`, and a vendor what it counts.

use std::collections::BTreeMap;

use crate::time::{Millis, Timestamp};

mod allowance;
mod budget;
#[cfg(test)]
mod properties;
mod share;

pub use allowance::{Allowance, AtLimit, Dimension, Hold, Need, Room, Use};
pub use budget::{Budget, Earmark, OverBudget};
use share::Share;
pub use share::{Stand, Told};

/// Reservations that are remembered; beyond them the oldest counts as used. More requests are not under way at once.
const HELD_MAX: usize = 1 << 16;

/// How much of something in how long. Both are at least 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// So much, at once or spread.
    pub amount: u64,
    /// In so long.
    pub period: Millis,
}

/// One limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bucket {
    quota: Quota,
    /// When it was looked at last: a step back is time standing still.
    at: Timestamp,
    /// What was used and has not drained.
    settled: Water,
    /// What is reserved, the oldest first.
    held: BTreeMap<u64, Held>,
    /// What of that has not drained.
    reserved: Water,
    /// Reservations below this number have drained whole.
    drained_to: u64,
    issued: u64,
    /// What was given back of reservations, ever.
    returned: Water,
    /// What other gateways leave to this one, where several keep the limit together.
    share: Option<Share>,
    account: Account,
}

/// An amount in units that time drains in whole numbers: one of the amount is `period` of them, and each millisecond drains
/// `amount` of them.
type Water = u128;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Held {
    amount: u64,
    /// What of it has not drained.
    rest: Water,
    expires: Timestamp,
}

/// Room that has been taken, until it is known what was used.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "what is neither settled nor refunded counts as used"]
pub struct Reservation {
    number: u64,
    amount: u64,
}

/// What became of all reservations: `reserved = settled + refunded + outstanding`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Account {
    /// What was ever reserved.
    pub reserved: u128,
    /// What of it was used, or counts as used since it was never told.
    pub settled: u128,
    /// What of it was given back.
    pub refunded: u128,
    /// What was used beyond what had been reserved.
    pub excess: u128,
}

impl Bucket {
    /// Empty: all of its amount may be used at once.
    pub fn new(quota: Quota) -> Self {
        // Bounds that nobody reaches, so that no product or sum of two of them can overflow.
        let quota = Quota { amount: quota.amount.clamp(1, 1 << 60), period: Millis(quota.period.0.clamp(1, 1 << 60)) };
        Self {
            quota,
            at: Timestamp(0),
            settled: 0,
            held: BTreeMap::new(),
            reserved: 0,
            drained_to: 0,
            issued: 0,
            returned: 0,
            share: None,
            account: Account::default(),
        }
    }

    /// Whether there is room for `amount`; else how long until there is. What is more than the whole bucket asks for the
    /// whole bucket, and what is nothing for one: neither could be refused, or let in, for ever. Changes nothing.
    pub fn check(&self, now: Timestamp, amount: u64) -> Result<(), Millis> {
        let wanted = self.water(self.within(amount));
        let over = (self.level(now) + wanted).saturating_sub(self.capacity());
        let wait = self.time_to_drain(over).max(self.share_wait(now, wanted));
        if wait == Millis::ZERO { Ok(()) } else { Err(wait) }
    }

    /// Takes room for `amount`, or says how long until there is. It is forgotten after `lasts`.
    pub fn reserve(&mut self, now: Timestamp, amount: u64, lasts: Millis) -> Result<Reservation, Millis> {
        self.check(now, amount)?;
        self.drain(now);
        self.forget();
        let amount = self.within(amount);
        let rest = self.water(amount);
        self.held.insert(self.issued, Held { amount, rest, expires: self.at + lasts });
        self.reserved += rest;
        if let Some(share) = &mut self.share {
            share.take(rest);
        }
        self.account.reserved += u128::from(amount);
        self.issued += 1;
        Ok(Reservation { number: self.issued - 1, amount })
    }

    /// Says what was used of a reservation, which may be more than it was for.
    #[expect(clippy::needless_pass_by_value, reason = "a reservation is used up: settling it twice must not compile")]
    pub fn settle(&mut self, now: Timestamp, reservation: Reservation, used: u64) {
        self.drain(now);
        let over = self.water(reservation.amount.saturating_sub(used));
        // One that has been forgotten was settled then: as all used.
        if let Some(held) = self.held.remove(&reservation.number) {
            let given_back = held.rest.min(over);
            self.reserved -= held.rest;
            self.settled += held.rest - given_back;
            self.returned += given_back;
            if let Some(share) = &mut self.share {
                share.give_back(given_back);
            }
            self.account.settled += u128::from(held.amount.min(used));
            self.account.refunded += u128::from(held.amount.saturating_sub(used));
        }
        self.charge(now, used.saturating_sub(reservation.amount));
    }

    /// Gives a reservation back: nothing was used.
    pub fn refund(&mut self, now: Timestamp, reservation: Reservation) {
        self.settle(now, reservation, 0);
    }

    /// Counts what was used without having been reserved. It may leave the bucket fuller than full, but not by more than its
    /// amount: whatever is said to have been used, there is room again after one period.
    pub fn charge(&mut self, now: Timestamp, used: u64) {
        self.drain(now);
        self.account.excess += u128::from(used);
        let most = (2 * self.capacity()).saturating_sub(self.reserved);
        let more = self.water(used);
        // What has been settled is never taken back, whatever is in the bucket.
        self.settled = self.settled.max(most.min(self.settled + more));
        if let Some(share) = &mut self.share {
            share.take(more);
        }
    }

    /// What may be used at once now.
    pub fn remaining(&self, now: Timestamp) -> u64 {
        let room = self.capacity().saturating_sub(self.level(now)) / Water::from(self.quota.period.0);
        u64::try_from(room).unwrap_or(u64::MAX)
    }

    /// How long until all of it may be used at once.
    pub fn full_in(&self, now: Timestamp) -> Millis {
        self.time_to_drain(self.level(now))
    }

    /// What it is a limit of.
    pub fn quota(&self) -> Quota {
        self.quota
    }

    /// What became of reservations.
    pub fn account(&self) -> Account {
        self.account
    }

    /// What is reserved and neither settled nor refunded.
    pub fn outstanding(&self) -> u128 {
        self.held.values().map(|held| u128::from(held.amount)).sum()
    }

    // === Within ===

    fn within(&self, amount: u64) -> u64 {
        amount.clamp(1, self.quota.amount)
    }

    fn water(&self, amount: u64) -> Water {
        // Twice the amount is as good as more: the bucket never holds that much.
        Water::from(amount.min(2 * self.quota.amount)) * Water::from(self.quota.period.0)
    }

    fn capacity(&self) -> Water {
        self.water(self.quota.amount)
    }

    fn level(&self, now: Timestamp) -> Water {
        (self.settled + self.reserved).saturating_sub(self.drained_since(now))
    }

    fn drained_since(&self, now: Timestamp) -> Water {
        Water::from(now.since(self.at).0) * Water::from(self.quota.amount)
    }

    fn time_to_drain(&self, water: Water) -> Millis {
        Millis(u64::try_from(water.div_ceil(Water::from(self.quota.amount))).unwrap_or(u64::MAX))
    }

    /// Lets time pass. What was used drains first, then what is reserved, the oldest first.
    fn drain(&mut self, now: Timestamp) {
        self.share = self.share_at(now);
        let mut drained = self.drained_since(now);
        self.at = self.at.max(now);
        let of_settled = drained.min(self.settled);
        self.settled -= of_settled;
        drained -= of_settled;
        drained = drained.min(self.reserved);
        self.reserved -= drained;
        for (number, held) in self.held.range_mut(self.drained_to..) {
            let of_held = drained.min(held.rest);
            held.rest -= of_held;
            drained -= of_held;
            if held.rest > 0 {
                break;
            }
            self.drained_to = number + 1;
        }
    }

    /// Takes for used what was never settled.
    fn forget(&mut self) {
        while let Some(oldest) = self.held.first_entry()
            && (oldest.get().expires <= self.at || self.held.len() >= HELD_MAX)
        {
            let Some((_, held)) = self.held.pop_first() else { break };
            self.reserved -= held.rest;
            self.settled += held.rest;
            self.account.settled += u128::from(held.amount);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_000_000);
    /// Six a minute: one every ten seconds.
    const SIX: Quota = Quota { amount: 6, period: Millis(60_000) };
    pub(super) const LONG: Millis = Millis(600_000);

    pub(super) fn at(seconds: u64) -> Timestamp {
        NOW + Millis::from_secs(seconds)
    }

    /// Uses `amount` at once.
    pub(super) fn take(bucket: &mut Bucket, now: Timestamp, amount: u64) -> Result<(), Millis> {
        let reservation = bucket.reserve(now, amount, LONG)?;
        bucket.settle(now, reservation, amount);
        Ok(())
    }

    #[test]
    fn all_of_it_at_once_and_then_as_it_drains() {
        let mut bucket = Bucket::new(SIX);
        assert_eq!(take(&mut bucket, at(0), 6), Ok(()));
        assert_eq!(take(&mut bucket, at(0), 1), Err(Millis(10_000)));
        assert_eq!(bucket.check(at(4), 2), Err(Millis(16_000)));
        assert_eq!(bucket.check(at(9), 1), Err(Millis(1000)));
        assert_eq!(take(&mut bucket, at(10), 1), Ok(()), "exactly when it said");
        assert_eq!((bucket.remaining(at(10)), bucket.full_in(at(10))), (0, Millis(60_000)));
        assert_eq!((bucket.remaining(at(45)), bucket.full_in(at(45))), (3, Millis(25_000)));
        assert_eq!(bucket.check(at(0), 1), Err(Millis(10_000)), "time going back is time standing still");
    }

    #[test]
    fn what_is_too_much_asks_for_all_and_what_is_nothing_for_one() {
        let mut bucket = Bucket::new(SIX);
        assert_eq!(take(&mut bucket, at(0), u64::MAX), Ok(()), "an empty bucket lets it in");
        assert_eq!(bucket.check(at(0), 0), Err(Millis(70_000)), "and is fuller than full for it");
        assert_eq!(bucket.check(at(70), 0), Ok(()));
        assert_eq!(bucket.check(at(70), u64::MAX), Err(Millis(50_000)));
        let mut bucket = Bucket::new(SIX);
        bucket.charge(at(0), 100);
        assert_eq!(bucket.full_in(at(0)), Millis(120_000), "twice full at most");
    }

    #[test]
    fn a_settlement_moves_it_either_way_and_a_refund_all_the_way() {
        let mut bucket = Bucket::new(SIX);
        let [one, two, three] = [(); 3].map(|()| bucket.reserve(at(0), 2, LONG).unwrap());
        assert_eq!(bucket.remaining(at(0)), 0);
        bucket.settle(at(0), one, 1);
        assert_eq!(bucket.remaining(at(0)), 1);
        bucket.settle(at(0), two, 3);
        assert_eq!(bucket.remaining(at(0)), 0);
        bucket.refund(at(0), three);
        assert_eq!(bucket.remaining(at(0)), 2);
        let Account { reserved, settled, refunded, excess } = bucket.account();
        assert_eq!((reserved, settled, refunded, excess, bucket.outstanding()), (6, 3, 3, 1, 0));
    }

    #[test]
    fn a_refund_gives_back_no_more_than_has_not_drained() {
        let mut bucket = Bucket::new(SIX);
        let early = bucket.reserve(at(0), 6, LONG).unwrap();
        assert_eq!(take(&mut bucket, at(60), 6), Ok(()), "it has drained");
        bucket.refund(at(60), early);
        assert_eq!(bucket.remaining(at(60)), 0, "or twelve would be used at one moment");
        // What drains is of the oldest first, and of each only what it holds.
        let mut both = Bucket::new(SIX);
        let [_oldest, second] = [(); 2].map(|()| both.reserve(at(0), 2, LONG).unwrap());
        both.charge(at(30), 0);
        assert_eq!(both.remaining(at(30)), 5);
        both.refund(at(30), second);
        assert_eq!(both.remaining(at(30)), 6);
        // Where others keep it busy, nothing of a reservation drains before what they have used.
        let mut busy = Bucket::new(SIX);
        take(&mut busy, at(0), 3).unwrap();
        let reserved = busy.reserve(at(0), 3, LONG).unwrap();
        busy.charge(at(30), 0);
        assert_eq!(busy.remaining(at(30)), 3);
        busy.refund(at(30), reserved);
        assert_eq!(busy.remaining(at(30)), 6);
    }

    #[test]
    fn what_is_never_settled_counts_as_used_and_is_forgotten() {
        let mut bucket = Bucket::new(SIX);
        let lost = bucket.reserve(at(0), 6, Millis(5000)).unwrap();
        assert_eq!(bucket.outstanding(), 6);
        let _second = bucket.reserve(at(10), 1, LONG).unwrap();
        assert_eq!((bucket.outstanding(), bucket.remaining(at(10))), (1, 0));
        bucket.refund(at(10), lost);
        assert_eq!(bucket.remaining(at(10)), 0, "too late");
        let mut bucket = Bucket::new(SIX);
        let [_lost, _too] = [1, 2].map(|amount| bucket.reserve(at(0), amount, Millis(1)).unwrap());
        let _third = bucket.reserve(at(1), 1, LONG).unwrap();
        assert_eq!((bucket.outstanding(), bucket.full_in(at(1))), (1, Millis(39_000)));
        assert_eq!(bucket.account().settled, 3);
    }

    #[test]
    fn absurd_numbers_are_borne() {
        let mut bucket = Bucket::new(Quota { amount: u64::MAX, period: Millis(u64::MAX) });
        for now in [0, u64::MAX] {
            let reservation = bucket.reserve(Timestamp(now), u64::MAX, Millis(u64::MAX)).unwrap();
            bucket.settle(Timestamp(now), reservation, u64::MAX);
            bucket.charge(Timestamp(now), u64::MAX);
        }
        let mut none = Bucket::new(Quota { amount: 0, period: Millis(0) });
        assert!(take(&mut none, NOW, 5).is_ok() && take(&mut none, NOW, 5).is_err());
    }

    #[test]
    fn its_memory_is_bounded() {
        let mut bucket = Bucket::new(Quota { amount: u64::from(u32::MAX), period: Millis(60_000) });
        for _ in 0..(HELD_MAX + 10) {
            let _lost = bucket.reserve(NOW, 1, LONG).unwrap();
        }
        assert_eq!(bucket.held.len(), HELD_MAX);
        assert_eq!(bucket.remaining(NOW), u64::from(u32::MAX) - HELD_MAX as u64 - 10, "forgotten, not free");
    }
}
