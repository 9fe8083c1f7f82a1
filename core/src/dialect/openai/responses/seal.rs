//! What vendors want back with a model's thinking, as the `encrypted_content` of a reasoning item.
//!
//! A client must not change it and need not understand it. The mark in front keeps apart what is ours from what another
//! service gave the client, which no vendor behind us would take.

/// A vendor's proof, under the kind of thing that it proves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Seal {
    /// Of the thinking in the same item.
    Thinking(String),
    /// Thinking that is shown in encrypted form alone.
    Redacted(String),
    /// Of the thinking behind the call that follows.
    Call(String),
}

const THINKING: &str = "tidegate-1-thinking:";
const REDACTED: &str = "tidegate-1-redacted:";
const CALL: &str = "tidegate-1-call:";

impl Seal {
    /// As a client keeps it.
    pub(super) fn write(&self) -> String {
        match self {
            Self::Thinking(proof) => format!("{THINKING}{proof}"),
            Self::Redacted(data) => format!("{REDACTED}{data}"),
            Self::Call(proof) => format!("{CALL}{proof}"),
        }
    }

    /// As a client sends it back; `None` where it is not ours.
    pub(super) fn read(text: &str) -> Option<Self> {
        if let Some(proof) = text.strip_prefix(THINKING) {
            return Some(Self::Thinking(proof.to_owned()));
        }
        if let Some(data) = text.strip_prefix(REDACTED) {
            return Some(Self::Redacted(data.to_owned()));
        }
        text.strip_prefix(CALL).map(|proof| Self::Call(proof.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_what_is_not_ours_is_not() {
        for seal in [Seal::Thinking("a:b".into()), Seal::Redacted(String::new()), Seal::Call("é".into())] {
            assert_eq!(Seal::read(&seal.write()), Some(seal));
        }
        assert_eq!(Seal::read("gAAAAABo"), None);
    }
}
