//! An account for people: who asked for what, and line by line what came of it.

use std::fmt::{self, Write as _};

use super::{Account, Attempt, Ending, How, Role};
use crate::backoff::rfc3339_of;
use crate::config::NO_KEY;
use crate::limit::Dimension;
use crate::price::Usage;
use crate::route::Rejection;
use crate::time::Millis;

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { request_id, model, api, .. } = self;
        writeln!(f, "{request_id}  {}", rfc3339_of(self.at_ms))?;
        let streamed = if self.stream { ", streamed" } else { "" };
        write!(f, "{api}{streamed}, model {model}")?;
        if let Some(route) = self.route.as_ref().filter(|route| *route != model) {
            write!(f, ", route {route}")?;
        }
        if let Some(client) = &self.client {
            write!(f, ", client {client}")?;
        }
        if let Some(shadow) = &self.shadow {
            write!(f, ", shadow {shadow}")?;
        }
        writeln!(f, "\n\n{:>8}  what happened", "ms")?;
        for (at, line) in self.lines() {
            writeln!(f, "{:>8}  {line}", at.0)?;
        }
        if self.left_out > 0 {
            writeln!(f, "{:>8}  {} more were passed over or waited for; no more is kept", "", self.left_out)?;
        }
        writeln!(f, "{:>8}  {}", self.ending.at_ms.0, self.ending)
    }
}

impl Account {
    /// All that happened, in the order in which it did.
    fn lines(&self) -> Vec<(Millis, String)> {
        let mut lines: Vec<(Millis, String)> = Vec::new();
        for passed in &self.passed_over {
            lines.push((passed.at_ms, format!("{} passed over: {}", passed.target, reason(&passed.why))));
        }
        for attempt in &self.attempts {
            attempt.tell(&mut lines);
        }
        for pause in &self.pauses {
            lines.push((pause.at_ms, format!("pause of {}", pause.for_ms)));
        }
        // Stable: what happened at one moment stays in the order of this list.
        lines.sort_by_key(|(at, _)| *at);
        lines
    }
}

impl Attempt {
    fn tell(&self, lines: &mut Vec<(Millis, String)>) {
        let Self { target, key, outcome, .. } = self;
        let role = match self.role {
            Role::First => "",
            Role::Again => ", once more",
            Role::Failover => ", instead",
            Role::Hedge => ", as a hedge",
            Role::Rescue => ", to go on with the stream",
        };
        let with = if key == NO_KEY { "without a key".to_owned() } else { format!("with the key in {key}") };
        lines.push((self.sent_ms, format!("{target} asked {with}{role}")));
        if let (Some(at), Some(status)) = (self.head_ms, self.status) {
            lines.push((at, format!("{target} answers {status}")));
        }
        lines.extend(self.first_token_ms.map(|at| (at, format!("{target} first token"))));
        let mut end = format!("{target} {outcome}");
        if let Some(after) = self.retry_after_ms {
            let _ = write!(end, ", retry after {after}");
        }
        if let Some(Usage { input, output, .. }) = self.usage {
            let _ = write!(end, ", {input} + {output} tokens");
        }
        if let Some(cost) = self.cost_picodollars {
            let _ = write!(end, ", ${cost}");
        }
        lines.push((self.ended_ms, end));
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = match self.how {
            How::Answered => "answered",
            How::Refused => "refused",
            How::Queued => "queued: nobody could serve it, and it is kept for later",
            How::Cached => "answered with what had been kept of an answer",
            How::Canned => "answered in the route's own words",
            How::Broken => "ended in an error: the stream broke off",
            How::ClientGone => "the client went away",
        };
        f.write_str(how)?;
        if let Some(target) = &self.target {
            write!(f, " by {target}")?;
        }
        self.status.map_or(Ok(()), |status| write!(f, ", status {status}"))
    }
}

fn reason(why: &Rejection) -> String {
    let name = match why {
        Rejection::BreakerOpen { .. } => "its breaker is open",
        Rejection::Resting { .. } => "it has failed this request, and rests",
        Rejection::Busy { .. } => "as much is under way there as it bears",
        Rejection::RateLimited { .. } => "it is throttled",
        Rejection::AtLimit { limit: Dimension::Requests, .. } => "its requests a minute are used up",
        Rejection::AtLimit { limit: Dimension::Tokens, .. } => "its tokens a minute are used up",
        Rejection::AtLimit { limit: Dimension::Concurrency, .. } => {
            "as much is under way with its keys as they may bear"
        }
        Rejection::AtLimit { limit: Dimension::Money, .. } => "other gateways have a part of the client's budget",
        Rejection::OverBudget { .. } => "it costs more than the client's budget has left",
        Rejection::Unpriced => "nobody knows what it costs, and the client has a budget",
        Rejection::NoCredential { .. } => "its vendor refuses all keys",
        Rejection::ContextTooSmall => "its context is too small",
        Rejection::Filtered => "its filter has stopped this request",
        Rejection::Silent => "it was silent to this request",
        Rejection::NoRescue => "it could not go on with what another had begun",
        Rejection::NotWanted => "the client's hints leave it out",
        Rejection::TooDear => "it costs more than the client allows, or nobody knows what",
        Rejection::TooSlow { expected_ms } => return format!("it is expected to take {expected_ms}"),
        Rejection::Unsupported { what } => return format!("it has no `{what}`"),
    };
    why.retry_in().map_or_else(|| name.to_owned(), |wait| format!("{name}, for {wait} more"))
}
