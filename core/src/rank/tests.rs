//! Strategies on their own: what they draw from what is known, and what they never do.

use proptest::prelude::*;
use proptest::strategy::Strategy as _;

use super::*;
use crate::config::{ScorePolicy, Strategy};
use crate::price::Picodollars;
use crate::rng::Rng;

/// Strengths count as much as the rest together.
const SCORE: ScorePolicy = ScorePolicy { strengths: 2, price: 1, latency: 1, max_cost: None, max_latency: None };

fn well(ms: u64, pending: u32) -> Standing {
    Standing {
        tier: Tier::Well,
        expected: Millis(ms),
        faded: Millis(ms),
        pending,
        weight: 1,
        cost: None,
        strong: false,
    }
}

/// How often each of the candidates comes first in `times` draws.
fn shares<const N: usize>(standings: [Standing; N], strategy: Strategy, times: u32) -> [u32; N] {
    let mut rng = Rng::from_seed(1);
    let mut firsts = [0; N];
    for _ in 0..times {
        firsts[order(&standings, strategy, &SCORE, &mut rng)[0]] += 1;
    }
    firsts
}

#[test]
fn of_two_the_one_that_answers_sooner_comes_first() {
    assert_eq!(shares([well(900, 0), well(800, 0)], Strategy::Latency, 100), [0, 100]);
    assert_eq!(shares([well(900, 0), well(800, 1)], Strategy::Latency, 100), [100, 0], "it is busy");
    let [a, b] = shares([well(800, 0), well(800, 0)], Strategy::Latency, 1000);
    assert!(a > 400 && b > 400, "{a} {b}");
    assert_eq!(shares([well(0, 3), well(0, 2)], Strategy::Latency, 10), [0, 10], "no time at all is no free pass");
}

#[test]
fn of_many_two_are_drawn_and_the_rest_stands_by_its_load() {
    let standings = [well(400, 0), well(100, 0), well(300, 0), well(200, 0)];
    let [slowest, fastest, ..] = shares(standings, Strategy::Latency, 1000);
    assert_eq!(slowest, 0, "it loses against any other");
    assert!((440..=560).contains(&fastest), "it is drawn in half of all pairs, and wins: {fastest}");
    let mut rng = Rng::from_seed(1);
    for _ in 0..100 {
        let mut order = order(&standings, Strategy::Latency, &SCORE, &mut rng);
        order.remove(0);
        assert!(order.is_sorted_by_key(|place| standings[*place].load()), "{order:?}");
    }
}

#[test]
fn the_inverse_of_latency_is_the_weight() {
    let [fast, slow] = shares([well(99, 0), well(299, 9)], Strategy::InverseLatency, 10_000);
    assert!((7350..=7650).contains(&fast), "3 to 1, whatever is under way: {fast} to {slow}");
    let at_once = shares([well(0, 0), well(u64::MAX, 0)], Strategy::InverseLatency, 1000);
    assert_eq!(at_once, [1000, 0]);
    assert_eq!(shares([well(u64::MAX, 0), well(u64::MAX, 0)], Strategy::InverseLatency, 10), [10, 0]);
}

fn weighing(weight: u32) -> Standing {
    Standing { weight, ..well(100, 0) }
}

/// How far counts are from what they should be, as Pearson has it, in 1/1000.
fn chi_squared_milli(counts: &[u32], weights: &[u64]) -> u64 {
    let (times, sum) = (counts.iter().map(|count| u64::from(*count)).sum::<u64>(), weights.iter().sum::<u64>());
    let terms = counts.iter().zip(weights).map(|(count, weight)| {
        let expected = times * weight / sum;
        expected.abs_diff(u64::from(*count)).pow(2) * 1000 / expected
    });
    terms.sum()
}

