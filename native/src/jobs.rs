//! The queue on this server: one thread that owns it, since a disk makes whoever writes to it wait, and one task that
//! carries out what it hands out.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tidegate_core::api::Next;
use tidegate_core::config::Config;
use tidegate_core::drive::drive;
use tidegate_core::queue::{Delivery, Inquiry, Queue, Submission, Ticket};
use tidegate_core::reply::Reply;
use tidegate_core::time::Timestamp;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinSet;
use tracing::error;

use crate::app::{App, log};
use crate::outlet::{Answer, Driving, Outlet};
use crate::port::NativePort;
use crate::store::{Store, configured};
use crate::tend::{REST, caught, caught_async, turn};
use crate::{clock, webhook};

mod disk;

use disk::Disk;

/// What is to be done with the queue, by the thread that owns it.
type Step = Box<dyn FnOnce(&mut Queue<Disk>) + Send>;

/// Steps that wait for a disk that stalls. Whoever comes beyond them waits with a step of its own, and takes it away again
/// if its client leaves.
const STEPS_MAX: usize = 64;

/// The way to the queue.
pub(crate) struct Jobs {
    steps: mpsc::Sender<Step>,
    /// Something has changed that may be a reason to look.
    news: Arc<Notify>,
}

/// What there is to do, and when to look again.
#[derive(Default)]
struct Orders {
    runs: Vec<(String, Submission)>,
    deliveries: Vec<Delivery>,
    next: Option<Timestamp>,
}

impl Jobs {
    /// Takes up the queue that the store holds; and once more when a step has panicked, after a rest.
    pub(crate) fn open(config: &Arc<Config>, store: &Store, seed: u64, rest: Duration) -> Result<Self, String> {
        let connection = store.connect(&disk::SUBJECT).map_err(|error| configured(&error))?;
        let queue = Queue::open(Arc::clone(config), Disk(connection), seed, clock::now());
        let mut queue = queue.map_err(|error| format!("the queue cannot be taken up: {error}"))?;
        let (steps, mut todo) = mpsc::channel::<Step>(STEPS_MAX);
        let work = move || work(&mut queue, || todo.blocking_recv(), rest);
        let thread = thread::Builder::new().name("queue".to_owned()).spawn(work);
        thread.map_err(|error| format!("the queue's thread cannot be started: {error}"))?;
        Ok(Self { steps, news: Arc::default() })
    }

    /// Stores a request, and says under which id.
    pub(crate) fn submit(&self, submission: Submission) -> impl Future<Output = Option<String>> + Send + 'static {
        let submit = move |queue: &mut Queue<Disk>| queue.submit(clock::now(), &submission).ok();
        let withdraw = |queue: &mut Queue<Disk>, ticket: Option<Ticket>| {
            ticket.inspect(|ticket| queue.withdraw(ticket));
        };
        let stored = self.with_or(submit, withdraw);
        let news = Arc::clone(&self.news);
        async move {
            let ticket = stored.await.flatten();
            news.notify_one();
            ticket.map(|ticket| ticket.id)
        }
    }

    /// Answers a client that asks about a job.
    pub(crate) async fn answer(&self, inquiry: Inquiry) -> Reply {
        let unanswered = inquiry.unanswered();
        self.with(move |queue| queue.answer(clock::now(), &inquiry)).await.unwrap_or(unanswered)
    }

    /// Waits until all that it was told before is stored.
    pub(crate) async fn settled(&self) {
        self.with(|_| ()).await;
    }

    /// Lends the queue for one step, if somebody still waits for it. `None`: it has panicked.
    fn with<T: Send + 'static>(
        &self,
        step: impl FnOnce(&mut Queue<Disk>) -> T + Send + 'static,
    ) -> impl Future<Output = Option<T>> + Send + 'static {
        self.with_or(step, |_, _| ())
    }

    /// The same, and has it undone if by then nobody waits for it any more.
    fn with_or<T: Send + 'static>(
        &self,
        step: impl FnOnce(&mut Queue<Disk>) -> T + Send + 'static,
        undo: impl FnOnce(&mut Queue<Disk>, T) + Send + 'static,
    ) -> impl Future<Output = Option<T>> + Send + 'static {
        let (sender, result) = oneshot::channel();
        let told = self.tell(move |queue| {
            // It has waited so long for the disk that its client has been told something else, or is gone.
            if sender.is_closed() {
                return;
            }
            let done = step(queue);
            if let Err(done) = sender.send(done) {
                undo(queue, done);
            }
        });
        async move {
            told.await;
            result.await.ok()
        }
    }

    /// Lends the queue for one step, whoever waits for it by then.
    fn tell(&self, step: impl FnOnce(&mut Queue<Disk>) + Send + 'static) -> impl Future<Output = ()> + Send + 'static {
        let steps = self.steps.clone();
        async move {
            // If the thread does not come to it, the step is dropped, and whoever waits for what comes of it sees that.
            let _ = steps.send(Box::new(step)).await;
        }
    }
}

impl fmt::Debug for Jobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jobs").finish_non_exhaustive()
    }
}

/// Takes steps for as long as there is anybody who may bring one. Where one panics, what is in memory is not believed any more.
fn work(queue: &mut Queue<Disk>, mut next: impl FnMut() -> Option<Step>, rest: Duration) {
    let mut is_sound = true;
    while let Some(step) = next() {
        let done = caught(|| {
            if !is_sound {
                queue.take_up(clock::now()).map_err(|error| error!("the queue cannot be taken up: {error}"))?;
            }
            step(queue);
            while let Some(notice) = queue.poll_notice() {
                log(&notice);
            }
            Ok::<_, ()>(())
        });
        is_sound = matches!(done, Some(Ok(())));
        if !is_sound {
            error!("the queue's thread takes up what is stored again in {rest:?}");
            thread::sleep(rest);
        }
    }
}

