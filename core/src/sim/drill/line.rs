//! The two ways from a client to a vendor: through the gateway, and straight.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::status::StatusCode;

use super::Terms;
use crate::config::{Config, TargetId};
use crate::dialect::Surface;
use crate::dialect::openai::DONE;
use crate::price::{Picodollars, Tariff, Usage};
use crate::reply::{CANNED, TARGET};
use crate::sim::vendor::{Manner, Vendor};
use crate::sim::{BEGINNING, Profile, RequestId, Sdk, World};
use crate::time::Timestamp;

/// A client's call.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call {
    pub(super) asked_at: Timestamp,
    pub(super) stream: bool,
    /// How often its SDK has sent it again.
    pub(super) retried: u32,
}

/// How a call ended, as its client sees it.
pub(super) struct Ended {
    pub(super) call: Call,
    pub(super) at: Timestamp,
    /// When there was something to read.
    pub(super) first_at: Timestamp,
    /// None where no answer came at all.
    pub(super) status: Option<StatusCode>,
    pub(super) headers: HeaderMap,
    /// Whether a whole answer came from a model.
    pub(super) served_by: Option<TargetId>,
}

/// What clients can do, and what can be asked of it afterwards.
pub(super) trait Line {
    fn now(&self) -> Timestamp;
    fn ask(&mut self, call: Call);
    /// Lets time pass until a call ends, or until this moment.
    fn next_end(&mut self, until: Timestamp) -> Option<Ended>;
    fn behaves(&mut self, target: TargetId, profile: Profile);
    /// Attempts that have reached a target.
    fn attempts(&self, target: TargetId) -> u64;
    /// From now on it is watched whose breakers open.
    fn mark(&mut self);
    /// Attempts that had reached a target when its breaker opened for the first time since then.
    fn opened(&self, target: TargetId) -> Option<u64>;
    /// What all answers cost; none if that is not known.
    fn cost(&self) -> Option<Picodollars>;
}

/// Through Tidegate.
pub(super) struct Through {
    world: World,
    config: Arc<Config>,
    /// What clients send, plain and streamed.
    bodies: [Bytes; 2],
    calls: BTreeMap<RequestId, Call>,
}

impl Through {
    pub(super) fn new(mut config: Config, terms: &Terms) -> Self {
        // Everybody may call: a drill has nobody's key.
        config.clients.clear();
        let model = serde_json::Value::from(terms.model.as_str());
        let body = |stream: bool| {
            let messages = r#"[{"role":"user","content":"hi"}]"#;
            Bytes::from(format!(r#"{{"model":{model},"stream":{stream},"messages":{messages}}}"#))
        };
        let world = World::quiet(config, terms.seed);
        let config = Arc::clone(world.gateway().config());
        Self { world, config, bodies: [body(false), body(true)], calls: BTreeMap::new() }
    }
}

impl Line for Through {
    fn now(&self) -> Timestamp {
        self.world.now()
    }

    fn ask(&mut self, call: Call) {
        let count = (call.retried > 0)
            .then(|| (HeaderName::from_static("x-stainless-retry-count"), HeaderValue::from(call.retried)));
        let body = self.bodies[usize::from(call.stream)].clone();
        let id = self.world.ask_with(Surface::Chat, HeaderMap::from_iter(count), body);
        self.calls.insert(id, call);
    }

    fn next_end(&mut self, until: Timestamp) -> Option<Ended> {
        let id = self.world.next_end(until)?;
        let call = self.calls.remove(&id).expect("every request of the world is a call");
        let answer = self.world.take_answer(id).expect("it is over, and nobody has taken its answer");
        let at = self.world.now();
        let is_whole = answer.status == Some(StatusCode::OK)
            && !answer.headers.contains_key(CANNED)
            && (!answer.streamed || answer.body.ends_with(DONE));
        let name = answer.header(TARGET.as_str());
        let by = self.config.targets.iter().position(|target| target.name == name).map(TargetId);
        Some(Ended {
            call,
            at,
            first_at: answer.spoke_at.unwrap_or(at),
            status: answer.status,
            headers: answer.headers,
            served_by: by.filter(|_| is_whole),
        })
    }

    fn behaves(&mut self, target: TargetId, profile: Profile) {
        self.world.stage.borrow_mut().vendors[target.0].usual = Manner::Profile(profile);
    }

    fn attempts(&self, target: TargetId) -> u64 {
        self.world.stage.borrow().vendors[target.0].attempts
    }

    fn mark(&mut self) {
        self.world.stage.borrow_mut().referee.mark();
    }

    fn opened(&self, target: TargetId) -> Option<u64> {
        self.world.stage.borrow().referee.opened(target)
    }

    fn cost(&self) -> Option<Picodollars> {
        let gateway = self.world.gateway();
        let spent = (0..self.config.targets.len()).map(|id| gateway.spending(TargetId(id)));
        // What a dropped attempt cost is never known; it is little, and no reason to say nothing of the rest.
        let mut known = self.config.targets.iter().zip(spent).map(|(target, spending)| {
            let is_known = spending.unpriced == 0 || target.price.is_some();
            is_known.then_some(spending.known)
        });
        known.try_fold(Picodollars(0), |sum, known| Some(sum.plus(known?)))
    }
}

/// Straight at one target.
pub(super) struct Direct {
    now: Timestamp,
    target: TargetId,
    vendor: Vendor,
    price: Option<Tariff>,
    spent: Picodollars,
    /// Calls under way, by when they end.
    ends: BTreeMap<(Timestamp, u64), Ended>,
    asked: u64,
}

impl Direct {
    pub(super) fn new(config: &Config, target: TargetId, seed: u64) -> Self {
        Self {
            now: BEGINNING,
            target,
            vendor: Vendor::of_world(seed, target),
            price: config.target(target).price.clone(),
            spent: Picodollars(0),
            ends: BTreeMap::new(),
            asked: 0,
        }
    }
}

impl Line for Direct {
    fn now(&self) -> Timestamp {
        self.now
    }

    fn ask(&mut self, call: Call) {
        let told = self.vendor.take(self.now).directly(call.stream);
        // An answer that never ends is given up by the SDK.
        let after = told.ends_after.unwrap_or(Sdk::DEFAULT.timeout);
        let ended = Ended {
            call,
            at: self.now + after,
            first_at: self.now + told.first_after.unwrap_or(after),
            status: told.status,
            headers: told.headers,
            served_by: told.counts.map(|_| self.target),
        };
        if let (Some(price), Some((input, output))) = (&self.price, told.counts) {
            let usage = Usage { input: input.into(), output: output.into(), ..Usage::default() };
            self.spent = self.spent.plus(price.at(self.now).cost(usage).unwrap_or_default());
        }
        self.asked += 1;
        self.ends.insert((ended.at, self.asked), ended);
    }

    fn next_end(&mut self, until: Timestamp) -> Option<Ended> {
        let Some(entry) = self.ends.first_entry().filter(|entry| entry.key().0 <= until) else {
            self.now = self.now.max(until);
            return None;
        };
        let ended = entry.remove();
        self.now = ended.at;
        Some(ended)
    }

    fn behaves(&mut self, target: TargetId, profile: Profile) {
        if target == self.target {
            self.vendor.usual = Manner::Profile(profile);
        }
    }

    fn attempts(&self, target: TargetId) -> u64 {
        if target == self.target { self.vendor.attempts } else { 0 }
    }

    fn mark(&mut self) {}

    fn opened(&self, _: TargetId) -> Option<u64> {
        None
    }

    fn cost(&self) -> Option<Picodollars> {
        self.price.as_ref().map(|_| self.spent)
    }
}
