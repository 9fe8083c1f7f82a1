//! What an operator meets: whole documents in, configs or messages out.

use proptest::prelude::*;

use super::*;
use crate::dialect::Rescue;
use crate::dialect::chat::Abilities;
use crate::price::Picodollars;
use crate::time::Timestamp;

mod choices;
mod every_key;

pub(super) const EXAMPLE: &str = include_str!("../../../tidegate.toml");

/// Everything is set, each variable to something of its own.
#[expect(clippy::unnecessary_wraps, reason = "it looks up variables as an adapter does, which may not find one")]
pub(super) fn all_set(name: &str) -> Option<String> {
    let is_address = name.ends_with("WEBHOOK");
    Some(format!("{}the-secret-that-is-in-{name}", if is_address { "https://hook.invalid/" } else { "" }))
}

/// The example with all of its settings: those that are commented out start with `#` and no space.
pub(super) fn whole_example() -> String {
    let uncomment = |line: &'static str| match line.strip_prefix('#') {
        Some(setting) if !setting.starts_with(' ') => setting,
        _ => line,
    };
    EXAMPLE.lines().map(uncomment).collect::<Vec<_>>().join("\n")
}

fn load(text: &str) -> Config {
    Config::from_toml(text, "tidegate.toml", &all_set).unwrap_or_else(|errors| panic!("{errors}"))
}

fn errors_of(text: &str) -> String {
    Config::from_toml(text, "t", &all_set).unwrap_err().to_string()
}

/// A vendor and a model, to which tests add.
const SMALL: &str = r#"
models."v/m" = {}
vendors.v.dialect = "openai"
vendors.v.base_url = "https://api.example.com/v1/"
"#;

fn small(more: &str) -> String {
    format!("{SMALL}{more}")
}

#[test]
fn the_example_works_with_three_keys_set() {
    let set = ["OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY"];
    let secrets = |name: &str| set.contains(&name).then(|| format!("sk-0123456789-{name}"));
    let config = Config::from_toml(EXAMPLE, "tidegate.toml", &secrets).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(config.server, Server::default(), "the example shows the defaults");
    assert_eq!(config.retry_share_permille, 200);
    let Name::Route(RouteId(route)) = config.names["default"] else { panic!("a route") };
    let served_by: Vec<_> =
        config.routes[route].candidates.iter().map(|candidate| config.target(candidate.target).name.as_str()).collect();
    assert_eq!(served_by, ["openai/gpt-4.1", "anthropic/claude-sonnet-5-5", "gemini/gemini-3.5-flash"]);
    let gpt = config.targets.iter().find(|target| target.name == "openai/gpt-4.1").unwrap();
    assert_eq!(gpt.upstream, "gpt-4.1-2025-04-14");
    assert_eq!((gpt.timeouts, gpt.retry), Default::default(), "the example shows the defaults");
    let breaker = config.breakers.iter().find(|guard| guard.name == gpt.name).unwrap();
    assert_eq!(breaker.policy, BreakerPolicy::default(), "the example shows the defaults");
    assert_eq!(gpt.price.as_ref().unwrap().at(Timestamp(0)).cached_input, Some(Picodollars(500_000)));
    assert_eq!(gpt.abilities, Abilities::default(), "the example shows the defaults");
    let dialects: Vec<_> = config.vendors.iter().map(|vendor| vendor.dialect).collect();
    assert_eq!(dialects, [Dialect::Anthropic, Dialect::Gemini, Dialect::OpenAi]);
}

#[test]
fn what_is_left_out_has_the_defaults_the_example_shows() {
    let config = load(&small(""));
    assert_eq!(config.server, Server::default());
    let target = config.target(TargetId(0));
    assert_eq!((target.timeouts, target.retry, config.guard(BreakerId(0)).policy), Default::default());
    assert_eq!((target.context, &target.price), (None, &None), "absent is not zero");
    assert_eq!(target.upstream, "m");
    let Abilities { tools, vision, json_schema, prefill, max_output, .. } = target.abilities;
    assert_eq!((tools, vision, json_schema, prefill, max_output), (true, true, true, false, 8192));
    let Abilities { thinking, thinking_off, forced_tools, .. } = target.abilities;
    assert!(thinking && thinking_off && forced_tools);
    let vendor = config.vendor_of(TargetId(0));
    assert_eq!((vendor.unsupported.len(), vendor.rename.len()), (0, 0));
    assert_eq!(vendor.base_url, "https://api.example.com/v1");
    assert_eq!(vendor.keys, [Key::none()]);
}

