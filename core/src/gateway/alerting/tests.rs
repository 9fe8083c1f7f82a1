//! Alerts in a world: from the attempts that raise them to the page and the webhook.

use serde_json::{Value, json};

use crate::api::{Incoming, Reception};
use crate::config::Config;
use crate::dialect::Surface;
use crate::sim::{Script, World};
use crate::time::Millis;
use http::{HeaderMap, Method, StatusCode};

/// Two targets behind a route, and alerts at two failures in a row.
fn world(more: &str) -> World {
    let text = format!(
        r#"
vendors.v = {{ dialect = "openai", base_url = "https://v.test" }}
models."v/m".price = {{ input = 1000, output = 0 }}
models."v/n".context = 8192
routes.r.models = ["v/m", "v/n"]
defaults.breaker = {{ failures = 0, failure_rate = 0 }}
defaults.retry = {{ attempts = 2, same_target = 0 }}
defaults.health = {{ probe = "none", unhealthy = 1000 }}
[alerts]
failures = 2
clear_after = "1m"
webhook = {{ env = "HOOK" }}
{more}
"#
    );
    let hook = |_: &str| Some("https://hooks.test/a-key-that-is-long-enough".to_owned());
    World::new(Config::from_toml(&text, "t", &hook).unwrap_or_else(|errors| panic!("{errors}")), 1)
}

fn ask(world: &mut World, model: &str) {
    let body = json!({"model": model, "messages": [{"role": "user", "content": "Hi"}]});
    world.ask(Surface::Chat, body.to_string());
    world.run();
}

fn page(world: &World) -> (StatusCode, Value) {
    let (now, headers) = (world.now(), HeaderMap::from_iter([(http::header::HOST, "localhost".parse().unwrap())]));
    let incoming = Incoming { method: &Method::GET, path: "/admin/alerts", query: "", headers: &headers, peer: None };
    let Reception::Reply(reply) = world.gateway().receive(now, &incoming) else { panic!("a page") };
    (reply.status, serde_json::from_slice(&reply.body).unwrap())
}

fn texts(entries: &Value) -> Vec<&str> {
    entries.as_array().unwrap().iter().map(|entry| entry["text"].as_str().unwrap()).collect()
}

