//! The gateway's own HTTP interface: which paths there are, who may use them, and what they say.
//!
//! Both adapters hand every request to [`Gateway::receive`] and then, where it asks for one, the body to
//! [`Awaited::read`]. So paths, statuses and permissions are settled once, here.

mod queued;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{ALLOW, AUTHORIZATION, CONTENT_LENGTH, HOST, HeaderValue, WWW_AUTHENTICATE};
use http::{HeaderMap, Method, StatusCode};
use serde_json::json;

use crate::config::{Client, Config};
use crate::dialect::headers::{ANTHROPIC_VERSION, X_API_KEY};
use crate::dialect::{Dialect, Request, Surface};
use crate::errand::{Errand, Task, orders};
use crate::exchange::Exchange;
use crate::explain::{Inquiry, stand_in};
use crate::gateway::Gateway;
use crate::hints::{self, Hints, retry_count};
use crate::ledger::{self, About, Query};
use crate::queue;
use crate::reply::{ApiError, Reply, name_request, quoted};
use crate::route::{self, Asker, Plan};
use crate::time::Timestamp;

pub use queued::TakenUp;

/// The head of a request, as it came in.
#[derive(Debug, Clone, Copy)]
pub struct Incoming<'a> {
    /// Its method.
    pub method: &'a Method,
    /// Its path, without the query.
    pub path: &'a str,
    /// Its query, without the question mark; empty if it has none.
    pub query: &'a str,
    /// Its headers, or those of them that [`read_headers`] names.
    pub headers: &'a HeaderMap,
    /// Where it came from, where the platform tells; the worker's does not.
    pub peer: Option<IpAddr>,
}

/// The request headers that the core reads: an adapter for which headers are dear hands over these alone.
pub fn read_headers() -> impl Iterator<Item = &'static str> {
    let own = ["anthropic-beta", "anthropic-version", "authorization", "content-length", "host", "x-api-key"];
    own.into_iter().chain(hints::HEADERS)
}

/// What to do with a request whose head has come.
#[derive(Debug)]
pub enum Reception {
    /// Answer at once. The body, if any, is not wanted.
    Reply(Box<Reply>),
    /// Have [`Queue::answer`](crate::queue::Queue::answer) answer. The body, if any, is not wanted.
    Queue(Box<queue::Inquiry>),
    /// Read the body, up to [`Awaited::body_max`] bytes.
    Body(Box<Awaited>),
    /// Have the ledger's database answer. The body, if any, is not wanted.
    Query(Box<Query>),
}

/// A request that has been let in, and whose body is awaited.
#[derive(Debug)]
pub struct Awaited {
    /// The largest body to read, in bytes.
    pub body_max: u64,
    config: Arc<Config>,
    /// Index into the config's clients; of a dry run, the one that it stands in for.
    client: Option<usize>,
    call: Call,
    /// What a vendor of the client's own dialect is sent along.
    forwarded: HeaderMap,
    /// The headers with hints.
    hints: HeaderMap,
    request_id: String,
}

