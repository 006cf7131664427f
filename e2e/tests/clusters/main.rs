//! Real clusters in sandbox nodes, brought up and looked at as users do it. Run by `cargo xtask test`.
//!
//! The harness is our own: the tests of a list are begun in this order, and after the last one it deletes the clusters
//! that many of them share. Only those in [`abreast`] have others beside them: a bring-up beside a test makes pauses of
//! more than a second.

#![expect(clippy::print_stderr, reason = "figures belong into a test's output")]

mod accepted;
mod badchange;
mod coldboot;
mod deletions;
mod doctor;
mod drained;
mod failures;
mod foreign;
mod hostile;
mod interrupted;
mod killed;
mod moments;
mod networks;
mod pivot;
mod rollouts;
mod second;
mod surges;
mod upgrade;
mod whole;
mod workload;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;
use libtest_mimic::{Arguments, Failed, Trial};

/// Tests by their functions' names.
macro_rules! trials {
    ($($test:path),* $(,)?) => {
        vec![$(trial(stringify!($test), $test)),*]
    };
}

/// One test, which says how long it took, and at once why it failed: what follows may be cut off.
fn trial(name: &'static str, test: fn() -> Result<()>) -> Trial {
    let run = move || {
        let began = Instant::now();
        let outcome = test();
        eprintln!("{name}: {:.0} s", began.elapsed().as_secs_f32());
        outcome.map_err(|error| {
            eprintln!("{name}: FAILED: {error:#}");
            Failed::from(format!("{error:#}"))
        })
    };
    Trial::test(name, run)
}

fn main() -> ExitCode {
    // One list by itself, or all.
    let tests = match std::env::var("KUBESTRAP_TEST_LIST").unwrap_or_default().as_str() {
        "abreast" => abreast(),
        "alone" => alone(),
        "oldest" => oldest(),
        _ => [abreast(), alone(), oldest()].into_iter().flatten().collect(),
    };
    let conclusion = libtest_mimic::run(&Arguments::from_args(), tests);
    e2e::shared::end();
    conclusion.exit_code()
}

/// None of these has figures: how long they take, and how long the API is away when it may be, says nothing about the
/// program. The long ones come first, and those that make a shared cluster's guardian more cautious for ten minutes after
/// others that share.
fn abreast() -> Vec<Trial> {
    trials![
        moments::moments_of_changes,
        second::second_node_is_taken_in_and_let_go,
        hostile::hostile_ground,
        coldboot::coldboot_of_a_node_at_rest,
        badchange::badchange_of_the_apiserver,
        deletions::deletions_cost_nothing,
        failures::failures_of_a_bring_up_are_diagnosed,
        killed::a_bring_up_killed_in_every_step_goes_on_where_it_was,
        killed::a_power_cut_in_the_middle_of_a_bring_up_costs_nothing_but_time,
        foreign::foreign_assets_are_brought_up,
        foreign::foreign_assets_whose_apiservers_cannot_share_a_port_are_brought_up,
        networks::networks_of_both_families,
        networks::networks_of_ipv6_alone,
        networks::networks_that_the_user_brings,
        moments::moments_of_a_bring_up,
        failures::failures_in_the_config_name_line_and_column,
        failures::failures_of_the_bundle_name_the_image,
        moments::moments_take_a_fault_out_of_a_manifest,
    ]
}

/// These count each request of a load and time it, on the cluster that the first one brings up and the second one sees fresh.
fn alone() -> Vec<Trial> {
    trials![
        pivot::no_request_fails_from_before_injection_until_long_after_the_pivot,
        whole::a_cluster_that_up_made_is_whole,
        rollouts::rollouts_under_load,
        rollouts::rollouts_whose_guardian_is_killed,
        rollouts::rollouts_without_a_guardian,
        rollouts::rollouts_of_what_gets_ready_late,
        rollouts::rollouts_of_those_who_schedule,
        surges::surges_to_what_never_serves,
        surges::surges_where_nobody_may_steer,
        upgrade::upgrade_that_breaks_is_put_back,
    ]
}

/// These share a cluster of the oldest release. The last one leaves it changed.
fn oldest() -> Vec<Trial> {
    trials![
        accepted::accepted_by_the_kubelet_of_the_oldest_release,
        upgrade::upgrade_that_breaks_after_the_apiserver_is_put_back,
        upgrade::upgrade_of_one_minor_under_load,
        surges::surges_to_another_minor_and_back,
    ]
}
