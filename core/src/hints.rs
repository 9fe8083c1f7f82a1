//! What a client asks of the gateway for one request, beside what it asks of a vendor.
//!
//! Hints come as headers or as members of the body, in our own spelling and in those of gateways that apps already talk to
//! (`OpenRouter`, `LiteLLM`, Cloudflare). They can choose among what the config offers and tighten its limits, never widen
//! them; one that cannot be honoured is refused, since whoever asks for privacy or a price means it. No vendor sees them.

use http::HeaderMap;
use serde::{Deserialize, Serialize};

use crate::concurrency::Priority;
use crate::config::{Column, Parameters, decimal};
use crate::dialect::{BadRequest, Controls};
use crate::price::{Picodollars, Price};
use crate::time::Millis;

mod body;
mod headers;

pub use headers::NAMES as HEADERS;
pub(crate) use headers::{idempotency_key, retry_count};

/// Fallbacks that one request may name: each is planned for, and more than a route has models nobody waits for.
const FALLBACKS_MAX: usize = 64;

/// The hints of one request.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(default)]
pub struct Hints {
    /// Models to ask when the one that was asked for cannot serve, in their order.
    pub fallbacks: Vec<String>,
    /// Nobody is to be asked but the first choice.
    pub no_fallbacks: bool,
    /// Vendors to be asked before all others, in this order.
    pub order: Vec<String>,
    /// The only vendors to be asked; `None`: all.
    pub only: Option<Vec<String>>,
    /// Vendors not to be asked.
    pub ignore: Vec<String>,
    /// By what to rank the candidates; `None`: as the config does.
    pub sort: Option<Sort>,
    /// What a token of the prompt and one of the answer may cost at most.
    pub max_price: MaxPrice,
    /// What the request may be expected to cost at most.
    pub max_cost: Option<Picodollars>,
    /// How long an answer may be expected to take: a stream to its first token, another to its end.
    pub max_latency: Option<Millis>,
    /// What becomes of parameters that a candidate cannot honour; `None`: as the config says.
    pub parameters: Option<Parameters>,
    /// When the answer must have begun.
    pub timeout: Option<Millis>,
    /// When an attempt must have brought its first token.
    pub first_token: Option<Millis>,
    /// Attempts in all.
    pub attempts: Option<u32>,
    /// The first backoff.
    pub backoff: Option<Millis>,
    /// How urgent it is.
    pub priority: Option<Priority>,
    /// What it is about.
    pub task: Option<String>,
    /// Whether the answer is to be good or soon.
    pub column: Option<Column>,
    /// What the client marks it with.
    pub tags: Vec<String>,
    /// Whether it may be kept for later where nobody can serve it; `None`: as the config says.
    pub queue: Option<MayQueue>,
    /// The usage is to be told at the end of a stream.
    pub wants_usage: bool,
}

/// Whether a request may be kept for later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MayQueue {
    /// It may.
    Allow,
    /// It may not: an answer that comes later is of no use.
    Never,
    /// It was, and is carried out now. No client can say so.
    Was,
}

/// What candidates are ranked by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sort {
    /// The cheapest first; those whose price is not known last.
    Price,
    /// The quickest to its first token first; those that have not been measured last.
    Latency,
    /// The fastest writer first; those that have not been measured last.
    Throughput,
}

/// The most that a token may cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(default)]
pub struct MaxPrice {
    /// Of the prompt.
    pub input: Option<Picodollars>,
    /// Of the answer.
    pub output: Option<Picodollars>,
}

impl Hints {
    /// Reads the hints of a request: what stands in the body outranks the headers, and our own spelling the others'.
    ///
    /// # Errors
    ///
    /// A hint that does not read, or that the gateway cannot honour.
    pub fn read(headers: &HeaderMap, controls: &Controls) -> Result<Self, BadRequest> {
        let mut hints = Self::default();
        // Looking for each by its name costs more than the rest of reading a request.
        if !headers.is_empty() {
            hints.read_headers(headers)?;
        }
        hints.read_controls(controls)?;
        if hints.fallbacks.len() > FALLBACKS_MAX {
            let message = format!("A request may name {FALLBACKS_MAX} fallbacks.");
            return Err(BadRequest { message, param: Some("fallbacks") });
        }
        Ok(hints)
    }

    /// How much text the client made up for them, each name with what it takes to hold it.
    pub(crate) fn text_bytes(&self) -> usize {
        let lists = [&self.fallbacks, &self.order, &self.ignore, &self.tags].into_iter().chain(&self.only);
        lists.flatten().chain(&self.task).map(|name| size_of::<String>() + name.len()).sum()
    }
}

impl MaxPrice {
    /// Whether a target may be asked at this price. One that is not known may be any.
    pub fn allows(self, price: Option<Price>) -> bool {
        let within = |cap: Option<Picodollars>, of: fn(Price) -> Picodollars| {
            cap.is_none_or(|cap| price.is_some_and(|price| of(price) <= cap))
        };
        within(self.input, |price| price.input) && within(self.output, |price| price.output)
    }
}

impl Sort {
    fn named(name: &str) -> Option<Self> {
        match name {
            "price" => Some(Self::Price),
            "latency" => Some(Self::Latency),
            "throughput" => Some(Self::Throughput),
            _ => None,
        }
    }
}

/// What is said of a request's priority, as who goes first where there is a queue, and as a column of a table of tasks. A
/// number stands for the former, 1 being the most urgent, and a word for the latter; each implies the other. A word that is
/// not known is `normal`: apps have words of their own.
fn priority_named(text: &str) -> Option<(Priority, Column)> {
    if text.starts_with(|first: char| first.is_ascii_alphabetic()) {
        let column = Column::named(text).unwrap_or_default();
        let number = if column == Column::Normal { 3 } else { 2 };
        return Priority::numbered(number).map(|priority| (priority, column));
    }
    match text.as_bytes() {
        [digit @ b'0'..=b'9'] => priority_numbered(u64::from(digit - b'0')),
        _ => None,
    }
}

fn priority_numbered(number: u64) -> Option<(Priority, Column)> {
    let column = match number {
        1 | 2 => Column::High,
        4 | 5 => Column::Fast,
        _ => Column::Normal,
    };
    Priority::numbered(number).map(|priority| (priority, column))
}

impl MayQueue {
    fn named(name: &str) -> Option<Self> {
        match name {
            "allow" => Some(Self::Allow),
            "never" => Some(Self::Never),
            _ => None,
        }
    }
}

/// An amount of money as clients write it: `0.015`.
fn usd(text: &str) -> Option<Picodollars> {
    decimal(text, 12).ok().map(Picodollars)
}

fn parameters_named(name: &str) -> Option<Parameters> {
    match name {
        "strict" => Some(Parameters::Strict),
        "lenient" => Some(Parameters::Lenient),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
