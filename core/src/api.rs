//! The gateway's own HTTP interface: which paths there are, who may use them, and what they say.
//!
//! Both adapters hand every request to [`Gateway::receive`] and then, where it asks for one, the body to
//! [`Awaited::read`]. So paths, statuses and permissions are settled once, here.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{ALLOW, AUTHORIZATION, CONTENT_LENGTH, HOST, HeaderValue, WWW_AUTHENTICATE};
use http::{HeaderMap, Method, StatusCode};
use serde_json::json;

use crate::config::{Client, Config};
use crate::dialect::{Request, Surface};
use crate::exchange::Exchange;
use crate::gateway::Gateway;
use crate::reply::{ApiError, Reply, name_request, quoted};
use crate::route::{self, Plan};
use crate::time::{Millis, Timestamp};

/// The head of a request, as it came in.
#[derive(Debug, Clone, Copy)]
pub struct Incoming<'a> {
    /// Its method.
    pub method: &'a Method,
    /// Its path, without the query.
    pub path: &'a str,
    /// Its headers, or those of them that [`READ_HEADERS`] names.
    pub headers: &'a HeaderMap,
    /// Where it came from, where the platform tells; the worker's does not.
    pub peer: Option<IpAddr>,
}

/// The request headers that the core reads: an adapter for which headers are dear hands over these alone.
pub const READ_HEADERS: [&str; 3] = ["authorization", "content-length", "host"];

/// How long to leave the listener alone after it could not accept a connection. Running out of file descriptors heals when
/// connections end; trying again at once would only spin.
pub const ACCEPT_PAUSE: Millis = Millis(100);

/// What to do with a request whose head has come.
#[derive(Debug)]
pub enum Reception {
    /// Answer at once. The body, if any, is not wanted.
    Reply(Box<Reply>),
    /// Read the body, up to [`Awaited::body_max`] bytes.
    Body(Box<Awaited>),
}

/// A request that has been let in, and whose body is awaited.
#[derive(Debug)]
pub struct Awaited {
    /// The largest body to read, in bytes.
    pub body_max: u64,
    config: Arc<Config>,
    /// Index into the config's clients.
    client: Option<usize>,
    call: Call,
    request_id: String,
}

