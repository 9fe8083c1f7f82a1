//! The items of a request's `input`, read as a conversation.
//!
//! What the model brought forth in one turn (reasoning, a message, calls) is several items here and one message in the
//! shared terms, and so are the results of calls that were made together.

use serde_json::value::RawValue;

use super::super::read_request::cache;
use super::echo::joined_name;
use super::seal::Seal;
use crate::dialect::BadRequest;
use crate::dialect::chat::{Content, Message, Part, Role, Source, ToolCall};
use crate::dialect::fields::{Fields, unreadable};

/// Reads `input`: a text of the user's, or a list of items.
pub(super) fn read_items(input: &RawValue) -> Result<Vec<Message>, BadRequest> {
    let mut turns = Turns::default();
    if input.get().starts_with('"') {
        let text: String = serde_json::from_str(input.get()).map_err(|error| unreadable("input", &error))?;
        turns.messages.push(Message { role: Role::User, parts: vec![plain(Content::Text(text))] });
        return Ok(turns.messages);
    }
    let items: Vec<Fields<'_>> = serde_json::from_str(input.get()).map_err(|error| unreadable("input", &error))?;
    for (at, item) in items.into_iter().enumerate() {
        turns.read(item).map_err(|bad| within(at, &bad))?;
    }
    Ok(turns.messages)
}

/// Says where in `input` the fault is.
fn within(at: usize, bad: &BadRequest) -> BadRequest {
    BadRequest { message: format!("`input[{at}]`: {}", bad.message), param: Some("input") }
}

fn plain(content: Content) -> Part {
    Part { content, cache: None }
}

/// The conversation so far.
#[derive(Default)]
struct Turns {
    messages: Vec<Message>,
    /// The last message holds nothing but results of tools, and takes more of them.
    takes_results: bool,
    /// The proof of the thinking behind the call that comes next.
    proof: Option<String>,
}

impl Turns {
    fn read(&mut self, mut item: Fields<'_>) -> Result<(), BadRequest> {
        let kind: Option<String> = item.take("type")?;
        let proof = self.proof.take();
        match kind.as_deref() {
            Some("message") => self.message(item),
            Some("function_call") => {
                let name: String = item.require("name")?;
                let namespace: Option<String> = item.take("namespace")?;
                let call = ToolCall {
                    id: item.require("call_id")?,
                    name: namespace.map(|namespace| joined_name(&namespace, &name)).unwrap_or(name),
                    arguments: item.take("arguments")?.unwrap_or_default(),
                    signature: proof,
                };
                self.answer(Content::ToolCall(call));
                Ok(())
            }
            Some("function_call_output") => {
                let id = item.require("call_id")?;
                let parts = item.take_raw("output").map(content).transpose()?.unwrap_or_default();
                self.result(Content::ToolResult { id, parts, is_error: false });
                Ok(())
            }
            Some("reasoning") => self.reasoning(item),
            Some("item_reference") => Err(is_reference()),
            // What other tools than functions were asked and said.
            Some(kind) => {
                let other = Content::Other(format!("input.{kind}"));
                if kind.ends_with("_output") {
                    self.result(other);
                } else {
                    self.answer(other);
                }
                Ok(())
            }
            // Both may come without their type: one has a role, the other has nothing but an id.
            None => match item.take_raw("role") {
                Some(role) => self.message_of(role, item),
                None if item.take_raw("id").is_some() => Err(is_reference()),
                None => Err(missing("type")),
            },
        }
    }

    fn message(&mut self, mut item: Fields<'_>) -> Result<(), BadRequest> {
        let role = item.take_raw("role").ok_or_else(|| missing("role"))?;
        self.message_of(role, item)
    }

    fn message_of(&mut self, role: &RawValue, mut item: Fields<'_>) -> Result<(), BadRequest> {
        let parts = item.take_raw("content").map(content).transpose()?.unwrap_or_default();
        let role = match role.get() {
            "\"user\"" => Role::User,
            "\"system\"" | "\"developer\"" => Role::System,
            "\"assistant\"" => {
                self.add(Role::Assistant, parts);
                return Ok(());
            }
            _ => return Err(bad("`role` must be user, assistant, system or developer.")),
        };
        if !parts.is_empty() {
            self.takes_results = false;
            self.messages.push(Message { role, parts });
        }
        Ok(())
    }

