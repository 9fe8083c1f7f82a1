//! Tidegate's decisions: everything that is decided about a request, and nothing that is done.
//!
//! There is no I/O here, no clock, no randomness and no environment: time, seeds, configuration and bytes are passed in, and
//! what is to be done comes out. So the native server and the edge worker, which only carry it out, decide alike, and a
//! test can live through a day of outages in a millisecond.
//!
//! # The map
//!
//! A request comes in through [`api`], which lets it in and reads its body with [`dialect`]; [`route`] plans who may
//! answer, as far as the client's own [`hints`] allow; an [`exchange`] carries the plan out, driven by the one loop in [`mod@drive`]; each attempt is admitted and settled
//! by the [`gateway`], which all requests share: [`breaker`], [`health`], [`concurrency`], [`limit`], [`stats`], [`tokens`], [`rank`], [`backoff`], keys and [`notice`]s. What became of
//! an attempt is told by [`classify`], what it cost by [`price`], what the client hears by [`reply`]. [`status`] and
//! [`explain`] show it to people, [`alert`] calls them; what nobody could serve waits in the [`queue`]; [`keeper`] is what many gateways know together. In [`sim`], a world with a virtual clock
//! and scripted vendors, all of it can be watched.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test that fails says where"))]

pub mod alert;
pub mod api;
pub mod backoff;
pub mod breaker;
mod buckets;
mod cache;
mod chance;
pub mod classify;
pub mod concurrency;
pub mod config;
pub mod dialect;
pub mod drive;
pub mod errand;
pub mod exchange;
pub mod explain;
pub mod gateway;
pub mod gathered;
pub mod health;
pub mod hints;
pub mod keeper;
pub mod ledger;
pub mod limit;
pub mod notice;
pub mod operator;
pub mod price;
pub mod queue;
pub mod quota;
mod rank;
pub mod record;
pub mod reply;
pub mod rng;
pub mod route;
pub mod secret;
pub mod sim;
pub mod stats;
pub mod status;
pub mod time;
pub mod tokens;
pub mod waits;
mod webhook;
