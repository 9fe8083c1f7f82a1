//! How one target behaves.

use std::collections::VecDeque;

use super::script::Script;

pub(super) struct Vendor {
    /// What it does with the next attempts, one each.
    pub(super) next: VecDeque<Script>,
    /// What it does after those.
    pub(super) usual: Script,
    /// What free probes find, where that is told apart from what attempts do.
    pub(super) probed: Option<Script>,
    /// How many free probes have been sent for it.
    pub(super) probes: u64,
    /// How many attempts have reached it.
    pub(super) attempts: u64,
    /// The bearer of every attempt that reached it; none in a quiet world.
    pub(super) seen: Vec<String>,
}

impl Vendor {
    /// What it does with an attempt.
    pub(super) fn take(&mut self) -> Script {
        self.attempts += 1;
        self.next.pop_front().unwrap_or_else(|| self.usual.clone())
    }
}

impl Default for Vendor {
    fn default() -> Self {
        Self {
            next: VecDeque::new(),
            usual: Script::answer(50),
            probed: None,
            probes: 0,
            attempts: 0,
            seen: Vec::new(),
        }
    }
}
