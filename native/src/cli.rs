//! The command line.

use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{Args, Parser, Subcommand};
use tidegate_core::config::duration;
use tidegate_core::sim::drill::{Scenario, Terms};
use tidegate_core::time::Millis;

/// An AI-API gateway that keeps calls to AI vendors alive.
///
/// Without a command it serves. Without a configuration it serves the vendors whose keys are in the environment
/// (such as `OPENAI_API_KEY`), and without any key simulated ones.
#[derive(Debug, Parser)]
#[command(name = "tidegate", version, about, long_about = None)]
pub struct Cli {
    /// The configuration file.
    #[arg(long, global = true, env = "TIDEGATE_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) serving: Serving,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// `tidegate serve`, and `tidegate` alone.
#[derive(Debug, Args)]
pub(crate) struct Serving {
    /// Where to listen, instead of what the configuration says.
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) listen: Option<String>,
    /// Write what is decided about each request to the end of this file, for `tidegate replay`. Never what is said.
    #[arg(long, env = "TIDEGATE_RECORD", value_name = "FILE")]
    pub(crate) record: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve (the default).
    Serve(Serving),
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
    /// Say what was spent and used, by client, model, route or day.
    ///
    /// Asks a running gateway, or with `--file` or `--config` its database. The gateway's admin key, where it has one, is
    /// read from `TIDEGATE_ADMIN_KEY`.
    Ledger(LedgerTerms),
    /// Say how the queue of a running gateway stands, and list its jobs, the latest first.
    ///
    /// The gateway's admin key, where it has one, is read from `TIDEGATE_ADMIN_KEY`.
    Queue(QueueTerms),
    /// Check the configuration and the keys it needs, and say everything that is wrong with it.
    Check {
        /// Where it would listen, instead of what the configuration says.
        #[arg(long, value_name = "HOST:PORT")]
        listen: Option<String>,
    },
    /// Live through disasters in simulation, with the clients and vendors of this configuration, with Tidegate and without.
    Drill(Drill),
    /// Say what models cost.
    Prices {
        #[command(subcommand)]
        what: Prices,
    },
    /// Run simulated vendors alone, to try a client or a gateway against.
    Sandbox {
        /// A vendor by this name, on this port or any free one; may be repeated.
        #[arg(long = "vendor", value_name = "NAME[:PORT]")]
        vendors: Vec<String>,
    },
}

impl Serving {
    /// What is said behind the command, and else what is said before it.
    pub(crate) fn or(self, before: Self) -> Self {
        Self { listen: self.listen.or(before.listen), record: self.record.or(before.record) }
    }
}

/// `tidegate ledger`.
#[derive(Debug, Args)]
pub(crate) struct LedgerTerms {
    /// What to sum by: any of `client`, `model`, `route`, `day` and `probe`.
    #[arg(long, default_value = "client,model", value_name = "COLUMNS", conflicts_with = "lines")]
    pub(crate) by: String,
    /// From this day on (`2026-11-21`), or this moment (`2026-11-21T10:30:00Z`).
    #[arg(long, value_name = "WHEN")]
    pub(crate) from: Option<String>,
    /// Before this day, or this moment.
    #[arg(long, value_name = "WHEN")]
    pub(crate) to: Option<String>,
    /// This client's alone.
    #[arg(long, value_name = "NAME")]
    pub(crate) client: Option<String>,
    /// This model's alone, as `vendor/model`.
    #[arg(long, value_name = "NAME")]
    pub(crate) model: Option<String>,
    /// This route's alone.
    #[arg(long, value_name = "NAME")]
    pub(crate) route: Option<String>,
    /// The lines themselves, the latest first, instead of sums.
    #[arg(long)]
    pub(crate) lines: bool,
    /// How many lines; absent: 100.
    #[arg(long, value_name = "NUMBER", requires = "lines")]
    pub(crate) limit: Option<String>,
    /// The `next` of another page of lines.
    #[arg(long, value_name = "NEXT", requires = "lines")]
    pub(crate) before: Option<String>,
    /// For a spreadsheet.
    #[arg(long)]
    pub(crate) csv: bool,
    /// As JSON.
    #[arg(long, conflicts_with = "csv")]
    pub(crate) json: bool,
    /// Where the gateway is; absent: `http://127.0.0.1:8080`.
    #[arg(long)]
    pub(crate) url: Option<String>,
    /// The database file, to be read without a gateway.
    #[arg(long, value_name = "FILE", conflicts_with = "url")]
    pub(crate) file: Option<PathBuf>,
}

/// `tidegate queue`.
#[derive(Debug, Args)]
pub(crate) struct QueueTerms {
    /// Those alone that are `pending`, `running`, `done`, `failed` or `expired`.
    #[arg(long, value_name = "STATUS")]
    pub(crate) status: Option<String>,
    /// This client's alone.
    #[arg(long, value_name = "NAME")]
    pub(crate) client: Option<String>,
    /// Those alone that asked for this as `model`.
    #[arg(long, value_name = "NAME")]
    pub(crate) model: Option<String>,
    /// How many jobs; absent: 100.
    #[arg(long, value_name = "NUMBER")]
    pub(crate) limit: Option<String>,
    /// What another page said comes next.
    #[arg(long, value_name = "NEXT")]
    pub(crate) before: Option<String>,
    /// As JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// Where the gateway is.
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    pub(crate) url: String,
}

/// `tidegate prices`.
#[derive(Debug, Subcommand)]
pub(crate) enum Prices {
    /// What the built-in table says of models whose names contain this.
    Show {
        /// A model, or a part of its name.
        model: String,
    },
    /// Where the configuration's prices differ from the built-in table.
    Diff,
}

/// `tidegate drill`.
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
#[derive(Debug, Args)]
pub(crate) struct Drill {
    /// What befalls the vendors; absent: everything but `outage`.
    #[arg(value_name = "SCENARIO", value_parser = PossibleValuesParser::new(Scenario::NAMES))]
    pub(crate) scenarios: Vec<String>,
    /// What the clients ask for; absent: the first route by name, or the first model.
    #[arg(long, value_name = "NAME")]
    pub(crate) route: Option<String>,
    /// Settles everything that is left to chance.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Calls in a second.
    #[arg(long, value_name = "NUMBER", default_value = "1", value_parser = per_hour)]
    pub(crate) rate: u64,
    /// For how long clients come.
    #[arg(long, value_name = "LENGTH", default_value = "10m", value_parser = length)]
    pub(crate) duration: Millis,
    /// Ask for whole answers instead of streams: what is measured is then their end, not their first token.
    #[arg(long)]
    pub(crate) plain: bool,
    /// A minute's outage of the first choice, with a call every 4 s and with 50 a second.
    #[arg(long, conflicts_with_all = ["scenarios", "claims"])]
    pub(crate) outage: bool,
    /// Put what is claimed of breakers and fallbacks to the test, with the claims' own configuration.
    #[arg(long, conflicts_with_all = ["scenarios", "route"])]
    pub(crate) claims: bool,
    /// Say it in JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Calls in a second, as calls in an hour.
fn per_hour(text: &str) -> Result<u64, String> {
    Terms::per_hour(text).ok_or_else(|| "not a number of calls in a second, such as 0.25 or 50".to_owned())
}

fn length(text: &str) -> Result<Millis, String> {
    duration(text)
        .filter(|length| *length > Millis::ZERO)
        .ok_or_else(|| "not a length of time, such as 90s or 10m".to_owned())
}
