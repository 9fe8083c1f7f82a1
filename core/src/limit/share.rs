//! A bucket that several gateways keep together: what this one tells of it, and what it makes of the answer.
//!
//! Between two answers it uses no more than its [`Share`] of the room that was there. What it takes and gives back in the
//! meantime, the others do not know of yet: an answer tells what they knew, and the difference is added to it. So what was
//! reserved when it told, and given back since, is not used a second time by an answer that comes late.

use serde::{Deserialize, Serialize};

use super::{Account, Bucket, Water};
use crate::time::{Millis, Timestamp};

/// A part of a bucket's room, and of what drains: no more than this is used until the others are heard of again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Share {
    left: Water,
    /// How many gateways have one.
    among: u64,
    /// What this gateway has used itself and has not drained: whatever is forgotten elsewhere, this much is in the bucket.
    own: Water,
}

/// What a gateway has used, as it is told. Both only ever grow, so a report that is lost costs nothing but time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// What it has ever reserved, or used without.
    pub taken: u64,
    /// What of that it has given back before it drained, in water, since it may have drained in part.
    pub returned: u64,
}

/// How full a bucket is by the count of several gateways, exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stand {
    /// In water: one of its amount is as many as its period has milliseconds.
    pub water: u64,
    /// What was known by then of the gateway that is told.
    pub told: Told,
}

impl Share {
    pub(super) fn take(&mut self, water: Water) {
        self.left = self.left.saturating_sub(water);
        self.own = self.own.saturating_add(water);
    }

    pub(super) fn give_back(&mut self, water: Water) {
        self.left = self.left.saturating_add(water);
        self.own = self.own.saturating_sub(water);
    }
}

impl Bucket {
    /// What the other gateways are told.
    pub(crate) fn tell(&self) -> Told {
        let Account { reserved, excess, .. } = self.account;
        let told = |sum: u128| u64::try_from(sum).unwrap_or(u64::MAX);
        Told { taken: told(reserved.saturating_add(excess)), returned: told(self.returned) }
    }

    /// Takes in how full it is by the count of several gateways that keep the limit together, and leaves this one its share
    /// of the room. Where it is not said what they knew of this one by then, it is never taken to be emptier than before.
    pub(crate) fn hear(&mut self, now: Timestamp, used: u64, among: u64, stand: Option<Stand>) {
        self.drain(now);
        let level = self.settled + self.reserved;
        let own = self.share.map_or(level, |share| share.own);
        let heard = stand.map_or_else(|| self.water(used).max(level), |stand| self.since(stand));
        let most = 2 * self.capacity();
        self.settled = heard.max(own).min(most).saturating_sub(self.reserved);
        let room = self.capacity().saturating_sub(self.level(now));
        let among = among.max(1);
        self.share = Some(Share { left: room / Water::from(among), among, own });
    }

    /// How full it is now, with what has come and gone here since.
    fn since(&self, Stand { water, told }: Stand) -> Water {
        let now = self.tell();
        let (taken, returned) = (now.taken.saturating_sub(told.taken), now.returned.saturating_sub(told.returned));
        (Water::from(water) + Water::from(taken) * Water::from(self.quota.period.0)).saturating_sub(returned.into())
    }

    /// How long until the share has room.
    pub(super) fn share_wait(&self, now: Timestamp, wanted: Water) -> Millis {
        let Some(Share { left, among, .. }) = self.share_at(now).filter(|share| share.among > 1) else {
            return Millis::ZERO;
        };
        // What is more than a whole share asks for a whole share.
        let lacking = wanted.min(self.capacity() / Water::from(among)).saturating_sub(left);
        self.time_to_drain(lacking.saturating_mul(among.into()))
    }

