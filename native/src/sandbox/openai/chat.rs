//! Chat completions in OpenAI's exact wire format, plain and streamed.

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use super::super::answer::{Answer, Plain, Stream, event};
use super::super::ask::Ask;
use super::super::dialect::Turn;
use super::super::noise;
use super::super::words::{Call, End, Said};

/// A checked request.
#[derive(Debug)]
pub(super) struct Chat {
    pub(super) ask: Ask,
    pub(super) include_usage: bool,
    /// How many alternatives of each token to tell; absent, none of its odds.
    pub(super) top_logprobs: Option<usize>,
}

/// What an answer cost, as OpenAI counts it.
#[derive(Debug, Serialize)]
struct Usage {
    prompt_tokens: usize,
    completion_tokens: usize,
    total_tokens: usize,
    prompt_tokens_details: PromptDetails,
    completion_tokens_details: CompletionDetails,
}

#[derive(Debug, Serialize)]
struct PromptDetails {
    cached_tokens: usize,
    audio_tokens: usize,
}

#[derive(Debug, Default, Serialize)]
#[expect(clippy::struct_field_names, reason = "the names are OpenAI's")]
struct CompletionDetails {
    reasoning_tokens: usize,
    audio_tokens: usize,
    accepted_prediction_tokens: usize,
    rejected_prediction_tokens: usize,
}

#[derive(Debug, Serialize)]
struct Completion<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    model: &'a str,
    choices: Vec<Choice<'a>>,
    usage: Usage,
    service_tier: &'static str,
    system_fingerprint: &'static str,
}

#[derive(Debug, Serialize)]
struct Choice<'a> {
    index: usize,
    message: Message,
    logprobs: Option<Logprobs<'a>>,
    finish_reason: Option<&'static str>,
}

#[derive(Debug, Serialize)]
struct Message {
    role: &'static str,
    /// Null where tools are called instead.
    content: Option<String>,
    /// `DeepSeek`'s.
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<ToolCall>,
    refusal: (),
    annotations: [(); 0],
}

#[derive(Debug, Serialize)]
struct ToolCall {
    id: String,
    r#type: &'static str,
    function: Function,
}

#[derive(Debug, Serialize)]
struct Function {
    name: String,
    arguments: String,
}

#[derive(Debug, Serialize)]
struct Logprobs<'a> {
    content: Vec<Logprob<'a>>,
    refusal: (),
}

#[derive(Debug, Serialize)]
#[expect(clippy::struct_field_names, reason = "the names are OpenAI's")]
struct Logprob<'a> {
    token: &'a str,
    logprob: f64,
    bytes: &'a [u8],
    top_logprobs: Vec<TopLogprob>,
}

#[derive(Debug, Serialize)]
struct TopLogprob {
    token: String,
    logprob: f64,
    bytes: Vec<u8>,
}

/// What all chunks of a stream have in common.
#[derive(Debug, Clone, Copy, Serialize)]
struct Chunk<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    model: &'a str,
    service_tier: &'static str,
    system_fingerprint: &'static str,
    choices: &'a [Part<'a>],
    /// Null in every chunk but the last, if the client asked for usage at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<&'a RawValue>,
}

#[derive(Debug, Serialize)]
struct Part<'a> {
    index: usize,
    delta: Delta<'a>,
    logprobs: Option<Logprobs<'a>>,
    finish_reason: Option<&'static str>,
}

/// What a chunk adds; the fields come in OpenAI's order, since some readers look for these very bytes.
#[derive(Debug, Default, Serialize)]
struct Delta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_calls: Option<[CallDelta<'a>; 1]>,
    /// Null in the first chunk.
    #[serde(skip_serializing_if = "Option::is_none")]
    refusal: Option<()>,
}

/// The beginning of a call, or more of its arguments.
#[derive(Debug, Serialize)]
struct CallDelta<'a> {
    index: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    r#type: Option<&'static str>,
    function: FunctionDelta<'a>,
}

#[derive(Debug, Serialize)]
struct FunctionDelta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    arguments: &'a str,
}

const FINGERPRINT: &str = "fp_sandbox";

