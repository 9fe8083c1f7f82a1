//! What the targets are tried with: vendors of every dialect, and the readers of their answers for every kind of client.

use std::sync::OnceLock;

use bytes::Bytes;
use tidegate_core::config::{Config, Parameters, Target, Vendor};
use tidegate_core::dialect::chat::Stamp;
use tidegate_core::dialect::{Dialect, Prepared, Reader, Request, Surface, prepare};
use tidegate_core::time::Timestamp;

/// Of each dialect a vendor that can do everything; and for each one that can do little, and wants things its own way.
const CONFIG: &str = r#"
[vendors.openai]
dialect = "openai"
base_url = "http://127.0.0.1:1"

[vendors.anthropic]
dialect = "anthropic"
base_url = "http://127.0.0.1:1"

[vendors.gemini]
dialect = "gemini"
base_url = "http://127.0.0.1:1"

[vendors.odd]
dialect = "openai"
base_url = "http://127.0.0.1:1"
unsupported = ["n", "seed", "stream_options"]
rename = { max_tokens = "max_completion_tokens" }

[models]
"openai/upstream" = { price = { input = 1, output = 2 }, capabilities = ["tools", "vision", "json_schema", "prefill"] }
"anthropic/upstream" = { price = { input = 1, output = 2 }, capabilities = ["tools", "vision", "json_schema", "prefill"] }
"gemini/upstream" = { price = { input = 1, output = 2 }, capabilities = ["tools", "vision", "json_schema", "prefill"] }
"odd/upstream" = { capabilities = [] }
"anthropic/poor" = { capabilities = [] }
"gemini/poor" = { capabilities = [] }
"#;

/// Every target with its vendor.
pub(crate) fn targets() -> impl Iterator<Item = (&'static Vendor, &'static Target)> {
    static CHECKED: OnceLock<Config> = OnceLock::new();
    let read = || Config::from_toml(CONFIG, "fuzz.toml", &|_| None).expect("the config above is a good one");
    let config = CHECKED.get_or_init(read);
    config.targets.iter().map(|target| (&config.vendors[target.vendor.0], target))
}

/// Readers of whole answers, or of streams, from vendors of this dialect, for a client of each kind that they can serve.
pub(crate) fn readers(dialect: Dialect, stream: bool) -> &'static [(Surface, Reader)] {
    static READERS: [OnceLock<Vec<(Surface, Reader)>>; 6] = [const { OnceLock::new() }; 6];
    READERS[dialect as usize * 2 + usize::from(stream)].get_or_init(|| make_readers(dialect, stream))
}

fn make_readers(dialect: Dialect, stream: bool) -> Vec<(Surface, Reader)> {
    let of_dialect = |(vendor, _): &(&Vendor, &Target)| vendor.dialect == dialect;
    let (vendor, target) = targets().find(of_dialect).expect("there is one of each dialect");
    let readers = requests(stream).into_iter().filter_map(|request| {
        let prepared = prepare(&request, vendor, target, Parameters::Lenient).ok()?;
        Some((request.surface, reader(&request, &prepared, dialect, request.stream, target)))
    });
    readers.collect()
}

fn reader(request: &Request, prepared: &Prepared, dialect: Dialect, wants_usage: bool, target: &Target) -> Reader {
    let at = Timestamp(1_800_000_000_000);
    let price = target.price.as_ref().map(|tariff| tariff.at(at));
    let stamp = Stamp { request_id: "tg-1".to_owned(), at, price, wants_usage };
    Reader::new(request, prepared, dialect, &target.upstream, stamp)
}

/// A request of each kind.
fn requests(stream: bool) -> Vec<Request> {
    let texts = [
        (Surface::Chat, r#"{"model":"m","messages":[{"role":"user","content":"Hi"}]}"#),
        (Surface::Completions, r#"{"model":"m","prompt":"Hi"}"#),
        (Surface::Responses, r#"{"model":"m","input":"Hi"}"#),
        (Surface::Messages, r#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"Hi"}]}"#),
        (Surface::Embeddings, r#"{"model":"m","input":"Hi"}"#),
        (Surface::Embeddings, r#"{"model":"m","input":["Hi","there"],"encoding_format":"base64"}"#),
        (Surface::CountTokens, r#"{"model":"m","messages":[{"role":"user","content":"Hi"}]}"#),
    ];
    let read = |(surface, text): (Surface, &str)| {
        let text = if stream { text.replacen('{', r#"{"stream":true,"#, 1) } else { text.to_owned() };
        Request::read(surface, Bytes::from(text)).expect("the requests above are good ones")
    };
    texts.into_iter().map(read).filter(|request| request.stream == stream).collect()
}
