//! Whom routes ask: lists with weights, tables of tasks, conditions, canaries.

use super::{errors_of, load, small};
use crate::config::{Canary, Choice, Column, Config, Kind, RouteId, ScorePolicy, Sticky, Strategy};
use crate::price::Picodollars;

/// Three models, a client, and a route to which tests add.
fn route(more: &str) -> String {
    small(&format!(
        "models.\"v/n\" = {{}}\nmodels.\"v/o\" = {{}}\nclients.c.key = {{ env = \"C\" }}\n[routes.r]\n{more}"
    ))
}

fn names(config: &Config, choice: &Choice) -> Vec<String> {
    choice.candidates.iter().map(|candidate| config.target(candidate.target).name.clone()).collect()
}

#[test]
fn weights_stand_beside_names_and_are_one_otherwise() {
    let config = load(&route(
        "strategy = \"weighted\"\nmodels = [{ model = \"v/n\", weight = 3 }, \"v/m\", { model = \"v/o\" }]",
    ));
    let usual = &config.routes[0].choices.usual;
    assert_eq!(
        (usual.strategy, names(&config, usual)),
        (Strategy::Weighted, ["v/n", "v/m", "v/o"].map(str::to_owned).to_vec())
    );
    let weights: Vec<_> = usual.candidates.iter().map(|candidate| candidate.weight).collect();
    assert_eq!(weights, [3, 1, 1]);
}

#[test]
fn a_table_of_tasks_is_whole_whatever_it_leaves_out() {
    let config = load(&route(
        "strategy = \"task\"\ntasks.general = { normal = [\"v/m\"], fast = [\"v/n\"] }\n\
         tasks.code = { high = [\"v/o\", \"v/m\"] }\ntasks.chat = { normal = [\"v/o\"] }",
    ));
    let choices = &config.routes[0].choices;
    let tasks = choices.tasks.as_ref().unwrap();
    let of = |task: &str, column| {
        let (row, choice) = tasks.choice(task, column);
        assert_eq!(choice.strategy, Strategy::Ordered);
        (row.to_owned(), names(&config, choice).join(" "))
    };
    for (task, column, row, expected) in [
        ("general", Column::Fast, "general", "v/n"),
        ("general", Column::Normal, "general", "v/m"),
        ("general", Column::High, "general", "v/m"),
        ("code", Column::High, "code", "v/o v/m"),
        ("code", Column::Fast, "code", "v/n"),
        ("code", Column::Normal, "code", "v/m"),
        ("chat", Column::Fast, "chat", "v/o"),
        ("poetry", Column::Fast, "general", "v/n"),
    ] {
        assert_eq!(of(task, column), (row.to_owned(), expected.to_owned()), "{task} {column:?}");
    }
    assert_eq!(names(&config, &choices.usual), ["v/m"]);
    let everyone: Vec<_> = config.routes[0].candidates.iter().map(|candidate| candidate.target.0).collect();
    assert_eq!(everyone, [0, 2, 1], "each once, those of the usual list first");
}

#[test]
fn conditions_lead_to_others_with_the_breakers_and_limits_of_the_route() {
    let config = load(&route(
        "models = [\"v/m\", \"v/n\"]\ntimeouts = { gap = \"7s\" }\nbreaker = { failures = 7 }\n\
         canary = { model = \"v/o\", share = 0.05 }\n\
         when = [{ client = \"c\", tag = [\"a\", \"b\"], models = [\"v/o\"] }, { kind = \"embeddings\", strategy = \"latency\" }]",
    ));
    let route = &config.routes[0];
    let [first, second] = &route.choices.when[..] else { panic!("two conditions") };
    assert_eq!((&first.clients, &first.kinds), (&Some(vec![0]), &None));
    assert_eq!(first.tags, Some(vec!["a".to_owned(), "b".to_owned()]));
    assert_eq!((first.choice.strategy, names(&config, &first.choice)), (Strategy::Ordered, vec!["v/o".to_owned()]));
    assert_eq!(second.kinds, Some(vec![Kind::Embeddings]));
    assert_eq!((second.choice.strategy, names(&config, &second.choice).len()), (Strategy::Latency, 2));
    let canary = route.choices.canary.unwrap();
    assert_eq!(canary, Canary { candidate: route.candidates[2], share_permille: 50 });
    for candidate in route.candidates.iter().chain(&first.choice.candidates).chain([&canary.candidate]) {
        assert_eq!(candidate.timeouts.gap, crate::time::Millis(7000));
        assert_eq!(config.guard(candidate.breaker).policy.failures, 7);
    }
    assert!(config.goes_by_tags && !load(&small("")).goes_by_tags);
}

