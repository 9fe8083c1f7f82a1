//! The commands: what each says and how it exits.

use std::fmt::Write as _;
use std::hash::{BuildHasher, RandomState};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use tidegate_core::record::Header;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};

use crate::app::App;
use crate::cli::{Cli, Command, Drill, LedgerTerms, Prices, QueueTerms, Serving};
use crate::drill;
use crate::logging::Log;
use crate::prices;
use crate::recorder::Recorder;
use crate::review;
use crate::sandbox::{Profile, Sandbox, VendorSpec};
use crate::server;
use crate::setup::{self, Setup, Source};
use crate::spend;
use crate::store::ledger::Writer;

/// The file that is read when none is named, but for `serve`.
const CONFIG_DEFAULT: &str = "tidegate.toml";

/// Runs the command line. Exits with 0 when all went well, 1 when it could not be done or was cut off.
pub fn run(cli: Cli) -> ExitCode {
    // The log is dropped last: what the others say as they end is in it, and before the reason why.
    Log::start().and_then(|_log| run_logged(cli)).unwrap_or_else(|message| failed(&message))
}

fn run_logged(cli: Cli) -> Result<ExitCode, String> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("the runtime cannot be started: {error}"))?;
    run_to_end(runtime, async {
        let Cli { config, serving, command } = cli;
        match command {
            None => serve(config.as_deref(), serving).await,
            Some(command) => carry_out(command, config, serving).await,
        }
    })
}

/// Does the work, and waits for nothing else: a name that nobody resolves holds a thread for half a minute.
fn run_to_end<T>(runtime: Runtime, work: impl Future<Output = T>) -> T {
    let outcome = runtime.block_on(work);
    runtime.shutdown_background();
    outcome
}

async fn carry_out(command: Command, config: Option<PathBuf>, serving: Serving) -> Result<ExitCode, String> {
    match command {
        Command::Serve(own) => serve(config.as_deref(), own.or(serving)).await,
        Command::Explain { id, url, json } => explain(&id, &url, json).await,
        Command::Replay { file, json } => replay(&file, config.as_deref(), json),
        Command::Ledger(terms) => ledger(&terms, config).await,
        Command::Queue(terms) => queue(&terms).await,
        Command::Check { listen } => check(config, listen.as_deref()),
        Command::Prices { what } => priced(config, &what),
        Command::Drill(terms) => drilled(config, &terms),
        Command::Sandbox { vendors } => sandbox(&vendors).await,
    }
}

