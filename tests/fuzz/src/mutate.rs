//! Changes inputs by what they consist of. A byte that is changed in JSON nearly always breaks it, and then only the parser is
//! tried; so every other time a value or a member is copied, moved, removed or replaced instead.
//!
//! It looks for what reads like JSON anywhere, so that it serves streams of events as well as documents.

use std::ops::Range;

use libfuzzer_sys::fuzzer_mutate;

/// What a value is replaced by: the ends of what is counted, what is empty, and every other type.
const VALUES: [&str; 22] = [
    "null",
    "true",
    "false",
    "0",
    "1",
    "-1",
    "0.5",
    "1e999",
    "4294967295",
    "4294967296",
    "18446744073709551615",
    "-9223372036854775808",
    "99999999999999999999",
    "\"\"",
    "\"\\n\\r\\u2028\"",
    "\"\\ud800\"",
    "\"\u{1f30a}\"",
    "{}",
    "[]",
    "[[]]",
    "[null]",
    "{\"\":null}",
];

/// libFuzzer's custom mutator: changes `data[..size]` in place and returns the new size.
pub(crate) fn mutate(data: &mut [u8], size: usize, max_size: usize, seed: u32) -> usize {
    let mut dice = Dice(u64::from(seed));
    if dice.roll(2) == 0 {
        return fuzzer_mutate(data, size, max_size);
    }
    let input = &data[..size];
    let spans = spans(input);
    if spans.is_empty() {
        return fuzzer_mutate(data, size, max_size);
    }
    let (here, there) = (spans[dice.roll(spans.len())].clone(), spans[dice.roll(spans.len())].clone());
    let (at, text) = match dice.roll(5) {
        0 => (here, input[there].to_vec()),
        1 => (here, VALUES[dice.roll(VALUES.len())].as_bytes().to_vec()),
        2 => (with_comma(input, here), Vec::new()),
        3 => (here.start..here.start, [&input[there], b","].concat()),
        _ => (here.end..here.end, [b",", &input[there]].concat()),
    };
    let changed = [&input[..at.start], &text, &input[at.end..]].concat();
    if changed.len() > max_size {
        return fuzzer_mutate(data, size, max_size);
    }
    data[..changed.len()].copy_from_slice(&changed);
    changed.len()
}

/// With the comma behind it or, at the end of a list, the one before.
fn with_comma(input: &[u8], at: Range<usize>) -> Range<usize> {
    if input.get(at.end) == Some(&b',') {
        at.start..at.end + 1
    } else if at.start > 0 && input[at.start - 1] == b',' {
        at.start - 1..at.end
    } else {
        at
    }
}

/// Where there are values, and members with their names.
fn spans(input: &[u8]) -> Vec<Range<usize>> {
    let mut spans = Vec::new();
    // Where lists and objects begin that are open; and, for each, the member whose value is to come.
    let mut open = Vec::new();
    let mut member = None;
    let mut at = 0;
    while let Some(byte) = input.get(at) {
        let start = at;
        at += 1;
        let value = match byte {
            b'{' | b'[' => {
                open.push((start, member.take()));
                continue;
            }
            b'}' | b']' => {
                let Some((start, outer)) = open.pop() else { continue };
                member = outer;
                start..at
            }
            b'"' => {
                at = end_of_string(input, at);
                if input[at..].trim_ascii_start().first() == Some(&b':') {
                    member = Some(start);
                    continue;
                }
                start..at
            }
            b'-' | b'.' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'_' => {
                let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || b"-+._".contains(byte);
                at += input[at..].iter().take_while(|byte| is_word(byte)).count();
                start..at
            }
            _ => continue,
        };
        spans.extend(member.take().map(|name| name..value.end));
        spans.push(value);
    }
    spans
}

/// Just past the quote that ends the string whose text begins at `at`, or the end.
fn end_of_string(input: &[u8], mut at: usize) -> usize {
    while let Some(byte) = input.get(at) {
        at += if *byte == b'\\' { 2 } else { 1 };
        if *byte == b'"' {
            break;
        }
    }
    at.min(input.len())
}

/// Decides, the same way for the same seed: `SplitMix64`.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % sides as u64).expect("it is less than `sides`")
    }
}
