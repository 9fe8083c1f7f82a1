//! A vendor that fails while it streams: unseen before the first token, said in the stream after it.

use serde_json::{Value, json};
use tidegate_tests::world::{World, chat, long_streamed, question, streamed as streamed_body};

use crate::apis::Api;
use crate::check::{interrupted, streamed, text_of};

pub(crate) async fn cut_before_the_first_token(world: &World) {
    world.a.fault("early-cut-1", json!({"kind": "cut", "after_tokens": 0})).await;
    let chunks = streamed(world.stream("early-cut").await, "b/early-cut-2", 2);
    let roles = chunks.iter().filter(|chunk| chunk["choices"][0]["delta"]["role"] == "assistant");
    assert_eq!(roles.count(), 1, "of the first vendor's stream nothing was passed on");
}

pub(crate) async fn cut_after_the_first_token(world: &World) {
    world.a.fault("late-cut-1", json!({"kind": "cut", "after_tokens": 3})).await;
    let (chunks, error) = interrupted(world.stream("late-cut").await, "a/late-cut-1");
    assert_eq!(text_of(&chunks), "This is a ");
    assert_eq!(error["metadata"]["attempts"][0]["outcome"], "cut", "{error}");
    assert_eq!(world.b.count("late-cut-2").await, 0, "a stream that has begun is never switched silently");
}

pub(crate) async fn stall(world: &World) {
    world.a.fault("stall-1", json!({"kind": "stall", "after_tokens": 2})).await;
    let (chunks, error) = interrupted(world.stream("stall").await, "a/stall-1");
    assert_eq!(text_of(&chunks), "This is ");
    assert_eq!(error["metadata"]["attempts"][0]["outcome"], "stalled", "{error}");
    world.a.saw_cancellation("stall-1").await;

    world.a.heal("stall-1").await;
    world.a.fault("stall-1", json!({"kind": "stall", "after_tokens": 0})).await;
    streamed(world.stream("stall").await, "b/stall-2", 2);
}

pub(crate) async fn a_long_wait_is_commented(world: &World) {
    world.a.fault_times("slept-1", 1, json!({"kind": "slow_first_token", "ms": 4000})).await;
    let reply = world.stream("a/slept-1").await.expect(200);
    assert!(reply.text().starts_with(": tidegate\n\n"), "before anybody has said anything: {reply}");
    assert_eq!(reply.header("content-type"), "text/event-stream; charset=utf-8", "{reply}");
    assert_eq!(reply.events().last().map(String::as_str), Some("[DONE]"), "{reply}");
    assert!(!world.stream("a/slept-1").await.text().contains(": tidegate"), "who is not kept waiting needs none");
}

pub(crate) async fn malformed_chunk(world: &World) {
    world.a.fault("garbage-1", json!({"kind": "malformed_chunk", "after_tokens": 2})).await;
    let reply = world.stream("garbage").await;
    assert!(!reply.text().contains("not json"), "what does not read is left out: {reply}");
    let chunks = streamed(reply, "a/garbage-1", 1);
    assert!(text_of(&chunks).starts_with("This is a simulated"), "and nothing else is");
    assert_eq!(world.target("a/garbage-1").await["attempts"]["successes"], 1);
}

pub(crate) async fn no_done(world: &World) {
    world.a.fault("no-done-1", json!({"kind": "no_done"})).await;
    // A finish reason says that it was all: `[DONE]` is supplied, since the SDKs wait for it.
    streamed(world.stream("no-done").await, "a/no-done-1", 1);
}

pub(crate) async fn no_reason(world: &World) {
    // That it was all is said by `[DONE]` and by `message_stop`, too, and to each client in its own way.
    let stream = |events: &str| {
        let headers = json!({"content-type": "text/event-stream"});
        json!({"kind": "status", "status": 200, "headers": headers, "body": events})
    };
    let openai = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"In.\"}}]}\n\ndata: [DONE]\n\n";
    let anthropic = [
        json!({"type": "message_start", "message": {"id": "msg_1", "usage": {"input_tokens": 4, "output_tokens": 1}}}),
        json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "In."}}),
        json!({"type": "content_block_stop", "index": 0}),
        json!({"type": "message_stop"}),
    ];
    let event = |data: &Value| format!("event: {}\ndata: {data}\n\n", data["type"].as_str().unwrap());
    world.a.fault("no-reason", stream(openai)).await;
    world.b.fault("no-reason", stream(&anthropic.iter().map(event).collect::<String>())).await;
    for target in ["a/no-reason", "anthropic/no-reason"] {
        for (api, end) in [(Api::Chat, "[DONE]"), (Api::Messages, "message_stop"), (Api::Responses, "completed")] {
            let reply = world.send(api.ask(&api.streamed(target))).await.expect(200);
            assert!(reply.text().contains("In.") && reply.text().contains(end), "{reply}");
            assert!(!reply.text().contains("error\":{"), "{reply}");
        }
        let target = world.target(target).await;
        assert_eq!(target["attempts"]["successes"], 3, "{target}");
    }
}

