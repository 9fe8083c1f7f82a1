//! Whom a route asks, and in which order: `strategy`, `models`, `tasks`, `when`, `canary`, `score`, `sticky`, `shadow`.

use std::collections::BTreeMap;

use super::names::check_printable;
use super::policies::SPAN;
use crate::config::reader::{Field, Refusal, Table, did_you_mean};
use crate::config::values::{choice, duration, integer, permille, text, usd};
use crate::config::{
    Canary, Candidate, Choice, Choices, Column, Kind, ScorePolicy, Sticky, Strategy, Target, TargetId, Tasks, When,
};

/// What a route may name.
#[derive(Clone, Copy)]
pub(super) struct Known<'a> {
    pub(super) targets: &'a [Target],
    /// The names of clients, in their order.
    pub(super) clients: &'a [&'a str],
}

/// Reads all of it. Candidates are as their targets are used by their own names: [`Choices::fit`] makes them the route's.
pub(super) fn read(route: &mut Table<'_>, known: Known<'_>) -> Choices {
    let strategy = route.read("strategy", strategy).unwrap_or(Some(Strategy::Ordered));
    let (usual, tasks) = if let Some(strategy) = strategy {
        route.misplaced("tasks", "this is for another strategy", "Write strategy = \"task\", or remove it.");
        let models = route.required("models", "[\"vendor/model\"]", |field| Ok(field.clone()));
        let candidates = models.map(|models| candidates(&models, strategy, known)).unwrap_or_default();
        (Choice { strategy, candidates }, None)
    } else {
        let elsewhere = "Move it to `tasks.general.normal`, or choose another strategy.";
        route.misplaced("models", "this route asks whom its `tasks` name", elsewhere);
        let found = route.required("tasks", "{ general = { normal = [\"vendor/model\"] } }", |field| Ok(field.clone()));
        let tasks = found.and_then(|field| tasks(&field, known));
        let usual = tasks.as_ref().map(|tasks| tasks.choice(Tasks::GENERAL, Column::Normal).1.clone());
        (usual.unwrap_or(Choice { strategy: Strategy::Ordered, candidates: Vec::new() }), tasks)
    };
    let when = route.field("when").and_then(|field| field.items()).unwrap_or_default();
    let when = when.iter().filter_map(|item| condition(item, &usual, known)).collect();
    let canary = route.table("canary", &[], |table| canary(table, known)).flatten();
    let shadow = route.table("shadow", &[], |table| other_choice(table, &usual, known));
    let mut choices = Choices { usual, tasks, when, canary, score: ScorePolicy::default(), sticky: None, shadow };
    if choices.goes_by(Strategy::Context) {
        choices.score = route.table("score", &[], score).unwrap_or_default();
    } else {
        route.misplaced("score", "this is for another strategy", "Write strategy = \"context\", or remove it.");
    }
    if choices.goes_by(Strategy::Weighted) {
        choices.sticky = route.read("sticky", choice(&STICKY, &[]));
    } else {
        let remedy = "Write strategy = \"weighted\", or remove it.";
        route.misplaced("sticky", "nothing is drawn here that could stay as it is", remedy);
    }
    choices
}

const STICKY: [(&str, Sticky); 2] = [("prefix", Sticky::Prefix), ("client", Sticky::Client)];

/// What candidates are ranked by; `None` where a table of tasks says whom to ask.
fn strategy(field: &Field<'_>) -> Result<Option<Strategy>, Refusal> {
    let mut strategies: Vec<_> = Strategy::NAMED.iter().map(|(name, strategy)| (*name, Some(*strategy))).collect();
    strategies.push(("task", None));
    choice(&strategies, &[])(field)
}

/// The models that a list names: each by its name, or with its weight where weights count.
fn candidates(models: &Field<'_>, strategy: Strategy, known: Known<'_>) -> Vec<Candidate> {
    let Some(items) = models.items() else { return Vec::new() };
    if items.is_empty() {
        models.refuse_key("a route needs at least one model", "Write models = [\"vendor/model\"].");
    }
    let mut found: Vec<Candidate> = Vec::new();
    for item in items {
        let Some(candidate) = member(&item, strategy, known.targets) else { continue };
        if found.iter().any(|other| other.target == candidate.target) {
            item.refuse_value("this model stands here twice", "Remove one of them.");
        } else {
            found.push(candidate);
        }
    }
    found
}

/// One item of a list of models.
fn member(item: &Field<'_>, strategy: Strategy, targets: &[Target]) -> Option<Candidate> {
    if !item.is_table() {
        return item.read(|item| model(item, targets)).map(|target| usual_candidate(target, targets));
    }
    item.table(&[], |table| {
        let target = table.required("model", "\"vendor/model\"", |field| model(field, targets));
        let remedy = "Write strategy = \"weighted\", or the model's name alone.";
        if strategy != Strategy::Weighted {
            table.misplaced("weight", "weights are for another strategy", remedy);
        }
        let weight = table.read("weight", integer(0..=1_000_000)).unwrap_or(1);
        target.map(|target| Candidate { weight, ..usual_candidate(target, targets) })
    })?
}

fn usual_candidate(target: TargetId, targets: &[Target]) -> Candidate {
    let Target { timeouts, retry, .. } = &targets[target.0];
    Candidate { target, breaker: target.into(), timeouts: *timeouts, quarantine: retry.quarantine, weight: 1 }
}

