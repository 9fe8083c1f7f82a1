//! Walks a document and collects all that is wrong with it.
//!
//! A key is known by being asked for: there is no second list of keys that could disagree with what is read. What has
//! not been asked for by the time its table has been read is an unknown key. A value that is wrong is reported and reads
//! as absent, so that the caller takes a default and goes on to the next error; what it builds is thrown away in the end.

use std::cell::RefCell;
use std::collections::BTreeMap;

use super::document::{Entry, Node, Value};
use super::error::{ConfigError, ConfigErrors, Place};

/// A document being read.
pub(super) struct Reader<'a> {
    file: &'a str,
    /// The text that places are in; JSON has none.
    text: Option<&'a str>,
    /// Looks up an environment variable.
    secrets: &'a dyn Fn(&str) -> Option<String>,
    errors: RefCell<Vec<ConfigError>>,
}

/// A value being read.
#[derive(Clone)]
pub(super) struct Field<'a> {
    reader: &'a Reader<'a>,
    /// The keys that lead to it: `vendors.openai.dialect`.
    path: String,
    node: &'a Node,
    /// Where its key starts; what a table lacks is reported there.
    key_at: Option<usize>,
}

/// A table being read.
pub(super) struct Table<'a> {
    field: Field<'a>,
    entries: &'a BTreeMap<String, Entry>,
    known: Vec<&'static str>,
}

/// Why a value is refused, and what to write.
pub(super) struct Refusal {
    pub(super) problem: String,
    pub(super) remedy: String,
}

impl<'a> Reader<'a> {
    pub(super) fn new(file: &'a str, text: Option<&'a str>, secrets: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self { file, text, secrets, errors: RefCell::default() }
    }

    /// The document as a whole.
    pub(super) fn root(&'a self, node: &'a Node) -> Field<'a> {
        Field { reader: self, path: String::new(), node, key_at: node.at }
    }

    /// Everything that was reported.
    pub(super) fn into_errors(self) -> Option<ConfigErrors> {
        ConfigErrors::collect(self.errors.into_inner())
    }

    fn report(&self, at: Option<usize>, path: &str, refusal: Refusal) {
        let Refusal { problem, remedy } = refusal;
        let place = self.text.zip(at).map(|(text, at)| Place::of(text, at));
        let (file, path) = (self.file.to_owned(), path.to_owned());
        self.errors.borrow_mut().push(ConfigError { file, place, path, problem, remedy });
    }
}

impl<'a> Field<'a> {
    pub(super) fn value(&self) -> &'a Value {
        &self.node.value
    }

    /// The environment variable `name`.
    pub(super) fn variable(&self, name: &str) -> Option<String> {
        (self.reader.secrets)(name)
    }

    /// Reads it with `parse`; a refusal is reported.
    pub(super) fn read<T>(&self, parse: impl FnOnce(&Self) -> Result<T, Refusal>) -> Option<T> {
        parse(self).map_err(|refusal| self.reader.report(self.node.at, &self.path, refusal)).ok()
    }

    /// Reads it as a table with `read`. Keys that `read` does not ask for are refused, those of `later` as not
    /// supported yet.
    pub(super) fn table<T>(&self, later: &[&str], read: impl FnOnce(&mut Table<'a>) -> T) -> Option<T> {
        let entries = self.read(|field| match field.value() {
            Value::Table(entries) => Ok(entries),
            _ => Err(field.wanted("a table", "")),
        })?;
        let mut table = Table { field: self.clone(), entries, known: Vec::new() };
        let value = read(&mut table);
        table.refuse_unknown(later);
        Some(value)
    }

    /// Its items, if it is a list.
    pub(super) fn items(&self) -> Option<Vec<Self>> {
        self.read(|field| match field.value() {
            Value::List(items) => Ok(items),
            _ => Err(field.wanted("a list", "Write it in [square brackets].")),
        })
        .map(|items| {
            let item = |(index, node): (usize, &'a Node)| {
                let path = format!("{}[{index}]", self.path);
                Self { reader: self.reader, path, node, key_at: node.at }
            };
            items.iter().enumerate().map(item).collect()
        })
    }

    /// Its entries by names of the operator's choice, in the order of the names.
    pub(super) fn entries(&self) -> Vec<(&'a str, Self)> {
        let entries = self.read(|field| match field.value() {
            Value::Table(entries) => Ok(entries),
            _ => Err(field.wanted("a table", "")),
        });
        entries.into_iter().flatten().map(|(name, entry)| (name.as_str(), self.child(name, entry))).collect()
    }

    /// A refusal for being of the wrong kind.
    pub(super) fn wanted(&self, kind: &str, remedy: &str) -> Refusal {
        Refusal::new(format!("must be {kind}, not {}", self.node.kind()), remedy)
    }

    pub(super) fn is_table(&self) -> bool {
        matches!(self.node.value, Value::Table(_))
    }

    pub(super) fn is_list(&self) -> bool {
        matches!(self.node.value, Value::List(_))
    }

    /// Reports that its value is wrong, though it can be read.
    pub(super) fn refuse_value(&self, problem: impl Into<String>, remedy: impl Into<String>) {
        self.reader.report(self.node.at, &self.path, Refusal::new(problem, remedy));
    }

    /// Reports that its key, rather than its value, is wrong.
    pub(super) fn refuse_key(&self, problem: impl Into<String>, remedy: impl Into<String>) {
        self.reader.report(self.key_at, &self.path, Refusal::new(problem, remedy));
    }

    fn child(&self, key: &str, entry: &'a Entry) -> Self {
        let bare = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        let dot = if self.path.is_empty() { "" } else { "." };
        let path = if bare { format!("{}{dot}{key}", self.path) } else { format!("{}{dot}{key:?}", self.path) };
        Self { reader: self.reader, path, node: &entry.node, key_at: entry.at }
    }
}

