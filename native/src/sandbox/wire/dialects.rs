//! The same vendor in all three dialects: the same words, the same faults, each in its own wire format.

use serde_json::{Value, json};
use tokio::io::AsyncReadExt;

use super::{Client, Profile, Reply, read_until};

/// How one dialect is spoken to.
struct Tongue {
    path: &'static str,
    stream_path: &'static str,
    headers: &'static str,
    body: fn(bool) -> Value,
    /// Where the words of a plain answer are, and those of a stream's event.
    text: &'static str,
    token: &'static str,
    /// What a whole stream ends with, and what says why.
    last: &'static str,
    finish: &'static str,
    /// The frame of an event that is no JSON, and the beginning of an error's.
    garbage: &'static str,
    error: &'static str,
    /// What a 500 calls itself, and where.
    kind: (&'static str, &'static str),
}

const TONGUES: [Tongue; 3] = [
    Tongue {
        path: "/v1/chat/completions",
        stream_path: "/v1/chat/completions",
        headers: "authorization: Bearer sk-sandbox-0001\r\n",
        body: |stream| json!({"model": "m1", "stream": stream, "messages": [{"role": "user", "content": "hello there"}]}),
        text: "/choices/0/message/content",
        token: "/choices/0/delta/content",
        last: "[DONE]",
        finish: r#""finish_reason":"stop""#,
        garbage: "\ndata: {not json\n\n",
        error: "\ndata: {\"error\":{",
        kind: ("/error/type", "server_error"),
    },
    Tongue {
        path: "/v1/messages",
        stream_path: "/v1/messages",
        headers: "x-api-key: sk-sandbox-0001\r\nanthropic-version: 2023-06-01\r\nanthropic-beta: a,b\r\n",
        body: |stream| {
            let messages = json!([{"role": "user", "content": "hello there"}]);
            json!({"model": "m1", "max_tokens": 1000, "stream": stream, "messages": messages})
        },
        text: "/content/0/text",
        token: "/delta/text",
        last: r#"{"type":"message_stop"}"#,
        finish: r#""stop_reason":"end_turn""#,
        garbage: "\nevent: content_block_delta\ndata: {not json\n\n",
        error: "\nevent: error\ndata: {\"error\":{",
        kind: ("/error/type", "api_error"),
    },
    Tongue {
        path: "/v1beta/models/m1:generateContent",
        stream_path: "/v1beta/models/m1:streamGenerateContent?alt=sse",
        headers: "x-goog-api-key: sk-sandbox-0001\r\n",
        body: |_| json!({"contents": [{"role": "user", "parts": [{"text": "hello there"}]}]}),
        text: "/candidates/0/content/parts/0/text",
        token: "/candidates/0/content/parts/0/text",
        last: r#""modelVersion":"m1""#,
        finish: r#""finishReason":"STOP""#,
        garbage: "\ndata: {not json\n\n",
        error: "\ndata: {\"error\":{",
        kind: ("/error/status", "INTERNAL"),
    },
];

impl Tongue {
    async fn plain(&self, client: &Client) -> Reply {
        let body = (self.body)(false).to_string();
        Reply::read(client.open_with("POST", self.path, self.headers, &body).await).await
    }

    async fn stream(&self, client: &Client) -> Reply {
        let body = (self.body)(true).to_string();
        Reply::read(client.open_with("POST", self.stream_path, self.headers, &body).await).await
    }

    /// The words of a stream, from all its events that are JSON.
    fn words(&self, reply: &Reply) -> String {
        let events = reply.events().into_iter().filter_map(|event| serde_json::from_str::<Value>(event).ok());
        events.filter_map(|event| event.pointer(self.token)?.as_str().map(str::to_owned)).collect()
    }

    /// How many events carry words.
    fn tokens(&self, reply: &Reply) -> usize {
        self.words(reply).split_inclusive(' ').count()
    }
}

