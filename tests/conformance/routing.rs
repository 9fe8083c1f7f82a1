//! Whom a route asks, by what a request is: tasks and priorities, clients, tags and kinds, and a share that tries another.

use serde_json::{Value, json};
use tidegate_tests::http::{Reply, Request};
use tidegate_tests::world::{CLIENT_KEY, GUEST_KEY, NEIGHBOUR_KEY, World, chat, question};

use crate::apis::with;
use crate::check::served;

/// What a dry run says of a request.
async fn explained(world: &World, body: &Value) -> Value {
    world.admin(Request::post("/admin/explain", body)).await.expect(200).json()
}

pub(crate) async fn a_task_and_a_priority_choose_a_list(world: &World) {
    for (task, priority, target, way) in [
        ("", "", "b/tasked-2", "general, normal"),
        ("simple_qa", "fast", "a/tasked-1", "general, fast"),
        ("code_generation", "high", "c/tasked-3", "code_generation, high"),
        ("code_generation", "2", "c/tasked-3", "code_generation, high"),
        ("code_generation", "5", "a/tasked-1", "code_generation, fast"),
        ("poetry", "urgent", "b/tasked-2", "general, normal"),
    ] {
        let hinted = chat(&question("tasked")).header("x-tidegate-task", task).header("x-tidegate-priority", priority);
        served(world.send(hinted).await, target, 1);
        let body = with(question("tasked"), &json!({"tidegate": {"task": task, "priority": priority}}));
        if priority.is_empty() {
            continue;
        }
        served(world.send(chat(&body)).await, target, 1);
        let explained = explained(world, &body).await;
        assert_eq!((&explained["way"], &explained["target"]), (&json!(way), &json!(target)));
    }
    // A list is an order: its next takes over.
    world.c.answers("tasked-3", 503).await;
    let body = with(question("tasked"), &json!({"tidegate": {"task": "code_generation", "priority": "high"}}));
    served(world.send(chat(&body)).await, "a/tasked-1", 2);
}

pub(crate) async fn conditions_lead_elsewhere(world: &World) {
    served(world.ask("forked").await, "a/forked-1", 1);
    let guest = chat(&question("forked")).header("authorization", &format!("Bearer {GUEST_KEY}"));
    served(world.send(guest).await, "c/forked-3", 1);
    for tagged in [
        chat(&question("forked")).header("x-tidegate-tag", "other, night"),
        chat(&question("forked")).header("x-litellm-tags", "batch"),
        chat(&with(question("forked"), &json!({"tidegate": {"tags": ["batch"]}}))),
        chat(&with(question("forked"), &json!({"metadata": {"tag": "night"}}))),
    ] {
        served(world.send(tagged).await, "b/forked-2", 1);
    }
    let vectors = |tag: &str| {
        let body = json!({"model": "forked", "input": ["one", "two"]});
        Request::post("/v1/embeddings", &body).header("x-tidegate-tag", tag)
    };
    for tag in ["batch", "none"] {
        let reply: Reply = world.send(vectors(tag)).await.expect(200);
        assert_eq!(reply.header("x-tidegate-target"), "b/forked-2", "{reply}");
    }
    let body = with(question("forked"), &json!({"tidegate": {"tags": ["batch"]}}));
    let explained = explained(world, &body).await;
    assert_eq!((&explained["way"], &explained["target"]), (&json!("condition 2"), &json!("b/forked-2")));
}

pub(crate) async fn a_canary_takes_its_share(world: &World) {
    let explained = explained(world, &question("canaried")).await;
    assert_eq!(explained["canary"], json!({"target": "b/canaried-2", "share_permille": 500}));
    assert_eq!(explained["target"], "a/canaried-1");
    let mut by_canary = 0;
    for _ in 0..40 {
        let reply = world.ask("canaried").await.expect(200);
        let target = reply.header("x-tidegate-target");
        assert!(["a/canaried-1", "b/canaried-2"].contains(&target), "{reply}");
        by_canary += u32::from(target == "b/canaried-2");
    }
    // By chance alone it is not once in a million runs.
    assert!((5..=35).contains(&by_canary), "half of them: {by_canary} of 40");
    world.b.answers("canaried-2", 503).await;
    for _ in 0..10 {
        let reply = world.ask("canaried").await.expect(200);
        assert_eq!(reply.header("x-tidegate-target"), "a/canaried-1", "as if it had not been there");
    }
}

