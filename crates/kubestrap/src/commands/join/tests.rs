//! `join` from end to end, on fakes.

use cluster::{ClusterConfig, NetworkProvider};
use jiff::SignedDuration;
use names::path;
use serde_json::json;
use tokio::time::Instant;

use super::steps::{Joined, Outcome, Step};
use super::world::{Kill, NODE, TOKEN, World};
use crate::exit::{Exit, Failure};

const STEPS: [Step; 6] = [Step::Find, Step::Check, Step::Install, Step::Import, Step::Wait, Step::Forget];

fn joined(outcome: Result<Outcome, Failure>) -> Joined {
    match outcome {
        Ok(Outcome::Joined(joined)) => joined,
        Ok(other) => panic!("{other:?}"),
        Err(failure) => panic!("{:?} {:#}", failure.exit, failure.error),
    }
}

/// How it failed, when it failed so and said this.
fn failed(outcome: Result<Outcome, Failure>, exit: Exit, said: &str) -> String {
    let failure = outcome.unwrap_err();
    let told = format!("{:#}", failure.error);
    assert_eq!(failure.exit, exit, "{told}");
    assert!(told.contains(said), "{told}");
    failure.hint.unwrap_or_default()
}

fn is_member(world: &World) {
    for unit in ["containerd.service", "kubelet.service"] {
        assert!(world.machine().runs(unit), "{unit}");
    }
    assert!(!world.machine().images().is_empty());
    assert!(!world.root(path::KUBELET_BOOTSTRAP_KUBECONFIG).exists());
    for (name, content) in world.files() {
        let text = String::from_utf8_lossy(&content);
        assert!(!text.contains(TOKEN), "the token is in {name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_bare_host_becomes_a_node_and_a_second_run_changes_nothing() {
    let world = World::new();
    let first = joined(world.join(&[]).await);
    assert!(first.changed && first.ready);
    assert_eq!((first.node.as_str(), first.server.as_str()), (NODE, "https://192.0.2.1:6443"));
    is_member(&world);
    let (files, called) = (world.files(), world.machine().called().len());
    // Also when the token has expired since.
    world.tokens(&[]);
    let again = joined(world.join(&[]).await);
    assert!(!again.changed);
    assert_eq!(again.to_string(), "nothing to do: w is a node of https://192.0.2.1:6443, and Ready");
    assert_eq!(world.files(), files);
    let looks = ["is-active", "images list", "images check"];
    for line in &world.machine().called()[called..] {
        assert!(looks.iter().any(|look| line.contains(look)), "{line}");
    }
}

#[tokio::test(start_paused = true)]
async fn images_are_there_before_the_kubelet_starts() {
    let world = World::new();
    joined(world.join(&[]).await);
    let called = world.machine().called();
    let at = |what: &str| called.iter().position(|line| line.contains(what)).unwrap();
    assert!(at("images import") < at("restart kubelet.service"), "{called:?}");
}

#[tokio::test(start_paused = true)]
async fn killed_before_any_step_and_run_again_it_ends_the_same() {
    let unharmed = World::new();
    joined(unharmed.join(&[]).await);
    for step in STEPS {
        let world = World::new();
        let killed = world.join_as(TOKEN, &world.pin(), Kill::Before(step), &[]).await;
        assert!(killed.is_none(), "{step:?} is not done");
        joined(world.join(&[]).await);
        is_member(&world);
        assert!(world.files().keys().eq(unharmed.files().keys()), "{step:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn killed_at_any_program_and_run_again_it_ends_the_same() {
    let unharmed = World::new();
    joined(unharmed.join(&[]).await);
    let programs = unharmed.machine().called().len();
    assert!(programs > 10, "{:?}", unharmed.machine().called());
    for number in 0..programs {
        for done in [false, true] {
            let world = World::new();
            let kill = Kill::AtProgram(number, done);
            let ended = world.join_as(TOKEN, &world.pin(), kill, &[]).await;
            assert!(ended.is_none(), "{kill:?}");
            joined(world.join(&[]).await);
            is_member(&world);
            assert!(world.files().keys().eq(unharmed.files().keys()), "{kill:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_that_was_killed_is_gone_on_with_by_another_token() {
    let world = World::new();
    world.refuses(Some("not yet"));
    failed(world.join(&[]).await, Exit::Conflict, "not yet");
    world.refuses(None);
    let other = "ghijkl.0123456789abcdef";
    world.tokens(&[other]);
    let ended = world.join_as(other, &world.pin(), Kill::Never, &[]).await.unwrap();
    assert!(joined(ended).changed);
    is_member(&world);
}

#[tokio::test(start_paused = true)]
async fn a_plan_changes_nothing_and_says_all() {
    let world = World::new();
    let files = world.files();
    let Ok(Outcome::Planned(planned)) = world.join(&["--dry-run"]).await else { panic!("no plan") };
    let text = planned.to_string();
    for line in [
        "install /usr/local/bin/kubelet",
        "write /etc/kubernetes/bootstrap-kubelet.conf",
        "write /etc/kubernetes/pki/ca.crt",
        "start kubelet.service",
        "it joins https://192.0.2.1:6443 as w",
    ] {
        assert!(text.contains(line), "{line} is not in {text}");
    }
    assert!(!serde_json::to_string(&planned).unwrap().contains(TOKEN));
    assert_eq!(
        (world.files(), world.machine().called().iter().any(|l| l.contains("restart"))),
        (files, false)
    );
}

#[tokio::test(start_paused = true)]
async fn the_kubelet_is_what_the_cluster_tells() {
    let world = World::new();
    let text = "{network: {dnsDomain: k.lan, serviceCIDRs: [10.99.0.0/16]}, featureGates: {A: true}, \
                components: {kubelet: {extraArgs: {v: '7'}}}}";
    world.tells(&ClusterConfig::parse("c", text).unwrap());
    let more = ["--node-labels", "disk=fast,example.com/rack=b7", "--taints", "dedicated=db:NoSchedule"];
    joined(world.join(&more).await);
    let read = |path: &str| host::fs::read_to_string(&world.root(path)).unwrap();
    let config = read(path::KUBELET_CONFIG);
    for line in
        ["clusterDomain: k.lan", "10.99.0.10", "A: true", "key: dedicated", "rotateCertificates: true"]
    {
        assert!(config.contains(line), "{line} is not in {config}");
    }
    let unit = read("/etc/systemd/system/kubelet.service");
    for word in ["--node-labels=disk=fast,example.com/rack=b7", "--v=7", "--hostname-override=w"] {
        assert!(unit.contains(word), "{word} is not in {unit}");
    }
    // Labels are told once: who asks for the same, or for none, is told that there is nothing to do.
    assert!(!joined(world.join(&more).await).changed);
    assert!(!joined(world.join(&[]).await).changed);
    let hint = failed(
        world.join(&["--node-labels", "disk=slow"]).await,
        Exit::Conflict,
        "w was registered with labels disk=fast,example.com/rack=b7 and taints dedicated=db:NoSchedule, and labels disk=slow are asked for now",
    );
    assert!(hint.contains("kubectl label node w"), "{hint}");
}

#[tokio::test(start_paused = true)]
async fn without_a_network_a_node_is_not_waited_for() {
    let world = World::new();
    let mut config = ClusterConfig::default();
    config.network.provider = NetworkProvider::None;
    world.tells(&config);
    assert!(joined(world.join(&[]).await).changed);
}

#[tokio::test(start_paused = true)]
async fn a_bundle_without_the_cluster_s_images_is_refused_before_anything_is_changed() {
    let world = World::new();
    let mut config = ClusterConfig::default();
    let name = config.images().get(cluster::Component::KubeProxy).to_owned();
    let other = format!("sha256:{}", "1".repeat(64));
    config.images.digests.insert(name.clone(), other.parse().unwrap());
    // The control plane's are none of a worker's.
    let apiserver = config.images().get(cluster::Component::KubeApiserver).to_owned();
    config.images.digests.insert(apiserver.clone(), other.parse().unwrap());
    world.tells(&config);
    let files = world.files();
    let outcome = world.join(&[]).await;
    let hint = failed(outcome, Exit::Bundle, &format!("{name}@{other}"));
    assert!(hint.contains("the one that the cluster was made or upgraded with"), "{hint}");
    assert_eq!(world.files(), files);
}

#[tokio::test(start_paused = true)]
async fn what_is_wrong_with_the_command_is_told_before_anything_is_changed() {
    let world = World::new();
    let files = world.files();
    let began = Instant::now();
    let other = World::new();
    let outcome = world.join_as(TOKEN, &other.pin(), Kill::Never, &[]).await.unwrap();
    failed(outcome, Exit::Untrusted, &format!("and not {}", other.pin()));
    let outcome = world.join_as("zzzzzz.0123456789abcdef", &world.pin(), Kill::Never, &[]).await.unwrap();
    let hint = failed(outcome, Exit::Token, "knows no token zzzzzz");
    assert!(hint.ends_with("kubestrap token create --print-join-command"), "{hint}");
    let outcome = world.join_as("abcdef.ffffffffffffffff", &world.pin(), Kill::Never, &[]).await.unwrap();
    failed(outcome, Exit::Token, "another secret part");
    world.clock_ahead(SignedDuration::from_mins(200));
    let said = "this host's clock and the API server's differ by 3 h";
    failed(world.join(&[]).await, Exit::Preflight, said);
    world.clock_ahead(SignedDuration::ZERO);
    world.gone();
    let hint = failed(world.join(&[]).await, Exit::Unreachable, "nobody answers as an API server");
    assert!(hint.contains("curl -k https://192.0.2.1:6443/livez"), "{hint}");
    assert_eq!(world.files(), files);
    assert!(began.elapsed().as_secs() < 10, "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_name_that_somebody_has_is_refused_before_anything_is_changed() {
    let world = World::new();
    let files = world.files();
    let node = |ready: &str| {
        json!({"metadata": {"name": NODE}, "status": {"addresses": [{"type": "InternalIP",
            "address": "192.0.2.7"}], "conditions": [{"type": "Ready", "status": ready}]}})
    };
    world.cluster().put("/api/v1/nodes/w", node("True"));
    let hint = failed(world.join(&[]).await, Exit::Conflict, "a living node w at 192.0.2.7");
    assert!(hint.contains("--node-name"), "{hint}");
    world.cluster().put("/api/v1/nodes/w", node("Unknown"));
    let hint = failed(world.join(&[]).await, Exit::Conflict, "which is not Ready");
    assert!(hint.contains("kubectl delete node w"), "{hint}");
    assert_eq!(world.files(), files);
}

#[tokio::test(start_paused = true)]
async fn a_bundle_of_another_version_than_the_cluster_takes_is_refused() {
    let world = World::new();
    world.cluster().say("/version", 200, &json!({"gitVersion": "v1.36.1"}).to_string());
    let files = world.files();
    failed(world.join(&[]).await, Exit::Preflight, "cannot work with a control plane v1.36.1");
    assert_eq!(world.files(), files);
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_does_not_tell_what_its_workers_are_made_of_is_told() {
    let world = World::new();
    world.cluster().remove("/api/v1/namespaces/kube-system/configmaps/kubestrap-node");
    let hint = failed(world.join(&[]).await, Exit::NotFound, "no ConfigMap kube-system/kubestrap-node");
    assert!(hint.contains("kubestrap upgrade apply"), "{hint}");
    // Its right comes with it: an API that has neither refuses.
    let path = "/api/v1/namespaces/kube-system/configmaps/kubestrap-node";
    world.cluster().say(path, 403, "forbidden");
    failed(world.join(&[]).await, Exit::NotFound, "no ConfigMap kube-system/kubestrap-node");
}

#[tokio::test(start_paused = true)]
async fn a_host_that_is_another_node_already_is_refused_by_name() {
    let world = World::new();
    joined(world.join(&[]).await);
    let files = world.files();
    let other = World::new();
    let outcome = world.join_as(TOKEN, &other.pin(), Kill::Never, &[]).await.unwrap();
    let said = "this host is a node w of another cluster already, whose API is at https://192.0.2.1:6443";
    failed(outcome, Exit::Conflict, said);
    failed(world.join(&["--node-name", "x"]).await, Exit::Conflict, "this node is called w");
    assert_eq!(world.files(), files);
    let keys = world.root(path::CONTROL_PLANE);
    host::fs::create_dir_all(&keys, 0o755).unwrap();
    host::fs::write(&keys.join("kubestrap.yaml"), b"", 0o600).unwrap();
    failed(world.join(&[]).await, Exit::Conflict, "the control-plane node w of this very cluster");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_does_not_come_up_is_told_with_what_it_lacks() {
    let world = World::new();
    world.refuses(Some("there is a node w already: kubectl delete node w"));
    failed(world.join(&[]).await, Exit::Conflict, "there is a node w already");
    world.refuses(None);
    // Known when it was looked at, and no more when the kubelet asks.
    let world = World::new();
    world.join_as(TOKEN, &world.pin(), Kill::Before(Step::Wait), &[]).await;
    world.cluster().put("/api/v1/nodes/w", json!({"metadata": {"name": NODE}}));
    world.refuses(Some("no"));
    let hint = failed(world.join(&[]).await, Exit::NotReady, "node w is not Ready within 5 s");
    assert!(hint.contains("journalctl -u kubelet"), "{hint}");
}

#[test]
fn without_a_bundle_it_says_that_one_is_needed() {
    let failure = super::no_bundle();
    assert_eq!(failure.exit, Exit::Usage);
    assert!(failure.error.to_string().starts_with("join needs --bundle for now"));
}
