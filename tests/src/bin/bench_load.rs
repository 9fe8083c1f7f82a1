//! Load: keep-alive connections that each send the next request when the last one has been answered in full.
//!
//! `bench_load ADDRESS MODEL plain|stream CONNECTIONS SECONDS` prints one line of JSON: how many requests were `sent` in
//! all, how many were `counted` (after a tenth of the time to warm up), how many were `wrong`, the measured `seconds`, and
//! the median and 99th percentile of the whole answer's latency in microseconds, `p50_us` and `p99_us`.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::SendRequest;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// What to send, where, and until when.
struct Plan {
    address: String,
    body: Bytes,
    /// How a whole answer ends: a cut one must not count as a fast one.
    end: &'static [u8],
    warm: Instant,
    end_at: Instant,
}

#[derive(Default)]
struct Tally {
    sent: u64,
    wrong: u64,
    latencies: Vec<Duration>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [address, model, kind, connections, seconds] = &args[..] else {
        return Err("usage: bench_load ADDRESS MODEL plain|stream CONNECTIONS SECONDS".into());
    };
    let time = Duration::from_secs_f64(seconds.parse()?);
    let now = Instant::now();
    let plan = Arc::new(Plan {
        address: address.clone(),
        body: question(model, kind == "stream"),
        end: if kind == "stream" { b"data: [DONE]\n\n" } else { b"}" },
        warm: now + time / 10,
        end_at: now + time,
    });
    let mut running = JoinSet::new();
    for _ in 0..connections.parse()? {
        running.spawn(connection(Arc::clone(&plan)));
    }
    let mut sum = Tally::default();
    while let Some(tally) = running.join_next().await {
        let tally = tally?;
        sum.sent += tally.sent;
        sum.wrong += tally.wrong;
        sum.latencies.extend(tally.latencies);
    }
    sum.latencies.sort_unstable();
    let result = serde_json::json!({
        "sent": sum.sent,
        "counted": sum.latencies.len(),
        "wrong": sum.wrong,
        "seconds": (plan.end_at - plan.warm).as_secs_f64(),
        "p50_us": percentile_us(&sum.latencies, 50),
        "p99_us": percentile_us(&sum.latencies, 99),
    });
    println!("{result}");
    Ok(())
}

fn question(model: &str, stream: bool) -> Bytes {
    let text = "Tell me in a few words how the tide works, and why it comes twice a day. ".repeat(3);
    let question = serde_json::json!({
        "model": model,
        "messages": [
            { "role": "system", "content": "You are a calm harbour master." },
            { "role": "user", "content": text },
        ],
        "temperature": 0.2,
        "stream": stream,
    });
    Bytes::from(question.to_string())
}

async fn connection(plan: Arc<Plan>) -> Tally {
    let mut tally = Tally::default();
    let mut open = None;
    while Instant::now() < plan.end_at {
        let started = Instant::now();
        let result = match open.take() {
            Some(sender) => exchange(&plan, sender).await,
            None => match connect(&plan.address).await {
                Ok(sender) => exchange(&plan, sender).await,
                Err(error) => Err(error),
            },
        };
        let ended = Instant::now();
        tally.sent += 1;
        match result {
            Ok(sender) => {
                open = Some(sender);
                if started >= plan.warm && ended <= plan.end_at {
                    tally.latencies.push(ended - started);
                }
            }
            Err(error) => {
                if tally.wrong == 0 {
                    eprintln!("bench_load: {error}");
                }
                tally.wrong += 1;
                // A gateway that refuses must not turn this into a busy loop.
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }
    tally
}

type Sender = SendRequest<Full<Bytes>>;

async fn connect(address: &str) -> Result<Sender, Box<dyn Error + Send + Sync>> {
    let socket = TcpStream::connect(address).await?;
    socket.set_nodelay(true)?;
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket)).await?;
    // Its error reaches the sender too, which counts it.
    tokio::spawn(async { drop(connection.await) });
    Ok(sender)
}

/// One request and its whole answer; gives the connection back if all was as it should be.
async fn exchange(plan: &Plan, mut sender: Sender) -> Result<Sender, Box<dyn Error + Send + Sync>> {
    sender.ready().await?;
    let request = Request::post("/v1/chat/completions")
        .header(HOST, &plan.address)
        .header(CONTENT_TYPE, "application/json")
        .header(AUTHORIZATION, "Bearer bench")
        .body(Full::new(plan.body.clone()))?;
    let mut answer = sender.send_request(request).await?;
    let status = answer.status();
    // The end may come in pieces; of each piece, as many bytes are kept as the end has.
    let mut tail = Vec::new();
    while let Some(frame) = answer.body_mut().frame().await {
        if let Ok(data) = frame?.into_data() {
            tail.extend_from_slice(&data[data.len().saturating_sub(plan.end.len())..]);
        }
    }
    if status != StatusCode::OK {
        return Err(format!("status {status}").into());
    }
    if !tail.ends_with(plan.end) {
        return Err("an answer was cut".into());
    }
    Ok(sender)
}

fn percentile_us(sorted: &[Duration], percent: usize) -> Option<f64> {
    let rank = (sorted.len() * percent).div_ceil(100).max(1) - 1;
    sorted.get(rank).map(|latency| latency.as_secs_f64() * 1e6)
}
