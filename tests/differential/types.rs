//! What the gateway says reads strictly as async-openai's types, whichever dialect its vendor speaks.

use async_openai::types::chat::{CreateChatCompletionResponse, CreateChatCompletionStreamResponse, FinishReason};
use async_openai::types::embeddings::CreateEmbeddingResponse;
use async_openai::types::responses::{Response, ResponseStreamEvent, Status};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tidegate_tests::gateway::Runtime;
use tidegate_tests::http::{Reply, Request};
use tidegate_tests::world::{SDK_KEY, World};

const DIALECTS: [&str; 3] = ["openai", "anthropic", "gemini"];

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_reads_as_the_types_say() {
    // What is written is core's, and so the same on both runtimes.
    let world = World::start(Runtime::Native, "clients.toml").await;
    for dialect in DIALECTS {
        chats(&world, dialect).await;
        responses(&world, dialect).await;
        if dialect != "anthropic" {
            let body = json!({"model": format!("{dialect}-vectors"), "input": ["high", "low"]});
            let reply: CreateEmbeddingResponse = read(&ask(&world, "/v1/embeddings", &body).await.text());
            assert_eq!(reply.data.len(), 2);
        }
    }
}

async fn chats(world: &World, dialect: &str) {
    for tools in [false, true] {
        let mut body = json!({"model": format!("{dialect}-route"), "messages": question()});
        if tools {
            let function = json!({"name": "tide_at", "parameters": schema()});
            body["tools"] = json!([{"type": "function", "function": function}]);
        }
        let reason = if tools { FinishReason::ToolCalls } else { FinishReason::Stop };
        let reply: CreateChatCompletionResponse = read(&ask(world, "/v1/chat/completions", &body).await.text());
        assert_eq!(reply.choices[0].finish_reason, Some(reason), "{dialect}");
        assert!(reply.usage.is_some_and(|usage| usage.total_tokens > 0), "{dialect}");

        body["stream"] = json!(true);
        body["stream_options"] = json!({"include_usage": true});
        let reply = ask(world, "/v1/chat/completions", &body).await;
        let mut events = data_of(&reply);
        assert_eq!(events.pop().as_deref(), Some("[DONE]"), "{reply}");
        let chunks: Vec<CreateChatCompletionStreamResponse> = events.iter().map(|event| read(event)).collect();
        let reasons = chunks.iter().flat_map(|chunk| &chunk.choices).filter_map(|choice| choice.finish_reason);
        assert_eq!(reasons.collect::<Vec<_>>(), [reason], "{reply}");
        assert!(chunks.last().is_some_and(|chunk| chunk.usage.is_some()), "{reply}");
    }
}

async fn responses(world: &World, dialect: &str) {
    for tools in [false, true] {
        let mut body = json!({"model": format!("{dialect}-route"), "input": question()});
        if tools {
            body["tools"] = json!([{"type": "function", "name": "tide_at", "parameters": schema(), "strict": true}]);
        }
        let reply: Response = read(&ask(world, "/v1/responses", &body).await.text());
        assert_eq!(reply.status, Status::Completed, "{dialect}");

        body["stream"] = json!(true);
        let reply = ask(world, "/v1/responses", &body).await;
        let events: Vec<ResponseStreamEvent> = data_of(&reply).iter().map(|event| read(event)).collect();
        assert!(matches!(events.first(), Some(ResponseStreamEvent::ResponseCreated(_))), "{reply}");
        assert!(matches!(events.last(), Some(ResponseStreamEvent::ResponseCompleted(_))), "{reply}");
    }
}

async fn ask(world: &World, path: &str, body: &Value) -> Reply {
    world.send(Request::post(path, body).header("authorization", &format!("Bearer {SDK_KEY}"))).await.expect(200)
}

fn data_of(reply: &Reply) -> Vec<String> {
    reply.text().lines().filter_map(|line| line.strip_prefix("data: ")).map(str::to_owned).collect()
}

#[track_caller]
fn read<T: DeserializeOwned>(text: &str) -> T {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn question() -> Value {
    json!([{"role": "user", "content": "Is the tide in?"}])
}

fn schema() -> Value {
    json!({
        "type": "object",
        "properties": {"port": {"type": "string"}},
        "required": ["port"],
        "additionalProperties": false,
    })
}
