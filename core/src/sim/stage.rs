//! What the ports of a world share: the clock, the gateway, the vendors, what is due, and the story.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use bytes::Bytes;
use http::header::{HOST, HeaderValue};
use http::{HeaderMap, Method};

use super::answer::Answer;
use super::jobs::Jobs;
use super::probing::Webhook;
use super::referee::{Asked, Record, Referee};
use super::replay::Past;
use super::script::{Play, Script};
use super::vendor::Vendor;
use super::{BEGINNING, RequestId};
use crate::api::{Incoming, Next, Reception};
use crate::config::{Config, TargetId};
use crate::dialect::Surface;
use crate::drive::{AttemptId, Event};
use crate::exchange::Exchange;
use crate::gateway::Gateway;
use crate::health::{Finding, ProbeId};
use crate::notice::Notice;
use crate::reply::Reply;
use crate::time::Timestamp;

pub(super) struct Stage {
    pub(super) now: Timestamp,
    pub(super) gateway: Gateway,
    /// By [`TargetId`].
    pub(super) vendors: Vec<Vendor>,
    /// What is due, in the order of time.
    agenda: BTreeMap<(Timestamp, Turn, u64), Due>,
    planned: u64,
    /// Those that are not over, and those whose answer has not been taken.
    pub(super) clients: BTreeMap<RequestId, Client>,
    asked: usize,
    /// None where the config has no queue.
    pub(super) jobs: Option<Jobs>,
    /// Requests that have ended, and nobody has asked for.
    pub(super) ended: VecDeque<RequestId>,
    pub(super) referee: Referee,
    /// In a world that is lived through again.
    pub(super) past: Option<Past>,
    pub(super) webhook: Webhook,
    /// None in a quiet world.
    story: Option<Vec<Line>>,
}

/// What comes first of what is due at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Turn {
    /// As it was before.
    Again(u64),
    /// What arrives at the very moment of a limit arrives in time.
    Arrival,
    Wake,
}

pub(super) enum Due {
    /// What a probe found reaches the gateway.
    Finding(TargetId, ProbeId, Finding),
    /// The next of a vendor's doing reaches a request.
    Arrival(RequestId, Play),
    /// A request's wait is over.
    Wake(RequestId),
    /// A client goes away.
    Leave(RequestId),
}

/// One request, as its port sees it.
pub(super) struct Client {
    /// What has reached the request and has not been taken.
    pub(super) inbox: VecDeque<Event>,
    /// The attempts under way.
    pub(super) live: Vec<(AttemptId, TargetId)>,
    /// When it is to be woken; one that waits anew for something later is woken in between, and waits on.
    wake_at: Option<Timestamp>,
    pub(super) answer: Answer,
    pub(super) record: Record,
    /// The job that it is a run of.
    pub(super) job: Option<String>,
    /// What that was answered.
    reply: Option<Reply>,
}

struct Line {
    at: Timestamp,
    /// The request it is about; none for what befalls the gateway.
    request: Option<RequestId>,
    text: String,
}

impl Client {
    pub(super) fn new(now: Timestamp) -> Self {
        let (inbox, live, answer) = (VecDeque::new(), Vec::new(), Answer::default());
        Self { inbox, live, wake_at: None, answer, record: Record::new(now), job: None, reply: None }
    }
}

impl Stage {
    pub(super) fn new(config: Config, seed: u64, keeps_story: bool) -> Self {
        let story = keeps_story.then(Vec::new);
        Self { story, ..Self::begin(config, seed, BEGINNING) }
    }

    /// A quiet stage on which it is `now`.
    pub(super) fn begin(config: Config, seed: u64, now: Timestamp) -> Self {
        let config = Arc::new(config);
        Self {
            now,
            vendors: (0..config.targets.len()).map(|id| Vendor::of_world(seed, TargetId(id))).collect(),
            referee: Referee::new(&config),
            jobs: Jobs::new(&config, seed, now),
            gateway: Gateway::new(config, seed, now),
            agenda: BTreeMap::new(),
            planned: 0,
            clients: BTreeMap::new(),
            asked: 0,
            ended: VecDeque::new(),
            past: None,
            webhook: Webhook::default(),
            story: None,
        }
    }

    /// The process has died, and another has taken its place, with a gateway that knows nothing.
    pub(super) fn restart(&mut self) {
        let config = Arc::clone(self.gateway.config());
        self.gateway = Gateway::new(Arc::clone(&config), self.asked as u64, self.now);
        self.referee = Referee::new(&config);
        if let Some(jobs) = &mut self.jobs {
            jobs.restart(&config, self.now);
        }
    }

    pub(super) fn vendor(&mut self, target: &str) -> &mut Vendor {
        let id = self.gateway.config().targets.iter().position(|known| known.name == target);
        &mut self.vendors[id.expect("the story names a target of its config")]
    }

