//! Any vendors, any events in any order, any clock: what no exchange ever does.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};
use proptest::prelude::*;

use super::*;
use crate::classify::Fault;
use crate::dialect::sse::Splitter;
use crate::dialect::{Request, Surface};
use crate::drive::{ATTEMPTS_AT_ONCE, Action, AttemptId, Event};
use crate::exchange::Exchange;
use crate::gateway::Gateway;
use crate::hints::Hints;
use crate::route;
use crate::sim::BEGINNING;
use crate::time::Timestamp;

/// Policies under which everything happens within a few steps.
#[derive(Debug, Clone)]
struct Rules {
    attempts: u32,
    deadline_ms: u64,
    same_target: u32,
    wait_ms: u64,
    base_ms: u64,
    failures: u32,
    probes: u32,
    limit_ms: u64,
    reroutes: bool,
    rescue: &'static str,
    /// After how long, and at most how many of a thousand requests.
    hedge: Option<(u64, u32)>,
    /// How many attempts a target bears at once, and how many requests may wait for it.
    narrow: Option<(u32, u32)>,
}

fn rules() -> impl Strategy<Value = Rules> {
    let counts = (1..6_u32, 0..3_u32, 1..4_u32, 1..3_u32);
    let lengths = (1..20_000_u64, 0..3000_u64, 0..2000_u64, 1..3000_u64);
    let policies = (any::<bool>(), prop::sample::select(&["error", "continue", "restart"][..]));
    let hedge = prop::option::of((1..2000_u64, 300..1001_u32));
    let narrow = prop::option::of((1..3_u32, 0..3_u32));
    (counts, lengths, policies, hedge, narrow).prop_map(|(counts, lengths, policies, hedge, narrow)| Rules {
        attempts: counts.0,
        deadline_ms: lengths.0,
        same_target: counts.1,
        wait_ms: lengths.1,
        base_ms: lengths.2,
        failures: counts.2,
        probes: counts.3,
        limit_ms: lengths.3,
        reroutes: policies.0,
        rescue: policies.1,
        hedge,
        narrow,
    })
}

impl Rules {
    fn document(&self) -> Value {
        let ms = |ms: u64| format!("{ms}ms");
        let limit = ms(self.limit_ms);
        let mut document = document();
        document["defaults"] = json!({
            "timeouts": {"head": limit, "answer": limit, "first_token": ms(self.limit_ms * 2), "gap": limit, "total": ms(self.limit_ms * 9)},
            "retry": {
                "attempts": self.attempts, "deadline": ms(self.deadline_ms), "same_target": self.same_target,
                "wait": ms(self.wait_ms), "base": ms(self.base_ms), "max": ms(self.base_ms.max(1) * 4), "quarantine": "2s",
            },
            "breaker": {
                "failures": self.failures, "open": "200ms", "open_max": "1s", "probes": self.probes, "successes": 2,
                "slow_first_token": ms(self.limit_ms), "min_requests": 3,
            },
        });
        document["models"]["b/m"]["capabilities"] = json!(["prefill"]);
        document["routes"]["chain"]["stream_cut"] = json!(self.rescue);
        document["routes"]["chain"]["content_filter"] = json!(if self.reroutes { "reroute" } else { "return" });
        if let Some((after, share)) = self.hedge {
            document["routes"]["chain"]["hedge"] = json!({"after": ms(after), "share": f64::from(share) / 1000.0});
        }
        if let Some((limit, queue)) = self.narrow {
            document["defaults"]["concurrency"] = json!({"start": limit, "max": limit + 1, "queue": queue});
        }
        document
    }
}

/// Watches what an exchange has done.
#[derive(Default)]
struct Referee {
    sent: Vec<AttemptId>,
    under_way: Vec<AttemptId>,
    replies: u32,
    relays: u32,
    written: Vec<u8>,
    is_over: bool,
}