/// What to do with a request whose body has come.
#[derive(Debug)]
pub enum Next {
    /// Answer at once.
    Reply(Box<Reply>),
    /// Carry it out.
    Exchange(Box<Exchange>),
    /// Have [`Gateway::run`] do it.
    Errand(Box<Errand>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Call {
    Ask(Surface),
    Admin(AdminCall),
}

/// A call of the admin interface that comes with a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AdminCall {
    Explain,
    Breakers,
}

#[derive(Debug, PartialEq, Eq)]
enum Endpoint<'a> {
    Live,
    Ready,
    Models,
    Job(&'a str),
    Model(Cow<'a, str>),
    Status,
    Alerts,
    Records,
    Record(&'a str),
    Ledger(About),
    Queue,
    Body(Call),
}

impl Gateway {
    /// Decides about a request by its head.
    pub fn receive(&mut self, now: Timestamp, incoming: &Incoming<'_>) -> Reception {
        let request_id = self.request_id();
        match self.answer(now, incoming, &request_id) {
            Ok(reception) => reception,
            Err(error) => Reception::Reply(Box::new(error.reply(spoken(incoming), &request_id))),
        }
    }

    fn answer(
        &mut self,
        now: Timestamp,
        incoming: &Incoming<'_>,
        request_id: &str,
    ) -> Result<Reception, Box<ApiError>> {
        let config = Arc::clone(self.config());
        let endpoint = find(incoming.method, incoming.path)?;
        let client = authorize(&config, incoming, &endpoint)?;
        let reply = match endpoint {
            Endpoint::Live => Reply::json(StatusCode::OK, &json!({"status": "ok"})),
            Endpoint::Ready if self.is_ready() => Reply::json(StatusCode::OK, &json!({"status": "ready"})),
            Endpoint::Ready => Reply::json(StatusCode::SERVICE_UNAVAILABLE, &json!({"status": "draining"})),
            Endpoint::Status => Reply::json(StatusCode::OK, &self.status(now)),
            Endpoint::Alerts => self.list_alerts(now)?,
            Endpoint::Records => self.list_records(),
            Endpoint::Record(id) => self.tell_record(id)?,
            Endpoint::Ledger(_) if config.store.is_none() => return Err(ledger::off().into()),
            Endpoint::Ledger(about) => {
                let query = Query::read(about, incoming.query, request_id.to_owned())?;
                return Ok(Reception::Query(Box::new(query)));
            }
            Endpoint::Queue => return queued::survey(&config, incoming.query, request_id),
            Endpoint::Job(id) => return Ok(queued::inquire(&config, incoming, client, id, request_id)),
            Endpoint::Models => {
                let client = client.map(|index| &config.clients[index]);
                Reply::json(StatusCode::OK, &model_list(route::models(&config, client)))
            }
            Endpoint::Model(id) => {
                route::plan(&config, Asker { client, now, ..Asker::default() }, &id, &Hints::default())?;
                let client = client.map(|index| &config.clients[index]);
                let owner = route::models(&config, client).find(|(name, _)| *name == id).map_or("", |(_, owner)| owner);
                Reply::json(StatusCode::OK, &model_object(&id, owner))
            }
            Endpoint::Body(call) => {
                let body_max = config.server.body_max;
                let client = match call {
                    Call::Admin(AdminCall::Explain) => stand_in(&config, incoming.query)?,
                    _ => client,
                };
                let (forwarded, hints) =
                    (select(incoming.headers, FORWARDED), select(incoming.headers, hints::HEADERS));
                let request_id = request_id.to_owned();
                let awaited = Awaited { body_max, config, client, call, forwarded, hints, request_id };
                let announced =
                    incoming.headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
                if announced.is_some_and(|length: u64| length > body_max) {
                    return Ok(Reception::Reply(Box::new(awaited.too_large())));
                }
                match call {
                    Call::Ask(_) if retry_count(incoming.headers) > 0 => self.note_client_retry(now),
                    Call::Ask(_) => self.note_request(now),
                    Call::Admin(_) => {}
                }
                return Ok(Reception::Body(Box::new(awaited)));
            }
        };
        Ok(Reception::Reply(Box::new(marked(reply, request_id))))
    }
}

impl Awaited {
    /// Whether it is worth waiting a moment for what the keeper knows before this request is decided: its client has a
    /// budget, and what others have left of it is not known.
    pub fn lacks_view(&self, now: Timestamp, gateway: &Gateway) -> bool {
        self.client.is_some_and(|client| gateway.lacks_share(now, client))
    }

    /// The body is larger than [`body_max`](Self::body_max).
    pub fn too_large(&self) -> Reply {
        let message = format!("The request body is larger than the {} bytes that this gateway takes.", self.body_max);
        let kind = "invalid_request_error";
        self.refuse(&ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, kind, "request_too_large", message))
    }

    /// The body stopped coming, or broke off.
    pub fn incomplete(&self) -> Reply {
        let message = "The request body did not arrive in whole.";
        self.refuse(&ApiError::new(StatusCode::REQUEST_TIMEOUT, "invalid_request_error", "incomplete_body", message))
    }

    fn refuse(&self, error: &ApiError) -> Reply {
        let dialect = match self.call {
            Call::Ask(surface) => surface.dialect(),
            Call::Admin(_) => Dialect::OpenAi,
        };
        error.reply(dialect, &self.request_id)
    }

    /// Reads the body and plans the request. Needs no gateway, and so holds nobody up.
    pub fn read(self, now: Timestamp, body: Bytes) -> Next {
        let refused = match self.call {
            Call::Ask(surface) => match self.plan_or_keep(now, surface, body) {
                Ok(((plan, mut request, hints), submission)) => {
                    request.forwarded = self.forwarded;
                    // Boxed at once: it is too large to be moved about.
                    let mut exchange = Box::new(Exchange::new(self.config, now, self.request_id, request, plan));
                    exchange.try_cache(self.client, &hints, &self.hints);
                    exchange.note_asker(self.client, hints);
                    exchange.allow_queue(submission);
                    return Next::Exchange(exchange);
                }
                Err(error) => error,
            },
            Call::Admin(call) => match self.task(now, call, body) {
                Ok(task) => return Next::Errand(Box::new(Errand { request_id: self.request_id, task })),
                Err(error) => error,
            },
        };
        Next::Reply(Box::new(self.refuse(&refused)))
    }

    /// Plans a request, and says what is to be kept of it if nobody can serve it.
    #[expect(clippy::type_complexity, reason = "a plan, and what may become of the request")]
    fn plan_or_keep(
        &self,
        now: Timestamp,
        surface: Surface,
        body: Bytes,
    ) -> Result<((Plan, Request, Hints), Option<queue::Submission>), Box<ApiError>> {
        let kept = self.config.queue.is_some().then(|| body.clone());
        let planned = self.plan(now, surface, body)?;
        let submission = self.submission(kept, &planned)?;
        Ok((planned, submission))
    }

    fn task(&self, now: Timestamp, call: AdminCall, body: Bytes) -> Result<Task, Box<ApiError>> {
        match call {
            AdminCall::Breakers => orders::read(&self.config, &body),
            AdminCall::Explain => {
                let (plan, request, _) = self.plan(now, Surface::Chat, body)?;
                Ok(Task::Explain(Box::new(Inquiry::new(&self.config, self.client, request, plan))))
            }
        }
    }

    fn plan(&self, now: Timestamp, surface: Surface, body: Bytes) -> Result<(Plan, Request, Hints), Box<ApiError>> {
        let mut request = Request::read(surface, body)?;
        let mut hints = Hints::read(&self.hints, &request.controls)?;
        if self.config.goes_by_tags {
            hints.tags.extend(request.tags());
        }
        let asker = Asker { client: self.client, kind: surface.into(), now };
        let mut plan = route::plan(&self.config, asker, &request.model, &hints)?;
        plan.learn(&request, self.client.map(|index| self.config.clients[index].name.as_str()));
        request.wants_usage |= hints.wants_usage;
        Ok((plan, request, hints))
    }
}

/// What every request is answered when the configuration cannot be used: for an adapter that cannot refuse to start.
/// What is wrong with it is for the operator's log, not for whoever calls.
pub fn misconfigured() -> Reply {
    let message = "This gateway's configuration cannot be used. Its operator finds the reason in its log.";
    let error = ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", "misconfigured", message);
    error.reply(Dialect::OpenAi, "")
}

/// The dialect that a client expects its errors in, as far as its request's head tells.
fn spoken(incoming: &Incoming<'_>) -> Dialect {
    let of_anthropic = |surface: &Surface| surface.dialect() == Dialect::Anthropic && is_at(*surface, incoming.path);
    let says_so = incoming.headers.contains_key(ANTHROPIC_VERSION);
    if says_so || Surface::ALL.iter().any(of_anthropic) { Dialect::Anthropic } else { Dialect::OpenAi }
}

/// The headers that a vendor of the client's own dialect understands.
const FORWARDED: [&str; 2] = ["anthropic-beta", "anthropic-version"];

/// Those of a request's headers that have these names. Most requests have none or few of them, so they are sought among the
/// headers, in one pass, and not the other way round.
fn select<const N: usize>(headers: &HeaderMap, names: [&'static str; N]) -> HeaderMap {
    let found = headers.iter().filter(|(name, _)| names.contains(&name.as_str()));
    found.map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn marked(mut reply: Reply, request_id: &str) -> Reply {
    name_request(&mut reply.headers, request_id);
    reply
}

/// A model as both `OpenAI`'s and Anthropic's clients read it: each passes over what only the other knows.
fn model_object(id: &str, owner: &str) -> serde_json::Value {
    // The SDKs insist on a date; the gateway knows of none.
    json!({
        "id": id, "object": "model", "created": 0, "owned_by": owner,
        "type": "model", "display_name": id, "created_at": "1970-01-01T00:00:00Z",
    })
}

fn model_list<'c>(models: impl Iterator<Item = (&'c str, &'c str)>) -> serde_json::Value {
    let data: Vec<_> = models.map(|(id, owner)| model_object(id, owner)).collect();
    let id_of = |model: Option<&serde_json::Value>| model.map(|model| model["id"].clone());
    let (first, last) = (id_of(data.first()), id_of(data.last()));
    json!({"object": "list", "has_more": false, "first_id": first, "last_id": last, "data": data})
}

/// Whether this is where a surface is offered. The `/v1` may be left out, since some apps are configured without it.
fn is_at(surface: Surface, path: &str) -> bool {
    path == surface.path() || surface.path().strip_prefix("/v1") == Some(path)
}

/// Whether a path goes on behind this beginning.
fn is_below(start: &str, path: &str) -> bool {
    path.len() > start.len() && path.starts_with(start)
}

/// The endpoint at a path.
fn find<'p>(method: &Method, path: &'p str) -> Result<Endpoint<'p>, Box<ApiError>> {
    let api = path.strip_prefix("/v1").unwrap_or(path);
    let (endpoint, allowed) = match (path, api) {
        // The longer names are those that Helm charts for `LiteLLM` ask for.
        ("/healthz" | "/health/liveliness" | "/health/liveness", _) => (Endpoint::Live, Method::GET),
        ("/readyz" | "/health/readiness", _) => (Endpoint::Ready, Method::GET),
        ("/admin/status", _) => (Endpoint::Status, Method::GET),
        ("/admin/alerts", _) => (Endpoint::Alerts, Method::GET),
        ("/admin/requests", _) => (Endpoint::Records, Method::GET),
        ("/admin/ledger", _) => (Endpoint::Ledger(About::Sums), Method::GET),
        ("/admin/ledger/lines", _) => (Endpoint::Ledger(About::Lines), Method::GET),
        ("/admin/queue", _) => (Endpoint::Queue, Method::GET),
        ("/admin/explain", _) => (Endpoint::Body(Call::Admin(AdminCall::Explain)), Method::POST),
        ("/admin/breakers", _) => (Endpoint::Body(Call::Admin(AdminCall::Breakers)), Method::POST),
        (_, "/models") => (Endpoint::Models, Method::GET),
        _ if is_below("/queue/", api) => (Endpoint::Job(&api["/queue/".len()..]), Method::GET),
        _ if is_below("/models/", api) => (Endpoint::Model(decoded(&api["/models/".len()..])), Method::GET),
        _ if is_below("/admin/requests/", path) => (Endpoint::Record(&path["/admin/requests/".len()..]), Method::GET),
        _ => match Surface::ALL.into_iter().find(|surface| is_at(*surface, path)) {
            Some(surface) => (Endpoint::Body(Call::Ask(surface)), Method::POST),
            None => return Err(unknown_path(path).into()),
        },
    };
    let is_job = matches!(endpoint, Endpoint::Job(_));
    let is_read = *method == Method::HEAD && allowed == Method::GET;
    if *method == allowed || is_read || (is_job && *method == Method::DELETE) {
        return Ok(endpoint);
    }
    let message = format!("{path} takes {allowed}, not {method}.");
    let error = ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "invalid_request_error", "method_not_allowed", message);
    let allowed = match allowed {
        Method::GET if is_job => "GET, HEAD, DELETE",
        Method::GET => "GET, HEAD",
        _ => "POST",
    };
    Err(error.with_header(ALLOW, HeaderValue::from_static(allowed)).into())
}