    /// The share as it has grown since: it gets its part of what drains.
    pub(super) fn share_at(&self, now: Timestamp) -> Option<Share> {
        self.share.map(|Share { left, among, own }| {
            let (most, drained) = (self.capacity() / Water::from(among), self.drained_since(now));
            let left = most.min(left.saturating_add(drained / Water::from(among)));
            Share { left, among, own: own.saturating_sub(drained) }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limit::tests::{LONG, at, take};
    use crate::limit::{Quota, Reservation};

    const SIXTY: Quota = Quota { amount: 60, period: Millis(60_000) };

    /// So much has been used by all, when so much was known of this one.
    fn stand(used: u64, told: Told) -> Stand {
        Stand { water: used * SIXTY.period.0, told }
    }

    /// All is known that this one has used.
    fn hear(bucket: &mut Bucket, now: Timestamp, used: u64, among: u64) {
        bucket.hear(now, used, among, Some(stand(used, bucket.tell())));
    }

    fn hold(bucket: &mut Bucket, now: Timestamp, amount: u64) -> Reservation {
        bucket.reserve(now, amount, LONG).unwrap()
    }

    #[test]
    fn where_several_keep_it_together_each_has_its_share_of_the_room_and_of_what_drains() {
        let mut bucket = Bucket::new(SIXTY);
        take(&mut bucket, at(0), 10).unwrap();
        hear(&mut bucket, at(0), 30, 3);
        assert_eq!(bucket.check(at(0), 11), Err(Millis(3000)), "ten of thirty");
        assert_eq!(take(&mut bucket, at(0), 10), Ok(()));
        assert_eq!(bucket.check(at(0), 1), Err(Millis(3000)), "a third of one a second");
        assert_eq!(bucket.check(at(2), 1), Err(Millis(1000)));
        assert_eq!(take(&mut bucket, at(3), 1), Ok(()));
        assert_eq!(take(&mut bucket, at(100), 20), Ok(()), "it has grown to a third of the limit");
        assert_eq!(bucket.check(at(100), 1), Err(Millis(3000)), "and to no more, whatever room there is");
        assert_eq!(bucket.check(at(300), 60), Ok(()), "more than its share asks for the whole share");
        hear(&mut bucket, at(300), 0, 1);
        let unused = hold(&mut bucket, at(300), 60);
        bucket.refund(at(300), unused);
        assert_eq!(take(&mut bucket, at(300), 60), Ok(()), "alone it has all");
        hear(&mut bucket, at(300), 20, 1);
        assert_eq!(bucket.remaining(at(300)), 0, "it knows better what it has used itself");
    }

    #[test]
    fn what_is_given_back_is_of_the_share_again_and_what_was_not_reserved_is_taken_from_it() {
        let mut bucket = Bucket::new(SIXTY);
        bucket.hear(at(0), 0, 3, None);
        let reservation = hold(&mut bucket, at(0), 20);
        assert!(bucket.check(at(0), 1).is_err(), "all of its share");
        bucket.settle(at(0), reservation, 5);
        assert_eq!(bucket.check(at(0), 15), Ok(()));
        let reservation = hold(&mut bucket, at(0), 5);
        bucket.settle(at(0), reservation, 12);
        assert_eq!((bucket.check(at(0), 3), bucket.check(at(0), 4)), (Ok(()), Err(Millis(3000))));
    }

    #[test]
    fn all_that_was_taken_is_told_and_what_of_it_was_given_back_before_it_drained() {
        let mut bucket = Bucket::new(SIXTY);
        let told = |taken, returned: u64| Told { taken, returned: returned * SIXTY.period.0 };
        let [one, other] = [10, 20].map(|amount| hold(&mut bucket, at(0), amount));
        assert_eq!(bucket.tell(), told(30, 0));
        bucket.settle(at(1), one, 4);
        assert_eq!(bucket.tell(), told(30, 6));
        bucket.charge(at(1), 7);
        assert_eq!(bucket.tell(), told(37, 6));
        bucket.refund(at(26), other);
        assert_eq!(bucket.tell(), told(37, 11), "eleven of thirty-one had not drained, six of which were used");
    }

    #[test]
    fn an_answer_that_comes_late_takes_nothing_for_used_that_was_given_back_since() {
        let mut bucket = Bucket::new(SIXTY);
        let reservation = hold(&mut bucket, at(0), 50);
        let told = bucket.tell();
        bucket.settle(at(1), reservation, 5);
        let _other = hold(&mut bucket, at(1), 7);
        bucket.hear(at(1), 49, 2, Some(stand(49, told)));
        assert_eq!(bucket.remaining(at(1)), 60 - (49 - 45 + 7));
    }

    #[test]
    fn what_others_give_back_is_there_again() {
        let mut bucket = Bucket::new(SIXTY);
        take(&mut bucket, at(0), 5).unwrap();
        for (used, remaining) in [(55, 5), (15, 45), (0, 55)] {
            hear(&mut bucket, at(0), used, 1);
            assert_eq!(bucket.remaining(at(0)), remaining);
        }
    }

    #[test]
    fn an_answer_to_nobody_in_particular_only_ever_adds() {
        let mut bucket = Bucket::new(SIXTY);
        for (used, remaining) in [(20, 40), (10, 40), (30, 30)] {
            bucket.hear(at(0), used, 1, None);
            assert_eq!(bucket.remaining(at(0)), remaining);
        }
    }
}
