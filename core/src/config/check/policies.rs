//! `[*.timeouts]`, `[*.retry]`, `[*.breaker]`, `[*.concurrency]`, `[*.health]`: what a table leaves out, it has from the
//! table around it.

use std::ops::RangeInclusive;

use super::health::health;
use super::limits;
use crate::config::defaults::{CONNECT, RETRY_SHARE_PERMILLE};
use crate::config::document::Value;
use crate::config::reader::{Field, Refusal, Table};
use crate::config::values::{duration, integer, permille};
use crate::config::{BreakerPolicy, ConcurrencyPolicy, HealthPolicy, Limits, RetryPolicy, Timeouts, Window};
use crate::time::Millis;

/// What holds for a target, before its own tables are read.
#[derive(Debug, Clone)]
pub(super) struct Policies {
    pub(super) connect: Millis,
    pub(super) timeouts: Timeouts,
    pub(super) retry: RetryPolicy,
    pub(super) breaker: BreakerPolicy,
    pub(super) concurrency: Option<ConcurrencyPolicy>,
    pub(super) health: HealthPolicy,
    pub(super) limits: Limits,
}

/// Longer than a day is a slip of the unit.
pub(super) const DAY: Millis = Millis::from_secs(86_400);
pub(super) const SPAN: RangeInclusive<Millis> = Millis(1)..=DAY;
const SPAN_OR_NONE: RangeInclusive<Millis> = Millis::ZERO..=DAY;

/// What holds where the config says nothing at all.
pub(super) fn built_in() -> Policies {
    Policies {
        connect: CONNECT,
        timeouts: Timeouts::default(),
        retry: RetryPolicy::default(),
        breaker: BreakerPolicy::default(),
        concurrency: None,
        health: HealthPolicy::default(),
        limits: Limits::default(),
    }
}

/// `[defaults.*]`, with the process-wide share of retries in 1/1000.
pub(super) fn defaults(root: &mut Table<'_>) -> (Policies, u32) {
    let mut share = RETRY_SHARE_PERMILLE;
    let base = built_in();
    let read = root.table("defaults", &[], |table| {
        let (connect, timeouts) = pooled_timeouts(table, &base);
        let (retry, _) = retry_with(table, base.retry, |retry| share = retry.read("share", permille).unwrap_or(share));
        Policies {
            connect,
            timeouts,
            retry,
            breaker: breaker(table, base.breaker),
            concurrency: concurrency(table, None),
            health: health(table, &base.health),
            limits: limits::per_minute(table, base.limits),
        }
    });
    (read.unwrap_or(base), share)
}

/// The tables of a vendor.
pub(super) fn vendor(table: &mut Table<'_>, base: &Policies) -> Policies {
    let (connect, timeouts) = pooled_timeouts(table, base);
    Policies {
        connect,
        timeouts,
        retry: retry(table, base.retry),
        breaker: breaker(table, base.breaker),
        concurrency: concurrency(table, base.concurrency),
        health: health(table, &base.health),
        limits: base.limits,
    }
}

/// The tables of a model.
pub(super) fn model(table: &mut Table<'_>, base: &Policies) -> Policies {
    Policies {
        connect: base.connect,
        timeouts: timeouts(table)(base.timeouts),
        retry: retry(table, base.retry),
        breaker: breaker(table, base.breaker),
        concurrency: concurrency(table, base.concurrency),
        health: health(table, &base.health),
        limits: limits::per_minute(table, base.limits),
    }
}

/// `[*.timeouts]` of the defaults or a vendor: the only ones that say how long connecting may take.
fn pooled_timeouts(table: &mut Table<'_>, base: &Policies) -> (Millis, Timeouts) {
    let read = table.table("timeouts", &[], |timeouts| {
        let connect = timeouts.read("connect", duration(SPAN));
        (connect.unwrap_or(base.connect), layer(timeouts)(base.timeouts))
    });
    read.unwrap_or((base.connect, base.timeouts))
}

