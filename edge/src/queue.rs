//! The queue as a Durable Object: one for the whole deployment, so that a job is found wherever its client asks.
//!
//! It stores what isolates bring, answers what clients ask, and carries jobs out itself, in its alarm: through the same
//! gateway, port and loop as an isolate carries out a request, but that the reply stays here.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use js_sys::futures::{JsFuture, spawn_local};
use tidegate_core::api::Next;
use tidegate_core::drive::drive;
use tidegate_core::queue::{ALARM_REST, Delivery, Inquiry, Queue as Jobs, Submission};
use tidegate_core::reply::Reply;
use tidegate_core::time::Millis;
use wasm_bindgen::JsValue;
use worker::{DurableObject, Env, Request, Response, Result, State, console_error, durable_object};

use crate::drive::Drive;
use crate::isolate::{Host, Visit};
use crate::port::EdgePort;
use crate::{clock, handler, isolate, js, webhook};

mod disk;
mod errands;

use disk::Disk;
use errands::Errands;

/// Where a request is brought to be stored; it is answered with an id, or with nothing.
pub(crate) const SUBMIT: &str = "/submit/";

/// Where a client's question is brought; it is answered as the client is.
pub(crate) const ASK: &str = "/ask/";

/// Which region the object tells its keeper of, that of whoever came last: an alarm comes from none.
const PLACE: &str =
    "CREATE TABLE IF NOT EXISTS queue_place (id INTEGER PRIMARY KEY CHECK (id = 0), region TEXT NOT NULL)";

/// Writes nothing where nothing changes: jobs are asked for far more often than they change.
const MOVE: &str = "INSERT INTO queue_place (id, region) VALUES (0, ?)
    ON CONFLICT (id) DO UPDATE SET region = excluded.region WHERE region <> excluded.region";

/// Keeps jobs, and carries them out.
#[durable_object(alarm)]
pub struct Queue {
    state: Rc<State>,
    env: Env,
    /// `None` until there is a region to be in, and if the store cannot be read, which has been logged.
    jobs: Rc<RefCell<Option<Jobs<Disk>>>>,
    /// Jobs that are carried out, and webhooks that are told.
    errands: Rc<Errands>,
}

impl DurableObject for Queue {
    fn new(state: State, env: Env) -> Self {
        Self { state: Rc::new(state), env, jobs: Rc::default(), errands: Rc::default() }
    }

    async fn fetch(&self, mut request: Request) -> Result<Response> {
        let path = request.path();
        let body = Bytes::from(request.bytes().await?);
        let now = clock::now();
        let (submitted, asked) = (path.strip_prefix(SUBMIT), path.strip_prefix(ASK));
        let region = submitted.or(asked).unwrap_or_default();
        self.visit(region)?;
        let response = if submitted.is_some() {
            let submission = Submission::from_bytes(&body).ok_or("not a submission")?;
            let id = self.with(|jobs| jobs.submit(now, &submission).map(|ticket| ticket.id))?;
            self.errands.news();
            Response::ok(id.unwrap_or_default())?
        } else {
            let inquiry: Inquiry = serde_json::from_slice(&body)?;
            let reply = self.with(|jobs| jobs.answer(now, &inquiry))?;
            Response::from(handler::whole(&reply)?)
        };
        self.set_alarm().await?;
        Ok(response)
    }

    async fn alarm(&self) -> Result<Response> {
        if let Err(error) = self.work().await {
            // The platform would ring a few times more, and then never again.
            console_error!("the queue's alarm has failed, and is set anew: {error}");
            self.state.storage().set_alarm(delay(ALARM_REST)).await?;
        }
        Response::empty()
    }
}

impl Queue {
    /// Enters the isolate as who tells of this region, or of the one that was told of last.
    fn visit(&self, region: &str) -> Result<Visit> {
        let sql = self.state.storage().sql();
        sql.exec(PLACE, None)?;
        if region.is_empty() {
            let row = sql.exec("SELECT region FROM queue_place", None)?.raw().next().transpose()?;
            let known = row.and_then(|row| row.into_iter().next());
            return match known {
                Some(worker::SqlStorageValue::String(region)) => self.enter(&region),
                _ => Err("nobody has brought anything yet".into()),
            };
        }
        sql.exec(MOVE, vec![region.into()])?;
        self.enter(region)
    }

    fn enter(&self, region: &str) -> Result<Visit> {
        let host = Host::Object(Rc::clone(&self.state));
        let visit = Visit::enter(|| region.to_owned(), self.env.clone(), host).ok_or("its config is not usable")?;
        let mut jobs = self.jobs.borrow_mut();
        if jobs.is_none() {
            let disk = Disk::open(self.state.storage().sql())?;
            let opened = Jobs::open(Arc::clone(visit.config()), disk, isolate::seed(), clock::now());
            *jobs = Some(opened.map_err(|error| format!("the queue cannot be taken up: {error}"))?);
        }
        drop(jobs);
        Ok(visit)
    }

