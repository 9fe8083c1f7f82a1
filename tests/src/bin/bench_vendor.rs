//! A vendor that answers at once, so that a benchmark measures what stands before it.
//!
//! `bench_vendor ADDRESS` prints `listening on ADDRESS` and serves: a plain reply of about 600 bytes, or, if the request
//! asks for a stream, 20 content chunks, each written on its own as a model would, and usage if that was asked for. It speaks
//! as it is asked: Anthropic's messages at a path that ends so, and otherwise OpenAI's chat completions.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Either, Full};
use hyper::body::{Body, Frame, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::net::TcpListener;

const CHUNKS: usize = 20;

/// The replies, written once.
struct Replies {
    plain: Bytes,
    stream: Vec<Bytes>,
    stream_with_usage: Vec<Bytes>,
}

/// The replies of both dialects.
struct Vendor {
    openai: Replies,
    anthropic: Replies,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1).ok_or("usage: bench_vendor ADDRESS")?;
    let listener = TcpListener::bind(address).await?;
    println!("listening on {}", listener.local_addr()?);
    let vendor = Arc::new(Vendor { openai: openai::replies(), anthropic: anthropic::replies() });
    loop {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        let vendor = Arc::clone(&vendor);
        tokio::spawn(async move {
            let service = service_fn(|request| answer(request, &vendor));
            // A connection that breaks ends here; whoever held it counts the error.
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), service).await;
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    vendor: &Vendor,
) -> Result<Response<Either<Full<Bytes>, Paced>>, Box<dyn Error + Send + Sync>> {
    let replies = if request.uri().path().ends_with("/messages") { &vendor.anthropic } else { &vendor.openai };
    let body = request.into_body().collect().await?.to_bytes();
    // A readiness or health probe has no body.
    let asked: serde_json::Value =
        if body.is_empty() { serde_json::Value::Null } else { serde_json::from_slice(&body)? };
    let (kind, body) = if asked["stream"] == true {
        let usage = asked["stream_options"]["include_usage"] == true;
        let chunks = if usage { &replies.stream_with_usage } else { &replies.stream };
        ("text/event-stream", Either::Right(Paced { left: chunks.iter().cloned().collect(), rest: false }))
    } else {
        ("application/json", Either::Left(Full::new(replies.plain.clone())))
    };
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    Ok(response)
}

/// A body whose chunks are written one by one: it rests between two, and hyper flushes what it has.
struct Paced {
    left: VecDeque<Bytes>,
    rest: bool,
}

impl Body for Paced {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.rest = !self.rest;
        if !self.rest {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(self.left.pop_front().map(|chunk| Ok(Frame::data(chunk))))
    }
}

/// About half a kilobyte.
fn text() -> String {
    "The tide is the slow breathing of the sea, out and in, twice a day. ".repeat(5)
}

fn words() -> impl Iterator<Item = String> {
    (0..CHUNKS).map(|n| format!(" word{n:02}"))
}

/// Chat completions.
mod openai {
    use super::{Bytes, Replies, text, words};

    const USAGE: &str = r#""usage":{"prompt_tokens":42,"completion_tokens":20,"total_tokens":62}"#;

    pub(super) fn replies() -> Replies {
        let mut stream = vec![chunk(r#"{"role":"assistant","content":""}"#, "null")];
        stream.extend(words().map(|word| chunk(&format!(r#"{{"content":"{word}"}}"#), "null")));
        stream.push(chunk("{}", r#""stop""#));
        let mut stream_with_usage = stream.clone();
        stream_with_usage.push(event(&format!(r#"{{{},"choices":[],{USAGE}}}"#, head("chat.completion.chunk"))));
        for stream in [&mut stream, &mut stream_with_usage] {
            stream.push(Bytes::from_static(b"data: [DONE]\n\n"));
        }
        Replies { plain: plain(), stream, stream_with_usage }
    }

    fn head(object: &str) -> String {
        format!(
            r#""id":"chatcmpl-bench0000000000000000","object":"{object}","created":1790000000,"model":"bench-model""#
        )
    }

    fn plain() -> Bytes {
        let message = format!(r#"{{"role":"assistant","content":"{}"}}"#, text());
        let choice = format!(r#"{{"index":0,"message":{message},"logprobs":null,"finish_reason":"stop"}}"#);
        Bytes::from(format!(r#"{{{},"choices":[{choice}],{USAGE}}}"#, head("chat.completion")))
    }

    fn chunk(delta: &str, finish_reason: &str) -> Bytes {
        let choice = format!(r#"{{"index":0,"delta":{delta},"logprobs":null,"finish_reason":{finish_reason}}}"#);
        event(&format!(r#"{{{},"choices":[{choice}]}}"#, head("chat.completion.chunk")))
    }

    fn event(data: &str) -> Bytes {
        Bytes::from(format!("data: {data}\n\n"))
    }
}

/// Messages. A stream always tells its usage.
mod anthropic {
    use super::{Bytes, Replies, text, words};

    pub(super) fn replies() -> Replies {
        let start = format!(r#""message":{{{},"content":[],{}}}"#, head(), ending("null", 1));
        let delta = |word| format!(r#""index":0,"delta":{{"type":"text_delta","text":"{word}"}}"#);
        let mut stream = vec![
            event("message_start", &start),
            event("content_block_start", r#""index":0,"content_block":{"type":"text","text":""}"#),
            event("ping", ""),
        ];
        stream.extend(words().map(|word| event("content_block_delta", &delta(word))));
        stream.extend([
            event("content_block_stop", r#""index":0"#),
            event(
                "message_delta",
                r#""delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":20}"#,
            ),
            event("message_stop", ""),
        ]);
        Replies { plain: plain(), stream_with_usage: stream.clone(), stream }
    }

    fn head() -> &'static str {
        r#""id":"msg_bench00000000000000000","type":"message","role":"assistant","model":"bench-model""#
    }

    fn ending(reason: &str, output: u32) -> String {
        let usage = format!(r#"{{"input_tokens":42,"output_tokens":{output}}}"#);
        format!(r#""stop_reason":{reason},"stop_sequence":null,"usage":{usage}"#)
    }

    fn plain() -> Bytes {
        let content = format!(r#"[{{"type":"text","text":"{}"}}]"#, text());
        Bytes::from(format!(r#"{{{},"content":{content},{}}}"#, head(), ending(r#""end_turn""#, 20)))
    }

    fn event(name: &str, members: &str) -> Bytes {
        let comma = if members.is_empty() { "" } else { "," };
        Bytes::from(format!("event: {name}\ndata: {{\"type\":\"{name}\"{comma}{members}}}\n\n"))
    }
}
