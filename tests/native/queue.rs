//! The queue survives its process, however that ends: whatever was accepted is answered, and has one answer.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tidegate_core::rng::Rng;
use tidegate_tests::gateway::{Gateway, Runtime, Scratch, Setup};
use tidegate_tests::http::{Reply, Request};
use tidegate_tests::vendors::Vendors;
use tidegate_tests::wait;
use tidegate_tests::world::{chat, question};

use crate::command::{run, tidegate};
use crate::{CONFIG, KEY_A, write};

/// As many instants at which a process is killed, on as many databases as there are gateways at once.
const LANES: u64 = 4;
const KILLS: u64 = 13;

/// How many answers a process lives to give, at most, and how long it lives on.
const ANSWERS_MAX: u64 = 40;
const REST_MS: u64 = 30;

/// A gateway whose route queues, in a directory of its own, before a vendor of the sandbox.
struct Kept {
    vendors: Arc<Vendors>,
    scratch: Scratch,
    queue: String,
    variables: Vec<(String, String)>,
}

impl Kept {
    async fn new(queue: &str) -> Self {
        let vendors = Arc::new(Vendors::start().await);
        let variables = [("SANDBOX_A", vendors.a.base_url()), ("KEY_A", KEY_A.to_owned())];
        let variables = variables.map(|(name, value)| (name.to_owned(), value)).to_vec();
        Self { vendors, scratch: Scratch::new(), queue: queue.to_owned(), variables }
    }

