//! What the sandbox has to know of a vendor's API: its paths, its keys, its words for what is wrong, its frames.
//!
//! All dialects are served on one port and told apart by path. They share nothing with the gateway's own dialects: a
//! sandbox that read with the gateway's readers would share its misunderstandings.

use std::fmt::Debug;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use serde_json::Value;

use super::answer::{Answer, VendorError};
use super::fault::Fault;
use super::{anthropic, control, gemini, openai};

/// One vendor's API.
pub(super) trait Dialect: Debug + Send + Sync {
    /// Where a key may stand, the usual place first.
    fn key_places(&self) -> &'static [Place];

    /// Refuses headers that the API does not take.
    fn admit(&self, headers: &HeaderMap) -> Result<(), VendorError>;

    /// What it says when something is wrong.
    fn refuse(&self, trouble: &Trouble<'_>) -> VendorError;

    /// The error of a prompt that a filter stopped; absent, that is an answer and no error.
    fn prompt_refused(&self) -> Option<VendorError>;

    /// A whole error body around an error object.
    fn envelope(&self, error: &Value, request_id: &str) -> Value;

    /// Answers a request whose key is good and whose model it serves.
    fn answer(&self, request: &Request<'_>, turn: &Turn<'_>) -> Result<Answer, VendorError>;

    /// The list of its models.
    fn models(&self, models: &[String], vendor: &str) -> Value;

    /// One event of a stream: an error or, for a fault, content that is no JSON.
    fn frame(&self, event: FrameOf, data: &[u8]) -> Bytes;

    /// A valid answer in two halves, for any number of bytes of content between them.
    fn around_content(&self, streamed: bool) -> [&'static str; 2];

    /// The `content-type` of JSON and of a stream.
    fn content_types(&self) -> [&'static str; 2];

    /// The headers that it puts on its responses.
    fn headers(&self, head: &Head<'_>) -> Vec<(&'static str, String)>;
}

/// Where a request's key may stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Bearer,
    Query,
    XApiKey,
    XGoogApiKey,
}

/// What a frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FrameOf {
    Content,
    Error,
}

/// What an endpoint does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    Chat,
    ChatStream,
    CountTokens,
    Embed,
    EmbedMany,
    Models,
    Unknown,
}

/// Where a path leads.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) dialect: &'static dyn Dialect,
    pub(super) operation: Operation,
    /// The model, where the path names it.
    pub(super) model: Option<String>,
}

/// A request that has come through the door.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request<'a> {
    pub(super) operation: Operation,
    pub(super) model: &'a str,
    pub(super) body: &'a Value,
    pub(super) headers: &'a HeaderMap,
    pub(super) query: &'a str,
}

/// What an answer is made of besides its request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Turn<'a> {
    /// Who answers.
    pub(super) vendor: &'a str,
    /// Tells this answer's ids from all others.
    pub(super) draw: u64,
    /// Seconds since 1970.
    pub(super) created: u64,
    pub(super) first_token: Duration,
    pub(super) token_gap: Duration,
    pub(super) fault: Option<&'a Fault>,
}

/// What response headers are made of.
#[derive(Debug)]
pub(super) struct Head<'a> {
    pub(super) vendor: &'a str,
    pub(super) request_id: &'a str,
    pub(super) success: bool,
    /// Seconds since 1970.
    pub(super) now: u64,
    pub(super) wait: Duration,
}

