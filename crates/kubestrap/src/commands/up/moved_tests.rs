//! `up` on a node whose host has got another address since, on fakes.

use std::net::IpAddr;

use names::{annotation, path};
use node::facts::Addresses;

use super::steps::{Outcome, Step};
use super::world::{Kill, World};
use crate::exit::{Exit, Failure};

const OLD: &str = "192.0.2.1";
const NEW: &str = "192.0.2.77";
const CONFIG_MAPS: [&str; 3] = [
    "/api/v1/namespaces/kube-system/configmaps/kube-proxy",
    "/api/v1/namespaces/kube-public/configmaps/cluster-info",
    "/api/v1/namespaces/kube-system/configmaps/kubeadm-config",
];
const PROXY: &str = "/apis/apps/v1/namespaces/kube-system/daemonsets/kube-proxy";
/// Those that a move has and no other run.
const STEPS: [Step; 10] = [
    Step::Check,
    Step::Render,
    Step::Move,
    Step::Install,
    Step::Import,
    Step::Etcd,
    Step::Member,
    Step::Start,
    Step::Follow,
    Step::Kubeconfig,
];

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A cluster, and then the host's address is another one.
async fn moved(more: &[&str]) -> World {
    let mut world = World::new();
    world.up(more).await.unwrap();
    world.facts.addresses = Addresses::example(ip(NEW));
    world
}

fn changed(outcome: Result<Outcome, Failure>) -> bool {
    match outcome.unwrap_or_else(|failure| panic!("{:#}", failure.error)) {
        Outcome::Up { summary, .. } => summary.changed,
        other => panic!("{other:?}"),
    }
}

/// The files and objects that have an address.
fn with(world: &World, address: &str) -> Vec<String> {
    let has = |text: &str| {
        let moved = [assets::address::Moved { was: ip(address), is: ip("192.0.2.200") }];
        assets::address::exchanged(text, &moved).is_some()
    };
    let files = world.files().into_iter().filter(|(_, content)| has(&String::from_utf8_lossy(content)));
    let objects = world.cluster().objects().into_iter().filter(|(_, object)| has(&object.to_string()));
    // What was bound to a node when it was made, and what is kept of what ran.
    let history = |name: &String| {
        name.contains("/checkpoints/") || name.contains("/kubelet/pods/") || name.contains("/pods/")
    };
    files.map(|(name, _)| name).chain(objects.map(|(name, _)| name)).filter(|name| !history(name)).collect()
}

fn has_moved(world: &World) {
    assert_eq!(with(world, OLD), [] as [&str; 0]);
    let unit = host::fs::read_to_string(&world.root(path::UNITS).join(path::KUBELET_UNIT)).unwrap();
    assert!(unit.contains(&format!("--node-ip={NEW}")), "{unit}");
    assert_eq!(world.members()[0].peer_urls, [format!("https://{NEW}:2380")]);
    for file in ["kube-apiserver/apiserver.crt", "../pki/etcd/server.crt", "../pki/etcd/peer.crt"] {
        let pem = host::fs::read_to_string(&world.root(path::CONTROL_PLANE).join(file)).unwrap();
        let names: Vec<_> = pki::inspect(&pem).unwrap().names.iter().map(ToString::to_string).collect();
        assert!(names.contains(&NEW.to_owned()) && !names.contains(&OLD.to_owned()), "{file}: {names:?}");
    }
    let now = with(world, NEW);
    for path in CONFIG_MAPS {
        assert!(now.contains(&path.to_owned()), "{path}: {now:?}");
    }
    let proxy = world.cluster().object(PROXY).unwrap();
    assert_eq!(proxy["spec"]["template"]["metadata"]["annotations"][annotation::ADDRESS], NEW);
    let files = ["etcd.yaml", "admin.conf", "kubelet.conf", "assets/auth/kubeconfig"];
    assert!(files.iter().all(|file| now.iter().any(|name| name.ends_with(file))), "{now:?}");
}

