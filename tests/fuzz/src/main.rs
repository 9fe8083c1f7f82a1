//! Fuzz targets for everything that reads what clients and vendors send: `cargo xtask fuzz` builds this with libFuzzer and
//! coverage, and runs one target to a process.
//!
//! Built as any other program it has no fuzzer in it, and replays inputs, in a debugger if need be:
//! `cargo run -p tidegate-fuzz -- TARGET FILE..`. Without arguments it lists the targets.
//!
//! An input is what would come over the wire, byte for byte, so that golden files are the seeds and what is found can be read. All
//! targets hold the same: nothing panics, hangs, or takes more memory than its input gives reason for.

#![cfg_attr(fuzzing, no_main)]

mod check;
mod deltas;
mod headers;
#[cfg(fuzzing)]
mod mutate;
mod replies;
mod requests;
mod streams;
mod world;

use std::alloc::System;

use cap::Cap;
use tidegate_core::dialect::{Dialect, Surface};

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

/// What an input may take at most, whatever its size: buffers that are there before anything is read.
const BYTES_MAX: usize = 4 << 20;
/// What each byte of an input may take beside that: `[[[` is a value of some hundred bytes to each byte, read and written for every
/// vendor.
const BYTES_PER_BYTE_MAX: usize = 1024;

/// Takes an input, and panics if anything is not as it should be.
type Target = fn(&[u8]);

/// What is tried, by name.
const TARGETS: [(&str, Target); 17] = [
    ("sse", streams::sse),
    ("stream-openai", |input| streams::stream(Dialect::OpenAi, input)),
    ("stream-anthropic", |input| streams::stream(Dialect::Anthropic, input)),
    ("stream-gemini", |input| streams::stream(Dialect::Gemini, input)),
    ("request-chat", |input| requests::request(Surface::Chat, input)),
    ("request-completions", |input| requests::request(Surface::Completions, input)),
    ("request-responses", |input| requests::request(Surface::Responses, input)),
    ("request-embeddings", |input| requests::request(Surface::Embeddings, input)),
    ("request-messages", |input| requests::request(Surface::Messages, input)),
    ("request-count", |input| requests::request(Surface::CountTokens, input)),
    ("reply-openai", |input| replies::reply(Dialect::OpenAi, input)),
    ("reply-anthropic", |input| replies::reply(Dialect::Anthropic, input)),
    ("reply-gemini", |input| replies::reply(Dialect::Gemini, input)),
    ("error", replies::error),
    ("encoders", deltas::encoders),
    ("headers", headers::headers),
    ("swarm", swarm),
];

/// Lives through the seed that a short input is: what a storm and its story take has nothing to do with its length.
fn swarm(input: &[u8]) {
    let mut seed = [0; 8];
    let Some(bytes) = seed.get_mut(..input.len()) else { return };
    bytes.copy_from_slice(input);
    ALLOCATOR.set_limit(usize::MAX).expect("nothing is above it");
    tidegate_core::sim::swarm::swarm(u64::from_le_bytes(seed)).unwrap_or_else(|wrong| panic!("{wrong}"));
}

/// Gives an input to a target, under its bound on memory.
fn run(target: Target, input: &[u8]) {
    let limit = ALLOCATOR.allocated() + BYTES_MAX + BYTES_PER_BYTE_MAX * input.len();
    ALLOCATOR.set_limit(limit).expect("it is above what is allocated");
    target(input);
    ALLOCATOR.set_limit(usize::MAX).expect("nothing is above it");
}

/// What a panic has to say may take more than the input that caused it: without this, it would hang.
fn let_panics_speak() {
    let say = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let _ = ALLOCATOR.set_limit(usize::MAX);
        say(panic);
    }));
}

fn named(name: &str) -> Option<Target> {
    TARGETS.iter().find(|(target, _)| *target == name).map(|(_, run)| *run)
}

fn list() {
    for (name, _) in &TARGETS {
        println!("{name}");
    }
}

#[cfg(fuzzing)]
mod fuzzer {
    use std::sync::OnceLock;

    use libfuzzer_sys::{fuzz_mutator, fuzz_target};

    use super::Target;

    /// The target of this process, which `TIDEGATE_FUZZ` names: libFuzzer has the command line to itself.
    static TARGET: OnceLock<Target> = OnceLock::new();

    fn choose() {
        let Ok(name) = std::env::var("TIDEGATE_FUZZ") else {
            super::list();
            std::process::exit(0);
        };
        let target = super::named(&name).expect("TIDEGATE_FUZZ names a target");
        TARGET.get_or_init(|| target);
        super::let_panics_speak();
    }

    fuzz_target!(init: choose(), |input: &[u8]| super::run(*TARGET.get().expect("it has been chosen"), input));

    fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
        super::mutate::mutate(data, size, max_size, seed)
    });
}

#[cfg(not(fuzzing))]
fn main() {
    let mut args = std::env::args().skip(1);
    let Some(name) = args.next() else {
        return list();
    };
    let target = named(&name).unwrap_or_else(|| panic!("no such target: {name}"));
    let_panics_speak();
    for file in args {
        let input = std::fs::read(&file).unwrap_or_else(|error| panic!("cannot read {file}: {error}"));
        run(target, &input);
        println!("{name}: {file}: as it should be");
    }
}
