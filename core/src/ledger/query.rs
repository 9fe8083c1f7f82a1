//! What can be asked of the ledger: sums by any of its columns, and the lines themselves.
//!
//! A question comes as the query of a URL and becomes one statement. Names of columns are ours; whatever a client wrote is a
//! parameter of it, or is refused.

use http::StatusCode;
use serde::{Deserialize, Serialize};

use super::Value;
use super::pages::{self, Format};
use crate::api::parameters;
use crate::backoff::rfc3339;
use crate::dialect::Dialect;
use crate::reply::{ApiError, Reply, name_request, quoted};
use crate::time::Timestamp;

/// Rows of sums, at most: a year by day, client, model and route of a large deployment.
const SUMS_MAX: usize = 100_000;

/// Lines on one page, at most, and where nobody says.
const LINES_MAX: usize = 10_000;
const LINES_DEFAULT: usize = 100;

pub(super) const MS_PER_DAY: u64 = 86_400_000;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    /// Sums: `GET /admin/ledger`.
    Sums,
    /// Lines, the latest first: `GET /admin/ledger/lines`.
    Lines,
}

/// A question to the ledger. The adapter has the database answer its [`Statement`] and gives the rows to
/// [`answer`](Self::answer).
#[derive(Debug)]
pub struct Query {
    request_id: String,
    statement: Statement,
    format: Format,
    shape: Shape,
}

/// A statement of SQL with its parameters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    /// With a `?` for each parameter.
    pub sql: String,
    /// In the order in which they are asked for.
    pub parameters: Vec<Value<'static>>,
}

/// What the rows are.
#[derive(Debug, PartialEq, Eq)]
enum Shape {
    Sums(Vec<Column>),
    Lines { limit: usize },
}

/// What sums can be made by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Column {
    Client,
    Model,
    Route,
    Day,
    Probe,
}

impl Column {
    const ALL: [Self; 5] = [Self::Client, Self::Model, Self::Route, Self::Day, Self::Probe];

    /// As it is asked for, and answered.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Model => "model",
            Self::Route => "route",
            Self::Day => "day",
            Self::Probe => "probe",
        }
    }

    /// As the tables call it.
    fn sql(self) -> &'static str {
        match self {
            Self::Model => "target",
            other => other.name(),
        }
    }
}

impl Query {
    /// Reads the query of a URL. Errors say what it may be.
    pub fn read(about: About, text: &str, request_id: String) -> Result<Self, Box<ApiError>> {
        let mut asked = Asked::default();
        for (name, value) in parameters(text)? {
            asked.take(about, name, &value)?;
        }
        let (statement, shape) = match about {
            About::Sums => (asked.sums(), Shape::Sums(asked.by)),
            About::Lines => {
                let limit = asked.limit.unwrap_or(LINES_DEFAULT);
                (asked.lines(limit), Shape::Lines { limit })
            }
        };
        Ok(Self { request_id, statement, format: asked.format, shape })
    }

    /// What the database is to be asked.
    pub fn statement(&self) -> &Statement {
        &self.statement
    }

