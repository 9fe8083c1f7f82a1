//! What becomes of a request on its way: byte for byte the same where one dialect is spoken, and where something has no form
//! in another, left out and named, or left to a vendor that has one.

use serde_json::{Value, json};
use tidegate_tests::http::{Reply, Request};
use tidegate_tests::vendors::Vendor;
use tidegate_tests::world::{CLIENT_KEY, World};

use crate::apis::{Api, with};
use crate::check::{marked, refused};

pub(crate) async fn same_bytes(world: &World) {
    let chat = "{ \"messages\":[{\"content\":\"\\u00fc 🌊\",  \"role\":\"user\"}],\n\"temperature\":0.70,\"model\" : \"a/raw\" }";
    let counted = "{ \"messages\":[{\"content\":\"\\u00fc 🌊\",  \"role\":\"user\"}],\n \"model\":\"anthropic/raw\" }";
    let message = counted.replacen('{', "{\"max_tokens\":100,", 1);
    let vectors = "{\"input\" : [ \"ebb\" ], \"model\":\"a/raw\",\"dimensions\":8}";
    for (path, sent, target, vendor) in [
        ("/v1/chat/completions", chat, "a/raw", &world.a),
        ("/v1/messages", &message, "anthropic/raw", &world.b),
        ("/v1/messages/count_tokens", counted, "anthropic/raw", &world.b),
        ("/v1/embeddings", vectors, "a/raw", &world.a),
    ] {
        let reply = world.send(Request::new("POST", path).body(sent.to_owned())).await.expect(200);
        marked(&reply, target, 1);
        let seen = vendor.requests("raw-2026").await.pop().expect("it was asked");
        assert_eq!(seen.text(), sent.replace(target, "raw-2026"), "only the model's name has changed");
    }
}

/// An answer in the client's own dialect comes through as the vendor has written it.
pub(crate) async fn same_bytes_back(world: &World) {
    let body = |model: &str| Api::Messages.streamed(model);
    let reply = world.send(Api::Messages.ask(&body("anthropic/raw-back"))).await.expect(200);
    marked(&reply, "anthropic/raw-back", 1);
    let own =
        Api::Messages.ask(&body("raw-back")).header("x-api-key", "sk-own").header("anthropic-version", "2023-06-01");
    let own = world.b.ask(own).await.expect(200);
    assert_eq!(same_id(&reply), same_id(&own));
}

pub(crate) async fn keys_and_places(world: &World) {
    for (vendor, sandbox, key, place, path) in [
        ("a", &world.a, "…aaaa", "authorization", "/v1/chat/completions"),
        ("anthropic", &world.b, "…bbbb", "x-api-key", "/v1/messages"),
        ("gemini", &world.c, "…cccc", "x-goog-api-key", "/v1beta/models/keys:generateContent"),
    ] {
        let target = format!("{vendor}/keys");
        for request in [
            Api::Messages.ask(&Api::Messages.question(&target)).header("x-api-key", CLIENT_KEY),
            Api::Chat.ask(&Api::Chat.question(&target)).header("x-api-key", CLIENT_KEY),
        ] {
            // Without a bearer token: as Anthropic's clients come.
            let reply = request.send(world.gateway.address).await.expect(200);
            marked(&reply, &target, 1);
            let seen = sandbox.requests("keys").await.pop().expect("it was asked");
            assert_eq!((seen.key(), seen.key_in(), seen.path()), (key, &json!([place]), path));
        }
    }
    let wrong = Api::Messages.ask(&Api::Messages.question("a/keys")).header("x-api-key", "client-key");
    let _ = wrong.send(world.gateway.address).await.expect(401);
}

pub(crate) async fn anthropics_headers(world: &World) {
    let ask = async |target: &str, vendor: &Vendor| {
        let request = Api::Messages.ask(&Api::Messages.question(target));
        let request = request.header("anthropic-version", "2023-01-01").header("anthropic-beta", "tide-2026-01-01");
        marked(&world.send(request).await.expect(200), target, 1);
        let seen = vendor.requests("versions").await.pop().expect("it was asked");
        ["anthropic-version", "anthropic-beta"].map(|name| seen.headers()[name].as_str().unwrap_or("").to_owned())
    };
    assert_eq!(ask("anthropic/versions", &world.b).await, ["2023-01-01", "tide-2026-01-01"]);
    assert_eq!(ask("a/versions", &world.a).await, ["", ""]);
    assert_eq!(ask("gemini/versions", &world.c).await, ["", ""]);
    let _ = world.send(Api::Chat.ask(&Api::Chat.question("anthropic/versions"))).await.expect(200);
    let seen = world.b.requests("versions").await.pop().expect("it was asked");
    assert_eq!(seen.headers()["anthropic-version"], "2023-06-01", "of which other clients know nothing");
}

