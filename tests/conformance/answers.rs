//! When nothing fails: what goes in, what comes out, and what the vendor sees of it.

use serde_json::{Value, json};
use tidegate_tests::http::{Reply, Request};
use tidegate_tests::vendors::Seen;
use tidegate_tests::world::{World, chat, question};

use crate::check::{marked, refused, served, streamed};

pub(crate) async fn plain(world: &World) {
    let body = json!({
        "model": "plain", "temperature": 0.70, "metadata": {"run": "7"},
        "messages": [{"role": "user", "content": "Ist die Flut da? 🌊"}],
    });
    let request = chat(&body)
        .header("x-tidegate-task", "general")
        .header("cookie", "session=of-the-client")
        .header("openai-organization", "org-of-the-client")
        .header("x-forwarded-for", "203.0.113.7");
    let reply = world.send(request).await;
    let answer = served(reply.clone(), "a/plain-1", 1);
    assert_eq!(answer["model"], "plain-2025-04-14", "what served is what the vendor calls it");
    assert!(answer["choices"][0]["message"]["content"].as_str().unwrap().ends_with("\"Ist die Flut da? 🌊\""));
    assert_eq!(reply.header("x-tidegate-cost"), cost(&answer, 1_500_000, 6_000_000));

    let seen = world.a.only("plain-2025-04-14").await;
    let mut expected = body;
    expected["model"] = "plain-2025-04-14".into();
    assert_eq!(*seen.body(), expected, "only the model's name has changed");
    assert_eq!(seen.key(), "…aaaa", "the vendor gets the gateway's key, not the client's");
    assert_only_ours(&seen);
}

pub(crate) async fn unknown_price_is_unknown(world: &World) {
    let reply = world.ask("unpriced").await;
    assert_eq!(reply.header("x-tidegate-cost"), "unknown", "which is not 0");
    served(reply, "a/unpriced-1", 1);
}

pub(crate) async fn stream(world: &World) {
    let reply = world.stream("stream").await;
    assert!(reply.header("cache-control").contains("no-transform"), "{reply}");
    streamed(reply.clone(), "a/stream-1", 1);

    let seen = world.a.only("stream-2025-04-14").await;
    assert_eq!(seen.body()["stream_options"], json!({"include_usage": true}), "usage is always asked for");
    assert_only_ours(&seen);
    let usage_at = |chunk: &str| chunk.contains("\"choices\":[]");
    let own = vendors_own_stream(world, "stream-2025-04-14").await;
    let without_usage: Vec<&str> = own.split_inclusive("\n\n").filter(|chunk| !usage_at(chunk)).collect();
    assert_eq!(same_id(&reply.text()), without_usage.concat(), "all else are the vendor's own bytes");
}

pub(crate) async fn stream_with_usage(world: &World) {
    let mut body = tidegate_tests::world::streamed("usage");
    body["stream_options"] = json!({"include_usage": true});
    let reply = world.send(chat(&body)).await.expect(200);
    marked(&reply, "a/usage-1", 1);
    assert_eq!(same_id(&reply.text()), vendors_own_stream(world, "usage-1").await, "the vendor's own bytes");
    let events = reply.events();
    let usage: Value = serde_json::from_str(&events[events.len() - 2]).expect("the usage comes before [DONE]");
    assert_eq!(usage["choices"], json!([]));
    assert!(usage["usage"]["total_tokens"].as_u64().unwrap() > 0, "{reply}");
}

pub(crate) async fn usage_that_is_refused_is_not_sent(world: &World) {
    let mut body = tidegate_tests::world::streamed("no-usage");
    body["stream_options"] = json!({"include_usage": false, "include_obfuscation": false});
    streamed(world.send(chat(&body)).await, "a/no-usage-1", 1);
    let seen = world.a.only("no-usage-1").await;
    assert_eq!(seen.body()["stream_options"], json!({"include_usage": true, "include_obfuscation": false}));
}

pub(crate) async fn embeddings(world: &World) {
    let body = json!({"model": "vectors", "input": ["ebb", "flow"], "encoding_format": "float"});
    let reply = world.send(Request::post("/v1/embeddings", &body)).await;
    let answer = reply.clone().expect(200).json();
    marked(&reply, "a/vectors-1", 1);
    assert_eq!(answer["model"], "text-embedding-1");
    assert_eq!(answer["data"].as_array().unwrap().len(), 2);
    assert_eq!(reply.header("x-tidegate-cost"), cost(&answer, 20_000, 0));
    assert_eq!(world.a.only("text-embedding-1").await.body()["input"], json!(["ebb", "flow"]));

    world.a.answers("text-embedding-1", 503).await;
    let reply = world.send(Request::post("/v1/embeddings", &body)).await.expect(200);
    marked(&reply, "b/vectors-2", 2);
    assert_eq!(reply.json()["model"], "vectors-2");
}

