//! What clients ask of the gateway for one request, in members of the body and in headers: it is done, and no vendor sees it.
//! The vendors refuse every member that they do not know, so each of these answers shows that nothing was passed on.

use serde_json::{Value, json};
use tidegate_tests::world::World;

use crate::apis::{Api, with};
use crate::check::{complaint, marked, refused, refused_for_now, streamed};

pub(crate) async fn in_the_body(world: &World) {
    for (more, target) in [
        (json!({}), "a/hinted-1"),
        (json!({"route": "fallback"}), "a/hinted-1"),
        (json!({"usage": {"include": true}}), "a/hinted-1"),
        (json!({"provider": {"order": ["gemini", "anthropic"]}}), "gemini/hinted-3"),
        (json!({"provider": {"only": ["anthropic"]}}), "anthropic/hinted-2"),
        (json!({"provider": {"ignore": ["a", "anthropic"]}}), "gemini/hinted-3"),
        (json!({"provider": {"sort": "price"}}), "anthropic/hinted-2"),
        (json!({"provider": {"max_price": {"prompt": 2}}}), "anthropic/hinted-2"),
        (json!({"tidegate": {"order": ["anthropic"]}, "provider": {"order": ["gemini"]}}), "anthropic/hinted-2"),
        (json!({"tidegate": {"only": ["gemini"], "max_attempts": 1, "timeout_ms": 20_000}}), "gemini/hinted-3"),
    ] {
        for api in Api::ALL {
            let reply = world.send(api.ask(&with(api.question("hinted"), &more))).await.expect(200);
            marked(&reply, target, 1);
        }
    }
}

pub(crate) async fn in_headers(world: &World) {
    for (name, value, target) in [
        ("x-tidegate-provider-order", "gemini, anthropic", "gemini/hinted-3"),
        ("x-tidegate-provider-only", "anthropic", "anthropic/hinted-2"),
        ("x-tidegate-provider-ignore", "a,anthropic", "gemini/hinted-3"),
        ("x-tidegate-provider-sort", "price", "anthropic/hinted-2"),
    ] {
        for api in Api::ALL {
            let reply = world.send(api.ask(&api.question("hinted")).header(name, value)).await.expect(200);
            marked(&reply, target, 1);
        }
    }
}

pub(crate) async fn fallbacks(world: &World) {
    world.a.answers("fallen", 503).await;
    for (more, target) in [
        (json!({"models": ["a/fallen", "gemini/words"]}), "gemini/words"),
        (json!({"fallbacks": ["anthropic/words", "gemini/words"]}), "anthropic/words"),
        (json!({"fallbacks": [{"model": "gemini/words"}]}), "gemini/words"),
        (json!({"tidegate": {"fallbacks": ["anthropic/words"]}, "fallbacks": ["gemini/words"]}), "anthropic/words"),
    ] {
        for api in Api::ALL {
            let reply = world.send(api.ask(&with(api.question("a/fallen"), &more))).await.expect(200);
            marked(&reply, target, 2);
        }
    }
    let request = || Api::Chat.ask(&Api::Chat.question("a/fallen"));
    let reply = world.send(request().header("x-tidegate-fallbacks", "gemini/words")).await.expect(200);
    marked(&reply, "gemini/words", 2);
    // A list of models in place of one.
    let mut body = with(Api::Chat.question(""), &json!({"models": ["a/fallen", "anthropic/words"]}));
    body.as_object_mut().expect("an object").remove("model");
    marked(&world.send(Api::Chat.ask(&body)).await.expect(200), "anthropic/words", 2);
    refused(world.send(request().header("x-tidegate-fallbacks", "gpt-99")).await, 404, "model_not_found");
}

pub(crate) async fn no_fallbacks(world: &World) {
    world.a.answers("alone-1", 503).await;
    let plain = || Api::Chat.question("alone");
    let bodies = [
        json!({"disable_fallbacks": true}),
        json!({"provider": {"allow_fallbacks": false}}),
        json!({"tidegate": {"disable_fallbacks": true}}),
    ];
    let requests = bodies.iter().map(|more| Api::Chat.ask(&with(plain(), more)));
    let headers = [("x-tidegate-disable-fallbacks", "true"), ("x-tidegate-max-attempts", "1")];
    let hinted = headers.iter().map(|(name, value)| Api::Chat.ask(&plain()).header(name, value));
    for request in requests.chain(hinted) {
        refused_for_now(world.send(request).await, 502, "upstream_error", true);
    }
    assert_eq!(world.b.count("alone-2").await, 0);
    // Of those five the last was allowed one attempt, and each of the others all that the route has.
    assert_eq!(world.a.count("alone-1").await, 4 * 2 + 1);
}

pub(crate) async fn limits_in_time(world: &World) {
    world.a.fault("timed-1", json!({"kind": "hang"})).await;
    for (name, value) in
        [("x-tidegate-timeout-ms", "200"), ("cf-aig-request-timeout", "200"), ("x-litellm-timeout", "0.2")]
    {
        let reply = world.send(Api::Chat.ask(&Api::Chat.question("a/timed-1")).header(name, value)).await;
        refused_for_now(reply, 504, "upstream_timeout", true);
    }
    world.a.fault("tardy-1", json!({"kind": "slow_first_token", "ms": 20_000})).await;
    let request = Api::Chat.ask(&tidegate_tests::world::streamed("tardy"));
    streamed(world.send(request.header("x-tidegate-ttft-timeout-ms", "2000")).await, "b/tardy-2", 2);
}

pub(crate) async fn usage_at_the_end_of_a_stream(world: &World) {
    let body = json!({"stream": true, "usage": {"include": true}});
    for target in ["a/words", "anthropic/words", "gemini/words"] {
        let reply = world.send(Api::Chat.ask(&with(Api::Chat.question(target), &body))).await.expect(200);
        let heard = Api::Chat.heard(&reply);
        assert!(heard.cost.is_some() && heard.input_tokens == 4, "{reply}");
    }
}

/// Who asks for privacy, for a price or for a vendor means it: what cannot be had is refused, and never passed over.
pub(crate) async fn refused_hints(world: &World) {
    for (more, code) in [
        (json!({"provider": {"data_collection": "deny"}}), "invalid_request"),
        (json!({"provider": {"only": ["nobody"]}}), "no_target_left"),
        (json!({"provider": {"max_price": {"prompt": 0.5}}}), "no_target_left"),
        (json!({"provider": {"sort": "beauty"}}), "invalid_request"),
        (json!({"route": "hinted"}), "invalid_request"),
        (json!({"tidegate": {"speed": "high"}}), "invalid_request"),
        (json!({"fallbacks": "a/words"}), "invalid_request"),
    ] {
        refused(world.send(Api::Chat.ask(&with(Api::Chat.question("hinted"), &more))).await, 400, code);
        let reply = world.send(Api::Messages.ask(&with(Api::Messages.question("hinted"), &more))).await.expect(400);
        assert_eq!(complaint(Api::Messages, &reply).0, "invalid_request_error", "{reply}");
    }
    let header = Api::Chat.ask(&Api::Chat.question("hinted")).header("x-tidegate-max-attempts", "many");
    let error = refused(world.send(header).await, 400, "invalid_request");
    assert_eq!(error["param"], Value::from("x-tidegate-max-attempts"));
}