/// What to do with a request whose body has come.
#[derive(Debug)]
pub enum Next {
    /// Answer at once.
    Reply(Box<Reply>),
    /// Carry it out.
    Exchange(Box<Exchange>),
    /// Ask [`Gateway::explain`].
    Explain(Box<Plan>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Call {
    Ask(Surface),
    Explain,
}

#[derive(Debug, PartialEq, Eq)]
enum Endpoint<'a> {
    Live,
    Ready,
    Models,
    Model(Cow<'a, str>),
    Status,
    Body(Call),
}

impl Gateway {
    /// Decides about a request by its head.
    pub fn receive(&mut self, now: Timestamp, incoming: &Incoming<'_>) -> Reception {
        let request_id = self.request_id();
        match self.answer(now, incoming, &request_id) {
            Ok(reception) => reception,
            Err(refusal) => Reception::Reply(Box::new(marked(*refusal, &request_id))),
        }
    }

    fn answer(&mut self, now: Timestamp, incoming: &Incoming<'_>, request_id: &str) -> Result<Reception, Box<Reply>> {
        let config = Arc::clone(self.config());
        let endpoint = find(incoming.method, incoming.path)?;
        let client = authorize(&config, incoming, &endpoint)?;
        let reply = match endpoint {
            Endpoint::Live => Reply::json(StatusCode::OK, &json!({"status": "ok"})),
            Endpoint::Ready if self.is_ready() => Reply::json(StatusCode::OK, &json!({"status": "ready"})),
            Endpoint::Ready => Reply::json(StatusCode::SERVICE_UNAVAILABLE, &json!({"status": "draining"})),
            Endpoint::Status => Reply::json(StatusCode::OK, &self.status(now)),
            Endpoint::Models => {
                let client = client.map(|index| &config.clients[index]);
                let data: Vec<_> = route::models(&config, client).map(|(id, owner)| model_object(id, owner)).collect();
                Reply::json(StatusCode::OK, &json!({"object": "list", "data": data}))
            }
            Endpoint::Model(id) => {
                let client = client.map(|index| &config.clients[index]);
                route::plan(&config, client, &id)?;
                let owner = route::models(&config, client).find(|(name, _)| *name == id).map_or("", |(_, owner)| owner);
                Reply::json(StatusCode::OK, &model_object(&id, owner))
            }
            Endpoint::Body(call) => {
                let body_max = config.server.body_max;
                let awaited = Awaited { body_max, config, client, call, request_id: request_id.to_owned() };
                let announced =
                    incoming.headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
                if announced.is_some_and(|length: u64| length > body_max) {
                    return Ok(Reception::Reply(Box::new(awaited.too_large())));
                }
                if matches!(call, Call::Ask(_)) {
                    self.note_request(now);
                }
                return Ok(Reception::Body(Box::new(awaited)));
            }
        };
        Ok(Reception::Reply(Box::new(marked(reply, request_id))))
    }
}

impl Awaited {
    /// The body is larger than [`body_max`](Self::body_max).
    pub fn too_large(&self) -> Reply {
        let message = format!("The request body is larger than the {} bytes that this gateway takes.", self.body_max);
        let kind = "invalid_request_error";
        let error = ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, kind, "request_too_large", message);
        marked(error.reply(), &self.request_id)
    }

    /// The body stopped coming, or broke off.
    pub fn incomplete(&self) -> Reply {
        let message = "The request body did not arrive in whole.";
        let error = ApiError::new(StatusCode::REQUEST_TIMEOUT, "invalid_request_error", "incomplete_body", message);
        marked(error.reply(), &self.request_id)
    }

    /// Reads the body and plans the request. Needs no gateway, and so holds nobody up.
    pub fn read(self, now: Timestamp, body: Bytes) -> Next {
        let surface = match self.call {
            Call::Ask(surface) => surface,
            Call::Explain => Surface::Chat,
        };
        let client = self.client.map(|index| &self.config.clients[index]);
        let planned = Request::read(surface, body)
            .map_err(|bad| ApiError::invalid(bad.message, bad.param))
            .and_then(|request| Ok((route::plan(&self.config, client, &request.model)?, request)));
        match (planned, self.call) {
            (Err(error), _) => Next::Reply(Box::new(marked(error.reply(), &self.request_id))),
            (Ok((plan, _)), Call::Explain) => Next::Explain(Box::new(plan)),
            (Ok((plan, request)), Call::Ask(_)) => {
                Next::Exchange(Box::new(Exchange::new(self.config, now, self.request_id, request, plan)))
            }
        }
    }
}

/// What every request is answered when the configuration cannot be used: for an adapter that cannot refuse to start.
/// What is wrong with it is for the operator's log, not for whoever calls.
pub fn misconfigured() -> Reply {
    let message = "This gateway's configuration cannot be used. Its operator finds the reason in its log.";
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", "misconfigured", message).reply()
}

impl From<ApiError> for Box<Reply> {
    fn from(error: ApiError) -> Self {
        Self::new(error.reply())
    }
}

fn marked(mut reply: Reply, request_id: &str) -> Reply {
    name_request(&mut reply.headers, request_id);
    reply
}

fn model_object(id: &str, owner: &str) -> serde_json::Value {
    // The SDKs insist on a date; the gateway knows of none.
    json!({"id": id, "object": "model", "created": 0, "owned_by": owner})
}

/// The endpoint at a path. The `/v1` may be left out, since some apps are configured without it.
fn find<'p>(method: &Method, path: &'p str) -> Result<Endpoint<'p>, Box<Reply>> {
    let api = path.strip_prefix("/v1").unwrap_or(path);
    let (endpoint, allowed) = match (path, api) {
        ("/healthz", _) => (Endpoint::Live, Method::GET),
        ("/readyz", _) => (Endpoint::Ready, Method::GET),
        ("/admin/status", _) => (Endpoint::Status, Method::GET),
        ("/admin/explain", _) => (Endpoint::Body(Call::Explain), Method::POST),
        (_, "/chat/completions") => (Endpoint::Body(Call::Ask(Surface::Chat)), Method::POST),
        (_, "/embeddings") => (Endpoint::Body(Call::Ask(Surface::Embeddings)), Method::POST),
        (_, "/models") => (Endpoint::Models, Method::GET),
        _ => match api.strip_prefix("/models/") {
            Some(id) if !id.is_empty() => (Endpoint::Model(decoded(id)), Method::GET),
            _ => return Err(unknown_path(path).into()),
        },
    };
    if *method == allowed || (*method == Method::HEAD && allowed == Method::GET) {
        return Ok(endpoint);
    }
    let message = format!("{path} takes {allowed}, not {method}.");
    let error = ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "invalid_request_error", "method_not_allowed", message);
    let mut reply = error.reply();
    reply.headers.extend(HeaderValue::from_str(allowed.as_str()).map(|value| (ALLOW, value)));
    Err(Box::new(reply))
}

