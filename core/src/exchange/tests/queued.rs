//! Requests that nobody can serve, kept until somebody can.

use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};

use super::{World, ask, ask_stream, config, document, seconds};
use crate::dialect::{Dialect, Surface};
use crate::queue::{About, Inquiry, Wish};
use crate::record::How;
use crate::sim::{Answer, RequestId, Script};
use crate::time::Millis;

/// A world whose `chain` queues, and whose breakers open at the second failure, for a second.
fn world_with(change: impl FnOnce(&mut Value)) -> World {
    let mut document = document();
    document["routes"]["chain"]["exhausted"] = json!("queue");
    document["queue"] = json!({"base": "2s", "max": "2s"});
    document["defaults"]["breaker"] = json!({"failures": 2, "failure_rate": 0, "open": "1s", "open_max": "1s"});
    document["defaults"]["retry"]["attempts"] = json!(2);
    change(&mut document);
    World::new(config(&document), 1)
}

fn world() -> World {
    world_with(|_| {})
}

fn down(world: &mut World) {
    for target in ["a/m", "b/m"] {
        world.usually(target, Script::status(503));
    }
}

fn up(world: &mut World) {
    for target in ["a/m", "b/m"] {
        world.usually(target, Script::answer(50));
    }
}

/// What a request is answered, as soon as it is.
fn answered(world: &mut World, id: RequestId) -> Answer {
    world.run();
    world.answer(id)
}

/// The id of the job that a request becomes.
fn queued(world: &mut World, id: RequestId) -> String {
    let answer = answered(world, id);
    let told = answer.json();
    assert_eq!((answer.status.unwrap().as_u16(), &told["status"]), (202, &json!("queued")), "{told}");
    let job = told["id"].as_str().unwrap();
    assert_eq!(answer.header("location"), format!("/v1/queue/{job}"));
    assert!(answer.header("retry-after").parse::<u64>().unwrap() >= 1);
    job.to_owned()
}

fn look(world: &World, job: &str) -> Value {
    let (id, request_id) = (job.to_owned(), "tg-1".to_owned());
    let inquiry =
        Inquiry { about: About::Job { client: None, id, wish: Wish::Look }, dialect: Dialect::OpenAi, request_id };
    let now = world.now();
    serde_json::from_slice(&world.queue().answer(now, &inquiry).body).unwrap()
}

