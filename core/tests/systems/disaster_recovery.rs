//! B: several models behind one name, by task and priority, and what happens when they fail.

use http::header::HOST;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde_json::{Value, json};
use tidegate_core::api::{Incoming, Reception};
use tidegate_core::config::{Limits, TargetId};
use tidegate_core::dialect::{Dialect, Surface};
use tidegate_core::price::Picodollars;
use tidegate_core::queue::{Inquiry, Wish};
use tidegate_core::sim::{Answer, BEGINNING, Profile, Script, World};
use tidegate_core::time::{Millis, Timestamp};

use super::{answer, ask, ask_once, breaker, config, down, good, reaching, seconds, served_by, target, world};

const PRESET: &str = include_str!("../../../presets/systems/disaster-recovery.toml");

const GPT: &str = "openai/gpt-4.1";
const MINI: &str = "openai/gpt-4.1-mini";
const SONNET_4: &str = "anthropic/claude-sonnet-4-20250514";
const SONNET_3: &str = "anthropic/claude-3-5-sonnet-latest";
const GEMINI: &str = "google/gemini-2.5-flash-preview-05-20";
const DEEPSEEK: &str = "deepseek/deepseek-chat";

/// One request with hints, to its end.
fn answer_with(world: &mut World, model: &str, hints: &[(&'static str, &str)]) -> Answer {
    let hint =
        |(name, value): &(&'static str, &str)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
    let headers: HeaderMap = hints.iter().map(hint).collect();
    let body = json!({"model": model, "messages": [{"role": "user", "content": "Hi"}]}).to_string();
    let id = world.ask_with(Surface::Chat, headers, body);
    world.run();
    world.answer(id)
}

fn took(world: &World, since: Timestamp) -> Millis {
    world.now().since(since)
}

#[test]
fn b1_models_cost_what_the_table_says() {
    let config = config(PRESET);
    let usd = |cents: u64| Picodollars(cents * 10_000);
    for (name, input, output) in [
        (GPT, 800, 3200),
        (MINI, 100, 400),
        (SONNET_4, 450, 1800),
        (SONNET_3, 350, 1500),
        (GEMINI, 250, 1000),
        (DEEPSEEK, 42, 168),
    ] {
        let id = TargetId(config.targets.iter().position(|target| target.name == name).unwrap());
        let price = config.price(id, BEGINNING).unwrap();
        assert_eq!((price.input, price.output), (usd(input), usd(output)), "{name}");
    }
}

#[test]
fn b1_a_reply_says_who_what_tokens_and_what_it_cost_and_the_record_how_long() {
    let mut world = world(PRESET);
    world.script(DEEPSEEK, [good(850)]);
    let hints = [("x-tidegate-task", "simple_qa"), ("x-tidegate-priority", "fast")];
    let reply = answer_with(&mut world, "assistant", &hints);
    assert_eq!(reply.header("x-tidegate-target"), DEEPSEEK);
    // Of the world's 7 tokens in and 3 out.
    assert_eq!(reply.header("x-tidegate-cost"), "0.00000798");
    assert_eq!(reply.json()["usage"]["total_tokens"], 10);
    let (records, _) = world.gateway().records_since(&mut 0, 10);
    let account = records[0].account(&config(PRESET));
    let attempt = &account.attempts[0];
    assert_eq!((attempt.ended_ms, attempt.outcome.as_str()), (Millis(850), "success"));
    world.usually(DEEPSEEK, Script::status(400));
    let refused = answer_with(&mut world, "assistant", &hints);
    assert!(!refused.status.unwrap().is_success() && refused.json()["error"].is_object(), "success or an error");
}

#[test]
fn b1_each_class_of_latency_has_its_models() {
    let mut world = world(PRESET);
    // As the write-up measured them.
    for (name, ms) in [(DEEPSEEK, 850), (GEMINI, 950), (MINI, 1100), (SONNET_3, 1300), (GPT, 1800)] {
        world.usually(name, good(ms));
    }
    assert_eq!(served_by(&mut world, "fast"), DEEPSEEK, "850 ms, and the cheapest");
    assert_eq!(served_by(&mut world, "normal"), MINI, "1100 ms");
    assert_eq!(served_by(&mut world, "slow"), SONNET_3, "cheaper than the other");
    // Who has become slow leaves its class, and another takes its place.
    world.script(DEEPSEEK, [good(4000)]);
    served_by(&mut world, "deepseek-chat");
    assert_eq!(served_by(&mut world, "fast"), GEMINI, "950 ms; the others take longer than 1000");
    for name in [MINI, SONNET_3, GPT] {
        world.script(name, [good(3500)]);
        served_by(&mut world, name);
    }
    let refused = answer(&mut world, "normal");
    assert_eq!(refused.status.unwrap(), 400);
    assert_eq!(refused.json()["error"]["code"], "no_target_left");
    assert_eq!(served_by(&mut world, "slow"), SONNET_3, "3500 ms is slow, and slow will do");
}

/// B2's table.
const TABLE: [(&str, [&[&str]; 3]); 4] = [
    ("simple_qa", [&[DEEPSEEK, GEMINI, MINI], &[DEEPSEEK, MINI, SONNET_3], &[MINI, SONNET_3, GPT]]),
    ("code_generation", [&[MINI, DEEPSEEK], &[MINI, SONNET_4, GPT], &[GPT, SONNET_4]]),
    ("complex_reasoning", [&[SONNET_3, GPT], &[GPT, SONNET_4], &[GPT, SONNET_4]]),
    ("general", [&[DEEPSEEK, GEMINI, MINI], &[MINI, SONNET_3, GPT], &[GPT, SONNET_4]]),
];

#[test]
fn b2_task_and_priority_say_who_is_asked_and_in_which_order() {
    for (task, row) in TABLE {
        for (priority, models) in ["fast", "normal", "high"].into_iter().zip(row) {
            let mut world = world(PRESET);
            let hints = [("x-tidegate-task", task), ("x-tidegate-priority", priority)];
            for (nth, expected) in models.iter().enumerate() {
                let served = answer_with(&mut world, "assistant", &hints);
                assert_eq!(served.header("x-tidegate-target"), *expected, "{task} {priority}");
                assert_eq!(served.header("x-tidegate-attempts"), (nth + 1).to_string());
                world.usually(expected, Script::status(503));
            }
        }
    }
}

#[test]
fn b2_an_unknown_task_is_general_and_an_unknown_priority_normal() {
    let mut world = world(PRESET);
    for (hints, expected) in [
        (&[][..], MINI),
        (&[("x-tidegate-task", "poetry")], MINI),
        (&[("x-tidegate-priority", "urgent")], MINI),
        (&[("x-tidegate-task", "poetry"), ("x-tidegate-priority", "high")], GPT),
        (&[("x-tidegate-task", "simple_qa"), ("x-tidegate-priority", "whenever")], DEEPSEEK),
    ] {
        assert_eq!(answer_with(&mut world, "assistant", hints).header("x-tidegate-target"), expected, "{hints:?}");
    }
}

#[test]
fn b2_thirty_seconds_are_the_limit() {
    let mut world = world(PRESET);
    world.usually(MINI, Script::hang());
    let began = world.now();
    assert_eq!(served_by(&mut world, "assistant"), SONNET_3);
    assert_eq!(took(&world, began), Millis(30_050));
}

#[test]
fn b3_three_failures_open_it_for_a_minute_and_one_probe_decides() {
    let mut world = world(PRESET);
    world.script(MINI, (0..3).map(|_| down()));
    for nth in 0..3 {
        assert_eq!(breaker(&world, MINI), "closed", "{nth}");
        assert_eq!(served_by(&mut world, "assistant"), SONNET_3);
    }
    assert_eq!(breaker(&world, MINI), "open");
    assert_eq!(reaching(&mut world, MINI, |world| assert_eq!(served_by(world, "assistant"), SONNET_3)), 0);
    world.run_for(seconds(60));
    world.usually(MINI, good(2000));
    let probes = reaching(&mut world, MINI, |world| {
        (0..5).for_each(|_| {
            ask(world, "assistant");
        });
    });
    assert_eq!(probes, 1);
    world.run();
    assert_eq!(breaker(&world, MINI), "closed");
    assert_eq!(served_by(&mut world, "assistant"), MINI);
}

#[test]
fn b3_if_all_are_open_all_are_reset_and_tried_anyway() {
    let mut world = world(PRESET);
    for name in [MINI, SONNET_3, GPT] {
        world.script(name, (0..3).map(|_| down()));
        (0..3).for_each(|_| ask_once(&mut world, name));
    }
    assert!([MINI, SONNET_3, GPT].iter().all(|name| breaker(&world, name) == "open"));
    assert_eq!(served_by(&mut world, "assistant"), MINI, "there is nobody else to ask");
    assert_eq!(breaker(&world, MINI), "closed");
}

#[test]
fn b3_the_health_report_has_state_mean_total_and_failure_rate() {
    let mut world = world(PRESET);
    for ms in 1..=150 {
        world.script(MINI, [good(ms)]);
        served_by(&mut world, "assistant");
        world.run_for(seconds(1));
    }
    world.script(MINI, [down(), good(100), down()]);
    (0..3).for_each(|_| {
        served_by(&mut world, "assistant");
    });
    let status = target(&world, MINI);
    assert_eq!(status["breaker"]["state"], "closed");
    assert_eq!(status["total"]["mean_ms"], 100, "of the last hundred: {status}");
    let attempts = &status["attempts"];
    assert_eq!(
        (&attempts["attempts"], &attempts["successes"], &attempts["failures"]),
        (&json!(153), &json!(151), &json!(2))
    );
}

#[test]
fn b4_the_summary_has_totals_rates_mean_and_p95() {
    let mut world = world(PRESET);
    world.behaves(MINI, Profile::new(1100, 1800));
    for _ in 0..1000 {
        answer(&mut world, "assistant");
    }
    let status = target(&world, MINI);
    let attempts = &status["attempts"];
    assert_eq!((&attempts["attempts"], &attempts["successes"]), (&json!(1000), &json!(1000)));
    let (mean, p95) = (status["total"]["mean_ms"].as_u64().unwrap(), status["total"]["p95_ms"].as_u64().unwrap());
    assert!((1000..=1200).contains(&mean) && (1600..=2000).contains(&p95), "{mean} and {p95}");
}

/// `GET /admin/alerts`: those of one list.
fn alerts(world: &World, which: &str) -> Vec<String> {
    let headers = HeaderMap::from_iter([(HOST, HeaderValue::from_static("localhost"))]);
    let incoming = Incoming { method: &Method::GET, path: "/admin/alerts", query: "", headers: &headers, peer: None };
    let now = world.now();
    let Reception::Reply(page) = world.gateway().receive(now, &incoming) else { panic!("a page") };
    let page: Value = serde_json::from_slice(&page.body).unwrap();
    page[which].as_array().unwrap().iter().map(|alert| alert["text"].as_str().unwrap().to_owned()).collect()
}

/// So many answers in whole, that take so long each.
fn answers(world: &mut World, name: &str, count: u32, ms: u64) {
    world.usually(name, good(ms));
    (0..count).for_each(|_| {
        answer(world, name);
    });
}

#[test]
fn b4_answers_that_take_longer_than_5000_ms_are_an_alert() {
    let mut world = world(PRESET);
    answers(&mut world, GPT, 40, 5000);
    answers(&mut world, MINI, 40, 50);
    answers(&mut world, MINI, 2, 5001);
    assert_eq!(alerts(&world, "open"), [""; 0], "5000 is not above 5000, and one in twenty is no more than that");
    answers(&mut world, MINI, 1, 5001);
    assert_eq!(alerts(&world, "open"), [format!("target {MINI}: 3 of 43 answers took longer than 5s")]);
    answers(&mut world, MINI, 20, 5001);
    assert_eq!(alerts(&world, "last").len(), 1, "said once");
    let stream = |world: &mut World| ask_once(world, SONNET_4);
    world.usually(SONNET_4, good(5001));
    (0..20).for_each(|_| stream(&mut world));
    assert_eq!(alerts(&world, "last")[0], format!("target {SONNET_4}: 20 of 20 first tokens took longer than 5s"));
}

#[test]
fn b4_more_than_5_percent_of_failures_are_an_alert() {
    let mut world = world(PRESET);
    let ask_that = |world: &mut World, script: Script| {
        world.script(GPT, [script]);
        ask_once(world, GPT);
    };
    (0..100).for_each(|_| ask_that(&mut world, good(50)));
    for _ in 0..5 {
        ask_that(&mut world, down());
        ask_that(&mut world, good(50));
    }
    assert_eq!(alerts(&world, "open"), [""; 0], "5 of 110");
    ask_that(&mut world, down());
    assert_eq!(alerts(&world, "open"), [format!("target {GPT}: 6 of 111 failed, more than 5.0 %")]);
}

#[test]
fn b4_three_failures_in_a_row_are_an_alert_until_all_is_well() {
    let mut world = world(PRESET);
    world.script(DEEPSEEK, [down(), down(), good(50), down(), down(), down()]);
    for nth in 1..=6 {
        assert_eq!(alerts(&world, "open"), [""; 0], "before the {nth}th");
        ask_once(&mut world, DEEPSEEK);
    }
    assert_eq!(alerts(&world, "open"), [format!("target {DEEPSEEK}: 3 failures in a row")]);
    world.run_for(seconds(299));
    assert_eq!(alerts(&world, "open").len(), 1);
    world.run_for(seconds(1));
    assert_eq!(alerts(&world, "open"), [""; 0], "five minutes later nothing speaks for it any more");
}

#[test]
fn b4_the_last_five_alerts_are_shown_the_newest_first() {
    let mut world = world(PRESET);
    let order = [GPT, MINI, SONNET_4, SONNET_3, GEMINI, DEEPSEEK];
    for name in order {
        world.usually(name, down());
        (0..3).for_each(|_| ask_once(&mut world, name));
        world.run_for(seconds(1));
    }
    let expected = order.iter().rev().map(|name| format!("target {name}: 3 failures in a row"));
    assert_eq!(alerts(&world, "last")[..5], expected.take(5).collect::<Vec<_>>());
    world.run_for(seconds(600));
    assert_eq!((alerts(&world, "open").len(), alerts(&world, "last").len()), (0, 6), "those that are over, too");
}

#[test]
fn b5_each_model_has_its_own_requests_and_tokens_a_minute() {
    let config = config(PRESET);
    let limits = |rpm, tpm| Limits { rpm: Some(rpm), tpm, concurrency: None };
    for (name, expected) in [
        (GPT, limits(500, Some(150_000))),
        (SONNET_4, limits(400, Some(120_000))),
        (GEMINI, limits(1000, Some(500_000))),
        (DEEPSEEK, limits(2000, Some(1_000_000))),
        (MINI, limits(100, None)),
        (SONNET_3, limits(100, None)),
    ] {
        let target = config.targets.iter().find(|target| target.name == name).unwrap();
        assert_eq!(target.limits, expected, "{name}");
    }
}

#[test]
fn b5_who_is_at_its_limit_is_skipped() {
    let mut world = world(PRESET);
    let by_mini = reaching(&mut world, MINI, |world| {
        (0..150).for_each(|_| {
            ask(world, "assistant");
        });
    });
    assert_eq!(by_mini, 100, "anything else has a hundred requests a minute");
    world.run();
    assert_eq!(world.attempts(SONNET_3), 50);
    world.run_for(seconds(60));
    assert_eq!(served_by(&mut world, "assistant"), MINI, "the window is over");
}

#[test]
fn b5_a_429_is_waited_for_as_long_as_it_says_and_five_seconds_if_it_says_nothing() {
    for (header, at_least) in [(Some("3"), 3), (None, 5)] {
        let mut world = world(PRESET);
        let throttled = Script::status(429);
        world.script(GPT, [header.map_or(throttled.clone(), |after| throttled.with_header("retry-after", after))]);
        let began = world.now();
        assert_eq!(served_by(&mut world, "patient"), GPT);
        let took = took(&world, began);
        let most = seconds(at_least + 2) + Millis(100);
        assert!((seconds(at_least)..=most).contains(&took), "{header:?}: {took}, with a backoff of 2 s at most");
    }
    let mut world = world(PRESET);
    world.usually(GPT, Script::status(429).with_header("retry-after", "1"));
    assert_eq!(answer(&mut world, "patient").status.unwrap(), 429);
    assert_eq!(world.attempts(GPT), 3, "three attempts");
}

#[test]
fn b6_server_errors_are_tried_three_times_more() {
    for status in [500, 502, 503, 504] {
        let mut world = world(PRESET);
        world.script(GPT, (0..3).map(|_| Script::status(status)));
        let served = answer(&mut world, "alone");
        assert_eq!((served.status.unwrap().as_u16(), served.header("x-tidegate-attempts")), (200, "4"), "{status}");
        let mut world = super::world(PRESET);
        world.usually(GPT, Script::status(status));
        assert!(!answer(&mut world, "alone").status.unwrap().is_success());
        assert_eq!(world.attempts(GPT), 4, "{status}");
    }
}

#[test]
fn b6_a_timeout_switches_and_a_lost_connection_is_told_clearly() {
    let mut world = world(PRESET);
    world.script(GPT, [Script::hang()]);
    let began = world.now();
    assert_eq!(served_by(&mut world, "robust"), DEEPSEEK);
    assert_eq!(took(&world, began), Millis(60_050), "60 s to read");
    let config = config(PRESET);
    assert!(config.vendors.iter().all(|vendor| vendor.connect == seconds(10)), "10 s to connect");
    world.usually(GPT, Script::refuse(5));
    let refused = answer(&mut world, "alone");
    assert_eq!(refused.status.unwrap(), 502);
    let error = &refused.json()["error"];
    assert_eq!(error["code"], "upstream_error");
    assert!(error["message"].as_str().unwrap().contains("The last one ended as connect"), "{error}");
}

#[test]
fn b7_if_all_fail_the_request_is_kept_and_answered_later() {
    let order = [DEEPSEEK, GEMINI, MINI];
    let mut world = world(PRESET);
    for name in order {
        world.usually(name, down());
    }
    let mut jobs = Vec::new();
    for _ in 0..10 {
        let queued = answer(&mut world, "never-lost");
        assert_eq!((queued.status.unwrap().as_u16(), &queued.json()["status"]), (202, &json!("queued")));
        jobs.push(queued.json()["id"].as_str().unwrap().to_owned());
    }
    world.run_for(seconds(600));
    assert!(jobs.iter().all(|job| look(&world, job)["status"] == "pending"), "nothing is lost");
    world.usually(GEMINI, good(50));
    world.run_for(seconds(600));
    for job in &jobs {
        let told = look(&world, job);
        assert_eq!((&told["status"], &told["reply"]["status"]), (&json!("done"), &json!(200)), "{told}");
    }
}

fn look(world: &World, job: &str) -> Value {
    let about = json!({"job": {"client": null, "id": job, "wish": Wish::Look}});
    let inquiry = json!({"about": about, "dialect": Dialect::OpenAi, "request_id": "tg-1"});
    let inquiry: Inquiry = serde_json::from_value(inquiry).unwrap();
    let now = world.now();
    serde_json::from_slice(&world.queue().answer(now, &inquiry).body).unwrap()
}
