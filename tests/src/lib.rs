//! What the tests share: vendors that fail on command, gateways as real processes, and a client that sees every byte.
//!
//! The tests know the gateway only by what goes in and comes out: a config file, HTTP on both sides, signals, exit codes.
//! So the same scenarios run against the native server and the edge worker.

pub mod gateway;
pub mod http;
pub mod preset;
pub mod process;
pub mod stage;
pub mod vendors;
pub mod wait;
pub mod world;
