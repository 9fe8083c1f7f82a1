//! From names to plans, and what clients can have changed about them.

use super::*;
use crate::hints::MaxPrice;

fn config(models: usize) -> Config {
    let models: String = (0..models).flat_map(|nth| ["[models.\"v/m".to_owned(), format!("{nth:03}\"]\n")]).collect();
    let document = format!(
        "[vendors.v]\ndialect = \"openai\"\nbase_url = \"http://v.test/v1\"\n{models}\
         [routes.chain]\nmodels = [\"v/m001\", \"v/m000\"]\n[routes.chain.retry]\nattempts = 2\n[aliases]\nfirst = \"v/m000\"\n"
    );
    Config::from_toml(&document, "route.toml", &|_| None).unwrap_or_else(|errors| panic!("{errors}"))
}

fn targets(plan: &Plan) -> Vec<usize> {
    plan.candidates.iter().map(|candidate| candidate.target.0).collect()
}

#[test]
fn a_route_is_its_candidates_in_order_under_its_own_rules() {
    let config = config(2);
    let plan = plan(&config, Asker::default(), "chain", &Hints::default()).unwrap();
    assert_eq!((plan.route, targets(&plan)), (Some(RouteId(0)), vec![1, 0]));
    assert_eq!(plan.retry.attempts, 2);
}

#[test]
fn a_target_is_itself_alone_by_any_of_its_names() {
    let config = config(2);
    for name in ["v/m000", "m000", "first"] {
        let plan = plan(&config, Asker::default(), name, &Hints::default()).unwrap();
        assert_eq!((plan.route, targets(&plan)), (None, vec![0]), "{name}");
        assert_eq!(plan.retry, config.targets[0].retry, "{name}");
    }
}

#[test]
fn an_unknown_name_is_told_the_known_ones_within_reason() {
    let error = plan(&config(100), Asker::default(), &"x".repeat(10_000), &Hints::default()).unwrap_err();
    assert_eq!((error.status, error.param), (StatusCode::NOT_FOUND, Some("model")));
    assert_eq!(error.code.as_deref(), Some("model_not_found"));
    assert!(error.message.len() < 600, "{}", error.message);
    assert!(
        error.message.ends_with(", and 172 more."),
        "a hundred targets by two names, a route, an alias: {}",
        error.message
    );
}

