//! The command line: what it checks, what it refuses, and what it does when nobody has configured anything.

use std::process::{Command, Output, Stdio};

use tidegate_tests::gateway::{Scratch, listening_at};
use tidegate_tests::http::Request;
use tidegate_tests::process::{Process, built};
use tidegate_tests::wait::PATIENCE;
use tidegate_tests::world::{chat, question, streamed};

use crate::{CONFIG, KEY_A, write};

/// The server, in a directory without any config and an environment without any key.
pub(crate) fn tidegate(arguments: &[&str]) -> Command {
    let mut command = Command::new(built("TIDEGATE_BIN", "tidegate"));
    command.args(arguments).env_clear();
    command
}

pub(crate) fn run(command: &mut Command) -> (bool, String) {
    let Output { status, stdout, stderr } = command.output().expect("it can be started");
    (status.success(), [stdout, stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat())
}

fn check(config: &str, variables: &[(&str, &str)]) -> (bool, String) {
    let scratch = Scratch::new();
    let file = write(&scratch, config);
    run(tidegate(&["check", "--config"]).arg(file).envs(variables.iter().copied()))
}

#[test]
fn check_says_that_all_is_well() {
    let (well, said) = check(CONFIG, &[("SANDBOX_A", "http://127.0.0.1:9/v1"), ("KEY_A", KEY_A)]);
    assert!(well, "{said}");
    assert!(said.contains("tidegate.toml: fine. 1 targets, 1 routes."), "{said}");
}

#[test]
fn check_says_everything_that_is_wrong_at_once() {
    let config = CONFIG.replace("dialect", "dialekt").replace("models = [\"a/tide\"]", "models = [\"a/tied\"]");
    let (well, said) = check(&config, &[("SANDBOX_A", "http://127.0.0.1:9/v1")]);
    assert!(!well, "{said}");
    for wrong in ["tidegate.toml:3:", "dialekt", "Did you mean `dialect`", "KEY_A is not set", "a/tied", "`a/tide`"] {
        assert!(said.contains(wrong), "{wrong} is missing in: {said}");
    }
}

#[test]
fn check_never_repeats_what_may_be_a_secret() {
    let pasted = CONFIG.replace("keys = [{ env = \"KEY_A\" }]", "keys = [\"sk-pasted-in-the-wrong-place\"]");
    let (well, said) = check(&pasted, &[("SANDBOX_A", "https://user:hunter2@127.0.0.1:9/v1")]);
    assert!(!well, "{said}");
    assert!(!said.contains("sk-pasted") && !said.contains("hunter2"), "{said}");
}

#[test]
fn a_file_that_is_not_there_is_named() {
    for command in ["check", "serve"] {
        let (well, said) = run(&mut tidegate(&[command, "--config", "no-such.toml"]));
        assert!(!well && said.contains("no-such.toml"), "{said}");
    }
}

#[test]
fn where_there_is_no_configuration_it_is_said_how_to_name_one() {
    let scratch = Scratch::new();
    for command in [&["check"][..], &["drill"], &["prices", "diff"]] {
        let (well, said) = run(tidegate(command).current_dir(scratch.path()));
        assert!(!well && said.contains("there is no tidegate.toml here") && said.contains("--config FILE"), "{said}");
    }
}

/// Nothing is sent: whoever compares prices or rehearses a disaster need not hold the keys.
#[test]
fn what_calls_nobody_needs_no_keys() {
    let scratch = Scratch::new();
    let file = write(&scratch, CONFIG);
    let (well, said) = run(tidegate(&["prices", "diff", "--config"]).arg(&file));
    assert!(well && said.contains("a/tide: no price is known"), "{said}");
    let (well, said) = run(tidegate(&["drill", "one-down", "--duration", "10s", "--config"]).arg(&file));
    assert!(well && said.contains("with Tidegate"), "{said}");
}

#[test]
fn a_ledger_that_is_not_there_is_not_the_configurations_fault() {
    let (well, said) = run(&mut tidegate(&["ledger", "--file", "no-such.db"]));
    assert!(!well && said.contains("there is no no-such.db") && !said.contains("store.path"), "{said}");
}

#[test]
fn a_sandboxs_vendor_needs_a_name_and_a_port_may_be_a_port() {
    for (vendor, wrong) in [(":9001", "it has no name"), ("a:90001", "`90001` is not a port"), ("a:b", "`b` is not")] {
        let (well, said) = run(&mut tidegate(&["sandbox", "--vendor", vendor]));
        assert!(!well && said.contains(wrong) && said.contains("NAME:PORT"), "{said}");
    }
}

#[test]
fn what_a_command_has_no_use_for_is_refused() {
    for command in [&["explain", "tg-1"][..], &["ledger"], &["drill"], &["sandbox"], &["prices", "show", "gpt"]] {
        for option in ["--listen", "--record"] {
            let (well, said) = run(tidegate(command).args([option, "127.0.0.1:0"]));
            assert!(!well && said.contains(&format!("unexpected argument '{option}'")), "{said}");
        }
    }
}

#[test]
fn an_open_door_is_refused() {
    let scratch = Scratch::new();
    let file = write(&scratch, CONFIG);
    let variables = [("SANDBOX_A", "http://127.0.0.1:9/v1"), ("KEY_A", KEY_A)];
    for command in ["serve", "check"] {
        let mut command = tidegate(&[command, "--listen", "0.0.0.0:0", "--config"]);
        let (well, said) = run(command.arg(&file).envs(variables));
        assert!(!well && said.contains("client"), "{said}");
    }
    let (well, said) = check(&format!("[server]\nlisten = \"0.0.0.0:8080\"\n{CONFIG}"), &variables);
    assert!(!well && said.contains("[clients.NAME]"), "{said}");
}

#[test]
fn a_taken_port_is_an_error() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("an address").to_string();
    let (well, said) = run(&mut tidegate(&["serve", "--listen", &address]));
    assert!(!well && said.contains(&address), "{said}");
}

