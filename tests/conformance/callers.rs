//! A request that is itself at fault: the caller hears it from the vendor, once, and nobody else is bothered.

use serde_json::{Value, json};
use tidegate_tests::world::World;

use crate::check::{marked, served, streamed};

pub(crate) async fn vendors_refusal_verbatim(world: &World) {
    for status in [400, 404, 413, 415, 422] {
        // Its spaces and its order are the vendor's own.
        let body = format!(r#"{{ "error": {{"code":null, "message":"Your temperature is {status}","type": "x" }} }}"#);
        let headers = json!({"content-type": "application/json; charset=utf-8"});
        let fault = json!({"kind": "status", "status": status, "body": body, "headers": headers});
        world.a.fault_times("verbatim-1", 2, fault).await;
        for reply in [world.ask("verbatim").await, world.stream("verbatim").await] {
            let reply = reply.expect(status);
            marked(&reply, "a/verbatim-1", 1);
            assert_eq!(reply.text(), body);
            assert_eq!(reply.header("content-type"), "application/json; charset=utf-8");
        }
    }
    assert_eq!(world.b.count("verbatim-2").await, 0);
}

pub(crate) async fn context_goes_to_a_larger_model(world: &World) {
    world.a.fault("long-1", json!({"kind": "context_length"})).await;
    served(world.ask("long").await, "c/long-3", 2);
    streamed(world.stream("long").await, "c/long-3", 2);
    assert_eq!(world.b.count("long-2").await, 0, "its context is no larger");
}

pub(crate) async fn context_fits_nowhere(world: &World) {
    world.a.fault("too-long-1", json!({"kind": "context_length"})).await;
    let reply = world.ask("too-long").await.expect(400);
    marked(&reply, "a/too-long-1", 1);
    assert_eq!(reply.json()["error"]["code"], "context_length_exceeded", "in the vendor's own words");
    assert!(reply.json()["error"]["message"].as_str().unwrap().contains("8192 tokens"), "{reply}");
    assert_eq!(world.b.count("too-long-2").await, 0);
}

pub(crate) async fn content_filter_returned(world: &World) {
    world.a.fault_times("filtered-1", 1, refusal()).await;
    let reply = world.ask("filtered").await.expect(400);
    marked(&reply, "a/filtered-1", 1);
    assert_eq!(reply.json()["error"]["code"], "content_filter", "{reply}");

    world.a.fault("filtered-1", stopped()).await;
    let reply = world.ask("filtered").await.expect(200);
    marked(&reply, "a/filtered-1", 1);
    assert_eq!(reply.json()["choices"][0]["finish_reason"], "content_filter", "{reply}");
    let reply = world.stream("filtered").await.expect(200);
    marked(&reply, "a/filtered-1", 1);
    assert!(reply.text().contains("\"finish_reason\":\"content_filter\""), "{reply}");
    assert_eq!(reply.events().last().map(String::as_str), Some("[DONE]"), "it is an end like another: {reply}");
    assert_eq!(world.b.count("filtered-2").await, 0);
}

pub(crate) async fn content_filter_rerouted(world: &World) {
    world.a.fault_times("rerouted-1", 1, refusal()).await;
    served(world.ask("rerouted").await, "b/rerouted-2", 2);
    world.a.fault("rerouted-1", stopped()).await;
    served(world.ask("rerouted").await, "b/rerouted-2", 2);
}

pub(crate) async fn content_filter_everywhere(world: &World) {
    world.a.fault("nowhere-1", refusal()).await;
    world.b.fault("nowhere-2", refusal()).await;
    let reply = world.ask("nowhere").await.expect(400);
    assert_eq!(reply.json()["error"]["code"], "content_filter", "{reply}");
    assert_eq!((world.a.count("nowhere-1").await, world.b.count("nowhere-2").await), (1, 1), "each is asked once");
}

pub(crate) async fn callers_fault_never_trips(world: &World) {
    world.a.answers_times("innocent-1", 3, 400).await;
    for _ in 0..3 {
        let _ = world.ask("innocent").await.expect(400);
    }
    assert_eq!(world.breaker("a/innocent-1").await, "closed", "one failure would have opened it");
    served(world.ask("innocent").await, "a/innocent-1", 1);
    assert_eq!(world.target("a/innocent-1").await["attempts"]["caller_faults"], 3);
}

/// A filter that refuses the prompt.
fn refusal() -> Value {
    json!({"kind": "content_filter"})
}

/// A filter that stops the answer.
fn stopped() -> Value {
    json!({"kind": "content_filter", "finish_reason": true})
}
