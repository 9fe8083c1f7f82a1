//! A line as it is stored: names for numbers, since those change with the configuration.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Line;
use super::query::MS_PER_DAY;
use crate::classify::Outcome;
use crate::config::Config;
use crate::price::{Picodollars, Usage};
use crate::time::{Millis, Timestamp};

/// What a vendor may claim to have counted, at most: a trillion tokens. Nobody's claim shall make a sum overflow.
const TOKENS_MAX: u64 = 1_000_000_000_000;

/// How many numbers are kept of each group of lines.
pub(super) const COUNTS: usize = 11;

/// Picodollars in a micro-dollar.
pub(super) const PER_MICRO: u64 = 1_000_000;

/// A line of the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry<'n> {
    at: Timestamp,
    request: Cow<'n, str>,
    attempt: u32,
    /// Empty where there is none, and so with the route and the key.
    client: Cow<'n, str>,
    route: Cow<'n, str>,
    target: Cow<'n, str>,
    /// The name of the variable that holds it.
    key: Cow<'n, str>,
    outcome: Cow<'n, str>,
    stream: bool,
    probe: bool,
    usage: Option<Usage>,
    cost: Option<Picodollars>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    presumed: Option<Picodollars>,
    first_token: Option<Millis>,
    took: Millis,
}

/// A value in a statement or in a row of its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value<'v> {
    /// Nothing.
    Null,
    /// A whole number.
    Integer(i64),
    /// A text.
    Text(Cow<'v, str>),
}

impl<'n> Entry<'n> {
    /// A line in the names of the configuration under which it was made.
    pub fn of(line: &'n Line, config: &'n Config) -> Self {
        let client = line.client.and_then(|index| config.clients.get(index));
        let key = config.vendor_of(line.target).keys.get(line.key.0);
        Self {
            at: line.at,
            request: line.request_id.as_str().into(),
            attempt: line.attempt,
            client: client.map_or("", |client| client.name.as_str()).into(),
            route: line.route.map_or("", |id| config.routes[id.0].name.as_str()).into(),
            target: config.target(line.target).name.as_str().into(),
            key: key.map_or("", |key| key.name.as_str()).into(),
            outcome: line.outcome.name().into(),
            stream: line.stream,
            probe: line.probe,
            usage: line.usage,
            cost: line.cost,
            presumed: line.presumed,
            first_token: line.first_token,
            took: line.took,
        }
    }

    /// It with names of its own.
    pub fn into_owned(self) -> Entry<'static> {
        let own = |name: Cow<'n, str>| Cow::Owned(name.into_owned());
        Entry {
            at: self.at,
            request: own(self.request),
            attempt: self.attempt,
            client: own(self.client),
            route: own(self.route),
            target: own(self.target),
            key: own(self.key),
            outcome: own(self.outcome),
            stream: self.stream,
            probe: self.probe,
            usage: self.usage,
            cost: self.cost,
            presumed: self.presumed,
            first_token: self.first_token,
            took: self.took,
        }
    }

    /// Whose sums it belongs to: day, client, route, target, and whether it was a probe.
    pub(super) fn group(&self) -> (u64, &str, &str, &str, bool) {
        (self.at.0 / MS_PER_DAY, &self.client, &self.route, &self.target, self.probe)
    }

    /// What the vendor counted, in the order of the columns.
    fn tokens(&self) -> [Option<u64>; 6] {
        let Some(Usage { input, cached_input, cache_write, cache_write_1h, output, reasoning, .. }) = self.usage else {
            return [None; 6];
        };
        [input, cached_input, cache_write, cache_write_1h, output, reasoning].map(|count| Some(count.min(TOKENS_MAX)))
    }

    /// What it adds to them, in the order of their columns.
    pub(super) fn counts(&self) -> [u64; COUNTS] {
        let [input, cached_input, cache_write, cache_write_1h, output, reasoning] =
            self.tokens().map(Option::unwrap_or_default);
        let cost = self.cost.map_or(0, |cost| cost.0);
        [
            1,
            u64::from(self.outcome == Outcome::Success.name()),
            u64::from(self.cost.is_none()),
            input,
            cached_input,
            cache_write,
            cache_write_1h,
            output,
            reasoning,
            cost / PER_MICRO,
            cost % PER_MICRO,
        ]
    }

    /// What [`schema::STORE`](super::schema::STORE) is to be given.
    pub fn values(&self) -> [Value<'_>; 21] {
        let [input, cached_input, cache_write, cache_write_1h, output, reasoning] = self.tokens().map(Value::maybe);
        [
            Value::number(self.at.0),
            Value::text(&self.request),
            Value::number(u64::from(self.attempt)),
            Value::text(&self.client),
            Value::text(&self.route),
            Value::text(&self.target),
            Value::text(&self.key),
            Value::text(&self.outcome),
            Value::number(u64::from(self.stream)),
            Value::number(u64::from(self.probe)),
            input,
            cached_input,
            cache_write,
            cache_write_1h,
            output,
            reasoning,
            Value::maybe(self.cost.map(|cost| cost.0 / PER_MICRO)),
            Value::maybe(self.cost.map(|cost| cost.0 % PER_MICRO)),
            Value::maybe(self.presumed.map(|presumed| presumed.0.div_ceil(PER_MICRO))),
            Value::maybe(self.first_token.map(|length| length.0)),
            Value::number(self.took.0),
        ]
    }
}

impl<'v> Value<'v> {
    /// A number; what no database can hold is the largest that it can.
    pub(super) fn number(number: u64) -> Self {
        Self::Integer(i64::try_from(number).unwrap_or(i64::MAX))
    }

    pub(super) fn text(text: &'v str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }

    fn maybe(number: Option<u64>) -> Self {
        number.map_or(Self::Null, Self::number)
    }

    /// The number that it is; no number is zero.
    pub(super) fn as_number(&self) -> u64 {
        match self {
            Self::Integer(number) => u64::try_from(*number).unwrap_or(0),
            Self::Null | Self::Text(_) => 0,
        }
    }
}

/// As JSON says it.
impl Serialize for Value<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Integer(number) => serializer.serialize_i64(*number),
            Self::Text(text) => serializer.serialize_str(text),
        }
    }
}

impl<'de> Deserialize<'de> for Value<'static> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Json;

        impl Visitor<'_> for Json {
            type Value = Value<'static>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("null, a whole number or a text")
            }

            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Value::Null)
            }

            fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
                Ok(Value::Integer(number))
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
                i64::try_from(number).map(Value::Integer).map_err(|_| E::custom("too large a number"))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Value::Text(Cow::Owned(text.to_owned())))
            }
        }

        deserializer.deserialize_any(Json)
    }
}
