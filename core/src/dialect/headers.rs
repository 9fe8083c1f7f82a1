//! Headers that belong to a dialect.

use http::header::{HeaderName, HeaderValue};

/// Anthropic's key.
pub const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
/// The version of Anthropic's API.
pub const ANTHROPIC_VERSION: HeaderName = HeaderName::from_static("anthropic-version");
/// The version that is meant here: there has been none since.
pub const ANTHROPIC_VERSION_2023: HeaderValue = HeaderValue::from_static("2023-06-01");
/// What of Anthropic's API a client tries out before its time.
pub const ANTHROPIC_BETA: HeaderName = HeaderName::from_static("anthropic-beta");
/// Gemini's key.
pub const X_GOOG_API_KEY: HeaderName = HeaderName::from_static("x-goog-api-key");