impl Chat {
    /// The answer, plain or streamed.
    pub(super) fn answer(&self, turn: &Turn<'_>) -> Answer {
        let said = self.ask.answer(turn);
        let id = format!("chatcmpl-{:016x}{:08x}", noise::mix(turn.draw), turn.draw % (1 << 32));
        let usage = self.usage(&said);
        if self.ask.stream {
            let chunk = Chunk {
                id: &id,
                object: "chat.completion.chunk",
                created: turn.created,
                model: &self.ask.model,
                service_tier: "default",
                system_fingerprint: FINGERPRINT,
                choices: &[],
                usage: self.include_usage.then_some(RawValue::NULL),
            };
            return Answer::Stream(self.stream(chunk, &said, &usage, turn));
        }
        let completion = Completion {
            id: &id,
            object: "chat.completion",
            created: turn.created,
            model: &self.ask.model,
            choices: said.iter().enumerate().map(|(index, said)| self.choice(index, said)).collect(),
            usage,
            service_tier: "default",
            system_fingerprint: FINGERPRINT,
        };
        let longest = said.iter().map(Said::tokens).max().unwrap_or(0);
        let pace = turn.token_gap * u32::try_from(longest).unwrap_or(u32::MAX);
        Answer::Plain(Plain::ok(&completion, turn.first_token + pace))
    }

    fn choice<'a>(&self, index: usize, said: &'a Said) -> Choice<'a> {
        let call = |call: &Call| ToolCall {
            id: format!("call_{}", call.id),
            r#type: "function",
            function: Function { name: call.name.clone(), arguments: call.pieces.concat() },
        };
        let message = Message {
            role: "assistant",
            content: said.calls.is_empty().then(|| said.text.concat()),
            reasoning_content: (!said.thinking.is_empty()).then(|| said.thinking.concat()),
            tool_calls: said.calls.iter().map(call).collect(),
            refusal: (),
            annotations: [],
        };
        let logprobs = self.top_logprobs.map(|top| logprobs(&said.text, top));
        Choice { index, message, logprobs, finish_reason: finish_reason(said) }
    }

    /// Choices take turns, token by token.
    fn stream(&self, chunk: Chunk<'_>, said: &[Said], usage: &Usage, turn: &Turn<'_>) -> Stream {
        let part = |part: Part<'_>| event(&Chunk { choices: &[part], ..chunk });
        let bare = |index, delta, finish_reason| part(Part { index, delta, logprobs: None, finish_reason });
        let role = || Delta { role: Some("assistant"), content: Some(""), refusal: Some(()), ..Delta::default() };
        let all = |make: &dyn Fn(usize, &Said) -> Bytes| -> Bytes {
            said.iter().enumerate().flat_map(|(index, said)| make(index, said)).collect()
        };
        let mut choices: Vec<_> = said.iter().map(|said| self.deltas(said).into_iter()).collect();
        let longest = choices.iter().map(ExactSizeIterator::len).max().unwrap_or(0);
        let mut tokens = Vec::new();
        for _ in 0..longest {
            for (index, deltas) in choices.iter_mut().enumerate() {
                let next = deltas.next();
                tokens.extend(next.map(|(delta, logprobs)| part(Part { index, delta, logprobs, finish_reason: None })));
            }
        }
        let counts = to_raw_value(usage).expect("counts are JSON");
        Stream {
            opening: all(&|index, _| bare(index, role(), None)),
            tokens,
            finish: all(&|index, said| bare(index, Delta::default(), finish_reason(said))),
            usage: self.include_usage.then(|| event(&Chunk { usage: Some(&counts), ..chunk })),
            done: Some(DONE),
            first_token: turn.first_token,
            token_gap: turn.token_gap,
        }
    }

    /// What each token adds, in order.
    fn deltas<'a>(&self, said: &'a Said) -> Vec<(Delta<'a>, Option<Logprobs<'a>>)> {
        let mut deltas = Vec::with_capacity(said.tokens());
        for thought in &said.thinking {
            deltas.push((Delta { reasoning_content: Some(thought), ..Delta::default() }, None));
        }
        for token in &said.text {
            let logprobs = self.top_logprobs.map(|top| logprobs(std::slice::from_ref(token), top));
            deltas.push((Delta { content: Some(token), ..Delta::default() }, logprobs));
        }
        for (index, call) in said.calls.iter().enumerate() {
            let begin = CallDelta {
                index,
                id: Some(format!("call_{}", call.id)),
                r#type: Some("function"),
                function: FunctionDelta { name: Some(&call.name), arguments: "" },
            };
            deltas.push((Delta { tool_calls: Some([begin]), ..Delta::default() }, None));
            for piece in &call.pieces {
                let function = FunctionDelta { name: None, arguments: piece };
                let more = CallDelta { index, id: None, r#type: None, function };
                deltas.push((Delta { tool_calls: Some([more]), ..Delta::default() }, None));
            }
        }
        deltas
    }

    fn usage(&self, said: &[Said]) -> Usage {
        let prompt_tokens = self.ask.prompt_tokens();
        let completion_tokens = said.iter().map(Said::tokens).sum();
        let reasoning_tokens = said.iter().map(|said| said.thinking.len()).sum();
        Usage {
            prompt_tokens,
            completion_tokens,
            total_tokens: prompt_tokens + completion_tokens,
            prompt_tokens_details: PromptDetails { cached_tokens: self.ask.cached_tokens(), audio_tokens: 0 },
            completion_tokens_details: CompletionDetails { reasoning_tokens, ..CompletionDetails::default() },
        }
    }
}

