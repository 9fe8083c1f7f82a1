//! `OpenAI`'s responses API, for clients that keep their own state: a chat in other words.
//!
//! No vendor is asked in these words. A request is read into the terms that all dialects share, and the answer is
//! written from them, so that whoever speaks this API has every vendor behind it. What needs a memory on the vendor's
//! side (`previous_response_id`, `conversation`, stored prompts, item references) is refused in words that say what to
//! send instead; every reply says `store: false`.
//!
//! The proofs that vendors want back with a model's thinking travel as `encrypted_content` of reasoning items (see
//! [`seal`]): a client that sends the items of an answer back, as all do that store nothing, loses none of them.

mod echo;
mod encode;
mod events;
mod items;
mod read_items;
mod read_request;
mod response;
mod seal;
#[cfg(test)]
mod tests;
mod write_reply;

pub use echo::Echo;
pub use encode::{ANSWER_BYTES_MAX, Encoder, error_event};
pub use read_request::read_request;
pub use write_reply::write_reply;
