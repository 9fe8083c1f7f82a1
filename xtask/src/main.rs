//! The project's machinery: `cargo xtask setup | test | fuzz | edge | bench | prices`.
//!
//! Nothing but rustup, node with npm, and python3 is assumed, and nothing is installed globally: tools, npm packages and
//! the Python environment go into the project's cache (see [`place`]), once, and only when missing.

mod bench;
mod edge;
mod fuzz;
mod group;
mod place;
mod prices;
mod run;
mod setup;
mod test;
mod worker;

use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask <command>

  setup                 install what the edge and the client tests need, where it is missing
  test [FILTER]         lints, build, every test on both runtimes; with FILTER, only the tests whose name contains it
  fuzz [options] [NAME] throw what clients and vendors might send at all that reads it; with NAME, only at targets so named
      --seconds N         how long for each target (default: 60)
  edge [options]        build the worker and run it locally
      --config FILE       the worker's config (default: tidegate.toml at the root)
      --port P            where to listen (default: 8787; 0: any free port)
      --persist DIR       where Durable Objects keep their storage (default: .wrangler/state)
      --var NAME=VALUE    a variable or secret for the worker; may be repeated
      --build-only        build, do not run (this is what wrangler.toml calls)
      --exit-with-stdin   stop when standard input closes, so that a parent that dies leaves nothing behind
  bench [options]       CPU and latency: direct, through a bare pass-through, through Tidegate
      --quick             a short run, for a rough figure
      --json              print the result as JSON
  prices                make the built-in price table anew, from genai-prices on PyPI, and compare it with litellm's

The cache is $TIDEGATE_CACHE, else $XDG_CACHE_HOME/tidegate, else ~/.cache/tidegate.";

fn main() -> ExitCode {
    match dispatch() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch() -> anyhow::Result<ExitCode> {
    let mut args = lexopt::Parser::from_env();
    let command = match args.next()? {
        Some(lexopt::Arg::Value(command)) => command,
        Some(lexopt::Arg::Short('h') | lexopt::Arg::Long("help")) | None => {
            println!("{USAGE}");
            return Ok(ExitCode::SUCCESS);
        }
        Some(other) => return Err(other.unexpected().into()),
    };
    match command.to_str() {
        Some("setup") => {
            no_more(args)?;
            setup::everything()?;
        }
        Some("test") => return test::main(args),
        Some("fuzz") => return fuzz::main(args),
        Some("edge") => edge::main(args)?,
        Some("prices") => {
            no_more(args)?;
            prices::main()?;
        }
        Some("bench") => bench::main(args)?,
        _ => anyhow::bail!("no such command: {}\n\n{USAGE}", command.display()),
    }
    Ok(ExitCode::SUCCESS)
}

/// An argument that says nothing to a command is a mistake.
fn no_more(mut args: lexopt::Parser) -> anyhow::Result<()> {
    match args.next()? {
        Some(extra) => Err(extra.unexpected().into()),
        None => Ok(()),
    }
}
