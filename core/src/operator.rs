//! Asking a running gateway as its operator: how that is shown, and what to do where the gateway refuses.

use http::HeaderValue;
use serde_json::Value;

/// The environment variable for the admin key of the gateway that is asked.
pub const ADMIN_KEY: &str = "TIDEGATE_ADMIN_KEY";

/// How the key is shown. `None`: it holds what no key does.
pub fn shown(key: &str) -> Option<HeaderValue> {
    let mut shown = HeaderValue::from_str(&format!("Bearer {key}")).ok()?;
    shown.set_sensitive(true);
    Some(shown)
}

/// What a gateway has against a question, in its own words, and what can be done about it. `None`: nothing, its body is an
/// answer. `has_key`: whether it was sent a key.
pub fn refusal(body: &[u8], has_key: bool) -> Option<String> {
    let told: Value = serde_json::from_slice(body).ok()?;
    let text = |what: &str| told["error"][what].as_str();
    let (message, code) = (text("message")?, text("code").unwrap_or_default());
    let remedy = match (code, has_key) {
        ("invalid_api_key", false) => format!(" Set {ADMIN_KEY} to it."),
        ("invalid_api_key", true) => format!(" What {ADMIN_KEY} holds is another one."),
        ("loopback_only", _) => {
            format!(" Ask on its own machine, by --url http://127.0.0.1:PORT; or give it that key, and {ADMIN_KEY} as well.")
        }
        ("unknown_url", _) => {
            " If --url names the gateway alone, without a path, that is another version, which lacks what this command asks \
             for."
            .to_owned()
        }
        _ => String::new(),
    };
    Some(format!("{message}{remedy}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_shown_to_the_gateway_alone() {
        let bearer = shown("the-admins-own-secret").unwrap();
        assert_eq!((bearer.to_str().unwrap(), bearer.is_sensitive()), ("Bearer the-admins-own-secret", true));
        assert_eq!(shown("two\nlines"), None);
    }

    #[test]
    fn the_key_is_spoken_of_where_it_is_the_matter_and_nowhere_else() {
        let told = |code: &str, has_key| {
            refusal(format!(r#"{{"error": {{"message": "Why.", "code": "{code}"}}}}"#).as_bytes(), has_key).unwrap()
        };
        assert_eq!(told("invalid_api_key", false), "Why. Set TIDEGATE_ADMIN_KEY to it.");
        assert_eq!(told("invalid_api_key", true), "Why. What TIDEGATE_ADMIN_KEY holds is another one.");
        assert!(told("loopback_only", false).contains("--url http://127.0.0.1:PORT"));
        assert!(told("unknown_url", true).contains("another version"));
        for code in ["request_not_found", "no_ledger", "no_queue", "ledger_unreadable", "invalid_request"] {
            assert_eq!(told(code, true), "Why.");
        }
        for answer in ["", "text", "[1]", r#"{"error": null}"#, r#"{"rows": []}"#] {
            assert_eq!(refusal(answer.as_bytes(), true), None, "{answer}");
        }
    }
}
