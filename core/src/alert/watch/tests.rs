//! A watch by itself: its thresholds one by one, and then all of them against a recount of what has happened.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const NOW: Timestamp = Timestamp(1_000_000);
const TARGET: Place = Place::Target(TargetId(0));

fn config(alerts: &str) -> Config {
    let text = format!(
        r#"
vendors.v = {{ dialect = "openai", base_url = "https://v.test" }}
models."v/m" = {{}}
models."v/n" = {{}}
routes.r.models = ["v/m", "v/n"]
[alerts]
window = "10s"
min_requests = 20
clear_after = "5s"
{alerts}
"#
    );
    Config::from_toml(&text, "t", &|_| None).unwrap_or_else(|errors| panic!("{errors}"))
}

/// Alerts, and the time.
struct Watching {
    config: Config,
    alerts: Alerts,
    now: Timestamp,
}

impl Watching {
    fn new(alerts: &str) -> Self {
        let config = config(alerts);
        let alerts = Alerts::new(&config, config.alerts.as_ref().unwrap());
        Self { config, alerts, now: NOW }
    }

    fn note(&mut self, verdict: Verdict, took: Option<Took>) -> Vec<String> {
        self.note_at(TARGET, Sample { verdict, took })
    }

    fn note_at(&mut self, place: Place, sample: Sample) -> Vec<String> {
        let raised = self.alerts.note(self.now, &self.config, place, sample);
        raised.iter().map(|entry| entry.alert.to_string()).collect()
    }

    /// So many of them, at this moment: all that was raised.
    fn notes(&mut self, count: u32, verdict: Verdict) -> Vec<String> {
        (0..count).flat_map(|_| self.note(verdict, None)).collect()
    }

    fn answers(&mut self, count: u32, ms: u64, is_stream: bool) -> Vec<String> {
        let took = Some(Took { is_stream, length: Millis(ms), at_least: false });
        (0..count).flat_map(|_| self.note(Verdict::Success, took)).collect()
    }

    /// What is cleared after this long.
    fn after(&mut self, length: u64) -> usize {
        self.now = self.now + Millis(length);
        self.alerts.clear(self.now, |_| false).len()
    }
}

#[test]
fn failures_in_a_row_are_raised_at_their_number_and_once() {
    let mut watching = Watching::new("failures = 3");
    assert_eq!(watching.notes(2, Verdict::Failure), [""; 0]);
    assert_eq!(watching.notes(1, Verdict::Success), [""; 0]);
    assert_eq!(watching.notes(2, Verdict::Failure), [""; 0], "a success begins anew");
    assert_eq!(watching.notes(1, Verdict::RateLimited), [""; 0], "who says \"not now\" is alive");
    assert_eq!(watching.notes(1, Verdict::Failure), ["target v/m: 3 failures in a row"]);
    assert_eq!(watching.notes(100, Verdict::Failure), [""; 0], "once");
}

#[test]
fn a_share_is_raised_above_its_threshold_and_not_of_too_few() {
    let mut watching = Watching::new("error_rate = 0.05");
    assert_eq!(watching.notes(19, Verdict::Failure), [""; 0], "too few");
    assert_eq!(watching.notes(1, Verdict::Success), ["target v/m: 19 of 20 failed, more than 5.0 %"]);
    let mut watching = Watching::new("error_rate = 0.05");
    assert_eq!(watching.notes(95, Verdict::Success), [""; 0]);
    assert_eq!(watching.notes(5, Verdict::RateLimited), [""; 0], "5 % is not more than 5 %");
    assert_eq!(watching.notes(50, Verdict::Neutral), [""; 0], "what says nothing counts on no side");
    assert_eq!(watching.notes(1, Verdict::Failure), ["target v/m: 6 of 101 failed, more than 5.0 %"]);
}