/// Carries out jobs until it is dropped, and those under way with it: they are taken up again at the next start.
pub(crate) async fn run(app: Arc<App>) {
    let Some(jobs) = &app.jobs else { return };
    let mut under_way = JoinSet::new();
    loop {
        turn("the queue", REST, see_to(&app, jobs, &mut under_way)).await;
    }
}

/// Begins what is due, and waits until something is again.
async fn see_to(app: &Arc<App>, jobs: &Jobs, under_way: &mut JoinSet<()>) {
    let gateway = Arc::clone(app);
    let Some(orders) = jobs.with(move |queue| attend(queue, &gateway)).await else {
        // Its thread rests, too.
        return tokio::time::sleep(REST).await;
    };
    for (id, submission) in orders.runs {
        under_way.spawn(carry_out(Arc::clone(app), id, submission));
    }
    for delivery in orders.deliveries {
        under_way.spawn(deliver(Arc::clone(app), delivery));
    }
    tokio::select! {
        () = clock::reached(orders.next) => {}
        () = jobs.news.notified() => {}
        Some(_) = under_way.join_next(), if !under_way.is_empty() => {}
    }
}

/// Does what is due, and says what is to be carried out.
fn attend(queue: &mut Queue<Disk>, app: &App) -> Orders {
    let now = clock::now();
    queue.handle_timeout(now);
    let mut orders = Orders::default();
    // The lock is held to look, and not while the disk is written to.
    while let Some(id) = app.with_gateway(|gateway| queue.pick(now, gateway)) {
        orders.runs.extend(queue.start(now, &id).map(|submission| (id, submission)));
    }
    orders.deliveries.extend(std::iter::from_fn(|| queue.poll_delivery()));
    orders.next = queue.poll_timeout();
    orders
}

/// Carries a job out as the request that it is, and brings what comes of it to the queue.
async fn carry_out(app: Arc<App>, id: String, submission: Submission) {
    // One that panics must not hold its place among those that run for ever.
    let reply = caught_async(reply_to(&app, submission)).await.flatten();
    let Some(jobs) = &app.jobs else { return };
    let finish = move |queue: &mut Queue<Disk>| match &reply {
        Some(reply) => queue.finish(clock::now(), &id, reply),
        None => queue.abandon(clock::now(), &id),
    };
    // Also when the server is told to end by now: what was paid for is not asked for again.
    jobs.tell(finish).await;
}

/// What a job's request is answered with; `None`: nothing that can be kept.
async fn reply_to(app: &Arc<App>, submission: Submission) -> Option<Reply> {
    let now = clock::now();
    match app.with_gateway(|gateway| gateway.take_up(now, submission)).read(now) {
        Next::Exchange(exchange) => {
            let outlet = Outlet::default();
            let mut port = NativePort::new(Arc::clone(app), outlet.clone());
            let mut driving: Driving = Box::pin(async move { drive(&mut port, exchange).await });
            match outlet.answered(&mut driving).await {
                Some(Answer::Whole(reply)) => Some(reply),
                Some(Answer::Stream(_)) | None => None,
            }
        }
        Next::Reply(reply) => Some(*reply),
        Next::Errand(_) => None,
    }
}

/// Tells the webhook, and the queue what became of it.
async fn deliver(app: Arc<App>, delivery: Delivery) {
    let Some(jobs) = &app.jobs else { return };
    let Delivery { id, url, headers, body, limit } = delivery;
    let status = webhook::post(&app.messenger, &url, headers, body, limit).await;
    jobs.tell(move |queue| queue.delivered(clock::now(), &id, status)).await;
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn open() -> Jobs {
        let document = r#"{
            "vendors": {"v": {"dialect": "openai", "base_url": "http://v.test/v1"}},
            "models": {"v/m": {}}, "store": {"kind": "memory"}, "queue": {}
        }"#;
        let config = Config::from_json(document, "t", &|_| None).unwrap_or_else(|errors| panic!("{errors}"));
        let store = Store::open(config.store.as_ref().unwrap()).unwrap();
        Jobs::open(&Arc::new(config), &store, 1, Duration::ZERO).unwrap()
    }

    #[tokio::test]
    async fn a_step_that_panics_takes_no_other_with_it() {
        let jobs = open();
        assert_eq!(jobs.with(|_| panic!("a bug")).await, None::<()>);
        assert_eq!(jobs.with(|queue| queue.poll_timeout()).await, Some(None), "the next one finds what is stored");
    }

    #[tokio::test]
    async fn whoever_leaves_while_the_disk_stalls_takes_his_request_with_him() {
        let jobs = open();
        let (disk, stalls) = std::sync::mpsc::channel::<()>();
        let (begins, begun) = oneshot::channel();
        let stall = move |_: &mut Queue<Disk>| (begins.send(()), stalls.recv()).1.is_err();
        let first = tokio::spawn(jobs.with(stall));
        begun.await.unwrap();
        let held = Arc::new(());
        for _ in 0..10 * STEPS_MAX {
            let request = Arc::clone(&held);
            let asked = pin!(jobs.with(move |_| drop(request)));
            assert_eq!(asked.poll(&mut Context::from_waker(Waker::noop())), Poll::Pending);
        }
        let kept = Arc::strong_count(&held) - 1;
        assert!(kept <= STEPS_MAX, "{kept} are kept");
        drop(disk);
        assert_eq!(first.await.unwrap(), Some(true));
        jobs.settled().await;
        assert_eq!(Arc::strong_count(&held), 1);
    }
}