#[test]
fn weights_are_shares() {
    // With four kinds, in one of a hundred thousand trials it exceeds 25.9 by chance.
    let standings = [weighing(2), weighing(3), weighing(4), weighing(2)];
    let firsts = shares(standings, Strategy::Weighted, 110_000);
    let milli = chi_squared_milli(&firsts, &[2, 3, 4, 2]);
    assert!(milli < 25_900, "{firsts:?}: {milli}");
    // And of those that are left when the first fails, by the same weights.
    let mut seconds = [0; 4];
    let mut rng = Rng::from_seed(2);
    for _ in 0..110_000 {
        let order = order(&standings, Strategy::Weighted, &SCORE, &mut rng);
        seconds[order[1]] += u32::from(order[0] == 2);
    }
    let milli = chi_squared_milli(&[seconds[0], seconds[1], seconds[3]], &[2, 3, 2]);
    assert!(seconds[2] == 0 && milli < 23_100, "{seconds:?}: {milli}");
}

#[test]
fn who_weighs_nothing_is_for_need_alone() {
    assert_eq!(shares([weighing(0), weighing(1), weighing(0)], Strategy::Weighted, 100), [0, 100, 0]);
    let shut = Standing { tier: Tier::Shut, ..weighing(9) };
    assert_eq!(shares([shut, weighing(0)], Strategy::Weighted, 10), [0, 10]);
}

#[test]
fn a_weight_counts_from_the_first_request_on() {
    let new = Standing { tier: Tier::OnTrial, ..weighing(3) };
    let [new, known] = shares([new, weighing(1)], Strategy::Weighted, 10_000);
    assert!((7350..=7650).contains(&new), "{new} to {known}");
}

#[test]
fn a_probe_comes_first_and_what_is_shut_off_last() {
    let tiers = [Tier::Shut, Tier::Unwell, Tier::OnTrial, Tier::Degraded, Tier::Well, Tier::Probe];
    let standings = tiers.map(|tier| Standing { tier, ..well(100, 0) });
    for strategy in [Strategy::Latency, Strategy::InverseLatency] {
        assert_eq!(order(&standings, strategy, &SCORE, &mut Rng::from_seed(1)), [5, 4, 3, 2, 1, 0]);
        assert_eq!(favour(&standings, strategy, &SCORE), [5, 4, 3, 2, 1, 0]);
    }
    assert_eq!(order(&standings, Strategy::Ordered, &SCORE, &mut Rng::from_seed(1)), [0, 1, 2, 3, 4, 5]);
    assert_eq!(favour(&standings, Strategy::Ordered, &SCORE), [2, 3, 4, 5, 0, 1]);
}

#[test]
fn a_page_shows_who_is_favoured() {
    let standings = [well(300, 0), well(100, 5), well(200, 0)];
    assert_eq!(favour(&standings, Strategy::Latency, &SCORE), [2, 0, 1]);
    assert_eq!(favour(&standings, Strategy::InverseLatency, &SCORE), [1, 2, 0]);
    assert_eq!(favour(&standings, Strategy::Ordered, &SCORE), [0, 1, 2]);
}

#[test]
fn what_is_not_known_is_as_the_others_are() {
    let measured = |ms| Known { measured: Some(Millis(ms)), typical: None };
    let typical = |ms| Known { measured: None, typical: Some(Millis(ms)) };
    let nothing = Known::default();
    let assumed = |known: &[Known]| assume(known).iter().map(|each| each.typical.0).collect::<Vec<_>>();
    let floors = |known: &[Known]| assume(known).iter().map(|each| each.floor.0).collect::<Vec<_>>();
    assert_eq!(assumed(&[nothing, nothing]), [1000, 1000]);
    assert_eq!(assumed(&[nothing, measured(100), measured(400), measured(900)]), [400, 400, 100, 100]);
    assert_eq!(assumed(&[typical(50), measured(100)]), [50, 50], "the operator knows");
    assert_eq!(floors(&[measured(4000), measured(800)]), [600, 3000]);
    assert_eq!(floors(&[typical(4000), measured(800)]), [600, 3000], "or thinks so: it will be measured some day");
    assert_eq!(assume(&[]), []);
}

