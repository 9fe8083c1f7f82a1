//! Why a request would go where it would go: a dry run that sends nothing and changes nothing. It may stand in for a client.

use http::StatusCode;
use serde::Serialize;

use crate::api::parameters;
use crate::concurrency::Claim;
use crate::config::{Candidate, Config, Strategy, TargetId};
use crate::dialect::{Request, Unfit, prepare};
use crate::gateway::Gateway;
use crate::health::Status;
use crate::limit::Need;
use crate::reply::{ApiError, quoted};
use crate::rng::Rng;
use crate::route::{Plan, RankBy, Rejection, Way};
use crate::time::Timestamp;
use crate::tokens::Estimate;

/// What would become of a request now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// The client that it stands in for.
    pub client: Option<String>,
    /// Why that client would be turned away, whoever could serve it.
    pub refused: Option<Rejection>,
    /// The route that its `model` names, if it names one.
    pub route: Option<String>,
    /// How the route came to these candidates: `usual`, `condition 1` or `general, normal`.
    pub way: String,
    /// What they are ranked by, where the route says so; `None`: they stand in their order.
    pub strategy: Option<&'static str>,
    /// Who is asked before all of them by a share of the requests.
    pub canary: Option<Drawn>,
    /// What the route's shadow would choose.
    pub shadow: Option<Shadowed>,
    /// The first target that would be asked; `None` if nobody can be.
    pub target: Option<String>,
    /// Every candidate, in the order in which they would be asked.
    pub candidates: Vec<Considered>,
}

/// Who goes first by chance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Drawn {
    /// Its name.
    pub target: String,
    /// How often, in 1/1000.
    pub share_permille: u32,
}

/// What another policy would choose.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Shadowed {
    /// By what.
    pub strategy: &'static str,
    /// The first target that it would ask; `None` if it had nobody to ask.
    pub target: Option<String>,
}

/// What is to be explained.
#[derive(Debug)]
pub struct Inquiry {
    /// Index into the config's clients.
    client: Option<usize>,
    plan: Plan,
    /// What candidates lack for this request, of those that lack something.
    unfit: Vec<(TargetId, Rejection)>,
    request: Request,
}

/// One candidate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Considered {
    /// Its name.
    pub target: String,
    /// Whether it would be admitted.
    pub taken: bool,
    /// How its target is: one that is not well is asked after the others.
    pub health: Status,
    /// What the request is expected to cost there, in USD, where that is known.
    pub cost_usd: Option<String>,
    /// What it scores, where that counts.
    pub score: Option<u64>,
    /// Why not, where not.
    pub rejected: Option<Rejection>,
}

impl Inquiry {
    /// Looks at what each candidate lacks for the request. Needs no gateway.
    pub fn new(config: &Config, client: Option<usize>, request: Request, plan: Plan) -> Self {
        let unfit = plan.candidates.iter().filter_map(|candidate| {
            let target = config.target(candidate.target);
            let vendor = &config.vendors[target.vendor.0];
            let what = match prepare(&request, vendor, target, plan.parameters) {
                Ok(_) => return None,
                Err(Unfit::Unsupported(what)) => what,
                Err(Unfit::Bad(bad)) => bad.message,
            };
            Some((candidate.target, Rejection::Unsupported { what }))
        });
        let unfit = unfit.collect();
        // What it costs is told for each. Here, where the gateway is not held: to read all of it takes time.
        request.weight();
        Self { client, plan, unfit, request }
    }
}

/// The client that a dry run is to stand in for, as the query of its URL names it: an index into the config's clients.
pub(crate) fn stand_in(config: &Config, query: &str) -> Result<Option<usize>, Box<ApiError>> {
    let mut client = None;
    for (name, wanted) in parameters(query)? {
        if name != "client" {
            let message = format!("There is no `{}` to explain with. There is `client`.", quoted(name));
            return Err(ApiError::invalid(message, None).into());
        }
        let known = config.clients.iter().position(|client| client.name == wanted);
        client = Some(known.ok_or_else(|| unknown_client(&wanted))?);
    }
    Ok(client)
}

fn unknown_client(name: &str) -> ApiError {
    let message = format!("There is no client `{}` in this gateway's configuration.", quoted(name));
    let error = ApiError::new(StatusCode::NOT_FOUND, "invalid_request_error", "client_not_found", message);
    error.with_param(Some("client"))
}

