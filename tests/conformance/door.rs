//! What the gateway refuses by itself: no vendor hears of it.

use bytes::Bytes;
use serde_json::{Value, json};
use tidegate_tests::http::{Reply, Request};
use tidegate_tests::world::{GUEST_KEY, World, chat, question};

use crate::check::{refused, served};

pub(crate) async fn unknown_model(world: &World) {
    let error = refused(world.ask("gpt-99").await, 404, "model_not_found");
    assert_eq!(error["param"], "model");
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("`gpt-99`") && message.contains("a/budget-1"), "it lists what is known: {message}");
    assert_eq!(world.a.count("gpt-99").await, 0);
}

pub(crate) async fn bad_json(world: &World) {
    for body in ["", "{", "[]", "null", "{\"model\":\"bare\",}", "{\"model\": \"bare\"} {}", "\u{0}"] {
        let request = Request::new("POST", "/v1/chat/completions").body(body.to_owned());
        let error = refused(world.send(request).await, 400, "invalid_request");
        assert_eq!(error["type"], "invalid_request_error", "{body:?}: {error}");
    }
}

pub(crate) async fn bad_fields(world: &World) {
    let bodies: [(Value, &str); 4] = [
        (json!({"messages": []}), "model"),
        (json!({"model": 7}), "model"),
        (json!({"model": null}), "model"),
        (json!({"model": "bare", "stream": "yes"}), "stream"),
    ];
    for (body, param) in bodies {
        assert_eq!(refused(world.send(chat(&body)).await, 400, "invalid_request")["param"], param, "{body}");
    }
}

pub(crate) async fn unknown_path(world: &World) {
    for path in ["/", "/v1", "/v1/completion", "/v1/responses/resp_1", "/v1/chat/completions/", "/admin", "/v1/models/"]
    {
        let error = refused(world.send(Request::get(path)).await, 404, "unknown_url");
        assert!(error["message"].as_str().unwrap().contains("/v1/chat/completions"), "it says what there is: {error}");
    }
}

pub(crate) async fn wrong_method(world: &World) {
    for (method, path, allowed) in [
        ("GET", "/v1/chat/completions", "POST"),
        ("PUT", "/v1/embeddings", "POST"),
        ("GET", "/v1/completions", "POST"),
        ("POST", "/v1/models", "GET, HEAD"),
        ("DELETE", "/admin/status", "GET, HEAD"),
    ] {
        let reply = world.send(Request::new(method, path)).await;
        assert_eq!(reply.header("allow"), allowed, "{reply}");
        refused(reply, 405, "method_not_allowed");
    }
}

pub(crate) async fn body_too_large(world: &World) {
    let request = Request::new("POST", "/v1/chat/completions").body(vec![b' '; 70 << 10]);
    too_large(world.send(request).await);
    let mut body = question("bare");
    body["user"] = "x".repeat(60 << 10).into();
    served(world.send(chat(&body)).await, "b/bare", 1);
}

pub(crate) async fn body_too_large_in_pieces(world: &World) {
    let piece = Bytes::from(vec![b' '; 10 << 10]);
    let request = Request::new("POST", "/v1/chat/completions").chunked(vec![piece; 7]);
    too_large(world.send(request).await);

    let body = Bytes::from(question("bare").to_string());
    let pieces = body.chunks(9).map(Bytes::copy_from_slice).collect();
    served(world.send(Request::new("POST", "/v1/chat/completions").chunked(pieces)).await, "b/bare", 1);
}

pub(crate) async fn no_key(world: &World) {
    for request in [Request::get("/v1/models"), chat(&question("bare")), chat(&question("no-such"))] {
        let reply = request.send(world.gateway.address).await;
        assert_eq!(reply.header("www-authenticate"), "Bearer", "{reply}");
        refused(reply, 401, "invalid_api_key");
    }
}

pub(crate) async fn wrong_key(world: &World) {
    for authorization in ["Bearer client-key-for-everythin", "Bearer ", "Basic Y2xpZW50", "client-key-for-everything"] {
        let reply = world.send(chat(&question("bare")).header("authorization", authorization)).await;
        assert!(!reply.text().contains("client-key"), "{reply}");
        refused(reply, 401, "invalid_api_key");
    }
}

pub(crate) async fn key_for_one_route(world: &World) {
    let guest = format!("Bearer {GUEST_KEY}");
    let ask = async |model| world.send(chat(&question(model)).header("authorization", &guest)).await;
    served(ask("guests").await, "a/guests-1", 1);
    for model in ["bare", "b/bare", "a/guests-1"] {
        let error = refused(ask(model).await, 403, "model_not_allowed");
        assert_eq!(error["type"], "permission_error", "{error}");
    }
    let models = world.send(Request::get("/v1/models").header("authorization", &guest)).await.expect(200).json();
    let ids: Vec<&str> = models["data"].as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap()).collect();
    assert_eq!(
        ids,
        ["common", "forked", "guests", "homely", "private", "settled"],
        "nobody learns of what they may not use"
    );
}

pub(crate) async fn health(world: &World) {
    let live = ["/healthz", "/health/liveliness", "/health/liveness"].map(|path| (path, "ok"));
    let ready = ["/readyz", "/health/readiness"].map(|path| (path, "ready"));
    for (path, status) in live.into_iter().chain(ready) {
        let reply = Request::get(path).send(world.gateway.address).await.expect(200);
        assert_eq!(reply.json()["status"], status, "{reply}");
    }
}

#[track_caller]
fn too_large(reply: Reply) {
    let error = refused(reply, 413, "request_too_large");
    assert!(error["message"].as_str().unwrap().contains("65536 bytes"), "{error}");
}
