//! Swarms: random configurations, vendors and clients, and what must hold whatever they are.
//!
//! A seed settles everything. First comes a storm: vendors fail in the ways that this seed has picked, while clients come
//! and go, and at every step the rules are checked (safety). Then everything heals, and within a stated time all must be
//! as it should be (liveness). After `TigerBeetle`'s VOPR, and Groce and others, "Swarm Testing" (2012): a seed leaves out
//! about half of the faults, because one fault often hides another.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use http::header::{HeaderMap, HeaderName, HeaderValue};

use super::{BEGINNING, RequestId, Sdk, World};
use crate::breaker::State;
use crate::chance::exponential;
use crate::config::{BreakerId, Config, Exhausted, Name, ProbeKind, RetryPolicy, Route, Strategy, TargetId};
use crate::dialect::Surface;
use crate::health;
use crate::reply::{ATTEMPTS, TARGET};
use crate::rng::Rng;
use crate::time::{Millis, Timestamp};

mod books;
mod judge;
mod terms;
mod weather;

use books::Books;
use judge::judge;
use terms::terms;
use weather::Weather;

/// Lines of the story that a failure is told with.
const TAIL_LINES: usize = 40;

/// How long a storm lasts.
const STORM: Millis = Millis::from_secs(60);

/// Between two requests to a target that is to recover.
const PROBE_PAUSE: Millis = Millis(1000);

/// What a seed has met, so that a test can tell whether all of it is worth anything.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Met {
    /// Requests of clients, their SDKs' retries included.
    pub requests: u32,
    /// Those that were served in whole.
    pub served: u32,
    /// Those that ended in an error, before or within a stream.
    pub refused: u32,
    /// Clients that hung up.
    pub gone: u32,
    /// Breakers that opened.
    pub opened: u32,
    /// Requests that had a second attempt beside the first.
    pub hedged: u32,
    /// Streams that another vendor went on with.
    pub rescued: u32,
}

/// Lives through a seed.
///
/// # Errors
///
/// What went wrong, the end of the story, and the line that replays it.
pub fn swarm(seed: u64) -> Result<Met, String> {
    let mut swarm = Swarm::new(seed);
    // What is wrong shows as a panic, here or deep within a world: only here is it known how to replay it.
    let lived = catch_unwind(AssertUnwindSafe(|| swarm.live()));
    lived.map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default();
        let story = swarm.world.story();
        let tail = story[story.len().saturating_sub(TAIL_LINES)..].join("\n");
        format!("{text}\n{tail}\nTIDEGATE_SEED={seed} cargo test -p tidegate-core --lib swarm::tests::replay")
    })
}

/// A world with all that stirs it.
struct Swarm {
    rng: Rng,
    world: World,
    weather: Weather,
    targets: Vec<String>,
    /// What clients put in `model`, with the terms of each.
    models: Vec<(String, RetryPolicy)>,
    agenda: BTreeMap<(Timestamp, u64), Turn>,
    turns: u64,
    books: Books,
    /// Calls whose answers are awaited.
    calls: BTreeMap<RequestId, Call>,
    met: Met,
}

/// What stirs the world from outside.
enum Turn {
    /// A client asks, and another comes after it.
    Arrival,
    /// A client's SDK asks once more.
    Retry(Call),
    /// A client hangs up, as the native server sees it.
    HangUp(RequestId),
    /// A client hangs up, as the worker sees it.
    Leave(RequestId),
    /// A target's weather changes.
    Weather(usize),
}

/// What a client asks for.
#[derive(Debug, Clone)]
struct Call {
    /// Which of the models.
    model: usize,
    surface: Surface,
    stream: bool,
    retried: u32,
}

