//! What a route does when nobody can be asked any more: it says so, asks the target that would come back first, starts afresh
//! with all of them, or answers in words of its own.

use http::header::HeaderValue;
use http::{HeaderMap, StatusCode};

use super::{Exchange, State};
use crate::config::Exhausted;
use crate::dialect::say;
use crate::gateway::Gateway;
use crate::record::How;
use crate::reply::{self, Reply};
use crate::route::Rejection;
use crate::time::Millis;

impl Exchange {
    /// Nobody is left in this lap, and waiting leads nowhere. The policies that ask once more do so once for each request.
    pub(super) fn despair(&mut self, gateway: &mut Gateway) {
        if self.broken.is_some() || self.is_job() {
            return self.give_up(gateway);
        }
        let may_ask = !self.is_out_of_budget() && !std::mem::replace(&mut self.walk.desperate, true);
        match self.plan.exhausted {
            Exhausted::Soonest if may_ask => self.hasten_soonest(gateway),
            Exhausted::Panic if may_ask => self.panic(gateway),
            _ => self.give_up(gateway),
        }
    }

    /// Of those that are shut off, the one that would be let through first gets its probe now.
    fn hasten_soonest(&mut self, gateway: &mut Gateway) {
        let hastened = |index: usize| gateway.hastens(self.now, self.plan.candidates[index].breaker);
        let soonest = self.shut_off().filter(|(index, _)| hastened(*index)).min_by_key(|(_, retry_in)| *retry_in);
        match soonest {
            Some((index, _)) => {
                gateway.hasten(self.now, self.plan.candidates[index].breaker);
                self.walk.again = Some(index);
                self.state = State::Choosing;
            }
            None => self.give_up(gateway),
        }
    }

    /// All that are shut off are let through again, as if nothing had been: whoever answers will do.
    fn panic(&mut self, gateway: &mut Gateway) {
        let shut_off: Vec<usize> = self.shut_off().map(|(index, _)| index).collect();
        if shut_off.is_empty() {
            return self.give_up(gateway);
        }
        for index in shut_off {
            gateway.relent(self.now, self.plan.candidates[index].breaker);
        }
        self.walk.next = 0;
        self.state = State::Choosing;
    }

    /// Candidates that were passed over because their breakers are open, and until when.
    fn shut_off(&self) -> impl Iterator<Item = (usize, Millis)> {
        self.walk.rejections.iter().filter_map(|(index, why)| match why {
            Rejection::BreakerOpen { retry_in_ms } => Some((*index, *retry_in_ms)),
            _ => None,
        })
    }

    /// Answers in the route's own words, in the client's dialect, at no cost, and marked. `false`: the route has none, or
    /// what was asked for is no conversation.
    pub(super) fn say_canned(&mut self) -> bool {
        let Some(route) = self.plan.route.filter(|_| self.plan.exhausted == Exhausted::Canned) else { return false };
        if !self.request.is_chat() || self.is_job() {
            return false;
        }
        self.how = How::Canned;
        let text = &self.config.routes[route.0].canned;
        let body = say(&self.request, self.request_id.clone(), self.started_at, text);
        let mut headers = HeaderMap::new();
        self.put_headers(&mut headers, None);
        headers.insert(reply::CANNED, HeaderValue::from_static("true"));
        headers.insert(reply::COST, HeaderValue::from_static("0"));
        if self.request.stream {
            self.begin_stream_with(headers);
            self.write(body);
            self.state = State::Over;
        } else {
            headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            self.reply(Reply { status: StatusCode::OK, headers, body });
        }
        true
    }
}