    /// Lends the queue for one step, and then logs what there is to tell. Not to be called from within itself.
    fn with<T>(&self, step: impl FnOnce(&mut Jobs<Disk>) -> T) -> Result<T> {
        with(&self.jobs, step).ok_or_else(|| "the queue is not open".into())
    }

    /// Works until nothing is under way any more, and has the platform ring when there is more to do.
    async fn work(&self) -> Result<()> {
        let visit = self.visit("")?;
        loop {
            self.attend(&visit)?;
            if self.errands.are_done() {
                return self.set_alarm().await;
            }
            let due_at = self.with(|jobs| jobs.poll_timeout())?;
            self.errands.until_news_or(due_at).await;
        }
    }

    /// Does what is due, and begins what is to be carried out.
    fn attend(&self, visit: &Visit) -> Result<()> {
        let now = clock::now();
        self.with(|jobs| jobs.handle_timeout(now))?;
        while let Some(id) = self.with(|jobs| visit.with_gateway(now, |gateway| jobs.pick(now, gateway)))? {
            if let Some(submission) = self.with(|jobs| jobs.start(now, &id))? {
                self.send(carry_out(Rc::clone(&self.jobs), visit.clone(), id, submission));
            }
        }
        while let Some(delivery) = self.with(Jobs::poll_delivery)? {
            self.send(deliver(Rc::clone(&self.jobs), delivery));
        }
        Ok(())
    }

    /// Begins what the alarm then waits for. What becomes of it is told to the queue.
    fn send(&self, errand: impl Future<Output = ()> + 'static) {
        spawn_local(Rc::clone(&self.errands).run(errand));
    }

    /// The platform wakes the object when the queue has something to do, however long that is.
    async fn set_alarm(&self) -> Result<()> {
        match self.with(|jobs| jobs.poll_timeout())? {
            Some(at) => self.state.storage().set_alarm(delay(clock::now().until(at))).await,
            None => Ok(()),
        }
    }
}

/// How far ahead an alarm is to be, as the platform counts it.
fn delay(wait: Millis) -> i64 {
    i64::try_from(wait.0).unwrap_or(i64::MAX)
}

fn with<T>(jobs: &RefCell<Option<Jobs<Disk>>>, step: impl FnOnce(&mut Jobs<Disk>) -> T) -> Option<T> {
    let mut jobs = jobs.borrow_mut();
    let jobs = jobs.as_mut()?;
    let done = step(jobs);
    while let Some(notice) = jobs.poll_notice() {
        isolate::log(&notice);
    }
    Some(done)
}

/// Carries a job out as the request that it is, and brings what comes of it to the queue.
async fn carry_out(jobs: Rc<RefCell<Option<Jobs<Disk>>>>, visit: Visit, id: String, submission: Submission) {
    let now = clock::now();
    let reply = match visit.with_gateway(now, |gateway| gateway.take_up(now, submission)).read(now) {
        Next::Exchange(exchange) => {
            let (hands, kept) = (js::Port::new(), Rc::<RefCell<Option<Reply>>>::default());
            let mut port = EdgePort::keeping(visit.clone(), hands.clone(), Rc::clone(&kept));
            let driving = Drive::new(async move { drive(&mut port, exchange).await });
            // However it ends: there is a reply then, or there is none.
            let _ = JsFuture::from(hands.run(driving)).await;
            kept.take()
        }
        Next::Reply(reply) => Some(*reply),
        Next::Errand(_) => None,
    };
    let now = clock::now();
    with(&jobs, |jobs| match &reply {
        Some(reply) => jobs.finish(now, &id, reply),
        None => jobs.abandon(now, &id),
    });
}

/// Tells the webhook, and the queue what became of it.
async fn deliver(jobs: Rc<RefCell<Option<Jobs<Disk>>>>, delivery: Delivery) {
    let Delivery { id, url, headers, body, limit } = delivery;
    let status = webhook::post(&url, &headers, &body, limit).await;
    with(&jobs, |jobs| jobs.delivered(clock::now(), &id, status));
}

impl Visit {
    /// Has a client's question answered.
    pub(crate) async fn ask_queue(&self, inquiry: &Inquiry) -> std::result::Result<web_sys::Response, JsValue> {
        let question = serde_json::to_vec(inquiry).expect("our own types always have a JSON form");
        let answer = match self.queues() {
            Ok(queues) => JsFuture::from(js::ask_queue(&queues, &format!("{ASK}{}", self.region()), &question)).await,
            Err(error) => Err(error),
        };
        match answer {
            Ok(response) => Ok(wasm_bindgen::JsCast::unchecked_into(response)),
            Err(error) => {
                console_error!("the queue cannot be reached: {}", js::message(&error));
                handler::whole(&inquiry.unanswered())
            }
        }
    }
}
