//! What is more than words: tools, schemas, images and thinking, from any client to any vendor and back.

use serde_json::{Value, json};
use tidegate_tests::world::World;

use crate::apis::{Api, Call, End, Heard, QUESTION, with};
use crate::check::marked;
use crate::dialects::{VENDORS, pairs};

/// The vendors call two tools at once for this.
const BOTH: &str = "Weather and tide, both please.";
const PIXEL: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
const PICTURE: &str = "https://example.com/tide.png";

pub(crate) async fn tools(world: &World) {
    for (api, vendor) in pairs(&Api::RICH) {
        let target = format!("{vendor}/tools");
        let whole = with(api.saying(&target, &json!(BOTH)), &json!({"tools": declared(api)}));
        for body in [whole.clone(), api.as_stream(whole)] {
            let heard = hear(world, api, &body, &target).await;
            assert_eq!(heard.end, api.word(End::Calls), "{api:?} {target} {heard:?}");
            let calls: Vec<_> = heard.calls.iter().map(|call| (call.name.as_str(), &call.arguments)).collect();
            let arguments = json!({"city": "some city"});
            assert_eq!(calls, [("weather", &arguments), ("tide", &arguments)], "{api:?} {target}");
            assert!(heard.calls[0].id != heard.calls[1].id && !heard.calls[0].id.is_empty(), "{heard:?}");

            let heard = hear(world, api, &answered(api, body, &heard.calls, ["sunny", "high"]), &target).await;
            assert_eq!(heard.end, api.word(End::Stop), "{api:?} {target} {heard:?}");
            let results = heard.text.split_once("The tools said: ").expect("they did").1;
            assert!(results.contains("sunny") && results.contains("high"), "{api:?} {target} {results}");
        }
    }
}

pub(crate) async fn tool_choices(world: &World) {
    for (api, vendor) in pairs(&Api::RICH) {
        let target = format!("{vendor}/tools");
        let body = with(api.saying(&target, &json!(BOTH)), &json!({"tools": declared(api)}));
        let (one, none, single) = match api {
            Api::Messages => (
                json!({"tool_choice": {"type": "tool", "name": "tide"}}),
                json!({"tool_choice": {"type": "none"}}),
                json!({"tool_choice": {"type": "auto", "disable_parallel_tool_use": true}}),
            ),
            Api::Responses => (
                json!({"tool_choice": {"type": "function", "name": "tide"}}),
                json!({"tool_choice": "none"}),
                json!({"parallel_tool_calls": false}),
            ),
            Api::Chat | Api::Completions => (
                json!({"tool_choice": {"type": "function", "function": {"name": "tide"}}}),
                json!({"tool_choice": "none"}),
                json!({"parallel_tool_calls": false}),
            ),
        };
        for (choice, called) in [(one, &["tide"][..]), (none, &[]), (single, &["weather"])] {
            let reply = world.send(api.ask(&with(body.clone(), &choice))).await.expect(200);
            let heard = api.heard(&reply);
            let names: Vec<&str> = heard.calls.iter().map(|call| call.name.as_str()).collect();
            // Gemini has no way to ask for one call at a time, and the client is told so.
            if reply.header("x-tidegate-dropped").is_empty() {
                assert_eq!(names, called, "{api:?} {target} {choice}");
            } else {
                assert_eq!((vendor, names), ("gemini", vec!["weather", "tide"]), "{api:?} {choice} {reply}");
            }
        }
    }
}

pub(crate) async fn schemas(world: &World) {
    let schema = json!({
        "type": "object",
        "properties": {"city": {"type": "string"}, "high": {"type": "boolean"}},
        "required": ["city", "high"],
        "additionalProperties": false,
    });
    for (api, vendor) in pairs(&Api::RICH) {
        let format = json!({"type": "json_schema", "name": "tide", "schema": schema, "strict": true});
        let more = match api {
            Api::Messages => json!({"output_config": {"format": {"type": "json_schema", "schema": schema}}}),
            Api::Responses => json!({"text": {"format": format}}),
            Api::Chat | Api::Completions => {
                let named = json!({"name": "tide", "schema": schema, "strict": true});
                json!({"response_format": {"type": "json_schema", "json_schema": named}})
            }
        };
        let target = format!("{vendor}/schema");
        let whole = with(api.question(&target), &more);
        for body in [whole.clone(), api.as_stream(whole)] {
            let heard = hear(world, api, &body, &target).await;
            let said: Value = serde_json::from_str(&heard.text).expect("JSON, as was asked for");
            assert_eq!(said, json!({"city": "some city", "high": true}), "{api:?} {target}");
        }
    }
}

pub(crate) async fn images(world: &World) {
    for (api, vendor) in pairs(&Api::RICH) {
        let inline = format!("data:image/png;base64,{PIXEL}");
        let parts = match api {
            Api::Messages => json!([
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}},
                {"type": "image", "source": {"type": "url", "url": PICTURE}},
                {"type": "text", "text": QUESTION},
            ]),
            Api::Responses => json!([
                {"type": "input_text", "text": QUESTION},
                {"type": "input_image", "image_url": inline},
                {"type": "input_image", "image_url": PICTURE},
            ]),
            Api::Chat | Api::Completions => json!([
                {"type": "text", "text": QUESTION},
                {"type": "image_url", "image_url": {"url": inline}},
                {"type": "image_url", "image_url": {"url": PICTURE}},
            ]),
        };
        let target = format!("{vendor}/images");
        let heard = hear(world, api, &api.saying(&target, &parts), &target).await;
        assert!(heard.text.ends_with("You asked: \"Is the tide in?\" You showed 2 images."), "{target} {}", heard.text);
    }
    for vendor in [&world.a, &world.b, &world.c] {
        for seen in vendor.requests("images").await {
            let body = seen.body().to_string();
            assert!(body.contains(PIXEL) && body.contains(PICTURE), "both as they were given: {body}");
        }
    }
}