#[test]
fn whoever_stops_reading_has_read_enough() {
    let mut command = tidegate(&["prices", "show", ""]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it can be started");
    drop(child.stdout.take());
    let Output { status, stderr, .. } = child.wait_with_output().expect("it ends");
    assert!(status.success() && stderr.is_empty(), "{}", String::from_utf8_lossy(&stderr));
}

#[test]
fn a_full_disk_is_not_taken_for_a_reader() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("every Linux has it");
    let output = tidegate(&["prices", "show", "gpt"]).stdout(full).output().expect("it can be started");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("standard output: No space left"), "{said}");
}

#[test]
fn what_is_to_be_logged_is_not_guessed_at() {
    let (well, said) = run(tidegate(&["prices", "show", "gpt"]).env("RUST_LOG", "tidegate=loud"));
    assert!(!well && said.contains("RUST_LOG: `tidegate=loud`"), "{said}");
    let (well, said) = run(tidegate(&["prices", "show", "gpt"]).env("RUST_LOG", ""));
    assert!(well, "an empty variable is as good as none: {said}");
}

#[tokio::test]
async fn without_a_config_it_serves_simulated_vendors() {
    let server = Process::spawn(&mut tidegate(&["--listen", "127.0.0.1:0"]));
    let address = server.wait_for(PATIENCE, listening_at);
    server.wait_for(PATIENCE, |line| line.contains("/admin/status").then_some(()));
    let said = server.output();
    assert!(said.contains("SIMULATED"), "it says what it is: {said}");
    for hint in [format!("http://{address}/v1\n"), "curl ".to_owned(), "OpenAI(base_url".to_owned()] {
        assert!(said.contains(&hint), "{hint} is missing in: {said}");
    }
    let reply = chat(&question("default")).send(address).await.expect(200);
    assert_eq!(reply.header("x-tidegate-target"), "sandbox-deepseek/deepseek-chat", "{reply}");
    assert!(reply.text().contains("simulated answer"), "{reply}");
    let reply = chat(&streamed("default")).send(address).await.expect(200);
    assert_eq!(reply.events().last().map(String::as_str), Some("[DONE]"), "{reply}");
}

