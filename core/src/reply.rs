//! What a client is answered: whole replies, the heads of streams, and errors in the API's own shape.

use std::borrow::Cow;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use http::{HeaderMap, StatusCode};
use serde::Serialize;
use serde_json::{Value, json};

use crate::dialect::openai::responses;
use crate::dialect::{BadRequest, Dialect, Surface, VendorError, anthropic};
use crate::time::Millis;

/// Who served: the target's name.
pub const TARGET: HeaderName = HeaderName::from_static("x-tidegate-target");
/// How many attempts it took.
pub const ATTEMPTS: HeaderName = HeaderName::from_static("x-tidegate-attempts");
/// What it cost in USD, or `unknown`.
pub const COST: HeaderName = HeaderName::from_static("x-tidegate-cost");
/// Names this request in logs and reports.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-tidegate-request-id");
/// The same under the name that the `OpenAI` SDKs read.
pub const SDK_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// And the one that Anthropic's read.
pub const ANTHROPIC_REQUEST_ID: HeaderName = HeaderName::from_static("request-id");
/// The answer is the route's own text: nobody could be asked.
pub const CANNED: HeaderName = HeaderName::from_static("x-tidegate-canned");
/// The count of tokens is the gateway's own estimate: no vendor that could be asked counts them.
pub const ESTIMATED: HeaderName = HeaderName::from_static("x-tidegate-estimated");
/// Whether the answer was kept from before, on a route that keeps any: `hit`, `miss` or `bypass`.
pub const CACHE: HeaderName = HeaderName::from_static("x-tidegate-cache");
/// Parameters of the request that the target has no form for, and that were left out.
pub const DROPPED: HeaderName = HeaderName::from_static("x-tidegate-dropped");
/// Whether the client should try again by itself: the SDKs obey it before any rule of their own.
pub const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");
/// `Retry-After` in milliseconds, which the SDKs prefer.
pub const RETRY_AFTER_MS: HeaderName = HeaderName::from_static("retry-after-ms");

/// Names the request in a reply's headers.
pub(crate) fn name_request(headers: &mut HeaderMap, request_id: &str) {
    if let Ok(id) = HeaderValue::from_str(request_id) {
        headers.insert(REQUEST_ID, id.clone());
        headers.insert(SDK_REQUEST_ID, id.clone());
        headers.insert(ANTHROPIC_REQUEST_ID, id);
    }
}

/// Names that a client made up, as the value of a header: those that can stand in one, and not more than fit.
pub(crate) fn name_list(names: &[String]) -> HeaderValue {
    const LIST_BYTES_MAX: usize = 1024;
    let mut list = String::new();
    for name in names.iter().filter(|name| name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',')) {
        if list.len() + name.len() > LIST_BYTES_MAX {
            break;
        }
        list.push_str(if list.is_empty() { "" } else { ", " });
        list.push_str(name);
    }
    HeaderValue::from_str(&list).expect("graphic ASCII can stand in a header")
}

/// An error in a dialect's own words, as the event that ends a stream. `None`: it has none, such as a proxy's page, or nothing.
pub(crate) fn as_error_event(surface: Surface, body: &[u8]) -> Option<Bytes> {
    let said: Value = serde_json::from_slice(body).ok()?;
    said.get("error")?;
    let name: &[u8] = if surface.dialect() == Dialect::Anthropic { b"event: error\n" } else { b"" };
    let mut event = name.to_vec();
    for line in body.trim_ascii().split(|byte| matches!(byte, b'\n' | b'\r')) {
        event.extend_from_slice(b"data: ");
        event.extend_from_slice(line);
        event.push(b'\n');
    }
    event.push(b'\n');
    Some(event.into())
}

/// The beginning of a text that a client made up, for quoting it in an error: the whole may be of any length.
pub(crate) fn quoted(text: &str) -> String {
    const QUOTED_CHARS_MAX: usize = 100;
    text.chars().take(QUOTED_CHARS_MAX).collect()
}

/// A whole reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Its status.
    pub status: StatusCode,
    /// Its headers; the length is the adapter's to add.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

/// The head of a streamed reply; its body follows in pieces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
}