#[tokio::test]
async fn the_same_prompt_gets_the_same_words_in_every_dialect() {
    let client = Client::new(Profile::instant()).await;
    let mut all = Vec::new();
    for tongue in &TONGUES {
        let plain = tongue.plain(&client).await;
        assert_eq!(plain.status(), 200, "{plain:?}");
        all.push(plain.json().pointer(tongue.text).and_then(Value::as_str).unwrap().to_owned());
        let stream = tongue.stream(&client).await;
        assert!(stream.header("content-type").unwrap().starts_with("text/event-stream"), "{stream:?}");
        assert!(stream.terminated() && stream.body.contains(tongue.finish));
        assert!(stream.events().last().unwrap().contains(tongue.last), "{}", stream.body);
        all.push(tongue.words(&stream));
    }
    assert!(all[0].ends_with("You said: \"hello there\""));
    assert!(all.iter().all(|text| *text == all[0]), "{all:?}");
}

#[tokio::test]
async fn a_stream_is_spoiled_at_the_same_place_in_every_dialect() {
    for tongue in &TONGUES {
        let client = Client::new(Profile::instant()).await;
        for after_tokens in [0, 2] {
            client.fault_once(json!({"kind": "cut", "after_tokens": after_tokens})).await;
            let cut = tongue.stream(&client).await;
            assert_eq!((tongue.tokens(&cut), cut.terminated()), (after_tokens, false), "{}", cut.body);
        }
        client.fault_once(json!({"kind": "malformed_chunk", "after_tokens": 1})).await;
        let malformed = tongue.stream(&client).await;
        assert!(malformed.body.replace("\r\n", "\n").contains(tongue.garbage), "{}", malformed.body);
        assert!(malformed.body.contains(tongue.finish));

        client.fault_once(json!({"kind": "error_in_200", "after_tokens": 2})).await;
        let failed = tongue.stream(&client).await;
        assert_eq!((failed.status(), tongue.tokens(&failed), failed.terminated()), (200, 2, true));
        assert!(failed.body.replace("\r\n", "\n").contains(tongue.error), "{}", failed.body);

        client.fault_once(json!({"kind": "no_finish"})).await;
        let unfinished = tongue.stream(&client).await;
        assert!(unfinished.terminated() && !unfinished.body.contains(tongue.finish));
        assert!(!unfinished.body.contains("[DONE]") && !unfinished.body.contains("message_stop"));

        client.fault_once(json!({"kind": "no_done"})).await;
        let undone = tongue.stream(&client).await;
        assert!(undone.terminated() && undone.body.contains(tongue.finish));
        assert!(!undone.body.contains("[DONE]") && !undone.body.contains("message_stop"));

        client.fault_once(json!({"kind": "empty_200"})).await;
        let empty = tongue.stream(&client).await;
        assert_eq!((empty.status(), tongue.tokens(&empty)), (200, 0));

        client.fault_once(json!({"kind": "stall", "after_tokens": 1})).await;
        let body = (tongue.body)(true).to_string();
        let mut socket = client.open_with("POST", tongue.stream_path, tongue.headers, &body).await;
        read_until(&mut socket, "\"This ").await;
        assert_eq!(client.last_request().await["open"], true);
    }
}

#[tokio::test]
async fn plain_answers_fail_in_every_dialect() {
    for tongue in &TONGUES {
        let client = Client::new(Profile::instant()).await;
        client.fault_once(json!({"kind": "status", "status": 500})).await;
        let failed = tongue.plain(&client).await;
        let kind = failed.json().pointer(tongue.kind.0).cloned();
        assert_eq!((failed.status(), kind), (500, Some(json!(tongue.kind.1))));
        client.fault_once(json!({"kind": "error_in_200"})).await;
        let failed = tongue.plain(&client).await;
        assert!(failed.status() == 200 && failed.error()["message"].is_string(), "{failed:?}");
        client.fault_once(json!({"kind": "no_finish"})).await;
        assert!(!tongue.plain(&client).await.body.contains(tongue.finish));
        client.fault_once(json!({"kind": "huge", "bytes": 100_000})).await;
        let huge = tongue.plain(&client).await;
        assert!(huge.terminated() && huge.body.contains(tongue.finish));
        client.fault_once(json!({"kind": "huge", "bytes": 100_000})).await;
        assert!(tongue.stream(&client).await.body.contains(tongue.finish));
        client.fault_once(json!({"kind": "not_json"})).await;
        assert_eq!(tongue.plain(&client).await.header("content-type"), Some("text/html; charset=utf-8"));
        client.fault_once(json!({"kind": "reset"})).await;
        let body = (tongue.body)(false).to_string();
        let mut socket = client.open_with("POST", tongue.path, tongue.headers, &body).await;
        assert!(socket.read(&mut [0; 1]).await.is_err());
    }
}

