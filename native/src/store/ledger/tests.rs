//! The ledger's tables in a real database.

use serde_json::{Value as Json, json};
use tidegate_core::classify::Outcome;
use tidegate_core::concurrency::Claim;
use tidegate_core::config::{StoreKind, TargetId};
use tidegate_core::gateway::Settlement;
use tidegate_core::ledger::{About, Cause, Query};
use tidegate_core::price::Usage;
use tidegate_core::time::Millis;

use super::*;

const DAY: u64 = 86_400_000;

fn opened() -> (Store, Connection) {
    let (flush, keep) = (Millis(200), Millis(DAY));
    let policy = StorePolicy { kind: StoreKind::Memory, path: String::new(), flush, lines_max: 100, keep };
    let store = Store::open(&policy).unwrap();
    let connection = store.connect(&TABLES).unwrap();
    (store, connection)
}

fn entry(nth: u64, at: u64, client: &str, outcome: &str, cost: Option<u64>) -> Entry<'static> {
    let usage = cost.map(
        |_| json!({"input": 10, "cached_input": 4, "cache_write": 0, "cache_write_1h": 0, "output": 5, "reasoning": 1}),
    );
    let entry = json!({
        "at": at, "request": format!("tg-{nth}"), "attempt": 1, "client": client, "route": "r", "target": "v/m", "key": "K",
        "outcome": outcome, "stream": false, "probe": false, "usage": usage, "cost": cost, "first_token": null, "took": 9,
    });
    serde_json::from_value(entry).unwrap()
}

fn told(connection: &Connection, about: About, text: &str) -> Json {
    let query = Query::read(about, text, String::new()).unwrap_or_else(|error| panic!("{}", error.message));
    let rows = ask(connection, query.statement()).unwrap();
    serde_json::from_slice(&query.answer(&rows).body).unwrap()
}