    /// What another service encrypted means nothing to any vendor behind this one.
    fn reasoning(&mut self, mut item: Fields<'_>) -> Result<(), BadRequest> {
        let shown = [item.take_raw("content"), item.take_raw("summary")];
        // Where there is the thinking itself, its summary says no more.
        let text =
            shown.into_iter().flatten().map(joined).find(|text| text.as_ref().is_ok_and(|text| !text.is_empty()));
        let text = text.transpose()?.unwrap_or_default();
        let encrypted: Option<String> = item.take("encrypted_content")?;
        let signature = match encrypted.as_deref().and_then(Seal::read) {
            Some(Seal::Redacted(data)) => {
                self.answer(Content::RedactedThinking(data));
                return Ok(());
            }
            Some(Seal::Thinking(proof)) => Some(proof),
            Some(Seal::Call(proof)) => {
                self.proof = Some(proof);
                None
            }
            None => None,
        };
        if signature.is_some() || !text.is_empty() {
            self.answer(Content::Thinking { text, signature });
        }
        Ok(())
    }

    /// Adds to what the model said in its turn.
    fn answer(&mut self, content: Content) {
        self.add(Role::Assistant, vec![plain(content)]);
    }

    /// Adds to what the tools said in theirs.
    fn result(&mut self, content: Content) {
        if self.takes_results {
            self.add(Role::User, vec![plain(content)]);
        } else {
            self.messages.push(Message { role: Role::User, parts: vec![plain(content)] });
            self.takes_results = true;
        }
    }

    /// Adds to the last message if it is of the same side, or begins one.
    fn add(&mut self, role: Role, parts: Vec<Part>) {
        if parts.is_empty() {
            return;
        }
        self.takes_results &= role == Role::User;
        match self.messages.last_mut() {
            Some(last) if last.role == role => last.parts.extend(parts),
            _ => self.messages.push(Message { role, parts }),
        }
    }
}

fn bad(message: &str) -> BadRequest {
    BadRequest { message: message.to_owned(), param: Some("input") }
}

fn missing(name: &str) -> BadRequest {
    bad(&format!("`{name}` is missing."))
}

fn is_reference() -> BadRequest {
    bad("It refers to an item that this service would have to store, which it does not: send the item itself. \
         SDKs do so when told `store: false`.")
}

/// The texts of a list of parts.
fn joined(list: &RawValue) -> Result<String, BadRequest> {
    let parts: Vec<Fields<'_>> = serde_json::from_str(list.get()).map_err(|error| unreadable("input", &error))?;
    let mut joined = String::new();
    for mut part in parts {
        let Some(text) = part.take::<String>("text")? else { continue };
        if !joined.is_empty() {
            joined.push_str("\n\n");
        }
        joined.push_str(&text);
    }
    Ok(joined)
}

/// What a message or a tool says: a text, or a list of parts.
fn content(raw: &RawValue) -> Result<Vec<Part>, BadRequest> {
    if raw.get().starts_with('"') {
        let text: String = serde_json::from_str(raw.get()).map_err(|error| unreadable("input", &error))?;
        return Ok(if text.is_empty() { Vec::new() } else { vec![plain(Content::Text(text))] });
    }
    let parts: Vec<Fields<'_>> = serde_json::from_str(raw.get()).map_err(|error| unreadable("input", &error))?;
    parts.into_iter().map(part).collect()
}

fn part(mut part: Fields<'_>) -> Result<Part, BadRequest> {
    let kind: String = part.require("type")?;
    let hint = part.take_raw("prompt_cache_breakpoint").and_then(cache);
    let content = match kind.as_str() {
        "input_text" | "output_text" | "text" => Content::Text(part.require("text")?),
        "refusal" => Content::Refusal(part.require("refusal")?),
        "input_image" => match part.take::<String>("image_url")? {
            Some(url) => Content::Image { source: Source::of_url(url), detail: part.take("detail")? },
            None => stored(&mut part, "input_image.file_id", "An `input_image` needs an `image_url`.")?,
        },
        "input_file" => {
            let name = part.take("filename")?;
            if let Some(data) = part.take::<String>("file_data")? {
                Content::Document { source: file_data(data), name }
            } else if let Some(url) = part.take::<String>("file_url")? {
                Content::Document { source: Source::of_url(url), name }
            } else {
                stored(&mut part, "input_file.file_id", "An `input_file` needs `file_data` or a `file_url`.")?
            }
        }
        _ => Content::Other(kind),
    };
    Ok(Part { content, cache: hint })
}

