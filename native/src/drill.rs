//! `tidegate drill`: runs core's drills, and writes down what came of them.

use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::path::Path;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use tidegate_core::config::{Config, assumed_secret};
use tidegate_core::price::Picodollars;
use tidegate_core::sim::Sdk;
use tidegate_core::sim::drill::{self, CLAIMS_ABOUT, Claim, Day, OUTAGES, Report, Scenario, Side, Terms};
use tidegate_core::time::Millis;

use crate::cli::Drill;
use crate::setup;

/// The configuration whose author made the claims.
const CLAIMED: &str = include_str!("../../presets/systems/circuit-breaker.toml");

/// Runs what was asked for, and says what came of it.
pub(crate) fn run(file: &Path, asked: &Drill) -> Result<String, String> {
    let (config, _) = setup::without_keys(file)?;
    let first = || config.routes.first().map_or_else(|| &config.targets[0].name, |route| &route.name).clone();
    let terms = Terms {
        model: asked.route.clone().unwrap_or_else(first),
        seed: asked.seed,
        per_hour: asked.rate,
        length: asked.duration,
        stream: !asked.plain,
        sdk: Sdk::DEFAULT,
    };
    let named = asked.scenarios.iter().filter_map(|name| Scenario::named(name));
    let runs: Vec<(Scenario, Terms)> = match asked.scenarios.as_slice() {
        [] if asked.outage => {
            OUTAGES.map(|(per_hour, length)| (Scenario::Outage, Terms { per_hour, length, ..terms.clone() })).into()
        }
        [] => Scenario::ALL.map(|scenario| (scenario, terms.clone())).into(),
        _ => named.map(|scenario| (scenario, terms.clone())).collect(),
    };
    let bar = bar(runs.len() as u64);
    let reports = runs.iter().enumerate().map(|(nth, (scenario, terms))| {
        bar.set_message(scenario.name());
        drill::drill(&config, terms, *scenario, &mut |done| bar.set_position(nth as u64 * 1000 + u64::from(done)))
    });
    let reports = reports.collect::<Result<Vec<Report>, String>>()?;
    bar.finish_and_clear();
    Ok(if asked.json { in_json(&reports) } else { table(&file.display().to_string(), &reports) })
}

/// Puts claims to the test, with the configuration of who made them.
pub(crate) fn claims(asked: &Drill) -> Result<String, String> {
    let config = Config::from_toml(CLAIMED, "claims", &assumed_secret).map_err(|errors| errors.to_string())?;
    let bar = bar(1);
    let (days, claims) = drill::claims(&config, asked.seed, &mut |done| bar.set_position(done.into()))?;
    bar.finish_and_clear();
    Ok(if asked.json { in_json(&json!({ "days": days, "claims": claims })) } else { claims_table(&days, &claims) })
}

/// A bar of so many thousands, on a terminal.
fn bar(thousands: u64) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:40} {percent:>3} % {msg}");
    ProgressBar::new(thousands * 1000).with_style(style.expect("the template is a good one"))
}

fn in_json(value: &impl serde::Serialize) -> String {
    serde_json::to_string_pretty(value).expect("our own types always have a JSON form") + "\n"
}

fn table(file: &str, reports: &[Report]) -> String {
    let mut text = String::new();
    let Some(about) = reports.first() else { return text };
    let _ = writeln!(
        text,
        "{file}, `{}`, in simulation; seed {}. Times are of calls that were served,",
        about.model, about.seed
    );
    let _ =
        writeln!(text, "with their SDK's own retries. `at sick`: attempts that reached {} meanwhile.\n", about.first);
    let _ = writeln!(
        text,
        "{:<28} {:>9} {:>7} {:>9} {:>9} {:>9} {:>9} {:>8} {:>9} {:>9}",
        "", "served", "failed", "p50", "p95", "p99", "cost", "at sick", "fail over", "fail back"
    );
    for report in reports {
        let calls = report.with.calls;
        let (from, until) = (report.from_ms, report.until_ms);
        let _ = writeln!(
            text,
            "{} ({calls} calls in {}, unwell from {from} to {until})",
            report.scenario.name(),
            report.length_ms
        );
        text += &side("  with Tidegate", &report.with, report.scenario);
        text += &side("  without", &report.without, report.scenario);
    }
    text
}

