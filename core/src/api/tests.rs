//! Requests as they come in, up to where they are answered or carried out.

use std::net::Ipv4Addr;

use http::header::HeaderName;
use serde_json::Value;

use super::*;
use crate::reply::{REQUEST_ID, SDK_REQUEST_ID};

mod operators;

const NOW: Timestamp = Timestamp(1_000_000);

fn secret(name: &str) -> String {
    format!("a-made-up-key-that-belongs-to-{name}")
}

fn gateway_with(change: impl FnOnce(&mut Value)) -> Gateway {
    let mut document = json!({
        "server": {"body_max": "1KiB"},
        "vendors": {
            "a": {"dialect": "openai", "base_url": "http://a.test/v1", "keys": [{"env": "A"}]},
            "b": {"dialect": "openai", "base_url": "http://b.test/v1", "keys": [{"env": "B"}]},
        },
        "models": {"a/gpt-x": {}, "b/org/llama": {}},
        "routes": {"default": {"models": ["a/gpt-x", "b/org/llama"]}, "other": {"models": ["b/org/llama"]}},
        "aliases": {"fast": "a/gpt-x"},
    });
    change(&mut document);
    let config = Config::from_json(&document.to_string(), "api.json", &|name| Some(secret(name)))
        .unwrap_or_else(|errors| panic!("{errors}"));
    Gateway::new(Arc::new(config), 1, NOW)
}

fn gateway() -> Gateway {
    gateway_with(|_| {})
}

/// A gateway with two clients, one of them kept to the route `other`, and an admin.
fn guarded() -> Gateway {
    gateway_with(|document| {
        document["server"]["admin_key"] = json!({"env": "ADMIN"});
        document["clients"] = json!({
            "all": {"key": {"env": "ALL"}},
            "some": {"key": {"env": "SOME"}, "routes": ["other"]},
        });
    })
}

/// What a request says of itself, but for its path.
#[derive(Clone)]
struct From {
    method: Method,
    peer: Option<IpAddr>,
    headers: HeaderMap,
}

fn local(method: Method) -> From {
    let headers = HeaderMap::from_iter([(HOST, HeaderValue::from_static("localhost:8080"))]);
    From { method, peer: Some(IpAddr::V4(Ipv4Addr::LOCALHOST)), headers }
}

impl From {
    fn with(mut self, name: HeaderName, value: &str) -> Self {
        self.headers.insert(name, HeaderValue::from_str(value).unwrap());
        self
    }

    fn bearing(self, key: &str) -> Self {
        self.with(AUTHORIZATION, &format!("Bearer {}", secret(key)))
    }

    fn peer(self, address: &str) -> Self {
        Self { peer: Some(address.parse().unwrap()), ..self }
    }

    fn ask(&self, gateway: &mut Gateway, path: &str) -> Reception {
        let Self { method, peer, headers } = self;
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        gateway.receive(NOW, &Incoming { method, path, query, headers, peer: *peer })
    }

    /// The status of the reply at once, or 0 if the body is wanted.
    fn status(&self, gateway: &mut Gateway, path: &str) -> u16 {
        match self.ask(gateway, path) {
            Reception::Reply(reply) => reply.status.as_u16(),
            Reception::Body(_) | Reception::Query(_) | Reception::Queue(_) => 0,
        }
    }

    fn reply(&self, gateway: &mut Gateway, path: &str) -> Reply {
        match self.ask(gateway, path) {
            Reception::Reply(reply) => *reply,
            other => panic!("{path} is not answered at once: {other:?}"),
        }
    }

    fn read(&self, gateway: &mut Gateway, path: &str, body: &str) -> Next {
        match self.ask(gateway, path) {
            Reception::Body(awaited) => awaited.read(NOW, Bytes::copy_from_slice(body.as_bytes())),
            other => panic!("{path} wants no body: {other:?}"),
        }
    }
}

fn json_of(reply: &Reply) -> Value {
    serde_json::from_slice(&reply.body).unwrap()
}