#[test]
fn a_latency_is_its_95th_percentile() {
    let mut watching = Watching::new("first_token = \"5s\"\nanswer = \"20s\"");
    assert_eq!(watching.answers(1000, 5000, true), [""; 0], "as long as the limit is not longer");
    assert_eq!(watching.answers(52, 5001, true), [""; 0]);
    assert_eq!(watching.answers(1, 5001, true), ["target v/m: 53 of 1053 first tokens took longer than 5s"]);
    assert_eq!(watching.answers(20, 19_000, false), [""; 0], "an answer in whole has a limit of its own");
    assert_eq!(watching.answers(2, 21_000, false), ["target v/m: 2 of 22 answers took longer than 20s"]);
}

#[test]
fn what_was_given_up_counts_once_it_is_known_to_be_slow() {
    let settlement = |outcome, stream, first_token: Option<u64>, took| Settlement {
        stream,
        first_token: first_token.map(Millis),
        ..Settlement::new(outcome, Millis(took))
    };
    let raised = |settlement: Settlement, is_probe| {
        let mut watching = Watching::new("first_token = \"5s\"\nanswer = \"5s\"");
        (0..20).flat_map(|_| watching.note_at(TARGET, Sample::of_attempt(&settlement, is_probe))).count()
    };
    for (settlement, expected) in [
        (settlement(Outcome::Neutral, true, None, 5001), 1),
        (settlement(Outcome::Neutral, true, None, 5000), 0),
        (settlement(Outcome::Neutral, false, None, 5001), 1),
        (settlement(Outcome::Neutral, true, Some(100), 9000), 0),
        (settlement(Outcome::Neutral, true, Some(6000), 9000), 1),
        (settlement(Outcome::Success, true, Some(100), 9000), 0),
        (settlement(Outcome::Success, false, None, 9000), 1),
        (settlement(Outcome::CallerFault, false, None, 9000), 0),
        (settlement(Outcome::Silent, true, None, 9000), 0),
    ] {
        assert_eq!(raised(settlement, false), expected, "{settlement:?}");
        assert_eq!(raised(settlement, true), 0, "of a probe");
    }
}

#[test]
fn it_is_cleared_when_it_has_been_over_for_long_enough() {
    let mut watching = Watching::new("failures = 3");
    watching.notes(3, Verdict::Failure);
    assert_eq!(watching.after(4000), 0);
    assert_eq!(watching.notes(1, Verdict::Failure), [""; 0]);
    assert_eq!(watching.after(4999), 0, "it has gone on");
    watching.notes(1, Verdict::Success);
    assert_eq!(watching.after(1), 1);
    assert_eq!((watching.alerts.due_at(), watching.alerts.open().count()), (None, 0));
    assert_eq!(watching.notes(3, Verdict::Failure).len(), 1, "and is raised anew");
}

#[test]
fn a_share_is_over_when_its_window_has_forgotten_it() {
    let mut watching = Watching::new("error_rate = 0.5");
    assert_eq!(watching.notes(20, Verdict::Failure).len(), 1);
    for _ in 0..9 {
        assert_eq!(watching.after(1000), 0);
        watching.notes(2, Verdict::Success);
    }
    assert_eq!(watching.after(4999), 0);
    assert_eq!(watching.after(1), 1, "5 s after the last request that met a window above the threshold");
}

#[test]
fn quiet_is_not_well_while_the_target_is_known_to_be_down() {
    let mut watching = Watching::new("failures = 1");
    watching.notes(1, Verdict::Failure);
    watching.note_at(Place::Route(RouteId(0)), Sample::of_request(false));
    let later = NOW + Millis(5000);
    let cleared = watching.alerts.clear(later, |id| id == TargetId(0));
    assert_eq!(cleared.iter().map(|entry| entry.alert.subject.parts()).collect::<Vec<_>>(), [("route", "r")]);
    assert_eq!(watching.alerts.due_at(), Some(later + Millis(5000)));
    assert_eq!(watching.alerts.clear(later + Millis(5000), |_| false).len(), 1);
}

#[test]
fn what_is_over_is_remembered_up_to_a_bound() {
    let mut watching = Watching::new("failures = 1");
    for _ in 0..200 {
        assert_eq!(watching.notes(1, Verdict::Failure).len(), 1);
        assert_eq!(watching.after(5000), 1);
    }
    assert_eq!(watching.alerts.over().count(), OVER_MAX);
    assert_eq!(watching.alerts.over().last().unwrap().cleared_at, Some(watching.now));
}

