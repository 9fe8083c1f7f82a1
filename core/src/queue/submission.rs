//! A request on its way into the queue, and out of it again: as it came, but that its answer is to be whole.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use memchr::memchr;
use serde::{Deserialize, Serialize};

use crate::dialect::Surface;
use crate::hints::Hints;

/// A request that is to be kept for later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submission {
    /// The name of the client that asks; `None` where anybody may.
    pub(crate) client: Option<String>,
    pub(crate) surface: Surface,
    /// What it asked for, by the client's name for it.
    pub(crate) model: String,
    /// What else it asks of the gateway.
    pub(crate) hints: Hints,
    /// The client's own name for the request: given twice, it is one job.
    pub(crate) idempotency_key: Option<String>,
    /// Its hints, and what a vendor of its dialect is sent along. No key is among them.
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// All of it but the body, as it is stored and sent.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    client: Option<String>,
    path: String,
    model: String,
    #[serde(default, skip_serializing_if = "is_default")]
    hints: Hints,
    idempotency_key: Option<String>,
    headers: Vec<(String, String)>,
}

fn is_default(hints: &Hints) -> bool {
    *hints == Hints::default()
}

impl Submission {
    /// One that stands for another, of which only so much is known.
    pub(crate) fn again(surface: Surface, model: &str) -> Self {
        let (client, idempotency_key, headers, body) = (None, None, HeaderMap::new(), Bytes::new());
        Self { client, surface, model: model.to_owned(), hints: Hints::default(), idempotency_key, headers, body }
    }

    /// As bytes: a line of JSON, then the body.
    pub fn to_bytes(&self) -> Vec<u8> {
        [&self.head()[..], &self.body].concat()
    }

    /// All of its bytes but the body.
    pub(super) fn head(&self) -> Vec<u8> {
        let text = |value: &HeaderValue| value.to_str().map(str::to_owned).ok();
        let headers = self.headers.iter().filter_map(|(name, value)| Some((name.as_str().to_owned(), text(value)?)));
        let head = Head {
            client: self.client.clone(),
            path: self.surface.path().to_owned(),
            model: self.model.clone(),
            hints: self.hints.clone(),
            idempotency_key: self.idempotency_key.clone(),
            headers: headers.collect(),
        };
        let mut bytes = serde_json::to_vec(&head).expect("our own types always have a JSON form");
        bytes.push(b'\n');
        bytes
    }

    /// What [`to_bytes`](Self::to_bytes) made; `None` if it is anything else.
    pub fn from_bytes(bytes: &Bytes) -> Option<Self> {
        let end = memchr(b'\n', bytes)?;
        let head: Head = serde_json::from_slice(&bytes[..end]).ok()?;
        let header = |(name, value): (String, String)| {
            Some((HeaderName::from_bytes(name.as_bytes()).ok()?, HeaderValue::from_str(&value).ok()?))
        };
        Some(Self {
            client: head.client,
            surface: Surface::ALL.into_iter().find(|surface| surface.path() == head.path)?,
            model: head.model,
            hints: head.hints,
            idempotency_key: head.idempotency_key,
            headers: head.headers.into_iter().map(header).collect::<Option<_>>()?,
            body: bytes.slice(end + 1..),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn survives_being_stored_whatever_its_body_is() {
        let headers = [("x-tidegate-priority", "1"), ("anthropic-beta", "a,b")]
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        for (client, key, body) in [(Some("team"), Some("k\"1"), "{\"a\":\n1}"), (None, None, "")] {
            let submission = Submission {
                client: client.map(str::to_owned),
                surface: Surface::Messages,
                model: "de\nfault".to_owned(),
                hints: Hints { order: vec!["a".to_owned()], ..Hints::default() },
                idempotency_key: key.map(str::to_owned),
                headers: headers.clone().into_iter().collect(),
                body: Bytes::from_static(body.as_bytes()),
            };
            assert_eq!(Submission::from_bytes(&submission.to_bytes().into()), Some(submission));
        }
        for broken in ["", "{}", "{}\n", "\n{}", "no JSON\n{}"] {
            assert_eq!(Submission::from_bytes(&Bytes::from(broken)), None, "{broken}");
        }
    }
}
