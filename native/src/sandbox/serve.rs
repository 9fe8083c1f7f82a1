//! One vendor's server: connections, keys, paths, and the head of every response.

use std::error::Error;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Either, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::chat::{Chat, Speaker};
use super::error::VendorError;
use super::fault::{Fault, Script};
use super::log::{Arrival, Log, Visit, hint};
use super::reply::{Playback, Reply};
use super::spoil::{Act, Answer, Plain};
use super::{Profile, control, embed, noise};

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
    method: Method,
    path: String,
    key: Result<(), VendorError>,
    body: Result<Value, VendorError>,
}

/// The error that makes a connection end in a TCP reset.
#[derive(Debug)]
struct Reset;

pub(super) type Body = Either<Playback, Full<Bytes>>;

const BODY_MAX: usize = 20 * 1024 * 1024;
const CONNECTIONS_MAX: usize = 4096;
const CHAT: &str = "/v1/chat/completions";
const EMBEDDINGS: &str = "/v1/embeddings";
const MODELS: &str = "/v1/models";

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
    let call = Call {
        key: check_key(&parts.headers),
        body: read
            .map_err(|error| refuse_body(&*error))
            .and_then(|bytes| serde_json::from_slice(&bytes).map_err(|_| VendorError::not_json())),
        path: parts.uri.path().to_owned(),
        method: parts.method,
    };
    let (fault, mut visit) = server.arrive(&call, parts.headers, bytes);
    match server.answer(&call, fault.as_ref()).spoil(fault.as_ref()) {
        Act::Hang => std::future::pending().await,
        Act::Play(reply) => {
            if reply.wait > Duration::ZERO {
                tokio::time::sleep(reply.wait).await;
            }
            Ok(server.response(reply, visit))
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
    fn arrive(self: &Arc<Self>, call: &Call, headers: HeaderMap, bytes: Bytes) -> (Option<Fault>, Visit) {
        let (model, stream) = match &call.body {
            Ok(body) => (body["model"].as_str().map(str::to_owned), body["stream"] == true),
            Err(_) => (None, false),
        };
        let State { log, script } = &mut *self.state();
        let fault = script.meet(Instant::now(), &call.path, model.as_deref());
        let (method, path) = (call.method.clone(), call.path.clone());
        let arrival = Arrival { method, path, model, stream, headers, body: bytes };
        let number = log.arrive(arrival, fault.as_ref().map(Fault::kind));
        (fault, Visit::new(Arc::clone(self), number))
    }

    /// What it would answer if nothing went wrong.
    fn answer(&self, call: &Call, fault: Option<&Fault>) -> Answer {
        self.try_answer(call, fault).unwrap_or_else(|error| Answer::Plain(Plain::error(&error)))
    }

    fn try_answer(&self, call: &Call, fault: Option<&Fault>) -> Result<Answer, VendorError> {
        let serves = match call.path.as_str() {
            CHAT | EMBEDDINGS => Method::POST,
            MODELS => Method::GET,
            path => return Err(VendorError::unknown_path(&call.method, path)),
        };
        if call.method != serves {
            return Err(VendorError::wrong_method(&call.method, &call.path));
        }
        call.key.clone()?;
        if call.path == MODELS {
            return Ok(Answer::Plain(Plain::ok(&self.models(), Duration::ZERO)));
        }
        let body = call.body.as_ref().map_err(Clone::clone)?;
        let model = model_asked(body)?;
        if !self.profile.models.is_empty() && !self.profile.models.iter().any(|served| served == model) {
            return Err(VendorError::unknown_model(model));
        }
        let number = self.calls.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        if self.profile.fails_every.is_some_and(|every| number % every == 0) {
            return Err(VendorError::fitting(StatusCode::SERVICE_UNAVAILABLE));
        }
        let draw = self.seed.wrapping_add(number);
        let first_token = self.profile.first_token(noise::mix(draw));
        if call.path == EMBEDDINGS {
            return embed::answer(body, first_token).map(Answer::Plain);
        }
        let speaker = Speaker { vendor: &self.name, draw, first_token, token_gap: self.profile.token_gap() };
        Ok(Chat::check(body)?.answer(speaker, fault))
    }

    fn models(&self) -> Value {
        let model = |id: &String| json!({"id": id, "object": "model", "created": 0, "owned_by": self.name});
        json!({"object": "list", "data": self.profile.models.iter().map(model).collect::<Vec<_>>()})
    }

    fn response(&self, reply: Reply, visit: Visit) -> Response<Body> {
        let id = noise::mix(self.seed.wrapping_add(visit.number()));
        let mut response = Response::new(Either::Left(Playback::new(reply.steps, reply.length, visit)));
        *response.status_mut() = reply.status;
        let headers = response.headers_mut();
        let mut set = |name: &'static str, value: Result<HeaderValue, _>| {
            if let Ok(value) = value {
                headers.insert(HeaderName::from_static(name), value);
            }
        };
        set("server", HeaderValue::from_str("tidegate-sandbox"));
        set("openai-organization", HeaderValue::from_str(&self.name));
        set("openai-version", HeaderValue::from_str("2020-10-01"));
        set("openai-processing-ms", HeaderValue::from_str(&reply.wait.as_millis().to_string()));
        set("x-request-id", HeaderValue::from_str(&format!("req_{id:016x}")));
        // Only on success: on a refusal they would say when to come back, which is for the script to say.
        if reply.status.is_success() {
            for (name, value) in RATE_LIMITS {
                set(name, HeaderValue::from_str(value));
            }
        }
        headers.extend(reply.headers);
        response
    }
}

const RATE_LIMITS: [(&str, &str); 6] = [
    ("x-ratelimit-limit-requests", "10000"),
    ("x-ratelimit-limit-tokens", "2000000"),
    ("x-ratelimit-remaining-requests", "9999"),
    ("x-ratelimit-remaining-tokens", "1999000"),
    ("x-ratelimit-reset-requests", "6ms"),
    ("x-ratelimit-reset-tokens", "30ms"),
];

/// The model a body asks for.
pub(super) fn model_asked(body: &Value) -> Result<&str, VendorError> {
    let missing = || VendorError::parameter("model", None, "you must provide a model parameter");
    body.get("model").and_then(Value::as_str).filter(|model| !model.is_empty()).ok_or_else(missing)
}

/// Any bearer is a good key, but for those that say what is wrong with them.
fn check_key(headers: &HeaderMap) -> Result<(), VendorError> {
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let Some((authorization, key)) = given.and_then(|given| Some((given, given.strip_prefix("Bearer ")?.trim())))
    else {
        return Err(VendorError::no_key());
    };
    match key {
        "" => Err(VendorError::no_key()),
        key if key.starts_with("bad-") => Err(VendorError::bad_key(&hint(authorization))),
        key if key.starts_with("broke-") => Err(VendorError::no_quota()),
        _ => Ok(()),
    }
}

fn refuse_body(error: &(dyn Error + Send + Sync + 'static)) -> VendorError {
    if error.is::<LengthLimitError>() { VendorError::too_large() } else { VendorError::not_json() }
}

impl fmt::Display for Reset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("reset on purpose")
    }
}

impl Error for Reset {}
