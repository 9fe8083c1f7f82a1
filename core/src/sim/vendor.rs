//! How one target behaves.

use std::collections::VecDeque;

use super::profile::{Load, Profile};
use super::script::Script;
use crate::config::TargetId;
use crate::rng::Rng;
use crate::time::Timestamp;

pub(super) struct Vendor {
    /// What it does with the next attempts, one each.
    pub(super) next: VecDeque<Script>,
    /// What it does after those.
    pub(super) usual: Manner,
    /// What free probes find, where that is told apart from what attempts do.
    pub(super) probed: Option<Script>,
    /// How many free probes have been sent for it.
    pub(super) probes: u64,
    load: Load,
    /// A stream of its own: what the gateway draws must not change what vendors do.
    rng: Rng,
    /// How many attempts have reached it.
    pub(super) attempts: u64,
    /// The bearer of every attempt that reached it; none in a quiet world.
    pub(super) seen: Vec<String>,
}

/// What a vendor usually does.
pub(super) enum Manner {
    Script(Script),
    Profile(Profile),
}

impl Manner {
    /// What a free probe meets.
    pub(super) fn on_the_whole(&self) -> Script {
        match self {
            Self::Script(script) => script.clone(),
            Self::Profile(profile) => profile.on_the_whole(),
        }
    }
}

impl Vendor {
    /// A target of the world with this seed. It answers well after 50 ms.
    pub(super) fn of_world(seed: u64, target: TargetId) -> Self {
        Self {
            next: VecDeque::new(),
            usual: Manner::Script(Script::answer(50)),
            load: Load::default(),
            rng: Rng::from_seed(seed.wrapping_add(target.0 as u64)),
            probed: None,
            probes: 0,
            attempts: 0,
            seen: Vec::new(),
        }
    }

    /// What it does with an attempt.
    pub(super) fn take(&mut self, now: Timestamp) -> Script {
        self.attempts += 1;
        if let Some(script) = self.next.pop_front() {
            return script;
        }
        match &self.usual {
            Manner::Script(script) => script.clone(),
            Manner::Profile(profile) => profile.draw(now, &mut self.load, &mut self.rng),
        }
    }
}
