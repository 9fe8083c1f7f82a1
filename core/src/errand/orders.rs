//! The body of `POST /admin/breakers`: which target's breakers are to be opened, closed or reset.

use http::StatusCode;
use serde::Deserialize;

use super::Task;
use crate::breaker::{ORDER_MAX, Order};
use crate::config::{Config, Name, TargetId, duration};
use crate::reply::{ApiError, quoted};
use crate::time::Millis;

/// How long a breaker stays open when the order does not say: time to look into what is wrong.
const OPEN_DEFAULT: Millis = Millis::from_secs(300);

/// Names listed when the one that was asked for is not there.
const LISTED_MAX: usize = 30;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    target: String,
    order: Word,
    #[serde(rename = "for")]
    open_for: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Word {
    Open,
    Close,
    Reset,
}

/// Reads an order.
pub(crate) fn read(config: &Config, body: &[u8]) -> Result<Task, Box<ApiError>> {
    let Body { target, order, open_for } = serde_json::from_slice(body).map_err(|error| {
        let problem = quoted(&error.to_string());
        let remedy =
            r#"Write {"target": "vendor/model", "order": "open", "for": "5m"}; other orders are "close" and "reset"."#;
        ApiError::invalid(format!("This is no order: {problem}. {remedy}"), None)
    })?;
    let target = find(config, &target)?;
    let order = match order {
        Word::Open => Order::Open(open_for.as_deref().map_or(Ok(OPEN_DEFAULT), length)?),
        Word::Close | Word::Reset if open_for.is_some() => {
            return Err(ApiError::invalid("Only `open` has a time: leave out `for`.", Some("for")).into());
        }
        Word::Close => Order::Close,
        Word::Reset => Order::Reset,
    };
    Ok(Task::Order(target, order))
}

fn length(text: &str) -> Result<Millis, Box<ApiError>> {
    duration(text).filter(|length| (Millis(1)..=ORDER_MAX).contains(length)).ok_or_else(|| {
        let message = format!("`for` is a duration such as \"30s\", \"5m\" or \"1h\", and {ORDER_MAX} at most.");
        ApiError::invalid(message, Some("for")).into()
    })
}

/// The target of that name. A route has none of its own: its targets are what breakers guard.
fn find(config: &Config, name: &str) -> Result<TargetId, Box<ApiError>> {
    if let Some(Name::Target(id)) = config.names.get(name) {
        return Ok(*id);
    }
    let mut known: Vec<&str> = config.targets.iter().map(|target| target.name.as_str()).collect();
    let more = known.len().saturating_sub(LISTED_MAX);
    known.truncate(LISTED_MAX);
    let more = if more > 0 { format!(", and {more} more") } else { String::new() };
    let message = format!("There is no target `{}`. Known here: {}{more}.", quoted(name), known.join(", "));
    let error = ApiError::new(StatusCode::NOT_FOUND, "invalid_request_error", "target_not_found", message);
    Err(error.with_param(Some("target")).into())
}