fn told(world: &World) -> Vec<String> {
    world.webhook_told().iter().map(|message| message["text"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn an_alert_is_shown_told_and_cleared() {
    let mut world = world("");
    world.usually("v/m", Script::status(503));
    (0..5).for_each(|_| ask(&mut world, "r"));
    let (status, shown) = page(&world);
    assert_eq!(status, StatusCode::OK);
    assert_eq!(texts(&shown["open"]), ["target v/m: 2 failures in a row"], "the route was served by another");
    assert_eq!(world.gateway().open_alerts(), Some(1));
    world.usually("v/m", Script::answer(50));
    ask(&mut world, "r");
    world.run_for(Millis::from_secs(61));
    let (_, shown) = page(&world);
    assert_eq!((&shown["open"], texts(&shown["last"]).len()), (&json!([]), 1));
    assert_eq!(shown["last"][0]["state"], "cleared");
    assert_eq!(shown["webhook"], json!({"waiting": 0, "lost": 0}));
    let [raised, cleared] = &told(&world)[..] else { panic!("{:?}", told(&world)) };
    assert_eq!(raised, "Alert: target v/m: 2 failures in a row");
    assert!(cleared.starts_with("Over after ") && cleared.ends_with(": target v/m: 2 failures in a row"), "{cleared}");
    let story = world.story();
    let count = |word: &str| story.iter().filter(|line| line.ends_with(word)).count();
    assert_eq!(count(" alert target v/m: 2 failures in a row"), 1, "{story:#?}");
    assert_eq!(count(" over target v/m: 2 failures in a row"), 1, "{story:#?}");
}

#[test]
fn a_route_is_watched_as_its_clients_see_it() {
    let mut world = world("");
    for target in ["v/m", "v/n"] {
        world.usually(target, Script::status(400));
    }
    (0..3).for_each(|_| ask(&mut world, "r"));
    assert_eq!(page(&world).1["open"], json!([]), "what callers do wrong is nobody's alert");
    for target in ["v/m", "v/n"] {
        world.usually(target, Script::status(503));
    }
    (0..2).for_each(|_| ask(&mut world, "r"));
    let (_, shown) = page(&world);
    let mut texts = texts(&shown["open"]);
    texts.sort_unstable();
    let expected =
        ["route r: 2 failures in a row", "target v/m: 2 failures in a row", "target v/n: 2 failures in a row"];
    assert_eq!(texts, expected);
    ask(&mut world, "v/m");
    assert_eq!(page(&world).1["open"].as_array().unwrap().len(), 3, "a target by its own name is no route");
}

#[test]
fn routes_are_watched_even_where_no_records_are_kept() {
    let mut world = world("[server]\nrecords = 0");
    for target in ["v/m", "v/n"] {
        world.usually(target, Script::status(503));
    }
    (0..2).for_each(|_| ask(&mut world, "r"));
    assert!(texts(&page(&world).1["open"]).contains(&"route r: 2 failures in a row"));
}

#[test]
fn an_open_breaker_keeps_an_alert_open() {
    let mut world = world("[models.\"v/n\".breaker]\nfailures = 2\nopen = \"10m\"\nopen_max = \"10m\"");
    world.usually("v/n", Script::status(503));
    (0..2).for_each(|_| ask(&mut world, "v/n"));
    world.run_for(Millis::from_secs(299));
    assert_eq!(texts(&page(&world).1["open"]), ["target v/n: 2 failures in a row"]);
    world.run_for(Millis::from_secs(420));
    assert_eq!(page(&world).1["open"], json!([]), "nobody asks, and nothing speaks against it");
}

#[test]
fn a_budget_that_is_nearly_spent_is_an_alert_until_its_period_is_over() {
    let mut world = world(
        r#"[clients.c]
key = { env = "C" }
budget = { usd = 1, per = "1h", soft = 0.001 }"#,
    );
    let headers = || {
        HeaderMap::from_iter([(
            http::header::AUTHORIZATION,
            "Bearer https://hooks.test/a-key-that-is-long-enough".parse().unwrap(),
        )])
    };
    let body = json!({"model": "v/m", "max_tokens": 1, "messages": [{"role": "user", "content": "Hi"}]}).to_string();
    let spend = |world: &mut World| {
        world.ask_with(Surface::Chat, headers(), body.clone());
        world.run();
    };
    spend(&mut world);
    let alerts = |world: &World| -> usize { world.gateway().open_alerts().unwrap() };
    assert_eq!(alerts(&world), 1, "{:?}", world.story());
    world.run_for(Millis::from_secs(3600));
    assert_eq!(alerts(&world), 0);
    spend(&mut world);
    assert_eq!(alerts(&world), 1, "and in the next one anew");
    assert!(told(&world)[0].starts_with("Alert: client c: has spent $"), "{:?}", told(&world));
}

#[test]
fn a_webhook_that_fails_harms_nobody_and_is_told_of() {
    let mut world = world("");
    world.webhook_answers(None);
    world.usually("v/m", Script::status(503));
    (0..3).for_each(|_| ask(&mut world, "r"));
    world.run_for(Millis::from_secs(50));
    assert_eq!(world.webhook_told().len(), 5, "tries");
    assert!(world.story().iter().any(|line| line.ends_with("alerts untold 1")), "{:?}", world.story());
    assert_eq!(page(&world).1["webhook"], json!({"waiting": 0, "lost": 1}));
}

#[test]
fn without_alerts_there_is_no_page_and_nothing_to_do() {
    let text = r#"
vendors.v = { dialect = "openai", base_url = "https://v.test" }
models."v/m" = {}
"#;
    let mut world = World::new(Config::from_toml(text, "t", &|_| None).unwrap(), 1);
    let (status, error) = page(&world);
    assert_eq!((status, &error["error"]["code"]), (StatusCode::NOT_FOUND, &json!("no_alerts")));
    ask(&mut world, "v/m");
    let mut gateway = world.gateway();
    assert_eq!((gateway.alerts_due(), gateway.open_alerts()), (None, None));
    assert!(gateway.poll_message().is_none());
}
