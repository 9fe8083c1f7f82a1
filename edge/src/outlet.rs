//! Between an exchange and its client: the answer, and the pieces of a streamed one.
//!
//! Nothing runs in the background. The response's stream polls the exchange itself, through [`Client::pull`]; so a client
//! that reads slowly slows the vendor down, and one that goes away drops the exchange, which cancels the attempt and
//! gives its leases back.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use js_sys::Uint8Array;
use tidegate_core::reply::{Head, Reply};
use wasm_bindgen::prelude::wasm_bindgen;

/// An exchange being carried out.
pub(crate) type Driving = Pin<Box<dyn Future<Output = ()>>>;

/// Where a port puts what is meant for the client. Cloning shares it.
#[derive(Clone, Default)]
pub(crate) struct Outlet(Rc<Contents>);

#[derive(Default)]
struct Contents {
    answer: Cell<Option<Answer>>,
    pieces: RefCell<VecDeque<Bytes>>,
}

/// How a request is answered.
pub(crate) enum Answer {
    Whole(Reply),
    Stream(Head),
}

impl Outlet {
    pub(crate) fn answer(&self, answer: Answer) {
        self.0.answer.set(Some(answer));
    }

    pub(crate) fn write(&self, bytes: Bytes) {
        self.0.pieces.borrow_mut().push_back(bytes);
    }

    /// Pending while a piece is on its way. No waker is kept: whoever takes the piece polls the exchange again.
    pub(crate) async fn drained(&self) {
        poll_fn(|_| if self.0.pieces.borrow().is_empty() { Poll::Ready(()) } else { Poll::Pending }).await;
    }

    fn next_piece(&self) -> Option<Bytes> {
        self.0.pieces.borrow_mut().pop_front()
    }
}

/// What JavaScript holds of an exchange: reading from it carries the exchange on. Cloning shares it.
#[wasm_bindgen]
#[derive(Clone)]
pub struct Client(Rc<Carriage>);

struct Carriage {
    outlet: Outlet,
    /// `None` while it is being polled, and once it is over.
    driving: Cell<Option<Driving>>,
    gone: Cell<bool>,
}

impl Client {
    pub(crate) fn new(outlet: Outlet, driving: Driving) -> Self {
        Self(Rc::new(Carriage { outlet, driving: Cell::new(Some(driving)), gone: Cell::new(false) }))
    }

    /// Carries the exchange on until there is an answer. `None`: the client has gone.
    pub(crate) async fn answered(&self) -> Option<Answer> {
        poll_fn(|context| {
            let progress = self.0.poll(context);
            match self.0.outlet.0.answer.take() {
                Some(answer) => Poll::Ready(Some(answer)),
                None => progress.map(|()| None),
            }
        })
        .await
    }
}

#[wasm_bindgen]
impl Client {
    /// The next piece of a streamed answer; `undefined` at its end.
    pub async fn pull(&self) -> Option<Uint8Array> {
        let piece = poll_fn(|context| {
            loop {
                if let Some(piece) = self.0.outlet.next_piece() {
                    return Poll::Ready(Some(piece));
                }
                let progress = self.0.poll(context);
                if self.0.outlet.0.pieces.borrow().is_empty() {
                    return progress.map(|()| None);
                }
            }
        });
        piece.await.map(|piece| Uint8Array::from(&piece[..]))
    }

    /// The client has gone away.
    pub fn gone(&self) {
        self.0.gone.set(true);
        drop(self.0.driving.take());
    }
}

impl Carriage {
    /// Carries the exchange on. Ready once it is over, or nobody waits for it any more.
    fn poll(&self, context: &mut Context<'_>) -> Poll<()> {
        // Taken out meanwhile: whatever a step sets off in JavaScript may come back to us before the step is done.
        let Some(mut driving) = self.driving.take() else { return Poll::Ready(()) };
        let progress = driving.as_mut().poll(context);
        if progress.is_pending() && !self.gone.get() {
            self.driving.set(Some(driving));
            return Poll::Pending;
        }
        Poll::Ready(())
    }
}
