//! The ledger survives its process, however that ends.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use serde_json::Value;
use tidegate_core::rng::Rng;
use tidegate_tests::gateway::{Gateway, Runtime, Scratch, Setup};
use tidegate_tests::http::Request;
use tidegate_tests::vendors::Vendors;
use tidegate_tests::wait;
use tidegate_tests::world::{chat, question};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use crate::command::{run, tidegate};
use crate::{CONFIG, KEY_A, write};

const FLUSH: Duration = Duration::from_millis(50);

/// As many instants at which a process is killed, on as many databases as there are gateways at once.
const LANES: u64 = 5;
const KILLS: u64 = 11;

/// After how many answers it is, at the latest: so many that most are older than one batch.
const ANSWERS_MAX: u64 = 400;

/// Clients at once, and how long each rests between two requests.
const CLIENTS: usize = 3;
const REST: Duration = Duration::from_millis(4);

/// A gateway with a ledger in this directory, before a vendor of the sandbox.
struct Kept {
    vendors: Arc<Vendors>,
    scratch: Scratch,
}

impl Kept {
    async fn new() -> Self {
        Self { vendors: Arc::new(Vendors::start().await), scratch: Scratch::new() }
    }

    fn database(&self) -> std::path::PathBuf {
        self.scratch.path().join("tidegate.db")
    }

    fn start(&self) -> Gateway {
        let store = format!(
            "[server]\ndrain = \"200ms\"\n[store]\nkind = \"sqlite\"\npath = {:?}\nflush = \"{}ms\"\n",
            self.database().to_str().expect("a plain path"),
            FLUSH.as_millis()
        );
        let config = CONFIG.replace("\"a/tide\" = {}", "\"a/tide\" = { price = { input = 1, output = 2 } }");
        let address = self.vendors.a.base_url();
        let variables = [("SANDBOX_A", address.as_str()), ("KEY_A", KEY_A)];
        Gateway::start(&Setup {
            runtime: Runtime::Native,
            config: write(&self.scratch, &format!("{store}{config}")),
            variables: variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            storage: self.scratch.clone(),
        })
    }
}

/// A request that was answered.
struct Call {
    id: String,
    asked_at: Instant,
    answered_at: Instant,
}

/// Asks until the gateway is gone. Says when which request was asked and answered.
async fn ask_until_it_is_gone(to: std::net::SocketAddr, told: UnboundedSender<()>) -> Vec<Call> {
    let mut answered = Vec::new();
    let mut rest = tokio::time::interval(REST);
    loop {
        let asked_at = Instant::now();
        let Ok(opened) = chat(&question("default")).open(to).await else { break };
        let id = opened.headers.get("x-tidegate-request-id").and_then(|id| id.to_str().ok()).unwrap_or("").to_owned();
        let reply = opened.whole().await;
        if reply.status != 200 || !reply.ended_cleanly {
            break;
        }
        answered.push(Call { id, asked_at, answered_at: Instant::now() });
        // Nobody listens any more once it is to be killed.
        let _ = told.send(());
        rest.tick().await;
    }
    answered
}

