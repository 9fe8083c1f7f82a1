//! Whatever happens in whichever order: nothing accepted is lost, no job has two results, no bound is passed, and no client
//! is kept waiting by another.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

const CLIENTS: [&str; 3] = ["one", "three", "two"];

#[derive(Debug, Clone)]
enum Step {
    Submit { client: usize, key: Option<u8> },
    Begin,
    Finish { nth: usize, how: u8 },
    Pass { ms: u64 },
    Delete { nth: usize },
    Crash,
    Break(bool),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0..3_usize, prop::option::of(0..4_u8)).prop_map(|(client, key)| Step::Submit { client, key }),
        6 => Just(Step::Begin),
        6 => (0..4_usize, 0..6_u8).prop_map(|(nth, how)| Step::Finish { nth, how }),
        3 => (0..40_000_u64).prop_map(|ms| Step::Pass { ms }),
        1 => (0..20_usize).prop_map(|nth| Step::Delete { nth }),
        1 => Just(Step::Crash),
        1 => any::<bool>().prop_map(Step::Break),
    ];
    prop::collection::vec(step, 1..120)
}

/// What a client may rely on.
#[derive(Default)]
struct Ledger {
    /// Jobs that were accepted and not deleted, with their clients, in the order in which they came.
    accepted: Vec<(String, usize)>,
    running: BTreeSet<String>,
    results: BTreeMap<String, Value>,
    /// How many jobs of others were begun since this client had one ready and was not served.
    passed_over: [u32; 3],
}

struct Run {
    setting: Setting,
    ledger: Ledger,
    now: Timestamp,
    broken: bool,
    answers: u64,
}

impl Run {
    fn take(&mut self, step: &Step) {
        match *step {
            Step::Submit { client, key } => {
                let mut submission = submission(CLIENTS[client]);
                submission.idempotency_key = key.map(|key| key.to_string());
                if let Ok(Ticket { id, .. }) = self.setting.queue.submit(self.now, &submission) {
                    let known = self.ledger.accepted.iter().any(|(known, _)| *known == id);
                    assert!(!self.broken || known, "a broken disk has stored it");
                    if !known {
                        self.ledger.accepted.push((id, client));
                    }
                }
            }
            Step::Begin => self.begin(),
            Step::Finish { nth, how } => {
                let Some(id) = self.ledger.running.iter().nth(nth).cloned() else { return };
                self.ledger.running.remove(&id);
                self.answers += 1;
                let reply = match how {
                    0..=2 => answer(&self.answers.to_string()),
                    3 => unserved(1),
                    4 => unserved(0),
                    _ => refused(),
                };
                self.setting.queue.finish(self.now, &id, &reply);
            }
            Step::Pass { ms } => {
                self.now = self.now + Millis(ms);
                self.setting.queue.handle_timeout(self.now);
            }
            Step::Delete { nth } => {
                let Some((id, client)) = self.ledger.accepted.get(nth).cloned() else { return };
                let (status, ..) = self.setting.ask(self.now, CLIENTS[client], &id, Wish::Delete);
                if status == 200 {
                    self.ledger.accepted.remove(nth);
                    self.ledger.running.remove(&id);
                    self.ledger.results.remove(&id);
                }
            }
            Step::Crash if !self.broken => {
                self.setting.restart(self.now);
                self.ledger.running.clear();
                // Whose turn it was is not stored.
                self.ledger.passed_over = [0; 3];
            }
            Step::Crash => {}
            Step::Break(broken) => {
                self.broken = broken;
                self.setting.disk.breaks(broken);
            }
        }
    }

    fn begin(&mut self) {
        self.setting.queue.handle_timeout(self.now);
        let ready: Vec<String> = self.setting.queue.index.in_turn().map(|job| job.id.clone()).collect();
        let Some(id) = self.setting.queue.pick(self.now, &self.setting.gateway) else { return };
        if self.setting.queue.start(self.now, &id).is_none() {
            assert!(self.broken, "what was stored can be read");
            return;
        }
        assert!(self.ledger.running.insert(id.clone()), "a job is begun once at a time");
        let of = |id: &String| self.ledger.accepted.iter().position(|(known, _)| known == id).unwrap();
        let client = self.ledger.accepted[of(&id)].1;
        let older = |other: &&String| self.ledger.accepted[of(other)].1 == client && of(other) < of(&id);
        assert_eq!(ready.iter().find(older), None, "the oldest of a client comes first");
        for (other, passed) in self.ledger.passed_over.iter_mut().enumerate() {
            let waits = ready
                .iter()
                .any(|id| self.ledger.accepted.iter().any(|(known, client)| known == id && *client == other));
            *passed = if other == client || !waits { 0 } else { *passed + 1 };
            assert!(*passed < 3, "{} waits while others are served again", CLIENTS[other]);
        }
    }

