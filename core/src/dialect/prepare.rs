//! A client's request, made ready for one target: passed through where both speak one dialect, written anew where they do
//! not, and in both cases without what the target's vendor is known to refuse.

use bytes::Bytes;
use memchr::memmem;
use serde_json::value::RawValue;

use super::chat::{self, Abilities, Content, Format, Part, Unsupported, Written};
use super::fields::Fields;
use super::{BadRequest, Dialect, Operation, Request, Surface, anthropic, gemini, openai};
use crate::config::{Parameters, Target, Vendor};

/// A request as one target is to be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepared {
    /// What it is asked.
    pub operation: Operation,
    /// The body to send.
    pub body: Bytes,
    /// The client's parameters that were left out, by its own names for them.
    pub dropped: Vec<String>,
}

/// Why a target cannot be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unfit {
    /// It cannot honour this, and it must not be left out.
    Unsupported(String),
    /// The request cannot be understood, whoever is asked.
    Bad(BadRequest),
}

/// Makes a request ready for a target.
///
/// # Errors
///
/// Why the target cannot be asked: another may well be able to.
pub fn prepare(request: &Request, vendor: &Vendor, target: &Target, parameters: Parameters) -> Result<Prepared, Unfit> {
    let mut prepared = if request.goes_through(vendor.dialect) {
        check_abilities(request, &target.abilities)?;
        let body = request.body_for(&target.upstream);
        Prepared { operation: request.operation(), body, dropped: Vec::new() }
    } else {
        translate(request, vendor.dialect, target)?
    };
    avoid_quirks(&mut prepared, request, vendor)?;
    match prepared.dropped.first() {
        Some(name) if parameters == Parameters::Strict => Err(Unfit::Unsupported(name.clone())),
        _ => Ok(prepared),
    }
}

fn translate(request: &Request, dialect: Dialect, target: &Target) -> Result<Prepared, Unfit> {
    let missing = |what: &str| Err(Unfit::Unsupported(what.to_owned()));
    let abilities = &target.abilities;
    let upstream = &target.upstream;
    let written = match (request.surface, dialect) {
        (Surface::Embeddings, Dialect::Gemini) => {
            let (operation, Written { body, dropped }) = gemini::write_embed(request.body(), upstream)?;
            return Ok(Prepared { operation, body, dropped });
        }
        (Surface::Embeddings, _) => return missing("embeddings"),
        (Surface::CountTokens, Dialect::Gemini) => gemini::write_count(request.chat()?, upstream, abilities)?,
        (Surface::CountTokens, _) => return missing("count_tokens"),
        (_, Dialect::OpenAi) => openai::write_request(request.chat()?, upstream, abilities)?,
        (_, Dialect::Anthropic) => anthropic::write_request(request.chat()?, upstream, abilities)?,
        (_, Dialect::Gemini) => gemini::write_request(request.chat()?, abilities)?,
    };
    Ok(Prepared { operation: request.operation(), body: written.body, dropped: written.dropped })
}

/// What passes through unread is read after all where the target lacks something that it might ask for.
fn check_abilities(request: &Request, abilities: &Abilities) -> Result<(), Unsupported> {
    if (abilities.tools && abilities.vision && abilities.json_schema) || !request.is_chat() {
        return Ok(());
    }
    // A request that cannot be understood is its vendor's to judge: it knows its own dialect best.
    let Ok(chat) = request.chat() else { return Ok(()) };
    let lacking = if !abilities.tools && !chat.tools.is_empty() {
        "tools"
    } else if !abilities.vision && has_image(chat) {
        "vision"
    } else if !abilities.json_schema && matches!(chat.format, Some(Format::Schema { .. })) {
        "json_schema"
    } else {
        return Ok(());
    };
    Err(Unsupported(lacking.to_owned()))
}

fn has_image(chat: &chat::Request) -> bool {
    fn any(parts: &[Part]) -> bool {
        parts.iter().any(|part| match &part.content {
            Content::Image { .. } => true,
            Content::ToolResult { parts, .. } => any(parts),
            _ => false,
        })
    }
    chat.messages.iter().any(|message| any(&message.parts))
}

/// Leaves out what the vendor is known to refuse, and calls things what it calls them.
fn avoid_quirks(prepared: &mut Prepared, request: &Request, vendor: &Vendor) -> Result<(), Unsupported> {
    let renamed = vendor.rename.iter().map(|(name, _)| name);
    // Most requests have none of them: a look at the bytes costs next to nothing, and reading the body does not.
    if !vendor.unsupported.iter().chain(renamed).any(|name| mentions(&prepared.body, name)) {
        return Ok(());
    }
    let Ok(fields) = Fields::read(&prepared.body) else { return Ok(()) };
    let fields: Vec<_> = fields.all().collect();
    let mut body = Vec::with_capacity(prepared.body.len() + 16);
    for (name, value) in &fields {
        let theirs = vendor.rename.iter().find(|(ours, _)| ours == name).map(|(_, theirs)| theirs);
        if vendor.unsupported.contains(name) {
            match (name.as_str(), value.get()) {
                (_, "null") | ("n", "1") => {}
                // One answer is not what a client wants that asks for several.
                ("n", _) => return Err(Unsupported(name.clone())),
                // What the gateway itself has added is nothing that the client misses.
                _ if mentions(request.body(), name) => prepared.dropped.push(name.clone()),
                _ => {}
            }
        } else if theirs.is_none_or(|theirs| fields.iter().all(|(other, _)| other != theirs)) {
            // Said by both names, the vendor's own counts.
            write_member(&mut body, theirs.unwrap_or(name), value);
        }
    }
    finish_object(&mut body);
    prepared.body = body.into();
    Ok(())
}

/// Whether the body may have a member of this name: it has, or a string in it happens to read so.
fn mentions(body: &[u8], name: &str) -> bool {
    memmem::find_iter(body, name.as_bytes()).any(|at| {
        at.checked_sub(1).and_then(|before| body.get(before)) == Some(&b'"') && body.get(at + name.len()) == Some(&b'"')
    })
}

/// Adds a member to an object that is being written.
pub(super) fn write_member(body: &mut Vec<u8>, name: &str, value: &RawValue) {
    body.push(if body.is_empty() { b'{' } else { b',' });
    serde_json::to_writer(&mut *body, name).expect("a string always has a JSON form");
    body.push(b':');
    body.extend_from_slice(value.get().as_bytes());
}

/// Ends an object that was written member by member.
pub(super) fn finish_object(body: &mut Vec<u8>) {
    if body.is_empty() {
        body.push(b'{');
    }
    body.push(b'}');
}

impl From<Unsupported> for Unfit {
    fn from(Unsupported(what): Unsupported) -> Self {
        Self::Unsupported(what)
    }
}

impl From<gemini::EmbedError> for Unfit {
    fn from(error: gemini::EmbedError) -> Self {
        match error {
            gemini::EmbedError::Bad(bad) => bad.into(),
            gemini::EmbedError::Unsupported(unsupported) => unsupported.into(),
        }
    }
}

impl From<BadRequest> for Unfit {
    fn from(bad: BadRequest) -> Self {
        Self::Bad(bad)
    }
}
