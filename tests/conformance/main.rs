//! Twin conformance: one table of scenarios, told against the native server and against the worker in workerd.
//!
//! Both run with the same config (`tests/data/conformance.toml`; a few scenarios with `brief.toml`) in front of the same kind
//! of vendors, and each scenario says what the client gets and what reached which vendor. `cargo test --test conformance native::cut` runs a part.

#![expect(clippy::unwrap_used, reason = "a scenario that fails says where")]

mod alerts;
mod answers;
mod apis;
mod breakers;
mod caching;
mod callers;
mod check;
mod content;
mod dialects;
mod door;
mod failures;
mod health;
mod hedging;
mod hints;
mod jobs;
mod keys;
mod ledger;
mod limits;
mod operators;
mod parameters;
mod queues;
mod refusals;
mod rescues;
mod routing;
mod strategies;
mod streams;

use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Trial};
use tidegate_tests::gateway::Runtime;
use tidegate_tests::stage::{Stage, Told};
use tidegate_tests::world::{BRIEF, CONFORMANCE, World};

/// Scenarios mostly wait, for a limit to run out or a breaker to reopen; more of them at once than there are cores.
const SCENARIOS_AT_ONCE: usize = 8;

/// One row of the table.
#[derive(Clone, Copy)]
struct Scenario {
    name: &'static str,
    tell: for<'w> fn(&'w World) -> Told<'w>,
}

macro_rules! scenarios {
    ($($subject:ident: $($story:ident)+;)+) => {
        vec![$($(Scenario { name: stringify!($story), tell: |world| Box::pin($subject::$story(world)) }),+),+]
    };
}

/// The table.
fn table() -> Vec<Scenario> {
    scenarios! {
        answers: plain unknown_price_is_unknown stream stream_with_usage usage_that_is_refused_is_not_sent embeddings
            models names request_ids_differ;
        dialects: words streamed_words lengths_and_stops cached_tokens several_choices vectors tokens_are_counted
            failover_crosses_dialects errors_before_the_first_token cuts_are_told_in_the_clients_dialect
            quotas_in_the_clients_dialect;
        content: tools tool_choices schemas images thinking thinking_travels;
        parameters: same_bytes same_bytes_back keys_and_places anthropics_headers dropped_and_named strict never_dropped
            quirks a_models_own_quirks what_a_model_is_asked_with_by_default who_cannot_be_made_to_call_a_tool_is_passed_over;
        hints: in_the_body in_headers fallbacks no_fallbacks limits_in_time usage_at_the_end_of_a_stream refused_hints;
        refusals: callers_faults contexts_in_each_vendors_words credentials_that_look_like_callers_faults
            geminis_retry_info filters_returned filters_rerouted the_gateways_own what_no_vendor_is_asked;
        failures: five_hundred_once five_hundred_for_ever unavailable_for_ever every_status_of_a_broken_vendor
            reset_once reset_for_ever nobody_listens hang hang_before_a_stream silent_alone_is_asked_once late_answer
            slow_first_token an_attempt_takes_no_longer_than_it_may a_kind_of_failure_leads_where_the_route_says empty_200 not_json compressed_unasked error_in_a_200 cut_plain stall_plain malformed_plain huge_reply
            attempt_budget deadline everybody_fails;
        streams: cut_before_the_first_token cut_after_the_first_token stall malformed_chunk no_done no_reason no_finish
            error_before_the_first_token error_after_the_first_token empty_stream whole_answer_to_a_stream huge_event
            client_leaves_a_stream;
        rescues: continued_across_dialects restarted restart_tells_another_answer rescue_fails_too;
        hedging: slow_stream_is_hedged slow_answer_is_hedged first_is_faster_than_its_hedge hedges_have_a_budget
            both_fail_and_the_next_is_asked slow_is_what_was_measured slow_is_no_less_than_the_route_says;
        keys: throttled_with_retry_after throttled_for_a_moment throttled_without_a_hint everybody_throttles
            waits_if_the_route_says_so throttled_key_makes_way_for_another refused_key_is_left_alone refused_key_is_tried_again_in_time
            keys_are_drawn_by_their_weights a_busy_key_makes_way_for_another refused_key_fails_over spent_quota_fails_over refused_key_makes_way_for_another;
        limits: a_key_at_its_limit_makes_way_for_another a_target_at_its_limit_makes_way_for_the_next
            words_with_one_key_too_many_go_with_another
            tokens_of_requests_at_one_moment_are_not_given_twice a_clients_requests_a_minute
            a_clients_tokens_a_minute a_clients_requests_at_once a_clients_budget;
        caching: asked_again never_across_clients failures_are_not_kept kept_for_its_time no_more_is_kept_than_may_be clients_pass_it_by prices_are_built_in a_long_prompt_has_prices_of_its_own;
        callers: vendors_refusal_verbatim context_goes_to_a_larger_model context_fits_nowhere content_filter_returned
            content_filter_rerouted content_filter_everywhere callers_fault_never_trips;
        door: unknown_model bad_json bad_fields unknown_path wrong_method body_too_large body_too_large_in_pieces
            no_key wrong_key key_for_one_route health;
        breakers: opens_and_stays_shut heals_and_traffic_returns failed_probe_reopens half_open_admits_its_probes_only
            abandoned_probe_gives_its_lease_back slow_first_tokens_open_it all_open a_share_of_failures_opens_it what_is_long_past_does_not_count successes_make_up_for_failures
            traffic_returns_little_by_little
            when_all_are_open_the_one_that_comes_back_first_is_asked when_all_are_open_all_are_asked
            when_all_are_open_a_route_has_words_of_its_own obeys_orders the_last_one_stays_in a_route_has_its_own;
        strategies: ordered_keeps_to_its_order latency_moves_to_the_faster inverse_latency_probes_first weights_are_shares
            cost_is_that_of_the_request context_is_fit_and_score a_route_has_caps_of_its_own
            whoever_is_said_to_be_slow_is_not_tried_for_it;
        routing: a_task_and_a_priority_choose_a_list conditions_lead_elsewhere a_canary_takes_its_share
            a_conversation_stays_where_it_is a_client_stays_where_it_is a_shadow_decides_and_sends_nothing;
        queues: excess_goes_to_the_next_target excess_waits_where_there_is_no_other the_urgent_overtake
            a_full_queue_refuses throttling_shrinks_the_limit answers_let_the_limit_grow;
        health: standby_that_is_down_is_asked_last probes_close_a_breaker_before_a_client_is_asked_to
            vendors_that_are_down_do_not_make_the_gateway_ill
            a_probe_that_is_not_answered_is_a_bad_sign paid_probes_ask_for_words another_address_tells_how_a_vendor_is who_fails_too_often_is_asked_last slow_is_degraded_and_too_slow_is_asked_last;
        jobs: queue_when_all_are_down one_idempotency_key_is_one_job jobs_are_their_clients_own
            clients_allow_and_forbid_the_queue a_job_that_nobody_can_serve_is_given_up operators_see_all_jobs
            a_job_that_takes_long_holds_up_no_other
            what_is_too_large_is_not_queued the_queue_has_bounds the_webhook_is_told_once jobs_survive_a_restart;
        operators: status explain explain_refuses explain_stands_in_for_a_client requests_are_accounted_for admin_needs_its_key;
        alerts: an_alert_is_raised_told_once_and_cleared;
        ledger: sums_are_exact what_the_ledger_cannot_be_asked;
    }
}

