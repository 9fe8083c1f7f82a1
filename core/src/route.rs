//! From the name a client asks for to the targets that may answer, and why others may not.

use http::StatusCode;

use crate::concurrency::Priority;
use crate::config::{
    After, Canary, Candidate, Choice, Choices, Client, Column, Config, ContentFilter, Exhausted, Kind, Name,
    Parameters, RetryPolicy, Route, RouteId, ScorePolicy, Sticky, Strategy, TargetId, When,
};
use crate::dialect::{Request, Rescue};
use crate::hints::{Hints, Sort};
use crate::price::Picodollars;
use crate::reply::{ApiError, quoted};
use crate::rng::{Rng, hash};
use crate::time::{Millis, Timestamp};

mod rejection;

pub use rejection::Rejection;

/// A long list in an error helps nobody.
const LISTED_MAX: usize = 30;

/// Which targets a request may use, in which order, and how often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The route that the name stood for, if it was one.
    pub route: Option<RouteId>,
    /// How the route came to these candidates.
    pub way: Way,
    /// In the order of preference.
    pub candidates: Vec<Candidate>,
    /// Those that the client's hints leave out, and why.
    pub excluded: Vec<(TargetId, Rejection)>,
    /// By what they are to be ranked when they are asked; `None`: they stand in their order.
    pub ranking: Option<Ranking>,
    /// Who may be asked before all of them, by chance.
    pub canary: Option<Canary>,
    /// What else they are chosen by.
    pub basis: Basis,
    /// The request's budget.
    pub retry: RetryPolicy,
    /// What to do with an answer that the vendor's filter stopped.
    pub content_filter: ContentFilter,
    /// What to do with parameters that a candidate cannot honour.
    pub parameters: Parameters,
    /// Who is asked next after some kinds of failure.
    pub after: After,
    /// What to do when nobody can be asked.
    pub exhausted: Exhausted,
    /// Who goes first where there is a queue.
    pub priority: Priority,
    /// How another vendor goes on with a stream that breaks off while the client reads it; `None`: it ends in an error.
    pub stream_cut: Option<Rescue>,
    /// When the client itself wants a first token, which is no vendor's fault if it is too soon.
    pub patience: Option<Millis>,
}

/// Who asks, and what for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Asker {
    /// Index into the config's clients; `None` where it has none.
    pub client: Option<usize>,
    /// What kind of answer is wanted.
    pub kind: Kind,
    /// When: prices change.
    pub now: Timestamp,
}

/// How a route comes to the candidates of a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Way {
    /// Nothing leads elsewhere.
    #[default]
    Usual,
    /// By the condition of this number, from zero.
    Condition(usize),
    /// By its table of tasks.
    Task {
        /// The row: the request's task, or `general`.
        row: String,
        /// The column.
        column: Column,
    },
}

/// What candidates are chosen by beside what is known of them: the request's, and its route's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Basis {
    /// What the request is about, where strengths count.
    pub task: Option<String>,
    /// What is too much.
    pub caps: Caps,
    /// What each part of a score weighs.
    pub score: ScorePolicy,
    /// What keeps it with one candidate.
    pub sticky: Option<Sticky>,
    /// By which number.
    pub stick: Option<u64>,
    /// Whether it matters what the request will come to.
    pub weighs: bool,
}

/// The most that a request may be expected to take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Caps {
    /// In money.
    pub cost: Option<Picodollars>,
    /// In time.
    pub latency: Option<Millis>,
}

/// By what candidates are ranked once they are to be asked, which is when it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ranking {
    /// What goes by.
    pub by: RankBy,
    /// How many of them are ranked, from the first: what a client named as fallbacks stands behind them.
    pub first: usize,
    /// Whether only the best of them is to be asked.
    pub only_best: bool,
}

/// What candidates are ranked by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RankBy {
    /// What the client asks for.
    Sort(Sort),
    /// What the route says.
    Strategy(Strategy),
}

impl Plan {
    /// Learns what the route goes by of a request. Takes time, and needs no gateway.
    pub(crate) fn learn(&mut self, request: &Request, client: Option<&str>) {
        if self.basis.weighs {
            request.weight();
        }
        self.basis.stick = match self.basis.sticky {
            None => None,
            Some(Sticky::Prefix) => request.prefix(),
            Some(Sticky::Client) => client.map(hash),
        };
    }

