//! `[routes.NAME]`: which targets a request may go to, in which order.

use super::cache;
use super::choices::{self, Known, model};
use super::hedge;
use super::names::check_name;
use super::policies::{self, Policies};
use crate::config::reader::{Field, Refusal, Table};
use crate::config::route::share_of;
use crate::config::values::{choice, permille, text};
use crate::config::{
    After, BreakerId, BreakerPolicy, Candidate, ContentFilter, Exhausted, Guard, Parameters, Route, RouteId, Target,
    TargetId,
};
use crate::dialect::Rescue;

/// Reads `[routes]`, and adds the breakers that they have of their own.
pub(super) fn read(
    root: &mut Table<'_>,
    targets: &[Target],
    breakers: &mut Vec<Guard>,
    defaults: &Policies,
) -> Vec<Route> {
    let clients: Vec<&str> = root.named("clients").into_iter().map(|(name, _)| name).collect();
    let known = Known { targets, clients: &clients };
    let mut routes = Vec::new();
    for (name, field) in root.named("routes") {
        let id = RouteId(routes.len());
        routes.extend(route(id, name, &field, known, breakers, defaults));
    }
    routes
}

fn route(
    id: RouteId,
    name: &str,
    field: &Field<'_>,
    known: Known<'_>,
    breakers: &mut Vec<Guard>,
    defaults: &Policies,
) -> Option<Route> {
    const CONTENT_FILTERS: [(&str, ContentFilter); 2] =
        [("return", ContentFilter::Return), ("reroute", ContentFilter::Reroute)];
    const EXHAUSTED: [(&str, Exhausted); 5] = [
        ("error", Exhausted::Error),
        ("soonest", Exhausted::Soonest),
        ("panic", Exhausted::Panic),
        ("canned", Exhausted::Canned),
        ("queue", Exhausted::Queue),
    ];
    const PARAMETERS: [(&str, Parameters); 2] = [("lenient", Parameters::Lenient), ("strict", Parameters::Strict)];
    check_name(field, name);
    let targets = known.targets;
    field.table(&[], |table| {
        let timeouts = policies::timeouts(table);
        let (retry, quarantine) = policies::retry_of_route(table, defaults.retry);
        let mut choices = choices::read(table, known);
        let models = choices.models();
        let guards = guards(table, (id, name), &models, breakers);
        let ejected_max_permille = table.read("ejected_max", ejected_max(models.len())).unwrap_or(1000);
        if ejected_max_permille < 1000 {
            for guard in &guards {
                breakers[guard.0].capped_by.push(id);
            }
        }
        let candidates = models.iter().zip(guards).map(|(&target, breaker)| {
            let timeouts = timeouts(targets[target.0].timeouts);
            let quarantine = quarantine.unwrap_or(targets[target.0].retry.quarantine);
            Candidate { target, breaker, timeouts, quarantine, weight: 1 }
        });
        let candidates: Vec<Candidate> = candidates.collect();
        choices.fit(&candidates);
        Route {
            name: name.to_owned(),
            candidates,
            choices,
            retry,
            hedge: hedge::read(table),
            cache: cache::read(table),
            content_filter: table.read("content_filter", choice(&CONTENT_FILTERS, &[])).unwrap_or_default(),
            parameters: table.read("parameters", choice(&PARAMETERS, &[])).unwrap_or_default(),
            after: table.table("after", &[], |table| after(table, &models, targets)).unwrap_or_default(),
            ejected_max_permille,
            exhausted: table.read("exhausted", choice(&EXHAUSTED, &[])).unwrap_or_default(),
            canned: table.read("canned", text).unwrap_or(CANNED).to_owned(),
            stream_cut: stream_cut(table, &models, targets),
        }
    })
}

/// The share of a route's models that may be shut off at once. One that comes to none of them must be meant to.
fn ejected_max(models: usize) -> impl Fn(&Field<'_>) -> Result<u32, Refusal> {
    move |field| match permille(field)? {
        share if share > 0 && models > 0 && share_of(models, share) == 0 => {
            let problem = format!("of {models} models, this share is less than one");
            let one = match 1000_usize.div_ceil(models) {
                1000 => "1".to_owned(),
                permille => format!("0.{permille:03}"),
            };
            Err(Refusal::new(problem, format!("Write at least {one} to let one be shut off, or 0 for none.")))
        }
        share => Ok(share),
    }
}

/// Who is asked next after some kinds of failure: models of the route.
fn after(table: &mut Table<'_>, models: &[TargetId], targets: &[Target]) -> After {
    let of_route = |field: &Field<'_>| match model(field, targets)? {
        target if models.contains(&target) => Ok(target),
        target => {
            let problem = format!("`{}` is not among the models of this route", targets[target.0].name);
            Err(Refusal::new(problem, "Add it there."))
        }
    };
    After { timeout: table.read("timeout", of_route), connection: table.read("connection", of_route) }
}

/// What guards each of a route's models there: with `[routes.NAME.breaker]` a breaker of the route's own, else the model's.
fn guards(
    table: &mut Table<'_>,
    (route, name): (RouteId, &str),
    models: &[TargetId],
    breakers: &mut Vec<Guard>,
) -> Vec<BreakerId> {
    let inherited: Vec<BreakerPolicy> = models.iter().map(|target| breakers[target.0].policy).collect();
    let Some(policies) = policies::breakers(table, &inherited) else {
        return models.iter().map(|&target| target.into()).collect();
    };
    let first = breakers.len();
    for (&target, policy) in models.iter().zip(policies) {
        let name = format!("{} on {name}", breakers[target.0].name);
        breakers.push(Guard { name, target, route: Some(route), policy, capped_by: Vec::new() });
    }
    (first..breakers.len()).map(BreakerId).collect()
}

/// How a stream that breaks off is gone on with, which somebody must be able to.
fn stream_cut(table: &mut Table<'_>, models: &[TargetId], targets: &[Target]) -> Option<Rescue> {
    const STREAM_CUTS: [(&str, Option<Rescue>); 3] =
        [("error", None), ("continue", Some(Rescue::Continue)), ("restart", Some(Rescue::Restart))];
    let can_go_on = models.is_empty() || models.iter().any(|target| targets[target.0].abilities.prefill);
    let rescue = |field: &Field<'_>| match choice(&STREAM_CUTS, &[])(field)? {
        Some(Rescue::Continue) if !can_go_on => Err(Refusal::new(
            "no model of this route goes on from the beginning of an answer",
            "Add \"prefill\" to the `capabilities` of one that does, or write \"restart\".",
        )),
        rescue => Ok(rescue),
    };
    table.read("stream_cut", rescue).flatten()
}

/// What is said where the route does not say what to say.
const CANNED: &str = "The assistant is briefly unavailable. Please try again in a minute.";
