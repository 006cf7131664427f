//! Real clusters in sandbox nodes, brought up and looked at as users do it. Run by `cargo xtask test`.
//!
//! The table below is the one place where a case stands: what is run, listed and documented comes from it. The cases are run
//! in its order, one after the other: those that share a cluster together, and of these last those that make its guardian
//! more cautious for ten minutes (copies were needed). docs/testing.md tells how to add one.

#![expect(clippy::print_stderr, reason = "figures belong into a case's output")]

mod accepted;
mod attacks;
mod badchange;
mod certificates;
mod cis;
mod coldboot;
mod damages;
mod debian;
mod deletions;
mod doctor;
mod drained;
mod failures;
mod fallback;
mod flushed;
mod foreign;
mod hostile;
mod intent;
mod interrupted;
mod intheway;
mod join;
mod killed;
mod member;
mod moments;
mod moved;
mod networks;
mod pivot;
mod renamed;
mod reset;
mod restored;
mod rollouts;
mod second;
mod surges;
mod upgrade;
mod whole;
mod workload;

use std::process::ExitCode;

use e2e::case::{Case, Nodes, Ring};

/// A case by its function: its ring, the nodes that it needs, what it shows, and the page that promises it.
macro_rules! case {
    ($ring:ident, $nodes:ident, $run:path, $promise:literal, $page:literal) => {
        Case {
            name: stringify!($run),
            ring: Ring::$ring,
            nodes: Nodes::$nodes,
            soak: false,
            promise: $promise,
            page: concat!("docs/", $page, ".md"),
            run: $run,
        }
    };
}

