//! Breakers as clients and vendors see them: shut off, probed, closed again.

use serde_json::{Value, json};
use tidegate_tests::gateway::{Gateway, Scratch};
use tidegate_tests::http::{Reply, Request};
use tidegate_tests::vendors::Vendors;
use tidegate_tests::wait;
use tidegate_tests::world::{ADMIN_KEY, CLIENT_KEY, World, chat, long_streamed, question, setup};

use crate::apis::Api;
use crate::check::{refused_for_now, served, streamed};

pub(crate) async fn opens_and_stays_shut(world: &World) {
    world.a.answers("shut-1", 503).await;
    for _ in 0..3 {
        served(world.ask("shut").await, "b/shut-2", 2);
    }
    let target = world.target("a/shut-1").await;
    assert_eq!(target["breaker"]["state"], "open", "{target}");
    let retry_in_ms = target["breaker"]["retry_in_ms"].as_u64().unwrap();
    assert!((1..=60_000).contains(&retry_in_ms), "{target}");
    for _ in 0..10 {
        served(world.ask("shut").await, "b/shut-2", 1);
    }
    assert_eq!(world.a.count("shut-1").await, 3, "while it is open, the vendor sees nothing");
}

pub(crate) async fn heals_and_traffic_returns(world: &World) {
    world.a.answers("heals-1", 503).await;
    for _ in 0..2 {
        served(world.ask("heals").await, "b/heals-2", 2);
    }
    world.a.heal("heals-1").await;
    // Clients go on all the while, and never see an error.
    let mut by_a = 0;
    wait::until("traffic to return", async || {
        let reply = world.ask("heals").await.expect(200);
        by_a += u64::from(reply.header("x-tidegate-target") == "a/heals-1");
        (by_a == 2).then_some(())
    })
    .await;
    assert_eq!(world.breaker("a/heals-1").await, "closed", "two good probes close it");
    for _ in 0..3 {
        served(world.ask("heals").await, "a/heals-1", 1);
    }
    assert_eq!(world.a.count("heals-1").await, 2 + 2 + 3);
}

pub(crate) async fn failed_probe_reopens(world: &World) {
    world.a.answers_times("reopens-1", 2, 503).await;
    served(world.ask("reopens").await, "b/reopens-2", 2);
    wait::until("the probe", async || {
        let _ = world.ask("reopens").await.expect(200);
        (world.a.count("reopens-1").await == 2).then_some(())
    })
    .await;
    // That probe was the second and last of the failures: the next one finds the vendor well.
    wait::until("the next probe", async || {
        let reply = world.ask("reopens").await.expect(200);
        (reply.header("x-tidegate-target") == "a/reopens-1").then_some(())
    })
    .await;
    assert_eq!(world.a.count("reopens-1").await, 3, "a request, a probe that failed, and one that did not");
    assert_eq!(world.breaker("a/reopens-1").await, "closed");
}

pub(crate) async fn half_open_admits_its_probes_only(world: &World) {
    world.a.answers_times("probes-1", 1, 503).await;
    served(world.ask("probes").await, "b/probes-2", 2);
    becomes(world, "a/probes-1", "half_open").await;
    // The probe takes until all the others have come.
    world.a.holds("probes-1").await;
    let release = async {
        world.b.is_reached("probes-2", 1 + 5).await;
        world.a.heal("probes-1").await;
    };
    let ask = || world.ask("probes");
    let replies = tokio::join!(ask(), ask(), ask(), ask(), ask(), ask(), release);
    let replies = [replies.0, replies.1, replies.2, replies.3, replies.4, replies.5];
    let served_by = |target| replies.iter().filter(|reply| reply.header("x-tidegate-target") == target).count();
    assert_eq!((served_by("a/probes-1"), served_by("b/probes-2")), (1, 5));
    assert_eq!(world.a.count("probes-1").await, 2, "the failure and one probe");
    assert_eq!(world.breaker("a/probes-1").await, "half_open", "one of two");
}

