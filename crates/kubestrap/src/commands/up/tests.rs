//! `up` from end to end, on fakes.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bundle::Bundle;
use cluster::{ClusterConfig, Component, KeyAlgorithm};
use names::path;
use pki::{Authority, Leaf, Terms, Usage};
use tokio::time::Instant;

use super::steps::{Outcome, Step};
use super::world::{Kill, NODE, World, differences};
use crate::exit::Exit;

const STEPS: [Step; 9] = [
    Step::Check,
    Step::Render,
    Step::Install,
    Step::Import,
    Step::Etcd,
    Step::Member,
    Step::Start,
    Step::Kubeconfig,
    Step::Addons,
];

/// Whether anything was to be started, of a run that leaves nothing to be waited for.
fn changed(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Up { summary, unconnected } if unconnected.is_empty() => summary.changed,
        other => panic!("{other:?}"),
    }
}

fn images() -> Vec<String> {
    ClusterConfig::default().images().iter().map(|(_, image)| image.to_string()).collect()
}

pub(super) fn is_prepared(world: &World) {
    let kept = world.machine().images();
    assert!(images().iter().all(|image| kept[image].pinned), "{kept:?}");
    for unit in ["containerd.service", "kubelet.service"] {
        assert!(world.machine().runs(unit), "{unit}");
    }
    assert!(world.root(path::INSTALLED).exists());
    let read = |path: &Path| host::fs::read_to_string(path).unwrap();
    assert_eq!(read(&world.root("/proc/sys/net/ipv4/ip_forward")), "1\n");
    assert_eq!(read(&world.root(path::CA_CERTIFICATE)), read(&world.assets().join("tls/ca.crt")));
}

fn is_whole(world: &World) {
    is_prepared(world);
    let pods = [
        "coredns",
        "etcd",
        "kube-apiserver",
        "kube-controller-manager",
        "kube-flannel-ds",
        "kube-proxy",
        "kube-scheduler",
        "kubestrap-guardian",
    ];
    assert_eq!(world.pods(), pods);
    assert!(!world.root(path::BOOTSTRAP_SECRETS).exists());
    let admin = world.root(path::ADMIN_KUBECONFIG);
    let rendered = world.assets().join("auth/kubeconfig");
    assert_eq!(host::fs::read(&admin).unwrap(), host::fs::read(&rendered).unwrap());
    assert_eq!(admin.metadata().unwrap().permissions().mode() & 0o777, 0o600);
}

#[tokio::test(start_paused = true)]
async fn a_bare_host_becomes_a_whole_cluster_and_a_second_run_changes_nothing() {
    let world = World::new();
    assert!(changed(&world.up(&[]).await.unwrap()));
    is_whole(&world);
    let (files, called) = (world.files(), world.machine().called().len());
    let asked = world.cluster().asked().len();
    assert!(!changed(&world.up(&[]).await.unwrap()));
    assert_eq!(world.files(), files);
    let looks = ["is-active", "images list", "images check"];
    for line in &world.machine().called()[called..] {
        assert!(looks.iter().any(|look| line.contains(look)), "{line}");
    }
    let asked = world.cluster().asked().split_off(asked);
    // A further pod of each workload is asked for in a dry run: whether it would be refused.
    let looks =
        |asked: &String| asked.starts_with("GET ") || asked == "POST /api/v1/namespaces/kube-system/pods";
    assert!(asked.iter().all(looks), "{asked:?}");
}

