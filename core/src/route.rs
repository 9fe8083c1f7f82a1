//! From the name a client asks for to the targets that may answer, and why others may not.

use http::StatusCode;
use serde::Serialize;

use crate::config::{Candidate, Client, Config, ContentFilter, Name, RetryPolicy, RouteId};
use crate::reply::{ApiError, quoted};
use crate::time::Millis;

/// Which targets a request may use, in which order, and how often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The route that the name stood for, if it was one.
    pub route: Option<RouteId>,
    /// In the order of preference.
    pub candidates: Vec<Candidate>,
    /// The request's budget.
    pub retry: RetryPolicy,
    /// What to do with an answer that the vendor's filter stopped.
    pub content_filter: ContentFilter,
}

/// Why a candidate was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum Rejection {
    /// Its breaker is open, or half-open with all probes under way.
    BreakerOpen {
        /// Until it may let a request through.
        retry_in_ms: Millis,
    },
    /// All of its vendor's keys are throttled on it.
    RateLimited {
        /// Until the first of them may be used again.
        retry_in_ms: Millis,
    },
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
}

impl Rejection {
    /// When the candidate may be asked again; `None` where this request never may.
    pub fn retry_in(self) -> Option<Millis> {
        match self {
            Self::BreakerOpen { retry_in_ms }
            | Self::RateLimited { retry_in_ms }
            | Self::NoCredential { retry_in_ms } => Some(retry_in_ms),
            Self::ContextTooSmall | Self::Filtered | Self::Silent => None,
        }
    }
}

/// The plan for a request that names `model`. Errors are for the caller.
pub fn plan(config: &Config, client: Option<&Client>, model: &str) -> Result<Plan, ApiError> {
    let name = config.names.get(model).ok_or_else(|| unknown_model(config, client, model))?;
    if !may_use(client, *name) {
        let message = format!(
            "The key of client `{}` may not use the model `{model}`.",
            client.map_or("", |client| &client.name)
        );
        let error = ApiError::new(StatusCode::FORBIDDEN, "permission_error", "model_not_allowed", message);
        return Err(error.with_param(Some("model")));
    }
    Ok(match *name {
        Name::Route(id) => {
            let route = &config.routes[id.0];
            Plan {
                route: Some(id),
                candidates: route.candidates.clone(),
                retry: route.retry,
                content_filter: route.content_filter,
            }
        }
        Name::Target(id) => {
            let target = config.target(id);
            Plan {
                route: None,
                candidates: vec![Candidate { target: id, timeouts: target.timeouts }],
                retry: target.retry,
                content_filter: ContentFilter::Return,
            }
        }
    })
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
    /// A long list helps nobody, and the whole is at /v1/models.
    const LISTED_MAX: usize = 30;
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
        let plan = plan(&config, None, "chain").unwrap();
        assert_eq!((plan.route, targets(&plan)), (Some(RouteId(0)), vec![1, 0]));
        assert_eq!(plan.retry.attempts, 2);
    }

    #[test]
    fn a_target_is_itself_alone_by_any_of_its_names() {
        let config = config(2);
        for name in ["v/m000", "m000", "first"] {
            let plan = plan(&config, None, name).unwrap();
            assert_eq!((plan.route, targets(&plan)), (None, vec![0]), "{name}");
            assert_eq!(plan.retry, config.targets[0].retry, "{name}");
        }
    }

    #[test]
    fn an_unknown_name_is_told_the_known_ones_within_reason() {
        let error = plan(&config(100), None, &"x".repeat(10_000)).unwrap_err();
        assert_eq!((error.status, error.code, error.param), (StatusCode::NOT_FOUND, "model_not_found", Some("model")));
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
            assert!(plan(&config(2), None, name).is_err(), "{name:?}");
        }
    }
}