fn code_of(reply: &Reply) -> String {
    json_of(reply)["error"]["code"].as_str().unwrap_or("").to_owned()
}

#[test]
fn paths_and_methods() {
    let mut gateway = gateway();
    for (method, path, status) in [
        (Method::GET, "/healthz", 200),
        (Method::HEAD, "/healthz", 200),
        (Method::GET, "/readyz", 200),
        (Method::GET, "/v1/models", 200),
        (Method::GET, "/models", 200),
        (Method::GET, "/admin/status", 200),
        (Method::GET, "/admin/queue", 404),
        (Method::POST, "/admin/queue", 405),
        (Method::POST, "/v1/chat/completions", 0),
        (Method::POST, "/chat/completions", 0),
        (Method::POST, "/v1/embeddings", 0),
        (Method::POST, "/embeddings", 0),
        (Method::POST, "/admin/explain", 0),
        (Method::POST, "/admin/breakers", 0),
        (Method::GET, "/admin/breakers", 405),
        (Method::GET, "/v1/chat/completions", 405),
        (Method::GET, "/admin/explain", 405),
        (Method::POST, "/v1/models", 405),
        (Method::DELETE, "/v1/models/default", 405),
        (Method::GET, "/v1/queue/job_1", 404),
        (Method::DELETE, "/queue/job_1", 404),
        (Method::POST, "/v1/queue/job_1", 405),
        (Method::GET, "/", 404),
        (Method::GET, "/v1", 404),
        (Method::GET, "/v1/models/", 404),
        (Method::GET, "/v1/healthz", 404),
        (Method::POST, "/v1chat/completions", 404),
        (Method::POST, "/v1/v1/chat/completions", 404),
        (Method::POST, "/v1/chat/completions/", 404),
        (Method::GET, "/admin", 404),
    ] {
        assert_eq!(local(method.clone()).status(&mut gateway, path), status, "{method} {path}");
    }
    let refused = local(Method::PUT).reply(&mut gateway, "/v1/chat/completions");
    assert_eq!(refused.headers[ALLOW], "POST");
    assert_eq!(code_of(&refused), "method_not_allowed");
    let lost = local(Method::GET).reply(&mut gateway, &format!("/{}", "x".repeat(5000)));
    assert_eq!(code_of(&lost), "unknown_url");
    assert!(lost.body.len() < 1000, "what a client makes up is quoted in part");
}

#[test]
fn every_reply_has_a_name_of_its_own() {
    let mut gateway = gateway();
    let mut names: Vec<_> = ["/healthz", "/nowhere", "/v1/models", "/v1/models/none"]
        .iter()
        .map(|path| {
            let headers = local(Method::GET).reply(&mut gateway, path).headers;
            assert_eq!(headers[REQUEST_ID], headers[SDK_REQUEST_ID], "{path}");
            headers[REQUEST_ID].clone()
        })
        .collect();
    names.dedup();
    assert_eq!(names.len(), 4);
}

#[test]
fn a_draining_gateway_is_well_but_not_ready() {
    let mut gateway = gateway();
    gateway.drain();
    assert_eq!(local(Method::GET).status(&mut gateway, "/healthz"), 200);
    let reply = local(Method::GET).reply(&mut gateway, "/readyz");
    assert_eq!((reply.status.as_u16(), json_of(&reply)), (503, json!({"status": "draining"})));
    assert_eq!(json_of(&local(Method::GET).reply(&mut gateway, "/admin/status"))["ready"], false);
}

#[test]
fn health_is_for_everybody_and_says_nothing() {
    let mut gateway = guarded();
    for path in ["/healthz", "/readyz"] {
        let reply = local(Method::GET).peer("203.0.113.9").with(HOST, "api.example.com").reply(&mut gateway, path);
        assert_eq!(reply.status, StatusCode::OK);
        assert!(reply.body.len() < 30);
    }
}

