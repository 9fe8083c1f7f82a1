//! A recording, lived through again: the same requests at the same times, and vendors that do what they did.
//!
//! With the configuration that it was made with, the same decisions are made, which proves that nothing decides but what is
//! recorded. With another, what would have been decided shows; of a target that was not asked then, what it did for the
//! request nearest in time is taken for what it would have done.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::json;

use super::port::SimPort;
use super::script::Script;
use super::stage::{Client, Due, Stage, Turn};
use super::{RequestId, World};
use crate::config::{Config, Target, TargetId};
use crate::dialect::{Request, Surface};
use crate::drive::{Port as _, drive};
use crate::exchange::Exchange;
use crate::hints::MayQueue;
use crate::queue::Submission;
use crate::record::{Account, Attempt, How, Recording};
use crate::route::{self, Asker, Rejection};
use crate::time::{Millis, Timestamp};

mod report;

pub use report::{Difference, Report, Totals};

/// What is known of the past, while it is lived through again.
pub(super) struct Past {
    requests: BTreeMap<RequestId, Lived>,
    /// By target, in the order of time: what it did, and when it was asked.
    deeds: Vec<Vec<(Timestamp, Arc<Attempt>)>>,
    /// What each attempt of a request, in the order of sending, was taken to do; none where nothing is known.
    pub(super) played: BTreeMap<RequestId, Vec<Option<Arc<Attempt>>>>,
}

/// What is known of one request.
#[derive(Default)]
struct Lived {
    /// When it had the gateway, and in which turn.
    turns: Vec<(Timestamp, u64)>,
    /// What its attempts did that have not been made again.
    deeds: VecDeque<(TargetId, Arc<Attempt>)>,
    /// In which turn the last attempt that has been made again was sent.
    sent_turn: u64,
}

impl Past {
    fn of(recording: &Recording, config: &Config) -> Self {
        let by_name: BTreeMap<&str, TargetId> =
            config.targets.iter().enumerate().map(|(index, target)| (target.name.as_str(), TargetId(index))).collect();
        let mut deeds = vec![Vec::new(); config.targets.len()];
        let mut requests = BTreeMap::new();
        for (index, account) in recording.requests.iter().enumerate() {
            let mut lived = Lived::default();
            for attempt in &account.attempts {
                lived.turns.push((account.at_ms + attempt.sent_ms, attempt.sent_turn));
                lived.turns.push((account.at_ms + attempt.ended_ms, attempt.ended_turn));
                let Some(target) = by_name.get(attempt.target.as_str()) else { continue };
                let attempt = Arc::new(attempt.clone());
                // What was given up says nothing about what would have come.
                if attempt.outcome != "neutral" {
                    deeds[target.0].push((account.at_ms + attempt.sent_ms, Arc::clone(&attempt)));
                }
                lived.deeds.push_back((*target, attempt));
            }
            lived.turns.sort_unstable();
            requests.insert(RequestId(index), lived);
        }
        for deeds in &mut deeds {
            deeds.sort_by_key(|(at, _)| *at);
        }
        Self { requests, deeds, played: BTreeMap::new() }
    }

    /// The turn that a request had at this moment, after it had sent what it has sent so far.
    pub(super) fn turn(&self, id: RequestId, at: Timestamp) -> Option<u64> {
        let Lived { turns, sent_turn, .. } = self.requests.get(&id)?;
        let then =
            turns[turns.partition_point(|(known, _)| *known < at)..].iter().take_while(|(known, _)| *known == at);
        then.map(|(_, turn)| *turn).find(|turn| turn > sent_turn)
    }

    /// What a target does with an attempt: what it did then, or else what it did for another at about that time.
    pub(super) fn script(&mut self, id: RequestId, target: TargetId, now: Timestamp) -> Option<Script> {
        let own = self.requests.get_mut(&id).and_then(|lived| {
            let place = lived.deeds.iter().position(|(asked, _)| *asked == target)?;
            let attempt = lived.deeds.remove(place).map(|(_, attempt)| attempt)?;
            lived.sent_turn = attempt.sent_turn;
            Some(attempt)
        });
        let deed = own.or_else(|| self.nearest(target, now));
        self.played.entry(id).or_default().push(deed.clone());
        deed.map(Script::replay)
    }

    fn nearest(&self, target: TargetId, now: Timestamp) -> Option<Arc<Attempt>> {
        let deeds = &self.deeds[target.0];
        let after = deeds.partition_point(|(at, _)| *at < now);
        let around = deeds[after.saturating_sub(1)..].iter().take(2);
        let nearest = around.min_by_key(|(at, _)| at.since(now).0.max(now.since(*at).0));
        nearest.map(|(_, attempt)| Arc::clone(attempt))
    }
}