impl Gateway {
    /// Every candidate, taken or rejected and why.
    pub fn explanation(&self, now: Timestamp, inquiry: &Inquiry) -> Explanation {
        let (config, plan) = (self.config(), &inquiry.plan);
        let mut candidates = plan.candidates.clone();
        let strategy = plan.ranking.and_then(|ranking| match ranking.by {
            RankBy::Strategy(strategy) => Some(strategy),
            RankBy::Sort(_) => None,
        });
        if let Some(ranking) = plan.ranking {
            self.preview(now, &mut candidates, ranking, (&plan.basis, &inquiry.request));
        }
        let mut considered = self.consider(now, &candidates, strategy, inquiry);
        considered.sort_by_key(|(is_doubtful, _)| *is_doubtful);
        let candidates: Vec<_> = considered.into_iter().map(|(_, considered)| considered).collect();
        let name = |target: TargetId| config.target(target).name.clone();
        let refused = inquiry.client.and_then(|client| self.turns_away(now, client, inquiry));
        let first = candidates.iter().find(|candidate| candidate.taken && refused.is_none());
        Explanation {
            client: inquiry.client.map(|client| config.clients[client].name.clone()),
            route: plan.route.map(|id| config.routes[id.0].name.clone()),
            way: match &plan.way {
                Way::Usual => "usual".to_owned(),
                Way::Condition(nth) => format!("condition {}", nth + 1),
                Way::Task { row, column } => format!("{row}, {}", column.name()),
            },
            strategy: strategy.map(Strategy::name),
            canary: plan
                .canary
                .map(|canary| Drawn { target: name(canary.candidate.target), share_permille: canary.share_permille }),
            shadow: self.explain_shadow(now, inquiry),
            target: first.map(|candidate| candidate.target.clone()),
            refused,
            candidates,
        }
    }

    /// Each candidate, and whether it is in doubt.
    fn consider(
        &self,
        now: Timestamp,
        candidates: &[Candidate],
        strategy: Option<Strategy>,
        inquiry: &Inquiry,
    ) -> Vec<(bool, Considered)> {
        let Inquiry { plan, unfit, request, .. } = inquiry;
        let unsuited = match plan.ranking {
            Some(_) => self.unsuited(now, candidates, strategy, &plan.basis, request),
            None => Vec::new(),
        };
        let scores = (strategy == Some(Strategy::Context)).then(|| self.scores(now, candidates, &plan.basis, request));
        let costs = self.likely_costs(candidates.iter().map(|candidate| candidate.target), Some(request));
        let considered = candidates.iter().enumerate().map(|(place, candidate)| {
            let id = candidate.target;
            let unfit = unfit.iter().find(|(target, _)| *target == id).map(|(_, why)| why.clone());
            let unsuited = unsuited.iter().find(|(unsuited, _)| *unsuited == place).map(|(_, why)| why.clone());
            let rejected =
                unfit.or(unsuited).or_else(|| self.would_admit_claim(now, candidate, &self.claim(id, inquiry)).err());
            let considered = Considered {
                target: self.config().target(id).name.clone(),
                taken: rejected.is_none(),
                health: self.health(now, id),
                cost_usd: costs.get(place).copied().flatten().map(|cost| cost.to_string()),
                score: scores.as_ref().map(|scores| scores[place]),
                rejected,
            };
            (self.is_doubtful(now, candidate), considered)
        });
        considered.collect()
    }

    /// What its attempt at a target would claim, after all others.
    fn claim(&self, id: TargetId, Inquiry { client, request, .. }: &Inquiry) -> Claim {
        let Estimate { input, output } = self.estimate(id, request);
        Claim { need: Need { input, output, client: *client, draw: 0 }, ..Claim::LAST }
    }

    /// What stands against the client's request, by the limits on all that it asks for.
    fn turns_away(&self, now: Timestamp, client: usize, inquiry: &Inquiry) -> Option<Rejection> {
        let tokens = self.claim(inquiry.plan.candidates.first()?.target, inquiry).need.tokens();
        self.would_let_in(now, client, tokens).err()
    }

    fn explain_shadow(&self, now: Timestamp, Inquiry { plan, request, .. }: &Inquiry) -> Option<Shadowed> {
        let route = plan.route.filter(|_| !matches!(plan.way, Way::Condition(_)))?;
        let shadow = self.config().routes[route.0].choices.shadow.as_ref()?;
        let target = self.shadow_choice(now, shadow, &plan.basis, request, &mut Rng::from_seed(0));
        let target = target.map(|id| self.config().target(id).name.clone());
        Some(Shadowed { strategy: shadow.strategy.name(), target })
    }
}
