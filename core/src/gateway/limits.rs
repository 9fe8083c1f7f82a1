//! What keys, models and clients may use: asked before each attempt, all of them at once, and settled after it.
//!
//! A key's limits are for all of its vendor's models together, a model's for all of its vendor's keys. A client's requests
//! are counted once each, however many attempts they take ([`let_in`](Gateway::let_in)); its money is set aside attempt by
//! attempt, since each costs what its own target asks.

use super::{Gateway, Settlement};
use crate::alert::Cause;
use crate::classify::{Failure, Outcome};
use crate::concurrency::Claim;
use crate::config::{Config, KeyId, TargetId};
use crate::limit::{Allowance, AtLimit, Budget, Dimension, Earmark, Hold, Need, OverBudget, Room, Use};
use crate::notice::Notice;
use crate::price::{Picodollars, Usage};
use crate::route::Rejection;
use crate::time::{Millis, Timestamp};

/// The state of all limits in the config.
#[derive(Debug)]
pub(super) struct Limiting {
    /// By vendor and [`KeyId`].
    pub(super) keys: Vec<Vec<Allowance>>,
    /// By [`TargetId`].
    pub(super) targets: Vec<Allowance>,
    /// As the config's clients.
    pub(super) clients: Vec<ClientState>,
}

#[derive(Debug)]
pub(super) struct ClientState {
    pub(super) allowance: Allowance,
    pub(super) budget: Option<Budget>,
    /// What other gateways have been told of it: the period, and what was spent in it.
    pub(super) told: Option<(u64, u64)>,
}

/// What an attempt has taken.
#[derive(Debug)]
pub(super) struct Held {
    key: Hold,
    target: Hold,
    /// The client's money.
    earmark: Option<(usize, Earmark)>,
}

impl Held {
    /// How much of its client's money.
    pub(super) fn set_aside(&self) -> Option<Picodollars> {
        self.earmark.as_ref().map(|(_, earmark)| earmark.amount())
    }
}

impl Limiting {
    pub(super) fn new(config: &Config) -> Self {
        let keys = config.vendors.iter().map(|vendor| {
            let keys = vendor.keys.iter();
            keys.map(|key| Allowance::new(&key.limits)).collect()
        });
        let clients = config.clients.iter().map(|client| ClientState {
            allowance: Allowance::new(&client.limits),
            budget: client.budget.map(|policy| Budget::new(policy.limit, policy.period)),
            told: None,
        });
        Self {
            keys: keys.collect(),
            targets: config.targets.iter().map(|target| Allowance::new(&target.limits)).collect(),
            clients: clients.collect(),
        }
    }
}

impl Gateway {
    // === Attempts ===

    /// Why a key has to rest for its own limits' sake, if it has.
    pub(super) fn key_limit(&self, now: Timestamp, id: TargetId, key: KeyId, need: &Need) -> Option<Rejection> {
        let allowance = &self.limits.keys[self.config.target(id).vendor.0][key.0];
        allowance.check(now, need.tokens()).err().map(at_limit)
    }

    /// Whether the target's own limits and the client's budget have room for an attempt.
    pub(super) fn has_room(&self, now: Timestamp, id: TargetId, need: &Need) -> Result<(), Rejection> {
        self.limits.targets[id.0].check(now, need.tokens()).map_err(at_limit)?;
        let Some(budget) = need.client.and_then(|client| self.limits.clients[client].budget.as_ref()) else {
            return Ok(());
        };
        // What nobody can price, no budget could be kept by.
        let cost = self.expected_cost(id, need).ok_or(Rejection::Unpriced)?;
        budget.check(now, cost).map_err(|OverBudget { retry_in: retry_in_ms, is_share }| {
            if is_share {
                Rejection::AtLimit { limit: Dimension::Money, retry_in_ms }
            } else {
                Rejection::OverBudget { retry_in_ms }
            }
        })
    }

    /// Takes the room that [`key_limit`](Self::key_limit) and [`has_room`](Self::has_room) have just found. `None` where
    /// nothing is limited.
    pub(super) fn take_room(&mut self, now: Timestamp, id: TargetId, key: KeyId, claim: &Claim) -> Option<Box<Held>> {
        const CHECKED: &str = "all limits have just said that there is room";
        let need = &claim.need;
        let payer = need.client.filter(|client| self.limits.clients[*client].budget.is_some());
        let cost = payer.and_then(|_| self.expected_cost(id, need));
        let Limiting { keys, targets, clients } = &mut self.limits;
        let of_key = &mut keys[self.config.target(id).vendor.0][key.0];
        let of_target = &mut targets[id.0];
        if payer.is_none() && of_key.is_unlimited() && of_target.is_unlimited() {
            return None;
        }
        let (tokens, lasts) = (need.tokens(), claim.lasts);
        let earmark = payer.zip(cost).and_then(|(client, cost)| {
            let budget = clients[client].budget.as_mut()?;
            Some((client, budget.earmark(now, cost, lasts).expect(CHECKED)))
        });
        let key = of_key.take(now, tokens, lasts).expect(CHECKED);
        let target = of_target.take(now, tokens, lasts).expect(CHECKED);
        Some(Box::new(Held { key, target, earmark }))
    }

