//! The one loop that both adapters run, and what an adapter has to be able to do.

use std::future::Future;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use crate::classify::Fault;
use crate::config::{TargetId, VendorId};
use crate::dialect::Operation;
use crate::exchange::Exchange;
use crate::gateway::Gateway;
use crate::queue::Submission;
use crate::quota;
use crate::reply::{Head, Reply};
use crate::time::Timestamp;

/// How many attempts of one exchange are under way at once, at most: one, and a second that hedges it. A worker has six
/// connections for all that it does.
pub const ATTEMPTS_AT_ONCE: usize = 2;

/// Tells the attempts of one exchange apart: 0 is the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttemptId(pub u32);

/// A request to a vendor.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// Which attempt of its exchange it is.
    pub id: AttemptId,
    /// Whose connections to use.
    pub vendor: VendorId,
    /// Whom to ask.
    pub target: TargetId,
    /// With the target, it settles the URL: see [`Config::url`](crate::config::Config::url).
    pub operation: Operation,
    /// All headers to send; the length is the adapter's to add.
    pub headers: HeaderMap,
    /// The body to send.
    pub body: Bytes,
}

/// What the adapter is to do next.
#[derive(Debug)]
pub enum Action {
    /// Lend the gateway to [`Exchange::consult`].
    Consult,
    /// Send this attempt; its events follow.
    Send(Box<Attempt>),
    /// Drop this attempt and its connection; no event of it is wanted any more.
    Cancel(AttemptId),
    /// Answer the client with a whole reply.
    Reply(Box<Reply>),
    /// Begin a streamed answer.
    Relay(Box<Head>),
    /// Pass these bytes on to the client.
    Write(Bytes),
    /// Store this request; [`Event::Stored`] follows.
    Enqueue(Box<Submission>),
    /// Wait for the next event, or until this moment at the latest.
    Wait(Timestamp),
    /// All is said and done.
    Finish,
}

/// What has happened.
#[derive(Debug)]
pub enum Event {
    /// A vendor's response head.
    Head {
        /// Of which attempt.
        attempt: AttemptId,
        /// Its status.
        status: StatusCode,
        /// Its headers, or those of them that [`read_headers`] names.
        headers: HeaderMap,
    },
    /// A piece of a vendor's response body.
    Piece {
        /// Of which attempt.
        attempt: AttemptId,
        /// The bytes as they came.
        bytes: Bytes,
    },
    /// The end of a vendor's response body, as its framing promised it.
    End {
        /// Of which attempt.
        attempt: AttemptId,
    },
    /// The attempt failed below HTTP.
    Fail {
        /// Which attempt.
        attempt: AttemptId,
        /// How.
        fault: Fault,
    },
    /// What became of the request that was to be stored: the id that it is stored under, if it is.
    Stored(Option<String>),
    /// The moment that was waited for has come.
    Timeout,
    /// The client has gone away.
    ClientGone,
}

impl Event {
    /// The attempt that it is of; the time and the client are of none.
    pub(crate) fn attempt(&self) -> Option<AttemptId> {
        match self {
            Self::Head { attempt, .. }
            | Self::Piece { attempt, .. }
            | Self::End { attempt }
            | Self::Fail { attempt, .. } => Some(*attempt),
            Self::Stored(_) | Self::Timeout | Self::ClientGone => None,
        }
    }
}

/// The response headers that the core reads: an adapter for which headers are dear hands over these alone.
pub fn read_headers() -> impl Iterator<Item = &'static str> {
    let ours = ["content-encoding", "content-type", "date", "retry-after", "retry-after-ms", "x-ms-retry-after-ms"];
    ours.into_iter().chain(quota::headers())
}

/// What an adapter implements for one client request. A port performs; it never decides.
pub trait Port {
    /// The time now.
    fn now(&self) -> Timestamp;

    /// Lends the shared gateway for one step: under the lock, and never across an await.
    fn with_gateway<T>(&self, step: impl FnOnce(&mut Gateway) -> T) -> T;

    /// Starts sending. What comes of it is told by [`wait`](Self::wait). No more than [`ATTEMPTS_AT_ONCE`] are under way
    /// that have neither ended, failed nor been dropped.
    fn send(&mut self, attempt: Attempt);

    /// Drops an attempt.
    fn cancel(&mut self, attempt: AttemptId);

    /// Answers the client, once.
    fn reply(&mut self, reply: Reply);

    /// Begins a streamed answer, once.
    fn relay(&mut self, head: Head);

    /// Starts storing a request, once. What comes of it is told by [`wait`](Self::wait).
    fn enqueue(&mut self, submission: Submission);

    /// Passes bytes on in a streamed answer.
    fn write(&mut self, bytes: Bytes);

    /// The next event, or [`Event::Timeout`] when `until` has come first. Bytes that were written have gone on their
    /// way before the next piece is taken, so that a slow client slows the vendor down.
    fn wait(&mut self, until: Timestamp) -> impl Future<Output = Event>;
}

/// Carries one exchange out, from admission to settlement.
///
/// Dropping the future at any point is a client that has gone: what the exchange holds is given back.
pub async fn drive<P: Port>(port: &mut P, exchange: Box<Exchange>) {
    let mut driver = Driver { port, exchange };
    loop {
        match driver.exchange.poll_action() {
            Action::Consult => driver.consult(),
            Action::Send(attempt) => driver.port.send(*attempt),
            Action::Cancel(attempt) => driver.port.cancel(attempt),
            Action::Reply(reply) => driver.port.reply(*reply),
            Action::Relay(head) => driver.port.relay(*head),
            Action::Enqueue(submission) => driver.port.enqueue(*submission),
            Action::Write(bytes) => driver.port.write(bytes),
            Action::Wait(until) => {
                let event = driver.port.wait(until).await;
                let now = driver.port.now();
                driver.exchange.handle(now, event);
            }
            Action::Finish => return,
        }
    }
}

/// An exchange with the port it runs on, so that losing both settles what is open.
struct Driver<'p, P: Port> {
    port: &'p mut P,
    // Boxed: the future that holds it is moved about, and this is most of it.
    exchange: Box<Exchange>,
}

impl<P: Port> Driver<'_, P> {
    fn consult(&mut self) {
        let exchange = &mut self.exchange;
        self.port.with_gateway(|gateway| exchange.consult(gateway));
    }
}

impl<P: Port> Drop for Driver<'_, P> {
    fn drop(&mut self) {
        if self.exchange.is_over() {
            return;
        }
        let now = self.port.now();
        self.exchange.handle(now, Event::ClientGone);
        self.consult();
    }
}
