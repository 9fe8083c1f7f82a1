//! What became of an attempt: one table from status, headers, body and the stage of the stream to an [`Outcome`].
//!
//! Everything that follows from an attempt (the breaker's verdict, the next candidate, what the client is told) follows
//! from its outcome, so that a vendor's habits are known in this one place.

use std::fmt;

use http::{HeaderMap, StatusCode};

use crate::backoff::retry_after;
use crate::breaker::Verdict;
use crate::dialect::{Reading, VendorError};
use crate::price::Usage;
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
    /// It is compressed, which nobody asked for, and so it cannot be read.
    Compressed,
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

    /// Whether the vendor has said that it was asked for too much at once. 529 is Anthropic's "overloaded".
    pub fn is_overload(self) -> bool {
        matches!(self, Self::RateLimited(_) | Self::HardFailure(Failure::Status(529)))
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
            Self::Compressed => "compressed",
            Self::ErrorInBody => "error_in_body",
            Self::Empty => "empty",
            Self::TooLarge => "too_large",
        }
    }
}

/// A response whose status is not a success.
pub fn classify_status(status: StatusCode, headers: &HeaderMap, error: &VendorError, now: Timestamp) -> Outcome {
    let retry_in = retry_after(headers, now).or(error.retry_in);
    if let Some(outcome) = by_words(error, retry_in) {
        return outcome;
    }
    match status.as_u16() {
        401..=403 => Outcome::CredentialFault,
        429 => Outcome::RateLimited(retry_in),
        408 | 409 | 425 => Outcome::HardFailure(Failure::Status(status.as_u16())),
        400..=499 => Outcome::CallerFault,
        other => Outcome::HardFailure(Failure::Status(other)),
    }
}

/// A whole answer under a status that was a success.
pub fn classify_answer(reading: &Reading) -> (Outcome, Option<Usage>) {
    match reading {
        Reading::Answer(usage) => (Outcome::Success, *usage),
        Reading::Filtered(usage) => (Outcome::Filtered, *usage),
        Reading::Error(error) => (classify_in_body(error), None),
        Reading::Empty => (Outcome::HardFailure(Failure::Empty), None),
        Reading::Malformed => (Outcome::HardFailure(Failure::Malformed), None),
    }
}

/// An error inside a response whose status was a success: the words tell what the status should have been.
pub fn classify_in_body(error: &VendorError) -> Outcome {
    let by_kind = || match error.kind.as_str() {
        "invalid_request_error" | "not_found_error" | "request_too_large" | "INVALID_ARGUMENT" | "NOT_FOUND" => {
            Outcome::CallerFault
        }
        _ => Outcome::HardFailure(Failure::ErrorInBody),
    };
    by_words(error, error.retry_in).unwrap_or_else(|| match error.code.parse::<u16>() {
        Ok(429) => Outcome::RateLimited(error.retry_in),
        Ok(401..=403) => Outcome::CredentialFault,
        Ok(400 | 404 | 413 | 422) => Outcome::CallerFault,
        Ok(_) => Outcome::HardFailure(Failure::ErrorInBody),
        Err(_) => by_kind(),
    })
}

/// The cases that a vendor's codes, kinds and words tell apart better than its status does.
fn by_words(error: &VendorError, retry_in: Option<Millis>) -> Option<Outcome> {
    by_code(&error.code, retry_in).or_else(|| by_kind(&error.kind, retry_in)).or_else(|| by_message(&error.message))
}

fn by_code(code: &str, retry_in: Option<Millis>) -> Option<Outcome> {
    Some(match code {
        "context_length_exceeded" => Outcome::TooLong,
        "content_filter" | "content_policy_violation" => Outcome::Filtered,
        // OpenAI: nothing left to spend, by whatever name.
        "insufficient_quota"
        | "billing_hard_limit_reached"
        | "billing_not_active"
        | "credit_balance_exhausted"
        | "project_spend_limit_exceeded"
        | "invalid_api_key"
        | "account_deactivated"
        // Google: under the status 400.
        | "API_KEY_INVALID"
        | "API_KEY_EXPIRED" => Outcome::CredentialFault,
        "rate_limit_exceeded" => Outcome::RateLimited(retry_in),
        _ => return None,
    })
}

