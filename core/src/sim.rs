//! A world with a virtual clock and scripted vendors, for tests and drills.
//!
//! Requests enter through the gateway's own interface and are carried out by the one loop in [`mod@crate::drive`], over a
//! port whose clock is a number and whose vendors are [`Script`]s. Nothing waits: a day of outages takes a
//! millisecond, and the same config, seed and scripts tell the same story, to the byte, on the host and in wasm.
//!
//! The story is a list of short lines, such as `40 send a/m` or `290 reply 200 a/m attempts=2`, each beginning with the
//! milliseconds since the world began.

use std::cell::{RefCell, RefMut};
use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::header::{HOST, HeaderValue};
use http::{HeaderMap, Method};

use crate::api::{Incoming, Next, Reception};
use crate::config::Config;
use crate::dialect::Surface;
use crate::drive::{AttemptId, Event, drive};
use crate::exchange::Exchange;
use crate::gateway::Gateway;
use crate::notice::Notice;
use crate::time::{Millis, Timestamp};

mod answer;
mod port;
mod script;
mod trace;
mod wire;

pub use answer::Answer;
pub use script::Script;
pub use trace::trace;

use port::SimPort;

/// When a world begins: an ordinary moment, so that HTTP dates around it are ordinary too.
pub const BEGINNING: Timestamp = Timestamp(1_700_000_000_000);

/// Steps after which a run cannot be anything but a loop.
const STEPS_MAX: u32 = 1_000_000;

/// A gateway, its clients and its vendors.
pub struct World {
    stage: Rc<RefCell<Stage>>,
    /// By [`RequestId`]; none once it is over.
    running: Vec<Option<Running>>,
}

type Running = Pin<Box<dyn Future<Output = ()>>>;

/// One request of a world, in the order in which they were made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RequestId(pub usize);

/// What the ports share.
struct Stage {
    now: Timestamp,
    gateway: Gateway,
    /// By [`TargetId`](crate::config::TargetId).
    vendors: Vec<Vendor>,
    /// What is due, in the order of time and then of its making.
    agenda: BTreeMap<(Timestamp, u64), Due>,
    made: u64,
    /// By [`RequestId`].
    clients: Vec<Client>,
    story: Vec<Line>,
}

/// How one target behaves.
struct Vendor {
    /// What it does with the next attempts, one each.
    next: VecDeque<Script>,
    /// What it does after those.
    usual: Script,
    /// The bearer of every attempt that reached it.
    seen: Vec<String>,
}

enum Due {
    /// A vendor's doing reaches a request.
    Event(RequestId, Event),
    /// A request's wait is over.
    Wake(RequestId),
}

#[derive(Default)]
struct Client {
    /// What has reached the request and has not been taken.
    inbox: VecDeque<Event>,
    /// The attempt under way: its id and its target's name.
    live: Option<(AttemptId, String)>,
    answer: Answer,
    is_over: bool,
}

struct Line {
    at: Timestamp,
    /// The request it is about; none for what befalls the gateway.
    request: Option<RequestId>,
    text: String,
}

impl World {
    /// A world in which nothing has happened. Vendors answer well after 50 ms unless told otherwise.
    pub fn new(config: Config, seed: u64) -> Self {
        let vendor = |_| Vendor { next: VecDeque::new(), usual: Script::answer(50), seen: Vec::new() };
        let stage = Stage {
            now: BEGINNING,
            vendors: (0..config.targets.len()).map(vendor).collect(),
            gateway: Gateway::new(Arc::new(config), seed, BEGINNING),
            agenda: BTreeMap::new(),
            made: 0,
            clients: Vec::new(),
            story: Vec::new(),
        };
        Self { stage: Rc::new(RefCell::new(stage)), running: Vec::new() }
    }

    /// What a target does with its next attempts, one each.
    pub fn script(&mut self, target: &str, next: impl IntoIterator<Item = Script>) {
        self.stage.borrow_mut().vendor(target).next.extend(next);
    }

    /// What a target does from now on, once what was scripted is used up.
    pub fn usually(&mut self, target: &str, usual: Script) {
        self.stage.borrow_mut().vendor(target).usual = usual;
    }

