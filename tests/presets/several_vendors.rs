//! E1 and E3: one interface over several vendors, and drills of their outages.

use tidegate_tests::http::Reply;
use tidegate_tests::preset::Preset;
use tidegate_tests::wait;
use tidegate_tests::world::{chat, streamed};

fn target(reply: &Reply) -> &str {
    reply.header("x-tidegate-target")
}

pub(crate) async fn e1_one_interface_and_another_vendor_at_need(preset: &Preset) {
    for (name, served_by) in [
        ("gpt-4.1", "openai/gpt-4.1"),
        ("claude-sonnet-4", "anthropic/claude-sonnet-4-20250514"),
        ("deepseek-v3", "deepseek/deepseek-v3-0324"),
        ("gemini-flash", "google/gemini-2.0-flash-001"),
    ] {
        let served = preset.ask(name).await.expect(200);
        assert_eq!(target(&served), served_by, "{served}");
        assert_eq!(served.json()["object"], "chat.completion", "whoever serves, the app sees one API: {served}");
    }
    let openai = preset.vendor("openai");
    for status in [429, 500, 503] {
        openai.answers("gpt-4.1", status).await;
        let served = preset.ask("assistant").await.expect(200);
        assert_ne!(target(&served), "openai/gpt-4.1", "{status} moves on to another vendor: {served}");
        openai.heal("gpt-4.1").await;
        preset.order("openai/gpt-4.1", "reset").await;
    }
}

pub(crate) async fn e3_drills(preset: &Preset) {
    const MODELS: [(&str, &str); 4] = [
        ("openai", "gpt-4.1"),
        ("google", "gemini-2.0-flash-001"),
        ("deepseek", "deepseek-v3-0324"),
        ("anthropic", "claude-sonnet-4-20250514"),
    ];
    // A key that another drill had throttled rests for a while yet.
    wait::until("the first choice", async || {
        let served = preset.ask("assistant").await.expect(200);
        (target(&served) == "openai/gpt-4.1").then_some(())
    })
    .await;
    let (vendor, model) = MODELS[0];
    preset.vendor(vendor).answers(model, 503).await;
    let served = preset.ask("assistant").await.expect(200);
    assert_eq!(target(&served), "google/gemini-2.0-flash-001", "the next takes over: {served}");
    assert_eq!(served.header("x-tidegate-attempts"), "2", "{served}");

    for (vendor, model) in MODELS {
        preset.vendor(vendor).answers(model, 503).await;
    }
    let canned = preset.ask("assistant").await.expect(200);
    assert_eq!(canned.header("x-tidegate-canned"), "true", "the last resort: {canned}");
    assert_eq!(canned.header("x-tidegate-cost"), "0", "{canned}");
    assert!(canned.json()["choices"][0]["message"]["content"].as_str().unwrap().contains("briefly unavailable"));
    let canned = preset.send(chat(&streamed("assistant"))).await.expect(200);
    assert_eq!(canned.events().last().map(String::as_str), Some("[DONE]"), "in a stream too: {canned}");

    for (vendor, model) in MODELS {
        preset.vendor(vendor).heal(model).await;
        preset.order(&format!("{vendor}/{model}"), "reset").await;
    }
    // Whoever was found unwell is asked last until a check finds it well.
    wait::until("traffic to come back", async || {
        let served = preset.ask("assistant").await.expect(200);
        (target(&served) == "openai/gpt-4.1").then_some(())
    })
    .await;
}
