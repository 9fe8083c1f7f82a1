//! Tidegate as a Cloudflare Worker.
//!
//! The worker carries out what the core decides, as the native server does: [`handler`] takes a request from the platform to
//! the core and back, [`drive`] is the exchange that results, [`port`] its way to vendors and client, [`isolate`] is
//! what the requests of an isolate share, [`prober`] what the gateway does of its own, [`keeper`] what all isolates of a
//! region know, [`ledger`] what they have spent, and [`queue`] what nobody could serve yet. `runtime.js` is the other side
//! of [`js`], for what JavaScript does more cheaply than wasm can ask for it.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test that fails says where"))]

mod clock;
mod drive;
mod handler;
mod isolate;
mod js;
mod keeper;
mod ledger;
mod port;
mod prober;
mod queue;
mod webhook;

use worker::{Context, Env, event};

use crate::isolate::Visit;

#[event(fetch)]
async fn fetch(request: web_sys::Request, env: Env, context: Context) -> worker::Result<web_sys::Response> {
    let response = match Visit::begin(&request, env, context) {
        Some(visit) => handler::handle(visit, request).await,
        None => handler::whole(&tidegate_core::api::misconfigured()),
    };
    Ok(response?)
}
