//! Secrets that cannot be printed by accident.

use std::fmt;
use std::sync::Arc;

/// A key or token. `Debug` shows that there is one, nothing else, and there is no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<str>);

impl Secret {
    /// Keeps `text` secret from here on.
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// The secret itself, for the one place that sends it or compares with it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether `candidate` is this secret, in a time that tells nothing about where they differ.
    pub fn matches(&self, candidate: &str) -> bool {
        let (mine, theirs) = (self.0.as_bytes(), candidate.as_bytes());
        let differing = mine.iter().enumerate().fold(mine.len() ^ theirs.len(), |sum, (i, byte)| {
            sum | usize::from(byte ^ theirs.get(i).copied().unwrap_or(0))
        });
        differing == 0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_nothing_of_it() {
        assert_eq!(format!("{:?}", Secret::new("sk-live-123")), "Secret(…)");
    }

    #[test]
    fn matches_only_the_whole_secret() {
        let secret = Secret::new("sk-live-123");
        assert!(secret.matches("sk-live-123"));
        for wrong in ["", "sk-live-12", "sk-live-1234", "sk-live-124"] {
            assert!(!secret.matches(wrong), "{wrong}");
        }
    }
}
