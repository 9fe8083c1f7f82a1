//! Leases of a half-open breaker's few probes.

use crate::time::{Millis, Timestamp};

/// Leases that have run out and are still known, so that a late result counts. A target whose answers outlast a lease is
/// seen to be well only by them; 32 is more than two probes can leave behind in the ten minutes of the longest answer.
pub(super) const REMEMBERED_MAX: usize = 32;

/// At most a set number of leases alive at once.
///
/// A lease ends when it is given back, or by itself when its time is up: a probe whose client left unseen, or that
/// hangs, cannot hold its place for ever. A lease that has run out is remembered for as long as there is room, so that a
/// late result is still known for what it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Leases {
    /// Never longer than [`REMEMBERED_MAX`] and the largest `max` it was asked with.
    pub(super) entries: Vec<Lease>,
    issued: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lease {
    id: u64,
    expires: Timestamp,
}

impl Leases {
    /// Whether a lease can be had now; else how long until the earliest runs out.
    pub(super) fn check(&self, now: Timestamp, max: u32) -> Result<(), Millis> {
        let live = self.entries.iter().map(|lease| now.until(lease.expires)).filter(|&left| left > Millis::ZERO);
        let (count, soonest) = live.fold((0, Millis(u64::MAX)), |(n, soonest), left| (n + 1, soonest.min(left)));
        if count < max { Ok(()) } else { Err(soonest) }
    }

    /// Takes a lease for `lasting`, or says how long until one may be had.
    pub(super) fn take(&mut self, now: Timestamp, max: u32, lasting: Millis) -> Result<u64, Millis> {
        self.check(now, max)?;
        self.issued = self.issued.wrapping_add(1);
        let lease = Lease { id: self.issued, expires: now + lasting };
        let room = usize::try_from(max).unwrap_or(usize::MAX).saturating_add(REMEMBERED_MAX);
        let full = self.entries.len() >= room;
        let oldest = self.entries.iter_mut().min_by_key(|lease| (lease.expires, lease.id));
        match oldest {
            // The table is full and yet fewer than `max` are alive, so the first to expire has expired.
            Some(entry) if full => *entry = lease,
            _ => self.entries.push(lease),
        }
        Ok(lease.id)
    }

    /// Ends a lease. False if it had been given back, or has run out and lost its place.
    pub(super) fn give_back(&mut self, id: u64) -> bool {
        let place = self.entries.iter().position(|lease| lease.id == id);
        place.map(|place| self.entries.swap_remove(place)).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1000);

    #[test]
    fn no_more_than_max_are_alive_and_a_double_return_frees_nothing() {
        let mut leases = Leases::default();
        let first = leases.take(NOW, 2, Millis(10)).unwrap();
        let second = leases.take(NOW, 2, Millis(30)).unwrap();
        assert_eq!(leases.take(NOW, 2, Millis(10)), Err(Millis(10)));
        assert!(leases.give_back(first));
        assert!(!leases.give_back(first));
        assert!(leases.take(NOW, 2, Millis(10)).is_ok());
        assert!(leases.take(NOW, 2, Millis(10)).is_err());
        assert!(leases.give_back(second));
    }

    #[test]
    fn expired_leases_are_known_for_as_long_as_there_is_room() {
        let mut leases = Leases::default();
        let first = leases.take(NOW, 1, Millis(10)).unwrap();
        for nth in 1..=REMEMBERED_MAX as u64 {
            let now = NOW + Millis(10 * nth);
            assert_eq!(leases.check(now, 1), Ok(()));
            leases.take(now, 1, Millis(10)).unwrap();
            assert!(leases.check(now, 1).is_err(), "what is remembered does not count, what is alive does");
        }
        assert!(leases.clone().give_back(first), "its place was taken, and it is known all the same");
        leases.take(NOW + Millis(1_000_000), 1, Millis(10)).unwrap();
        assert!(!leases.give_back(first), "the first to expire is the first to be forgotten");
        assert_eq!(leases.entries.len(), REMEMBERED_MAX + 1);
    }
}
