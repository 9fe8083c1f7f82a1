//! What text weighs, by the script that it is written in.
//!
//! Tokenizers cut text where its kind changes (words, digits, signs, space) and then know the pieces or cut them
//! further, the rarer the sooner. So what a text comes to is nearly linear in how many runs of each kind there are and how
//! long they are together, with a pair of weights for each kind.

/// Kinds of characters that tokenizers treat alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// `a` to `z`; a capital after a small letter begins another run, as in identifiers.
    Word,
    /// Latin letters with marks, and Greek: pieces of words that are rare.
    Accented,
    Digit,
    Space,
    Newline,
    Sign,
    Cyrillic,
    Hangul,
    Kana,
    Han,
    /// Every other script, and emoji.
    Other,
}

const KINDS: usize = Kind::Other as usize + 1;

/// For each kind, what a run and what a character of it weighs, in 1/1000 tokens of `o200k_base`. Fitted by least squares
/// to prose in these scripts and to the sources and manuals of some libraries: other texts than those of the tests.
const WEIGHTS: [(u64, u64); KINDS] = [
    (639, 51),
    (0, 438),
    (742, 413),
    (175, 55),
    (166, 8),
    (872, 64),
    (726, 130),
    (1860, 78),
    (0, 339),
    (1842, 598),
    (0, 357),
];

/// Text that is being weighed, character by character.
#[derive(Debug, Default)]
pub(super) struct Scale {
    runs: [u64; KINDS],
    characters: [u64; KINDS],
    last: Option<(Kind, bool)>,
}

impl Scale {
    pub(super) fn add(&mut self, character: char) {
        let (kind, capital) = (kind(character), character.is_ascii_uppercase());
        let continues = self.last.is_some_and(|(last, was_capital)| last == kind && (was_capital || !capital));
        self.runs[kind as usize] += u64::from(!continues);
        self.characters[kind as usize] += 1;
        self.last = Some((kind, capital));
    }

    /// What comes next belongs to another text.
    pub(super) fn part(&mut self) {
        self.last = None;
    }

    /// In 1/1000 tokens.
    pub(super) fn total_milli(&self) -> u64 {
        let counts = self.runs.iter().zip(&self.characters);
        counts.zip(WEIGHTS).map(|((runs, characters), (run, character))| runs * run + characters * character).sum()
    }
}

fn kind(character: char) -> Kind {
    match character {
        'a'..='z' | 'A'..='Z' => Kind::Word,
        '0'..='9' => Kind::Digit,
        ' ' | '\t' => Kind::Space,
        '\n' | '\r' => Kind::Newline,
        '\0'..='\u{bf}' | '\u{2000}'..='\u{206f}' | '\u{3000}'..='\u{303f}' | '\u{ff00}'..='\u{ff0f}' => Kind::Sign,
        '\u{c0}'..='\u{3ff}' | '\u{1e00}'..='\u{1fff}' => Kind::Accented,
        '\u{400}'..='\u{52f}' => Kind::Cyrillic,
        '\u{1100}'..='\u{11ff}' | '\u{3130}'..='\u{318f}' | '\u{ac00}'..='\u{d7ff}' => Kind::Hangul,
        '\u{3040}'..='\u{30ff}' | '\u{ff66}'..='\u{ff9f}' => Kind::Kana,
        '\u{3400}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}' => Kind::Han,
        _ => Kind::Other,
    }
}
