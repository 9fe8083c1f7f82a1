//! An answer that is kept from before, where the route and the client allow it, and keeping the one that comes.
//!
//! Only what was sent whole is kept: an answer that its vendor finished, and for streams every byte of it, for whoever asks for
//! a stream. A hit costs nothing, so that the ledger has no line of it; its record says whose answer it was.

use bytes::Bytes;
use http::header::{AGE, CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, StatusCode};

use super::keep_alive::COMMENT;
use super::live::{Ended, Whole};
use super::{Exchange, State};
use crate::cache::{Kept, Key, Wish};
use crate::config::{RouteId, TargetId};
use crate::dialect::Operation;
use crate::gateway::Gateway;
use crate::hints::Hints;
use crate::record::How;
use crate::reply::{self, Reply};

/// What a request on a route with a cache has to do with it.
#[derive(Debug)]
pub(super) struct Caching {
    route: RouteId,
    key: Key,
    /// Whether an answer that is kept would do, and has not been sought.
    seeks: bool,
    /// Whether the answer is to be kept.
    keeps: bool,
    /// The stream so far.
    gathered: Vec<u8>,
    bytes_max: usize,
}

impl Exchange {
    /// Lets the route's cache answer, where it has one. To be called before the first action is asked for.
    pub(crate) fn try_cache(&mut self, client: Option<usize>, hints: &Hints, headers: &HeaderMap) {
        let Some(route) = self.plan.route else { return };
        let Some(policy) = &self.config.routes[route.0].cache else { return };
        let may_be_kept =
            matches!(self.request.operation(), Operation::Chat | Operation::Stream | Operation::EmbedMany);
        let asker = match client {
            _ if policy.shared => "anyone".to_owned(),
            None => "anonymous".to_owned(),
            Some(client) => format!("client {}", self.config.clients[client].name),
        };
        // Whatever else a client asks for may lead to another answer.
        let beside = format!("{route:?} {hints:?} {:?} {}", self.request.controls, self.request.stream);
        let Some(key) = Key::of(&self.request, &asker, &beside).filter(|_| may_be_kept) else { return };
        let bytes_max = usize::try_from(policy.size.min(self.config.server.reply_max)).unwrap_or(usize::MAX);
        let wish = Wish::read(headers);
        let (seeks, keeps) = (wish == Wish::Any, wish != Wish::NoStore);
        if seeks {
            self.state = State::Choosing;
        }
        self.caching = Some(Box::new(Caching { route, key, seeks, keeps, gathered: Vec::new(), bytes_max }));
    }

    /// Takes for granted that the cache of its route holds an answer of this target: what a recorded request asked, and was
    /// answered, is not known.
    pub(crate) fn presume_kept(&mut self, gateway: &mut Gateway, target: TargetId) {
        let Some((route, key)) = self.plan.route.zip(Key::of(&self.request, "replay", &self.request_id)) else {
            return;
        };
        gateway.keep(route, key, Kept { target, content_type: None, body: Bytes::new(), at: self.now });
        self.state = State::Choosing;
        let caching = Caching { route, key, seeks: true, keeps: false, gathered: Vec::new(), bytes_max: 0 };
        self.caching = Some(Box::new(caching));
    }

    /// Answers with what is kept. `false`: nothing is, or it has been sought before.
    pub(super) fn answer_from_cache(&mut self, gateway: &mut Gateway) -> bool {
        let Some(caching) = self.caching.as_mut().filter(|caching| caching.seeks) else { return false };
        caching.seeks = false;
        let Some(kept) = gateway.kept(self.now, caching.route, caching.key) else { return false };
        self.caching = None;
        self.how = How::Cached;
        self.kept_from = Some(kept.target);
        let mut headers = HeaderMap::new();
        self.put_headers(&mut headers, Some(kept.target));
        headers.insert(reply::CACHE, HeaderValue::from_static("hit"));
        headers.insert(reply::COST, HeaderValue::from_static("0"));
        headers.insert(AGE, HeaderValue::from(self.now.since(kept.at).0 / 1000));
        if self.request.stream {
            self.begin_stream_with(headers);
            self.write(kept.body);
            self.state = State::Over;
        } else {
            headers.extend(kept.content_type.map(|kind| (CONTENT_TYPE, kind)));
            self.reply(Reply { status: StatusCode::OK, headers, body: kept.body });
        }
        true
    }

    /// What the client is told of the cache of its route.
    pub(super) fn cache_told(&self) -> Option<HeaderValue> {
        let keeps = self.caching.as_ref()?.keeps;
        Some(HeaderValue::from_static(if keeps { "miss" } else { "bypass" }))
    }

    /// Notes what the client's stream is sent; one that is too long to be kept is forgotten.
    pub(super) fn gather(&mut self, bytes: &[u8]) {
        let Some(caching) = self.caching.as_mut().filter(|caching| caching.keeps && bytes != COMMENT) else { return };
        if caching.gathered.len() + bytes.len() > caching.bytes_max {
            self.caching = None;
            return;
        }
        caching.gathered.extend_from_slice(bytes);
    }

    /// Keeps a whole answer.
    pub(super) fn keep_whole(&self, gateway: &mut Gateway, target: TargetId, ended: &Ended) {
        let Some(caching) = self.caching.as_ref().filter(|caching| caching.keeps) else { return };
        if let Some(Whole::Reply { status: StatusCode::OK, headers, body }) = &ended.whole {
            let content_type = headers.get(CONTENT_TYPE).cloned();
            let kept = Kept { target, content_type, body: body.clone(), at: self.now };
            gateway.keep(caching.route, caching.key, kept);
        }
    }

    /// Keeps a stream that has come to its end.
    pub(super) fn keep_stream(&mut self, gateway: &mut Gateway, target: TargetId) {
        let Some(caching) = self.caching.take().filter(|caching| caching.keeps) else { return };
        let kept = Kept { target, content_type: None, body: caching.gathered.into(), at: self.now };
        gateway.keep(caching.route, caching.key, kept);
    }
}
