//! Several limits that are asked together: all of them have room, or nothing is taken of any.

use serde::{Deserialize, Serialize};

use super::{Bucket, Quota, Reservation};
use crate::concurrency::{Slot, Slots};
use crate::config::Limits;
use crate::time::{Millis, Timestamp};

/// What `rpm` and `tpm` are per.
const MINUTE: Millis = Millis::from_secs(60);

/// When one of those under way may be over: nobody knows, so whoever asks looks again soon.
const SLOT_RETRY: Millis = Millis(200);

/// What a client, a key or a target may use.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Allowance {
    requests: Option<Bucket>,
    tokens: Option<Bucket>,
    slots: Option<(u64, Slots)>,
}

/// What a limit is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dimension {
    /// Requests a minute.
    Requests,
    /// Tokens a minute.
    Tokens,
    /// Requests at once.
    Concurrency,
    /// Money, of which other gateways have a part.
    Money,
}

/// There is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AtLimit {
    /// Of what.
    pub what: Dimension,
    /// Until there may be.
    pub retry_in: Millis,
}

/// Room that one request has taken of all limits.
#[derive(Debug, Default, PartialEq, Eq)]
#[must_use = "what is not settled counts as used"]
pub struct Hold {
    requests: Option<Reservation>,
    tokens: Option<Reservation>,
    slot: Option<Slot>,
}

/// What one request is expected to take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Need {
    /// Tokens of the prompt.
    pub input: u64,
    /// Tokens of the answer.
    pub output: u64,
    /// Whose money it is, as an index into the config's clients.
    pub client: Option<usize>,
    /// Which of several keys is to be used, where they are drawn by their weights: any number is as good as another.
    pub draw: u64,
}

impl Need {
    /// Tokens of both kinds.
    pub fn tokens(&self) -> u64 {
        self.input.saturating_add(self.output)
    }
}

/// What a request that is over has used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// Nothing: it was never sent.
    Nothing,
    /// One request, and so many tokens.
    Tokens(u64),
    /// One request, and nobody says how many tokens: as many as were reserved.
    Unknown,
}

/// What there is of a limit, as headers and pages tell it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Room {
    /// So much at most.
    pub limit: u64,
    /// So much now.
    pub remaining: u64,
    /// Until all of it may be used again.
    pub reset_in_ms: Millis,
}

impl Allowance {
    /// Nothing has been used.
    pub fn new(limits: &Limits) -> Self {
        let bucket =
            |amount: Option<u32>| amount.map(|amount| Bucket::new(Quota { amount: amount.into(), period: MINUTE }));
        Self {
            requests: bucket(limits.rpm),
            tokens: bucket(limits.tpm),
            slots: limits.concurrency.map(|most| (most.into(), Slots::default())),
        }
    }

    /// Whether there is nothing to ask.
    pub fn is_unlimited(&self) -> bool {
        self.requests.is_none() && self.tokens.is_none() && self.slots.is_none()
    }

    /// Whether one request of so many tokens has room; if not, by which limit it has to wait the longest. Changes nothing.
    pub fn check(&self, now: Timestamp, tokens: u64) -> Result<(), AtLimit> {
        let refusal = |bucket: &Option<Bucket>, amount, what| {
            let retry_in = bucket.as_ref()?.check(now, amount).err()?;
            Some(AtLimit { what, retry_in })
        };
        let is_full = self.slots.as_ref().is_some_and(|(most, slots)| slots.taken(now) >= *most);
        let refusals = [
            refusal(&self.requests, 1, Dimension::Requests),
            refusal(&self.tokens, tokens, Dimension::Tokens),
            is_full.then_some(AtLimit { what: Dimension::Concurrency, retry_in: SLOT_RETRY }),
        ];
        match refusals.into_iter().flatten().max_by_key(|refusal| refusal.retry_in) {
            Some(refusal) => Err(refusal),
            None => Ok(()),
        }
    }

    /// Takes room for one request of so many tokens. It is given back after `lasts`, if nobody does before.
    pub fn take(&mut self, now: Timestamp, tokens: u64, lasts: Millis) -> Result<Hold, AtLimit> {
        self.check(now, tokens)?;
        let reserve = |bucket: &mut Option<Bucket>, amount| {
            let reservation = bucket.as_mut()?.reserve(now, amount, lasts);
            Some(reservation.expect("all limits have just said that there is room"))
        };
        Ok(Hold {
            requests: reserve(&mut self.requests, 1),
            tokens: reserve(&mut self.tokens, tokens),
            slot: self.slots.as_mut().map(|(_, slots)| slots.take(now, lasts, 0)),
        })
    }

