//! The prices that are built in: what each vendor asks for each of its models, as far as they are priced by the token.
//!
//! `cargo xtask prices` makes the table from genai-prices. It stays text: a configuration needs a few lines of it, and reading a
//! line when it is looked up costs less than holding all of them.

use super::tariff::{Period, When};
use super::{Price, Tariff, Tier};
use crate::config::decimal;
use crate::price::Picodollars;

/// A line for each model: vendor, name, rules by which other names are matched, prices; with tabs between.
const TABLE: &str = include_str!("table.tsv");

/// Vendors of the table, by the host that serves them.
const HOSTS: [(&str, &str); 18] = [
    ("api.anthropic.com", "anthropic"),
    ("api.cerebras.ai", "cerebras"),
    ("api.cohere.ai", "cohere"),
    ("api.cohere.com", "cohere"),
    ("api.deepseek.com", "deepseek"),
    ("api.fireworks.ai", "fireworks"),
    ("generativelanguage.googleapis.com", "google"),
    ("api.groq.com", "groq"),
    ("api.minimax.io", "minimax"),
    ("api.mistral.ai", "mistral"),
    ("api.moonshot.ai", "moonshotai"),
    ("api.openai.com", "openai"),
    ("openrouter.ai", "openrouter"),
    ("api.perplexity.ai", "perplexity"),
    ("api.together.ai", "together"),
    ("api.together.xyz", "together"),
    ("api.x.ai", "x-ai"),
    ("api.z.ai", "zai"),
];

/// A model of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its vendor, as the table calls it.
    pub vendor: &'static str,
    /// The model, as the table calls it.
    pub model: &'static str,
    /// What it costs.
    pub tariff: Tariff,
    /// What it costs in a batch that may take a day; nothing here sends such.
    pub batch: Option<Price>,
}

/// Vendors of the table, in the order of their names.
pub fn vendors() -> Vec<&'static str> {
    let mut vendors: Vec<_> = HOSTS.iter().map(|(_, vendor)| *vendor).collect();
    vendors.dedup();
    vendors
}

/// The table's vendor behind a base URL.
pub fn vendor_at(base_url: &str) -> Option<&'static str> {
    let rest = base_url.split_once("://")?.1;
    let host = rest.split(['/', ':', '?']).next()?;
    HOSTS.iter().find(|(known, _)| host.eq_ignore_ascii_case(known)).map(|(_, vendor)| *vendor)
}

/// What a vendor of the table asks for a model, by any name that the vendor knows it by.
pub fn find(vendor: &str, model: &str) -> Option<Listed> {
    let model = model.to_ascii_lowercase();
    let matched = |model: &str| lines().find(|line| line.vendor == vendor && line.matches(model));
    // Some write a date without the dashes that the vendor puts there.
    let line = matched(&model).or_else(|| matched(&with_dashed_date(&model)?))?;
    line.read()
}

/// All models whose name contains this, in the order of the table.
pub fn search(part: &str) -> impl Iterator<Item = Listed> {
    let part = part.to_ascii_lowercase();
    let found = lines().filter(move |line| line.model.contains(&part) || line.rules.contains(&part));
    found.filter_map(|line| line.read())
}

/// Where the table comes from.
pub fn origin() -> &'static str {
    TABLE.lines().next().unwrap_or_default().trim_start_matches("# ")
}

struct Line {
    vendor: &'static str,
    model: &'static str,
    rules: &'static str,
    prices: &'static str,
}

fn lines() -> impl Iterator<Item = Line> {
    let fields = TABLE.lines().filter(|line| !line.starts_with('#')).map(|line| line.splitn(4, '\t'));
    fields.filter_map(|mut fields| {
        let mut next = || fields.next();
        Some(Line { vendor: next()?, model: next()?, rules: next()?, prices: next()? })
    })
}

