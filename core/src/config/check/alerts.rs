//! `[alerts]`: that the table is there switches alerts on.

use super::policies::{DAY, SPAN, remainder};
use super::queue::webhook;
use crate::config::AlertPolicy;
use crate::config::reader::Table;
use crate::config::values::{duration, integer};
use crate::time::Millis;

/// Reads the table, if it is there.
pub(super) fn read(root: &mut Table<'_>) -> Option<AlertPolicy> {
    const COUNT_MAX: u32 = 1_000_000;
    const FIVE_MINUTES: Millis = Millis::from_secs(300);
    // A bucket is a tenth of the window; and an alert that comes and goes within less than this is none.
    let lasts = || duration(Millis(100)..=DAY);
    root.table("alerts", &[], |alerts| AlertPolicy {
        first_token: alerts.read("first_token", duration(SPAN)),
        answer: alerts.read("answer", duration(SPAN)),
        error_rate_permille: alerts.read("error_rate", remainder),
        failures: alerts.read("failures", integer(1..=COUNT_MAX)),
        window: alerts.read("window", lasts()).unwrap_or(FIVE_MINUTES),
        min_requests: alerts.read("min_requests", integer(1..=COUNT_MAX)).unwrap_or(20),
        clear_after: alerts.read("clear_after", lasts()).unwrap_or(FIVE_MINUTES),
        webhook: webhook(alerts),
    })
}

#[cfg(all(test, feature = "toml"))]
mod tests {
    use crate::config::Config;

    fn load(alerts: &str) -> Result<Config, String> {
        let vendor = "vendors.v = { dialect = \"openai\", base_url = \"https://v.test\" }\nmodels.\"v/m\" = {}\n";
        let secrets = |name: &str| match name {
            "HOOK" => Some("https://hooks.test/token".to_owned()),
            "KEY" => Some("a token that is as long as a key has to be".to_owned()),
            _ => None,
        };
        let text = format!("{vendor}{alerts}");
        Config::from_toml(&text, "t", &secrets).map_err(|errors| errors.to_string())
    }

    #[test]
    fn a_threshold_that_is_absent_is_not_watched() {
        assert_eq!(load("").unwrap().alerts, None);
        let policy = load("alerts = {}").unwrap().alerts.unwrap();
        assert!(!policy.watches_endings() && policy.first_token.is_none() && policy.answer.is_none());
        for (watched, expected) in [("error_rate = 0.05", true), ("failures = 3", true), ("answer = \"5s\"", false)] {
            let policy = load(&format!("alerts.{watched}")).unwrap().alerts.unwrap();
            assert_eq!(policy.watches_endings(), expected, "{watched}");
        }
    }

    #[test]
    fn what_can_never_be_passed_or_always_is_refused_and_no_url_stands_in_the_file() {
        for (wrong, problem) in [
            ("error_rate = 0", "alerts.error_rate: out of range"),
            ("error_rate = 1", "alerts.error_rate: out of range"),
            ("failures = 0", "alerts.failures: out of range"),
            ("min_requests = 0", "alerts.min_requests: out of range"),
            ("clear_after = \"0s\"", "alerts.clear_after: out of range"),
            ("window = \"2d\"", "alerts.window: out of range"),
            ("webhook = { env = \"NONE\" }", "the environment variable NONE is not set"),
            ("webhook_key = { env = \"KEY\" }", "alerts.webhook_key: there is no `webhook`"),
            ("webhook = \"https://hooks.test/token\"", "alerts.webhook: must be a table"),
        ] {
            let errors = load(&format!("alerts.{wrong}")).unwrap_err();
            assert!(errors.contains(problem) && !errors.contains("token"), "{wrong}: {errors}");
        }
        let config = load("alerts.webhook = { env = \"HOOK\" }").unwrap();
        assert!(config.alerts.as_ref().unwrap().webhook.is_some() && !format!("{config:?}").contains("hooks.test"));
    }
}
