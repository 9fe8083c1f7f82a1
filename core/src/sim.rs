//! A world with a virtual clock and scripted vendors, for tests and drills.
//!
//! Requests enter through the gateway's own interface and are carried out by the one loop in [`mod@crate::drive`], over a
//! port whose clock is a number and whose vendors are [`Script`]s. Nothing waits: a day of outages takes a
//! millisecond, and the same config, seed and scripts tell the same story, to the byte, on the host and in wasm.
//!
//! The story is a list of short lines, such as `40 send a/m` or `290 reply 200 a/m attempts=2`, each beginning with the
//! milliseconds since the world began. A [`quiet`](World::quiet) world keeps none, and is good for millions of requests.

use std::cell::{RefCell, RefMut};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde_json::Value;

use crate::config::Config;
use crate::dialect::Surface;
use crate::drive::{Event, drive};
use crate::exchange::Exchange;
use crate::gateway::Gateway;
use crate::queue::{Memory, Queue};
use crate::time::{Millis, Timestamp};

mod answer;
pub mod drill;
mod jobs;
mod port;
mod probing;
mod profile;
mod referee;
mod replay;
mod replayed;
mod script;
mod sdk;
mod stage;
pub mod swarm;
mod trace;
mod vendor;
mod wire;

pub use answer::Answer;
pub use profile::{Latency, Limits, Profile};
pub use replay::{Difference, Report, Totals, replay};
pub use script::Script;
pub use sdk::Sdk;
pub use trace::trace;

use port::SimPort;
use stage::{Client, Stage};
use vendor::Manner;

/// When a world begins: an ordinary moment, so that HTTP dates around it are ordinary too.
pub const BEGINNING: Timestamp = Timestamp(1_700_000_000_000);

/// Steps after which a run cannot be anything but a loop.
const STEPS_MAX: u32 = 1_000_000;

/// A gateway, its clients and its vendors.
pub struct World {
    stage: Rc<RefCell<Stage>>,
    /// Those that are not over.
    running: BTreeMap<RequestId, Running>,
}

type Running = Pin<Box<dyn Future<Output = ()>>>;

/// One request of a world, in the order in which they were made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RequestId(pub usize);

impl World {
    /// A world in which nothing has happened. Vendors answer well after 50 ms unless told otherwise.
    pub fn new(config: Config, seed: u64) -> Self {
        Self::with(Stage::new(config, seed, true))
    }

    /// A world that keeps no story, and of a request nothing beyond [`take_answer`](Self::take_answer).
    pub fn quiet(config: Config, seed: u64) -> Self {
        Self::with(Stage::new(config, seed, false))
    }

    fn with(stage: Stage) -> Self {
        Self { stage: Rc::new(RefCell::new(stage)), running: BTreeMap::new() }
    }

    /// What a target does with its next attempts, one each.
    pub fn script(&mut self, target: &str, next: impl IntoIterator<Item = Script>) {
        self.stage.borrow_mut().vendor(target).next.extend(next);
    }

    /// What a target does from now on, once what was scripted is used up.
    pub fn usually(&mut self, target: &str, usual: Script) {
        self.stage.borrow_mut().vendor(target).usual = Manner::Script(usual);
    }

    /// How a target behaves on the whole from now on, once what was scripted is used up.
    pub fn behaves(&mut self, target: &str, profile: Profile) {
        self.stage.borrow_mut().vendor(target).usual = Manner::Profile(profile);
    }

    /// What free probes of a target find from now on. Untold, it is down for them as its vendor is for attempts.
    pub fn probed(&mut self, target: &str, found: Script) {
        self.stage.borrow_mut().vendor(target).probed = Some(found);
    }

    /// How many free probes have been sent on a target's behalf, and that of others of its vendor.
    pub fn probes(&self, target: &str) -> u64 {
        self.stage.borrow_mut().vendor(target).probes
    }

    /// What the operator's webhook answers from now on; none: nothing.
    pub fn webhook_answers(&mut self, status: Option<StatusCode>) {
        self.stage.borrow_mut().webhook.answers = status;
    }

    /// The messages that the operator's webhook has been told.
    pub fn webhook_told(&self) -> Vec<Value> {
        self.stage.borrow().webhook.told.clone()
    }

    /// A client asks. What is to be done at once is done before this returns.
    pub fn ask(&mut self, surface: Surface, body: impl Into<Bytes>) -> RequestId {
        self.ask_with(surface, HeaderMap::new(), body)
    }

    /// A client asks, with headers of its own.
    pub fn ask_with(&mut self, surface: Surface, headers: HeaderMap, body: impl Into<Bytes>) -> RequestId {
        let mut stage = self.stage.borrow_mut();
        let id = stage.next_id();
        let now = stage.now;
        stage.clients.insert(id, Client::new(now));
        match stage.receive(surface, headers, body.into()) {
            Err(reply) => {
                stage.reply(id, *reply);
                stage.finish(id);
                drop(stage);
            }
            Ok(exchange) => {
                drop(stage);
                self.carry_out(id, exchange);
            }
        }
        id
    }

    fn carry_out(&mut self, id: RequestId, exchange: Box<Exchange>) {
        let mut port = SimPort::new(Rc::clone(&self.stage), id);
        self.running.insert(id, Box::pin(async move { drive(&mut port, exchange).await }));
        self.poll(id);
    }

