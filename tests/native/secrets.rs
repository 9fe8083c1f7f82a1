//! Secrets stay where they are: not in a reply, not in the log at any level, not on the status page.

use serde_json::json;
use tidegate_tests::http::Request;
use tidegate_tests::world::{chat, question, streamed};

use crate::{CONFIG, KEY_A, Served};

const ADMIN: &str = "the-admins-own-secret";
const CLIENT: &str = "the-clients-own-secret";

#[tokio::test]
async fn no_key_is_ever_told() {
    let tables = "[server]\nadmin_key = { env = \"ADMIN_KEY\" }\n[clients.me]\nkey = { env = \"CLIENT_KEY\" }\n";
    let variables = [("ADMIN_KEY", ADMIN), ("CLIENT_KEY", CLIENT), ("RUST_LOG", "trace")];
    let mut served = Served::start(&format!("{tables}{CONFIG}"), &variables).await;
    let to = served.gateway.address;
    let mut told = Vec::new();
    let mut send = async |request: Request, key: &str| {
        let reply = request.header("authorization", &format!("Bearer {key}")).send(to).await;
        told.push(reply.to_string());
        reply.status
    };
    assert_eq!(send(chat(&question("default")), CLIENT).await, 200);
    assert_eq!(send(chat(&streamed("default")), CLIENT).await, 200);
    assert_eq!(send(chat(&question("default")), ADMIN).await, 401);
    assert_eq!(send(chat(&question("no-such")), CLIENT).await, 404);
    assert_eq!(send(Request::get("/admin/status"), ADMIN).await, 200);
    assert_eq!(send(Request::get("/admin/status"), CLIENT).await, 401);
    assert_eq!(send(Request::post("/admin/explain", &question("default")), ADMIN).await, 200);
    // A vendor that quotes the key it refuses, as some do.
    let quoting = json!({"error": {"message": format!("no such key: {KEY_A}"), "code": "invalid_api_key"}});
    served.vendor.fault("tide", json!({"kind": "status", "status": 401, "body": quoting})).await;
    assert_eq!(send(chat(&question("default")), CLIENT).await, 502);
    assert_eq!(send(Request::get("/admin/status"), ADMIN).await, 200);

    served.gateway.terminate();
    assert!(served.gateway.ended_well());
    told.push(served.gateway.output());
    let log = told.last().expect("it was just pushed");
    assert!(log.contains("TRACE"), "everything was logged: {log}");
    assert!(log.contains("refuses the key in KEY_A"), "the operator is told which key by its name: {log}");
    for secret in [KEY_A, ADMIN, CLIENT] {
        for text in &told {
            assert!(!text.contains(secret), "{secret} was told: {text}");
        }
    }
}