/// What is told with another config, of settings that hold for a gateway as a whole.
fn brief_table() -> Vec<Scenario> {
    scenarios! {
        limits: who_has_no_limits_has_the_defaults;
        failures: retries_have_a_budget;
        streams: a_long_wait_is_commented;
        caching: prices_are_read_from_a_file;
        alerts: each_threshold_has_an_alert_of_its_own;
        jobs: a_job_waits_no_longer_than_it_may an_answer_is_kept_no_longer_than_it_may;
    }
}

/// What only one of the two can tell.
fn table_of(runtime: Runtime) -> Vec<Scenario> {
    match runtime {
        // Workers have no limit of their own for connecting. And workerd notices that a client has left when it next writes to it; until then there is nothing to be seen.
        Runtime::Native => scenarios! {
            failures: a_connection_is_not_waited_for;
            streams: client_leaves_a_stream_that_stalls client_leaves_before_the_answer;
        },
        // The native server keeps no breaker over a restart.
        Runtime::Edge => scenarios! {
            breakers: open_breaker_survives_a_restart;
            ledger: lines_survive_a_restart;
        },
    }
}

fn with(stage: &Arc<Stage>, rows: impl IntoIterator<Item = Scenario>) -> impl Iterator<Item = (Arc<Stage>, Scenario)> {
    rows.into_iter().map(|row| (Arc::clone(stage), row))
}

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(SCENARIOS_AT_ONCE);
    let tokio = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let mut trials = Vec::new();
    for (brief, usual) in Stage::with(&tokio, BRIEF).into_iter().zip(Stage::with(&tokio, CONFORMANCE)) {
        let rows = table().into_iter().chain(table_of(usual.runtime));
        for (stage, Scenario { name, tell }) in with(&brief, brief_table()).chain(with(&usual, rows)) {
            trials.push(Trial::test(format!("{}::{name}", stage.runtime.name()), move || stage.tell(tell)));
        }
    }
    // Each trial holds its stage, so that a gateway ends with the last of its scenarios.
    libtest_mimic::run(&arguments, trials).exit_code()
}
