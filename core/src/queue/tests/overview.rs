//! What the operator is told of all jobs.

use super::*;

fn survey(setting: &mut Setting, now: Timestamp, query: &str) -> Value {
    let survey = Survey::read(query).unwrap_or_else(|error| panic!("{}", error.message));
    let (status, told, headers) = setting.inquire(now, About::All(survey));
    assert_eq!((status, headers["x-tidegate-request-id"].to_str().unwrap()), (200, "tg-1"));
    let read: Overview = serde_json::from_value(told.clone()).unwrap();
    assert_eq!(serde_json::to_value(read).unwrap(), told, "the command line reads what the page says");
    told
}

fn ids(told: &Value) -> Vec<String> {
    let ids = told["jobs"].as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap().to_owned());
    ids.collect()
}

/// When there is a job in each state.
const THEN: Timestamp = Timestamp(NOW.0 + 3_600_000);

/// Jobs in all states, in the order in which they came: one that has expired, one that is done, two that have failed, one
/// under way, and two that wait.
fn one_of_each() -> (Setting, Vec<String>) {
    let mut setting = Setting::new(&json!({"attempts": 1, "expiry": "1h", "keep": "1d"}));
    let came = [("three", NOW), ("two", THEN - Millis(5000))];
    let came = came.into_iter().chain([4000, 3000, 3000, 2000, 1000].map(|ago| ("one", THEN - Millis(ago))));
    let ids: Vec<String> = came.map(|(client, at)| setting.submit(at, client)).collect();
    for (nth, reply) in [(2, refused()), (1, answer("high")), (3, unserved(1))] {
        assert_eq!(setting.run(THEN, &reply), ids[nth], "clients have their turns");
    }
    assert_eq!(setting.begin(THEN).as_ref(), Some(&ids[4]));
    (setting, ids)
}

#[test]
fn it_counts_who_stands_where() {
    let (mut setting, all) = one_of_each();
    let later = THEN + Millis(500);
    let told = survey(&mut setting, later, "");
    assert_eq!(told["counts"], json!({"pending": 2, "running": 1, "done": 1, "failed": 2, "expired": 1}));
    assert_eq!(told["failed"], json!({"refused": 1, "attempts": 1}));
    assert_eq!((&told["now_ms"], &told["next"]), (&json!(later.0), &Value::Null));
    assert_eq!(told["clients"][0], json!({"client": "one", "jobs": 5, "pending": 2}));
    assert_eq!(told["clients"].as_array().unwrap().len(), 3);
    assert_eq!(ids(&told), all.iter().rev().cloned().collect::<Vec<_>>(), "the latest first");
    assert_eq!((&told["jobs_max"], &told["bytes_max"]), (&json!(10_000), &json!(256 << 20)));
    assert!(told["bytes"].as_u64() > Some(0), "{told}");
    let row = |nth: usize| &told["jobs"][nth];
    assert_eq!(
        (&row(0)["status"], &row(0)["due_ms"], &row(0)["over_ms"]),
        (&json!("pending"), &json!((THEN - Millis(1000)).0), &Value::Null)
    );
    assert_eq!((&row(3)["status"], &row(3)["reason"]), (&json!("failed"), &json!("attempts")));
    assert_eq!((&row(3)["over_ms"], &row(3)["attempts"]), (&json!(THEN.0), &json!(1)));
    assert_eq!((&row(6)["client"], &row(6)["model"]), (&json!("three"), &json!("default")));
    assert!(!told.to_string().contains("messages"), "no word of what was asked: {told}");
}

#[test]
fn it_tells_how_long_they_wait() {
    let mut setting = Setting::new(&json!({"base": "10s", "max": "10s"}));
    let told = survey(&mut setting, NOW, "");
    assert_eq!((&told["oldest_ms"], &told["next_run_ms"]), (&Value::Null, &Value::Null), "nobody waits");
    setting.submit(NOW, "one");
    assert_eq!(survey(&mut setting, NOW, "")["next_run_ms"], 0);
    setting.run(NOW, &unserved(1));
    let due = setting.queue.poll_timeout().unwrap();
    let later = NOW + Millis(3000);
    let told = survey(&mut setting, later, "");
    assert_eq!((&told["oldest_ms"], &told["next_run_ms"]), (&json!(3000), &json!(due.since(later).0)), "{told}");
    assert_eq!(told["jobs"][0]["due_ms"], due.0);
}

#[test]
fn it_shows_a_page_of_those_that_are_asked_for() {
    let (mut setting, all) = one_of_each();
    let mut pages = Vec::new();
    let mut query = "limit=3".to_owned();
    for left in [3, 3, 1] {
        let told = survey(&mut setting, THEN, &query);
        assert_eq!(ids(&told).len(), left);
        pages.extend(ids(&told));
        query = format!("limit=3&before={}", told["next"]);
    }
    assert_eq!(query, "limit=3&before=null", "the last page is the last");
    assert_eq!(pages, all.into_iter().rev().collect::<Vec<_>>());
    for (query, count) in [
        ("status=failed", 2),
        ("status=pending&client=one", 2),
        ("client=two", 1),
        ("client=nobody", 0),
        ("client=", 0),
        ("model=default", 7),
        ("model=other", 0),
    ] {
        let told = survey(&mut setting, THEN, query);
        assert_eq!(ids(&told).len(), count, "{query}");
        assert_eq!(told["counts"]["done"], 1, "the counts are of all, whatever is listed: {query}");
    }
}

#[test]
fn it_says_what_it_cannot_be_asked() {
    for (wrong, told) in [
        ("status=lost", "`status` is one of `pending`, `running`"),
        ("limit=0", "`limit` is a number from 1 to 1000."),
        ("limit=1001", "`limit`"),
        ("before=x", "`before` is the `next` of another page."),
        ("limit=1&limit=2", "`limit` is said twice. Say it once."),
        ("id=job_1", "There is no `id` to ask the queue with. There is `status`"),
    ] {
        let error = Survey::read(wrong).unwrap_err();
        assert!(error.status == 400 && error.message.contains(told), "{wrong}: {}", error.message);
    }
}

#[test]
fn a_question_reaches_an_object_elsewhere_as_it_is() {
    let survey = Survey::read("status=done&client=a%20b&before=7").unwrap();
    let job = About::Job { client: None, id: "job_1".to_owned(), wish: Wish::Look };
    for about in [About::All(survey), job] {
        let inquiry = Inquiry { about, dialect: Dialect::OpenAi, request_id: "tg-1".to_owned() };
        let sent = serde_json::to_string(&inquiry).unwrap();
        assert_eq!(serde_json::from_str::<Inquiry>(&sent).unwrap(), inquiry, "{sent}");
    }
}

#[test]
fn it_is_put_in_words() {
    let (mut setting, all) = one_of_each();
    let told: Overview = serde_json::from_value(survey(&mut setting, THEN, "limit=4")).unwrap();
    let text = told.to_string();
    for line in [
        "7 of 10000 jobs, ",
        "2 pending, 1 running, 1 done, 2 failed, 1 expired",
        "1 failed: it was tried as often as `queue.attempts` allows",
        "the oldest waits for 2s; the next may be run in ",
        "client one: 5 jobs, 2 of them pending",
        &format!("2023-11-14T23:13:19Z  {}  pending  one  default, run 0 times, due now", all[6]),
        "There are more: --before 3",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
}
