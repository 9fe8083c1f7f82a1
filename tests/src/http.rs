//! A client that shows what is on the wire: status, headers, every byte, and how the body ended.
//!
//! Each request has a connection of its own, and nothing is tried again: what a test sees is one answer to one request.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// No answer takes so long: a test that waits longer has found a hang.
const ANSWER_MAX: Duration = Duration::from_mins(2);

/// A request to be sent.
#[derive(Debug)]
pub struct Request {
    method: Method,
    path: String,
    headers: HeaderMap,
    body: BoxBody<Bytes, Infallible>,
}

/// A whole answer.
#[derive(Debug, Clone)]
pub struct Reply {
    /// Its status.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, as far as it came.
    pub body: Bytes,
    /// Whether the body ended as its framing promised; a connection that broke off is no clean end.
    pub ended_cleanly: bool,
}

/// An answer whose body is still coming. Dropping it hangs up.
#[derive(Debug)]
pub struct Opened {
    /// Its status.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    body: Incoming,
    connection: Hangup,
}

/// The connection's task; a dropped one is a closed socket.
#[derive(Debug)]
struct Hangup(JoinHandle<()>);

impl Drop for Hangup {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Request {
    /// A request without a body.
    pub fn new(method: &str, path: &str) -> Self {
        let method = method.parse().expect("a method");
        let body = Full::default().boxed();
        Self { method, path: path.to_owned(), headers: HeaderMap::new(), body }
    }

    /// `GET`.
    pub fn get(path: &str) -> Self {
        Self::new("GET", path)
    }

    /// `POST` with JSON.
    pub fn post(path: &str, body: &Value) -> Self {
        Self::new("POST", path).header("content-type", "application/json").body(body.to_string())
    }

    /// Adds a header, in place of any other of this name.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.insert(name, value.parse().expect("a header value"));
        self
    }

    /// Adds a header, unless there is one of this name.
    #[must_use]
    pub fn or_header(self, name: &'static str, value: &str) -> Self {
        if self.headers.contains_key(name) { self } else { self.header(name, value) }
    }

    /// Sets the body; its length is announced.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = Full::new(body.into()).boxed();
        self
    }

    /// Sets a body that comes in pieces, its length not announced.
    #[must_use]
    pub fn chunked(mut self, pieces: Vec<Bytes>) -> Self {
        self.body = Pieces(pieces.into_iter()).boxed();
        self
    }

    /// Sends it, and returns once the head of the answer is there. An error is a connection that failed before.
    pub async fn open(self, to: SocketAddr) -> Result<Opened, String> {
        tokio::time::timeout(ANSWER_MAX, self.connect(to)).await.map_err(|_| "no answer at all".to_owned())?
    }

    /// Sends it, and reads the whole answer.
    ///
    /// # Panics
    ///
    /// When there is no answer.
    pub async fn send(self, to: SocketAddr) -> Reply {
        let what = format!("{} {}", self.method, self.path);
        match self.open(to).await {
            Ok(opened) => opened.whole().await,
            Err(error) => panic!("{what}: {error}"),
        }
    }

    async fn connect(self, to: SocketAddr) -> Result<Opened, String> {
        let text = |error: &dyn std::error::Error| match error.source() {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        };
        let stream = TcpStream::connect(to).await.map_err(|error| text(&error))?;
        stream.set_nodelay(true).map_err(|error| text(&error))?;
        let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.map_err(|error| text(&error))?;
        let connection = Hangup(tokio::spawn(async move {
            // What goes wrong is seen where the answer is read.
            let _ = connection.await;
        }));
        let mut request = http::Request::new(self.body);
        *request.method_mut() = self.method;
        *request.uri_mut() = self.path.parse().map_err(|_| "not a path".to_owned())?;
        *request.headers_mut() = self.headers;
        if !request.headers().contains_key("host") {
            request.headers_mut().insert("host", to.to_string().parse().expect("an address"));
        }
        let response = sender.send_request(request).await.map_err(|error| text(&error))?;
        let (head, body) = response.into_parts();
        Ok(Opened { status: head.status.as_u16(), headers: head.headers, body, connection })
    }
}

/// Pieces of a body, one after the other.
struct Pieces(std::vec::IntoIter<Bytes>);

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.next().map(|piece| Ok(Frame::data(piece))))
    }
}

impl Opened {
    /// The next piece of the body. `None`: it has ended; an error: it has broken off.
    pub async fn piece(&mut self) -> Result<Option<Bytes>, String> {
        let frame = tokio::time::timeout(ANSWER_MAX, self.body.frame());
        match frame.await.map_err(|_| "the body hangs".to_owned())? {
            Some(Ok(frame)) => Ok(Some(frame.into_data().unwrap_or_default())),
            Some(Err(error)) => Err(error.to_string()),
            None => Ok(None),
        }
    }

    /// Reads on until the body so far holds `text`.
    ///
    /// # Panics
    ///
    /// When it ends without.
    pub async fn until(&mut self, text: &str) -> String {
        let mut body = Vec::new();
        while !String::from_utf8_lossy(&body).contains(text) {
            match self.piece().await {
                Ok(Some(piece)) => body.extend_from_slice(&piece),
                end => panic!("{end:?} before {text:?}: {}", String::from_utf8_lossy(&body)),
            }
        }
        String::from_utf8_lossy(&body).into_owned()
    }

    /// The rest of it.
    pub async fn whole(mut self) -> Reply {
        let mut body = BytesMut::new();
        let ended_cleanly = loop {
            match self.piece().await {
                Ok(Some(piece)) => body.extend_from_slice(&piece),
                Ok(None) => break true,
                Err(_) => break false,
            }
        };
        drop(self.connection);
        Reply { status: self.status, headers: self.headers, body: body.freeze(), ended_cleanly }
    }
}

impl Reply {
    /// A header's text; empty if it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap_or("(not text)"))
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    ///
    /// When it is none.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("not JSON ({error}): {self}"))
    }

    /// The data of each event of a stream, whether or not the event has a name.
    pub fn events(&self) -> Vec<String> {
        let text = self.text();
        let data = text.split("\n\n").filter_map(|event| event.lines().find_map(|line| line.strip_prefix("data: ")));
        data.map(str::to_owned).collect()
    }

    /// Checks the status, and that the body came in whole.
    ///
    /// # Panics
    ///
    /// When either is not so; the message shows the reply.
    #[track_caller]
    #[must_use]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self}");
        assert!(self.ended_cleanly, "the body broke off: {self}");
        self
    }
}

impl std::fmt::Display for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const SHOWN_CHARS_MAX: usize = 2000;
        writeln!(f, "{}", self.status)?;
        for (name, value) in &self.headers {
            writeln!(f, "{name}: {}", String::from_utf8_lossy(value.as_bytes()))?;
        }
        writeln!(f, "\n{}", self.text().chars().take(SHOWN_CHARS_MAX).collect::<String>())?;
        if self.ended_cleanly { Ok(()) } else { writeln!(f, "(the body broke off here)") }
    }
}
