//! Fault scripts: what shall go wrong, for which requests, how often and for how long.
//!
//! Faults queue in the order they were posted, and a request meets the first that fits it and has budget left. Time
//! is passed in and odds come from a seed, so that a script plays the same each time.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::noise;

/// What goes wrong, in every dialect alike. `after_tokens` counts content tokens; 0 is after what comes before any
/// content: OpenAI's role chunk, Anthropic's `message_start`, nothing at Gemini's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Fault {
    /// The prompt is refused as the vendor does it (OpenAI a 400, Anthropic an empty answer with `refusal`, Gemini a
    /// `blockReason`) or, with `finish_reason`, an answer ends for that reason.
    ContentFilter {
        #[serde(default)]
        finish_reason: bool,
    },
    /// A 400 as the vendor words it.
    ContextLength {},
    /// The connection closes inside the body: no terminating chunk, or half of the announced length.
    Cut {
        #[serde(default)]
        after_tokens: usize,
    },
    /// A 200 with no body, or a stream with nothing but its end.
    #[serde(rename = "empty_200")]
    Empty200 {},
    /// The vendor's error body as the body of a 200 or, in a stream, as its last event; `error` replaces the usual one.
    #[serde(rename = "error_in_200")]
    ErrorIn200 {
        #[serde(default)]
        after_tokens: usize,
        error: Option<Value>,
    },
    /// No head ever; the socket stays open until the client leaves.
    Hang {},
    /// The answer as it would be, held back until the fault is cleared or over: what is to happen meanwhile takes as long as
    /// it takes.
    Hold {},
    /// An answer whose content is so long (in a stream: one event); absent, endless.
    Huge { bytes: Option<u64> },
    /// A wait before the head, on top of the profile's.
    Latency { ms: u64 },
    /// One event that is not JSON, and the stream goes on; a plain answer is not JSON as a whole.
    MalformedChunk {
        #[serde(default)]
        after_tokens: usize,
    },
    /// A stream without what says that it is over: `[DONE]`, `message_stop`; Gemini's have no such thing.
    NoDone {},
    /// A stream that ends cleanly with neither finish reason nor `[DONE]` or the like; a plain answer without finish
    /// reason.
    NoFinish {},
    /// A 200 with a page of HTML, as a captive proxy would send it.
    NotJson {},
    /// The connection is reset before any byte of a response.
    Reset {},
    /// A wait before the first content token, after the head and what opens the stream; in a plain answer, before the head.
    SlowFirstToken { ms: u64 },
    /// The body falls silent, and the socket stays open until the client leaves.
    Stall {
        #[serde(default)]
        after_tokens: usize,
    },
    /// An error status. `body` is sent as it is if it is a string, else as JSON; absent, as the vendor words it.
    Status {
        status: u16,
        #[serde(default)]
        headers: BTreeMap<String, String>,
        body: Option<Value>,
    },
}

/// A fault as it is posted: the fault, the requests it is for, and its budget.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Order {
    fault: Fault,
    /// Only for requests that ask for this model.
    model: Option<String>,
    /// Only for requests to this path; with neither model nor path, for every request.
    path: Option<String>,
    /// Used up after so many requests.
    times: Option<u32>,
    /// Over after so long.
    for_ms: Option<u64>,
    /// The share of fitting requests that meet it; the others pass it by and do not use it up.
    rate: Option<f64>,
    #[serde(default)]
    seed: u64,
}

/// A vendor's faults, in the order they were posted.
#[derive(Debug, Default)]
pub(super) struct Script {
    posted: Vec<Posted>,
    next_id: u64,
}

/// The fault that a request has met.
#[derive(Debug)]
pub(super) struct Met {
    pub(super) id: u64,
    pub(super) fault: Fault,
}

#[derive(Debug)]
struct Posted {
    id: u64,
    order: Order,
    /// Requests that met it.
    met: u32,
    /// Requests that fitted it, met or passed by.
    fitted: u64,
    until: Option<Instant>,
}