const DONE: Bytes = Bytes::from_static(b"data: [DONE]\n\n");

fn finish_reason(said: &Said) -> Option<&'static str> {
    said.end.as_ref().map(|end| match end {
        End::Calls => "tool_calls",
        End::Filtered | End::Refused => "content_filter",
        End::Length => "length",
        End::Stop | End::StopSequence(_) => "stop",
    })
}

/// Odds that repeat: each token's come from its letters.
fn logprobs(tokens: &[String], top: usize) -> Logprobs<'_> {
    let odds = |token: &str| -f64::from(u16::try_from(noise::seed(token) % 1000).unwrap_or(0)) / 1000.0;
    let others = |token: &str, logprob: f64| -> Vec<TopLogprob> {
        let first = TopLogprob { token: token.to_owned(), logprob, bytes: token.into() };
        let more = (1..top).zip(1_u8..).map(|(_, place)| {
            let token = format!("{}{place}", token.trim_end());
            TopLogprob { bytes: token.clone().into(), token, logprob: logprob - f64::from(place) }
        });
        std::iter::once(first).chain(more).take(top).collect()
    };
    let content = tokens.iter().map(|token| {
        let logprob = odds(token);
        Logprob { token, logprob, bytes: token.as_bytes(), top_logprobs: others(token, logprob) }
    });
    Logprobs { content: content.collect(), refusal: () }
}

#[cfg(test)]
mod tests {
    use super::super::super::sample::{self, TURN};
    use super::super::ask;
    use super::*;
    use serde_json::{Value, json};
    use std::time::Duration;

    fn plain(body: &Value) -> (Value, Duration) {
        match ask::read(body, body["model"].as_str().unwrap()).unwrap().answer(&TURN) {
            Answer::Plain(plain) => (serde_json::from_slice(&plain.body).unwrap(), plain.wait),
            Answer::Stream(_) => panic!("asked for a plain answer"),
        }
    }

    fn stream(body: &Value) -> Stream {
        match ask::read(body, body["model"].as_str().unwrap()).unwrap().answer(&TURN) {
            Answer::Stream(stream) => stream,
            Answer::Plain(_) => panic!("asked for a stream"),
        }
    }

    fn data(event: &Bytes) -> Value {
        let text = std::str::from_utf8(event).unwrap();
        serde_json::from_str(text.strip_prefix("data: ").unwrap().strip_suffix("\n\n").unwrap()).unwrap()
    }

