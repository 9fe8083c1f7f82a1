//! What the gateway looks like from outside: the reply of `GET /admin/status`.

use serde::Serialize;

use crate::breaker::Counts;
use crate::concurrency::Load;
use crate::config::{BreakerId, Candidate, RouteId, TargetId};
use crate::gateway::{Gateway, Hedging, Shadowing, state_name};
use crate::health::Status as Health;
use crate::limit::{Allowance, Room};
use crate::stats::{Latency, Tally};
use crate::time::{Millis, Timestamp};

/// How many answers the shorter of two means is over.
const LAST_FEW: usize = 10;

/// All targets and routes at one moment.
#[derive(Debug, Clone, Serialize)]
pub struct Status {
    /// When, in milliseconds since the Unix epoch.
    pub now_ms: Timestamp,
    /// Whether new requests are welcome.
    pub ready: bool,
    /// Alerts that are open; absent where nothing is watched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alerts_open: Option<usize>,
    /// In the order of their names.
    pub targets: Vec<TargetStatus>,
    /// In the order of their names.
    pub routes: Vec<RouteStatus>,
    /// Absent where none is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ledger: Option<LedgerStatus>,
    /// Those that have limits, in the order of their names.
    pub clients: Vec<ClientStatus>,
}

/// A client, and what it has left.
#[derive(Debug, Clone, Serialize)]
pub struct ClientStatus {
    /// Its name.
    pub client: String,
    /// What it has left of its limits.
    pub limits: LimitStatus,
    /// What it has left of its money; absent where it has no budget.
    pub budget: Option<BudgetStatus>,
}

/// What there is left of limits; absent where there is none.
#[derive(Debug, Clone, Serialize)]
pub struct LimitStatus {
    /// Of requests a minute.
    pub requests: Option<Room>,
    /// Of tokens a minute.
    pub tokens: Option<Room>,
    /// Requests under way, and how many may be.
    pub under_way: Option<(u64, u64)>,
}

/// What there is left of a budget, in USD.
#[derive(Debug, Clone, Serialize)]
pub struct BudgetStatus {
    /// What may be spent in a period.
    pub limit_usd: String,
    /// What has been in the present one.
    pub spent_usd: String,
    /// What is set aside for requests under way.
    pub set_aside_usd: String,
}

/// The ledger on its way to where it is stored.
#[derive(Debug, Clone, Serialize)]
pub struct LedgerStatus {
    /// Lines that are yet to be stored.
    pub waiting: usize,
    /// Lines that were dropped since the start, because they came faster than they were stored.
    pub lost: u64,
}

/// One target.
#[derive(Debug, Clone, Serialize)]
pub struct TargetStatus {
    /// `vendor/model`.
    pub target: String,
    /// What the vendor calls the model.
    pub upstream: String,
    /// Its breaker.
    pub breaker: BreakerStatus,
    /// Attempts under way and waiting; absent where there is no limit.
    pub concurrency: Option<Load>,
    /// How it is: `healthy`, `degraded`, `unknown` or `unhealthy`.
    pub health: Health,
    /// Attempts by what became of them, since the start.
    pub attempts: Tally,
    /// From sending to the first token of a stream; successes only.
    pub first_token: LatencyStatus,
    /// From sending to the end; successes only.
    pub total: LatencyStatus,
    /// What its answers cost in USD, as far as that is known.
    pub cost_usd: String,
    /// Answers whose cost is not known.
    pub unpriced: u64,
    /// Keys that can be used now.
    pub keys_usable: usize,
    /// Keys configured.
    pub keys: usize,
    /// What is left of its own limits, with all keys together.
    pub limits: LimitStatus,
}

/// A breaker.
#[derive(Debug, Clone, Serialize)]
pub struct BreakerStatus {
    /// `closed`, `open` or `half_open`.
    pub state: &'static str,
    /// Until it lets a probe through; absent unless it is open.
    pub retry_in_ms: Option<Millis>,
    /// Whether an operator has ordered it to be open.
    pub by_order: bool,
    /// What its window holds.
    pub window: Counts,
}

