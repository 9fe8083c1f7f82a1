//! `[*.health]`: how it is found out whether a target is well.

use http::Uri;

use super::policies::{DAY, SPAN, ordered};
use crate::config::reader::{Field, Refusal, Table};
use crate::config::values::{choice, duration, integer, permille, text};
use crate::config::{HealthPolicy, ProbeKind};
use crate::time::Millis;

const PROBES: [(&str, ProbeKind); 4] =
    [("models", ProbeKind::Models), ("chat", ProbeKind::Chat), ("get", ProbeKind::Get), ("none", ProbeKind::None)];

/// `[*.health]` of the defaults, a vendor or a model.
pub(super) fn health(table: &mut Table<'_>, base: &HealthPolicy) -> HealthPolicy {
    const COUNT_MAX: u32 = 1000;
    let read = table.table("health", &[], |health| {
        let policy = HealthPolicy {
            probe: health.read("probe", choice(&PROBES, &[])).unwrap_or(base.probe),
            path: health.read("path", path).map_or_else(|| base.path.clone(), str::to_owned),
            // More often than this is not watching but load.
            every: health.read("every", duration(Millis::from_secs(1)..=DAY)).unwrap_or(base.every),
            timeout: health.read("timeout", duration(SPAN)).unwrap_or(base.timeout),
            healthy: health.read("healthy", integer(1..=COUNT_MAX)).unwrap_or(base.healthy),
            unhealthy: health.read("unhealthy", integer(1..=COUNT_MAX)).unwrap_or(base.unhealthy),
            degraded: health.read("degraded", duration(SPAN)).unwrap_or(base.degraded),
            too_slow: health.read("too_slow", duration(SPAN)).unwrap_or(base.too_slow),
            success_rate_permille: health.read("success_rate", permille).unwrap_or(base.success_rate_permille),
        };
        ordered(health, ("degraded", policy.degraded), ("too_slow", policy.too_slow));
        if policy.probe == ProbeKind::Get && policy.path.is_empty() {
            health.refuse("`probe` is \"get\", and there is no `path`", "Add path = \"/health\".");
        }
        policy
    });
    read.unwrap_or_else(|| base.clone())
}

/// A path on the vendor's own server, or a whole URL. No message repeats it: it may hold a password.
fn path<'a>(field: &Field<'a>) -> Result<&'a str, Refusal> {
    let path = text(field)?;
    let refuse = |problem: &str| Err(Refusal::new(problem, "Write a path such as \"/health\", or a whole URL."));
    let Ok(uri) = path.parse::<Uri>() else { return refuse("not a path") };
    if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return refuse("a user or password must not stand in a URL");
    }
    match uri.scheme_str() {
        None if path.starts_with('/') => Ok(path),
        Some("http" | "https") => Ok(path),
        _ => refuse("not a path, nor a URL with https:// or http://"),
    }
}