/// Lives through a recording again, as `config` would have it.
pub fn replay(recording: &Recording, mut config: Config) -> Report {
    // Every record is wanted in the end.
    config.server.records = u32::try_from(recording.requests.len()).unwrap_or(u32::MAX);
    let past = Past::of(recording, &config);
    let mut world = World::again(config, recording, past);
    let mut order: Vec<usize> = (0..recording.requests.len()).collect();
    order.sort_by_key(|index| {
        let account = &recording.requests[*index];
        (begun_at(account), account.attempts.first().map(|attempt| attempt.sent_turn))
    });
    let mut refused = BTreeMap::new();
    for index in order {
        let account = &recording.requests[index];
        // What is due at the moment of its coming comes before it or after it, as it did then.
        world.live_until(begun_at(account) - Millis(1));
        if let Err(why) = world.ask_again(RequestId(index), account) {
            refused.insert(index, why);
        }
    }
    world.live_until(Timestamp::MAX);
    let stage = world.stage.borrow();
    report::compare(recording, &stage, &refused)
}

/// When a request first asked for anything. From its coming until then it was read, which takes a moment, and others may have
/// had theirs in between.
fn begun_at(account: &Account) -> Timestamp {
    let first = account.attempts.first().map_or(Millis::ZERO, |attempt| attempt.sent_ms);
    let has_paused = account.pauses.iter().any(|pause| pause.at_ms <= first);
    account.at_ms + if has_paused { Millis::ZERO } else { first }
}

impl World {
    fn again(config: Config, recording: &Recording, past: Past) -> Self {
        let mut stage = Stage::begin(config, recording.header.seed, recording.header.started_at_ms);
        stage.past = Some(past);
        // Its jobs were run then, and are among what is recorded.
        stage.jobs = None;
        Self::with(stage)
    }

    /// Lets everything happen that is due until then. What clients were told is not wanted.
    fn live_until(&mut self, until: Timestamp) {
        while self.step(until) {
            let ended = self.stage.borrow_mut().ended.pop_front();
            ended.and_then(|id| self.take_answer(id));
        }
    }

    /// Has a request come once more when it came then. What it asked for beyond that is known by who could not do it.
    fn ask_again(&mut self, id: RequestId, account: &Account) -> Result<(), String> {
        let mut stage = self.stage.borrow_mut();
        let config = Arc::clone(stage.gateway.config());
        let surface = Surface::ALL.into_iter().find(|surface| surface.path() == account.api);
        let surface = surface.ok_or_else(|| format!("there is no API at {}", account.api))?;
        let client = config.clients.iter().position(|client| Some(&client.name) == account.client.as_ref());
        let hints = account.hints.clone().unwrap_or_default();
        let mut request = Request::read(surface, body(surface, account)).map_err(|bad| bad.message)?;
        let asker = Asker { client, kind: surface.into(), now: account.at_ms };
        let mut plan = route::plan(&config, asker, &account.model, &hints).map_err(|error| error.message)?;
        plan.basis.stick = account.stick;
        account.weight.into_iter().for_each(|weight| request.presume_weight(weight));
        request.wants_usage |= hints.wants_usage;
        let request_id = account.request_id.clone();
        let mut exchange = Exchange::new(config, account.at_ms, request_id, request, plan);
        exchange.note_asker(client, hints);
        if account.hints.as_ref().is_some_and(|hints| hints.queue == Some(MayQueue::Was)) {
            exchange.note_job();
        } else if account.ending.how == How::Queued {
            exchange.allow_queue(Some(Submission::again(surface, &account.model)));
        }
        if account.ending.how == How::Cached {
            let named = |target: &Target| Some(&target.name) == account.ending.target.as_ref();
            let target = stage.gateway.config().targets.iter().position(named);
            if let Some(target) = target {
                exchange.presume_kept(&mut stage.gateway, TargetId(target));
            }
        }
        for passed in &account.passed_over {
            // To go on from a beginning is asked of a target only once another has begun.
            if let Rejection::Unsupported { what } = &passed.why
                && what != "prefill"
            {
                exchange.presume(&passed.target, &passed.why);
            }
        }
        stage.clients.insert(id, Client::new(account.at_ms));
        stage.wake(id, begun_at(account));
        if account.ending.how == How::ClientGone {
            stage.plan(account.at_ms + account.ending.at_ms, Turn::Arrival, Due::Leave(id));
        }
        drop(stage);
        let mut port = SimPort::new(Rc::clone(&self.stage), id);
        let running = async move {
            let now = port.now();
            port.with_gateway(|gateway| gateway.note_request(now));
            drive(&mut port, Box::new(exchange)).await;
        };
        self.running.insert(id, Box::pin(running));
        Ok(())
    }
}

/// The least that can be asked on a surface.
fn body(surface: Surface, account: &Account) -> Bytes {
    let said = json!([{"role": "user", "content": "again"}]);
    let (model, stream) = (&account.model, account.stream);
    let body = match surface {
        Surface::Chat => json!({"model": model, "messages": said, "stream": stream}),
        Surface::Completions => json!({"model": model, "prompt": "again", "stream": stream}),
        Surface::Responses => json!({"model": model, "input": "again", "stream": stream}),
        Surface::Embeddings => json!({"model": model, "input": "again"}),
        Surface::Messages => json!({"model": model, "messages": said, "max_tokens": 1000, "stream": stream}),
        Surface::CountTokens => json!({"model": model, "messages": said}),
    };
    body.to_string().into()
}

#[cfg(test)]
mod tests;
