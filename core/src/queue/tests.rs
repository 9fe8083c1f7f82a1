//! Jobs from their request to their end, on disks that fail and in processes that die.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::{Value, json};

use super::*;
use crate::dialect::{Dialect, Surface};
use crate::reply::Reply;

mod faults;
mod overview;
mod properties;

const NOW: Timestamp = Timestamp(1_700_000_000_000);

fn config(queue: &Value) -> Arc<Config> {
    let document = json!({
        "server": {"listen": "127.0.0.1:1"},
        "vendors": {"a": {"dialect": "openai", "base_url": "http://a.test/v1"}},
        "models": {"a/m": {}},
        "routes": {"default": {"models": ["a/m"], "exhausted": "queue"}},
        "clients": {"one": {"key": {"env": "ONE"}}, "two": {"key": {"env": "TWO"}}, "three": {"key": {"env": "THREE"}}},
        "defaults": {"health": {"probe": "none"}},
        "queue": queue,
    });
    let secret = |name: &str| Some(format!("https://hook.test/the-made-up-secret-in-{name}"));
    let config = Config::from_json(&document.to_string(), "t", &secret);
    Arc::new(config.unwrap_or_else(|errors| panic!("{errors}")))
}

/// A queue, its disk, and a gateway that lets all through.
struct Setting {
    config: Arc<Config>,
    disk: Memory,
    queue: Queue<Memory>,
    gateway: Gateway,
}

impl Setting {
    fn new(queue: &Value) -> Self {
        let (config, disk) = (config(queue), Memory::new(1));
        let gateway = Gateway::new(Arc::clone(&config), 1, NOW);
        let queue = Queue::open(Arc::clone(&config), disk.clone(), 1, NOW).unwrap();
        Self { config, disk, queue, gateway }
    }

    fn restart(&mut self, now: Timestamp) {
        self.queue = Queue::open(Arc::clone(&self.config), self.disk.clone(), 2, now).unwrap();
    }

    fn try_submit(&mut self, submission: &Submission) -> Result<String, NotStored> {
        self.queue.submit(NOW, submission).map(|ticket| ticket.id)
    }

    fn submit(&mut self, now: Timestamp, client: &str) -> String {
        self.queue.submit(now, &submission(client)).unwrap().id
    }

    /// Starts the job whose turn it is.
    fn begin(&mut self, now: Timestamp) -> Option<String> {
        self.queue.handle_timeout(now);
        let id = self.queue.pick(now, &self.gateway)?;
        self.queue.start(now, &id).map(|_| id)
    }

    fn run(&mut self, now: Timestamp, reply: &Reply) -> String {
        let id = self.begin(now).expect("a job may begin");
        self.queue.finish(now, &id, reply);
        id
    }

    fn ask(&mut self, now: Timestamp, client: &str, id: &str, wish: Wish) -> (u16, Value, HeaderMap) {
        let client = Some(client.to_owned());
        self.inquire(now, About::Job { client, id: id.to_owned(), wish })
    }

    fn inquire(&mut self, now: Timestamp, about: About) -> (u16, Value, HeaderMap) {
        let inquiry = Inquiry { about, dialect: Dialect::OpenAi, request_id: "tg-1".to_owned() };
        let reply = self.queue.answer(now, &inquiry);
        (reply.status.as_u16(), serde_json::from_slice(&reply.body).unwrap(), reply.headers)
    }

    fn look(&mut self, now: Timestamp, id: &str) -> Value {
        self.ask(now, "one", id, Wish::Look).1
    }

    fn notices(&mut self) -> Vec<Notice> {
        std::iter::from_fn(|| self.queue.poll_notice()).collect()
    }
}

