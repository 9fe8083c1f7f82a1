//! The core in wasm, telling [`tidegate_core::sim::trace`].
//!
//! No bindings and no imports: the module is given numbers and is asked for numbers, so it can be loaded by any host, and a
//! clock or a source of randomness that crept into the core would show as an import. `tests/twin.rs` compares what it
//! tells with what the same code tells on the host.

use std::cell::RefCell;

use tidegate_core::sim;

thread_local! {
    static TEXT: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Tells the story of a seed, and returns how many bytes it has.
#[expect(unsafe_code, reason = "the name is this module's own: nothing else is linked into it")]
#[unsafe(no_mangle)]
pub extern "C" fn run(seed: u64, requests: u32) -> usize {
    let text = sim::trace(seed, requests).into_bytes();
    TEXT.with_borrow_mut(|told| {
        *told = text;
        told.len()
    })
}

/// The byte at a place in the story that was told last; 0 behind its end.
#[expect(unsafe_code, reason = "the name is this module's own: nothing else is linked into it")]
#[unsafe(no_mangle)]
pub extern "C" fn byte(at: usize) -> u8 {
    TEXT.with_borrow(|told| told.get(at).copied().unwrap_or(0))
}