#[tokio::test]
async fn every_vendor_words_what_is_wrong_in_its_own_way() {
    let client = Client::new(Profile { models: vec!["m1".to_owned()], ..Profile::instant() }).await;
    let words = |reply: Reply| (reply.status(), reply.error()["message"].as_str().unwrap_or_default().to_owned());
    let [_, anthropic, gemini] = &TONGUES;
    for (tongue, fault, status, part) in [
        (anthropic, "context_length", 400, "prompt is too long: 209000 tokens > 200000 maximum"),
        (gemini, "context_length", 400, "The input token count (1058577) exceeds the maximum number of tokens"),
    ] {
        client.fault_once(json!({"kind": fault})).await;
        let (given, message) = words(tongue.plain(&client).await);
        assert!(given == status && message.starts_with(part), "{given} {message}");
    }
    client.fault_once(json!({"kind": "content_filter"})).await;
    assert_eq!(anthropic.plain(&client).await.json()["stop_reason"], "refusal");
    client.fault_once(json!({"kind": "content_filter"})).await;
    assert_eq!(gemini.plain(&client).await.json()["promptFeedback"]["blockReason"], "SAFETY");
    client.fault_once(json!({"kind": "status", "status": 529})).await;
    let overloaded = anthropic.plain(&client).await;
    assert_eq!((overloaded.status(), &overloaded.error()["type"]), (529, &json!("overloaded_error")));
    assert_eq!(overloaded.json()["request_id"], overloaded.header("request-id").unwrap());
    client.fault_once(json!({"kind": "status", "status": 429})).await;
    let limited = gemini.plain(&client).await.error();
    assert_eq!(
        (&limited["status"], &limited["details"][0]["retryDelay"]),
        (&json!("RESOURCE_EXHAUSTED"), &json!("1s"))
    );

    let version = "anthropic-version: 2023-06-01\r\n";
    for (tongue, headers, status, part) in [
        (anthropic, version.to_owned(), 401, "x-api-key header is required"),
        (anthropic, "x-api-key: k\r\n".to_owned(), 400, "anthropic-version: header is required"),
        (anthropic, format!("{version}x-api-key: bad-1\r\n"), 401, "invalid x-api-key"),
        (anthropic, format!("{version}authorization: Bearer broke-1\r\n"), 400, "Your credit balance is too low"),
        (gemini, String::new(), 403, "Method doesn't allow unregistered callers"),
        (gemini, "authorization: Bearer k\r\n".to_owned(), 403, "Method doesn't allow unregistered callers"),
        (gemini, "x-goog-api-key: bad-1\r\n".to_owned(), 400, "API key not valid."),
        (gemini, "x-goog-api-key: broke-1\r\n".to_owned(), 429, "You exceeded your current quota"),
    ] {
        let body = (tongue.body)(false).to_string();
        let reply = Reply::read(client.open_with("POST", tongue.path, &headers, &body).await).await;
        let (given, message) = words(reply);
        assert!(given == status && message.starts_with(part), "{headers}: {given} {message}");
    }
    for (path, status) in [("/v1beta/models/m2:generateContent", 404), ("/v1beta/models/m1:sing", 404)] {
        let reply = Reply::read(client.open_with("POST", path, gemini.headers, "{}").await).await;
        assert_eq!((reply.status(), &reply.error()["status"]), (status, &json!("NOT_FOUND")));
    }
    let reply = Reply::read(client.open_with("POST", anthropic.path, anthropic.headers, "{oops").await).await;
    assert_eq!((reply.status(), &reply.error()["type"]), (400, &json!("invalid_request_error")));
}