#[tokio::test]
async fn keys_in_the_environment_make_a_config() {
    let mut command = tidegate(&["serve", "--listen", "127.0.0.1:0"]);
    command
        .env("OPENAI_API_KEY", "sk-of-openai-that-is-long-enough")
        .env("ANTHROPIC_API_KEY", "sk-ant-of-anthropic-long-enough");
    let server = Process::spawn(&mut command);
    let address = server.wait_for(PATIENCE, listening_at);
    let said = server.output();
    assert!(said.contains("OPENAI_API_KEY is set"), "{said}");
    assert!(said.contains("ANTHROPIC_API_KEY is set"), "{said}");
    assert!(!said.contains("SIMULATED") && !said.contains("sk-of-openai"), "{said}");
    let models = Request::get("/v1/models").send(address).await.expect(200).text();
    assert!(
        models.contains("\"openai/") && models.contains("\"anthropic/") && models.contains("\"default\""),
        "{models}"
    );
}

#[test]
fn the_sandbox_runs_alone() {
    let sandbox = Process::spawn(&mut tidegate(&["sandbox", "--vendor", "acme", "--vendor", "other"]));
    sandbox.wait_for(PATIENCE, |line| line.contains("POST /faults").then_some(()));
    let said = sandbox.output();
    assert!(said.contains("acme") && said.contains("other") && said.contains("http://127.0.0.1:"), "{said}");
}

fn drill(arguments: &[&str]) -> (bool, String) {
    let scratch = Scratch::new();
    let file = write(&scratch, CONFIG);
    run(tidegate(&["drill", "--config"]).arg(file).args(arguments))
}

#[test]
fn a_drill_needs_no_secrets_and_tells_both_sides() {
    let (well, said) = drill(&["one-down", "slow", "--duration", "2m", "--rate", "2"]);
    assert!(well, "{said}");
    for part in ["one-down (", "slow (", "with Tidegate", "without", "fail back", "seed 1"] {
        assert!(said.contains(part), "{part} is missing in: {said}");
    }
    assert!(!said.contains("flapping"), "only what was asked for: {said}");
    // The first line names the file.
    let figures = |said: &str| said.lines().skip(1).map(str::to_owned).collect::<Vec<_>>();
    let again = |seed| figures(&drill(&["one-down", "slow", "--duration", "2m", "--rate", "2", "--seed", seed]).1);
    assert_eq!(again("1"), figures(&said), "a seed settles everything");
    assert_ne!(again("2"), figures(&said));
}

#[test]
fn a_drill_in_json_says_the_same_in_numbers() {
    let (well, said) = drill(&["--duration", "1m", "--json", "--plain"]);
    assert!(well, "{said}");
    let reports: serde_json::Value = serde_json::from_str(&said).expect("it is JSON and nothing else");
    let names =
        reports.as_array().expect("one for each").iter().map(|report| report["scenario"].as_str().unwrap_or(""));
    let names: Vec<&str> = names.collect();
    assert_eq!(names, ["one-down", "model-down", "all-down", "slow", "throttled", "flapping", "flash-sale"]);
    assert!(reports[0]["with"]["calls"].as_u64() > Some(20), "{said}");
    assert_eq!(reports[0]["with"]["calls"], reports[0]["without"]["calls"]);
}

#[test]
fn an_outage_is_looked_at_with_few_calls_and_with_many() {
    let (well, said) = drill(&["--outage"]);
    assert!(well, "{said}");
    assert_eq!(said.matches("unwell from 1m to 2m").count(), 2, "{said}");
}

#[test]
fn claims_are_told_beside_what_was_measured() {
    let (well, said) = run(&mut tidegate(&["drill", "--claims"]));
    assert!(well, "{said}");
    for part in ["70 % fewer", "45 %", "3.0x", "An ordinary day", "SDK retries", "Tidegate, route fastest"] {
        assert!(said.contains(part), "{part} is missing in: {said}");
    }
}

#[test]
fn a_drill_refuses_what_makes_no_sense() {
    for (arguments, part) in [
        (&["--route", "nobody"][..], "`nobody`"),
        (&["--rate", "0"], "calls in a second"),
        (&["--rate", "many"], "calls in a second"),
        (&["--duration", "10"], "length of time"),
        (&["earthquake"], "one-down"),
        (&["one-down", "--claims"], "cannot be used with"),
    ] {
        let (well, said) = drill(arguments);
        assert!(!well && said.contains(part), "{arguments:?}: {said}");
    }
}