/// A part of a path without its percent escapes: the SDKs write the slash of `vendor/model` as `%2F`. What does not decode
/// to text stays as it is, and is no model's name.
pub(crate) fn decoded(text: &str) -> Cow<'_, str> {
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

/// What the query of a URL asks for, decoded, in its order. A name said twice is a mistake: one of the two would be lost.
pub(crate) fn parameters(query: &str) -> Result<Vec<(&str, Cow<'_, str>)>, Box<ApiError>> {
    let mut said = BTreeSet::new();
    let pairs = query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let is_new = said.insert(name);
        let twice = || ApiError::invalid(format!("`{}` is said twice. Say it once.", quoted(name)), None).into();
        is_new.then(|| (name, decoded(value))).ok_or_else(twice)
    });
    pairs.collect()
}

fn unknown_path(path: &str) -> ApiError {
    let quoted = quoted(path);
    let message = format!(
        "There is nothing at {quoted}. This is Tidegate: POST /v1/chat/completions, /v1/completions, /v1/responses, \
         /v1/embeddings, /v1/messages, /v1/messages/count_tokens, GET /v1/models, GET /v1/queue/ID, GET /healthz, GET /readyz, \
         GET /admin/status, GET /admin/alerts, GET /admin/requests, GET /admin/ledger, GET /admin/queue, POST /admin/explain, \
         POST /admin/breakers."
    );
    ApiError::new(StatusCode::NOT_FOUND, "invalid_request_error", "unknown_url", message)
}