async fn serve(file: Option<&Path>, serving: Serving) -> Result<ExitCode, String> {
    let Setup { mut config, source, sandbox, remarks } = setup::set_up(file).await?;
    if serving.record.is_some() {
        config.keep_records_for_writing();
    }
    let listen = serving.listen.unwrap_or_else(|| config.server.listen.clone());
    config.check_exposure(&listen)?;
    config.check_durability()?;
    let listener = TcpListener::bind(&listen).await.map_err(|error| format!("cannot listen on {listen}: {error}"))?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    let listen_for = |kind| signal(kind).map_err(|error| format!("signals cannot be listened for: {error}"));
    let (mut terminate, mut interrupt) = (listen_for(SignalKind::terminate())?, listen_for(SignalKind::interrupt())?);
    let seed = RandomState::new().hash_one(address);
    let app = Arc::new(App::new(config, seed)?);
    let ledger = Writer::start(&app)?;
    let recorder = serving.record.map(|file| record(&file, &source, seed, &app)).transpose()?;
    // That nobody takes the greeting in is no reason not to serve.
    say(&greeting(&app, &address.to_string(), &remarks)).unwrap_or_else(|why| warn!("{why}"));
    let told_to_stop = async || {
        tokio::select! {
            _ = terminate.recv() => info!("SIGTERM"),
            _ = interrupt.recv() => info!("interrupted"),
        }
    };
    let is_drained = server::run(listener, app, told_to_stop).await;
    drop((recorder, ledger, sandbox));
    Ok(if is_drained { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Writes the records of requests from now on.
fn record(file: &Path, source: &Source, seed: u64, app: &Arc<App>) -> Result<Recorder, String> {
    Recorder::start(file, Header::new(source.json()?, seed, app.started_at), Arc::clone(app))
}

async fn explain(id: &str, url: &str, as_json: bool) -> Result<ExitCode, String> {
    say(&review::explain(id, url, as_json).await?)?;
    Ok(ExitCode::SUCCESS)
}

async fn ledger(terms: &LedgerTerms, config: Option<PathBuf>) -> Result<ExitCode, String> {
    say(&spend::report(terms, config).await?)?;
    Ok(ExitCode::SUCCESS)
}

async fn queue(terms: &QueueTerms) -> Result<ExitCode, String> {
    say(&review::queue(terms).await?)?;
    Ok(ExitCode::SUCCESS)
}

fn replay(file: &Path, config: Option<&Path>, as_json: bool) -> Result<ExitCode, String> {
    let (told, is_well) = review::review(file, config, as_json)?;
    say(&told)?;
    Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn check(config: Option<PathBuf>, listen: Option<&str>) -> Result<ExitCode, String> {
    let file = named_or_default(config)?;
    let config = setup::from_file(&file)?;
    config.check_exposure(listen.unwrap_or(&config.server.listen))?;
    config.check_durability()?;
    let (targets, routes) = (config.targets.len(), config.routes.len());
    say(&format!("{}: fine. {targets} targets, {routes} routes.\n", file.display()))?;
    Ok(ExitCode::SUCCESS)
}

fn priced(config: Option<PathBuf>, what: &Prices) -> Result<ExitCode, String> {
    say(&match what {
        Prices::Show { model } => prices::show(model),
        Prices::Diff => prices::diff(&setup::without_keys(&named_or_default(config)?)?.0),
    })?;
    Ok(ExitCode::SUCCESS)
}

fn drilled(config: Option<PathBuf>, terms: &Drill) -> Result<ExitCode, String> {
    let told = if terms.claims { drill::claims(terms) } else { drill::run(&named_or_default(config)?, terms) };
    say(&told?)?;
    Ok(ExitCode::SUCCESS)
}

/// The configuration that a command is about.
fn named_or_default(config: Option<PathBuf>) -> Result<PathBuf, String> {
    match config {
        Some(file) => Ok(file),
        None if Path::new(CONFIG_DEFAULT).exists() => Ok(CONFIG_DEFAULT.into()),
        None => Err(format!("there is no {CONFIG_DEFAULT} here. Name a configuration with --config FILE.")),
    }
}

async fn sandbox(vendors: &[String]) -> Result<ExitCode, String> {
    let specs = if vendors.is_empty() {
        VendorSpec::defaults()
    } else {
        vendors.iter().map(|vendor| vendor_spec(vendor)).collect::<Result<_, _>>()?
    };
    let sandbox = Sandbox::start(specs).await.map_err(|error| error.to_string())?;
    let mut text = String::from("Simulated vendors (their answers are made up):\n");
    for vendor in sandbox.vendors() {
        let _ = writeln!(text, "  {:<12} {}", vendor.name, vendor.base_url());
    }
    text.push_str("Script faults with POST /faults at a vendor's address, see what reached it with GET /requests.\n");
    say(&text)?;
    tokio::signal::ctrl_c().await.map_err(|error| error.to_string())?;
    Ok(ExitCode::SUCCESS)
}

/// `NAME` or `NAME:PORT`.
fn vendor_spec(text: &str) -> Result<VendorSpec, String> {
    let (name, port) = match text.split_once(':') {
        None => (text, None),
        Some((name, port)) => {
            let port = port
                .parse()
                .map_err(|_| format!("--vendor {text}: `{port}` is not a port. Write NAME or NAME:PORT."))?;
            (name, Some(port))
        }
    };
    if name.is_empty() {
        return Err(format!("--vendor {text}: it has no name. Write NAME or NAME:PORT."));
    }
    Ok(VendorSpec { name: name.to_owned(), profile: Profile::instant(), port })
}

/// What a new user needs to get a first answer.
fn greeting(app: &App, address: &str, remarks: &[String]) -> String {
    let mut text = String::new();
    for remark in remarks {
        let _ = writeln!(text, "{remark}");
    }
    let key = if app.config.clients.is_empty() { "any" } else { "YOUR-CLIENT-KEY" };
    let admin = app.config.server.admin_key.as_ref().map_or("", |_| " -H 'Authorization: Bearer YOUR-ADMIN-KEY'");
    let model = app.config.routes.first().map_or_else(|| &app.config.targets[0].name, |route| &route.name);
    let _ = write!(
        text,
        "Tidegate listens on http://{address}\n\
         \n  base URL  http://{address}/v1\
         \n  curl      curl http://{address}/v1/chat/completions -H 'Authorization: Bearer {key}' \
         -H 'Content-Type: application/json' \
         -d '{{\"model\":\"{model}\",\"messages\":[{{\"role\":\"user\",\"content\":\"Hello\"}}]}}'\
         \n  Python    OpenAI(base_url=\"http://{address}/v1\", api_key=\"{key}\")\
         .chat.completions.create(model=\"{model}\", messages=[{{\"role\": \"user\", \"content\": \"Hello\"}}])\
         \n  status    curl http://{address}/admin/status{admin}\n\n"
    );
    text
}

/// Writes what the command has to say.
fn say(text: &str) -> Result<(), String> {
    let mut output = std::io::stdout();
    // What comes next in a terminal begins on a line of its own.
    let end: &[u8] = if text.ends_with('\n') { b"" } else { b"\n" };
    match output.write_all(text.as_bytes()).and_then(|()| output.write_all(end)).and_then(|()| output.flush()) {
        // Whoever stops reading, as `head` does, has read enough.
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(format!("standard output: {error}")),
        _ => Ok(()),
    }
}

/// Says why the command failed, if anybody is left to read it.
fn failed(message: &str) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "tidegate: {message}");
    ExitCode::FAILURE
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_hangs_elsewhere_does_not_hold_up_the_end() {
        let (answer, asked) = channel::<()>();
        let (ended, end) = channel();
        std::thread::spawn(move || {
            let runtime = Runtime::new().unwrap();
            let outcome = run_to_end(runtime, async {
                let (begins, begun) = tokio::sync::oneshot::channel();
                tokio::task::spawn_blocking(move || (begins.send(()), asked.recv()));
                begun.await.is_ok()
            });
            ended.send(outcome)
        });
        assert_eq!(end.recv_timeout(Duration::from_secs(20)), Ok(true));
        drop(answer);
    }
}
