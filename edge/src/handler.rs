//! One HTTP request: from the fetch event to core and back.

use bytes::Bytes;
use http::header::HOST;
use http::{HeaderValue, Method};
use js_sys::futures::JsFuture;
use js_sys::{ArrayBuffer, Uint8Array};
use tidegate_core::api::{Awaited, Incoming, Next, Reception};
use tidegate_core::drive::drive;
use tidegate_core::exchange::Exchange;
use tidegate_core::reply::Reply;
use wasm_bindgen::{JsCast, JsValue};
use web_sys::{Request, Response};

use crate::drive::Drive;
use crate::isolate::Visit;
use crate::port::EdgePort;
use crate::{clock, js};

/// Answers a request. Every status and every word of it is core's.
pub(crate) async fn handle(visit: Visit, request: Request) -> Result<Response, JsValue> {
    let reception = receive(&visit, &js::request_head(&request));
    let awaited = match reception {
        Reception::Reply(reply) => return whole(&reply),
        Reception::Query(query) => return whole(&visit.ask_ledger(*query).await),
        Reception::Queue(inquiry) => return visit.ask_queue(&inquiry).await,
        Reception::Body(awaited) => *awaited,
    };
    let view = visit.awaited_view(&awaited);
    let body = match read_body(&visit, &request, &awaited).await {
        Ok(body) => body,
        Err(refusal) => return whole(&refusal),
    };
    if let Some(view) = view {
        view.await;
    }
    let now = clock::now();
    match awaited.read(now, body) {
        Next::Reply(reply) => whole(&reply),
        Next::Errand(errand) => whole(&visit.with_gateway(now, |gateway| gateway.run(now, *errand))),
        Next::Exchange(exchange) => carry_out(visit, &request, exchange).await,
    }
}

/// Hands a request's head to core.
fn receive(visit: &Visit, head: &str) -> Reception {
    let mut lines = head.split('\n');
    let method = lines.next().and_then(|method| method.parse().ok()).unwrap_or(Method::GET);
    let (host, path, query) = host_path_and_query(lines.next().unwrap_or(""));
    let mut headers = js::unpack(lines);
    if !headers.contains_key(HOST) {
        headers.extend(HeaderValue::from_str(host).map(|host| (HOST, host)));
    }
    let now = clock::now();
    let incoming = Incoming { method: &method, path, query, headers: &headers, peer: None };
    visit.with_gateway(now, |gateway| gateway.receive(now, &incoming))
}

/// Runs the exchange until the client can be answered; what is left of a stream runs as its body is read.
async fn carry_out(visit: Visit, request: &Request, exchange: Box<Exchange>) -> Result<Response, JsValue> {
    let hands = js::Port::new();
    let mut port = EdgePort::new(visit, hands.clone());
    let driving = Drive::new(async move { drive(&mut port, exchange).await });
    JsFuture::from(hands.carry_out(driving, request)).await.map(JsCast::unchecked_into)
}

/// A whole reply as the platform takes it.
pub(crate) fn whole(reply: &Reply) -> Result<Response, JsValue> {
    js::respond(reply.status.as_u16(), &js::pack(&reply.headers), &reply.body)
}

/// Gathers a body, as far as core wants it and the client keeps it coming.
async fn read_body(visit: &Visit, request: &Request, awaited: &Awaited) -> Result<Bytes, Reply> {
    let stall = clock::to_js(visit.config().server.client_stall.0);
    let body = JsFuture::from(js::request_body(request, clock::to_js(awaited.body_max), stall)).await;
    let body = body.map_err(|_| awaited.incomplete())?;
    match body.dyn_into::<ArrayBuffer>() {
        Ok(body) => Ok(Uint8Array::new(&body).to_vec().into()),
        Err(problem) if problem.as_f64() == Some(js::TOO_LARGE) => Err(awaited.too_large()),
        Err(_) => Err(awaited.incomplete()),
    }
}

/// The host, the path and the query of an absolute URL. The platform has taken it apart before, so that this can be simple.
fn host_path_and_query(url: &str) -> (&str, &str, &str) {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let rest = rest.split_once('#').map_or(rest, |(rest, _)| rest);
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (host, path) = rest.find('/').map_or((rest, "/"), |slash| rest.split_at(slash));
    (host, path, query)
}

#[cfg(test)]
mod tests {
    use super::host_path_and_query;

    #[test]
    fn takes_urls_apart() {
        let cases = [
            ("https://a.example/v1/models", "a.example", "/v1/models", ""),
            ("http://127.0.0.1:8787/healthz?deep=/x", "127.0.0.1:8787", "/healthz", "deep=/x"),
            ("https://a.example/l?by=day&to=x?y#z?", "a.example", "/l", "by=day&to=x?y"),
            ("http://[::1]:8787/#top", "[::1]:8787", "/", ""),
            ("https://a.example?x=/y", "a.example", "/", "x=/y"),
            ("", "", "/", ""),
        ];
        for (url, host, path, query) in cases {
            assert_eq!(host_path_and_query(url), (host, path, query), "{url}");
        }
    }
}
