//! What holds where the config says nothing.

use super::{BreakerPolicy, ConcurrencyPolicy, HealthPolicy, ProbeKind, RetryPolicy, Server, Timeouts, Window};
use crate::dialect::chat::Abilities;
use crate::time::Millis;

/// How long connecting to a vendor may take.
pub(super) const CONNECT: Millis = Millis::from_secs(10);

/// Process-wide retry budget in 1/1000 of the traffic: the 20 % of Finagle's and linkerd's retry budgets.
pub(super) const RETRY_SHARE_PERMILLE: u32 = 200;

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:8080".to_owned(),
            body_max: 20 << 20,
            reply_max: 64 << 20,
            request_head: Millis::from_secs(75),
            client_stall: Millis::from_secs(60),
            keep_alive: Some(Millis::from_secs(15)),
            connections_max: 10_000,
            drain: Millis::from_secs(30),
            records: 1000,
            admin_key: None,
        }
    }
}

/// What most models can do. Going on from a given beginning is not among it: few vendors say that theirs do, and the
/// others answer as if it were somebody else's.
impl Default for Abilities {
    fn default() -> Self {
        Self {
            tools: true,
            vision: true,
            json_schema: true,
            prefill: false,
            thinking: true,
            thinking_off: true,
            forced_tools: true,
            max_output: 8192,
        }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            head: Millis::from_secs(30),
            answer: Millis::from_secs(60),
            first_token: Millis::from_secs(30),
            gap: Millis::from_secs(30),
            total: Millis::from_secs(600),
        }
    }
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts: 4,
            deadline: Millis::from_secs(120),
            same_target: 1,
            wait: Millis::ZERO,
            base: Millis(500),
            max: Millis::from_secs(10),
            quarantine: Millis::from_secs(300),
        }
    }
}

impl Default for BreakerPolicy {
    fn default() -> Self {
        Self {
            window: Window::Buckets(Millis::from_secs(30)),
            min_requests: 20,
            failure_rate_permille: 500,
            failures: 5,
            slow_first_token: Millis::from_secs(10),
            slow_rate_permille: 800,
            open: Millis::from_secs(5),
            open_max: Millis::from_secs(120),
            probes: 2,
            successes: 3,
            ramp: Millis::ZERO,
        }
    }
}

/// The numbers of Netflix' AIMD limit, but for its `min` of 20: a model on one graphics card bears one request at once.
impl Default for ConcurrencyPolicy {
    fn default() -> Self {
        Self { start: 20, min: 1, max: 200, queue: 100, decrease_to_permille: 900 }
    }
}

/// The numbers that the field's write-ups on health checks agree on.
impl Default for HealthPolicy {
    fn default() -> Self {
        Self {
            probe: ProbeKind::Models,
            path: String::new(),
            every: Millis::from_secs(30),
            timeout: Millis::from_secs(10),
            healthy: 3,
            unhealthy: 3,
            degraded: Millis::from_secs(3),
            too_slow: Millis::from_secs(5),
            success_rate_permille: 0,
        }
    }
}
