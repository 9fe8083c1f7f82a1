//! Errors as OpenAI words them: clients and gateways go by their `type`, `param` and `code`, some even by the text.

use http::StatusCode;
use serde_json::{Value, json};

use super::super::answer::VendorError;
use super::super::dialect::Trouble;

/// What OpenAI says of trouble.
pub(super) fn of(trouble: &Trouble<'_>) -> VendorError {
    match trouble {
        Trouble::BadKey(hint) => {
            let message = format!(
                "Incorrect API key provided: {hint}. You can find your API key at https://platform.openai.com/account/api-keys."
            );
            bad(StatusCode::UNAUTHORIZED, None, Some("invalid_api_key"), &message)
        }
        Trouble::Broke => {
            let message = "You exceeded your current quota, please check your plan and billing details. For more \
                           information on this error, read the docs: \
                           https://platform.openai.com/docs/guides/error-codes/api-errors.";
            error(StatusCode::TOO_MANY_REQUESTS, "insufficient_quota", None, Some("insufficient_quota"), message)
        }
        Trouble::ContextLength => {
            let message = "This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 \
                           tokens. Please reduce the length of the messages.";
            parameter("messages", Some("context_length_exceeded"), message)
        }
        Trouble::MidAnswer => fitting(StatusCode::INTERNAL_SERVER_ERROR),
        Trouble::NoKey => {
            let message = "You didn't provide an API key. You need to provide your API key in an Authorization header \
                           using Bearer auth (i.e. Authorization: Bearer YOUR_KEY).";
            bad(StatusCode::UNAUTHORIZED, None, None, message)
        }
        Trouble::NoModel => parameter("model", None, "you must provide a model parameter"),
        Trouble::NotJson => {
            let message = "We could not parse the JSON body of your request. (HINT: This likely means you aren't using \
                           your HTTP library correctly. The OpenAI API expects a JSON payload, but what was sent was \
                           not valid JSON.)";
            bad(StatusCode::BAD_REQUEST, None, None, message)
        }
        Trouble::Status(status, _) => fitting(*status),
        Trouble::TooLarge => bad(StatusCode::PAYLOAD_TOO_LARGE, None, None, "The request body is larger than 20 MiB."),
        Trouble::UnknownModel(model) => {
            let message = format!("The model `{model}` does not exist or you do not have access to it.");
            bad(StatusCode::NOT_FOUND, None, Some("model_not_found"), &message)
        }
        Trouble::UnknownPath(method, path) => {
            bad(StatusCode::NOT_FOUND, None, None, &format!("Invalid URL ({method} {path})"))
        }
        Trouble::WrongMethod(method, path) => {
            let message =
                format!("Not allowed to {method} on {path}. (HINT: Perhaps you meant to use a different HTTP method?)");
            bad(StatusCode::METHOD_NOT_ALLOWED, None, Some("method_not_supported"), &message)
        }
    }
}

/// What is said with `status` when there is nothing particular to say.
fn fitting(status: StatusCode) -> VendorError {
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
    error(status, kind, None, code, message)
}

pub(super) fn content_filter() -> VendorError {
    let message = "The response was filtered due to the prompt triggering the content management policy. Please modify \
                   your prompt and retry.";
    parameter("prompt", Some("content_filter"), message)
}

/// A 400 about one parameter.
pub(super) fn parameter(param: &str, code: Option<&str>, message: impl AsRef<str>) -> VendorError {
    bad(StatusCode::BAD_REQUEST, Some(param), code, message.as_ref())
}

/// Refuses a body with fields that are not documented, as a gateway's own would be.
pub(super) fn unknown_fields(body: &Value, documented: &[&str]) -> Result<(), VendorError> {
    let names = body.as_object().into_iter().flatten().map(|(name, _)| name.as_str());
    let unknown: Vec<&str> = names.filter(|name| !documented.contains(name)).collect();
    match unknown.as_slice() {
        [] => Ok(()),
        [one] => Err(bad_body(&format!("Unrecognized request argument supplied: {one}"))),
        many => Err(bad_body(&format!("Unrecognized request arguments supplied: {}", many.join(", ")))),
    }
}

fn bad_body(message: &str) -> VendorError {
    bad(StatusCode::BAD_REQUEST, None, None, message)
}

fn bad(status: StatusCode, param: Option<&str>, code: Option<&str>, message: &str) -> VendorError {
    error(status, "invalid_request_error", param, code, message)
}

fn error(
    status: StatusCode,
    kind: &'static str,
    param: Option<&str>,
    code: Option<&str>,
    message: &str,
) -> VendorError {
    VendorError { status, error: json!({"message": message, "type": kind, "param": param, "code": code}) }
}
