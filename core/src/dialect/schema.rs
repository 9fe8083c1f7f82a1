//! JSON schemas between vendors that are strict in different ways.
//!
//! Anthropic keeps to every schema, and takes only those whose objects are closed (`additionalProperties` is false). `OpenAI`
//! keeps to a schema if it is told to be strict, and then takes only those whose objects are closed and have no optional
//! properties. So for Anthropic objects are closed: an answer without further properties fits the client's schema all the
//! same. What is open by intent stays open, and then the vendor cannot be asked, or, where it has such a thing, is asked to
//! be less strict. Properties are never made required: an answer that had to have them would be another one.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, Serializer};
use serde_json::Value;

use super::chat::Json;

/// The schema with all of its objects closed; `None`: one of them is open by intent, or cannot be closed by itself.
pub(crate) fn closed(schema: &Json) -> Option<Cow<'_, Json>> {
    let mut root: Node = serde_json::from_str(schema.text()).ok()?;
    let mut changed = false;
    close(&mut root, &mut changed)?;
    Some(if changed { Cow::Owned(Json::of(&root)) } else { Cow::Borrowed(schema) })
}

/// Whether `OpenAI` can be strict about it.
pub(crate) fn is_strict(schema: &Json) -> bool {
    let root: Option<Node> = serde_json::from_str(schema.text()).ok();
    root.is_some_and(|root| root.is_object() && root.member("anyOf").is_none() && is_whole(&root))
}

/// JSON whose members stay in their order, which means something to a model.
#[derive(Debug)]
enum Node {
    Object(Vec<(String, Self)>),
    List(Vec<Self>),
    Leaf(Value),
}

/// Keywords whose value is a schema, or a list of schemas.
const SCHEMAS: [&str; 10] =
    ["items", "prefixItems", "contains", "additionalProperties", "anyOf", "oneOf", "allOf", "if", "then", "else"];

/// Keywords whose value has schemas for members, by names of the client's choice.
const NAMED_SCHEMAS: [&str; 4] = ["properties", "patternProperties", "$defs", "definitions"];

/// Keywords that say more of the same object: to close it by its own properties would forbid theirs.
const MORE: [&str; 7] = ["allOf", "anyOf", "oneOf", "$ref", "if", "not", "patternProperties"];

/// Keywords that `OpenAI` does not take where it is strict.
const LAX: [&str; 7] = ["allOf", "oneOf", "not", "if", "then", "else", "patternProperties"];

/// What the value of a keyword is made of.
enum Kind {
    Schemas,
    Named,
    Other,
}

fn kind(keyword: &str) -> Kind {
    match keyword {
        _ if SCHEMAS.contains(&keyword) => Kind::Schemas,
        _ if NAMED_SCHEMAS.contains(&keyword) => Kind::Named,
        _ => Kind::Other,
    }
}

fn close(schema: &mut Node, changed: &mut bool) -> Option<()> {
    if schema.is_object() && !schema.is_closed() {
        let says_more = MORE.iter().any(|keyword| schema.member(keyword).is_some());
        let is_open = schema.member("additionalProperties").is_some() || schema.member("properties").is_none();
        if says_more || is_open {
            return None;
        }
        schema.add("additionalProperties", Node::Leaf(Value::Bool(false)));
        *changed = true;
    }
    let is_whole = schema.member("allOf").is_none();
    for part in schema.parts_mut() {
        let before = *changed;
        close(part, changed)?;
        // What has to fit several schemas at once has the properties of all of them.
        if !is_whole && *changed != before {
            return None;
        }
        *changed |= before;
    }
    Some(())
}

fn is_whole(schema: &Node) -> bool {
    if LAX.iter().any(|keyword| schema.member(keyword).is_some()) {
        return false;
    }
    let has_all = || {
        let Some(Node::Object(properties)) = schema.member("properties") else { return false };
        let Some(Node::List(required)) = schema.member("required") else { return properties.is_empty() };
        let names: BTreeSet<&str> = required.iter().filter_map(Node::text).collect();
        properties.iter().all(|(name, _)| names.contains(name.as_str()))
    };
    (!schema.is_object() || (schema.is_closed() && has_all())) && schema.parts().all(is_whole)
}

impl Node {
    fn member(&self, name: &str) -> Option<&Self> {
        let Self::Object(members) = self else { return None };
        members.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    fn add(&mut self, name: &str, value: Self) {
        if let Self::Object(members) = self {
            members.push((name.to_owned(), value));
        }
    }

    fn text(&self) -> Option<&str> {
        let Self::Leaf(Value::String(text)) = self else { return None };
        Some(text)
    }

    /// Whether it is the schema of an object.
    fn is_object(&self) -> bool {
        let named = match self.member("type") {
            Some(Self::List(types)) => types.iter().any(|kind| kind.text() == Some("object")),
            Some(kind) => kind.text() == Some("object"),
            None => false,
        };
        named || self.member("properties").is_some()
    }

    fn is_closed(&self) -> bool {
        matches!(self.member("additionalProperties"), Some(Self::Leaf(Value::Bool(false))))
    }

    /// The schemas that a schema is made of.
    fn parts(&self) -> impl Iterator<Item = &Self> {
        let members = if let Self::Object(members) = self { &members[..] } else { &[] };
        members.iter().flat_map(|(name, value)| match (kind(name), value) {
            (Kind::Schemas, Self::List(list)) => list.iter().collect(),
            (Kind::Schemas, schema) => vec![schema],
            (Kind::Named, Self::Object(named)) => named.iter().map(|(_, schema)| schema).collect(),
            _ => Vec::new(),
        })
    }

    fn parts_mut(&mut self) -> impl Iterator<Item = &mut Self> {
        let members = if let Self::Object(members) = self { &mut members[..] } else { &mut [] };
        members.iter_mut().flat_map(|(name, value)| match (kind(name), value) {
            (Kind::Schemas, Self::List(list)) => list.iter_mut().collect(),
            (Kind::Schemas, schema) => vec![schema],
            (Kind::Named, Self::Object(named)) => named.iter_mut().map(|(_, schema)| schema).collect(),
            _ => Vec::new(),
        })
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;

        impl<'de> Visitor<'de> for Any {
            type Value = Node;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON value")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Node, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = entries.next_entry()? {
                    members.push(member);
                }
                Ok(Node::Object(members))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
                let mut list = Vec::new();
                while let Some(item) = items.next_element()? {
                    list.push(item);
                }
                Ok(Node::List(list))
            }

            fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
                Ok(Node::Leaf(value.into()))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
                Ok(Node::Leaf(value.into()))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
                Ok(Node::Leaf(value.into()))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
                Ok(Node::Leaf(value.into()))
            }