const POSTED_MAX: usize = 1000;
/// Longer waits are as good as this one, and clocks can still add it.
const WAIT_MAX: Duration = Duration::from_hours(24);

impl Script {
    /// Queues a fault; gives its id, or says what is wrong with it.
    pub(super) fn post(&mut self, now: Instant, order: Order) -> Result<u64, String> {
        self.expire(now);
        if self.posted.len() >= POSTED_MAX {
            return Err(format!("there are {POSTED_MAX} faults already; DELETE /faults clears them"));
        }
        order.check()?;
        let id = self.next_id;
        self.next_id += 1;
        let until = order.for_ms.map(|ms| now + wait(ms));
        self.posted.push(Posted { id, order, met: 0, fitted: 0, until });
        Ok(id)
    }

    /// The fault that a request meets, which uses it up by one.
    pub(super) fn meet(&mut self, now: Instant, path: &str, model: Option<&str>) -> Option<Met> {
        self.expire(now);
        self.posted.iter_mut().find_map(|posted| posted.meet(path, model))
    }

    /// Whether a fault is neither cleared nor over.
    pub(super) fn is_posted(&mut self, now: Instant, id: u64) -> bool {
        self.expire(now);
        self.posted.iter().any(|posted| posted.id == id)
    }

    /// Clears all faults, or those for one model or path; gives their number.
    pub(super) fn clear(&mut self, model: Option<&str>, path: Option<&str>) -> usize {
        let before = self.posted.len();
        self.posted.retain(|posted| {
            let other_model = model.is_some_and(|model| posted.order.model.as_deref() != Some(model));
            other_model || path.is_some_and(|path| posted.order.path.as_deref() != Some(path))
        });
        before - self.posted.len()
    }

    /// The faults still to be met.
    pub(super) fn show(&mut self, now: Instant) -> Value {
        self.expire(now);
        let faults: Vec<Value> = self.posted.iter().map(|posted| posted.show(now)).collect();
        json!({"faults": faults})
    }

    fn expire(&mut self, now: Instant) {
        self.posted.retain(|posted| {
            // Whom it holds it holds on to, when it is used up as well.
            let is_left = posted.has_budget() || posted.order.fault == Fault::Hold {};
            is_left && posted.until.is_none_or(|until| now < until)
        });
    }
}

impl Posted {
    fn has_budget(&self) -> bool {
        self.order.times.is_none_or(|times| self.met < times)
    }

    fn meet(&mut self, path: &str, model: Option<&str>) -> Option<Met> {
        let order = &self.order;
        let fits = self.has_budget()
            && order.model.as_deref().is_none_or(|wanted| model == Some(wanted))
            && order.path.as_deref().is_none_or(|wanted| path == wanted);
        if !fits {
            return None;
        }
        self.fitted += 1;
        if !order.rate.is_none_or(|rate| noise::comes_up(order.seed, self.fitted, rate)) {
            return None;
        }
        self.met = self.met.saturating_add(1);
        Some(Met { id: self.id, fault: order.fault.clone() })
    }

    fn show(&self, now: Instant) -> Value {
        let Order { fault, model, path, times, rate, seed, .. } = &self.order;
        json!({
            "id": self.id,
            "fault": fault,
            "model": model,
            "path": path,
            "met": self.met,
            "times_left": times.map(|times| times.saturating_sub(self.met)),
            "ms_left": self.until.map(|until| millis(until.saturating_duration_since(now))),
            "rate": rate,
            "seed": seed,
        })
    }
}

