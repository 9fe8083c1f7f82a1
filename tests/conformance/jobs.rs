//! Requests that nobody can serve: kept, carried out once somebody can, and told to nobody but whoever asked.

use serde_json::{Value, json};
use tidegate_tests::gateway::{Gateway, Scratch};
use tidegate_tests::http::{Reply, Request};
use tidegate_tests::vendors::Vendors;
use tidegate_tests::wait;
use tidegate_tests::world::{
    CLIENT_KEY, CONFORMANCE, GUEST_KEY, NEIGHBOUR_KEY, WEBHOOK, World, chat, question, setup, streamed,
};

use crate::check::{refused, refused_for_now};

/// The id of the job that a request has become.
#[track_caller]
fn queued(reply: Reply) -> String {
    let reply = reply.expect(202);
    let told = reply.json();
    assert_eq!((&told["status"], &told["object"]), (&json!("queued"), &json!("queue.job")), "{reply}");
    let id = told["id"].as_str().expect("an id").to_owned();
    assert_eq!(reply.header("location"), format!("/v1/queue/{id}"), "{reply}");
    assert!(reply.header("retry-after").parse::<u64>().is_ok_and(|seconds| seconds >= 1), "{reply}");
    assert!(reply.header("x-tidegate-request-id").starts_with("tg-"), "{reply}");
    id
}

async fn look(to: &Gateway, id: &str) -> Reply {
    with_key(Request::get(&format!("/v1/queue/{id}")), CLIENT_KEY).send(to.address).await
}

fn with_key(request: Request, key: &str) -> Request {
    request.header("authorization", &format!("Bearer {key}"))
}

/// The job as its client sees it once it is over.
async fn over(gateway: &Gateway, id: &str) -> Value {
    wait::until(&format!("{id} to be over"), async || {
        let told = look(gateway, id).await.expect(200).json();
        (told["status"] != "pending" && told["status"] != "running").then_some(told)
    })
    .await
}

pub(crate) async fn queue_when_all_are_down(world: &World) {
    world.a.answers("kept-1", 503).await;
    world.b.answers("kept-2", 503).await;
    let plain = queued(world.ask("kept").await);
    let reply = world.stream("kept").await;
    assert!(reply.json()["message"].as_str().unwrap().ends_with("It will be whole, not a stream."), "{reply}");
    let stream = queued(reply);
    let reply = look(&world.gateway, &plain).await.expect(200);
    let told = reply.json();
    assert_eq!((&told["model"], &told["reply"]), (&json!("kept"), &Value::Null), "{told}");
    assert!(told["status"] == "pending" || told["status"] == "running", "{told}");
    assert!(!reply.header("retry-after").is_empty(), "{reply}");

    world.b.heal("kept-2").await;
    for id in [&plain, &stream] {
        let told = over(&world.gateway, id).await;
        assert_eq!((&told["status"], &told["reply"]["status"]), (&json!("done"), &json!(200)), "{told}");
        assert_eq!(told["reply"]["body"]["object"], "chat.completion", "{told}");
        assert!(told["reply"]["content_type"].as_str().unwrap().starts_with("application/json"), "{told}");
        assert!(told["attempts"].as_u64() >= Some(1), "{told}");
    }
    let before = world.b.count("kept-2").await;
    let again = look(&world.gateway, &plain).await.expect(200).json();
    assert_eq!(again["status"], "done", "as often as it is asked for");
    assert_eq!(world.b.count("kept-2").await, before, "and carried out once");
    world.a.heal("kept-1").await;
}

pub(crate) async fn one_idempotency_key_is_one_job(world: &World) {
    world.a.answers("keyed-1", 503).await;
    let ask = async |key: &str| queued(world.send(chat(&question("keyed")).header("idempotency-key", key)).await);
    let (first, second, other) = (ask("k-1").await, ask("k-1").await, ask("k-2").await);
    assert_eq!(first, second);
    assert_ne!(first, other);
    let mut another = question("keyed");
    another["messages"][0]["content"] = json!("Something else altogether");
    // The answer to one question is none to another.
    refused(world.send(chat(&another).header("idempotency-key", "k-1")).await, 502, "upstream_error");
    let error = refused(
        world.send(chat(&question("keyed")).header("idempotency-key", &"k".repeat(256))).await,
        400,
        "invalid_request",
    );
    assert_eq!(error["param"], "idempotency-key");
    world.a.heal("keyed-1").await;
    for id in [&first, &other] {
        assert_eq!(over(&world.gateway, id).await["status"], "done");
    }
}