#[test]
fn scores_shadows_and_what_stays() {
    let config = load(&route(
        "strategy = \"weighted\"\nmodels = [\"v/m\", \"v/n\"]\nsticky = \"prefix\"\nbreaker = { failures = 7 }\n\
         shadow = { strategy = \"context\", models = [\"v/o\", \"v/n\"] }\nscore = { price = 3, max_cost = 0.01 }",
    ));
    let route = &config.routes[0];
    assert_eq!(route.choices.sticky, Some(Sticky::Prefix));
    let expected = ScorePolicy { price: 3, max_cost: Some(Picodollars(10_000_000_000)), ..ScorePolicy::default() };
    assert_eq!(route.choices.score, expected);
    let shadow = route.choices.shadow.as_ref().unwrap();
    assert_eq!(
        (shadow.strategy, names(&config, shadow)),
        (Strategy::Context, vec!["v/o".to_owned(), "v/n".to_owned()])
    );
    assert_eq!(route.candidates.len(), 2, "whom a shadow names is not asked for it");
    let breakers: Vec<_> = shadow.candidates.iter().map(|candidate| config.guard(candidate.breaker).route).collect();
    assert_eq!(breakers, [None, Some(RouteId(0))]);
}

#[test]
fn what_a_strategy_does_not_go_by_is_refused() {
    for (wrong, problem) in [
        ("models = [{ model = \"v/m\", weight = 2 }]", "models[0].weight: weights are for another strategy. Write"),
        ("strategy = \"task\"", "routes.r: `tasks` is missing. Add"),
        ("strategy = \"task\"\ntasks.code.high = [\"v/m\"]", "r.tasks: there is no list for whatever has none"),
        ("strategy = \"task\"\ntasks.general.normal = []", "tasks.general.normal: a route needs at least one model."),
        (
            "strategy = \"task\"\ntasks.general = { normal = [\"v/m\"], urgent = [] }",
            "tasks.general.urgent: unknown key.",
        ),
        (
            "strategy = \"task\"\nmodels = [\"v/m\"]\ntasks.general.normal = [\"v/m\"]",
            "routes.r.models: this route asks whom its `tasks` name. Move",
        ),
        ("models = [\"v/m\"]\ntasks.general.normal = [\"v/m\"]", "routes.r.tasks: this is for another strategy. Write"),
        ("models = [{ weight = 2 }]\nstrategy = \"weighted\"", "models[0]: `model` is missing. Add"),
        (
            "models = [\"v/m\", { model = \"v/m\", weight = 2 }]\nstrategy = \"weighted\"",
            "models[1]: this model stands here twice. Remove",
        ),
        ("models = [\"v/m\"]\nwhen = [{ strategy = \"latency\" }]", "when[0]: this would always hold. Add"),
        ("models = [\"v/m\"]\nwhen = [{ tag = \"a\" }]", "when[0]: this leads nowhere else. Add"),
        (
            "models = [\"v/m\"]\nwhen = [{ client = \"d\", models = [\"v/n\"] }]",
            "when[0].client: there is no client `d`. Did you mean `c`?",
        ),
        (
            "models = [\"v/m\"]\nwhen = [{ kind = \"chats\", models = [\"v/n\"] }]",
            "when[0].kind: not one of the choices. Did you mean `chat`?",
        ),
        (
            "models = [\"v/m\"]\nwhen = [{ tag = [], models = [\"v/n\"] }]",
            "when[0].tag: an empty list is none of all. Name",
        ),
        ("models = [\"v/m\"]\nscore.price = 1", "routes.r.score: this is for another strategy. Write"),
        ("models = [\"v/m\"]\nsticky = \"prefix\"", "routes.r.sticky: nothing is drawn here that could stay as it is."),
        ("models = [\"v/m\"]\nshadow = {}", "routes.r.shadow: this leads nowhere else. Add"),
        (
            "models = [\"v/m\"]\nstrategy = \"context\"\nscore = { strengths = 0, price = 0, latency = 0 }",
            "routes.r.score: a score of which nothing counts. Give",
        ),
        ("models = [\"v/m\"]\ncanary = { model = \"v/o\" }", "canary: `share` is missing. Add"),
        ("models = [\"v/m\"]\ncanary = { model = \"v/o\", share = 2 }", "canary.share: not a share. Write"),
    ] {
        let errors = errors_of(&route(wrong));
        assert!(errors.contains(problem) && errors.lines().count() == 1, "{wrong}: {errors}");
    }
}
