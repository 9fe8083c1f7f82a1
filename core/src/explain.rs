//! Why a request would go where it would go: a dry run that sends nothing and changes nothing.

use serde::Serialize;

use crate::config::Config;
use crate::dialect::{Request, Unfit, prepare};
use crate::gateway::Gateway;
use crate::route::{Plan, Rejection};
use crate::time::Timestamp;

/// What would become of a request now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// The route that its `model` names, if it names one.
    pub route: Option<String>,
    /// The first target that would be asked; `None` if nobody can be.
    pub target: Option<String>,
    /// Every candidate, in the order in which they would be asked.
    pub candidates: Vec<Considered>,
}

/// What is to be explained.
#[derive(Debug)]
pub struct Inquiry {
    plan: Plan,
    /// By candidate: what it lacks for this request, where it lacks something.
    unfit: Vec<Option<Rejection>>,
}

/// One candidate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Considered {
    /// Its name.
    pub target: String,
    /// Whether it would be admitted.
    pub taken: bool,
    /// Why not, where not.
    pub rejected: Option<Rejection>,
}

impl Inquiry {
    /// Looks at what each candidate lacks for the request. Needs no gateway.
    pub fn new(config: &Config, request: &Request, plan: Plan) -> Self {
        let unfit = plan.candidates.iter().map(|candidate| {
            let target = config.target(candidate.target);
            let vendor = &config.vendors[target.vendor.0];
            match prepare(request, vendor, target, plan.parameters) {
                Ok(_) => None,
                Err(Unfit::Unsupported(what)) => Some(Rejection::Unsupported { what }),
                Err(Unfit::Bad(bad)) => Some(Rejection::Unsupported { what: bad.message }),
            }
        });
        let unfit = unfit.collect();
        Self { plan, unfit }
    }
}

impl Gateway {
    /// Every candidate, taken or rejected and why.
    pub fn explanation(&self, now: Timestamp, inquiry: &Inquiry) -> Explanation {
        let (config, plan) = (self.config(), &inquiry.plan);
        let considered = plan.candidates.iter().zip(&inquiry.unfit).map(|(candidate, unfit)| {
            let rejected = unfit.clone().or_else(|| self.would_admit(now, candidate).err());
            Considered { target: config.target(candidate.target).name.clone(), taken: rejected.is_none(), rejected }
        });
        let candidates: Vec<_> = considered.collect();
        Explanation {
            route: plan.route.map(|id| config.routes[id.0].name.clone()),
            target: candidates.iter().find(|candidate| candidate.taken).map(|candidate| candidate.target.clone()),
            candidates,
        }
    }
}
