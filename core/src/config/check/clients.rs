//! `[clients.NAME]`: who may call.

use super::limits;
use super::names::check_name;
use crate::config::reader::{Field, Refusal, Table, did_you_mean};
use crate::config::values::{secret, text};
use crate::config::{Client, Route, RouteId};
use crate::secret::Secret;

/// A shorter key could be guessed over the network.
pub(super) const KEY_LENGTH_MIN: usize = 16;

/// Reads `[clients]`. No two may share a key, nor have that of the admin.
pub(super) fn read(root: &mut Table<'_>, routes: &[Route], admin_key: Option<&Secret>) -> Vec<Client> {
    let mut clients: Vec<Client> = Vec::new();
    for (name, field) in root.named("clients") {
        let Some(client) = client(name, &field, routes) else { continue };
        if let Some(twin) = clients.iter().find(|other| other.key == client.key) {
            let problem = format!("this client has the same key as `{}`", twin.name);
            field.refuse_key(problem, "Give each client a key of its own.");
        }
        if admin_key.is_some_and(|admin_key| *admin_key == client.key) {
            field.refuse_key("this client has the admin's key", "Give the admin a key of its own.");
        }
        clients.push(client);
    }
    clients
}

fn client(name: &str, field: &Field<'_>, routes: &[Route]) -> Option<Client> {
    check_name(field, name);
    field.table(&[], |table| {
        let key = table.required("key", "{ env = \"NAME\" }", |field| Ok(field.clone()));
        let routes = table.field("routes").map(|field| allowed(&field, routes));
        let limits = limits::read(table);
        let budget = table.table("budget", &[], limits::budget).flatten();
        let (_, key) = secret(&key?, KEY_LENGTH_MIN)?;
        Some(Client { name: name.to_owned(), key, routes, limits, budget })
    })?
}

fn allowed(field: &Field<'_>, routes: &[Route]) -> Vec<RouteId> {
    let Some(items) = field.items() else { return Vec::new() };
    if items.is_empty() {
        field.refuse_key(
            "without a route, this client may call nothing",
            "Name a route, or remove `routes` to allow all.",
        );
    }
    let mut allowed: Vec<RouteId> = Vec::new();
    for item in items {
        let new = item.read(|item| match route(item, routes)? {
            known if allowed.contains(&known) => {
                Err(Refusal::new("this route stands here twice", "Remove one of them."))
            }
            route => Ok(route),
        });
        allowed.extend(new);
    }
    allowed
}

fn route(item: &Field<'_>, routes: &[Route]) -> Result<RouteId, Refusal> {
    let name = text(item)?;
    routes.iter().position(|route| route.name == name).map(RouteId).ok_or_else(|| {
        let known: Vec<&str> = routes.iter().map(|route| route.name.as_str()).collect();
        Refusal::new(format!("there is no route `{name}`"), did_you_mean(name, &known))
    })
}