pub(crate) async fn thinking(world: &World) {
    for (api, vendor) in pairs(&Api::RICH) {
        let target = format!("{vendor}/thinking");
        let whole = with(api.question(&target), &wish_to_think(api));
        for body in [whole.clone(), api.as_stream(whole)] {
            let heard = hear(world, api, &body, &target).await;
            assert_eq!(heard.thinking, "The prompt has 4 words; a simulated answer will do.", "{api:?} {target}");
            assert!(heard.text.starts_with("This is a simulated answer"), "{api:?} {target}: {}", heard.text);
            let words = [&heard.thinking, &heard.text].map(|text| text.split(' ').count() as u64);
            assert_eq!(heard.output_tokens, words[0] + words[1], "{api:?} {target}: thinking is paid for too");
        }
    }
}

/// A conversation that one vendor has begun, its thinking and its proofs included, goes on at any other.
pub(crate) async fn thinking_travels(world: &World) {
    for api in [Api::Chat, Api::Messages] {
        for (first, _) in VENDORS {
            let target = format!("{first}/thinking");
            let body = with(api.question(&target), &wish_to_think(api));
            let answer = world.send(api.ask(&body)).await.expect(200).json();
            let said = match api {
                Api::Messages => json!({"role": "assistant", "content": answer["content"]}),
                _ => answer["choices"][0]["message"].clone(),
            };
            for (second, _) in VENDORS {
                let target = format!("{second}/thinking");
                let mut body = with(body.clone(), &json!({"model": target}));
                let turns = body["messages"].as_array_mut().unwrap();
                turns.extend([said.clone(), json!({"role": "user", "content": QUESTION})]);
                let heard = hear(world, api, &body, &target).await;
                assert_eq!(heard.end, api.word(End::Stop), "{api:?} from {first} to {second}");
            }
        }
    }
}

fn wish_to_think(api: Api) -> Value {
    match api {
        Api::Messages => json!({"thinking": {"type": "enabled", "budget_tokens": 1024}}),
        Api::Responses => json!({"reasoning": {"effort": "low", "summary": "auto"}}),
        Api::Chat | Api::Completions => json!({"reasoning_effort": "low"}),
    }
}

/// Two tools, as this API's clients declare them.
fn declared(api: Api) -> Value {
    let schema = json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]});
    let tool = |name: &str| match api {
        Api::Messages => json!({"name": name, "description": "Tells.", "input_schema": schema}),
        Api::Responses => json!({"type": "function", "name": name, "description": "Tells.", "parameters": schema}),
        Api::Chat | Api::Completions => {
            let function = json!({"name": name, "description": "Tells.", "parameters": schema});
            json!({"type": "function", "function": function})
        }
    };
    json!([tool("weather"), tool("tide")])
}

/// The conversation with the calls that the model has made, and what came of them.
fn answered(api: Api, mut body: Value, calls: &[Call], results: [&str; 2]) -> Value {
    let turns = if api == Api::Responses { &mut body["input"] } else { &mut body["messages"] };
    let turns = turns.as_array_mut().expect("a conversation");
    let with_results = calls.iter().zip(results);
    match api {
        Api::Messages => {
            let uses = calls.iter().map(
                |Call { id, name, arguments }| json!({"type": "tool_use", "id": id, "name": name, "input": arguments}),
            );
            turns.push(json!({"role": "assistant", "content": uses.collect::<Value>()}));
            let results = with_results
                .map(|(call, result)| json!({"type": "tool_result", "tool_use_id": call.id, "content": result}));
            turns.push(json!({"role": "user", "content": results.collect::<Value>()}));
        }
        Api::Responses => {
            turns.extend(calls.iter().map(|Call { id, name, arguments }| {
                json!({"type": "function_call", "call_id": id, "name": name, "arguments": arguments.to_string()})
            }));
            turns.extend(
                with_results.map(
                    |(call, result)| json!({"type": "function_call_output", "call_id": call.id, "output": result}),
                ),
            );
        }
        Api::Chat | Api::Completions => {
            let calls = calls.iter().map(|Call { id, name, arguments }| {
                let function = json!({"name": name, "arguments": arguments.to_string()});
                json!({"id": id, "type": "function", "function": function})
            });
            turns.push(json!({"role": "assistant", "content": null, "tool_calls": calls.collect::<Value>()}));
            turns.extend(
                with_results.map(|(call, result)| json!({"role": "tool", "tool_call_id": call.id, "content": result})),
            );
        }
    }
    body
}

/// The answer of `target` at the first attempt, of which nothing was dropped.
async fn hear(world: &World, api: Api, body: &Value, target: &str) -> Heard {
    let reply = world.send(api.ask(body)).await.expect(200);
    marked(&reply, target, 1);
    assert_eq!(reply.header("x-tidegate-dropped"), "", "{reply}");
    api.heard(&reply)
}