pub(crate) async fn dropped_and_named(world: &World) {
    for (api, more, vendor, dropped) in [
        (Api::Chat, json!({"seed": 7, "frequency_penalty": 0.5}), "a", ""),
        (Api::Chat, json!({"seed": 7, "frequency_penalty": 0.5}), "anthropic", "frequency_penalty, seed"),
        (Api::Chat, json!({"seed": 7, "frequency_penalty": 0.5}), "gemini", ""),
        (Api::Chat, json!({"logit_bias": {"50256": -100}, "user": "u1"}), "gemini", "logit_bias, user"),
        // Who does not want it stored, and who wants what happens anyway, misses nothing.
        (Api::Chat, json!({"metadata": {"run": "7"}, "store": false, "n": 1}), "anthropic", "metadata"),
        (Api::Completions, json!({"seed": 7}), "anthropic", "seed"),
        (Api::Messages, json!({"top_k": 7}), "a", "top_k"),
        (Api::Messages, json!({"top_k": 7}), "anthropic", ""),
        (Api::Messages, json!({"top_k": 7}), "gemini", ""),
    ] {
        let target = format!("{vendor}/dropped");
        let whole = with(api.question(&target), &more);
        for body in [whole.clone(), api.as_stream(whole)] {
            let reply = world.send(api.ask(&body)).await.expect(200);
            marked(&reply, &target, 1);
            assert_eq!(named(&reply), dropped, "{more} {reply}");
        }
    }
}

pub(crate) async fn strict(world: &World) {
    let seed = json!({"seed": 7});
    let ask = async |model: &str, more: &Value, header: &str| {
        let body = with(with(Api::Chat.question(model), &seed), more);
        world.send(Api::Chat.ask(&body).header("x-tidegate-parameters", header)).await
    };
    // By the route; by a header; by a member of the body, in our own words or in OpenRouter's.
    let strictly = json!({"tidegate": {"parameters": "strict"}});
    let required = json!({"provider": {"require_parameters": true}});
    for (model, more, header) in [
        ("strict", json!({}), ""),
        ("lenient", json!({}), "strict"),
        ("lenient", strictly, "lenient"),
        ("lenient", required, ""),
    ] {
        let reply = ask(model, &more, header).await.expect(200);
        marked(&reply, "a/strict-2", 1);
        assert_eq!(reply.header("x-tidegate-dropped"), "");
    }
    for (model, header) in [("lenient", ""), ("strict", "lenient")] {
        let reply = ask(model, &json!({}), header).await.expect(200);
        marked(&reply, "anthropic/strict-1", 1);
        assert_eq!(reply.header("x-tidegate-dropped"), "seed");
    }
    let error = refused(ask("anthropic/strict-1", &json!({}), "strict").await, 400, "unsupported_parameter");
    assert!(error["message"].as_str().unwrap().contains("anthropic/strict-1 has no `seed`"), "{error}");
}

/// What changes the meaning is never dropped: it goes to a vendor that can, or nowhere.
pub(crate) async fn never_dropped(world: &World) {
    let tools =
        json!({"tools": [{"type": "function", "function": {"name": "tide", "parameters": {"type": "object"}}}]});
    let image = json!([{"type": "image_url", "image_url": {"url": "https://example.com/tide.png"}}]);
    let schema = json!({"name": "tide", "schema": {"type": "object"}});
    let schema = json!({"response_format": {"type": "json_schema", "json_schema": schema}});
    let ask = |model: &str, more: &Value| with(Api::Chat.question(model), more);
    for (body, what) in [
        (&(|model: &str| ask(model, &tools)) as &dyn Fn(&str) -> Value, "tools"),
        (&|model| Api::Chat.saying(model, &image), "vision"),
        (&|model| ask(model, &schema), "json_schema"),
    ] {
        for model in ["a/plain-only-1", "anthropic/plain-only-2", "gemini/plain-only-3"] {
            let error = refused(world.send(Api::Chat.ask(&body(model))).await, 400, "unsupported_parameter");
            assert!(error["message"].as_str().unwrap().contains(&format!("{model} has no `{what}`")), "{error}");
        }
        marked(&world.send(Api::Chat.ask(&body("plain-only"))).await.expect(200), "c/plain-only-4", 1);
    }
    let several = ask("anthropic/words", &json!({"n": 2}));
    refused(world.send(Api::Chat.ask(&several)).await, 400, "unsupported_parameter");
}

