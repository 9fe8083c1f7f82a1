//! What only matters where many gateways share what they know: in a worker's isolates.

use crate::config::document::Node;
use crate::config::reader::Reader;
use crate::config::{Config, ConfigErrors};
use crate::gateway::shared_limits;
use crate::keeper::LIMITS_MAX;

/// Refuses more limits than the keeper keeps together, at the table in which most of them will stand. `config` is what
/// `document` comes to.
pub(in crate::config) fn sharing(config: &Config, document: &Node, file: &str, text: &str) -> Result<(), ConfigErrors> {
    let count = shared_limits(config);
    let reader = Reader::new(file, Some(text), &|_| None);
    let tables = reader.root(document).entries();
    let table = ["clients", "models", "vendors"].iter().find_map(|key| tables.iter().find(|(name, _)| name == key));
    if let Some((_, table)) = table.filter(|_| count > LIMITS_MAX) {
        table.refuse_key(
            format!(
                "the worker's isolates would have {count} limits to keep together, and can keep {LIMITS_MAX}: of those \
                 beyond, each isolate would allow the whole, and no budget could be spent"
            ),
            "Remove some: each `rpm`, `tpm` and `budget` of a key, a model or a client is one.",
        );
    }
    reader.into_errors().map_or(Ok(()), Err)
}
