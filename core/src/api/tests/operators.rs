//! What is only the operator's: a look at the queue, and a dry run that stands in for a client.

use super::*;
use crate::time::Millis;

/// What the operator is told by a dry run.
fn explained(gateway: &mut Gateway, path: &str, model: &str) -> Value {
    let body = json!({"model": model, "messages": [{"role": "user", "content": "Is the tide in?"}]}).to_string();
    match local(Method::POST).read(gateway, path, &body) {
        Next::Errand(errand) => json_of(&gateway.run(NOW, *errand)),
        Next::Reply(reply) => json_of(&reply),
        Next::Exchange(_) => panic!("nothing is to be sent"),
    }
}

/// Three clients: one with all, one that a condition leads elsewhere, and one that may do little.
fn with_clients() -> Gateway {
    gateway_with(|document| {
        document["clients"] = json!({
            "all": {"key": {"env": "ALL"}},
            "led": {"key": {"env": "LED"}, "routes": ["default"]},
            "poor-man": {"key": {"env": "POOR"}, "rpm": 1, "budget": {"usd": 0.001, "per": "1d"}},
        });
        document["models"]["a/gpt-x"] = json!({"price": {"input": 1, "output": 1000}});
        document["routes"]["default"]["when"] = json!([{"client": "led", "models": ["b/org/llama"]}]);
    })
}

#[test]
fn a_dry_run_stands_in_for_a_client() {
    let mut gateway = with_clients();
    for (query, client, way, target) in [
        ("", Value::Null, "usual", "a/gpt-x"),
        ("?client=all", json!("all"), "usual", "a/gpt-x"),
        ("?client=led", json!("led"), "condition 1", "b/org/llama"),
    ] {
        let told = explained(&mut gateway, &format!("/admin/explain{query}"), "default");
        assert_eq!((&told["client"], &told["way"], &told["target"]), (&client, &json!(way), &json!(target)), "{told}");
    }
    let told = explained(&mut gateway, "/admin/explain?client=led", "other");
    assert_eq!(told["error"]["code"], "model_not_allowed", "as that client would be told: {told}");
}

#[test]
fn a_dry_run_minds_what_its_client_may_use() {
    let mut gateway = with_clients();
    let ask = |gateway: &mut Gateway| explained(gateway, "/admin/explain?client=poor-man", "default");
    let told = ask(&mut gateway);
    assert_eq!((&told["refused"], &told["target"]), (&Value::Null, &Value::Null), "{told}");
    assert_eq!(told["candidates"][0]["rejected"]["reason"], "over_budget", "{told}");
    assert_eq!(told["candidates"][1]["rejected"]["reason"], "unpriced", "{told}");
    assert_eq!(ask(&mut gateway), told, "and takes nothing of it");

    gateway.let_in(NOW, 2, 0, Millis(1000)).unwrap();
    let told = ask(&mut gateway);
    assert_eq!((&told["refused"]["reason"], &told["refused"]["limit"]), (&json!("at_limit"), &json!("requests")));
    assert_eq!((&told["refused"]["retry_in_ms"], &told["target"]), (&json!(60_000), &Value::Null), "{told}");
}

#[test]
fn a_dry_run_for_nobody_is_refused() {
    let mut gateway = with_clients();
    for (query, status) in [("client=nobody", 404), ("client", 404), ("for=all", 400), ("client=all&client=led", 400)] {
        let refused = local(Method::POST).reply(&mut gateway, &format!("/admin/explain?{query}"));
        assert_eq!(refused.status.as_u16(), status, "{query}");
    }
    // To whom it may not tell, it does not tell who its clients are.
    let far = local(Method::POST).peer("203.0.113.7");
    assert_eq!(far.status(&mut gateway, "/admin/explain?client=nobody"), 403);
}

#[test]
fn the_queue_is_the_operators() {
    let refused = local(Method::GET).reply(&mut gateway(), "/admin/queue");
    assert_eq!((refused.status.as_u16(), code_of(&refused).as_str()), (404, "no_queue"));
    let mut gateway = gateway_with(|document| {
        document["queue"] = json!({});
        document["server"]["admin_key"] = json!({"env": "ADMIN"});
        document["clients"] = json!({"all": {"key": {"env": "ALL"}}});
    });
    let operator = local(Method::GET).bearing("ADMIN");
    for path in ["/admin/queue", "/admin/queue?status=failed&limit=5"] {
        assert!(matches!(operator.ask(&mut gateway, path), Reception::Queue(_)), "{path}");
        assert_eq!(local(Method::GET).bearing("ALL").status(&mut gateway, path), 401);
    }
    assert_eq!(operator.status(&mut gateway, "/admin/queue?state=failed"), 400);
}