/// What can be wrong with a request whatever it says, or with a vendor.
#[derive(Debug)]
pub(super) enum Trouble<'a> {
    /// As much of the key as may be shown.
    BadKey(String),
    /// The key's account has no money left.
    Broke,
    ContextLength,
    /// Something breaks after a 200.
    MidAnswer,
    NoKey,
    NoModel,
    NotJson,
    /// A status with nothing particular to say; Gemini says in its body when to come back.
    Status(StatusCode, Option<&'a str>),
    TooLarge,
    UnknownModel(&'a str),
    UnknownPath(&'a Method, &'a str),
    WrongMethod(&'a Method, &'a str),
}

impl Route {
    /// Where a request leads. `GET /v1/models` is OpenAI's and Anthropic's: only the latter's clients send a version.
    pub(super) fn of(path: &str, headers: &HeaderMap) -> Self {
        let to = |dialect, operation| Self { dialect, operation, model: None };
        match path {
            "/v1/chat/completions" => to(&openai::OpenAi, Operation::Chat),
            "/v1/embeddings" => to(&openai::OpenAi, Operation::Embed),
            "/v1/models" if headers.contains_key("anthropic-version") => to(&anthropic::Anthropic, Operation::Models),
            "/v1/models" => to(&openai::OpenAi, Operation::Models),
            "/v1/messages" => to(&anthropic::Anthropic, Operation::Chat),
            "/v1/messages/count_tokens" => to(&anthropic::Anthropic, Operation::CountTokens),
            "/v1beta/models" => to(&gemini::Gemini, Operation::Models),
            path => match path.strip_prefix("/v1beta/").or_else(|| generally_available(path)) {
                Some(rest) => Self::of_gemini(rest),
                None if path.starts_with("/v1/messages/") => to(&anthropic::Anthropic, Operation::Unknown),
                None => to(&openai::OpenAi, Operation::Unknown),
            },
        }
    }

    /// `models/{model}:{method}`.
    fn of_gemini(rest: &str) -> Self {
        let (model, method) = rest.strip_prefix("models/").and_then(|rest| rest.rsplit_once(':')).unwrap_or_default();
        let operation = match method {
            _ if model.is_empty() => Operation::Unknown,
            "generateContent" => Operation::Chat,
            "streamGenerateContent" => Operation::ChatStream,
            "countTokens" => Operation::CountTokens,
            "embedContent" => Operation::Embed,
            "batchEmbedContents" => Operation::EmbedMany,
            _ => Operation::Unknown,
        };
        let model = (operation != Operation::Unknown).then(|| control::decoded(model));
        Self { dialect: &gemini::Gemini, operation, model }
    }

    /// The one method that its endpoint takes.
    pub(super) fn method(&self) -> Method {
        if self.operation == Operation::Models { Method::GET } else { Method::POST }
    }
}

/// What follows `/v1/` in the paths of Gemini's generally available version: its methods stand after a colon.
fn generally_available(path: &str) -> Option<&str> {
    path.strip_prefix("/v1/").filter(|rest| rest.starts_with("models/") && rest.contains(':'))
}

impl Place {
    pub(super) const ALL: [Self; 4] = [Self::Bearer, Self::XApiKey, Self::XGoogApiKey, Self::Query];

    /// What the log calls it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Bearer => "authorization",
            Self::Query => "key",
            Self::XApiKey => "x-api-key",
            Self::XGoogApiKey => "x-goog-api-key",
        }
    }

    /// The key that stands there.
    pub(super) fn key(self, headers: &HeaderMap, query: &str) -> Option<String> {
        let text = |value: &HeaderValue| value.to_str().ok().map(str::to_owned);
        let key = match self {
            Self::Bearer => text(headers.get(header::AUTHORIZATION)?)?.strip_prefix("Bearer ")?.trim().to_owned(),
            Self::Query => control::parameter(query, self.name())?,
            Self::XApiKey | Self::XGoogApiKey => text(headers.get(self.name())?)?,
        };
        Some(key).filter(|key| !key.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gemini_path_names_its_model_and_its_method() {
        let none = HeaderMap::new();
        let route = Route::of("/v1beta/models/gemini-3-pro:streamGenerateContent", &none);
        assert_eq!((route.operation, route.model.as_deref()), (Operation::ChatStream, Some("gemini-3-pro")));
        let route = Route::of("/v1beta/models/a%2Fb:free:countTokens", &none);
        assert_eq!((route.operation, route.model.as_deref()), (Operation::CountTokens, Some("a/b:free")));
        assert_eq!(Route::of("/v1/models/x:generateContent", &none).operation, Operation::Chat);
        for path in ["/v1beta/models/x", "/v1beta/models/:generateContent", "/v1beta/models/x:dance", "/v1beta/x"] {
            assert_eq!(Route::of(path, &none).operation, Operation::Unknown, "{path}");
        }
    }
}
