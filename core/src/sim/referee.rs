//! Watches that whatever happens in a world keeps the rules, at every step and whoever looks on.
//!
//! It goes by what can be seen from outside (notices, attempts sent and ended), and trusts no breaker's own account.

use super::RequestId;
use crate::alert::Alert;
use crate::breaker::{ORDER_MAX, Trip};
use crate::config::{BreakerPolicy, Config, Guard, TargetId};
use crate::drive::AttemptId;
use crate::health::ProbeId;
use crate::notice::Notice;
use crate::time::{Millis, Timestamp};

/// What is known of every breaker and every target from the outside.
pub(super) struct Referee {
    /// By [`BreakerId`](crate::config::BreakerId).
    breakers: Vec<Watch>,
    /// By [`TargetId`]: attempts under way.
    live: Vec<Vec<Asked>>,
    /// By [`TargetId`]: attempts that have been sent, and how many had been when a breaker of it opened for the first time
    /// since the last [`mark`](Self::mark).
    sent: Vec<u64>,
    opened: Vec<Option<u64>>,
    /// Breakers that let probes through before their time was over. Some policies do.
    pub(super) hastened: u32,
    /// Requests that had a second attempt beside the first.
    pub(super) hedged: u32,
    /// Streams that another vendor went on with.
    pub(super) rescued: u32,
    /// Alerts that are open.
    alarms: Vec<Alert>,
}

struct Watch {
    name: String,
    target: TargetId,
    policy: BreakerPolicy,
    /// How long a probe's lease lasts at least.
    lease: Millis,
    light: Light,
}

enum Light {
    Green,
    Red {
        until: Timestamp,
    },
    /// With the probes under way, and until when each holds its place.
    Amber(Vec<(Asked, Timestamp)>),
}

/// What a target is asked by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// An attempt that a client's request makes.
    Attempt(RequestId, AttemptId),
    /// A probe that is an attempt in all but name.
    Probe(ProbeId),
}

/// What one request has led to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Record {
    pub(super) asked_at: Timestamp,
    /// Attempts sent.
    pub(super) sent: u32,
    pub(super) last_sent_at: Timestamp,
    pub(super) ended_at: Option<Timestamp>,
}

impl Record {
    pub(super) fn new(now: Timestamp) -> Self {
        Self { asked_at: now, sent: 0, last_sent_at: now, ended_at: None }
    }
}

impl Referee {
    pub(super) fn new(config: &Config) -> Self {
        let watch = |guard: &Guard| Watch {
            name: guard.name.clone(),
            target: guard.target,
            policy: guard.policy,
            lease: shortest_lease(config, guard.target),
            light: Light::Green,
        };
        let live = vec![Vec::new(); config.targets.len()];
        Self {
            breakers: config.breakers.iter().map(watch).collect(),
            live,
            sent: vec![0; config.targets.len()],
            opened: vec![None; config.targets.len()],
            hastened: 0,
            hedged: 0,
            rescued: 0,
            alarms: Vec::new(),
        }
    }

    /// A breaker's transitions; an open time is over when its breaker says so, and only then is anything sent.
    pub(super) fn notice(&mut self, now: Timestamp, notice: &Notice) {
        self.hedged += u32::from(matches!(notice, Notice::Hedged { .. }));
        self.rescued += u32::from(matches!(notice, Notice::StreamRescued { .. }));
        self.alarm(notice);
        let (target, light) = match notice {
            Notice::BreakerOpened { target, open_ms, .. } => (target, Light::Red { until: now + *open_ms }),
            Notice::BreakerHalfOpened { target } => (target, Light::Amber(Vec::new())),
            Notice::BreakerClosed { target } => (target, Light::Green),
            _ => return,
        };
        let Some(watch) = self.breakers.iter_mut().find(|watch| watch.name == *target) else { return };
        if let (Light::Red { until }, Light::Amber(_)) = (&watch.light, &light) {
            self.hastened += u32::from(now < *until);
        }
        if let Notice::BreakerOpened { open_ms, why, .. } = notice {
            let longest = if *why == Trip::Forced { ORDER_MAX } else { watch.policy.open_max.max(Millis(1)) };
            assert!((Millis(1)..=longest).contains(open_ms), "{target} is open for {open_ms}");
        }
        if matches!(light, Light::Red { .. }) {
            self.opened[watch.target.0].get_or_insert(self.sent[watch.target.0]);
        }
        watch.light = light;
    }

    /// Alerts are raised and cleared in turn.
    fn alarm(&mut self, notice: &Notice) {
        match notice {
            Notice::AlertRaised { alert } => {
                assert!(!self.alarms.iter().any(|open| open.is_like(alert)), "{alert} is open already");
                self.alarms.push(alert.clone());
            }
            Notice::AlertCleared { alert, .. } => {
                let place = self.alarms.iter().position(|open| open == alert);
                self.alarms.swap_remove(place.unwrap_or_else(|| panic!("{alert} was not open")));
            }
            _ => {}
        }
    }

    pub(super) fn sent(&mut self, now: Timestamp, target: TargetId, asked: Asked) {
        let live = &mut self.live[target.0];
        assert!(!live.contains(&asked), "each attempt is sent once");
        live.push(asked);
        self.sent[target.0] += 1;
        let mut guards: Vec<&mut Watch> = self.breakers.iter_mut().filter(|watch| watch.target == target).collect();
        let [watch] = &mut guards[..] else {
            // Which of them it passed does not show.
            let all_red = guards.iter().all(|watch| matches!(watch.light, Light::Red { .. }));
            assert!(!all_red, "{} is asked though all its breakers are open", guards[0].name);
            return;
        };
        match &mut watch.light {
            Light::Green => {}
            Light::Red { .. } => panic!("{} is asked though its breaker is open", watch.name),
            Light::Amber(probes) => {
                probes.retain(|(_, until)| *until > now);
                probes.push((asked, now + watch.lease));
                let (live, most) = (probes.len(), watch.policy.probes.max(1));
                assert!(live <= most as usize, "{live} probes at {}, where {most} may be", watch.name);
            }
        }
    }

    /// An attempt has ended, or nobody waits for it any more.
    pub(super) fn ended(&mut self, target: TargetId, asked: Asked) {
        self.live[target.0].retain(|live| *live != asked);
        for watch in self.breakers.iter_mut().filter(|watch| watch.target == target) {
            if let Light::Amber(probes) = &mut watch.light {
                probes.retain(|(probe, _)| *probe != asked);
            }
        }
    }

    /// From now on it is noted which breaker opens.
    pub(super) fn mark(&mut self) {
        self.opened.fill(None);
    }

    /// How many attempts had been sent to a target when a breaker of it first opened since then.
    pub(super) fn opened(&self, target: TargetId) -> Option<u64> {
        self.opened[target.0]
    }

    /// Attempts under way at a target.
    pub(super) fn live(&self, target: TargetId) -> usize {
        self.live[target.0].len()
    }
}

/// The shortest that a probe's lease may last on any route: after that, another probe may rightly take its place.
fn shortest_lease(config: &Config, target: TargetId) -> Millis {
    let candidates = config.routes.iter().flat_map(|route| &route.candidates);
    let timeouts = candidates.filter(|candidate| candidate.target == target).map(|candidate| candidate.timeouts);
    let leases = timeouts.chain([config.target(target).timeouts]);
    leases.map(|limits| limits.head.max(limits.first_token).min(limits.answer)).min().unwrap_or_default()
}