pub(crate) async fn jobs_are_their_clients_own(world: &World) {
    world.a.answers("owned-1", 503).await;
    let id = queued(world.ask("owned").await);
    let path = format!("/v1/queue/{id}");
    for request in [Request::get(&path), Request::new("DELETE", &path)] {
        refused(with_key(request, GUEST_KEY).send(world.gateway.address).await, 404, "unknown_job");
    }
    refused(Request::get(&path).send(world.gateway.address).await, 401, "invalid_api_key");
    refused(world.send(Request::post(&path, &json!({}))).await, 405, "method_not_allowed");
    let deleted = world.send(Request::new("DELETE", &path)).await.expect(200).json();
    assert_eq!(deleted, json!({"object": "queue.job", "id": id, "deleted": true}));
    refused(look(&world.gateway, &id).await, 404, "unknown_job");
    refused(look(&world.gateway, "job_0123").await, 404, "unknown_job");

    // One that came after it is carried out, and it is not.
    let mut body = question("owned");
    body["user"] = json!("the later one");
    let later = queued(world.send(chat(&body)).await);
    world.a.heal("owned-1").await;
    assert_eq!(over(&world.gateway, &later).await["status"], "done");
    let seen = world.a.requests("owned-1").await;
    assert_eq!(seen.last().unwrap().body()["user"], "the later one");
}

pub(crate) async fn clients_allow_and_forbid_the_queue(world: &World) {
    world.a.answers_times("allowed-1", 2, 503).await;
    world.a.answers("allowed-1", 400).await;
    let ask = async |model: &str, says: &str| world.send(chat(&question(model)).header("x-tidegate-queue", says)).await;
    let reply = ask("allowed", "never").await;
    refused(reply, 502, "upstream_error");
    let id = queued(ask("allowed", "allow").await);
    let error = refused(ask("allowed", "perhaps").await, 400, "invalid_request");
    assert_eq!(error["param"], "x-tidegate-queue");
    // What is wrong with it itself does not get better.
    assert_eq!(ask("allowed", "allow").await.status, 400);
    let told = over(&world.gateway, &id).await;
    assert_eq!((&told["status"], &told["reason"]), (&json!("failed"), &json!("refused")), "{told}");
    assert!(told["error"]["message"].is_string(), "{told}");
    assert!(world.a.requests("allowed-1").await.iter().all(|seen| seen.headers()["x-tidegate-queue"].is_null()));
    world.a.heal("allowed-1").await;
}

pub(crate) async fn a_job_that_nobody_can_serve_is_given_up(world: &World) {
    world.a.answers("lost-1", 503).await;
    let id = queued(world.ask("lost").await);
    let told = over(&world.gateway, &id).await;
    assert_eq!((&told["status"], &told["reason"]), (&json!("failed"), &json!("attempts")), "{told}");
    assert_eq!((&told["attempts"], &told["error"]["code"]), (&json!(40), &json!("upstream_error")), "{told}");
    assert_eq!(world.a.count("lost-1").await, 41, "once when it came, and then as often as a job is tried");
}

pub(crate) async fn a_job_waits_no_longer_than_it_may(world: &World) {
    world.a.answers("expires-1", 503).await;
    let id = queued(world.ask("expires").await);
    let told = look(&world.gateway, &id).await.expect(200).json();
    let expires_at = told["expires_at"].as_u64().unwrap();
    assert_eq!(expires_at - told["created_at"].as_u64().unwrap(), 3, "{told}");
    let told = over(&world.gateway, &id).await;
    assert_eq!((&told["status"], &told["reply"]), (&json!("expired"), &Value::Null), "{told}");
    assert!(told["finished_at"].as_u64() >= Some(expires_at), "{told}");
    let tries = told["attempts"].as_u64().unwrap();
    assert!(tries > 1, "until then it was tried: {told}");
    assert_eq!(world.a.count("expires-1").await, 1 + tries, "once when it came, and then as a job");
}

pub(crate) async fn an_answer_is_kept_no_longer_than_it_may(world: &World) {
    world.a.answers_times("fades-1", 1, 503).await;
    let id = queued(world.ask("fades").await);
    assert_eq!(over(&world.gateway, &id).await["status"], "done");
    let gone = wait::until("its answer to be gone", async || {
        let reply = look(&world.gateway, &id).await;
        (reply.status != 200).then_some(reply)
    })
    .await;
    refused(gone, 404, "unknown_job");
    assert_eq!(world.a.count("fades-1").await, 2, "it is forgotten, and not carried out again");
}

