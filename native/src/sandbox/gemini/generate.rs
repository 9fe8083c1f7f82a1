//! Generated content in Gemini's exact wire format, plain and streamed.
//!
//! Every chunk of a stream is a whole response with the counts so far, and the last says why it is the last.

use serde::Serialize;
use serde_json::Value;

use super::super::answer::{Answer, Plain, Stream, event};
use super::super::ask::Ask;
use super::super::dialect::Turn;
use super::super::noise;
use super::super::words::{Call, End, Said};

/// A checked request.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) ask: Ask,
    pub(super) thoughts_shown: bool,
    /// Whether a stream comes as events; else as one JSON array.
    pub(super) sse: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_field_names, reason = "the names are Gemini's")]
struct Response<'a> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    candidates: Vec<Candidate<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_feedback: Option<Feedback>,
    usage_metadata: Usage,
    model_version: &'a str,
    response_id: &'a str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Candidate<'a> {
    content: Content<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    finish_reason: Option<&'static str>,
    index: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    safety_ratings: Option<[Rating; 1]>,
}

#[derive(Debug, Serialize)]
struct Content<'a> {
    parts: Vec<Part<'a>>,
    role: &'static str,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Part<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thought: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    function_call: Option<FunctionCall<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thought_signature: Option<String>,
}

#[derive(Debug, Serialize)]
struct FunctionCall<'a> {
    id: &'a str,
    name: &'a str,
    args: &'a Value,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Feedback {
    block_reason: &'static str,
    safety_ratings: [Rating; 1],
}