/// One thing that happens: who it is about, what, how long it took, and how long after the one before.
type Step = (usize, Verdict, u64, u64);

fn step() -> impl Strategy<Value = Step> {
    let verdict = prop_oneof![
        4 => Just(Verdict::Success), 4 => Just(Verdict::Failure), 1 => Just(Verdict::RateLimited), 1 => Just(Verdict::Neutral)
    ];
    let pause = prop_oneof![20 => 0..300_u64, 1 => 0..12_000_u64];
    (0..3_usize, verdict, 4990..5010_u64, pause)
}

/// What a watch goes by, counted anew from all that has happened.
fn is_above(kind: Kind, past: &[(Timestamp, Verdict, u64)], now: Timestamp) -> bool {
    // A bucket is a second, and the present one and the nine before it count.
    let recent: Vec<_> = past.iter().filter(|(at, ..)| now.0 / 1000 - at.0 / 1000 < 10).collect();
    let share = |is: &dyn Fn(Verdict, u64) -> Option<bool>| {
        let told: Vec<bool> = recent.iter().filter_map(|(_, verdict, took)| is(*verdict, *took)).collect();
        (told.iter().filter(|bad| **bad).count(), told.len())
    };
    match kind {
        Kind::Failures => {
            let told =
                past.iter().rev().filter(|(_, verdict, _)| matches!(verdict, Verdict::Success | Verdict::Failure));
            told.take_while(|(_, verdict, _)| *verdict == Verdict::Failure).count() >= 3
        }
        Kind::ErrorRate => {
            let failed = |verdict, _| match verdict {
                Verdict::Neutral => None,
                verdict => Some(verdict != Verdict::Success),
            };
            let (failed, of) = share(&failed);
            of >= 20 && failed * 2 > of
        }
        _ => {
            let (slow, of) = share(&|verdict, took| (verdict == Verdict::Success).then_some(took > 5000));
            of >= 20 && slow * 20 > of
        }
    }
}

proptest! {
    #[test]
    fn raised_and_cleared_alternate_and_nothing_is_raised_below_its_threshold(steps in prop::collection::vec(step(), 1..400)) {
        let mut watching = Watching::new("failures = 3\nerror_rate = 0.5\nanswer = \"5s\"");
        let places = [TARGET, Place::Target(TargetId(1)), Place::Route(RouteId(0))];
        let mut pasts = [const { Vec::new() }; 3];
        let mut raised_at = BTreeMap::new();
        let mut last_above = BTreeMap::new();
        for (nth, verdict, ms, pause) in steps {
            watching.now = watching.now + Millis(pause);
            let now = watching.now;
            for entry in watching.alerts.clear(now, |_| false) {
                let key = (entry.alert.subject.clone(), entry.alert.cause.kind());
                prop_assert!(raised_at.remove(&key).is_some(), "cleared what was not raised: {entry:?}");
                let quiet = now.since(last_above[&key]);
                prop_assert!(quiet >= Millis(5000), "{entry:?} cleared after {quiet}");
            }
            pasts[nth].push((now, verdict, ms));
            let took = (verdict == Verdict::Success).then_some(Took { is_stream: false, length: Millis(ms), at_least: false });
            let raised = watching.alerts.note(now, &watching.config, places[nth], Sample { verdict, took });
            let mut expected = Vec::new();
            for kind in [Kind::Answer, Kind::ErrorRate, Kind::Failures] {
                // A row of failures goes on with the next failure; shares are looked at whatever comes.
                let is_news = kind != Kind::Failures || verdict == Verdict::Failure;
                if is_news && is_above(kind, &pasts[nth], now) {
                    let key = (places[nth].subject(&watching.config), kind);
                    last_above.insert(key.clone(), now);
                    if raised_at.insert(key, now).is_none() {
                        expected.push(kind);
                    }
                }
            }
            let kinds: Vec<_> = raised.iter().map(|entry| entry.alert.cause.kind()).collect();
            prop_assert_eq!(kinds, expected);
            prop_assert!(watching.alerts.open().all(|(_, clear_at)| clear_at > now));
        }
    }
}
