//! A second attempt where the first is slow: whoever says something first wins, and the other is dropped.
//!
//! The first attempt never notices: it is asked as it would be alone, it is waited for as long, and a refusal of the
//! second does not end it. If one of the two fails, the request goes on with the other, which makes the second attempt a
//! failover that has begun early.

use super::live::{Ended, Live, Progress};
use super::{Exchange, Ready, State};
use crate::classify::Outcome;
use crate::config::{RouteId, TargetId};
use crate::dialect::Unfit;
use crate::drive::{Action, Event};
use crate::gateway::Gateway;
use crate::notice::Notice;
use crate::route::Rejection;
use crate::time::Timestamp;

/// What there is to the second attempt, while the first is under way.
#[derive(Debug, Default)]
pub(super) enum Hedge {
    /// Nothing.
    #[default]
    Off,
    /// It is to be made at this moment, if nothing has come of the first by then.
    Due(Timestamp),
    /// A candidate is to be picked for it: needs the gateway.
    Choosing(Option<Box<Ready>>),
    /// The request is to be written for this candidate: takes time, and needs no gateway.
    Preparing(usize),
    /// It is under way.
    Running(Box<Live>, Box<Ready>),
    /// It has won, and is the only one now: the gateway is to be told.
    Won,
}

impl Hedge {
    /// The attempt that this event is of, if it is this one's.
    pub(super) fn of(&mut self, event: &Event) -> Option<&mut Live> {
        match self {
            Self::Running(live, _) if event.attempt() == Some(live.id) => Some(live),
            _ => None,
        }
    }

    /// When something is to be done about it.
    pub(super) fn until(&self) -> Timestamp {
        match self {
            Self::Due(at) => *at,
            Self::Running(live, _) => live.until(),
            Self::Off | Self::Choosing(_) | Self::Preparing(_) | Self::Won => Timestamp::MAX,
        }
    }

    /// Whether the gateway is needed for it.
    pub(super) fn needs_gateway(&self) -> bool {
        matches!(self, Self::Choosing(_) | Self::Won)
    }

    /// The attempt that is under way, with the request as it was written for it.
    pub(super) fn take(&mut self) -> Option<(Box<Live>, Box<Ready>)> {
        match std::mem::take(self) {
            Self::Running(live, ready) => Some((live, ready)),
            _ => None,
        }
    }
}

impl Exchange {
    /// Settles when the attempt that begins is to be hedged. There is one hedge for a request.
    pub(super) fn plan_hedge(&mut self, gateway: &mut Gateway, target: TargetId) {
        let Some(route) = self.hedging_route().filter(|_| !self.has_hedged && self.broken.is_none()) else { return };
        if self.begun == 1 {
            gateway.earn_hedge(route);
        }
        let after = gateway.hedge_after(self.now, route, target, self.request.operation());
        self.hedge = after.map_or(Hedge::Off, |after| Hedge::Due(self.now + after));
    }

    /// The route, if it hedges.
    fn hedging_route(&self) -> Option<RouteId> {
        self.plan.route.filter(|route| self.config.routes[route.0].hedge.is_some())
    }

    /// Time has passed.
    pub(super) fn hedge_timeout(&mut self) {
        let State::Attempting(first) = &self.state else { return };
        match &mut self.hedge {
            Hedge::Due(at) if *at <= self.now => {
                self.hedge = if first.has_answered() { Hedge::Off } else { Hedge::Choosing(None) };
            }
            Hedge::Running(live, _) => {
                if let Some(progress) = live.timeout(self.now) {
                    self.advance_hedge(progress);
                }
            }
            _ => {}
        }
    }

    /// Does what needs the gateway.
    pub(super) fn consult_hedge(&mut self, gateway: &mut Gateway) {
        match std::mem::take(&mut self.hedge) {
            Hedge::Choosing(ready) => self.choose_hedge(gateway, ready),
            Hedge::Won => {
                if let Some(route) = self.plan.route {
                    gateway.note_hedge_won(route);
                }
            }
            other => self.hedge = other,
        }
    }