#[test]
fn all_errors_come_at_once_with_their_places_and_remedies() {
    let text = r#"
[server]
listen = "0.0.0.0:8080"
drain = 30
body_max = "20 megs"
[vendors.openai]
dialct = "openai"
base_url = "https://example.com?x=1"
[models."opnai/gpt-4.1"]
price = { input = -1, output = 0.0000001 }
timeouts = { connect = "1s", head = "400d" }
breaker = { failure_rate = 1.5, probes = 0, open = "5m", minrequests = 3 }
[models.bare]
[routes.default]
models = ["openai/gpt-4.1", "opnai/gpt-4.1", "opnai/gpt-4.1"]
breaker = { failures = 1, open = "5m" }
retry = { share = 0.1, attempts = 0 }
[routes.empty]
models = []
[aliases]
"opnai/gpt-4.1" = "defualt"
[vendros]
"#;
    let expected = r#"
t:3:10: server.listen: others can reach this address, and without client keys all of them could spend yours. Add a [clients.NAME] table with a key, or listen on 127.0.0.1.
t:4:9: server.drain: must be a duration, not a number. Write a duration such as "250ms", "10s", "2m", "1h" or "1d".
t:5:12: server.body_max: not a size. Write a size such as "64KiB", "20MiB" or "1GB".
t:6:10: vendors.openai: `dialect` is missing. Add dialect = "openai".
t:7:1: vendors.openai.dialct: unknown key. Did you mean `dialect`?
t:8:12: vendors.openai.base_url: a base URL ends with its path. Write a URL such as "https://api.openai.com/v1".
t:9:9: models."opnai/gpt-4.1": there is no vendor `opnai`. Did you mean `openai`?
t:10:19: models."opnai/gpt-4.1".price.input: not a price. Write USD per million tokens with at most six decimals, such as 0.0375.
t:10:32: models."opnai/gpt-4.1".price.output: finer than a picodollar per token. Write USD per million tokens with at most six decimals, such as 0.0375.
t:11:14: models."opnai/gpt-4.1".timeouts.connect: connections are pooled per vendor, so this limit is the vendor's. Move it to the vendor's `timeouts`, or to `defaults.timeouts`.
t:11:37: models."opnai/gpt-4.1".timeouts.head: out of range. It may be from 1ms to 1d.
t:12:1: models."opnai/gpt-4.1".breaker: `open` (5m) is longer than `open_max` (2m). Set both, `open` to at most `open_max`.
t:12:28: models."opnai/gpt-4.1".breaker.failure_rate: not a share. Write a share from 0 to 1 with at most three decimals, such as 0.5 for half.
t:12:42: models."opnai/gpt-4.1".breaker.probes: out of range. It may be from 1 to 1000.
t:12:58: models."opnai/gpt-4.1".breaker.minrequests: unknown key. Did you mean `min_requests`?
t:13:9: models.bare: not the name of a model. Write [models."vendor/model"], in quotes.
t:15:11: routes.default.models[0]: there is no model `openai/gpt-4.1`. Did you mean `opnai/gpt-4.1`?
t:15:46: routes.default.models[2]: this model stands here twice. Remove one of them.
t:16:1: routes.default.breaker: `open` (5m) is longer than `open_max` (2m). Set both, `open` to at most `open_max`.
t:17:11: routes.default.retry.share: this budget is one for the whole process. Move it to `defaults.retry`.
t:17:35: routes.default.retry.attempts: out of range. It may be from 1 to 100.
t:19:1: routes.empty.models: a route needs at least one model. Write models = ["vendor/model"].
t:21:1: aliases."opnai/gpt-4.1": this is the name of a route or a model already. Choose another alias.
t:21:19: aliases."opnai/gpt-4.1": there is no route or model `defualt`. Did you mean `default`?
t:22:2: vendros: unknown key. Did you mean `vendors`?"#;
    assert_eq!(errors_of(text), expected.trim_start());
}

