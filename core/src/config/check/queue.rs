//! `[queue]`: what is kept of what nobody could serve.

use super::vendors::check_url;
use crate::config::reader::Table;
use crate::config::values::{duration, integer, secret, size, variable};
use crate::config::{Exhausted, QueuePolicy, Route, Webhook};
use crate::secret::Secret;
use crate::time::Millis;

/// A key that whoever steals the disk cannot guess: as `openssl rand -hex 16` prints, or better.
const KEY_LENGTH_MIN: usize = 32;

const MONTH: Millis = Millis::from_secs(30 * 86_400);

/// Reads `[queue]`. A route that queues needs no such table: then the defaults hold.
pub(super) fn read(root: &mut Table<'_>, routes: &[Route]) -> Option<QueuePolicy> {
    let queue = root.table("queue", &[], table);
    let is_used = routes.iter().any(|route| route.exhausted == Exhausted::Queue);
    queue.or_else(|| is_used.then(QueuePolicy::default))
}

fn table(queue: &mut Table<'_>) -> QueuePolicy {
    let base = QueuePolicy::default();
    let (waits, lasts) = (|| duration(Millis(100)..=MONTH), || duration(Millis(1000)..=MONTH));
    QueuePolicy {
        jobs_max: queue.read("jobs_max", integer(1..=100_000)).unwrap_or(base.jobs_max),
        client_jobs_max: queue.read("client_jobs_max", integer(1..=100_000)).unwrap_or(base.client_jobs_max),
        body_max: queue.read("body_max", size(1024..=64 << 20)).unwrap_or(base.body_max),
        bytes_max: queue.read("bytes_max", size(1024..=1 << 40)).unwrap_or(base.bytes_max),
        at_once: queue.read("at_once", integer(1..=100)).unwrap_or(base.at_once),
        attempts: queue.read("attempts", integer(1..=10_000)).unwrap_or(base.attempts),
        base: queue.read("base", waits()).unwrap_or(base.base),
        max: queue.read("max", waits()).unwrap_or(base.max),
        expiry: queue.read("expiry", lasts()).unwrap_or(base.expiry),
        keep: queue.read("keep", lasts()).unwrap_or(base.keep),
        webhook: webhook(queue),
        key: queue.field("key").and_then(|key| secret(&key, KEY_LENGTH_MIN)).map(|(_, key)| key),
    }
}

/// A URL that may hold a token of its own, from the environment.
fn url(table: &mut Table<'_>, key: &'static str) -> Option<Secret> {
    table.field(key).and_then(|field| {
        let (_, url) = variable(&field)?;
        field.read(|_| check_url(&url))?;
        Some(Secret::new(url))
    })
}

/// `webhook`, and `webhook_key` beside it.
pub(super) fn webhook(table: &mut Table<'_>) -> Option<Webhook> {
    let url = url(table, "webhook");
    let field = table.field("webhook_key");
    let key = field.as_ref().and_then(|key| secret(key, KEY_LENGTH_MIN)).map(|(_, key)| key);
    if let (None, Some(field)) = (&url, &field) {
        field.refuse_key("there is no `webhook` whose messages it could sign", "Add one, or remove this key.");
    }
    url.map(|url| Webhook { url, key })
}
