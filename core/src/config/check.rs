//! From a document to a [`Config`]: one module per part of the config, each reading its own keys.
//!
//! Whatever is wrong is reported to the reader, and a stand-in takes its place, so that the rest is checked as well.

use super::document::Node;
use super::reader::Reader;
use super::{Config, ConfigErrors};

mod alerts;
mod cache;
mod choices;
mod clients;
mod health;
mod hedge;
mod limits;
mod names;
mod parameters;
mod policies;
mod prices;
mod queue;
mod routes;
mod server;
#[cfg(feature = "toml")]
mod sharing;
mod store;
mod targets;
mod vendors;

pub(super) use prices::with_file as with_prices;
pub(super) use server::exposure;
#[cfg(feature = "toml")]
pub(super) use sharing::sharing;

/// Checks `document`, which was read from `file`; `text` is what its places are in, if it has any.
pub(super) fn check(
    document: &Node,
    file: &str,
    text: Option<&str>,
    secrets: &dyn Fn(&str) -> Option<String>,
) -> Result<Config, ConfigErrors> {
    let reader = Reader::new(file, text, secrets);
    let config = read(document, &reader);
    match reader.into_errors() {
        Some(errors) => Err(errors),
        None => Ok(config.expect("a document that is not a table has been reported")),
    }
}

fn read(document: &Node, reader: &Reader<'_>) -> Option<Config> {
    reader.root(document).table(&["shared"], |root| {
        let (defaults, retry_share_permille) = policies::defaults(root);
        let vendors = vendors::read(root, &defaults);
        let (targets, mut breakers) = targets::read(root, &vendors);
        let routes = routes::read(root, &targets, &mut breakers, &defaults);
        let names = names::read(root, &routes, &targets);
        let anonymous = root.named("clients").is_empty();
        let server = server::read(root, anonymous);
        let clients = clients::read(root, &routes, server.admin_key.as_ref());
        let queue = queue::read(root, &routes);
        let alerts = alerts::read(root);
        let store = store::read(root, &clients);
        let prices = prices::read(root);
        let vendors = vendors.into_iter().map(|(vendor, _)| vendor).collect();
        let goes_by_tags = routes.iter().any(|route| route.choices.when.iter().any(|when| when.tags.is_some()));
        Config {
            server,
            retry_share_permille,
            clients,
            vendors,
            targets,
            routes,
            goes_by_tags,
            breakers,
            queue,
            alerts,
            store,
            prices,
            names,
        }
    })
}