impl Swarm {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::from_seed(seed);
        let config = terms(&mut rng);
        let weather = Weather::new(&mut rng);
        let models = config.names.iter().map(|(name, stands_for)| {
            let retry = match stands_for {
                Name::Route(id) => config.routes[id.0].retry,
                Name::Target(id) => config.target(*id).retry,
            };
            (name.clone(), retry)
        });
        Self {
            models: models.collect(),
            targets: config.targets.iter().map(|target| target.name.clone()).collect(),
            world: World::new(config, rng.next_u64()),
            rng,
            weather,
            agenda: BTreeMap::new(),
            books: Books::default(),
            turns: 0,
            calls: BTreeMap::new(),
            met: Met::default(),
        }
    }

    fn live(&mut self) -> Met {
        let storm_ends_at = BEGINNING + STORM;
        self.plan(Millis::ZERO, Turn::Arrival);
        for target in 0..self.targets.len() {
            let after = Millis(self.rng.below(5000));
            self.plan(after, Turn::Weather(target));
        }
        while let Some(entry) = self.agenda.first_entry().filter(|entry| entry.key().0 < storm_ends_at) {
            let ((at, _), turn) = entry.remove_entry();
            self.pass(at);
            self.turn(turn);
        }
        self.agenda.clear();
        let config = Arc::clone(self.world.gateway().config());
        // Only these end an open time early.
        let hastens = config.routes.iter().any(|route| route.exhausted == Exhausted::Soonest)
            || config.targets.iter().any(|target| target.health.probe != ProbeKind::None);
        assert!(hastens || self.world.stage.borrow().referee.hastened == 0, "open times are waited for");
        self.heal(&config);
        self.met.opened = self.count(" open ");
        let stage = self.world.stage.borrow();
        Met { hedged: stage.referee.hedged, rescued: stage.referee.rescued, ..self.met }
    }

    // === The storm ===

    fn turn(&mut self, turn: Turn) {
        match turn {
            Turn::Arrival => {
                let model = self.pick(self.models.len());
                let surface = if self.rng.below(4) == 0 { Surface::Messages } else { Surface::Chat };
                let stream = self.rng.below(2) == 0;
                let id = self.ask(Call { model, surface, stream, retried: 0 });
                if self.rng.below(8) == 0 {
                    let stays = Millis(exponential(&mut self.rng, 800));
                    let turn = if self.rng.below(2) == 0 { Turn::HangUp(id) } else { Turn::Leave(id) };
                    self.plan(stays, turn);
                }
                let pause = exponential(&mut self.rng, self.weather.arrival_pause_ms);
                self.plan(Millis(pause), Turn::Arrival);
            }
            Turn::Retry(call) => drop(self.ask(call)),
            Turn::HangUp(id) => {
                self.met.gone += u32::from(self.calls.remove(&id).is_some());
                self.world.hang_up(id);
            }
            Turn::Leave(id) => {
                self.met.gone += u32::from(self.calls.remove(&id).is_some());
                self.world.leave(id);
            }
            Turn::Weather(target) => {
                let profile = self.weather.next(&mut self.rng);
                self.world.behaves(&self.targets[target], profile);
                let pause = exponential(&mut self.rng, self.weather.change_pause_ms);
                self.plan(Millis(pause), Turn::Weather(target));
            }
        }
        self.check();
    }

    fn ask(&mut self, call: Call) -> RequestId {
        let (model, stream) = (&self.models[call.model].0, call.stream);
        let messages = r#""messages":[{"role":"user","content":"hi"}]"#;
        let body = match call.surface {
            Surface::Messages => format!(r#"{{"model":"{model}","max_tokens":99,"stream":{stream},{messages}}}"#),
            _ if stream => {
                format!(r#"{{"model":"{model}","stream":true,"stream_options":{{"include_usage":true}},{messages}}}"#)
            }
            _ => format!(r#"{{"model":"{model}",{messages}}}"#),
        };
        let retried = (HeaderName::from_static("x-stainless-retry-count"), HeaderValue::from(call.retried));
        let urgency = HeaderValue::from(1 + self.rng.below(5));
        let headers = HeaderMap::from_iter([retried, (HeaderName::from_static("x-tidegate-priority"), urgency)]);
        let surface = call.surface;
        self.met.requests += 1;
        let id = self.world.ask_with(surface, headers, body);
        self.calls.insert(id, call);
        id
    }

    /// Lets the world go on until this moment, step by step.
    fn pass(&mut self, until: Timestamp) {
        while self.world.step(until) {
            self.check();
        }
        let mut stage = self.world.stage.borrow_mut();
        stage.now = stage.now.max(until);
    }

    fn plan(&mut self, after: Millis, turn: Turn) {
        self.turns += 1;
        self.agenda.insert((self.world.now() + after, self.turns), turn);
    }

    // === The rules ===

    /// What holds at every step, beside what the world's referee watches.
    fn check(&mut self) {
        self.check_targets();
        let mut stage = self.world.stage.borrow_mut();
        let now = stage.now;
        self.books.check(now, &mut stage.gateway);
        drop(stage);
        let ended: Vec<RequestId> = self.world.stage.borrow_mut().ended.drain(..).collect();
        for id in ended {
            self.check_request(id);
        }
    }

    fn check_targets(&self) {
        let stage = self.world.stage.borrow();
        for id in (0..self.targets.len()).map(TargetId) {
            let (gateway, now, name) = (&stage.gateway, stage.now, &self.targets[id.0]);
            let tally = gateway.stats(id).tally();
            let live = stage.referee.live(id) as u64;
            assert_eq!(tally.attempts, tally.settled() + live, "each attempt at {name} is settled once: {tally:?}");
            let load = gateway.load(now, id);
            assert!(load.is_none_or(|load| load.in_flight == live), "{live} at {name}, by its slots {load:?}");
        }
        for (id, guard) in stage.gateway.config().breakers.iter().enumerate() {
            let breaker = stage.gateway.breaker(BreakerId(id));
            if breaker.state(stage.now) == State::Open {
                let refused = breaker.would_admit(stage.now, &guard.policy).expect_err("an open breaker refuses");
                assert!(refused.retry_in > Millis::ZERO, "{} says how long it refuses", guard.name);
                assert!(refused.retry_in <= guard.policy.open_max, "{} is open for {refused:?}", guard.name);
            }
        }
        for route in &stage.gateway.config().routes {
            let breakers = route.candidates.iter().map(|candidate| stage.gateway.breaker(candidate.breaker));
            let ejected = breakers.filter(|breaker| breaker.state(stage.now) != State::Closed).count();
            assert!(ejected <= route.ejected_max(), "{} can spare {}, not {ejected}", route.name, route.ejected_max());
        }
    }

    /// What holds once a request is over.
    fn check_request(&mut self, id: RequestId) {
        let record = self.world.stage.borrow_mut().client(id).record;
        // Whoever has hung up, or asks for itself, looks at no answer.
        let Some(call) = self.calls.remove(&id) else { return };
        let answer = self.world.take_answer(id).expect("it is over, and nobody has taken its answer");
        let (model, retry) = &self.models[call.model];
        let deadline = record.asked_at + retry.deadline;
        assert!(record.sent <= retry.attempts, "#{} on {model}: {} attempts", id.0, record.sent);
        assert!(record.sent == 0 || record.last_sent_at < deadline, "#{} is sent after its deadline", id.0);
        let began_at = answer.began_at.unwrap_or_else(|| panic!("#{} is left without an answer", id.0));
        assert!(began_at <= deadline, "#{} is answered after its deadline", id.0);
        assert!(record.ended_at.is_some_and(|at| at <= deadline + terms::TOTAL), "#{} outlives its limits", id.0);
        let whole =
            judge(&answer, call.surface, call.stream).unwrap_or_else(|wrong| panic!("#{}: {wrong}\n{answer:?}", id.0));
        self.met.served += u32::from(whole);
        self.met.refused += u32::from(!whole);
        if !whole && !answer.streamed {
            let now = self.world.now();
            let again = Sdk::DEFAULT.retry_in(&mut self.rng, now, call.retried, answer.status, &answer.headers);
            if let Some(pause) = again {
                self.plan(pause, Turn::Retry(Call { retried: call.retried + 1, ..call }));
            }
        }
    }

    // === After the storm ===

    /// Everything heals, and is well again in time.
    fn heal(&mut self, config: &Config) {
        for target in &self.targets {
            self.world.behaves(target, weather::fair());
        }
        let limit = recovers_in(config);
        let until = self.world.now() + limit;
        while self.world.now() < until {
            // Each target is asked by its own name too, because a route may never come to its last candidates.
            for model in 0..self.models.len() {
                self.ask(Call { model, surface: Surface::Chat, stream: false, retried: 9 });
            }
            self.pass(self.world.now() + PROBE_PAUSE);
        }
        self.check();
        assert!(self.calls.is_empty(), "requests are left over: {:?}", self.calls);
        for (id, target) in config.targets.iter().enumerate() {
            let now = self.world.now();
            let stage = self.world.stage.borrow();
            let found = stage.gateway.breaker(BreakerId(id)).state(now);
            assert_eq!(found, State::Closed, "{} is {found:?} {limit} after it has healed", target.name);
            let keys = config.vendors[target.vendor.0].keys.len();
            assert_eq!(stage.gateway.usable_keys(now, TargetId(id)), keys, "keys of {} still rest", target.name);
            assert_eq!(stage.referee.live(TargetId(id)), 0, "{} has attempts left over", target.name);
        }
        for route in &config.routes {
            self.check_first_choice(config, route);
        }
    }

    /// A route asks its first candidate again, and is served at once.
    fn check_first_choice(&mut self, config: &Config, route: &Route) {
        let body = format!(r#"{{"model":"{}","messages":[{{"role":"user","content":"hi"}}]}}"#, route.name);
        let id = self.world.ask(Surface::Chat, body);
        self.pass(self.world.now() + PROBE_PAUSE);
        let answer = self.world.take_answer(id).expect("what is well answers within a second");
        assert_eq!(answer.header(ATTEMPTS.as_str()), "1", "{} is served at once: {answer:?}", route.name);
        let first = &config.target(route.candidates[0].target).name;
        let is_first = answer.header(TARGET.as_str()) == first;
        assert!(
            is_first || route.choices.usual.strategy != Strategy::Ordered,
            "{} is served by {first}: {answer:?}",
            route.name
        );
    }

    fn pick(&mut self, of: usize) -> usize {
        usize::try_from(self.rng.below(of as u64)).expect("below a length")
    }

    /// Lines of the story with these words.
    fn count(&self, words: &str) -> u32 {
        let lines = self.world.story().into_iter().filter(|line| line.contains(words));
        u32::try_from(lines.count()).unwrap_or(u32::MAX)
    }
}

/// The longest that anything may be shut off for, and what it takes to be let in again.
fn recovers_in(config: &Config) -> Millis {
    let quarantines = config.targets.iter().map(|target| target.retry.quarantine);
    let quarantines = quarantines.chain(config.routes.iter().map(|route| route.retry.quarantine));
    let breakers = config.breakers.iter().map(|guard| {
        let probing = Millis(PROBE_PAUSE.0 * u64::from(guard.policy.successes + 2));
        guard.policy.open_max + probing + guard.policy.ramp
    });
    let longest = quarantines.chain(breakers).max().unwrap_or_default();
    // What is thought of a target is no better than its last results, and asking it brings one at a time.
    let results = config.targets.iter().map(|target| match target.health.success_rate_permille {
        0 => target.health.healthy,
        _ => health::RECENT,
    });
    let results = results.max().unwrap_or_default();
    longest.max(weather::HINT_MAX) + Millis(PROBE_PAUSE.0 * u64::from(results)) + terms::TOTAL
}

#[cfg(test)]
mod tests;
