//! TOML and JSON as one tree, so that one check serves both.
//!
//! A node of a TOML document knows its place. Numbers stay text: a price such as `0.0375` is money, and is not to pass
//! through a float.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, Serializer};

use super::error::{ConfigError, ConfigErrors, Place};

/// A value of a document.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    /// The byte it starts at, where the format keeps it.
    pub(super) at: Option<usize>,
    pub(super) value: Value,
}

/// What a [`Node`] holds.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Text(String),
    /// As it was written, less underscores; a whole number is decimal and has no point.
    Number(String),
    Bool(bool),
    List(Vec<Node>),
    Table(BTreeMap<String, Entry>),
    /// What no key takes: a date, a null.
    Other(&'static str),
}

/// A key of a table with its value.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    /// The byte the key starts at.
    pub(super) at: Option<usize>,
    pub(super) node: Node,
}

impl Node {
    /// Reads a JSON document.
    pub(super) fn from_json(text: &str, file: &str) -> Result<Self, ConfigErrors> {
        serde_json::from_str(text).map_err(|error| {
            let place = Place { line: error.line(), column: error.column() };
            // The parser's message ends with the place, which we print in front.
            let message = error.to_string();
            let problem = message.split(" at line ").next().unwrap_or_default();
            syntax_errors(vec![syntax_error(file, Some(place), &format!("not JSON: {problem}"))])
        })
    }

    /// Writes prices at the models that they are for, where these have none of their own; no file is named any more.
    #[cfg(feature = "toml")]
    pub(super) fn take_in_prices(&mut self, prices: Self) {
        let Value::Table(root) = &mut self.value else { return };
        root.remove("prices");
        let models = root.get_mut("models").map(|entry| &mut entry.node.value);
        let (Some(Value::Table(models)), Value::Table(prices)) = (models, prices.value) else { return };
        for (name, price) in prices {
            if let Some(Value::Table(model)) = models.get_mut(&name).map(|entry| &mut entry.node.value) {
                model.entry("price".to_owned()).or_insert(price);
            }
        }
    }

    /// What it is, for messages.
    pub(super) fn kind(&self) -> &'static str {
        match self.value {
            Value::Text(_) => "a string",
            Value::Number(_) => "a number",
            Value::Bool(_) => "true or false",
            Value::List(_) => "a list",
            Value::Table(_) => "a table",
            Value::Other(kind) => kind,
        }
    }
}

impl From<Value> for Node {
    fn from(value: Value) -> Self {
        Self { at: None, value }
    }
}

fn syntax_error(file: &str, place: Option<Place>, problem: &str) -> ConfigError {
    ConfigError {
        file: file.to_owned(),
        place,
        path: String::new(),
        problem: problem.to_owned(),
        remedy: String::new(),
    }
}

fn syntax_errors(errors: Vec<ConfigError>) -> ConfigErrors {
    ConfigErrors::collect(errors).expect("called with at least one error")
}

#[cfg(feature = "toml")]
mod from_toml {
    use toml::Spanned;
    use toml::de::{DeInteger, DeTable, DeValue};

    use super::{ConfigErrors, Entry, Node, Value, syntax_error, syntax_errors};
    use crate::config::error::Place;

    impl Node {
        /// Reads a TOML document, or says all that is wrong with its syntax.
        pub(in crate::config) fn from_toml(text: &str, file: &str) -> Result<Self, ConfigErrors> {
            let (table, errors) = DeTable::parse_recoverable(text);
            if errors.is_empty() {
                return Ok(Self { at: Some(0), value: read_table(table.into_inner()) });
            }
            let errors = errors.iter().map(|error| {
                let place = error.span().map(|span| Place::of(text, span.start));
                // Only the message: the parser's own display quotes the line, and a secret may stand in it.
                syntax_error(file, place, &format!("not TOML: {}", error.message()))
            });
            Err(syntax_errors(errors.collect()))
        }
    }

    fn read(spanned: Spanned<DeValue<'_>>) -> Node {
        let at = Some(spanned.span().start);
        let value = match spanned.into_inner() {
            DeValue::String(text) => Value::Text(text.into_owned()),
            DeValue::Integer(integer) => Value::Number(decimal(&integer)),
            DeValue::Float(float) => Value::Number(float.as_str().to_owned()),
            DeValue::Boolean(value) => Value::Bool(value),
            DeValue::Datetime(_) => Value::Other("a date"),
            DeValue::Array(items) => Value::List(items.into_iter().map(read).collect()),
            DeValue::Table(table) => read_table(table),
        };
        Node { at, value }
    }

    fn read_table(table: DeTable<'_>) -> Value {
        let entries = table.into_iter().map(|(key, value)| {
            let at = Some(key.span().start);
            (key.into_inner().into_owned(), Entry { at, node: read(value) })
        });
        Value::Table(entries.collect())
    }

