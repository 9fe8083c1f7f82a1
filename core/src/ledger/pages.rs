//! What the ledger answers: rows as JSON, as CSV for a spreadsheet, or laid out for a terminal.

use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use serde_json::{Map, Value as Json, json};

use super::Value;
use super::entry::PER_MICRO;
use super::query::Column;
use crate::backoff::rfc3339_of;
use crate::reply::Reply;
use crate::time::Timestamp;

/// Where the next page begins, for those who read no JSON.
const NEXT: HeaderName = HeaderName::from_static("x-tidegate-next");

/// How rows are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Format {
    #[default]
    Json,
    Csv,
    Text,
}

/// What is shown, and the column that holds it.
type Told = (&'static str, &'static str);

const TOKENS: [Told; 6] = [
    ("input_tokens", "input"),
    ("cached_input_tokens", "cached_input"),
    ("cache_write_tokens", "cache_write"),
    ("cache_write_1h_tokens", "cache_write_1h"),
    ("output_tokens", "output"),
    ("reasoning_tokens", "reasoning"),
];

const COST: &str = "cost_usd";

/// One amount of money: see [`usd`].
const MONEY: [Told; 2] = [(COST, "micros"), (COST, "picos")];

/// What is summed. Money comes last.
pub(super) fn summed() -> impl Iterator<Item = Told> {
    let counts = [("attempts", "attempts"), ("successes", "successes"), ("unpriced", "unpriced")];
    counts.into_iter().chain(TOKENS).chain(MONEY)
}

/// What a line tells. Money comes last.
pub(super) fn told() -> impl Iterator<Item = Told> {
    let who = [
        ("at", "at"),
        ("request_id", "request"),
        ("attempt", "attempt"),
        ("client", "client"),
        ("route", "route"),
        ("model", "target"),
        ("key", "key"),
        ("outcome", "outcome"),
        ("stream", "stream"),
        ("probe", "probe"),
    ];
    let times = [("first_token_ms", "first_token"), ("took_ms", "took")];
    who.into_iter().chain(TOKENS).chain(times).chain(MONEY)
}