    pub(super) fn next_id(&mut self) -> RequestId {
        self.asked += 1;
        RequestId(self.asked - 1)
    }

    pub(super) fn client(&mut self, id: RequestId) -> &mut Client {
        self.clients.get_mut(&id).expect("a request that runs is known")
    }

    /// Hands a request to the gateway's interface, as an adapter does.
    pub(super) fn receive(
        &mut self,
        surface: Surface,
        mut headers: HeaderMap,
        body: Bytes,
    ) -> Result<Box<Exchange>, Box<Reply>> {
        headers.insert(HOST, HeaderValue::from_static("localhost"));
        let peer = Some(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let incoming = Incoming { method: &Method::POST, path: surface.path(), query: "", headers: &headers, peer };
        let awaited = match self.gateway.receive(self.now, &incoming) {
            Reception::Reply(reply) => return Err(reply),
            Reception::Body(awaited) => awaited,
            Reception::Query(_) | Reception::Queue(_) => unreachable!("clients ask for completions"),
        };
        match awaited.read(self.now, body) {
            Next::Exchange(exchange) => Ok(exchange),
            Next::Reply(reply) => Err(reply),
            Next::Errand(errand) => Err(Box::new(self.gateway.run(self.now, *errand))),
        }
    }

    /// What a target does with an attempt.
    pub(super) fn script(&mut self, id: RequestId, target: TargetId) -> Script {
        let before = self.past.as_mut().and_then(|past| past.script(id, target, self.now));
        before.unwrap_or_else(|| self.vendors[target.0].take(self.now))
    }

    // === What is due ===

    /// Moves on to what is due next, and says which request it is for.
    pub(super) fn next_due(&mut self, until: Timestamp) -> Option<RequestId> {
        loop {
            let first_at = self.agenda.first_key_value().map(|((at, ..), _)| *at);
            if let Some(at) = self.gateway_at().filter(|at| *at <= until.min(first_at.unwrap_or(until))) {
                self.attend(at);
                continue;
            }
            if let Some(at) = self.jobs_at().filter(|at| *at <= until.min(first_at.unwrap_or(until))) {
                if let Some(id) = self.attend_jobs(at) {
                    return Some(id);
                }
                continue;
            }
            let entry = self.agenda.first_entry().filter(|entry| entry.key().0 <= until)?;
            let ((at, ..), due) = entry.remove_entry();
            let id = match due {
                Due::Arrival(id, _) | Due::Wake(id) | Due::Leave(id) => id,
                Due::Finding(target, probe, finding) => {
                    self.now = self.now.max(at);
                    self.referee.ended(target, Asked::Probe(probe));
                    self.gateway.handle_probe(self.now, probe, &finding);
                    self.attend(at);
                    continue;
                }
            };
            // What is left over of a request that has ended does not keep the world waiting.
            let Some(client) = self.clients.get_mut(&id).filter(|client| client.record.ended_at.is_none()) else {
                continue;
            };
            match due {
                Due::Wake(_) if client.wake_at != Some(at) => continue,
                Due::Wake(_) => client.wake_at = None,
                Due::Leave(_) => client.inbox.push_back(Event::ClientGone),
                // What a cancelled attempt still sends arrives all the same: no port of ours is as careless as this one.
                Due::Arrival(_, mut play) => {
                    client.inbox.extend(play.next_events());
                    self.arrive(id, play);
                }
                Due::Finding(..) => unreachable!("it has been taken in"),
            }
            self.now = self.now.max(at);
            return Some(id);
        }
    }

    /// Lets the next of a vendor's doing arrive in its time.
    pub(super) fn arrive(&mut self, id: RequestId, play: Play) {
        if let Some(at) = play.next_at() {
            self.plan(at, Turn::Arrival, Due::Arrival(id, play));
        }
    }

    /// Wakes a request at this moment, or before it.
    pub(super) fn wake(&mut self, id: RequestId, at: Timestamp) {
        let wake_at = &mut self.client(id).wake_at;
        if wake_at.is_none_or(|planned| planned > at) {
            *wake_at = Some(at);
            self.plan(at, Turn::Wake, Due::Wake(id));
        }
    }

    pub(super) fn plan(&mut self, at: Timestamp, turn: Turn, due: Due) {
        self.planned += 1;
        let request = match &due {
            Due::Arrival(id, _) | Due::Wake(id) | Due::Leave(id) => Some(*id),
            Due::Finding(..) => None,
        };
        let before = self.past.as_ref().zip(request).and_then(|(past, id)| past.turn(id, at));
        let turn = before.map_or(turn, Turn::Again);
        self.agenda.insert((at, turn, self.planned), due);
    }

    // === What is told ===

    pub(super) fn story(&self) -> Vec<String> {
        self.story.iter().flatten().map(|line| line.text(self.asked > 1)).collect()
    }

    pub(super) fn forget_story(&mut self) {
        self.story.iter_mut().for_each(Vec::clear);
    }

    pub(super) fn keeps_story(&self) -> bool {
        self.story.is_some()
    }

    pub(super) fn tell(&mut self, request: Option<RequestId>, text: impl FnOnce() -> String) {
        if let Some(story) = &mut self.story {
            story.push(Line { at: self.now, request, text: text() });
        }
    }

    pub(super) fn tell_send(&mut self, id: RequestId, target: TargetId) {
        if let Some(name) = self.name(target) {
            self.tell(Some(id), || format!("send {name}"));
        }
    }

    pub(super) fn tell_cancel(&mut self, id: RequestId, target: TargetId) {
        if let Some(name) = self.name(target) {
            self.tell(Some(id), || format!("cancel {name}"));
        }
    }

    /// A target's name, for the story; none if there is none.
    fn name(&self, target: TargetId) -> Option<String> {
        self.keeps_story().then(|| self.gateway.config().target(target).name.clone())
    }

    /// Tells what a vendor does, if that is more than going on.
    pub(super) fn tell_event(&mut self, id: RequestId, target: TargetId, event: &Event) {
        let Some(target) = self.name(target) else { return };
        let text = match event {
            Event::Head { status, .. } if !status.is_success() => format!("status {} {target}", status.as_u16()),
            Event::Fail { fault, .. } => format!("fail {target} {}", format!("{fault:?}").to_lowercase()),
            _ => return,
        };
        self.tell(Some(id), || text);
    }

    /// Tells what befell breakers and keys; who failed over shows in who is sent to.
    pub(super) fn tell_notices(&mut self) {
        while let Some(notice) = self.gateway.poll_notice() {
            self.referee.notice(self.now, &notice);
            if !self.keeps_story() {
                continue;
            }
            let text = match notice {
                Notice::BreakerOpened { target, open_ms, why } => format!("open {target} {} {why:?}", open_ms.0),
                Notice::BreakerHalfOpened { target } => format!("half-open {target}"),
                Notice::BreakerClosed { target } => format!("close {target}"),
                Notice::HealthChanged { target, from, to } => format!("health {target} {from} {to}"),
                Notice::KeyQuarantined { key, for_ms, .. } => format!("quarantine {key} {}", for_ms.0),
                Notice::KeyThrottled { target, key, for_ms } => format!("throttle {target} {key} {}", for_ms.0),
                Notice::EventsSkipped { target, count } => format!("skip {target} {count}"),
                Notice::StreamRescued { from, to, how, .. } => format!("rescued {from} {to} {how}"),
                Notice::BudgetNearlySpent { client, spent, .. } => format!("budget {client} {spent}"),
                Notice::AlertRaised { alert } => format!("alert {alert}"),
                Notice::AlertCleared { alert, .. } => format!("over {alert}"),
                Notice::AlertsUntold { lost, .. } => format!("alerts untold {lost}"),
                Notice::LinesLost { count } => format!("lines lost {count}"),
                Notice::Lost { count } => format!("lost {count}"),
                Notice::FailedOver { .. }
                | Notice::Hedged { .. }
                | Notice::PriceUnknown { .. }
                | Notice::BreakerHeldOff { .. }
                | Notice::StreamBroken { .. }
                | Notice::QueueFull { .. }
                | Notice::QueueFault { .. }
                | Notice::JobGivenUp { .. }
                | Notice::WebhookFailed { .. } => continue,
            };
            self.tell(None, || text);
        }
    }

    // === What clients get ===

    pub(super) fn reply(&mut self, id: RequestId, reply: Reply) {
        assert!(self.client(id).answer.status.is_none(), "a request is answered once");
        if self.client(id).job.is_some() {
            self.client(id).reply = Some(reply.clone());
        }
        let answer = Answer::whole(reply, self.now);
        self.tell(Some(id), || format!("reply {}", answer.summary()));
        self.client(id).answer = answer;
    }

    /// A request's loop has ended.
    pub(super) fn finish(&mut self, id: RequestId) {
        self.abandon(id);
        if self.client(id).job.is_some() {
            let run = self.clients.remove(&id).expect("it is known");
            let (job, reply) = run.job.zip(run.reply).expect("a job's request is answered");
            return self.finish_job(&job, &reply);
        }
        self.ended.push_back(id);
        if self.keeps_story()
            && let Some(ending) = self.client(id).answer.stream_summary()
        {
            self.tell(Some(id), || format!("end {ending}"));
        }
    }

    /// Nobody waits for this request any more.
    pub(super) fn abandon(&mut self, id: RequestId) {
        let now = self.now;
        let client = self.client(id);
        client.record.ended_at = Some(now);
        client.inbox.clear();
        for (attempt, target) in std::mem::take(&mut client.live) {
            self.referee.ended(target, Asked::Attempt(id, attempt));
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
