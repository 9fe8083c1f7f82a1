//! Numbers that look random and are the same in every run: the sandbox's latencies, ids, odds and embeddings.

/// Scatters `n` over all 64 bits (the finaliser of `SplitMix64`).
pub(super) fn mix(n: u64) -> u64 {
    let n = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

/// A seed from a text (FNV-1a): the standard library's hasher may change between versions.
pub(super) fn seed(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Whether draw number `n` of `seed` comes up, at odds of `rate` (0 never, 1 always).
pub(super) fn comes_up(seed: u64, n: u64, rate: f64) -> bool {
    let bits = u32::try_from(mix(mix(seed).wrapping_add(n)) >> 32).expect("32 bits are left");
    f64::from(bits) / (f64::from(u32::MAX) + 1.0) < rate
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odds_hold_at_the_ends_and_in_between() {
        assert!((0..1000).all(|n| comes_up(7, n, 1.0)));
        assert!(!(0..1000).any(|n| comes_up(7, n, 0.0)));
        let hits = (0..10_000).filter(|&n| comes_up(7, n, 0.3)).count();
        assert!((2_850..3_150).contains(&hits), "{hits}");
    }

    #[test]
    fn seeds_tell_texts_apart() {
        assert_ne!(seed("openai"), seed("google"));
    }
}
