//! From one dialect to the other and back: a request of which both can say everything comes back as it was.

#![expect(clippy::unwrap_used, reason = "a test that fails says where")]

use proptest::prelude::*;
use tidegate_core::dialect::chat::{
    Abilities, Content, Effort, Format, Message, Part, Request, Role, Source, Thinking, Tool, ToolCall, ToolChoice,
};
use tidegate_core::dialect::{anthropic, openai};

/// A schema that every vendor can be strict about.
const SCHEMA: &str =
    r#"{"type": "object", "properties": {"z": {}, "a": {}}, "required": ["a", "z"], "additionalProperties": false}"#;

fn part(content: Content) -> Part {
    Part { content, cache: None }
}

fn word() -> impl Strategy<Value = String> {
    "[a-z]{1,6}"
}

/// A text with something to see in it.
fn text() -> impl Strategy<Value = Part> {
    "\\PC{0,8}[a-z]".prop_map(|text| part(Content::Text(text)))
}

fn image() -> impl Strategy<Value = Part> {
    let source = prop_oneof![
        word().prop_map(|name| Source::Url(format!("https://{name}.example/a.png"))),
        word().prop_map(|data| Source::Base64 { media_type: "image/png".into(), data }),
    ];
    source.prop_map(|source| part(Content::Image { source, detail: None }))
}

/// What the assistant says and calls, and what comes of it.
fn exchange() -> impl Strategy<Value = [Message; 2]> {
    let texts = prop::collection::vec(text(), 0..3);
    let calls = prop::collection::vec((word(), "\\PC{0,8}", text()), 0..3);
    (texts, calls, text()).prop_map(|(mut said, calls, more)| {
        let mut results = Vec::new();
        for (at, (name, argument, result)) in calls.into_iter().enumerate() {
            let (id, arguments) = (format!("call_{at}"), serde_json::json!({ "a": argument }).to_string());
            said.push(part(Content::ToolCall(ToolCall { id: id.clone(), name, arguments, signature: None })));
            results.push(part(Content::ToolResult { id, parts: vec![result], is_error: false }));
        }
        if results.is_empty() {
            said.push(more.clone());
            results.push(more);
        }
        [Message { role: Role::Assistant, parts: said }, Message { role: Role::User, parts: results }]
    })
}

fn messages() -> impl Strategy<Value = Vec<Message>> {
    let system = prop::option::of(prop::collection::vec(text(), 1..3));
    let asked = prop::collection::vec(prop_oneof![text(), image()], 1..4);
    (system, asked, prop::collection::vec(exchange(), 0..3)).prop_map(|(system, asked, exchanges)| {
        let system = system.map(|parts| Message { role: Role::System, parts });
        let asked = Message { role: Role::User, parts: asked };
        system.into_iter().chain([asked]).chain(exchanges.into_iter().flatten()).collect()
    })
}

/// Which tools there are and must be called, and how the model is to think: a call cannot be forced on one that does.
fn tools() -> impl Strategy<Value = (Vec<Tool>, Option<ToolChoice>, Option<bool>, Option<Thinking>)> {
    let tool = (word(), prop::option::of(word()), any::<bool>()).prop_map(|(name, description, strict)| {
        let parameters = Some(serde_json::from_str(SCHEMA).unwrap());
        Tool { name, description, parameters, strict: strict.then_some(true), cache: None }
    });
    let choice = prop_oneof![
        Just(ToolChoice::Auto),
        Just(ToolChoice::Forbidden),
        Just(ToolChoice::Required),
        word().prop_map(ToolChoice::Tool),
    ];
    let effort = prop::sample::select(vec![Effort::None, Effort::Low, Effort::Medium, Effort::High, Effort::Max]);
    (prop::collection::vec(tool, 0..3), prop::option::of(choice), any::<bool>(), prop::option::of(effort)).prop_map(
        |(tools, choice, one_by_one, effort)| {
            let choice = choice.filter(|_| !tools.is_empty());
            let one_by_one = one_by_one && choice.as_ref().is_some_and(|choice| *choice != ToolChoice::Forbidden);
            let forced = matches!(choice, Some(ToolChoice::Required | ToolChoice::Tool(_)));
            let effort = if forced { Some(Effort::None) } else { effort };
            let thinking = effort.map(|effort| Thinking { effort: Some(effort), budget_tokens: None });
            (tools, choice, one_by_one.then_some(false), thinking)
        },
    )
}

fn request() -> impl Strategy<Value = Request> {
    let format = any::<bool>().prop_map(|wanted| {
        let schema = serde_json::from_str(SCHEMA).unwrap();
        // What `OpenAI` is told where nobody has named it.
        let name = Some("answer".to_owned());
        wanted.then_some(Format::Schema { name, description: None, schema, strict: Some(true) })
    });
    let rest = (1..9999_u64, prop::collection::vec("[a-z]{1,4}", 0..3), prop::option::of(word()), any::<bool>());
    (messages(), tools(), format, rest).prop_map(|(messages, tools, format, (max_tokens, stop, user, stream))| {
        let (tools, tool_choice, parallel_tools, thinking) = tools;
        let max_tokens = Some(max_tokens);
        let settings = Request { max_tokens, stop, user, stream, thinking, ..Request::default() };
        Request { messages, tools, tool_choice, parallel_tools, format, ..settings }
    })
}

proptest! {
    #[test]
    fn from_chat_to_messages_and_back(asked in request()) {
        let able = Abilities::default();
        let messages = anthropic::write_request(&asked, "m", &able).unwrap();
        prop_assert!(messages.dropped.is_empty(), "{:?}", messages.dropped);
        let chat = openai::write_request(&anthropic::read_request(&messages.body).unwrap(), "m", &able).unwrap();
        prop_assert!(chat.dropped.is_empty(), "{:?}", chat.dropped);
        let back = openai::read_request(&chat.body).unwrap();
        prop_assert_eq!(&back, &asked);
        prop_assert_eq!(anthropic::write_request(&back, "m", &able).unwrap(), messages);
    }
}
