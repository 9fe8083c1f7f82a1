//! The listener: its limits, and the drain that ends it.

use std::io::ErrorKind;
use std::net::SocketAddr;

use serde_json::json;
use tidegate_tests::http::Request;
use tidegate_tests::wait;
use tidegate_tests::world::{chat, question, streamed};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::Served;

const HEALTHZ: &[u8] = b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n";

#[tokio::test]
async fn sigterm_drains() {
    let mut served = Served::with("drain = \"1m\"").await;
    // The stream is under way, and its first token is still to come when the signal does.
    served.vendor.holds("tide").await;
    let address = served.gateway.address;
    let stream = tokio::spawn(chat(&streamed("default")).send(address));
    wait::until("the stream to reach the vendor", async || (served.vendor.count("tide").await == 1).then_some(()))
        .await;
    let mut idle = connected(address).await;
    served.gateway.terminate();

    wait::until("new connections to be refused", async || {
        let refused = TcpStream::connect(address).await;
        refused.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused).then_some(())
    })
    .await;
    assert_eq!(idle.read(&mut [0; 16]).await.expect("a clean end"), 0, "an idle connection is closed");
    assert!(!stream.is_finished(), "the stream is still being served");
    served.vendor.heal("tide").await;
    let reply = stream.await.expect("no panic").expect(200);
    assert_eq!(reply.events().last().map(String::as_str), Some("[DONE]"), "{reply}");
    assert!(served.gateway.ended_well(), "{}", served.gateway.output());
}

#[tokio::test]
async fn a_drain_has_an_end() {
    let mut served = Served::with("drain = \"300ms\"").await;
    served.vendor.fault("tide", json!({"kind": "stall", "after_tokens": 2})).await;
    let mut stream = chat(&streamed("default")).open(served.gateway.address).await.expect("an answer");
    let _ = stream.until("is ").await;
    served.gateway.terminate();
    assert!(!stream.whole().await.ended_cleanly, "what is cut off must not look whole");
    assert!(!served.gateway.ended_well(), "the exit code says that a request was cut off");
}

#[tokio::test]
async fn told_twice_it_ends_at_once() {
    let mut served = Served::with("drain = \"10m\"").await;
    served.vendor.fault("tide", json!({"kind": "stall", "after_tokens": 2})).await;
    let mut stream = chat(&streamed("default")).open(served.gateway.address).await.expect("an answer");
    let _ = stream.until("is ").await;
    served.gateway.terminate();
    let gateway = &served.gateway;
    wait::until("the drain to begin", async || gateway.output().contains("draining").then_some(())).await;
    served.gateway.terminate();
    assert!(!stream.whole().await.ended_cleanly, "what is cut off must not look whole");
    assert!(!served.gateway.ended_well(), "the exit code says that a request was cut off");
}

#[tokio::test]
async fn a_head_that_does_not_come_closes_the_connection() {
    let served = Served::with("request_head = \"300ms\"").await;
    for begun in [&b""[..], b"POST /v1/chat/comp", b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\nx-slow: "] {
        let mut connection = connected_idle(served.gateway.address).await;
        connection.write_all(begun).await.expect("it is open");
        let mut rest = Vec::new();
        tokio::time::timeout(wait::PATIENCE, connection.read_to_end(&mut rest))
            .await
            .expect("closed in time")
            .expect("closed cleanly");
        let text = String::from_utf8_lossy(&rest);
        assert!(text.is_empty() || text.starts_with("HTTP/1.1 408"), "{text}");
    }
    let _ = Request::get("/healthz").send(served.gateway.address).await.expect(200);
}

#[tokio::test]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let served = Served::with("client_stall = \"300ms\"").await;
    let mut connection = connected_idle(served.gateway.address).await;
    let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 100\r\n\r\n{\"model\":";
    connection.write_all(head.as_bytes()).await.expect("it is open");
    let text = read_until(&mut connection, "incomplete_body").await;
    assert!(text.starts_with("HTTP/1.1 408"), "{text}");
    assert_eq!(served.vendor.count("tide").await, 0);
}

#[tokio::test]
async fn over_the_cap_connections_wait() {
    let served = Served::with("connections_max = 2").await;
    let address = served.gateway.address;
    let (mut first, _second) = (connected(address).await, connected(address).await);
    let mut third = tokio::spawn(chat(&question("default")).send(address));
    for _ in 0..10 {
        first.write_all(HEALTHZ).await.expect("it is open");
        read_until(&mut first, "ok\"}").await;
    }
    assert!(!third.is_finished(), "the third waits to be accepted, and the first goes on");
    drop(first);
    let reply = tokio::time::timeout(wait::PATIENCE, &mut third).await.expect("its turn has come").expect("no panic");
    assert_eq!(reply.expect(200).header("x-tidegate-target"), "a/tide");
}

#[tokio::test]
async fn without_clients_only_this_machine_is_served() {
    let served = Served::with("").await;
    for path in ["/v1/models", "/admin/status"] {
        // A page in a browser can be made to call loopback under a name of its own.
        let reply = Request::get(path).header("host", "evil.example").send(served.gateway.address).await.expect(403);
        assert_eq!(reply.json()["error"]["code"], "loopback_only", "{reply}");
        let _ = Request::get(path).send(served.gateway.address).await.expect(200);
    }
}

/// A connection that has been accepted: it has had an answer already.
async fn connected(address: SocketAddr) -> TcpStream {
    let mut connection = connected_idle(address).await;
    connection.write_all(HEALTHZ).await.expect("it is open");
    read_until(&mut connection, "ok\"}").await;
    connection
}

async fn connected_idle(address: SocketAddr) -> TcpStream {
    TcpStream::connect(address).await.expect("it listens")
}

async fn read_until(connection: &mut TcpStream, text: &str) -> String {
    let mut read = String::new();
    while !read.contains(text) {
        let mut piece = [0; 4096];
        let length = tokio::time::timeout(wait::PATIENCE, connection.read(&mut piece)).await;
        let length = length.expect("an answer in time").expect("it is open");
        assert!(length > 0, "the connection has ended: {read}");
        read.push_str(&String::from_utf8_lossy(&piece[..length]));
    }
    read
}
