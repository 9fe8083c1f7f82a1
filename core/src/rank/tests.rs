//! Strategies on their own: what they draw from what is known, and what they never do.

use proptest::prelude::*;
use proptest::strategy::Strategy as _;

use super::*;
use crate::config::Strategy;
use crate::rng::Rng;

fn well(ms: u64, pending: u32) -> Standing {
    Standing { tier: Tier::Well, expected: Millis(ms), faded: Millis(ms), pending, weight: 1 }
}

/// How often each of the candidates comes first in `times` draws.
fn shares<const N: usize>(standings: [Standing; N], strategy: Strategy, times: u32) -> [u32; N] {
    let mut rng = Rng::from_seed(1);
    let mut firsts = [0; N];
    for _ in 0..times {
        firsts[order(&standings, strategy, &mut rng)[0]] += 1;
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
        let mut order = order(&standings, Strategy::Latency, &mut rng);
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
        let order = order(&standings, Strategy::Weighted, &mut rng);
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
        assert_eq!(order(&standings, strategy, &mut Rng::from_seed(1)), [5, 4, 3, 2, 1, 0]);
        assert_eq!(favour(&standings, strategy), [5, 4, 3, 2, 1, 0]);
    }
    assert_eq!(order(&standings, Strategy::Ordered, &mut Rng::from_seed(1)), [0, 1, 2, 3, 4, 5]);
    assert_eq!(favour(&standings, Strategy::Ordered), [2, 3, 4, 5, 0, 1]);
}

#[test]
fn a_page_shows_who_is_favoured() {
    let standings = [well(300, 0), well(100, 5), well(200, 0)];
    assert_eq!(favour(&standings, Strategy::Latency), [2, 0, 1]);
    assert_eq!(favour(&standings, Strategy::InverseLatency), [1, 2, 0]);
    assert_eq!(favour(&standings, Strategy::Ordered), [0, 1, 2]);
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
    let parts = (tier(), any::<u64>(), any::<u64>(), any::<u32>(), any::<u32>());
    parts.prop_map(|(tier, expected, faded, pending, weight)| Standing {
        tier,
        expected: Millis(expected),
        faded: Millis(faded),
        pending,
        weight,
    })
}

fn strategy() -> impl proptest::strategy::Strategy<Value = Strategy> {
    prop_oneof![
        Just(Strategy::Ordered),
        Just(Strategy::Weighted),
        Just(Strategy::Latency),
        Just(Strategy::InverseLatency),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn an_order_names_everybody_once_by_tiers_and_as_the_seed_says(
        standings in prop::collection::vec(standing(), 0..20),
        strategy in strategy(),
        seed in any::<u64>(),
    ) {
        let drawn = order(&standings, strategy, &mut Rng::from_seed(seed));
        prop_assert_eq!(&drawn, &order(&standings, strategy, &mut Rng::from_seed(seed)));
        for order in [&drawn, &favour(&standings, strategy)] {
            let mut sorted = order.clone();
            sorted.sort_unstable();
            prop_assert_eq!(sorted, (0..standings.len()).collect::<Vec<_>>());
            let tier = |place: &usize| match strategy {
                Strategy::Ordered => Tier::Well,
                Strategy::Weighted => standings[*place].rated(),
                Strategy::Latency | Strategy::InverseLatency => standings[*place].tier,
            };
            prop_assert!(order.is_sorted_by_key(tier), "{:?}", order);
        }
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