#[tokio::test(start_paused = true)]
async fn killed_before_any_step_and_run_again_it_ends_the_same() {
    let unharmed = World::new();
    unharmed.up(&[]).await.unwrap();
    let unharmed = unharmed.end();
    for step in STEPS {
        let world = World::new();
        assert!(world.up_until(Kill::Before(step), &[]).await.is_none(), "{step:?} is not done");
        world.up(&[]).await.unwrap_or_else(|failure| panic!("{step:?}: {:#}", failure.error));
        is_whole(&world);
        assert_eq!(differences(&world.end(), &unharmed), [].into(), "{step:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn killed_at_any_program_and_run_again_the_host_is_prepared_the_same() {
    let unharmed = World::new();
    unharmed.up(&["--prepare-only"]).await.unwrap();
    let programs = unharmed.machine().called().len();
    assert!(programs > 10, "{:?}", unharmed.machine().called());
    let unharmed = unharmed.end();
    for number in 0..programs {
        for done in [false, true] {
            let world = World::new();
            let kill = Kill::AtProgram(number, done);
            assert!(world.up_until(kill, &["--prepare-only"]).await.is_none(), "{kill:?}");
            let again = world.up(&["--prepare-only"]).await;
            again.unwrap_or_else(|failure| panic!("{kill:?}: {:#}", failure.error));
            is_prepared(&world);
            assert_eq!(differences(&world.end(), &unharmed), [].into(), "{kill:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_control_plane_that_never_gets_ready_is_told_with_what_to_do_next() {
    let world = World::new();
    world.kubelet(|kubelet| kubelet.ready = false);
    let failure = world.up(&[]).await.unwrap_err();
    assert_eq!(failure.exit, Exit::NotReady);
    let said = failure.error.to_string();
    assert!(said.starts_with("the self-hosted control plane was not ready within 5 s"), "{said}");
    let hint = failure.hint.unwrap();
    assert_eq!(hint, "mend the cause and run the same command again; what is up stays up");
    assert!(world.pods().contains(&"bootstrap-kube-apiserver".to_owned()), "{:?}", world.pods());
    assert!(!world.root(path::ADMIN_KUBECONFIG).exists());
    world.kubelet(|kubelet| kubelet.ready = true);
    world.up(&[]).await.unwrap();
    is_whole(&world);
}

#[tokio::test(start_paused = true)]
async fn add_ons_that_never_get_ready_are_named_unless_nobody_waits_for_them() {
    let world = World::new();
    world.kubelet(|kubelet| kubelet.network = false);
    world.up(&["--no-wait"]).await.unwrap();
    let began = Instant::now();
    let failure = world.up(&[]).await.unwrap_err();
    // Five seconds are what it was told to wait.
    assert!((5..6).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
    assert_eq!(failure.exit, Exit::NotReady);
    let said = failure.error.to_string();
    assert!(
        said.ends_with("these pods are not ready:\n  coredns-x7k2p: the pod is Running and not Ready"),
        "{said}"
    );
    let hint = failure.hint.unwrap();
    assert!(
        hint.ends_with("kubectl --kubeconfig /etc/kubernetes/admin.conf -n kube-system describe pods"),
        "{hint}"
    );
    // Who is to look at them can.
    is_whole(&world);
    assert!(!changed(&world.up(&["--no-wait"]).await.unwrap()));
}

#[tokio::test(start_paused = true)]
async fn a_node_that_was_deleted_from_the_api_is_brought_back() {
    let world = World::new();
    world.up(&[]).await.unwrap();
    let node = format!("/api/v1/nodes/{NODE}");
    let labels = || world.cluster().object(&node).map(|node| node["metadata"]["labels"].clone());
    let before = labels();
    assert!(before.is_some());
    world.cluster().remove(&node);
    assert!(changed(&world.up(&[]).await.unwrap()));
    assert_eq!(labels(), before);
    is_whole(&world);
}

#[tokio::test(start_paused = true)]
async fn what_is_in_the_way_of_the_add_ons_is_named_with_what_ends_it() {
    let world = World::new();
    world.up(&["--no-wait"]).await.unwrap();
    world.kubelet(|kubelet| kubelet.network = false);
    let hook = serde_json::json!({"items": [{"metadata": {"name": "dead"}, "webhooks": [{"name": "a.b.c",
        "clientConfig": {"service": {"namespace": "default", "name": "nobody"}},
        "rules": [{"apiGroups": [""], "operations": ["CREATE"], "resources": ["pods"]}]}]}]});
    let hooks = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";
    world.cluster().say(hooks, 200, &hook.to_string());
    let said = world.up(&[]).await.unwrap_err().error.to_string();
    assert!(
        said.contains("\nin the way: ValidatingWebhookConfiguration dead is asked of new pods"),
        "{said}"
    );
    assert!(said.ends_with("remove it: kubectl delete validatingwebhookconfiguration dead"), "{said}");
}

#[tokio::test(start_paused = true)]
async fn pods_that_wait_for_the_user_s_own_network_are_named_and_not_waited_for() {
    let world = World::new();
    world.kubelet(|kubelet| kubelet.network = false);
    let own = ["--set", "network.provider=none"];
    world.up(&[&own[..], &["--no-wait"]].concat()).await.unwrap();
    let began = Instant::now();
    let Outcome::Up { unconnected, .. } = world.up(&own).await.unwrap() else { panic!("it is not up") };
    assert_eq!(unconnected, ["coredns-x7k2p: the pod is Running and not Ready"]);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    world.kubelet(|kubelet| kubelet.network = true);
    changed(&world.up(&own).await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn prepare_only_starts_nothing_and_is_gone_on_with() {
    let world = World::new();
    assert!(matches!(world.up(&["--prepare-only"]).await.unwrap(), Outcome::Prepared));
    is_prepared(&world);
    assert_eq!(world.pods(), Vec::<String>::new());
    assert_eq!(host::fs::list(&world.root(path::STATIC_PODS)).unwrap(), Vec::<PathBuf>::new());
    assert_eq!(world.cluster().asked(), Vec::<String>::new());
    assert!(!world.root(path::ADMIN_KUBECONFIG).exists());
    let called = world.machine().called().len();
    assert!(changed(&world.up(&[]).await.unwrap()));
    is_whole(&world);
    assert!(!world.machine().called()[called..].iter().any(|line| line.contains("import")));
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_says_what_would_be_done_and_does_nothing() {
    let world = World::new();
    let dry_run = async || match world.up(&["--dry-run"]).await.unwrap() {
        Outcome::Planned(planned) => (planned.to_string(), serde_json::to_value(planned).unwrap()),
        other => panic!("{other:?}"),
    };
    let before = world.files();
    let (text, value) = dry_run().await;
    assert_eq!(world.files(), before);
    let called = world.machine().called();
    assert!(called.iter().all(|line| line.starts_with("systemctl is-active ")), "{called:?}");
    assert!(world.cluster().asked().is_empty());
    for line in ["write tls/ca.key", "install /usr/local/bin/kubelet", "start kubelet.service"] {
        assert!(text.lines().any(|found| found == line), "{line}: {text}");
    }
    assert!(!value.to_string().contains("PRIVATE KEY"));
    world.up(&["--prepare-only"]).await.unwrap();
    let (_, value) = dry_run().await;
    assert_eq!(value, serde_json::json!({"render": [], "install": {"actions": []}}));
}

#[tokio::test(start_paused = true)]
async fn images_that_the_bundle_lacks_are_named_before_anything_is_changed() {
    let (mut there, images) = (images(), ClusterConfig::default().images());
    let lacked = [Component::Coredns, Component::KubeProxy].map(|c| images.get(c).to_string());
    there.retain(|image| !lacked.contains(image));
    let world = World::with_images(&there);
    let before = world.files();
    let failure = world.up(&[]).await.unwrap_err();
    assert_eq!(failure.exit, Exit::Bundle);
    let said = failure.error.to_string();
    for image in there.iter().chain(&lacked) {
        assert_eq!(said.contains(&format!("\n  {image}")), lacked.contains(image), "{image}: {said}");
    }
    assert!(failure.hint.unwrap().contains("add the images to it"));
    assert_eq!(world.files(), before);
    assert!(world.machine().called().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_bundle_of_another_digest_is_not_used() {
    let world = World::new();
    let before = world.files();
    let digest = Bundle::open(&world.bundle()).unwrap().digest().to_string();
    let other = format!("sha256:{}", "0".repeat(64));
    let failure = world.up(&["--bundle-digest", &other]).await.unwrap_err();
    assert_eq!(failure.exit, Exit::Bundle);
    let said = failure.error.to_string();
    assert!(said.contains(&digest) && said.contains(&other), "{said}");
    assert_eq!(world.files(), before);
    assert!(world.machine().called().is_empty());
    world.up(&["--bundle-digest", &digest]).await.unwrap();
    is_whole(&world);
}

#[tokio::test(start_paused = true)]
async fn a_host_that_is_not_fit_is_left_as_it_is_unless_it_is_to_be_used_all_the_same() {
    let mut world = World::new();
    world.facts.memory_mib = 1000;
    let before = world.files();
    let failure = world.up(&[]).await.unwrap_err();
    assert_eq!(failure.exit, Exit::Preflight);
    assert!(
        failure.error.to_string().starts_with("1 preflight check failed\n  Mem failed"),
        "{}",
        failure.error
    );
    assert!(failure.hint.unwrap().contains("--ignore-preflight-errors"));
    assert_eq!(world.files(), before);
    assert!(world.machine().called().is_empty());
    world.up(&["--ignore-preflight-errors", "mem"]).await.unwrap();
    is_whole(&world);
}

#[tokio::test(start_paused = true)]
async fn another_cluster_s_node_is_not_taken_over() {
    let (theirs, ours) = (World::new(), World::new());
    theirs.up(&["--prepare-only"]).await.unwrap();
    ours.up(&["--prepare-only"]).await.unwrap();
    // An asset directory that was lost is another cluster.
    host::fs::remove_dir_all(&ours.assets()).unwrap();
    let before = ours.files();
    let failure = ours.up(&[]).await.unwrap_err();
    assert_eq!(failure.exit, Exit::Preflight);
    assert!(failure.error.to_string().contains("is another cluster's"), "{}", failure.error);
    assert_eq!(ours.files(), before);
}

/// The clock runs: a connection is refused in no time.
#[tokio::test]
async fn nothing_is_started_on_an_etcd_that_does_not_answer() {
    let world = World::new();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let terms = Terms {
        algorithm: KeyAlgorithm::EcdsaP256,
        validity: Duration::from_hours(24),
        now: jiff::Timestamp::now(),
    };
    let authority = Authority::generate("etcd", terms).unwrap();
    let leaf =
        Leaf { common_name: NODE.to_owned(), organization: None, names: Vec::new(), usage: Usage::Client };
    let client = authority.issue(&leaf, terms).unwrap();
    let files =
        [("caFile", authority.cert_pem()), ("certFile", &client.cert_pem), ("keyFile", &client.key_pem)];
    let keys = files.map(|(key, pem)| {
        host::fs::write(&world.dir().join(key), pem.as_bytes(), 0o600).unwrap();
        format!("{key}: {}", world.dir().join(key).display())
    });
    let external =
        format!("etcd={{external: {{endpoints: ['https://127.0.0.1:{port}'], {}}}}}", keys.join(", "));
    let failure = world.up(&["--set", &external]).await.unwrap_err();
    assert_eq!(failure.exit, Exit::Preflight);
    assert!(failure.error.to_string().contains("etcd does not answer"), "{:#}", failure.error);
    is_prepared(&world);
    assert_eq!(world.pods(), Vec::<String>::new());
    assert!(!world.root(path::ADMIN_KUBECONFIG).exists());
}

/// Nothing is done, and it is said what differs and what to do instead.
async fn is_refused(world: &World, more: &[&str], said: &[&str], hint: &[&str]) {
    let (files, called) = (world.files(), world.machine().called().len());
    for line in [more, &[more, &["--dry-run"]].concat()] {
        let failure = world.up(line).await.unwrap_err();
        assert_eq!(failure.exit, Exit::Differs, "{:#}", failure.error);
        let (error, hinted) = (failure.error.to_string(), failure.hint.unwrap());
        assert_eq!(error.lines().skip(1).map(str::trim).collect::<Vec<_>>(), said);
        assert!(hint.iter().all(|part| hinted.contains(part)), "{hinted}");
    }
    assert!(world.files() == files, "files were changed");
    assert_eq!(world.machine().called().len(), called);
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_runs_keeps_its_config_and_another_one_is_refused() {
    let world = World::new();
    world.up(&["--set", "audit.enabled=false"]).await.unwrap();
    let files = world.files();
    // The config that counts without a flag is the directory's own.
    assert!(!changed(&world.up(&[]).await.unwrap()));
    assert!(world.files() == files, "files were changed");
    let assets = world.assets();
    let hint = format!("`kubestrap upgrade plan --set audit.enabled=true --asset-dir {}`", assets.display());
    is_refused(&world, &["--set", "audit.enabled=true"], &["audit.enabled: false → true"], &[&hint]).await;
    let config = world.dir().join("cluster.yaml");
    host::fs::write(&config, b"network: {podCIDRs: [10.50.0.0/16]}\n", 0o644).unwrap();
    let said = ["audit.enabled: false → true", "network.podCIDRs: [\"10.244.0.0/16\"] → [\"10.50.0.0/16\"]"];
    let hint = format!("--config {}", config.display());
    is_refused(&world, &["--config", config.to_str().unwrap()], &said, &[&hint]).await;
    // One that was changed in the directory is not what the cluster was made with.
    let own = assets.join("kubestrap.yaml");
    let text =
        host::fs::read_to_string(&own).unwrap().replace("clusterName: kubernetes", "clusterName: other");
    host::fs::write(&own, text.as_bytes(), 0o600).unwrap();
    is_refused(&world, &[], &["clusterName: kubernetes → other"], &["`kubestrap upgrade plan --asset-dir /"])
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_bring_up_that_failed_is_gone_on_with_with_another_config() {
    let world = World::new();
    world.kubelet(|kubelet| kubelet.ready = false);
    world.up(&["--set", "audit.enabled=false"]).await.unwrap_err();
    let made_with = || {
        let path = world.root(path::CONTROL_PLANE).join("kubestrap.yaml");
        ClusterConfig::parse("c", &host::fs::read_to_string(&path).unwrap()).unwrap()
    };
    assert!(!made_with().audit.enabled);
    world.kubelet(|kubelet| kubelet.ready = true);
    assert!(changed(&world.up(&["--set", "audit.enabled=true"]).await.unwrap()));
    assert!(made_with().audit.enabled);
    is_whole(&world);
}

#[tokio::test(start_paused = true)]
async fn a_bundle_of_another_version_is_not_put_on_a_node_whose_cluster_runs() {
    let world = World::new();
    world.up(&[]).await.unwrap();
    let running = ClusterConfig::default().kubernetes_version.to_string();
    for other in ["v1.36.3", "v1.37.99"] {
        host::fs::remove_dir_all(&world.bundle()).unwrap();
        let of_other =
            ClusterConfig { kubernetes_version: other.parse().unwrap(), ..ClusterConfig::default() };
        let images: Vec<_> = of_other.images().iter().map(|(_, image)| image.to_string()).collect();
        fakes::bundle::write(&world.bundle(), other, &images, &bundle::HOST_PROGRAMS);
        let said = format!("kubernetesVersion: {running} → {other}");
        let plan = format!("`kubestrap upgrade plan {other} --bundle {}", world.bundle().display());
        is_refused(&world, &[], &[&said], &[&plan]).await;
        // Also when the config says the version that runs.
        let set = format!("kubernetesVersion={running}");
        is_refused(&world, &["--set", &set], &[&said], &[]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn of_two_on_a_host_or_an_asset_directory_the_second_waits_and_says_for_whom() {
    let world = World::new();
    let files = world.files();
    for (place, what) in [
        (world.root(path::HOST_LOCK), "this host".to_owned()),
        (world.assets(), world.assets().display().to_string()),
    ] {
        let host::lock::Taken::Ours(held) = host::lock::take(&place).unwrap() else {
            panic!("{what} is taken")
        };
        let began = Instant::now();
        let failure = world.up(&[]).await.unwrap_err();
        assert_eq!(failure.exit, Exit::Busy);
        assert!((5..6).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
        let (said, pid) = (failure.error.to_string(), std::process::id());
        assert!(said.contains(&format!("(pid {pid}, begun ")), "{said}");
        assert!(said.ends_with(&format!("is at work on {what}, and nothing was changed")), "{said}");
        assert_eq!(world.files(), files);
        drop(held);
        assert!(!place.exists(), "nothing is left of it");
    }
    world.up(&[]).await.unwrap();
    assert!(!world.root(path::HOST_LOCK).exists());
}