#[test]
fn lines_add_up_by_whatever_is_asked_for() {
    let (_store, connection) = opened();
    let noon = 20_000 * DAY + DAY / 2;
    for (nth, at, client, outcome, cost) in [
        (1, noon, "a", "success", Some(1_000_000_000_001)),
        (2, noon, "a", "upstream_status", Some(0)),
        (3, noon + DAY, "a", "success", None),
        (4, noon + DAY, "", "success", Some(5)),
    ] {
        store(&connection, &[entry(nth, at, client, outcome, cost)]).unwrap();
    }
    let by_client_and_day = told(&connection, About::Sums, "by=client,day");
    let rows = by_client_and_day["rows"].as_array().unwrap();
    let row =
        |row: &Json| ["client", "day", "attempts", "successes", "unpriced", "cost_usd"].map(|name| row[name].clone());
    assert_eq!(row(&rows[0]), [Json::Null, json!("2024-10-05"), json!(1), json!(1), json!(0), json!("0.000000000005")]);
    assert_eq!(row(&rows[1]), [json!("a"), json!("2024-10-04"), json!(2), json!(1), json!(0), json!("1.000000000001")]);
    assert_eq!(row(&rows[2]), [json!("a"), json!("2024-10-05"), json!(1), json!(1), json!(1), json!("0")]);
    let total = &told(&connection, About::Sums, "")["rows"][0];
    assert_eq!((&total["attempts"], &total["cost_usd"]), (&json!(4), &json!("1.000000000006")));
    assert_eq!((&total["input_tokens"], &total["reasoning_tokens"]), (&json!(30), &json!(3)));

    // The same from the lines, where a bound is no day's.
    assert_eq!(told(&connection, About::Sums, "by=client,day&from=2024-10-04T00:00:01Z"), by_client_and_day);
    let late = told(&connection, About::Sums, "from=2024-10-04T12:00:00Z&to=2024-10-05T12:00:00Z");
    assert_eq!(late["rows"][0]["attempts"], 2);
    let one_day = told(&connection, About::Sums, "from=2024-10-05&to=2024-10-06&client=a");
    assert_eq!(one_day["rows"][0]["attempts"], 1);
    let none = told(&connection, About::Sums, "to=2020-01-01");
    assert_eq!((&none["rows"][0]["attempts"], &none["rows"][0]["cost_usd"]), (&json!(0), &json!("0")));

    let page = told(&connection, About::Lines, "limit=3");
    let next = page["next"].as_str().unwrap();
    let names = |page: &Json| {
        page["lines"].as_array().unwrap().iter().map(|line| line["request_id"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(names(&page), ["tg-4", "tg-3", "tg-2"]);
    assert_eq!(names(&told(&connection, About::Lines, &format!("limit=3&before={next}"))), ["tg-1"]);
    assert_eq!(names(&told(&connection, About::Lines, "outcome=upstream_status")), ["tg-2"]);
    assert_eq!(names(&told(&connection, About::Lines, "request=tg-3")), ["tg-3"]);
}

#[test]
fn old_lines_are_forgotten_and_their_sums_stay() {
    let (_store, connection) = opened();
    let old: Vec<_> = (0..1500).map(|nth| entry(nth, DAY, "a", "success", Some(1))).collect();
    store(&connection, &old).unwrap();
    store(&connection, &[entry(9999, 9 * DAY, "a", "success", Some(1))]).unwrap();
    let forget = || connection.execute(schema::FORGET, [i64::try_from(2 * DAY).unwrap()]).unwrap();
    assert_eq!((forget(), forget(), forget()), (1000, 500, 0), "not too many at once");
    assert_eq!(told(&connection, About::Lines, "limit=10")["lines"].as_array().unwrap().len(), 1);
    assert_eq!(told(&connection, About::Sums, "")["rows"][0]["attempts"], 1501);
}

#[test]
fn absurd_counts_do_not_make_it_unreadable() {
    let (_store, connection) = opened();
    for nth in 0..50 {
        let entry = json!({
            "at": u64::MAX, "request": format!("tg-{nth}"), "attempt": u32::MAX, "client": "", "route": "", "target": "v/m",
            "key": "", "outcome": "success", "stream": true, "probe": true, "cost": u64::MAX, "first_token": u64::MAX, "took": u64::MAX,
            "usage": {"input": u64::MAX, "cached_input": u64::MAX, "cache_write": 0, "cache_write_1h": 0, "output": u64::MAX, "reasoning": 0},
        });
        store(&connection, &[serde_json::from_value(entry).unwrap()]).unwrap();
    }
    let total = &told(&connection, About::Sums, "by=probe")["rows"][0];
    assert_eq!((&total["attempts"], &total["probe"]), (&json!(50), &json!(true)));
    // 50 times 2^64 - 1, to the picodollar.
    assert_eq!(total["cost_usd"], "922337203.68547758075");
    assert_eq!(told(&connection, About::Lines, "")["lines"].as_array().unwrap().len(), 50);
}

#[test]
fn what_a_client_has_spent_of_its_period_is_known_again() {
    let (_store, connection) = opened();
    for (nth, at, client) in [(1, 5 * DAY - 1, "a"), (2, 5 * DAY, "a"), (3, 5 * DAY + 9, "a"), (4, 5 * DAY, "b")] {
        store(&connection, &[entry(nth, at, client, "success", Some(2_000_001))]).unwrap();
    }
    // What this one cost nobody knows: its client's budget has paid what was expected, rounded up to a micro-dollar.
    let mut unknown = serde_json::to_value(entry(5, 5 * DAY, "b", "neutral", None)).unwrap();
    unknown["presumed"] = json!(3_000_001);
    store(&connection, &[serde_json::from_value(unknown).unwrap()]).unwrap();
    let spent = |client: &str| {
        let since = Timestamp(5 * DAY);
        schema::spent(&ask(&connection, &schema::spent_since(since, client)).unwrap()).0
    };
    assert_eq!((spent("a"), spent("b"), spent("c")), (4_000_002, 6_000_001, 0));
}

/// A server's state with a ledger in memory, and an attempt that is made by it.
fn app() -> App {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let document = r#"{
        "vendors": {"v": {"dialect": "openai", "base_url": "http://v.test/v1"}},
        "models": {"v/m": {"price": {"input": 1, "output": 2}}}, "store": {"kind": "memory"}
    }"#;
    let config = Config::from_json(document, "t", &|_| None).unwrap_or_else(|errors| panic!("{errors}"));
    App::new(config, 1).unwrap()
}

fn attempt(app: &App, nth: u32) {
    let request_id = format!("tg-{nth}");
    let cause = Cause { request_id: &request_id, ..Cause::default() };
    let usage = Usage { input: 1, output: 1, ..Usage::default() };
    let settlement = Settlement { usage: Some(usage), ..Settlement::new(Outcome::Success, Millis(9)) };
    app.with_gateway(|gateway| {
        let candidate = gateway.config().candidate(TargetId(0));
        let permit = gateway.admit(clock::now(), &candidate, Millis(1000), &Claim::LAST).unwrap();
        gateway.settle_for(clock::now(), permit, &settlement, &cause);
    });
}

/// The disk is full, or not any more.
fn fill_disk(ledger: &Ledger, is_full: bool) {
    let pages: u32 = if is_full { 1 } else { 1_000_000 };
    ledger.0.lock().unwrap().connection.pragma_update(None, "max_page_count", pages).unwrap();
}

fn attempts(app: &App) -> Json {
    let reader = app.store.as_ref().unwrap().reader().unwrap();
    told(&reader, About::Sums, "")["rows"][0]["attempts"].clone()
}

#[test]
fn what_came_while_a_commit_failed_follows_it_at_once() {
    let app = app();
    let ledger = app.ledger.as_ref().unwrap();
    fill_disk(ledger, true);
    let mut nth = 0;
    // So many that no page that is there has room for them.
    while !ledger.0.lock().unwrap().is_stuck {
        attempt(&app, nth);
        nth += 1;
        ledger.flush(&app);
    }
    for nth in nth..nth + 9 {
        attempt(&app, nth);
    }
    fill_disk(ledger, false);
    ledger.flush(&app);
    assert_eq!(attempts(&app), nth + 9);
}

#[test]
fn what_cannot_be_written_at_the_end_is_told() {
    let app = app();
    let ledger = app.ledger.as_ref().unwrap();
    attempt(&app, 0);
    assert_eq!(ledger.close(&app), 0);
    fill_disk(ledger, true);
    for nth in 1..2000 {
        attempt(&app, nth);
    }
    let lost = ledger.close(&app);
    fill_disk(ledger, false);
    assert!(lost > 1000, "{lost}");
    assert_eq!(attempts(&app), 2000 - lost);
}

#[test]
fn a_commit_that_fails_is_made_again_and_nothing_is_lost_or_twice() {
    let app = app();
    let ledger = app.ledger.as_ref().unwrap();
    attempt(&app, 0);
    ledger.flush(&app);
    fill_disk(ledger, true);
    for nth in 1..2000 {
        attempt(&app, nth);
        if nth % 500 == 0 {
            ledger.flush(&app);
        }
    }
    assert!(ledger.0.lock().unwrap().is_stuck, "{} are there", attempts(&app));
    fill_disk(ledger, false);
    ledger.flush(&app);
    assert_eq!(attempts(&app), 2000);
    assert!(!ledger.0.lock().unwrap().is_stuck);
}
