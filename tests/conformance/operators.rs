//! What operators see: the state of everything, and why a request would go where.

use serde_json::{Value, json};
use tidegate_tests::http::Request;
use tidegate_tests::world::{CLIENT_KEY, GUEST_KEY, World, chat, question};

use crate::check::{refused, served, streamed};

pub(crate) async fn status(world: &World) {
    world.a.answers_times("seen-1", 1, 503).await;
    served(world.ask("seen").await, "b/seen-2", 2);
    let answer = served(world.ask("seen").await, "a/seen-1", 1);
    streamed(world.stream("seen").await, "a/seen-1", 1);

    let status = world.admin(Request::get("/admin/status")).await.expect(200).json();
    assert_eq!(status["ready"], true);
    assert!(status["now_ms"].as_u64().unwrap() > 1_700_000_000_000, "milliseconds since 1970");
    let routes = status["routes"].as_array().unwrap();
    let route = routes.iter().find(|route| route["route"] == "seen").expect("the route");
    assert_eq!(route["order"], json!(["a/seen-1", "b/seen-2"]));

    let target = world.target("a/seen-1").await;
    assert_eq!(target["upstream"], "seen-1");
    let breaker = json!({
        "state": "closed", "retry_in_ms": null, "by_order": false,
        "window": {"failures": 1, "slow": 0, "limited": 0, "total": 3, "consecutive": 0},
    });
    assert_eq!(target["breaker"], breaker);
    let attempts = &target["attempts"];
    assert_eq!(
        (&attempts["attempts"], &attempts["successes"], &attempts["failures"]),
        (&json!(3), &json!(2), &json!(1))
    );
    assert_eq!((&target["keys"], &target["keys_usable"], &target["unpriced"]), (&json!(1), &json!(1), &json!(0)));
    // The stream said the same, and cost the same although its usage was kept from the client.
    let usage = |name: &str| answer["usage"][name].as_u64().unwrap();
    let picodollars = 2 * (usage("prompt_tokens") * 1_000_000 + usage("completion_tokens") * 2_000_000);
    assert_eq!(target["cost_usd"], format!("0.{picodollars:012}").trim_end_matches('0'), "{target}");
    for figure in ["mean_ms", "mean_10_ms", "ewma_ms", "p50_ms", "p95_ms", "p99_ms"] {
        assert!(target["total"][figure].is_u64(), "{figure}: {target}");
        assert!(target["first_token"][figure].is_u64(), "{figure}: {target}");
    }
    let untouched = world.target("b/down-2").await;
    assert!(untouched["keys"] == 1, "{untouched}");
}

pub(crate) async fn explain(world: &World) {
    world.a.answers("explained-1", 503).await;
    served(world.ask("explained").await, "b/explained-2", 2);
    let throttled = json!({"kind": "status", "status": 429, "headers": {"retry-after": "60"}});
    world.b.fault_times("explained-2", 1, throttled).await;
    served(world.ask("explained").await, "c/explained-3", 2);
    let before = counts(world).await;

    let reply = world.admin(Request::post("/admin/explain", &question("explained"))).await.expect(200).json();
    assert_eq!((&reply["route"], &reply["target"]), (&json!("explained"), &json!("c/explained-3")));
    let row = |index: usize| {
        let row = &reply["candidates"][index];
        (row["target"].as_str().unwrap(), row["taken"].as_bool().unwrap(), &row["rejected"]["reason"])
    };
    assert_eq!(row(0), ("a/explained-1", false, &json!("breaker_open")));
    assert_eq!(row(1), ("b/explained-2", false, &json!("rate_limited")));
    assert_eq!(row(2), ("c/explained-3", true, &Value::Null));
    for index in [0, 1] {
        let wait_ms = reply["candidates"][index]["rejected"]["retry_in_ms"].as_u64().unwrap();
        assert!((1..=60_000).contains(&wait_ms), "{reply}");
    }
    assert_eq!(counts(world).await, before, "a dry run sends nothing");

    let pinned = world.admin(Request::post("/admin/explain", &question("c/explained-3"))).await.expect(200).json();
    assert_eq!((&pinned["route"], &pinned["target"]), (&Value::Null, &json!("c/explained-3")));
}