#[tokio::test]
async fn the_other_endpoints_are_served() {
    let client = Client::new(Profile { models: vec!["m1".to_owned()], ..Profile::instant() }).await;
    let [_, anthropic, gemini] = &TONGUES;
    let ask = async |method: &str, path: &str, tongue: &Tongue, body: Value| {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        Reply::read(client.open_with(method, path, tongue.headers, &body).await).await.json()
    };
    let messages = json!({"model": "m1", "messages": [{"role": "user", "content": "one two three"}]});
    assert_eq!(ask("POST", "/v1/messages/count_tokens", anthropic, messages).await, json!({"input_tokens": 3}));
    assert_eq!(ask("GET", "/v1/models", anthropic, Value::Null).await["data"][0]["type"], "model");
    let contents = json!({"contents": [{"parts": [{"text": "one two three"}]}]});
    let counted = ask("POST", "/v1beta/models/m1:countTokens", gemini, contents.clone()).await;
    assert_eq!(counted["totalTokens"], 3);
    let mut whole = contents;
    whole["model"] = json!("models/m1");
    whole["systemInstruction"] = json!({"parts": [{"text": "be brief"}]});
    let whole = json!({"generateContentRequest": whole});
    assert_eq!(ask("POST", "/v1beta/models/m1:countTokens", gemini, whole).await["totalTokens"], 5);
    let content = json!({"content": {"parts": [{"text": "a"}]}, "outputDimensionality": 4});
    let embedded = ask("POST", "/v1beta/models/m1:embedContent", gemini, content).await;
    assert_eq!(embedded["embedding"]["values"].as_array().map(Vec::len), Some(4));
    assert_eq!(ask("GET", "/v1beta/models", gemini, Value::Null).await["models"][0]["name"], "models/m1");
}

#[tokio::test]
async fn the_log_tells_where_a_key_stood_and_what_came() {
    let client = Client::new(Profile::instant()).await;
    let [openai, anthropic, gemini] = &TONGUES;
    anthropic.stream(&client).await;
    let seen = client.last_request().await;
    assert_eq!((&seen["key"], &seen["key_in"]), (&json!("…0001"), &json!(["x-api-key"])));
    assert_eq!(
        (&seen["headers"]["anthropic-version"], &seen["headers"]["anthropic-beta"]),
        (&json!("2023-06-01"), &json!("a,b"))
    );
    assert_eq!((&seen["stream"], &seen["body_text"]), (&json!(true), &json!((anthropic.body)(true).to_string())));
    gemini.stream(&client).await;
    let seen = client.last_request().await;
    assert_eq!((&seen["model"], &seen["stream"], &seen["query"]), (&json!("m1"), &json!(true), &json!("alt=sse")));
    assert_eq!(seen["path"], "/v1beta/models/m1:streamGenerateContent");
    let path = "/v1beta/models/m1:generateContent?key=sk-secret-0002&a=b";
    let body = (gemini.body)(false).to_string();
    assert_eq!(Reply::read(client.open_with("POST", path, "", &body).await).await.status(), 200);
    let shown = client.call("GET", "/requests", &Value::Null).await;
    assert!(!shown.body.contains("sk-secret-0002"));
    let seen = client.last_request().await;
    assert_eq!((&seen["key"], &seen["key_in"], &seen["query"]), (&json!("…0002"), &json!(["key"]), &json!("a=b")));
    openai.plain(&client).await;
    assert_eq!(client.call("GET", "/count?model=m1", &Value::Null).await.json()["count"], 4);
}

#[tokio::test]
async fn headers_are_each_vendors_own() {
    let client = Client::new(Profile::instant()).await;
    let [_, anthropic, gemini] = &TONGUES;
    let reply = anthropic.plain(&client).await;
    assert!(reply.header("request-id").is_some_and(|id| id.starts_with("req_")));
    assert!(reply.header("anthropic-ratelimit-requests-reset").is_some_and(|date| date.ends_with('z')));
    assert!(reply.header("x-request-id").is_none());
    let reply = gemini.plain(&client).await;
    assert_eq!(reply.header("content-type"), Some("application/json; charset=utf-8"));
    assert!(reply.header("openai-version").is_none() && reply.header("request-id").is_none());
}
