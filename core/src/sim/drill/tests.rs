//! Disasters, and what must come of them.

use super::*;

const CONFIG: &str = r#"{
    "vendors": {
        "openai": {"dialect": "openai", "base_url": "http://a.test/v1", "keys": [{"env": "A"}]},
        "anthropic": {"dialect": "anthropic", "base_url": "http://b.test", "keys": [{"env": "B"}]},
        "deepseek": {"dialect": "openai", "base_url": "http://c.test/v1", "keys": [{"env": "C"}]}
    },
    "models": {
        "openai/gpt-4.1": {"price": {"input": 8.0, "output": 32.0}},
        "anthropic/claude-sonnet-4": {"price": {"input": 4.5, "output": 18.0}},
        "deepseek/deepseek-chat": {"price": {"input": 0.42, "output": 1.68}}
    },
    "routes": {"chat": {"models": ["openai/gpt-4.1", "anthropic/claude-sonnet-4", "deepseek/deepseek-chat"]}},
    "clients": {"team": {"key": {"env": "TEAM"}}}
}"#;

fn config() -> Config {
    let secret = |name: &str| Some(format!("made-up-secret-of-the-drill-{name}"));
    Config::from_json(CONFIG, "drill.json", &secret).unwrap_or_else(|errors| panic!("{errors}"))
}

fn terms(stream: bool) -> Terms {
    let length = Millis::from_secs(600);
    Terms { model: "chat".to_owned(), seed: 1, per_hour: 3600, length, stream, sdk: Sdk::DEFAULT }
}

fn run(scenario: Scenario, terms: &Terms) -> Report {
    drill(&config(), terms, scenario, &mut |_| ()).unwrap()
}

/// Whoever has someone else to ask is never worse off for it.
#[test]
fn no_disaster_is_worse_with_tidegate() {
    for stream in [false, true] {
        for scenario in Scenario::ALL {
            let Report { with, without, .. } = run(scenario, &terms(stream));
            assert_eq!(with.calls, without.calls, "the same clients come on both sides");
            assert!(with.served >= without.served, "{scenario:?}: {with:?} {without:?}");
        }
    }
}

#[test]
fn one_that_is_down_is_found_out_and_found_well_again() {
    let Report { with, without, from_ms, until_ms, .. } = run(Scenario::OneDown, &terms(false));
    assert_eq!(with.calls, with.served, "somebody else could serve all");
    assert!(without.served * 10 < without.calls * 8, "without it, nobody is served meanwhile: {without:?}");
    let sick_for = until_ms - from_ms;
    assert!(with.attempts_at_sick < 20 && without.attempts_at_sick > 400, "{with:?} {without:?}");
    assert!(with.fail_over_ms.is_some_and(|ms| ms < Millis(10_000)), "{with:?}");
    assert!(with.fail_back_ms.is_some_and(|ms| ms < Millis(25_000)), "{with:?}");
    assert_eq!(without.fail_over_ms, None);
    assert!(sick_for > Millis::from_secs(60));
}

#[test]
fn when_all_are_down_nobody_is_served_and_few_are_bothered() {
    let Report { with, without, .. } = run(Scenario::AllDown, &terms(false));
    assert!(with.served < with.calls);
    assert!(with.attempts_at_sick * 4 < without.attempts_at_sick, "{with:?} {without:?}");
}

#[test]
fn a_seed_gives_the_same_report_each_time_and_another_another() {
    let once = run(Scenario::Flapping, &terms(true));
    assert_eq!(run(Scenario::Flapping, &terms(true)), once);
    let other = Terms { seed: 2, ..terms(true) };
    assert_ne!(run(Scenario::Flapping, &other).with, once.with);
}

#[test]
fn what_is_not_in_the_configuration_is_named() {
    let terms = Terms { model: "nobody".to_owned(), ..terms(false) };
    let refused = drill(&config(), &terms, Scenario::Slow, &mut |_| ()).unwrap_err();
    assert!(refused.contains("`nobody`"), "{refused}");
}

#[test]
fn progress_goes_from_nothing_to_all() {
    let mut told = Vec::new();
    drill(&config(), &terms(false), Scenario::Slow, &mut |done| told.push(done)).unwrap();
    assert!(told.is_sorted() && told.last() == Some(&1000), "{told:?}");
}

/// A minute's outage of the first choice: what README promises of it.
#[test]
fn an_outage_is_survived_at_any_rate() {
    for per_hour in [900, 180_000] {
        let terms = Terms { per_hour, length: Millis::from_secs(300), ..terms(false) };
        let Report { with, .. } = run(Scenario::Outage, &terms);
        assert_eq!(with.calls, with.served, "{per_hour}: {with:?}");
        let most = if per_hour < 1000 { 5 } else { 100 };
        assert!(with.attempts_at_sick <= most, "{per_hour}: {with:?}");
        assert!(with.fail_back_ms.is_some_and(|ms| ms <= Millis(15_000)), "{per_hour}: {with:?}");
    }
}
