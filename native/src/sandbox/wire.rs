//! The sandbox as a client sees it: bytes on real sockets. Nothing here sleeps; what must not happen is made
//! impossible to miss by waits far longer than any test.

mod dialects;

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Profile, Sandbox, VendorSpec};

const CHAT: &str = "/v1/chat/completions";

/// One vendor, and how a test talks to it.
struct Client {
    address: SocketAddr,
    _sandbox: Sandbox,
}

/// A raw response.
#[derive(Debug)]
struct Reply {
    head: String,
    body: String,
}

impl Client {
    async fn new(profile: Profile) -> Self {
        let spec = VendorSpec { name: "acme".to_owned(), profile, port: None };
        let sandbox = Sandbox::start(vec![spec]).await.unwrap();
        let address = sandbox.vendors().next().unwrap().address;
        Self { address, _sandbox: sandbox }
    }

    async fn open(&self, method: &str, target: &str, key: &str, body: &str) -> TcpStream {
        self.open_with(method, target, &format!("authorization: Bearer {key}\r\n"), body).await
    }

    /// Sends a request with header lines of the test's own.
    async fn open_with(&self, method: &str, target: &str, headers: &str, body: &str) -> TcpStream {
        let mut socket = TcpStream::connect(self.address).await.unwrap();
        let request = format!(
            "{method} {target} HTTP/1.1\r\nhost: acme\r\nconnection: close\r\n{headers}content-length: {}\r\n\r\n{body}",
            body.len()
        );
        socket.write_all(request.as_bytes()).await.unwrap();
        socket
    }

    async fn call(&self, method: &str, target: &str, body: &Value) -> Reply {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        Reply::read(self.open(method, target, "sk-sandbox-0001", &body).await).await
    }

    async fn plain(&self) -> Reply {
        self.call("POST", CHAT, &chat(false)).await
    }

    async fn stream(&self) -> Reply {
        self.call("POST", CHAT, &chat(true)).await
    }

    /// Scripts a fault for the next request.
    async fn fault_once(&self, fault: Value) {
        let posted = self.call("POST", "/faults", &json!({"fault": fault, "times": 1})).await;
        assert!(posted.head.starts_with("HTTP/1.1 201"), "{posted:?}");
    }

    async fn last_request(&self) -> Value {
        let shown = self.call("GET", "/requests", &Value::Null).await.json();
        shown["requests"].as_array().unwrap().last().unwrap().clone()
    }

    /// Waits until a request has come.
    async fn is_asked(&self) {
        while self.call("GET", "/count", &Value::Null).await.json()["count"] == 0 {}
    }

    /// Asks until the vendor has noticed that the client left.
    async fn aborted(&self) -> bool {
        let patience = Instant::now() + Duration::from_secs(10);
        while Instant::now() < patience {
            if self.last_request().await["aborted"] == true {
                return true;
            }
        }
        false
    }
}

impl Reply {
    /// Reads until the server closes; a reset fails.
    async fn read(mut socket: TcpStream) -> Self {
        let mut bytes = Vec::new();
        socket.read_to_end(&mut bytes).await.unwrap();
        let text = String::from_utf8(bytes).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        Self { head: head.to_lowercase().replacen("http", "HTTP", 1), body: body.to_owned() }
    }

    fn status(&self) -> u16 {
        self.head.split(' ').nth(1).unwrap().parse().unwrap()
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    fn error(&self) -> Value {
        self.json()["error"].clone()
    }

    /// Whether a chunked body came to its proper end.
    fn terminated(&self) -> bool {
        self.body.ends_with("\r\n0\r\n\r\n")
    }

    /// The data of each event, in order.
    fn events(&self) -> Vec<&str> {
        self.body.lines().filter_map(|line| line.strip_prefix("data: ")).collect()
    }
}

/// Reads until `text` has come.
async fn read_until(socket: &mut TcpStream, text: &str) -> String {
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).contains(text) {
        let count = socket.read_buf(&mut seen).await.unwrap();
        assert_ne!(count, 0, "closed after {}", String::from_utf8_lossy(&seen));
    }
    String::from_utf8(seen).unwrap()
}

fn chat(stream: bool) -> Value {
    json!({"model": "m1", "stream": stream, "messages": [{"role": "user", "content": "hello there"}]})
}

