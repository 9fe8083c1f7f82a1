//! What vendors say when they will not, each in its own words: the client hears it in its own API, or not at all.

use serde_json::{Value, json};
use tidegate_tests::http::Request;
use tidegate_tests::world::World;

use crate::apis::{Api, End, with};
use crate::check::{complaint, marked, refused, refused_for_now};
use crate::dialects::pairs;

pub(crate) async fn callers_faults(world: &World) {
    for vendor in [&world.a, &world.b, &world.c] {
        vendor.answers("refused", 400).await;
        vendor.answers("missing", 404).await;
    }
    for (api, vendor) in pairs(&Api::ALL) {
        for (model, status) in [("refused", 400), ("missing", 404)] {
            let target = format!("{vendor}/{model}");
            for body in [api.question(&target), api.streamed(&target)] {
                let reply = world.send(api.ask(&body)).await.expect(status);
                marked(&reply, &target, 1);
                let (kind, message) = complaint(api, &reply);
                let missing = if api == Api::Messages { "not_found_error" } else { "invalid_request_error" };
                assert_eq!(kind, if status == 404 { missing } else { "invalid_request_error" }, "{reply}");
                assert!(!message.is_empty(), "{reply}");
            }
        }
    }
}

pub(crate) async fn contexts_in_each_vendors_words(world: &World) {
    for vendor in [&world.a, &world.b, &world.c] {
        vendor.fault("too-small", json!({"kind": "context_length"})).await;
    }
    for (api, vendor) in pairs(&Api::ALL) {
        let target = format!("{vendor}/too-small");
        let (kind, _) = complaint(api, &world.send(api.ask(&api.question(&target))).await.expect(400));
        assert_eq!(kind, "invalid_request_error");
        let body = with(api.question(&target), &json!({"fallbacks": ["a/large"]}));
        marked(&world.send(api.ask(&body)).await.expect(200), "a/large", 2);
    }
}

/// Gemini says of a bad key that the request is bad, Anthropic of an account without credit; neither is the caller's.
pub(crate) async fn credentials_that_look_like_callers_faults(world: &World) {
    for (vendor, sandbox) in
        [("gemini-barred", &world.c), ("anthropic-barred", &world.b), ("anthropic-broke", &world.b)]
    {
        let route = format!("of-{vendor}");
        marked(&world.send(Api::Chat.ask(&Api::Chat.question(&route))).await.expect(200), &format!("a/{route}-2"), 2);
        let target = format!("{vendor}/{route}-1");
        for api in Api::ALL {
            let reply = world.send(api.ask(&api.question(&target))).await.expect(502);
            let (kind, message) = complaint(api, &reply);
            assert_eq!(kind, if api == Api::Messages { "api_error" } else { "server_error" }, "{reply}");
            assert!(message.contains("your own key is not at fault"), "{reply}");
        }
        assert_eq!(sandbox.count(&format!("{route}-1")).await, 1, "the key is left alone for a while");
        let target = world.target(&target).await;
        assert_eq!((&target["keys_usable"], &target["breaker"]["state"]), (&json!(0), &json!("closed")), "{target}");
    }
}

