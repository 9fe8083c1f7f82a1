//! What a write-up claims of breakers and fallbacks, put to the test: 50,000 calls a day to vendors that fail as often as it
//! says, and once more with an hour's outage.

use serde::Serialize;

use super::line::{Direct, Through};
use super::play::{Plan, play};
use super::{Side, Terms, candidates, down, vendors};
use crate::config::{Config, TargetId};
use crate::price::{Picodollars, Price};
use crate::sim::{Profile, Sdk};
use crate::time::Millis;

/// A day of somebody's clients.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Day {
    /// Who they are.
    pub who: &'static str,
    /// Whether the first choice was down for an hour.
    pub outage: bool,
    /// What they got.
    pub side: Side,
}

/// What Tidegate's clients got, held against what others' did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Claim {
    /// Tidegate's.
    pub who: &'static str,
    /// The others.
    pub than: &'static str,
    /// Whether the first choice was down for an hour.
    pub outage: bool,
    /// So many fewer calls failed, in 1/1000; none where none failed before. Claimed: 700.
    pub fewer_failures_permille: Option<i64>,
    /// So much less was paid, in 1/1000. Claimed: 450.
    pub cheaper_permille: Option<i64>,
    /// So many times as fast on average, in 1/1000. Claimed: 3000.
    pub faster_permille: Option<u64>,
}

/// What is claimed, and of which days.
pub const CLAIMS_ABOUT: &str = "\
A day of 50000 calls, in simulation: GPT-4.1 fails 3.2 % of them, Claude 2.8 %, Gemini 4.1 %.
Claimed of breakers with fallbacks: 70 % fewer failures, 45 % cheaper, 3 times as fast.

";

/// Part of a model's name; how often it fails, in 1/10 000, as the write-up claims; and its price for prompts and answers in
/// cents for a million tokens, as another by the same hand has it.
const MODELS: [(&str, u32, u64, u64); 4] =
    [("gpt-4.1", 320, 800, 3200), ("claude", 280, 450, 1800), ("gemini", 410, 250, 1000), ("deepseek", 30, 42, 168)];

/// The calls of a day, as claimed.
const CALLS: u64 = 50_000;

/// Of picodollars, in a cent for a million tokens.
const PER_CENT: u64 = 10_000;

/// Lives through the days. The configuration is the write-up's, with its models and the routes `gpt-4.1` and `fastest`.
///
/// # Errors
///
/// It is another.
pub fn claims(config: &Config, seed: u64, progress: &mut dyn FnMut(u32)) -> Result<(Vec<Day>, Vec<Claim>), String> {
    let mut config = config.clone();
    for target in &mut config.targets {
        let known = MODELS.iter().find(|(part, ..)| target.name.contains(part));
        let (_, _, input, output) = known.ok_or_else(|| format!("{} is not the write-up's", target.name))?;
        let price =
            Price { input: Picodollars(input * PER_CENT), output: Picodollars(output * PER_CENT), ..Price::default() };
        target.price = Some(price.into());
    }
    let mut days = Vec::new();
    for outage in [false, true] {
        let whos: [(&'static str, &str, Option<Sdk>); 4] = [
            ("gpt-4.1 alone, no retries", "gpt-4.1", Some(Sdk { retries: 0, ..Sdk::DEFAULT })),
            ("gpt-4.1 alone, SDK retries", "gpt-4.1", Some(Sdk::DEFAULT)),
            ("Tidegate, route gpt-4.1", "gpt-4.1", None),
            ("Tidegate, route fastest", "fastest", None),
        ];
        for (who, model, alone) in whos {
            let done = u32::try_from(days.len()).unwrap_or(8) * 125;
            let mut progress = |part: u32| progress(done + part / 8);
            days.push(Day { who, outage, side: day(&config, seed, model, alone, outage, &mut progress)? });
        }
    }
    let claims = compare(&days);
    Ok((days, claims))
}

/// A day of clients that ask the route's first choice themselves, with this SDK, or through Tidegate.
fn day(
    config: &Config,
    seed: u64,
    model: &str,
    alone: Option<Sdk>,
    outage: bool,
    progress: &mut dyn FnMut(u32),
) -> Result<Side, String> {
    const DAY: Millis = Millis::from_secs(86_400);
    const HOUR: Millis = Millis::from_secs(3600);
    let first = candidates(config, model)?[0];
    let usual = |id: TargetId| {
        let name = &config.target(id).name;
        let failures = MODELS.iter().find(|(part, ..)| name.contains(part)).map_or(0, |(_, failures, ..)| *failures);
        Profile { failures_per_myriad: failures, ..vendors::profile(name) }
    };
    let mut weather: Vec<_> = (0..config.targets.len()).map(TargetId).map(|id| (Millis::ZERO, id, usual(id))).collect();
    let from = Millis(HOUR.0 * 10);
    let until = from + HOUR;
    if outage {
        weather.push((from, first, down(usual(first))));
        weather.push((until, first, usual(first)));
    }
    let plan = Plan { first, from, until, boost: 1, weather, day: true };
    let sdk = alone.unwrap_or(Sdk::DEFAULT);
    let terms = Terms { model: model.to_owned(), seed, per_hour: CALLS / 24, length: DAY, stream: false, sdk };
    Ok(match alone {
        Some(_) => play(&mut Direct::new(config, first, seed), &plan, &terms, progress),
        None => play(&mut Through::new(config.clone(), &terms), &plan, &terms, progress),
    })
}

/// Each of Tidegate's days against each that was not, in the same weather.
fn compare(days: &[Day]) -> Vec<Claim> {
    let is_ours = |day: &&Day| day.who.starts_with("Tidegate");
    let mut claims = Vec::new();
    for ours in days.iter().filter(is_ours) {
        for theirs in days.iter().filter(|day| !is_ours(day) && day.outage == ours.outage) {
            let (with, without) = (&ours.side, &theirs.side);
            let costs = with.cost_picodollars.zip(without.cost_picodollars);
            let per_call = |side: &Side, cost: Picodollars| cost.0 / side.served.max(1);
            claims.push(Claim {
                who: ours.who,
                than: theirs.who,
                outage: ours.outage,
                fewer_failures_permille: less(with.calls - with.served, without.calls - without.served),
                cheaper_permille: costs.and_then(|(a, b)| less(per_call(with, a), per_call(without, b))),
                faster_permille: (without.mean_ms.0 * 1000).checked_div(with.mean_ms.0),
            });
        }
    }
    claims
}

/// By how much of the second the first is less, in 1/1000; none of nothing.
fn less(a: u64, b: u64) -> Option<i64> {
    let (a, b) = (i64::try_from(a).ok()?, i64::try_from(b).ok()?);
    (b - a).saturating_mul(1000).checked_div(b)
}