    /// Says what became of the room that a request took.
    pub fn settle(&mut self, now: Timestamp, hold: Hold, used: Use) {
        if let (Some(bucket), Some(reservation)) = (&mut self.requests, hold.requests) {
            bucket.settle(now, reservation, u64::from(used != Use::Nothing));
        }
        if let (Some(bucket), Some(reservation)) = (&mut self.tokens, hold.tokens) {
            let tokens = match used {
                Use::Nothing => 0,
                Use::Tokens(tokens) => tokens,
                Use::Unknown => reservation.amount,
            };
            bucket.settle(now, reservation, tokens);
        }
        if let (Some((_, slots)), Some(slot)) = (&mut self.slots, hold.slot) {
            slots.give_back(slot);
        }
    }

    /// The limits that drain.
    pub(crate) fn buckets(&mut self) -> [(Dimension, Option<&mut Bucket>); 2] {
        [(Dimension::Requests, self.requests.as_mut()), (Dimension::Tokens, self.tokens.as_mut())]
    }

    /// What there is of requests and of tokens.
    pub fn room(&self, now: Timestamp) -> [(Dimension, Option<Room>); 2] {
        let room = |bucket: &Option<Bucket>| {
            let bucket = bucket.as_ref()?;
            let (limit, remaining) = (bucket.quota().amount, bucket.remaining(now));
            Some(Room { limit, remaining, reset_in_ms: bucket.full_in(now) })
        };
        [(Dimension::Requests, room(&self.requests)), (Dimension::Tokens, room(&self.tokens))]
    }

    /// Requests under way, where they are limited, and how many there may be.
    pub fn under_way(&self, now: Timestamp) -> Option<(u64, u64)> {
        self.slots.as_ref().map(|(most, slots)| (slots.taken(now), *most))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_000_000);
    const LONG: Millis = Millis(600_000);

    fn allowance(rpm: u32, tpm: u32, concurrency: u32) -> Allowance {
        Allowance::new(&Limits { rpm: Some(rpm), tpm: Some(tpm), concurrency: Some(concurrency) })
    }

    fn remaining(allowance: &Allowance, now: Timestamp) -> [u64; 2] {
        allowance.room(now).map(|(_, room)| room.unwrap().remaining)
    }

    #[test]
    fn all_are_asked_and_none_is_charged_where_one_refuses() {
        let mut allowance = allowance(10, 100, 2);
        let hold = allowance.take(NOW, 80, LONG).unwrap();
        let refused = allowance.take(NOW, 30, LONG).unwrap_err();
        assert_eq!(refused, AtLimit { what: Dimension::Tokens, retry_in: Millis(6000) });
        assert_eq!((remaining(&allowance, NOW), allowance.under_way(NOW)), ([9, 20], Some((1, 2))));
        let _second = allowance.take(NOW, 10, LONG).unwrap();
        let refused = allowance.check(NOW, 1).unwrap_err();
        assert_eq!(refused.what, Dimension::Concurrency);
        allowance.settle(NOW, hold, Use::Tokens(50));
        assert_eq!((remaining(&allowance, NOW), allowance.under_way(NOW)), ([8, 40], Some((1, 2))));
    }

    #[test]
    fn what_was_never_sent_leaves_no_trace_and_what_nobody_counts_is_taken_as_reserved() {
        let mut allowance = allowance(10, 100, 2);
        let hold = allowance.take(NOW, 80, LONG).unwrap();
        allowance.settle(NOW, hold, Use::Nothing);
        assert_eq!((remaining(&allowance, NOW), allowance.under_way(NOW)), ([10, 100], Some((0, 2))));
        let hold = allowance.take(NOW, 80, LONG).unwrap();
        allowance.settle(NOW, hold, Use::Unknown);
        assert_eq!((remaining(&allowance, NOW), allowance.under_way(NOW)), ([9, 20], Some((0, 2))));
    }

    #[test]
    fn a_slot_that_is_never_given_back_is_free_in_time() {
        let mut allowance = allowance(10, 100, 1);
        let _lost = allowance.take(NOW, 1, Millis(5000)).unwrap();
        assert!(allowance.check(NOW + Millis(4999), 1).is_err());
        assert!(allowance.check(NOW + Millis(5000), 1).is_ok());
    }

    #[test]
    fn a_request_takes_its_prompt_and_its_answer() {
        let need = Need { input: 30, output: 12, ..Need::default() };
        assert_eq!(need.tokens(), 42);
        assert_eq!(Need { output: u64::MAX, ..need }.tokens(), u64::MAX);
    }

    #[test]
    fn nothing_limited_is_nothing_to_ask() {
        let mut free = Allowance::new(&Limits::default());
        assert!(free.is_unlimited());
        for one in [
            Limits { rpm: Some(1), ..Limits::default() },
            Limits { tpm: Some(1), ..Limits::default() },
            Limits { concurrency: Some(1), ..Limits::default() },
        ] {
            assert!(!Allowance::new(&one).is_unlimited(), "{one:?}");
        }
        assert_eq!(free.take(NOW, u64::MAX, LONG), Ok(Hold::default()));
    }
}