    /// Draws whether the canary goes first.
    pub(crate) fn draw_canary(&mut self, rng: &mut Rng) {
        self.canary = self.canary.filter(|canary| rng.below(1000) < u64::from(canary.share_permille));
    }

    /// Has the canary asked before all others, if it has been drawn.
    pub(crate) fn put_canary_first(&mut self) {
        if let Some(Canary { candidate, .. }) = self.canary.take() {
            self.candidates.retain(|known| known.target != candidate.target);
            self.candidates.insert(0, candidate);
        }
    }
}

/// The plan for a request that names `model`. Errors are for the caller.
pub fn plan(config: &Config, asker: Asker, model: &str, hints: &Hints) -> Result<Plan, Box<ApiError>> {
    let client = asker.client.map(|index| &config.clients[index]);
    let (name, suffix) = resolve(config, client, model)?;
    let mut plan = named(config, name, asker, hints);
    for fallback in hints.fallbacks.iter().filter(|fallback| *fallback != model) {
        // Who asks for a fallback that is not there would find out when it is needed.
        let (name, _) = resolve(config, client, fallback)?;
        for more in named(config, name, asker, hints).candidates {
            if plan.candidates.iter().all(|known| known.target != more.target) {
                plan.candidates.push(more);
            }
        }
    }
    plan.parameters = hints.parameters.unwrap_or(plan.parameters);
    plan.priority = hints.priority.unwrap_or_default();
    let sort = hints.sort.or(suffix);
    plan.ranking = match sort {
        // The config alone says that: it is done here.
        Some(Sort::Price) => None,
        Some(sort) => Some(Ranking { by: RankBy::Sort(sort), first: plan.candidates.len(), only_best: false }),
        None => plan.ranking.filter(|_| hints.order.is_empty()),
    };
    // A client that says whom to ask first is not for trying things out.
    let has_say = sort.is_some() || !hints.order.is_empty() || hints.no_fallbacks;
    plan.canary =
        plan.canary.filter(|canary| !has_say && left_out(config, asker.now, hints, &canary.candidate).is_none());
    choose_among(config, asker.now, &mut plan, hints, sort);
    cap(&mut plan, hints);
    tighten(&mut plan, hints);
    if plan.candidates.is_empty() {
        return Err(nobody_left(config, model, &plan).into());
    }
    Ok(plan)
}

/// What a name stands for, and what its ending asks for: `OpenRouter` has `:floor` for the cheapest and `:nitro` for the
/// fastest.
fn resolve(config: &Config, client: Option<&Client>, model: &str) -> Result<(Name, Option<Sort>), Box<ApiError>> {
    let endings = [(":floor", Sort::Price), (":nitro", Sort::Throughput)];
    let by_ending = || {
        endings.iter().find_map(|(ending, sort)| {
            let name = config.names.get(model.strip_suffix(ending)?)?;
            Some((*name, Some(*sort)))
        })
    };
    let exact = config.names.get(model).map(|name| (*name, None));
    let (name, sort) = exact.or_else(by_ending).ok_or_else(|| unknown_model(config, client, model))?;
    if may_use(client, name) {
        return Ok((name, sort));
    }
    let client = client.map_or("", |client| &client.name);
    let message = format!("The key of client `{client}` may not use the model `{}`.", quoted(model));
    let error = ApiError::new(StatusCode::FORBIDDEN, "permission_error", "model_not_allowed", message);
    Err(error.with_param(Some("model")).into())
}

/// The plan for a name, as the config has it.
fn named(config: &Config, name: Name, asker: Asker, hints: &Hints) -> Plan {
    match name {
        Name::Route(id) => {
            let route = &config.routes[id.0];
            let (way, choice) = choose(route, asker, hints);
            let canary = route.choices.canary.filter(|_| !matches!(way, Way::Condition(_)));
            Plan {
                route: Some(id),
                way,
                candidates: choice.candidates.clone(),
                excluded: Vec::new(),
                ranking: by_strategy(choice.strategy, choice.candidates.len()),
                canary,
                basis: basis(route, choice, hints),
                retry: route.retry,
                content_filter: route.content_filter,
                parameters: route.parameters,
                after: route.after,
                exhausted: route.exhausted,
                priority: Priority::default(),
                stream_cut: route.stream_cut,
                patience: None,
            }
        }
        Name::Target(id) => {
            let target = config.target(id);
            Plan {
                route: None,
                way: Way::Usual,
                candidates: vec![config.candidate(id)],
                excluded: Vec::new(),
                ranking: None,
                canary: None,
                basis: Basis::default(),
                retry: target.retry,
                content_filter: ContentFilter::default(),
                parameters: Parameters::default(),
                after: After::default(),
                exhausted: Exhausted::default(),
                priority: Priority::default(),
                stream_cut: None,
                patience: None,
            }
        }
    }
}