fn tier() -> impl proptest::strategy::Strategy<Value = Tier> {
    prop_oneof![
        Just(Tier::Probe),
        Just(Tier::Well),
        Just(Tier::Degraded),
        Just(Tier::OnTrial),
        Just(Tier::Unwell),
        Just(Tier::Shut),
    ]
}

fn standing() -> impl proptest::strategy::Strategy<Value = Standing> {
    let numbers = (any::<u64>(), any::<u64>(), any::<u32>(), any::<u32>());
    let parts = (tier(), numbers, prop::option::of(any::<u64>()), any::<bool>());
    parts.prop_map(|(tier, (expected, faded, pending, weight), cost, strong)| Standing {
        tier,
        expected: Millis(expected),
        faded: Millis(faded),
        pending,
        weight,
        cost: cost.map(Picodollars),
        strong,
    })
}

fn strategy() -> impl proptest::strategy::Strategy<Value = Strategy> {
    prop_oneof![
        Just(Strategy::Ordered),
        Just(Strategy::Weighted),
        Just(Strategy::Latency),
        Just(Strategy::InverseLatency),
        Just(Strategy::Cost),
        Just(Strategy::Context),
    ]
}

fn costing(cost: Option<u64>) -> Standing {
    Standing { cost: cost.map(Picodollars), ..well(100, 0) }
}

#[test]
fn the_cheapest_comes_first_and_what_nobody_knows_last() {
    let standings = [costing(None), costing(Some(9)), costing(Some(0)), costing(Some(5)), costing(Some(5))];
    let order = |standings: &[Standing]| order(standings, Strategy::Cost, &SCORE, &mut Rng::from_seed(1));
    assert_eq!(order(&standings), [2, 3, 4, 1, 0], "as the config has them where they cost the same");
    let mut unwell = standings;
    unwell[2].tier = Tier::Unwell;
    unwell[3].tier = Tier::Probe;
    assert_eq!(order(&unwell), [3, 4, 1, 0, 2]);
}

#[test]
fn a_score_is_the_sum_of_its_parts_by_their_weights() {
    let standings = [
        Standing { strong: true, cost: Some(Picodollars(799)), ..well(199, 0) },
        Standing { cost: Some(Picodollars(99)), ..well(99, 0) },
        Standing { cost: None, ..well(399, 7) },
    ];
    assert_eq!(scores(&standings, &SCORE), [2000 + 125 + 500, 1000 + 1000, 250]);
    let order = |score: ScorePolicy| order(&standings, Strategy::Context, &score, &mut Rng::from_seed(1));
    assert_eq!(order(SCORE), [0, 1, 2]);
    assert_eq!(order(ScorePolicy { strengths: 1, ..SCORE }), [1, 0, 2]);
    assert_eq!(scores(&standings, &ScorePolicy { strengths: 0, price: 3, latency: 0, ..SCORE }), [375, 3000, 0]);
}