/// How long something took; all absent before the first sample.
#[derive(Debug, Clone, Serialize)]
pub struct LatencyStatus {
    /// Of the last 100.
    pub mean_ms: Option<Millis>,
    /// Of the last 10.
    pub mean_10_ms: Option<Millis>,
    /// Moving average, the latest sample weighing 0.3.
    pub ewma_ms: Option<Millis>,
    /// Median of the last 5 to 10 minutes, within 1.6 %.
    pub p50_ms: Option<Millis>,
    /// 95th percentile.
    pub p95_ms: Option<Millis>,
    /// 99th percentile.
    pub p99_ms: Option<Millis>,
}

/// One route.
#[derive(Debug, Clone, Serialize)]
pub struct RouteStatus {
    /// What clients put in `model`.
    pub route: String,
    /// Its targets in the order in which its strategy favours them now; those that cannot be used come last.
    pub order: Vec<String>,
    /// The quickest of those that can be used: by the mean of its last 10 answers, of which there must be 3.
    pub quickest: Option<String>,
    /// The breakers that the route has of its own.
    pub breakers: Vec<TargetBreaker>,
    /// Second attempts that were made because the first was slow.
    pub hedges: u64,
    /// Those of them that were faster.
    pub hedges_won: u64,
    /// Streams that broke off and that another target brought to their end.
    pub streams_rescued: u64,
    /// How its shadow compares; absent where it has none.
    pub shadow: Option<ShadowStatus>,
}

/// What another policy would have decided, beside what was.
#[derive(Debug, Clone, Serialize)]
pub struct ShadowStatus {
    /// Requests for which it would have asked the same target first.
    pub same: u64,
    /// Requests for which it would have asked another.
    pub different: u64,
    /// Requests for which it had nobody to ask.
    pub nobody: u64,
    /// What the targets that were asked were expected to cost, in USD, where both costs are known,
    pub live_cost_usd: String,
    /// and those that would have been.
    pub shadow_cost_usd: String,
    /// Requests for which one of the two is not known.
    pub unpriced: u64,
}

/// A breaker and whom it guards.
#[derive(Debug, Clone, Serialize)]
pub struct TargetBreaker {
    /// Whom it guards.
    pub target: String,
    /// What it is up to.
    pub breaker: BreakerStatus,
}

impl Gateway {
    /// A picture of everything, for people and dashboards.
    pub fn status(&self, now: Timestamp) -> Status {
        let config = self.config();
        Status {
            now_ms: now,
            ready: self.is_ready(),
            alerts_open: self.open_alerts(),
            targets: (0..config.targets.len()).map(|index| self.target_status(now, TargetId(index))).collect(),
            routes: (0..config.routes.len()).map(|index| self.route_status(now, RouteId(index))).collect(),
            clients: (0..config.clients.len()).filter_map(|index| self.client_status(now, index)).collect(),
            ledger: self.ledger_counts().map(|(waiting, lost)| LedgerStatus { waiting, lost }),
        }
    }

    fn route_status(&self, now: Timestamp, id: RouteId) -> RouteStatus {
        let config = self.config();
        let route = &config.routes[id.0];
        let name = |candidate: &Candidate| config.target(candidate.target).name.clone();
        let own = route.candidates.iter().filter(|candidate| config.guard(candidate.breaker).route == Some(id));
        let breakers = own.map(|candidate| TargetBreaker {
            target: name(candidate),
            breaker: self.breaker_status(now, candidate.breaker),
        });
        let breakers = breakers.collect();
        let usual = &route.choices.usual;
        let order = self.favour(now, usual, &route.choices.score);
        let &Hedging { made, won, .. } = self.hedging(id);
        RouteStatus {
            route: route.name.clone(),
            order: order.into_iter().map(name).collect(),
            quickest: self.quickest(now, &route.candidates).map(name),
            breakers,
            hedges: made,
            hedges_won: won,
            streams_rescued: self.rescued(id),
            shadow: route.choices.shadow.as_ref().map(|_| ShadowStatus::of(self.shadowing(id))),
        }
    }

