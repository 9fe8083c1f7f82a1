//! The gateway's own doings, for as long as there is traffic: probes, and what the operator is to be told.
//!
//! An isolate has no background: what it does, it does for a request, whose context lets it go on for a while after the
//! answer. So whichever request finds that something is due soon sees to it, with an alarm that an earlier one replaces;
//! an alarm that was lost with its context is replaced by the next request.

use std::time::Duration;

use http::StatusCode;
use js_sys::futures::JsFuture;
use js_sys::{Array, Uint8Array};
use tidegate_core::alert::Message;
use tidegate_core::classify::Fault;
use tidegate_core::gateway::Gateway;
use tidegate_core::health::{Finding, Probe};
use tidegate_core::time::Timestamp;
use wasm_bindgen::{JsCast, JsValue};
use worker::Delay;

use crate::isolate::Visit;
use crate::{clock, js, webhook};

impl Visit {
    /// Does at `at` what is due then.
    pub(crate) fn attend_at(&self, now: Timestamp, at: Timestamp) {
        let visit = self.clone();
        self.wait_until(async move {
            Delay::from(Duration::from_millis(now.until(at).0)).await;
            if visit.takes_alarm(at) {
                visit.attend();
            }
        });
    }

    fn attend(&self) {
        let now = clock::now();
        let probes: Vec<Probe> = self.with_gateway(now, |gateway| {
            gateway.handle_timeout(now);
            std::iter::from_fn(|| gateway.poll_probe()).collect()
        });
        while let Some(message) = self.with_gateway(now, Gateway::poll_message) {
            self.wait_until(deliver(self.clone(), message));
        }
        for probe in probes {
            self.wait_until(perform(self.clone(), probe));
        }
    }
}

/// Posts a message, and tells the gateway what became of it.
async fn deliver(visit: Visit, message: Message) {
    let status = webhook::post(&message.url, &message.headers, &message.body, message.limit).await;
    let now = clock::now();
    visit.with_gateway(now, |gateway| gateway.handle_message(now, message.id, status));
}

/// Makes a probe and tells what came of it.
async fn perform(visit: Visit, probe: Probe) {
    let limit_ms = clock::to_js(clock::now().until(probe.until).0);
    let (headers, bytes_max) = (js::pack(&probe.headers), clock::to_js(probe.body_max as u64));
    let answer = js::probe(probe.method.as_str(), &probe.url, &headers, &probe.body, limit_ms, bytes_max);
    let finding = finding(JsFuture::from(answer).await);
    let now = clock::now();
    visit.with_gateway(now, |gateway| gateway.handle_probe(now, probe.id, &finding));
}

/// What JavaScript has told of a probe: its head and its body, or why there are none.
pub(crate) fn finding(answer: Result<JsValue, JsValue>) -> Finding {
    let broken = Finding::Fault(Fault::Broken);
    let Ok(answer) = answer else { return broken };
    if answer.as_f64() == Some(js::TIMED_OUT) {
        return Finding::TimedOut;
    }
    let Ok(parts) = answer.dyn_into::<Array>() else { return broken };
    let head = parts.get(0).as_string().unwrap_or_default();
    let mut lines = head.split('\n');
    match lines.next().map(str::as_bytes).map(StatusCode::from_bytes) {
        Some(Ok(status)) => {
            let body = parts.get(1).dyn_into::<Uint8Array>().map_or_else(|_| Vec::new(), |body| body.to_vec());
            Finding::Reply { status, headers: js::unpack(lines), body: body.into() }
        }
        _ => broken,
    }
}