    /// The reply, with the rows that the database has for it.
    pub fn answer(self, rows: &[Vec<Value<'static>>]) -> Reply {
        match self.page(rows) {
            Ok(mut reply) => {
                name_request(&mut reply.headers, &self.request_id);
                reply
            }
            Err(error) => error.reply(Dialect::OpenAi, &self.request_id),
        }
    }

    /// What to show of the rows that the database has for it.
    pub fn page(&self, rows: &[Vec<Value<'static>>]) -> Result<Reply, Box<ApiError>> {
        match &self.shape {
            Shape::Sums(_) if rows.len() > SUMS_MAX => Err(too_many().into()),
            Shape::Sums(by) => Ok(pages::sums(by, rows, self.format)),
            Shape::Lines { limit } => Ok(pages::lines(rows, *limit, self.format)),
        }
    }

    /// The reply when the database could not answer: why is for the operator's log.
    pub fn failed(self) -> Reply {
        let message = "The ledger cannot be read. The gateway's log has the reason.";
        let error = ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", "ledger_unreadable", message);
        error.reply(Dialect::OpenAi, &self.request_id)
    }
}

/// A question as far as it has been read.
#[derive(Debug, Default)]
struct Asked {
    by: Vec<Column>,
    from: Option<Timestamp>,
    to: Option<Timestamp>,
    /// Column and value.
    only: Vec<(&'static str, String)>,
    before: Option<(u64, u64)>,
    limit: Option<usize>,
    format: Format,
}

impl Asked {
    fn take(&mut self, about: About, name: &str, value: &str) -> Result<(), Box<ApiError>> {
        match (about, name) {
            (About::Sums, "by") => self.by = columns(value)?,
            (_, "from") => self.from = Some(moment("from", value)?),
            (_, "to") => self.to = Some(moment("to", value)?),
            (_, "client") => self.only.push(("client", value.to_owned())),
            (_, "model") => self.only.push(("target", value.to_owned())),
            (_, "route") => self.only.push(("route", value.to_owned())),
            (About::Lines, "request") => self.only.push(("request", value.to_owned())),
            (About::Lines, "outcome") => self.only.push(("outcome", value.to_owned())),
            (About::Lines, "before") => self.before = Some(cursor(value)?),
            (About::Lines, "limit") => self.limit = Some(limit(value)?),
            (_, "format") => self.format = format(value)?,
            (About::Sums, _) => {
                return Err(unknown(name, "`by`, `from`, `to`, `client`, `model`, `route`, `format`").into());
            }
            (About::Lines, _) => {
                let known =
                    "`from`, `to`, `client`, `model`, `route`, `request`, `outcome`, `before`, `limit`, `format`";
                return Err(unknown(name, known).into());
            }
        }
        Ok(())
    }

    fn sums(&self) -> Statement {
        let whole_days = [self.from, self.to].into_iter().flatten().all(|at| at.0.is_multiple_of(MS_PER_DAY));
        // The sums of days are there already; only other times need the lines.
        let (table, time, unit) =
            if whole_days { ("ledger_days", "day", MS_PER_DAY) } else { ("ledger_each", "at", 1) };
        let (condition, mut parameters) = self.condition(time, unit);
        let by: Vec<&str> = self.by.iter().map(|column| column.sql()).collect();
        let columns = by.iter().map(|column| (*column).to_owned());
        let sums = pages::summed().map(|(_, column)| format!("coalesce(sum({column}), 0)"));
        let columns: Vec<String> = columns.chain(sums).collect();
        let grouped = match by.join(", ") {
            none if none.is_empty() => String::new(),
            list => format!(" GROUP BY {list} ORDER BY {list}"),
        };
        parameters.push(Value::number(SUMS_MAX as u64 + 1));
        let sql = format!("SELECT {} FROM {table}{condition}{grouped} LIMIT ?", columns.join(", "));
        Statement { sql, parameters }
    }

    fn lines(&self, limit: usize) -> Statement {
        let (mut condition, mut parameters) = self.condition("at", 1);
        if let Some((at, id)) = self.before {
            condition.push_str(if condition.is_empty() { " WHERE " } else { " AND " });
            condition.push_str("(at, id) < (?, ?)");
            parameters.extend([Value::number(at), Value::number(id)]);
        }
        // One more, to know whether there are others.
        parameters.push(Value::number(limit as u64 + 1));
        let columns: Vec<&str> = pages::told().map(|(_, column)| column).collect();
        let columns = columns.join(", ");
        let sql = format!("SELECT id, {columns} FROM ledger_lines{condition} ORDER BY at DESC, id DESC LIMIT ?");
        Statement { sql, parameters }
    }

    /// What rows have to fulfil, with the column `time` counting so many milliseconds.
    fn condition(&self, time: &str, unit: u64) -> (String, Vec<Value<'static>>) {
        let mut terms = Vec::new();
        let mut parameters = Vec::new();
        for (bound, sign) in [(self.from, ">="), (self.to, "<")] {
            if let Some(Timestamp(at)) = bound {
                terms.push(format!("{time} {sign} ?"));
                parameters.push(Value::number(at / unit));
            }
        }
        for (column, value) in &self.only {
            terms.push(format!("{column} = ?"));
            parameters.push(Value::Text(value.clone().into()));
        }
        let condition = if terms.is_empty() { String::new() } else { format!(" WHERE {}", terms.join(" AND ")) };
        (condition, parameters)
    }
}

fn columns(text: &str) -> Result<Vec<Column>, Box<ApiError>> {
    let mut columns = Vec::new();
    for name in text.split(',').filter(|name| !name.is_empty()) {
        let known = Column::ALL.into_iter().find(|column| column.name() == name);
        let Some(column) = known.filter(|column| !columns.contains(column)) else {
            let message = format!(
                "`by` has no `{}`, or has it twice: it is a list of `client`, `model`, `route`, `day` and `probe`, such as \
                 by=client,day.",
                quoted(name)
            );
            return Err(ApiError::invalid(message, Some("by")).into());
        };
        columns.push(column);
    }
    Ok(columns)
}

/// A day, at its beginning, or any moment. Both in UTC, unless they say otherwise.
fn moment(name: &'static str, text: &str) -> Result<Timestamp, Box<ApiError>> {
    let day = || rfc3339(&format!("{text}T00:00:00Z"));
    rfc3339(text).or_else(day).ok_or_else(|| {
        let message = format!(
            "`{name}` is a day such as 2026-11-21, or a moment such as 2026-11-21T10:30:00Z. `to` is not included."
        );
        ApiError::invalid(message, Some(name)).into()
    })
}

/// What a page said comes next: the time and the number of its last line.
fn cursor(text: &str) -> Result<(u64, u64), Box<ApiError>> {
    let parts = text.split_once('.').and_then(|(at, id)| Some((at.parse().ok()?, id.parse().ok()?)));
    parts.ok_or_else(|| ApiError::invalid("`before` is the `next` of another page.", Some("before")).into())
}

fn limit(text: &str) -> Result<usize, Box<ApiError>> {
    text.parse()
        .ok()
        .filter(|limit| (1..=LINES_MAX).contains(limit))
        .ok_or_else(|| ApiError::invalid(format!("`limit` is a number from 1 to {LINES_MAX}."), Some("limit")).into())
}

fn format(text: &str) -> Result<Format, Box<ApiError>> {
    match text {
        "json" => Ok(Format::Json),
        "csv" => Ok(Format::Csv),
        "text" => Ok(Format::Text),
        _ => Err(ApiError::invalid("`format` is `json`, `csv` or `text`.", Some("format")).into()),
    }
}

fn unknown(name: &str, known: &str) -> ApiError {
    ApiError::invalid(format!("There is no `{}` to ask the ledger with. There is {known}.", quoted(name)), None)
}

fn too_many() -> ApiError {
    let message = format!("These are more than {SUMS_MAX} rows: ask for less time, or by fewer columns.");
    ApiError::new(StatusCode::BAD_REQUEST, "invalid_request_error", "too_many_rows", message)
}

/// What is answered where nothing is stored.
pub(crate) fn off() -> ApiError {
    let message = "This gateway keeps no ledger: give its configuration a [store].";
    ApiError::new(StatusCode::NOT_FOUND, "invalid_request_error", "no_ledger", message)
}
