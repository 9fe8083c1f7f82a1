//! llmock fails in every way it knows, and judges how the gateway took it.
//!
//! llmock holds requests with the same body for attempts at the same call. So that a failover is such an attempt too, and not
//! a call that was given up, each route has llmock twice, as two vendors; and a client that was told in a stream that it
//! broke off asks again, as it should. What nobody asks again although it was cut, or too soon, or too often, llmock finds.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;

use serde_json::{Value, json};
use tidegate_tests::http::{Reply, Request};
use tokio::task::JoinSet;

use crate::DIALECTS;
use crate::mocks::{World, llmock_command};

/// How each scenario went, by its name.
pub(crate) type Told = BTreeMap<String, Result<(), String>>;

/// What llmock says in these scenarios; long enough to be cut in the middle.
const ANSWER: &str = "The tide comes in and the tide goes out, and nobody on this coast can do a thing about it.";
/// Before the first content, and in the middle of it, counted in events: roles, starts of blocks and pings come first.
const EARLY: [(&str, u64); 3] = [("openai", 1), ("anthropic", 3), ("gemini", 0)];
const LATE: u64 = 7;
/// Longer than the gateway waits.
const TOO_LONG_SECONDS: u64 = 60;

type Scenario = fn(Case) -> Pin<Box<dyn Future<Output = ()> + Send>>;

/// Each is told in every dialect.
const SCENARIOS: [(&str, Scenario); 13] = [
    ("waits", |case| Box::pin(throttled_and_told_when_to_come_back(case))),
    ("once", |case| Box::pin(failed_once(case))),
    ("elsewhere", |case| Box::pin(unavailable_once(case))),
    ("outage", |case| Box::pin(outage(case))),
    ("refused", |case| Box::pin(refused(case))),
    ("early-truncate", |case| Box::pin(unseen(case, "truncate"))),
    ("early-disconnect", |case| Box::pin(unseen(case, "disconnect"))),
    ("early-stall", |case| Box::pin(unseen(case, "stall"))),
    ("late-truncate", |case| Box::pin(told_in_the_stream(case, "truncate"))),
    ("late-disconnect", |case| Box::pin(told_in_the_stream(case, "disconnect"))),
    ("late-stall", |case| Box::pin(told_in_the_stream(case, "stall"))),
    ("late-malformed", |case| Box::pin(malformed(case))),
    ("slow", |case| Box::pin(slow_first_token(case))),
];
const VERDICT: &str = "verdict";

/// A scenario in a dialect; a model of llmock's has its name.
#[derive(Debug, Clone)]
struct Case {
    name: &'static str,
    dialect: &'static str,
    gateway: SocketAddr,
    llmock: SocketAddr,
}

/// What [`tell`] tells.
pub(crate) fn names() -> Vec<String> {
    let scenarios = SCENARIOS.iter().flat_map(|(name, _)| DIALECTS.map(|dialect| format!("{dialect}::{name}")));
    scenarios.chain([VERDICT.to_owned()]).collect()
}

/// Tells all scenarios at once, and asks for the verdict in the end.
pub(crate) async fn tell(world: &World) -> Told {
    // What was asked before is not part of it.
    let _ = Request::new("POST", "/_llmock/reset").send(world.llmock.address).await.expect(200);
    let mut tasks = JoinSet::new();
    let mut names = BTreeMap::new();
    for (name, scenario) in SCENARIOS {
        for dialect in DIALECTS {
            let case = Case { name, dialect, gateway: world.gateway.address, llmock: world.llmock.address };
            let task = tasks.spawn(scenario(case));
            names.insert(task.id(), format!("{dialect}::{name}"));
        }
    }
    let mut told = Told::new();
    while let Some(ended) = tasks.join_next_with_id().await {
        let (id, result) = match ended {
            Ok((id, ())) => (id, Ok(())),
            Err(failed) => (failed.id(), Err(message_of(failed))),
        };
        told.insert(names[&id].clone(), result);
    }
    told.insert(VERDICT.to_owned(), verdict(world).await);
    told
}

/// What a scenario has panicked with.
fn message_of(failed: tokio::task::JoinError) -> String {
    let panic = failed.into_panic();
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
}

impl Case {
    /// Has llmock behave so for requests of this case.
    async fn llmock_shall(&self, mut behavior: Value) {
        let these = json!({"provider": self.dialect, "model": self.name});
        behavior["match"] = these.clone();
        let answer = json!({"type": "reply", "text": ANSWER, "times": null, "match": these});
        let order = json!({"behaviors": [behavior, answer]});
        let _ = Request::post("/_llmock/scenario", &order).send(self.llmock).await.expect(201);
    }

    /// Has llmock break the next stream of this case after so many events.
    async fn break_stream(&self, kind: &str, after_chunks: u64) {
        self.llmock_shall(json!({
            "type": "stream_fault", "kind": kind, "after_chunks": after_chunks, "stall_seconds": TOO_LONG_SECONDS,
        }))
        .await;
    }

    async fn ask(&self, stream: bool, text: &str) -> Reply {
        let messages = [json!({"role": "user", "content": text})];
        let model = format!("{}-{}", self.name, self.dialect);
        let body = json!({"model": model, "max_tokens": 500, "stream": stream, "messages": messages});
        Request::post("/v1/chat/completions", &body).send(self.gateway).await
    }

    async fn answered(&self, attempts: &str) {
        let reply = self.ask(false, "Is the tide in?").await.expect(200);
        assert_eq!(reply.header("x-tidegate-attempts"), attempts, "{reply}");
        assert_eq!(reply.json()["choices"][0]["message"]["content"], ANSWER, "{reply}");
    }