    /// The process dies, and another takes up what is stored. Who was connected is not answered.
    pub fn restart(&mut self) {
        for id in std::mem::take(&mut self.running).into_keys() {
            self.stage.borrow_mut().abandon(id);
        }
        self.stage.borrow_mut().restart();
    }

    /// A client hangs up, as the native server sees it: what runs for it is dropped.
    pub fn hang_up(&mut self, id: RequestId) {
        let Some(running) = self.running.remove(&id) else { return };
        self.stage.borrow_mut().tell(Some(id), || "hang up".to_owned());
        drop(running);
        let mut stage = self.stage.borrow_mut();
        stage.abandon(id);
        stage.tell_notices();
    }

    /// A client hangs up, as the worker sees it: an event.
    pub fn leave(&mut self, id: RequestId) {
        if self.running.contains_key(&id) {
            let mut stage = self.stage.borrow_mut();
            stage.tell(Some(id), || "leave".to_owned());
            stage.client(id).inbox.push_back(Event::ClientGone);
        }
        self.poll(id);
    }

    /// Lets everything happen until nobody waits for an answer any more.
    pub fn run(&mut self) {
        self.run_until(Timestamp::MAX);
    }

    /// Lets so much time pass.
    pub fn run_for(&mut self, length: Millis) {
        let until = self.now() + length;
        self.run_until(until);
        self.stage.borrow_mut().now = until;
    }

    fn run_until(&mut self, until: Timestamp) {
        for _ in 0..STEPS_MAX {
            if !self.step(until) {
                return;
            }
        }
        panic!("the story has no end: {:#?}", self.story().iter().rev().take(20).collect::<Vec<_>>());
    }

    /// Lets things happen until a request has ended, and says which; none if by `until` there was none.
    pub fn next_end(&mut self, until: Timestamp) -> Option<RequestId> {
        loop {
            if let Some(id) = self.stage.borrow_mut().ended.pop_front() {
                return Some(id);
            }
            if !self.step(until) {
                let mut stage = self.stage.borrow_mut();
                if until < Timestamp::MAX {
                    stage.now = stage.now.max(until);
                }
                return None;
            }
        }
    }

    /// Lets the next thing happen that is due; `false` if by `until` there is none.
    fn step(&mut self, until: Timestamp) -> bool {
        // The gateway's own doings go on for ever: they are no reason for a world to go on.
        if until == Timestamp::MAX && self.running.is_empty() {
            return false;
        }
        let due = self.stage.borrow_mut().next_due(until);
        let Some(id) = due else { return false };
        let begun = self.stage.borrow_mut().jobs.as_mut().and_then(|jobs| jobs.begun.remove(&id));
        match begun {
            Some(exchange) => self.carry_out(id, exchange),
            None => self.poll(id),
        }
        true
    }

    /// The time now.
    pub fn now(&self) -> Timestamp {
        self.stage.borrow().now
    }

    /// The gateway, to look at or to meddle with.
    pub fn gateway(&self) -> RefMut<'_, Gateway> {
        RefMut::map(self.stage.borrow_mut(), |stage| &mut stage.gateway)
    }

    /// The queue, to look at or to meddle with.
    ///
    /// # Panics
    ///
    /// When the config has none.
    pub fn queue(&self) -> RefMut<'_, Queue<Memory>> {
        RefMut::map(self.stage.borrow_mut(), |stage| &mut stage.jobs.as_mut().expect("the config has a queue").queue)
    }

    /// What a client has been answered so far.
    pub fn answer(&self, id: RequestId) -> Answer {
        self.stage.borrow().clients[&id].answer.clone()
    }

    /// What a client was answered whose request is over. The world then forgets it.
    pub fn take_answer(&mut self, id: RequestId) -> Option<Answer> {
        if self.running.contains_key(&id) {
            return None;
        }
        self.stage.borrow_mut().clients.remove(&id).map(|client| client.answer)
    }

    /// Whether a request is over.
    pub fn is_over(&self, id: RequestId) -> bool {
        !self.running.contains_key(&id)
    }

    /// How many requests are not over.
    pub fn running(&self) -> usize {
        self.running.len()
    }

    /// How many attempts have reached a target.
    pub fn attempts(&self, target: &str) -> u64 {
        self.stage.borrow_mut().vendor(target).attempts
    }

    /// The bearer token of every attempt that has reached a target; a quiet world does not know.
    pub fn seen(&self, target: &str) -> Vec<String> {
        self.stage.borrow_mut().vendor(target).seen.clone()
    }

    /// The whole story so far. With more than one request, each line says whose it is: `40 #1 send a/m`.
    pub fn story(&self) -> Vec<String> {
        self.stage.borrow().story()
    }

    /// The story since it was last taken.
    pub fn take_story(&mut self) -> Vec<String> {
        let story = self.story();
        self.stage.borrow_mut().forget_story();
        story
    }

    /// Lets a request go on as far as it can.
    fn poll(&mut self, id: RequestId) {
        let Some(running) = self.running.get_mut(&id) else { return };
        let mut context = Context::from_waker(Waker::noop());
        if running.as_mut().poll(&mut context) == Poll::Ready(()) {
            self.running.remove(&id);
            self.stage.borrow_mut().finish(id);
        }
        self.stage.borrow_mut().tell_notices();
    }
}

#[cfg(test)]
mod tests;
