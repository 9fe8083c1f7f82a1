//! Clients that people have, unmodified, against both runtimes and vendors of every dialect: one test per case.
//!
//! A client's script (see `python/cases.py` and `node/cases.mjs`) tells all of its cases in one go and prints a line of
//! JSON for each; the tests read those lines, and ask the vendor about what a client cannot know.

mod sdks;

use std::collections::BTreeMap;
use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::{Arc, OnceLock};

use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::{Value, json};
use tidegate_tests::stage::Stage;
use tidegate_tests::vendors::Seen;
use tidegate_tests::wait;
use tidegate_tests::world::{SDK_KEY, World, root};

use crate::sdks::{DIALECTS, SDKS, Sdk};

/// What the vendors say of a request that they refuse; the scripts look for it.
const REFUSAL: &str = "the tide table has no such page";

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
    // Two runtimes, and two clients at once on each.
    arguments.test_threads.get_or_insert(4);
    let tokio = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let mut trials = Vec::new();
    for stage in Stage::with(&tokio, "clients.toml") {
        for sdk in &SDKS {
            let run = Arc::new(Run { stage: Arc::clone(&stage), sdk, results: OnceLock::new() });
            let name = |case: &str| format!("{}::{}::{case}", stage.runtime.name(), sdk.name);
            for case in sdk.cases() {
                let run = Arc::clone(&run);
                trials.push(Trial::test(name(&case), move || run.passed(&case)));
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
        let known = self.sdk.cases();
        match self.results()?.keys().find(|case| !known.contains(case)) {
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

/// Puts the vendors into the states that the scripts ask for. Twice is as good as once.
async fn prepare(world: &World) {
    for dialect in DIALECTS {
        let model = |state: &str| format!("{dialect}-{state}");
        let refusal = match dialect {
            "anthropic" => json!({"type": "error", "error": {"type": "invalid_request_error", "message": REFUSAL}}),
            "gemini" => json!({"error": {"code": 400, "message": REFUSAL, "status": "INVALID_ARGUMENT"}}),
            _ => {
                json!({"error": {"message": REFUSAL, "type": "invalid_request_error", "param": null, "code": null}})
            }
        };
        world.a.fault(&model("refused"), json!({"kind": "status", "status": 400, "body": refusal})).await;
        world.a.answers(&model("down"), 503).await;
        world.a.fault(&model("cut"), json!({"kind": "cut", "after_tokens": 3})).await;
        world.a.fault(&model("error"), json!({"kind": "error_in_200", "after_tokens": 3})).await;
    }
}

/// Runs a client's script. It blocks: nothing else happens on this test's thread meanwhile.
fn tell(interpreter: &Path, sdk: &Sdk, world: &World) -> Results {
    let mut command = Command::new(interpreter);
    command.arg(root().join("tests").join(sdk.script)).arg(format!("http://{}", world.gateway.address));
    command.args(["--key", SDK_KEY]).args(sdk.arguments);
    for dialect in DIALECTS {
        command.args(["--vendor", dialect]);
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

/// The clients have left, and so the vendors have been told to stop.
async fn all_cancelled(world: &World) {
    for dialect in DIALECTS {
        let what = format!("every request that a client left to be cancelled at the {dialect} vendor");
        wait::until(&what, async || {
            let requests = world.slow.requests(&format!("{dialect}-cancel")).await;
            (!requests.is_empty() && requests.iter().all(Seen::aborted)).then_some(())
        })
        .await;
    }
}
