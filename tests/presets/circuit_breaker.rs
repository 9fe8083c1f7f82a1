//! A2 and A3: a breaker and a fallback for each model, and a route to whichever is up.

use serde_json::json;
use tidegate_tests::http::Reply;
use tidegate_tests::preset::Preset;

/// Failures that open each model's breaker, and the longest that it is then open.
const MODELS: [(&str, &str, u64, u64); 4] = [
    ("openai", "gpt-4.1", 5, 60),
    ("anthropic", "claude-sonnet-4", 4, 45),
    ("google", "gemini-2.5-flash", 6, 30),
    ("deepseek", "deepseek-v3", 3, 90),
];

fn target(reply: &Reply) -> &str {
    reply.header("x-tidegate-target")
}

pub(crate) async fn a2_each_model_has_a_breaker_and_a_fallback(preset: &Preset) {
    let fallbacks = ["anthropic/claude-sonnet-4", "google/gemini-2.5-flash", "deepseek/deepseek-v3", "openai/gpt-4.1"];
    for ((vendor, model, failures, open_s), fallback) in MODELS.into_iter().zip(fallbacks) {
        let (name, vendor) = (format!("{vendor}/{model}"), preset.vendor(vendor));
        let served = preset.ask(model).await.expect(200);
        assert_eq!(target(&served), name, "{served}");
        let asked = vendor.requests(model).await.pop().unwrap();
        let said = asked.body();
        let (temperature, max_tokens) = match said.get("generationConfig") {
            Some(config) => (&config["temperature"], &config["maxOutputTokens"]),
            None => (&said["temperature"], &said["max_tokens"]),
        };
        assert_eq!((temperature, max_tokens), (&json!(0.7), &json!(2048)), "its own parameters: {said}");

        vendor.answers(model, 503).await;
        for _ in 0..failures {
            let served = preset.ask(model).await.expect(200);
            assert_eq!(target(&served), fallback, "{served}");
        }
        let status = preset.target(&name).await;
        assert_eq!(status["breaker"]["state"], "open", "{status}");
        let reached = vendor.count(model).await;
        assert_eq!(target(&preset.ask(model).await.expect(200)), fallback);
        assert_eq!(vendor.count(model).await, reached, "while it is open, nothing reaches it");

        // By its full name it has no fallback.
        let refused = preset.ask(&name).await.expect(503);
        assert_eq!(refused.json()["error"]["code"], "circuit_open", "{refused}");
        let seconds: u64 = refused.header("retry-after").parse().unwrap();
        assert!((1..=open_s).contains(&seconds), "{refused}");

        let attempts = &status["attempts"];
        // The fallback of the model before has been asked once more for each of that one's failures.
        assert_eq!(attempts["failures"], json!(failures), "{status}");
        assert!(attempts["successes"].as_u64().is_some_and(|successes| successes >= 1), "{status}");
        vendor.heal(model).await;
        preset.order(&name, "reset").await;
    }
}

pub(crate) async fn a3_the_first_that_is_up_serves(preset: &Preset) {
    let order = ["google/gemini-2.5-flash", "deepseek/deepseek-v3", "openai/gpt-4.1", "anthropic/claude-sonnet-4"];
    for name in order {
        let served = preset.ask("fastest").await.expect(200);
        assert_eq!(target(&served), name, "the reply says which model served: {served}");
        let status = preset.target(name).await;
        assert!(status["total"]["mean_ms"].is_u64(), "{status}");
        preset.order(name, "open").await;
    }
    let refused = preset.ask("fastest").await.expect(503);
    assert_eq!(refused.json()["error"]["code"], "circuit_open", "all down is one clear error: {refused}");
    for name in order {
        let status = preset.target(name).await;
        assert_eq!(status["breaker"]["state"], "open", "{status}");
        assert!(status["breaker"]["retry_in_ms"].as_u64().is_some_and(|ms| ms > 0), "{status}");
        preset.order(name, "reset").await;
    }
}