pub(crate) async fn explain_refuses(world: &World) {
    let unknown = Request::post("/admin/explain", &question("gpt-99"));
    refused(world.admin(unknown).await, 404, "model_not_found");
    let unreadable = Request::new("POST", "/admin/explain").body("{");
    refused(world.admin(unreadable).await, 400, "invalid_request");
}

pub(crate) async fn explain_stands_in_for_a_client(world: &World) {
    let ask = async |client: &str, model: &str| {
        world.admin(Request::post(&format!("/admin/explain?client={client}"), &question(model))).await
    };
    for (client, way, target) in [("tests", "usual", "a/forked-1"), ("guest", "condition 1", "c/forked-3")] {
        let told = ask(client, "forked").await.expect(200).json();
        assert_eq!((&told["client"], &told["way"], &told["target"]), (&json!(client), &json!(way), &json!(target)));
    }
    for (client, key) in [("tests", CLIENT_KEY), ("guest", GUEST_KEY)] {
        let told = ask(client, "settled").await.expect(200).json();
        let request = chat(&question("settled")).header("authorization", &format!("Bearer {key}"));
        let served = world.send(request).await.expect(200);
        assert_eq!(told["target"], served.header("x-tidegate-target"), "a sticky client's own: {told}");
    }
    let untold = ask("thrifty", "untold").await.expect(200).json();
    assert_eq!((&untold["candidates"][0]["rejected"]["reason"], &untold["target"]), (&json!("unpriced"), &Value::Null));
    refused(ask("guest", "plain").await, 403, "model_not_allowed");
    refused(ask("nobody", "plain").await, 404, "client_not_found");
}

pub(crate) async fn requests_are_accounted_for(world: &World) {
    world.a.answers_times("told-1", 1, 503).await;
    let reply = world.ask("told").await;
    served(reply.clone(), "b/told-2", 2);
    let id = reply.header("x-tidegate-request-id").to_owned();
    let account = world.admin(Request::get(&format!("/admin/requests/{id}"))).await.expect(200);
    let said = reply.json()["choices"][0]["message"]["content"].as_str().unwrap().to_owned();
    for secret in ["Is the tide in?", said.as_str(), CLIENT_KEY, world.a.only("told-1").await.key()] {
        assert!(!account.text().contains(secret), "{secret} is in {account}");
    }
    let account = account.json();
    assert_eq!((&account["request_id"], &account["route"]), (&json!(id), &json!("told")));
    let attempt = |nth: usize| {
        let attempt = &account["attempts"][nth];
        [&attempt["target"], &attempt["outcome"], &attempt["status"], &attempt["role"]].map(ToString::to_string)
    };
    assert_eq!(attempt(0).join(" "), r#""a/told-1" "upstream_status" 503 "first""#);
    assert_eq!(attempt(1).join(" "), r#""b/told-2" "success" 200 "failover""#);
    let ending = &account["ending"];
    assert_eq!(
        (&ending["how"], &ending["status"], &ending["target"]),
        (&json!("answered"), &json!(200), &json!("b/told-2"))
    );

    let list = world.admin(Request::get("/admin/requests")).await.expect(200).json();
    let row = list["requests"].as_array().unwrap().iter().find(|row| row["request_id"] == *id).expect("it is listed");
    assert_eq!((&row["attempts"], &row["target"]), (&json!(2), &json!("b/told-2")));
    let unknown = world.admin(Request::get("/admin/requests/tg-0000000000000000")).await;
    refused(unknown, 404, "request_not_found");
}

pub(crate) async fn admin_needs_its_key(world: &World) {
    for path in [
        "/admin/status",
        "/admin/alerts",
        "/admin/requests",
        "/admin/requests/tg-0",
        "/admin/ledger",
        "/admin/ledger/lines",
        "/admin/queue",
        "/admin/explain",
    ] {
        let request =
            || if path.ends_with("explain") { Request::post(path, &question("bare")) } else { Request::get(path) };
        refused(request().send(world.gateway.address).await, 401, "invalid_api_key");
        let client = format!("Bearer {CLIENT_KEY}");
        let reply = request().header("authorization", &client).send(world.gateway.address).await;
        refused(reply, 401, "invalid_api_key");
    }
}

async fn counts(world: &World) -> [u64; 3] {
    [world.a.count("explained-1").await, world.b.count("explained-2").await, world.c.count("explained-3").await]
}
