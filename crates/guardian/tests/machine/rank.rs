//! Who gets the traffic.

use guardian::machine::Instance;
use objects::Origin;

use crate::kubelet::Behaviour::Dies;
use crate::node::Node;

/// Sources and revisions of what serves, the one that gets the traffic first.
fn order(node: &Node) -> Vec<(Origin, u64)> {
    let mut ready: Vec<Instance> = node.serving().map(|pod| pod.seen(node.now, true, true)).collect();
    ready.sort_by_key(|instance| std::cmp::Reverse(node.machine().rank(instance)));
    ready.into_iter().map(|instance| (instance.origin, instance.revision)).collect()
}

fn copy(node: &Node) -> (Origin, u64) {
    (Origin::Checkpoint { generation: node.disk.placed.clone().unwrap().0 }, 0)
}

#[test]
fn a_proven_instance_goes_before_the_copy() {
    let mut node = Node::proven(true);
    node.power_cut();
    node.run(12_000);
    assert_eq!(order(&node), [(Origin::Api, 1), copy(&node)]);
}

#[test]
fn the_copy_goes_before_an_instance_that_is_not_proven() {
    let mut node = Node::proven(true);
    node.parent = false;
    node.run(60_000);
    node.set_revision(Dies(70_000));
    node.parent = true;
    node.run(10_000);
    assert_eq!(order(&node), [copy(&node), (Origin::Api, 2)]);
}

#[test]
fn without_a_copy_the_newest_revision_goes_first_and_the_temporary_one_last() {
    let mut node = Node::proven(true);
    node.set_temporary(true);
    node.run(5_000);
    assert_eq!(order(&node), [(Origin::Api, 1), (Origin::Temporary, 0)]);
    let seen = node.pods[0].seen(node.now, true, true);
    let newer = Instance { pod: "newer".to_owned(), revision: 2, ..seen.clone() };
    assert!(node.machine().rank(&newer) > node.machine().rank(&seen));
}