#[test]
fn without_clients_only_this_machine_is_served() {
    let mut gateway = gateway();
    for (peer, host, served) in [
        (Some("127.0.0.1"), "localhost", true),
        (Some("127.0.0.1"), "LocalHost:8080", true),
        (Some("127.8.9.1"), "127.0.0.1:8080", true),
        (Some("::1"), "[::1]:8080", true),
        (Some("::ffff:127.0.0.1"), "localhost", true),
        (None, "localhost:8787", true),
        (Some("203.0.113.9"), "localhost", false),
        (Some("::ffff:203.0.113.9"), "localhost", false),
        (Some("127.0.0.1"), "evil.example.com", false),
        (Some("127.0.0.1"), "localhost.example.com", false),
        (Some("127.0.0.1"), "[::2]", false),
        (Some("127.0.0.1"), "[", false),
        (Some("127.0.0.1"), "", false),
        (None, "tidegate.example.workers.dev", false),
    ] {
        let peer = peer.map(|address| address.parse().unwrap());
        let from = From { peer, ..local(Method::GET).with(HOST, host) };
        for path in ["/v1/models", "/v1/models/default", "/admin/status"] {
            let expected = if served { 200 } else { 403 };
            assert_eq!(from.status(&mut gateway, path), expected, "{path} from {peer:?} to {host:?}");
        }
        let asking = From { method: Method::POST, ..from };
        let expected = if served { 0 } else { 403 };
        assert_eq!(asking.status(&mut gateway, "/v1/chat/completions"), expected, "from {peer:?} to {host:?}");
        assert_eq!(asking.status(&mut gateway, "/admin/explain"), expected, "from {peer:?} to {host:?}");
    }
    let mut unnamed = local(Method::GET);
    unnamed.headers.remove(HOST);
    assert_eq!(unnamed.status(&mut gateway, "/v1/models"), 403);
}

#[test]
fn with_clients_a_key_is_needed_from_everywhere() {
    let mut gateway = guarded();
    let far = local(Method::POST).peer("203.0.113.9").with(HOST, "api.example.com");
    let path = "/v1/chat/completions";
    assert_eq!(far.clone().bearing("ALL").status(&mut gateway, path), 0);
    assert_eq!(far.clone().bearing("SOME").status(&mut gateway, path), 0);
    let lower = far.clone().with(AUTHORIZATION, &format!("bearer  {}", secret("ALL")));
    assert_eq!(lower.status(&mut gateway, path), 0, "the scheme's case is free");
    for header in ["", "Bearer", "Bearer ", "Basic YTpi", &secret("ALL"), &format!("Bearer {}x", secret("ALL"))] {
        let refused = local(Method::POST).with(AUTHORIZATION, header).reply(&mut gateway, path);
        assert_eq!(refused.status, StatusCode::UNAUTHORIZED, "{header}");
        assert_eq!(code_of(&refused), "invalid_api_key");
        assert_eq!(refused.headers[WWW_AUTHENTICATE], "Bearer");
    }
    assert_eq!(local(Method::POST).status(&mut gateway, path), 401, "this machine is no exception then");
    assert_eq!(far.bearing("ADMIN").status(&mut gateway, path), 401, "the admin's key is no client's");
}

#[test]
fn admin_pages_need_the_admin_key() {
    let mut gateway = guarded();
    for (method, path, reached) in
        [(Method::GET, "/admin/status", 200), (Method::POST, "/admin/explain", 0), (Method::POST, "/admin/breakers", 0)]
    {
        let far = local(method).peer("203.0.113.9").with(HOST, "api.example.com");
        assert_eq!(far.clone().bearing("ADMIN").status(&mut gateway, path), reached);
        assert_eq!(far.clone().bearing("ALL").status(&mut gateway, path), 401);
        assert_eq!(far.status(&mut gateway, path), 401);
        let near = From { peer: Some(IpAddr::V4(Ipv4Addr::LOCALHOST)), ..far.with(HOST, "localhost") };
        assert_eq!(near.status(&mut gateway, path), 401);
    }
}

