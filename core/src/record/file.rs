//! Records in a file, a JSON document a line: first what they were decided with, then one account for each request.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Account, Records};
use crate::config::{Config, ConfigErrors};
use crate::rng::hash;
use crate::time::Timestamp;

/// The form of the lines. A file in another form is refused.
const FORM: u32 = 1;

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
    /// Reads a whole file.
    ///
    /// # Errors
    ///
    /// The first line that does not read. A last line without an end is one that was being written when the gateway was
    /// killed: it is left out.
    pub fn read(text: &str) -> Result<Self, Damaged> {
        let mut header = None;
        let (mut requests, mut lost) = (Vec::new(), 0_u64);
        for (index, line) in text.split_inclusive('\n').enumerate() {
            let damaged = |problem: String| Damaged { line: index + 1, problem };
            let parsed = match serde_json::from_str::<Line>(line.trim_end()) {
                Ok(parsed) => parsed,
                Err(_) if index > 0 && !line.ends_with('\n') => break,
                Err(error) => return Err(damaged(error.to_string())),
            };
            match parsed {
                Line::Begin(begin) if index == 0 && begin.form == FORM => header = Some(begin),
                Line::Begin(begin) if index == 0 => {
                    return Err(damaged(format!("this is form {}, and only form {FORM} is known", begin.form)));
                }
                Line::Begin(_) => return Err(damaged("the beginning of another recording".to_owned())),
                _ if index == 0 => return Err(damaged("the first line has to be the beginning".to_owned())),
                Line::Request(account) => requests.push(*account),
                Line::Lost(count) => lost = lost.saturating_add(count),
            }
        }
        let empty = || Damaged { line: 1, problem: "nothing is in it".to_owned() };
        Ok(Self { header: header.ok_or_else(empty)?, requests, lost })
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