#[tokio::test]
async fn a_plain_answer_has_openais_headers_and_a_length() {
    let client = Client::new(Profile::instant()).await;
    let reply = client.plain().await;
    assert_eq!(reply.status(), 200);
    assert_eq!(reply.header("content-type"), Some("application/json"));
    assert_eq!(reply.header("content-length"), Some(reply.body.len().to_string().as_str()));
    for name in ["x-request-id", "openai-processing-ms", "x-ratelimit-remaining-requests", "date"] {
        assert!(reply.header(name).is_some(), "{name}");
    }
    assert_eq!((&reply.json()["object"], &reply.json()["model"]), (&json!("chat.completion"), &json!("m1")));
}

#[tokio::test]
async fn a_stream_ends_with_done_and_the_last_chunk() {
    let client = Client::new(Profile::instant()).await;
    let reply = client.stream().await;
    assert_eq!(reply.header("content-type"), Some("text/event-stream; charset=utf-8"));
    assert_eq!(reply.header("transfer-encoding"), Some("chunked"));
    assert!(reply.terminated());
    let events = reply.events();
    assert_eq!(events.last(), Some(&"[DONE]"));
    assert!(events[0].contains(r#""role":"assistant""#) && events[0].contains(r#""object":"chat.completion.chunk""#));
    assert!(events[events.len() - 2].contains(r#""finish_reason":"stop""#));
    assert_eq!(client.last_request().await["aborted"], false);
}

#[tokio::test]
async fn one_connection_carries_many_requests() {
    let client = Client::new(Profile::instant()).await;
    let mut socket = TcpStream::connect(client.address).await.unwrap();
    for _ in 0..3 {
        socket.write_all(b"GET /v1/models HTTP/1.1\r\nhost: a\r\nauthorization: Bearer k\r\n\r\n").await.unwrap();
        read_until(&mut socket, r#""object":"list"}"#).await;
    }
}

#[tokio::test]
async fn embeddings_and_models_are_served() {
    let profile = Profile { models: vec!["e1".to_owned()], ..Profile::instant() };
    let client = Client::new(profile).await;
    let list = client.call("POST", "/v1/embeddings", &json!({"model": "e1", "input": ["a", "b"]})).await.json();
    assert_eq!(list["data"].as_array().map(Vec::len), Some(2));
    assert_eq!(client.call("GET", "/v1/models", &Value::Null).await.json()["data"][0]["id"], "e1");
}

#[tokio::test]
async fn refusals_are_worded_as_openai_words_them() {
    let profile = Profile { models: vec!["m1".to_owned()], ..Profile::instant() };
    let client = Client::new(profile).await;
    let post = |key: &'static str, body: String| {
        let client = &client;
        async move { Reply::read(client.open("POST", CHAT, key, &body).await).await }
    };
    for (key, body, status, code) in [
        ("", chat(false).to_string(), 401, Value::Null),
        ("bad-key-0001", chat(false).to_string(), 401, json!("invalid_api_key")),
        ("broke-key-0001", chat(false).to_string(), 429, json!("insufficient_quota")),
        ("k", "{oops".to_owned(), 400, Value::Null),
        ("k", json!({"model": "m1"}).to_string(), 400, json!("missing_required_parameter")),
        (
            "k",
            json!({"model": "m2", "messages": [{"role": "user", "content": "x"}]}).to_string(),
            404,
            json!("model_not_found"),
        ),
        ("k", " ".repeat(20 * 1024 * 1024 + 1), 413, Value::Null),
    ] {
        let reply = post(key, body).await;
        assert_eq!((reply.status(), &reply.error()["code"]), (status, &code), "{reply:?}");
        assert!(reply.header("x-ratelimit-reset-requests").is_none());
    }
    assert_eq!(client.call("GET", CHAT, &Value::Null).await.status(), 405);
    assert_eq!(client.call("POST", "/v1/nothing", &chat(false)).await.status(), 404);
}

#[tokio::test]
async fn every_so_many_calls_fail_if_the_profile_says_so() {
    let profile = Profile { fails_every: NonZeroU64::new(3), ..Profile::instant() };
    let client = Client::new(profile).await;
    let mut statuses = Vec::new();
    for _ in 0..6 {
        statuses.push(client.plain().await.status());
    }
    assert_eq!(statuses, [200, 200, 503, 200, 200, 503]);
}

#[tokio::test]
async fn a_status_comes_with_its_headers_and_body() {
    let client = Client::new(Profile::instant()).await;
    client.fault_once(json!({"kind": "status", "status": 429, "headers": {"Retry-After": "7"}})).await;
    client.fault_once(json!({"kind": "status", "status": 529, "body": {"type": "error"}})).await;
    client.fault_once(json!({"kind": "status", "status": 502, "body": "bad gateway"})).await;
    let limited = client.plain().await;
    assert_eq!((limited.status(), limited.header("retry-after")), (429, Some("7")));
    assert_eq!(limited.error()["code"], "rate_limit_exceeded");
    let overloaded = client.plain().await;
    assert_eq!((overloaded.status(), overloaded.json()), (529, json!({"type": "error"})));
    let proxied = client.stream().await;
    assert_eq!((proxied.status(), proxied.body.as_str()), (502, "bad gateway"));
    assert_eq!(client.plain().await.status(), 200);
}

#[tokio::test]
async fn a_cut_stream_stops_without_its_last_chunk() {
    let client = Client::new(Profile::instant()).await;
    for after_tokens in [0, 2] {
        client.fault_once(json!({"kind": "cut", "after_tokens": after_tokens})).await;
        let reply = client.stream().await;
        assert_eq!(reply.status(), 200);
        assert_eq!(reply.events().len(), 1 + after_tokens);
        assert!(!reply.terminated());
        assert_eq!(client.last_request().await["aborted"], false, "the vendor cut, not the client");
    }
}

#[tokio::test]
async fn a_cut_answer_stops_halfway_through_its_length() {
    let client = Client::new(Profile::instant()).await;
    client.fault_once(json!({"kind": "cut"})).await;
    let reply = client.plain().await;
    let announced: usize = reply.header("content-length").unwrap().parse().unwrap();
    assert_eq!(reply.body.len(), announced / 2);
}

#[tokio::test]
async fn a_reset_comes_before_any_byte() {
    let client = Client::new(Profile::instant()).await;
    for stream in [false, true] {
        client.fault_once(json!({"kind": "reset"})).await;
        let mut socket = client.open("POST", CHAT, "k", &chat(stream).to_string()).await;
        let error = socket.read(&mut [0; 1]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        assert_eq!(client.last_request().await["fault"], "reset");
    }
}

#[tokio::test]
async fn a_hang_lasts_until_the_client_leaves() {
    let client = Client::new(Profile::instant()).await;
    client.fault_once(json!({"kind": "hang"})).await;
    let socket = client.open("POST", CHAT, "k", &chat(false).to_string()).await;
    client.is_asked().await;
    assert_eq!(client.last_request().await["open"], true);
    assert_eq!(socket.try_read(&mut [0; 1]).unwrap_err().kind(), ErrorKind::WouldBlock);
    drop(socket);
    assert!(client.aborted().await);
}

#[tokio::test]
async fn what_is_held_back_comes_whole_once_the_fault_is_cleared() {
    let client = Client::new(Profile::instant()).await;
    client.fault_once(json!({"kind": "hold"})).await;
    let mut socket = client.open("POST", CHAT, "k", &chat(true).to_string()).await;
    client.is_asked().await;
    assert_eq!(client.stream().await.status(), 200, "it was for one request");
    assert_eq!(socket.try_read(&mut [0; 1]).unwrap_err().kind(), ErrorKind::WouldBlock);
    assert_eq!(client.call("DELETE", "/faults", &Value::Null).await.json()["cleared"], 1);
    read_until(&mut socket, "data: [DONE]").await;
}

#[tokio::test]
async fn a_stall_keeps_the_socket_open_after_its_tokens() {
    let client = Client::new(Profile::instant()).await;
    client.fault_once(json!({"kind": "stall", "after_tokens": 2})).await;
    let mut socket = client.open("POST", CHAT, "k", &chat(true).to_string()).await;
    let seen = read_until(&mut socket, r#""content":"is ""#).await;
    assert_eq!(seen.matches("data: ").count(), 3);
    assert_eq!(client.last_request().await["open"], true);
    drop(socket);
    assert!(client.aborted().await);

    client.fault_once(json!({"kind": "stall"})).await;
    let mut socket = client.open("POST", CHAT, "k", &chat(false).to_string()).await;
    read_until(&mut socket, r#"{"id":"#).await;
    assert_eq!(client.last_request().await["open"], true);
}

#[tokio::test]
async fn a_slow_first_token_comes_after_the_role_chunk() {
    let client = Client::new(Profile::instant()).await;
    client.fault_once(json!({"kind": "slow_first_token", "ms": 3_600_000})).await;
    let mut socket = client.open("POST", CHAT, "k", &chat(true).to_string()).await;
    let seen = read_until(&mut socket, r#""role":"assistant""#).await;
    assert_eq!(seen.matches("data: ").count(), 1);
    assert_eq!(client.last_request().await["open"], true);
}

#[tokio::test]
async fn latency_comes_before_the_head() {
    let client = Client::new(Profile::instant()).await;
    client.fault_once(json!({"kind": "latency", "ms": 15})).await;
    let start = Instant::now();
    assert_eq!(client.stream().await.status(), 200);
    assert!(start.elapsed() >= Duration::from_millis(15));
}

#[tokio::test]
async fn a_stream_keeps_its_pace() {
    let pace = std::num::NonZeroU32::new(2_000);
    let client = Client::new(Profile { first_token_ms: 5..=5, tokens_per_second: pace, ..Profile::instant() }).await;
    let start = Instant::now();
    let tokens = client.stream().await.events().len() - 3;
    let least = Duration::from_millis(5) + Duration::from_micros(500) * u32::try_from(tokens - 1).unwrap();
    assert!(start.elapsed() >= least, "{:?} for {tokens} tokens", start.elapsed());
}

#[tokio::test]
async fn malformed_unfinished_and_in_band_failures_end_as_proper_http() {
    let client = Client::new(Profile::instant()).await;
    client.fault_once(json!({"kind": "malformed_chunk", "after_tokens": 1})).await;
    let reply = client.stream().await;
    assert_eq!((reply.events()[2], reply.events().last()), ("{not json", Some(&"[DONE]")));

    client.fault_once(json!({"kind": "no_done"})).await;
    let reply = client.stream().await;
    assert!(reply.terminated() && reply.events().last().unwrap().contains(r#""finish_reason":"stop""#));

    client.fault_once(json!({"kind": "no_finish"})).await;
    let reply = client.stream().await;
    assert!(reply.terminated() && !reply.body.contains("[DONE]") && !reply.body.contains("stop"));

    client.fault_once(json!({"kind": "error_in_200", "after_tokens": 1})).await;
    let reply = client.stream().await;
    assert_eq!((reply.status(), reply.events().len(), reply.terminated()), (200, 3, true));
    assert!(reply.events()[2].starts_with(r#"{"error":{"#));

    client.fault_once(json!({"kind": "content_filter", "finish_reason": true})).await;
    assert!(client.stream().await.body.contains(r#""finish_reason":"content_filter""#));
}

#[tokio::test]
async fn plain_answers_fail_in_their_own_ways() {
    let client = Client::new(Profile::instant()).await;
    for (fault, status, code) in [
        (json!({"kind": "error_in_200", "error": {"code": "x"}}), 200, json!("x")),
        (json!({"kind": "context_length"}), 400, json!("context_length_exceeded")),
        (json!({"kind": "content_filter"}), 400, json!("content_filter")),
    ] {
        client.fault_once(fault).await;
        let reply = client.plain().await;
        assert_eq!((reply.status(), &reply.error()["code"]), (status, &code));
    }
    client.fault_once(json!({"kind": "malformed_chunk"})).await;
    assert_eq!(client.plain().await.body, "{not json");
    client.fault_once(json!({"kind": "no_finish"})).await;
    assert_eq!(client.plain().await.json()["choices"][0]["finish_reason"], Value::Null);
    client.fault_once(json!({"kind": "not_json"})).await;
    assert_eq!(client.plain().await.header("content-type"), Some("text/html; charset=utf-8"));
    client.fault_once(json!({"kind": "empty_200"})).await;
    let reply = client.plain().await;
    assert_eq!((reply.status(), reply.header("content-length"), reply.body.as_str()), (200, Some("0"), ""));
    assert_eq!(client.last_request().await["aborted"], false);
    client.fault_once(json!({"kind": "empty_200"})).await;
    assert_eq!(client.stream().await.events(), ["[DONE]"]);
}

#[tokio::test]
async fn a_huge_answer_is_valid_and_an_endless_one_stops_with_its_client() {
    let client = Client::new(Profile::instant()).await;
    client.fault_once(json!({"kind": "huge", "bytes": 300_000})).await;
    let reply = client.plain().await;
    assert!(reply.terminated() && reply.body.matches('a').count() > 300_000);
    client.fault_once(json!({"kind": "huge", "bytes": 300_000})).await;
    assert_eq!(client.stream().await.events().last(), Some(&"[DONE]"));

    client.fault_once(json!({"kind": "huge"})).await;
    let mut socket = client.open("POST", CHAT, "k", &chat(true).to_string()).await;
    let mut four_megabytes = vec![0; 4 << 20];
    socket.read_exact(&mut four_megabytes).await.unwrap();
    drop(socket);
    assert!(client.aborted().await);
}

#[tokio::test]
async fn a_client_that_leaves_midway_is_noticed() {
    let pace = std::num::NonZeroU32::new(1);
    let client = Client::new(Profile { tokens_per_second: pace, ..Profile::instant() }).await;
    let mut socket = client.open("POST", CHAT, "k", &chat(true).to_string()).await;
    read_until(&mut socket, r#""content":"This ""#).await;
    drop(socket);
    assert!(client.aborted().await);
}

#[tokio::test]
async fn the_log_counts_on_arrival_and_keeps_no_key() {
    let client = Client::new(Profile::instant()).await;
    client.fault_once(json!({"kind": "status", "status": 500})).await;
    client.plain().await;
    client.call("GET", "/v1/models", &Value::Null).await;
    let count =
        async |query: &str| client.call("GET", &format!("/count{query}"), &Value::Null).await.json()["count"].clone();
    assert_eq!(count("").await, 2);
    assert_eq!(count("?model=m1").await, 1);
    assert_eq!(count("?path=%2Fv1%2Fmodels").await, 1);
    assert_eq!(count("?model=m2").await, 0);

    let shown = client.call("GET", "/requests?model=m1", &Value::Null).await;
    assert!(!shown.body.contains("sk-sandbox-0001"));
    let request = &shown.json()["requests"][0];
    assert_eq!(
        (&request["key"], &request["fault"], &request["path"]),
        (&json!("…0001"), &json!("status"), &json!(CHAT))
    );
    assert_eq!((&request["body"], &request["headers"]["host"]), (&chat(false), &json!("acme")));

    client.call("DELETE", "/requests", &Value::Null).await;
    assert_eq!(count("").await, 0);
}

#[tokio::test]
async fn faults_are_listed_and_cleared_and_bad_ones_refused() {
    let client = Client::new(Profile::instant()).await;
    client.call("POST", "/faults", &json!({"fault": {"kind": "hang"}, "model": "m1", "for_ms": 60_000})).await;
    let listed = client.call("GET", "/faults", &Value::Null).await.json();
    assert_eq!(listed["faults"][0]["fault"], json!({"kind": "hang"}));
    assert!(listed["faults"][0]["ms_left"].as_u64().is_some_and(|left| left <= 60_000));
    assert_eq!(client.call("DELETE", "/faults?model=m1", &Value::Null).await.json()["cleared"], 1);
    assert_eq!(client.plain().await.status(), 200);
    let refused = client.call("POST", "/faults", &json!({"fault": {"kind": "explode"}})).await;
    assert_eq!(refused.status(), 400);
    assert!(refused.json()["error"].as_str().is_some_and(|reason| reason.contains("unknown variant `explode`")));
}

#[tokio::test]
async fn a_large_body_is_not_kept() {
    let client = Client::new(Profile::instant()).await;
    let large = json!({"model": "e", "input": "x ".repeat(200_000)});
    client.call("POST", "/v1/embeddings", &large).await;
    let seen = client.last_request().await;
    assert_eq!((&seen["body"], &seen["body_bytes"]), (&Value::Null, &json!(large.to_string().len())));
}

#[tokio::test]
async fn dropping_the_sandbox_closes_its_sockets() {
    let client = Client::new(Profile::instant()).await;
    client.fault_once(json!({"kind": "hang"})).await;
    let mut socket = client.open("POST", CHAT, "k", &chat(false).to_string()).await;
    client.is_asked().await;
    drop(client);
    assert_eq!(socket.read(&mut [0; 1]).await.unwrap(), 0);
}
