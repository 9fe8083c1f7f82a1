//! Parameters that a model is asked with where the client says nothing of them.

use super::fields::Fields;
use super::{Request, Surface};

/// `models.X.default_parameters`: each as it would stand in a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DefaultParameters {
    /// A JSON number.
    pub temperature: Option<String>,
    /// A JSON number.
    pub top_p: Option<String>,
    /// The longest answer, by whatever name the client's API has for it.
    pub max_tokens: Option<u32>,
}

impl DefaultParameters {
    /// The request with what it lacks of them. `None`: it lacks nothing, or is no conversation.
    pub(super) fn added_to(&self, request: &Request) -> Option<Request> {
        let Self { temperature, top_p, max_tokens } = self;
        if (temperature.is_none() && top_p.is_none() && max_tokens.is_none()) || !request.is_chat() {
            return None;
        }
        // What cannot be read here is refused by whoever reads all of it.
        let said: Vec<String> = Fields::read(request.body()).ok()?.all().map(|(name, _)| name).collect();
        let lengths = names_of_max_tokens(request.surface);
        let length = max_tokens.map(|max_tokens| max_tokens.to_string());
        let all = [(&["temperature"][..], temperature), (&["top_p"], top_p), (lengths, &length)];
        let missing = all.iter().filter(|(names, _)| !said.iter().any(|said| names.contains(&said.as_str())));
        let members: String = missing
            .filter_map(|(names, value)| value.as_ref().map(|value| format!("\"{}\":{value},", names[0])))
            .collect();
        if members.is_empty() { None } else { request.with_members(&members) }
    }
}

/// What the limit to an answer's length is called, the name to write first.
fn names_of_max_tokens(surface: Surface) -> &'static [&'static str] {
    match surface {
        Surface::Chat => &["max_tokens", "max_completion_tokens"],
        Surface::Responses => &["max_output_tokens"],
        _ => &["max_tokens"],
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn added(surface: Surface, body: &Value) -> Option<Value> {
        let defaults = DefaultParameters { temperature: Some("0.7".into()), top_p: None, max_tokens: Some(2048) };
        let request = Request::read(surface, body.to_string().into()).unwrap();
        let added = defaults.added_to(&request)?;
        assert_eq!((added.surface, added.stream, &added.model), (surface, request.stream, &request.model));
        Some(serde_json::from_slice(added.body()).unwrap())
    }

    #[test]
    fn what_the_client_does_not_say_is_said_for_it() {
        let question = json!({"model": "m", "messages": []});
        let expected = json!({"model": "m", "messages": [], "temperature": 0.7, "max_tokens": 2048});
        assert_eq!(added(Surface::Chat, &question), Some(expected));
        let expected = json!({"model": "m", "input": "hi", "temperature": 0.7, "max_output_tokens": 2048});
        assert_eq!(added(Surface::Responses, &json!({"model": "m", "input": "hi"})), Some(expected));
    }

    #[test]
    fn what_it_says_stands() {
        let said = json!({"model": "m", "messages": [], "temperature": 0, "max_completion_tokens": 5});
        assert_eq!(added(Surface::Chat, &said), None);
        let half = json!({"model": "m", "stream": true, "messages": [], "max_tokens": 5});
        let mut expected = half.clone();
        expected["temperature"] = json!(0.7);
        assert_eq!(added(Surface::Messages, &half), Some(expected));
    }

    #[test]
    fn what_an_answer_has_begun_with_stays() {
        let question = json!({"model": "m", "messages": [{"role": "user", "content": "Hi"}]});
        let begun = Request::read(Surface::Chat, question.to_string().into()).unwrap().continued("The tide").unwrap();
        let defaults = DefaultParameters { max_tokens: Some(9), ..DefaultParameters::default() };
        let added = defaults.added_to(&begun).unwrap();
        assert_eq!(added.chat().unwrap().messages, begun.chat().unwrap().messages);
        assert!(!added.goes_through(crate::dialect::Dialect::OpenAi));
    }

    #[test]
    fn only_conversations_have_them() {
        assert_eq!(added(Surface::Embeddings, &json!({"model": "m", "input": "hi"})), None);
        assert_eq!(added(Surface::CountTokens, &json!({"model": "m", "messages": []})), None);
    }
}
