//! One vendor's server: connections, keys, paths, and the head of every response.

use std::error::Error;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Either, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::answer::{Answer, Plain, VendorError};
use super::dialect::{Head, Operation, Place, Request as Asked, Route, Trouble, Turn};
use super::fault::{Fault, Met, Script};
use super::log::{Arrival, Log, Visit, hint};
use super::reply::{Playback, Reply};
use super::spoil::{Act, Voice};
use super::{Profile, control, noise};

/// What all connections of one vendor share.
#[derive(Debug)]
pub(super) struct Server {
    name: String,
    profile: Profile,
    seed: u64,
    calls: AtomicU64,
    state: Mutex<State>,
}

/// What the control endpoints read and write.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) log: Log,
    pub(super) script: Script,
}

/// A request, read and sorted.
#[derive(Debug)]
struct Call {
    route: Route,
    method: Method,
    path: String,
    query: String,
    headers: HeaderMap,
    body: Result<Value, VendorError>,
}

/// The error that makes a connection end in a TCP reset.
#[derive(Debug)]
struct Reset;

pub(super) type Body = Either<Playback, Full<Bytes>>;

const BODY_MAX: usize = 20 * 1024 * 1024;
/// How soon an answer that is held back follows the end of its fault.
const HOLD_LOOK: Duration = Duration::from_millis(5);
const CONNECTIONS_MAX: usize = 4096;

/// Serves connections until it is dropped, and them with it.
pub(super) async fn accept(listener: TcpListener, server: Arc<Server>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, Arc::clone(&server)));
                }
                // Out of file handles, most likely: a pause lets other connections end.
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(stream: TcpStream, server: Arc<Server>) {
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let service = service_fn(|request| respond(Arc::clone(&server), request));
    let mut connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    let ended = (&mut connection).await;
    let reset = ended.is_err_and(|error| error.source().is_some_and(<dyn Error>::is::<Reset>));
    if reset {
        // Without lingering, closing the socket sends a reset. If that cannot be set, the client sees a plain close.
        let _ = connection.into_parts().io.into_inner().set_zero_linger();
    }
}

async fn respond(server: Arc<Server>, request: Request<Incoming>) -> Result<Response<Body>, Reset> {
    if control::is_control(request.uri().path()) {
        return Ok(control::respond(&server, request).await.map(Either::Right));
    }
    let (parts, body) = request.into_parts();
    let read = Limited::new(body, BODY_MAX).collect().await.map(http_body_util::Collected::to_bytes);
    let bytes = read.as_ref().map_or_else(|_| Bytes::new(), Bytes::clone);
    let route = Route::of(parts.uri.path(), &parts.headers);
    let refuse = |trouble| route.dialect.refuse(&trouble);
    let body = read
        .map_err(|error| refuse(if error.is::<LengthLimitError>() { Trouble::TooLarge } else { Trouble::NotJson }))
        .and_then(|bytes| serde_json::from_slice(&bytes).map_err(|_| refuse(Trouble::NotJson)));
    let call = Call {
        route,
        method: parts.method,
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        headers: parts.headers,
        body,
    };
    let (met, mut visit) = server.arrive(&call, bytes);
    if let Some(Met { id, fault: Fault::Hold {} }) = met {
        while server.state().script.is_posted(Instant::now(), id) {
            tokio::time::sleep(HOLD_LOOK).await;
        }
    }
    let fault = met.map(|met| met.fault);
    let request_id = format!("req_{:016x}", noise::mix(server.seed.wrapping_add(visit.number())));
    let voice = Voice { dialect: call.route.dialect, request_id: &request_id };
    match server.answer(&call, fault.as_ref(), voice).spoil(fault.as_ref(), voice) {
        Act::Hang => std::future::pending().await,
        Act::Play(reply) => {
            if reply.wait > Duration::ZERO {
                tokio::time::sleep(reply.wait).await;
            }
            Ok(server.response(reply, visit, voice))
        }
        Act::Reset => {
            visit.end();
            Err(Reset)
        }
    }
}

impl Server {
    pub(super) fn new(name: String, profile: Profile) -> Self {
        Self { seed: noise::seed(&name), name, profile, calls: AtomicU64::new(0), state: Mutex::default() }
    }