    /// Asks the next candidate that can be asked; if there is none, or nothing to ask with, there is no hedge.
    fn choose_hedge(&mut self, gateway: &mut Gateway, ready: Option<Box<Ready>>) {
        let Some(route) = self.hedging_route() else { return };
        if self.is_out_of_budget() || !gateway.affords_hedge(self.now, route) {
            return;
        }
        for index in self.walk.next..self.plan.candidates.len() {
            let claim = self.claim(gateway, index);
            if let Err(rejection) = self.may_ask(gateway, index, &claim) {
                self.pass_over(index, rejection);
                continue;
            }
            let Some(ready) = ready.filter(|ready| ready.candidate == index) else {
                self.hedge = Hedge::Preparing(index);
                return;
            };
            match self.admit(gateway, &ready, &claim, true) {
                Ok(live) => self.begin_hedge(gateway, route, live, ready),
                Err(rejection) => self.pass_over(index, rejection),
            }
            return;
        }
    }

    /// Writes the request for the candidate that is to be asked.
    pub(super) fn prepare_hedge(&mut self) {
        let Hedge::Preparing(index) = self.hedge else { return };
        self.hedge = match self.write_for(index) {
            Ok(ready) => Hedge::Choosing(Some(Box::new(ready))),
            Err(Unfit::Unsupported(what)) => {
                self.walk.spent.push((index, Rejection::Unsupported { what }));
                Hedge::Choosing(None)
            }
            Err(Unfit::Bad(_)) => Hedge::Off,
        };
    }

    fn begin_hedge(&mut self, gateway: &mut Gateway, route: RouteId, live: Live, ready: Box<Ready>) {
        let State::Attempting(first) = &self.state else {
            unreachable!("only an attempt under way is hedged");
        };
        let name = |target: TargetId| self.config.target(target).name.clone();
        let notice = Notice::Hedged {
            request_id: self.request_id.clone(),
            slow: name(first.permit.target),
            asked: name(live.permit.target),
        };
        gateway.spend_hedge(self.now, route);
        gateway.notify(notice);
        self.has_hedged = true;
        self.walk.next = live.candidate + 1;
        self.send(gateway, &live, &ready);
        self.hedge = Hedge::Running(Box::new(live), ready);
    }

    /// Something has come of the second attempt.
    pub(super) fn advance_hedge(&mut self, progress: Progress) {
        let ended = match progress {
            Progress::Over(ended) if ended.outcome != Outcome::Success => ended,
            progress => return self.win(progress),
        };
        if let Some((live, _)) = self.hedge.take() {
            self.put_aside(live, ended);
        }
    }

    /// The second attempt was the first to say something: it takes the place of the other.
    fn win(&mut self, progress: Progress) {
        if let Some((live, ready)) = self.hedge.take()
            && let State::Attempting(mut first) = std::mem::replace(&mut self.state, State::Attempting(live))
        {
            let ended = first.abandon();
            self.put_aside(first, ended);
            self.prepared = Some(*ready);
            self.advance(progress);
            self.hedge = Hedge::Won;
        }
    }

    /// The first attempt has failed: the request goes on with the second, if that is under way.
    pub(super) fn goes_on_with_hedge(&mut self) -> bool {
        let Some((live, ready)) = self.hedge.take() else { return false };
        self.walk.same_target = 0;
        self.prepared = Some(*ready);
        self.state = State::Attempting(live);
        true
    }

    /// No second attempt is wanted any more.
    pub(super) fn drop_hedge(&mut self) {
        if let Some((mut live, _)) = self.hedge.take() {
            let ended = live.abandon();
            self.put_aside(live, ended);
        }
    }

    /// An attempt is over while the request goes on with another.
    pub(super) fn put_aside(&mut self, live: Box<Live>, ended: Box<Ended>) {
        self.actions.push_back(Action::Cancel(live.id));
        self.aside.push((live, ended));
    }

    /// Gives back the leases of attempts that are over, and notes what follows from how they ended.
    pub(super) fn settle_aside(&mut self, gateway: &mut Gateway) {
        for (live, ended) in std::mem::take(&mut self.aside) {
            let (index, target) = (live.candidate, live.permit.target);
            self.tried.push(self.ending(&live, &ended));
            let settlement = self.settlement(&live, &ended);
            let cost = gateway.settle_for(self.now, live.permit, &settlement, &self.cause(live.id));
            self.note_cost(cost);
            self.note_ending(index, target, *ended, cost);
        }
    }
}