fn side(who: &str, side: &Side, scenario: Scenario) -> String {
    let cells = [
        percent(side),
        (side.calls - side.served).to_string(),
        time(side.p50_ms),
        time(side.p95_ms),
        time(side.p99_ms),
        cost(side.cost_picodollars),
        side.attempts_at_sick.to_string(),
        side.fail_over_ms.filter(|_| scenario.is_of_first()).map_or("-".to_owned(), time),
        side.fail_back_ms.map_or("-".to_owned(), time),
    ];
    let [served, failed, p50, p95, p99, cost, at_sick, over, back] = cells;
    format!("{who:<28} {served:>9} {failed:>7} {p50:>9} {p95:>9} {p99:>9} {cost:>9} {at_sick:>8} {over:>9} {back:>9}\n")
}

fn claims_table(days: &[Day], claims: &[Claim]) -> String {
    let mut text = String::from(CLAIMS_ABOUT);
    for outage in [false, true] {
        let day = if outage { "A day on which the first choice is down for an hour" } else { "An ordinary day" };
        let _ = writeln!(
            text,
            "{day}\n{:<30} {:>9} {:>7} {:>9} {:>9} {:>9}",
            "", "served", "failed", "mean", "p95", "cost"
        );
        for Day { who, side, .. } in days.iter().filter(|day| day.outage == outage) {
            let (mean, p95, cost) = (time(side.mean_ms), time(side.p95_ms), cost(side.cost_picodollars));
            let failed = side.calls - side.served;
            let _ = writeln!(text, "{who:<30} {:>9} {failed:>7} {mean:>9} {p95:>9} {cost:>9}", percent(side));
        }
        let _ = writeln!(text, "{:<58} {:>11} {:>9} {:>7}", "  claimed", "70 % fewer", "45 %", "3.0x");
        for claim in claims.iter().filter(|claim| claim.outage == outage) {
            let who = format!("  {} : {}", claim.who, claim.than);
            let fewer =
                claim.fewer_failures_permille.map_or("none before".to_owned(), |fewer| format!("{} %", tenths(fewer)));
            let cheaper = claim.cheaper_permille.map_or("?".to_owned(), |cheaper| format!("{} %", tenths(cheaper)));
            let faster = claim
                .faster_permille
                .map_or("?".to_owned(), |times| format!("{}.{}x", (times + 50) / 1000, (times + 50) % 1000 / 100));
            let _ = writeln!(text, "{who:<58} {fewer:>11} {cheaper:>9} {faster:>7}");
        }
        text.push('\n');
    }
    text
}

/// The share of calls that were served.
fn percent(side: &Side) -> String {
    let share = (side.served * 10_000).checked_div(side.calls).unwrap_or_default();
    format!("{}.{:02} %", share / 100, share % 100)
}

/// In seconds, to the hundredth.
fn time(length: Millis) -> String {
    format!("{}.{:02} s", length.0 / 1000, length.0 % 1000 / 10)
}

/// In dollars and cents.
fn cost(cost: Option<Picodollars>) -> String {
    const PER_CENT: u64 = 10_000_000_000;
    cost.map_or("unknown".to_owned(), |cost| {
        let cents = cost.0 / PER_CENT;
        format!("${}.{:02}", cents / 100, cents % 100)
    })
}

/// Of 1/1000, in percent.
fn tenths(permille: i64) -> String {
    let sign = if permille < 0 { "-" } else { "" };
    format!("{sign}{}.{}", permille.abs() / 10, permille.abs() % 10)
}
