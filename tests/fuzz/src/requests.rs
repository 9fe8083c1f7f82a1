//! Requests of clients: what is read can be written for every vendor, or is refused.

use bytes::Bytes;
use http::HeaderMap;
use tidegate_core::config::{Parameters, Target, Vendor};
use tidegate_core::dialect::{BadRequest, chat::Abilities, chat::Unsupported, chat::Written};
use tidegate_core::dialect::{Dialect, Operation, Prepared, Request, Surface, Unfit, anthropic, chat, openai, prepare};
use tidegate_core::hints::Hints;

use crate::{check, world};

type Read = fn(&[u8]) -> Result<chat::Request, BadRequest>;
type Write = fn(&chat::Request, &str, &Abilities) -> Result<Written, Unsupported>;

/// Reads a request, with its hints, and makes it ready for each vendor.
pub(crate) fn request(surface: Surface, input: &[u8]) {
    let Ok(request) = Request::read(surface, Bytes::copy_from_slice(input)) else { return };
    check::json(request.body());
    let _ = Hints::read(&HeaderMap::new(), &request.controls);
    for (vendor, target) in world::targets() {
        let lenient = prepare(&request, vendor, target, Parameters::Lenient);
        let strict = prepare(&request, vendor, target, Parameters::Strict);
        match &lenient {
            Ok(prepared) if !prepared.dropped.is_empty() => {
                assert_eq!(strict, Err(Unfit::Unsupported(prepared.dropped[0].clone())));
            }
            _ => assert_eq!(strict, lenient),
        }
        if let Ok(prepared) = lenient {
            ready(&request, &prepared, vendor, target);
        }
    }
}

fn ready(request: &Request, prepared: &Prepared, vendor: &Vendor, target: &Target) {
    check::json(&prepared.body);
    if request.goes_through(vendor.dialect) {
        return;
    }
    check::object(&prepared.body);
    if !matches!(prepared.operation, Operation::Chat | Operation::Stream) {
        return;
    }
    match vendor.dialect {
        // What a vendor renames or lacks makes a request that we would not take, or write otherwise.
        _ if target.name.starts_with("odd/") || target.name.ends_with("/poor") => {}
        Dialect::OpenAi => reads_back(&prepared.body, target, openai::read_request, openai::write_request),
        Dialect::Anthropic => reads_back(&prepared.body, target, anthropic::read_request, anthropic::write_request),
        Dialect::Gemini => {}
    }
}

/// What we write is what we would read; and what we write of that stays as it is, however often it is read and written.
///
/// The first time it may still change: a temperature that is cut to the default is said once and then left out.
fn reads_back(body: &[u8], target: &Target, read: Read, write: Write) {
    let again = |body: &[u8]| {
        let chat = read(body).unwrap_or_else(|bad| panic!("{bad:?}: {}", body.escape_ascii()));
        let written = write(&chat, &target.upstream, &target.abilities);
        written.unwrap_or_else(|refused| panic!("{refused:?}: {}", body.escape_ascii())).body
    };
    let second = again(body);
    let third = again(&second);
    let same = second.iter().zip(&third).take_while(|(one, other)| one == other).count();
    let from = |text: &[u8]| text[same.saturating_sub(60)..].escape_ascii().to_string();
    assert!(second == third, "written: ..{}\nand then: ..{}", from(&second), from(&third));
}
