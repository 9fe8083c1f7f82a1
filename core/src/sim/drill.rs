//! Drills: a disaster, lived through by the clients of a configuration twice, with Tidegate and without.
//!
//! Both times the same clients come at the same moments, with the same SDK that retries by itself, and the vendors are as
//! fast, as fallible and as sick. Without Tidegate the clients ask the route's first choice itself. What comes out is
//! counted, not assumed; see [`vendors`] for what the vendors are taken to be like.

use serde::Serialize;

use super::{Limits, Profile, Script, Sdk};
use crate::config::{Candidate, Config, Name, TargetId, decimal};
use crate::time::Millis;

mod claims;
mod line;
mod play;
mod side;
pub mod vendors;

pub use claims::{CLAIMS_ABOUT, Claim, Day, claims};
pub use side::Side;

use line::{Direct, Through};
use play::{Plan, play};

/// Who asks for what, how often, and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// What clients put in `model`.
    pub model: String,
    /// Settles every draw.
    pub seed: u64,
    /// Calls of clients in an hour, spread at random.
    pub per_hour: u64,
    /// For how long clients come.
    pub length: Millis,
    /// Whether answers are streamed. Then what is measured is the time to the first token.
    pub stream: bool,
    /// What the clients' SDK does by itself.
    pub sdk: Sdk,
}

/// A disaster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scenario {
    /// The first choice's vendor is down.
    OneDown,
    /// The first choice is down, and all else of its vendor is well.
    ModelDown,
    /// All are down.
    AllDown,
    /// The first choice takes ten times as long.
    Slow,
    /// The first choice takes a third of the traffic, and throttles the rest.
    Throttled,
    /// The first choice is down for 15 s, well for 15 s, and so on.
    Flapping,
    /// Fifty times the traffic, and everybody takes twice as long.
    FlashSale,
    /// The first choice's vendor is down for a minute.
    Outage,
}

/// What came of a drill.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Which disaster.
    pub scenario: Scenario,
    /// What clients asked for.
    pub model: String,
    /// The first choice.
    pub first: String,
    /// Calls in an hour.
    pub per_hour: u64,
    /// For how long clients came.
    pub length_ms: Millis,
    /// When the disaster began, from the start of the drill.
    pub from_ms: Millis,
    /// When it was over.
    pub until_ms: Millis,
    /// Settles every draw.
    pub seed: u64,
    /// Through Tidegate.
    pub with: Side,
    /// Straight at the first choice.
    pub without: Side,
}

impl Terms {
    /// Calls in an hour, of a number of calls in a second such as `0.25`.
    pub fn per_hour(per_second: &str) -> Option<u64> {
        let millionths = decimal(per_second, 6).ok()?;
        let per_hour = millionths.checked_mul(3600)? / 1_000_000;
        (1..=PER_HOUR_MAX).contains(&per_hour).then_some(per_hour)
    }
}

/// More calls in an hour than this are more than a drill can count: a million a second.
const PER_HOUR_MAX: u64 = 3_600_000_000;

/// At what rates `tidegate drill --outage` looks at a minute's outage, in calls an hour, and for how long: at a call every 4 s,
/// and at 50 a second.
pub const OUTAGES: [(u64, Millis); 2] = [(900, Millis::from_secs(300)), (180_000, Millis::from_secs(300))];

/// How often a flapping vendor turns.
const FLAP: Millis = Millis::from_secs(15);

impl Scenario {
    /// Those that `tidegate drill` runs when none is named.
    pub const ALL: [Self; 7] =
        [Self::OneDown, Self::ModelDown, Self::AllDown, Self::Slow, Self::Throttled, Self::Flapping, Self::FlashSale];

    /// All there are.
    pub const NAMES: [&str; 8] =
        ["one-down", "model-down", "all-down", "slow", "throttled", "flapping", "flash-sale", "outage"];

    /// The one with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().chain([Self::Outage]).find(|scenario| scenario.name() == name)
    }

    /// As it is named on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::OneDown => "one-down",
            Self::ModelDown => "model-down",
            Self::AllDown => "all-down",
            Self::Slow => "slow",
            Self::Throttled => "throttled",
            Self::Flapping => "flapping",
            Self::FlashSale => "flash-sale",
            Self::Outage => "outage",
        }
    }

    /// Whether it is the first choice alone that is unwell.
    pub fn is_of_first(self) -> bool {
        !matches!(self, Self::AllDown | Self::FlashSale)
    }

    /// From when until when, of so long a drill: a fifth of it, then the disaster, and half of it to recover.
    fn span(self, length: Millis) -> (Millis, Millis) {
        let from = Millis(length.0 / 5);
        match self {
            Self::Outage => (from, from + Millis::from_secs(60)),
            _ => (from, Millis(length.0 / 2)),
        }
    }
}

