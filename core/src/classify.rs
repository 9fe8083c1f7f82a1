//! What became of an attempt: one table from status, headers, body and the stage of the stream to an [`Outcome`].
//!
//! Everything that follows from an attempt (the breaker's verdict, the next candidate, what the client is told) follows
//! from its outcome, so that a vendor's habits are known in this one place.

use std::fmt;

use http::{HeaderMap, StatusCode};

use crate::backoff::retry_after;
use crate::breaker::Verdict;
use crate::dialect::VendorError;
use crate::time::{Millis, Timestamp};

/// What became of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// A whole answer.
    Success,
    /// The vendor failed.
    HardFailure(Failure),
    /// No response head within the limit: the same target is not asked again for this request.
    Silent,
    /// The vendor throttles this key, for as long as it says, if it says so.
    RateLimited(Option<Millis>),
    /// The key is refused, or has nothing left to spend.
    CredentialFault,
    /// The request is at fault.
    CallerFault,
    /// The vendor's content filter stopped the request or the answer.
    Filtered,
    /// The request does not fit into the model's context.
    TooLong,
    /// Nothing was learnt about the vendor: the client left, or our own deadline ended it.
    Neutral,
}

/// How a vendor failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// No connection: refused, DNS, TLS, or the connect limit.
    Connect,
    /// The connection broke before a response head.
    Reset,
    /// A status that means the vendor is at fault.
    Status(u16),
    /// The body ended early.
    Cut,
    /// No piece of the body within the limit.
    Stalled,
    /// No first token within the limit.
    FirstToken,
    /// The attempt took longer than an attempt may.
    Total,
    /// The body is not what the dialect promises.
    Malformed,
    /// An error inside a success.
    ErrorInBody,
    /// A success with nothing in it.
    Empty,
    /// More bytes than the gateway is willing to hold.
    TooLarge,
}

/// Why an attempt brought no response, as an adapter sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The connection could not be made.
    Connect,
    /// It broke: before the head a reset, within the body a cut.
    Broken,
}

impl Outcome {
    /// What the target's breaker is told. `slow`: the first token came later than its policy allows.
    pub fn verdict(self, slow: bool) -> Verdict {
        match self {
            Self::Success if slow => Verdict::Slow,
            Self::Success => Verdict::Success,
            Self::HardFailure(_) | Self::Silent => Verdict::Failure,
            Self::RateLimited(_) => Verdict::RateLimited,
            Self::CredentialFault | Self::CallerFault | Self::Filtered | Self::TooLong | Self::Neutral => {
                Verdict::Neutral
            }
        }
    }

    /// Whether a limit in time ended it, the vendor's or our own.
    pub fn is_timeout(self) -> bool {
        match self {
            Self::HardFailure(failure) => failure.is_timeout(),
            Self::Silent | Self::Neutral => true,
            _ => false,
        }
    }

    /// The vendor's status, where that is what went wrong.
    pub fn status(self) -> Option<u16> {
        match self {
            Self::HardFailure(Failure::Status(status)) => Some(status),
            _ => None,
        }
    }

    /// One word for reports and error metadata.
    pub fn name(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::HardFailure(failure) => failure.name(),
            Self::Silent => "silent",
            Self::RateLimited(_) => "rate_limited",
            Self::CredentialFault => "credential_fault",
            Self::CallerFault => "caller_fault",
            Self::Filtered => "content_filter",
            Self::TooLong => "too_long",
            Self::Neutral => "neutral",
        }
    }
}

/// For people: the word, and the status where that is what went wrong.
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HardFailure(Failure::Status(status)) => write!(f, "{} {status}", self.name()),
            _ => f.write_str(self.name()),
        }
    }
}

impl Failure {
    /// Whether it may well have been this once: worth another try at the same target before any other.
    pub fn is_one_off(self) -> bool {
        matches!(self, Self::Reset | Self::Status(500))
    }

    /// Whether a limit in time ran out, as opposed to something going wrong.
    fn is_timeout(self) -> bool {
        matches!(self, Self::FirstToken | Self::Stalled | Self::Total)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect_failed",
            Self::Reset => "connection_reset",
            Self::Status(_) => "upstream_status",
            Self::Cut => "cut",
            Self::Stalled => "stalled",
            Self::FirstToken => "first_token_timeout",
            Self::Total => "total_timeout",
            Self::Malformed => "malformed",
            Self::ErrorInBody => "error_in_body",
            Self::Empty => "empty",
            Self::TooLarge => "too_large",
        }
    }
}

/// A response whose status is not a success.
pub fn classify_status(status: StatusCode, headers: &HeaderMap, error: &VendorError, now: Timestamp) -> Outcome {
    if let Some(outcome) = by_words(error, retry_after(headers, now)) {
        return outcome;
    }
    match status.as_u16() {
        401..=403 => Outcome::CredentialFault,
        429 => Outcome::RateLimited(retry_after(headers, now)),
        408 | 409 | 425 => Outcome::HardFailure(Failure::Status(status.as_u16())),
        400..=499 => Outcome::CallerFault,
        other => Outcome::HardFailure(Failure::Status(other)),
    }
}

