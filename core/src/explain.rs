//! Why a request would go where it would go: a dry run that sends nothing and changes nothing.

use serde::Serialize;

use crate::config::{Config, TargetId};
use crate::dialect::{Request, Unfit, prepare};
use crate::gateway::Gateway;
use crate::health::Status;
use crate::route::{Plan, RankBy, Rejection, Way};
use crate::time::Timestamp;

/// What would become of a request now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// The route that its `model` names, if it names one.
    pub route: Option<String>,
    /// How the route came to these candidates: `usual`, `condition 1` or `general, normal`.
    pub way: String,
    /// What they are ranked by, where the route says so; `None`: they stand in their order.
    pub strategy: Option<&'static str>,
    /// Who is asked before all of them by a share of the requests.
    pub canary: Option<Drawn>,
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

/// What is to be explained.
#[derive(Debug)]
pub struct Inquiry {
    plan: Plan,
    /// What candidates lack for this request, of those that lack something.
    unfit: Vec<(TargetId, Rejection)>,
    /// Whether it asks for a stream.
    stream: bool,
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
    /// Why not, where not.
    pub rejected: Option<Rejection>,
}

impl Inquiry {
    /// Looks at what each candidate lacks for the request. Needs no gateway.
    pub fn new(config: &Config, request: &Request, plan: Plan) -> Self {
        let unfit = plan.candidates.iter().filter_map(|candidate| {
            let target = config.target(candidate.target);
            let vendor = &config.vendors[target.vendor.0];
            let what = match prepare(request, vendor, target, plan.parameters) {
                Ok(_) => return None,
                Err(Unfit::Unsupported(what)) => what,
                Err(Unfit::Bad(bad)) => bad.message,
            };
            Some((candidate.target, Rejection::Unsupported { what }))
        });
        let unfit = unfit.collect();
        Self { plan, unfit, stream: request.stream }
    }
}

impl Gateway {
    /// Every candidate, taken or rejected and why.
    pub fn explanation(&self, now: Timestamp, inquiry: &Inquiry) -> Explanation {
        let (config, plan) = (self.config(), &inquiry.plan);
        let mut candidates = plan.candidates.clone();
        if let Some(ranking) = plan.ranking {
            self.preview(now, &mut candidates, ranking, inquiry.stream);
        }
        let considered = candidates.iter().map(|candidate| {
            let unfit = inquiry.unfit.iter().find(|(target, _)| *target == candidate.target);
            let unfit = unfit.map(|(_, why)| why.clone());
            let rejected = unfit.or_else(|| self.would_admit(now, candidate).err());
            let (name, health) = (config.target(candidate.target).name.clone(), self.health(now, candidate.target));
            let considered = Considered { target: name, taken: rejected.is_none(), health, rejected };
            (self.is_doubtful(now, candidate), considered)
        });
        let mut candidates: Vec<_> = considered.collect();
        candidates.sort_by_key(|(is_doubtful, _)| *is_doubtful);
        let candidates: Vec<_> = candidates.into_iter().map(|(_, considered)| considered).collect();
        Explanation {
            route: plan.route.map(|id| config.routes[id.0].name.clone()),
            way: match &plan.way {
                Way::Usual => "usual".to_owned(),
                Way::Condition(nth) => format!("condition {}", nth + 1),
                Way::Task { row, column } => format!("{row}, {}", column.name()),
            },
            strategy: plan.ranking.and_then(|ranking| match ranking.by {
                RankBy::Strategy(strategy) => Some(strategy.name()),
                RankBy::Sort(_) => None,
            }),
            canary: plan.canary.map(|canary| Drawn {
                target: config.target(canary.candidate.target).name.clone(),
                share_permille: canary.share_permille,
            }),
            target: candidates.iter().find(|candidate| candidate.taken).map(|candidate| candidate.target.clone()),
            candidates,
        }
    }
}