pub(crate) async fn abandoned_probe_gives_its_lease_back(world: &World) {
    world.slow.answers_times("lease-1", 1, 503).await;
    served(world.ask("lease").await, "b/lease-2", 2);
    becomes(world, "slow/lease-1", "half_open").await;
    let mut probe = world.open(chat(&long_streamed("lease"))).await;
    assert_eq!(probe.headers["x-tidegate-target"], "slow/lease-1");
    let _ = probe.until("The ").await;
    served(world.ask("lease").await, "b/lease-2", 1);
    drop(probe);
    world.slow.saw_cancellation("lease-1").await;
    // Its lease would run for half a minute yet.
    served(world.ask("lease").await, "slow/lease-1", 1);
    assert_eq!(world.breaker("slow/lease-1").await, "closed");
}

pub(crate) async fn slow_first_tokens_open_it(world: &World) {
    world.a.fault("sluggish-1", json!({"kind": "slow_first_token", "ms": 400})).await;
    for _ in 0..2 {
        streamed(world.stream("sluggish").await, "a/sluggish-1", 1);
    }
    assert_eq!(world.breaker("a/sluggish-1").await, "open", "each of them was served, and all too late");
    streamed(world.stream("sluggish").await, "b/sluggish-2", 1);
}

pub(crate) async fn a_share_of_failures_opens_it(world: &World) {
    for fails in [true, false, true, false, true] {
        if fails {
            world.a.answers_times("uneven-1", 1, 503).await;
        }
        let (target, attempts) = if fails { ("b/uneven-2", 2) } else { ("a/uneven-1", 1) };
        served(world.ask("uneven").await, target, attempts);
    }
    assert_eq!(world.breaker("a/uneven-1").await, "closed", "three of five failed, and five say little");
    // Three of six: it is the share that counts, and not who comes last.
    served(world.ask("uneven").await, "a/uneven-1", 1);
    assert_eq!(world.breaker("a/uneven-1").await, "open");
    served(world.ask("uneven").await, "b/uneven-2", 1);
    assert_eq!(world.a.count("uneven-1").await, 6);
}

pub(crate) async fn what_is_long_past_does_not_count(world: &World) {
    let fails = async || {
        world.a.answers_times("lapsing-1", 1, 503).await;
        served(world.ask("lapsing").await, "b/lapsing-2", 2);
    };
    for _ in 0..2 {
        fails().await;
        wait::until("it to be forgotten", async || {
            (world.target("a/lapsing-1").await["breaker"]["window"]["total"] == 0).then_some(())
        })
        .await;
    }
    assert_eq!(world.breaker("a/lapsing-1").await, "closed", "two of two, and not at one time");
}

pub(crate) async fn successes_make_up_for_failures(world: &World) {
    for fails in [true, true, false, true] {
        if fails {
            world.a.answers_times("leaky-1", 1, 503).await;
        }
        let (target, attempts) = if fails { ("b/leaky-2", 2) } else { ("a/leaky-1", 1) };
        served(world.ask("leaky").await, target, attempts);
    }
    assert_eq!(world.breaker("a/leaky-1").await, "closed", "three failures, less a success");
    world.a.answers_times("leaky-1", 1, 503).await;
    served(world.ask("leaky").await, "b/leaky-2", 2);
    assert_eq!(world.breaker("a/leaky-1").await, "open", "two in a row, and two before them less one");
    served(world.ask("leaky").await, "b/leaky-2", 1);
}

