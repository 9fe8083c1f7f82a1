//! What is wrong with a request, and where in it.

use std::fmt::Display;

use serde_json::value::RawValue;

use crate::dialect::BadRequest;
use crate::dialect::fields::Fields;

/// What is wrong with a part of a request, and the way to it, which grows as it is handed up: `content.1`, then
/// `messages.3.content.1`.
#[derive(Debug)]
pub(super) struct Fault {
    way: String,
    message: String,
}

impl Fault {
    /// A part that is not what it must be.
    pub(super) fn unfit(expected: &str) -> Self {
        Self { way: String::new(), message: format!("It must be {expected}.") }
    }

    /// Says in which part it is.
    pub(super) fn within(self, part: impl Display) -> Self {
        let way = if self.way.is_empty() { part.to_string() } else { format!("{part}.{}", self.way) };
        Self { way, ..self }
    }

    /// What the client is told; `param` is where the way begins.
    pub(super) fn in_param(self, param: &'static str) -> BadRequest {
        let Self { way, message } = self.within(param);
        BadRequest { message: format!("At `{way}`: {message}"), param: Some(param) }
    }
}

impl From<BadRequest> for Fault {
    fn from(error: BadRequest) -> Self {
        Self { way: String::new(), message: error.message }
    }
}

/// Takes an object within the request apart.
pub(super) fn object(raw: &RawValue) -> Result<Fields<'_>, Fault> {
    serde_json::from_str(raw.get()).map_err(|_| Fault::unfit("an object of at most 256 members"))
}
