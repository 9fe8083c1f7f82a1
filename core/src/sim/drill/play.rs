//! The clients of a drill: they come at random, retry as their SDKs do, and count what they get.

use std::collections::BTreeMap;

use super::Terms;
use super::line::{Call, Ended, Line};
use super::side::{Side, Tally};
use crate::chance::exponential;
use crate::config::TargetId;
use crate::rng::Rng;
use crate::sim::{BEGINNING, Profile};
use crate::time::{Millis, Timestamp};

/// What befalls the vendors, and when.
pub(super) struct Plan {
    /// The first choice.
    pub(super) first: TargetId,
    /// From when until when all is not well.
    pub(super) from: Millis,
    pub(super) until: Millis,
    /// How many times as many clients come meanwhile.
    pub(super) boost: u64,
    pub(super) weather: Vec<(Millis, TargetId, Profile)>,
    /// Whether clients come as by day and by night.
    pub(super) day: bool,
}

/// Of a day's traffic, how much comes in each hour, in 1/1000 of the mean: an office's day.
const HOURS: [u64; 24] = [
    300, 250, 200, 200, 250, 350, 550, 850, 1250, 1550, 1700, 1700, 1500, 1600, 1750, 1750, 1650, 1500, 1250, 1050,
    900, 750, 650, 500,
];

enum Turn {
    Weather(TargetId, Profile),
    /// The disaster begins.
    Begin,
    /// It is over.
    End,
    Arrival,
    Retry(Call),
}

/// Lives through a plan on one of the lines.
pub(super) fn play(line: &mut impl Line, plan: &Plan, terms: &Terms, progress: &mut dyn FnMut(u32)) -> Side {
    let mut player = Player {
        line,
        plan,
        terms,
        arrivals: Rng::from_seed(terms.seed),
        sdks: Rng::from_seed(!terms.seed),
        arrival_us: 0,
        agenda: BTreeMap::new(),
        planned: 0,
        under_way: 0,
        tally: Tally::new(plan),
    };
    player.play(progress);
    player.tally.side(player.line.cost())
}

struct Player<'a, L> {
    line: &'a mut L,
    plan: &'a Plan,
    terms: &'a Terms,
    /// When clients come: the same on every line.
    arrivals: Rng,
    /// What SDKs draw.
    sdks: Rng,
    /// When the last client came. Finer than the clock, or many clients a second would be too few.
    arrival_us: u64,
    agenda: BTreeMap<(Timestamp, u64), Turn>,
    planned: u64,
    under_way: u64,
    tally: Tally,
}

impl<L: Line> Player<'_, L> {
    fn play(&mut self, progress: &mut dyn FnMut(u32)) {
        for (at, target, profile) in &self.plan.weather {
            self.plan(BEGINNING + *at, Turn::Weather(*target, profile.clone()));
        }
        self.plan(BEGINNING + self.plan.from, Turn::Begin);
        self.plan(BEGINNING + self.plan.until, Turn::End);
        self.plan_arrival();
        let mut told = 0;
        while self.under_way > 0 || !self.agenda.is_empty() {
            let next_at = self.agenda.first_key_value().map_or(Timestamp::MAX, |((at, _), _)| *at);
            if let Some(ended) = self.line.next_end(next_at) {
                self.ended(&ended);
            } else {
                let turn = self.agenda.pop_first().map(|(_, turn)| turn);
                self.turn(turn.expect("time passes to its end only while calls are under way, and they end"));
            }
            let done = self.line.now().since(BEGINNING).0.saturating_mul(1000) / self.terms.length.0.max(1);
            let done = u32::try_from(done.min(1000)).expect("at most a thousand");
            if done > told {
                told = done;
                progress(done);
            }
        }
    }

    fn turn(&mut self, turn: Turn) {
        let now = self.line.now();
        match turn {
            Turn::Weather(target, profile) => self.line.behaves(target, profile),
            Turn::Begin => {
                self.line.mark();
                self.tally.begin(self.line.attempts(self.plan.first));
            }
            Turn::End => {
                self.tally.end(self.line.attempts(self.plan.first), self.line.opened(self.plan.first));
            }
            Turn::Arrival => {
                self.tally.calls += 1;
                self.ask(Call { asked_at: now, stream: self.terms.stream, retried: 0 });
                self.plan_arrival();
            }
            Turn::Retry(call) => self.ask(call),
        }
    }

    fn ask(&mut self, call: Call) {
        self.under_way += 1;
        self.line.ask(call);
    }

    fn ended(&mut self, ended: &Ended) {
        self.under_way -= 1;
        let call = ended.call;
        if ended.served_by.is_none() {
            let status = ended.status;
            let again = self.terms.sdk.retry_in(&mut self.sdks, ended.at, call.retried, status, &ended.headers);
            // A stream that breaks off is the app's to see.
            let is_whole = status.is_none_or(|status| !status.is_success());
            if let Some(pause) = again.filter(|_| is_whole) {
                return self.plan(ended.at + pause, Turn::Retry(Call { retried: call.retried + 1, ..call }));
            }
        }
        self.tally.note(ended);
    }

    fn plan(&mut self, at: Timestamp, turn: Turn) {
        self.planned += 1;
        self.agenda.insert((at, self.planned), turn);
    }

    fn plan_arrival(&mut self) {
        const HOUR_US: u64 = 3_600_000_000;
        let at = Millis(self.arrival_us / 1000);
        let is_boosted = (self.plan.from..self.plan.until).contains(&at);
        let hour = usize::try_from(at.0 / 3_600_000 % 24).expect("below 24");
        let share = if self.plan.day { HOURS[hour] } else { 1000 };
        let per_hour = self.terms.per_hour * if is_boosted { self.plan.boost } else { 1 };
        self.arrival_us += exponential(&mut self.arrivals, HOUR_US * 1000 / (per_hour * share).max(1));
        let at = Millis(self.arrival_us / 1000);
        if at < self.terms.length {
            self.plan(BEGINNING + at, Turn::Arrival);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_days_hours_make_a_day() {
        assert_eq!(HOURS.iter().sum::<u64>(), 24_000);
    }
}