pub(crate) async fn operators_see_all_jobs(world: &World) {
    let survey = async |query: &str| world.admin(Request::get(&format!("/admin/queue?model=shown{query}"))).await;
    world.a.answers("shown-1", 503).await;
    let first = queued(world.ask("shown").await);
    let second = queued(with_key(chat(&question("shown")), NEIGHBOUR_KEY).send(world.gateway.address).await);
    let reply = survey("").await.expect(200);
    let told = reply.json();
    let row = |nth: usize| (told["jobs"][nth]["id"].as_str().unwrap(), told["jobs"][nth]["client"].as_str().unwrap());
    assert_eq!(
        (row(0), row(1)),
        ((second.as_str(), "neighbour"), (first.as_str(), "tests")),
        "the latest first: {told}"
    );
    let waits = |status: &Value| *status == "pending" || *status == "running";
    assert!(waits(&told["jobs"][0]["status"]) && told["jobs"][0]["over_ms"].is_null(), "{told}");
    let count = |name: &str| told["counts"][name].as_u64().unwrap();
    assert!(count("pending") + count("running") >= 2 && told["bytes"].as_u64() > Some(0), "{told}");
    for secret in ["Is the tide in?", CLIENT_KEY, NEIGHBOUR_KEY] {
        assert!(!reply.text().contains(secret), "{secret} is in {reply}");
    }
    let page = survey("&limit=1").await.expect(200).json();
    let rest = survey(&format!("&limit=1&before={}", page["next"])).await.expect(200).json();
    assert_eq!((&page["jobs"][0]["id"], &rest["jobs"][0]["id"]), (&json!(second), &json!(first)));
    assert_eq!((page["jobs"].as_array().map(Vec::len), &rest["next"]), (Some(1), &Value::Null));
    let of_one = survey("&client=neighbour").await.expect(200).json();
    assert_eq!(of_one["jobs"].as_array().map(Vec::len), Some(1), "{of_one}");

    world.a.heal("shown-1").await;
    world.a.answers("shown-1", 400).await;
    let given_up = wait::until("both to be given up", async || {
        let told = survey("&status=failed").await.expect(200).json();
        (told["jobs"].as_array().map(Vec::len) == Some(2)).then_some(told)
    })
    .await;
    assert!(given_up["failed"]["refused"].as_u64() >= Some(2), "{given_up}");
    for row in given_up["jobs"].as_array().unwrap() {
        assert!(row["reason"] == "refused" && row["attempts"].as_u64() >= Some(1) && row["over_ms"].is_u64(), "{row}");
    }
    refused(survey("&status=lost").await, 400, "invalid_request");
}

pub(crate) async fn a_job_that_takes_long_holds_up_no_other(world: &World) {
    world.a.answers_times("tarry-1", 1, 503).await;
    world.a.fault("tarry-1", json!({"kind": "hang"})).await;
    let slow = queued(world.ask("tarry").await);
    wait::until("it to be carried out", async || (world.a.count("tarry-1").await == 2).then_some(())).await;
    world.a.answers("brisk-1", 503).await;
    let quick = queued(world.ask("brisk").await);
    world.a.heal("brisk-1").await;
    assert_eq!(over(&world.gateway, &quick).await["status"], "done");
    assert_eq!(look(&world.gateway, &slow).await.expect(200).json()["status"], "running");
    world.a.heal("tarry-1").await;
}

pub(crate) async fn what_is_too_large_is_not_queued(world: &World) {
    world.a.answers("bulky-1", 503).await;
    let mut body = question("bulky");
    body["messages"][0]["content"] = json!("tide ".repeat(4000));
    refused(world.send(chat(&body)).await, 502, "upstream_error");
    queued(world.ask("bulky").await);
    world.a.heal("bulky-1").await;
}

