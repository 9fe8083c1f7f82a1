//! Whether a job would get anywhere if it was run now.

use std::collections::BTreeMap;

use super::index::ClientName;
use super::job::{Asked, Job};
use crate::config::Config;
use crate::dialect::Surface;
use crate::gateway::Gateway;
use crate::hints::Hints;
use crate::route::{self, Asker};
use crate::time::{Millis, Timestamp};

/// What was found out about the models that jobs ask for, at one moment: many jobs ask for the same.
pub(super) struct Admission<'a> {
    now: Timestamp,
    config: &'a Config,
    gateway: &'a Gateway,
    /// By client, API, model and hints: until somebody may serve it, or zero.
    known: BTreeMap<(&'a ClientName, &'a str, &'a str, Option<&'a Hints>), Millis>,
}

/// A candidate that says nothing of when it may be asked is looked at again after this time.
const UNKNOWN: Millis = Millis(5000);

impl<'a> Admission<'a> {
    pub(super) fn new(now: Timestamp, config: &'a Config, gateway: &'a Gateway) -> Self {
        Self { now, config, gateway, known: BTreeMap::new() }
    }

    /// How long until somebody would be let through who may serve this job; zero: somebody is.
    pub(super) fn wait(&mut self, job: &'a Job) -> Millis {
        let hints = match &job.hints {
            Asked::Plainly => None,
            Asked::With(hints) => Some(&**hints),
            Asked::AtLength => return Millis::ZERO,
        };
        let place = (&job.client, job.api.as_str(), job.model.as_str(), hints);
        if let Some(wait) = self.known.get(&place) {
            return *wait;
        }
        let wait = self.look(job, hints.unwrap_or(&Hints::default()));
        self.known.insert(place, wait);
        wait
    }

    fn look(&self, job: &Job, hints: &Hints) -> Millis {
        let client = self.config.clients.iter().position(|known| Some(&known.name) == job.client.as_ref());
        let surface = Surface::ALL.into_iter().find(|surface| surface.path() == job.api);
        // What is gone from the config is to be run, and to be told so.
        let Some(surface) = surface else { return Millis::ZERO };
        let asker = Asker { client, kind: surface.into(), now: self.now };
        let Ok(plan) = route::plan(self.config, asker, &job.model, hints) else { return Millis::ZERO };
        let waits = plan.candidates.iter().map(|candidate| match self.gateway.would_admit(self.now, candidate) {
            Ok(()) => Millis::ZERO,
            Err(why) => why.retry_in().unwrap_or(UNKNOWN),
        });
        waits.min().unwrap_or(Millis::ZERO)
    }
}