    /// A client asks. What is to be done at once is done before this returns.
    pub fn ask(&mut self, surface: Surface, body: impl Into<Bytes>) -> RequestId {
        let id = RequestId(self.running.len());
        let mut stage = self.stage.borrow_mut();
        stage.clients.push(Client::default());
        let next = stage.receive(surface, body.into());
        let running = match next {
            Err(reply) => {
                stage.reply(id, *reply);
                stage.clients[id.0].is_over = true;
                None
            }
            Ok(exchange) => {
                let mut port = SimPort::new(Rc::clone(&self.stage), id);
                let running: Running = Box::pin(async move { drive(&mut port, exchange).await });
                Some(running)
            }
        };
        drop(stage);
        self.running.push(running);
        self.poll(id);
        id
    }

    /// A client hangs up, as the native server sees it: what runs for it is dropped.
    pub fn hang_up(&mut self, id: RequestId) {
        let running = self.running[id.0].take();
        if running.is_some() {
            self.stage.borrow_mut().tell(Some(id), "hang up");
        }
        drop(running);
        let mut stage = self.stage.borrow_mut();
        stage.clients[id.0].is_over = true;
        stage.tell_notices();
    }

    /// A client hangs up, as the worker sees it: an event.
    pub fn leave(&mut self, id: RequestId) {
        if self.running[id.0].is_some() {
            let mut stage = self.stage.borrow_mut();
            stage.tell(Some(id), "leave");
            stage.clients[id.0].inbox.push_back(Event::ClientGone);
        }
        self.poll(id);
    }

    /// Lets everything happen that is due, however late.
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
            let Some(id) = self.stage.borrow_mut().next_due(until) else { return };
            self.poll(id);
        }
        panic!("the story has no end: {:#?}", self.story().iter().rev().take(20).collect::<Vec<_>>());
    }

    /// The time now.
    pub fn now(&self) -> Timestamp {
        self.stage.borrow().now
    }

    /// The gateway, to look at or to meddle with.
    pub fn gateway(&self) -> RefMut<'_, Gateway> {
        RefMut::map(self.stage.borrow_mut(), |stage| &mut stage.gateway)
    }

    /// What a client has been answered so far.
    pub fn answer(&self, id: RequestId) -> Answer {
        self.stage.borrow().clients[id.0].answer.clone()
    }

    /// Whether a request is over.
    pub fn is_over(&self, id: RequestId) -> bool {
        self.running[id.0].is_none()
    }

    /// The bearer token of every attempt that has reached a target.
    pub fn seen(&self, target: &str) -> Vec<String> {
        self.stage.borrow_mut().vendor(target).seen.clone()
    }

    /// The whole story so far. With more than one request, each line says whose it is: `40 #1 send a/m`.
    pub fn story(&self) -> Vec<String> {
        let stage = self.stage.borrow();
        let many = stage.clients.len() > 1;
        stage.story.iter().map(|line| line.text(many)).collect()
    }

    /// The story since it was last taken.
    pub fn take_story(&mut self) -> Vec<String> {
        let story = self.story();
        self.stage.borrow_mut().story.clear();
        story
    }

    /// Lets a request go on as far as it can.
    fn poll(&mut self, id: RequestId) {
        let Some(running) = &mut self.running[id.0] else { return };
        let mut context = Context::from_waker(Waker::noop());
        if running.as_mut().poll(&mut context) == Poll::Ready(()) {
            self.running[id.0] = None;
            self.stage.borrow_mut().finish(id);
        }
        self.stage.borrow_mut().tell_notices();
    }
}

impl Stage {
    fn vendor(&mut self, target: &str) -> &mut Vendor {
        let id = self.gateway.config().targets.iter().position(|known| known.name == target);
        &mut self.vendors[id.expect("the story names a target of its config")]
    }