fn by_kind(kind: &str, retry_in: Option<Millis>) -> Option<Outcome> {
    Some(match kind {
        "insufficient_quota" | "authentication_error" | "permission_error" | "billing_error" => {
            Outcome::CredentialFault
        }
        // Google: the last is a region or a billing plan that the key does not have.
        "UNAUTHENTICATED" | "PERMISSION_DENIED" | "FAILED_PRECONDITION" => Outcome::CredentialFault,
        "rate_limit_error" | "rate_limit_exceeded" | "RESOURCE_EXHAUSTED" => Outcome::RateLimited(retry_in),
        "exceed_context_size_error" => Outcome::TooLong,
        _ => return None,
    })
}

/// What vendors say in prose alone.
fn by_message(message: &str) -> Option<Outcome> {
    const TOO_LONG: [&str; 10] = [
        "maximum context length",
        "maximum prompt length",
        "context length exceeded",
        "exceeds the available context size",
        "exceeds the context length",
        "exceed context limit",
        "exceeds the context window",
        "prompt is too long",
        "input token count",
        "must be <= the context",
    ];
    const NO_CREDIT: [&str; 3] = ["credit balance is too low", "insufficient balance", "insufficient credits"];
    const FILTERED: [&str; 2] = ["blocked by content filtering policy", "content management policy"];
    let words = message.to_ascii_lowercase();
    let has = |phrases: &[&str]| phrases.iter().any(|phrase| words.contains(phrase));
    if has(&TOO_LONG) {
        Some(Outcome::TooLong)
    } else if has(&NO_CREDIT) {
        Some(Outcome::CredentialFault)
    } else if has(&FILTERED) {
        Some(Outcome::Filtered)
    } else {
        None
    }
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

    /// By its class alone, with no code and no word that would tell.
    #[test]
    fn a_class_of_errors_tells_by_itself() {
        for (kind, outcome) in [
            ("insufficient_quota", CREDENTIAL),
            ("authentication_error", CREDENTIAL),
            ("permission_error", CREDENTIAL),
            ("billing_error", CREDENTIAL),
            ("UNAUTHENTICATED", CREDENTIAL),
            ("PERMISSION_DENIED", CREDENTIAL),
            ("FAILED_PRECONDITION", CREDENTIAL),
            ("rate_limit_error", THROTTLED),
            ("rate_limit_exceeded", THROTTLED),
            ("RESOURCE_EXHAUSTED", THROTTLED),
            ("exceed_context_size_error", Outcome::TooLong),
        ] {
            assert_eq!(status(500, &error(kind, "", "")), outcome, "{kind}");
            assert_eq!(classify_in_body(&error(kind, "", "")), outcome, "{kind}");
        }
    }

    /// What the breaker hears, whether a limit in time ended it, and the word for it.
    #[test]
    fn every_outcome_has_its_meaning() {
        let failed = |failure, is_timeout, name| (Outcome::HardFailure(failure), Verdict::Failure, is_timeout, name);
        let outcomes = [
            (Outcome::Success, Verdict::Success, false, "success"),
            (Outcome::Silent, Verdict::Failure, true, "silent"),
            (THROTTLED, Verdict::RateLimited, false, "rate_limited"),
            (CREDENTIAL, Verdict::Neutral, false, "credential_fault"),
            (Outcome::CallerFault, Verdict::Neutral, false, "caller_fault"),
            (Outcome::Filtered, Verdict::Neutral, false, "content_filter"),
            (Outcome::TooLong, Verdict::Neutral, false, "too_long"),
            (Outcome::Neutral, Verdict::Neutral, true, "neutral"),
            failed(Failure::Connect, false, "connect_failed"),
            failed(Failure::Reset, false, "connection_reset"),
            failed(Failure::Status(503), false, "upstream_status"),
            failed(Failure::Cut, false, "cut"),
            failed(Failure::Stalled, true, "stalled"),
            failed(Failure::FirstToken, true, "first_token_timeout"),
            failed(Failure::Total, true, "total_timeout"),
            failed(Failure::Malformed, false, "malformed"),
            failed(Failure::Compressed, false, "compressed"),
            failed(Failure::ErrorInBody, false, "error_in_body"),
            failed(Failure::Empty, false, "empty"),
            failed(Failure::TooLarge, false, "too_large"),
        ];
        for (outcome, verdict, is_timeout, name) in outcomes {
            assert_eq!((outcome.verdict(false), outcome.is_timeout(), outcome.name()), (verdict, is_timeout, name));
            let late = if outcome == Outcome::Success { Verdict::Slow } else { verdict };
            assert_eq!(outcome.verdict(true), late, "{name}");
            let with_status = if name == "upstream_status" { "upstream_status 503" } else { name };
            assert_eq!(outcome.to_string(), with_status);
            assert_eq!(outcome.status(), (name == "upstream_status").then_some(503), "{name}");
        }
    }

    #[test]
    fn what_may_have_been_this_once_is_tried_again() {
        for failure in [Failure::Reset, Failure::Status(500)] {
            assert!(failure.is_one_off(), "{failure:?}");
        }
        for failure in [Failure::Connect, Failure::Status(502), Failure::Cut, Failure::Stalled, Failure::Empty] {
            assert!(!failure.is_one_off(), "{failure:?}");
        }
    }

    #[test]
    fn two_answers_mean_too_much_at_once() {
        let overloads = [THROTTLED, failed(529)];
        assert!(overloads.into_iter().all(Outcome::is_overload));
        assert!(![failed(503), Outcome::Silent, Outcome::Success].into_iter().any(Outcome::is_overload));
    }

    type Case = (&'static str, u16, VendorError, Outcome);

    const CREDENTIAL: Outcome = Outcome::CredentialFault;
    const THROTTLED: Outcome = Outcome::RateLimited(None);

    fn failed(status: u16) -> Outcome {
        Outcome::HardFailure(Failure::Status(status))
    }

    /// The vendors' documented errors, and those that their users report word by word.
    fn check(cases: impl IntoIterator<Item = Case>) {
        for (vendor, code, error, outcome) in cases {
            assert_eq!(status(code, &error), outcome, "{vendor} {code} {error:?}");
        }
    }

    #[test]
    fn openais_and_anthropics_own_words() {
        check([
            // OpenAI
            ("openai", 429, error("requests", "rate_limit_exceeded", "Rate limit reached for gpt-x"), THROTTLED),
            ("openai", 429, error("tokens", "credit_balance_exhausted", ""), CREDENTIAL),
            ("openai", 429, error("billing", "project_spend_limit_exceeded", ""), CREDENTIAL),
            ("openai", 401, error("invalid_request_error", "invalid_api_key", "Incorrect API key"), CREDENTIAL),
            ("openai", 403, error("", "unsupported_country_region_territory", ""), CREDENTIAL),
            ("openai", 404, error("invalid_request_error", "model_not_found", ""), Outcome::CallerFault),
            ("openai", 503, error("server_error", "", "The engine is currently overloaded"), failed(503)),
            // Anthropic
            (
                "anthropic",
                400,
                error("invalid_request_error", "", "messages: at least one message is required"),
                Outcome::CallerFault,
            ),
            (
                "anthropic",
                400,
                error("invalid_request_error", "", "Your credit balance is too low to access the Anthropic API."),
                CREDENTIAL,
            ),
            (
                "anthropic",
                400,
                error("invalid_request_error", "", "prompt is too long: 210000 tokens > 200000 maximum"),
                Outcome::TooLong,
            ),
            (
                "anthropic",
                400,
                error("invalid_request_error", "", "input length and `max_tokens` exceed context limit: 1 + 2 > 2"),
                Outcome::TooLong,
            ),
            (
                "anthropic",
                400,
                error("invalid_request_error", "", "Output blocked by content filtering policy"),
                Outcome::Filtered,
            ),
            ("anthropic", 401, error("authentication_error", "", "invalid x-api-key"), CREDENTIAL),
            ("anthropic", 402, error("billing_error", "", ""), CREDENTIAL),
            ("anthropic", 403, error("permission_error", "", ""), CREDENTIAL),
            ("anthropic", 404, error("not_found_error", "", "model: claude-x"), Outcome::CallerFault),
            ("anthropic", 413, error("request_too_large", "", ""), Outcome::CallerFault),
            ("anthropic", 429, error("rate_limit_error", "", ""), THROTTLED),
            ("anthropic", 500, error("api_error", "", ""), failed(500)),
            ("anthropic", 504, error("timeout_error", "", ""), failed(504)),
            ("anthropic", 529, error("overloaded_error", "", "Overloaded"), failed(529)),
        ]);
    }

    #[test]
    fn geminis_own_words_and_those_of_openais_kin() {
        check([
            // Gemini
            ("gemini", 400, error("INVALID_ARGUMENT", "API_KEY_INVALID", "API key not valid."), CREDENTIAL),
            ("gemini", 400, error("INVALID_ARGUMENT", "400", "Invalid value at 'contents'"), Outcome::CallerFault),
            (
                "gemini",
                400,
                error(
                    "INVALID_ARGUMENT",
                    "400",
                    "The input token count (9) exceeds the maximum number of tokens allowed (8).",
                ),
                Outcome::TooLong,
            ),
            (
                "gemini",
                400,
                error("FAILED_PRECONDITION", "400", "User location is not supported for the API use."),
                CREDENTIAL,
            ),
            ("gemini", 403, error("PERMISSION_DENIED", "403", ""), CREDENTIAL),
            ("gemini", 404, error("NOT_FOUND", "404", "models/x is not found"), Outcome::CallerFault),
            ("gemini", 429, error("RESOURCE_EXHAUSTED", "429", "You exceeded your current quota"), THROTTLED),
            ("gemini", 500, error("INTERNAL", "500", ""), failed(500)),
            ("gemini", 503, error("UNAVAILABLE", "503", "The model is overloaded."), failed(503)),
            ("gemini", 504, error("DEADLINE_EXCEEDED", "504", ""), failed(504)),
            // Those who speak OpenAI's dialect
            ("deepseek", 402, error("unknown_error", "invalid_request_error", "Insufficient Balance"), CREDENTIAL),
            (
                "groq",
                413,
                error("tokens", "rate_limit_exceeded", "Request too large for model on tokens per minute"),
                THROTTLED,
            ),
            (
                "xai",
                400,
                error("", "Client specified an invalid argument", "This model's maximum prompt length is 131072"),
                Outcome::TooLong,
            ),
            ("openrouter", 402, error("", "402", "Insufficient credits"), CREDENTIAL),
            (
                "llama.cpp",
                400,
                error("exceed_context_size_error", "400", "the request exceeds the available context size"),
                Outcome::TooLong,
            ),
            (
                "vllm",
                400,
                error("BadRequestError", "400", "This model's maximum context length is 4096 tokens."),
                Outcome::TooLong,
            ),
            (
                "azure",
                400,
                error(
                    "",
                    "content_filter",
                    "The response was filtered due to the prompt triggering Azure OpenAI's content management policy.",
                ),
                Outcome::Filtered,
            ),
        ]);
    }

    #[test]
    fn an_error_in_a_stream_has_words_alone() {
        let failed = Outcome::HardFailure(Failure::ErrorInBody);
        for (error, outcome) in [
            (error("overloaded_error", "", "Overloaded"), failed),
            (error("api_error", "", "Internal server error"), failed),
            (error("rate_limit_error", "", ""), Outcome::RateLimited(None)),
            (error("invalid_request_error", "", "bad tool"), Outcome::CallerFault),
            (error("UNAVAILABLE", "503", ""), failed),
            (error("RESOURCE_EXHAUSTED", "429", ""), Outcome::RateLimited(None)),
            (error("INVALID_ARGUMENT", "400", ""), Outcome::CallerFault),
        ] {
            assert_eq!(classify_in_body(&error), outcome, "{error:?}");
        }
    }

    #[test]
    fn a_hint_in_the_body_counts_where_the_headers_have_none() {
        let error = VendorError { retry_in: Some(Millis(34_000)), ..error("RESOURCE_EXHAUSTED", "429", "") };
        assert_eq!(status(429, &error), Outcome::RateLimited(Some(Millis(34_000))));
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

    #[test]
    fn two_statuses_say_that_it_was_too_much_at_once() {
        let overload = |code| status(code, &VendorError::default()).is_overload();
        assert!(overload(429) && overload(529));
        assert!(![200, 400, 401, 408, 500, 502, 503, 504].into_iter().any(overload));
    }
}
