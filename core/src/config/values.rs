//! How single values are read: what is accepted, within which bounds, and what the operator is told otherwise.

use std::ops::RangeInclusive;

use super::document::Value;
use super::reader::{Field, Refusal, Table, did_you_mean};
use super::units::{self, DecimalFault};
use crate::price::Picodollars;
use crate::secret::Secret;
use crate::time::Millis;

/// A string.
pub(super) fn text<'a>(field: &Field<'a>) -> Result<&'a str, Refusal> {
    match field.value() {
        Value::Text(text) => Ok(text),
        _ => Err(field.wanted("a string", "Write it in \"quotes\".")),
    }
}

/// A duration within `range`.
pub(super) fn duration(range: RangeInclusive<Millis>) -> impl Fn(&Field<'_>) -> Result<Millis, Refusal> {
    const REMEDY: &str = "Write a duration such as \"250ms\", \"10s\", \"2m\", \"1h\" or \"1d\".";
    move |field| match field.value() {
        Value::Text(text) => {
            let length = units::duration(text).ok_or_else(|| Refusal::new("not a duration", REMEDY))?;
            within(length, &range, Millis::to_string)
        }
        _ => Err(field.wanted("a duration", REMEDY)),
    }
}

/// A size in bytes within `range`.
pub(super) fn size(range: RangeInclusive<u64>) -> impl Fn(&Field<'_>) -> Result<u64, Refusal> {
    const REMEDY: &str = "Write a size such as \"64KiB\", \"20MiB\" or \"1GB\".";
    move |field| match field.value() {
        Value::Text(text) => {
            let bytes = units::size(text).ok_or_else(|| Refusal::new("not a size", REMEDY))?;
            within(bytes, &range, |bytes| format!("{} KiB", bytes / 1024))
        }
        _ => Err(field.wanted("a size", REMEDY)),
    }
}

/// A whole number within `range`.
pub(super) fn integer(range: RangeInclusive<u32>) -> impl Fn(&Field<'_>) -> Result<u32, Refusal> {
    move |field| match field.value() {
        Value::Number(text) => {
            let remedy = || format!("Write a whole number from {} to {}.", range.start(), range.end());
            let number: i128 = text.parse().map_err(|_| Refusal::new("not a whole number", remedy()))?;
            let number = u32::try_from(number).map_err(|_| Refusal::new("out of range", remedy()))?;
            within(number, &range, u32::to_string)
        }
        _ => Err(field.wanted("a whole number", "Write it without quotes.")),
    }
}

/// A number from 0 to `max`, as a request says it: with at most three decimals, and without a float on the way.
pub(super) fn number(max: u32) -> impl Fn(&Field<'_>) -> Result<String, Refusal> {
    move |field| {
        let remedy = format!("Write a number from 0 to {max} with at most three decimals, such as 0.7.");
        let Value::Number(text) = field.value() else { return Err(field.wanted("a number", &remedy)) };
        match units::decimal(text, 3) {
            Ok(permille) if permille <= u64::from(max) * 1000 => {
                let decimals = format!("{:03}", permille % 1000);
                Ok(match (permille / 1000, decimals.trim_end_matches('0')) {
                    (whole, "") => whole.to_string(),
                    (whole, decimals) => format!("{whole}.{decimals}"),
                })
            }
            _ => Err(Refusal::new("out of range", remedy)),
        }
    }
}

/// A share from 0 to 1, in 1/1000.
pub(super) fn permille(field: &Field<'_>) -> Result<u32, Refusal> {
    const REMEDY: &str = "Write a share from 0 to 1 with at most three decimals, such as 0.5 for half.";
    let Value::Number(text) = field.value() else { return Err(field.wanted("a number", REMEDY)) };
    match units::decimal(text, 3) {
        Ok(permille @ 0..=1000) => Ok(u32::try_from(permille).expect("it is at most 1000")),
        Ok(_) | Err(DecimalFault::OutOfRange) => Err(Refusal::new("not a share", REMEDY)),
        Err(DecimalFault::TooFine) => Err(Refusal::new("finer than 1/1000", REMEDY)),
    }
}

/// `true` or `false`.
pub(super) fn boolean(field: &Field<'_>) -> Result<bool, Refusal> {
    match field.value() {
        Value::Bool(value) => Ok(*value),
        _ => Err(field.wanted("true or false", "")),
    }
}

/// A price in USD per million tokens.
pub(super) fn price(field: &Field<'_>) -> Result<Picodollars, Refusal> {
    const REMEDY: &str = "Write USD per million tokens with at most six decimals, such as 0.0375.";
    // A dollar a token: no vendor will ask for more, so it is a price in another unit.
    const MAX: u64 = 1_000_000_000_000;
    let Value::Number(text) = field.value() else { return Err(field.wanted("a number", REMEDY)) };
    // A millionth of a dollar per million tokens is one picodollar per token.
    match units::decimal(text, 6) {
        Ok(picodollars) if picodollars <= MAX => Ok(Picodollars(picodollars)),
        Ok(_) => Err(Refusal::new("more than a dollar per token", REMEDY)),
        Err(DecimalFault::OutOfRange) => Err(Refusal::new("not a price", REMEDY)),
        Err(DecimalFault::TooFine) => Err(Refusal::new("finer than a picodollar per token", REMEDY)),
    }
}

