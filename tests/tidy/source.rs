//! A source file as the rules see it: code without comments, strings apart, tests apart.

use std::collections::BTreeSet;
use std::path::Path;

/// A source file.
pub(crate) struct Source {
    /// From the root of the clone, with slashes.
    pub(crate) path: String,
    /// As it is.
    pub(crate) text: String,
    pub(crate) lines: Vec<Line>,
    /// Lines before the tests at its end; none if all of it is tests.
    pub(crate) code_lines: usize,
}

/// One line of it.
#[derive(Default)]
pub(crate) struct Line {
    /// What is neither comment nor string; a string is a pair of quotes.
    pub(crate) code: String,
    /// What its strings hold, those that begin on this line.
    pub(crate) strings: Vec<String>,
}

impl Source {
    /// Reads a file; `is_test` is whether all of it is tests.
    pub(crate) fn new(path: &str, text: String, is_test: bool) -> Self {
        let lines = split(&text);
        let tests_at = (1..lines.len()).find(|&at| {
            let is_module = lines[at].code.starts_with("mod ") && lines[at].code.ends_with('{');
            is_module && lines[at - 1].code.starts_with("#[cfg(") && lines[at - 1].code.contains("test")
        });
        let code_lines = if is_test { 0 } else { tests_at.map_or(lines.len(), |at| at - 1) };
        Self { path: path.to_owned(), text, lines, code_lines }
    }

    pub(crate) fn is_rust(&self) -> bool {
        has_extension(&self.path, "rs")
    }

    /// Lines that are not tests, counted from 1.
    pub(crate) fn code(&self) -> impl Iterator<Item = (usize, &Line)> {
        self.all().take(self.code_lines)
    }

    /// Lines of tests.
    pub(crate) fn tests(&self) -> impl Iterator<Item = (usize, &Line)> {
        self.all().skip(self.code_lines)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = (usize, &Line)> {
        self.lines.iter().enumerate().map(|(at, line)| (at + 1, line))
    }
}

pub(crate) fn has_extension(path: &str, wanted: &str) -> bool {
    Path::new(path).extension().is_some_and(|extension| extension == wanted)
}

/// The files, and the directories beside them, that `#[cfg(test)] mod name;` in this file makes tests of.
pub(crate) fn test_modules(path: &str, text: &str) -> BTreeSet<String> {
    let file = Path::new(path);
    let stem = file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    let beside = file.parent().and_then(Path::to_str).unwrap_or_default().to_owned();
    let home = if ["lib", "main", "mod"].contains(&stem) { beside } else { format!("{beside}/{stem}") };
    let lines = split(text);
    let pairs = lines.windows(2).filter(|pair| pair[0].code.starts_with("#[cfg(") && pair[0].code.contains("test"));
    let names = pairs.filter_map(|pair| pair[1].code.trim().strip_prefix("mod ")?.strip_suffix(';').map(str::to_owned));
    names.map(|name| format!("{home}/{name}")).collect()
}

/// Splits Rust or JavaScript, which agree on all that matters here.
fn split(text: &str) -> Vec<Line> {
    let mut lines = vec![Line::default()];
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let line = lines.last_mut().expect("there is always one");
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            block_comment(rest)
        } else if let Some((content, length)) = string(rest, &line.code) {
            line.code.push_str("\"\"");
            line.strings.push(content.to_owned());
            length
        } else if let Some(length) = character(rest) {
            line.code.push_str(&rest[..length]);
            length
        } else {
            if first != '\n' {
                line.code.push(first);
            }
            first.len_utf8()
        };
        lines.extend(rest[..length].matches('\n').map(|_| Line::default()));
        rest = &rest[length..];
    }
    lines
}

fn block_comment(text: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < text.len() {
        match text.get(at..at + 2) {
            Some("/*") => (depth, at) = (depth + 1, at + 2),
            Some("*/") if depth == 1 => return at + 2,
            Some("*/") => (depth, at) = (depth - 1, at + 2),
            _ => at += text[at..].chars().next().map_or(1, char::len_utf8),
        }
    }
    text.len()
}

/// A string at the start of `text`: what it holds, and how long it is with its quotes.
fn string<'t>(text: &'t str, before: &str) -> Option<(&'t str, usize)> {
    let in_word = before.ends_with(|c: char| c.is_alphanumeric() || c == '_');
    if let Some(raw) = text.strip_prefix('r').filter(|_| !in_word || before.ends_with('b')) {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        let open = format!("r{}\"", "#".repeat(hashes));
        if text.starts_with(&open) {
            let end = format!("\"{}", "#".repeat(hashes));
            let length = text[open.len()..].find(&end).unwrap_or(text.len() - open.len());
            return Some((&text[open.len()..open.len() + length], (open.len() + length + end.len()).min(text.len())));
        }
    }
    let quote = text.chars().next().filter(|quote| ['"', '`'].contains(quote))?;
    let mut escaped = false;
    let end = text[1..].find(|c| {
        let ends = c == quote && !escaped;
        escaped = c == '\\' && !escaped;
        ends
    });
    let length = end.unwrap_or(text.len() - 1);
    Some((&text[1..=length], (length + 2).min(text.len())))
}

/// A character literal, which a lifetime is not.
fn character(text: &str) -> Option<usize> {
    let inner = text.strip_prefix('\'')?;
    if let Some(escaped) = inner.strip_prefix('\\') {
        return escaped.char_indices().skip(1).find(|(_, c)| *c == '\'').map(|(at, _)| at + 3);
    }
    let mut chars = inner.chars();
    let first = chars.next()?;
    (chars.next() == Some('\'')).then(|| first.len_utf8() + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_strings_are_told_from_code() {
        let text = "let a = \"x // y\"; // \"z\"\nlet b = r#\"one\n\"two\"#; /* c /* d */ \"e\" */ f('\"', '\\'', 'g');\n&'a h";
        let lines = split(text);
        let code: Vec<&str> = lines.iter().map(|line| line.code.as_str()).collect();
        assert_eq!(code, ["let a = \"\"; ", "let b = \"\"", ";  f('\"', '\\'', 'g');", "&'a h"]);
        assert_eq!(
            (&lines[0].strings[..], &lines[1].strings[..]),
            (&["x // y".into()][..], &["one\n\"two".into()][..])
        );
    }

    #[test]
    fn tests_are_told_from_code() {
        let source = Source::new("a.rs", "fn a() {}\n\n#[cfg(test)]\nmod tests {\n    fn b() {}\n}\n".into(), false);
        assert_eq!(source.code_lines, 2);
        assert_eq!(source.tests().find(|(_, line)| line.code.contains("fn b")).map(|(at, _)| at), Some(5));
        let modules =
            test_modules("core/src/x.rs", "#[cfg(test)]\nmod wire;\n#[cfg(all(test, unix))]\nmod y;\nmod z;\n");
        assert_eq!(modules, ["core/src/x/wire", "core/src/x/y"].map(str::to_owned).into());
        assert_eq!(test_modules("core/src/lib.rs", "#[cfg(test)]\nmod w;\n"), ["core/src/w".to_owned()].into());
    }
}