            fn visit_str<E>(self, value: &str) -> Result<Node, E> {
                Ok(Node::Leaf(value.into()))
            }

            fn visit_unit<E>(self) -> Result<Node, E> {
                Ok(Node::Leaf(Value::Null))
            }
        }

        deserializer.deserialize_any(Any)
    }
}

impl Serialize for Node {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Object(members) => serializer.collect_map(members.iter().map(|(name, value)| (name, value))),
            Self::List(items) => serializer.collect_seq(items),
            Self::Leaf(value) => value.serialize(serializer),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn json(text: &str) -> Json {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn objects_are_closed_and_nothing_else_changes() {
        let open = r##"{"type":"object","properties":{"z":{"type":["object","null"],"properties":{}},
            "type":{"type":"string"},"a":{"type":"array","items":{"$ref":"#/$defs/n"}}},"required":["z"],"$defs":{"n":
            {"anyOf":[{"properties":{"x":{"const":{"type":"object"}}}},{"type":"number","minimum":1.5}]}}}"##;
        let expected = concat!(
            r#"{"type":"object","properties":{"z":{"type":["object","null"],"properties":{},"additionalProperties":false},"#,
            r##""type":{"type":"string"},"a":{"type":"array","items":{"$ref":"#/$defs/n"}}},"required":["z"],"##,
            r#""$defs":{"n":{"anyOf":[{"properties":{"x":{"const":{"type":"object"}}},"additionalProperties":false},"#,
            r#"{"type":"number","minimum":1.5}]}},"additionalProperties":false}"#,
        );
        assert_eq!(closed(&json(open)).unwrap().text(), expected);
        for whole in [expected, "{}", r#"{"type": "string",  "maxLength": 5}"#, "true"] {
            assert_eq!(closed(&json(whole)).unwrap().text(), whole, "as it was written");
        }
    }

    #[test]
    fn what_is_open_by_intent_cannot_be_closed() {
        for open in [
            r#"{"type":"object"}"#,
            r#"{"type":"object","properties":{},"additionalProperties":true}"#,
            r#"{"type":"object","properties":{"a":{}},"additionalProperties":{"type":"string"}}"#,
            r#"{"type":"array","items":{"type":"object"}}"#,
            r#"{"type":"object","properties":{"a":{}},"anyOf":[{"properties":{"b":{}}}]}"#,
            r#"{"allOf":[{"type":"object","properties":{"a":{}}},{"type":"object","properties":{"b":{}}}]}"#,
        ] {
            assert_eq!(closed(&json(open)), None, "{open}");
        }
    }

    #[test]
    fn strict_is_without_options() {
        let strict = concat!(
            r##"{"type":"object","properties":{"a":{"type":["string","null"]},"b":{"items":{"$ref":"#"}}},"##,
            r#""required":["b","a"],"additionalProperties":false}"#,
        );
        assert!(is_strict(&json(strict)));
        for lax in [
            strict.replace("[\"b\",\"a\"]", "[\"b\"]"),
            strict.replace(",\"additionalProperties\":false", ""),
            strict.replace("\"$ref\":\"#\"", "\"type\":\"object\",\"properties\":{}"),
            strict.replace("\"$ref\":\"#\"", "\"allOf\":[]"),
            r#"{"type":"string"}"#.to_owned(),
            r#"{"anyOf":[],"properties":{},"additionalProperties":false}"#.to_owned(),
            "{}".to_owned(),
        ] {
            assert!(!is_strict(&json(&lax)), "{lax}");
        }
    }

    proptest! {
        /// What is closed stays as it is, however often, and is so deep or so odd as it likes.
        #[test]
        fn once_closed_always_closed(depth in 0_usize..200, words in prop::collection::vec(
            prop::sample::select(vec!["type", "properties", "items", "anyOf", "allOf", "$defs", "object"]), 0..6,
        )) {
            let members: Vec<String> = words.iter().map(|word| format!("\"{word}\":{{\"properties\":{{}}}}")).collect();
            let text = "{\"items\":".repeat(depth) + &format!("{{{}}}", members.join(",")) + &"}".repeat(depth);
            let _ = is_strict(&json(&text));
            if let Some(once) = closed(&json(&text)) {
                let twice = closed(&once).map(|twice| twice.text().to_owned());
                prop_assert_eq!(twice.as_deref(), Some(once.text()));
            }
        }
    }
}