fn submission(client: &str) -> Submission {
    Submission {
        client: Some(client.to_owned()),
        surface: Surface::Chat,
        model: "default".to_owned(),
        hints: crate::hints::Hints::default(),
        idempotency_key: None,
        headers: HeaderMap::new(),
        body: Bytes::from_static(br#"{"model":"default","messages":[]}"#),
    }
}

fn named(client: &str, key: &str) -> Submission {
    Submission { idempotency_key: Some(key.to_owned()), ..submission(client) }
}

fn answer(text: &str) -> Reply {
    Reply::json(StatusCode::OK, &json!({"choices": [text]}))
}

/// Nobody could serve it; so many were asked.
fn unserved(asked: u32) -> Reply {
    let mut reply = Reply::json(StatusCode::SERVICE_UNAVAILABLE, &json!({"error": {"message": "down", "code": "c"}}));
    reply.headers.insert(http::header::RETRY_AFTER, HeaderValue::from_static("1"));
    reply.headers.insert(crate::reply::ATTEMPTS, HeaderValue::from(asked));
    reply
}

fn refused() -> Reply {
    Reply::json(StatusCode::BAD_REQUEST, &json!({"error": {"message": "no such thing", "code": "bad"}}))
}

#[test]
fn an_answer_is_kept_in_whole_for_its_time() {
    let mut setting = Setting::new(&json!({"keep": "1h"}));
    let id = setting.submit(NOW, "one");
    let told = setting.look(NOW, &id);
    assert_eq!((&told["status"], &told["attempts"]), (&json!("pending"), &json!(0)), "{told}");
    assert_eq!(told["expires_at"], (NOW.0 + 86_400_000) / 1000);
    assert_eq!(setting.begin(NOW), Some(id.clone()));
    assert_eq!(setting.look(NOW, &id)["status"], "running");
    assert_eq!(setting.begin(NOW), None, "it is under way");
    let later = NOW + Millis(5000);
    setting.queue.finish(later, &id, &answer("high"));
    let (status, told, headers) = setting.ask(later, "one", &id, Wish::Look);
    assert_eq!((status, headers["x-tidegate-request-id"].to_str().unwrap()), (200, "tg-1"));
    let reply = json!({"status": 200, "content_type": "application/json", "body": {"choices": ["high"]}});
    assert_eq!((&told["status"], &told["reply"]), (&json!("done"), &reply));
    assert_eq!((&told["attempts"], &told["finished_at"]), (&json!(1), &json!(later.0 / 1000)));
    setting.queue.finish(later, &id, &answer("low"));
    assert_eq!(setting.look(later, &id)["reply"], reply, "there is one result");
    setting.queue.handle_timeout(later + Millis(3_599_999));
    assert_eq!(setting.look(later, &id)["status"], "done");
    assert_eq!(setting.queue.poll_timeout(), Some(later + Millis::from_secs(3600)));
    setting.queue.handle_timeout(later + Millis::from_secs(3600));
    assert_eq!(setting.ask(later, "one", &id, Wish::Look).0, 404);
    assert_eq!((setting.disk.len(), setting.queue.poll_timeout()), (0, None));
}

#[test]
fn what_is_no_json_is_kept_as_text() {
    let mut setting = Setting::new(&json!({}));
    let id = setting.submit(NOW, "one");
    let mut reply = answer("");
    reply.body = Bytes::from_static(b"half a \xff word");
    setting.run(NOW, &reply);
    assert_eq!(setting.look(NOW, &id)["reply"]["body"], "half a \u{fffd} word");
}

#[test]
fn nobody_but_its_client_sees_a_job() {
    let mut setting = Setting::new(&json!({}));
    let id = setting.submit(NOW, "one");
    for wish in [Wish::Look, Wish::Delete] {
        let (status, told, _) = setting.ask(NOW, "two", &id, wish);
        assert_eq!((status, &told["error"]["code"]), (404, &json!("unknown_job")));
        assert_eq!(setting.ask(NOW, "one", "job_0123", wish).0, 404, "the same as one that is not there");
    }
    assert_eq!(setting.look(NOW, &id)["status"], "pending");
    assert!(id.len() == "job_".len() + 32 && setting.submit(NOW, "one") != id, "{id}");
}

#[test]
fn a_deleted_job_is_gone_and_its_result_with_it() {
    let mut setting = Setting::new(&json!({}));
    let (first, second) = (setting.submit(NOW, "one"), setting.submit(NOW, "one"));
    let (status, told, _) = setting.ask(NOW, "one", &first, Wish::Delete);
    assert_eq!((status, told), (200, json!({"object": "queue.job", "id": first, "deleted": true})));
    assert_eq!(setting.begin(NOW), Some(second.clone()), "the first is not run");
    assert_eq!(setting.ask(NOW, "one", &second, Wish::Delete).0, 200, "one that runs is forgotten");
    setting.queue.finish(NOW, &second, &answer("late"));
    assert_eq!(setting.ask(NOW, "one", &second, Wish::Look).0, 404);
    assert_eq!(setting.disk.len(), 0);
}

#[test]
fn what_came_to_nothing_is_tried_again_later_and_later_and_then_no_more() {
    let mut setting = Setting::new(&json!({"attempts": 4, "base": "10s", "max": "25s"}));
    let id = setting.submit(NOW, "one");
    let mut now = NOW;
    for (attempt, longest) in [(1, 10_000), (2, 20_000), (3, 25_000)] {
        setting.run(now, &unserved(2));
        let due = setting.queue.poll_timeout().unwrap();
        let waited = due.since(now).0;
        assert!((longest / 2..=longest).contains(&waited), "{attempt}: {waited}");
        assert_eq!(setting.begin(due - Millis(1)), None, "it is not due");
        let told = setting.look(now, &id);
        assert_eq!((&told["status"], &told["attempts"]), (&json!("pending"), &json!(attempt)));
        now = due;
    }
    setting.run(now, &unserved(2));
    let told = setting.look(now, &id);
    assert_eq!((&told["status"], &told["reason"]), (&json!("failed"), &json!("attempts")));
    assert_eq!(told["error"], json!({"message": "down", "code": "c"}), "what was said last");
    assert!(matches!(&setting.notices()[..], [Notice::JobGivenUp { id: told, .. }] if *told == id));
}

#[test]
fn a_run_in_which_nobody_was_asked_is_no_attempt() {
    let mut setting = Setting::new(&json!({"attempts": 1, "base": "1s"}));
    let id = setting.submit(NOW, "one");
    setting.run(NOW, &unserved(0));
    let told = setting.look(NOW, &id);
    assert_eq!((&told["status"], &told["attempts"]), (&json!("pending"), &json!(0)));
    let due = setting.queue.poll_timeout().unwrap();
    setting.run(due, &unserved(1));
    assert_eq!(setting.look(due, &id)["status"], "failed");
}

#[test]
fn a_refusal_that_is_the_requests_own_is_final() {
    let mut setting = Setting::new(&json!({}));
    let id = setting.submit(NOW, "one");
    setting.run(NOW, &refused());
    let told = setting.look(NOW, &id);
    assert_eq!((&told["status"], &told["reason"]), (&json!("failed"), &json!("refused")));
    assert_eq!(told["error"]["message"], "no such thing");
    let id = setting.submit(NOW, "one");
    let mut huge = answer("");
    huge.body = Bytes::from(vec![b'1'; (1 << 20) + 1]);
    setting.run(NOW, &huge);
    let told = setting.look(NOW, &id);
    assert_eq!((&told["reason"], &told["error"]["type"]), (&json!("too_large"), &json!("server_error")));
}

#[test]
fn a_job_that_waits_too_long_expires() {
    let mut setting = Setting::new(&json!({"expiry": "60s", "keep": "10s", "base": "50s", "max": "50s"}));
    let id = setting.submit(NOW, "one");
    let (mut now, end) = (NOW, NOW + Millis(60_000));
    while now < end {
        setting.run(now, &unserved(1));
        now = setting.queue.poll_timeout().unwrap();
    }
    assert_eq!(now, end, "before its next turn");
    assert_eq!(setting.begin(end), None);
    assert_eq!(setting.look(end, &id)["status"], "expired");
    assert!(matches!(&setting.notices()[..], [Notice::JobGivenUp { .. }]));
    assert_eq!(setting.queue.poll_timeout(), Some(end + Millis(10_000)));
    assert!(!setting.disk.dump().windows(8).any(|bytes| bytes == b"messages"), "its request is not kept");
    setting.queue.handle_timeout(end + Millis(10_000));
    assert_eq!(setting.disk.len(), 0);
}

#[test]
fn one_idempotency_key_is_one_job_for_each_client() {
    let mut setting = Setting::new(&json!({"keep": "1h"}));
    let mut submit = |client: &str, key: &str| setting.try_submit(&named(client, key)).unwrap();
    let id = submit("one", "k");
    assert_eq!(submit("one", "k"), id);
    let others = [submit("two", "k"), submit("one", "l")];
    assert!(!others.contains(&id));
    assert_eq!(setting.run(NOW, &answer("")), id);
    assert_eq!(setting.try_submit(&named("one", "k")), Ok(id.clone()), "over, and known all the same");
    setting.restart(NOW);
    assert_eq!(setting.try_submit(&named("one", "k")), Ok(id.clone()), "after a crash too");
    setting.queue.handle_timeout(NOW + Millis::from_secs(3600));
    assert_ne!(setting.try_submit(&named("one", "k")), Ok(id), "until it is forgotten");
}

#[test]
fn clients_have_their_turns_and_the_oldest_is_first() {
    let mut setting = Setting::new(&json!({"at_once": 1}));
    let mine: Vec<_> = (0..3).map(|_| setting.submit(NOW, "one")).collect();
    let theirs: Vec<_> = (0..2).map(|_| setting.submit(NOW, "two")).collect();
    let last = setting.submit(NOW, "three");
    let order: Vec<_> = (0..6).map(|_| setting.run(NOW, &answer(""))).collect();
    // By name, from whoever came after the one that was served last.
    assert_eq!(order, [&mine[0], &last, &theirs[0], &mine[1], &theirs[1], &mine[2]].map(Clone::clone));
}

#[test]
fn no_more_are_run_at_once_than_may_be() {
    let mut setting = Setting::new(&json!({"at_once": 2}));
    for _ in 0..3 {
        setting.submit(NOW, "one");
    }
    let first = setting.begin(NOW).unwrap();
    assert!(setting.begin(NOW).is_some());
    assert_eq!((setting.begin(NOW), setting.queue.poll_timeout()), (None, Some(NOW + Millis::from_secs(86_400))));
    setting.queue.finish(NOW, &first, &answer(""));
    assert_eq!(setting.queue.poll_timeout(), Some(NOW));
    assert!(setting.begin(NOW).is_some());
}

#[test]
fn there_is_an_end_to_what_is_kept() {
    let mut setting =
        Setting::new(&json!({"jobs_max": 3, "client_jobs_max": 2, "body_max": "1KiB", "bytes_max": "2KiB"}));
    let big = |client: &str| Submission { body: Bytes::from(vec![b' '; 1024]), ..submission(client) };
    let too_big = Submission { body: Bytes::from(vec![b' '; 1025]), ..submission("one") };
    assert_eq!(setting.try_submit(&too_big), Err(NotStored::Full));
    setting.try_submit(&big("one")).unwrap();
    assert_eq!(setting.try_submit(&big("two")), Err(NotStored::Full), "too many bytes");
    assert_eq!(setting.try_submit(&big("two")), Err(NotStored::Full));
    assert!(matches!(setting.notices()[..], [Notice::QueueFull { jobs: 1, .. }]), "said once");
    setting.submit(NOW, "one");
    assert_eq!(setting.try_submit(&submission("one")), Err(NotStored::Full), "this client's share");
    assert!(setting.notices().is_empty(), "which is its own affair");
    let id = setting.submit(NOW, "two");
    assert_eq!(setting.try_submit(&submission("three")), Err(NotStored::Full));
    assert_eq!(setting.ask(NOW, "two", &id, Wish::Delete).0, 200);
    setting.submit(NOW, "three");
    assert_eq!(setting.disk.len(), 3);
}

#[test]
fn nothing_is_claimed_that_is_not_stored() {
    let mut setting = Setting::new(&json!({"base": "1s"}));
    setting.disk.breaks(true);
    assert_eq!(setting.try_submit(&submission("one")), Err(NotStored::Failed));
    assert_eq!(setting.try_submit(&submission("one")), Err(NotStored::Failed), "each of them is tried");
    assert!(matches!(setting.notices()[..], [Notice::QueueFault { .. }]), "and told of once");
    setting.disk.breaks(false);
    let id = setting.submit(NOW, "one");
    assert_eq!(setting.begin(NOW), None, "the disk has a rest");
    let now = setting.queue.poll_timeout().unwrap();
    assert_eq!(setting.begin(now), Some(id.clone()));
    setting.disk.breaks(true);
    setting.queue.finish(now, &id, &answer("lost"));
    assert_eq!(setting.queue.poll_timeout().map(|at| at > now), Some(true), "no spinning");
    setting.queue.handle_timeout(now);
    assert_eq!(setting.ask(now, "one", &id, Wish::Delete).0, 503, "and it is not gone");
    setting.disk.breaks(false);
    assert_eq!(setting.look(now, &id)["status"], "pending", "an answer that is not stored is none");
    let later = now + Millis(5000);
    setting.run(later, &answer("found"));
    assert_eq!(setting.look(later, &id)["reply"]["body"]["choices"][0], "found");
}

#[test]
fn a_job_that_its_client_was_not_told_of_is_withdrawn() {
    let mut setting = Setting::new(&json!({}));
    let first = setting.queue.submit(NOW, &named("one", "k")).unwrap();
    let again = setting.queue.submit(NOW, &named("one", "k")).unwrap();
    setting.queue.withdraw(&again);
    assert_eq!(setting.look(NOW, &first.id)["status"], "pending", "it was there before");
    setting.queue.withdraw(&first);
    assert_eq!((setting.ask(NOW, "one", &first.id, Wish::Look).0, setting.disk.len()), (404, 0));
}

#[test]
fn a_crash_costs_time_and_no_job() {
    let mut setting = Setting::new(&json!({"at_once": 5}));
    let ids: Vec<_> = (0..3).map(|_| setting.submit(NOW, "one")).collect();
    setting.run(NOW, &answer("first"));
    assert_eq!(setting.begin(NOW).as_ref(), Some(&ids[1]));
    let stale = setting.queue;
    setting.queue = Queue::open(Arc::clone(&setting.config), setting.disk.clone(), 2, NOW).unwrap();
    let (done, again) = (setting.look(NOW, &ids[0]), setting.look(NOW, &ids[1]));
    assert_eq!((&done["status"], &again["status"], &again["attempts"]), (&json!("done"), &json!("pending"), &json!(1)));
    assert_eq!(setting.run(NOW, &answer("second")), ids[1], "before the one that came after it");
    // The process that was thought dead comes back with a result of its own.
    let mut stale = Setting {
        queue: stale,
        disk: setting.disk.clone(),
        config: Arc::clone(&setting.config),
        gateway: Gateway::new(Arc::clone(&setting.config), 1, NOW),
    };
    stale.queue.finish(NOW, &ids[1], &answer("third"));
    assert_eq!(setting.look(NOW, &ids[1])["reply"]["body"]["choices"][0], "second", "one result is stored");
    let next = setting.submit(NOW, "one");
    assert_eq!([setting.run(NOW, &answer("")), setting.run(NOW, &answer(""))], [ids[2].clone(), next]);
}

#[test]
fn what_another_has_changed_is_left_to_it() {
    let mut setting = Setting::new(&json!({}));
    let id = setting.submit(NOW, "one");
    setting.begin(NOW).unwrap();
    setting.disk.meddle(&id);
    let before = setting.disk.dump();
    setting.queue.finish(NOW, &id, &answer(""));
    assert_eq!((setting.ask(NOW, "one", &id, Wish::Look).0, setting.disk.dump() == before), (404, true));
}

#[test]
fn a_store_of_another_kind_is_not_taken_for_one() {
    let mut disk = Memory::new(1);
    disk.insert("job_1", "{\"id\":\"job_1\"}", b"").unwrap();
    let error = Queue::open(config(&json!({})), disk.clone(), 1, NOW).unwrap_err();
    assert!(error.to_string().starts_with("a job cannot be read: missing field"), "{error}");
    disk.breaks(true);
    assert!(Queue::open(config(&json!({})), disk, 1, NOW).is_err());
}

#[test]
fn with_a_key_no_word_is_kept_as_it_is() {
    let mut setting = Setting::new(&json!({"key": {"env": "KEY"}, "at_once": 5}));
    let words = |setting: &Setting, word: &str| setting.disk.dump().windows(word.len()).any(|w| w == word.as_bytes());
    let id = setting.submit(NOW, "one");
    assert!(!words(&setting, "messages") && words(&setting, "\"default\""), "its model is known, not what it asks");
    setting.run(NOW, &answer("high water"));
    assert!(!words(&setting, "high water"));
    assert_eq!(setting.look(NOW, &id)["reply"]["body"]["choices"][0], "high water");
    let (spoilt, well) = (setting.submit(NOW, "one"), setting.submit(NOW, "one"));
    setting.disk.spoil(&spoilt);
    assert_eq!(setting.begin(NOW), None, "it is given up at once");
    let told = setting.look(NOW, &spoilt);
    assert_eq!((&told["status"], &told["reason"]), (&json!("failed"), &json!("unreadable")));
    assert_eq!(setting.begin(NOW), Some(well));

    let mut plain = Setting::new(&json!({}));
    plain.submit(NOW, "one");
    assert!(words(&plain, "messages"), "without one it is as it came");
}

#[test]
fn the_webhook_is_told_how_a_job_ended_and_no_more() {
    let mut setting = Setting::new(&json!({"webhook": {"env": "HOOK"}, "webhook_key": {"env": "HOOK_KEY"}}));
    let id = setting.submit(NOW, "one");
    setting.run(NOW, &answer("a secret"));
    setting.queue.handle_timeout(NOW);
    let delivery = setting.queue.poll_delivery().unwrap();
    assert_eq!(
        (delivery.id.as_str(), delivery.url.expose()),
        (id.as_str(), "https://hook.test/the-made-up-secret-in-HOOK")
    );
    let told: Value = serde_json::from_slice(&delivery.body).unwrap();
    let seconds = NOW.0 / 1000;
    assert_eq!(
        told,
        json!({"object": "queue.job", "id": id, "status": "done", "model": "default", "client": "one",
               "created_at": seconds, "finished_at": seconds})
    );
    assert_eq!(delivery.headers["x-tidegate-signature"].len(), "sha256=".len() + 64);
    assert!(setting.queue.poll_delivery().is_none());
    setting.queue.delivered(NOW, &id, Some(StatusCode::NO_CONTENT));
    assert_eq!(setting.queue.poll_timeout(), Some(NOW + Millis::from_secs(86_400)), "it is not told again");
    assert_eq!(setting.look(NOW, &id)["status"], "done");
}

#[test]
fn a_webhook_that_does_not_answer_is_told_again_even_after_a_crash_and_then_no_more() {
    let mut setting = Setting::new(&json!({"webhook": {"env": "HOOK"}}));
    let id = setting.submit(NOW, "one");
    setting.run(NOW, &refused());
    let (mut now, mut told, mut waits) = (NOW, 0, Vec::new());
    while told < 20 {
        setting.queue.handle_timeout(now);
        let Some(delivery) = setting.queue.poll_delivery() else { break };
        assert!(delivery.headers.get("x-tidegate-signature").is_none(), "there is no key");
        told += 1;
        match told {
            2 => setting.restart(now),
            3 => setting.queue.delivered(now, &id, None),
            _ => setting.queue.delivered(now, &id, Some(StatusCode::BAD_GATEWAY)),
        }
        let next = setting.queue.poll_timeout().unwrap();
        waits.push(next.since(now).0 / 1000);
        now = next;
    }
    assert_eq!((told, &waits[..]), (6, &[14, 18, 26, 42, 74, 138][..]));
    assert!(setting.notices().iter().any(|notice| matches!(notice, Notice::WebhookFailed { tries: 6, .. })));
    assert_eq!(setting.look(now, &id)["status"], "failed");
}

#[test]
fn jobs_wait_until_somebody_would_be_let_through() {
    let mut setting = Setting::new(&json!({}));
    setting.submit(NOW, "one");
    let order = crate::breaker::Order::Open(Millis(60_000));
    setting.gateway.order(NOW, crate::config::TargetId(0), order);
    assert_eq!(setting.begin(NOW), None);
    assert_eq!(setting.queue.poll_timeout(), Some(NOW + LOOK_MAX), "an operator may change their mind");
    assert_eq!(setting.begin(NOW + Millis(55_000)), None);
    assert_eq!(setting.queue.poll_timeout(), Some(NOW + Millis(60_000)), "to the moment");
    assert!(setting.begin(NOW + Millis(60_000)).is_some());
}

/// A model that is gone from the config is found out by running: the job must not wait for ever.
#[test]
fn a_job_whose_model_is_gone_is_run_all_the_same() {
    let mut setting = Setting::new(&json!({}));
    let gone = Submission { model: "gone".to_owned(), ..submission("one") };
    let id = setting.try_submit(&gone).unwrap();
    assert_eq!(setting.begin(NOW), Some(id));
}

#[test]
fn a_clock_that_goes_back_stands_still() {
    let mut setting = Setting::new(&json!({}));
    let id = setting.submit(NOW, "one");
    setting.run(Timestamp(0), &answer(""));
    assert_eq!(setting.look(Timestamp(0), &id)["finished_at"], NOW.0 / 1000);
    setting.queue.handle_timeout(Timestamp::MAX);
    assert_eq!(setting.queue.poll_timeout(), None);
}
