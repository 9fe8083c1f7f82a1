//! The official `OpenAI` clients for Python and Node, unmodified, against both runtimes: one test per case, client and
//! runtime.
//!
//! A client's script (`python/client_openai.py`, `node/client_openai.mjs`) tells all of its cases in one go and prints a line
//! of JSON for each; the tests read those lines, and ask the vendor about what a client cannot know.

use std::collections::BTreeMap;
use std::env;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::sync::{Arc, OnceLock};

use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::{Value, json};
use tidegate_tests::stage::Stage;
use tidegate_tests::vendors::Seen;
use tidegate_tests::wait;
use tidegate_tests::world::{SDK_KEY, World, root};

/// What both clients tell.
const CASES: [&str; 14] = [
    "plain",
    "headers",
    "request_id",
    "stream",
    "stream_with_usage",
    "embeddings",
    "models_list",
    "models_retrieve",
    "unknown_model",
    "bad_request",
    "all_down",
    "cut_stream",
    "cancel",
    "many_at_once",
];

/// An official client.
struct Sdk {
    name: &'static str,
    /// The variable in which `cargo xtask test` says where its interpreter is.
    interpreter: &'static str,
    script: &'static str,
    /// Cases that only it has.
    more: &'static [&'static str],
}

const SDKS: [Sdk; 2] = [
    Sdk { name: "python", interpreter: "TIDEGATE_PYTHON", script: "python/client_openai.py", more: &[] },
    Sdk { name: "node", interpreter: "TIDEGATE_NODE", script: "node/client_openai.mjs", more: &["abort"] },
];

/// A client's run against one gateway, made when the first of its cases is asked for.
struct Run {
    stage: Arc<Stage>,
    sdk: &'static Sdk,
    results: OnceLock<Results>,
}

/// What a run said about each case, or why it said nothing.
type Results = Result<BTreeMap<String, Value>, String>;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // Two clients, two runtimes.
    arguments.test_threads.get_or_insert(4);
    let tokio = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let mut trials = Vec::new();
    for stage in Stage::all(&tokio) {
        for sdk in &SDKS {
            let run = Arc::new(Run { stage: Arc::clone(&stage), sdk, results: OnceLock::new() });
            let name = |case: &str| format!("{}::{}::{case}", stage.runtime.name(), sdk.name);
            for case in CASES.iter().chain(sdk.more) {
                let run = Arc::clone(&run);
                trials.push(Trial::test(name(case), move || run.passed(case)));
            }
            let rest = Arc::clone(&run);
            trials.push(Trial::test(name("nothing_else"), move || rest.has_no_other_case()));
            trials.push(Trial::test(name("cancelled_at_the_vendor"), move || run.was_cancelled()));
        }
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

impl Run {
    fn passed(&self, case: &str) -> Result<(), Failed> {
        match self.results()?.get(case) {
            Some(result) if result["ok"] == true => Ok(()),
            Some(result) => Err(result["detail"].as_str().unwrap_or("no detail").into()),
            None => Err(format!("{} tells no such case", self.sdk.script).into()),
        }
    }

    /// A case that nobody asks for could fail unseen.
    fn has_no_other_case(&self) -> Result<(), Failed> {
        let known = |case: &&String| CASES.iter().chain(self.sdk.more).any(|known| known == case);
        match self.results()?.keys().find(|case| !known(case)) {
            Some(case) => Err(format!("{case} is not in the list of cases").into()),
            None => Ok(()),
        }
    }

    fn was_cancelled(&self) -> Result<(), Failed> {
        self.results()?;
        self.stage.tell(|world| Box::pin(all_cancelled(world)))
    }

    fn results(&self) -> Result<&BTreeMap<String, Value>, Failed> {
        self.results.get_or_init(|| self.run()).as_ref().map_err(Failed::from)
    }

    fn run(&self) -> Results {
        let variable = self.sdk.interpreter;
        let interpreter = env::var_os(variable).map(PathBuf::from).filter(|path| path.is_file());
        let interpreter = interpreter.ok_or_else(|| format!("{variable} names no program: run `cargo xtask test`"))?;
        let told = OnceLock::new();
        self.stage
            .tell(|world| {
                Box::pin(async {
                    prepare(world).await;
                    let _ = told.set(tell(&interpreter, self.sdk, world));
                })
            })
            .map_err(|failed| failed.message().unwrap_or("the vendors cannot be prepared").to_owned())?;
        told.into_inner().expect("it was set, or the scenario has failed")
    }
}

/// Puts the vendor into the states that the scripts ask for. Twice is as good as once.
async fn prepare(world: &World) {
    world.a.answers("sdk-down-1", 503).await;
    world.a.fault("sdk-cut-1", json!({"kind": "cut", "after_tokens": 3})).await;
}

/// Runs a client's script. It blocks: nothing else happens on this test's thread meanwhile.
fn tell(interpreter: &PathBuf, sdk: &Sdk, world: &World) -> Results {
    let mut command = Command::new(interpreter);
    command.arg(root().join("tests").join(sdk.script)).arg(format!("http://{}/v1", world.gateway.address));
    for (option, route) in [
        ("--model", "sdk"),
        ("--embedding", "sdk-vectors"),
        ("--down", "sdk-down"),
        ("--cut", "sdk-cut"),
        ("--cancel", "sdk-cancel"),
        ("--key", SDK_KEY),
    ] {
        command.args([option, route]);
    }
    // Neither a proxy nor another key of whoever runs the tests.
    let output = command.env_clear().output().map_err(|error| format!("{command:?}: {error}"))?;
    let lines = String::from_utf8_lossy(&output.stdout).into_owned();
    let results: BTreeMap<String, Value> = lines
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter_map(|result| Some((result["case"].as_str()?.to_owned(), result)))
        .collect();
    if results.is_empty() {
        return Err(format!("{} says nothing: {}", sdk.script, String::from_utf8_lossy(&output.stderr)));
    }
    Ok(results)
}

/// The clients have left, and so the vendor has been told to stop.
async fn all_cancelled(world: &World) {
    wait::until("every request that a client left to be cancelled at the vendor", async || {
        let requests = world.slow.requests("sdk-cancel-1").await;
        (!requests.is_empty() && requests.iter().all(Seen::aborted)).then_some(())
    })
    .await;
}
