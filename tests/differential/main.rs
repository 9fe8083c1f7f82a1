//! What this project reads and writes, against what others make of the same bytes.

mod events;
mod types;
