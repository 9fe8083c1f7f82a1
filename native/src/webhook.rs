//! Posting to whoever the operator has named: a URL that may hold a token, and so is never shown.

use bytes::Bytes;
use reqwest::header::HeaderMap;
use reqwest::{Method, Request, StatusCode, Url};
use tidegate_core::secret::Secret;
use tidegate_core::time::Millis;
use tokio::time::{Duration, timeout};

/// Posts a body, once. Says with which status it was answered, if it was in time.
pub(crate) async fn post(
    client: &reqwest::Client,
    url: &Secret,
    headers: HeaderMap,
    body: Bytes,
    limit: Millis,
) -> Option<StatusCode> {
    let mut request = Request::new(Method::POST, Url::parse(url.expose()).ok()?);
    *request.headers_mut() = headers;
    *request.body_mut() = Some(body.into());
    match timeout(Duration::from_millis(limit.0), client.execute(request)).await.ok()? {
        Ok(response) => Some(response.status()),
        Err(error) => {
            tracing::debug!("a webhook was not told: {}", error.without_url());
            None
        }
    }
}
