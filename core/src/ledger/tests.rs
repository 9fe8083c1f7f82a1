//! Lines that wait for where they are stored, and what is asked of them.

use proptest::prelude::*;

use super::*;
use crate::config::Config;
use crate::keeper::Lines;
use crate::reply::Reply;

fn line(nth: u32) -> Line {
    Line {
        at: Timestamp(1000),
        request_id: format!("tg-{nth}"),
        attempt: 1,
        client: None,
        route: None,
        target: TargetId(0),
        key: KeyId(0),
        outcome: Outcome::Success,
        stream: false,
        probe: false,
        usage: None,
        cost: Some(Picodollars(7)),
        presumed: None,
        first_token: None,
        took: Millis(100),
    }
}

fn config() -> Config {
    let secret = |_: &str| Some("a-secret-long-enough".to_owned());
    let document = r#"{"vendors": {"v": {"dialect": "openai", "base_url": "http://v.test/v1", "keys": [{"env": "K"}]}},
        "models": {"v/m": {}}, "store": {"kind": "memory"}}"#;
    Config::from_json(document, "t", &secret).unwrap()
}

fn name(entry: &Entry<'_>) -> String {
    let Value::Text(name) = &entry.values()[1] else { panic!("a request has a name") };
    name.clone().into_owned()
}

fn names(lines: &[Line]) -> Vec<&str> {
    lines.iter().map(|line| line.request_id.as_str()).collect()
}

#[test]
fn lines_without_room_are_dropped_counted_and_told_of() {
    let mut ledger = Ledger::new(100, Millis(200));
    for nth in 0..103 {
        ledger.push(line(nth));
    }
    assert_eq!(ledger.counts(), (100, 3));
    assert_eq!(ledger.untold(Timestamp(5000)), Some(3));
    assert_eq!(ledger.untold(Timestamp(5000)), None, "once");
    ledger.push(line(103));
    assert_eq!(ledger.untold(Timestamp(5999)), None, "nor more often than once a second");
    assert_eq!(ledger.untold(Timestamp(6000)), Some(1));
    assert_eq!(names(&ledger.take(2)), ["tg-0", "tg-1"], "the newest are dropped, not the oldest");
    ledger.push(line(104));
    assert_eq!(ledger.counts(), (99, 4));
}

#[test]
fn what_was_offered_waits_until_it_is_kept() {
    let mut ledger = Ledger::new(100, Millis(200));
    assert_eq!(ledger.due_at(), None);
    ledger.push(line(0));
    assert_eq!(ledger.due_at(), Some(Timestamp(1300)), "sent at 1000, ended at 1100, waits for others until 1300");
    let (offered, until) = ledger.offer(Timestamp(1300));
    assert_eq!((offered.count(), until), (1, 1));
    ledger.push(line(1));
    assert_eq!(ledger.due_at(), Some(Timestamp(6300)), "an answer is waited for");
    assert!(ledger.is_offered() && !ledger.is_due(Timestamp(6299)));
    let (again, until) = ledger.offer(Timestamp(6300));
    assert_eq!((again.count(), until), (2, 2));
    ledger.kept(1);
    assert!(ledger.is_offered(), "the second offer has not been answered");
    assert_eq!(ledger.counts().0, 1);
    ledger.kept(2);
    ledger.kept(1);
    assert!(ledger.is_empty() && !ledger.is_offered());
}

#[test]
fn a_full_batch_waits_for_no_more() {
    let mut ledger = Ledger::new(10_000, Millis(200));
    for nth in 0..BATCH_MAX {
        ledger.push(line(u32::try_from(nth).unwrap()));
    }
    assert!(ledger.is_due(Timestamp(0)));
}

#[derive(Debug, Clone)]
enum Step {
    Push,
    Offer,
    /// The report so many ago reaches the keeper, perhaps once more.
    Told(usize),
    /// The answer to one of them reaches the gateway.
    Kept(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => Just(Step::Push),
        2 => Just(Step::Offer),
        2 => (0..4_usize).prop_map(Step::Told),
        1 => (0..4_usize).prop_map(Step::Kept),
    ];
    prop::collection::vec(step, 0..200)
}