    fn with(more: &Value) -> Value {
        sample::with(json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]}), more)
    }

    fn tools(names: &[&str]) -> Value {
        let parameters = json!({"type": "object", "properties": {"city": {"type": "string"}}});
        let tool = |name: &&str| json!({"type": "function", "function": {"name": name, "parameters": parameters}});
        names.iter().map(tool).collect()
    }

    #[test]
    fn an_answer_says_what_it_is_and_echoes_the_prompt() {
        let (answer, wait) = plain(&json!({"model": "m1", "messages": [
            {"role": "user", "content": "earlier"},
            {"role": "assistant", "content": "yes"},
            {"role": "user", "content": [{"type": "text", "text": "Is this real?"}]},
        ]}));
        let text = answer["choices"][0]["message"]["content"].as_str().unwrap();
        assert!(text.contains("simulated answer by the sandbox vendor acme, standing in for m1"), "{text}");
        assert!(text.ends_with("You asked: \"Is this real?\""), "{text}");
        assert_eq!(answer["choices"][0]["finish_reason"], "stop");
        let tokens = text.split(' ').count();
        assert_eq!(answer["usage"]["prompt_tokens"], 5);
        assert_eq!(answer["usage"]["completion_tokens"], tokens);
        assert_eq!(answer["usage"]["total_tokens"], tokens + 5);
        assert_eq!(wait, Duration::from_millis(200 + 10 * tokens as u64));
    }

    #[test]
    fn a_limit_cuts_the_answer_and_says_so() {
        let (answer, _) = plain(&with(&json!({"max_tokens": 3})));
        assert_eq!(answer["choices"][0]["message"]["content"], "This is a ");
        assert_eq!(answer["choices"][0]["finish_reason"], "length");
        assert_eq!(answer["usage"]["completion_tokens"], 3);
    }

    #[test]
    fn a_prompt_can_ask_for_length_and_a_format_for_json() {
        let (answer, _) = plain(&json!({"model": "m", "messages": [{"role": "user", "content": "write 120 words"}]}));
        assert_eq!(answer["usage"]["completion_tokens"], 120);
        let (answer, _) = plain(&with(&json!({"response_format": {"type": "json_object"}})));
        let text = answer["choices"][0]["message"]["content"].as_str().unwrap();
        assert_eq!(serde_json::from_str::<Value>(text).unwrap()["you_said"], "hi");
        let schema = json!({"type": "object", "properties": {"tide": {"enum": ["high", "low"]}}});
        let format = json!({"type": "json_schema", "json_schema": {"name": "t", "schema": schema}});
        let (answer, _) = plain(&with(&json!({"response_format": format})));
        assert_eq!(answer["choices"][0]["message"]["content"], r#"{"tide":"high"}"#);
    }

    #[test]
    fn long_prompts_count_as_cached_in_steps() {
        let (answer, _) =
            plain(&json!({"model": "m", "messages": [{"role": "user", "content": "word ".repeat(1200)}]}));
        assert_eq!(answer["usage"]["prompt_tokens_details"]["cached_tokens"], 1152);
    }

    #[test]
    fn a_stream_has_role_content_finish_and_usage() {
        let stream = stream(&with(&json!({"stream": true, "stream_options": {"include_usage": true}})));
        let opening = data(&stream.opening);
        assert_eq!(opening["choices"][0]["delta"], json!({"role": "assistant", "content": "", "refusal": null}));
        assert!(opening.get("usage").is_some_and(Value::is_null));
        let text: String = stream
            .tokens
            .iter()
            .map(|token| data(token)["choices"][0]["delta"]["content"].as_str().unwrap().to_owned())
            .collect();
        assert!(text.ends_with("You said: \"hi\""), "{text}");
        let finish = data(&stream.finish);
        assert_eq!(
            (&finish["choices"][0]["delta"], &finish["choices"][0]["finish_reason"]),
            (&json!({}), &json!("stop"))
        );
        let usage = data(stream.usage.as_ref().unwrap());
        assert_eq!(usage["choices"], json!([]));
        assert_eq!(usage["usage"]["completion_tokens"], stream.tokens.len());
        assert!([&opening, &finish, &usage].iter().all(|chunk| chunk["id"] == opening["id"]));
    }

    #[test]
    fn without_asking_there_is_no_usage() {
        let stream = stream(&with(&json!({"stream": true})));
        assert!(stream.usage.is_none());
        assert!(data(&stream.opening).get("usage").is_none());
    }

    #[test]
    fn tools_are_called_with_arguments_that_fit() {
        let (answer, _) = plain(&with(&json!({"tools": tools(&["f", "g"])})));
        let message = &answer["choices"][0]["message"];
        assert_eq!((&message["content"], &answer["choices"][0]["finish_reason"]), (&Value::Null, &json!("tool_calls")));
        let calls = message["tool_calls"].as_array().unwrap();
        assert_eq!(
            (calls.len(), &calls[0]["type"], &calls[0]["function"]["name"]),
            (1, &json!("function"), &json!("f"))
        );
        assert_eq!(calls[0]["function"]["arguments"], r#"{"city":"some city"}"#);
    }

    #[test]
    fn parallel_calls_are_streamed_by_index() {
        let mut body = with(&json!({"stream": true, "tools": tools(&["f", "g"])}));
        body["messages"][0]["content"] = json!("both of them");
        let stream = stream(&body);
        let mut arguments = [String::new(), String::new()];
        let mut names = Vec::new();
        for token in &stream.tokens {
            let delta = data(token)["choices"][0]["delta"]["tool_calls"][0].clone();
            let index = usize::try_from(delta["index"].as_u64().unwrap()).unwrap();
            arguments[index] += delta["function"]["arguments"].as_str().unwrap();
            names.extend(delta["function"]["name"].as_str().map(str::to_owned));
            assert_eq!(delta["id"].is_string(), delta["function"]["name"].is_string());
        }
        assert_eq!(arguments, [r#"{"city":"some city"}"#; 2]);
        assert_eq!(names, ["f", "g"]);
        assert!(stream.tokens.len() > 4);
        assert_eq!(data(&stream.finish)["choices"][0]["finish_reason"], "tool_calls");
    }

    #[test]
    fn thinking_comes_first_and_is_counted() {
        let (answer, _) = plain(&with(&json!({"reasoning_effort": "low"})));
        assert!(answer["choices"][0]["message"]["reasoning_content"].as_str().unwrap().starts_with("The prompt has"));
        assert_eq!(answer["usage"]["completion_tokens_details"]["reasoning_tokens"], 10);
        let stream = stream(&with(&json!({"stream": true, "thinking": {"type": "enabled"}})));
        assert_eq!(data(&stream.tokens[0])["choices"][0]["delta"], json!({"reasoning_content": "The "}));
        assert_eq!(data(&stream.tokens[10])["choices"][0]["delta"], json!({"content": "This "}));
    }

    #[test]
    fn several_choices_take_turns() {
        let (answer, _) = plain(&with(&json!({"n": 3, "max_tokens": 2})));
        assert_eq!(answer["choices"][2]["index"], 2);
        assert_eq!(answer["usage"]["completion_tokens"], 6);
        let stream = stream(&with(&json!({"n": 2, "max_tokens": 2, "stream": true})));
        let order: Vec<u64> =
            stream.tokens.iter().map(|token| data(token)["choices"][0]["index"].as_u64().unwrap()).collect();
        assert_eq!(order, [0, 1, 0, 1]);
        let finishes = String::from_utf8(stream.finish.to_vec()).unwrap();
        assert_eq!(finishes.matches(r#""finish_reason":"length""#).count(), 2);
    }

    #[test]
    fn odds_are_told_on_request() {
        let (answer, _) = plain(&with(&json!({"logprobs": true, "top_logprobs": 2, "max_tokens": 2})));
        let content = answer["choices"][0]["logprobs"]["content"].as_array().unwrap();
        assert_eq!((content.len(), &content[0]["token"]), (2, &json!("This ")));
        assert_eq!(content[0]["top_logprobs"][0]["logprob"], content[0]["logprob"]);
        assert_eq!(content[0]["top_logprobs"].as_array().map(Vec::len), Some(2));
        let stream = stream(&with(&json!({"logprobs": true, "stream": true})));
        assert_eq!(data(&stream.tokens[0])["choices"][0]["logprobs"]["content"][0]["token"], "This ");
    }
}