/// An error for the client, whatever dialect it is put in, and what the client should do about it.
#[derive(Debug, Clone, PartialEq)]
pub struct ApiError {
    /// The status that fits it.
    pub status: StatusCode,
    /// The class of error that `OpenAI`'s SDKs know. Anthropic's follows from the status.
    pub kind: &'static str,
    /// One stable word for programs.
    pub code: Option<Cow<'static, str>>,
    /// Whose fault it is and what to do, for people.
    pub message: String,
    /// The parameter at fault, where one is.
    pub param: Option<&'static str>,
    /// When to come back. `None`: coming back will not help.
    pub retry_in: Option<Millis>,
    /// What was tried, where anything was.
    pub attempts: Vec<Tried>,
    /// A header that belongs to the status.
    pub header: Option<(HeaderName, HeaderValue)>,
}

impl From<BadRequest> for Box<ApiError> {
    fn from(bad: BadRequest) -> Self {
        Self::new(bad.into())
    }
}

impl From<BadRequest> for ApiError {
    fn from(bad: BadRequest) -> Self {
        Self::invalid(bad.message, bad.param)
    }
}

/// One attempt, as an error reports it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Tried {
    /// The target's name.
    pub target: String,
    /// What became of it, in one word.
    pub outcome: &'static str,
    /// The vendor's status, where that is what went wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// How long it took.
    pub ms: Millis,
}

impl Reply {
    /// JSON under a status.
    pub fn json(status: StatusCode, body: &impl Serialize) -> Self {
        Self::json_text(status, serde_json::to_vec(body).expect("our own types always have a JSON form").into())
    }

    /// JSON that has been written already.
    fn json_text(status: StatusCode, body: Bytes) -> Self {
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
        Self { status, headers, body }
    }
}

