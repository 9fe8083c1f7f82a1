//! How long a server waits where no configuration says so: an adapter chooses no lengths of time.

use crate::time::Millis;

/// How long to leave the listener alone after it could not accept a connection. Running out of file descriptors heals when
/// connections end; trying again at once would only spin.
pub const ACCEPT_PAUSE: Millis = Millis(100);

/// How long a command waits for the gateway that it asks: longer than the ledger's store may be held up.
pub const COMMAND_WAIT: Millis = Millis::from_secs(15);

/// How long a part of a process rests that has panicked, before it begins again: one that does so at once must not fill the
/// log, nor a processor.
pub const BUG_REST: Millis = Millis::from_secs(1);

/// How long a process that ends waits for whoever reads its log.
pub const LOG_WAIT: Millis = Millis::from_secs(1);
