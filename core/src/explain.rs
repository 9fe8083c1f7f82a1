//! Why a request would go where it would go: a dry run that sends nothing and changes nothing.

use http::StatusCode;
use serde::Serialize;

use crate::gateway::Gateway;
use crate::reply::Reply;
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

impl Gateway {
    /// Explains a plan, as the reply of `POST /admin/explain`.
    pub fn explain(&self, now: Timestamp, plan: &Plan) -> Reply {
        Reply::json(StatusCode::OK, &self.explanation(now, plan))
    }

    /// Every candidate of a plan, taken or rejected and why.
    pub fn explanation(&self, now: Timestamp, plan: &Plan) -> Explanation {
        let config = self.config();
        let considered = plan.candidates.iter().map(|candidate| {
            let rejected = self.would_admit(now, candidate.target).err();
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