impl Line {
    /// Whether one of the rules fits: `=` the whole name, `^` its beginning, `$` its end, `~` any part, `!` but not with
    /// this in it. A `#` stands for a digit.
    fn matches(&self, model: &str) -> bool {
        self.rules.split('|').any(|rule| {
            let (rule, without) = rule.split_once('!').unwrap_or((rule, ""));
            let fits = match rule.split_at_checked(1) {
                Some(("=", name)) => name.len() == model.len() && begins_with(model, name),
                Some(("^", begin)) => begins_with(model, begin),
                Some(("$", end)) => model.ends_with(end),
                Some(("~", part)) => model.contains(part),
                _ => false,
            };
            fits && (without.is_empty() || !model.contains(without))
        })
    }

    fn read(&self) -> Option<Listed> {
        let (batch, periods): (Vec<&str>, Vec<&str>) =
            self.prices.split('\t').partition(|price| price.starts_with("batch "));
        let batch = batch.first().and_then(|batch| read_price(batch.trim_start_matches("batch ")));
        let tariff = Tariff::new(periods.into_iter().map(read_period).collect::<Option<_>>()?)?;
        Some(Listed { vendor: self.vendor, model: self.model, tariff, batch })
    }
}

fn begins_with(model: &str, pattern: &str) -> bool {
    let fits = |(byte, wanted): (u8, u8)| if wanted == b'#' { byte.is_ascii_digit() } else { byte == wanted };
    model.len() >= pattern.len() && model.bytes().zip(pattern.bytes()).all(fits)
}

/// `x-20251211` as `x-2025-12-11`.
fn with_dashed_date(model: &str) -> Option<String> {
    let at = model.rfind("-20")?;
    let date = model.get(at + 1..at + 9).filter(|date| date.bytes().all(|byte| byte.is_ascii_digit()))?;
    let rest = model.get(at + 9..).filter(|rest| rest.is_empty() || rest.starts_with(['-', ':']))?;
    Some(format!("{}-{}-{}-{}{rest}", &model[..at], &date[..4], &date[4..6], &date[6..]))
}

/// `PRICE`, `@2026-08-17 PRICE` or `@01:00-04:00 PRICE`.
fn read_period(text: &str) -> Option<Period> {
    let Some(dated) = text.strip_prefix('@') else {
        return Some(Period { when: When::Always, price: read_price(text)? });
    };
    let (when, price) = dated.split_once(' ')?;
    let when = if when.contains(':') {
        let (begin, end) = when.split_once('-')?;
        When::Daily(time_of_day(begin)?, time_of_day(end)?)
    } else {
        When::From(crate::backoff::rfc3339(&format!("{when}T00:00:00Z"))?)
    };
    Some(Period { when, price: read_price(price)? })
}

/// `09:30` in milliseconds.
fn time_of_day(text: &str) -> Option<u64> {
    let (hours, minutes) = text.split_once(':')?;
    Some((hours.parse::<u64>().ok()? * 60 + minutes.parse::<u64>().ok()?) * 60_000)
}

/// `input/output/cached/write/write-1h` in USD per million tokens, and after each ` >TOKENS` what longer prompts cost.
fn read_price(text: &str) -> Option<Price> {
    let mut parts = text.split(" >");
    let mut price = read_rates(parts.next()?)?;
    for (place, part) in parts.enumerate() {
        let (above, rates) = part.split_once(' ')?;
        *price.tiers.get_mut(place)? = Some(Tier::of(above.parse().ok()?, &read_rates(rates)?));
    }
    Some(price)
}