impl Referee {
    fn see(&mut self, rules: &Rules, now: Timestamp, started_at: Timestamp, action: &Action) {
        assert!(!self.is_over, "nothing is done after the end: {action:?}");
        let deadline = started_at + Millis(rules.deadline_ms);
        match action {
            Action::Send(attempt) => {
                assert!(!self.sent.contains(&attempt.id), "each attempt is its own");
                self.sent.push(attempt.id);
                self.under_way.push(attempt.id);
                let at_once = if rules.hedge.is_some() { ATTEMPTS_AT_ONCE } else { 1 };
                assert!(self.under_way.len() <= at_once, "as many at once as a port can hold");
                assert!(self.sent.len() <= usize::try_from(rules.attempts).unwrap(), "within the budget");
                assert!(now < deadline, "no attempt starts after the deadline");
                let is_rescued = self.replies == 0 && rules.rescue != "error";
                let has_told =
                    self.replies > 0 || !is_rescued && self.written.split(|byte| *byte == b'\n').any(is_told);
                assert!(!has_told, "nothing is sent once the client is answered: {}", self.written.escape_ascii());
            }
            Action::Enqueue(_) => unreachable!("nothing here may be queued"),
            Action::Cancel(attempt) => {
                assert!(self.under_way.contains(attempt), "it is dropped once");
                self.under_way.retain(|live| live != attempt);
            }
            Action::Reply(reply) => {
                self.replies += 1;
                assert!(!matches!(reply.status.as_u16(), 401 | 403), "our keys are not the caller's: {reply:?}");
            }
            Action::Relay(_) => self.relays += 1,
            Action::Write(bytes) => {
                assert!(self.under_way.len() <= 1 || !is_told(bytes), "of two attempts nothing is passed on");
                assert_eq!(self.relays, 1, "a stream is written to once it has begun");
                self.written.extend_from_slice(bytes);
            }
            Action::Wait(until) => {
                let latest = deadline.max(now + Millis(rules.limit_ms * 9)).max(now + Millis(rules.deadline_ms));
                assert!(*until <= latest, "every wait has an end: {until:?} at {now:?}");
            }
            Action::Consult => {}
            Action::Finish => {
                assert!(self.under_way.is_empty(), "nothing is left running");
                self.is_over = true;
            }
        }
        assert!(self.replies + self.relays <= 1, "one answer at most");
    }

    /// What was written are whole events; told to its end, a stream ends in `[DONE]` or in an error, and not in both.
    fn assert_whole_events(&self, gone: bool) {
        let mut splitter = Splitter::default();
        splitter.push(Bytes::copy_from_slice(&self.written));
        let mut ends = Vec::new();
        let mut events = 0;
        while let Some(block) = splitter.next_block().unwrap() {
            let Some(data) = block.data else { continue };
            events += 1;
            let json: Value = serde_json::from_slice(&data).unwrap_or_default();
            if &data[..] == b"[DONE]" || json.get("error").is_some() {
                ends.push(events);
            }
        }
        assert_eq!(splitter.rest(), b"", "no event is torn");
        if self.relays == 1 && !gone {
            assert_eq!(ends, [events], "one end, and nothing behind it: {}", String::from_utf8_lossy(&self.written));
        }
        assert!(ends.len() <= 1);
    }
}

/// Whether a line of a stream says anything: a comment that keeps a client waiting does not.
fn is_told(line: &[u8]) -> bool {
    !line.is_empty() && !line.starts_with(b":")
}

#[derive(Debug, Clone)]
enum Step {
    /// Of the attempt under way, mostly; else of whichever.
    Event(What, Option<u32>),
    Pass(u64),
    Clock(u64),
    ToTheWait,
    Leave,
}

#[derive(Debug, Clone)]
enum What {
    Head(u16, bool, Option<&'static str>),
    Piece(&'static str),
    End,
    Fail(bool),
    Timeout,
}

const PIECES: [&str; 18] = [
    "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n",
    "data: {\"choices\":[{\"delta\":{\"content\":\"hi\"}}]}\n\n",
    "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\ndata: {\"choices\":[{\"delta\":{\"content\":\"b\"}}]}\n\n",
    "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n",
    "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"content_filter\"}]}\n\n",
    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":2}}\n\n",
    "data: [DONE]\n\n",
    "data: [DONE]\n\ndata: {\"choices\":[{\"delta\":{\"content\":\"late\"}}]}\n\ndata: [DONE]\n\n",
    "data: {\"error\":{\"message\":\"m\",\"type\":\"server_error\"}}\n\n",
    "data: {\"error\":{\"message\":\"m\",\"code\":\"context_length_exceeded\"}}\n\n",
    "data: {\"error\":{\"message\":\"m\",\"code\":\"content_filter\"}}\n\n",
    "data: {\"error\":{\"message\":\"m\",\"code\":400}}\n\ndata: {not json\n\n",
    ": ping\n\n",
    "data: {\"choices\":[{\"delta\":{\"content\":\"ha",
    "lf\"}}]}\r\n\r\n",
    "",
    "{\"choices\":[{\"message\":{\"content\":\"hi\"},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":1}}",
    "{\"error\":{\"message\":\"m\",\"type\":\"invalid_request_error\",\"code\":\"content_filter\"}}",
];

