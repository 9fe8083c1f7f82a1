//! A JSON object, member by member: what is known is taken out, and what is left can be named.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::BadRequest;

/// The members of an object that nobody has taken yet, in their order. Their values are still text.
#[derive(Debug)]
pub(crate) struct Fields<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

/// A string that is copied only if it holds escapes. `Option<Cow<str>>` and keys would always be copied.
#[derive(Deserialize)]
#[serde(transparent)]
pub(crate) struct Text<'a>(#[serde(borrow)] pub(crate) Cow<'a, str>);

impl<'a> Fields<'a> {
    /// Takes an object apart, in one pass.
    pub(crate) fn read(text: &'a [u8]) -> Result<Self, BadRequest> {
        serde_json::from_slice(text).map_err(|error| BadRequest {
            message: format!("The request body is not a JSON object that can be read: {error}."),
            param: None,
        })
    }

    /// The value of `name`, as text. A `null` is as good as none.
    pub(crate) fn take_raw(&mut self, name: &str) -> Option<&'a RawValue> {
        let at = self.0.iter().position(|(known, _)| known == name)?;
        let (_, value) = self.0.remove(at);
        (value.get() != "null").then_some(value)
    }

    /// The value of `name`.
    pub(crate) fn take<T: Deserialize<'a>>(&mut self, name: &'static str) -> Result<Option<T>, BadRequest> {
        let Some(value) = self.take_raw(name) else { return Ok(None) };
        serde_json::from_str(value.get()).map(Some).map_err(|error| unreadable(name, &error))
    }

    /// The value of `name`, without which there is no request.
    pub(crate) fn require<T: Deserialize<'a>>(&mut self, name: &'static str) -> Result<T, BadRequest> {
        let missing = || BadRequest { message: format!("You must provide `{name}`."), param: Some(name) };
        self.take(name)?.ok_or_else(missing)
    }

    /// All that nobody has taken.
    pub(crate) fn all(self) -> impl Iterator<Item = (String, &'a RawValue)> {
        self.0.into_iter().map(|(name, value)| (name.into_owned(), value))
    }

    /// What nobody has taken, less what is `null`.
    pub(crate) fn rest(self) -> impl Iterator<Item = (String, &'a RawValue)> {
        self.all().filter(|(_, value)| value.get() != "null")
    }
}

/// What to say of a parameter that does not read.
pub(crate) fn unreadable(name: &'static str, error: &serde_json::Error) -> BadRequest {
    // The parser's place is within the value, which the caller cannot find by it.
    let error = error.to_string();
    let what = error.split(" at line ").next().unwrap_or_default();
    BadRequest { message: format!("`{name}` cannot be read: {what}."), param: Some(name) }
}

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = Vec<(Cow<'de, str>, &'de RawValue)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
                /// More than any API has: looking one up goes through all of them.
                const MEMBERS_MAX: usize = 256;
                let mut found = Vec::new();
                while let Some((Text(name), value)) = members.next_entry()? {
                    if found.len() == MEMBERS_MAX {
                        return Err(de::Error::custom("it has too many members"));
                    }
                    found.push((name, value));
                }
                Ok(found)
            }
        }

        deserializer.deserialize_map(Members).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_is_gone_and_the_rest_has_names() {
        let mut fields = Fields::read(br#"{"a":1,"b":null,"c":"x","d":[1, 2]}"#).unwrap();
        assert_eq!(fields.take::<u32>("a"), Ok(Some(1)));
        assert_eq!(fields.take::<u32>("a"), Ok(None));
        assert_eq!(fields.take::<u32>("b"), Ok(None));
        let error = fields.take::<u32>("c").unwrap_err();
        assert_eq!(
            (error.message.as_str(), error.param),
            ("`c` cannot be read: invalid type: string \"x\", expected u32.", Some("c"))
        );
        let rest: Vec<_> = fields.rest().map(|(name, value)| (name, value.get())).collect();
        assert_eq!(rest, [("d".to_owned(), "[1, 2]")]);
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for text in ["", "[]", "null", "{\"a\":1", "{\"a\" 1}"] {
            assert!(Fields::read(text.as_bytes()).is_err(), "{text}");
        }
        assert_eq!(Fields::read(b"{}").unwrap().require::<u32>("a").unwrap_err().param, Some("a"));
    }
}