pub(crate) async fn no_finish(world: &World) {
    world.a.fault("no-finish-1", json!({"kind": "no_finish"})).await;
    // It ends like any other but for the finish reason: without the gateway, nobody would notice what is missing.
    let (chunks, _) = interrupted(world.stream("no-finish").await, "a/no-finish-1");
    assert!(text_of(&chunks).contains("no model was called"), "{chunks:?}");
}

pub(crate) async fn error_before_the_first_token(world: &World) {
    world.a.fault("early-error-1", json!({"kind": "error_in_200", "after_tokens": 0})).await;
    streamed(world.stream("early-error").await, "b/early-error-2", 2);
}

pub(crate) async fn error_after_the_first_token(world: &World) {
    let error = json!({"message": "worker 10.0.0.7 has died", "type": "server_error", "code": null});
    world.a.fault("late-error-1", json!({"kind": "error_in_200", "after_tokens": 1, "error": error})).await;
    let reply = world.stream("late-error").await;
    assert!(!reply.text().contains("10.0.0.7"), "{reply}");
    let (chunks, error) = interrupted(reply, "a/late-error-1");
    assert_eq!(text_of(&chunks), "This ");
    assert_eq!(error["metadata"]["attempts"][0]["outcome"], "error_in_body", "{error}");
}

pub(crate) async fn empty_stream(world: &World) {
    world.a.fault("empty-stream-1", json!({"kind": "empty_200"})).await;
    streamed(world.stream("empty-stream").await, "b/empty-stream-2", 2);
}

pub(crate) async fn whole_answer_to_a_stream(world: &World) {
    // Its reader expects events, and could make nothing of a JSON object.
    let answer =
        json!({"object": "chat.completion", "choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}]});
    world.a.fault("whole-for-stream-1", json!({"kind": "status", "status": 200, "body": answer})).await;
    streamed(world.stream("whole-for-stream").await, "b/whole-for-stream-2", 2);
}

pub(crate) async fn huge_event(world: &World) {
    world.a.fault("huge-event-1", json!({"kind": "huge"})).await;
    streamed(world.stream("huge-event").await, "b/huge-event-2", 2);
    world.a.saw_cancellation("huge-event-1").await;
}

pub(crate) async fn client_leaves_a_stream(world: &World) {
    let mut stream = world.open(chat(&long_streamed("left"))).await;
    assert!(stream.until("The ").await.contains("\"assistant\""));
    drop(stream);
    world.slow.saw_cancellation("left-1").await;
    let target = world.target("slow/left-1").await;
    assert_eq!(target["breaker"]["window"]["failures"], 0, "the vendor has not failed: {target}");
    assert_eq!(target["attempts"]["neutral"], 1, "{target}");
}

pub(crate) async fn client_leaves_a_stream_that_stalls(world: &World) {
    world.a.fault("left-stalled-1", json!({"kind": "stall", "after_tokens": 2})).await;
    let mut stream = world.open(chat(&streamed_body("left-stalled"))).await;
    let _ = stream.until("is ").await;
    drop(stream);
    world.a.saw_cancellation("left-stalled-1").await;
}

pub(crate) async fn client_leaves_before_the_answer(world: &World) {
    world.a.fault("left-waiting-1", json!({"kind": "hang"})).await;
    let arrived = tidegate_tests::wait::until("the request at the vendor", async || {
        (world.a.count("left-waiting-1").await == 1).then_some(())
    });
    let left = tokio::select! {
        reply = world.open(chat(&question("left-waiting"))) => Some(reply.status),
        () = arrived => None,
    };
    assert_eq!(left, None, "there is no answer to come");
    world.a.saw_cancellation("left-waiting-1").await;
}
