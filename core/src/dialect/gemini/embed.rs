//! Embeddings: `OpenAI`'s request written for Gemini, and its answer written for the client.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::wire::read_usage;
use crate::dialect::chat::{Stamp, Unsupported, Written};
use crate::dialect::fields::Fields;
use crate::dialect::{BadRequest, Operation};
use crate::price::Usage;

/// Why a request for embeddings cannot be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EmbedError {
    /// It is none: the caller's fault.
    Bad(BadRequest),
    /// Gemini cannot do it, though another vendor might.
    Unsupported(Unsupported),
}

impl From<BadRequest> for EmbedError {
    fn from(bad: BadRequest) -> Self {
        Self::Bad(bad)
    }
}

/// What an answer must be like to be one to the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EmbedShape {
    /// How many vectors.
    pub vectors: usize,
    /// Whether as little-endian floats in base64, which `OpenAI`'s own clients ask for, or as numbers.
    pub base64: bool,
}

/// A request as it came, with the texts still in JSON: they go on as they are.
struct Request<'a> {
    texts: Vec<&'a RawValue>,
    /// Whether the client sent one text and not a list.
    is_single: bool,
    dimensions: Option<u64>,
    base64: bool,
    dropped: Vec<String>,
}

#[derive(Serialize)]
struct Many<'a> {
    requests: Vec<One<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct One<'a> {
    model: &'a str,
    content: Content<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_dimensionality: Option<u64>,
}

#[derive(Serialize)]
struct Content<'a> {
    parts: [Text<'a>; 1],
}

#[derive(Serialize)]
struct Text<'a> {
    text: &'a RawValue,
}

/// What the answer to an `OpenAI` request for embeddings must be like.
///
/// # Errors
///
/// As for [`write_embed`].
pub fn embed_shape(body: &[u8]) -> Result<EmbedShape, EmbedError> {
    let request = Request::read(body)?;
    Ok(EmbedShape { vectors: request.texts.len(), base64: request.base64 })
}

/// Writes an `OpenAI` request for embeddings by the model `upstream`: one text for `embedContent`, a list for
/// `batchEmbedContents`.
///
/// # Errors
///
/// A body that is no such request, or texts that come as tokens of another vendor's.
pub fn write_embed(body: &[u8], upstream: &str) -> Result<(Operation, Written), EmbedError> {
    let request = Request::read(body)?;
    let model = format!("models/{upstream}");
    let one = |text| One {
        model: &model,
        content: Content { parts: [Text { text }] },
        output_dimensionality: request.dimensions,
    };
    let (operation, written) = match request.texts[..] {
        [text] if request.is_single => (Operation::Embed, serde_json::to_vec(&one(text))),
        _ => {
            let requests = request.texts.iter().map(|text| one(text)).collect();
            (Operation::EmbedMany, serde_json::to_vec(&Many { requests }))
        }
    };
    let body = written.expect("our own types always have a JSON form").into();
    Ok((operation, Written { body, dropped: request.dropped }))
}

impl<'a> Request<'a> {
    fn read(body: &'a [u8]) -> Result<Self, EmbedError> {
        let mut fields = Fields::read(body)?;
        let _model = fields.take_raw("model");
        let input: &RawValue = fields.require("input")?;
        let is_single = input.get().starts_with('"');
        let texts = if is_single { vec![input] } else { list(input)? };
        let dimensions = fields.take("dimensions")?;
        let base64 = match fields.take::<String>("encoding_format")?.as_deref() {
            None | Some("float") => false,
            Some("base64") => true,
            Some(_) => return Err(bad("`encoding_format` is `float` or `base64`.", "encoding_format").into()),
        };
        let dropped = fields.rest().map(|(name, _)| name).collect();
        Ok(Self { texts, is_single, dimensions, base64, dropped })
    }
}

fn list(input: &RawValue) -> Result<Vec<&RawValue>, EmbedError> {
    let wrong = || bad("`input` is a text, or a list of at least one.", "input");
    let texts: Vec<&RawValue> = serde_json::from_str(input.get()).map_err(|_| wrong())?;
    match texts.iter().find(|text| !text.get().starts_with('"')) {
        // A list of tokens, or of lists of them.
        Some(tokens) if tokens.get().starts_with(|first: char| first == '[' || first.is_ascii_digit()) => {
            Err(EmbedError::Unsupported(Unsupported("input.tokens".to_owned())))
        }
        Some(_) => Err(wrong().into()),
        None if texts.is_empty() => Err(wrong().into()),
        None => Ok(texts),
    }
}

fn bad(message: &str, param: &'static str) -> BadRequest {
    BadRequest { message: message.to_owned(), param: Some(param) }
}