pub(crate) async fn traffic_returns_little_by_little(world: &World) {
    // One takes an hour to get all of its traffic back, the other a second.
    let by_a = |reply: &Reply| reply.header("x-tidegate-target").starts_with("a/");
    for (route, model) in [("ramped", "ramped-1"), ("regrown", "regrown-1")] {
        world.a.answers_times(model, 1, 503).await;
        assert!(!by_a(&world.ask(route).await.expect(200)));
        wait::until("a good probe", async || by_a(&world.ask(route).await.expect(200)).then_some(())).await;
        assert_eq!(world.breaker(&format!("a/{model}")).await, "closed");
    }
    // It begins with a tenth, and each request is drawn for.
    let (mut asked, mut returned) = (0, 0);
    wait::until("some of it to return", async || {
        let reply = world.ask("ramped").await.expect(200);
        assert_eq!(reply.header("x-tidegate-attempts"), "1", "{reply}");
        (asked, returned) = (asked + 1, returned + u32::from(by_a(&reply)));
        (asked >= 50 && returned > 0).then_some(())
    })
    .await;
    assert!(returned * 2 < asked, "{returned} of {asked}");
    let mut in_a_row = 0;
    wait::until("all of it to return", async || {
        in_a_row = if by_a(&world.ask("regrown").await.expect(200)) { in_a_row + 1 } else { 0 };
        (in_a_row == 30).then_some(())
    })
    .await;
}

pub(crate) async fn when_all_are_open_the_one_that_comes_back_first_is_asked(world: &World) {
    world.a.answers_times("soonest-1", 1, 503).await;
    world.b.answers_times("soonest-2", 1, 503).await;
    let _ = world.ask("soonest").await.expect(502);
    assert_eq!((world.breaker("a/soonest-1").await.as_str(), world.a.count("soonest-1").await), ("open", 1));
    served(world.ask("soonest").await, "b/soonest-2", 1);
    assert_eq!(world.a.count("soonest-1").await, 1, "that one would take a minute");
}

pub(crate) async fn when_all_are_open_all_are_asked(world: &World) {
    world.a.answers_times("panicked-1", 1, 503).await;
    world.b.answers_times("panicked-2", 1, 503).await;
    let _ = world.ask("panicked").await.expect(502);
    served(world.ask("panicked").await, "a/panicked-1", 1);
    assert_eq!(world.breaker("b/panicked-2").await, "closed", "as if nothing had been");
}

pub(crate) async fn when_all_are_open_a_route_has_words_of_its_own(world: &World) {
    world.a.answers("canned-1", 503).await;
    let words = "The tide is out. Come back in a while.";
    for api in [Api::Chat, Api::Messages] {
        let reply = world.send(api.ask(&api.question("canned"))).await.expect(200);
        assert_eq!((reply.header("x-tidegate-canned"), reply.header("x-tidegate-cost")), ("true", "0"), "{reply}");
        assert!(reply.text().contains(words), "{reply}");
        let reply = world.send(api.ask(&api.streamed("canned"))).await.expect(200);
        assert_eq!(reply.header("x-tidegate-canned"), "true", "{reply}");
        assert!(reply.text().contains(words) && reply.events().len() > 2, "{reply}");
    }
    assert_eq!(world.a.count("canned-1").await, 1, "nobody is asked while it is open");
}

pub(crate) async fn all_open(world: &World) {
    world.a.answers("all-open-1", 503).await;
    world.b.answers("all-open-2", 503).await;
    let _ = world.ask("all-open").await.expect(502);
    let error = refused_for_now(world.ask("all-open").await, 503, "circuit_open", false);
    assert_eq!(error["metadata"], json!(null), "nobody was asked: {error}");
    refused_for_now(world.stream("all-open").await, 503, "circuit_open", false);
    assert_eq!((world.a.count("all-open-1").await, world.b.count("all-open-2").await), (1, 1));
}

