//! Errors as Google words them: the code, a canonical status, and details that say more than the message.

use http::StatusCode;
use serde_json::{Value, json};

use super::super::answer::VendorError;
use super::super::dialect::Trouble;

/// What Gemini says of trouble.
pub(super) fn of(trouble: &Trouble<'_>) -> VendorError {
    match trouble {
        Trouble::BadKey(_) => bad_key(),
        Trouble::Broke => quota_spent(),
        Trouble::ContextLength => {
            invalid("The input token count (1058577) exceeds the maximum number of tokens allowed (1048576).")
        }
        Trouble::MidAnswer => fitting(StatusCode::SERVICE_UNAVAILABLE, None),
        Trouble::NoKey => error(
            StatusCode::FORBIDDEN,
            "Method doesn't allow unregistered callers (callers without established identity). Please use API Key or \
             other form of API consumer identity to call this API.",
        ),
        // The model is in the path: without one there is no such path.
        Trouble::NoModel | Trouble::UnknownPath(..) => error(StatusCode::NOT_FOUND, "Requested entity was not found."),
        Trouble::NotJson => invalid("Invalid JSON payload received. Expected a value.\n\n^"),
        Trouble::Status(status, retry_after) => fitting(*status, *retry_after),
        Trouble::TooLarge => {
            error(StatusCode::PAYLOAD_TOO_LARGE, "Request payload size exceeds the limit: 20971520 bytes.")
        }
        Trouble::UnknownModel(model) => error(
            StatusCode::NOT_FOUND,
            &format!(
                "models/{model} is not found for API version v1beta, or is not supported for generateContent. Call \
                 ListModels to see the list of available models and their supported methods."
            ),
        ),
        Trouble::WrongMethod(method, path) => {
            error(StatusCode::METHOD_NOT_ALLOWED, &format!("The method {method} is not allowed on {path}."))
        }
    }
}

/// A 400 about the meaning of a field.
pub(super) fn invalid(message: impl AsRef<str>) -> VendorError {
    error(StatusCode::BAD_REQUEST, message.as_ref())
}

/// A 400 about a field that is not known: at the top `place` is empty.
pub(super) fn unknown_field(name: &str, place: &str) -> VendorError {
    let at = if place.is_empty() { String::new() } else { format!(" at '{place}'") };
    malformed(&format!("Invalid JSON payload received. Unknown name \"{name}\"{at}: Cannot find field."), place)
}

/// A 400 about a value that is not of its field's type.
pub(super) fn wrong_type(value: &Value, kind: &str, place: &str) -> VendorError {
    malformed(&format!("Invalid value at '{place}' ({kind}), {value}"), place)
}

fn malformed(description: &str, place: &str) -> VendorError {
    let mut violation = json!({"description": description});
    if !place.is_empty() {
        violation["field"] = json!(place);
    }
    let details = json!([{"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": [violation]}]);
    detailed(StatusCode::BAD_REQUEST, description, Some(details))
}

fn bad_key() -> VendorError {
    const MESSAGE: &str = "API key not valid. Please pass a valid API key.";
    let details = json!([
        {
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": "API_KEY_INVALID",
            "domain": "googleapis.com",
            "metadata": {"service": "generativelanguage.googleapis.com"},
        },
        {"@type": "type.googleapis.com/google.rpc.LocalizedMessage", "locale": "en-US", "message": MESSAGE},
    ]);
    detailed(StatusCode::BAD_REQUEST, MESSAGE, Some(details))
}

/// The day's quota is used up: it comes with a delay too, which is no help.
fn quota_spent() -> VendorError {
    let message = "You exceeded your current quota, please check your plan and billing details. For more information on \
                   this error, head to: https://ai.google.dev/gemini-api/docs/rate-limits.";
    let violation = json!({
        "quotaMetric": "generativelanguage.googleapis.com/generate_content_free_tier_requests",
        "quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier",
        "quotaDimensions": {"location": "global", "model": "sandbox"},
        "quotaValue": "250",
    });
    let details = json!([
        {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [violation]},
        {"@type": "type.googleapis.com/google.rpc.Help", "links": [{
            "description": "Learn more about Gemini API quotas",
            "url": "https://ai.google.dev/gemini-api/docs/rate-limits",
        }]},
        retry_info("22"),
    ]);
    detailed(StatusCode::TOO_MANY_REQUESTS, message, Some(details))
}

fn retry_info(seconds: &str) -> Value {
    json!({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": format!("{seconds}s")})
}

/// What is said with `status` when there is nothing particular to say. A rate limit says in its details when to come
/// back: what the script says in `retry-after`, else a second.
fn fitting(status: StatusCode, retry_after: Option<&str>) -> VendorError {
    if status == StatusCode::TOO_MANY_REQUESTS {
        let seconds = retry_after.filter(|text| text.parse::<f64>().is_ok_and(f64::is_finite)).unwrap_or("1");
        let details = json!([retry_info(seconds)]);
        return detailed(status, "Resource has been exhausted (e.g. check quota).", Some(details));
    }
    let message = match status.as_u16() {
        401 => "Request had invalid authentication credentials. Expected OAuth 2 access token or API key.",
        403 => "The caller does not have permission",
        404 => "Requested entity was not found.",
        400..=499 => "Request contains an invalid argument.",
        503 => "The model is overloaded. Please try again later.",
        504 => "Deadline expired before operation could complete.",
        _ => {
            "An internal error has occurred. Please retry or report in https://developers.generativeai.google/guide/troubleshooting"
        }
    };
    error(status, message)
}

fn error(status: StatusCode, message: &str) -> VendorError {
    detailed(status, message, None)
}

fn detailed(status: StatusCode, message: &str, details: Option<Value>) -> VendorError {
    let canonical = match status.as_u16() {
        401 => "UNAUTHENTICATED",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        409 => "ABORTED",
        429 => "RESOURCE_EXHAUSTED",
        499 => "CANCELLED",
        400..=499 => "INVALID_ARGUMENT",
        501 => "UNIMPLEMENTED",
        503 => "UNAVAILABLE",
        504 => "DEADLINE_EXCEEDED",
        _ => "INTERNAL",
    };
    let mut error = json!({"code": status.as_u16(), "message": message, "status": canonical});
    if let Some(details) = details {
        error["details"] = details;
    }
    VendorError { status, error }
}