/// What is in a database that its process has left in the middle.
fn lines(database: &Path) -> BTreeMap<String, u32> {
    let connection = Connection::open(database).expect("it opens");
    let sound: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).expect("it is readable");
    assert_eq!(sound, "ok");
    let by_request = "SELECT request, count(*) FROM ledger_lines GROUP BY request";
    let mut statement = connection.prepare(by_request).expect("the ledger's table is there");
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).expect("it is readable");
    let lines: BTreeMap<String, u32> = rows.collect::<Result<_, _>>().expect("it is readable");
    let sums = "SELECT coalesce(sum(attempts), 0), coalesce(sum(micros), 0), coalesce(sum(picos), 0) FROM ";
    let sums = |of: &str| {
        let row = connection.query_row(&format!("{sums}{of}"), [], |row| <(i64, i64, i64)>::try_from(row));
        row.expect("it is readable")
    };
    assert_eq!(sums("ledger_days"), sums("ledger_each"), "the sums are those of the lines");
    lines
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_process_that_is_killed_loses_its_last_batch_at_most() {
    let seed = std::env::var("TIDEGATE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(20_261_121);
    println!("TIDEGATE_SEED={seed}");
    let lanes: Vec<_> = (0..LANES).map(|lane| tokio::spawn(kill_again_and_again(seed + lane))).collect();
    let (mut kept, mut missing) = (0, 0);
    for lane in lanes {
        let (more_kept, more_missing) = lane.await.expect("a lane that fails says why");
        kept += more_kept;
        missing += more_missing;
    }
    println!("{} kills, {kept} lines kept, {missing} of the last batches lost", LANES * KILLS);
    assert!(kept > 1000, "there was traffic: {kept}");
}

async fn kill_again_and_again(seed: u64) -> (usize, usize) {
    let mut rng = Rng::from_seed(seed);
    let place = Kept::new().await;
    // By request: whether it was there once.
    let mut answered: BTreeMap<String, bool> = BTreeMap::new();
    for nth in 0..KILLS {
        let mut gateway = place.start();
        let (told, mut answers) = unbounded_channel();
        let clients: Vec<_> =
            (0..CLIENTS).map(|_| tokio::spawn(ask_until_it_is_gone(gateway.address, told.clone()))).collect();
        for _ in 0..rng.below(ANSWERS_MAX) {
            answers.recv().await.expect("its clients go on until it is gone");
        }
        gateway.kill();
        let mut told = Vec::new();
        for client in clients {
            told.extend(client.await.expect("a client ends with its gateway"));
        }
        let lines = lines(&place.database());
        assert!(lines.values().all(|count| *count == 1), "a request that was served at once has one line");
        // Whatever was answered before the last that is there was asked is older than it, and so of its batch or before.
        let is_there = |call: &&Call| lines.contains_key(&call.id);
        let last = told.iter().filter(is_there).map(|call| call.asked_at).max();
        for Call { id, answered_at, .. } in told.iter().filter(|call| !is_there(call)) {
            assert!(last.is_none_or(|last| last <= *answered_at), "{id} is missing after kill {nth} of seed {seed}");
        }
        answered.extend(told.into_iter().map(|call| (call.id, false)));
        for (id, was_there) in &mut answered {
            assert!(!*was_there || lines.contains_key(id), "{id} was there before kill {nth} of seed {seed}");
            *was_there = lines.contains_key(id);
        }
    }
    let missing = answered.values().filter(|kept| !**kept).count();
    (answered.len() - missing, missing)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_is_written_without_being_asked_for() {
    let place = Kept::new().await;
    let gateway = place.start();
    for count in 1..4 {
        let _ = chat(&question("default")).send(gateway.address).await.expect(200);
        wait::until("its line", async || (lines(&place.database()).len() == count).then_some(())).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_told_to_end_writes_all_of_it() {
    let place = Kept::new().await;
    let mut gateway = place.start();
    let mut cost = 0;
    for _ in 0..20 {
        let reply = chat(&question("default")).send(gateway.address).await.expect(200).json();
        let tokens = |kind: &str| reply["usage"][kind].as_u64().expect("it is counted");
        cost += tokens("prompt_tokens") + 2 * tokens("completion_tokens");
    }
    gateway.terminate();
    assert!(gateway.ended_well());
    assert_eq!(lines(&place.database()).len(), 20);

    // Looked at without a server, and by its own config.
    let file = place.database();
    let file = file.to_str().expect("a plain path");
    let (well, said) = run(&mut tidegate(&["ledger", "--file", file, "--by", "model,route", "--json"]));
    let told: Value = serde_json::from_str(&said).unwrap_or_default();
    let row = &told["rows"][0];
    assert!(well && row["attempts"] == 20 && row["model"] == "a/tide" && row["route"] == "default", "{said}");
    assert_eq!(row["cost_usd"], format!("0.{cost:06}").trim_end_matches('0'), "{said}");
    let config = place.scratch.path().join("tidegate.toml");
    let (well, csv) = run(tidegate(&["ledger", "--by", "day", "--csv", "--config"]).arg(&config));
    assert!(well && csv.lines().count() == 2 && csv.starts_with("day,attempts,successes,"), "{csv}");
    let (well, said) = run(&mut tidegate(&["ledger", "--file", file, "--by", "moon"]));
    assert!(!well && said.contains("`by` has no `moon`"), "{said}");
    let (well, said) = run(&mut tidegate(&["ledger", "--file", "no-such.db"]));
    assert!(!well && said.contains("there is no no-such.db"), "{said}");

    // And by a server that has begun anew.
    let gateway = place.start();
    let url = format!("http://{}", gateway.address);
    let (well, said) = run(tidegate(&["ledger", "--url", &url, "--by", "client"]).env("NO_PROXY", "*"));
    assert!(well && said.lines().nth(1).is_some_and(|row| row.trim_start().starts_with("20 ")), "{said}");
    let page = Request::get("/admin/ledger/lines?limit=15&format=csv").send(gateway.address).await.expect(200);
    assert_eq!(page.text().lines().count(), 16);
    let next = page.header("x-tidegate-next").to_owned();
    let rest = Request::get(&format!("/admin/ledger/lines?limit=15&before={next}")).send(gateway.address).await;
    let rest = rest.expect(200).json();
    assert_eq!((rest["lines"].as_array().map(Vec::len), &rest["next"]), (Some(5), &Value::Null));
    let (well, said) = run(tidegate(&["ledger", "--url", &url, "--lines", "--limit", "3"]).env("NO_PROXY", "*"));
    assert!(well && said.lines().count() == 4 && said.contains("success"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_cut_off_at_the_end_has_its_line_too() {
    let place = Kept::new().await;
    place.vendors.a.fault("tide", serde_json::json!({"kind": "hang"})).await;
    let mut gateway = place.start();
    let to = gateway.address;
    let client = tokio::spawn(async move { chat(&question("default")).open(to).await.is_ok() });
    let vendor = &place.vendors.a;
    wait::until("the vendor to be asked", async || (vendor.count("tide").await == 1).then_some(())).await;
    gateway.terminate();
    assert!(!gateway.ended_well(), "it says that not all were finished");
    assert!(!client.await.expect("the client has been cut off"));
    let connection = Connection::open(place.database()).expect("it opens");
    let line = connection.query_row("SELECT outcome, micros FROM ledger_lines", [], |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, Option<i64>>(1)?))
    });
    assert_eq!(line.expect("there is one"), ("neutral".to_owned(), None), "what it cost, nobody knows");
}

#[tokio::test]
async fn what_was_spent_is_spent_after_a_restart() {
    let place = Kept::new().await;
    let config = |budget: &str| {
        format!(
            "[clients.team]\nkey = {{ env = \"TEAM\" }}\nbudget = {{ usd = {budget}, per = \"1d\" }}\n{}",
            CONFIG.replace("\"a/tide\" = {}", "\"a/tide\" = { price = { input = 1000, output = 2000 } }")
        )
    };
    let address = place.vendors.a.base_url();
    let key = "the-key-of-the-team";
    let variables = [("SANDBOX_A", address.as_str()), ("KEY_A", KEY_A), ("TEAM", key)];
    let variables: Vec<_> = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let setup = |budget: &str, file: &str| {
        let file = place.scratch.path().join(file);
        let store = format!("[store]\nkind = \"sqlite\"\npath = {:?}\n", file.to_str().expect("a plain path"));
        Setup {
            runtime: Runtime::Native,
            config: write(&place.scratch, &format!("{store}{}", config(budget))),
            variables: variables.clone(),
            storage: place.scratch.clone(),
        }
    };
    let start = |budget: &str| Gateway::start(&setup(budget, "tidegate.db"));
    let ask = async |gateway: &Gateway| {
        let mut body = question("default");
        body["max_tokens"] = 10.into();
        chat(&body).header("authorization", &format!("Bearer {key}")).send(gateway.address).await
    };
    let mut gateway = start("100");
    for _ in 0..5 {
        assert_eq!(ask(&gateway).await.status, 200);
    }
    gateway.terminate();
    assert!(gateway.ended_well());
    let (_, said) = run(&mut tidegate(&[
        "ledger",
        "--file",
        place.database().to_str().expect("a plain path"),
        "--by",
        "client",
        "--json",
    ]));
    let told: Value = serde_json::from_str(&said).unwrap_or_default();
    let spent = told["rows"][0]["cost_usd"].as_str().expect("it is known").to_owned();
    // A budget that is used up by what an earlier process has spent, and by nothing else.
    let fresh = Gateway::start(&setup(&spent, "fresh.db"));
    assert_eq!(ask(&fresh).await.status, 200);
    let gateway = start(&spent);
    let refused = ask(&gateway).await;
    assert_eq!(refused.status, 429, "{spent} of {spent} are spent: {refused}");
    assert_eq!(refused.json()["error"]["code"], "insufficient_quota", "{refused}");
}
