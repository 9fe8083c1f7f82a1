//! The native server: Tidegate's decisions, carried out by tokio, hyper and reqwest.
//!
//! [`server`] accepts connections, [`handler`](self) hands each request to core, [`port`](self) sends its attempts to the vendors,
//! and [`outlet`](self) lets the client's connection drive it. Nothing here decides anything: that is `tidegate-core`.

mod app;
mod cli;
mod clock;
mod command;
mod drill;
mod handler;
mod jobs;
mod logging;
mod outlet;
mod port;
mod prices;
mod prober;
mod recorder;
mod review;
pub mod sandbox;
mod server;
mod setup;
mod spend;
mod store;
mod tend;
mod webhook;

pub use app::App;
pub use cli::Cli;
pub use command::run;