    /// Settles what an attempt has taken, by what came of it.
    pub(super) fn settle_room(
        &mut self,
        now: Timestamp,
        id: TargetId,
        key: KeyId,
        held: Held,
        settlement: &Settlement,
        owed: Option<Picodollars>,
    ) {
        let used = used(settlement.outcome, settlement.usage);
        self.limits.keys[self.config.target(id).vendor.0][key.0].settle(now, held.key, used);
        self.limits.targets[id.0].settle(now, held.target, used);
        let Some((client, earmark)) = held.earmark else { return };
        if let Some(budget) = &mut self.limits.clients[client].budget {
            budget.settle(now, earmark, owed);
        }
        self.warn_of_budget(now, client);
    }

    // === Clients ===

    /// Takes a client's request in: it counts once, whatever it takes to serve it. `None` where nothing is limited.
    pub(crate) fn let_in(
        &mut self,
        now: Timestamp,
        client: usize,
        tokens: u64,
        lasts: Millis,
    ) -> Result<Option<Hold>, AtLimit> {
        let now = self.advance(now);
        let allowance = &mut self.limits.clients[client].allowance;
        if allowance.is_unlimited() { Ok(None) } else { allowance.take(now, tokens, lasts).map(Some) }
    }

    /// Whether a client's request would be taken in. Changes nothing.
    pub(crate) fn would_let_in(&self, now: Timestamp, client: usize, tokens: u64) -> Result<(), Rejection> {
        self.limits.clients[client].allowance.check(self.now.max(now), tokens).map_err(at_limit)
    }

    /// A client's request is over.
    pub(crate) fn let_out(&mut self, now: Timestamp, client: usize, hold: Hold, used: Use) {
        let now = self.advance(now);
        self.limits.clients[client].allowance.settle(now, hold, used);
    }

    /// What a client has left of what it is limited in.
    pub(crate) fn room(&self, now: Timestamp, client: usize) -> [(Dimension, Option<Room>); 2] {
        self.limits.clients[client].allowance.room(self.now.max(now))
    }

    /// A client's limits, for status pages.
    pub(crate) fn client_limits(&self, client: usize) -> (&Allowance, Option<&Budget>) {
        let ClientState { allowance, budget, .. } = &self.limits.clients[client];
        (allowance, budget.as_ref())
    }

    /// A target's own limits, for status pages.
    pub(crate) fn target_limits(&self, id: TargetId) -> &Allowance {
        &self.limits.targets[id.0]
    }

    /// Adds what a client spent before this gateway began, in the period that began at `period_start`: a ledger knows.
    /// A client or a period that is no longer there changes nothing.
    pub fn restore_spent(&mut self, now: Timestamp, client: &str, period_start: Timestamp, spent: Picodollars) {
        let now = self.advance(now);
        let Some(index) = self.config.clients.iter().position(|known| known.name == client) else { return };
        if let Some(budget) = &mut self.limits.clients[index].budget {
            budget.restore(now, period_start, spent);
        }
    }

    /// When the present period of a client's budget began, if it has one: what was spent since then is to be restored.
    pub fn budget_began(&self, now: Timestamp, client: &str) -> Option<Timestamp> {
        let known = self.config.clients.iter().find(|known| known.name == client)?;
        known.budget.map(|policy| Timestamp(now.0 - now.0 % policy.period.0))
    }

    fn warn_of_budget(&mut self, now: Timestamp, client: usize) {
        let known = &self.config.clients[client];
        let (Some(policy), Some(budget)) = (known.budget, &mut self.limits.clients[client].budget) else { return };
        if budget.warns(now, policy.soft_permille) {
            let (name, spent, limit) = (known.name.clone(), budget.spent(now), budget.limit());
            self.notify(Notice::BudgetNearlySpent { client: name, spent, limit });
            self.watch_budget(now, client, policy.period, Cause::Budget { spent, limit });
        }
    }

    fn expected_cost(&self, id: TargetId, need: &Need) -> Option<Picodollars> {
        let usage = Usage { input: need.input, output: need.output, ..Usage::default() };
        self.config.price(id, self.now)?.cost(usage)
    }
}

/// What an attempt has used, as far as its end tells.
pub(crate) fn used(outcome: Outcome, usage: Option<Usage>) -> Use {
    if let Some(usage) = usage {
        return Use::Tokens(usage.input.saturating_add(usage.output));
    }
    match outcome {
        Outcome::HardFailure(Failure::Connect) => Use::Nothing,
        // It was asked, and said no: that counts as a request, and nothing was read or written.
        Outcome::RateLimited(_)
        | Outcome::CredentialFault
        | Outcome::CallerFault
        | Outcome::TooLong
        | Outcome::HardFailure(Failure::Status(_)) => Use::Tokens(0),
        Outcome::Success | Outcome::HardFailure(_) | Outcome::Silent | Outcome::Filtered | Outcome::Neutral => {
            Use::Unknown
        }
    }
}

fn at_limit(AtLimit { what, retry_in }: AtLimit) -> Rejection {
    Rejection::AtLimit { limit: what, retry_in_ms: retry_in }
}
