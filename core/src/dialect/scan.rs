//! A look at JSON that finds where its strings end, in a fraction of the time that reading it takes.

use memchr::memchr2;

/// Where the string that `from` is inside of ends: the place of its closing quote.
pub(super) fn end_of_string(data: &[u8], mut from: usize) -> Option<usize> {
    loop {
        let at = from + memchr2(b'"', b'\\', data.get(from..)?)?;
        if data[at] == b'"' {
            return Some(at);
        }
        from = at + 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_stepped_over() {
        for (text, end) in [
            (r#"a" b"#, Some(1)),
            (r#"a\" b""#, Some(5)),
            (r#"a\\" b""#, Some(3)),
            (r"a\", None),
            ("a", None),
            ("", None),
        ] {
            assert_eq!(end_of_string(text.as_bytes(), 0), end, "{text}");
        }
    }
}
