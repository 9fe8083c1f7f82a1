//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// An AI-API gateway that keeps calls to AI vendors alive.
///
/// Without a command it serves. Without a configuration it serves the vendors whose keys are in the environment
/// (such as `OPENAI_API_KEY`), and without any key simulated ones.
#[derive(Debug, Parser)]
#[command(name = "tidegate", version, about, long_about = None)]
pub struct Cli {
    #[command(flatten)]
    pub(crate) options: Options,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The configuration file.
    #[arg(long, global = true, env = "TIDEGATE_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Where to listen, instead of what the configuration says.
    #[arg(long, global = true, value_name = "HOST:PORT")]
    pub(crate) listen: Option<String>,
    /// Write what is decided about each request to the end of this file, for `tidegate replay`. Never what is said.
    #[arg(long, global = true, env = "TIDEGATE_RECORD", value_name = "FILE")]
    pub(crate) record: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve (the default).
    Serve,
    /// Say what a running gateway decided about a request, and why.
    ///
    /// The gateway's admin key, where it has one, is read from `TIDEGATE_ADMIN_KEY`.
    Explain {
        /// What the reply said as `x-tidegate-request-id`.
        id: String,
        /// Where the gateway is.
        #[arg(long, default_value = "http://127.0.0.1:8080")]
        url: String,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Decide about recorded requests once more: as then, or with `--config` as another configuration would have it.
    ///
    /// Exits with 1 if the same configuration does not decide the same.
    Replay {
        /// What `--record` has written.
        file: PathBuf,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Check the configuration and the keys it needs, and say everything that is wrong with it.
    Check,
    /// Run simulated vendors alone, to try a client or a gateway against.
    Sandbox {
        /// A vendor by this name, on this port or any free one; may be repeated.
        #[arg(long = "vendor", value_name = "NAME[:PORT]")]
        vendors: Vec<String>,
    },
}