/// In a gateway of its own: in a queue that is full, nobody else has room.
pub(crate) async fn the_queue_has_bounds(shared: &World) {
    let world = World::start(shared.runtime, CONFORMANCE).await;
    let open = json!({"target": "a/hoarded-1", "order": "open", "for": "30m"});
    let _ = world.admin(Request::post("/admin/breakers", &open)).await.expect(200);
    let ask = async |key: &str, content: &str| {
        let mut body = question("hoarded");
        body["messages"][0]["content"] = json!(content);
        with_key(chat(&body), key).send(world.gateway.address).await
    };
    // Until there is room for no more of them; what is beyond hears what it would have heard without a queue.
    let fill = async |key: &str, content: &str| {
        let mut count = 0;
        loop {
            let reply = ask(key, content).await;
            if reply.status != 202 {
                refused_for_now(reply, 503, "circuit_open", false);
                return count;
            }
            queued(reply);
            count += 1;
            assert!(count < 100, "there is no bound");
        }
    };
    let survey = async || world.admin(Request::get("/admin/queue?limit=1")).await.expect(200).json();
    assert_eq!(fill(CLIENT_KEY, "tide").await, 20, "as many as one client may have");

    // Another one has room still, until all of them together are too large.
    let large = "tide ".repeat(2800);
    let larges = fill(NEIGHBOUR_KEY, &large).await;
    let told = survey().await;
    let (bytes, bytes_max) = (told["bytes"].as_u64().unwrap(), 128 << 10);
    let one_more = bytes + u64::try_from(large.len()).unwrap() + 1000;
    assert!(larges < 12 && bytes <= bytes_max && one_more > bytes_max, "{larges} of them: {told}");

    // Small ones have room, until there are too many.
    assert_eq!(larges + fill(NEIGHBOUR_KEY, "tide").await, 12, "and twenty of the other");
    let told = survey().await;
    assert_eq!((&told["counts"]["pending"], &told["jobs_max"]), (&json!(32), &json!(32)), "{told}");
    assert_eq!(world.a.count("hoarded-1").await, 0, "nobody is asked meanwhile");
}

pub(crate) async fn the_webhook_is_told_once(world: &World) {
    world.c.path_answers(WEBHOOK, 200).await;
    world.a.answers("noted-1", 503).await;
    let id = queued(world.ask("noted").await);
    world.a.heal("noted-1").await;
    assert_eq!(over(&world.gateway, &id).await["status"], "done");
    // It is told which route was asked, as `model`.
    let seen = wait::until("the webhook to be told", async || world.c.requests("noted").await.pop()).await;
    assert_eq!((seen.path(), &seen.body()["object"]), (WEBHOOK, &json!("queue.job")), "{}", seen.text());
    assert_eq!((&seen.body()["id"], &seen.body()["status"]), (&json!(id), &json!("done")), "{}", seen.text());
    assert_eq!(seen.body()["client"], "tests", "{}", seen.text());
    assert!(!seen.text().contains("tide"), "nothing of what was asked and answered: {}", seen.text());
    let signature = seen.headers()["x-tidegate-signature"].as_str().expect("a signature").to_owned();
    assert!(signature.starts_with("sha256=") && signature.len() == 7 + 64, "{signature}");

    // One that came later is told too, and by then the first has not been told again.
    let later = queued_again(world, "noted-1", "noted").await;
    wait::until("the webhook to be told of the other", async || {
        let seen = world.c.requests("noted").await;
        seen.iter().any(|seen| seen.body()["id"] == *later).then_some(())
    })
    .await;
    assert_eq!(world.c.count("noted").await, 2, "each of them once");
}

/// A job that is done by the time this returns.
async fn queued_again(world: &World, model: &str, route: &str) -> String {
    world.a.answers_times(model, 1, 503).await;
    let id = queued(world.ask(route).await);
    assert_eq!(over(&world.gateway, &id).await["status"], "done");
    id
}

pub(crate) async fn jobs_survive_a_restart(world: &World) {
    let vendors = Vendors::start().await;
    let setup = setup(world.runtime, &vendors, Scratch::new());
    vendors.a.answers("kept-1", 503).await;
    vendors.b.answers("kept-2", 503).await;
    let first = Gateway::start(&setup);
    let mut jobs = Vec::new();
    for body in [question("kept"), streamed("kept"), question("kept")] {
        jobs.push(queued(with_key(chat(&body), CLIENT_KEY).send(first.address).await));
    }
    drop(first);

    vendors.a.heal("kept-1").await;
    vendors.b.heal("kept-2").await;
    let second = Gateway::start(&setup);
    // At the edge the object is woken by its alarm, or by whoever asks.
    for id in &jobs {
        let told = over(&second, id).await;
        assert_eq!((&told["status"], &told["reply"]["status"]), (&json!("done"), &json!(200)), "{told}");
    }
}
