//! What a response repeats of the request that it answers.

use std::borrow::Cow;
use std::collections::BTreeMap;

use memchr::memchr2;
use serde::Deserialize;

use crate::dialect::chat::Json;

/// The parameters that a response repeats, as the client wrote them, or as they are when nothing is said: clients'
/// parsers want some of them to be there.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Echo {
    pub(super) instructions: Option<Json>,
    pub(super) max_output_tokens: Option<Json>,
    pub(super) max_tool_calls: Option<Json>,
    pub(super) metadata: Option<Json>,
    pub(super) parallel_tool_calls: Option<bool>,
    pub(super) prompt_cache_key: Option<Json>,
    pub(super) reasoning: Option<Json>,
    pub(super) safety_identifier: Option<Json>,
    pub(super) temperature: Option<Json>,
    pub(super) text: Option<Text>,
    pub(super) tool_choice: Option<Json>,
    pub(super) tools: Option<Json>,
    pub(super) top_logprobs: Option<Json>,
    pub(super) top_p: Option<Json>,
    pub(super) truncation: Option<Json>,
    pub(super) user: Option<Json>,
    /// The functions that stand in a namespace, by the name under which the model knows them.
    #[serde(skip)]
    pub(super) spaced: BTreeMap<String, Spaced>,
}

/// A function in a namespace, as the client calls it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Spaced {
    pub(super) namespace: String,
    pub(super) name: String,
}

/// Vendors know no namespaces: a function in one goes by both names.
pub(super) fn joined_name(namespace: &str, name: &str) -> String {
    format!("{namespace}__{name}")
}

/// The parameter `text`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub(super) struct Text {
    pub(super) format: Option<Json>,
    pub(super) verbosity: Option<Json>,
}

impl Echo {
    /// Takes from a request what the answer repeats. A body that [`read_request`](super::read_request) refuses has
    /// nothing to repeat.
    pub fn read(body: &[u8]) -> Self {
        let nothing = || serde_json::from_str("{}").expect("no field is required");
        let mut echo: Self = serde_json::from_slice(&one_line(body)).unwrap_or_else(|_| nothing());
        for (field, value) in [
            (&mut echo.metadata, "{}"),
            (&mut echo.reasoning, r#"{"effort":null,"summary":null}"#),
            (&mut echo.text.get_or_insert_default().format, r#"{"type":"text"}"#),
            (&mut echo.tool_choice, r#""auto""#),
            (&mut echo.tools, "[]"),
            (&mut echo.truncation, r#""disabled""#),
        ] {
            field.get_or_insert_with(|| serde_json::from_str(value).expect("each value above is JSON"));
        }
        echo.parallel_tool_calls.get_or_insert(true);
        echo.spaced = echo.tools.as_ref().map(spaced).unwrap_or_default();
        echo
    }
}

fn spaced(tools: &Json) -> BTreeMap<String, Spaced> {
    #[derive(Deserialize)]
    struct Tool {
        #[serde(default)]
        name: Option<String>,
        #[serde(default)]
        tools: Option<Vec<Self>>,
    }

    let tools: Vec<Tool> = serde_json::from_str(tools.text()).unwrap_or_default();
    let namespaces = tools.into_iter().filter_map(|tool| tool.name.zip(tool.tools));
    namespaces
        .flat_map(|(namespace, tools)| {
            tools
                .into_iter()
                .filter_map(|tool| tool.name)
                .map(move |name| (joined_name(&namespace, &name), Spaced { namespace: namespace.clone(), name }))
        })
        .collect()
}

/// JSON without its line ends, which stand between its tokens alone: an event's data is one line.
fn one_line(json: &[u8]) -> Cow<'_, [u8]> {
    if memchr2(b'\n', b'\r', json).is_none() {
        return json.into();
    }
    json.iter().copied().filter(|byte| !matches!(byte, b'\n' | b'\r')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_repeated_is_one_line() {
        let echo = Echo::read(b"{\"tools\":[\r\n 1,\n2],\"user\":\"a\\nb\"}");
        assert_eq!(echo.tools.unwrap().text(), "[ 1,2]");
        assert_eq!(echo.user.unwrap().text(), r#""a\nb""#);
    }

    #[test]
    fn keeps_the_text_and_takes_null_for_nothing() {
        let echo = Echo::read(br#"{"tools":[ {"type":"function"} ],"text":{"verbosity":"low"},"user":null}"#);
        assert_eq!(echo.tools.unwrap().text(), r#"[ {"type":"function"} ]"#);
        let text = echo.text.unwrap();
        assert_eq!(text.verbosity.unwrap().text(), r#""low""#);
        assert_eq!(text.format.unwrap().text(), r#"{"type":"text"}"#);
        assert_eq!(echo.user, None);
        assert_eq!(Echo::read(br#"{"tools":null}"#), Echo::read(b"[]"));
    }
}
