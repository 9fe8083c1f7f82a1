//! What the tests of all dialects share: a request that came through the door, and the turn that answers it.

use std::sync::LazyLock;
use std::time::Duration;

use http::HeaderMap;
use serde_json::Value;

use super::dialect::{Operation, Request, Turn};

static NO_HEADERS: LazyLock<HeaderMap> = LazyLock::new(HeaderMap::new);

/// A turn without a fault, which makes its ids from the number 1.
pub(super) const TURN: Turn<'_> = Turn {
    vendor: "acme",
    draw: 1,
    created: 0,
    first_token: Duration::from_millis(200),
    token_gap: Duration::from_millis(10),
    fault: None,
};

/// A request for the model `m`.
pub(super) fn request(body: &Value) -> Request<'_> {
    Request { operation: Operation::Chat, model: "m", body, headers: &NO_HEADERS, query: "alt=sse" }
}

/// A body with more fields, or with others.
pub(super) fn with(mut body: Value, more: &Value) -> Value {
    let fields = more.as_object().expect("fields come in an object").clone();
    body.as_object_mut().expect("a body is an object").extend(fields);
    body
}
