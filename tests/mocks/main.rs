//! Mock vendors that nobody here wrote, behind the gateway, each in its vendors' own formats: what this project believes of a
//! vendor's API is not only what this project's own sandbox says.
//!
//! [`answers`] asks each of them in every dialect, through both APIs that clients have. [`faults`] has llmock fail in every way
//! it knows, and asks it for its verdict on the gateway.

mod answers;
mod faults;
mod mocks;

use std::process::ExitCode;
use std::sync::{Arc, OnceLock};

use libtest_mimic::{Arguments, Failed, Trial};
use tidegate_tests::gateway::Runtime;
use tokio::runtime::Handle;

use crate::mocks::World;

/// In what a vendor behind the gateway may be spoken to.
const DIALECTS: [&str; 3] = ["openai", "anthropic", "gemini"];

/// One runtime's gateway with all mocks behind it, started when the first of its tests runs.
struct Stage {
    runtime: Runtime,
    tokio: Handle,
    world: OnceLock<World>,
    faults: OnceLock<faults::Told>,
}

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(4);
    let tokio = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let mut trials = Vec::new();
    for runtime in Runtime::ALL {
        let tokio = tokio.handle().clone();
        let stage = Arc::new(Stage { runtime, tokio, world: OnceLock::new(), faults: OnceLock::new() });
        for question in answers::all() {
            let stage = Arc::clone(&stage);
            trials.push(Trial::test(format!("{}::{}", runtime.name(), question.name()), move || {
                stage.tokio.block_on(question.ask(stage.world()));
                Ok(())
            }));
        }
        for name in faults::names() {
            let stage = Arc::clone(&stage);
            trials.push(Trial::test(format!("{}::llmock::{name}", runtime.name()), move || stage.stood(&name)));
        }
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

impl Stage {
    fn world(&self) -> &World {
        self.world.get_or_init(|| World::start(self.runtime))
    }

    /// All faults are told when the first is asked for, because the verdict is on all of them.
    fn stood(&self, name: &str) -> Result<(), Failed> {
        let world = self.world();
        let told = self.faults.get_or_init(|| self.tokio.block_on(faults::tell(world)));
        let result = told.get(name).unwrap_or_else(|| panic!("{name} is not told"));
        result.clone().map_err(|failed| format!("{failed}\n--- the gateway's log\n{}", world.log_tail()).into())
    }
}