#[tokio::test(start_paused = true)]
async fn one_run_has_everything_follow_and_a_second_one_finds_nothing_to_do() {
    let world = moved(&[]).await;
    assert!(!with(&world, OLD).is_empty());
    assert!(changed(world.up(&[]).await));
    has_moved(&world);
    let files = world.files();
    assert!(!changed(world.up(&[]).await));
    assert_eq!(world.files(), files);
}

#[tokio::test(start_paused = true)]
async fn killed_before_any_step_and_run_again_it_has_followed() {
    for step in STEPS {
        let world = moved(&[]).await;
        assert!(world.up_until(Kill::Before(step), &[]).await.is_none(), "{step:?} is not done");
        changed(world.up(&[]).await);
        has_moved(&world);
    }
}

#[tokio::test(start_paused = true)]
async fn killed_at_any_program_and_run_again_it_has_followed() {
    let unharmed = moved(&[]).await;
    let before = unharmed.machine().called().len();
    changed(unharmed.up(&[]).await);
    let programs = unharmed.machine().called().len() - before;
    assert!(programs > 2, "{:?}", unharmed.machine().called());
    for number in 0..programs {
        for done in [false, true] {
            let world = moved(&[]).await;
            let kill = Kill::AtProgram(number, done);
            assert!(world.up_until(kill, &[]).await.is_none(), "{kill:?}");
            changed(world.up(&[]).await);
            has_moved(&world);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_says_what_is_exchanged() {
    let world = moved(&[]).await;
    let files = world.files();
    let Outcome::Planned(planned) = world.up(&["--dry-run"]).await.unwrap() else { panic!("it is no plan") };
    let first = planned.to_string().lines().next().unwrap().to_owned();
    assert_eq!(
        first,
        "this node's address was 192.0.2.1, as kubelet.service and etcd.yaml and admin.conf have it, and is 192.0.2.77 now: \
         exchange it everywhere"
    );
    assert_eq!(world.files(), files);
}

#[tokio::test(start_paused = true)]
async fn an_address_that_the_host_still_has_stays_the_node_s() {
    let mut world = World::new();
    world.up(&[]).await.unwrap();
    let (files, all) = (world.files(), vec![ip(OLD), ip(NEW)]);
    world.facts.addresses = Addresses { preferred: vec![ip(NEW)], all };
    assert!(!changed(world.up(&[]).await));
    assert_eq!(world.files(), files);
}

#[tokio::test(start_paused = true)]
async fn behind_an_endpoint_that_stays_nobody_is_told() {
    let endpoint = ["--api-endpoint", "192.0.2.99:6443"];
    let world = moved(&endpoint).await;
    let proxy = world.cluster().object(PROXY);
    assert!(changed(world.up(&[]).await));
    assert_eq!(with(&world, OLD), [] as [&str; 0]);
    assert_eq!(world.cluster().object(PROXY), proxy);
    assert_eq!(world.members()[0].peer_urls, [format!("https://{NEW}:2380")]);
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_was_the_node_s_own_is_refused_until_it_is_told() {
    let world = moved(&["--api-endpoint", "192.0.2.1:6443"]).await;
    let files = world.files();
    let failure = world.up(&[]).await.unwrap_err();
    assert_eq!(failure.exit, Exit::Conflict);
    assert!(
        failure.error.to_string().ends_with("and api.endpoint of the cluster is 192.0.2.1"),
        "{}",
        failure.error
    );
    assert_eq!(world.files(), files);
    assert_eq!(world.up(&["--set", "audit.enabled=false"]).await.unwrap_err().exit, Exit::Differs);
    assert!(changed(world.up(&["--api-endpoint", "192.0.2.77:6443"]).await));
    has_moved(&world);
}

#[tokio::test(start_paused = true)]
async fn a_host_that_has_no_address_left_is_told_so() {
    let mut world = moved(&[]).await;
    world.facts.addresses = Addresses { preferred: vec![ip("2001:db8::7")], all: vec![ip("2001:db8::7")] };
    let files = world.files();
    let failure = world.up(&[]).await.unwrap_err();
    assert_eq!(failure.exit, Exit::Preflight);
    assert!(
        failure.error.to_string().contains("this host has no IPv4 address any more"),
        "{}",
        failure.error
    );
    assert_eq!(world.files(), files);
}
