//! How many of a route's targets may be shut off, whatever happens.

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::Map;

use super::*;

const TARGETS: usize = 5;

/// The targets of a route as bits, its share, and whether it has breakers of its own.
type Route = (u8, u32, bool);

fn gateway(routes: &[Route]) -> Gateway {
    let targets = (0..TARGETS).map(|nth| format!("v/{nth}"));
    let models: Map<String, Value> = targets.clone().map(|target| (target, json!({}))).collect();
    let tables = routes.iter().enumerate().map(|(nth, &(bits, permille, own))| {
        let models: Vec<String> =
            targets.clone().enumerate().filter(|(bit, _)| bits >> bit & 1 == 1).map(|(_, name)| name).collect();
        // Less than one of them is refused, unless it is none.
        let least = 1000_usize.div_ceil(models.len());
        let permille = if permille == 0 { 0 } else { usize::try_from(permille).unwrap().max(least) };
        let mut route = json!({"models": models});
        route["ejected_max"] = serde_json::from_str(&format!("{}.{:03}", permille / 1000, permille % 1000)).unwrap();
        if own {
            route["breaker"] = json!({"failures": 2});
        }
        (format!("r{nth}"), route)
    });
    let document = json!({
        "defaults": {
            "breaker": {"failures": 1, "failure_rate": 0, "open": "1s", "open_max": "8s", "successes": 1},
            "health": {"probe": "none", "unhealthy": 1000},
        },
        "vendors": {"v": {"dialect": "openai", "base_url": "http://v.test/v1"}},
        "models": models,
        "routes": tables.collect::<Map<_, _>>(),
    });
    let config = Config::from_json(&document.to_string(), "ejection.json", &|_| None);
    Gateway::new(Arc::new(config.unwrap_or_else(|errors| panic!("{errors}"))), 1, NOW)
}

/// An attempt that ends at once; `false`: it was not admitted.
fn attempt(gateway: &mut Gateway, now: Timestamp, candidate: &Candidate, outcome: Outcome) -> bool {
    let Ok(permit) = gateway.admit(now, candidate, Millis(1000), &Claim::LAST) else { return false };
    gateway.settle(now, permit, &settlement(outcome));
    true
}

#[test]
fn the_last_ones_stay_in_and_it_is_said_once() {
    let mut gateway = gateway(&[(0b111, 700, false)]);
    let candidates = gateway.config().routes[0].candidates.clone();
    for _ in 0..10 {
        for candidate in &candidates {
            attempt(&mut gateway, NOW, candidate, DOWN);
        }
    }
    let open = |gateway: &Gateway| -> Vec<bool> {
        candidates.iter().map(|one| gateway.breaker(one.breaker).state(NOW) == State::Open).collect()
    };
    assert_eq!(open(&gateway), [true, true, false]);
    let told = Notice::BreakerHeldOff { target: "v/2".into(), route: "r0".into(), why: Trip::Consecutive };
    let held_off = std::iter::from_fn(|| gateway.poll_notice()).filter(|notice| *notice == told).count();
    assert_eq!(held_off, 1, "and not at each of its failures");
    assert_eq!(gateway.poll_report(NOW).unwrap().changes.len(), 2, "nor is the keeper told");

    gateway.order(NOW, TargetId(0), Order::Close);
    assert!(attempt(&mut gateway, NOW, &candidates[2], DOWN));
    assert_eq!(open(&gateway), [false, true, true], "once there is room, the next failure opens it");
}

#[derive(Debug, Clone)]
enum Event {
    /// Of which candidate, counted over the targets and then the routes', and whether it fails.
    Attempt(prop::sample::Index, bool),
    Pass(u64),
    View(u8, u64),
    Order(usize, Order),
}

fn event() -> impl Strategy<Value = Event> {
    let order =
        prop_oneof![(1..3000_u64).prop_map(|ms| Order::Open(Millis(ms))), Just(Order::Close), Just(Order::Reset),];
    prop_oneof![
        20 => (any::<prop::sample::Index>(), prop::bool::weighted(0.8)).prop_map(|(which, fails)| Event::Attempt(which, fails)),
        4 => (0..3000_u64).prop_map(Event::Pass),
        2 => (any::<u8>(), 0..5000_u64).prop_map(|(bits, ms)| Event::View(bits, ms)),
        1 => (0..TARGETS, order).prop_map(|(target, order)| Event::Order(target, order)),
    ]
}

fn routes() -> impl Strategy<Value = Vec<Route>> {
    prop::collection::vec((1..1_u8 << TARGETS, 0..=1000_u32, any::<bool>()), 1..4)
}

/// Who is not closed.
fn ejected(gateway: &Gateway, now: Timestamp) -> BTreeSet<BreakerId> {
    let all = (0..gateway.config().breakers.len()).map(BreakerId);
    all.filter(|id| gateway.breaker(*id).state(now) != State::Closed).collect()
}

proptest! {
    /// Invariant 9: whatever fails, is reported or ordered, what shuts itself off leaves each route what it needs. And
    /// nothing else holds it off.
    #[test]
    fn a_route_never_loses_more_than_it_can_spare(routes in routes(), events in prop::collection::vec(event(), 0..80)) {
        let mut gateway = gateway(&routes);
        let config = Arc::clone(gateway.config());
        let targets = (0..TARGETS).map(|target| config.candidate(TargetId(target)));
        let candidates: Vec<Candidate> =
            targets.chain(config.routes.iter().flat_map(|route| route.candidates.clone())).collect();
        let mut now = NOW;
        for event in events {
            let before = ejected(&gateway, now);
            let mut tripping = None;
            match &event {
                Event::Pass(ms) => now = now + Millis(*ms),
                Event::Attempt(which, fails) => {
                    let candidate = which.get(&candidates);
                    let outcome = if *fails { DOWN } else { Outcome::Success };
                    let admitted = attempt(&mut gateway, now, candidate, outcome);
                    let failures = gateway.breaker(candidate.breaker).counts(now).consecutive;
                    let policy = &config.guard(candidate.breaker).policy;
                    tripping = (admitted && *fails && failures >= policy.failures).then_some(candidate.breaker);
                }
                Event::View(bits, ms) => {
                    let known = config.breakers.iter().enumerate().filter(|(nth, _)| bits >> (nth % 8) & 1 == 1);
                    let open = known.map(|(_, guard)| Open { target: guard.name.clone(), remaining_ms: Millis(*ms), held_ms: Millis::ZERO, trips: 1 });
                    gateway.handle_view(now, &View { open: open.collect(), ..View::default() });
                }
                Event::Order(target, order) => gateway.order(now, TargetId(*target), *order),
            }
            let after = ejected(&gateway, now);
            let spared = |route: &crate::config::Route| {
                let count = route.candidates.iter().filter(|candidate| after.contains(&candidate.breaker)).count();
                count <= route.ejected_max()
            };
            if !matches!(event, Event::Order(..)) {
                for new in after.difference(&before) {
                    let using = config.routes.iter().filter(|route| route.candidates.iter().any(|one| one.breaker == *new));
                    prop_assert!(using.clone().all(spared), "{new:?} was one too many");
                }
            }
            if let Some(id) = tripping.filter(|id| !after.contains(id)) {
                prop_assert!(gateway.holder(now, id).is_some(), "{id:?} was held off, and by none");
            }
        }
    }
}
