//! Whatever happens, in whatever order.

use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed};

use crate::kubelet::Behaviour;
use crate::node::Node;

#[derive(Debug, Clone)]
enum Step {
    Wait(u64),
    Rollout(Behaviour),
    Undo,
    Rotate(Behaviour),
    DeletePods,
    Parent(bool),
    Crash,
    PowerCut,
    RestartGuardian,
    KillAtChange(bool),
    Runtime(bool),
    Api(bool),
    Backend(bool),
    DiskFull(bool),
    Temporary(bool),
    Others(bool),
    Wanted(bool),
}

fn behaviour() -> impl Strategy<Value = Behaviour> {
    prop_oneof![
        3 => Just(Behaviour::Healthy),
        1 => Just(Behaviour::Crashes),
        1 => Just(Behaviour::Hangs),
        2 => prop::sample::select(vec![1_000, 20_000, 55_000, 70_000]).prop_map(Behaviour::Dies),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => prop::sample::select(vec![100, 900, 3_000, 8_000, 15_000, 25_000, 61_000, 100_000]).prop_map(Step::Wait),
        3 => behaviour().prop_map(Step::Rollout),
        1 => Just(Step::Undo),
        1 => behaviour().prop_map(Step::Rotate),
        1 => Just(Step::DeletePods),
        1 => any::<bool>().prop_map(Step::Parent),
        1 => Just(Step::Crash),
        2 => Just(Step::PowerCut),
        2 => Just(Step::RestartGuardian),
        1 => any::<bool>().prop_map(Step::KillAtChange),
        1 => any::<bool>().prop_map(Step::Runtime),
        1 => any::<bool>().prop_map(Step::Api),
        1 => any::<bool>().prop_map(Step::Backend),
        1 => any::<bool>().prop_map(Step::DiskFull),
        1 => any::<bool>().prop_map(Step::Temporary),
        1 => any::<bool>().prop_map(Step::Others),
        1 => any::<bool>().prop_map(Step::Wanted),
    ]
}

fn take(node: &mut Node, step: &Step) {
    match step {
        Step::Wait(ms) => node.run(*ms),
        Step::Rollout(behaviour) => node.set_revision(*behaviour),
        Step::Undo => node.undo(),
        Step::Rotate(behaviour) => node.rotate_secret(*behaviour),
        Step::DeletePods => node.delete_pods(),
        Step::Parent(there) => node.parent = *there,
        Step::Crash => node.crash(),
        Step::PowerCut => node.power_cut(),
        Step::RestartGuardian => node.restart_guardian(),
        Step::KillAtChange(after) => node.kill_at_change = Some(*after),
        Step::Runtime(hangs) => node.runtime_hangs = *hangs,
        Step::Api(blocked) => node.api_blocked = *blocked,
        Step::Backend(up) => node.backend_up = *up,
        Step::DiskFull(full) => node.disk_full = *full,
        Step::Temporary(there) => node.set_temporary(*there),
        Step::Others(serve) => node.others = *serve,
        Step::Wanted(wanted) => node.wanted = *wanted,
    }
    node.run(1);
}

/// What a node must have come to once it was left in peace for long enough.
fn judge(node: &Node) -> Result<(), TestCaseError> {
    let healthy = |generation| node.behaviour_of(generation) == Behaviour::Healthy;
    let restorable = node.disk.generations.iter().any(healthy);
    let good_serves = node.serving().any(|pod| node.behaviour(pod.running) == Behaviour::Healthy);
    prop_assert!(good_serves || !restorable, "nobody healthy serves: {node:#?}");
    if node.api_answers() && node.behaviour(node.template.1) == Behaviour::Healthy {
        prop_assert_eq!(&node.disk.placed, &None, "the copy stays beside a healthy instance");
        let only_api = node.serving().count() == 1 && node.serving().all(crate::kubelet::Pod::is_api);
        prop_assert!(only_api, "not only the API's instance serves: {node:#?}");
    }
    Ok(())
}

fn live(node: &mut Node, steps: &[Step]) -> Result<(), TestCaseError> {
    for step in steps {
        take(node, step);
    }
    node.calm();
    node.run(3_600_000);
    judge(node)
}

/// What failed once, shrunk.
#[test]
fn sequences_that_failed_once() {
    use Behaviour::{Crashes, Dies, Hangs, Healthy};
    use Step::{Api, Backend, Crash, DiskFull, RestartGuardian, Rollout, Rotate, Wait};
    // Two generations that crash: the exits of a copy's earlier try were counted again.
    let both_crash = [Crash, Wait(900), RestartGuardian, Rotate(Crashes), Rollout(Dies(1_000))];
    live(&mut Node::new(true), &both_crash).unwrap();
    // Files changed twice under one container while it was not Ready.
    let files = [Api(false), Api(true), Backend(false), Rotate(Healthy), Wait(61_000), Rotate(Healthy)];
    live(&mut Node::new(false), &files).unwrap();
    // The generation whose turn it was after failures equalled what ran, so nothing was placed.
    let full =
        [Rollout(Healthy), Rotate(Dies(20_000)), Wait(3_000), Rotate(Hangs), DiskFull(true), Wait(61_000)];
    live(&mut Node::proven(false), &full).unwrap();
    // A container was taken for what its predecessor had been.
    let crashed = [Crash, Rotate(Hangs), Wait(100), Wait(100), Wait(100)];
    live(&mut Node::proven(true), &crashed).unwrap();
    // Files had changed before the first look: what ran was taken for what it would run next time.
    let before = [Rotate(Healthy), Backend(false), Rotate(Healthy), Wait(61_000), Rotate(Healthy)];
    live(&mut Node::new(false), &before).unwrap();
    // Two generations that are promoted before they die: each followed the other, the healthy one never.
    let late = [Rollout(Dies(70_000)), Wait(8_000), Rotate(Dies(70_000)), Rollout(Crashes), Step::DeletePods];
    live(&mut Node::new(false), &late).unwrap();
}

/// The same sequences each time, so that a failure is the change's and not the day's; `--soak` looks
/// for new ones.
fn config() -> Config {
    let soak = std::env::var("KUBESTRAP_TEST_SOAK").is_ok_and(|v| !v.is_empty());
    let (cases, rng_seed) = if soak { (200_000, RngSeed::Random) } else { (10_000, RngSeed::Fixed(1)) };
    Config { cases, rng_seed, failure_persistence: None, ..Config::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn invariants_hold_and_peace_brings_a_good_instance(
        is_api in any::<bool>(),
        proven in any::<bool>(),
        steps in prop::collection::vec(step(), 1..25),
    ) {
        let mut node = if proven { Node::proven(is_api) } else { Node::new(is_api) };
        live(&mut node, &steps)?;
    }
}