proptest! {
    /// Reports may be lost, late or repeated, and so may their answers.
    #[test]
    fn every_line_is_stored_once_lost_or_waits(steps in steps()) {
        let config = config();
        let mut ledger = Ledger::new(10, Millis(200));
        let (mut pushed, mut kept, mut reports, mut stored) = (0_u32, 0, Vec::new(), Vec::new());
        for step in steps {
            match step {
                Step::Push => {
                    ledger.push(line(pushed));
                    pushed += 1;
                }
                Step::Offer => {
                    let (lines, until) = ledger.offer(Timestamp(0));
                    let entries = lines.map(|line| Entry::of(line, &config).into_owned()).collect();
                    reports.push(Lines { entries, until, keep_ms: Millis(0) });
                }
                Step::Told(ago) => {
                    let Some(report) = reports.iter().rev().nth(ago) else { continue };
                    stored.extend(report.news(kept).iter().map(name));
                    kept = kept.max(report.until);
                }
                Step::Kept(ago) => {
                    let known = reports.iter().rev().filter(|report| report.until <= kept).nth(ago);
                    if let Some(report) = known {
                        ledger.kept(report.until);
                    }
                }
            }
            let (waiting, lost) = ledger.counts();
            prop_assert!(waiting <= 10);
            let known = ledger.waiting.iter().filter(|line| !stored.contains(&line.request_id)).count();
            prop_assert_eq!(stored.len() + known + usize::try_from(lost).unwrap(), usize::try_from(pushed).unwrap());
        }
    }
}

// === What a day comes to ===

#[test]
fn a_batch_comes_to_sums_by_day_and_by_who_asked_whom() {
    const DAY: u64 = 86_400_000;
    let config = config();
    let usage = Usage { input: 10, cached_input: 4, output: u64::MAX, reasoning: 1, ..Usage::default() };
    let answered = Line { usage: Some(usage), cost: Some(Picodollars(2_000_001)), ..line(0) };
    let failed = Line { outcome: Outcome::Silent, cost: None, ..line(1) };
    let lines = [
        answered.clone(),
        Line { at: Timestamp(DAY), ..line(2) },
        failed,
        Line { probe: true, ..line(3) },
        Line { at: Timestamp(DAY - 1), ..answered },
    ];
    let entries: Vec<_> = lines.iter().map(|line| Entry::of(line, &config)).collect();
    let rows: Vec<_> = sums(&entries).map(|row| serde_json::to_string(&row).unwrap()).collect();
    assert_eq!(
        rows,
        [
            r#"[0,"","","v/m",0,3,2,1,20,8,0,0,2000000000000,2,4,2]"#,
            r#"[0,"","","v/m",1,1,1,0,0,0,0,0,0,0,0,7]"#,
            r#"[1,"","","v/m",0,1,1,0,0,0,0,0,0,0,0,7]"#,
        ]
    );
}

// === What is asked ===

fn ask(about: About, text: &str) -> Result<Query, String> {
    Query::read(about, text, "tg-1".to_owned()).map_err(|error| error.message)
}

fn sql(about: About, text: &str) -> (String, Vec<Value<'static>>) {
    let Statement { sql, parameters } = ask(about, text).unwrap().statement().clone();
    (sql, parameters)
}

#[test]
fn whole_days_are_read_from_their_sums_and_other_times_from_the_lines() {
    let (days, parameters) = sql(About::Sums, "by=client,day&from=2026-11-01&to=2026-11-03T00:00:00Z&model=a%2Fm");
    assert!(days.starts_with("SELECT client, day, coalesce(sum(attempts), 0), "), "{days}");
    let end =
        "FROM ledger_days WHERE day >= ? AND day < ? AND target = ? GROUP BY client, day ORDER BY client, day LIMIT ?";
    assert!(days.ends_with(end), "{days}");
    let text = Value::Text("a/m".into());
    assert_eq!(parameters, [Value::Integer(20_758), Value::Integer(20_760), text, Value::Integer(100_001)]);
    let (lines, parameters) = sql(About::Sums, "from=2026-11-01T10:00:00Z");
    assert!(lines.ends_with("FROM ledger_each WHERE at >= ? LIMIT ?"), "{lines}");
    assert_eq!(parameters[0], Value::Integer(20_758 * 86_400_000 + 36_000_000));
}

#[test]
fn what_a_client_writes_is_never_sql() {
    let evil = "x'%3B%20DROP%20TABLE%20ledger_lines%3B--";
    for (about, name) in
        [(About::Sums, "client"), (About::Sums, "route"), (About::Lines, "request"), (About::Lines, "outcome")]
    {
        let (text, parameters) = sql(about, &format!("{name}={evil}"));
        assert!(!text.contains("DROP"), "{text}");
        assert_eq!(parameters[0], Value::Text("x'; DROP TABLE ledger_lines;--".into()));
    }
    for wrong in [
        format!("by={evil}"),
        format!("from={evil}"),
        format!("limit={evil}"),
        format!("before={evil}"),
        format!("{evil}=1"),
    ] {
        for about in [About::Sums, About::Lines] {
            ask(about, &wrong).expect_err(&wrong);
        }
    }
}

#[test]
fn what_cannot_be_asked_says_what_can() {
    for (about, text, says) in [
        (About::Sums, "by=client,vendor", "`by` has no `vendor`"),
        (About::Sums, "by=day,day", "or has it twice"),
        (About::Sums, "from=yesterday", "`from` is a day such as 2026-11-21"),
        (About::Sums, "before=1.2", "There is no `before` to ask the ledger with. There is `by`"),
        (About::Sums, "format=xml", "`format` is `json`, `csv` or `text`."),
        (About::Lines, "limit=0", "`limit` is a number from 1 to 10000."),
        (About::Lines, "before=12", "`before` is the `next` of another page."),
        (About::Lines, "by=day", "There is `from`"),
    ] {
        let error = ask(about, text).unwrap_err();
        assert!(error.contains(says), "{text}: {error}");
    }
}