/// Sums, by these columns.
pub(super) fn sums(by: &[Column], rows: &[Vec<Value<'_>>], format: Format) -> Reply {
    let names = by.iter().map(|column| column.name());
    let names: Vec<&str> = names.chain(summed().map(|(name, _)| name)).collect();
    let table = Table::new(&names, rows);
    let page = json!({ "by": names[..by.len()], "rows": table.objects() });
    table.reply(format, &page)
}

/// Lines, of which the first column is their number, and those beyond the limit are for the next page.
pub(super) fn lines(rows: &[Vec<Value<'_>>], limit: usize, format: Format) -> Reply {
    let shown = &rows[..rows.len().min(limit)];
    let last = shown.last().filter(|_| rows.len() > limit);
    let next = last.map(|row| format!("{}.{}", row[1].as_number(), row[0].as_number()));
    let names: Vec<&str> = told().map(|(name, _)| name).collect();
    let rows: Vec<Vec<Value<'_>>> = shown.iter().map(|row| row[1..].to_vec()).collect();
    let table = Table::new(&names, &rows);
    let mut reply = table.reply(format, &json!({ "lines": table.objects(), "next": next }));
    if let Some(next) = next.and_then(|next| HeaderValue::from_str(&next).ok()) {
        reply.headers.insert(NEXT, next);
    }
    reply
}

/// Rows with names for their cells.
struct Table<'t> {
    names: Vec<&'t str>,
    rows: Vec<Vec<Json>>,
}

impl<'t> Table<'t> {
    /// The last two cells of each row are its cost.
    fn new(names: &[&'t str], rows: &[Vec<Value<'_>>]) -> Self {
        let names = names[..names.len() - 1].to_vec();
        let rows = rows.iter().map(|row| {
            let (cells, cost) = row.split_at(row.len().saturating_sub(2));
            let cells = names.iter().zip(cells).map(|(name, value)| cell(name, value));
            cells.chain([usd(cost)]).collect()
        });
        Self { rows: rows.collect(), names }
    }

    fn objects(&self) -> Vec<Json> {
        let object = |row: &Vec<Json>| {
            let cells = self.names.iter().zip(row).map(|(name, cell)| ((*name).to_owned(), cell.clone()));
            Json::Object(cells.collect::<Map<_, _>>())
        };
        self.rows.iter().map(object).collect()
    }

    fn reply(&self, format: Format, page: &Json) -> Reply {
        let (kind, body) = match format {
            Format::Json => return Reply::json(StatusCode::OK, page),
            Format::Csv => ("text/csv; charset=utf-8", self.csv()),
            Format::Text => ("text/plain; charset=utf-8", self.text()),
        };
        let mut reply = Reply::json(StatusCode::OK, &());
        reply.headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        reply.body = body.into();
        reply
    }

    /// RFC 4180.
    fn csv(&self) -> String {
        let mut text = self.names.join(",");
        for row in &self.rows {
            text.push_str("\r\n");
            let cells: Vec<String> = row.iter().map(|cell| escaped(&plain(cell))).collect();
            text.push_str(&cells.join(","));
        }
        text.push_str("\r\n");
        text
    }

    /// Columns beside each other, numbers to the right.
    fn text(&self) -> String {
        let rows: Vec<Vec<String>> = self.rows.iter().map(|row| row.iter().map(plain).collect()).collect();
        let width = |column: usize| {
            let cells = rows.iter().map(|row| row[column].chars().count());
            cells.chain([self.names[column].chars().count()]).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.names.len()).map(width).collect();
        let mut text = String::new();
        let names: Vec<String> = self.names.iter().map(|name| (*name).to_owned()).collect();
        for (place, row) in [&names].into_iter().chain(&rows).enumerate() {
            for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
                let is_number = self.rows.get(place.saturating_sub(1)).is_some_and(|row| row[column].is_number());
                let is_right = is_number || self.names[column] == COST;
                let cell = if is_right { format!("{cell:>width$}") } else { format!("{cell:<width$}") };
                text.push_str(if column == 0 { "" } else { "  " });
                text.push_str(&cell);
            }
            text.truncate(text.trim_end().len());
            text.push('\n');
        }
        text
    }
}

/// A cell as people read it.
fn cell(name: &str, value: &Value<'_>) -> Json {
    match (name, value) {
        ("at", Value::Integer(_)) => moment(value.as_number()).into(),
        ("day", Value::Integer(_)) => {
            let mut day = rfc3339_of(Timestamp(value.as_number().saturating_mul(86_400_000)));
            day.truncate("2026-11-21".len());
            day.into()
        }
        ("stream" | "probe", Value::Integer(number)) => (*number != 0).into(),
        ("client" | "route" | "key", Value::Text(none)) if none.is_empty() => Json::Null,
        (_, Value::Null) => Json::Null,
        (_, Value::Integer(number)) => (*number).into(),
        (_, Value::Text(text)) => text.as_ref().into(),
    }
}

/// With its milliseconds.
fn moment(ms: u64) -> String {
    let mut text = rfc3339_of(Timestamp(ms / 1000 * 1000));
    text.truncate(text.len() - "Z".len());
    format!("{text}.{:03}Z", ms % 1000)
}

/// An amount of whole micro-dollars and a rest in picodollars, in USD, exactly; nothing where it is not known.
fn usd(cost: &[Value<'_>]) -> Json {
    let [micros @ Value::Integer(_), picos] = cost else { return Json::Null };
    let sum = u128::from(micros.as_number()) * u128::from(PER_MICRO) + u128::from(picos.as_number());
    let per_dollar = 1_000_000 * u128::from(PER_MICRO);
    let (dollars, rest) = (sum / per_dollar, sum % per_dollar);
    let text = format!("{dollars}.{rest:012}");
    text.trim_end_matches('0').trim_end_matches('.').into()
}

fn plain(cell: &Json) -> String {
    match cell {
        Json::Null => String::new(),
        Json::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn escaped(cell: &str) -> String {
    if cell.contains([',', '"', '\n', '\r']) { format!("\"{}\"", cell.replace('"', "\"\"")) } else { cell.to_owned() }
}