/// A part of a path without its percent escapes: the SDKs write the slash of `vendor/model` as `%2F`. What does not decode
/// to text stays as it is, and is no model's name.
fn decoded(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let digit = |at: usize| tail.get(at).and_then(|byte| char::from(*byte).to_digit(16));
        if let (b'%', Some(high), Some(low)) = (first, digit(0), digit(1)) {
            bytes.push(u8::try_from(high * 16 + low).expect("two hexadecimal digits are a byte"));
            rest = &tail[2..];
        } else {
            bytes.push(first);
            rest = tail;
        }
    }
    String::from_utf8(bytes).map_or(Cow::Borrowed(text), Cow::Owned)
}

fn unknown_path(path: &str) -> ApiError {
    let quoted = quoted(path);
    let message = format!(
        "There is nothing at {quoted}. This is Tidegate: POST /v1/chat/completions, POST /v1/embeddings, GET /v1/models, \
         GET /healthz, GET /readyz, GET /admin/status, POST /admin/explain."
    );
    ApiError::new(StatusCode::NOT_FOUND, "invalid_request_error", "unknown_url", message)
}

/// Lets a request in, as one of the config's clients where there are any.
fn authorize(config: &Config, incoming: &Incoming<'_>, endpoint: &Endpoint<'_>) -> Result<Option<usize>, Box<Reply>> {
    let sent = incoming.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let bearer =
        sent.and_then(|value| value.split_once(' ')).filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    let token = bearer.map_or("", |(_, token)| token.trim());
    match endpoint {
        Endpoint::Live | Endpoint::Ready => Ok(None),
        Endpoint::Status | Endpoint::Body(Call::Explain) => match &config.server.admin_key {
            Some(key) if key.matches(token) => Ok(None),
            Some(_) => Err(unauthorized("This needs the admin key as a bearer token.").into()),
            None if is_local(incoming) => Ok(None),
            None => Err(forbidden("Without `server.admin_key`, /admin answers on loopback only.").into()),
        },
        Endpoint::Models | Endpoint::Model(_) | Endpoint::Body(Call::Ask(_)) => {
            if config.clients.is_empty() {
                let why = "Without `[clients]`, this gateway serves loopback only. Its operator has to configure client keys.";
                return if is_local(incoming) { Ok(None) } else { Err(forbidden(why).into()) };
            }
            let known = |client: &Client| client.key.matches(token);
            match config.clients.iter().position(known) {
                Some(index) => Ok(Some(index)),
                None => {
                    Err(unauthorized("Incorrect API key: use one that this gateway's operator has given you.").into())
                }
            }
        }
    }
}

/// Whether a request comes from this machine and means this machine.
///
/// The `Host` counts too: a page in a browser can be made to call loopback under a name of its own, and a proxy in front
/// of the gateway passes on its public name. Neither is what anonymous access is for.
fn is_local(incoming: &Incoming<'_>) -> bool {
    let host = incoming.headers.get(HOST).and_then(|value| value.to_str().ok()).unwrap_or("");
    let name = match host.strip_prefix('[') {
        Some(bracketed) => bracketed.split(']').next().unwrap_or(""),
        None => host.split(':').next().unwrap_or(""),
    };
    let names_loopback =
        name.eq_ignore_ascii_case("localhost") || name.parse().is_ok_and(|address: IpAddr| address.is_loopback());
    names_loopback && incoming.peer.is_none_or(|peer| peer.to_canonical().is_loopback())
}

fn unauthorized(message: &str) -> Reply {
    let error = ApiError::new(StatusCode::UNAUTHORIZED, "invalid_request_error", "invalid_api_key", message);
    let mut reply = error.reply();
    reply.headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    reply
}

fn forbidden(message: &str) -> Reply {
    ApiError::new(StatusCode::FORBIDDEN, "permission_error", "loopback_only", message).reply()
}

#[cfg(test)]
mod tests;