/// An amount of money in USD, of at most ten million and at least a millionth.
pub(super) fn usd(field: &Field<'_>) -> Result<Picodollars, Refusal> {
    const REMEDY: &str = "Write USD with at most six decimals, from 0.000001 to 10_000_000, such as 50.0.";
    const MILLIONTHS_MAX: u64 = 10_000_000_000_000;
    let Value::Number(text) = field.value() else { return Err(field.wanted("a number", REMEDY)) };
    match units::decimal(text, 6) {
        Ok(millionths @ 1..=MILLIONTHS_MAX) => Ok(Picodollars(millionths * 1_000_000)),
        Ok(_) | Err(DecimalFault::OutOfRange) => Err(Refusal::new("out of range", REMEDY)),
        Err(DecimalFault::TooFine) => Err(Refusal::new("finer than a millionth of a dollar", REMEDY)),
    }
}

/// One of `choices`. Those of `later` are known, but this version does not have them.
pub(super) fn choice<T: Copy>(choices: &[(&str, T)], later: &[&str]) -> impl Fn(&Field<'_>) -> Result<T, Refusal> {
    move |field| {
        let text = text(field)?;
        if let Some((_, choice)) = choices.iter().find(|(name, _)| *name == text) {
            return Ok(*choice);
        }
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        if later.contains(&text) {
            let remedy = format!("This version has `{}`.", names.join("`, `"));
            return Err(Refusal::new(format!("`{text}` is not supported by this version yet"), remedy));
        }
        Err(Refusal::new("not one of the choices", did_you_mean(text, &names)))
    }
}

/// The name in `{ env = "NAME" }`.
///
/// No message repeats what stands there: it may be a key that somebody pasted in the wrong place.
pub(super) fn variable_name<'a>(field: &Field<'a>) -> Result<&'a str, Refusal> {
    let name = text(field)?;
    let named = name.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_');
    if named && name.len() <= 100 && name.starts_with(|c: char| !c.is_ascii_digit()) {
        return Ok(name);
    }
    let remedy =
        "Write the name of an environment variable in capitals, digits and underscores, not the secret itself.";
    Err(Refusal::new("not the name of an environment variable", remedy))
}

/// The name and the value of the variable in `{ env = "NAME" }`.
pub(super) fn variable<'a>(field: &Field<'a>) -> Option<(&'a str, String)> {
    variable_with(field, |_| ()).map(|(name, value, ())| (name, value))
}

/// The same, and what `more` reads of the keys that stand beside `env`.
fn variable_with<'a, T>(field: &Field<'a>, more: impl FnOnce(&mut Table<'a>) -> T) -> Option<(&'a str, String, T)> {
    let read = field.table(&[], |table| (table.required("env", "\"NAME\"", variable_name), more(table)));
    let (name, more) = read?;
    let name = name?;
    field.read(|field| match field.variable(name) {
        Some(value) if !value.is_empty() => Ok((name, value, more)),
        _ => {
            let remedy = format!("Set it, on the edge with `wrangler secret put {name}`.");
            Err(Refusal::new(format!("the environment variable {name} is not set, or empty"), remedy))
        }
    })
}

/// A secret of at least `length_min` characters, with the name of the variable it comes from.
pub(super) fn secret<'a>(field: &Field<'a>, length_min: usize) -> Option<(&'a str, Secret)> {
    secret_with(field, length_min, |_| ()).map(|(name, secret, ())| (name, secret))
}

/// The same, and what `more` reads of the keys that stand beside `env`.
pub(super) fn secret_with<'a, T>(
    field: &Field<'a>,
    length_min: usize,
    more: impl FnOnce(&mut Table<'a>) -> T,
) -> Option<(&'a str, Secret, T)> {
    field.read(|field| match field.value() {
        Value::Text(_) => Err(inline_secret()),
        _ => Ok(()),
    })?;
    let (name, value, more) = variable_with(field, more)?;
    field.read(|_| {
        // Keys travel in headers: what cannot stand there was pasted or exported wrongly.
        if !value.bytes().all(|byte| byte.is_ascii_graphic()) {
            let problem = format!("{name} holds a space, a line break or another character that no key has");
            return Err(Refusal::new(problem, format!("Set {name} again, to the key alone.")));
        }
        if value.len() < length_min {
            let problem = format!("{name} looks cut off: a key here has at least {length_min} characters");
            return Err(Refusal::new(problem, format!("Set {name} again, to the whole key.")));
        }
        Ok((name, Secret::new(value), more))
    })
}

fn inline_secret() -> Refusal {
    let remedy = "Put it in an environment variable and write { env = \"ITS_NAME\" }.";
    Refusal::new("a secret must not stand in the file", remedy)
}

fn within<T: PartialOrd + Copy>(
    value: T,
    range: &RangeInclusive<T>,
    print: impl Fn(&T) -> String,
) -> Result<T, Refusal> {
    if range.contains(&value) {
        return Ok(value);
    }
    let (low, high) = (print(range.start()), print(range.end()));
    Err(Refusal::new("out of range", format!("It may be from {low} to {high}.")))
}
