//! Hints in every spelling, and those that are refused.

use http::{HeaderName, HeaderValue};
use serde_json::{Value, json};

use super::*;
use crate::dialect::chat::Json;

fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
    let line =
        |(name, value): &(&'static str, &str)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
    lines.iter().map(line).collect()
}

fn of_headers(lines: &[(&'static str, &str)]) -> Result<Hints, BadRequest> {
    Hints::read(&headers(lines), &Vec::new())
}

fn of_body(name: &'static str, value: &Value) -> Result<Hints, BadRequest> {
    Hints::read(&HeaderMap::new(), &vec![(name, Json::of(value))])
}

fn names(list: &[&str]) -> Vec<String> {
    list.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn a_request_without_any_has_none() {
    assert_eq!(of_headers(&[("content-type", "application/json")]), Ok(Hints::default()));
}

#[test]
fn a_list_of_fallbacks_has_a_bound() {
    let list = |count: usize| json!((0..count).map(|nth| format!("v/{nth}")).collect::<Vec<_>>());
    assert_eq!(of_body("models", &list(FALLBACKS_MAX)).unwrap().fallbacks.len(), FALLBACKS_MAX);
    for name in ["models", "fallbacks"] {
        assert_eq!(of_body(name, &list(FALLBACKS_MAX + 1)).unwrap_err().param, Some("fallbacks"));
    }
    let header = vec!["v/m"; FALLBACKS_MAX + 1].join(",");
    assert!(of_headers(&[("x-tidegate-fallbacks", &header)]).is_err());
}

#[test]
fn our_own_headers() {
    let hints = of_headers(&[
        ("x-tidegate-fallbacks", "a, b/c ,"),
        ("x-tidegate-disable-fallbacks", "true"),
        ("x-tidegate-provider-order", "x,y"),
        ("x-tidegate-provider-only", "x"),
        ("x-tidegate-provider-ignore", "z"),
        ("x-tidegate-provider-sort", "latency"),
        ("x-tidegate-timeout-ms", "2500"),
        ("x-tidegate-ttft-timeout-ms", "800"),
        ("x-tidegate-max-attempts", "2"),
        ("x-tidegate-parameters", "strict"),
        ("x-tidegate-queue", "allow"),
        ("x-tidegate-priority", "1"),
        ("x-tidegate-task", "code_generation"),
        ("x-tidegate-max-cost", "0.015"),
        ("x-tidegate-max-latency", "2500"),
        ("x-tidegate-tag", "batch, night"),
    ]);
    let expected = Hints {
        fallbacks: names(&["a", "b/c"]),
        no_fallbacks: true,
        order: names(&["x", "y"]),
        only: Some(names(&["x"])),
        ignore: names(&["z"]),
        sort: Some(Sort::Latency),
        timeout: Some(Millis(2500)),
        first_token: Some(Millis(800)),
        attempts: Some(2),
        parameters: Some(Parameters::Strict),
        queue: Some(MayQueue::Allow),
        priority: Priority::numbered(1),
        column: Some(Column::High),
        task: Some("code_generation".to_owned()),
        max_cost: Some(Picodollars(15_000_000_000)),
        max_latency: Some(Millis(2500)),
        tags: names(&["batch", "night"]),
        ..Hints::default()
    };
    assert_eq!(hints, Ok(expected));
}

#[test]
fn a_priority_is_a_number_or_a_word() {
    for (said, number, column) in [
        ("1", 1, Column::High),
        ("2", 2, Column::High),
        ("3", 3, Column::Normal),
        ("4", 4, Column::Fast),
        ("5", 5, Column::Fast),
        ("high", 2, Column::High),
        ("normal", 3, Column::Normal),
        ("Fast", 2, Column::Fast),
        ("urgent", 3, Column::Normal),
    ] {
        let expected = Hints { priority: Priority::numbered(number), column: Some(column), ..Hints::default() };
        assert_eq!(of_headers(&[("x-tidegate-priority", said)]).as_ref(), Ok(&expected), "{said}");
        assert_eq!(of_body("tidegate", &json!({"priority": said})).as_ref(), Ok(&expected), "{said}");
        if let Ok(number) = said.parse::<u64>() {
            assert_eq!(of_body("tidegate", &json!({"priority": number})), Ok(expected), "{said}");
        }
    }
}

#[test]
fn the_peers_headers_in_their_units() {
    let litellm =
        of_headers(&[("x-litellm-timeout", "1.5"), ("x-litellm-stream-timeout", "30"), ("x-litellm-num-retries", "2")])
            .unwrap();
    assert_eq!((litellm.timeout, litellm.first_token), (Some(Millis(1500)), Some(Millis(30_000))));
    assert_eq!(litellm.attempts, Some(3), "two retries are three attempts");
    let cloudflare =
        of_headers(&[("cf-aig-request-timeout", "900"), ("cf-aig-max-attempts", "5"), ("cf-aig-retry-delay", "250")])
            .unwrap();
    assert_eq!((cloudflare.timeout, cloudflare.attempts), (Some(Millis(900)), Some(5)));
    assert_eq!(cloudflare.backoff, Some(Millis(250)));
    let length = of_headers(&[("x-tidegate-max-latency", "2s")]).unwrap();
    assert_eq!(length.max_latency, Some(Millis(2000)));
    let both = of_headers(&[("x-litellm-timeout", "9"), ("x-tidegate-timeout-ms", "70")]).unwrap();
    assert_eq!(both.timeout, Some(Millis(70)), "our own has the last word");
}

#[test]
fn a_header_that_does_not_read_is_named() {
    for (name, value) in [
        ("x-tidegate-timeout-ms", "soon"),
        ("x-tidegate-max-attempts", "-1"),
        ("x-tidegate-provider-sort", "beauty"),
        ("x-tidegate-parameters", "loose"),
        ("x-tidegate-priority", "0"),
        ("x-tidegate-priority", "6"),
        ("x-tidegate-max-cost", "cheap"),
        ("x-tidegate-max-latency", "soon"),
        ("x-tidegate-priority", "-1"),
        ("x-tidegate-priority", "2.5"),
        ("x-tidegate-priority", "01"),
        ("x-tidegate-disable-fallbacks", "perhaps"),
        ("x-litellm-timeout", "1.2345s"),
    ] {
        let error = of_headers(&[(name, value)]).unwrap_err();
        assert_eq!(error.param, Some(name));
        assert!(error.message.contains(name), "{}", error.message);
    }
}

#[test]
fn openrouters_members() {
    assert_eq!(of_body("models", &json!(["a", "b"])).unwrap().fallbacks, names(&["a", "b"]));
    assert!(of_body("usage", &json!({"include": true})).unwrap().wants_usage);
    assert_eq!(of_body("route", &json!("fallback")), Ok(Hints::default()));
    let hints = of_body(
        "provider",
        &json!({
            "order": ["x"], "only": ["x", "y"], "ignore": ["z"], "allow_fallbacks": false, "require_parameters": true,
            "sort": "price", "max_price": {"prompt": 1, "completion": "2.5"}, "data_collection": "allow",
        }),
    );
    let expected = Hints {
        no_fallbacks: true,
        order: names(&["x"]),
        only: Some(names(&["x", "y"])),
        ignore: names(&["z"]),
        sort: Some(Sort::Price),
        max_price: MaxPrice { input: Some(Picodollars(1_000_000)), output: Some(Picodollars(2_500_000)) },
        parameters: Some(Parameters::Strict),
        ..Hints::default()
    };
    assert_eq!(hints, Ok(expected));
    assert_eq!(of_body("provider", &json!({"sort": {"by": "throughput"}})).unwrap().sort, Some(Sort::Throughput));
}

#[test]
fn litellms_members() {
    assert_eq!(of_body("fallbacks", &json!(["a", {"model": "b"}])).unwrap().fallbacks, names(&["a", "b"]));
    assert!(of_body("disable_fallbacks", &json!(true)).unwrap().no_fallbacks);
}

#[test]
fn our_own_member_has_the_last_word() {
    let controls = vec![
        (
            "tidegate",
            Json::of(&json!({
                "fallbacks": ["c"], "sort": "latency", "timeout_ms": 5, "max_attempts": 1, "priority": 2,
                "task": "simple_qa", "tags": ["night"], "max_cost": 0.5, "max_latency_ms": 9,
            })),
        ),
        ("fallbacks", Json::of(&json!(["a"]))),
    ];
    let others = [("x-tidegate-timeout-ms", "9"), ("x-tidegate-task", "other"), ("x-litellm-tags", "other")];
    let hints = Hints::read(&headers(&others), &controls).unwrap();
    assert_eq!((hints.max_cost, hints.max_latency), (Some(Picodollars(500_000_000_000)), Some(Millis(9))));
    assert_eq!((hints.task.as_deref(), hints.tags), (Some("simple_qa"), names(&["night"])));
    assert_eq!((hints.fallbacks, hints.sort), (names(&["c"]), Some(Sort::Latency)));
    assert_eq!((hints.timeout, hints.attempts), (Some(Millis(5)), Some(1)));
    assert_eq!(hints.priority, Priority::numbered(2));
}

#[test]
fn what_cannot_be_honoured_is_refused() {
    for (name, value) in [
        ("provider", json!({"zdr": true})),
        ("provider", json!({"data_collection": "deny"})),
        ("provider", json!({"quantizations": ["fp8"]})),
        ("provider", json!({"max_price": {"image": 1}})),
        ("provider", json!({"max_price": {"prompt": "cheap"}})),
        ("fallbacks", json!([{"model": "b", "max_tokens": 5}])),
        ("fallbacks", json!("b")),
        ("models", json!({"a": 1})),
        ("route", json!("scenic")),
        ("tidegate", json!({"timeout": 5})),
        ("tidegate", json!({"sort": "beauty"})),
        ("tidegate", json!({"priority": 0})),
        ("tidegate", json!({"priority": 6})),
        ("tidegate", json!({"priority": true})),
        ("tidegate", json!({"task": 6})),
        ("tidegate", json!({"max_cost": "cheap"})),
        ("tidegate", json!({"tags": "batch"})),
    ] {
        let error = of_body(name, &value).unwrap_err();
        assert_eq!(error.param, Some(name), "{value}");
    }
}

#[test]
fn a_price_that_is_not_known_may_be_any() {
    let price = Price { input: Picodollars(5), output: Picodollars(9), ..Price::default() };
    let cap = |input, output| MaxPrice { input: Some(Picodollars(input)), output: Some(Picodollars(output)) };
    assert!(MaxPrice::default().allows(None));
    assert!(cap(5, 9).allows(Some(price)));
    assert!(!cap(4, 9).allows(Some(price)) && !cap(5, 8).allows(Some(price)) && !cap(5, 9).allows(None));
}

#[test]
fn only_the_gateway_says_that_a_request_was_queued() {
    assert_eq!(of_headers(&[("x-tidegate-queue", "never")]).unwrap().queue, Some(MayQueue::Never));
    for wrong in ["was", "yes", "Allow"] {
        let bad = of_headers(&[("x-tidegate-queue", wrong)]).unwrap_err();
        assert_eq!(bad.param, Some("x-tidegate-queue"), "{wrong}");
    }
}
