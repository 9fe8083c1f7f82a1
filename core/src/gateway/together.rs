//! Limits that several gateways keep together through the keeper: what each of them tells of its use, and what it makes of
//! the others'.
//!
//! Requests at once are not among them: how many are under way elsewhere would be old news before it was heard.

use std::collections::BTreeMap;

use super::Gateway;
use super::limits::{ClientState, Limiting};
use crate::config::Config;
use crate::keeper::{Kind, Level, Report, Used};
use crate::limit::{Allowance, Bucket, Budget, Dimension, Told};
use crate::price::Picodollars;
use crate::time::Timestamp;

/// Reports whose answers are awaited, at most: those of some seconds in which many requests are let in and settled.
const UNANSWERED_MAX: usize = 1024;

/// A limit that is kept together.
enum Shared<'l> {
    Rate(&'l mut Bucket),
    Money(&'l mut Budget),
}

impl Gateway {
    /// Has limits and alerts kept together with other gateways, which are heard of through the keeper. Until then no budget is
    /// spent: a limit that is exceeded for a moment is made up for, and money that is spent is gone.
    pub fn share(&mut self) {
        self.share_alerts();
        let shared = self.limits.shared(&self.config);
        self.shares_limits = !shared.is_empty();
        for (_, limit) in shared {
            if let Shared::Money(budget) = limit {
                budget.await_others();
            }
        }
    }

    /// What the keeper is to be told of limits, if it is to be told now; it is asked for the others' use at the same time.
    pub(super) fn due_used(&mut self, now: Timestamp) -> Option<Vec<Used>> {
        let has_spent = |limits: &Self| limits.limits.clients.iter().any(|client| client.has_untold(now));
        if !self.shares_limits || (now < self.view_due && !has_spent(self)) {
            return None;
        }
        Some(self.all_used(now))
    }

    /// What a gateway that has just begun tells first, so as to have its share of budgets when its first request is decided.
    pub fn poll_first_report(&mut self, now: Timestamp) -> Option<Report> {
        let now = self.advance(now);
        let used = self.shares_limits.then(|| self.all_used(now));
        let alerts = self.due_alerts(now, true);
        self.report(now, None, used, alerts)
    }

    /// Whether a client has a budget and nothing is known of what the others have left of it: it is worth a moment to hear.
    pub(crate) fn lacks_share(&self, now: Timestamp, client: usize) -> bool {
        self.limits.clients[client].budget.as_ref().is_some_and(|budget| budget.lacks_share(self.now.max(now)))
    }

    fn all_used(&mut self, now: Timestamp) -> Vec<Used> {
        self.hear_again(now);
        if self.told_at.len() == UNANSWERED_MAX {
            self.told_at.pop_front();
        }
        self.told_at.push_back((self.reports + 1, now));
        for client in &mut self.limits.clients {
            client.told = client.budget.as_ref().map(|budget| budget.told(now));
        }
        let used = self.limits.shared(&self.config).into_iter().map(|(limit, shared)| match shared {
            Shared::Rate(bucket) => {
                let quota = bucket.quota();
                let of = Kind::Rate { amount: quota.amount, period_ms: quota.period };
                let Told { taken: used, returned } = bucket.tell();
                let held = u64::try_from(bucket.outstanding()).unwrap_or(u64::MAX);
                Used { limit, used, returned, held, of, heard: 0 }
            }
            Shared::Money(budget) => {
                let (period, used) = budget.tell(now);
                let of = Kind::Money { limit: budget.limit().0, period };
                Used { limit, used, returned: 0, held: 0, of, heard: budget.heard() }
            }
        });
        // Those of which nothing was used too: the keeper counts from what it is told first.
        used.collect()
    }

    /// Takes in how limits stand.
    pub(super) fn hear_limits(&mut self, now: Timestamp, levels: &[Level]) {
        if !self.shares_limits {
            return;
        }
        let levels: BTreeMap<&str, &Level> = levels.iter().map(|level| (level.limit.as_str(), level)).collect();
        for (limit, shared) in self.limits.shared(&self.config) {
            // Of what the keeper does not know, nobody has told.
            let Some(Level { used, among, stand, grant, .. }) = levels.get(limit.as_str()) else { continue };
            match (shared, grant) {
                (Shared::Rate(bucket), _) => bucket.hear(now, *used, *among, *stand),
                (Shared::Money(budget), Some(grant)) => {
                    // What answers none of them was set aside for nobody, or too long ago.
                    let place = self.told_at.binary_search_by_key(&grant.sequence, |(sequence, _)| *sequence);
                    if let Ok(place) = place {
                        budget.hear(now, self.told_at[place].1, Picodollars(*used), grant);
                    }
                }
                (Shared::Money(_), None) => {}
            }
        }
    }
}

/// How many limits a configuration has that are kept together, where there are others to keep them together with.
#[cfg(feature = "toml")]
pub(crate) fn shared_limits(config: &Config) -> usize {
    Limiting::new(config).shared(config).len()
}

impl ClientState {
    /// Whether it has spent anything, or set it aside, or given much of its share back since the keeper was told: of that the
    /// others are to know at once.
    fn has_untold(&self, now: Timestamp) -> bool {
        let gives_back = self.budget.as_ref().is_some_and(Budget::gives_back);
        gives_back || self.budget.as_ref().map(|budget| budget.told(now)) != self.told
    }
}

impl Limiting {
    /// All limits that are kept together, by the names that all gateways have for them.
    fn shared<'l>(&'l mut self, config: &Config) -> Vec<(String, Shared<'l>)> {
        let mut shared = Vec::new();
        for (vendor, keys) in config.vendors.iter().zip(&mut self.keys) {
            for (key, allowance) in vendor.keys.iter().zip(keys) {
                rates(&mut shared, &format!("key/{}/{}", vendor.name, key.name), allowance);
            }
        }
        for (target, allowance) in config.targets.iter().zip(&mut self.targets) {
            rates(&mut shared, &format!("model/{}", target.name), allowance);
        }
        for (client, state) in config.clients.iter().zip(&mut self.clients) {
            let name = format!("client/{}", client.name);
            rates(&mut shared, &name, &mut state.allowance);
            // A budget for another period is another budget: its periods have other numbers.
            let per = client.budget.map(|policy| policy.period).unwrap_or_default();
            shared.extend(state.budget.as_mut().map(|budget| (format!("{name}/money/{per}"), Shared::Money(budget))));
        }
        shared
    }
}