    fn with(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    fn database(&self) -> PathBuf {
        self.scratch.path().join("tidegate.db")
    }

    fn start(&self) -> Gateway {
        let config = CONFIG.replace("models = [\"a/tide\"]", "models = [\"a/tide\"]\nexhausted = \"queue\"");
        let policy = "[defaults.breaker]\nfailures = 0\nfailure_rate = 0\n[defaults.retry]\nattempts = 1\n";
        let queue = format!("[store]\nkind = \"sqlite\"\n[queue]\nbase = \"100ms\"\nmax = \"100ms\"\n{}\n", self.queue);
        Gateway::start(&Setup {
            runtime: Runtime::Native,
            config: write(&self.scratch, &format!("{queue}{policy}{config}")),
            variables: self.variables.clone(),
            storage: self.scratch.clone(),
        })
    }

    /// All bytes that the database's files hold.
    fn bytes(&self) -> Vec<u8> {
        let files = ["tidegate.db", "tidegate.db-wal"].map(|name| self.scratch.path().join(name));
        files.iter().flat_map(|file| std::fs::read(file).unwrap_or_default()).collect()
    }
}

async fn ask(to: &Gateway, user: &str) -> Reply {
    let mut body = question("default");
    body["user"] = json!(user);
    chat(&body).send(to.address).await
}

fn queued(reply: Reply) -> String {
    reply.expect(202).json()["id"].as_str().expect("an id").to_owned()
}

async fn look(to: &Gateway, id: &str) -> Value {
    Request::get(&format!("/v1/queue/{id}")).send(to.address).await.expect(200).json()
}

async fn done(to: &Gateway, id: &str) -> Value {
    wait::until(&format!("{id} to be done"), async || {
        let told = look(to, id).await;
        assert!(told["status"] != "failed" && told["status"] != "expired", "{told}");
        (told["status"] == "done").then_some(told)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_stored_is_not_claimed() {
    let kept = Kept::new("").await;
    kept.vendors.a.answers("tide", 503).await;
    let gateway = kept.start();
    queued(ask(&gateway, "first").await);
    // Another program holds the database for longer than a client waits for it to be stored.
    let connection = rusqlite::Connection::open(kept.database()).expect("it opens");
    connection.execute_batch("BEGIN EXCLUSIVE").expect("it is ours for now");
    let refused = ask(&gateway, "second").await.expect(502);
    assert!(
        !refused.header("retry-after").is_empty() && refused.json()["error"]["code"] == "upstream_error",
        "{refused}"
    );
    // It is logged beside the answer, and not before it.
    let why = "the queue's store has failed: database is locked";
    wait::until("the log to say why", async || gateway.output().contains(why).then_some(())).await;
    connection.execute_batch("ROLLBACK").expect("it is given back");
    drop(connection);
    let third = wait::until("the queue to take jobs again", async || {
        let reply = ask(&gateway, "third").await;
        (reply.status == 202).then(|| queued(reply))
    })
    .await;
    kept.vendors.a.heal("tide").await;
    done(&gateway, &third).await;
    let users = kept.vendors.a.requests("tide").await;
    let second = users.iter().filter(|seen| seen.body()["user"] == "second").count();
    assert_eq!(second, 1, "it was asked for once, and not kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_would_not_outlive_the_process_is_refused_at_start() {
    for store in ["", "[store]\nkind = \"memory\"\n"] {
        let scratch = Scratch::new();
        let config = write(&scratch, &format!("{store}[queue]\n{CONFIG}"));
        let mut check = tidegate(&["check", "--config", config.to_str().expect("a plain path")]);
        let (well, said) = run(check.envs([("SANDBOX_A", "http://127.0.0.1:9/v1"), ("KEY_A", KEY_A)]));
        assert!(!well && said.contains("Add [store] with kind = \"sqlite\""), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_key_no_prompt_lies_on_the_disk() {
    for (queue, lies_there) in [("", true), ("key = { env = \"QUEUE_KEY\" }", false)] {
        let kept = Kept::new(queue).await.with("QUEUE_KEY", "a-key-of-the-queue-that-is-long-enough");
        kept.vendors.a.answers("tide", 503).await;
        let gateway = kept.start();
        let id = queued(ask(&gateway, "a-word-that-stands-nowhere-else").await);
        let holds = |word: &str| kept.bytes().windows(word.len()).any(|bytes| bytes == word.as_bytes());
        assert!(holds(&id) && holds("a-word-that-stands-nowhere-else") == lies_there, "{queue}");
        kept.vendors.a.heal("tide").await;
        let answer = done(&gateway, &id).await;
        assert_eq!(holds("standing in for tide"), lies_there, "{answer}");
        drop(gateway);
        let again = kept.start();
        assert_eq!(look(&again, &id).await["reply"], answer["reply"], "it can be read after a restart");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_webhook_is_told_and_told_again_if_it_does_not_answer() {
    let kept = Kept::new("webhook = { env = \"HOOK\" }\nwebhook_key = { env = \"HOOK_KEY\" }").await;
    // A vendor of the sandbox notes whatever is posted to it; as a webhook it first refuses.
    let hook = format!("{}/chat/completions", kept.vendors.b.base_url());
    let kept = kept.with("HOOK", &hook).with("HOOK_KEY", "a-key-of-the-webhook-that-is-long-enough");
    kept.vendors.a.answers_times("tide", 1, 503).await;
    let gateway = kept.start();
    let id = queued(ask(&gateway, "me").await);
    done(&gateway, &id).await;
    let told = wait::until("the webhook to be told", async || {
        let seen = kept.vendors.b.requests("default").await;
        seen.into_iter().next()
    })
    .await;
    assert_eq!((&told.body()["id"], &told.body()["status"]), (&json!(id), &json!("done")), "{}", told.text());
    assert!(told.headers()["x-tidegate-signature"].as_str().is_some_and(|signed| signed.starts_with("sha256=")));
    assert!(told.body()["reply"].is_null(), "nothing of the answer");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_queue_is_told_on_the_command_line() {
    let kept = Kept::new("attempts = 1").await;
    kept.vendors.a.answers("tide", 503).await;
    let gateway = kept.start();
    let id = queued(ask(&gateway, "me").await);
    wait::until("the job to be a dead letter", async || {
        (look(&gateway, &id).await["status"] == "failed").then_some(())
    })
    .await;
    let url = format!("http://{}", gateway.address);
    let told = |more: &[&str]| {
        let mut command = tidegate(&["queue", "--url", &url]);
        run(command.args(more).env("NO_PROXY", "*"))
    };
    let (well, said) = told(&["--status", "failed", "--limit", "5"]);
    let line = format!("{id}  failed   -  default, run 1 times: it was tried as often as `queue.attempts` allows");
    assert!(well && said.contains("1 of 10000 jobs") && said.contains(&line), "{said}");
    let (well, said) = told(&["--json"]);
    let told_in_json: Value = serde_json::from_str(&said).expect("JSON");
    assert!(well && told_in_json["failed"]["attempts"] == 1, "{said}");
    let (well, said) = told(&["--status", "lost"]);
    assert!(!well && said.contains("`status` is one of"), "{said}");
}

/// One database, and processes that are killed on it at instants of chance. Says how many jobs were accepted.
async fn live(lane: u64, seed: u64) -> usize {
    let kept = Kept::new("at_once = 4").await;
    let mut rng = Rng::from_name(seed, &format!("lane {lane}"));
    let mut accepted: Vec<(String, String)> = Vec::new();
    for kill in 0..KILLS {
        let mut gateway = kept.start();
        // Some of its life nobody answers, so that requests are queued, and then somebody does, so that they are run.
        let times = u32::try_from(1 + rng.below(60)).expect("a small number");
        kept.vendors.a.answers_times("tide", times, 503).await;
        kept.vendors.a.fault_times("tide", 5, json!({"kind": "latency", "ms": 30})).await;
        let mut asked = 0;
        let mut ask_another = async || {
            let user = format!("{lane}-{kill}-{asked}");
            asked += 1;
            let reply = ask(&gateway, &user).await;
            if reply.status == 202 && reply.ended_cleanly {
                accepted.push((queued(reply), user));
            }
        };
        for _ in 0..rng.below(ANSWERS_MAX) {
            ask_another().await;
        }
        // And in the middle of whatever it does then.
        let rest = Duration::from_millis(rng.below(REST_MS));
        let asking = async {
            loop {
                ask_another().await;
            }
        };
        let _ = tokio::time::timeout(rest, asking).await;
        gateway.kill();
    }
    kept.vendors.a.heal("tide").await;
    let gateway = kept.start();
    for (id, user) in &accepted {
        let told = done(&gateway, id).await;
        assert_eq!(told["reply"]["status"], 200, "{told}");
        let again = look(&gateway, id).await;
        assert_eq!(again["reply"], told["reply"], "one result: {user}");
    }
    drop(gateway);
    let connection = rusqlite::Connection::open(kept.database()).expect("it opens");
    let sound: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).expect("it can be read");
    assert_eq!(sound, "ok");
    let one_each = "SELECT count(*) FROM queue_jobs LEFT JOIN queue_bodies USING (id) GROUP BY id HAVING count(*) <> 1";
    let mut several = connection.prepare(one_each).expect("the queue's tables are there");
    assert!(!several.exists([]).expect("they can be read"), "each job has one body: its answer");
    accepted.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_was_accepted_is_answered_at_whichever_instant_the_process_is_killed() {
    let seed = std::env::var("TIDEGATE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(20_261_121);
    println!("TIDEGATE_SEED={seed}");
    // Each on a thread of its own: starting a process waits for it.
    let runtime = tokio::runtime::Handle::current();
    let lanes = (0..LANES).map(|lane| {
        let runtime = runtime.clone();
        tokio::task::spawn_blocking(move || runtime.block_on(live(lane, seed)))
    });
    let mut accepted = 0;
    for lane in lanes.collect::<Vec<_>>() {
        accepted += lane.await.expect("a lane without a failure");
    }
    println!("{accepted} jobs were accepted, and {} processes killed", LANES * KILLS);
    assert!(accepted > 50, "only {accepted} were queued: the others prove nothing");
}
