//! Errors as Anthropic words them, for its clients.

use bytes::Bytes;
use serde::Serialize;
use serde_json::Value;

#[derive(Serialize)]
struct Wire<'a> {
    r#type: &'static str,
    error: Words<'a>,
    request_id: &'a str,
}

#[derive(Serialize)]
struct Words<'a> {
    r#type: &'a str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a Value>,
}

/// The body of an error. `kind` is Anthropic's class for it, see [`error_kind`]; `metadata` is for people who look closer, and
/// ignored by the SDKs.
pub fn error_body(kind: &str, message: &str, request_id: &str, metadata: Option<&Value>) -> Bytes {
    let error = Words { r#type: kind, message, metadata };
    let wire = Wire { r#type: "error", error, request_id };
    serde_json::to_vec(&wire).expect("our own types always have a JSON form").into()
}

/// The event that ends a stream which cannot end well: the SDKs raise on it, and nothing follows.
pub fn error_event(kind: &str, message: &str, request_id: &str, metadata: Option<&Value>) -> Bytes {
    let body = error_body(kind, message, request_id, metadata);
    [b"event: error\ndata: ", &body[..], b"\n\n"].concat().into()
}

/// The class that goes with a status, by Anthropic's table of errors.
pub fn error_kind(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        409 => "conflict_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        408 | 504 => "timeout_error",
        529 => "overloaded_error",
        400..=499 => "invalid_request_error",
        _ => "api_error",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_error_has_the_shape_that_sdks_read() {
        let body = error_body(error_kind(404), "There is no \"x\".", "req-1", None);
        let expected = json!({
            "type": "error",
            "error": {"type": "not_found_error", "message": "There is no \"x\"."},
            "request_id": "req-1",
        });
        assert_eq!(serde_json::from_slice::<Value>(&body).unwrap(), expected);
    }

    #[test]
    fn an_event_is_named_and_on_one_line() {
        let tried = json!({"attempts": [{"target": "a/m"}]});
        let event = error_event("overloaded_error", "busy\nnow", "req-1", Some(&tried));
        let expected = concat!(
            "event: error\n",
            r#"data: {"type":"error","error":{"type":"overloaded_error","message":"busy\nnow","#,
            r#""metadata":{"attempts":[{"target":"a/m"}]}},"request_id":"req-1"}"#,
            "\n\n",
        );
        assert_eq!(std::str::from_utf8(&event).unwrap(), expected);
    }

    #[test]
    fn every_status_has_a_class() {
        let table = [
            (400, "invalid_request_error"),
            (401, "authentication_error"),
            (402, "billing_error"),
            (403, "permission_error"),
            (404, "not_found_error"),
            (409, "conflict_error"),
            (413, "request_too_large"),
            (422, "invalid_request_error"),
            (429, "rate_limit_error"),
            (500, "api_error"),
            (502, "api_error"),
            (503, "api_error"),
            (504, "timeout_error"),
            (529, "overloaded_error"),
        ];
        for (status, kind) in table {
            assert_eq!(error_kind(status), kind, "{status}");
        }
    }
}
