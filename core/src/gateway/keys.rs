//! Which of a vendor's keys an attempt is sent with, and which are left alone.

use http::HeaderMap;
use http::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, HeaderValue, USER_AGENT};

use super::{Gateway, Permit, Settlement};
use crate::classify::Outcome;
use crate::config::{Key, KeyId, TargetId, Vendor};
use crate::dialect::Dialect;
use crate::dialect::headers::{ANTHROPIC_VERSION, ANTHROPIC_VERSION_2023, X_API_KEY, X_GOOG_API_KEY};
use crate::limit::Need;
use crate::notice::Notice;
use crate::rng::Rng;
use crate::route::Rejection;
use crate::time::{Millis, Timestamp};

/// How long a throttled key rests when its vendor does not say: the five seconds that the field's write-ups use.
pub(super) const THROTTLE_DEFAULT: Millis = Millis::from_secs(5);

/// A throttled key rests for at least this long, even if its vendor says zero: it has just refused a request.
pub(super) const THROTTLE_MIN: Millis = Millis(100);

impl Gateway {
    /// The headers that an attempt is sent with: all of them, the vendor's key included.
    pub fn headers_for(&self, permit: &Permit) -> HeaderMap {
        self.headers[self.config.target(permit.target).vendor.0][permit.key.0].clone()
    }

    /// How many of a target's keys can be used now, for status pages.
    pub(crate) fn usable_keys(&self, now: Timestamp, id: TargetId) -> usize {
        self.key_rests(now, id, &Need::default()).filter(|(_, rest)| rest.is_none()).count()
    }

    /// A key that is neither refused by its vendor, nor throttled on this target, nor at a limit of its own: the first in
    /// the config's order, or one drawn by their weights where they have any.
    pub(super) fn usable_key(&self, now: Timestamp, id: TargetId, need: &Need) -> Result<KeyId, Rejection> {
        let keys = &self.config.vendor_of(id).keys;
        let has_weights = keys.iter().any(|key| key.weight.is_some());
        if has_weights && let Some(key) = self.drawn_key(now, id, need) {
            return Ok(key);
        }
        let mut rejection: Option<Rejection> = None;
        for (key, rest) in self.key_rests(now, id, need) {
            let Some(rest) = rest else { return Ok(key) };
            // What comes back by itself is better news than what its vendor refuses, and soon better than late.
            let badness = |why: &Rejection| (matches!(why, Rejection::NoCredential { .. }), why.retry_in());
            rejection = Some(match rejection {
                Some(better) if badness(&better) <= badness(&rest) => better,
                _ => rest,
            });
        }
        Err(rejection.expect("a vendor has at least one key"))
    }

    /// One of the keys that can be used, in proportion to their weights. `None`: there is none.
    fn drawn_key(&self, now: Timestamp, id: TargetId, need: &Need) -> Option<KeyId> {
        let keys = &self.config.vendor_of(id).keys;
        let usable = self.key_rests(now, id, need).filter(|(_, rest)| rest.is_none());
        let weighted = usable.map(|(key, _)| (key, u64::from(keys[key.0].weight.unwrap_or(1))));
        Rng::from_seed(need.draw).draw(weighted)
    }

    /// Each key of a target, and why it cannot be used now.
    fn key_rests(
        &self,
        now: Timestamp,
        id: TargetId,
        need: &Need,
    ) -> impl Iterator<Item = (KeyId, Option<Rejection>)> + Clone {
        let quarantines = &self.quarantines[self.config.target(id).vendor.0];
        let gates = &self.targets[id.0].gates;
        quarantines.iter().zip(gates).enumerate().map(move |(key, (quarantine, gate))| {
            let rest = if *quarantine > now {
                Some(Rejection::NoCredential { retry_in_ms: now.until(*quarantine) })
            } else if *gate > now {
                Some(Rejection::RateLimited { retry_in_ms: now.until(*gate) })
            } else {
                self.key_limit(now, id, KeyId(key), need)
            };
            (KeyId(key), rest)
        })
    }

    /// How long a throttled key rests when its vendor does not say. Where attempts are limited, fewer are under way from
    /// now on, so that the rest need not do it; unless there were none to spare.
    fn throttle_default(&self, id: TargetId) -> Millis {
        match (&self.targets[id.0].limiter, &self.config.target(id).concurrency) {
            (Some(limiter), Some(policy)) if !limiter.is_at_floor(policy) => THROTTLE_MIN,
            _ => THROTTLE_DEFAULT,
        }
    }

    /// What an attempt's end says of the key that it was made with.
    pub(super) fn heed_key(&mut self, now: Timestamp, id: TargetId, key: KeyId, settlement: &Settlement) {
        match (settlement.outcome, settlement.used_up) {
            (Outcome::RateLimited(hint), _) => {
                let wait = hint.unwrap_or_else(|| self.throttle_default(id));
                self.throttle(now, id, key, wait.max(THROTTLE_MIN));
            }
            (Outcome::CredentialFault, _) => self.quarantine(now, id, key, settlement.quarantine),
            (_, Some(until)) if until > now => self.throttle(now, id, key, now.until(until)),
            _ => {}
        }
    }

    fn throttle(&mut self, now: Timestamp, id: TargetId, key: KeyId, wait: Millis) {
        let gate = &mut self.targets[id.0].gates[key.0];
        // Only ever later: a shorter hint that arrives late must not reopen it.
        *gate = (*gate).max(now + wait);
        let target = self.config.target(id);
        let name = self.config.vendors[target.vendor.0].keys[key.0].name.clone();
        self.notify(Notice::KeyThrottled { target: target.name.clone(), key: name, for_ms: wait });
    }

    fn quarantine(&mut self, now: Timestamp, id: TargetId, key: KeyId, wait: Millis) {
        let vendor = self.config.target(id).vendor;
        let quarantine = &mut self.quarantines[vendor.0][key.0];
        *quarantine = (*quarantine).max(now + wait);
        let vendor = &self.config.vendors[vendor.0];
        let (vendor, key) = (vendor.name.clone(), vendor.keys[key.0].name.clone());
        self.notify(Notice::KeyQuarantined { vendor, key, for_ms: wait });
    }
}

/// What every request to a vendor carries, by [`KeyId`].
pub(super) fn vendor_headers(vendor: &Vendor) -> Vec<HeaderMap> {
    vendor.keys.iter().map(|key| request_headers(vendor.dialect, key)).collect()
}

fn request_headers(dialect: Dialect, key: &Key) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(8);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
    // Where nothing is said of it, any compression would do.
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    headers.insert(USER_AGENT, HeaderValue::from_static(concat!("tidegate/", env!("CARGO_PKG_VERSION"))));
    if dialect == Dialect::Anthropic {
        headers.insert(ANTHROPIC_VERSION, ANTHROPIC_VERSION_2023);
    }
    if let Some(secret) = &key.secret {
        let (name, value) = match dialect {
            Dialect::OpenAi => (AUTHORIZATION, format!("Bearer {}", secret.expose())),
            Dialect::Anthropic => (X_API_KEY, secret.expose().to_owned()),
            Dialect::Gemini => (X_GOOG_API_KEY, secret.expose().to_owned()),
        };
        let mut value =
            HeaderValue::from_str(&value).expect("the config refuses secrets that cannot stand in a header");
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    headers
}
