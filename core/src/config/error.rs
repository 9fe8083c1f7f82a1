//! What is wrong with a config: all of it at once, each with its place and what to do.

use std::fmt;

/// Everything that is wrong with a document, in the order of the places; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors(Vec<ConfigError>);

/// One thing that is wrong. It names environment variables, never what they hold.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConfigError {
    /// The document, as the operator named it.
    pub file: String,
    /// Where in it. JSON keeps no places.
    pub place: Option<Place>,
    /// The key: `vendors.openai.dialect`. Empty where the document as a whole is meant.
    pub path: String,
    /// What is wrong, as a sentence without its full stop.
    pub problem: String,
    /// What to do about it: one whole sentence, or nothing.
    pub remedy: String,
}

/// A place in a text, both counted from 1, the column in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The line.
    pub line: usize,
    /// The character in it.
    pub column: usize,
}

impl ConfigErrors {
    /// `None` if there are none.
    pub(super) fn collect(mut errors: Vec<ConfigError>) -> Option<Self> {
        errors.sort();
        errors.dedup();
        (!errors.is_empty()).then_some(Self(errors))
    }

    /// The errors, in the order of their places.
    pub fn iter(&self) -> std::slice::Iter<'_, ConfigError> {
        self.0.iter()
    }
}

impl<'a> IntoIterator for &'a ConfigErrors {
    type Item = &'a ConfigError;
    type IntoIter = std::slice::Iter<'a, ConfigError>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl Place {
    /// The place of the byte `at` of `text`; past its end is its end.
    pub(super) fn of(text: &str, at: usize) -> Self {
        let before = &text[..text.floor_char_boundary(at)];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = 1 + before.matches('\n').count();
        Self { line, column: 1 + before[line_start..].chars().count() }
    }
}

/// One line each, as compilers print them, so that editors find the place.
impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{error}")?;
        }
        Ok(())
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file)?;
        if let Some(Place { line, column }) = self.place {
            write!(f, "{line}:{column}:")?;
        }
        if !self.path.is_empty() {
            write!(f, " {}:", self.path)?;
        }
        write!(f, " {}.", self.problem)?;
        if !self.remedy.is_empty() {
            write!(f, " {}", self.remedy)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

impl std::error::Error for ConfigError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(place: Option<(usize, usize)>, path: &str) -> ConfigError {
        ConfigError {
            file: "tidegate.toml".into(),
            place: place.map(|(line, column)| Place { line, column }),
            path: path.into(),
            problem: "unknown key".into(),
            remedy: String::new(),
        }
    }

    #[test]
    fn prints_place_key_problem_and_remedy() {
        let mut one = error(Some((12, 1)), "vendors.openai.dialct");
        one.remedy = "Did you mean `dialect`?".into();
        assert_eq!(one.to_string(), "tidegate.toml:12:1: vendors.openai.dialct: unknown key. Did you mean `dialect`?");
        assert_eq!(error(None, "alerts").to_string(), "tidegate.toml: alerts: unknown key.");
        assert_eq!(error(Some((1, 2)), "").to_string(), "tidegate.toml:1:2: unknown key.");
    }

    #[test]
    fn sorts_by_place_and_says_nothing_twice() {
        let found = vec![error(Some((10, 1)), "b"), error(Some((9, 7)), "a"), error(Some((10, 1)), "b")];
        let errors = ConfigErrors::collect(found).unwrap();
        assert_eq!(errors.to_string(), "tidegate.toml:9:7: a: unknown key.\ntidegate.toml:10:1: b: unknown key.");
        assert_eq!(ConfigErrors::collect(Vec::new()), None);
    }

    #[test]
    fn places_count_characters_from_one() {
        let text = "a\nöb\n";
        for (at, line, column) in [(0, 1, 1), (1, 1, 2), (2, 2, 1), (3, 2, 1), (4, 2, 2), (99, 3, 1)] {
            assert_eq!(Place::of(text, at), Place { line, column }, "byte {at}");
        }
    }
}
