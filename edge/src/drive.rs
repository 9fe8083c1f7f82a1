//! An exchange being carried out, as JavaScript holds it.
//!
//! No executor runs it, and nothing wakes it: whatever it can wait for, an event of its attempt, its timer, its client
//! reading on, happens in JavaScript, which then steps it directly. So a client that reads slowly slows the vendor down,
//! and one that goes away has it freed, which cancels the attempt and gives its leases back.

use std::pin::Pin;
use std::task::{Context, Waker};

use wasm_bindgen::prelude::wasm_bindgen;

/// What is left to do of one exchange.
#[wasm_bindgen]
pub struct Drive(Pin<Box<dyn Future<Output = ()>>>);

impl Drive {
    pub(crate) fn new(driving: impl Future<Output = ()> + 'static) -> Self {
        Self(Box::pin(driving))
    }
}

#[wasm_bindgen]
impl Drive {
    /// Carries the exchange on as far as it goes for now, and says whether it is over.
    pub fn step(&mut self) -> bool {
        self.0.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }
}
