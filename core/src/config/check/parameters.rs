//! `vendors.NAME.unsupported` and `vendors.NAME.rename`: how a vendor's parameters differ from those of its dialect.

use crate::config::reader::{Field, Refusal, Table};
use crate::config::values::text;

/// Reads both: what the vendor refuses in alphabetical order, and what it calls otherwise as (the client's name, its own).
pub(super) fn read(table: &mut Table<'_>) -> (Vec<String>, Vec<(String, String)>) {
    let mut unsupported = table.field("unsupported").map(|field| unsupported(&field)).unwrap_or_default();
    let rename = table.field("rename").map(|field| rename(&field, &unsupported)).unwrap_or_default();
    unsupported.sort();
    (unsupported, rename)
}

fn unsupported(field: &Field<'_>) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for item in field.items().unwrap_or_default() {
        let new = item.read(|item| match droppable(text(item)?)? {
            name if found.iter().any(|known| known == name) => {
                Err(Refusal::new("this parameter stands here twice", "Remove one of them."))
            }
            name => Ok(name.to_owned()),
        });
        found.extend(new);
    }
    found
}

/// Reads new names. No name may be on both sides, nor among the `unsupported`: what is sent would depend on which is
/// applied first.
fn rename(field: &Field<'_>, unsupported: &[String]) -> Vec<(String, String)> {
    let entries = field.entries();
    let mut found: Vec<(String, String)> = Vec::new();
    for (from, to) in &entries {
        let new = to.read(|field| {
            let to = parameter(text(field)?)?;
            let from = parameter(from)?;
            if entries.iter().any(|(from, _)| *from == to) {
                return Err(Refusal::new(format!("`{to}` is renamed as well"), "Write the last name at once."));
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
    found
}

/// The name of a parameter that can be left out of a request.
fn droppable(name: &str) -> Result<&str, Refusal> {
    let capability = match parameter(name)? {
        "tools" => "tools",
        "response_format" => "json_schema",
        name => return Ok(name),
    };
    let remedy = format!("Set the `capabilities` of the vendor's models, without \"{capability}\".");
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