impl<'a> Table<'a> {
    /// The value of `key`, if it is there. The key is known from here on.
    pub(super) fn field(&mut self, key: &'static str) -> Option<Field<'a>> {
        if !self.known.contains(&key) {
            self.known.push(key);
        }
        self.entries.get(key).map(|entry| self.field.child(key, entry))
    }

    /// Reads the value of `key`, if it is there and right.
    pub(super) fn read<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&Field<'a>) -> Result<T, Refusal>,
    ) -> Option<T> {
        self.field(key)?.read(parse)
    }

    /// Reads the value of `key`, whose absence is an error; `example` is a value to add.
    pub(super) fn required<T>(
        &mut self,
        key: &'static str,
        example: &str,
        parse: impl FnOnce(&Field<'a>) -> Result<T, Refusal>,
    ) -> Option<T> {
        let found = self.field(key);
        if found.is_none() {
            self.refuse(format!("`{key}` is missing"), format!("Add {key} = {example}."));
        }
        found?.read(parse)
    }

    /// The entries of the table `key`, by names of the operator's choice.
    pub(super) fn named(&mut self, key: &'static str) -> Vec<(&'a str, Field<'a>)> {
        self.field(key).map(|field| field.entries()).unwrap_or_default()
    }

    /// Reads the table `key`, if it is there.
    pub(super) fn table<T>(
        &mut self,
        key: &'static str,
        later: &[&str],
        read: impl FnOnce(&mut Self) -> T,
    ) -> Option<T> {
        self.field(key)?.table(later, read)
    }

    /// Reports that the table as a whole is wrong.
    pub(super) fn refuse(&self, problem: impl Into<String>, remedy: impl Into<String>) {
        self.field.refuse_key(problem, remedy);
    }

    /// Refuses `key`, which has its place elsewhere.
    pub(super) fn misplaced(&mut self, key: &'static str, problem: &str, remedy: &str) {
        if let Some(entry) = self.entries.get(key) {
            self.known.push(key);
            self.field.child(key, entry).refuse_key(problem, remedy);
        }
    }

    fn refuse_unknown(self, later: &[&str]) {
        for (key, entry) in self.entries {
            let field = self.field.child(key, entry);
            if later.contains(&key.as_str()) {
                field.refuse_key("not supported by this version yet", "Remove it.");
            } else if !self.known.contains(&key.as_str()) {
                field.refuse_key("unknown key", did_you_mean(key, &self.known));
            }
        }
    }
}

impl Refusal {
    pub(super) fn new(problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { problem: problem.into(), remedy: remedy.into() }
    }
}

/// A remedy for a name that is not among `known`: the one that was likely meant, or else all of them.
pub(super) fn did_you_mean(name: &str, known: &[&str]) -> String {
    // Comparing takes time by the product of the lengths; a longer name than this is no slip of the pen.
    const LENGTH_MAX: usize = 100;
    let distance_max = (name.len() / 3).clamp(1, 4);
    let nearest = known
        .iter()
        .filter(|_| name.len() <= LENGTH_MAX)
        .map(|known| (strsim::damerau_levenshtein(name, known), known))
        .filter(|(distance, _)| *distance <= distance_max)
        .min();
    match nearest {
        Some((_, nearest)) => format!("Did you mean `{nearest}`?"),
        None if known.is_empty() => String::new(),
        None => format!("Known here: `{}`.", known.join("`, `")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_what_was_meant_and_a_stranger_gets_the_list() {
        let known = ["dialect", "base_url", "keys"];
        assert_eq!(did_you_mean("dialct", &known), "Did you mean `dialect`?");
        assert_eq!(did_you_mean("url_base", &known), "Known here: `dialect`, `base_url`, `keys`.");
        assert_eq!(did_you_mean("baseurl", &known), "Did you mean `base_url`?");
        assert_eq!(did_you_mean("kesy", &known), "Did you mean `keys`?");
        assert_eq!(did_you_mean(&"x".repeat(1000), &[]), "");
    }
}
