//! What goes to the socket, as data: a head, and the steps of the body in order.
//!
//! A vendor's answer and every way it can go wrong after the head are lists of the same few steps, so that faults are
//! edits of a list, and one small player ([`Playback`]) deals with sockets and timers.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use super::log::Visit;

/// One response, ready to be played.
#[derive(Debug)]
pub(super) struct Reply {
    /// The wait before the head.
    pub(super) wait: Duration,
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    /// The content-length to announce; absent, the body is chunked.
    pub(super) length: Option<u64>,
    pub(super) steps: VecDeque<Step>,
}

/// One step of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Send(Bytes),
    /// So many bytes of filler, made as they are read.
    Fill(u64),
    Wait(Duration),
    /// Nothing more, and the socket stays open until the client leaves.
    Silence,
    /// What was sent is flushed, then the connection closes with the body unfinished.
    Cut,
}

/// A reply's body, being played to one client.
pub(super) struct Playback {
    steps: VecDeque<Step>,
    /// What is left of the announced length.
    left: Option<u64>,
    sleep: Option<Pin<Box<Sleep>>>,
    /// When the next step is due; waits add up from the start, so that timer slack does not slow the pace.
    due: Instant,
    flushed: bool,
    visit: Visit,
}

/// The error that makes the server close a connection at once.
#[derive(Debug)]
pub(super) struct Cut;

const FILLER: &[u8; 65_536] = &[b'a'; 65_536];

impl Playback {
    /// Plays `steps` from now on; `visit` learns whether the client stays to the end.
    pub(super) fn new(steps: VecDeque<Step>, length: Option<u64>, mut visit: Visit) -> Self {
        if steps.is_empty() {
            visit.end();
        }
        Self { steps, left: length, sleep: None, due: Instant::now(), flushed: false, visit }
    }

    /// Hands `bytes` to the server, which does not ask again after the last of them.
    fn send(&mut self, bytes: Bytes) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        if self.steps.is_empty() {
            self.visit.end();
        }
        self.left = self.left.map(|left| left.saturating_sub(bytes.len() as u64));
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }
}

impl Body for Playback {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let this = self.get_mut();
        loop {
            if let Some(sleep) = &mut this.sleep {
                std::task::ready!(sleep.as_mut().poll(cx));
                this.sleep = None;
            }
            match this.steps.pop_front() {
                None => {
                    this.visit.end();
                    return Poll::Ready(None);
                }
                Some(Step::Send(bytes)) => return this.send(bytes),
                Some(Step::Fill(left)) => {
                    let size = usize::try_from(left).unwrap_or(usize::MAX).min(FILLER.len());
                    let left = left.saturating_sub(size as u64);
                    if left > 0 {
                        this.steps.push_front(Step::Fill(left));
                    }
                    return this.send(Bytes::from_static(&FILLER[..size]));
                }
                Some(Step::Wait(length)) => {
                    this.due += length;
                    this.sleep = Some(Box::pin(tokio::time::sleep_until(this.due)));
                }
                Some(Step::Silence) => {
                    this.steps.push_front(Step::Silence);
                    return Poll::Pending;
                }
                // The server flushes when a body is pending, and drops what it has not flushed when a body fails.
                Some(Step::Cut) if !this.flushed => {
                    this.flushed = true;
                    this.steps.push_front(Step::Cut);
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Some(Step::Cut) => {
                    this.visit.end();
                    return Poll::Ready(Some(Err(Cut)));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.steps.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cut on purpose")
    }
}

impl std::error::Error for Cut {}
