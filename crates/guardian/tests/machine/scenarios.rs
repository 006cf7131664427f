//! What the guardian is for, case by case: each begins with a proven instance of the API, a good
//! generation on the disk, and no copy.

use guardian::machine::State;

use crate::kubelet::Behaviour::{Crashes, Dies, Hangs, Healthy};
use crate::node::Node;

/// A copy that is placed at once needs so long to be Ready.
const START: u64 = 5_100;
const MINUTE: u64 = 60_000;

struct Scenario {
    name: &'static str,
    act: fn(&mut Node),
    /// Of all that is reported, in order.
    reasons: &'static [&'static str],
    state: State,
    /// Nobody is Ready for so long at most.
    down: u64,
    /// Content of the good generation in the end.
    good: &'static str,
}

#[rustfmt::skip]
const SCENARIOS: &[Scenario] = &[
    Scenario { name: "power cut", act: |n| { n.power_cut(); n.run(MINUTE); },
        reasons: &["Restored", "Released"], state: State::Serving, down: START, good: "d0" },
    Scenario { name: "power cut before the guardian's look at the API's instance", act: |n| { n.api_blocked = true; n.power_cut(); n.run(MINUTE); },
        reasons: &["Restored"], state: State::HandingOver, down: START, good: "d0" },
    Scenario { name: "power cut with a copy in place", act: |n| { n.parent = false; n.run(MINUTE); n.reports.clear(); n.power_cut(); n.run(MINUTE); },
        reasons: &["Orphaned"], state: State::Restored, down: START, good: "d0" },
    Scenario { name: "power cut right after the copy was placed", act: |n| { n.kill_at_change = Some(true); n.power_cut(); n.run(MINUTE); },
        reasons: &["Released"], state: State::Serving, down: START, good: "d0" },
    Scenario { name: "guardian killed right before it places", act: |n| { n.kill_at_change = Some(false); n.power_cut(); n.run(1); n.run(MINUTE); },
        reasons: &["Restored", "Released"], state: State::Serving, down: START, good: "d0" },
    Scenario { name: "guardian restarted while the copy serves", act: |n| { n.power_cut(); n.run(8_000); n.restart_guardian(); n.run(MINUTE); },
        reasons: &["Restored", "Released"], state: State::Serving, down: START, good: "d0" },
    Scenario { name: "guardian restarted in quiet", act: |n| { n.restart_guardian(); n.run(5 * MINUTE); },
        reasons: &[], state: State::Serving, down: 0, good: "d0" },
    Scenario { name: "good rollout", act: |n| { n.set_revision(Healthy); n.run(2 * MINUTE); },
        reasons: &["Promoted"], state: State::Serving, down: 0, good: "d1" },
    Scenario { name: "rollout that crashes at its start", act: |n| { n.set_revision(Crashes); n.run(10 * MINUTE); },
        reasons: &[], state: State::Serving, down: 0, good: "d0" },
    Scenario { name: "rollout that never becomes ready", act: |n| { n.set_revision(Hangs); n.run(10 * MINUTE); },
        reasons: &[], state: State::Serving, down: 0, good: "d0" },
    Scenario { name: "rollout that dies after 20 s, again and again", act: |n| { n.set_revision(Dies(20_000)); n.run(30 * MINUTE); },
        reasons: &["Reverted"], state: State::Restored, down: 15_000, good: "d0" },
    Scenario { name: "… and is undone", act: |n| { n.set_revision(Dies(20_000)); n.run(5 * MINUTE); n.undo(); n.run(MINUTE); },
        reasons: &["Reverted", "Released"], state: State::Serving, down: 15_000, good: "d0" },
    Scenario { name: "… and is mended", act: |n| { n.set_revision(Dies(20_000)); n.run(5 * MINUTE); n.set_revision(Healthy); n.run(2 * MINUTE); },
        reasons: &["Reverted", "Promoted", "Released"], state: State::Serving, down: 15_000, good: "d2" },
    Scenario { name: "bad change while the node was off", act: |n| { n.power_cut(); n.set_revision(Crashes); n.run(5 * MINUTE); },
        reasons: &["Restored", "Reverted", "Released"], state: State::Serving, down: START, good: "d0" },
    Scenario { name: "bad change while the node was off, and no old pod is left", act: |n| { n.delete_pods(); n.power_cut(); n.set_revision(Crashes); n.run(5 * MINUTE); },
        reasons: &["Restored", "Reverted"], state: State::Restored, down: START, good: "d0" },
    Scenario { name: "bad secret, then a crash", act: |n| { n.rotate_secret(Crashes); n.run(1_000); n.crash(); n.run(5 * MINUTE); },
        reasons: &["Reverted"], state: State::Restored, down: 11_000, good: "d0" },
    Scenario { name: "rotated secret", act: |n| { n.rotate_secret(Healthy); n.run(5 * MINUTE); assert_eq!(n.disk.generations.len(), 2); },
        reasons: &[], state: State::Serving, down: 0, good: "d0" },
    Scenario { name: "pod deleted", act: |n| { n.delete_pods(); n.run(MINUTE); },
        reasons: &[], state: State::Serving, down: 0, good: "d0" },
    Scenario { name: "parent deleted", act: |n| { n.parent = false; n.run(5 * MINUTE); },
        reasons: &["Restored", "Orphaned"], state: State::Restored, down: 0, good: "d0" },
    Scenario { name: "parent deleted and applied again", act: |n| { n.parent = false; n.run(5 * MINUTE); n.parent = true; n.run(MINUTE); },
        reasons: &["Restored", "Orphaned", "Released"], state: State::Serving, down: 0, good: "d0" },
    Scenario { name: "crash of a proven instance", act: |n| { n.crash(); n.run(MINUTE); },
        reasons: &[], state: State::Serving, down: START, good: "d0" },
    Scenario { name: "the copy does not work, the one before does", act: |n| { n.set_revision(Healthy); n.run(2 * MINUTE); n.reports.clear(); n.spoil(1, Crashes); n.power_cut(); n.run(2 * MINUTE); },
        reasons: &["Restored", "CheckpointFailed", "Reverted", "Promoted"], state: State::Restored, down: 50_000, good: "d0" },
    Scenario { name: "proven after 60 s, dies after 70 s", act: |n| { n.set_revision(Dies(70_000)); n.run(120 * MINUTE); n.reports.clear(); n.longest_down = 0; n.run(60 * MINUTE); },
        reasons: &[], state: State::Restored, down: 0, good: "d0" },
    Scenario { name: "nothing works, then it does", act: |n| { n.backend_up = false; n.power_cut(); n.run(20 * MINUTE); n.backend_up = true; n.run(10 * MINUTE); },
        reasons: &["Restored", "CheckpointFailed", "Released"], state: State::Serving, down: 27 * MINUTE, good: "d0" },
    Scenario { name: "disk full when the copy is needed", act: |n| { n.disk_full = true; n.power_cut(); n.run(10_000); n.disk_full = false; n.run(MINUTE); },
        reasons: &["GuardianFailed", "GuardianRecovered", "Restored", "Released"], state: State::Serving, down: 25_000, good: "d0" },
    Scenario { name: "disk full when a generation is written", act: |n| { n.disk_full = true; n.set_revision(Healthy); n.run(2 * MINUTE); assert_eq!(n.disk.generations.len(), 1); },
        reasons: &["WriteFailed"], state: State::Serving, down: 0, good: "d0" },
    Scenario { name: "API does not answer, all runs", act: |n| { n.api_blocked = true; n.run(30 * MINUTE); },
        reasons: &[], state: State::Serving, down: 0, good: "d0" },
    Scenario { name: "runtime hangs and comes back", act: |n| { n.runtime_hangs = true; n.run(5 * MINUTE); n.runtime_hangs = false; n.run(MINUTE); },
        reasons: &[], state: State::Serving, down: 0, good: "d0" },
    Scenario { name: "runtime hangs while all has gone", act: |n| { n.runtime_hangs = true; n.power_cut(); n.run(MINUTE); assert_eq!(n.disk.placed, None); n.runtime_hangs = false; n.run(MINUTE); },
        reasons: &["Restored", "Released"], state: State::Serving, down: 60_000 + START, good: "d0" },
    Scenario { name: "start is at work", act: |n| { n.power_cut(); n.set_temporary(true); n.run(MINUTE); },
        reasons: &[], state: State::Serving, down: START, good: "d0" },
    Scenario { name: "not wanted here, served elsewhere", act: |n| { n.others = true; n.wanted = false; n.run(9_000); assert!(n.disk.good.is_some()); n.run(4_000); assert_eq!(n.disk.good, None); n.run(20_000); },
        reasons: &["Uninstalled"], state: State::Absent, down: 20_000, good: "" },
    Scenario { name: "not wanted here, served nowhere else", act: |n| { n.wanted = false; n.run(5 * MINUTE); },
        reasons: &["Restored", "Kept"], state: State::Restored, down: 0, good: "d0" },
];

fn plays(scenario: &Scenario) -> Result<(), String> {
    let mut node = Node::proven(true);
    (scenario.act)(&mut node);
    let reasons: Vec<_> = node.reports.iter().map(guardian::machine::Report::reason).collect();
    let good = node.disk.good.as_ref().and_then(|id| node.disk.generations.iter().find(|g| g.id == *id));
    let good = good.map_or("", |g| g.digest.0.as_str());
    let found = (reasons.as_slice(), node.machine().state(), good);
    let wanted = (scenario.reasons, scenario.state, scenario.good);
    if found == wanted && node.longest_down <= scenario.down {
        return Ok(());
    }
    Err(format!(
        "{}:\n  {found:?}, down {} ms\n  wanted {wanted:?}, down {}",
        scenario.name, node.longest_down, scenario.down
    ))
}

#[test]
fn scenarios() {
    let failed: Vec<_> = SCENARIOS.iter().filter_map(|scenario| plays(scenario).err()).collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
