//! Targets with a limit on what is under way: who goes elsewhere, who waits, and who is turned away.

use super::*;
use crate::concurrency::Load;

/// `a/m` bears one attempt at once and answers in a second; so many may wait for it.
fn narrow(queue: u32) -> World {
    let mut world = world_with(|document| {
        document["models"]["a/m"]["concurrency"] = json!({"start": 1, "min": 1, "max": 1, "queue": queue});
    });
    world.usually("a/m", Script::answer(1000));
    world
}

fn ask_urgently(world: &mut World, model: &str, priority: u32) -> RequestId {
    let body = json!({"model": model, "messages": [], "tidegate": {"priority": priority}});
    world.ask(Surface::Chat, body.to_string())
}

/// The order in which requests were sent to a target.
fn sent(world: &World, target: &str) -> Vec<usize> {
    let end = format!(" send {target}");
    let story = world.story();
    let lines = story.iter().filter_map(|line| line.strip_suffix(&end));
    lines.map(|line| line.split_once('#').unwrap().1.parse().unwrap()).collect()
}

fn load_of(world: &World, target: usize) -> Load {
    let now = world.now();
    world.gateway().load(now, TargetId(target)).unwrap()
}

fn load(world: &World, target: usize) -> (u64, u64) {
    let load = load_of(world, target);
    (load.in_flight, load.waiting)
}

fn status(world: &World, id: RequestId) -> u16 {
    world.answer(id).status.map_or(0, |status| status.as_u16())
}

#[test]
fn what_is_beyond_the_limit_goes_to_the_next_target_at_once() {
    let mut world = narrow(100);
    ask(&mut world, "chain");
    ask(&mut world, "chain");
    world.run();
    assert_eq!((sent(&world, "a/m"), sent(&world, "b/m")), (vec![0], vec![1]));
    assert_eq!(world.story()[2], "50 #1 reply 200 b/m attempts=1", "it has not waited, and there was no failure");
    assert_eq!(load(&world, 0), (0, 0));
    assert_settled(&world);
}

#[test]
fn where_there_is_no_other_it_waits_and_that_is_no_retry() {
    let mut world = world_with(|document| {
        document["models"]["a/m"]["concurrency"] = json!({"start": 1, "min": 1, "max": 1});
        document["defaults"]["retry"]["share"] = json!(0);
        document["defaults"]["retry"]["attempts"] = json!(1);
    });
    world.usually("a/m", Script::answer(1000));
    for _ in 0..8 {
        ask(&mut world, "a/m");
    }
    world.run_for(Millis(500));
    assert_eq!(load(&world, 0), (1, 7));
    world.run();
    assert_eq!(sent(&world, "a/m"), [0, 1, 2, 3, 4, 5, 6, 7], "the oldest first");
    assert!((0..8).all(|id| status(&world, RequestId(id)) == 200));
    let took = world.now().since(crate::sim::BEGINNING);
    assert!(took < Millis(8800), "a slot that is free is soon taken: {took}");
    assert_settled(&world);
}

#[test]
fn the_most_urgent_goes_first() {
    let mut world = narrow(100);
    for priority in [3, 5, 3, 1, 4] {
        ask_urgently(&mut world, "a/m", priority);
    }
    world.run();
    assert_eq!(sent(&world, "a/m"), [0, 3, 2, 4, 1]);
}

#[test]
fn a_full_queue_turns_away_whoever_is_least_urgent() {
    let mut world = narrow(1);
    ask(&mut world, "a/m");
    let (waiting, late) = (ask_urgently(&mut world, "a/m", 4), ask_urgently(&mut world, "a/m", 4));
    let refused = world.answer(late);
    assert_eq!((status(&world, late), refused.header("retry-after")), (503, "2"));
    assert_eq!(refused.json()["error"]["code"], "overloaded");
    let urgent = ask_urgently(&mut world, "a/m", 1);
    world.run();
    assert_eq!((status(&world, waiting), status(&world, urgent)), (503, 200));
    assert_eq!(sent(&world, "a/m"), [0, 3]);
    assert_settled(&world);
}

#[test]
fn nobody_waits_beyond_its_deadline() {
    let mut world = narrow(100);
    world.usually("a/m", Script::answer(20_000));
    world.script("a/m", [Script::hang()]);
    let ids: Vec<_> = (0..5).map(|_| ask(&mut world, "a/m")).collect();
    world.run();
    assert!(ids.iter().all(|id| world.is_over(*id)));
    assert!(world.now().since(crate::sim::BEGINNING) <= seconds(10));
    assert_eq!(load(&world, 0), (0, 0));
    assert_settled(&world);
}

#[test]
fn who_leaves_while_waiting_makes_room() {
    for goodbye in [World::leave, World::hang_up] {
        let mut world = narrow(1);
        ask(&mut world, "a/m");
        let waiting = ask(&mut world, "a/m");
        world.run_for(Millis(100));
        assert_eq!(load(&world, 0), (1, 1));
        goodbye(&mut world, waiting);
        assert_eq!(load(&world, 0), (1, 0));
        let next = ask(&mut world, "a/m");
        world.run();
        assert_eq!(status(&world, next), 200);
    }
}

#[test]
fn who_waits_takes_what_comes_free_first_and_asks_nobody_twice() {
    let mut world = narrow(100);
    // `b/m` fails whoever asks it: whoever waits for `a/m` has asked it once and does not again.
    world.usually("b/m", Script::status(503));
    ask(&mut world, "chain");
    let waiting = ask(&mut world, "chain");
    world.run();
    assert_eq!(status(&world, waiting), 200);
    assert_eq!((sent(&world, "b/m"), sent(&world, "a/m")), (vec![1], vec![0, 1]));
}

#[test]
fn refusals_shrink_the_limit_and_the_rest_goes_on() {
    let mut world = world_with(|document| {
        document["models"]["a/m"]["concurrency"] = json!({"start": 10, "decrease_to": 0.5});
    });
    world.script("a/m", [Script::status(429)]);
    ask(&mut world, "a/m");
    world.run();
    assert_eq!(load_of(&world, 0).limit, 5);
    assert!(world.story().contains(&"10 throttle a/m A1 100".to_owned()), "{:?}", world.story());
}

#[test]
fn what_the_vendor_says_is_left_is_heeded() {
    let mut world = world_with(|document| document["models"]["a/m"]["concurrency"] = json!({}));
    let answer = Script::body(200, r#"{"choices":[{"message":{"content":"yes"},"finish_reason":"stop"}]}"#);
    let answer =
        answer.with_header("x-ratelimit-remaining-requests", "2").with_header("x-ratelimit-reset-requests", "1m");
    world.script("a/m", [answer]);
    ask(&mut world, "a/m");
    world.run();
    assert_eq!(load_of(&world, 0).limit, 2);
}

#[test]
fn a_priority_beyond_five_is_refused() {
    let mut world = world();
    let id = ask_urgently(&mut world, "a/m", 6);
    assert_eq!(status(&world, id), 400);
}