#[test]
fn a_sticky_route_goes_by_the_conversation_or_by_the_client() {
    let document = "[vendors.v]\ndialect = \"openai\"\nbase_url = \"http://v.test/v1\"\n[models.\"v/m\"]\n\
        [routes.plain]\nmodels = [\"v/m\"]\nstrategy = \"weighted\"\n\
        [routes.talk]\nmodels = [\"v/m\"]\nstrategy = \"weighted\"\nsticky = \"prefix\"\n\
        [routes.own]\nmodels = [\"v/m\"]\nstrategy = \"weighted\"\nsticky = \"client\"\n";
    let config = Config::from_toml(document, "route.toml", &|_| None).unwrap_or_else(|errors| panic!("{errors}"));
    let stick = |route: &str, client, system: &str| {
        let body = format!(r#"{{"model":"{route}","messages":[{{"role":"system","content":"{system}"}}]}}"#);
        let request = Request::read(crate::dialect::Surface::Chat, body.into()).unwrap();
        let mut plan = plan(&config, Asker::default(), route, &Hints::default()).unwrap();
        plan.learn(&request, client);
        plan.basis.stick
    };
    assert_eq!(stick("plain", Some("a"), "Be brief."), None);
    assert_eq!(stick("talk", Some("a"), "Be brief."), stick("talk", Some("b"), "Be brief."));
    assert_ne!(stick("talk", Some("a"), "Be brief."), stick("talk", Some("a"), "Be long."));
    assert_eq!(stick("own", Some("a"), "Be brief."), stick("own", Some("a"), "Be long."));
    assert_ne!(stick("own", Some("a"), "Be brief."), stick("own", Some("b"), "Be brief."));
    assert_eq!(stick("own", None, "Be brief."), None);
}

#[test]
fn names_are_matched_exactly() {
    for name in ["", "Chain", "chain ", "v/m000/", "v"] {
        assert!(plan(&config(2), Asker::default(), name, &Hints::default()).is_err(), "{name:?}");
    }
}

/// Two vendors: `a` is dear and knows its price, `b` is cheap, `c` knows none.
fn market() -> Config {
    let document = r#"
        [vendors.a]
        dialect = "openai"
        base_url = "http://a.test/v1"
        [vendors.b]
        dialect = "openai"
        base_url = "http://b.test/v1"
        [vendors.c]
        dialect = "openai"
        base_url = "http://c.test/v1"
        [models."a/m"]
        price = { input = 3.0, output = 15.0 }
        [models."b/m"]
        price = { input = 1.0, output = 5.0 }
        [models."c/m"]
        [models."c/spare"]
        [routes.all]
        models = ["a/m", "b/m", "c/m"]
    "#;
    Config::from_toml(document, "route.toml", &|_| None).unwrap_or_else(|errors| panic!("{errors}"))
}

fn order(model: &str, hints: &Hints) -> Vec<String> {
    let config = market();
    let plan = plan(&config, Asker::default(), model, hints).unwrap_or_else(|error| panic!("{}", error.message));
    plan.candidates.iter().map(|candidate| config.target(candidate.target).name.clone()).collect()
}

fn list(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn a_client_chooses_among_what_there_is() {
    let hints = Hints::default;
    assert_eq!(order("all", &Hints { order: list(&["c", "b"]), ..hints() }), ["c/m", "b/m", "a/m"]);
    assert_eq!(order("all", &Hints { only: Some(list(&["b", "nobody"])), ..hints() }), ["b/m"]);
    assert_eq!(order("all", &Hints { ignore: list(&["a"]), ..hints() }), ["b/m", "c/m"]);
    assert_eq!(order("all", &Hints { no_fallbacks: true, ..hints() }), ["a/m"]);
    assert_eq!(order("all", &Hints { sort: Some(Sort::Price), ..hints() }), ["b/m", "a/m", "c/m"]);
    assert_eq!(order("all:floor", &hints()), ["b/m", "a/m", "c/m"]);
    let cap = MaxPrice { input: Some(Picodollars(2_000_000)), output: None };
    assert_eq!(order("all", &Hints { max_price: cap, ..hints() }), ["b/m"]);
}

#[test]
fn a_cap_goes_by_the_price_that_is_in_force() {
    let document = r#"
        [vendors.fireworks]
        dialect = "openai"
        base_url = "https://api.fireworks.ai/inference/v1"
        [models."fireworks/accounts/fireworks/routers/ultramarine-1-flash-us"]
    "#;
    let config = Config::from_toml(document, "route.toml", &|_| None).unwrap_or_else(|errors| panic!("{errors}"));
    let cap = MaxPrice { input: Some(Picodollars(200_000)), output: None };
    let hints = Hints { max_price: cap, ..Hints::default() };
    let is_within = |day: &str| {
        let now = crate::backoff::rfc3339(&format!("{day}T12:00:00Z")).unwrap();
        plan(&config, Asker { now, ..Asker::default() }, &config.targets[0].name, &hints).is_ok()
    };
    assert!(!is_within("2026-11-02"), "that it will cost less helps nobody today");
    assert!(is_within("2026-11-03"));
}

#[test]
fn fallbacks_come_after_what_was_asked_for_and_nobody_twice() {
    let hints = Hints { fallbacks: list(&["a/m", "c/spare", "all"]), ..Hints::default() };
    assert_eq!(order("b/m", &hints), ["b/m", "a/m", "c/spare", "c/m"]);
    let unknown = Hints { fallbacks: list(&["nowhere"]), ..Hints::default() };
    assert_eq!(plan(&market(), Asker::default(), "b/m", &unknown).unwrap_err().status, StatusCode::NOT_FOUND);
}

#[test]
fn a_strategy_ranks_its_own_route_and_a_client_outranks_it() {
    let mut config = market();
    config.routes[0].choices.usual.strategy = Strategy::Latency;
    let ranking = |hints: &Hints| plan(&config, Asker::default(), "all", hints).unwrap().ranking;
    let by_latency = |first, only_best| Ranking { by: RankBy::Strategy(Strategy::Latency), first, only_best };
    let hints = Hints::default;
    assert_eq!(ranking(&hints()), Some(by_latency(3, false)));
    assert_eq!(ranking(&Hints { fallbacks: list(&["c/spare"]), ..hints() }), Some(by_latency(3, false)));
    assert_eq!(ranking(&Hints { ignore: list(&["a"]), ..hints() }), Some(by_latency(2, false)));
    let dear = MaxPrice { input: Some(Picodollars(2_000_000)), output: None };
    let spare = Hints { fallbacks: list(&["c/spare"]), max_price: dear, ..hints() };
    assert_eq!(ranking(&spare), Some(by_latency(1, false)), "of those in the route one is left");
    let best = Hints { no_fallbacks: true, ..hints() };
    assert_eq!(ranking(&best), Some(by_latency(3, true)), "the best is not known yet");
    assert_eq!(ranking(&Hints { order: list(&["b"]), ..hints() }), None);
    assert_eq!(ranking(&Hints { sort: Some(Sort::Price), ..hints() }), None);
    let by_client = Ranking { by: RankBy::Sort(Sort::Throughput), first: 3, only_best: false };
    assert_eq!(ranking(&Hints { sort: Some(Sort::Throughput), ..hints() }), Some(by_client));
    assert_eq!(plan(&market(), Asker::default(), "all", &hints()).unwrap().ranking, None, "in the config's order");
}

#[test]
fn limits_become_tighter_and_never_wider() {
    let tight =
        Hints { timeout: Some(Millis(70)), first_token: Some(Millis(50)), attempts: Some(1), ..Hints::default() };
    let tight = plan(&market(), Asker::default(), "all", &tight).unwrap();
    assert_eq!((tight.retry.deadline, tight.retry.attempts), (Millis(70), 1));
    assert!(tight.candidates.iter().all(|candidate| candidate.timeouts.first_token == Millis(50)));
    let wide = Hints { timeout: Some(Millis(u64::MAX)), attempts: Some(99), ..Hints::default() };
    let usual = plan(&market(), Asker::default(), "all", &Hints::default()).unwrap();
    assert_eq!(plan(&market(), Asker::default(), "all", &wide).unwrap().retry, usual.retry);
    let none = Hints { attempts: Some(0), ..Hints::default() };
    assert_eq!(plan(&market(), Asker::default(), "all", &none).unwrap().retry.attempts, 1);
}

#[test]
fn what_leaves_nobody_is_told_why() {
    let hints = Hints {
        only: Some(list(&["c"])),
        max_price: MaxPrice { input: Some(Picodollars(1)), output: None },
        ..Hints::default()
    };
    let error = plan(&market(), Asker::default(), "all", &hints).unwrap_err();
    assert_eq!(error.status, StatusCode::BAD_REQUEST);
    assert!(
        error.message.contains("a/m is not wanted") && error.message.contains("c/m costs more"),
        "{}",
        error.message
    );
}

/// A route with a condition of each kind, and a table of tasks.
fn crossroads() -> Config {
    let document = r#"
        [vendors.v]
        dialect = "openai"
        base_url = "http://v.test/v1"
        [models."v/usual"]
        [models."v/other"]
        [models."v/last"]
        [clients.one]
        key = { env = "ONE" }
        [clients.two]
        key = { env = "TWO" }
        [routes.fork]
        models = ["v/usual", "v/last"]
        canary = { model = "v/other", share = 0.25 }
        when = [
            { client = "two", tag = ["batch", "night"], models = ["v/other"] },
            { kind = "embeddings", models = ["v/last"] },
            { tag = "batch", strategy = "latency" },
        ]
        [routes.table]
        strategy = "task"
        tasks.general = { normal = ["v/usual"], high = ["v/last"] }
        tasks.code = { normal = ["v/other", "v/last"] }
    "#;
    let secret = |name: &str| Some(format!("a-key-for-the-tests-of-routes-{name}"));
    Config::from_toml(document, "route.toml", &secret).unwrap_or_else(|errors| panic!("{errors}"))
}

fn named(config: &Config, plan: &Plan) -> Vec<String> {
    plan.candidates.iter().map(|candidate| config.target(candidate.target).name.clone()).collect()
}

#[test]
fn the_first_condition_that_holds_leads_elsewhere() {
    let config = crossroads();
    let (chat, embeddings) = (Kind::Chat, Kind::Embeddings);
    for (client, kind, tags, way, expected) in [
        (None, chat, &[][..], Way::Usual, &["v/usual", "v/last"][..]),
        (Some(1), chat, &[], Way::Usual, &["v/usual", "v/last"]),
        (Some(1), chat, &["night"], Way::Condition(0), &["v/other"]),
        (Some(1), embeddings, &["x", "batch"], Way::Condition(0), &["v/other"]),
        (Some(0), embeddings, &["batch"], Way::Condition(1), &["v/last"]),
        (Some(0), chat, &["batch"], Way::Condition(2), &["v/usual", "v/last"]),
        (Some(0), chat, &["night"], Way::Usual, &["v/usual", "v/last"]),
    ] {
        let hints = Hints { tags: list(tags), ..Hints::default() };
        let plan = plan(&config, Asker { client, kind, ..Asker::default() }, "fork", &hints).unwrap();
        assert_eq!((&plan.way, named(&config, &plan)), (&way, list(expected)));
        let by_latency = plan.ranking.is_some_and(|ranking| ranking.by == RankBy::Strategy(Strategy::Latency));
        assert_eq!(by_latency, way == Way::Condition(2));
        assert_eq!(plan.canary.is_some(), way == Way::Usual, "who is led elsewhere is led there");
    }
}

#[test]
fn a_task_and_a_priority_choose_a_list() {
    let config = crossroads();
    for (task, column, row, expected) in [
        (None, None, "general", &["v/usual"][..]),
        (Some("poetry"), Some(Column::High), "general", &["v/last"]),
        (Some("code"), None, "code", &["v/other", "v/last"]),
        (Some("code"), Some(Column::Fast), "code", &["v/other", "v/last"]),
    ] {
        let hints = Hints { task: task.map(str::to_owned), column, ..Hints::default() };
        let plan = plan(&config, Asker::default(), "table", &hints).unwrap();
        assert_eq!(named(&config, &plan), list(expected), "{task:?}");
        assert_eq!(plan.way, Way::Task { row: row.to_owned(), column: column.unwrap_or_default() });
        assert_eq!(plan.ranking, None, "a list is an order");
    }
}

#[test]
fn a_canary_goes_first_in_its_share_and_failover_stays() {
    let config = crossroads();
    let planned = |hints: &Hints| plan(&config, Asker::default(), "fork", hints).unwrap();
    let (mut rng, mut first) = (Rng::from_seed(1), 0);
    for _ in 0..10_000 {
        let mut plan = planned(&Hints::default());
        plan.draw_canary(&mut rng);
        plan.put_canary_first();
        match &named(&config, &plan)[..] {
            [canary, rest @ ..] if canary == "v/other" && rest == ["v/usual", "v/last"] => first += 1,
            usual => assert_eq!(usual, ["v/usual", "v/last"]),
        }
    }
    assert!((2350..=2650).contains(&first), "a quarter: {first}");
    // Of the thousand numbers that may be drawn, a quarter to the number.
    for _ in 0..3000 {
        let (mut plan, drawn) = (planned(&Hints::default()), rng.clone().below(1000));
        plan.draw_canary(&mut rng);
        assert_eq!(plan.canary.is_some(), drawn < 250, "{drawn}");
    }
    let hints = Hints::default;
    for has_say in [
        Hints { sort: Some(Sort::Price), ..hints() },
        Hints { order: list(&["v"]), ..hints() },
        Hints { no_fallbacks: true, ..hints() },
        Hints {
            max_price: MaxPrice { input: Some(Picodollars(1)), output: None },
            only: None,
            fallbacks: list(&["fork"]),
            ..hints()
        },
    ] {
        let canary = plan(&config, Asker::default(), "fork", &has_say).ok().and_then(|plan| plan.canary);
        assert_eq!(canary, None, "{has_say:?}");
    }
}

#[test]
fn a_client_may_use_its_own_routes_and_knows_of_no_others() {
    let mut config = crossroads();
    config.clients[0].routes = Some(vec![RouteId(1)]);
    let ask = |client, name: &str| plan(&config, Asker { client, ..Asker::default() }, name, &Hints::default());
    assert!(ask(Some(0), "table").is_ok() && ask(Some(1), "fork").is_ok() && ask(None, "v/usual").is_ok());
    for name in ["fork", "v/usual", "usual"] {
        assert_eq!(ask(Some(0), name).unwrap_err().status, StatusCode::FORBIDDEN, "{name}");
    }
    let unknown = ask(Some(0), "nothing").unwrap_err();
    assert!(unknown.message.ends_with("Known here: table."), "{}", unknown.message);
    assert_eq!(models(&config, Some(&config.clients[0])).collect::<Vec<_>>(), [("table", "tidegate")]);
}

#[test]
fn as_many_names_as_are_listed_leave_no_more() {
    let told = |models| plan(&config(models), Asker::default(), "x", &Hints::default()).unwrap_err().message;
    // Each target has two names; a route and an alias come to them.
    let (all, beyond) = (told(LISTED_MAX / 2 - 1), told(LISTED_MAX / 2));
    assert!(!all.contains("more") && beyond.ends_with(", and 2 more."), "{all}\n{beyond}");
}

#[test]
fn what_a_choice_goes_by_is_asked_for_and_nothing_else() {
    let document = r#"
        [vendors.v]
        dialect = "openai"
        base_url = "http://v.test/v1"
        [models."v/m"]
        [routes.ordered]
        models = ["v/m"]
        [routes.cost]
        models = ["v/m"]
        strategy = "cost"
        [routes.context]
        models = ["v/m"]
        strategy = "context"
        score = { max_cost = 0.5, max_latency = "3s" }
        [routes.shadowed]
        models = ["v/m"]
        shadow = { strategy = "latency" }
    "#;
    let config = Config::from_toml(document, "route.toml", &|_| None).unwrap_or_else(|errors| panic!("{errors}"));
    let basis = |name: &str, hints: &Hints| {
        let plan = plan(&config, Asker::default(), name, hints).unwrap();
        (plan.basis.caps, plan.basis.weighs, plan.ranking.map(|ranking| ranking.by))
    };
    let by = |strategy| Some(RankBy::Strategy(strategy));
    let own = Caps { cost: Some(Picodollars(500_000_000_000)), latency: Some(Millis(3000)) };
    let none = Hints::default();
    assert_eq!(basis("ordered", &none), (Caps::default(), false, None));
    assert_eq!(basis("cost", &none), (Caps::default(), true, by(Strategy::Cost)));
    assert_eq!(basis("context", &none), (own, true, by(Strategy::Context)));
    assert_eq!(basis("shadowed", &none), (Caps::default(), true, None));
    let (dear, cheap) = (Picodollars(900_000_000_000), Picodollars(1));
    let cost = |max_cost| Hints { max_cost: Some(max_cost), ..Hints::default() };
    assert_eq!(basis("context", &cost(dear)), (own, true, by(Strategy::Context)), "the tighter one counts");
    assert_eq!(basis("context", &cost(cheap)).0, Caps { cost: Some(cheap), ..own });
    let theirs = Caps { cost: Some(cheap), latency: None };
    assert_eq!(basis("ordered", &cost(cheap)), (theirs, true, by(Strategy::Ordered)));
    let latency = Hints { max_latency: Some(Millis(70)), ..Hints::default() };
    let theirs = Caps { cost: None, latency: Some(Millis(70)) };
    assert_eq!(basis("ordered", &latency), (theirs, false, by(Strategy::Ordered)));
}
