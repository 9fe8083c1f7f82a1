//! `[models."vendor/model"]`: the targets.

use super::names::check_printable;
use super::parameters;
use super::policies::{self, Policies};
use super::prices;
use crate::config::reader::{Field, Refusal, Table, did_you_mean};
use crate::config::values::{choice, duration, integer, text};
use crate::config::{BreakerPolicy, Guard, PricedBy, Target, TargetId, Vendor, VendorId};
use crate::dialect::chat::Abilities;
use crate::price::{Tariff, table as built_in};
use crate::time::Millis;

/// Whoever takes longer has failed by any limit.
const TYPICAL_MAX: Millis = Millis::from_secs(300);

/// Reads `[models]`, each with its own breaker.
pub(super) fn read(root: &mut Table<'_>, vendors: &[(Vendor, Policies)]) -> (Vec<Target>, Vec<Guard>) {
    let named = root.named("models");
    if named.is_empty() {
        root.refuse("there is no model", "Add a [models.\"vendor/model\"] table for each model to be used.");
    }
    let read = named.iter().filter_map(|(name, field)| target(name, field, vendors)).enumerate();
    read.map(|(id, (target, policy))| {
        let guard =
            Guard { name: target.name.clone(), target: TargetId(id), route: None, policy, capped_by: Vec::new() };
        (target, guard)
    })
    .unzip()
}

fn target(name: &str, field: &Field<'_>, vendors: &[(Vendor, Policies)]) -> Option<(Target, BreakerPolicy)> {
    check_printable(field, name);
    let (vendor, model) = split(field, name)?;
    let owner = vendors.iter().position(|(known, _)| known.name == vendor);
    if owner.is_none() {
        let known: Vec<&str> = vendors.iter().map(|(vendor, _)| vendor.name.as_str()).collect();
        field.refuse_key(format!("there is no vendor `{vendor}`"), did_you_mean(vendor, &known));
    }
    // Without its vendor the table is still read, for what else may be wrong with it.
    let owner = owner.unwrap_or_default();
    let inherited = vendors.get(owner).map_or_else(policies::built_in, |(_, policies)| policies.clone());
    field.table(&[], |table| {
        let policies = policies::model(table, &inherited);
        let (unsupported, rename) = parameters::read(table, vendors.get(owner).map(|(vendor, _)| vendor));
        let upstream = table.read("upstream", upstream).unwrap_or(model).to_owned();
        let written = table.table("price", &[], prices::written);
        let list = vendors.get(owner).and_then(|(vendor, _)| vendor.prices);
        let listed = || built_in::find(list?, &upstream).map(|listed| listed.tariff);
        let target = Target {
            name: name.to_owned(),
            vendor: VendorId(owner),
            context: table.read("context", integer(1..=u32::MAX)).map(u64::from),
            typical_first_token: table.read("typical_first_token", duration(Millis(1)..=TYPICAL_MAX)),
            typical_answer: table.read("typical_answer", duration(Millis(1)..=TYPICAL_MAX)),
            strengths: table.field("strengths").map(|field| strengths(&field)).unwrap_or_default(),
            price: written.map(Tariff::from).or_else(listed),
            priced_by: if written.is_some() { PricedBy::Config } else { PricedBy::Table },
            upstream,
            abilities: abilities(table),
            default_parameters: table.table("default_parameters", &[], parameters::defaults).unwrap_or_default(),
            unsupported,
            rename,
            timeouts: policies.timeouts,
            health: policies.health,
            retry: policies.retry,
            concurrency: policies.concurrency,
            limits: policies.limits,
        };
        (target, policies.breaker)
    })
}

/// The vendor's part of `name` and the model's, which may hold more slashes.
fn split<'a>(field: &Field<'_>, name: &'a str) -> Option<(&'a str, &'a str)> {
    let parts = name.split_once('/').filter(|(vendor, model)| !vendor.is_empty() && !model.is_empty());
    if parts.is_none() {
        field.refuse_key("not the name of a model", "Write [models.\"vendor/model\"], in quotes.");
    }
    parts
}

/// What a model is good at: the words are the operator's and the clients' own.
fn strengths(field: &Field<'_>) -> Vec<String> {
    let mut strengths: Vec<String> = Vec::new();
    for item in field.items().unwrap_or_default() {
        let Some(strength) = item.read(text) else { continue };
        check_printable(&item, strength);
        if strengths.iter().any(|known| known == strength) {
            item.refuse_key("this stands here twice", "Remove one of them.");
        }
        strengths.push(strength.to_owned());
    }
    strengths
}

fn upstream<'a>(field: &Field<'a>) -> Result<&'a str, Refusal> {
    match text(field)? {
        "" => Err(Refusal::new("empty", "Write what the vendor calls the model, or remove it.")),
        upstream => Ok(upstream),
    }
}

/// A capability as the config calls it, and where it is kept.
type Capability = (&'static str, Place);

type Place = fn(&mut Abilities) -> &mut bool;

const CAPABILITIES: [Capability; 4] = [
    ("tools", |abilities| &mut abilities.tools),
    ("vision", |abilities| &mut abilities.vision),
    ("json_schema", |abilities| &mut abilities.json_schema),
    ("prefill", |abilities| &mut abilities.prefill),
];

/// What nearly every model can, so that it is said of the few that cannot.
const COMMON: [Capability; 3] = [
    ("thinking", |abilities| &mut abilities.thinking),
    ("thinking_off", |abilities| &mut abilities.thinking_off),
    ("forced_tools", |abilities| &mut abilities.forced_tools),
];

fn abilities(table: &mut Table<'_>) -> Abilities {
    let mut abilities = table.field("capabilities").map(|field| capabilities(&field)).unwrap_or_default();
    if let Some(field) = table.field("lacks") {
        for (item, place) in choices(&field, &COMMON) {
            if !std::mem::replace(place(&mut abilities), false) {
                item.refuse_key("this stands here twice", "Remove one of them.");
            }
        }
    }
    let max_output = table.read("max_output", integer(1..=u32::MAX));
    abilities.max_output = max_output.map_or(abilities.max_output, u64::from);
    abilities
}

/// What the list at `field` names, and nothing else.
fn capabilities(field: &Field<'_>) -> Abilities {
    let mut abilities = Abilities::default();
    for (_, place) in CAPABILITIES {
        *place(&mut abilities) = false;
    }
    for (item, place) in choices(field, &CAPABILITIES) {
        if std::mem::replace(place(&mut abilities), true) {
            item.refuse_key("this capability stands here twice", "Remove one of them.");
        }
    }
    abilities
}

/// What the list at `field` names of `known`.
fn choices<'a>(field: &Field<'a>, known: &[Capability]) -> Vec<(Field<'a>, Place)> {
    let items = field.items().unwrap_or_default().into_iter();
    items.filter_map(|item| item.read(choice(known, &[])).map(|place| (item, place))).collect()
}