fn rates<'l>(shared: &mut Vec<(String, Shared<'l>)>, name: &str, allowance: &'l mut Allowance) {
    for (dimension, bucket) in allowance.buckets() {
        let what = if dimension == Dimension::Tokens { "tokens" } else { "requests" };
        shared.extend(bucket.map(|bucket| (format!("{name}/{what}"), Shared::Rate(bucket))));
    }
}

#[cfg(all(test, feature = "toml"))]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::concurrency::Claim;
    use crate::config::TargetId;
    use crate::gateway::tests::settlement;
    use crate::gateway::{Permit, Settlement};
    use crate::keeper::{Keeper, LIMITS_MAX, Report, View};
    use crate::limit::Need;
    use crate::price::Usage;
    use crate::time::Millis;

    const NOW: Timestamp = Timestamp(1_000_000);

    fn gateways(count: u64) -> Vec<Gateway> {
        gateways_with(count, "1d")
    }

    /// Sixty requests a minute for the model, and a dollar for the client: a token of an answer costs a cent.
    fn gateways_with(count: u64, per: &str) -> Vec<Gateway> {
        gateways_of(count, "rpm = 60", per)
    }

    fn gateways_of(count: u64, limit: &str, per: &str) -> Vec<Gateway> {
        let config = format!(
            r#"
vendors.v = {{ dialect = "openai", base_url = "https://v.test" }}
models."v/m" = {{ {limit}, price = {{ input = 0, output = 10_000 }} }}
clients.c = {{ key = {{ env = "C" }}, budget = {{ usd = 1, per = "{per}" }} }}
"#
        );
        let config = Config::from_toml(&config, "t", &|_| Some("a-key-that-is-long-enough".into())).unwrap();
        let config = Arc::new(config);
        let new = |seed| {
            let mut gateway = Gateway::new(Arc::clone(&config), seed, NOW);
            gateway.share();
            gateway
        };
        (1..=count).map(new).collect()
    }

    #[test]
    fn as_many_limits_are_shared_as_a_worker_may_have_and_not_one_more() {
        let ungranted = |clients: usize| {
            let client = |nth| {
                let name = format!("C{nth:04}");
                (name.clone(), json!({"key": {"env": name}, "rpm": 9, "budget": {"usd": 1, "per": "1d"}}))
            };
            let document = json!({
                "vendors": {"v": {"dialect": "openai", "base_url": "https://v.test"}},
                "models": {"v/m": {}},
                "clients": (0..clients).map(client).collect::<serde_json::Map<_, _>>(),
            });
            let secret = |name: &str| Some(format!("the-key-of-client-{name}"));
            let config =
                Config::from_json(&document.to_string(), "t", &secret).unwrap_or_else(|errors| panic!("{errors}"));
            assert_eq!(shared_limits(&config), 2 * clients);
            let mut gateway = Gateway::new(Arc::new(config), 1, NOW);
            gateway.share();
            let mut keeper = Keeper::default();
            let report = gateway.poll_first_report(NOW).unwrap();
            keeper.handle_report(NOW, &report);
            gateway.handle_view(NOW, &keeper.view_for(NOW, Some(report.reporter)));
            (0..clients).filter(|client| gateway.lacks_share(NOW, *client)).count()
        };
        assert_eq!(ungranted(LIMITS_MAX / 2), 0);
        assert_eq!(ungranted(LIMITS_MAX / 2 + 1), 1, "it would never spend anything");
    }

    fn admit(gateway: &mut Gateway, now: Timestamp, client: Option<usize>, output: u64) -> Option<Permit> {
        let candidate = gateway.config().candidate(TargetId(0));
        let need = Need { output, client, ..Need::default() };
        let claim = Claim { lasts: Millis(600_000), need, ..Claim::LAST };
        gateway.admit(now, &candidate, Millis(600_000), &claim).ok()
    }

    fn settle(gateway: &mut Gateway, now: Timestamp, permit: Permit, output: u64) {
        let usage = Some(Usage { output, ..Usage::default() });
        gateway.settle(now, permit, &Settlement { usage, ..settlement(crate::classify::Outcome::Success) });
    }

    /// A gateway tells what it has to tell, and hears the answer.
    fn talk(keeper: &mut Keeper, gateway: &mut Gateway, now: Timestamp) -> Option<Report> {
        let report = gateway.poll_report(now)?;
        keeper.handle_report(now, &report);
        gateway.handle_view(now, &keeper.view_for(now, Some(report.reporter)));
        Some(report)
    }

    /// Those that ask for as much as they can get in two minutes, and what each of them gets.
    fn crowd(count: u64, asking: usize) -> Vec<u64> {
        let mut gateways = gateways(count);
        let mut keeper = Keeper::default();
        let mut admitted = vec![0; gateways.len()];
        for tick in 0..1200 {
            let now = NOW + Millis(tick * 100);
            for (nth, gateway) in gateways.iter_mut().enumerate() {
                talk(&mut keeper, gateway, now);
                if nth < asking
                    && let Some(permit) = admit(gateway, now, None, 0)
                {
                    admitted[nth] += 1;
                    settle(gateway, now, permit, 1);
                }
            }
        }
        admitted
    }

    #[test]
    fn a_limit_is_one_for_all_and_whoever_uses_it_alone_has_it_all() {
        // Sixty at once, and a hundred and twenty that drain in two minutes.
        let alone: u64 = crowd(3, 1).iter().sum();
        assert!((170..=180).contains(&alone), "{alone}");
        for count in [2, 5] {
            let admitted = crowd(count, usize::MAX);
            let sum: u64 = admitted.iter().sum();
            // Until they have heard of each other, which takes two seconds, each of them asks for ten a second.
            assert!((150..=180 + 20 * (count - 1)).contains(&sum), "{admitted:?}");
            let (least, most) = (admitted.iter().min().unwrap(), admitted.iter().max().unwrap());
            assert!(least * 2 > *most, "nobody is left out: {admitted:?}");
        }
    }

    #[test]
    fn what_a_request_did_not_use_is_there_again_though_it_was_told_of_while_under_way() {
        let mut gateways = gateways_of(2, "tpm = 1000", "1d");
        let mut keeper = Keeper::default();
        for gateway in &mut gateways {
            talk(&mut keeper, gateway, NOW);
        }
        // Once nobody is new: each takes three seconds, in which it is told of, and uses ten of the nine hundred that it may.
        let mut served = 0;
        for second in 12..72 {
            let now = NOW + Millis(second * 1000);
            for gateway in &mut gateways {
                talk(&mut keeper, gateway, now);
            }
            if second % 3 == 0
                && let Some(permit) = admit(&mut gateways[0], now, None, 900)
            {
                talk(&mut keeper, &mut gateways[0], now + Millis(2900));
                settle(&mut gateways[0], now + Millis(2900), permit, 10);
                served += 1;
            }
        }
        let later = NOW + Millis(74_000);
        for gateway in &mut gateways {
            talk(&mut keeper, gateway, later).expect("it is time");
        }
        let left = gateways[1].target_limits(TargetId(0)).room(later)[1].1.unwrap();
        assert_eq!((served, left.remaining), (20, 1000));
    }

    #[test]
    fn without_the_keeper_each_goes_on_with_its_share() {
        let mut gateways = gateways(2);
        let mut keeper = Keeper::default();
        for now in [NOW + Millis(2000), NOW + Millis(4000)] {
            for gateway in &mut gateways {
                let permit = admit(gateway, now, None, 0).unwrap();
                settle(gateway, now, permit, 1);
                talk(&mut keeper, gateway, now);
            }
        }
        // From here on nobody is heard of any more.
        let mut admitted = 0;
        for tick in 0..600 {
            let now = NOW + Millis(4000 + tick * 100);
            for gateway in &mut gateways {
                if let Some(permit) = admit(gateway, now, None, 0) {
                    admitted += 1;
                    settle(gateway, now, permit, 1);
                }
            }
        }
        assert!((110..=120).contains(&admitted), "{admitted} in a minute, of sixty at once and sixty that drain");
    }

    #[test]
    fn no_money_is_spent_before_the_others_are_heard_of() {
        let mut gateways = gateways(2);
        let mut keeper = Keeper::default();
        assert!(admit(&mut gateways[0], NOW, Some(0), 1).is_none());
        assert!(admit(&mut gateways[0], NOW, None, 1).is_some(), "rates are a matter of moments");
        gateways[0].handle_view(NOW, &keeper.view(NOW));
        assert!(admit(&mut gateways[0], NOW, Some(0), 1).is_none(), "a view of nobody in particular leaves nothing");
        let report = gateways[0].poll_first_report(NOW).unwrap();
        keeper.handle_report(NOW, &report);
        gateways[0].handle_view(NOW, &keeper.view_for(NOW, Some(report.reporter)));
        let permit = admit(&mut gateways[0], NOW, Some(0), 90).unwrap();
        assert!(talk(&mut keeper, &mut gateways[0], NOW).is_some(), "the others are told at once");
        settle(&mut gateways[0], NOW, permit, 40);
        assert!(talk(&mut keeper, &mut gateways[0], NOW).is_some());
        assert!(talk(&mut keeper, &mut gateways[0], NOW).is_none(), "and once");
        let gone = NOW + Millis(6000);
        assert!(admit(&mut gateways[0], gone, Some(0), 1).is_none(), "without the keeper nothing is spent");
        let mut alone = Gateway::new(Arc::clone(gateways[0].config()), 1, NOW);
        assert!(admit(&mut alone, NOW, Some(0), 100).is_some(), "nor does a gateway wait that has no others");
    }

    /// A gateway tells of itself. What it is answered, it has yet to hear.
    fn answer_to(keeper: &mut Keeper, gateway: &mut Gateway) -> View {
        let report = gateway.poll_first_report(NOW).unwrap();
        keeper.handle_report(NOW, &report);
        keeper.view_for(NOW, Some(report.reporter))
    }

    #[test]
    fn an_answer_that_another_has_overtaken_sets_nothing_aside() {
        let mut gateways = gateways_with(2, "1d");
        let mut keeper = Keeper::default();
        // Its reports reach the keeper one after the other, and the answer to the first comes last.
        let mut tell = |gateway: &mut Gateway| answer_to(&mut keeper, gateway);
        let late = tell(&mut gateways[0]);
        let other = tell(&mut gateways[1]);
        gateways[1].handle_view(NOW, &other);
        let latest = tell(&mut gateways[0]);
        gateways[0].handle_view(NOW, &latest);
        gateways[0].handle_view(NOW, &late);
        let _ = tell(&mut gateways[0]);
        let other = tell(&mut gateways[1]);
        gateways[1].handle_view(NOW, &other);
        assert!(admit(&mut gateways[1], NOW, Some(0), 25).is_some(), "half of the other half");
        assert!(admit(&mut gateways[0], NOW, Some(0), 51).is_none(), "alone it might have had all");
        assert!(admit(&mut gateways[0], NOW, Some(0), 50).is_some());
    }

    #[test]
    fn what_a_lost_answer_would_have_taken_back_is_nobody_elses_yet() {
        let mut gateways = gateways_with(2, "1d");
        let mut keeper = Keeper::default();
        let mut tell = |gateway: &mut Gateway| answer_to(&mut keeper, gateway);
        let all = tell(&mut gateways[0]);
        gateways[0].handle_view(NOW, &all);
        // There is another now, who is to have half: the first does not hear of it, and would spend all.
        let _ = tell(&mut gateways[1]);
        let lost = tell(&mut gateways[0]);
        let other = tell(&mut gateways[1]);
        gateways[1].handle_view(NOW, &other);
        assert!(!may_spend(&gateways[1], 1));
        assert!(may_spend(&gateways[0], 100));

        // It was late. Once the first has said that it knows, the other may.
        gateways[0].handle_view(NOW, &lost);
        assert!(!may_spend(&gateways[0], 51));
        let _ = tell(&mut gateways[0]);
        let other = tell(&mut gateways[1]);
        gateways[1].handle_view(NOW, &other);
        assert!(may_spend(&gateways[1], 25), "half of the other half");
    }

    /// Whether the client may spend so many cents there.
    fn may_spend(gateway: &Gateway, cents: u64) -> bool {
        let budget = gateway.limits.clients[0].budget.as_ref().unwrap();
        budget.check(NOW, Picodollars(cents * 10_000_000_000)).is_ok()
    }

    #[test]
    fn a_budget_for_another_period_is_another_budget() {
        let mut keeper = Keeper::default();
        let noon = Timestamp(20_000 * 86_400_000 + 43_200_000);
        for (nth, per) in [(1, "1h"), (2, "1d")] {
            let mut gateway = gateways_with(nth, per).pop().unwrap();
            talk(&mut keeper, &mut gateway, noon).unwrap();
            assert!(admit(&mut gateway, noon, Some(0), 100).is_some(), "{per}");
        }
    }

    proptest! {
        /// However requests interleave, whatever answers are lost and whoever comes late: no more is spent than there is,
        /// as long as requests cost no more than was expected and what was spent is told before the share runs out.
        #[test]
        fn a_budget_is_kept_by_all_together(
            events in prop::collection::vec((0_usize..3, 0_u64..1500, 1_u64..30, 0_u64..30, 0_u8..8), 1..200),
        ) {
            let mut gateways = gateways(3);
            let mut keeper = Keeper::default();
            let mut now = NOW;
            let mut out: Vec<(usize, Permit, u64)> = Vec::new();
            let mut late: Vec<(usize, View)> = Vec::new();
            let mut spent = 0;
            for (nth, wait, expected, cost, what) in events {
                now = now + Millis(wait);
                match what {
                    0 | 1 if !out.is_empty() => {
                        let (of, permit, expected) = out.swap_remove(nth % out.len());
                        let cost = cost.min(expected);
                        spent += cost;
                        settle(&mut gateways[of], now, permit, cost);
                    }
                    // A report whose answer is lost.
                    2 => drop(gateways[nth].poll_report(now).map(|report| keeper.handle_report(now, &report))),
                    3 => late.extend(gateways[nth].poll_report(now).map(|report| {
                        keeper.handle_report(now, &report);
                        (nth, keeper.view_for(now, Some(report.reporter)))
                    })),
                    4 if !late.is_empty() => {
                        let (of, view) = late.swap_remove(nth % late.len());
                        gateways[of].handle_view(now, &view);
                    }
                    _ => {
                        talk(&mut keeper, &mut gateways[nth], now);
                        let permit = admit(&mut gateways[nth], now, Some(0), expected);
                        out.extend(permit.map(|permit| (nth, permit, expected)));
                    }
                }
                // As the worker does: after each step, what there is to tell is told.
                for gateway in &mut gateways {
                    if gateway.limits.clients[0].has_untold(now) {
                        talk(&mut keeper, gateway, now);
                    }
                }
                let promised: u64 = out.iter().map(|(_, _, expected)| *expected).sum();
                prop_assert!(spent + promised <= 100, "{spent} and {promised} of a hundred cents");
            }
        }
    }
}
