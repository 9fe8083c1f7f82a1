//! Alerts that several gateways raise as one through the keeper: each judges by what it has seen itself, and one of them
//! posts what the keeper finds that they come to.
//!
//! A gateway that cannot reach its keeper logs its alerts as ever, and has them posted once it can again. One whose lease
//! on posting has run out posts nothing more: by then another has been given the same.

use super::{Alerting, Gateway};
use crate::alert::{Alerts, Entry, Outbox};
use crate::keeper::{Aged, Held, Standing, Told};
use crate::time::Timestamp;

/// What a gateway knows of the others' alerts.
#[derive(Debug, Default)]
pub(super) struct Sharing {
    /// Whether anything has changed that the keeper is to hear of at once.
    is_news: bool,
    /// How all gateways' alerts stood when that was last heard: those that are open, and those that are over.
    heard: Option<(Vec<Entry>, Vec<Entry>)>,
    /// The number after the last that was taken over from the keeper to be posted.
    taken: u64,
    /// The number after the last that is posted, or given up.
    posted: u64,
    /// Until when this gateway may post what it has taken over.
    may_post_until: Timestamp,
}

impl Sharing {
    pub(super) fn note_news(&mut self) {
        self.is_news = true;
    }

    /// Those that are open with any gateway, and the latest that are over; `None`: nothing has been heard.
    pub(super) fn heard(&self) -> Option<(Vec<&Entry>, Vec<&Entry>)> {
        self.heard.as_ref().map(|(open, over)| (open.iter().collect(), over.iter().collect()))
    }

    /// Lets go of what may not be posted here any more.
    pub(super) fn mind_lease(&mut self, now: Timestamp, outbox: &mut Outbox) {
        if self.taken != self.posted && now >= self.may_post_until {
            outbox.clear();
            self.taken = self.posted;
        }
    }

    /// Takes in how all gateways' alerts stand, and what of it is to be posted here.
    fn hear(&mut self, now: Timestamp, told: &Told, outbox: Option<&mut Outbox>) {
        let entries = |aged: &[Aged]| aged.iter().map(|aged| aged.entry(now)).collect();
        self.heard = Some((entries(&told.open), entries(&told.over)));
        if told.post.is_empty() {
            return;
        }
        self.may_post_until = now + told.lease_ms;
        let new = usize::try_from(told.until.saturating_sub(self.taken)).unwrap_or(usize::MAX);
        let news = &told.post[told.post.len().saturating_sub(new)..];
        self.taken = self.taken.max(told.until);
        // Where there is no webhook, nobody waits for them.
        if let Some(outbox) = outbox {
            for aged in news {
                outbox.push(aged.entry(now));
            }
        }
    }

    /// What the keeper is to be told, if it is to be told now.
    fn standing(&mut self, now: Timestamp, is_due: bool, alerts: &Alerts, outbox: Option<&Outbox>) -> Option<Standing> {
        // All that waits here has been taken over, and goes in its turn.
        let pending = outbox.map_or(0, |outbox| outbox.counts().0 as u64);
        self.is_news |= self.posted != self.taken - pending;
        self.posted = self.taken - pending;
        if !is_due && !self.is_news {
            return None;
        }
        self.is_news = false;
        let open = alerts
            .open()
            .map(|(entry, clear_at)| Held { alert: entry.alert.clone(), remaining_ms: now.until(clear_at) });
        Some(Standing { open: open.collect(), posted: self.posted })
    }
}

impl Gateway {
    pub(in crate::gateway) fn share_alerts(&mut self) {
        if let Some(alerting) = &mut self.alerting {
            alerting.sharing = Some(Sharing::default());
        }
    }

    /// What the keeper is to be told of alerts, if it is to be told now; it is asked for the others' at the same time.
    pub(in crate::gateway) fn due_alerts(&mut self, now: Timestamp, is_due: bool) -> Option<Standing> {
        let Alerting { alerts, outbox, sharing } = self.alerting.as_deref_mut()?;
        let standing = sharing.as_mut()?.standing(now, is_due, alerts, outbox.as_ref())?;
        self.hear_again(now);
        Some(standing)
    }

    pub(in crate::gateway) fn hear_alerts(&mut self, now: Timestamp, told: Option<&Told>) {
        let Some(Alerting { outbox, sharing: Some(sharing), .. }) = self.alerting.as_deref_mut() else { return };
        match told {
            Some(told) => sharing.hear(now, told, outbox.as_mut()),
            None => sharing.hear(now, &Told::default(), None),
        }
    }
}

#[cfg(all(test, feature = "toml"))]
mod tests {
    use std::sync::Arc;

    use http::StatusCode;
    use proptest::prelude::*;

    use super::*;
    use crate::alert::Message;
    use crate::breaker::Verdict;
    use crate::config::{Config, TargetId};
    use crate::gateway::alerting::{Place, Sample};
    use crate::keeper::Keeper;
    use crate::time::Millis;

    const NOW: Timestamp = Timestamp(1_000_000);

    /// Gateways of one deployment, and their keeper.
    struct Region {
        gateways: Vec<Gateway>,
        keeper: Keeper,
        now: Timestamp,
        /// What the webhook has been told, and by whom.
        posted: Vec<(usize, String)>,
    }

    impl Region {
        fn new(count: u64) -> Self {
            let text = r#"
vendors.v = { dialect = "openai", base_url = "https://v.test" }
models."v/m" = {}
[alerts]
failures = 3
clear_after = "30s"
webhook = { env = "HOOK" }
"#;
            let config = Config::from_toml(text, "t", &|_| Some("https://hooks.test/token".into())).unwrap();
            let config = Arc::new(config);
            let gateways = (0..count).map(|seed| {
                let mut gateway = Gateway::new(Arc::clone(&config), seed, NOW);
                gateway.share();
                gateway
            });
            Self { gateways: gateways.collect(), keeper: Keeper::default(), now: NOW, posted: Vec::new() }
        }

