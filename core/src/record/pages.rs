//! The records over the admin interface.

use http::StatusCode;
use serde_json::{Value, json};

use super::{Ending, Record};
use crate::config::Config;
use crate::gateway::Gateway;
use crate::reply::{ApiError, Reply, quoted};

/// Requests on one page.
const LISTED_MAX: usize = 100;

impl Gateway {
    /// The latest requests, as `GET /admin/requests` lists them.
    pub(crate) fn list_records(&self) -> Reply {
        let config = self.config();
        let rows: Vec<Value> = self.records().latest().take(LISTED_MAX).map(|record| row(record, config)).collect();
        Reply::json(StatusCode::OK, &json!({ "kept": config.server.records, "requests": rows }))
    }

    /// All that is known of one request, as `GET /admin/requests/{id}` tells it.
    pub(crate) fn tell_record(&self, request_id: &str) -> Result<Reply, Box<ApiError>> {
        match self.records().find(request_id) {
            Some(record) => Ok(Reply::json(StatusCode::OK, &record.account(self.config()))),
            None => Err(unknown(request_id, self.config().server.records).into()),
        }
    }
}

fn row(record: &Record, config: &Config) -> Value {
    let account = record.account(config);
    let Ending { at_ms, how, status, target } = account.ending;
    json!({
        "request_id": account.request_id, "at_ms": account.at_ms, "model": account.model, "client": account.client,
        "attempts": account.attempts.len(), "how": how, "status": status, "target": target, "took_ms": at_ms,
    })
}

fn unknown(request_id: &str, kept: u32) -> ApiError {
    let why = if kept == 0 {
        "It keeps none: `server.records` is 0.".to_owned()
    } else {
        format!(
            "It keeps those of its latest {kept} requests that got as far as a target being looked for, once they \
             are over. Other replicas, and other isolates of a worker, have records of their own."
        )
    };
    let message = format!("This gateway has no record of a request `{}`. {why}", quoted(request_id));
    ApiError::new(StatusCode::NOT_FOUND, "invalid_request_error", "request_not_found", message)
}