/// An error inside a response whose status was a success: the words tell what the status should have been.
pub fn classify_in_body(error: &VendorError) -> Outcome {
    by_words(error, None).unwrap_or(match error.code.parse::<u16>() {
        Ok(429) => Outcome::RateLimited(None),
        Ok(401..=403) => Outcome::CredentialFault,
        Ok(400 | 404 | 413 | 422) => Outcome::CallerFault,
        _ => Outcome::HardFailure(Failure::ErrorInBody),
    })
}

/// The cases that codes and kinds tell apart better than a status does.
fn by_words(error: &VendorError, retry_in: Option<Millis>) -> Option<Outcome> {
    match error.code.as_str() {
        "context_length_exceeded" => return Some(Outcome::TooLong),
        "content_filter" | "content_policy_violation" => return Some(Outcome::Filtered),
        "insufficient_quota" | "billing_hard_limit_reached" | "invalid_api_key" | "account_deactivated" => {
            return Some(Outcome::CredentialFault);
        }
        "rate_limit_exceeded" => return Some(Outcome::RateLimited(retry_in)),
        _ => {}
    }
    match error.kind.as_str() {
        "insufficient_quota" | "authentication_error" => return Some(Outcome::CredentialFault),
        "rate_limit_error" | "rate_limit_exceeded" => return Some(Outcome::RateLimited(retry_in)),
        _ => {}
    }
    // Vendors that only speak OpenAI's dialect seldom send its code for this one.
    let words = error.message.to_ascii_lowercase();
    let too_long = ["maximum context length", "context length exceeded", "exceeds the available context size"];
    too_long.iter().any(|phrase| words.contains(phrase)).then_some(Outcome::TooLong)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(kind: &str, code: &str, message: &str) -> VendorError {
        VendorError { message: message.into(), kind: kind.into(), code: code.into(), ..VendorError::default() }
    }

    fn status(status: u16, error: &VendorError) -> Outcome {
        classify_status(StatusCode::from_u16(status).unwrap(), &HeaderMap::new(), error, Timestamp(0))
    }

    #[test]
    fn by_status_alone() {
        let silent = VendorError::default();
        for code in [408, 409, 425, 500, 501, 502, 503, 504, 529, 302] {
            assert_eq!(status(code, &silent), Outcome::HardFailure(Failure::Status(code)), "{code}");
        }
        for code in [400, 404, 405, 413, 415, 422] {
            assert_eq!(status(code, &silent), Outcome::CallerFault, "{code}");
        }
        for code in [401, 402, 403] {
            assert_eq!(status(code, &silent), Outcome::CredentialFault, "{code}");
        }
        assert_eq!(status(429, &silent), Outcome::RateLimited(None));
    }

    #[test]
    fn words_tell_more_than_the_status() {
        for (code, error, outcome) in [
            (
                429,
                error("insufficient_quota", "insufficient_quota", "You exceeded your current quota"),
                Outcome::CredentialFault,
            ),
            (400, error("invalid_request_error", "context_length_exceeded", ""), Outcome::TooLong),
            (400, error("", "400", "This model's maximum context length is 4096 tokens"), Outcome::TooLong),
            (400, error("invalid_request_error", "content_filter", ""), Outcome::Filtered),
            (400, error("invalid_request_error", "content_policy_violation", ""), Outcome::Filtered),
            (400, error("invalid_request_error", "invalid_api_key", ""), Outcome::CredentialFault),
            (503, error("rate_limit_error", "", ""), Outcome::RateLimited(None)),
            (400, error("invalid_request_error", "", "bad temperature"), Outcome::CallerFault),
        ] {
            assert_eq!(status(code, &error), outcome, "{error:?}");
        }
    }

    #[test]
    fn an_error_inside_a_success() {
        assert_eq!(classify_in_body(&error("server_error", "", "boom")), Outcome::HardFailure(Failure::ErrorInBody));
        assert_eq!(classify_in_body(&error("", "429", "slow down")), Outcome::RateLimited(None));
        assert_eq!(classify_in_body(&error("", "400", "bad temperature")), Outcome::CallerFault);
        assert_eq!(classify_in_body(&error("", "502", "down")), Outcome::HardFailure(Failure::ErrorInBody));
        assert_eq!(classify_in_body(&error("", "context_length_exceeded", "")), Outcome::TooLong);
    }

    #[test]
    fn the_hint_is_kept() {
        let headers = HeaderMap::from_iter([(http::header::RETRY_AFTER, http::HeaderValue::from_static("7"))]);
        let outcome = classify_status(StatusCode::TOO_MANY_REQUESTS, &headers, &VendorError::default(), Timestamp(0));
        assert_eq!(outcome, Outcome::RateLimited(Some(Millis(7000))));
    }

    /// Invariant 8: what is not the vendor's fault never reaches its breaker.
    #[test]
    fn only_the_vendors_faults_count() {
        for outcome in
            [Outcome::CallerFault, Outcome::CredentialFault, Outcome::Filtered, Outcome::TooLong, Outcome::Neutral]
        {
            assert_eq!(outcome.verdict(true), Verdict::Neutral, "{outcome:?}");
        }
        assert_eq!(Outcome::Silent.verdict(false), Verdict::Failure);
        assert_eq!(Outcome::Success.verdict(true), Verdict::Slow);
    }
}
