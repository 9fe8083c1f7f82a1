//! What a client of the world was answered.

use bytes::Bytes;
use http::header::RETRY_AFTER;
use http::{HeaderMap, StatusCode};
use serde_json::Value;

use crate::dialect::sse::Splitter;
use crate::reply::{ATTEMPTS, Head, Reply, TARGET};
use crate::time::Timestamp;

/// An answer, as far as it has come.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    /// None before the answer has begun.
    pub status: Option<StatusCode>,
    /// Its headers.
    pub headers: HeaderMap,
    /// The body of a whole reply, or everything that was written of a stream.
    pub body: Vec<u8>,
    /// Whether it came as a stream.
    pub streamed: bool,
    /// When it began.
    pub began_at: Option<Timestamp>,
    /// When there was more to read of it than comments.
    pub spoke_at: Option<Timestamp>,
}

impl Answer {
    pub(super) fn whole(reply: Reply, now: Timestamp) -> Self {
        let body = reply.body.to_vec();
        Self {
            status: Some(reply.status),
            headers: reply.headers,
            body,
            streamed: false,
            began_at: Some(now),
            spoke_at: Some(now),
        }
    }

    pub(super) fn begun(head: Head, now: Timestamp) -> Self {
        let body = Vec::new();
        Self {
            status: Some(head.status),
            headers: head.headers,
            body,
            streamed: true,
            began_at: Some(now),
            spoke_at: None,
        }
    }

    /// A header, or nothing.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("")
    }

    /// The body of a whole reply as JSON; null if it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The data of every whole event of a stream, and the bytes behind the last.
    pub fn events(&self) -> (Vec<String>, Vec<u8>) {
        let mut splitter = Splitter::default();
        splitter.push(Bytes::copy_from_slice(&self.body));
        let mut events = Vec::new();
        while let Ok(Some(block)) = splitter.next_block() {
            events.extend(block.data.map(|data| String::from_utf8_lossy(&data).into_owned()));
        }
        (events, splitter.rest().to_vec())
    }

    /// `200 a/m attempts=2`, and for a refusal its code and when to come back.
    pub(super) fn summary(&self) -> String {
        let status = self.status.map_or(0, |status| status.as_u16());
        let mut words = vec![status.to_string()];
        words.extend([self.header(TARGET.as_str()).to_owned()].into_iter().filter(|target| !target.is_empty()));
        words.push(format!("attempts={}", self.header(ATTEMPTS.as_str())));
        if !self.streamed {
            words.extend(self.json()["error"]["code"].as_str().map(str::to_owned));
        }
        let retry_after = self.header(RETRY_AFTER.as_str());
        words.extend((!retry_after.is_empty()).then(|| format!("retry-after={retry_after}")));
        words.join(" ")
    }

    /// What was said in a stream and how it ended: `1 2 3 [DONE]`, or `1 2 error=stream_interrupted`.
    pub fn stream_summary(&self) -> Option<String> {
        if !self.streamed {
            return None;
        }
        let (events, rest) = self.events();
        let mut words = Vec::new();
        for event in events {
            if event == "[DONE]" {
                words.push(event);
                continue;
            }
            let chunk: Value = serde_json::from_str(&event).unwrap_or_default();
            words.extend(chunk["choices"][0]["delta"]["content"].as_str().map(|text| text.trim().to_owned()));
            words.extend(chunk["error"]["code"].as_str().map(|code| format!("error={code}")));
            words.extend(chunk["usage"]["completion_tokens"].as_u64().map(|tokens| format!("usage={tokens}")));
        }
        words.extend((!rest.is_empty()).then(|| "torn".to_owned()));
        words.retain(|word| !word.is_empty());
        Some(words.join(" "))
    }
}