#[derive(Debug, Serialize)]
struct Rating {
    category: &'static str,
    probability: &'static str,
    blocked: bool,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct Usage {
    prompt_token_count: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    candidates_token_count: Option<usize>,
    total_token_count: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    cached_content_token_count: Option<usize>,
    prompt_tokens_details: [Modality; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    thoughts_token_count: Option<usize>,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct Modality {
    modality: &'static str,
    token_count: usize,
}

/// The tokens told so far.
#[derive(Debug, Clone, Copy, Default)]
struct Told {
    said: usize,
    thought: usize,
}

const HARM: &str = "HARM_CATEGORY_DANGEROUS_CONTENT";

impl Reading {
    /// The answer: plain, streamed, or a stream's chunks in one array.
    pub(super) fn answer(&self, turn: &Turn<'_>) -> Answer {
        let said = self.ask.answer(turn);
        let id = format!("{:016x}", noise::mix(turn.draw));
        let longest = said.iter().map(Said::tokens).max().unwrap_or(0);
        let wait = turn.first_token + turn.token_gap * u32::try_from(longest).unwrap_or(u32::MAX);
        if !self.ask.stream {
            return Answer::Plain(Plain::ok(&self.whole(&said, &id, turn), wait));
        }
        let (chunks, finish) = self.chunks(&said, &id, turn);
        if !self.sse {
            let all: Vec<&Response<'_>> = chunks.iter().chain(&finish).collect();
            return Answer::Plain(Plain::ok(&all, wait));
        }
        Answer::Stream(Stream {
            tokens: chunks.iter().map(event).collect(),
            finish: finish.iter().flat_map(event).collect(),
            first_token: turn.first_token,
            token_gap: turn.token_gap,
            ..Stream::default()
        })
    }

    fn whole<'a>(&'a self, said: &'a [Said], id: &'a str, turn: &Turn<'_>) -> Response<'a> {
        let told = said.iter().fold(Told::default(), Told::and);
        if said.iter().any(|said| said.end == Some(End::Refused)) {
            return self.refused(id);
        }
        let candidate = |(index, said): (usize, &'a Said)| {
            let mut parts = Vec::new();
            if self.thoughts_shown {
                parts.extend((!said.thinking.is_empty()).then(|| thought(said.thinking.concat())));
            }
            if !said.text.is_empty() {
                parts.push(text(said.text.concat(), self.ask.thinking.then(|| signature(turn))));
            }
            parts.extend(calls(&said.calls, turn));
            candidate(index, parts, finish_reason(said))
        };
        self.response(said.iter().enumerate().map(candidate).collect(), told, id)
    }

    /// One chunk per token, candidates in turns, and the chunks that finish each.
    fn chunks<'a>(&'a self, said: &'a [Said], id: &'a str, turn: &Turn<'_>) -> (Vec<Response<'a>>, Vec<Response<'a>>) {
        if said.iter().any(|said| said.end == Some(End::Refused)) {
            return (Vec::new(), vec![self.refused(id)]);
        }
        let mut told = Told::default();
        let mut parts: Vec<_> = said.iter().map(|said| self.parts(said, turn).into_iter()).collect();
        let longest = parts.iter().map(ExactSizeIterator::len).max().unwrap_or(0);
        let mut chunks = Vec::new();
        for _ in 0..longest {
            for (index, parts) in parts.iter_mut().enumerate() {
                let Some((part, tokens)) = parts.next() else { continue };
                told = Told { said: told.said + tokens.said, thought: told.thought + tokens.thought };
                let part = part.map(|part| candidate(index, vec![part], None));
                chunks.extend(part.map(|candidate| self.response(vec![candidate], told, id)));
            }
        }
        let finish = |(index, said): (usize, &'a Said)| {
            let signature = (self.ask.thinking && said.calls.is_empty()).then(|| signature(turn));
            let last = candidate(index, vec![text(String::new(), signature)], finish_reason(said));
            self.response(vec![last], told, id)
        };
        (chunks, said.iter().enumerate().map(finish).collect())
    }

    /// What each token adds, and what it counts: a thought that is not shown only counts.
    fn parts<'a>(&self, said: &'a Said, turn: &Turn<'_>) -> Vec<(Option<Part<'a>>, Told)> {
        let one_thought = Told { said: 0, thought: 1 };
        let thoughts =
            said.thinking.iter().map(|token| (self.thoughts_shown.then(|| thought(token.clone())), one_thought));
        let texts = said.text.iter().map(|token| (Some(text(token.clone(), None)), Told { said: 1, thought: 0 }));
        let calls = calls(&said.calls, turn).zip(&said.calls);
        let calls = calls.map(|(part, call)| (Some(part), Told { said: call.pieces.len(), thought: 0 }));
        thoughts.chain(texts).chain(calls).collect()
    }

    fn refused<'a>(&'a self, id: &'a str) -> Response<'a> {
        let prompt_feedback = Some(Feedback { block_reason: "SAFETY", safety_ratings: [rating()] });
        Response { prompt_feedback, ..self.response(Vec::new(), Told::default(), id) }
    }

    fn response<'a>(&'a self, candidates: Vec<Candidate<'a>>, told: Told, id: &'a str) -> Response<'a> {
        let prompt = self.ask.prompt_tokens();
        let cached = self.ask.cached_tokens();
        let usage_metadata = Usage {
            prompt_token_count: prompt,
            candidates_token_count: (told.said > 0).then_some(told.said),
            total_token_count: prompt + told.said + told.thought,
            cached_content_token_count: (cached > 0).then_some(cached),
            prompt_tokens_details: [Modality { modality: "TEXT", token_count: prompt }],
            thoughts_token_count: (told.thought > 0).then_some(told.thought),
        };
        Response { candidates, prompt_feedback: None, usage_metadata, model_version: &self.ask.model, response_id: id }
    }
}

impl Told {
    fn and(self, said: &Said) -> Self {
        let thought = said.thinking.len();
        Self { said: self.said + said.tokens() - thought, thought: self.thought + thought }
    }
}

fn candidate<'a>(index: usize, parts: Vec<Part<'a>>, finish_reason: Option<&'static str>) -> Candidate<'a> {
    let safety_ratings = (finish_reason == Some("SAFETY")).then(|| [rating()]);
    Candidate { content: Content { parts, role: "model" }, finish_reason, index, safety_ratings }
}

fn text(text: String, thought_signature: Option<String>) -> Part<'static> {
    Part { text: Some(text), thought_signature, ..Part::default() }
}

fn thought(words: String) -> Part<'static> {
    Part { text: Some(words), thought: Some(true), ..Part::default() }
}

