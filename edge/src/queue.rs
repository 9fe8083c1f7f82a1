//! The queue as a Durable Object: one for the whole deployment, so that a job is found wherever its client asks.
//!
//! It stores what isolates bring, answers what clients ask, and carries jobs out itself, in its alarm: through the same
//! gateway, port and loop as an isolate carries out a request, but that the reply stays here.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use js_sys::futures::{JsFuture, future_to_promise};
use js_sys::{Array, Promise};
use tidegate_core::api::Next;
use tidegate_core::drive::drive;
use tidegate_core::queue::{Delivery, Inquiry, Queue as Jobs, Submission};
use tidegate_core::reply::Reply;
use wasm_bindgen::JsValue;
use worker::{DurableObject, Env, Request, Response, Result, State, console_error, durable_object};

use crate::drive::Drive;
use crate::isolate::{Host, Visit};
use crate::port::EdgePort;
use crate::{clock, handler, isolate, js, webhook};

mod disk;

use disk::Disk;

/// Where a request is brought to be stored; it is answered with an id, or with nothing.
pub(crate) const SUBMIT: &str = "/submit/";

/// Where a client's question is brought; it is answered as the client is.
pub(crate) const ASK: &str = "/ask/";

/// Which region the object told its keeper of last: an alarm comes from none.
const PLACE: &str =
    "CREATE TABLE IF NOT EXISTS queue_place (id INTEGER PRIMARY KEY CHECK (id = 0), region TEXT NOT NULL)";

/// Keeps jobs, and carries them out.
#[durable_object(alarm)]
pub struct Queue {
    state: Rc<State>,
    env: Env,
    /// `None` until there is a region to be in, and if the store cannot be read, which has been logged.
    jobs: Rc<RefCell<Option<Jobs<Disk>>>>,
}

impl DurableObject for Queue {
    fn new(state: State, env: Env) -> Self {
        Self { state: Rc::new(state), env, jobs: Rc::default() }
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
        let visit = self.visit("")?;
        loop {
            let under_way = self.attend(&visit)?;
            if under_way.length() == 0 {
                break;
            }
            // None of them fails: what becomes of each is told to the queue.
            let _ = JsFuture::from(Promise::all(&under_way)).await;
        }
        self.set_alarm().await?;
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
        sql.exec("INSERT OR REPLACE INTO queue_place (id, region) VALUES (0, ?)", vec![region.into()])?;
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

    /// Does what is due, and begins what is to be carried out.
    fn attend(&self, visit: &Visit) -> Result<Array> {
        let now = clock::now();
        let under_way = Array::new();
        self.with(|jobs| jobs.handle_timeout(now))?;
        while let Some(id) = self.with(|jobs| visit.with_gateway(now, |gateway| jobs.pick(now, gateway)))? {
            if let Some(submission) = self.with(|jobs| jobs.start(now, &id))? {
                under_way.push(&carry_out(Rc::clone(&self.jobs), visit.clone(), id, submission));
            }
        }
        while let Some(delivery) = self.with(Jobs::poll_delivery)? {
            under_way.push(&deliver(Rc::clone(&self.jobs), delivery));
        }
        Ok(under_way)
    }

    /// The platform wakes the object when the queue has something to do, however long that is.
    async fn set_alarm(&self) -> Result<()> {
        match self.with(|jobs| jobs.poll_timeout())? {
            Some(at) => {
                let wait = i64::try_from(clock::now().until(at).0).unwrap_or(i64::MAX);
                self.state.storage().set_alarm(wait).await
            }
            None => Ok(()),
        }
    }
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
fn carry_out(jobs: Rc<RefCell<Option<Jobs<Disk>>>>, visit: Visit, id: String, submission: Submission) -> Promise {
    future_to_promise(async move {
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
        Ok(JsValue::UNDEFINED)
    })
}

/// Tells the webhook, and the queue what became of it.
fn deliver(jobs: Rc<RefCell<Option<Jobs<Disk>>>>, delivery: Delivery) -> Promise {
    future_to_promise(async move {
        let Delivery { id, url, headers, body, limit } = delivery;
        let status = webhook::post(&url, &headers, &body, limit).await;
        with(&jobs, |jobs| jobs.delivered(clock::now(), &id, status));
        Ok(JsValue::UNDEFINED)
    })
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