fn sums_of(text: &str) -> Reply {
    let number = |number: i64| Value::Integer(number);
    let counts = [3, 2, 1, 100, 40, 0, 0, 50, 0].map(number);
    let row = |client: &'static str, micros, picos| -> Vec<Value<'static>> {
        let named = [Value::Text(client.into()), number(20_758)];
        named.into_iter().chain(counts.clone()).chain([number(micros), number(picos)]).collect()
    };
    ask(About::Sums, text).unwrap().answer(&[row("", 1_250_000, 1), row("a, \"b\"", 0, 0)])
}

#[test]
fn sums_are_told_as_json_csv_and_text() {
    let reply = sums_of("by=client,day");
    let told: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
    assert_eq!(told["by"], serde_json::json!(["client", "day"]));
    let first = &told["rows"][0];
    assert_eq!((&first["client"], &first["day"]), (&serde_json::Value::Null, &"2026-11-01".into()));
    assert_eq!((&first["attempts"], &first["unpriced"], &first["input_tokens"]), (&3.into(), &1.into(), &100.into()));
    assert_eq!((&first["cost_usd"], &told["rows"][1]["cost_usd"]), (&"1.250000000001".into(), &"0".into()));
    let csv = String::from_utf8(sums_of("by=client,day&format=csv").body.to_vec()).unwrap();
    let expected = "client,day,attempts,successes,unpriced,input_tokens,cached_input_tokens,cache_write_tokens,\
                    cache_write_1h_tokens,output_tokens,reasoning_tokens,cost_usd\r\n\
                    ,2026-11-01,3,2,1,100,40,0,0,50,0,1.250000000001\r\n\"a, \"\"b\"\"\",2026-11-01,3,2,1,100,40,0,0,50,0,0\r\n";
    assert_eq!(csv, expected);
    let text = String::from_utf8(sums_of("by=client,day&format=text").body.to_vec()).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("client  day         attempts"), "{text}");
    assert!(lines[1].starts_with("        2026-11-01         3") && lines[1].ends_with("  1.250000000001"), "{text}");
    assert_eq!(lines[1].len(), lines[2].len(), "columns stand beside each other: {text}");
}

#[test]
fn pages_of_lines_lead_to_the_next() {
    let row = |id: i64| -> Vec<Value<'static>> {
        let mut row = vec![Value::Null; 1 + pages::told().count()];
        (row[0], row[1]) = (Value::Integer(id), Value::Integer(1_700_000_000_123));
        row
    };
    let two = ask(About::Lines, "limit=2").unwrap().answer(&[row(9), row(8), row(7)]);
    let told: serde_json::Value = serde_json::from_slice(&two.body).unwrap();
    assert_eq!(told["next"], "1700000000123.8");
    assert_eq!(two.headers["x-tidegate-next"], "1700000000123.8");
    assert_eq!(told["lines"].as_array().unwrap().len(), 2);
    assert_eq!(told["lines"][0]["at"], "2023-11-14T22:13:20.123Z");
    assert_eq!(told["lines"][0]["cost_usd"], serde_json::Value::Null, "unknown is not nothing");
    let (sql, parameters) = sql(About::Lines, "limit=2&before=1700000000123.8");
    assert!(sql.contains("WHERE (at, id) < (?, ?) ORDER BY at DESC, id DESC LIMIT ?"), "{sql}");
    let numbers = [1_700_000_000_123, 8, 3].map(Value::Integer);
    assert_eq!(parameters, numbers);
    let last = ask(About::Lines, "limit=2").unwrap().answer(&[row(1)]);
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&last.body).unwrap()["next"], serde_json::Value::Null);
}

#[test]
fn entries_survive_the_way_to_the_keeper() {
    let usage = Usage { input: u64::MAX, output: 3, ..Usage::default() };
    let line = Line { usage: Some(usage), cost: Some(Picodollars(u64::MAX)), ..line(1) };
    let config = config();
    let entry = Entry::of(&line, &config).into_owned();
    let json = serde_json::to_string(&entry).unwrap();
    assert!(!json.contains("a-secret"), "{json}");
    assert_eq!(serde_json::from_str::<Entry<'static>>(&json).unwrap(), entry);
    let values = entry.values();
    assert_eq!(values[6], Value::Text("K".into()), "the key's name");
    // All numbers stay where JavaScript counts exactly, whatever a vendor claims.
    for value in &values {
        assert!(value.as_number() < 1 << 53, "{values:?}");
    }
}
