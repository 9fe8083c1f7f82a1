//! A stream that breaks off while the client reads it, on routes that have another vendor go on with it.

use serde_json::{Value, json};
use tidegate_tests::world::World;

use crate::apis::{Api, End};
use crate::check::{interrupted, marked, streamed, text_of};

/// What an answer of the sandbox begins with, before it says which vendor it is.
const BEGINNING: &str = "This is a simulated answer by the sandbox vendor ";

pub(crate) async fn continued_across_dialects(world: &World) {
    world.a.fault("continued-1", json!({"kind": "cut", "after_tokens": 4})).await;
    for api in Api::ALL {
        let reply = world.send(api.ask(&api.streamed("continued"))).await.expect(200);
        marked(&reply, "a/continued-1", 1);
        assert_eq!(reply.text().matches(": tidegate rescued by anthropic/continued-2\n\n").count(), 1, "{reply}");
        let heard = api.heard(&reply);
        assert!(heard.text.starts_with(BEGINNING), "nothing twice, nothing lost: {reply}");
        assert!(heard.text.contains("standing in for continued-2"), "{reply}");
        assert_eq!((heard.model.as_str(), heard.end.as_str()), ("continued-1", api.word(End::Stop)), "{reply}");
    }
    for asked in world.b.requests("continued-2").await {
        let last = asked.body()["messages"].as_array().and_then(|messages| messages.last());
        let last = last.map(|last| (last["role"].as_str(), last["content"][0]["text"].as_str()));
        assert_eq!(last, Some((Some("assistant"), Some("This is a simulated"))), "{}", asked.body());
    }
}

pub(crate) async fn restarted(world: &World) {
    world.a.fault("restarted-1", json!({"kind": "cut", "after_tokens": 4})).await;
    let text = text_of(&streamed(world.stream("restarted").await, "a/restarted-1", 1));
    assert!(text.starts_with(BEGINNING) && text.contains("standing in for restarted-2"), "{text}");
    assert_eq!(text.matches("This is a").count(), 1, "{text}");
    assert_eq!(world.b.count("restarted-2").await, 1);
}

pub(crate) async fn restart_tells_another_answer(world: &World) {
    world.a.fault("diverged-1", json!({"kind": "cut", "after_tokens": 12})).await;
    let (chunks, error) = interrupted(world.stream("diverged").await, "a/diverged-1");
    assert!(text_of(&chunks).starts_with(BEGINNING) && !text_of(&chunks).contains("diverged-2"));
    assert_eq!(outcomes(&error), ["cut", "neutral"], "{error}");
    assert_eq!(world.target("b/diverged-2").await["breaker"]["window"]["failures"], 0, "it did nothing wrong");
}

pub(crate) async fn rescue_fails_too(world: &World) {
    world.a.fault("unrescued-1", json!({"kind": "cut", "after_tokens": 3})).await;
    world.b.answers("unrescued-2", 503).await;
    let (chunks, error) = interrupted(world.stream("unrescued").await, "a/unrescued-1");
    assert_eq!(text_of(&chunks), "This is a ");
    assert!(error["message"].as_str().is_some_and(|said| said.contains("a/unrescued-1 broke off (cut)")), "{error}");
    let outcomes = outcomes(&error);
    assert!(outcomes.len() >= 2 && outcomes[0] == "cut" && outcomes[1] == "upstream_status", "{error}");
}

fn outcomes(error: &Value) -> Vec<&str> {
    let attempts = error["metadata"]["attempts"].as_array().into_iter().flatten();
    attempts.filter_map(|attempt| attempt["outcome"].as_str()).collect()
}
