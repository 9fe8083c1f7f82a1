//! What tokens cost, in layers: the table that is built in, a file of the operator's, the configuration. Each stands above
//! those before it; above all of them stands what a vendor itself says of an answer.

use crate::config::document::Node;
use crate::config::reader::{Field, Reader, Refusal, Table, did_you_mean};
use crate::config::values::{integer, price, text};
use crate::config::{Config, ConfigErrors, PricedBy};
use crate::price::{Price, TIERS_MAX, Tariff, Tier, table};

/// Reads `[prices]`: the file that holds the operator's own.
pub(super) fn read(root: &mut Table<'_>) -> Option<String> {
    root.table("prices", &[], |table| table.read("file", path)).flatten().map(str::to_owned)
}

fn path<'a>(field: &Field<'a>) -> Result<&'a str, Refusal> {
    match text(field)? {
        "" => Err(Refusal::new("empty", "Write the path of a TOML file, or remove it.")),
        path => Ok(path),
    }
}

/// Reads `vendors.NAME.prices`: whose part of the built-in table holds for it.
pub(super) fn vendor(field: &Field<'_>) -> Result<&'static str, Refusal> {
    let vendors = table::vendors();
    let name = text(field)?;
    let refuse = || Refusal::new("no vendor of the built-in price table", did_you_mean(name, &vendors));
    vendors.iter().find(|vendor| **vendor == name).copied().ok_or_else(refuse)
}

/// A price that is written out: `{ input = 2.00, output = 8.00 }`.
pub(super) fn written(table: &mut Table<'_>) -> Price {
    let mut price = rates(table);
    let Some(tiers) = table.field("tiers") else { return price };
    let items = tiers.items().unwrap_or_default();
    if items.len() > TIERS_MAX {
        tiers.refuse_key(format!("more than {TIERS_MAX} tiers"), "Remove those that matter least.");
    }
    let mut last = 0;
    for (item, place) in items.iter().zip(&mut price.tiers) {
        *place = item.table(&[], |table| {
            let above = table.required("above", "200_000", integer(1..=u32::MAX)).map(u64::from).unwrap_or_default();
            Tier::of(above, &rates(table))
        });
        let above = place.map_or(last, |tier| tier.above);
        if above <= last {
            item.refuse_key("not above the tier before it", "Write the tiers in the order of their `above`.");
        }
        last = above;
    }
    price
}

fn rates(table: &mut Table<'_>) -> Price {
    // Absent is not zero: a model without a price for answers says `output = 0`.
    Price {
        input: table.required("input", "2.00", price).unwrap_or_default(),
        cached_input: table.read("cached_input", price),
        cache_write: table.read("cache_write", price),
        cache_write_1h: table.read("cache_write_1h", price),
        output: table.required("output", "8.00", price).unwrap_or_default(),
        ..Price::default()
    }
}

/// Puts the prices of a file into a configuration that names none of its own for the same targets.
pub(in crate::config) fn with_file(
    mut config: Config,
    document: &Node,
    file: &str,
    text: Option<&str>,
) -> Result<Config, ConfigErrors> {
    let reader = Reader::new(file, text, &|_| None);
    for (name, field) in reader.root(document).entries() {
        let price = field.table(&[], written);
        let Some(at) = config.targets.iter().position(|target| target.name == name) else {
            let known: Vec<_> = config.targets.iter().map(|target| target.name.as_str()).collect();
            field.refuse_key(format!("there is no model `{name}`"), did_you_mean(name, &known));
            continue;
        };
        let target = &mut config.targets[at];
        if target.priced_by != PricedBy::Config {
            target.price = price.map(Tariff::from);
            target.priced_by = PricedBy::File;
        }
    }
    reader.into_errors().map_or(Ok(config), Err)
}