fn read_rates(text: &str) -> Option<Price> {
    let mut rates = text.split('/').map(|rate| decimal(rate, 6).ok().map(Picodollars));
    let (input, output) = (rates.next()??, rates.next()??);
    let mut rest = || rates.next().flatten();
    let (cached_input, cache_write, cache_write_1h) = (rest(), rest(), rest());
    Some(Price { input, cached_input, cache_write, cache_write_1h, output, ..Price::default() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::price::Usage;
    use crate::time::Timestamp;

    /// `vendor model time input cached output picodollars`, reckoned by genai-prices itself.
    const SAMPLES: &str = include_str!("samples.tsv");

    #[test]
    fn every_line_reads_and_finds_itself() {
        let mut count = 0;
        for line in lines() {
            assert!(line.read().is_some(), "{} {}", line.vendor, line.model);
            assert!(vendors().contains(&line.vendor), "{} has no host", line.vendor);
            count += 1;
        }
        assert_eq!(count + 1, TABLE.lines().count());
        assert!(count > 1000, "{count}");
        assert!(vendors().is_sorted() && origin().contains("genai-prices"), "{}", origin());
    }

    #[test]
    fn costs_are_as_genai_prices_reckons_them() {
        let mut count = 0;
        for line in SAMPLES.lines().filter(|line| !line.starts_with('#')) {
            let fields: Vec<&str> = line.split('\t').collect();
            let [vendor, model, numbers @ ..] = &fields[..] else { panic!("{line}") };
            let numbers: Vec<u64> = numbers.iter().map(|number| number.parse().unwrap()).collect();
            let [at, input, cached_input, output, cost] = numbers[..] else { panic!("{line}") };
            let price = find(vendor, model).unwrap_or_else(|| panic!("{line}")).tariff.at(Timestamp(at));
            let usage = Usage { input, cached_input, output, ..Usage::default() };
            assert_eq!(price.cost(usage), Some(Picodollars(cost)), "{line}");
            count += 1;
        }
        assert!(count > 300, "{count}");
    }

    #[test]
    fn models_are_found_by_all_their_names() {
        let found = |vendor: &str, model: &str| find(vendor, model).map(|listed| listed.model);
        assert_eq!(found("openai", "gpt-4.1-2025-04-14"), Some("gpt-4.1"));
        assert_eq!(found("openai", "GPT-4.1-20250414"), Some("gpt-4.1"), "a date without dashes");
        assert_eq!(found("google", "gemini-2.5-pro-preview-05-06"), Some("gemini-2.5-pro"));
        assert_eq!(found("google", "gemini-2.5-pro-preview-tts"), Some("gemini-2.5-pro-tts"));
        assert_eq!(found("openai", "gpt-4.1-of-mine"), None, "what is not known has no price");
        assert_eq!(found("anthropic", "gpt-4.1"), None);
        assert_eq!(vendor_at("https://API.openai.com:443/v1"), Some("openai"));
        assert_eq!(vendor_at("https://openrouter.ai/api/v1"), Some("openrouter"));
        assert_eq!((vendor_at("http://127.0.0.1:1/v1"), vendor_at("https://api.openai.com.example.com")), (None, None));
        assert_eq!(with_dashed_date("x-20251211:free").as_deref(), Some("x-2025-12-11:free"));
        assert_eq!(with_dashed_date("x-202512112"), None);
    }

    #[test]
    fn prices_change_by_the_clock_and_by_the_prompt() {
        const HOUR: u64 = 3_600_000;
        let day = Timestamp(1_795_219_200_000); // 2026-11-21
        let deepseek = find("deepseek", "deepseek-v4-flash").unwrap().tariff;
        let input = |hour: u64| deepseek.at(Timestamp(day.0 + hour * HOUR)).input;
        assert_eq!((input(0), input(2), input(5), input(9)), {
            let (low, high) = (Picodollars(150_000), Picodollars(300_000));
            (low, high, low, high)
        });
        assert_eq!(deepseek.ceiling(day).input, Picodollars(300_000));
        let gemini = find("google", "gemini-2.5-pro").unwrap();
        let price = gemini.tariff.at(day);
        assert_eq!((price.input, price.for_prompt(200_001).input), (Picodollars(1_250_000), Picodollars(2_500_000)));
        assert_eq!(gemini.batch.unwrap().output, Picodollars(5_000_000));
        assert_eq!(
            gemini.tariff.to_string(),
            "1.25 in, 10 out, 0.125 cached; above 200000 tokens: 2.5 in, 15 out, 0.25 cached"
        );
        let told = deepseek.to_string();
        assert!(
            told.contains("\nfrom 2026-09-10: 0.15 in, 0.6 out, 0.003 cached\n01:00 to 04:00 UTC: 0.3 in"),
            "{told}"
        );
    }
}