pub(crate) async fn quirks(world: &World) {
    let more = json!({"logit_bias": {"50256": -100}, "max_tokens": 9, "seed": 7});
    let reply = world.send(Api::Chat.ask(&with(Api::Chat.question("quirky/quirks"), &more))).await.expect(200);
    marked(&reply, "quirky/quirks", 1);
    assert_eq!(named(&reply), "logit_bias");
    let expected = with(Api::Chat.question("quirks"), &json!({"max_completion_tokens": 9, "seed": 7}));
    assert_eq!(*world.a.only("quirks").await.body(), expected);
    let reply = world.send(Api::Messages.ask(&Api::Messages.question("quirky/quirks"))).await.expect(200);
    assert_eq!(named(&reply), "", "{reply}");
    let seen = world.a.requests("quirks").await.pop().expect("it was asked");
    assert_eq!(seen.body()["max_completion_tokens"], 2000, "in a translated request too: {:?}", seen.body());
}

pub(crate) async fn a_models_own_quirks(world: &World) {
    let more = json!({"logit_bias": {"50256": -100}, "max_tokens": 9, "seed": 7, "user": "u-1"});
    let reply = world.send(Api::Chat.ask(&with(Api::Chat.question("quirky/whims"), &more))).await.expect(200);
    assert_eq!(named(&reply), "logit_bias, seed", "its vendor's too: {reply}");
    let expected = with(Api::Chat.question("whims"), &json!({"max_completion_tokens": 9, "safety_identifier": "u-1"}));
    assert_eq!(*world.a.only("whims").await.body(), expected);
}

pub(crate) async fn what_a_model_is_asked_with_by_default(world: &World) {
    let said = async |more: &Value| {
        let body = with(Api::Chat.question("a/preset-1"), more);
        marked(&world.send(Api::Chat.ask(&body)).await.expect(200), "a/preset-1", 1);
        let seen = world.a.requests("preset-1").await.pop().expect("it was asked");
        ["temperature", "top_p", "max_tokens"].map(|name| seen.body()[name].clone())
    };
    assert_eq!(said(&json!({})).await, [json!(0.2), json!(0.9), json!(77)]);
    let own = json!({"temperature": 1.5, "max_tokens": 5});
    assert_eq!(said(&own).await, [json!(1.5), json!(0.9), json!(5)], "what the client says counts");
    marked(
        &world.send(Api::Chat.ask(&Api::Chat.question("anthropic/preset-2"))).await.expect(200),
        "anthropic/preset-2",
        1,
    );
    assert_eq!(world.b.only("preset-2").await.body()["max_tokens"], 99, "its vendor insists on one");
}

pub(crate) async fn who_cannot_be_made_to_call_a_tool_is_passed_over(world: &World) {
    let tools = json!([{"type": "function", "function": {"name": "tide", "parameters": {"type": "object"}}}]);
    for (choice, target) in [("auto", "anthropic/unforced-1"), ("required", "a/unforced-2")] {
        let body = with(Api::Chat.question("unforced"), &json!({"tools": tools, "tool_choice": choice}));
        marked(&world.send(Api::Chat.ask(&body)).await.expect(200), target, 1);
    }
}

/// The names of what was dropped, in alphabetical order.
fn named(reply: &Reply) -> String {
    let mut names: Vec<&str> = reply.header("x-tidegate-dropped").split(", ").collect();
    names.sort_unstable();
    names.join(", ")
}

/// A stream of messages with its id made the same.
fn same_id(reply: &Reply) -> String {
    let first: Value = serde_json::from_str(&reply.events()[0]).expect("JSON");
    reply.text().replace(first["message"]["id"].as_str().expect("an id"), "ID")
}