/// Whom a route asks for a request, and why them.
fn choose<'r>(route: &'r Route, asker: Asker, hints: &Hints) -> (Way, &'r Choice) {
    let choices = &route.choices;
    if let Some(nth) = choices.when.iter().position(|when| holds(when, asker, hints)) {
        return (Way::Condition(nth), &choices.when[nth].choice);
    }
    match &choices.tasks {
        None => (Way::Usual, &choices.usual),
        Some(tasks) => {
            let column = hints.column.unwrap_or_default();
            let (row, choice) = tasks.choice(hints.task.as_deref().unwrap_or_default(), column);
            (Way::Task { row: row.to_owned(), column }, choice)
        }
    }
}

/// What else a choice goes by.
fn basis(route: &Route, choice: &Choice, hints: &Hints) -> Basis {
    let Choices { score, sticky, shadow, .. } = &route.choices;
    let strategies = [Some(choice.strategy), shadow.as_ref().map(|shadow| shadow.strategy)];
    let goes_by = |strategy| strategies.contains(&Some(strategy));
    let caps = if choice.strategy == Strategy::Context {
        Caps { cost: score.max_cost, latency: score.max_latency }
    } else {
        Caps::default()
    };
    Basis {
        task: hints.task.clone().filter(|_| goes_by(Strategy::Context)),
        caps,
        score: *score,
        sticky: sticky.filter(|_| goes_by(Strategy::Weighted)),
        stick: None,
        weighs: shadow.is_some() || goes_by(Strategy::Cost) || goes_by(Strategy::Context),
    }
}

/// Adds the client's own caps. Whoever is beyond one is known once they are to be asked.
fn cap(plan: &mut Plan, hints: &Hints) {
    let tighter = |ours: Option<_>, theirs: Option<_>| [ours, theirs].into_iter().flatten().min();
    let caps = &mut plan.basis.caps;
    caps.cost = tighter(caps.cost.map(|cost| cost.0), hints.max_cost.map(|cost| cost.0)).map(Picodollars);
    caps.latency =
        tighter(caps.latency.map(|latency| latency.0), hints.max_latency.map(|latency| latency.0)).map(Millis);
    plan.basis.weighs |= caps.cost.is_some();
    if caps.cost.is_some() || caps.latency.is_some() {
        let by = RankBy::Strategy(Strategy::Ordered);
        plan.ranking.get_or_insert(Ranking { by, first: plan.candidates.len(), only_best: false });
    }
}

/// Whether a condition of a route holds.
fn holds(when: &When, asker: Asker, hints: &Hints) -> bool {
    let by = |clients: &Vec<usize>| asker.client.is_some_and(|asking| clients.contains(&asking));
    let marked = |tags: &Vec<String>| hints.tags.iter().any(|tag| tags.contains(tag));
    when.clients.as_ref().is_none_or(by)
        && when.tags.as_ref().is_none_or(marked)
        && when.kinds.as_ref().is_none_or(|kinds| kinds.contains(&asker.kind))
}

fn by_strategy(strategy: Strategy, first: usize) -> Option<Ranking> {
    let by = RankBy::Strategy(strategy);
    (strategy != Strategy::Ordered).then_some(Ranking { by, first, only_best: false })
}

/// Leaves out whom the client does not want, and puts the rest in the order that it asks for.
fn choose_among(config: &Config, now: Timestamp, plan: &mut Plan, hints: &Hints, sort: Option<Sort>) {
    let Plan { candidates, excluded, ranking, .. } = plan;
    let (mut nth, ranked) = (0, ranking.map_or(0, |ranking| ranking.first));
    candidates.retain(|candidate| {
        nth += 1;
        let rejection = left_out(config, now, hints, candidate);
        let is_left = rejection.is_none();
        excluded.extend(rejection.map(|why| (candidate.target, why)));
        if let Some(ranking) = ranking.as_mut().filter(|_| !is_left && nth <= ranked) {
            ranking.first -= 1;
        }
        is_left
    });
    if sort == Some(Sort::Price) {
        // By a token of each kind: which of the two weighs more is not known before the answer.
        let price = |candidate: &Candidate| {
            let price = config.target(candidate.target).price.as_ref().map(|tariff| tariff.ceiling(now));
            price.map_or(Picodollars(u64::MAX), |price| price.input.plus(price.output))
        };
        plan.candidates.sort_by_key(price);
    }
    plan.candidates.sort_by_key(|candidate| vendors_place(config, &hints.order, candidate).unwrap_or(usize::MAX));
    if hints.no_fallbacks {
        match &mut plan.ranking {
            Some(ranking) => ranking.only_best = true,
            None => plan.candidates.truncate(1),
        }
    }
}

