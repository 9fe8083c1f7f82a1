//! From the name a client asks for to the targets that may answer, and why others may not.

use http::StatusCode;
use serde::{Deserialize, Serialize};

use crate::concurrency::Priority;
use crate::config::{
    After, Candidate, Client, Config, ContentFilter, Exhausted, Name, Parameters, RetryPolicy, RouteId, Strategy,
    TargetId,
};
use crate::dialect::Rescue;
use crate::hints::{Hints, Sort};
use crate::limit::Dimension;
use crate::price::Picodollars;
use crate::reply::{ApiError, quoted};
use crate::time::Millis;

/// A long list in an error helps nobody.
const LISTED_MAX: usize = 30;

/// Which targets a request may use, in which order, and how often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The route that the name stood for, if it was one.
    pub route: Option<RouteId>,
    /// In the order of preference.
    pub candidates: Vec<Candidate>,
    /// Those that the client's hints leave out, and why.
    pub excluded: Vec<(TargetId, Rejection)>,
    /// By what they are to be ranked when they are asked; `None`: they stand in their order.
    pub ranking: Option<Ranking>,
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

/// Why a candidate was not taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum Rejection {
    /// Its breaker is open, or half-open with all probes under way.
    BreakerOpen {
        /// Until it may let a request through.
        retry_in_ms: Millis,
    },
    /// It has failed this request before, and said when to come back.
    Resting {
        /// Until it may be asked again.
        retry_in_ms: Millis,
    },
    /// As many attempts are under way at it as it bears.
    Busy {
        /// Until one of them may be over.
        retry_in_ms: Millis,
    },
    /// All of its vendor's keys are throttled on it.
    RateLimited {
        /// Until the first of them may be used again.
        retry_in_ms: Millis,
    },
    /// All of its vendor's keys, or itself, are at a limit that the configuration sets.
    AtLimit {
        /// What there is no room for.
        limit: Dimension,
        /// Until there is.
        retry_in_ms: Millis,
    },
    /// What it is expected to cost is more than the client's budget has left.
    OverBudget {
        /// Until the budget's next period.
        retry_in_ms: Millis,
    },
    /// What it costs is not known, and the client has a budget to keep.
    Unpriced,
    /// Its vendor refuses all keys.
    NoCredential {
        /// Until the first of them is tried again.
        retry_in_ms: Millis,
    },
    /// The request did not fit a context at least as large.
    ContextTooSmall,
    /// Its vendor's content filter has stopped this request before.
    Filtered,
    /// It was silent to this request before.
    Silent,
    /// It could not go on with the answer that another had begun.
    NoRescue,
    /// The client's hints leave it out.
    NotWanted,
    /// It costs more than the client allows, or what it costs is not known.
    TooDear,
    /// It cannot do what the request asks for.
    Unsupported {
        /// The parameter, or the ability: `tools`, `n`.
        what: String,
    },
}

impl Rejection {
    /// Whether it will pass by itself, since it is about how much was asked for in how short a time.
    pub fn is_throttling(&self) -> bool {
        matches!(self, Self::RateLimited { .. } | Self::AtLimit { .. })
    }

    /// When the candidate may be asked again; `None` where this request never may.
    pub fn retry_in(&self) -> Option<Millis> {
        match self {
            Self::BreakerOpen { retry_in_ms }
            | Self::Resting { retry_in_ms }
            | Self::Busy { retry_in_ms }
            | Self::RateLimited { retry_in_ms }
            | Self::AtLimit { retry_in_ms, .. }
            | Self::OverBudget { retry_in_ms }
            | Self::NoCredential { retry_in_ms } => Some(*retry_in_ms),
            Self::ContextTooSmall
            | Self::Filtered
            | Self::Silent
            | Self::NoRescue
            | Self::NotWanted
            | Self::TooDear
            | Self::Unpriced
            | Self::Unsupported { .. } => None,
        }
    }
}