pub(crate) async fn obeys_orders(world: &World) {
    let order = async |body: Value| world.admin(Request::post("/admin/breakers", &body)).await;
    let open = json!({"target": "a/ordered-1", "order": "open", "for": "30m"});
    for end in ["close", "reset"] {
        let told = order(open.clone()).await.expect(200).json();
        assert_eq!((&told["target"], &told["breaker"]["state"]), (&json!("a/ordered-1"), &json!("open")), "{told}");
        assert_eq!((&told["breaker"]["by_order"], &told["breaker"]["retry_in_ms"]), (&json!(true), &json!(1_800_000)));
        let before = world.a.count("ordered-1").await;
        for _ in 0..3 {
            served(world.ask("ordered").await, "b/ordered-2", 1);
        }
        refused_for_now(world.ask("a/ordered-1").await, 503, "circuit_open", false);
        assert_eq!(world.a.count("ordered-1").await, before, "meanwhile the vendor sees nothing");
        let told = order(json!({"target": "a/ordered-1", "order": end})).await.expect(200).json();
        assert_eq!(told["breaker"]["state"], "closed", "{told}");
        served(world.ask("ordered").await, "a/ordered-1", 1);
    }
    let _ = order(json!({"target": "a/ordered-1", "order": "shut"})).await.expect(400);
    let _ = order(json!({"target": "a/nobody", "order": "open"})).await.expect(404);
}

pub(crate) async fn the_last_one_stays_in(world: &World) {
    world.a.answers("spared-1", 503).await;
    world.b.answers_times("spared-2", 1, 503).await;
    let _ = world.ask("spared").await.expect(502);
    assert_eq!(world.breaker("a/spared-1").await, "open");
    assert_eq!(world.breaker("b/spared-2").await, "closed", "it failed as well, and is the last");
    served(world.ask("spared").await, "b/spared-2", 1);
    assert_eq!(world.a.count("spared-1").await, 1);
}

pub(crate) async fn a_route_has_its_own(world: &World) {
    world.a.answers_times("careful-1", 1, 503).await;
    served(world.ask("careful").await, "b/careful-2", 2);
    served(world.ask("careful").await, "b/careful-2", 1);
    served(world.ask("a/careful-1").await, "a/careful-1", 1);
    assert_eq!(world.breaker("a/careful-1").await, "closed", "one failure is nothing to the target's own");
    let status = world.admin(Request::get("/admin/status")).await.expect(200).json();
    let route =
        status["routes"].as_array().unwrap().iter().find(|route| route["route"] == "careful").expect("the route");
    assert_eq!(route["breakers"][0]["target"], "a/careful-1");
    assert_eq!(route["breakers"][0]["breaker"]["state"], "open");
}

pub(crate) async fn open_breaker_survives_a_restart(world: &World) {
    let vendors = Vendors::start().await;
    let setup = setup(world.runtime, &vendors, Scratch::new());
    let ask = async |gateway: &Gateway| {
        chat(&question("restart")).header("authorization", &format!("Bearer {CLIENT_KEY}")).send(gateway.address).await
    };
    vendors.a.answers("restart-1", 503).await;
    let first = Gateway::start(&setup);
    served(ask(&first).await, "b/restart-2", 2);
    // The keeper is told beside the answer, and not before it: these requests are also time for that.
    for _ in 0..5 {
        served(ask(&first).await, "b/restart-2", 1);
    }
    drop(first);

    let second = Gateway::start(&setup);
    // A new isolate waits for the keeper's view, but not for long: on a busy machine it comes with a later request.
    let dry_run = || {
        Request::post("/admin/explain", &question("restart")).header("authorization", &format!("Bearer {ADMIN_KEY}"))
    };
    wait::until("the breaker to be open again", async || {
        let explained = dry_run().send(second.address).await.expect(200).json();
        (explained["candidates"][0]["rejected"]["reason"] == "breaker_open").then_some(())
    })
    .await;
    served(ask(&second).await, "b/restart-2", 1);
    assert_eq!(vendors.a.count("restart-1").await, 1, "it was asked once, in its first life");
}

async fn becomes(world: &World, target: &str, state: &str) {
    let what = format!("{target} to be {state}");
    wait::until(&what, async || (world.breaker(target).await == state).then_some(())).await;
}