/// Of parallel calls the first is signed.
fn calls<'a>(calls: &'a [Call], turn: &Turn<'_>) -> impl Iterator<Item = Part<'a>> {
    let signature = signature(turn);
    calls.iter().enumerate().map(move |(at, call)| Part {
        function_call: Some(FunctionCall { id: &call.id, name: &call.name, args: &call.arguments }),
        thought_signature: (at == 0).then(|| signature.clone()),
        ..Part::default()
    })
}

fn rating() -> Rating {
    Rating { category: HARM, probability: "HIGH", blocked: true }
}

fn finish_reason(said: &Said) -> Option<&'static str> {
    said.end.as_ref().map(|end| match end {
        End::Filtered | End::Refused => "SAFETY",
        End::Length => "MAX_TOKENS",
        End::Calls | End::Stop | End::StopSequence(_) => "STOP",
    })
}

/// Looks like base64, as a real one does.
fn signature(turn: &Turn<'_>) -> String {
    format!("CiQB{:016x}{:016x}AA==", noise::mix(turn.draw ^ 3), noise::mix(turn.draw ^ 4))
}

#[cfg(test)]
mod tests {
    use super::super::super::dialect::{Operation, Request};
    use super::super::super::fault::Fault;
    use super::super::super::sample::{self, TURN, request};
    use super::super::ask;
    use super::*;
    use serde_json::json;