fn ask_with(world: &mut World, model: &str, headers: &[(&'static str, &str)]) -> RequestId {
    let header =
        |(name, value): &(&'static str, &str)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
    let headers: HeaderMap = headers.iter().map(header).collect();
    world.ask_with(Surface::Chat, headers, format!(r#"{{"model":"{model}","messages":[]}}"#))
}

#[test]
fn a_request_that_nobody_serves_is_stored_and_answered_when_they_heal() {
    let mut world = world();
    down(&mut world);
    let id = ask(&mut world, "chain");
    let job = queued(&mut world, id);
    assert_eq!(look(&world, &job)["status"], "pending");
    world.run_for(seconds(30));
    let told = look(&world, &job);
    assert_eq!(told["status"], "pending", "{told}");
    let tried = told["attempts"].as_u64().unwrap();
    assert!((5..=30).contains(&tried), "at the rate at which breakers let through: {tried}");
    up(&mut world);
    world.run_for(seconds(5));
    let told = look(&world, &job);
    assert_eq!((&told["status"], &told["reply"]["status"]), (&json!("done"), &json!(200)), "{told}");
    assert_eq!(told["reply"]["body"]["object"], "chat.completion", "{told}");
    let sent = world.attempts("a/m") + world.attempts("b/m");
    world.run_for(seconds(100));
    assert_eq!(world.attempts("a/m") + world.attempts("b/m"), sent, "and once only");
}

/// B7: with its order of models. All of them fail, the request is queued, and nothing is lost.
#[test]
fn b7_queue_when_all_are_down() {
    let order = ["deepseek/deepseek-chat", "gemini/gemini-2.5-flash-preview-05-20", "openai/gpt-4.1-mini"];
    let mut world = world_with(|document| {
        let vendor =
            |dialect: &str| json!({"dialect": dialect, "base_url": "http://v.test/v1", "keys": [{"env": "K"}]});
        document["vendors"] =
            json!({"deepseek": vendor("openai"), "gemini": vendor("gemini"), "openai": vendor("openai")});
        document["models"] = order.iter().map(|model| ((*model).to_owned(), json!({}))).collect();
        document["routes"]["chain"]["models"] = json!(order);
        document["defaults"]["retry"]["attempts"] = json!(3);
        document["queue"] = json!({});
    });
    for target in order {
        world.usually(target, Script::status(503));
    }
    let mut jobs = Vec::new();
    for _ in 0..20 {
        let id = ask(&mut world, "chain");
        jobs.push(queued(&mut world, id));
        world.run_for(Millis(300));
    }
    let first: Vec<_> = world
        .take_story()
        .into_iter()
        .filter_map(|line| Some(line.split_once("send ")?.1.to_owned()))
        .take(3)
        .collect();
    assert_eq!(first, order, "who is asked, in which order");
    world.run_for(seconds(3600));
    assert!(jobs.iter().all(|job| look(&world, job)["status"] == "pending"), "an hour, and nothing is lost");
    world.restart();
    world.usually(order[1], Script::answer(50));
    world.run_for(seconds(300));
    for job in &jobs {
        let told = look(&world, job);
        assert_eq!(told["status"], "done", "{told}");
    }
}

#[test]
fn a_streamed_request_is_answered_in_whole() {
    let mut world = world();
    down(&mut world);
    let id = ask_stream(&mut world, "chain");
    let job = queued(&mut world, id);
    let said = world.answer(id).json()["message"].as_str().unwrap().to_owned();
    assert!(said.ends_with("It will be whole, not a stream."), "{said}");
    up(&mut world);
    world.run_for(seconds(5));
    let told = look(&world, &job);
    assert_eq!(told["reply"]["content_type"], "application/json", "{told}");
}

/// A head that is on its way cannot be taken back.
#[test]
fn a_stream_that_has_begun_is_not_queued() {
    let mut world = world_with(|document| document["server"] = json!({"keep_alive": "1s"}));
    for target in ["a/m", "b/m"] {
        world.usually(target, Script::hang());
    }
    let id = ask_stream(&mut world, "chain");
    let answer = answered(&mut world, id);
    assert!(answer.stream_summary().unwrap().contains("error=upstream_timeout"));
    assert!(world.queue().poll_timeout().is_none(), "nothing is stored of it");
}

#[test]
fn clients_may_allow_it_and_forbid_it() {
    let mut world = world_with(|document| {
        document["routes"]["plain"] = json!({"models": ["a/m"]});
        document["routes"]["canned"] = json!({"models": ["a/m"], "exhausted": "canned", "canned": "Later."});
    });
    down(&mut world);
    for (model, header, status) in [
        ("chain", "never", 503),
        ("plain", "allow", 202),
        ("plain", "never", 502),
        ("canned", "allow", 202),
        ("canned", "never", 200),
        ("a/m", "allow", 202),
        ("chain", "perhaps", 400),
    ] {
        world.run_for(seconds(10));
        let id = ask_with(&mut world, model, &[("x-tidegate-queue", header)]);
        let told = answered(&mut world, id).status.unwrap().as_u16();
        let failed = [502, 503].contains(&status) && [502, 503].contains(&told);
        assert!(told == status || failed, "{model} {header}: {told}");
    }
    let id = ask(&mut world, "plain");
    assert_ne!(answered(&mut world, id).status.unwrap().as_u16(), 202, "unless it is asked for");
}

#[test]
fn what_is_the_callers_fault_is_not_queued() {
    let mut world = world();
    for target in ["a/m", "b/m"] {
        world.usually(target, Script::status(400));
    }
    let id = ask(&mut world, "chain");
    assert_eq!(answered(&mut world, id).status.unwrap().as_u16(), 400);
    let id = ask_with(&mut world, "chain", &[("idempotency-key", &"k".repeat(256))]);
    assert_eq!(answered(&mut world, id).json()["error"]["param"], "idempotency-key");
}

#[test]
fn what_cannot_be_stored_is_refused_plainly() {
    let mut world = world_with(|document| document["queue"]["jobs_max"] = json!(1));
    down(&mut world);
    let first = ask(&mut world, "chain");
    queued(&mut world, first);
    let second = ask(&mut world, "chain");
    let answer = answered(&mut world, second);
    assert!(answer.status.unwrap().is_server_error() && !answer.header("retry-after").is_empty());
    assert_eq!(world.story().iter().filter(|line| line.contains("not stored")).count(), 1);
}

/// Panic is for a client that waits: a job that nobody can serve must not reset everybody's breakers again and again.
#[test]
fn a_job_goes_back_rather_than_to_extremes() {
    let mut world = world_with(|document| document["routes"]["chain"]["exhausted"] = json!("panic"));
    down(&mut world);
    let id = ask_with(&mut world, "chain", &[("x-tidegate-queue", "allow")]);
    let job = queued(&mut world, id);
    world.take_story();
    world.run_for(seconds(20));
    let story = world.take_story();
    assert!(story.iter().any(|line| line.contains(" open ")) && !story.iter().any(|line| line.contains(" close ")));
    assert_eq!(look(&world, &job)["status"], "pending");
}

#[test]
fn its_record_says_that_it_was_queued() {
    let mut world = world();
    down(&mut world);
    let id = ask(&mut world, "chain");
    let name = answered(&mut world, id).header("x-tidegate-request-id").to_owned();
    let gateway = world.gateway();
    let account = gateway.records().find(&name).unwrap().account(gateway.config());
    assert_eq!((account.ending.how, account.ending.status), (How::Queued, Some(202)));
}