pub(crate) async fn a_conversation_stays_where_it_is(world: &World) {
    let turn = |nth: usize, turns: usize| {
        let beginning = format!("This is conversation {nth}.");
        let mut messages = vec![json!({"role": "user", "content": beginning})];
        for _ in 0..turns {
            messages.push(json!({"role": "assistant", "content": "So it is."}));
            messages.push(json!({"role": "user", "content": "And now?"}));
        }
        chat(&json!({"model": "steady", "messages": messages}))
    };
    let by = async |nth, turns| {
        let reply = world.send(turn(nth, turns)).await.expect(200);
        reply.header("x-tidegate-target").to_owned()
    };
    let mut homes = Vec::new();
    for nth in 0..12 {
        let home = by(nth, 0).await;
        assert_eq!(by(nth, 2).await, home);
        homes.push(home);
    }
    // By chance it would be one in thousands of runs; these conversations are always the same.
    assert!(homes.iter().any(|home| *home != homes[0]), "{homes:?}");
    world.b.answers("steady-2", 503).await;
    for (nth, home) in homes.iter().enumerate() {
        let now = by(nth, 3).await;
        assert!(if home == "b/steady-2" { now != *home } else { now == *home }, "{now}, it was {home}");
    }
}

pub(crate) async fn a_client_stays_where_it_is(world: &World) {
    let by = async |key: &str, nth: usize| {
        let body = json!({"model": "homely", "messages": [{"role": "user", "content": format!("Question {nth}?")}]});
        let reply = world.send(chat(&body).header("authorization", &format!("Bearer {key}"))).await.expect(200);
        reply.header("x-tidegate-target").to_owned()
    };
    let clients = [CLIENT_KEY, GUEST_KEY, NEIGHBOUR_KEY];
    let mut homes = Vec::new();
    for key in clients {
        let home = by(key, 0).await;
        for nth in 1..6 {
            assert_eq!(by(key, nth).await, home, "whatever it asks");
        }
        homes.push(home);
    }
    // These clients are always the same, and so are their homes.
    assert!(homes.iter().any(|home| *home != homes[0]), "{homes:?}");
    for (vendor, model) in [(&world.a, "homely-1"), (&world.b, "homely-2"), (&world.c, "homely-3")] {
        if homes[0].ends_with(model) {
            vendor.answers(model, 503).await;
        }
    }
    for (key, home) in clients.into_iter().zip(&homes) {
        let now = by(key, 7).await;
        assert!(if *home == homes[0] { now != *home } else { now == *home }, "{now}, it was {home}");
    }
}

pub(crate) async fn a_shadow_decides_and_sends_nothing(world: &World) {
    for _ in 0..3 {
        served(world.ask("shadowed").await, "a/shadowed-1", 1);
    }
    assert_eq!(world.b.count("shadowed-2").await, 0);
    let explained = explained(world, &question("shadowed")).await;
    assert_eq!(explained["shadow"], json!({"strategy": "cost", "target": "b/shadowed-2"}));
    assert_eq!(explained["target"], "a/shadowed-1");
    let reply = world.ask("shadowed").await.expect(200);
    let id = reply.header("x-tidegate-request-id");
    let account = world.admin(Request::get(&format!("/admin/requests/{id}"))).await.expect(200).json();
    assert_eq!(account["shadow"], "b/shadowed-2", "{account}");
    // On the edge each isolate counts its own.
    let status = world.admin(Request::get("/admin/status")).await.expect(200).json();
    let routes = status["routes"].as_array().expect("a list");
    let shadow = &routes.iter().find(|route| route["route"] == "shadowed").expect("its route")["shadow"];
    assert_eq!((&shadow["different"], &shadow["same"]), (&json!(4), &json!(0)), "{shadow}");
    let usd = |name: &str| shadow[name].as_str().and_then(|text| text.parse::<f64>().ok()).expect("an amount");
    let (live, dreamt) = (usd("live_cost_usd"), usd("shadow_cost_usd"));
    assert!(live > 0.0 && (live / dreamt - 2.0).abs() < 0.1, "twice the price: {live} to {dreamt}");
}