    fn with(more: &Value) -> Value {
        sample::with(json!({"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}), more)
    }

    fn plain_with(more: &Value, turn: &Turn<'_>) -> Value {
        match ask::read(&request(&with(more))).unwrap().answer(turn) {
            Answer::Plain(plain) => serde_json::from_slice(&plain.body).unwrap(),
            Answer::Stream(_) => panic!("asked for a plain answer"),
        }
    }

    fn plain(more: &Value) -> Value {
        plain_with(more, &TURN)
    }

    fn chunks(more: &Value) -> Vec<Value> {
        let body = with(more);
        let request = Request { operation: Operation::ChatStream, ..request(&body) };
        let Answer::Stream(stream) = ask::read(&request).unwrap().answer(&TURN) else { panic!("asked for a stream") };
        assert!(stream.opening.is_empty() && stream.done.is_none());
        let all: Vec<u8> = stream.tokens.into_iter().chain([stream.finish]).flatten().collect();
        let text = String::from_utf8(all).unwrap();
        text.trim_end()
            .split("\n\n")
            .map(|event| serde_json::from_str(event.strip_prefix("data: ").unwrap()).unwrap())
            .collect()
    }

    fn tools() -> Value {
        let schema = json!({"type": "OBJECT", "properties": {"city": {"type": "STRING"}}});
        json!([{"functionDeclarations": [{"name": "f", "parameters": schema}, {"name": "g", "parametersJsonSchema": schema}]}])
    }

    #[test]
    fn an_answer_has_words_an_end_and_counts() {
        let answer = plain(&json!({"systemInstruction": {"parts": [{"text": "be brief"}]}}));
        let text = answer["candidates"][0]["content"]["parts"][0]["text"].as_str().unwrap();
        assert!(text.ends_with("You said: \"hi\""), "{text}");
        assert_eq!((&answer["candidates"][0]["finishReason"], &answer["modelVersion"]), (&json!("STOP"), &json!("m")));
        let tokens = text.split(' ').count();
        assert_eq!(answer["usageMetadata"]["promptTokenCount"], 3);
        assert_eq!(answer["usageMetadata"]["candidatesTokenCount"], tokens);
        assert_eq!(answer["usageMetadata"]["totalTokenCount"], tokens + 3);
        let cut = plain(&json!({"generationConfig": {"maxOutputTokens": 2, "candidateCount": 2}}));
        assert_eq!(cut["candidates"][1]["finishReason"], "MAX_TOKENS");
        assert_eq!(cut["candidates"][1]["index"], 1);
    }

    #[test]
    fn a_stream_counts_up_and_ends_with_its_reason() {
        let chunks = chunks(&json!({"generationConfig": {"maxOutputTokens": 3}}));
        let counts: Vec<&Value> = chunks.iter().map(|chunk| &chunk["usageMetadata"]["candidatesTokenCount"]).collect();
        assert_eq!(counts, [1, 2, 3, 3]);
        assert!(chunks[..3].iter().all(|chunk| chunk["candidates"][0].get("finishReason").is_none()));
        assert_eq!(chunks[3]["candidates"][0]["finishReason"], "MAX_TOKENS");
        assert_eq!(chunks[0]["candidates"][0]["content"], json!({"parts": [{"text": "This "}], "role": "model"}));
    }

    #[test]
    fn without_sse_a_stream_is_an_array() {
        let body = with(&json!({}));
        let request = Request { operation: Operation::ChatStream, query: "", ..request(&body) };
        let Answer::Plain(plain) = ask::read(&request).unwrap().answer(&TURN) else { panic!("one body") };
        let all: Vec<Value> = serde_json::from_slice(&plain.body).unwrap();
        assert_eq!(all.last().unwrap()["candidates"][0]["finishReason"], "STOP");
    }

    #[test]
    fn functions_are_called_in_parallel_and_the_first_is_signed() {
        let more = json!({"contents": [{"parts": [{"text": "both"}]}], "tools": tools()});
        let answer = plain(&more);
        let parts = &answer["candidates"][0]["content"]["parts"];
        assert_eq!(parts[0]["functionCall"]["args"], json!({"city": "some city"}));
        assert_eq!(parts[1]["functionCall"]["name"], "g");
        assert!(parts[0]["thoughtSignature"].is_string() && parts[1].get("thoughtSignature").is_none());
        assert!(parts[0]["functionCall"]["id"].is_string());
        let chunks = chunks(&more);
        assert_eq!(chunks.len(), 3);
        assert_eq!(chunks[1]["candidates"][0]["content"]["parts"][0], parts[1]);
        assert_eq!(chunks[2]["candidates"][0]["finishReason"], "STOP");
    }

    #[test]
    fn thoughts_are_counted_and_shown_if_wished() {
        let config = |config: Value| json!({"generationConfig": {"thinkingConfig": config}});
        let shown = plain(&config(json!({"includeThoughts": true})));
        let parts = &shown["candidates"][0]["content"]["parts"];
        assert_eq!((&parts[0]["thought"], parts.as_array().map(Vec::len)), (&json!(true), Some(2)));
        assert_eq!(shown["usageMetadata"]["thoughtsTokenCount"], 10);
        let hidden = plain(&config(json!({"thinkingLevel": "low"})));
        assert_eq!(hidden["usageMetadata"], shown["usageMetadata"]);
        assert_eq!(hidden["candidates"][0]["content"]["parts"].as_array().map(Vec::len), Some(1));
        let none = plain(&config(json!({"thinkingBudget": 0})));
        assert!(none["usageMetadata"].get("thoughtsTokenCount").is_none());
        let chunks = chunks(&config(json!({"includeThoughts": true})));
        assert_eq!(chunks[0]["candidates"][0]["content"]["parts"][0], json!({"text": "The ", "thought": true}));
    }

    #[test]
    fn a_schema_gives_json_and_long_prompts_are_cached_inside() {
        let config = json!({"responseMimeType": "application/json", "responseJsonSchema": {"const": {"tide": "high"}}});
        let answer = plain(&json!({"generationConfig": config}));
        assert_eq!(answer["candidates"][0]["content"]["parts"][0]["text"], r#"{"tide":"high"}"#);
        let long = json!([{"role": "user", "parts": [{"text": "word ".repeat(1200)}]}]);
        let usage = plain(&json!({"contents": long}))["usageMetadata"].clone();
        assert_eq!((&usage["promptTokenCount"], &usage["cachedContentTokenCount"]), (&json!(1200), &json!(1152)));
    }

    #[test]
    fn a_filter_stops_the_prompt_or_the_words() {
        let answered = |finish_reason| {
            let fault = Fault::ContentFilter { finish_reason };
            plain_with(&json!({}), &Turn { fault: Some(&fault), ..TURN })
        };
        let prompt = answered(false);
        assert_eq!(prompt["promptFeedback"]["blockReason"], "SAFETY");
        assert!(prompt.get("candidates").is_none());
        assert_eq!(answered(true)["candidates"][0]["finishReason"], "SAFETY");
    }
}