/// `[*.timeouts]` of a model or a route, as a function of what it inherits: on a route, every candidate has its own.
pub(super) fn timeouts(table: &mut Table<'_>) -> impl Fn(Timeouts) -> Timeouts + use<> {
    let written = table.table("timeouts", &[], |timeouts| {
        timeouts.misplaced(
            "connect",
            "connections are pooled per vendor, so this limit is the vendor's",
            "Move it to the vendor's `timeouts`, or to `defaults.timeouts`.",
        );
        layer(timeouts)
    });
    move |base| written.as_ref().map_or(base, |over| over(base))
}

fn layer(table: &mut Table<'_>) -> impl Fn(Timeouts) -> Timeouts + use<> {
    let head = table.read("head", duration(SPAN));
    let answer = table.read("answer", duration(SPAN));
    let first_token = table.read("first_token", duration(SPAN));
    let gap = table.read("gap", duration(SPAN));
    let total = table.read("total", duration(SPAN));
    move |base| Timeouts {
        head: head.unwrap_or(base.head),
        answer: answer.unwrap_or(base.answer),
        first_token: first_token.unwrap_or(base.first_token),
        gap: gap.unwrap_or(base.gap),
        total: total.unwrap_or(base.total),
    }
}

/// `[*.retry]` of a vendor or a model.
fn retry(table: &mut Table<'_>, base: RetryPolicy) -> RetryPolicy {
    retry_of_route(table, base).0
}

/// `[*.retry]` of a route, and apart from it how long a refused key is left alone, where the table says so: what holds of a
/// request is its route's, and what holds of a key is its vendor's unless the route says otherwise.
pub(super) fn retry_of_route(table: &mut Table<'_>, base: RetryPolicy) -> (RetryPolicy, Option<Millis>) {
    retry_with(table, base, |retry| {
        retry.misplaced("share", "this budget is one for the whole process", "Move it to `defaults.retry`.");
    })
}