    /// Hands a request to the gateway's interface, as an adapter does.
    fn receive(&mut self, surface: Surface, body: Bytes) -> Result<Box<Exchange>, Box<crate::reply::Reply>> {
        let path = surface.path();
        let headers = HeaderMap::from_iter([(HOST, HeaderValue::from_static("localhost"))]);
        let peer = Some(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let incoming = Incoming { method: &Method::POST, path, headers: &headers, peer };
        let awaited = match self.gateway.receive(self.now, &incoming) {
            Reception::Reply(reply) => return Err(reply),
            Reception::Body(awaited) => awaited,
        };
        match awaited.read(self.now, body) {
            Next::Exchange(exchange) => Ok(exchange),
            Next::Reply(reply) => Err(reply),
            Next::Errand(errand) => Err(Box::new(self.gateway.run(self.now, *errand))),
        }
    }

    /// Moves on to what is due next, and says which request it is for.
    fn next_due(&mut self, until: Timestamp) -> Option<RequestId> {
        let (at, due) = loop {
            let entry = self.agenda.first_entry().filter(|entry| entry.key().0 <= until)?;
            let ((at, _), due) = entry.remove_entry();
            let (Due::Event(id, _) | Due::Wake(id)) = &due;
            // What is left over of a request that has ended does not keep the world waiting.
            if !self.clients[id.0].is_over {
                break (at, due);
            }
        };
        self.now = self.now.max(at);
        match due {
            Due::Wake(id) => Some(id),
            Due::Event(id, event) => {
                // What a cancelled attempt still sends arrives all the same: no port of ours is as careless as this one.
                self.tell_event(id, &event);
                self.clients[id.0].inbox.push_back(event);
                Some(id)
            }
        }
    }

    fn plan(&mut self, at: Timestamp, due: Due) {
        self.made += 1;
        self.agenda.insert((at, self.made), due);
    }

    fn tell(&mut self, request: Option<RequestId>, text: impl Into<String>) {
        self.story.push(Line { at: self.now, request, text: text.into() });
    }

    /// Tells what a vendor does, if that is more than going on.
    fn tell_event(&mut self, id: RequestId, event: &Event) {
        let Some((live, target)) = &self.clients[id.0].live else { return };
        let text = match event {
            Event::Head { attempt, status, .. } if attempt == live && !status.is_success() => {
                format!("status {} {target}", status.as_u16())
            }
            Event::Fail { attempt, fault } if attempt == live => {
                format!("fail {target} {}", format!("{fault:?}").to_lowercase())
            }
            _ => return,
        };
        self.tell(Some(id), text);
    }

    /// Tells what befell breakers and keys; who failed over shows in who is sent to.
    fn tell_notices(&mut self) {
        while let Some(notice) = self.gateway.poll_notice() {
            let text = match notice {
                Notice::BreakerOpened { target, open_ms, why } => format!("open {target} {} {why:?}", open_ms.0),
                Notice::BreakerHalfOpened { target } => format!("half-open {target}"),
                Notice::BreakerClosed { target } => format!("close {target}"),
                Notice::KeyQuarantined { key, for_ms, .. } => format!("quarantine {key} {}", for_ms.0),
                Notice::KeyThrottled { target, key, for_ms } => format!("throttle {target} {key} {}", for_ms.0),
                Notice::EventsSkipped { target, count } => format!("skip {target} {count}"),
                Notice::Lost { count } => format!("lost {count}"),
                Notice::FailedOver { .. } | Notice::PriceUnknown { .. } | Notice::StreamBroken { .. } => continue,
            };
            self.tell(None, text);
        }
    }

    fn reply(&mut self, id: RequestId, reply: crate::reply::Reply) {
        let answer = Answer::whole(reply);
        self.tell(Some(id), format!("reply {}", answer.summary()));
        self.clients[id.0].answer = answer;
    }

    /// A request's loop has ended.
    fn finish(&mut self, id: RequestId) {
        let client = &mut self.clients[id.0];
        client.is_over = true;
        if let Some(ending) = client.answer.stream_summary() {
            self.tell(Some(id), format!("end {ending}"));
        }
    }
}

impl Line {
    fn text(&self, many: bool) -> String {
        let at = self.at.since(BEGINNING).0;
        match self.request {
            Some(RequestId(id)) if many => format!("{at} #{id} {}", self.text),
            _ => format!("{at} {}", self.text),
        }
    }
}

#[cfg(test)]
mod tests;
