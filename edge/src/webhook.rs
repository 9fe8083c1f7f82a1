//! Posting to whoever the operator has named: a URL that may hold a token, and so is never shown.

use http::{HeaderMap, StatusCode};
use js_sys::futures::JsFuture;
use tidegate_core::health::Finding;
use tidegate_core::secret::Secret;
use tidegate_core::time::Millis;

use crate::prober::finding;
use crate::{clock, js};

/// Posts a body, once. Says with which status it was answered, if it was in time.
pub(crate) async fn post(url: &Secret, headers: &HeaderMap, body: &[u8], limit: Millis) -> Option<StatusCode> {
    let answer = js::probe("POST", url.expose(), &js::pack(headers), body, clock::to_js(limit.0), 0.0);
    match finding(JsFuture::from(answer).await) {
        Finding::Reply { status, .. } => Some(status),
        Finding::Fault(_) | Finding::TimedOut => None,
    }
}