#[test]
fn a_body_that_is_announced_too_large_is_not_read() {
    let mut gateway = gateway();
    let path = "/v1/chat/completions";
    for (length, status) in [("1024", 0), ("1025", 413), ("99999999999999999999", 0), ("-1", 0), ("many", 0)] {
        // A length that makes no sense is left to the limit on reading.
        let from = local(Method::POST).with(CONTENT_LENGTH, length);
        assert_eq!(from.status(&mut gateway, path), status, "{length}");
    }
    let refused = local(Method::POST).with(CONTENT_LENGTH, "1025").reply(&mut gateway, path);
    assert_eq!(code_of(&refused), "request_too_large");
    assert!(json_of(&refused)["error"]["message"].as_str().unwrap().contains("1024"));
    let Reception::Body(awaited) = local(Method::POST).ask(&mut gateway, path) else { panic!("no length, no refusal") };
    assert_eq!(awaited.body_max, 1024);
    assert_eq!(awaited.too_large().status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(awaited.incomplete().status, StatusCode::REQUEST_TIMEOUT);
    assert!(awaited.incomplete().headers.contains_key(REQUEST_ID));
}

#[test]
fn bodies_are_read_and_planned_or_refused() {
    let mut gateway = gateway();
    let asking = local(Method::POST);
    for (path, body) in [
        ("/v1/chat/completions", r#"{"model":"default"}"#),
        ("/v1/chat/completions", r#"{"model":"b/org/llama","stream":true}"#),
        ("/v1/embeddings", r#"{"model":"fast","input":"x"}"#),
    ] {
        assert!(matches!(asking.read(&mut gateway, path, body), Next::Exchange(_)), "{body}");
    }
    for (body, status, code) in [
        ("", 400, "invalid_request"),
        ("{\"model\"", 400, "invalid_request"),
        ("[]", 400, "invalid_request"),
        ("{}", 400, "invalid_request"),
        (r#"{"model":"gpt-y"}"#, 404, "model_not_found"),
    ] {
        let Next::Reply(reply) = asking.read(&mut gateway, "/v1/chat/completions", body) else { panic!("{body}") };
        assert_eq!((reply.status.as_u16(), code_of(&reply).as_str()), (status, code), "{body}");
        assert!(reply.headers.contains_key(REQUEST_ID));
    }
}

#[test]
fn a_dry_run_says_who_would_be_asked() {
    let mut gateway = gateway();
    let Next::Errand(errand) = local(Method::POST).read(&mut gateway, "/admin/explain", r#"{"model":"default"}"#)
    else {
        panic!("an explanation was asked for")
    };
    let reply = gateway.run(NOW, *errand);
    assert!(reply.headers.contains_key(REQUEST_ID));
    let explained = json_of(&reply);
    let candidate = |target: &str| {
        json!({
            "target": target, "taken": true, "health": "unknown", "cost_usd": null, "score": null, "rejected": null,
        })
    };
    let candidates = [candidate("a/gpt-x"), candidate("b/org/llama")];
    let expected = json!({
        "client": null, "refused": null, "route": "default", "way": "usual", "strategy": null, "canary": null, "shadow": null, "target": "a/gpt-x",
        "candidates": candidates,
    });
    assert_eq!(explained, expected);
}

/// The reply to an order, whether it was refused or done.
fn order(gateway: &mut Gateway, body: &str) -> Reply {
    match local(Method::POST).read(gateway, "/admin/breakers", body) {
        Next::Errand(errand) => gateway.run(NOW, *errand),
        Next::Reply(reply) => *reply,
        Next::Exchange(_) => panic!("an order is no question"),
    }
}

#[test]
fn orders_open_and_close_breakers() {
    let mut gateway = gateway();
    for (body, state, retry_in_ms) in [
        (r#"{"target":"a/gpt-x","order":"open"}"#, "open", json!(300_000)),
        (r#"{"target":"fast","order":"open","for":"24h"}"#, "open", json!(86_400_000)),
        (r#"{"target":"a/gpt-x","order":"close"}"#, "closed", Value::Null),
        (r#"{"target":"gpt-x","order":"open","for":"250ms"}"#, "open", json!(250)),
        (r#"{"target":"a/gpt-x","order":"reset"}"#, "closed", Value::Null),
    ] {
        let reply = order(&mut gateway, body);
        assert_eq!(reply.status, StatusCode::OK, "{body}");
        assert!(reply.headers.contains_key(REQUEST_ID));
        let told = json_of(&reply);
        assert_eq!(told["target"], "a/gpt-x", "{body}");
        let breaker = &told["breaker"];
        let by_order = state == "open";
        assert_eq!((&breaker["state"], &breaker["retry_in_ms"]), (&json!(state), &retry_in_ms), "{body}");
        assert_eq!(breaker["by_order"], by_order, "{body}");
    }
}

#[test]
fn what_is_no_order_is_told_what_would_be_one() {
    let mut gateway = gateway();
    let example = r#"Write {"target": "vendor/model", "order": "open", "for": "5m"}"#;
    for (body, status, remedy) in [
        ("", 400, example),
        ("[]", 400, example),
        (r#"{"target":"a/gpt-x"}"#, 400, example),
        (r#"{"target":"a/gpt-x","order":"shut"}"#, 400, example),
        (r#"{"target":"a/gpt-x","order":"open","until":"5m"}"#, 400, example),
        (r#"{"target":"a/gpt-x","order":"open","for":"0s"}"#, 400, "1d at most"),
        (r#"{"target":"a/gpt-x","order":"open","for":"25h"}"#, 400, "1d at most"),
        (r#"{"target":"a/gpt-x","order":"open","for":"soon"}"#, 400, "such as"),
        (r#"{"target":"a/gpt-x","order":"close","for":"5m"}"#, 400, "leave out `for`"),
        (r#"{"target":"default","order":"open"}"#, 404, "Known here: a/gpt-x, b/org/llama."),
        (r#"{"target":"a/gpt-y","order":"open"}"#, 404, "Known here: a/gpt-x, b/org/llama."),
    ] {
        let reply = order(&mut gateway, body);
        let message = json_of(&reply)["error"]["message"].as_str().unwrap().to_owned();
        assert_eq!(reply.status.as_u16(), status, "{body}");
        assert!(message.contains(remedy), "{body}: {message}");
    }
    assert_eq!(gateway.poll_report(NOW), None, "nothing was done");
}

#[test]
fn models_are_listed_for_whom_they_are() {
    let mut gateway = guarded();
    let ids = |gateway: &mut Gateway, key: &str| -> Vec<String> {
        let list = json_of(&local(Method::GET).bearing(key).reply(gateway, "/v1/models"));
        assert_eq!(list["object"], "list");
        list["data"].as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(ids(&mut gateway, "ALL"), ["a/gpt-x", "b/org/llama", "default", "fast", "gpt-x", "org/llama", "other"]);
    assert_eq!(ids(&mut gateway, "SOME"), ["other"]);
    let some = local(Method::GET).bearing("SOME");
    assert_eq!(some.status(&mut gateway, "/v1/models/other"), 200);
    assert_eq!(some.status(&mut gateway, "/v1/models/default"), 403);
    let asking = local(Method::POST).bearing("SOME");
    let Next::Reply(refused) = asking.read(&mut gateway, "/v1/chat/completions", r#"{"model":"a/gpt-x"}"#) else {
        panic!("this client is kept to its route")
    };
    assert_eq!((refused.status.as_u16(), code_of(&refused).as_str()), (403, "model_not_allowed"));
    let Next::Reply(unknown) = asking.read(&mut gateway, "/v1/chat/completions", r#"{"model":"nope"}"#) else {
        panic!("there is no such model")
    };
    let message = json_of(&unknown)["error"]["message"].to_string();
    assert!(message.contains("other") && !message.contains("gpt-x"), "only what it may use is named: {message}");
}

#[test]
fn a_model_is_looked_up_by_its_name_slashes_escapes_and_all() {
    let mut gateway = gateway();
    for (path, id, owner) in [
        ("/v1/models/default", "default", "tidegate"),
        ("/v1/models/a/gpt-x", "a/gpt-x", "a"),
        ("/v1/models/a%2Fgpt-x", "a/gpt-x", "a"),
        ("/models/b%2forg%2fllama", "b/org/llama", "b"),
        ("/v1/models/fast", "fast", "a"),
    ] {
        let model = json_of(&local(Method::GET).reply(&mut gateway, path));
        let expected = json!({
            "id": id, "object": "model", "created": 0, "owned_by": owner,
            "type": "model", "display_name": id, "created_at": "1970-01-01T00:00:00Z",
        });
        assert_eq!(model, expected, "{path}");
    }
    for path in ["/v1/models/nope", "/v1/models/a%2", "/v1/models/%ff", "/v1/models/a%252Fgpt-x", "/v1/models/%00"] {
        assert_eq!(local(Method::GET).status(&mut gateway, path), 404, "{path}");
    }
}

#[test]
fn a_models_name_may_be_escaped() {
    for (path, name) in [
        ("/v1/models/a/m", "a/m"),
        ("/models/a%2Fm", "a/m"),
        ("/v1/models/a%2fm%3A1", "a/m:1"),
        ("/v1/models/100%", "100%"),
        ("/v1/models/%zz%2", "%zz%2"),
        ("/v1/models/%ff", "%ff"),
    ] {
        assert_eq!(find(&Method::GET, path).unwrap(), Endpoint::Model(name.into()), "{path}");
    }
}

#[test]
fn anthropics_clients_come_with_their_own_header_and_are_answered_in_their_own_words() {
    let mut gateway = guarded();
    let x_api_key = HeaderName::from_static("x-api-key");
    let known = local(Method::POST).with(x_api_key.clone(), &secret("ALL"));
    let body = r#"{"model":"default","max_tokens":5,"messages":[{"role":"user","content":"hi"}]}"#;
    assert!(matches!(known.read(&mut gateway, "/v1/messages", body), Next::Exchange(_)));
    let unknown = local(Method::POST).with(x_api_key, "somebody-else-s-key-of-good-length");
    let refused = unknown.reply(&mut gateway, "/v1/messages");
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    let told = json_of(&refused);
    assert_eq!((&told["type"], &told["error"]["type"]), (&json!("error"), &json!("authentication_error")));
    assert_eq!(refused.headers[crate::reply::ANTHROPIC_REQUEST_ID], told["request_id"].as_str().unwrap());
}

#[test]
fn every_surface_is_found_with_and_without_its_version() {
    for surface in Surface::ALL {
        for path in [surface.path(), surface.path().strip_prefix("/v1").unwrap()] {
            assert!(matches!(local(Method::POST).ask(&mut gateway(), path), Reception::Body(_)), "{path}");
            assert_eq!(local(Method::GET).status(&mut gateway(), path), 405, "{path}");
        }
    }
}

#[test]
fn the_health_checks_that_charts_for_peers_ask_for() {
    for path in ["/health/liveliness", "/health/liveness", "/health/readiness"] {
        assert_eq!(local(Method::GET).status(&mut gateway(), path), 200, "{path}");
    }
}

#[test]
fn records_are_the_operators() {
    let mut gateway = gateway();
    let list = local(Method::GET).reply(&mut gateway, "/admin/requests");
    assert_eq!(json_of(&list), json!({"kept": 1000, "requests": []}));
    let unknown = local(Method::GET).reply(&mut gateway, "/admin/requests/tg-0123456789abcdef");
    assert_eq!((unknown.status.as_u16(), code_of(&unknown).as_str()), (404, "request_not_found"));
    let nothing = local(Method::GET).reply(&mut gateway, "/admin/requests/");
    assert_eq!((nothing.status.as_u16(), code_of(&nothing).as_str()), (404, "unknown_url"));
    let mut guarded = guarded();
    for path in ["/admin/requests", "/admin/requests/tg-0123456789abcdef"] {
        assert_eq!(local(Method::GET).reply(&mut guarded, path).status.as_u16(), 401, "{path}");
        assert_eq!(local(Method::POST).reply(&mut gateway, path).status.as_u16(), 405, "{path}");
    }
}
