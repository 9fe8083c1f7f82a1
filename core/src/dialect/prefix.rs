//! How a conversation begins, by which its later requests are known again.

use super::Request;
use super::chat::{Content, Role};
use crate::rng::{hash, hash_on};

/// Bytes of a message that count: vendors' caches begin at about as much, and the rest is seldom what tells two apart.
const BYTES_MAX: usize = 4096;

impl Request {
    /// A number that all requests of a conversation have in common: it stands for what the app says in front, and for the
    /// user's first message. `None` where there is no conversation that can be read.
    pub(crate) fn prefix(&self) -> Option<u64> {
        if !self.is_chat() {
            return None;
        }
        let mut prefix = hash("");
        for message in &self.chat().ok()?.messages {
            let texts = message.parts.iter().filter_map(|part| match &part.content {
                Content::Text(text) => Some(text.as_bytes()),
                _ => None,
            });
            prefix = texts.flatten().take(BYTES_MAX).fold(prefix, |prefix, byte| hash_on(prefix, *byte));
            if message.role == Role::User {
                break;
            }
        }
        Some(prefix)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::dialect::Surface;

    fn prefix(surface: Surface, body: &Value) -> Option<u64> {
        Request::read(surface, body.to_string().into()).unwrap().prefix()
    }

    fn chat(messages: &[(&str, &str)]) -> Option<u64> {
        let messages: Vec<_> = messages.iter().map(|(role, text)| json!({"role": role, "content": text})).collect();
        prefix(Surface::Chat, &json!({"model": "m", "messages": messages}))
    }

    #[test]
    fn a_conversation_keeps_its_beginning_as_it_goes_on() {
        let first = [("system", "Be brief."), ("user", "Hi")];
        let later = [first[0], first[1], ("assistant", "Hello."), ("user", "And now?")];
        assert!(chat(&first).is_some());
        assert_eq!(chat(&first), chat(&later));
        assert_ne!(chat(&first), chat(&[first[0], ("user", "Ho")]));
        assert_ne!(chat(&first), chat(&[("system", "Be long."), first[1]]));
        assert_ne!(chat(&first), chat(&first[1..]));
    }

    #[test]
    fn it_is_known_in_every_api() {
        let messages = json!([{"role": "user", "content": "Hi"}]);
        let of_messages = json!({"model": "m", "max_tokens": 9, "system": "Be brief.", "messages": messages});
        let of_responses = json!({"model": "m", "instructions": "Be brief.", "input": "Hi"});
        let expected = chat(&[("system", "Be brief."), ("user", "Hi")]);
        assert_eq!(prefix(Surface::Messages, &of_messages), expected);
        assert_eq!(prefix(Surface::Responses, &of_responses), expected);
        assert_eq!(prefix(Surface::Embeddings, &json!({"model": "m", "input": "Hi"})), None);
        assert_eq!(prefix(Surface::Chat, &json!({"model": "m", "messages": 5})), None);
    }

    #[test]
    fn it_takes_no_longer_for_a_long_one() {
        let long = "x".repeat(BYTES_MAX);
        assert_eq!(chat(&[("user", &long)]), chat(&[("user", &format!("{long}y"))]));
    }
}
