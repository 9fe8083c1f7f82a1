//! `unsupported` and `rename` of a vendor, and of a model beyond its vendor's: how parameters differ from those of the dialect.

use crate::config::reader::{Field, Refusal, Table};
use crate::config::values::{integer, number, text};
use crate::config::{DefaultParameters, Vendor};

/// New names, as (the client's, the vendor's).
type Renamed = (String, String);

/// Reads both: what is refused in alphabetical order, and what is called otherwise. A model has them from its `vendor`, and
/// may add to the first and change the second.
pub(super) fn read(table: &mut Table<'_>, vendor: Option<&Vendor>) -> (Vec<String>, Vec<Renamed>) {
    let (refused, renamed) = vendor.map_or((&[][..], &[][..]), |vendor| (&vendor.unsupported[..], &vendor.rename[..]));
    let mut unsupported = table.field("unsupported").map(|field| unsupported(&field, renamed)).unwrap_or_default();
    let inherited: Vec<_> = refused.iter().filter(|name| !unsupported.contains(name)).cloned().collect();
    unsupported.extend(inherited);
    let rename = table.field("rename").map_or_else(|| renamed.to_vec(), |field| rename(&field, &unsupported, renamed));
    unsupported.sort();
    (unsupported, rename)
}

/// What a model is asked with where the client says nothing of it.
pub(super) fn defaults(table: &mut Table<'_>) -> DefaultParameters {
    DefaultParameters {
        temperature: table.read("temperature", number(2)),
        top_p: table.read("top_p", number(1)),
        max_tokens: table.read("max_tokens", integer(1..=u32::MAX)),
    }
}

fn unsupported(field: &Field<'_>, renamed: &[Renamed]) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for item in field.items().unwrap_or_default() {
        let new = item.read(|item| match droppable(text(item)?)? {
            name if found.iter().any(|known| known == name) => {
                Err(Refusal::new("this parameter stands here twice", "Remove one of them."))
            }
            name if renamed.iter().any(|(from, to)| from == name || to == name) => {
                Err(Refusal::new(format!("`{name}` stands in the vendor's `rename`"), "Remove it there, or here."))
            }
            name => Ok(name.to_owned()),
        });
        found.extend(new);
    }
    found
}

/// Reads new names. No name may be on both sides, nor among the `unsupported`: what is sent would depend on which is
/// applied first. A vendor's new name for a parameter gives way to the model's.
fn rename(field: &Field<'_>, unsupported: &[String], inherited: &[Renamed]) -> Vec<Renamed> {
    let entries = field.entries();
    let remains = |(from, _): &&Renamed| entries.iter().all(|(name, _)| name != from);
    let inherited: Vec<Renamed> = inherited.iter().filter(remains).cloned().collect();
    let mut found = inherited.clone();
    for (from, to) in &entries {
        let new = to.read(|field| {
            let to = parameter(text(field)?)?;
            let from = parameter(from)?;
            let mut names =
                entries.iter().map(|(from, _)| *from).chain(inherited.iter().map(|(from, _)| from.as_str()));
            if names.any(|name| name == to) {
                return Err(Refusal::new(format!("`{to}` is renamed as well"), "Write the last name at once."));
            }
            if let Some((first, _)) = inherited.iter().find(|(_, to)| to == from) {
                let problem = format!("the vendor's `rename` makes `{from}` of `{first}`");
                return Err(Refusal::new(problem, format!("Write `{first}` here, with its last name.")));
            }
            if let Some((twin, _)) = found.iter().find(|(_, other)| other == to) {
                return Err(Refusal::new(format!("`{twin}` has this name already"), "Remove one of them."));
            }
            if let Some(name) = unsupported.iter().find(|name| *name == from || *name == to) {
                let remedy = "Remove it there, or here.";
                return Err(Refusal::new(format!("`{name}` stands in `unsupported`"), remedy));
            }
            Ok((from.to_owned(), to.to_owned()))
        });
        found.extend(new);
    }
    found.sort();
    found
}

/// The name of a parameter that can be left out of a request.
fn droppable(name: &str) -> Result<&str, Refusal> {
    let capability = match parameter(name)? {
        "tools" => "tools",
        "response_format" => "json_schema",
        name => return Ok(name),
    };
    let remedy = format!("Set the `capabilities` of the models, without \"{capability}\".");
    Err(Refusal::new("without it the answer would be another one", remedy))
}

/// The name of a parameter that is not the gateway's own affair.
fn parameter(name: &str) -> Result<&str, Refusal> {
    const LENGTH_MAX: usize = 100;
    if ["model", "messages", "stream"].contains(&name) {
        return Err(Refusal::new(format!("no request is without `{name}`"), "Remove it here."));
    }
    let named = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
    if name.is_empty() || name.len() > LENGTH_MAX || !named {
        let remedy = "Write a top-level key of a request, such as \"logit_bias\".";
        return Err(Refusal::new("not the name of a parameter", remedy));
    }
    Ok(name)
}
