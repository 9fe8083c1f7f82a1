//! What was decided, looked at afterwards: `tidegate explain`, `--record` and `tidegate replay`.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::thread;

use serde_json::{Value, json};
use tidegate_tests::gateway::Scratch;
use tidegate_tests::http::Request;
use tidegate_tests::world::{chat, question, streamed};

use crate::command::{run, tidegate};
use crate::{CONFIG, KEY_A, Served, write};

/// A second model to fall back on, and breakers that know no ratio.
fn config() -> String {
    let models = "\"a/tide\" = {}\n\"a/ebb\" = {}\n[defaults.breaker]\nfailures = 4\nfailure_rate = 0\nopen = \"1s\"\n\
                  [defaults.retry]\nbase = \"20ms\"\n[defaults.timeouts]\ngap = \"500ms\"\n";
    let with_fallback = CONFIG.replace("models = [\"a/tide\"]", "models = [\"a/tide\", \"a/ebb\"]");
    with_fallback.replace("\"a/tide\" = {}\n", models)
}

/// A server that records, after a bad quarter of an hour, shortened. Also what the client was told in the last reply.
async fn recorded(file: &Path) -> (Served, String) {
    let served = Served::start(&config(), &[("TIDEGATE_RECORD", file.to_str().expect("a plain path"))]).await;
    let to = served.gateway.address;
    let faults = [
        json!({"kind": "status", "status": 503}),
        json!({"kind": "reset"}),
        json!({"kind": "cut", "after_tokens": 1}),
        json!({"kind": "stall", "after_tokens": 1}),
        json!({"kind": "status", "status": 429, "headers": {"retry-after": "1"}}),
        json!({"kind": "status", "status": 400}),
    ];
    for fault in faults {
        served.vendor.fault_times("tide", 2, fault).await;
        for body in [question("default"), streamed("default"), question("a/tide")] {
            let (first, second) = tokio::join!(chat(&body).send(to), chat(&body).send(to));
            assert!(first.status > 0 && second.status > 0);
        }
        served.vendor.heal("tide").await;
    }
    // For two seconds nobody at all answers, and breakers open.
    for model in ["tide", "ebb"] {
        served.vendor.answers(model, 503).await;
    }
    for _ in 0..6 {
        chat(&question("default")).send(to).await;
    }
    served.vendor.heal("tide").await;
    served.vendor.heal("ebb").await;
    let last = chat(&question("default")).send(to).await;
    let id = last.header("x-tidegate-request-id").to_owned();
    (served, id)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_recorded_is_decided_the_same_again() {
    let scratch = Scratch::new();
    let file = scratch.path().join("decisions.jsonl");
    let (mut served, id) = recorded(&file).await;

    let url = format!("http://{}", served.gateway.address);
    let (well, said) = run(tidegate(&["explain", &id, "--url", &url]).env("NO_PROXY", "*"));
    assert!(well && said.contains(&id) && said.contains("model default"), "{said}");
    let (well, said) = run(tidegate(&["explain", &id, "--url", &url, "--json"]).env("NO_PROXY", "*"));
    let account: Value = serde_json::from_str(&said).unwrap_or_default();
    assert!(well && account["request_id"] == id.as_str(), "{said}");
    let (well, said) = run(tidegate(&["explain", "tg-0123", "--url", &url]).env("NO_PROXY", "*"));
    assert!(!well && said.contains("no record of a request `tg-0123`"), "{said}");
    assert!(!said.contains("ADMIN_KEY"), "that is not the matter: {said}");

    served.gateway.terminate();
    assert!(served.gateway.ended_well());
    let text = fs::read_to_string(&file).expect("it was recorded");
    assert_eq!(text.lines().count(), 1 + 6 * 6 + 6 + 1, "{text}");
    for secret in [KEY_A, "Is the tide in?", &served.vendor.base_url()] {
        assert!(!text.contains(secret), "{secret} is in: {text}");
    }

    let replay = || tidegate(&["replay", file.to_str().expect("a plain path")]);
    let (well, said) = run(&mut replay());
    assert!(well && said.starts_with("43 requests, 43 identical\n"), "{said}\n{text}");

    let other = write(&scratch, &config().replace("[\"a/tide\", \"a/ebb\"]", "[\"a/tide\"]"));
    let (well, said) = run(replay().args(["--json", "--config"]).arg(&other));
    let report: Value = serde_json::from_str(&said).unwrap_or_default();
    assert!(well && report["guessed"].as_u64() > Some(0), "{said}");
    let differences = report["differences"].as_array().expect("there are some");
    let ask_ebb =
        |which: &str| differences.iter().any(|one| one[which].as_str().is_some_and(|asked| asked.contains("a/ebb")));
    assert!(ask_ebb("recorded") && !ask_ebb("replayed"), "who is not there is not asked: {said}");
    let (well, said) = run(replay().arg("--config").arg(&other));
    assert!(well && said.contains("errors"), "{said}");

    // A line that somebody has had their hands on.
    fs::write(&file, text.replacen("\"attempts\":[", "\"attempts\":[[", 1)).expect("it is ours");
    let (well, said) = run(&mut replay());
    assert!(!well && said.contains("decisions.jsonl, line 2: "), "{said}");
}

/// A route that goes by cost asks whom the operator's own prices make the cheaper one: then, and when it is replayed.
#[tokio::test(flavor = "multi_thread")]
async fn prices_in_a_file_of_their_own_are_recorded_too() {
    let scratch = Scratch::new();
    let file = scratch.path().join("decisions.jsonl");
    let price = |model: &str, usd: u32| format!("[\"a/{model}\"]\ninput = {usd}\noutput = {usd}\n");
    let prices = scratch.path().join("own.toml");
    fs::write(&prices, price("tide", 9) + &price("ebb", 1)).expect("it is ours");
    let by_cost = config().replace("[routes.default]\n", "[routes.default]\nstrategy = \"cost\"\n");
    let config = format!("[prices]\nfile = {prices:?}\n{by_cost}");
    let mut served = Served::start(&config, &[("TIDEGATE_RECORD", file.to_str().expect("a plain path"))]).await;
    let reply = chat(&question("default")).send(served.gateway.address).await;
    assert_eq!(reply.header("x-tidegate-target"), "a/ebb", "{reply}");
    served.gateway.terminate();
    assert!(served.gateway.ended_well());

    let (well, said) = run(tidegate(&["replay"]).arg(&file));
    assert!(well && said.starts_with("1 requests, 1 identical\n"), "{said}");
    let same = write(&scratch, &config);
    let (well, said) = run(tidegate(&["replay"]).arg(&file).arg("--config").arg(&same));
    assert!(well && said.starts_with("1 requests, 1 identical\n"), "{said}");
    fs::write(&prices, price("tide", 1) + &price("ebb", 9)).expect("it is ours");
    let (well, said) = run(tidegate(&["replay", "--json"]).arg(&file).arg("--config").arg(&same));
    assert!(well && said.contains("a/tide"), "with other prices another one is asked: {said}");
    let (well, said) = run(tidegate(&["drill", "one-down", "--duration", "1m", "--config"]).arg(&same));
    assert!(well && !said.contains("unknown"), "a drill counts with them: {said}");
}

#[test]
fn nobody_there_is_said_plainly() {
    let (well, said) = run(tidegate(&["explain", "tg-0123", "--url", "http://127.0.0.1:9"]).env("NO_PROXY", "*"));
    assert!(
        !well && said.contains("no answer from http://127.0.0.1:9: ") && said.contains("--url says where"),
        "{said}"
    );
    let (well, said) = run(&mut tidegate(&["replay", "no-such.jsonl"]));
    assert!(!well && said.contains("no-such.jsonl cannot be read"), "{said}");
}

/// What a server that answers with `page` is taken for, or one that says nothing at all.
fn taken_for(page: Option<&str>) -> (bool, String) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let page = page.map(|page| format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{page}", page.len()));
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("it is asked");
        let mut asked = [0; 4096];
        let _ = stream.read(&mut asked);
        // Without a page it waits until whoever has asked gives up.
        let _ = match page {
            Some(page) => stream.write_all(page.as_bytes()).map(|()| 0),
            None => stream.read(&mut asked),
        };
    });
    let told = run(tidegate(&["ledger", "--url", &url]).env("NO_PROXY", "*"));
    server.join().expect("it does not panic");
    told
}

