//! Tidegate's decisions.
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test that fails says where"))]

pub mod config;
pub mod price;
pub mod secret;
pub mod time;
