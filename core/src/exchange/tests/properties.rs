//! Any vendors, any events, any clock.