impl Order {
    fn check(&self) -> Result<(), String> {
        if self.times == Some(0) {
            return Err("`times` is 0: this fault would never be met".to_owned());
        }
        if self.rate.is_some_and(|rate| !(0.0..=1.0).contains(&rate)) {
            return Err("`rate` must lie between 0 and 1".to_owned());
        }
        let Fault::Status { status, headers, .. } = &self.fault else { return Ok(()) };
        if !(200..=599).contains(status) {
            return Err(format!("`status` is {status}: it must lie between 200 and 599"));
        }
        for (name, value) in headers {
            let valid = name.parse::<http::HeaderName>().is_ok() && value.parse::<http::HeaderValue>().is_ok();
            if !valid {
                return Err(format!("`{name}: {value}` is not a valid header"));
            }
            if ["content-length", "transfer-encoding", "connection"].contains(&name.to_lowercase().as_str()) {
                return Err(format!("`{name}` frames the response; use `cut`, `stall` or `reset` to break that"));
            }
        }
        Ok(())
    }
}

impl Fault {
    /// Its name, as it is posted.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::ContentFilter { .. } => "content_filter",
            Self::ContextLength {} => "context_length",
            Self::Cut { .. } => "cut",
            Self::Empty200 {} => "empty_200",
            Self::ErrorIn200 { .. } => "error_in_200",
            Self::Hang {} => "hang",
            Self::Hold {} => "hold",
            Self::Huge { .. } => "huge",
            Self::Latency { .. } => "latency",
            Self::MalformedChunk { .. } => "malformed_chunk",
            Self::NoDone {} => "no_done",
            Self::NoFinish {} => "no_finish",
            Self::NotJson {} => "not_json",
            Self::Reset {} => "reset",
            Self::SlowFirstToken { .. } => "slow_first_token",
            Self::Stall { .. } => "stall",
            Self::Status { .. } => "status",
        }
    }
}

/// A scripted wait, bounded.
pub(super) fn wait(ms: u64) -> Duration {
    Duration::from_millis(ms).min(WAIT_MAX)
}