/// Why a client's hints leave a candidate out, if they do.
fn left_out(config: &Config, now: Timestamp, hints: &Hints, candidate: &Candidate) -> Option<Rejection> {
    let place = |list: &[String]| vendors_place(config, list, candidate);
    let unwanted = hints.only.as_ref().is_some_and(|only| place(only).is_none()) || place(&hints.ignore).is_some();
    if unwanted {
        Some(Rejection::NotWanted)
    } else {
        let price = config.target(candidate.target).price.as_ref().map(|tariff| tariff.ceiling(now));
        (!hints.max_price.allows(price)).then_some(Rejection::TooDear)
    }
}

/// Where in a list the candidate's vendor stands.
fn vendors_place(config: &Config, list: &[String], candidate: &Candidate) -> Option<usize> {
    list.iter().position(|name| *name == config.vendor_of(candidate.target).name)
}

/// Limits can only become tighter: the config's protect more than this one client.
fn tighten(plan: &mut Plan, hints: &Hints) {
    let retry = &mut plan.retry;
    retry.deadline = hints.timeout.map_or(retry.deadline, |timeout| timeout.min(retry.deadline));
    retry.attempts = hints.attempts.map_or(retry.attempts, |attempts| attempts.clamp(1, retry.attempts));
    retry.base = hints.backoff.map_or(retry.base, |backoff| backoff.min(retry.max));
    plan.patience = hints.first_token;
    if let Some(first_token) = hints.first_token {
        for candidate in &mut plan.candidates {
            let timeouts = &mut candidate.timeouts;
            timeouts.first_token = timeouts.first_token.min(first_token);
        }
    }
}

fn nobody_left(config: &Config, model: &str, plan: &Plan) -> ApiError {
    let names = plan.excluded.iter().map(|(target, why)| {
        let why = if *why == Rejection::TooDear {
            "costs more than `max_price`, or nobody knows what"
        } else {
            "is not wanted"
        };
        format!("{} {why}", config.target(*target).name)
    });
    let names: Vec<_> = names.take(LISTED_MAX).collect();
    let message = format!("What the request asks for leaves no target of `{}`: {}.", quoted(model), names.join(", "));
    ApiError::new(StatusCode::BAD_REQUEST, "invalid_request_error", "no_target_left", message)
}

/// The names that a client may put in `model`, with who owns each.
pub fn models<'c>(config: &'c Config, client: Option<&'c Client>) -> impl Iterator<Item = (&'c str, &'c str)> {
    config.names.iter().filter(move |(_, name)| may_use(client, **name)).map(|(text, name)| match name {
        Name::Route(_) => (text.as_str(), "tidegate"),
        Name::Target(id) => (text.as_str(), config.vendor_of(*id).name.as_str()),
    })
}

/// A client that is kept to some routes may use those, by whatever name, and nothing beside them.
fn may_use(client: Option<&Client>, name: Name) -> bool {
    match (client.and_then(|client| client.routes.as_ref()), name) {
        (None, _) => true,
        (Some(routes), Name::Route(id)) => routes.contains(&id),
        (Some(_), Name::Target(_)) => false,
    }
}

fn unknown_model(config: &Config, client: Option<&Client>, model: &str) -> ApiError {
    let mut known: Vec<&str> = models(config, client).map(|(name, _)| name).collect();
    let more = known.len().saturating_sub(LISTED_MAX);
    known.truncate(LISTED_MAX);
    let quoted = quoted(model);
    let more = if more > 0 { format!(", and {more} more") } else { String::new() };
    let message = format!("The model `{quoted}` does not exist. Known here: {}{more}.", known.join(", "));
    let error = ApiError::new(StatusCode::NOT_FOUND, "invalid_request_error", "model_not_found", message);
    error.with_param(Some("model"))
}

#[cfg(all(test, feature = "toml"))]
mod tests;
