//! Between an exchange and its client: the answer, and the pieces of a streamed one.
//!
//! There is no task and no channel in between. The client's connection polls the exchange itself, through
//! [`StreamBody`]; so a client that reads slowly slows the vendor down, and one that hangs up drops the exchange, which
//! cancels the attempt and gives its leases back.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame};
use tidegate_core::reply::{Head, Reply};

/// An exchange being carried out.
pub(crate) type Driving = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Where a port puts what is meant for the client. Cloning shares it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Outlet(Arc<Mutex<Contents>>);

#[derive(Debug, Default)]
struct Contents {
    answer: Option<Answer>,
    pieces: VecDeque<Bytes>,
    /// Whether the exchange has ended: it must not be polled again.
    is_over: bool,
}

/// How a request is answered.
#[derive(Debug)]
pub(crate) enum Answer {
    Whole(Reply),
    Stream(Head),
}

impl Outlet {
    pub(crate) fn answer(&self, answer: Answer) {
        self.contents().answer = Some(answer);
    }

    pub(crate) fn write(&self, bytes: Bytes) {
        self.contents().pieces.push_back(bytes);
    }

    /// Pending while a piece is on its way. No waker is kept: whoever takes the piece polls the exchange again.
    pub(crate) async fn drained(&self) {
        poll_fn(|_| if self.contents().pieces.is_empty() { Poll::Ready(()) } else { Poll::Pending }).await;
    }

    /// Carries the exchange on until there is an answer. `None`: it ended without one, which is a bug in core.
    pub(crate) async fn answered(&self, driving: &mut Driving) -> Option<Answer> {
        poll_fn(|context| {
            let is_over = driving.as_mut().poll(context).is_ready();
            let mut contents = self.contents();
            contents.is_over = is_over;
            match contents.answer.take() {
                Some(answer) => Poll::Ready(Some(answer)),
                None if is_over => Poll::Ready(None),
                None => Poll::Pending,
            }
        })
        .await
    }

    fn contents(&self) -> MutexGuard<'_, Contents> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The body of a streamed answer: polling it carries the exchange on.
pub(crate) struct StreamBody {
    outlet: Outlet,
    /// `None` once it is over.
    driving: Option<Driving>,
}

impl StreamBody {
    pub(crate) fn new(outlet: Outlet, driving: Driving) -> Self {
        // What is at hand at once, such as an answer that was kept, is over as soon as it has begun.
        let is_over = outlet.contents().is_over;
        Self { outlet, driving: (!is_over).then_some(driving) }
    }
}

impl Body for StreamBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        loop {
            if let Some(piece) = self.outlet.contents().pieces.pop_front() {
                return Poll::Ready(Some(Ok(Frame::data(piece))));
            }
            let Some(driving) = &mut self.driving else {
                return Poll::Ready(None);
            };
            if driving.as_mut().poll(context).is_ready() {
                self.driving = None;
            } else if self.outlet.contents().pieces.is_empty() {
                return Poll::Pending;
            }
        }
    }
}