#[test]
fn json_has_the_same_errors_by_key_alone() {
    let errors = Config::from_json(r#"{"vendors": {"v": {"dialect": "grok", "keys": 5}}}"#, "c.json", &all_set);
    assert_eq!(
        errors.unwrap_err().to_string(),
        "c.json: there is no model. Add a [models.\"vendor/model\"] table for each model to be used.\n\
         c.json: vendors.v: `base_url` is missing. Add base_url = \"https://api.openai.com/v1\".\n\
         c.json: vendors.v.dialect: not one of the choices. Known here: `openai`, `anthropic`, `gemini`.\n\
         c.json: vendors.v.keys: must be a list, not a number. Write it in [square brackets]."
    );
    let errors = Config::from_json("[]", "c.json", &all_set).unwrap_err();
    assert_eq!(errors.to_string(), "c.json: must be a table, not a list.");
}

#[test]
fn what_later_versions_will_have_is_told_from_a_slip() {
    let text = r#"
shared = { redis = { env = "R" } }
[vendors.v]
dialect = "anthropic"
base_url = "https://example.com"
keys = [{ env = "K" }]
[models."v/m"]
[routes.r]
models = ["v/m"]
"#;
    let errors = Config::from_toml(text, "t", &all_set).unwrap_err();
    assert!(errors.iter().all(|error| error.problem.ends_with("not supported by this version yet")), "{errors}");
    assert_eq!(errors.iter().count(), 1, "{errors}");
}

#[test]
fn limits_are_found_where_they_stand_and_models_have_them_from_the_defaults() {
    let config = load(
        r#"
defaults.rpm = 100
vendors.v = { dialect = "openai", base_url = "https://v.test", keys = [{ env = "K", rpm = 500, tpm = 150_000, concurrency = 20, weight = 2 }] }
models."v/m" = { tpm = 7 }
models."v/n" = { rpm = 9 }
clients.c = { key = { env = "C" }, rpm = 1, concurrency = 2, budget = { usd = 0.25, per = "1h" } }
"#,
    );
    let key = &config.vendors[0].keys[0];
    assert_eq!(key.limits, Limits { rpm: Some(500), tpm: Some(150_000), concurrency: Some(20) });
    assert_eq!(key.weight, Some(2));
    assert_eq!(config.targets[0].limits, Limits { rpm: Some(100), tpm: Some(7), concurrency: None });
    assert_eq!(config.targets[1].limits, Limits { rpm: Some(9), tpm: None, concurrency: None });
    assert_eq!(config.clients[0].limits, Limits { rpm: Some(1), tpm: None, concurrency: Some(2) });
    let (limit, period) = (Picodollars(250_000_000_000), Millis::from_secs(3600));
    assert_eq!(config.clients[0].budget, Some(BudgetPolicy { limit, period, soft_permille: 800 }));
    for (wrong, problem) in [
        ("defaults.rpm = 0", "defaults.rpm: out of range. It may be from 1 to 4294967295."),
        ("defaults.concurrency = 5", "must be a table"),
        (r#"clients.c = { key = { env = "C" }, budget = { usd = 0, per = "1d" } }"#, "budget.usd: out of range"),
        (r#"clients.c = { key = { env = "C" }, budget = { usd = 1, per = "1s" } }"#, "budget.per: out of range"),
        (r#"clients.c = { key = { env = "C" }, budget = { usd = 1 } }"#, "`per` is missing"),
    ] {
        let errors = errors_of(&small(wrong));
        assert!(errors.contains(problem), "{wrong}: {errors}");
    }
}

#[test]
fn vendors_may_refuse_and_rename_parameters() {
    let config = load(&small(
        r#"vendors.v.unsupported = ["logit_bias", "frequency_penalty"]
vendors.v.rename = { seed = "random_seed", max_completion_tokens = "max_tokens" }"#,
    ));
    let vendor = config.vendor_of(TargetId(0));
    assert_eq!(vendor.unsupported, ["frequency_penalty", "logit_bias"], "in alphabetical order");
    let renamed = [("max_completion_tokens", "max_tokens"), ("seed", "random_seed")];
    assert_eq!(vendor.rename, renamed.map(|(from, to)| (from.to_owned(), to.to_owned())));
    for (wrong, problem) in [
        (r#"unsupported = ["seed", "seed"]"#, "unsupported[1]: this parameter stands here twice. Remove"),
        (r#"unsupported = ["stream"]"#, "unsupported[0]: no request is without `stream`. Remove"),
        (r#"unsupported = ["tools"]"#, "Set the `capabilities` of the models, without \"tools\"."),
        (r#"unsupported = ["response_format"]"#, "models, without \"json_schema\"."),
        (r#"unsupported = ["stream_options.include_usage"]"#, "unsupported[0]: not the name of a parameter. Write"),
        (r#"rename = { seed = "" }"#, "rename.seed: not the name of a parameter. Write"),
        (r#"rename = { model = "name" }"#, "rename.model: no request is without `model`. Remove"),
        (r#"rename = { input = "messages" }"#, "rename.input: no request is without `messages`. Remove"),
        (r#"rename = { seed = "seed" }"#, "rename.seed: `seed` is renamed as well. Write the last name at once."),
        (r#"rename = { a = "b", b = "c" }"#, "rename.a: `b` is renamed as well. Write the last name at once."),
        (r#"rename = { a = "c", b = "c" }"#, "rename.b: `a` has this name already. Remove"),
        ("unsupported = [\"a\"]\nvendors.v.rename = { a = \"b\" }", "rename.a: `a` stands in `unsupported`. Remove"),
        ("unsupported = [\"b\"]\nvendors.v.rename = { a = \"b\" }", "rename.a: `b` stands in `unsupported`. Remove"),
        ("rename = [\"a\"]", "rename: must be a table, not a list."),
    ] {
        let errors = errors_of(&small(&format!("vendors.v.{wrong}")));
        assert!(errors.contains(problem) && errors.lines().count() == 1, "{wrong}: {errors}");
    }
}

#[test]
fn models_may_refuse_and_rename_more_than_their_vendor() {
    let vendor = r#"vendors.v.unsupported = ["seed"]
vendors.v.rename = { max_completion_tokens = "max_tokens" }"#;
    let config = load(&small(&format!(
        r#"{vendor}
models."v/own" = {{ unsupported = ["logit_bias", "seed"], rename = {{ max_completion_tokens = "limit", user = "id" }} }}"#
    )));
    let [plain, own] = &config.targets[..] else { panic!("two models") };
    assert_eq!((&plain.unsupported, &plain.rename), (&config.vendors[0].unsupported, &config.vendors[0].rename));
    assert_eq!(own.unsupported, ["logit_bias", "seed"]);
    let renamed = [("max_completion_tokens", "limit"), ("user", "id")];
    assert_eq!(own.rename, renamed.map(|(from, to)| (from.to_owned(), to.to_owned())));
    for (wrong, problem) in [
        (r#"unsupported = ["max_tokens"]"#, "unsupported[0]: `max_tokens` stands in the vendor's `rename`. Remove"),
        (r#"rename = { seed = "random_seed" }"#, "rename.seed: `seed` stands in `unsupported`. Remove"),
        (r#"rename = { max_tokens = "limit" }"#, "makes `max_tokens` of `max_completion_tokens`. Write"),
        (r#"rename = { a = "max_completion_tokens" }"#, "`max_completion_tokens` is renamed as well. Write"),
        (r#"rename = { a = "max_tokens" }"#, "`max_completion_tokens` has this name already. Remove"),
    ] {
        let text = small(vendor).replace("\"v/m\" = {}", &format!("\"v/m\".{wrong}"));
        let errors = errors_of(&text);
        assert!(errors.contains(problem) && errors.lines().count() == 1, "{wrong}: {errors}");
    }
}

#[test]
fn targets_say_what_they_can_do_and_routes_what_becomes_of_the_rest() {
    let routes = "[routes.a]\nmodels = [\"v/m\"]\n[routes.b]\nmodels = [\"v/m\"]\nparameters = \"strict\"";
    let config = load(&small(&format!(
        "models.\"v/able\" = {{ capabilities = [\"prefill\", \"tools\"], max_output = 64_000 }}\n\
         models.\"v/plain\" = {{ capabilities = [], lacks = [\"forced_tools\", \"thinking_off\"] }}\n{routes}"
    )));
    let abilities: Vec<_> = config.targets.iter().map(|target| target.abilities).collect();
    let none = Abilities { tools: false, vision: false, json_schema: false, ..Abilities::default() };
    let able = Abilities { tools: true, prefill: true, max_output: 64_000, ..none };
    assert_eq!(abilities, [able, Abilities::default(), Abilities { forced_tools: false, thinking_off: false, ..none }]);
    let parameters: Vec<_> = config.routes.iter().map(|route| route.parameters).collect();
    assert_eq!(parameters, [Parameters::Lenient, Parameters::Strict]);
    for (wrong, problem) in [
        ("capabilities = [\"tool\"]", "capabilities[0]: not one of the choices. Did you mean `tools`?"),
        ("capabilities = [\"tools\", \"tools\"]", "capabilities[1]: this capability stands here twice. Remove"),
        ("capabilities = \"tools\"", "capabilities: must be a list, not a string."),
        (
            "lacks = [\"think\"]",
            "lacks[0]: not one of the choices. Known here: `thinking`, `thinking_off`, `forced_tools`.",
        ),
        ("lacks = [\"thinking\", \"thinking\"]", "lacks[1]: this stands here twice. Remove"),
        ("max_output = 0", "max_output: out of range. It may be from 1 to 4294967295."),
    ] {
        let errors = errors_of(&small("").replace("\"v/m\" = {}", &format!("\"v/m\".{wrong}")));
        assert!(errors.contains(problem) && errors.lines().count() == 1, "{wrong}: {errors}");
    }
}

#[test]
fn a_route_says_how_a_stream_that_breaks_off_is_gone_on_with() {
    let of = |cut: &str, capabilities: &str| {
        let models = format!("models.\"v/other\" = {{ capabilities = [{capabilities}] }}");
        small(&format!("{models}\n[routes.r]\nmodels = [\"v/m\", \"v/other\"]\nstream_cut = \"{cut}\""))
    };
    for (cut, expected) in [("error", None), ("continue", Some(Rescue::Continue)), ("restart", Some(Rescue::Restart))] {
        assert_eq!(load(&of(cut, "\"prefill\"")).routes[0].stream_cut, expected);
    }
    let errors = errors_of(&of("continue", ""));
    assert!(
        errors.contains("stream_cut: no model of this route goes on from the beginning of an answer. Add"),
        "{errors}"
    );
    assert!(
        errors_of(&of("go on", "")).contains("stream_cut: not one of the choices. Known here: `error`, `continue`")
    );
}

#[test]
fn the_nearest_policy_wins_key_by_key() {
    let config = load(
        r#"
[defaults]
timeouts = { connect = "1s", head = "1s", answer = "1s", gap = "1s", total = "1s" }
retry = { attempts = 1, deadline = "1s", wait = "1s" }
breaker = { failures = 1, probes = 1, successes = 1 }
[vendors.v]
dialect = "openai"
base_url = "https://example.com"
timeouts = { connect = "2s", answer = "2s", gap = "2s", total = "2s" }
retry = { deadline = "2s", wait = "2s" }
breaker = { probes = 2, successes = 2 }
[models."v/m"]
timeouts = { gap = "3s", total = "3s" }
retry = { wait = "3s", quarantine = "3s" }
breaker = { successes = 4 }
[models."v/plain"]
[routes.r]
models = ["v/m", "v/plain"]
timeouts = { total = "4s" }
retry = { wait = "4s" }
breaker = { failures = 3 }
[routes.shared]
models = ["v/plain", "v/m"]
retry = { quarantine = "4s" }
"#,
    );
    let secs = Millis::from_secs;
    let timeouts = |total: u64, gap: u64| Timeouts {
        head: secs(1),
        answer: secs(2),
        first_token: Timeouts::default().first_token,
        gap: secs(gap),
        total: secs(total),
    };
    let (m, plain) = (config.target(TargetId(0)), config.target(TargetId(1)));
    assert_eq!((m.timeouts, plain.timeouts), (timeouts(3, 3), timeouts(2, 2)));
    let on_route: Vec<_> = config.routes[0].candidates.iter().map(|candidate| candidate.timeouts).collect();
    assert_eq!(on_route, [timeouts(4, 3), timeouts(4, 2)]);
    assert_eq!(config.vendors[0].connect, secs(2));
    let retry = |deadline: u64, wait: u64| RetryPolicy {
        attempts: 1,
        deadline: secs(deadline),
        wait: secs(wait),
        ..RetryPolicy::default()
    };
    assert_eq!((m.retry, plain.retry), (RetryPolicy { quarantine: secs(3), ..retry(2, 3) }, retry(2, 2)));
    let quarantines = |route: usize| config.routes[route].candidates.iter().map(|candidate| candidate.quarantine);
    assert!(
        quarantines(0).eq([secs(3), RetryPolicy::default().quarantine]),
        "a key is its vendor's, and not the request's"
    );
    assert!(quarantines(1).eq([secs(4), secs(4)]));
    assert_eq!(config.routes[0].retry, retry(1, 4), "a route is over the defaults: its models' vendors may differ");
    let breaker = BreakerPolicy { failures: 1, probes: 2, successes: 4, ..BreakerPolicy::default() };
    let guards = |route: usize| config.routes[route].candidates.iter().map(|candidate| config.guard(candidate.breaker));
    let shared: Vec<_> = guards(1).map(|guard| (guard.name.as_str(), guard.policy)).collect();
    assert_eq!(shared, [("v/plain", BreakerPolicy { successes: 2, ..breaker }), ("v/m", breaker)], "the targets' own");
    let own: Vec<_> = guards(0).map(|guard| (guard.name.as_str(), guard.policy)).collect();
    let breaker = BreakerPolicy { failures: 3, ..breaker };
    assert_eq!(own, [("v/m on r", breaker), ("v/plain on r", BreakerPolicy { successes: 2, ..breaker })]);
    assert!(guards(0).zip([TargetId(0), TargetId(1)]).all(|(guard, target)| guard.target == target));
}

#[test]
fn a_share_of_models_is_at_least_one_of_them_or_meant_to_be_none() {
    let route = |models: &str, share: &str| {
        let models = format!("models = {models}\nejected_max = {share}");
        let config = small("models.\"v/n\" = {}\nmodels.\"v/o\" = {}\n") + "[routes.r]\n" + &models;
        Config::from_toml(&config, "t", &all_set).map(|config| config.routes[0].ejected_max())
    };
    let (all, one) = (r#"["v/m", "v/n", "v/o"]"#, r#"["v/m"]"#);
    for (models, share, count) in [(all, "1", 3), (all, "0.999", 2), (all, "0.5", 1), (all, "0", 0), (one, "1.0", 1)] {
        assert_eq!(route(models, share).ok(), Some(count), "{share} of {models}");
    }
    for (models, share, remedy) in [(all, "0.333", "at least 0.334"), (one, "0.9", "at least 1")] {
        let errors = route(models, share).unwrap_err().to_string();
        assert!(errors.contains("this share is less than one") && errors.contains(remedy), "{errors}");
    }
}

#[test]
fn names_mean_one_thing() {
    let config = load(
        r#"
vendors.a = { dialect = "openai", base_url = "https://a.example.com" }
vendors.b = { dialect = "openai", base_url = "https://b.example.com" }
models."a/same" = {}
models."b/same" = {}
models."a/only" = {}
models."b/org/deep" = {}
models."a/taken" = {}
routes.taken = { models = ["b/same"] }
aliases = { "gpt" = "taken", "only-a" = "a/only" }
"#,
    );
    let meaning = |name: &str| match config.names.get(name)? {
        Name::Route(id) => Some(config.routes[id.0].name.as_str()),
        Name::Target(id) => Some(config.target(*id).name.as_str()),
    };
    for (name, meant) in [
        ("a/same", Some("a/same")),
        ("same", None),
        ("only", Some("a/only")),
        ("org/deep", Some("b/org/deep")),
        ("taken", Some("taken")),
        ("gpt", Some("taken")),
        ("only-a", Some("a/only")),
    ] {
        assert_eq!(meaning(name), meant, "{name}");
    }
    assert_eq!(config.targets.iter().find(|target| target.name == "b/org/deep").unwrap().upstream, "org/deep");
    let errors = errors_of(&small("routes.\"a/b\" = { models = [\"v/m\"] }\nroutes.\"a b\" = { models = [\"v/m\"] }"));
    assert!(errors.contains("a slash is what names of models have"), "{errors}");
    assert!(errors.contains("1 to 200 characters of ASCII and no spaces"), "{errors}");
}

#[test]
fn secrets_come_from_the_environment_and_are_never_repeated() {
    let secret = "sk-live-0123456789-0123456789";
    let text = format!(
        r#"
server.admin_key = "{secret}"
models."v/m" = {{}}
vendors.v.dialect = "openai"
vendors.v.base_url = "https://user:{secret}@example.com"
vendors.v.keys = ["{secret}", {{ env = "{secret}" }}, {{ env = "UNSET" }}, {{ env = "BROKEN" }}]
vendors.w.dialect = "openai"
vendors.w.base_url = {{ env = "NO_URL" }}
vendors.x.dialect = "openai"
vendors.x.base_url = "https://example.com"
vendors.x.keys = [{{ env = "SHORT" }}, {{ env = "SHORT" }}]
clients.c.key = {{ env = "SHORT" }}
"#
    );
    let secrets = |name: &str| match name {
        "BROKEN" => Some(format!("{secret}\n")),
        "NO_URL" => Some(secret.to_owned()),
        "SHORT" => Some(secret[..15].to_owned()),
        _ => None,
    };
    let errors = Config::from_toml(&text, "t", &secrets).unwrap_err().to_string();
    assert!(!errors.contains("live"), "{errors}");
    let expected = [
        "server.admin_key: a secret must not stand in the file",
        "vendors.v.base_url: a user or password must not stand in a URL",
        "vendors.v.keys[0]: a secret must not stand in the file",
        "vendors.v.keys[1].env: not the name of an environment variable",
        "vendors.v.keys[2]: the environment variable UNSET is not set, or empty",
        "vendors.v.keys[3]: BROKEN holds a space",
        "vendors.w.base_url: not a URL",
        "vendors.x.keys[0]: SHORT looks cut off: a key here has at least 20 characters",
        "vendors.x.keys[1]: SHORT looks cut off: a key here has at least 20 characters",
        "clients.c.key: SHORT looks cut off: a key here has at least 16 characters",
    ];
    assert_eq!(errors.lines().count(), expected.len(), "{errors}");
    for (line, expected) in errors.lines().zip(expected) {
        assert!(line.contains(expected), "{line}\n{expected}");
    }
}

#[test]
fn a_vendor_on_this_machine_may_have_any_key_and_an_address_from_the_environment() {
    let text = r#"
models."v/m" = {}
vendors.v.dialect = "openai"
vendors.v.base_url = { env = "SANDBOX_URL" }
vendors.v.keys = [{ env = "A" }, { env = "B" }]
"#;
    let secrets = |name: &str| Some(if name == "SANDBOX_URL" { "http://127.0.0.1:9001/v1/" } else { name }.to_owned());
    let config = Config::from_toml(text, "t", &secrets).unwrap();
    assert_eq!(config.vendors[0].base_url, "http://127.0.0.1:9001/v1");
    let keys: Vec<_> = config.vendors[0].keys.iter().map(|key| key.secret.as_ref().map(Secret::expose)).collect();
    assert_eq!(keys, [Some("A"), Some("B")]);
    let public = |name: &str| Some(if name == "SANDBOX_URL" { "https://example.com" } else { name }.to_owned());
    assert!(Config::from_toml(text, "t", &public).unwrap_err().to_string().contains("A looks cut off"));
}

#[test]
fn base_urls_are_checked() {
    for (url, works) in [
        ("https://api.example.com/v1", true),
        ("http://10.0.0.5:8000", true),
        ("http://[::1]:8000/v1", true),
        ("example.com/v1", false),
        ("ftp://example.com", false),
        ("https://", false),
        ("https://:80", false),
        ("https://example.com:99999", false),
        ("https://example.com:0", false),
        ("https://example.com/v1?key=x", false),
        ("https://example.com/v1#x", false),
        ("https://exa mple.com", false),
        ("", false),
    ] {
        let text = SMALL.replace("https://api.example.com/v1/", url);
        let result = Config::from_toml(&text, "t", &all_set).map_err(|errors| errors.to_string());
        assert_eq!(result.is_ok(), works, "{url}: {result:?}");
    }
}

#[test]
fn clients_have_keys_and_routes_of_their_own() {
    let with_clients = |clients: &str| small(&format!("[routes.r]\nmodels = [\"v/m\"]\n{clients}"));
    let config =
        load(&with_clients("[clients.a]\nkey = { env = \"A\" }\nroutes = [\"r\"]\n[clients.b]\nkey = { env = \"B\" }"));
    assert_eq!(config.clients[0].routes, Some(vec![RouteId(0)]));
    assert_eq!((config.clients[1].name.as_str(), &config.clients[1].routes), ("b", &None));
    assert!(config.clients[1].key.matches("the-secret-that-is-in-B"));
    for (clients, problem) in [
        ("[clients.a]", "clients.a: `key` is missing"),
        ("[clients]\na.key.env = \"A\"\nb.key.env = \"A\"", "clients.b: this client has the same key as `a`"),
        ("[clients.a]\nkey.env = \"A\"\n[server]\nadmin_key.env = \"A\"", "clients.a: this client has the admin's key"),
        ("[clients.a]\nkey.env = \"A\"\nroutes = []", "clients.a.routes: without a route"),
        (
            "[clients.a]\nkey.env = \"A\"\nroutes = [\"R\"]",
            "clients.a.routes[0]: there is no route `R`. Did you mean `r`?",
        ),
        ("[clients.a]\nkey.env = \"A\"\nroutes = [\"r\", \"r\"]", "clients.a.routes[1]: this route stands here twice"),
    ] {
        let errors = errors_of(&with_clients(clients));
        assert!(errors.contains(problem) && errors.lines().count() == 1, "{errors}");
    }
}

#[test]
fn only_this_machine_may_call_without_a_key() {
    let anonymous = load(&small(""));
    let named = load(&small("[clients.a]\nkey = { env = \"A\" }"));
    for (listen, exposed) in [
        ("127.0.0.1:8080", false),
        ("127.1.2.3:0", false),
        ("localhost:8080", false),
        ("[::1]:8080", false),
        ("0.0.0.0:8080", true),
        ("[::]:8080", true),
        ("192.168.0.7:8080", true),
        ("gateway.example.com:8080", true),
        ("127.0.0.1.example.com:8080", true),
    ] {
        assert_eq!(anonymous.check_exposure(listen).is_err(), exposed, "{listen}");
        assert_eq!(named.check_exposure(listen), Ok(()), "{listen}");
    }
    for listen in
        ["8080", ":8080", "127.0.0.1", "127.0.0.1:http", "127.0.0.1:99999", "::1:8080", "[::1:8080", "http://x:80", ""]
    {
        let message = named.check_exposure(listen).unwrap_err();
        assert!(message.ends_with("not an address. Write host:port, such as \"127.0.0.1:8080\"."), "{message}");
    }
}

#[test]
fn json_gives_the_same_config_and_needs_no_secret_to_be_made() {
    for text in [EXAMPLE.to_owned(), whole_example(), small("vendors.v.breaker = {}\n[server]\nbody_max = \"1MiB\"")] {
        let json = toml_to_json(&text, "tidegate.toml").unwrap_or_else(|errors| panic!("{errors}"));
        assert_eq!(Config::from_json(&json, "tidegate.toml", &all_set).unwrap(), load(&text));
    }
    let errors = toml_to_json(&small("vendors.v.keys = [{ env = \"A\" }]\nvendors.v.base_ulr = 1"), "t").unwrap_err();
    assert_eq!(errors.to_string(), "t:6:11: vendors.v.base_ulr: unknown key. Did you mean `base_url`?");
}

#[test]
fn a_worker_has_no_more_limits_than_its_isolates_can_keep_together() {
    let limited = |count: usize| {
        let client = |nth| format!("[clients.c{nth:04}]\nkey = {{ env = \"C{nth:04}\" }}\ntpm = 1000\n");
        small("defaults.rpm = 60\n") + &(0..count).map(client).collect::<String>()
    };
    let most = crate::keeper::LIMITS_MAX - 1;
    assert_eq!(worker_json(&limited(most), "t").unwrap(), toml_to_json(&limited(most), "t").unwrap());
    assert_eq!(load(&limited(most + 1)).clients.len(), most + 1, "a server has nobody to share them with");
    let errors = worker_json(&limited(most + 1), "t").unwrap_err().to_string();
    let line = 1 + limited(0).lines().count();
    assert_eq!(
        errors,
        format!(
            "t:{line}:2: clients: the worker's isolates would have 1025 limits to keep together, and can keep 1024: of those \
             beyond, each isolate would allow the whole, and no budget could be spent. Remove some: each `rpm`, `tpm` and \
             `budget` of a key, a model or a client is one."
        )
    );
    let misspelt = worker_json(&small("vendors.v.base_ulr = 1"), "t").unwrap_err();
    assert!(misspelt.to_string().contains("Did you mean `base_url`?"));
}

#[test]
fn the_leaky_window_is_a_choice_among_durations() {
    let window = |value: &str| {
        Config::from_toml(&small(&format!("vendors.v.breaker.window = {value}")), "t", &all_set)
            .map(|config| config.guard(BreakerId(0)).policy.window)
            .map_err(|errors| errors.to_string())
    };
    assert_eq!(window("\"leaky\""), Ok(Window::Leaky));
    assert_eq!(window("\"1m\""), Ok(Window::Buckets(Millis::from_secs(60))));
    assert!(window("\"leeky\"").unwrap_err().ends_with("Or write \"leaky\"."));
    assert!(window("\"1ms\"").unwrap_err().contains("from 100ms to 1d"));
}

#[test]
fn deep_nesting_does_not_exhaust_the_stack() {
    const DEPTH: usize = 100_000;
    for text in [vec!["a"; DEPTH].join(".") + " = 1", format!("a = {}", "[".repeat(DEPTH))] {
        assert!(Config::from_toml(&text, "t", &all_set).is_err());
    }
    assert!(Config::from_json(&"[".repeat(DEPTH), "t", &all_set).is_err());
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,200}") {
        let _ = Config::from_toml(&text, "t", &all_set);
        let _ = Config::from_json(&text, "t", &all_set);
    }

    #[test]
    fn no_change_to_the_example_makes_it_panic(
        at in 0_usize..9000,
        removed in 0_usize..40,
        added in "[a-z0-9\\[\\]{}\"'=.,#\\n/ _-]{0,12}",
    ) {
        let mut text = whole_example();
        let at = at.min(text.len());
        let end = (at + removed).min(text.len());
        prop_assert!(text.is_ascii(), "so that any byte is a boundary");
        text.replace_range(at..end, &added);
        if let Err(errors) = Config::from_toml(&text, "t", &all_set) {
            prop_assert!(errors.iter().all(|error| error.place.is_some()));
        }
        if let Ok(json) = toml_to_json(&text, "t") {
            prop_assert_eq!(Config::from_json(&json, "t", &all_set).unwrap(), load(&text));
        }
    }
}

#[test]
fn a_limit_on_concurrency_is_there_where_its_table_is_and_inherits_key_by_key() {
    let of = |more: &str| load(&small(more)).targets[0].concurrency;
    assert_eq!(of(""), None, "opt-in");
    assert_eq!(of("defaults.concurrency = {}"), Some(ConcurrencyPolicy::default()));
    let layers = small("defaults.concurrency.max = 50\nvendors.v.concurrency.start = 30\n");
    let layered = layers.replace("models.\"v/m\" = {}", "models.\"v/m\".concurrency.min = 10");
    let layered = load(&layered).targets[0].concurrency;
    assert_eq!(layered, Some(ConcurrencyPolicy { min: 10, start: 30, max: 50, ..ConcurrencyPolicy::default() }));
}

#[test]
fn a_limit_on_concurrency_that_contradicts_itself_is_refused() {
    for (more, problem) in [
        ("start = 300", "`min` (1), `start` (300) and `max` (200) are not in this order"),
        ("min = 21", "`min` (21), `start` (20) and `max` (200) are not in this order"),
        ("decrease_to = 1", "out of range"),
        ("decrease_to = 0.0", "out of range"),
        ("min = 0", "out of range"),
    ] {
        let errors = errors_of(&small(&format!("[defaults.concurrency]\n{more}\n")));
        assert!(errors.contains(problem), "{more}: {errors}");
    }
}

#[test]
fn a_store_is_kept_only_where_the_config_says_so() {
    assert_eq!(load(SMALL).store, None);
    let store = load(&small("store = { kind = \"sqlite\" }")).store.unwrap();
    assert_eq!((store.kind, store.path.as_str()), (StoreKind::Sqlite, "tidegate.db"));
    assert_eq!((store.flush, store.lines_max, store.keep), (Millis(200), 10_000, Millis::from_secs(90 * 24 * 3600)));
    for (wrong, problem) in [
        ("{}", "store: `kind` is missing. Add kind = \"sqlite\"."),
        ("{ kind = \"redis\" }", "store.kind: not one of the choices. Known here: `memory`, `sqlite`."),
        ("{ kind = \"sqlite\", path = \"\" }", "store.path: no file has this name. Write a path"),
        ("{ kind = \"sqlite\", flush = \"1ms\" }", "store.flush: out of range. It may be from 10ms to 1m."),
        ("{ kind = \"sqlite\", keep = \"1h\" }", "store.keep: out of range. It may be from 1d to"),
    ] {
        let errors = errors_of(&small(&format!("store = {wrong}")));
        assert!(errors.contains(problem), "{wrong}: {errors}");
    }
    let yearly =
        "clients.c = { key = { env = \"C\" }, budget = { usd = 1, per = \"365d\" } }\nstore = { kind = \"sqlite\"";
    let errors = errors_of(&small(&format!("{yearly} }}")));
    assert!(errors.contains("forgotten before a period of the budget of `c` is over. Write a `keep`"), "{errors}");
    assert!(load(&small(&format!("{yearly}, keep = \"365d\" }}"))).store.is_some());
}

#[test]
fn prices_come_in_layers() {
    let text = r#"
[vendors.o]
dialect = "openai"
base_url = "http://127.0.0.1:1"
prices = "openai"
[models."o/gpt-4.1"]
[models."o/gpt-4.1-mini"]
price = { input = 7, output = 7 }
[models."o/mine"]
[routes.r]
models = ["o/gpt-4.1"]
"#;
    let input = |config: &Config, name: &str| {
        let target = config.targets.iter().find(|target| target.name == name).unwrap();
        target.price.as_ref().map(|tariff| tariff.at(Timestamp(0)).input.0)
    };
    let config = load(text);
    assert_eq!((input(&config, "o/gpt-4.1"), input(&config, "o/gpt-4.1-mini")), (Some(2_000_000), Some(7_000_000)));
    assert_eq!(input(&config, "o/mine"), None, "unknown stays unknown");
    let file = "[\"o/gpt-4.1\"]\ninput = 3\noutput = 3\n[\"o/gpt-4.1-mini\"]\ninput = 3\noutput = 3\n";
    let config = config.with_prices(file, "prices.toml").unwrap();
    assert_eq!((input(&config, "o/gpt-4.1"), input(&config, "o/gpt-4.1-mini")), (Some(3_000_000), Some(7_000_000)));
    let worker = toml_to_json(text, "tidegate.toml").unwrap();
    let json = prices_to_json(file, "prices.toml", &worker).unwrap();
    assert_eq!(load(text).with_prices_json(&json, "prices.toml").unwrap(), config);
    let alone = toml_to_json_alone(
        &format!("[prices]\nfile = \"own.toml\"\n{text}"),
        "tidegate.toml",
        Some((file, "own.toml")),
    );
    let alone = Config::from_json(&alone.unwrap(), "alone.json", &assumed_secret).unwrap();
    let inputs = ["o/gpt-4.1", "o/gpt-4.1-mini", "o/mine"].map(|name| input(&alone, name));
    assert_eq!((inputs, alone.prices), ([Some(3_000_000), Some(7_000_000), None], None), "it asks for no other file");
    let wrong = "[\"o/gpt-4.2\"]\ninput = 3\n";
    let errors = load(text).with_prices(wrong, "prices.toml").unwrap_err().to_string();
    assert!(errors.contains("prices.toml:1:2: \"o/gpt-4.2\": there is no model `o/gpt-4.2`"), "{errors}");
    assert!(errors.contains("`output` is missing"), "{errors}");
}

#[test]
fn tiers_stand_in_their_order() {
    let tiers = |tiers: &str| {
        let price = format!("{{ price = {{ input = 1, output = 1, tiers = [{tiers}] }} }}");
        SMALL.replace("{}", &price)
    };
    let price =
        load(&tiers("{ above = 10, input = 2, output = 3 }")).targets[0].price.as_ref().unwrap().at(Timestamp(0));
    assert_eq!(
        (price.for_prompt(10).input, price.for_prompt(11).input),
        (Picodollars(1_000_000), Picodollars(2_000_000))
    );
    let swapped = "{ above = 10, input = 2, output = 3 }, { above = 9, input = 2, output = 3 }";
    let errors = Config::from_toml(&tiers(swapped), "t", &all_set).unwrap_err().to_string();
    assert!(errors.contains("not above the tier before it"), "{errors}");
}

#[test]
fn what_is_queued_has_to_outlive_the_server_and_a_route_that_queues_is_enough() {
    let routed = "routes.r = { models = [\"v/m\"], exhausted = \"queue\" }\n";
    let durable = "store = { kind = \"sqlite\" }\n";
    assert_eq!(load(&small("")).queue, None);
    assert_eq!(load(&small(routed)).queue, Some(QueuePolicy::default()));
    for (more, is_fine) in [
        ("", true),
        (routed, false),
        ("queue = {}\n", false),
        ("queue = {}\nstore = { kind = \"memory\" }\n", false),
        (&format!("{routed}{durable}"), true),
    ] {
        let checked = load(&small(more)).check_durability();
        assert_eq!(checked.is_ok(), is_fine, "{more}: {checked:?}");
        assert!(checked.err().is_none_or(|why| why.contains("Add [store] with kind = \"sqlite\"")));
    }
    for (wrong, problem) in [
        ("queue.jobs_max = 0", "queue.jobs_max: out of range"),
        ("queue.body_max = \"65MiB\"", "queue.body_max: out of range"),
        ("queue.keep = \"1ms\"", "queue.keep: out of range"),
        ("queue.webhook = { env = \"NO_ADDRESS\" }", "queue.webhook: not a URL"),
        ("queue.webhook_key = { env = \"K\" }", "queue.webhook_key: there is no `webhook`"),
        ("queue.key = \"written here\"", "a secret must not stand in the file"),
    ] {
        let errors = errors_of(&small(wrong));
        assert!(errors.contains(problem), "{wrong}: {errors}");
    }
    let short = |_: &str| Some("short".to_owned());
    let errors = Config::from_toml(&small("queue.key = { env = \"K\" }"), "t", &short).unwrap_err().to_string();
    assert!(errors.contains("at least 32 characters"), "{errors}");
}