/// Lives through a disaster with and without Tidegate. `progress` is told how much of it is done, in 1/1000.
///
/// # Errors
///
/// The model is not one of the configuration's.
pub fn drill(
    config: &Config,
    terms: &Terms,
    scenario: Scenario,
    progress: &mut dyn FnMut(u32),
) -> Result<Report, String> {
    let candidates = candidates(config, &terms.model)?;
    let first = candidates[0];
    let plan = plan(config, terms, scenario, &candidates);
    let mut through = Through::new(config.clone(), terms);
    let with = play(&mut through, &plan, terms, &mut |done| progress(done / 2));
    let mut direct = Direct::new(config, first, terms.seed);
    let without = play(&mut direct, &plan, terms, &mut |done| progress(500 + done / 2));
    Ok(Report {
        scenario,
        model: terms.model.clone(),
        first: config.target(first).name.clone(),
        per_hour: terms.per_hour,
        length_ms: terms.length,
        from_ms: plan.from,
        until_ms: plan.until,
        seed: terms.seed,
        with,
        without,
    })
}

/// Whom a model stands for, in their order.
fn candidates(config: &Config, model: &str) -> Result<Vec<TargetId>, String> {
    match config.names.get(model) {
        Some(Name::Target(id)) => Ok(vec![*id]),
        Some(Name::Route(id)) => {
            let of = |candidate: &Candidate| candidate.target;
            Ok(config.routes[id.0].candidates.iter().map(of).collect())
        }
        None => Err(format!("there is no model `{model}` in this configuration")),
    }
}

/// What vendors do when, and how many clients come.
fn plan(config: &Config, terms: &Terms, scenario: Scenario, candidates: &[TargetId]) -> Plan {
    let (from, until) = scenario.span(terms.length);
    let usual = |id: TargetId| vendors::profile(&config.target(id).name);
    let mut weather: Vec<(Millis, TargetId, Profile)> =
        (0..config.targets.len()).map(TargetId).map(|id| (Millis::ZERO, id, usual(id))).collect();
    let mut boost = 1;
    let first = candidates[0];
    let mut turn = |ids: &[TargetId], sick: &dyn Fn(TargetId) -> Profile| {
        for id in ids {
            weather.push((from, *id, sick(*id)));
            weather.push((until, *id, usual(*id)));
        }
    };
    let per_minute = u32::try_from(terms.per_hour / 60).unwrap_or(u32::MAX).max(3);
    match scenario {
        Scenario::OneDown | Scenario::Outage => turn(&neighbours(config, candidates), &|id| down(usual(id))),
        Scenario::ModelDown => turn(&[first], &|id| down(usual(id))),
        Scenario::AllDown => turn(candidates, &|id| down(usual(id))),
        Scenario::Slow => turn(&[first], &|id| usual(id).slowed(10)),
        Scenario::Throttled => turn(&[first], &|id| {
            let limits = Limits { requests: per_minute / 3, tokens: u32::MAX };
            Profile { limits: Some(limits), ..usual(id) }
        }),
        Scenario::Flapping => {
            turn(&[first], &|id| down(usual(id)));
            let turns = (until - from).0 / FLAP.0;
            for nth in 1..turns {
                let profile = if nth % 2 == 0 { down(usual(first)) } else { usual(first) };
                weather.push((from + Millis(nth * FLAP.0), first, profile));
            }
        }
        Scenario::FlashSale => {
            boost = 50;
            let limited = |id: TargetId| Profile { limits: Some(vendors::limits(config, id, per_minute)), ..usual(id) };
            for (_, id, profile) in &mut weather {
                *profile = limited(*id);
            }
            for id in candidates {
                weather.push((from, *id, limited(*id).slowed(2)));
                weather.push((until, *id, limited(*id)));
            }
        }
    }
    Plan { first, from, until, boost, weather, day: false }
}

/// All targets of the first choice's vendor; the first choice alone, if that is the only vendor there is to ask.
fn neighbours(config: &Config, candidates: &[TargetId]) -> Vec<TargetId> {
    let vendor = |id: TargetId| config.target(id).vendor;
    let first = candidates[0];
    if candidates.iter().all(|id| vendor(*id) == vendor(first)) {
        return vec![first];
    }
    (0..config.targets.len()).map(TargetId).filter(|id| vendor(*id) == vendor(first)).collect()
}

/// A vendor that is down: most say so, some are not there.
fn down(usual: Profile) -> Profile {
    usual.failing(10_000, vec![Script::status(503), Script::refuse(20), Script::reset(100)])
}

#[cfg(test)]
mod tests;