#[test]
fn conversations_stay_by_weight_and_only_those_of_who_leaves_move() {
    let names: Vec<u64> = ["a/m", "b/m", "c/m", "d/m"].map(crate::rng::hash).to_vec();
    let mut standings = [weighing(2), weighing(3), weighing(4), weighing(2)];
    let conversations: Vec<u64> = (0..110_000_u64).map(|nth| crate::rng::hash(&nth.to_string())).collect();
    let firsts = |standings: &[Standing]| -> Vec<usize> {
        conversations.iter().map(|stick| stay(standings, &names, *stick)[0]).collect()
    };
    let before = firsts(&standings);
    let count = |place| u32::try_from(before.iter().filter(|first| **first == place).count()).unwrap();
    let counts = [0, 1, 2, 3].map(count);
    let milli = chi_squared_milli(&counts, &[2, 3, 4, 2]);
    assert!(milli < 25_900, "{counts:?}: {milli}");
    for tier in [Tier::Shut, Tier::Unwell] {
        standings[2].tier = tier;
        let after = firsts(&standings);
        for (before, after) in before.iter().zip(&after) {
            assert!(if *before == 2 { *after != 2 } else { before == after });
        }
        let moved = |to| before.iter().zip(&after).filter(|(before, after)| **before == 2 && **after == to).count();
        let moved = [moved(0), moved(1), moved(3)].map(|count| u32::try_from(count).unwrap());
        assert!(chi_squared_milli(&moved, &[2, 3, 2]) < 23_100, "spread by the weights of the rest: {moved:?}");
    }
    standings[2].tier = Tier::Probe;
    assert_eq!(firsts(&standings), before, "and back they come");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn an_order_names_everybody_once_by_tiers_and_as_the_seed_says(
        standings in prop::collection::vec(standing(), 0..20),
        strategy in strategy(),
        seed in any::<u64>(),
    ) {
        let drawn = order(&standings, strategy, &SCORE, &mut Rng::from_seed(seed));
        prop_assert_eq!(&drawn, &order(&standings, strategy, &SCORE, &mut Rng::from_seed(seed)));
        for order in [&drawn, &favour(&standings, strategy, &SCORE)] {
            let mut sorted = order.clone();
            sorted.sort_unstable();
            prop_assert_eq!(sorted, (0..standings.len()).collect::<Vec<_>>());
            let tier = |place: &usize| match strategy {
                Strategy::Ordered => Tier::Well,
                Strategy::Weighted => standings[*place].rated(),
                Strategy::Latency | Strategy::InverseLatency => standings[*place].tier,
                Strategy::Cost | Strategy::Context => standings[*place].steady(),
            };
            prop_assert!(order.is_sorted_by_key(tier), "{:?}", order);
        }
    }

    #[test]
    fn a_conversation_asks_everybody_once_and_leaves_nobody_else(
        standings in prop::collection::vec(standing(), 1..12),
        leaves in any::<prop::sample::Index>(),
        stick in any::<u64>(),
    ) {
        let names: Vec<u64> = (0..standings.len()).map(|nth| crate::rng::hash(&format!("v/m{nth}"))).collect();
        let before = stay(&standings, &names, stick);
        prop_assert_eq!(&before, &stay(&standings, &names, stick));
        prop_assert!(before.is_sorted_by_key(|place| standings[*place].steady()));
        let leaves = leaves.index(standings.len());
        let mut left = standings.clone();
        left[leaves].tier = Tier::Shut;
        let others = |order: Vec<usize>| order.into_iter().filter(|place| *place != leaves).collect::<Vec<_>>();
        prop_assert_eq!(others(before), others(stay(&left, &names, stick)));
    }

    #[test]
    fn what_is_assumed_lies_among_what_is_known(
        known in prop::collection::vec((prop::option::of(0..100_000_u64), prop::option::of(1..100_000_u64)), 0..12),
    ) {
        let known: Vec<Known> =
            known.iter().map(|(a, b)| Known { measured: a.map(Millis), typical: b.map(Millis) }).collect();
        for (at, assumed) in assume(&known).iter().enumerate() {
            // Against a naive median of the others.
            let mut others = known.clone();
            others.remove(at);
            let mut others: Vec<Millis> = others.iter().filter_map(Known::value).collect();
            others.sort_unstable();
            let median = others.len().checked_sub(1).map(|last| others[last / 2]);
            prop_assert_eq!(assumed.typical, known[at].typical.or(median).unwrap_or(ASSUMED));
            prop_assert!(assumed.floor < assumed.typical || assumed.typical == Millis::ZERO);
            prop_assert!(median.is_none_or(|median| assumed.floor <= median));
        }
    }
}
