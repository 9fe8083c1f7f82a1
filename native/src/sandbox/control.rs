//! The endpoints beside the vendor's own: scripting its faults and reading its log.

use std::time::Instant;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use serde_json::{Value, json};

use super::fault::Order;
use super::serve::{Server, State};

const ORDER_MAX: usize = 1024 * 1024;

/// Whether a path is one of these, which no fault touches and no log counts.
pub(super) fn is_control(path: &str) -> bool {
    ["/count", "/faults", "/requests"].contains(&path)
}

/// Answers a control request.
pub(super) async fn respond(server: &Server, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let (parts, body) = request.into_parts();
    let Ok(body) = Limited::new(body, ORDER_MAX).collect().await else {
        return response(StatusCode::PAYLOAD_TOO_LARGE, &json!({"error": "the body is larger than 1 MiB"}));
    };
    let query = parts.uri.query().unwrap_or_default();
    let (model, path) = (parameter(query, "model"), parameter(query, "path"));
    let (model, path) = (model.as_deref(), path.as_deref());
    let State { log, script } = &mut *server.state();
    let now = Instant::now();
    match (parts.method, parts.uri.path()) {
        (Method::POST, "/faults") => {
            let order = serde_json::from_slice::<Order>(&body.to_bytes()).map_err(|error| error.to_string());
            match order.and_then(|order| script.post(now, order)) {
                Ok(id) => response(StatusCode::CREATED, &json!({"id": id})),
                Err(reason) => response(StatusCode::BAD_REQUEST, &json!({"error": reason})),
            }
        }
        (Method::GET, "/faults") => response(StatusCode::OK, &script.show(now)),
        (Method::DELETE, "/faults") => response(StatusCode::OK, &json!({"cleared": script.clear(model, path)})),
        (Method::GET, "/requests") => response(StatusCode::OK, &log.show(model, path)),
        (Method::DELETE, "/requests") => {
            log.reset();
            response(StatusCode::OK, &json!({"count": 0}))
        }
        (Method::GET, "/count") => response(StatusCode::OK, &json!({"count": log.count(model, path)})),
        (method, path) => {
            response(StatusCode::METHOD_NOT_ALLOWED, &json!({"error": format!("{path} does not take {method}")}))
        }
    }
}

fn response(status: StatusCode, body: &Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// The value of a query parameter.
pub(super) fn parameter(query: &str, name: &str) -> Option<String> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.filter(|(key, _)| *key == name).map(|(_, value)| decoded(value)).next()
}

/// A text without its `%` escapes.
pub(super) fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let escape = tail.get(..2).filter(|_| first == b'%').and_then(|hex| std::str::from_utf8(hex).ok());
        if let Some(byte) = escape.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            bytes.push(byte);
            rest = &tail[2..];
        } else {
            bytes.push(if first == b'+' { b' ' } else { first });
            rest = tail;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn query_values_are_decoded_and_nonsense_is_kept() {
        assert_eq!(parameter("path=%2Fv1%2Fmodels&model=a+b", "path").as_deref(), Some("/v1/models"));
        assert_eq!(parameter("path=x&model=a+b", "model").as_deref(), Some("a b"));
        assert_eq!(parameter("model=50%&x=%zz", "model").as_deref(), Some("50%"));
        assert_eq!(parameter("model", "model"), None);
    }
}