/// `[*.retry]`, where `share` reads the key of that name.
fn retry_with(
    table: &mut Table<'_>,
    base: RetryPolicy,
    share: impl FnOnce(&mut Table<'_>),
) -> (RetryPolicy, Option<Millis>) {
    const MONTH: Millis = Millis::from_secs(30 * 86_400);
    let read = table.table("retry", &[], |retry| {
        share(retry);
        let quarantine = retry.read("quarantine", duration(Millis(1)..=MONTH));
        let policy = RetryPolicy {
            attempts: retry.read("attempts", integer(1..=100)).unwrap_or(base.attempts),
            deadline: retry.read("deadline", duration(SPAN)).unwrap_or(base.deadline),
            same_target: retry.read("same_target", integer(0..=100)).unwrap_or(base.same_target),
            wait: retry.read("wait", duration(SPAN_OR_NONE)).unwrap_or(base.wait),
            base: retry.read("base", duration(SPAN_OR_NONE)).unwrap_or(base.base),
            max: retry.read("max", duration(SPAN_OR_NONE)).unwrap_or(base.max),
            quarantine: quarantine.unwrap_or(base.quarantine),
        };
        ordered(retry, ("base", policy.base), ("max", policy.max));
        (policy, quarantine)
    });
    read.unwrap_or((base, None))
}

/// `[*.breaker]` of the defaults, a vendor or a model.
fn breaker(table: &mut Table<'_>, base: BreakerPolicy) -> BreakerPolicy {
    breakers(table, &[base]).map_or(base, |policies| policies[0])
}

/// `[*.breaker]` on top of each of `bases`: on a route, every candidate inherits from another model. `None` where there is
/// no such table.
pub(super) fn breakers(table: &mut Table<'_>, bases: &[BreakerPolicy]) -> Option<Vec<BreakerPolicy>> {
    const COUNT_MAX: u32 = 1_000_000;
    table.table("breaker", &[], |breaker| {
        let window = breaker.read("window", window);
        let min_requests = breaker.read("min_requests", integer(1..=COUNT_MAX));
        let failure_rate = breaker.read("failure_rate", permille);
        let failures = breaker.read("failures", integer(0..=COUNT_MAX));
        let slow_first_token = breaker.read("slow_first_token", duration(SPAN));
        let slow_rate = breaker.read("slow_rate", permille);
        let open = breaker.read("open", duration(SPAN));
        let open_max = breaker.read("open_max", duration(SPAN));
        let probes = breaker.read("probes", integer(1..=1000));
        let successes = breaker.read("successes", integer(1..=1000));
        let ramp = breaker.read("ramp", duration(SPAN_OR_NONE));
        let layered = bases.iter().map(|base| {
            let policy = BreakerPolicy {
                window: window.unwrap_or(base.window),
                min_requests: min_requests.unwrap_or(base.min_requests),
                failure_rate_permille: failure_rate.unwrap_or(base.failure_rate_permille),
                failures: failures.unwrap_or(base.failures),
                slow_first_token: slow_first_token.unwrap_or(base.slow_first_token),
                slow_rate_permille: slow_rate.unwrap_or(base.slow_rate_permille),
                open: open.unwrap_or(base.open),
                open_max: open_max.unwrap_or(base.open_max),
                probes: probes.unwrap_or(base.probes),
                successes: successes.unwrap_or(base.successes),
                ramp: ramp.unwrap_or(base.ramp),
            };
            ordered(breaker, ("open", policy.open), ("open_max", policy.open_max));
            policy
        });
        layered.collect()
    })
}

fn window(field: &Field<'_>) -> Result<Window, Refusal> {
    match field.value() {
        Value::Text(text) if text == "leaky" => Ok(Window::Leaky),
        // A bucket is a fraction of the window; one shorter than this would hold no request.
        _ => duration(Millis(100)..=DAY)(field)
            .map(Window::Buckets)
            .map_err(|refusal| Refusal::new(refusal.problem, format!("{} Or write \"leaky\".", refusal.remedy))),
    }
}

/// `[*.concurrency]` of the defaults, a vendor or a model. There is a limit where one of them has the table.
fn concurrency(table: &mut Table<'_>, inherited: Option<ConcurrencyPolicy>) -> Option<ConcurrencyPolicy> {
    const ATTEMPTS_MAX: u32 = 100_000;
    const WAITING_MAX: u32 = 10_000;
    let base = inherited.unwrap_or_default();
    let read = table.table("concurrency", &[], |concurrency| {
        let policy = ConcurrencyPolicy {
            start: concurrency.read("start", integer(1..=ATTEMPTS_MAX)).unwrap_or(base.start),
            min: concurrency.read("min", integer(1..=ATTEMPTS_MAX)).unwrap_or(base.min),
            max: concurrency.read("max", integer(1..=ATTEMPTS_MAX)).unwrap_or(base.max),
            queue: concurrency.read("queue", integer(0..=WAITING_MAX)).unwrap_or(base.queue),
            decrease_to_permille: concurrency.read("decrease_to", remainder).unwrap_or(base.decrease_to_permille),
        };
        let ConcurrencyPolicy { start, min, max, .. } = policy;
        if !(min <= start && start <= max) {
            let problem = format!("`min` ({min}), `start` ({start}) and `max` ({max}) are not in this order");
            concurrency.refuse(problem, "Set all three, `start` to something between the others.");
        }
        policy
    });
    read.or(inherited)
}

/// A share that is less than all of it and more than nothing: what is left of a limit, or is borne before an alert.
pub(super) fn remainder(field: &Field<'_>) -> Result<u32, Refusal> {
    match permille(field)? {
        left @ 1..=999 => Ok(left),
        _ => Err(Refusal::new("out of range", "Write a share between 0 and 1, such as 0.9.")),
    }
}

/// Refuses a first step that is longer than the longest one. Either may be inherited, so both are named.
pub(super) fn ordered(table: &Table<'_>, first: (&str, Millis), longest: (&str, Millis)) {
    if first.1 > longest.1 {
        let problem = format!("`{}` ({}) is longer than `{}` ({})", first.0, first.1, longest.0, longest.1);
        table.refuse(problem, format!("Set both, `{}` to at most `{}`.", first.0, longest.0));
    }
}