pub(crate) async fn geminis_retry_info(world: &World) {
    let details = json!([{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.5s"}]);
    let error = json!({"code": 429, "message": "slow down", "status": "RESOURCE_EXHAUSTED", "details": details});
    world.c.fault("busy-1", json!({"kind": "status", "status": 429, "body": {"error": error}})).await;
    let ask = async |api: Api| world.send(api.ask(&api.question("busy"))).await;
    let reply = ask(Api::Chat).await;
    assert_eq!(reply.header("retry-after"), "35", "{reply}");
    refused_for_now(reply, 429, "rate_limit_exceeded", false);
    let reply = ask(Api::Messages).await.expect(429);
    let seconds: u64 = reply.header("retry-after").parse().expect("seconds");
    assert!((30..=35).contains(&seconds), "{reply}");
    assert_eq!(complaint(Api::Messages, &reply).0, "rate_limit_error");
    assert_eq!(world.c.count("busy-1").await, 1, "until then it is not asked again");
}

pub(crate) async fn filters_returned(world: &World) {
    for refusal in [refused_prompt(), stopped_answer()] {
        for vendor in [&world.b, &world.c] {
            vendor.heal("unsafe").await;
            vendor.fault("unsafe", refusal.clone()).await;
        }
        for (api, vendor) in pairs(&Api::ALL).filter(|(_, vendor)| *vendor != "a") {
            let target = format!("{vendor}/unsafe");
            for body in [api.question(&target), api.streamed(&target)] {
                let reply = world.send(api.ask(&body)).await.expect(200);
                marked(&reply, &target, 1);
                assert_eq!(api.heard(&reply).end, api.word(End::Filtered), "{api:?} {refusal} {reply}");
            }
        }
    }
}

pub(crate) async fn filters_rerouted(world: &World) {
    for refusal in [refused_prompt(), stopped_answer()] {
        for (vendor, model) in [(&world.c, "unwanted-1"), (&world.b, "unwanted-2")] {
            vendor.heal(model).await;
            vendor.fault(model, refusal.clone()).await;
        }
        for api in Api::ALL {
            let reply = world.send(api.ask(&api.question("unwanted"))).await.expect(200);
            marked(&reply, "a/unwanted-3", 3);
            assert_eq!(api.heard(&reply).end, api.word(End::Stop), "{reply}");
        }
    }
}

/// The gateway's own refusals, for Anthropic's clients.
pub(crate) async fn the_gateways_own(world: &World) {
    let messages = |body: &Value| Api::Messages.ask(body);
    let unknown_path = Request::new("POST", "/v1/messages/batches").header("anthropic-version", "2023-06-01");
    let too_large = Request::new("POST", "/v1/messages").body(vec![b' '; 70 << 10]);
    for (request, status, kind) in [
        (messages(&Api::Messages.question("gpt-99")), 404, "not_found_error"),
        (messages(&json!({"model": 7})), 400, "invalid_request_error"),
        (messages(&json!({"model": "a/words", "max_tokens": 9, "messages": "hi"})), 400, "invalid_request_error"),
        (
            messages(&Api::Messages.question("a/words")).header("authorization", "Bearer nobody"),
            401,
            "authentication_error",
        ),
        (unknown_path, 404, "not_found_error"),
        (too_large, 413, "request_too_large"),
        (Request::get("/v1/messages"), 405, "invalid_request_error"),
    ] {
        let reply = world.send(request).await.expect(status);
        assert_eq!(complaint(Api::Messages, &reply).0, kind, "{reply}");
        assert_eq!(reply.json()["request_id"], reply.header("request-id"), "{reply}");
    }
}

/// What would need a memory, or what no chat can do: the caller is told which parameter asks for it.
pub(crate) async fn what_no_vendor_is_asked(world: &World) {
    for (api, more, param) in [
        (Api::Responses, json!({"previous_response_id": "resp_1"}), "previous_response_id"),
        (Api::Responses, json!({"conversation": "conv_1"}), "conversation"),
        (Api::Responses, json!({"background": true}), "background"),
        (Api::Responses, json!({"store": true}), "store"),
        (Api::Completions, json!({"echo": true}), "echo"),
        (Api::Completions, json!({"prompt": ["a", "b"]}), "prompt"),
    ] {
        for vendor in ["a", "anthropic"] {
            let body = with(api.question(&format!("{vendor}/unasked")), &more);
            let error = refused(world.send(api.ask(&body)).await, 400, "invalid_request");
            assert_eq!(error["param"], param, "{error}");
        }
    }
    assert_eq!((world.a.count("unasked").await, world.b.count("unasked").await), (0, 0));
}

/// A filter that refuses the prompt: Anthropic's `refusal`, Gemini's `blockReason`.
fn refused_prompt() -> Value {
    json!({"kind": "content_filter"})
}

/// A filter that stops the answer: Anthropic's `refusal`, Gemini's `SAFETY`.
fn stopped_answer() -> Value {
    json!({"kind": "content_filter", "finish_reason": true})
}
