//! Records in a file, a JSON document a line: first what they were decided with, then one account for each request.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Account, Attempt, Records};
use crate::config::{Config, ConfigErrors};
use crate::rng::hash;
use crate::time::{Millis, Timestamp};

/// The form of the lines. A file in another form is refused.
const FORM: u32 = 1;

/// How the first line of a recording begins.
const BEGINNING: &str = "{\"begin\":";

/// Records that a gateway keeps at least while they are written: what may come between two looks of the writer.
const RING_MIN: u32 = 16_384;

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    /// The first.
    Begin(Header),
    /// A request that is over.
    Request(Box<Account>),
    /// More ended than could be written: so many are missing here.
    Lost(u64),
}

/// What the gateway decided with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The form of the lines that follow.
    pub form: u32,
    /// The gateway's version.
    pub version: String,
    /// What its draws followed from.
    pub seed: u64,
    /// When it started, in milliseconds since the Unix epoch.
    pub started_at_ms: Timestamp,
    /// The whole configuration, as JSON in a string. Secrets are named in it, and never stand in it.
    pub config: String,
    /// Tells configurations apart at a glance.
    pub config_fingerprint: String,
}

/// A file that has been read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recording {
    /// Its first line.
    pub header: Header,
    /// In the order in which they ended.
    pub requests: Vec<Account>,
    /// How many are missing.
    pub lost: u64,
}

/// A line that does not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damaged {
    /// Which, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub problem: String,
}

impl Header {
    /// For a gateway that starts now, with this configuration as [`toml_to_json`](crate::config::toml_to_json) made it.
    pub fn new(config: String, seed: u64, started_at_ms: Timestamp) -> Self {
        let config_fingerprint = fingerprint(&config);
        let version = env!("CARGO_PKG_VERSION").to_owned();
        Self { form: FORM, version, seed, started_at_ms, config, config_fingerprint }
    }
}

/// Tells configurations apart.
pub fn fingerprint(config: &str) -> String {
    format!("{:016x}", hash(config))
}

impl Line {
    /// It as text, with its end.
    pub fn text(&self) -> String {
        serde_json::to_string(self).expect("our own types always have a JSON form") + "\n"
    }
}

impl Recording {
    /// Reads a whole file: one recording for each time that a gateway was started.
    ///
    /// # Errors
    ///
    /// The first line that does not read. A line that was being written when a gateway was killed is left out: it is the
    /// last of the file, without an end, or the next one begins another recording.
    pub fn read_all(text: &str) -> Result<Vec<Self>, Damaged> {
        let mut all: Vec<Self> = Vec::new();
        let mut lines = text.split_inclusive('\n').enumerate().peekable();
        while let Some((index, line)) = lines.next() {
            let damaged = |problem: String| Damaged { line: index + 1, problem };
            let parsed = serde_json::from_str::<Line>(line.trim_end());
            let mut is_cut = || lines.peek().map_or(!line.ends_with('\n'), |(_, next)| next.starts_with(BEGINNING));
            match (parsed, all.last_mut()) {
                (Ok(Line::Begin(header)), _) if header.form == FORM => {
                    all.push(Self { header, requests: Vec::new(), lost: 0 });
                }
                (Ok(Line::Begin(header)), _) => {
                    return Err(damaged(format!("this is form {}, and only form {FORM} is known", header.form)));
                }
                (Ok(_), None) => return Err(damaged("a recording has to begin before it goes on".to_owned())),
                (Ok(Line::Request(account)), Some(recording)) => {
                    if !is_possible(&account, recording.header.started_at_ms) {
                        return Err(damaged("times that cannot be".to_owned()));
                    }
                    recording.requests.push(*account);
                }
                (Ok(Line::Lost(count)), Some(recording)) => recording.lost = recording.lost.saturating_add(count),
                (Err(_), Some(_)) if is_cut() => {}
                (Err(error), _) => return Err(damaged(error.to_string())),
            }
        }
        if all.is_empty() {
            return Err(Damaged { line: 1, problem: "nothing is in it".to_owned() });
        }
        Ok(all)
    }

    /// The configuration that it was made with. Secrets are made up: nobody is asked.
    ///
    /// # Errors
    ///
    /// What this version cannot use of it.
    pub fn config(&self) -> Result<Config, ConfigErrors> {
        Config::from_json(&self.header.config, "the recorded configuration", &crate::config::assumed_secret)
    }
}

/// Whether a request came while a gateway may have run, and was over in a time in which one may be.
fn is_possible(account: &Account, started_at: Timestamp) -> bool {
    const YEAR: Millis = Millis::from_secs(366 * 86_400);
    const LAST: Timestamp = Timestamp(253_402_300_799_000);
    let attempts = account.attempts.iter().flat_map(|attempt| {
        let Attempt { sent_ms, last_ms, ended_ms, .. } = attempt;
        [*sent_ms, *last_ms, *ended_ms].into_iter().chain(attempt.head_ms).chain(attempt.first_token_ms)
    });
    let mut times = attempts.chain([account.ending.at_ms]);
    started_at <= account.at_ms
        && account.at_ms <= LAST
        && account.at_ms.since(started_at) <= YEAR
        && times.all(|at| at <= YEAR)
}

impl Records {
    /// The records from this number on, which is then moved on, and how many there were that are gone.
    pub(crate) fn since(&self, next: &mut u64, max: usize) -> (Vec<super::Record>, u64) {
        let first = self.filed - u64::try_from(self.ring.len()).unwrap_or(u64::MAX);
        let lost = first.saturating_sub(*next);
        let from = usize::try_from(next.saturating_sub(first)).unwrap_or(usize::MAX);
        let records: Vec<_> = self.ring.iter().skip(from).take(max).cloned().collect();
        *next = next.saturating_add(lost) + u64::try_from(records.len()).unwrap_or(u64::MAX);
        (records, lost)
    }
}

impl Config {
    /// Has enough records kept for them to be written to a file.
    pub fn keep_records_for_writing(&mut self) {
        self.server.records = self.server.records.max(RING_MIN);
    }
}

impl fmt::Display for Damaged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.problem)
    }
}