/// The answer of `embedContent` or of `batchEmbedContents`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer<'a> {
    #[serde(borrow, default)]
    embedding: Option<Embedding<'a>>,
    #[serde(borrow, default)]
    embeddings: Option<Vec<Embedding<'a>>>,
    #[serde(borrow, default)]
    usage_metadata: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Embedding<'a> {
    #[serde(borrow)]
    values: &'a RawValue,
}

#[derive(Serialize)]
struct List<'a> {
    object: &'static str,
    data: Vec<Vector>,
    model: &'a str,
    usage: ListUsage,
}

#[derive(Serialize)]
struct Vector {
    object: &'static str,
    index: usize,
    embedding: Box<RawValue>,
}

#[derive(Serialize)]
struct ListUsage {
    prompt_tokens: u64,
    total_tokens: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    cost: Option<Box<RawValue>>,
}

/// Writes Gemini's answer as `OpenAI`'s list, by `model`; `None` if it is not an answer with as many vectors as were asked for.
/// Where Gemini counts no tokens, none are known, and the list says 0, as `OpenAI`'s clients demand a number.
pub fn read_embed(body: &[u8], shape: EmbedShape, model: &str, stamp: &Stamp) -> Option<(Bytes, Option<Usage>)> {
    let answer: Answer<'_> = serde_json::from_slice(body).ok()?;
    let embeddings = answer.embeddings.unwrap_or_else(|| answer.embedding.into_iter().collect());
    if embeddings.len() != shape.vectors {
        return None;
    }
    let mut data = Vec::with_capacity(embeddings.len());
    for (index, embedding) in embeddings.iter().enumerate() {
        let embedding = vector(embedding.values, shape.base64)?;
        data.push(Vector { object: "embedding", index, embedding });
    }
    let usage = read_usage(answer.usage_metadata);
    let tokens = usage.map_or(0, |usage| usage.input);
    let cost = usage.and_then(|usage| stamp.cost(usage)).map(|cost| raw(cost.to_string()));
    let usage_written = ListUsage { prompt_tokens: tokens, total_tokens: tokens, cost };
    let list = List { object: "list", data, model, usage: usage_written };
    let written = serde_json::to_vec(&list).expect("our own types always have a JSON form");
    Some((written.into(), usage))
}

/// One vector as the client wants it: the vendor's own digits, or four bytes a number.
fn vector(values: &RawValue, base64: bool) -> Option<Box<RawValue>> {
    let numbers: Vec<f32> = serde_json::from_str(values.get()).ok()?;
    if numbers.is_empty() {
        return None;
    }
    if !base64 {
        return Some(values.to_owned());
    }
    let bytes: Vec<u8> = numbers.into_iter().flat_map(f32::to_le_bytes).collect();
    Some(raw(format!("\"{}\"", in_base64(&bytes))))
}

/// JSON that was put together here.
fn raw(json: String) -> Box<RawValue> {
    RawValue::from_string(json).expect("a decimal number, and base64 in quotes, are JSON")
}

