//! The systems of `presets/systems`, as their users run them: over HTTP, on both runtimes, in front of sandbox vendors.

#![expect(clippy::unwrap_used, reason = "a story that fails says where")]

mod circuit_breaker;
mod disaster_recovery;
mod health_failover;
mod load_balancing;
mod several_vendors;

use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Trial};
use tidegate_tests::preset::Preset;
use tidegate_tests::stage::{Stage, Told};

/// What a system does, named by its place in the README's table.
type Story = (&'static str, for<'w> fn(&'w Preset) -> Told<'w>);

macro_rules! stories {
    ($subject:ident: $($story:ident)+) => {
        vec![$((stringify!($story), |preset| Box::pin($subject::$story(preset)))),+]
    };
}

fn systems() -> Vec<(&'static str, Vec<Story>)> {
    vec![
        (
            "systems/circuit-breaker.toml",
            stories!(circuit_breaker: a2_each_model_has_a_breaker_and_a_fallback a3_the_first_that_is_up_serves),
        ),
        (
            "systems/disaster-recovery.toml",
            stories!(disaster_recovery: b1_a_reply_says_who_what_it_took_and_what_it_cost b2_task_and_priority_say_who_is_asked
                b4_three_failures_in_a_row_are_an_alert
                b7_when_all_are_down_nothing_is_lost b5_a_429_is_waited_for_and_whoever_is_at_its_limit_is_skipped),
        ),
        (
            "systems/load-balancing.toml",
            stories!(load_balancing: c3_a_request_goes_where_its_context_fits c1_each_gets_its_share_while_it_is_well
                c2_each_has_those_who_stand_in_for_it),
        ),
        (
            "systems/health-failover.toml",
            stories!(health_failover: d2_fails_over_and_back d2_the_quickest_of_those_that_are_well),
        ),
        (
            "systems/several-vendors.toml",
            stories!(several_vendors: e1_one_interface_and_another_vendor_at_need e3_drills),
        ),
    ]
}

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // One after the other: the stories of a system share its targets.
    arguments.test_threads.get_or_insert(1);
    let tokio = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let mut trials = Vec::new();
    for (file, stories) in systems() {
        for stage in Stage::<Preset>::with(&tokio, file) {
            for (name, story) in &stories {
                let (stage, story) = (Arc::clone(&stage), *story);
                trials.push(Trial::test(format!("{}::{name}", stage.runtime.name()), move || stage.tell(story)));
            }
        }
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}