#[rustfmt::skip]
static CASES: &[Case] = &[
    case!(Core, None, failures::failures_in_the_config_name_line_and_column,
        "an error in the config names line and column, and nothing is written", "config"),
    case!(Core, None, failures::failures_of_the_bundle_name_the_image,
        "an image that the bundle lacks is named before anything is changed", "bundle"),
    case!(Core, None, moments::moments_take_a_fault_out_of_a_manifest,
        "the fault that a case plants is taken out again, and nothing else", "testing"),

    case!(Core, Own, pivot::no_request_fails_from_before_injection_until_long_after_the_pivot,
        "no request fails from before the injection until long after the pivot", "bring-up").with_soak(),
    // The cluster that this one brought up is the first shared one.
    case!(Core, Shared, whole::a_cluster_that_up_made_is_whole,
        "the cluster is self-hosted, nothing temporary is left, all that users do with a cluster works, and doctor finds what would keep it from coming back", "bring-up"),
    case!(Core, Shared, rollouts::rollouts_under_load,
        "a rollout of the apiserver by kubectl fails no request, and no watch misses an event", "steering").with_soak(),
    case!(Core, Shared, rollouts::rollouts_of_those_who_schedule,
        "scheduler and controller-manager hand their leases over when they are rolled out", "guardian").with_soak(),
    case!(Core, Shared, upgrade::upgrade_that_breaks_is_put_back,
        "a config that breaks the apiserver is put back as it was, and a good one goes through, with no failed request", "upgrade"),
    case!(Core, Shared, attacks::attacks_by_those_who_have_some_right,
        "who may read all objects, has a token, may write a status or make pods gets nothing more by that", "security"),
    case!(Full, Shared, attacks::attacks_by_what_a_container_shows,
        "nothing that a container shows is run on the host", "upgrade"),
    case!(Full, Shared, cis::cis_benchmark,
        "of the scored checks of the CIS benchmark none fails but those that are meant to", "cis"),
    case!(Full, Shared, rollouts::rollouts_whose_guardian_is_killed,
        "a rollout fails no request although the guardian is killed in it", "steering").with_soak(),
    case!(Full, Shared, rollouts::rollouts_without_a_guardian,
        "a rollout without a guardian waits, says so, and goes on by hand", "steering").with_soak(),
    case!(Full, Shared, rollouts::rollouts_of_what_gets_ready_late,
        "an instance that gets ready late keeps nobody waiting", "steering"),
    case!(Full, Shared, surges::surges_to_what_never_serves,
        "the old apiserver serves while the new one crashes or never gets ready", "steering"),
    case!(Full, Shared, surges::surges_where_nobody_may_steer,
        "a rollout comes to its end where the kernel lets nobody steer", "steering"),
    case!(Full, Shared, join::worker_joins_by_the_printed_command,
        "a bare machine becomes a worker by the command that `token create` prints, and what is wrong is told before anything is changed", "join"),
    case!(Full, Shared, second::second_node_is_taken_in_and_let_go,
        "a label makes a second control-plane node and unmakes it, and nobody notices", "guardian"),
    case!(Full, Shared, hostile::hostile_ground,
        "the guardian starts nothing that is not needed while kubelet, containerd, API or disk fail", "guardian"),
    case!(Full, Shared, flushed::flushed_packet_rules_come_back,
        "packet rules that somebody takes away are told, and come back by themselves", "disasters"),
    case!(Core, Shared, deletions::deletions_of_all_that_schedules,
        "all schedulers and controller-managers are deleted, and there are others", "disasters"),
    case!(Full, Shared, deletions::deletions_of_the_guardian,
        "the guardian's file and DaemonSet are deleted, and it goes on", "disasters"),
    case!(Full, Shared, deletions::deletions_of_all_rights,
        "all roles and bindings are deleted, and `upgrade apply` puts them back", "disasters"),
    case!(Core, Shared, deletions::deletions_of_the_only_apiserver,
        "the only apiserver and its DaemonSet are deleted, and no request fails", "disasters"),
    case!(Core, Shared, coldboot::coldboot_of_a_node_at_rest,
        "after a power cut a node that doctor is content with comes back by itself, with every acknowledged write", "guardian").with_soak(),
    case!(Full, Shared, coldboot::coldboot_without_cni_or_tokens,
        "it comes back with no CNI state and no valid token", "guardian"),
    case!(Full, Shared, coldboot::coldboot_without_the_label,
        "it comes back by its copies, and serves by them, when the Node object has lost its label", "guardian"),
    case!(Core, Shared, member::member_whose_data_is_gone,
        "a node whose etcd has lost its data begins no other cluster, says so, and serves again with it", "disasters"),
    case!(Full, Shared, member::member_whose_data_is_another_s,
        "data of another member of etcd, or of some time ago, is not served", "disasters"),
    case!(Full, Shared, member::member_whose_manifest_is_edited,
        "an edit of etcd's manifest has its effect at once, and is put back when etcd does not serve with it", "disasters"),
    case!(Full, Shared, restored::restored_from_a_snapshot,
        "a node gets back what a snapshot has, also when its data is lost, and another cluster's snapshot is refused", "disasters"),
    case!(Full, Shared, fallback::fallback_to_an_older_generation,
        "of each component, where generations cannot be started any more another one is, without the API", "guardian").with_soak(),
    case!(Full, Shared, certificates::certificates_are_renewed_under_load,
        "every certificate of the control plane is renewed with no failed request and no restart", "guardian"),
    case!(Full, Shared, certificates::certificates_that_ended_while_the_node_was_off,
        "a node that was off until after its certificates had ended comes back by itself, its kubelet included", "guardian"),
    case!(Full, Shared, badchange::badchange_that_never_serves,
        "a bad flag or image never gets a connection and is never promoted", "guardian"),
    case!(Core, Shared, badchange::badchange_that_dies_is_reverted,
        "a revision that dies after it was ready is reverted, and never promoted", "guardian"),
    case!(Full, Shared, badchange::badchange_of_a_config_map,
        "a wrong ConfigMap costs nothing, and after a power cut the last known good copy serves", "guardian"),

    case!(Core, Own, foreign::foreign_assets_are_brought_up,
        "an asset directory in bootkube's layout that kubestrap did not render is brought up", "bring-up"),
    case!(Full, Own, foreign::foreign_assets_whose_apiservers_cannot_share_a_port_are_brought_up,
        "the same where the two apiservers cannot share the port", "bring-up"),
    case!(Full, Own, failures::failures_of_a_bring_up_are_diagnosed,
        "what keeps a bring-up from its end is named, with the next command", "bring-up"),
    case!(Full, Own, killed::a_bring_up_killed_in_every_step_goes_on_where_it_was,
        "start can be killed in every step and run again", "bring-up"),
    case!(Full, Own, killed::a_power_cut_in_the_middle_of_a_bring_up_costs_nothing_but_time,
        "a power cut in a bring-up costs nothing but time", "bring-up").with_soak(),
    case!(Full, Own, certificates::certificates_that_live_for_minutes,
        "certificates that live for minutes are renewed for as long as the cluster lives", "guardian").with_soak(),
    case!(Full, Own, certificates::certificates_whose_authorities_are_kept_elsewhere,
        "a node without the authorities' keys asks for its certificates in time, and also when it was off until after their end", "guardian"),
    case!(Full, Own, reset::reset_leaves_the_host_as_it_was,
        "reset leaves the host as it was before up, also when it is killed, and up makes it a node again", "reset"),
    case!(Full, Own, renamed::renamed_host_is_the_same_node,
        "a host that is called otherwise since its installation is the same node for every verb", "bring-up"),
    case!(Full, Own, intent::intent_holds_whoever_runs_what_again,
        "`up` run again takes the directory's config and refuses another one, of two verbs at once the second waits or says for whom, and pods that have ended keep nobody waiting", "bring-up"),
    case!(Full, Own, damages::damages_of_containerd_and_the_kubelet,
        "what is damaged on the disk of containerd's and the kubelet's is named by doctor and mended by up", "disasters"),
    case!(Full, Own, intheway::in_the_way_is_named_with_what_ends_it,
        "a dead webhook, a LimitRange, a wrong label, a deleted DaemonSet or Node and a full etcd are each named by status and doctor with the command that ends them, and it does", "disasters"),
    case!(Full, Own, moved::moved_node_follows,
        "a node whose address changed is told so, and one `up` has all of it follow, also when it was killed", "disasters"),
    case!(Full, Own, networks::networks_of_both_families,
        "dual stack works", "config"),
    case!(Full, Own, networks::networks_of_ipv6_alone,
        "IPv6 alone works", "config"),
    case!(Full, Own, networks::networks_that_the_user_brings,
        "a network, an etcd and a CA of the user's own work", "config"),
    case!(Full, Debian, debian::debian_with_its_own_systemd,
        "`up` makes a cluster on a plain Debian with its own systemd, and it comes back from a power cut", "bring-up"),
    case!(Full, Own, moments::moments_of_a_bring_up,
        "a bring-up that loses the power at a random moment is ended by the same command", "bring-up").with_soak(),
    case!(Full, Own, moments::moments_of_changes,
        "a power cut at a random moment of a change loses no write and leaves no half generation", "guardian").with_soak(),

    // The last one leaves the cluster of the oldest release changed.
    case!(Full, Oldest, intent::intent_of_another_version_is_refused,
        "`up` with a bundle of another version is refused on a cluster that runs, with the command that changes it", "bring-up"),
    case!(Full, Oldest, accepted::accepted_by_the_kubelet_of_the_oldest_release,
        "the kubelet of the oldest release accepts the checkpoints", "guardian"),
    case!(Full, Oldest, upgrade::upgrade_that_breaks_after_the_apiserver_is_put_back,
        "an upgrade that breaks after the apiserver was changed is put back", "upgrade"),
    case!(Full, Oldest, upgrade::upgrade_of_one_minor_under_load,
        "an upgrade of one minor, killed and gone on with, fails no request, and so does the way back", "upgrade").with_soak(),
    case!(Full, Oldest, surges::surges_to_another_minor_and_back,
        "set image to another minor and back fails no request", "steering"),
];

fn main() -> ExitCode {
    e2e::runner::main(CASES)
}
