//! One HTTP request: from hyper to core and back.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming as Received;
use hyper::{Request, Response};
use tidegate_core::api::{Awaited, Incoming, Next, Reception};
use tidegate_core::drive::drive;
use tidegate_core::exchange::Exchange;
use tidegate_core::gathered::Gathered;
use tidegate_core::ledger::Query;
use tidegate_core::reply::Reply;
use tracing::error;

use crate::app::App;
use crate::clock;
use crate::outlet::{Answer, Driving, Outlet, StreamBody};
use crate::port::NativePort;
use crate::store::ledger;

/// The body of a response.
pub(crate) enum ReplyBody {
    Whole(Full<Bytes>),
    Stream(StreamBody),
}

/// Answers a request. Every status and every word of it is core's.
pub(crate) async fn handle(
    app: Arc<App>,
    peer: SocketAddr,
    request: Request<Received>,
) -> Result<Response<ReplyBody>, Infallible> {
    let (head, body) = request.into_parts();
    let incoming = Incoming {
        method: &head.method,
        path: head.uri.path(),
        query: head.uri.query().unwrap_or(""),
        headers: &head.headers,
        peer: Some(peer.ip()),
    };
    let now = clock::now();
    let awaited = match app.with_gateway(|gateway| gateway.receive(now, &incoming)) {
        Reception::Reply(reply) => return Ok(whole(*reply)),
        Reception::Query(query) => return Ok(whole(ask_ledger(app, *query).await)),
        Reception::Queue(inquiry) => {
            return Ok(whole(match &app.jobs {
                Some(jobs) => jobs.answer(*inquiry).await,
                None => inquiry.unanswered(),
            }));
        }
        Reception::Body(awaited) => *awaited,
    };
    let body = match read_body(&app, body, &awaited).await {
        Ok(body) => body,
        Err(refusal) => return Ok(whole(refusal)),
    };
    let now = clock::now();
    Ok(match awaited.read(now, body) {
        Next::Reply(reply) => whole(*reply),
        Next::Errand(errand) => whole(app.with_gateway(|gateway| gateway.run(now, *errand))),
        Next::Exchange(exchange) => carry_out(app, exchange).await,
    })
}

/// Has the ledger answer, with all that has come to an end by now.
async fn ask_ledger(app: Arc<App>, query: Query) -> Reply {
    let statement = query.statement().clone();
    let asked = tokio::task::spawn_blocking(move || {
        let (store, ledger) = app.store.as_ref().zip(app.ledger.as_ref())?;
        ledger.flush(&app);
        let asked =
            store.reader().and_then(|reader| ledger::ask(&reader, &statement).map_err(|why| store.unusable(why)));
        asked.map_err(|error| error!("the ledger cannot be read: {error}")).ok()
    });
    match asked.await {
        Ok(Some(rows)) => query.answer(&rows),
        Ok(None) | Err(_) => query.failed(),
    }
}

/// Runs the exchange until the client can be answered; what is left of a stream runs as its body is read.
async fn carry_out(app: Arc<App>, exchange: Box<Exchange>) -> Response<ReplyBody> {
    let outlet = Outlet::default();
    let mut port = NativePort::new(app, outlet.clone());
    let mut driving: Driving = Box::pin(async move { drive(&mut port, exchange).await });
    match outlet.answered(&mut driving).await.expect("an exchange ends with an answer") {
        Answer::Whole(reply) => whole(reply),
        Answer::Stream(head) => {
            let mut response = Response::new(ReplyBody::Stream(StreamBody::new(outlet, driving)));
            *response.status_mut() = head.status;
            *response.headers_mut() = head.headers;
            response
        }
    }
}

fn whole(reply: Reply) -> Response<ReplyBody> {
    let mut response = Response::new(ReplyBody::Whole(Full::new(reply.body)));
    *response.status_mut() = reply.status;
    *response.headers_mut() = reply.headers;
    response
}

/// Gathers a body, as far as core wants it and the client keeps it coming.
async fn read_body(app: &App, mut body: Received, awaited: &Awaited) -> Result<Bytes, Reply> {
    let stall = Duration::from_millis(app.config.server.client_stall.0);
    let mut gathered = Gathered::default();
    while let Some(frame) = tokio::time::timeout(stall, body.frame()).await.map_err(|_| awaited.incomplete())? {
        let Ok(piece) = frame.map_err(|_| awaited.incomplete())?.into_data() else { continue };
        if (gathered.len() + piece.len()) as u64 > awaited.body_max {
            return Err(awaited.too_large());
        }
        gathered.push(piece);
    }
    Ok(gathered.join())
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Self::Whole(body) => Pin::new(body).poll_frame(context),
            Self::Stream(body) => Pin::new(body).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(body) if body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(body) => body.size_hint(),
            Self::Stream(_) => SizeHint::default(),
        }
    }
}
