//! What the ledger is told, and what it tells when nobody takes its lines.

use super::*;
use crate::ledger::Cause;
use crate::status::LedgerStatus;

fn with_ledger() -> Gateway {
    gateway_with(|document| document["store"] = json!({"kind": "memory", "lines_max": 100, "flush": "200ms"}))
}

fn spend(gateway: &mut Gateway, now: Timestamp, nth: u32, outcome: Outcome, usage: Option<Usage>) {
    let permit = admit(gateway, now, A_M).unwrap();
    let request_id = format!("tg-{nth}");
    let cause = Cause { request_id: &request_id, ..Cause::default() };
    gateway.settle_for(now, permit, &Settlement { usage, ..settlement(outcome) }, &cause);
}

const USAGE: Usage =
    Usage { input: 20, cached_input: 0, cache_write: 0, cache_write_1h: 0, output: 10, reasoning: 0, cost: None };

/// How many lines are said to be lost.
fn lost(gateway: &mut Gateway) -> Vec<u64> {
    let count = |notice| if let Notice::LinesLost { count } = notice { Some(count) } else { None };
    notices(gateway).into_iter().filter_map(count).collect()
}

#[test]
fn without_a_store_there_is_none() {
    let mut gateway = gateway();
    spend(&mut gateway, NOW, 1, Outcome::Success, Some(USAGE));
    assert_eq!(gateway.take_lines(NOW, 10), []);
    assert_eq!((gateway.lines_due(), gateway.poll_lines(NOW)), (None, None));
    assert!(gateway.status(NOW).ledger.is_none());
}

#[test]
fn lines_that_nobody_takes_are_told_of() {
    let mut gateway = with_ledger();
    for nth in 0..103 {
        spend(&mut gateway, NOW, nth, Outcome::Success, Some(USAGE));
    }
    assert_eq!(lost(&mut gateway), [1], "at once, and not once for each");
    let Some(LedgerStatus { waiting, lost: dropped }) = gateway.status(NOW).ledger else { panic!("there is a ledger") };
    assert_eq!((waiting, dropped), (100, 3));
    let taken = gateway.take_lines(at(1000), 1000);
    assert_eq!(taken.len(), 100);
    assert_eq!(lost(&mut gateway), [2]);
    assert!(lost(&mut gateway).is_empty());
}

#[test]
fn what_fails_costs_nothing_and_what_is_left_in_the_middle_nobody_knows() {
    let mut gateway = with_ledger();
    for (nth, outcome, usage) in
        [(1, Outcome::Success, Some(USAGE)), (2, DOWN, None), (3, Outcome::Neutral, None), (4, Outcome::Success, None)]
    {
        spend(&mut gateway, NOW, nth, outcome, usage);
    }
    let costs: Vec<_> = gateway.take_lines(NOW, 10).into_iter().map(|line| line.cost).collect();
    assert_eq!(costs, [Some(Picodollars(40_000_000)), Some(Picodollars(0)), None, None]);
    assert_eq!(gateway.spending(A_M), Spending { known: Picodollars(40_000_000), unpriced: 2 });
}

#[test]
fn a_stream_that_is_cut_after_its_first_token_cost_something_unknown() {
    let mut gateway = with_ledger();
    let permit = admit(&mut gateway, NOW, A_M).unwrap();
    let cut = Outcome::HardFailure(Failure::Cut);
    gateway.settle(NOW, permit, &Settlement { first_token: Some(Millis(50)), ..settlement(cut) });
    assert_eq!(gateway.take_lines(NOW, 1)[0].cost, None);
    assert_eq!(gateway.spending(A_M).unpriced, 1);
}

#[test]
fn reports_carry_lines_until_the_keeper_has_them() {
    let mut gateway = with_ledger();
    spend(&mut gateway, NOW, 1, Outcome::Success, Some(USAGE));
    let due_at = gateway.lines_due().unwrap();
    assert_eq!(due_at, at(200), "it waits for others");
    assert_eq!(gateway.poll_report(at(199)), None);
    let report = gateway.poll_report(due_at).unwrap();
    let until = report.lines_until().unwrap();
    assert_eq!((report.changes.len(), report.lines.unwrap().entries.len()), (0, 1));
    assert_eq!((gateway.poll_report(due_at), gateway.poll_last_report(due_at)), (None, None), "an answer is awaited");

    spend(&mut gateway, due_at, 2, Outcome::Success, Some(USAGE));
    let asked = gateway.poll_lines(due_at).unwrap().lines.unwrap();
    assert_eq!(asked.entries.len(), 2, "whoever asks the ledger is to find all of them there");
    gateway.lines_kept(until);
    gateway.lines_kept(asked.until);
    assert_eq!((gateway.lines_due(), gateway.poll_lines(due_at)), (None, None));

    spend(&mut gateway, due_at, 3, Outcome::Success, Some(USAGE));
    let last = gateway.poll_last_report(due_at).expect("nobody is going to come back for it");
    assert_eq!(last.lines.unwrap().entries.len(), 1);
}