    async fn streamed(&self) -> Reply {
        self.ask(true, "Is the tide in?").await.expect(200)
    }
}

/// The text of a stream so far, and whether it came to its end.
fn read(reply: &Reply) -> (String, bool) {
    let mut events = reply.events();
    let ended = events.last().is_some_and(|last| last == "[DONE]");
    events.pop();
    let text = |event: &String| {
        let chunk: Value = serde_json::from_str(event).unwrap_or_else(|_| panic!("not JSON: {event}"));
        chunk["choices"][0]["delta"]["content"].as_str().unwrap_or_default().to_owned()
    };
    (events.iter().map(text).collect(), ended)
}

#[track_caller]
fn whole(reply: &Reply) {
    assert_eq!(read(reply), (ANSWER.to_owned(), true), "{reply}");
}

async fn throttled_and_told_when_to_come_back(case: Case) {
    case.llmock_shall(json!({"type": "fail", "status": 429, "retry_after": 0.7})).await;
    case.answered("2").await;
}

async fn failed_once(case: Case) {
    case.llmock_shall(json!({"type": "fail", "status": 500})).await;
    case.answered("2").await;
}

async fn unavailable_once(case: Case) {
    // Anthropic has a status of its own for it.
    let status = if case.dialect == "anthropic" { 529 } else { 503 };
    case.llmock_shall(json!({"type": "fail", "status": status, "retry_after": 0})).await;
    case.answered("2").await;
}

/// One dialect's vendor is down; everybody is answered by another dialect's. llmock takes each for a service of its own,
/// and so sees some callers give up: but only until the breaker opens.
async fn outage(case: Case) {
    const CALLERS: usize = 8;
    case.llmock_shall(json!({"type": "fail", "status": 503, "times": null})).await;
    let mut asked = 0;
    for n in 0..CALLERS {
        let reply = case.ask(false, &format!("Is the tide in at pier {n}?")).await.expect(200);
        assert!(reply.header("x-tidegate-target").ends_with("/refuge"), "{reply}");
        asked += usize::from(reply.header("x-tidegate-attempts") != "1");
    }
    assert!((1..CALLERS).contains(&asked), "{asked} of {CALLERS} callers were let ask a vendor that is down");
}

async fn refused(case: Case) {
    case.llmock_shall(json!({"type": "fail", "status": 400, "message": "no such pier", "times": null})).await;
    let reply = case.ask(false, "Is the tide in?").await.expect(400);
    assert!(reply.json()["error"]["message"].as_str().is_some_and(|text| text.contains("no such pier")), "{reply}");
}

/// Nothing had been passed on: the client sees one whole stream.
async fn unseen(case: Case, kind: &str) {
    let (_, early) = EARLY.into_iter().find(|(dialect, _)| *dialect == case.dialect).expect("all are there");
    case.break_stream(kind, early).await;
    let reply = case.streamed().await;
    whole(&reply);
    assert_eq!(reply.header("x-tidegate-attempts"), "2", "{reply}");
}

/// The client has a part of it, is told that this is not all, and asks again.
async fn told_in_the_stream(case: Case, kind: &str) {
    case.break_stream(kind, LATE).await;
    let reply = case.streamed().await;
    let (text, ended) = read(&reply);
    assert!(!text.is_empty() && ANSWER.starts_with(&text) && !ended, "{reply}");
    let last: Value = serde_json::from_str(&reply.events().pop().expect("an event")).expect("an error as JSON");
    assert!(last["error"]["message"].is_string(), "{reply}");
    whole(&case.streamed().await);
}

/// An event that does not read is left out if the stream comes to its end. llmock warns of it, since a word is missing.
async fn malformed(case: Case) {
    case.break_stream("malformed", LATE).await;
    let reply = case.streamed().await;
    let (text, ended) = read(&reply);
    assert!(ended && text.len() < ANSWER.len(), "{reply}");
}

async fn slow_first_token(case: Case) {
    case.llmock_shall(json!({"type": "slow_first_token", "seconds": TOO_LONG_SECONDS})).await;
    let reply = case.streamed().await;
    whole(&reply);
    assert_eq!(reply.header("x-tidegate-attempts"), "2", "{reply}");
}

/// llmock's own verdict: its report is content, and of its warnings there are only those that the scenarios explain.
async fn verdict(world: &World) -> Result<(), String> {
    let url = format!("http://{}", world.llmock.address);
    let report = llmock_command().args(["report", "--url", &url]).output().map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&report.stdout).into_owned();
    if !report.status.success() {
        return Err(text);
    }
    let ask = |path: &str| Request::get(path).send(world.llmock.address);
    let verdict = ask("/_llmock/verdict").await.json();
    let requests = ask("/_llmock/requests").await.json();
    let model_of = |seq: &Value| {
        let requests = requests["requests"].as_array()?;
        requests.iter().find(|request| request["seq"] == *seq)?["model"].as_str()
    };
    for finding in verdict["findings"].as_array().into_iter().flatten() {
        let explained = match model_of(&finding["requests"][0]) {
            Some("outage") => finding["code"] == "gave_up",
            Some("late-malformed") => finding["code"] == "malformed_chunk_ignored",
            _ => false,
        };
        if !explained {
            return Err(format!("{finding}\n{text}"));
        }
    }
    let faults = verdict["faults_injected"].as_u64().unwrap_or(0);
    let expected = SCENARIOS.len() * DIALECTS.len();
    if usize::try_from(faults).unwrap_or(0) < expected {
        return Err(format!("{faults} faults, though {expected} were ordered: {text}"));
    }
    Ok(())
}