    /// The log and the script. A panic elsewhere leaves them whole: each change is one step.
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Logs a request, and finds the fault it meets.
    fn arrive(self: &Arc<Self>, call: &Call, bytes: Bytes) -> (Option<Met>, Visit) {
        let model = call.model().map(str::to_owned);
        let in_body = call.body.as_ref().is_ok_and(|body| body["stream"] == true);
        let stream = in_body || call.route.operation == Operation::ChatStream;
        let State { log, script } = &mut *self.state();
        let met = script.meet(Instant::now(), &call.path, model.as_deref());
        let arrival = Arrival {
            method: call.method.clone(),
            path: call.path.clone(),
            query: call.query.clone(),
            model,
            stream,
            headers: call.headers.clone(),
            body: bytes,
        };
        let number = log.arrive(arrival, met.as_ref().map(|met| met.fault.kind()));
        (met, Visit::new(Arc::clone(self), number))
    }

    /// What it would answer if nothing went wrong.
    fn answer(&self, call: &Call, fault: Option<&Fault>, voice: Voice<'_>) -> Answer {
        self.try_answer(call, fault).unwrap_or_else(|error| Answer::Plain(voice.error(&error)))
    }

    fn try_answer(&self, call: &Call, fault: Option<&Fault>) -> Result<Answer, VendorError> {
        let Call { route, method, path, query, headers, body } = call;
        let refuse = |trouble| route.dialect.refuse(&trouble);
        if route.operation == Operation::Unknown {
            return Err(refuse(Trouble::UnknownPath(method, path)));
        }
        if *method != route.method() {
            return Err(refuse(Trouble::WrongMethod(method, path)));
        }
        call.check_key()?;
        route.dialect.admit(headers)?;
        if route.operation == Operation::Models {
            let models = route.dialect.models(&self.profile.models, &self.name);
            return Ok(Answer::Plain(Plain::ok(&models, Duration::ZERO)));
        }
        let body = body.as_ref().map_err(Clone::clone)?;
        let model = call.model().ok_or_else(|| refuse(Trouble::NoModel))?;
        if !self.profile.models.is_empty() && !self.profile.models.iter().any(|served| served == model) {
            return Err(refuse(Trouble::UnknownModel(model)));
        }
        let number = self.calls.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        if self.profile.fails_every.is_some_and(|every| number % every == 0) {
            return Err(refuse(Trouble::Status(StatusCode::SERVICE_UNAVAILABLE, None)));
        }
        let draw = self.seed.wrapping_add(number);
        let turn = Turn {
            vendor: &self.name,
            draw,
            created: unix_seconds(),
            first_token: self.profile.first_token(noise::mix(draw)),
            token_gap: self.profile.token_gap(),
            fault,
        };
        let asked = Asked { operation: route.operation, model, body, headers, query };
        route.dialect.answer(&asked, &turn)
    }

    fn response(&self, reply: Reply, visit: Visit, voice: Voice<'_>) -> Response<Body> {
        let head = Head {
            vendor: &self.name,
            request_id: voice.request_id,
            success: reply.status.is_success(),
            now: unix_seconds(),
            wait: reply.wait,
        };
        let mut response = Response::new(Either::Left(Playback::new(reply.steps, reply.length, visit)));
        *response.status_mut() = reply.status;
        let headers = response.headers_mut();
        headers.insert(header::SERVER, HeaderValue::from_static("tidegate-sandbox"));
        for (name, value) in voice.dialect.headers(&head) {
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(HeaderName::from_static(name), value);
            }
        }
        headers.extend(reply.headers);
        response
    }
}

impl Call {
    /// The model it asks for, in its path or in its body.
    fn model(&self) -> Option<&str> {
        let in_body = || self.body.as_ref().ok()?.get("model")?.as_str().filter(|model| !model.is_empty());
        self.route.model.as_deref().or_else(in_body)
    }

    /// Any key is a good one, but for those that say what is wrong with them.
    fn check_key(&self) -> Result<(), VendorError> {
        let dialect = self.route.dialect;
        let at = |place: &Place| place.key(&self.headers, &self.query);
        let trouble = match dialect.key_places().iter().find_map(at) {
            None => Trouble::NoKey,
            Some(key) if key.starts_with("bad-") => Trouble::BadKey(hint(&key)),
            Some(key) if key.starts_with("broke-") => Trouble::Broke,
            Some(_) => return Ok(()),
        };
        Err(dialect.refuse(&trouble))
    }
}

fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

impl fmt::Display for Reset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("reset on purpose")
    }
}

impl Error for Reset {}
