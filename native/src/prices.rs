//! `tidegate prices`: what models cost by the built-in table, and where a configuration says otherwise.

use std::fmt::Write as _;
use std::path::Path;

use tidegate_core::config::{Config, PricedBy};
use tidegate_core::price::table::{self, Listed};

use crate::setup::text_of;

/// More would be no answer to a question about one model.
const SHOWN_MAX: usize = 40;

/// What is known of models whose name contains this.
pub(crate) fn show(model: &str) -> String {
    let mut text = String::new();
    let mut found = table::search(model);
    for Listed { vendor, model, tariff, batch } in found.by_ref().take(SHOWN_MAX) {
        let _ = writeln!(text, "{vendor} {model}");
        for line in tariff.to_string().lines() {
            let _ = writeln!(text, "  {line}");
        }
        if let Some(batch) = batch {
            let _ = writeln!(text, "  in a batch: {batch}");
        }
    }
    if text.is_empty() {
        return format!("Nothing is known of `{model}`: its cost is reported as unknown.\n");
    }
    let more = found.count();
    if more > 0 {
        let _ = writeln!(text, "And {more} more: say more of the name.");
    }
    format!("{text}\nUSD per million tokens. {}\n", table::origin())
}

/// Where a configuration's prices differ from the table that is built in.
pub(crate) fn diff(config: &Config) -> String {
    let mut text = String::new();
    for target in &config.targets {
        let list = config.vendors[target.vendor.0].prices;
        let listed = list.and_then(|vendor| table::find(vendor, &target.upstream)).map(|listed| listed.tariff);
        let (said_by, ours) = match (target.priced_by, &target.price) {
            (_, None) => {
                let _ = writeln!(text, "{}: no price is known", target.name);
                continue;
            }
            (PricedBy::Table, Some(_)) => continue,
            (PricedBy::File, Some(price)) => ("the file", price),
            (PricedBy::Config, Some(price)) => ("the configuration", price),
        };
        if listed.as_ref() != Some(ours) {
            let listed = listed.map_or_else(|| "nothing".to_owned(), |listed| one_line(&listed.to_string()));
            let _ =
                writeln!(text, "{}\n  {said_by}: {}\n  built in: {listed}", target.name, one_line(&ours.to_string()));
        }
    }
    if text.is_empty() { "Every price is as the built-in table has it.\n".to_owned() } else { text }
}

fn one_line(tariff: &str) -> String {
    tariff.replace('\n', " | ")
}

/// What names the file of prices of a configuration, and what is in it.
pub(crate) type PricesFile = (String, String);

/// The configuration with the prices of the file that it names, which is looked for beside its own; and that file.
pub(crate) fn with_file(config: Config, beside: &Path) -> Result<(Config, Option<PricesFile>), String> {
    let Some(named) = config.prices.clone() else { return Ok((config, None)) };
    let (name, text) = text_of(&beside.parent().unwrap_or(Path::new(".")).join(named))?;
    let config = config.with_prices(&text, &name).map_err(|errors| errors.to_string())?;
    Ok((config, Some((name, text))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_shown_with_all_its_prices() {
        let told = show("gpt-4.1");
        assert!(told.starts_with("openai gpt-4.1\n  2 in, 8 out, 0.5 cached\n  in a batch: 1 in, 4 out\n"), "{told}");
        assert!(told.contains("genai-prices"), "{told}");
        assert!(!told.contains("more of the name"), "that is all: {told}");
        assert!(show("no-such-model").starts_with("Nothing is known"));
        assert!(show("gpt").contains(" more: say more of the name."), "{}", show("gpt"));
    }

    #[test]
    fn what_differs_is_told_and_the_files_prices_count() {
        let dir = std::env::temp_dir().join(format!("tidegate-prices-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a directory");
        let file = dir.join("tidegate.toml");
        let text = "[prices]\nfile = \"own.toml\"\n[vendors.o]\ndialect = \"openai\"\nbase_url = \"http://127.0.0.1:1\"\n\
                    prices = \"openai\"\n[models.\"o/gpt-4.1\"]\n[models.\"o/gpt-4.1-mini\"]\n[models.\"o/mine\"]\n";
        std::fs::write(dir.join("own.toml"), "[\"o/gpt-4.1\"]\ninput = 1\noutput = 2\n").expect("a file");
        std::fs::write(&file, text).expect("a file");
        let config = crate::setup::from_file(&file).expect("a good one");
        let told = diff(&config);
        let expected =
            "o/gpt-4.1\n  the file: 1 in, 2 out\n  built in: 2 in, 8 out, 0.5 cached\no/mine: no price is known\n";
        assert_eq!(told, expected);
        std::fs::remove_file(dir.join("own.toml")).expect("it was there");
        assert!(crate::setup::from_file(&file).expect_err("it is gone").contains("own.toml cannot be read"));
        std::fs::remove_dir_all(&dir).expect("it was there");
    }
}
