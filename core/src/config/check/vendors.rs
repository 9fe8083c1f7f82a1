//! `[vendors.NAME]`: who is called, where, and with which keys.

use http::Uri;

use super::limits;
use super::names::check_name;
use super::parameters;
use super::policies::{self, Policies};
use super::prices;
use super::server::is_loopback;
use crate::config::document::Value;
use crate::config::reader::{Field, Refusal, Table};
use crate::config::values::{choice, integer, secret_with, text, variable};
use crate::config::{Dialect, Key, Vendor};
use crate::price::table as built_in;

/// Vendors' keys are longer than this; a shorter one was cut off when it was copied.
const KEY_LENGTH_MIN: usize = 20;

/// A key that is drawn ten thousand times as often as another might as well be the only one.
const WEIGHT_MAX: u32 = 10_000;

const URL_EXAMPLE: &str = "\"https://api.openai.com/v1\"";

/// Reads `[vendors]`, each with what its models inherit.
pub(super) fn read(root: &mut Table<'_>, defaults: &Policies) -> Vec<(Vendor, Policies)> {
    let named = root.named("vendors");
    named.iter().filter_map(|(name, field)| vendor(name, field, defaults)).collect()
}

fn vendor(name: &str, field: &Field<'_>, defaults: &Policies) -> Option<(Vendor, Policies)> {
    check_name(field, name);
    field.table(&[], |table| {
        let dialect = table.required(
            "dialect",
            "\"openai\"",
            choice(&[("openai", Dialect::OpenAi), ("anthropic", Dialect::Anthropic), ("gemini", Dialect::Gemini)], &[]),
        );
        let base_url =
            table.required("base_url", URL_EXAMPLE, |field| Ok(field.clone())).and_then(|url| base_url(&url));
        // An address that could not be read says nothing about how long a key must be.
        let local = base_url.as_ref().is_none_or(|(_, local)| *local);
        let keys = table.field("keys").map(|field| keys(&field, local)).unwrap_or_default();
        let policies = policies::vendor(table, defaults);
        let (unsupported, rename) = parameters::read(table, None);
        let base_url = base_url.map(|(url, _)| url).unwrap_or_default();
        let vendor = Vendor {
            name: name.to_owned(),
            dialect: dialect.unwrap_or(Dialect::OpenAi),
            prices: table.read("prices", prices::vendor).or_else(|| built_in::vendor_at(&base_url)),
            base_url,
            keys: if keys.is_empty() { vec![Key::none()] } else { keys },
            connect: policies.connect,
            unsupported,
            rename,
        };
        (vendor, policies)
    })
}

/// The keys at `field`; short ones are for vendors on this machine only.
fn keys(field: &Field<'_>, local: bool) -> Vec<Key> {
    let length_min = if local { 1 } else { KEY_LENGTH_MIN };
    let mut keys: Vec<Key> = Vec::new();
    for item in field.items().unwrap_or_default() {
        let more = |table: &mut Table<'_>| (limits::read(table), table.read("weight", integer(1..=WEIGHT_MAX)));
        let Some((name, secret, (limits, weight))) = secret_with(&item, length_min, more) else { continue };
        if keys.iter().any(|key| key.name == name) {
            item.refuse_key(format!("{name} stands here twice"), "Remove one of them.");
        }
        keys.push(Key { name: name.to_owned(), secret: Some(secret), limits, weight });
    }
    keys
}

/// The URL at `field`, without a slash at the end, and whether it leads to this machine without encryption.
fn base_url(field: &Field<'_>) -> Option<(String, bool)> {
    let written = match field.value() {
        Value::Table(_) => variable(field)?.1,
        _ => field.read(text)?.to_owned(),
    };
    field.read(|_| check_url(&written))
}

/// No message repeats the URL: it may hold a password, or be a key in the wrong variable.
pub(super) fn check_url(url: &str) -> Result<(String, bool), Refusal> {
    let refuse = |problem: &str| Err(Refusal::new(problem, format!("Write a URL such as {URL_EXAMPLE}.")));
    let Ok(uri) = url.parse::<Uri>() else { return refuse("not a URL") };
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return refuse("not a URL with https:// or http://");
    };
    if scheme != "https" && scheme != "http" {
        return refuse("not a URL with https:// or http://");
    }
    if authority.as_str().contains('@') {
        return refuse("a user or password must not stand in a URL");
    }
    let host = authority.host();
    let port = authority.as_str().strip_prefix(host).unwrap_or_default();
    if host.is_empty() || !(port.is_empty() || authority.port_u16().is_some_and(|port| port > 0)) {
        return refuse("not a URL with a host");
    }
    if uri.query().is_some() || url.contains('#') {
        return refuse("a base URL ends with its path");
    }
    Ok((url.trim_end_matches('/').to_owned(), scheme == "http" && is_loopback(host)))
}
