//! Limits against a crowd, for once with real connections: five hundred requests that all come at one moment.

use std::time::{Duration, Instant};

use tidegate_tests::http::Reply;
use tidegate_tests::world::{chat, question};
use tokio::task::JoinSet;

use crate::Served;

const KEY: &str = "client-key-that-a-crowd-shares";

/// As many requests as that, all at once, of one client with these limits. `held`: none is answered before so many others
/// have been refused.
async fn crowd(count: u32, client: &str, held: Option<usize>) -> (Vec<Reply>, Served, Duration) {
    let config = format!(
        "{}\n[clients.crowd]\nkey = {{ env = \"KEY_CROWD\" }}\n{client}\n[defaults.health]\nprobe = \"none\"\n",
        crate::CONFIG.replace("\"a/tide\" = {}", "\"a/tide\" = { price = { input = 0, output = 1000 } }")
    );
    let served = Served::start(&config, &[("KEY_CROWD", KEY)]).await;
    if held.is_some() {
        served.vendor.holds("tide").await;
    }
    let address = served.gateway.address;
    let began = Instant::now();
    let mut requests = JoinSet::new();
    for _ in 0..count {
        let request = chat(&question("default")).header("authorization", &format!("Bearer {KEY}"));
        requests.spawn(async move { request.send(address).await });
    }
    let mut replies = Vec::new();
    while let Some(reply) = requests.join_next().await {
        replies.push(reply.expect("no panic"));
        if held == Some(replies.len()) {
            served.vendor.heal("tide").await;
        }
    }
    (replies, served, began.elapsed())
}

fn count(replies: &[Reply], status: u16) -> u64 {
    replies.iter().filter(|reply| reply.status == status).count() as u64
}

#[tokio::test(flavor = "multi_thread")]
async fn of_five_hundred_at_once_a_hundred_are_served() {
    let (replies, served, took) = crowd(500, "rpm = 100", None).await;
    let (let_in, refused) = (count(&replies, 200), count(&replies, 429));
    assert_eq!(let_in + refused, 500);
    // A hundred at once, and then one in six tenths of a second.
    let drained = u64::try_from(took.as_millis() / 600).expect("a short time");
    assert!((100..=100 + drained).contains(&let_in), "{let_in} in {took:?}");
    assert_eq!(served.vendor.count("tide").await, let_in, "the vendor has seen no other");
    for reply in replies.iter().filter(|reply| reply.status == 429) {
        assert_eq!(reply.json()["error"]["code"], "rate_limit_exceeded", "{reply}");
        assert!(!reply.header("retry-after").is_empty(), "{reply}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_hundred_at_once_ten_are_under_way() {
    let (replies, served, _) = crowd(100, "concurrency = 10", Some(90)).await;
    assert_eq!((count(&replies, 200), count(&replies, 429)), (10, 90));
    assert_eq!(served.vendor.count("tide").await, 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_holds_against_all_at_once() {
    // An answer is expected to be five hundred tokens, at a tenth of a cent each: ten dollars pay for twenty of those.
    let budget = "budget = { usd = 10.0, per = \"30d\" }";
    let (replies, served, _) = crowd(500, budget, Some(480)).await;
    let let_in = count(&replies, 200);
    assert_eq!((let_in, count(&replies, 429)), (20, 480));
    assert_eq!(served.vendor.count("tide").await, let_in);
    let cost = |reply: &Reply| reply.header("x-tidegate-cost").parse::<f64>().expect("what it cost");
    let spent: f64 = replies.iter().filter(|reply| reply.status == 200).map(cost).sum();
    assert!(spent > 0.0 && spent <= 10.0, "{spent}");
}
