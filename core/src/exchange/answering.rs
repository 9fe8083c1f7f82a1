//! What the client is sent: one reply, or one stream with what belongs into its head.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};

use super::live::Whole;
use super::{Exchange, State};
use crate::classify::Outcome;
use crate::config::TargetId;
use crate::drive::Action;
use crate::price::Picodollars;
use crate::quota;
use crate::record::How;
use crate::reply::{self, ApiError, Head, Reply};

impl Exchange {
    /// Answers with what the vendor said.
    pub(super) fn answer(&mut self, whole: Whole, target: TargetId, cost: Option<Picodollars>) {
        let (status, theirs, body) = match whole {
            Whole::Reply { status, headers, body } => (status, headers, body),
            Whole::Error(error) => return self.refuse(&error, Some(target)),
        };
        if self.keep_alive.has_begun {
            // Only a refusal is whole where a stream was asked for.
            let Some(event) = reply::as_error_event(self.request.surface, &body) else {
                return self.refuse(&ApiError::unexplained(status), Some(target));
            };
            self.write(event);
            self.how = How::Refused;
            self.state = State::Over;
            return;
        }
        let mut headers = HeaderMap::with_capacity(8);
        if let Some(content_type) = theirs.get(http::header::CONTENT_TYPE) {
            headers.insert(http::header::CONTENT_TYPE, content_type.clone());
        }
        if status.is_success() {
            // What a hedge that was dropped has cost, nobody says.
            let is_known = self.tried.iter().all(|ending| ending.outcome != Outcome::Neutral);
            let cost = cost.filter(|_| is_known);
            let cost = cost.map_or(HeaderValue::from_static("unknown"), |cost| header_value(&cost.to_string()));
            headers.insert(reply::COST, cost);
        }
        self.put_headers(&mut headers, Some(target));
        self.reply(Reply { status, headers, body });
    }

    /// Answers with an error: as a reply, or within the stream if that has begun.
    pub(super) fn refuse(&mut self, error: &ApiError, target: Option<TargetId>) {
        self.how = How::Refused;
        if self.keep_alive.has_begun {
            self.write(error.event(self.request.surface, &self.request_id));
            self.state = State::Over;
            return;
        }
        let mut reply = error.reply(self.request.surface.dialect(), &self.request_id);
        self.put_headers(&mut reply.headers, target);
        self.reply(reply);
    }

    pub(super) fn reply(&mut self, reply: Reply) {
        self.status = Some(reply.status.as_u16());
        self.actions.push_back(Action::Reply(Box::new(reply)));
        self.state = State::Over;
    }

    /// Begins the client's stream, if a comment has not begun it before: then nobody had served yet, and the head says so.
    pub(super) fn begin_stream(&mut self, target: Option<TargetId>) {
        if !self.keep_alive.has_begun {
            let mut headers = HeaderMap::new();
            self.put_headers(&mut headers, target);
            self.begin_stream_with(headers);
        }
    }

    pub(super) fn begin_stream_with(&mut self, headers: HeaderMap) {
        if !std::mem::replace(&mut self.keep_alive.has_begun, true) {
            let mut head = Head::event_stream();
            head.headers.extend(headers);
            self.status = Some(head.status.as_u16());
            self.actions.push_back(Action::Relay(Box::new(head)));
        }
    }

    /// Passes bytes on in the client's stream.
    pub(super) fn write(&mut self, bytes: Bytes) {
        if bytes.is_empty() {
            return;
        }
        self.begin_stream(None);
        self.gather(&bytes);
        self.keep_alive.note(self.now);
        self.actions.push_back(Action::Write(bytes));
    }

    pub(super) fn put_headers(&self, headers: &mut HeaderMap, target: Option<TargetId>) {
        if let Some(target) = target {
            headers.insert(reply::TARGET, header_value(&self.config.target(target).name));
            headers.extend(self.dropped().map(|names| (reply::DROPPED, names)));
            if !self.quota.is_empty() && self.admission.told.is_empty() {
                let (theirs, ours) = (self.config.vendor_of(target).dialect, self.request.surface.dialect());
                headers.extend(quota::told(self.quota.clone(), theirs, ours, self.now));
            }
        }
        // A client with limits of its own paces itself by those: the vendor's are shared with others.
        headers.extend(self.admission.told.clone());
        headers.extend(self.cache_told().map(|told| (reply::CACHE, told)));
        headers.insert(reply::ATTEMPTS, HeaderValue::from(self.begun));
        reply::name_request(headers, &self.request_id);
    }

    /// The client's parameters that were left out for whoever was asked last.
    fn dropped(&self) -> Option<HeaderValue> {
        let dropped = &self.prepared.as_ref()?.prepared.dropped;
        (!dropped.is_empty()).then(|| reply::name_list(dropped))
    }
}

/// Names come from the config, where they were checked to be printable.
fn header_value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static("unprintable"))
}
