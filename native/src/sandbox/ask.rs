//! What a request asks for, whatever its dialect: each reads its requests into this, and the words come from this
//! alone, so that the same prompt gets the same answer in every dialect.

use serde_json::Value;

/// A checked request for words.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) model: String,
    /// What the user said last.
    pub(super) prompt: String,
    /// How many words of the answer it is to go on from.
    pub(super) begun: usize,
    /// What the tools said since.
    pub(super) results: Vec<String>,
    pub(super) images: usize,
    /// One word is one token.
    pub(super) prompt_tokens: usize,
    /// The most tokens of one choice, thinking included.
    pub(super) tokens_max: usize,
    pub(super) stops: Vec<String>,
    /// How many answers at once.
    pub(super) choices: usize,
    pub(super) format: Format,
    pub(super) thinking: bool,
    pub(super) stream: bool,
    pub(super) tools: Vec<Tool>,
    pub(super) tool_choice: ToolChoice,
    pub(super) parallel_tools: bool,
}

/// What the text must be.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Format {
    Text,
    /// Any JSON object.
    Json,
    /// JSON that fits this schema.
    Schema(Value),
}

/// A tool that may be called.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Tool {
    pub(super) name: String,
    /// The JSON schema of its arguments; null takes nothing.
    pub(super) schema: Value,
}

/// Which tools may be called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ToolChoice {
    Any,
    /// One of these.
    Of(Vec<String>),
    /// This one.
    One(String),
    Never,
}

/// Who says something in a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Speaker {
    Assistant,
    System,
    Tool,
    User,
}

/// The most tokens of an answer, whatever was asked for.
pub(super) const TOKENS_MAX: usize = 4096;
/// The most tokens of all choices of an answer.
const ALL_TOKENS_MAX: usize = 16 * TOKENS_MAX;

impl Ask {
    pub(super) fn new(model: &str) -> Self {
        Self {
            model: model.to_owned(),
            prompt: String::new(),
            begun: 0,
            results: Vec::new(),
            images: 0,
            prompt_tokens: 0,
            tokens_max: TOKENS_MAX,
            stops: Vec::new(),
            choices: 1,
            format: Format::Text,
            thinking: false,
            stream: false,
            tools: Vec::new(),
            tool_choice: ToolChoice::Any,
            parallel_tools: true,
        }
    }

    /// Takes in the next thing that was said.
    pub(super) fn hear(&mut self, speaker: Speaker, text: String) {
        self.prompt_tokens += text.split_whitespace().count();
        match speaker {
            Speaker::User => {
                self.prompt = text;
                self.results.clear();
            }
            Speaker::Tool => self.results.push(text),
            Speaker::Assistant | Speaker::System => {}
        }
    }

    /// Limits the tokens to what the request allows; several choices share a bound of their own.
    pub(super) fn limit(&mut self, tokens: Option<usize>) {
        let share = (ALL_TOKENS_MAX / self.choices.max(1)).min(TOKENS_MAX);
        self.tokens_max = tokens.unwrap_or(share).min(share);
    }

    /// The tokens of the prompt, of which there is always one.
    pub(super) fn prompt_tokens(&self) -> usize {
        self.prompt_tokens.max(1)
    }

    /// Long prompts count as read from a cache, in steps, as if the vendor had seen them before.
    pub(super) fn cached_tokens(&self) -> usize {
        const LEAST: usize = 1024;
        const STEP: usize = 128;
        let tokens = self.prompt_tokens();
        if tokens >= LEAST { tokens / STEP * STEP } else { 0 }
    }

    /// The tools that the answer calls: none once they have answered, one usually, two if the prompt says "both".
    pub(super) fn called(&self) -> Vec<&Tool> {
        if !self.results.is_empty() {
            return Vec::new();
        }
        let both = self.parallel_tools && words(&self.prompt).any(|word| word.eq_ignore_ascii_case("both"));
        let many = if both { 2 } else { 1 };
        let of = |tool: &&Tool| match &self.tool_choice {
            ToolChoice::Any => true,
            ToolChoice::Of(names) => names.contains(&tool.name),
            ToolChoice::One(name) => *name == tool.name,
            ToolChoice::Never => false,
        };
        self.tools.iter().filter(of).take(many).collect()
    }
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tools_are_called_until_they_have_answered() {
        let tool = |name: &str| Tool { name: name.to_owned(), schema: Value::Null };
        let mut ask = Ask::new("m");
        ask.tools = vec![tool("a"), tool("b"), tool("c")];
        let names = |ask: &Ask| ask.called().iter().map(|tool| tool.name.clone()).collect::<Vec<_>>();
        ask.hear(Speaker::User, "what now".to_owned());
        assert_eq!(names(&ask), ["a"]);
        ask.hear(Speaker::User, "Both, please".to_owned());
        assert_eq!(names(&ask), ["a", "b"]);
        ask.parallel_tools = false;
        assert_eq!(names(&ask), ["a"]);
        ask.tool_choice = ToolChoice::One("c".to_owned());
        assert_eq!(names(&ask), ["c"]);
        ask.hear(Speaker::Tool, "sunny".to_owned());
        assert!(names(&ask).is_empty());
        ask.hear(Speaker::User, "and now".to_owned());
        assert_eq!(names(&ask), ["c"]);
    }
}
