//! A probe that is an attempt in all but name: a few tokens of a real answer, admitted, classified, settled and paid for as
//! any client's request is.

use std::sync::Arc;

use bytes::Bytes;
use http::Method;

use super::FORGOTTEN_AFTER;
use crate::backoff::retry_after;
use crate::classify::{Failure, Fault, Outcome, classify_answer, classify_status};
use crate::concurrency::Claim;
use crate::config::Parameters;
use crate::dialect::chat::Stamp;
use crate::dialect::{Reader, Request, Surface, prepare};
use crate::gateway::{Gateway, Permit, Settlement};
use crate::health::{Finding, Probe};
use crate::ledger::Cause;
use crate::price::Usage;
use crate::time::{Millis, Timestamp};

/// One line, and ten tokens to answer it with.
const BODY: &[u8] = br#"{"model":"probe","max_tokens":10,"messages":[{"role":"user","content":"Say OK."}]}"#;

/// As much of the answer as is read: vendors say much around ten tokens, and this is far more.
const BODY_MAX: usize = 256 << 10;

/// An attempt that a probe makes.
#[derive(Debug)]
pub(crate) struct ChatProbe {
    permit: Permit,
    reader: Reader,
}

impl Gateway {
    /// The probe of a check; `None` if its target may not be asked now, or cannot be asked for words.
    pub(super) fn chat_probe(&mut self, now: Timestamp, place: usize) -> Option<Probe> {
        let config = Arc::clone(&self.config);
        let id = self.prober.checks[place].targets[0];
        let (target, vendor) = (config.target(id), config.vendor_of(id));
        let request = Request::read(Surface::Chat, Bytes::from_static(BODY)).expect("our own words can be read");
        let prepared = prepare(&request, vendor, target, Parameters::Lenient).ok()?;
        let url = config.url(id, prepared.operation)?;
        let stamp = Stamp { request_id: String::new(), at: now, price: None, wants_usage: false };
        let reader = Reader::new(&request, &prepared, vendor.dialect, &target.upstream, stamp);
        let candidate = config.candidate(id);
        let (until, lasts) = (now + target.health.timeout, target.health.timeout + FORGOTTEN_AFTER);
        // Clients come first.
        let permit = self.admit(now, &candidate, lasts, &Claim { lasts, ..Claim::LAST }).ok()?;
        let headers = self.headers_for(&permit);
        let attempt = Box::new(ChatProbe { permit, reader });
        let probe = self.prober.begin(place, now, now + lasts, Some(attempt));
        Some(Probe {
            id: probe,
            vendor: target.vendor,
            target: id,
            method: Method::POST,
            url,
            headers,
            body: prepared.body,
            until,
            body_max: BODY_MAX,
        })
    }

    /// Settles what such a probe has come to. Its time counts as that of a first token does: it asks for no more than a few.
    pub(super) fn settle_chat(&mut self, now: Timestamp, probe: ChatProbe, took: Millis, finding: &Finding) {
        let ChatProbe { permit, reader } = probe;
        let (outcome, usage, retry_after) = outcome_of(now, &reader, finding);
        let quarantine = self.config.target(permit.target).retry.quarantine;
        let settlement = Settlement { usage, retry_after, quarantine, ..Settlement::new(outcome, took) };
        // A name of its own, as a request's: lines are told apart by it.
        let request_id = if self.config.store.is_some() { self.request_id() } else { String::new() };
        let cause = Cause { request_id: &request_id, probe: true, ..Cause::default() };
        self.settle_timed(now, permit, &settlement, Some(took), &cause);
    }
}

fn outcome_of(now: Timestamp, reader: &Reader, finding: &Finding) -> (Outcome, Option<Usage>, Option<Millis>) {
    match finding {
        Finding::TimedOut => (Outcome::Silent, None, None),
        Finding::Fault(Fault::Connect) => (Outcome::HardFailure(Failure::Connect), None, None),
        Finding::Fault(Fault::Broken) => (Outcome::HardFailure(Failure::Reset), None, None),
        Finding::Reply { status, body, .. } if status.is_success() => {
            let (outcome, usage) = classify_answer(&reader.whole(body.clone()).0);
            (outcome, usage, None)
        }
        Finding::Reply { status, headers, body } => {
            let error = reader.error(body);
            let retry_in = retry_after(headers, now).or(error.retry_in);
            (classify_status(*status, headers, &error, now), None, retry_in)
        }
    }
}
