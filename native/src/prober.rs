//! The gateway's own doings: one task that wakes when it says so, makes the probes that it asks for, and posts what the
//! operator is to be told.

use std::sync::Arc;

use bytes::BytesMut;
use reqwest::{Request, Url};
use tidegate_core::alert::Message;
use tidegate_core::classify::Fault;
use tidegate_core::gateway::Gateway;
use tidegate_core::health::{Finding, Probe};
use tokio::task::JoinSet;

use crate::app::App;
use crate::tend::{REST, turn};
use crate::{clock, port, webhook};

/// Runs until it is dropped, and its probes with it.
pub(crate) async fn run(app: Arc<App>) {
    let mut under_way = JoinSet::new();
    loop {
        turn("the prober", REST, attend(&app, &mut under_way)).await;
    }
}

/// Does what is due, and waits until something is again. What panics among those under way ends alone: the gateway takes what
/// it never hears of for lost.
async fn attend(app: &Arc<App>, under_way: &mut JoinSet<()>) {
    app.is_awake();
    let now = clock::now();
    app.with_gateway(|gateway| gateway.handle_timeout(now));
    while let Some(probe) = app.with_gateway(Gateway::poll_probe) {
        under_way.spawn(perform(Arc::clone(app), probe));
    }
    while let Some(message) = app.with_gateway(Gateway::poll_message) {
        under_way.spawn(deliver(Arc::clone(app), message));
    }
    let next = app.fall_asleep();
    tokio::select! {
        () = clock::reached(next) => {}
        () = app.woken() => {}
        Some(_) = under_way.join_next(), if !under_way.is_empty() => {}
    }
}

/// Posts a message, and tells the gateway what became of it.
async fn deliver(app: Arc<App>, message: Message) {
    let Message { id, url, headers, body, limit } = message;
    let status = webhook::post(&app.messenger, &url, headers, body, limit).await;
    let now = clock::now();
    app.with_gateway(|gateway| gateway.handle_message(now, id, status));
}

/// Makes a probe and tells what came of it.
async fn perform(app: Arc<App>, probe: Probe) {
    let id = probe.id;
    let limit = tokio::time::timeout_at(clock::instant(probe.until), ask(&app, probe));
    let finding = limit.await.unwrap_or(Finding::TimedOut);
    let now = clock::now();
    app.with_gateway(|gateway| gateway.handle_probe(now, id, &finding));
}

async fn ask(app: &App, probe: Probe) -> Finding {
    let Ok(url) = Url::parse(&probe.url) else { return Finding::Fault(Fault::Connect) };
    let mut request = Request::new(probe.method, url);
    *request.headers_mut() = probe.headers;
    *request.body_mut() = Some(probe.body.into());
    let fault = |error: &reqwest::Error| {
        tracing::debug!("a probe failed: {error}");
        Finding::Fault(port::fault(error))
    };
    let mut response = match app.client(probe.vendor).execute(request).await {
        Ok(response) => response,
        Err(error) => return fault(&error),
    };
    let (status, headers) = (response.status(), std::mem::take(response.headers_mut()));
    let mut body = BytesMut::new();
    while body.len() < probe.body_max {
        match response.chunk().await {
            Ok(Some(piece)) => body.extend_from_slice(&piece),
            Ok(None) => break,
            Err(error) => return fault(&error),
        }
    }
    body.truncate(probe.body_max);
    Finding::Reply { status, headers, body: body.freeze() }
}