    /// `None`: it may use what it likes.
    fn client_status(&self, now: Timestamp, index: usize) -> Option<ClientStatus> {
        let (allowance, budget) = self.client_limits(index);
        let budget = budget.map(|budget| BudgetStatus {
            limit_usd: budget.limit().to_string(),
            spent_usd: budget.spent(now).to_string(),
            set_aside_usd: budget.earmarked(now).to_string(),
        });
        let is_limited = budget.is_some() || !allowance.is_unlimited();
        is_limited.then(|| ClientStatus {
            client: self.config().clients[index].name.clone(),
            limits: LimitStatus::of(allowance, now),
            budget,
        })
    }

    /// What an order has led to: the reply of `POST /admin/breakers`.
    pub(crate) fn ordered(&self, now: Timestamp, id: TargetId) -> TargetBreaker {
        TargetBreaker { target: self.config().target(id).name.clone(), breaker: self.breaker_status(now, id.into()) }
    }

    fn quickest<'c>(&self, now: Timestamp, candidates: &'c [Candidate]) -> Option<&'c Candidate> {
        const SAMPLES_MIN: usize = 3;
        let is_usable =
            |candidate: &&Candidate| self.would_admit(now, candidate).is_ok() && !self.is_doubtful(now, candidate);
        let usable = candidates.iter().filter(is_usable);
        let measured = usable.filter(|candidate| self.stats(candidate.target).total().samples() >= SAMPLES_MIN);
        measured.min_by_key(|candidate| self.stats(candidate.target).total().mean_of_last(LAST_FEW))
    }

    fn breaker_status(&self, now: Timestamp, id: BreakerId) -> BreakerStatus {
        let breaker = self.breaker(id);
        BreakerStatus {
            state: state_name(breaker.state(now)),
            retry_in_ms: breaker.retry_in(now),
            by_order: breaker.is_by_order(now),
            window: breaker.counts(now),
        }
    }

    fn target_status(&self, now: Timestamp, id: TargetId) -> TargetStatus {
        let target = self.config().target(id);
        let stats = self.stats(id);
        let spending = self.spending(id);
        TargetStatus {
            target: target.name.clone(),
            upstream: target.upstream.clone(),
            breaker: self.breaker_status(now, id.into()),
            concurrency: self.load(now, id),
            health: self.health(now, id),
            attempts: *stats.tally(),
            first_token: LatencyStatus::of(stats.first_token(), now),
            total: LatencyStatus::of(stats.total(), now),
            cost_usd: spending.known.to_string(),
            unpriced: spending.unpriced,
            keys_usable: self.usable_keys(now, id),
            keys: self.config().vendor_of(id).keys.len(),
            limits: LimitStatus::of(self.target_limits(id), now),
        }
    }
}

impl LimitStatus {
    fn of(allowance: &Allowance, now: Timestamp) -> Self {
        let [(_, requests), (_, tokens)] = allowance.room(now);
        Self { requests, tokens, under_way: allowance.under_way(now) }
    }
}

impl ShadowStatus {
    fn of(shadowing: &Shadowing) -> Self {
        let Shadowing { same, different, nobody, live_cost, shadow_cost, unpriced } = *shadowing;
        let (live_cost_usd, shadow_cost_usd) = (live_cost.to_string(), shadow_cost.to_string());
        Self { same, different, nobody, live_cost_usd, shadow_cost_usd, unpriced }
    }
}

impl LatencyStatus {
    fn of(latency: &Latency, now: Timestamp) -> Self {
        Self {
            mean_ms: latency.mean(),
            mean_10_ms: latency.mean_of_last(LAST_FEW),
            ewma_ms: latency.ewma(),
            p50_ms: latency.quantile(now, 500),
            p95_ms: latency.quantile(now, 950),
            p99_ms: latency.quantile(now, 990),
        }
    }
}