/// RFC 4648's base64, with padding.
fn in_base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let byte = |at: usize| u32::from(group.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..4 {
            let index = (bits >> (18 - 6 * digit)) & 63;
            text.push(if digit > group.len() { '=' } else { char::from(DIGITS[index as usize]) });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::price::{Picodollars, Price};
    use crate::time::Timestamp;

    const ONE: &str = include_str!("../../../../tests/data/golden/gemini/embed_one.json");
    const MANY: &str = include_str!("../../../../tests/data/golden/gemini/embed_many.json");

    fn stamp(per_token: Option<u64>) -> Stamp {
        let price = per_token.map(|input| Price { input: Picodollars(input), ..Price::default() });
        Stamp { request_id: "r".into(), at: Timestamp(0), price, wants_usage: false }
    }

    fn shape(vectors: usize, base64: bool) -> EmbedShape {
        EmbedShape { vectors, base64 }
    }

    fn written(body: &Value) -> (Operation, Value, Vec<String>) {
        let (operation, written) = write_embed(body.to_string().as_bytes(), "gemini-embedding-2").unwrap();
        (operation, serde_json::from_slice(&written.body).unwrap(), written.dropped)
    }

    fn read(body: &str, shape: EmbedShape, per_token: Option<u64>) -> Option<(Value, Option<Usage>)> {
        let (body, usage) = read_embed(body.as_bytes(), shape, "embed", &stamp(per_token))?;
        Some((serde_json::from_slice(&body).unwrap(), usage))
    }

    #[test]
    fn one_text_or_a_list_of_them() {
        let one = json!({"model": "m", "input": "Grüezi \"du\"", "dimensions": 768, "user": "u", "encoding_format": "base64"});
        let request =
            |text: &str| json!({"model": "models/gemini-embedding-2", "content": {"parts": [{"text": text}]}});
        let mut expected = request("Grüezi \"du\"");
        expected["outputDimensionality"] = json!(768);
        assert_eq!(written(&one), (Operation::Embed, expected, vec!["user".to_owned()]));
        assert_eq!(embed_shape(one.to_string().as_bytes()), Ok(shape(1, true)));

        let many = json!({"model": "m", "input": ["a", "b"]});
        let requests = json!({"requests": [request("a"), request("b")]});
        assert_eq!(written(&many), (Operation::EmbedMany, requests, Vec::new()));
        assert_eq!(embed_shape(many.to_string().as_bytes()), Ok(shape(2, false)));
        let list_of_one = json!({"model": "m", "input": ["a"], "encoding_format": "float"});
        assert_eq!(written(&list_of_one).0, Operation::EmbedMany);
    }

    #[test]
    fn tokens_are_for_another_vendor_and_nonsense_for_none() {
        let refused =
            |input: Value| write_embed(json!({"model": "m", "input": input}).to_string().as_bytes(), "x").unwrap_err();
        let tokens = EmbedError::Unsupported(Unsupported("input.tokens".into()));
        assert_eq!(refused(json!([1, 2])), tokens);
        assert_eq!(refused(json!([[1], [2]])), tokens);
        for input in [json!([]), json!(7), json!({"text": "a"}), json!(["a", null]), json!(null)] {
            assert!(matches!(refused(input.clone()), EmbedError::Bad(bad) if bad.param == Some("input")), "{input}");
        }
        let format = write_embed(br#"{"input":"a","encoding_format":"int8"}"#, "x").unwrap_err();
        assert!(matches!(format, EmbedError::Bad(bad) if bad.param == Some("encoding_format")));
    }

    #[test]
    fn vectors_as_numbers() {
        let usage = Usage { input: 7, ..Usage::default() };
        let expected = json!({
            "object": "list",
            "data": [{"object": "embedding", "index": 0, "embedding": [0.5, -0.25, 0.013_168_523]}],
            "model": "embed",
            "usage": {"prompt_tokens": 7, "total_tokens": 7, "cost": 0.000_001_05},
        });
        assert_eq!(read(ONE, shape(1, false), Some(150_000)), Some((expected, Some(usage))));
        let (list, usage) = read(MANY, shape(2, false), Some(150_000)).unwrap();
        assert_eq!(list["data"][1], json!({"object": "embedding", "index": 1, "embedding": [-0.5, 0.002]}));
        assert_eq!((&list["usage"], usage), (&json!({"prompt_tokens": 0, "total_tokens": 0}), None));
        let (list, _) = read(ONE, shape(1, false), None).unwrap();
        assert_eq!(list["usage"], json!({"prompt_tokens": 7, "total_tokens": 7}), "an unknown price is no cost");
    }

    /// The text is what Python's `base64.b64encode(struct.pack("<2f", …))` makes of these vectors.
    #[test]
    fn vectors_as_bytes() {
        let (list, _) = read(MANY, shape(2, true), None).unwrap();
        assert_eq!(list["data"][0]["embedding"], json!("AACAPwAAAAA="));
        assert_eq!(list["data"][1]["embedding"], json!("AAAAv28SAzs="));
    }

    #[test]
    fn base64_as_in_its_rfc() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(in_base64(bytes.as_bytes()), text);
        }
        assert_eq!(in_base64(&[0xfb, 0xff, 0xfe]), "+//+");
    }

    #[test]
    fn as_many_vectors_as_were_asked_for() {
        assert_eq!(read(MANY, shape(3, false), None), None);
        assert_eq!(read(ONE, shape(2, false), None), None);
        for body in [
            r#"{"embedding":{"values":[]}}"#,
            r#"{"embedding":{"values":["a"]}}"#,
            r#"{"embedding":{}}"#,
            "{}",
            "[1",
            "",
        ] {
            assert_eq!(read(body, shape(1, false), None), None, "{body}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(noise in prop::collection::vec(any::<u8>(), 0..100), cut in 0..MANY.len(), base64: bool) {
            for body in [&noise[..], &MANY.as_bytes()[..cut]] {
                let _ = (write_embed(body, "x"), embed_shape(body));
                prop_assert!(read_embed(body, shape(2, base64), "m", &stamp(None)).is_none() || cut + 1 >= MANY.len());
            }
        }

        /// All bits of a vector come through.
        #[test]
        fn bytes_are_the_numbers(values in prop::collection::vec(-1.0_f32..1.0, 1..20)) {
            let body = json!({"embedding": {"values": values}}).to_string();
            let (list, _) = read(&body, shape(1, true), None).unwrap();
            let text = list["data"][0]["embedding"].as_str().unwrap().to_owned();
            prop_assert_eq!(text, in_base64(&values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>()));
        }
    }
}
