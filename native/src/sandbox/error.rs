//! Errors as OpenAI words them: clients and gateways go by their `type`, `param` and `code`, some even by the text.

use http::StatusCode;
use serde_json::{Value, json};

/// A refusal, in OpenAI's shape.
#[derive(Debug, Clone)]
pub(super) struct VendorError {
    pub(super) status: StatusCode,
    message: String,
    kind: &'static str,
    param: Option<&'static str>,
    code: Option<&'static str>,
}

impl VendorError {
    /// What a vendor says with `status` when there is nothing particular to say.
    pub(super) fn fitting(status: StatusCode) -> Self {
        let (kind, code, message) = match status.as_u16() {
            401 => ("invalid_request_error", Some("invalid_api_key"), "Incorrect API key provided."),
            402 => ("insufficient_quota", Some("insufficient_quota"), "Insufficient balance."),
            403 => (
                "invalid_request_error",
                Some("unsupported_country_region_territory"),
                "Country, region, or territory not supported",
            ),
            429 => (
                "requests",
                Some("rate_limit_exceeded"),
                "Rate limit reached on requests per min (RPM). Please try again later.",
            ),
            400..=499 => ("invalid_request_error", None, "The request was refused."),
            503 => ("server_error", None, "The engine is currently overloaded, please try again later"),
            529 => ("overloaded_error", None, "Overloaded"),
            _ => ("server_error", None, "The server had an error while processing your request. Sorry about that!"),
        };
        Self { status, message: message.to_owned(), kind, param: None, code }
    }

    /// A 400 about one parameter.
    pub(super) fn parameter(param: &'static str, code: Option<&'static str>, message: impl Into<String>) -> Self {
        Self::bad(StatusCode::BAD_REQUEST, Some(param), code, message)
    }

    /// A 400 about the body as a whole.
    pub(super) fn not_json() -> Self {
        let message = "We could not parse the JSON body of your request. (HINT: This likely means you aren't using \
                       your HTTP library correctly. The OpenAI API expects a JSON payload, but what was sent was not \
                       valid JSON.)";
        Self::bad(StatusCode::BAD_REQUEST, None, None, message)
    }

    pub(super) fn too_large() -> Self {
        Self::bad(StatusCode::PAYLOAD_TOO_LARGE, None, None, "The request body is larger than 20 MiB.")
    }

    pub(super) fn no_key() -> Self {
        let message = "You didn't provide an API key. You need to provide your API key in an Authorization header \
                       using Bearer auth (i.e. Authorization: Bearer YOUR_KEY).";
        Self::bad(StatusCode::UNAUTHORIZED, None, None, message)
    }

    /// `hint` is as much of the key as may be shown.
    pub(super) fn bad_key(hint: &str) -> Self {
        let message = format!(
            "Incorrect API key provided: {hint}. You can find your API key at https://platform.openai.com/account/api-keys."
        );
        Self::bad(StatusCode::UNAUTHORIZED, None, Some("invalid_api_key"), message)
    }

    pub(super) fn no_quota() -> Self {
        Self {
            status: StatusCode::TOO_MANY_REQUESTS,
            message: "You exceeded your current quota, please check your plan and billing details. For more \
                      information on this error, read the docs: \
                      https://platform.openai.com/docs/guides/error-codes/api-errors."
                .to_owned(),
            kind: "insufficient_quota",
            param: None,
            code: Some("insufficient_quota"),
        }
    }

    pub(super) fn unknown_model(model: &str) -> Self {
        let message = format!("The model `{model}` does not exist or you do not have access to it.");
        Self::bad(StatusCode::NOT_FOUND, None, Some("model_not_found"), message)
    }

    pub(super) fn unknown_path(method: &http::Method, path: &str) -> Self {
        Self::bad(StatusCode::NOT_FOUND, None, None, format!("Invalid URL ({method} {path})"))
    }

    pub(super) fn wrong_method(method: &http::Method, path: &str) -> Self {
        let message =
            format!("Not allowed to {method} on {path}. (HINT: Perhaps you meant to use a different HTTP method?)");
        Self::bad(StatusCode::METHOD_NOT_ALLOWED, None, Some("method_not_supported"), message)
    }

    pub(super) fn context_length() -> Self {
        let message = "This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 \
                       tokens. Please reduce the length of the messages.";
        Self::parameter("messages", Some("context_length_exceeded"), message)
    }

    pub(super) fn content_filter() -> Self {
        let message = "The response was filtered due to the prompt triggering the content management policy. Please \
                       modify your prompt and retry.";
        Self::parameter("prompt", Some("content_filter"), message)
    }

    /// `{"error":{…}}`.
    pub(super) fn body(&self) -> Value {
        json!({"error": {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}})
    }

    fn bad(
        status: StatusCode,
        param: Option<&'static str>,
        code: Option<&'static str>,
        message: impl Into<String>,
    ) -> Self {
        Self { status, message: message.into(), kind: "invalid_request_error", param, code }
    }
}
