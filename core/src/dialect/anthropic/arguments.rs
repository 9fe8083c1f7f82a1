//! Where a JSON object that arrives in pieces ends.

/// Follows the text of an object. It looks at strings and brackets alone: whether the text is JSON is for the reader of it.
#[derive(Debug, Default)]
pub(super) struct Progress {
    begun: bool,
    /// How many brackets are open.
    depth: usize,
    in_string: bool,
    after_backslash: bool,
}

impl Progress {
    /// Takes the next piece.
    pub(super) fn push(&mut self, piece: &str) {
        for byte in piece.bytes() {
            self.step(byte);
        }
    }

    /// Whether the value has ended. A text that begins as no object or list ends at once, for nobody knows where it would.
    pub(super) fn is_complete(&self) -> bool {
        self.begun && self.depth == 0
    }

    fn step(&mut self, byte: u8) {
        if self.is_complete() {
            return;
        }
        if self.after_backslash {
            self.after_backslash = false;
            return;
        }
        match byte {
            b'\\' if self.in_string => self.after_backslash = true,
            b'"' if self.depth > 0 => self.in_string = !self.in_string,
            _ if self.in_string => {}
            b'{' | b'[' => {
                self.begun = true;
                self.depth += 1;
            }
            b'}' | b']' if self.depth > 0 => self.depth -= 1,
            b' ' | b'\t' | b'\n' | b'\r' => {}
            _ => self.begun = true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many bytes it takes until the text is complete.
    fn end_of(text: &str) -> Option<usize> {
        let mut progress = Progress::default();
        (0..text.len()).find_map(|at| {
            progress.push(&text[at..=at]);
            progress.is_complete().then_some(at + 1)
        })
    }

    #[test]
    fn an_object_ends_at_its_own_bracket() {
        assert_eq!(end_of("{}"), Some(2));
        assert_eq!(end_of(r#" {"a":[{},"}"]} "#), Some(15));
        assert_eq!(end_of(r#"{"a":"\"}"}"#), Some(11));
        assert_eq!(end_of(r#"{"a":"\\"}"#), Some(10));
        assert_eq!(end_of(r#"{"a":{"b":1}"#), None);
        assert_eq!(end_of(""), None);
    }

    #[test]
    fn what_is_no_object_ends_at_once() {
        for text in ["null", "\"a\"", "}", "x"] {
            assert_eq!(end_of(text), Some(1), "{text}");
        }
    }
}
