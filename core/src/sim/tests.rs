//! The world itself.

use super::*;

#[test]
fn the_same_seed_tells_the_same_story_and_another_another() {
    assert_eq!(trace(7, 60), trace(7, 60));
    assert_ne!(trace(7, 60), trace(8, 60));
}

/// What the twins are compared by is worth nothing if it meets only fair weather.
#[test]
fn a_trace_meets_all_weathers() {
    let text: String = (0..12).map(|seed| trace(seed, 300)).collect();
    for part in [
        " send ",
        " cancel ",
        " pause ",
        " relay 200",
        "[DONE]",
        "error=stream_interrupted",
        " open ",
        " half-open ",
        " close ",
        " quarantine ",
        " throttle ",
        " skip ",
        " leave",
        " hang up",
        "reply 400",
        "reply 404",
        "reply 429",
        "reply 502",
        "reply 503",
        "reply 504",
        "\"changes\"",
        "content_filter",
        "context_length_exceeded",
    ] {
        assert!(text.contains(part), "no trace has {part:?}");
    }
}