    fn check(&mut self) {
        let queue = &self.setting.queue;
        assert!(queue.index.len() <= 6 && self.ledger.running.len() <= 2);
        for client in CLIENTS {
            assert!(queue.index.count_of(&Some(client.to_owned())) <= 4);
        }
        if self.broken {
            return;
        }
        for (id, client) in self.ledger.accepted.clone() {
            let (status, told, _) = self.setting.ask(self.now, CLIENTS[client], &id, Wish::Look);
            assert_eq!(status, 200, "an accepted job is lost");
            assert_eq!(told["status"] == "running", self.ledger.running.contains(&id), "{told}");
            if told["status"] == "done" {
                let before = self.ledger.results.entry(id).or_insert_with(|| told["reply"].clone());
                assert_eq!(*before, told["reply"], "a job has one result");
            }
        }
    }
}

proptest! {
    #[test]
    fn nothing_accepted_is_lost(steps in steps()) {
        let queue = json!({"jobs_max": 6, "client_jobs_max": 4, "at_once": 2, "attempts": 5, "base": "1s", "max": "20s",
                           "expiry": "1d", "keep": "30d"});
        let mut run = Run {
            setting: Setting::new(&queue), ledger: Ledger::default(), now: NOW, broken: false, answers: 0,
        };
        for step in &steps {
            run.take(step);
            run.check();
        }
        // In the end all of them come to theirs, with nobody left waiting.
        run.take(&Step::Break(false));
        for _ in 0..200 {
            run.take(&Step::Pass { ms: 20_000 });
            run.take(&Step::Begin);
            run.take(&Step::Finish { nth: 0, how: 0 });
            run.check();
        }
        for (id, client) in run.ledger.accepted.clone() {
            let told = run.setting.ask(run.now, CLIENTS[client], &id, Wish::Look).1;
            prop_assert!(told["status"] == "done" || told["status"] == "failed", "{}", told);
        }
    }

    /// The agenda never says less than there is to do, nor spins.
    #[test]
    fn whoever_calls_when_told_misses_nothing(steps in steps()) {
        let queue = json!({"jobs_max": 6, "attempts": 3, "base": "1s", "max": "20s", "expiry": "40s", "keep": "20s"});
        let mut run = Run {
            setting: Setting::new(&queue), ledger: Ledger::default(), now: NOW, broken: false, answers: 0,
        };
        for step in steps.iter().filter(|step| matches!(step, Step::Submit { .. } | Step::Begin | Step::Finish { .. })) {
            match step {
                Step::Begin => drop(run.setting.begin(run.now)),
                Step::Finish { how, .. } => {
                    let running = run.setting.queue.index.in_turn().next().map(|job| job.id.clone());
                    if let Some(id) = running.filter(|id| run.setting.queue.start(run.now, id).is_some()) {
                        let reply = if *how < 3 { answer("") } else { unserved(1) };
                        run.setting.queue.finish(run.now, &id, &reply);
                    }
                }
                step => run.take(step),
            }
        }
        run.setting.restart(run.now);
        let mut calls = 0;
        while let Some(at) = run.setting.queue.poll_timeout() {
            calls += 1;
            prop_assert!(calls < 200, "it spins");
            run.now = run.now.max(at);
            while let Some(id) = run.setting.begin(run.now) {
                run.setting.queue.finish(run.now, &id, &answer(""));
            }
            if let Some(next) = run.setting.queue.poll_timeout() {
                prop_assert!(next > run.now, "{next:?} was due");
            }
        }
        prop_assert_eq!(run.setting.disk.len(), 0, "everything comes to its end and is forgotten");
    }
}