#[test]
fn what_is_no_gateway_is_not_believed() {
    let (well, said) = taken_for(Some("<html>Welcome to nginx!</html>"));
    assert!(!well && said.contains("is no Tidegate") && !said.contains("html"), "{said}");
}

#[test]
fn a_gateway_that_says_nothing_is_not_waited_for_for_ever() {
    let (well, said) = taken_for(None);
    assert!(!well && said.contains("no answer from http://127.0.0.1:") && said.contains("timed out"), "{said}");
    assert!(!said.contains("--url says where"), "it is there: {said}");
}

#[tokio::test]
async fn the_admin_key_is_asked_for() {
    let guarded = format!("[server]\nadmin_key = {{ env = \"ADMIN_KEY\" }}\n{CONFIG}");
    let served = Served::start(&guarded, &[("ADMIN_KEY", "the-admins-own-secret")]).await;
    let to = served.gateway.address;
    let id = chat(&question("default")).send(to).await.header("x-tidegate-request-id").to_owned();
    let explain = || {
        let mut command = tidegate(&["explain", &id, "--url", &format!("http://{to}")]);
        command.env("NO_PROXY", "*");
        command
    };
    let (well, said) = run(&mut explain());
    assert!(!well && said.contains("This needs the admin key") && said.contains("Set TIDEGATE_ADMIN_KEY"), "{said}");
    let (well, said) = run(explain().env("TIDEGATE_ADMIN_KEY", "somebody-elses-secret"));
    assert!(!well && said.contains("TIDEGATE_ADMIN_KEY holds is another one"), "{said}");
    let (well, said) = run(explain().env("TIDEGATE_ADMIN_KEY", "two\nlines"));
    assert!(!well && said.contains("TIDEGATE_ADMIN_KEY holds a character") && !said.contains("two"), "{said}");
    let (well, said) = run(explain().env("TIDEGATE_ADMIN_KEY", "the-admins-own-secret\n"));
    assert!(well && said.contains("answered by a/tide"), "{said}");
    assert_eq!(Request::get(&format!("/admin/requests/{id}")).send(to).await.status, 401);
}