pub(crate) async fn models(world: &World) {
    let list = world.send(Request::get("/v1/models")).await.expect(200).json();
    assert_eq!(list["object"], "list");
    let owner = |id: &str| {
        let models = list["data"].as_array().unwrap();
        let model = models.iter().find(|model| model["id"] == id).unwrap_or_else(|| panic!("no {id} in {list}"));
        // As OpenAI's clients read it, and as Anthropic's do.
        assert_eq!((&model["object"], &model["type"]), (&json!("model"), &json!("model")));
        assert_eq!(model["display_name"], id);
        model["owned_by"].clone()
    };
    assert_eq!(list["has_more"], false);
    assert_eq!(owner("plain"), "tidegate", "a route");
    assert_eq!(owner("route-alias"), "tidegate", "an alias");
    assert_eq!(owner("a/plain-1"), "a", "a model of a vendor");
    assert_eq!(owner("bare"), "b", "a bare name");

    for path in ["/v1/models/plain", "/v1/models/a/plain-1", "/v1/models/a%2Fplain-1"] {
        let model = world.send(Request::get(path)).await.expect(200).json();
        assert!(path.replace("%2F", "/").ends_with(model["id"].as_str().unwrap()), "{path}: {model}");
    }
    let error = refused(world.send(Request::get("/v1/models/no-such")).await, 404, "model_not_found");
    assert!(error["message"].as_str().unwrap().contains("`no-such`"), "{error}");
}

pub(crate) async fn names(world: &World) {
    for name in ["bare", "b/bare"] {
        served(world.ask(name).await, "b/bare", 1);
    }
    for name in ["named", "route-alias", "target-alias", "a/named-1", "named-1"] {
        served(world.ask(name).await, "a/named-1", 1);
    }
    let without_v1 = Request::post("/chat/completions", &question("bare"));
    served(world.send(without_v1).await, "b/bare", 1);
}

pub(crate) async fn request_ids_differ(world: &World) {
    let first = world.ask("bare").await;
    let second = world.ask("bare").await;
    assert_ne!(first.header("x-tidegate-request-id"), second.header("x-tidegate-request-id"));
}

/// The price of an answer at these picodollars per token, as the gateway writes it.
fn cost(answer: &Value, input: u64, output: u64) -> String {
    let usage = |name: &str| answer["usage"][name].as_u64().unwrap_or(0);
    let picodollars = usage("prompt_tokens") * input + usage("completion_tokens") * output;
    assert!((1..1_000_000_000_000).contains(&picodollars), "{answer}");
    format!("0.{picodollars:012}").trim_end_matches('0').to_owned()
}

/// Of a client's headers none is passed on, and the gateway's own hints least of all.
fn assert_only_ours(seen: &Seen) {
    let headers = seen.headers().as_object().expect("a table");
    for name in headers.keys() {
        // `cf-worker` is the platform's own: a worker cannot leave it out.
        let ours = ["accept", "accept-encoding", "cf-worker", "content-length", "content-type", "host", "user-agent"];
        let ours = ours.contains(&name.as_str());
        assert!(ours, "{name} reached the vendor: {headers:?}");
    }
    assert_eq!(headers["content-type"], "application/json");
    assert!(headers["user-agent"].as_str().unwrap().starts_with("tidegate/"), "{headers:?}");
}

/// What the vendor says when it is asked for a stream without a gateway in between.
async fn vendors_own_stream(world: &World, model: &str) -> String {
    let mut body = tidegate_tests::world::streamed(model);
    body["stream_options"] = json!({"include_usage": true});
    let own: Reply = world.a.ask(chat(&body).header("authorization", "Bearer sk-of-the-test")).await;
    same_id(&own.expect(200).text())
}

/// The stream with the two fields that differ from answer to answer, its id and its second, made the same.
fn same_id(stream: &str) -> String {
    let first: Value = serde_json::from_str(stream["data: ".len()..].lines().next().unwrap()).expect("a chunk");
    let created = format!("\"created\":{}", first["created"]);
    stream.replace(first["id"].as_str().unwrap(), "ID").replace(&created, "\"created\":0")
}
