//! Errors as Anthropic words them: a `type` that goes with the status, and a message.

use http::StatusCode;
use serde_json::{Value, json};

use super::super::answer::VendorError;
use super::super::dialect::Trouble;

/// What Anthropic says of trouble.
pub(super) fn of(trouble: &Trouble<'_>) -> VendorError {
    let not_found = |message: &str| error(StatusCode::NOT_FOUND, "not_found_error", message);
    match trouble {
        Trouble::BadKey(_) => error(StatusCode::UNAUTHORIZED, "authentication_error", "invalid x-api-key"),
        Trouble::Broke => invalid(
            "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade or \
             purchase credits.",
        ),
        Trouble::ContextLength => invalid("prompt is too long: 209000 tokens > 200000 maximum"),
        Trouble::MidAnswer => error(overloaded(), "overloaded_error", "Overloaded"),
        Trouble::NoKey => error(StatusCode::UNAUTHORIZED, "authentication_error", "x-api-key header is required"),
        Trouble::NoModel => invalid("model: Field required"),
        Trouble::NotJson => invalid("The request body is not valid JSON: expected value: line 1 column 1 (char 0)"),
        Trouble::Status(status, _) => fitting(*status),
        Trouble::TooLarge => {
            error(StatusCode::PAYLOAD_TOO_LARGE, "request_too_large", "Request exceeds the maximum size")
        }
        Trouble::UnknownModel(model) => not_found(&format!("model: {model}")),
        Trouble::UnknownPath(..) => not_found("Not found"),
        Trouble::WrongMethod(..) => {
            error(StatusCode::METHOD_NOT_ALLOWED, "invalid_request_error", "Method Not Allowed")
        }
    }
}

/// A 400.
pub(super) fn invalid(message: impl AsRef<str>) -> VendorError {
    error(StatusCode::BAD_REQUEST, "invalid_request_error", message.as_ref())
}

/// A whole error body.
pub(super) fn envelope(error: &Value, request_id: &str) -> Value {
    json!({"type": "error", "error": error, "request_id": request_id})
}

/// What is said with `status` when there is nothing particular to say.
fn fitting(status: StatusCode) -> VendorError {
    let (kind, message) = match status.as_u16() {
        401 => ("authentication_error", "invalid x-api-key"),
        402 => ("billing_error", "There is an issue with your billing or payment information."),
        403 => ("permission_error", "Your API key does not have permission to use the specified resource."),
        404 => ("not_found_error", "Not found"),
        413 => ("request_too_large", "Request exceeds the maximum size"),
        429 => ("rate_limit_error", "This request would exceed your account's rate limit. Please try again later."),
        400..=499 => ("invalid_request_error", "The request was refused."),
        503 | 529 => ("overloaded_error", "Overloaded"),
        504 => ("timeout_error", "The request timed out while processing."),
        _ => ("api_error", "Internal server error"),
    };
    error(status, kind, message)
}

fn overloaded() -> StatusCode {
    StatusCode::from_u16(529).expect("three digits make a status")
}

fn error(status: StatusCode, kind: &str, message: &str) -> VendorError {
    VendorError { status, error: json!({"type": kind, "message": message}) }
}