fn what() -> impl Strategy<Value = What> {
    let status = prop::sample::select(vec![200, 200, 200, 200, 204, 302, 400, 401, 404, 429, 429, 500, 500, 503, 529]);
    let hint = prop::sample::select(vec![None, None, Some("0"), Some("1"), Some("99"), Some("x")]);
    prop_oneof![
        5 => (status, prop::bool::weighted(0.8), hint).prop_map(|(status, events, hint)| What::Head(status, events, hint)),
        9 => prop::sample::select(PIECES.to_vec()).prop_map(What::Piece),
        3 => Just(What::End),
        1 => any::<bool>().prop_map(What::Fail),
        1 => Just(What::Timeout),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let other = prop::option::weighted(0.2, 0..5_u32);
    let jump = prop_oneof![3 => BEGINNING.0 - 10_000..BEGINNING.0 + 60_000, 1 => any::<u64>()];
    let step = prop_oneof![
        40 => (what(), other).prop_map(|(what, other)| Step::Event(what, other)),
        8 => (0..1500_u64).prop_map(Step::Pass),
        6 => Just(Step::ToTheWait),
        1 => jump.prop_map(Step::Clock),
        1 => Just(Step::Leave),
    ];
    prop::collection::vec(step, 0..80)
}

/// One exchange, carried by hand.
struct Hand {
    rules: Rules,
    gateway: Gateway,
    exchange: Exchange,
    referee: Referee,
    /// What the clock says, and the latest that it has said.
    now: Timestamp,
    latest: Timestamp,
    until: Timestamp,
    gone: bool,
}

impl Hand {
    fn new(rules: &Rules, seed: u64, streamed: bool) -> Self {
        let config = Arc::new(config(&rules.document()));
        let mut gateway = Gateway::new(Arc::clone(&config), seed, BEGINNING);
        let body = format!(r#"{{"model":"chain","stream":{streamed}}}"#);
        let request = Request::read(Surface::Chat, body.into()).unwrap();
        let plan = route::plan(&config, route::Asker::default(), "chain", &Hints::default()).unwrap();
        let id = gateway.request_id();
        let exchange = Exchange::new(config, BEGINNING, id, request, plan);
        let referee = Referee::default();
        let rules = rules.clone();
        let (now, latest, until) = (BEGINNING, BEGINNING, BEGINNING);
        let mut hand = Self { rules, gateway, exchange, referee, now, latest, until, gone: false };
        hand.carry();
        hand
    }

    /// Does what the exchange says, until it waits or is over.
    fn carry(&mut self) {
        for _ in 0..100 {
            if self.referee.is_over {
                return;
            }
            let action = self.exchange.poll_action();
            self.referee.see(&self.rules, self.latest, BEGINNING, &action);
            match action {
                Action::Consult => self.exchange.consult(&mut self.gateway),
                Action::Wait(until) => {
                    self.until = until;
                    return;
                }
                _ => {}
            }
        }
        panic!("it never waits");
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Pass(ms) => self.now = self.now + Millis(*ms),
            Step::Clock(at) => self.now = Timestamp(*at),
            Step::ToTheWait => {
                self.now = self.now.max(self.until);
                self.handle(Event::Timeout);
            }
            Step::Leave => {
                self.gone = true;
                self.handle(Event::ClientGone);
            }
            Step::Event(what, other) => {
                let current = self.referee.sent.last().copied().unwrap_or(AttemptId(0));
                self.handle(what.event(other.map_or(current, AttemptId)));
            }
        }
    }

    fn handle(&mut self, event: Event) {
        self.latest = self.latest.max(self.now);
        self.exchange.handle(self.now, event);
        self.carry();
    }

    /// Every attempt was settled once, and every probe's place is free, and every slot.
    fn assert_settled(&mut self) {
        for id in (0..2).map(TargetId) {
            let tally = *self.gateway.stats(id).tally();
            let ended = [tally.successes, tally.failures, tally.silent, tally.rate_limited, tally.credential_faults];
            let others = [tally.caller_faults, tally.filtered, tally.neutral];
            assert_eq!(ended.iter().chain(&others).sum::<u64>(), tally.attempts, "{tally:?}");
            let load = self.gateway.load(self.latest, id).map(|load| (load.in_flight, load.waiting));
            assert!(load.is_none_or(|load| load == (0, 0)), "{load:?}");
            let breaker = self.gateway.breaker(id.into()).clone();
            if breaker.state(self.latest) == State::HalfOpen {
                let policy = self.gateway.config().guard(id.into()).policy;
                let (mut breaker, mut rng) = (breaker, crate::rng::Rng::from_seed(0));
                for _ in 0..policy.probes {
                    assert!(breaker.admit(self.latest, &policy, Millis(1000), &mut rng).is_ok(), "all places are free");
                }
            }
        }
    }
}

impl What {
    fn event(&self, attempt: AttemptId) -> Event {
        match self {
            Self::Head(status, events, hint) => {
                let kind = if *events { "text/event-stream" } else { "application/json" };
                let mut headers = HeaderMap::from_iter([(http::header::CONTENT_TYPE, HeaderValue::from_static(kind))]);
                headers.extend(hint.map(|hint| (http::header::RETRY_AFTER, HeaderValue::from_static(hint))));
                Event::Head { attempt, status: StatusCode::from_u16(*status).unwrap(), headers }
            }
            Self::Piece(text) => Event::Piece { attempt, bytes: Bytes::from_static(text.as_bytes()) },
            Self::End => Event::End { attempt },
            Self::Fail(connect) => {
                Event::Fail { attempt, fault: if *connect { Fault::Connect } else { Fault::Broken } }
            }
            Self::Timeout => Event::Timeout,
        }
    }
}

/// A vendor's doings for one attempt.
fn script() -> impl Strategy<Value = Script> {
    let good = || (0..3000_u64, 0..4_u32, 0..1500_u64, 0..900_u64);
    let good = good().prop_map(|(after, tokens, first, pace)| {
        Script::answer(after).tokens(tokens).first_token_after(first).pace(pace)
    });
    let status = prop::sample::select(vec![400, 401, 404, 429, 500, 502, 503]);
    (good, status, 0..4_u32, 0..16_u32).prop_map(|(good, status, at, kind)| match kind {
        0 => good.cut_after(at),
        1 => good.stall_after(at),
        2 => good.malformed_after(at),
        3 => good.error_after(at, "server_error", ""),
        4 => good.error_after(at, "", "content_filter"),
        5 => good.error_after(at, "", "context_length_exceeded"),
        6 => good.without_done(),
        7 => good.without_finish(),
        8 => good.left_open(),
        9 => good.filtered(),
        10 => Script::hang(),
        11 => Script::reset(20),
        12 => Script::status(status).with_header("retry-after", "1"),
        13 => Script::status(status),
        _ => good,
    })
}

/// A request, when it comes, and when its client leaves.
type Visit = (u64, bool, Option<u64>);

fn visits() -> impl Strategy<Value = Vec<Visit>> {
    prop::collection::vec((0..2000_u64, any::<bool>(), prop::option::weighted(0.2, 0..3000_u64)), 1..12)
}

/// The moment and the words of a line about request `id`, where the story is of many.
fn lines_of(story: &[String], id: usize) -> Vec<(u64, String)> {
    let mark = format!("#{id} ");
    let parse = |line: &String| {
        let (at, rest) = line.split_once(' ').unwrap();
        rest.strip_prefix(&mark).map(|words| (at.parse().unwrap(), words.to_owned()))
    };
    story.iter().filter_map(parse).collect()
}

proptest! {
    /// Whatever an adapter tells it, in whatever order: no panic, and no rule is broken. Invariants 8, 10, 11 and 14.
    #[test]
    fn no_event_breaks_an_exchange(rules in rules(), seed: u64, streamed: bool, steps in steps()) {
        let mut hand = Hand::new(&rules, seed, streamed);
        for step in &steps {
            hand.step(step);
        }
        hand.referee.assert_whole_events(hand.gone || !hand.referee.is_over);
        hand.step(&Step::Leave);
        prop_assert!(hand.exchange.is_over() && hand.referee.is_over, "a client that leaves ends it");
        hand.assert_settled();
    }

    /// If only time passes, every exchange ends.
    #[test]
    fn time_alone_ends_it(rules in rules(), seed: u64, streamed: bool, steps in steps()) {
        let mut hand = Hand::new(&rules, seed, streamed);
        for step in steps.iter().filter(|step| !matches!(step, Step::Clock(_) | Step::Leave)) {
            hand.step(step);
        }
        for _ in 0..1000 {
            if hand.referee.is_over { break }
            hand.step(&Step::ToTheWait);
        }
        prop_assert!(hand.referee.is_over);
        prop_assert_eq!(hand.referee.replies + hand.referee.relays, 1, "and every client is answered");
        hand.referee.assert_whole_events(false);
        hand.assert_settled();
    }

    /// Many requests at once, carried by the loop that the adapters use.
    #[test]
    fn a_world_of_any_vendors_keeps_its_promises(
        rules in rules(),
        seed: u64,
        a in prop::collection::vec(script(), 0..12),
        b in prop::collection::vec(script(), 0..12),
        visits in visits(),
    ) {
        let mut world = World::new(config(&rules.document()), seed);
        world.script("a/m", a);
        world.script("b/m", b);
        let mut came = Vec::new();
        for (pause, streamed, stays) in &visits {
            world.run_for(Millis(*pause));
            let id = if *streamed { ask_stream(&mut world, "chain") } else { ask(&mut world, "chain") };
            came.push((world.now().since(BEGINNING).0, id));
            if let Some(stays) = stays {
                world.run_for(Millis(*stays));
                if stays % 2 == 0 { world.leave(id) } else { world.hang_up(id) }
            }
        }
        // A story of one would be told without numbers.
        ask(&mut world, "nobody");
        world.run();
        let story = world.story();
        for ((came_at, id), (_, streamed, stays)) in came.into_iter().zip(&visits) {
            prop_assert!(world.is_over(id));
            let lines = lines_of(&story, id.0);
            let sent: Vec<u64> = lines.iter().filter(|(_, words)| words.starts_with("send")).map(|(at, _)| *at).collect();
            prop_assert!(sent.len() <= usize::try_from(rules.attempts).unwrap(), "{lines:?}");
            prop_assert!(sent.iter().all(|at| *at < came_at + rules.deadline_ms), "{lines:?}");
            let begun = lines.iter().find(|(_, words)| words.starts_with("reply") || words.starts_with("relay"));
            if let Some((at, _)) = begun {
                prop_assert!(*at <= came_at + rules.deadline_ms, "an answer begins within the deadline: {lines:?}");
            }
            if stays.is_none() {
                prop_assert!(begun.is_some(), "{lines:?}");
                let answer = world.answer(id);
                if answer.streamed {
                    prop_assert!(*streamed);
                    let referee = Referee { relays: 1, written: answer.body.clone(), ..Referee::default() };
                    referee.assert_whole_events(false);
                    let summary = answer.stream_summary().unwrap_or_default();
                    let said = summary.split(' ').map_while(|word| word.parse::<usize>().ok());
                    let is_rescued = rules.rescue != "error";
                    prop_assert!(is_rescued || said.zip(1..).all(|(word, nth)| word == nth), "of one vendor: {summary}");
                }
            }
        }
        assert_settled(&world);
        let hedges = world.gateway().hedging(RouteId(0)).made;
        let share = rules.hedge.map_or(0, |(_, share)| u64::from(share.min(1000)));
        prop_assert!(hedges * 1000 <= share * u64::try_from(visits.len()).unwrap(), "{hedges} hedges");
    }
}