    /// Hexadecimal and its like as decimal; a number too long for any key stays as it is, to be refused as too large.
    fn decimal(integer: &DeInteger<'_>) -> String {
        i128::from_str_radix(integer.as_str(), integer.radix())
            .map_or_else(|_| integer.to_string(), |value| value.to_string())
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Json;

        impl<'de> Visitor<'de> for Json {
            type Value = Node;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON value")
            }

            fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
                Ok(Value::Bool(value).into())
            }

            fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
                Ok(Value::Number(value.to_string()).into())
            }

            fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
                Ok(Value::Number(value.to_string()).into())
            }

            fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
                // `{:?}` keeps the point of 2.0, and is the shortest text that reads back as the same float.
                Ok(Value::Number(format!("{value:?}")).into())
            }

            fn visit_str<E>(self, value: &str) -> Result<Node, E> {
                Ok(Value::Text(value.to_owned()).into())
            }

            fn visit_unit<E>(self) -> Result<Node, E> {
                Ok(Value::Other("null").into())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
                let mut list = Vec::new();
                while let Some(item) = items.next_element()? {
                    list.push(item);
                }
                Ok(Value::List(list).into())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Node, A::Error> {
                let mut table = BTreeMap::new();
                while let Some((key, node)) = entries.next_entry::<String, Node>()? {
                    if table.contains_key(&key) {
                        return Err(de::Error::custom(format_args!("the key `{key}` stands here twice")));
                    }
                    table.insert(key, Entry { at: None, node });
                }
                Ok(Value::Table(table).into())
            }
        }

        deserializer.deserialize_any(Json)
    }
}

impl Serialize for Node {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.value {
            Value::Text(text) => serializer.serialize_str(text),
            Value::Number(text) => match (text.parse::<i64>(), text.parse::<f64>()) {
                (Ok(whole), _) => serializer.serialize_i64(whole),
                (_, Ok(float)) => serializer.serialize_f64(float),
                _ => serializer.serialize_unit(),
            },
            Value::Bool(value) => serializer.serialize_bool(*value),
            Value::List(items) => serializer.collect_seq(items),
            Value::Table(entries) => serializer.collect_map(entries.iter().map(|(key, entry)| (key, &entry.node))),
            Value::Other(_) => serializer.serialize_unit(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_that_is_none_says_where() {
        let errors = Node::from_json("{\"a\": 1,\n x}", "c.json").unwrap_err();
        assert_eq!(errors.to_string(), "c.json:2:2: not JSON: key must be a string.");
        let errors = Node::from_json(r#"{"a": 1, "a": 2}"#, "c.json").unwrap_err();
        assert!(errors.to_string().contains("the key `a` stands here twice"), "{errors}");
    }

    #[test]
    fn json_keeps_whole_numbers_and_fractions_apart() {
        let node = Node::from_json("[2, 2.0, -1, 0.0375, 1e-7]", "c.json").unwrap();
        let Value::List(items) = node.value else { panic!("a list") };
        let texts: Vec<_> = items.iter().map(|item| item.value.clone()).collect();
        assert_eq!(texts, ["2", "2.0", "-1", "0.0375", "1e-7"].map(|text| Value::Number(text.into())));
    }

    #[cfg(feature = "toml")]
    #[test]
    fn toml_keeps_places_and_the_text_of_numbers() {
        let node = Node::from_toml("a = 0x1F\nb = 1_000.250\n[c]\nd = [true, 1979-05-27]\n", "c.toml").unwrap();
        let Value::Table(root) = &node.value else { panic!("a table") };
        assert_eq!(root["a"].node, Node { at: Some(4), value: Value::Number("31".into()) });
        assert_eq!((root["b"].at, root["b"].node.at), (Some(9), Some(13)));
        assert_eq!(root["b"].node.value, Value::Number("1000.250".into()));
        assert_eq!(root["c"].at, Some(24));
        assert_eq!(serde_json::to_string(&node).unwrap(), r#"{"a":31,"b":1000.25,"c":{"d":[true,null]}}"#);
    }

    #[cfg(feature = "toml")]
    #[test]
    fn toml_syntax_errors_come_all_at_once_and_quote_nothing() {
        let errors = Node::from_toml("a = sk-secret-1\nb = 1\nb = 2\n[c\n", "c.toml").unwrap_err();
        let lines: Vec<_> = errors.iter().map(|error| error.place.unwrap().line).collect();
        assert!(lines.contains(&1) && lines.contains(&3) && lines.contains(&4), "{errors}");
        assert!(!errors.to_string().contains("secret"), "{errors}");
    }
}
