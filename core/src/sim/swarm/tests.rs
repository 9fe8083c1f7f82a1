//! A thousand seeds, a few ranges at once.

use super::*;

/// What a range of seeds has met.
fn live_through(seeds: std::ops::Range<u64>) {
    let mut sum = Met::default();
    for seed in seeds {
        let met = swarm(seed).unwrap_or_else(|wrong| panic!("{wrong}"));
        sum.requests += met.requests;
        sum.served += met.served;
        sum.refused += met.refused;
        sum.gone += met.gone;
        sum.opened += met.opened;
        sum.hedged += met.hedged;
        sum.rescued += met.rescued;
    }
    assert!(sum.served > sum.requests / 4 && sum.refused > sum.requests / 10, "not only fair weather: {sum:?}");
    assert!(sum.gone > 300 && sum.opened > 500 && sum.hedged > 10 && sum.rescued > 30, "{sum:?}");
}

macro_rules! ranges {
    ($($name:ident: $seeds:expr,)*) => {
        $(
            #[test]
            fn $name() {
                live_through($seeds);
            }
        )*
    };
}

ranges! {
    seeds_from_0: 0..125,
    seeds_from_125: 125..250,
    seeds_from_250: 250..375,
    seeds_from_375: 375..500,
    seeds_from_500: 500..625,
    seeds_from_625: 625..750,
    seeds_from_750: 750..875,
    seeds_from_875: 875..1000,
}

/// `TIDEGATE_SEED=7 cargo test -p tidegate-core --lib swarm::tests::replay` tells the end of a seed's story.
#[test]
fn replay() {
    #[expect(clippy::disallowed_methods, reason = "whoever replays a seed says which")]
    let seed = std::env::var("TIDEGATE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0);
    swarm(seed).unwrap_or_else(|wrong| panic!("{wrong}"));
}

#[test]
fn a_seed_tells_the_same_story_each_time() {
    let story = |seed| {
        let mut swarm = Swarm::new(seed);
        swarm.live();
        swarm.world.story()
    };
    assert_eq!(story(3), story(3));
    assert_ne!(story(3), story(4));
}