/// A file that one vendor stores: nobody else has it.
fn stored(part: &mut Fields<'_>, name: &str, remedy: &str) -> Result<Content, BadRequest> {
    match part.take_raw("file_id") {
        Some(_) => Ok(Content::Other(name.to_owned())),
        None => Err(bad(remedy)),
    }
}

/// A document's data, which may come without its type: PDF was the only one when this API began.
fn file_data(data: String) -> Source {
    if data.starts_with("data:") {
        Source::of_url(data)
    } else {
        Source::Base64 { media_type: "application/pdf".into(), data }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(input: &str) -> Result<Vec<Message>, BadRequest> {
        read_items(serde_json::from_str(input).unwrap())
    }

    fn text(text: &str) -> Part {
        plain(Content::Text(text.into()))
    }

    fn call(id: &str, signature: Option<&str>) -> Part {
        let (name, arguments) = ("f".into(), "{}".into());
        plain(Content::ToolCall(ToolCall { id: id.into(), name, arguments, signature: signature.map(Into::into) }))
    }

    fn thinking(text: &str, signature: Option<&str>) -> Part {
        plain(Content::Thinking { text: text.into(), signature: signature.map(Into::into) })
    }

    #[test]
    fn messages_in_both_forms() {
        let messages = read(
            r#"[{"role":"developer","content":"d"},{"role":"user","content":"a"},
                {"type":"message","role":"user","content":[{"type":"input_text","text":"b"}]},
                {"type":"message","id":"msg_1","status":"completed","role":"assistant","phase":"final_answer",
                 "content":[{"type":"output_text","text":"c","annotations":[],"logprobs":[]},{"type":"refusal","refusal":"no"}]},
                {"role":"assistant","content":""}]"#,
        );
        let expected = [
            Message { role: Role::System, parts: vec![text("d")] },
            Message { role: Role::User, parts: vec![text("a")] },
            Message { role: Role::User, parts: vec![text("b")] },
            Message { role: Role::Assistant, parts: vec![text("c"), plain(Content::Refusal("no".into()))] },
        ];
        assert_eq!(messages.unwrap(), expected);
        assert_eq!(read("\"hi\"").unwrap(), [Message { role: Role::User, parts: vec![text("hi")] }]);
    }

    #[test]
    fn one_turn_of_the_models_is_one_message_and_so_are_the_results_of_its_calls() {
        let messages = read(
            r#"[{"type":"reasoning","id":"rs_1","summary":[{"type":"summary_text","text":"hm"}],"encrypted_content":"tidegate-1-thinking:p"},
                {"type":"reasoning","id":"rs_2","summary":[],"encrypted_content":"tidegate-1-redacted:x"},
                {"type":"message","role":"assistant","content":[{"type":"output_text","text":"so"}]},
                {"type":"reasoning","id":"rs_3","summary":[],"encrypted_content":"tidegate-1-call:q"},
                {"type":"function_call","id":"fc_1","call_id":"a","name":"f","arguments":"{}"},
                {"type":"function_call","call_id":"b","name":"f","arguments":"{}"},
                {"type":"function_call_output","call_id":"a","output":"1"},
                {"type":"function_call_output","call_id":"b","output":[{"type":"input_text","text":"2"},
                 {"type":"input_image","image_url":"data:image/png;base64,AA=="}]},
                {"role":"user","content":"and?"},
                {"type":"function_call_output","call_id":"c","output":""}]"#,
        );
        let redacted = plain(Content::RedactedThinking("x".into()));
        let answer = vec![thinking("hm", Some("p")), redacted, text("so"), call("a", Some("q")), call("b", None)];
        let held = Source::Base64 { media_type: "image/png".into(), data: "AA==".into() };
        let image = plain(Content::Image { source: held, detail: None });
        let result = |id: &str, parts| plain(Content::ToolResult { id: id.into(), parts, is_error: false });
        let results = vec![result("a", vec![text("1")]), result("b", vec![text("2"), image])];
        let expected = [
            Message { role: Role::Assistant, parts: answer },
            Message { role: Role::User, parts: results },
            Message { role: Role::User, parts: vec![text("and?")] },
            Message { role: Role::User, parts: vec![result("c", vec![])] },
        ];
        assert_eq!(messages.unwrap(), expected);
    }

    #[test]
    fn what_another_service_encrypted_is_left_out() {
        let messages = read(
            r#"[{"type":"reasoning","id":"rs_1","summary":[],"encrypted_content":"gAAAA"},
                {"type":"reasoning","id":"rs_2","summary":[{"type":"summary_text","text":"a"},{"type":"summary_text","text":"b"}]},
                {"type":"reasoning","id":"rs_3","summary":[{"type":"summary_text","text":"in short"}],"content":[{"type":"reasoning_text","text":"at length"}]}]"#,
        );
        let parts = vec![thinking("a\n\nb", None), thinking("at length", None)];
        assert_eq!(messages.unwrap(), [Message { role: Role::Assistant, parts }]);
    }

    #[test]
    fn images_and_files_wherever_they_are() {
        let messages = read(
            r#"[{"role":"user","content":[
                {"type":"input_image","image_url":"https://x/y.png","detail":"high"},
                {"type":"input_image","file_id":"file-1"},
                {"type":"input_file","filename":"a.pdf","file_data":"data:application/pdf;base64,AA=="},
                {"type":"input_file","file_data":"BB=="},
                {"type":"input_file","file_url":"https://x/y.pdf"},
                {"type":"input_file","file_id":"file-2"},
                {"type":"input_audio","input_audio":{}},
                {"type":"input_text","text":"t","prompt_cache_breakpoint":{"mode":"explicit"}}]}]"#,
        );
        let pdf = |data: &str| Source::Base64 { media_type: "application/pdf".into(), data: data.into() };
        let document = |source, name: Option<&str>| plain(Content::Document { source, name: name.map(Into::into) });
        let parts = vec![
            plain(Content::Image { source: Source::Url("https://x/y.png".into()), detail: Some("high".into()) }),
            plain(Content::Other("input_image.file_id".into())),
            document(pdf("AA=="), Some("a.pdf")),
            document(pdf("BB=="), None),
            document(Source::Url("https://x/y.pdf".into()), None),
            plain(Content::Other("input_file.file_id".into())),
            plain(Content::Other("input_audio".into())),
            Part { content: Content::Text("t".into()), cache: Some(crate::dialect::chat::Cache::Short) },
        ];
        assert_eq!(messages.unwrap(), [Message { role: Role::User, parts }]);
    }

    #[test]
    fn other_tools_have_no_form_here() {
        let messages =
            read(r#"[{"type":"web_search_call","id":"ws_1"},{"type":"computer_call_output","call_id":"c"}]"#);
        let expected = [
            Message { role: Role::Assistant, parts: vec![plain(Content::Other("input.web_search_call".into()))] },
            Message { role: Role::User, parts: vec![plain(Content::Other("input.computer_call_output".into()))] },
        ];
        assert_eq!(messages.unwrap(), expected);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        for (input, part) in [
            (r#"{"role":"user"}"#, "`input` cannot be read"),
            ("7", "`input` cannot be read"),
            (
                r#"[{"role":"user","content":"a"},{"type":"item_reference","id":"msg_1"}]"#,
                "`input[1]`: It refers to an item",
            ),
            (r#"[{"id":"msg_1"}]"#, "send the item itself"),
            ("[{}]", "`type` is missing"),
            (r#"[{"role":"tool","content":"x"}]"#, "`role` must be"),
            (r#"[{"type":"message","content":"x"}]"#, "`role` is missing"),
            (r#"[{"type":"function_call","name":"f"}]"#, "`call_id`"),
            (r#"[{"role":"user","content":[{"type":"input_image"}]}]"#, "needs an `image_url`"),
            (r#"[{"role":"user","content":[{"text":"x"}]}]"#, "`type`"),
            (r#"[{"role":"user","content":7}]"#, "cannot be read"),
        ] {
            let bad = read(input).unwrap_err();
            assert!(bad.message.contains(part), "{input}: {}", bad.message);
            assert_eq!(bad.param, Some("input"), "{input}");
        }
    }
}