impl Head {
    /// The head of an event stream, which no proxy on the way may hold back or rewrite.
    pub fn event_stream() -> Self {
        let headers = HeaderMap::from_iter([
            (CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8")),
            (CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform")),
            (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
        ]);
        Self { status: StatusCode::OK, headers }
    }
}

impl ApiError {
    /// An error that is the caller's to mend.
    pub fn invalid(message: impl Into<String>, param: Option<&'static str>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request_error", "invalid_request", message).with_param(param)
    }

    /// A vendor's refusal of the request, where the vendor did not say why in words that a client can read.
    pub(crate) fn unexplained(status: StatusCode) -> Self {
        let message = format!("The vendor refused this request with status {}, and did not say why.", status.as_u16());
        Self::new(status, "invalid_request_error", "invalid_request", message)
    }

    /// An error without a parameter, a retry hint or attempts.
    pub fn new(status: StatusCode, kind: &'static str, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            kind,
            code: Some(code.into()),
            message: message.into(),
            param: None,
            retry_in: None,
            attempts: Vec::new(),
            header: None,
        }
    }

    /// A vendor's refusal of the request, for a client that speaks another dialect.
    pub fn of_vendor(status: StatusCode, error: VendorError) -> Self {
        let VendorError { message, kind, code, .. } = error;
        let code = Some(code).filter(|code| !code.is_empty()).or(Some(kind)).filter(|code| !code.is_empty());
        let message =
            if message.is_empty() { format!("The vendor refused the request with status {status}.") } else { message };
        Self { code: code.map(Cow::Owned), ..Self::new(status, "invalid_request_error", "", message) }
    }

    /// Adds a header that belongs to the status.
    #[must_use]
    pub fn with_header(self, name: HeaderName, value: HeaderValue) -> Self {
        Self { header: Some((name, value)), ..self }
    }

    /// Names the parameter at fault.
    #[must_use]
    pub fn with_param(self, param: Option<&'static str>) -> Self {
        Self { param, ..self }
    }

    /// Says when to come back.
    #[must_use]
    pub fn with_retry_in(self, retry_in: Option<Millis>) -> Self {
        Self { retry_in, ..self }
    }

    /// The reply that says so to a client of this dialect.
    pub fn reply(&self, dialect: Dialect, request_id: &str) -> Reply {
        let body = match dialect {
            Dialect::OpenAi | Dialect::Gemini => self.body().to_string().into(),
            Dialect::Anthropic => {
                let kind = anthropic::error_kind(self.status.as_u16());
                anthropic::error_body(kind, &self.message, request_id, self.metadata().as_ref())
            }
        };
        let mut reply = Reply::json_text(self.status, body);
        if let Some(wait) = self.retry_in {
            // A second at the least: a client told zero comes back at once, and all of them do.
            let wait = wait.max(Millis(1000));
            reply.headers.insert(RETRY_AFTER, HeaderValue::from(wait.as_secs_ceil()));
            reply.headers.insert(RETRY_AFTER_MS, HeaderValue::from(wait.0));
        }
        if self.status.is_server_error() && (self.retry_in.is_none() || !self.attempts.is_empty()) {
            // The gateway has tried all there is: the SDK's own retries at once would only multiply that.
            reply.headers.insert(SHOULD_RETRY, HeaderValue::from_static("false"));
        }
        reply.headers.extend(self.header.clone());
        name_request(&mut reply.headers, request_id);
        reply
    }

    /// The event that ends a stream which cannot end well. No good end follows it; the SDKs raise on it.
    pub fn event(&self, surface: Surface, request_id: &str) -> Bytes {
        match surface {
            Surface::Messages | Surface::CountTokens => {
                let kind = anthropic::error_kind(self.status.as_u16());
                anthropic::error_event(kind, &self.message, request_id, self.metadata().as_ref())
            }
            Surface::Responses => responses::error_event(self.kind, self.code.as_deref().unwrap_or(""), &self.message),
            Surface::Chat | Surface::Completions | Surface::Embeddings => format!("data: {}\n\n", self.body()).into(),
        }
    }

    fn body(&self) -> Value {
        let mut error = json!({"message": self.message, "type": self.kind, "param": self.param, "code": self.code});
        if let Some(metadata) = self.metadata() {
            error["metadata"] = metadata;
        }
        json!({ "error": error })
    }

    /// What was tried, where anything was.
    fn metadata(&self) -> Option<Value> {
        (!self.attempts.is_empty()).then(|| json!({"attempts": self.attempts}))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_has_all_four_keys() {
        let reply = ApiError::invalid("no `model`", Some("model")).reply(Dialect::OpenAi, "tg-1");
        let body: Value = serde_json::from_slice(&reply.body).unwrap();
        let expected = json!({"error": {
            "message": "no `model`", "type": "invalid_request_error", "param": "model", "code": "invalid_request",
        }});
        assert_eq!(body, expected);
        assert_eq!(reply.headers[CONTENT_TYPE], "application/json");
        assert!(!reply.headers.contains_key(SHOULD_RETRY), "a 400 is not retried anyway");
    }

    #[test]
    fn anthropics_clients_are_told_in_their_own_shape() {
        let error = ApiError::new(StatusCode::NOT_FOUND, "invalid_request_error", "model_not_found", "no such model");
        let body: Value = serde_json::from_slice(&error.reply(Dialect::Anthropic, "tg-1").body).unwrap();
        let expected = json!({
            "type": "error", "error": {"type": "not_found_error", "message": "no such model"}, "request_id": "tg-1",
        });
        assert_eq!(body, expected);
        let event = error.event(Surface::Messages, "tg-1");
        let data = event.strip_prefix(b"event: error\ndata: ").unwrap().strip_suffix(b"\n\n").unwrap();
        assert_eq!(serde_json::from_slice::<Value>(data).unwrap(), expected);
    }

    #[test]
    fn a_refusal_says_when_to_come_back_or_not_to() {
        let error = ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "server_error", "no_target", "all down");
        assert_eq!(error.reply(Dialect::OpenAi, "tg-1").headers[SHOULD_RETRY], "false");
        let later = error.clone().with_retry_in(Some(Millis(2500))).reply(Dialect::OpenAi, "tg-1");
        assert_eq!(later.headers[RETRY_AFTER], "3");
        assert_eq!(later.headers[RETRY_AFTER_MS], "2500");
        assert!(!later.headers.contains_key(SHOULD_RETRY), "nothing was tried yet: the SDK may come back");
        let mut soon = error.with_retry_in(Some(Millis(3)));
        soon.attempts.push(Tried { target: "a/m".into(), outcome: "cut", status: None, ms: Millis(5) });
        let soon = soon.reply(Dialect::OpenAi, "tg-1");
        assert_eq!(soon.headers[RETRY_AFTER], "1");
        assert_eq!(soon.headers[SHOULD_RETRY], "false", "the whole budget was spent on it");
    }

    #[test]
    fn a_stream_ends_in_an_error_that_sdks_raise() {
        let mut error = ApiError::new(StatusCode::BAD_GATEWAY, "upstream_error", "stream_cut", "cut");
        error.attempts.push(Tried { target: "a/m".into(), outcome: "cut", status: None, ms: Millis(5) });
        let event = error.event(Surface::Chat, "tg-1");
        let data = event.strip_prefix(b"data: ").unwrap().strip_suffix(b"\n\n").unwrap();
        let body: Value = serde_json::from_slice(data).unwrap();
        assert_eq!(body["error"]["metadata"]["attempts"][0], json!({"target": "a/m", "outcome": "cut", "ms": 5}));
    }
}
