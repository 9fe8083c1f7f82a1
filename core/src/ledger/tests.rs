//! Lines waiting for where they are stored.