/// The plan for a request that names `model`. Errors are for the caller.
pub fn plan(config: &Config, client: Option<&Client>, model: &str, hints: &Hints) -> Result<Plan, Box<ApiError>> {
    let (name, suffix) = resolve(config, client, model)?;
    let mut plan = named(config, name);
    for fallback in hints.fallbacks.iter().filter(|fallback| *fallback != model) {
        // Who asks for a fallback that is not there would find out when it is needed.
        let (name, _) = resolve(config, client, fallback)?;
        for more in named(config, name).candidates {
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
    choose_among(config, &mut plan, hints, sort);
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
fn named(config: &Config, name: Name) -> Plan {
    match name {
        Name::Route(id) => {
            let route = &config.routes[id.0];
            Plan {
                route: Some(id),
                candidates: route.candidates.clone(),
                excluded: Vec::new(),
                ranking: by_strategy(route.strategy, route.candidates.len()),
                retry: route.retry,
                content_filter: route.content_filter,
                parameters: route.parameters,
                after: route.after,
                exhausted: route.exhausted,
                priority: Priority::default(),
                stream_cut: route.stream_cut,
            }
        }
        Name::Target(id) => {
            let target = config.target(id);
            Plan {
                route: None,
                candidates: vec![config.candidate(id)],
                excluded: Vec::new(),
                ranking: None,
                retry: target.retry,
                content_filter: ContentFilter::default(),
                parameters: Parameters::default(),
                after: After::default(),
                exhausted: Exhausted::default(),
                priority: Priority::default(),
                stream_cut: None,
            }
        }
    }
}

fn by_strategy(strategy: Strategy, first: usize) -> Option<Ranking> {
    let by = RankBy::Strategy(strategy);
    (strategy != Strategy::Ordered).then_some(Ranking { by, first, only_best: false })
}

/// Leaves out whom the client does not want, and puts the rest in the order that it asks for.
fn choose_among(config: &Config, plan: &mut Plan, hints: &Hints, sort: Option<Sort>) {
    let vendor = |candidate: &Candidate| config.vendor_of(candidate.target).name.as_str();
    let place = |list: &[String], candidate: &Candidate| list.iter().position(|name| name == vendor(candidate));
    let Plan { candidates, excluded, ranking, .. } = plan;
    let (mut nth, ranked) = (0, ranking.map_or(0, |ranking| ranking.first));
    candidates.retain(|candidate| {
        nth += 1;
        let unwanted = hints.only.as_ref().is_some_and(|only| place(only, candidate).is_none())
            || place(&hints.ignore, candidate).is_some();
        let price = config.target(candidate.target).price;
        let too_dear = !hints.max_price.allows(price);
        if unwanted {
            excluded.push((candidate.target, Rejection::NotWanted));
        } else if too_dear {
            excluded.push((candidate.target, Rejection::TooDear));
        }
        let is_left = !unwanted && !too_dear;
        if let Some(ranking) = ranking.as_mut().filter(|_| !is_left && nth <= ranked) {
            ranking.first -= 1;
        }
        is_left
    });
    if sort == Some(Sort::Price) {
        // By a token of each kind: which of the two weighs more is not known before the answer.
        let price = |candidate: &Candidate| {
            config.target(candidate.target).price.map_or(Picodollars(u64::MAX), |price| price.input.plus(price.output))
        };
        plan.candidates.sort_by_key(price);
    }
    plan.candidates.sort_by_key(|candidate| place(&hints.order, candidate).unwrap_or(usize::MAX));
    if hints.no_fallbacks {
        match &mut plan.ranking {
            Some(ranking) => ranking.only_best = true,
            None => plan.candidates.truncate(1),
        }
    }
}

/// Limits can only become tighter: the config's protect more than this one client.
fn tighten(plan: &mut Plan, hints: &Hints) {
    let retry = &mut plan.retry;
    retry.deadline = hints.timeout.map_or(retry.deadline, |timeout| timeout.min(retry.deadline));
    retry.attempts = hints.attempts.map_or(retry.attempts, |attempts| attempts.clamp(1, retry.attempts));
    retry.base = hints.backoff.map_or(retry.base, |backoff| backoff.min(retry.max));
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
mod tests {
    use super::*;
    use crate::hints::MaxPrice;

    fn config(models: usize) -> Config {
        let models: String =
            (0..models).flat_map(|nth| ["[models.\"v/m".to_owned(), format!("{nth:03}\"]\n")]).collect();
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
        let plan = plan(&config, None, "chain", &Hints::default()).unwrap();
        assert_eq!((plan.route, targets(&plan)), (Some(RouteId(0)), vec![1, 0]));
        assert_eq!(plan.retry.attempts, 2);
    }

    #[test]
    fn a_target_is_itself_alone_by_any_of_its_names() {
        let config = config(2);
        for name in ["v/m000", "m000", "first"] {
            let plan = plan(&config, None, name, &Hints::default()).unwrap();
            assert_eq!((plan.route, targets(&plan)), (None, vec![0]), "{name}");
            assert_eq!(plan.retry, config.targets[0].retry, "{name}");
        }
    }

    #[test]
    fn an_unknown_name_is_told_the_known_ones_within_reason() {
        let error = plan(&config(100), None, &"x".repeat(10_000), &Hints::default()).unwrap_err();
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
    fn names_are_matched_exactly() {
        for name in ["", "Chain", "chain ", "v/m000/", "v"] {
            assert!(plan(&config(2), None, name, &Hints::default()).is_err(), "{name:?}");
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
        let plan = plan(&config, None, model, hints).unwrap_or_else(|error| panic!("{}", error.message));
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
    fn fallbacks_come_after_what_was_asked_for_and_nobody_twice() {
        let hints = Hints { fallbacks: list(&["a/m", "c/spare", "all"]), ..Hints::default() };
        assert_eq!(order("b/m", &hints), ["b/m", "a/m", "c/spare", "c/m"]);
        let unknown = Hints { fallbacks: list(&["nowhere"]), ..Hints::default() };
        assert_eq!(plan(&market(), None, "b/m", &unknown).unwrap_err().status, StatusCode::NOT_FOUND);
    }

    #[test]
    fn a_strategy_ranks_its_own_route_and_a_client_outranks_it() {
        let mut config = market();
        config.routes[0].strategy = Strategy::Latency;
        let ranking = |hints: &Hints| plan(&config, None, "all", hints).unwrap().ranking;
        let by_latency = |first, only_best| Ranking { by: RankBy::Strategy(Strategy::Latency), first, only_best };
        let hints = Hints::default;
        assert_eq!(ranking(&hints()), Some(by_latency(3, false)));
        assert_eq!(ranking(&Hints { fallbacks: list(&["c/spare"]), ..hints() }), Some(by_latency(3, false)));
        assert_eq!(ranking(&Hints { ignore: list(&["a"]), ..hints() }), Some(by_latency(2, false)));
        let best = Hints { no_fallbacks: true, ..hints() };
        assert_eq!(ranking(&best), Some(by_latency(3, true)), "the best is not known yet");
        assert_eq!(ranking(&Hints { order: list(&["b"]), ..hints() }), None);
        assert_eq!(ranking(&Hints { sort: Some(Sort::Price), ..hints() }), None);
        let by_client = Ranking { by: RankBy::Sort(Sort::Throughput), first: 3, only_best: false };
        assert_eq!(ranking(&Hints { sort: Some(Sort::Throughput), ..hints() }), Some(by_client));
        assert_eq!(plan(&market(), None, "all", &hints()).unwrap().ranking, None, "in the config's order");
    }

    #[test]
    fn limits_become_tighter_and_never_wider() {
        let tight =
            Hints { timeout: Some(Millis(70)), first_token: Some(Millis(50)), attempts: Some(1), ..Hints::default() };
        let tight = plan(&market(), None, "all", &tight).unwrap();
        assert_eq!((tight.retry.deadline, tight.retry.attempts), (Millis(70), 1));
        assert!(tight.candidates.iter().all(|candidate| candidate.timeouts.first_token == Millis(50)));
        let wide = Hints { timeout: Some(Millis(u64::MAX)), attempts: Some(99), ..Hints::default() };
        let usual = plan(&market(), None, "all", &Hints::default()).unwrap();
        assert_eq!(plan(&market(), None, "all", &wide).unwrap().retry, usual.retry);
        let none = Hints { attempts: Some(0), ..Hints::default() };
        assert_eq!(plan(&market(), None, "all", &none).unwrap().retry.attempts, 1);
    }

    #[test]
    fn what_leaves_nobody_is_told_why() {
        let hints = Hints {
            only: Some(list(&["c"])),
            max_price: MaxPrice { input: Some(Picodollars(1)), output: None },
            ..Hints::default()
        };
        let error = plan(&market(), None, "all", &hints).unwrap_err();
        assert_eq!(error.status, StatusCode::BAD_REQUEST);
        assert!(
            error.message.contains("a/m is not wanted") && error.message.contains("c/m costs more"),
            "{}",
            error.message
        );
    }
}
