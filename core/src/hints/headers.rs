//! Hints in headers.

use std::str::FromStr;

use http::{HeaderMap, HeaderName};

use super::{Hints, MayQueue, Sort, parameters_named, priority_named, usd};
use crate::config::{decimal, duration};
use crate::dialect::BadRequest;
use crate::time::Millis;

/// The headers that hold hints.
pub const NAMES: [&str; 27] = [
    "cache-control",
    "cf-aig-max-attempts",
    "cf-aig-request-timeout",
    "cf-aig-retry-delay",
    "idempotency-key",
    "x-litellm-num-retries",
    "x-litellm-stream-timeout",
    "x-litellm-tags",
    "x-litellm-timeout",
    "x-stainless-retry-count",
    "x-tidegate-cache",
    "x-tidegate-disable-fallbacks",
    "x-tidegate-fallbacks",
    "x-tidegate-max-attempts",
    "x-tidegate-max-cost",
    "x-tidegate-max-latency",
    "x-tidegate-parameters",
    "x-tidegate-priority",
    "x-tidegate-provider-ignore",
    "x-tidegate-provider-only",
    "x-tidegate-provider-order",
    "x-tidegate-provider-sort",
    "x-tidegate-queue",
    "x-tidegate-tag",
    "x-tidegate-task",
    "x-tidegate-timeout-ms",
    "x-tidegate-ttft-timeout-ms",
];

/// How often the client's SDK has sent this request before, by its own account.
pub(crate) fn retry_count(headers: &HeaderMap) -> u32 {
    const NAME: HeaderName = HeaderName::from_static("x-stainless-retry-count");
    let count = headers.get(NAME).and_then(|value| value.to_str().ok()?.trim().parse().ok());
    count.unwrap_or(0)
}

/// The client's own name for the request, by which it tells a retry from another request.
///
/// # Errors
///
/// One that is longer than any client needs, or no text.
pub(crate) fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, BadRequest> {
    const NAME: &str = "idempotency-key";
    const KEY_BYTES_MAX: usize = 255;
    let Some(value) = headers.get(NAME) else { return Ok(None) };
    let key = value.to_str().ok().filter(|key| (1..=KEY_BYTES_MAX).contains(&key.len()));
    let wrong = || BadRequest {
        message: format!("The header `{NAME}` must be 1 to {KEY_BYTES_MAX} characters of ASCII."),
        param: Some(NAME),
    };
    key.map(|key| Some(key.to_owned())).ok_or_else(wrong)
}

impl Hints {
    pub(super) fn read_headers(&mut self, headers: &HeaderMap) -> Result<(), BadRequest> {
        let headers = Headers(headers);
        // The peers' first: our own spelling has the last word.
        self.timeout = headers.one_of("x-litellm-timeout", "seconds", seconds)?;
        self.first_token = headers.one_of("x-litellm-stream-timeout", "seconds", seconds)?;
        self.attempts =
            headers.number::<u32>("x-litellm-num-retries", "a number")?.map(|tries| tries.saturating_add(1));
        let millis = |name| Ok::<_, BadRequest>(headers.number(name, "milliseconds")?.map(Millis));
        self.timeout = millis("cf-aig-request-timeout")?.or(self.timeout);
        self.attempts = headers.number("cf-aig-max-attempts", "a number")?.or(self.attempts);
        self.backoff = millis("cf-aig-retry-delay")?;
        self.timeout = millis("x-tidegate-timeout-ms")?.or(self.timeout);
        self.first_token = millis("x-tidegate-ttft-timeout-ms")?.or(self.first_token);
        self.attempts = headers.number("x-tidegate-max-attempts", "a number")?.or(self.attempts);
        self.fallbacks = headers.list("x-tidegate-fallbacks").unwrap_or_default();
        self.order = headers.list("x-tidegate-provider-order").unwrap_or_default();
        self.only = headers.list("x-tidegate-provider-only");
        self.ignore = headers.list("x-tidegate-provider-ignore").unwrap_or_default();
        let flag = headers.one_of("x-tidegate-disable-fallbacks", "true or false", |text| text.parse().ok())?;
        self.no_fallbacks = flag.unwrap_or(false);
        self.max_cost = headers.one_of("x-tidegate-max-cost", "USD", usd)?;
        self.max_latency = headers.one_of("x-tidegate-max-latency", "milliseconds, or such as 2s", length)?;
        self.sort = headers.one_of("x-tidegate-provider-sort", "price, latency or throughput", Sort::named)?;
        let what = "a number from 1 to 5, or fast, normal or high";
        (self.priority, self.column) = headers.one_of("x-tidegate-priority", what, priority_named)?.unzip();
        self.task = headers.text("x-tidegate-task").map(str::to_owned);
        self.tags = headers.list("x-tidegate-tag").or_else(|| headers.list("x-litellm-tags")).unwrap_or_default();
        self.queue = headers.one_of("x-tidegate-queue", "allow or never", MayQueue::named)?;
        self.parameters = headers.one_of("x-tidegate-parameters", "strict or lenient", parameters_named)?;
        Ok(())
    }
}

/// A request's headers, as text.
struct Headers<'h>(&'h HeaderMap);

impl Headers<'_> {
    fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.to_str().ok().map(str::trim).filter(|text| !text.is_empty())
    }

    fn list(&self, name: &str) -> Option<Vec<String>> {
        let items = self.text(name)?.split(',').map(str::trim).filter(|item| !item.is_empty());
        Some(items.map(str::to_owned).collect())
    }

    fn number<T: FromStr>(&self, name: &'static str, what: &str) -> Result<Option<T>, BadRequest> {
        self.one_of(name, what, |text| text.parse().ok())
    }

    fn one_of<T>(
        &self,
        name: &'static str,
        what: &str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, BadRequest> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let wrong = || BadRequest { message: format!("The header `{name}` must be {what}."), param: Some(name) };
        read(text).map(Some).ok_or_else(wrong)
    }
}

/// Milliseconds, or a length as the config has it.
fn length(text: &str) -> Option<Millis> {
    text.parse().ok().map(Millis).or_else(|| duration(text))
}

/// `LiteLLM` takes seconds with a fraction.
fn seconds(text: &str) -> Option<Millis> {
    decimal(text, 3).ok().map(Millis)
}
