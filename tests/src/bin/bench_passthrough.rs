//! The floor for this stack: axum in front, reqwest behind, and nothing in between.
//!
//! `bench_passthrough ADDRESS UPSTREAM` passes `POST /v1/chat/completions` on to the base URL `UPSTREAM`, with the
//! client's authorization, and streams the answer back. It has the server's allocator and HTTP features, so that what
//! Tidegate costs more than this is what Tidegate does.

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::{HeaderMap, Response, StatusCode};
use axum::routing::post;
use axum::serve::ListenerExt as _;
use std::error::Error;
use std::sync::Arc;
use tokio::net::TcpListener;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

struct Upstream {
    client: reqwest::Client,
    url: String,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(address), Some(base)) = (args.next(), args.next()) else {
        return Err("usage: bench_passthrough ADDRESS UPSTREAM".into());
    };
    rustls::crypto::ring::default_provider().install_default().map_err(|_| "there is a TLS provider already")?;
    let client = reqwest::Client::builder().tcp_nodelay(true).no_proxy().build()?;
    let upstream = Arc::new(Upstream { client, url: format!("{base}/chat/completions") });
    let app = axum::Router::new().route("/v1/chat/completions", post(pass)).with_state(upstream);
    let listener = TcpListener::bind(address).await?;
    println!("listening on {}", listener.local_addr()?);
    // Without TCP_NODELAY the floor would be slower than what stands on it; failing to set it shows as latency.
    let listener = listener.tap_io(|socket| drop(socket.set_nodelay(true)));
    Ok(axum::serve(listener, app).await?)
}

async fn pass(
    State(upstream): State<Arc<Upstream>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response<Body>, StatusCode> {
    let mut request = upstream.client.post(&upstream.url).body(body);
    for name in [CONTENT_TYPE, AUTHORIZATION] {
        if let Some(value) = headers.get(&name) {
            request = request.header(name, value);
        }
    }
    let answer = request.send().await.map_err(|_| StatusCode::BAD_GATEWAY)?;
    Ok(Response::from(answer).map(Body::new))
}