/// Lets a request in, as one of the config's clients where there are any.
fn authorize(
    config: &Config,
    incoming: &Incoming<'_>,
    endpoint: &Endpoint<'_>,
) -> Result<Option<usize>, Box<ApiError>> {
    let token = token(incoming.headers);
    match endpoint {
        Endpoint::Live | Endpoint::Ready => Ok(None),
        Endpoint::Status
        | Endpoint::Alerts
        | Endpoint::Records
        | Endpoint::Record(_)
        | Endpoint::Ledger(_)
        | Endpoint::Queue
        | Endpoint::Body(Call::Admin(_)) => match &config.server.admin_key {
            Some(key) if key.matches(token) => Ok(None),
            Some(_) => Err(unauthorized("This needs the admin key as a bearer token.").into()),
            None if is_local(incoming) => Ok(None),
            None => Err(forbidden("Without `server.admin_key`, /admin answers on loopback only.").into()),
        },
        Endpoint::Models | Endpoint::Job(_) | Endpoint::Model(_) | Endpoint::Body(Call::Ask(_)) => {
            if config.clients.is_empty() {
                let why = "Without `[clients]`, this gateway serves loopback only: requests from its own machine to \
                           `localhost` or `127.0.0.1`. For any other name its operator has to configure client keys.";
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

/// The key that a client sends: as a bearer token, or as Anthropic's clients do.
fn token(headers: &HeaderMap) -> &str {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let bearer = text(AUTHORIZATION)
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    bearer.map(|(_, token)| token).or_else(|| text(X_API_KEY)).unwrap_or("").trim()
}

fn unauthorized(message: &str) -> ApiError {
    let error = ApiError::new(StatusCode::UNAUTHORIZED, "invalid_request_error", "invalid_api_key", message);
    error.with_header(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
}

fn forbidden(message: &str) -> ApiError {
    ApiError::new(StatusCode::FORBIDDEN, "permission_error", "loopback_only", message)
}

#[cfg(test)]
mod tests;