        fn attempt(&mut self, nth: usize, verdict: Verdict) {
            let sample = Sample { verdict, took: None };
            self.gateways[nth].watch(self.now, Place::Target(TargetId(0)), sample);
        }

        /// What the adapter does after each step, its words to and from the keeper lost or not.
        fn report(&mut self, nth: usize, arrives: bool, comes_back: bool) {
            let (gateway, now) = (&mut self.gateways[nth], self.now);
            gateway.handle_timeout(now);
            let Some(report) = gateway.poll_report(now).filter(|_| arrives) else { return };
            self.keeper.handle_report(now, &report);
            if comes_back {
                gateway.handle_view(now, &self.keeper.view_for(now, Some(report.reporter)));
            }
        }

        /// Posts what is to be posted; says whether there was anything.
        fn post(&mut self, nth: usize, status: Option<StatusCode>) -> bool {
            let gateway = &mut self.gateways[nth];
            gateway.handle_timeout(self.now);
            let Some(Message { id, body, .. }) = gateway.poll_message() else { return false };
            if status.is_some() {
                let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
                let told = body["alerts"].as_array().unwrap().iter().map(|alert| alert["state"].as_str().unwrap());
                self.posted.extend(told.map(|state| (nth, state.to_owned())));
            }
            gateway.handle_message(self.now, id, status);
            true
        }

        /// All that there is to tell and to post, for so long.
        fn settle(&mut self, length: u64) {
            for _ in 0..length / 1000 {
                self.now = self.now + Millis(1000);
                for nth in 0..self.gateways.len() {
                    self.report(nth, true, true);
                    self.post(nth, Some(StatusCode::OK));
                }
            }
        }

        fn states(&self) -> Vec<&str> {
            self.posted.iter().map(|(_, state)| state.as_str()).collect()
        }
    }

    #[test]
    fn several_gateways_with_one_trouble_post_it_once() {
        let mut region = Region::new(3);
        for nth in 0..3 {
            (0..3).for_each(|_| region.attempt(nth, Verdict::Failure));
        }
        region.settle(10_000);
        assert_eq!(region.posted, [(0, "raised".to_owned())]);
        let shown: Vec<_> = region.gateways.iter().map(|gateway| gateway.shown_alerts().0.len()).collect();
        assert_eq!(shown, [1, 1, 1]);
        region.attempt(2, Verdict::Failure);
        region.settle(25_000);
        assert_eq!(region.states(), ["raised"], "one of them still has it open");
        region.settle(10_000);
        assert_eq!(region.states(), ["raised", "cleared"]);
        assert_eq!(region.gateways[1].shown_alerts().1.len(), 1, "and those that had no part in it know");
    }

    #[test]
    fn another_posts_what_the_one_that_was_to_cannot() {
        let mut region = Region::new(2);
        (0..3).for_each(|_| region.attempt(0, Verdict::Failure));
        region.report(0, true, true);
        for _ in 0..130 {
            region.now = region.now + Millis(1000);
            region.report(1, true, true);
            region.post(1, Some(StatusCode::OK));
        }
        assert_eq!(region.posted, [(1, "raised".to_owned()), (1, "cleared".to_owned())], "the first had fallen silent");
        assert!(!region.post(0, Some(StatusCode::OK)), "and does not say it again when it comes back");
    }

    #[test]
    fn a_keeper_that_has_lost_all_is_posted_for_as_before() {
        let mut region = Region::new(1);
        (0..3).for_each(|_| region.attempt(0, Verdict::Failure));
        region.settle(60_000);
        region.keeper = Keeper::default();
        (0..3).for_each(|_| region.attempt(0, Verdict::Failure));
        region.settle(3000);
        assert_eq!(region.states(), ["raised", "cleared", "raised"]);
    }

    #[test]
    fn a_gateway_without_its_keeper_has_it_posted_later() {
        let mut region = Region::new(1);
        (0..3).for_each(|_| region.attempt(0, Verdict::Failure));
        region.report(0, false, false);
        assert!(!region.post(0, Some(StatusCode::OK)));
        assert_eq!(region.gateways[0].shown_alerts().0.len(), 1, "it is shown at once");
        region.settle(3000);
        assert_eq!(region.states(), ["raised"]);
    }

    proptest! {
        /// Whatever is lost between them, and whoever falls silent: all is told in the end. Where nothing is lost, it is told in
        /// turn, and each thing once.
        #[test]
        fn all_is_told_in_the_end(steps in prop::collection::vec((0..3_usize, 0..6_u8, 0..4000_u64), 1..100), is_lossy: bool) {
            let mut region = Region::new(3);
            for (nth, what, pause) in steps {
                region.now = region.now + Millis(pause);
                match what {
                    0 => (0..3).for_each(|_| region.attempt(nth, Verdict::Failure)),
                    1 => region.attempt(nth, Verdict::Success),
                    2 if is_lossy => region.report(nth, false, false),
                    3 if is_lossy => region.report(nth, true, false),
                    _ => {
                        region.report(nth, true, true);
                        region.post(nth, Some(StatusCode::OK));
                        region.report(nth, true, true);
                    }
                }
            }
            region.settle(200_000);
            let told = region.states();
            prop_assert_eq!(told.last().copied().unwrap_or("cleared"), "cleared");
            if !is_lossy {
                prop_assert!(told.chunks(2).all(|pair| *pair == ["raised", "cleared"]), "{:?}", told);
            }
            for gateway in &region.gateways {
                prop_assert_eq!(gateway.shown_alerts().0.len(), 0);
            }
        }
    }
}