fn millis(length: Duration) -> u64 {
    u64::try_from(length.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(text: &str) -> Order {
        serde_json::from_str(text).unwrap()
    }

    fn script(now: Instant, orders: &[&str]) -> Script {
        let mut script = Script::default();
        for text in orders {
            script.post(now, order(text)).unwrap();
        }
        script
    }

    const CHAT: &str = "/v1/chat/completions";

    #[test]
    fn the_first_that_fits_and_has_budget_is_met() {
        let now = Instant::now();
        let mut script = script(
            now,
            &[
                r#"{"fault": {"kind": "reset"}, "model": "b", "times": 1}"#,
                r#"{"fault": {"kind": "hang"}, "times": 2}"#,
                r#"{"fault": {"kind": "cut", "after_tokens": 3}, "path": "/v1/embeddings"}"#,
            ],
        );
        let mut meet = |path, model| script.meet(now, path, Some(model)).map(|met| met.fault.kind());
        assert_eq!(meet(CHAT, "a"), Some("hang"));
        assert_eq!(meet(CHAT, "b"), Some("reset"));
        assert_eq!(meet(CHAT, "b"), Some("hang"));
        assert_eq!(meet(CHAT, "b"), None);
        assert_eq!(meet("/v1/embeddings", "b"), Some("cut"));
        assert_eq!(script.show(now)["faults"].as_array().map(Vec::len), Some(1));
    }

    #[test]
    fn a_fault_ends_with_its_time() {
        let now = Instant::now();
        let mut script = script(now, &[r#"{"fault": {"kind": "no_done"}, "for_ms": 50}"#]);
        assert!(script.meet(now + Duration::from_millis(49), CHAT, None).is_some());
        assert!(script.meet(now + Duration::from_millis(50), CHAT, None).is_none());
    }

    #[test]
    fn a_hold_lasts_until_it_is_cleared_or_over() {
        let now = Instant::now();
        let mut script = script(
            now,
            &[
                r#"{"fault": {"kind": "hold"}, "model": "a", "times": 1}"#,
                r#"{"fault": {"kind": "hold"}, "model": "b", "for_ms": 50}"#,
            ],
        );
        let [a, b] = ["a", "b"].map(|model| script.meet(now, CHAT, Some(model)).unwrap().id);
        assert!(script.meet(now, CHAT, Some("a")).is_none(), "it was for one");
        assert!(script.is_posted(now, a) && script.is_posted(now, b));
        let later = now + Duration::from_millis(50);
        assert!(script.is_posted(later, a) && !script.is_posted(later, b));
        assert_eq!(script.clear(Some("a"), None), 1);
        assert!(!script.is_posted(later, a));
    }

    #[test]
    fn a_rate_spares_the_rest_and_repeats_with_its_seed() {
        let now = Instant::now();
        let hits = |text| -> Vec<bool> {
            let mut script = script(now, &[text]);
            (0..200).map(|_| script.meet(now, CHAT, None).is_some()).collect()
        };
        let first = hits(r#"{"fault": {"kind": "reset"}, "rate": 0.25, "seed": 1}"#);
        assert_eq!(first, hits(r#"{"fault": {"kind": "reset"}, "rate": 0.25, "seed": 1}"#));
        assert_ne!(first, hits(r#"{"fault": {"kind": "reset"}, "rate": 0.25, "seed": 2}"#));
        assert!((30..70).contains(&first.iter().filter(|&&hit| hit).count()));
        let budgeted = hits(r#"{"fault": {"kind": "reset"}, "rate": 0.25, "seed": 1, "times": 5}"#);
        assert_eq!(budgeted.iter().filter(|&&hit| hit).count(), 5);
    }

    #[test]
    fn clearing_by_path_leaves_the_others() {
        let now = Instant::now();
        let mut script =
            script(now, &[r#"{"fault": {"kind": "reset"}, "path": "/a"}"#, r#"{"fault": {"kind": "hang"}}"#]);
        assert_eq!(script.clear(None, Some("/a")), 1);
        assert_eq!(script.clear(None, Some("/a")), 0);
        assert_eq!(script.clear(None, None), 1);
    }

    #[test]
    fn clearing_by_model_leaves_the_others() {
        let now = Instant::now();
        let mut script =
            script(now, &[r#"{"fault": {"kind": "reset"}, "model": "a"}"#, r#"{"fault": {"kind": "hang"}}"#]);
        assert_eq!(script.clear(Some("a"), None), 1);
        assert_eq!(script.clear(None, None), 1);
    }

    #[test]
    fn nonsense_is_refused_with_its_reason() {
        let mut script = Script::default();
        for (text, reason) in [
            (r#"{"fault": {"kind": "reset"}, "times": 0}"#, "never be met"),
            (r#"{"fault": {"kind": "reset"}, "rate": 1.5}"#, "between 0 and 1"),
            (r#"{"fault": {"kind": "status", "status": 99}}"#, "between 200 and 599"),
            (r#"{"fault": {"kind": "status", "status": 500, "headers": {"a b": "c"}}}"#, "not a valid header"),
            (r#"{"fault": {"kind": "status", "status": 500, "headers": {"Content-Length": "9"}}}"#, "frames"),
        ] {
            let refusal = script.post(Instant::now(), order(text)).unwrap_err();
            assert!(refusal.contains(reason), "{refusal}");
        }
        for text in [
            r#"{"fault": {"kind": "reset", "ms": 5}}"#,
            r#"{"fault": {"kind": "latency"}}"#,
            r#"{"fault": {"kind": "explode"}}"#,
            r#"{"fault": {"kind": "reset"}, "time": 5}"#,
        ] {
            assert!(serde_json::from_str::<Order>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_list_is_bounded_and_no_wait_overflows() {
        let now = Instant::now();
        let mut script = Script::default();
        for _ in 0..POSTED_MAX {
            script.post(now, order(r#"{"fault": {"kind": "reset"}, "for_ms": 18446744073709551615}"#)).unwrap();
        }
        assert!(script.post(now, order(r#"{"fault": {"kind": "reset"}}"#)).is_err());
    }
}