/// The model that `item` names.
pub(super) fn model(item: &Field<'_>, targets: &[Target]) -> Result<TargetId, Refusal> {
    let name = text(item).map_err(|refusal| Refusal::new(refusal.problem, "Write \"vendor/model\"."))?;
    targets.iter().position(|target| target.name == name).map(TargetId).ok_or_else(|| {
        let known: Vec<&str> = targets.iter().map(|target| target.name.as_str()).collect();
        Refusal::new(format!("there is no model `{name}`"), did_you_mean(name, &known))
    })
}

/// A table of tasks. A list that is not there is the task's normal one, or else what `general` has.
fn tasks(field: &Field<'_>, known: Known<'_>) -> Option<Tasks> {
    type Row = [Option<Choice>; Column::COUNT];
    let mut rows: BTreeMap<String, Row> = BTreeMap::new();
    for (task, field) in field.entries() {
        check_printable(&field, task);
        let read = |row: &mut Table<'_>| {
            Column::NAMED.map(|(name, _)| {
                let candidates = candidates(&row.field(name)?, Strategy::Ordered, known);
                Some(Choice { strategy: Strategy::Ordered, candidates })
            })
        };
        rows.insert(task.to_owned(), field.table(&[], read)?);
    }
    let normal = Column::Normal as usize;
    let general = rows.get(Tasks::GENERAL).cloned().unwrap_or_default();
    let Some(last) = general[normal].clone() else {
        let remedy = "Add general.normal = [\"vendor/model\"].";
        field.refuse_key("there is no list for whatever has none of its own", remedy);
        return None;
    };
    rows.entry(Tasks::GENERAL.to_owned()).or_default();
    let fill = |row: Row| {
        let mut column = 0..Column::COUNT;
        row.clone().map(|own| {
            let column = column.next().expect("a row has as many columns as there are");
            own.or_else(|| row[normal].clone()).or_else(|| general[column].clone()).unwrap_or_else(|| last.clone())
        })
    };
    Some(Tasks(rows.into_iter().map(|(task, row)| (task, fill(row))).collect()))
}

/// One of `[[routes.NAME.when]]`: what it leaves out is as usual.
fn condition(item: &Field<'_>, usual: &Choice, known: Known<'_>) -> Option<When> {
    const KINDS: [(&str, Kind); 3] =
        [("chat", Kind::Chat), ("embeddings", Kind::Embeddings), ("count_tokens", Kind::CountTokens)];
    let client = |field: &Field<'_>| {
        let name = text(field)?;
        known
            .clients
            .iter()
            .position(|known| *known == name)
            .ok_or_else(|| Refusal::new(format!("there is no client `{name}`"), did_you_mean(name, known.clients)))
    };
    item.table(&[], |when| {
        let clients = when.field("client").map(|field| one_or_more(&field, client));
        let tags = when.field("tag").map(|field| one_or_more(&field, |field| text(field).map(str::to_owned)));
        let kinds = when.field("kind").map(|field| one_or_more(&field, choice(&KINDS, &[])));
        if clients.is_none() && tags.is_none() && kinds.is_none() {
            when.refuse("this would always hold", "Add a `client`, a `tag` or a `kind`.");
        }
        let strategy = when.read("strategy", choice(&Strategy::NAMED, &[]));
        let models = when.field("models");
        if strategy.is_none() && models.is_none() {
            when.refuse("this leads nowhere else", "Add `models`, a `strategy`, or both.");
        }
        let strategy = strategy.unwrap_or(usual.strategy);
        let candidates = models.map_or_else(|| usual.candidates.clone(), |models| candidates(&models, strategy, known));
        When { clients, tags, kinds, choice: Choice { strategy, candidates } }
    })
}

/// A value, or a list of some.
fn one_or_more<T>(field: &Field<'_>, parse: impl Fn(&Field<'_>) -> Result<T, Refusal>) -> Vec<T> {
    if !field.is_list() {
        return field.read(&parse).into_iter().collect();
    }
    let items = field.items().unwrap_or_default();
    if items.is_empty() {
        field.refuse_value("an empty list is none of all", "Name one, or remove it.");
    }
    items.iter().filter_map(|item| item.read(&parse)).collect()
}

/// Another choice than the usual one: what it leaves out is as usual.
fn other_choice(table: &mut Table<'_>, usual: &Choice, known: Known<'_>) -> Choice {
    let strategy = table.read("strategy", choice(&Strategy::NAMED, &[]));
    let models = table.field("models");
    if strategy.is_none() && models.is_none() {
        table.refuse("this leads nowhere else", "Add `models`, a `strategy`, or both.");
    }
    let strategy = strategy.unwrap_or(usual.strategy);
    let candidates = models.map_or_else(|| usual.candidates.clone(), |models| candidates(&models, strategy, known));
    Choice { strategy, candidates }
}

fn score(table: &mut Table<'_>) -> ScorePolicy {
    let usual = ScorePolicy::default();
    let policy = ScorePolicy {
        strengths: table.read("strengths", integer(0..=1000)).unwrap_or(usual.strengths),
        price: table.read("price", integer(0..=1000)).unwrap_or(usual.price),
        latency: table.read("latency", integer(0..=1000)).unwrap_or(usual.latency),
        max_cost: table.read("max_cost", usd),
        max_latency: table.read("max_latency", duration(SPAN)),
    };
    if policy.strengths + policy.price + policy.latency == 0 {
        table.refuse("a score of which nothing counts", "Give one of its parts a weight.");
    }
    policy
}

fn canary(table: &mut Table<'_>, known: Known<'_>) -> Option<Canary> {
    let target = table.required("model", "\"vendor/model\"", |field| model(field, known.targets));
    let share_permille = table.required("share", "0.05", permille);
    Some(Canary { candidate: usual_candidate(target?, known.targets), share_permille: share_permille? })
}
