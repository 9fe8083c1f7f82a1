//! `tidegate`: see `tidegate --help`.

use std::process::ExitCode;

use clap::Parser;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Without a provider of its own the HTTP client cannot speak TLS; installing one twice is the only way to fail.
    let _ = rustls::crypto::ring::default_provider().install_default();
    tidegate::run(tidegate::Cli::parse())
}
