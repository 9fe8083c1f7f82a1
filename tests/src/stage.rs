//! Worlds that are made when the first of their scenarios runs, and failures that show the gateway's side.

use std::cell::RefCell;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};

use libtest_mimic::Failed;

use crate::gateway::{Gateway, Runtime};
use crate::preset::Preset;
use crate::world::World;

thread_local! {
    /// What the scenario on this thread failed with, and where.
    static LAST_PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

/// One runtime's world, shared by its scenarios.
#[derive(Debug)]
pub struct Stage<W = World> {
    /// Where its gateway runs.
    pub runtime: Runtime,
    /// The config of its gateway.
    config: &'static str,
    tokio: tokio::runtime::Handle,
    /// An error says why it could not be started.
    world: OnceLock<Result<W, String>>,
}

/// What scenarios are told in: a gateway and its vendors.
pub trait Setting: Sized {
    /// Starts all of it.
    fn start(runtime: Runtime, config: &'static str) -> impl Future<Output = Self>;

    /// The gateway, for its log.
    fn gateway(&self) -> &Gateway;
}

/// A scenario that has begun.
pub type Told<'w> = Pin<Box<dyn Future<Output = ()> + 'w>>;

impl<W: Setting> Stage<W> {
    /// A stage for each runtime, with a config, named as its setting's are.
    pub fn with(tokio: &tokio::runtime::Runtime, config: &'static str) -> [Arc<Self>; 2] {
        // Each failure is shown once, with the gateway's log, instead of in the midst of the others.
        std::panic::set_hook(Box::new(|panic| LAST_PANIC.set(panic.to_string())));
        let tokio = tokio.handle();
        Runtime::ALL.map(|runtime| Arc::new(Self { runtime, config, tokio: tokio.clone(), world: OnceLock::new() }))
    }

    /// Tells a scenario to its end. An error says what did not hold, and what the gateway logged.
    pub fn tell<'w>(&'w self, scenario: impl FnOnce(&'w W) -> Told<'w>) -> Result<(), Failed> {
        let start = || {
            let world = W::start(self.runtime, self.config);
            catch_unwind(AssertUnwindSafe(|| self.tokio.block_on(world))).map_err(|_| LAST_PANIC.take())
        };
        let world = self.world.get_or_init(start).as_ref();
        let world = world.map_err(|why| format!("the {} gateway has not started. {why}", self.runtime.name()))?;
        let told = catch_unwind(AssertUnwindSafe(|| self.tokio.block_on(scenario(world))));
        told.map_err(|_| format!("{}\n--- the gateway's log\n{}", LAST_PANIC.take(), log_tail(world.gateway())).into())
    }
}

impl Setting for World {
    fn start(runtime: Runtime, config: &'static str) -> impl Future<Output = Self> {
        Self::start(runtime, config)
    }

    fn gateway(&self) -> &Gateway {
        &self.gateway
    }
}

impl Setting for Preset {
    fn start(runtime: Runtime, config: &'static str) -> impl Future<Output = Self> {
        Self::start(runtime, config)
    }

    fn gateway(&self) -> &Gateway {
        &self.gateway
    }
}

/// The last lines of a gateway's log.
fn log_tail(gateway: &Gateway) -> String {
    const LINES: usize = 30;
    let output = gateway.output();
    let lines: Vec<&str> = output.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}
