//! A stream that goes through to a client of the same dialect: what goes on, and what it says about the answer.
