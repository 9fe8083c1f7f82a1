//! Who asks for a slot, and who comes first.

use serde::{Deserialize, Serialize};

use crate::limit::Need;
use crate::time::{Millis, Timestamp};

/// How urgent a request is, from 1, the most urgent, to 5.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Priority(u8);

impl Priority {
    /// The least urgent.
    pub const LAST: Self = Self(5);

    /// One of 1 to 5.
    pub fn numbered(number: u64) -> Option<Self> {
        u8::try_from(number).ok().filter(|number| (1..=5).contains(number)).map(Self)
    }
}

/// In the middle.
impl Default for Priority {
    fn default() -> Self {
        Self(3)
    }
}

/// A request that asks for a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// How urgent it is.
    pub priority: Priority,
    /// When it has to be under way.
    pub deadline: Timestamp,
    /// The number of its place in the queue, if it has one there.
    pub place: Option<u64>,
    /// How long its attempt holds the slot if its end is never told.
    pub lasts: Millis,
    /// What it takes of the limits on what is used.
    pub need: Need,
}

/// What is in front of what: smaller comes first.
pub(super) type Rank = (Priority, Timestamp, u64);

impl Claim {
    /// Whoever comes after all others.
    pub const LAST: Self = Self {
        priority: Priority::LAST,
        deadline: Timestamp::MAX,
        place: None,
        lasts: Millis::ZERO,
        need: Need { input: 0, output: 0, client: None, draw: 0 },
    };

    /// Among equals, who waits already comes before who does not.
    pub(super) fn rank(&self) -> Rank {
        (self.priority, self.deadline, self.place.unwrap_or(u64::MAX))
    }
}
