//! A good node, and each way in which it can be broken.

use ::checks::Outcome::{self, Failed, Unknown, Warning};
use checkpoint::Parent;
use etcd::Health;
use jiff::SignedDuration;

use crate::check::Verdict;
use crate::fixture::{CHECKPOINTS, World, component, sandbox};

#[path = "diagnose_etcd_tests.rs"]
mod own_etcd;
#[path = "diagnose_rights_tests.rs"]
mod rights;
#[path = "diagnose_rules_tests.rs"]
mod rules;

/// Breaks a good node and expects exactly these checks to find it.
#[track_caller]
fn broken(break_it: impl FnOnce(&mut World), expected: &[(&str, Outcome)], text: &str) {
    let mut world = World::new();
    break_it(&mut world);
    let (found, told) = world.problems();
    let found: Vec<(&str, Outcome)> = found.iter().map(|(name, outcome)| (name.as_str(), *outcome)).collect();
    assert_eq!(found, expected, "{told}");
    assert!(told.contains(text), "{text:?} is not in\n{told}");
}

fn generation(world: &World, name: &str) -> String {
    let generations = world.store().generations(&component(name)).unwrap();
    generations
        .last()
        .unwrap()
        .dir
        .to_str()
        .unwrap()
        .strip_prefix(world.dir.path().to_str().unwrap())
        .unwrap()
        .to_owned()
}

#[test]
fn a_good_node_comes_back() {
    let world = World::new();
    assert_eq!(world.problems(), (vec![], String::new()));
    let checks = world.checks();
    assert_eq!(Verdict::of(&checks), Verdict::ComesBack);
    assert!(checks.len() > 35, "{}", checks.len());
    let mut names: Vec<_> = checks.iter().map(|check| &check.name).collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), checks.len(), "each check has a name of its own");
}

#[test]
fn what_containerd_keeps() {
    let meta = "/var/lib/containerd/io.containerd.metadata.v1.bolt/meta.db";
    broken(
        |w| w.write(meta, "x", 0o600),
        &[("ContainerdState", Failed), ("ImageFiles", Unknown)],
        &format!("{meta}: neither of its two heads is one; no container would start"),
    );
    broken(
        |w| w.write("/var/lib/containerd/io.containerd.content.v1.content/blobs/sha256/00", "x", 0o600),
        &[("ContainerdState", Failed), ("ImageFiles", Unknown)],
        &format!("{meta}: it is empty or gone, and 1 blobs and 0 snapshots are there"),
    );
}

#[test]
fn files_that_an_install_placed() {
    let record = |w: &World, path: &str, text: &str| {
        let digest = node::sha256_hex(text.as_bytes());
        let files = format!(r#"{{"{path}": {{"kept": false, "digests": ["{digest}"]}}}}"#);
        let record = format!(
            r#"{{"version": 1, "files": {files}, "dirs": {{}}, "trees": {{}}, "sysctls": {{}}, "units": {{}}, "interfaces": []}}"#
        );
        w.write(names::path::INSTALLED, &record, 0o644);
    };
    let config = "/var/lib/kubelet/config.yaml";
    let world = World::new();
    let text = host::fs::read_to_string(&world.path(config)).unwrap();
    record(&world, config, &text);
    assert_eq!(world.problems(), (vec![], String::new()));
    broken(
        |w| record(w, config, "other"),
        &[("NodeFiles", Warning)],
        "/var/lib/kubelet/config.yaml: changed or gone since kubestrap wrote it",
    );
    broken(|w| record(w, "/gone", "x"), &[("NodeFiles", Warning)], "/gone: changed or gone");
}

#[test]
fn the_kubelet() {
    broken(
        |w| w.remove("/usr/local/bin/kubelet"),
        &[("KubeletInstalled", Failed)],
        "/usr/local/bin/kubelet, which is no program",
    );
    broken(|w| w.remove("/etc/systemd/system/kubelet.service"), &[("KubeletInstalled", Unknown)], "no unit");
    broken(
        |w| w.remove("/etc/systemd/system/multi-user.target.wants/kubelet.service"),
        &[("KubeletEnabled", Failed)],
        "not started at boot",
    );
    broken(
        |w| w.live().kubelet = Some(Err("refused".into())),
        &[("KubeletRunning", Failed)],
        "not healthy (refused)",
    );
    broken(|w| w.live().kubelet = None, &[("KubeletRunning", Unknown)], "turned off");
    broken(|w| w.remove("/var/lib/kubelet/config.yaml"), &[("StaticPodDir", Failed)], "cannot be read");
    broken(
        |w| w.write("/var/lib/kubelet/config.yaml", "imageGCHighThresholdPercent: 100\n", 0o644),
        &[("StaticPodDir", Failed)],
        "not told to read static pods",
    );
    broken(
        |w| {
            w.write(
                "/var/lib/kubelet/config.yaml",
                "staticPodPath: /etc/else\nimageGCHighThresholdPercent: 100\n",
                0o644,
            );
        },
        &[("StaticPodDir", Failed)],
        "reads static pods from /etc/else",
    );
}

#[test]
fn the_kubelet_s_credentials() {
    const NAME: &str = "KubeletCredentials";
    broken(|w| w.remove("/etc/kubernetes/kubelet.conf"), &[(NAME, Failed)], "cannot be read");
    broken(
        |w| w.write("/etc/kubernetes/kubelet.conf", "users: []\n", 0o600),
        &[(NAME, Failed)],
        "no kubeconfig with credentials",
    );
    broken(
        |w| w.remove("/var/lib/kubelet/pki/kubelet-client-1.pem"),
        &[(NAME, Failed)],
        "kubelet-client-current.pem cannot be read",
    );
    // It renews itself: short is no problem, a last tenth is, an end is one.
    broken(|w| w.kubelet_certificate(3600), &[], "");
    let short = |w: &mut World, rest: i64| {
        w.kubelet_certificate(100_000);
        w.now += SignedDuration::from_secs(100_000 - rest);
    };
    broken(|w| short(w, 9000), &[(NAME, Warning)], "in 2 h");
    broken(|w| short(w, -1), &[(NAME, Failed)], "expired at");
}

#[test]
fn what_others_left_or_changed_on_the_host() {
    const SWAPS: &str = "Filename Type Size Used Priority\n/swap file 9 0 -2\n";
    broken(|w| w.write("/proc/swaps", SWAPS, 0o444), &[("Swap", Failed)], "swap is on and the kubelet's");
    let allowed = |w: &mut World| {
        w.write("/proc/swaps", SWAPS, 0o444);
        let config =
            "failSwapOn: false\nstaticPodPath: /etc/kubernetes/manifests\nimageGCHighThresholdPercent: 100\n";
        w.write("/var/lib/kubelet/config.yaml", config, 0o644);
    };
    broken(allowed, &[], "");
    broken(|w| w.write("/proc/swaps", "Filename Type Size Used Priority\n", 0o444), &[], "");
    broken(
        |w| w.write("/var/lib/kubelet/cpu_manager_state", "", 0o600),
        &[("KubeletState", Failed)],
        "/var/lib/kubelet/cpu_manager_state: no JSON",
    );
    broken(
        |w| {
            let text = "[Service]\nExecStart=\nExecStart=/usr/local/bin/kubelet --config=/var/lib/kubelet/config.yaml\n";
            w.write("/usr/lib/systemd/system/kubelet.service.d/10-kubeadm.conf", text, 0o644);
        },
        &[("UnitCommand-kubelet.service", Failed)],
        "/usr/lib/systemd/system/kubelet.service.d/10-kubeadm.conf has systemd run",
    );
    let foreign = |w: &mut World| w.write("/etc/cni/net.d/05-calico.conflist", "{}", 0o644);
    broken(foreign, &[], "");
    let two = |w: &mut World| {
        foreign(w);
        w.write("/etc/cni/net.d/10-flannel.conflist", "{}", 0o644);
    };
    broken(two, &[("CniConfig", Warning)], "/etc/cni/net.d/05-calico.conflist is of another");
    let unit = "# Written by kubestrap; x\n[Service]\nExecStart=/usr/local/bin/containerd\n";
    let ours = |w: &mut World| w.write("/etc/systemd/system/containerd.service", unit, 0o644);
    broken(ours, &[("ContainerdConfig", Warning)], "/etc/containerd/config.toml is not what kubestrap wrote");
}

#[test]
fn the_container_runtime() {
    let silent = |w: &mut World| w.live().runtime = Err("no container runtime listens".into());
    let mut expected =
        vec![("CRI", Failed), ("SandboxImage", Unknown), ("EtcdImage", Unknown), ("GuardianImage", Unknown)];
    let names: Vec<_> = ["kube-apiserver", "kube-controller-manager", "kube-scheduler"]
        .iter()
        .flat_map(|name| [format!("Current-kube-system/{name}"), format!("Images-kube-system/{name}")])
        .collect();
    expected.extend(names.iter().map(|name| (name.as_str(), Unknown)));
    broken(silent, &expected, "no container runtime listens");
    broken(|w| w.runtime().not_ready = Some("x: y".into()), &[("CRI", Failed)], "cannot start pods: x: y");
    broken(|w| w.remove("/usr/local/bin/containerd"), &[("ContainerdInstalled", Failed)], "no program");
    broken(
        |w| w.remove("/etc/systemd/system/multi-user.target.wants/containerd.service"),
        &[("ContainerdEnabled", Failed)],
        "",
    );
    broken(|w| w.remove("/etc/systemd/system/containerd.service"), &[], "");
}

#[test]
fn images() {
    let lacks = |image: &'static str| {
        move |w: &mut World| {
            w.runtime().images.insert(image.to_owned(), false);
        }
    };
    broken(lacks("registry.k8s.io/pause:3.10"), &[("SandboxImage", Failed)], "no pod can start");
    broken(lacks("etcd:3"), &[("EtcdImage", Failed)], "etcd:3");
    broken(lacks("kubestrap:1"), &[("GuardianImage", Failed)], "kubestrap:1");
    broken(lacks("kube-scheduler:1"), &[("Images-kube-system/kube-scheduler", Failed)], "kube-scheduler:1");
}

#[test]
fn the_guardian() {
    let dir = "/etc/kubernetes/kubestrap/guardian";
    broken(
        |w| w.remove("/etc/kubernetes/manifests/kubestrap-guardian.yaml"),
        &[("Guardian", Failed)],
        "not there",
    );
    broken(
        |w| w.remove(dir),
        &[("Guardian", Failed), ("GuardianCredentials", Failed)],
        "guardian is missing or no directory",
    );
    broken(|w| w.remove(&format!("{dir}/kubeconfig")), &[("GuardianCredentials", Failed)], "cannot be read");
    let ends = |seconds: u64| {
        move |w: &mut World| w.write(&format!("{dir}/kubeconfig"), &w.kubeconfig("g", seconds), 0o600)
    };
    // It would have renewed it long ago.
    broken(
        ends(23 * 3600),
        &[("GuardianCredentials", Warning)],
        "kubeconfig (client-certificate-data) expires at",
    );
    broken(ends(0), &[("GuardianCredentials", Failed)], "kubeconfig (client-certificate-data) expired at");
    let always = |w: &mut World| {
        let path = "/etc/kubernetes/manifests/kubestrap-guardian.yaml";
        let text = std::fs::read_to_string(w.path(path)).unwrap();
        w.write(path, &text.replace("\"image\"", "\"imagePullPolicy\":\"Always\",\"image\""), 0o600);
    };
    broken(always, &[("Guardian", Failed)], "needs a registry");
}

#[test]
fn what_a_node_asks_for() {
    const KEYS: &str = "/etc/kubernetes/kubestrap";
    let offline = |w: &World| {
        w.write(&format!("{KEYS}/kubestrap.yaml"), "certificates: {authorityKeys: offline}\n", 0o400);
    };
    let asks = |w: &World, name: &str| w.write(&format!("{KEYS}/requests/{name}"), "wrong\n", 0o400);
    broken(|w| offline(w), &[], "");
    broken(|w| asks(w, "scheduler.csr"), &[], "");
    let kubelet = |w: &mut World| {
        offline(w);
        asks(w, "kubelet-client.csr");
    };
    broken(
        kubelet,
        &[("CertificateRequests", Warning)],
        "kubelet-client is asked for, and has to be signed before 20",
    );
    let refused = |w: &mut World| {
        kubelet(w);
        asks(w, "kubelet-client.refused");
    };
    broken(refused, &[("CertificateRequests", Warning)], "the answer kubelet-client.crt is none: wrong");
    let ended = |w: &mut World| {
        offline(w);
        asks(w, "scheduler.csr");
        w.write(&format!("{KEYS}/kube-scheduler/client.crt"), &w.certificate("s", 0).cert_pem, 0o440);
    };
    broken(ended, &[("CertificateRequests", Failed)], "scheduler is asked for, and has ended at");
    let here = |w: &mut World| {
        offline(w);
        w.write(&format!("{KEYS}/authorities/ca.key"), "key", 0o400);
    };
    broken(here, &[("AuthorityKeys", Warning)], "authorities/ca.key is on this node");
}

#[test]
fn the_disk_and_the_clock() {
    // It will be on the file system of the directory above.
    broken(|w| w.remove("/var/lib/containerd"), &[], "");
    broken(
        |w| w.now -= SignedDuration::from_hours(2),
        &[("Clock", Failed), ("KubeletCredentials", Failed)],
        "is before the checkpoint 000001-",
    );
    // Back before the certificates: nothing is valid yet.
    let mut world = World::new();
    world.now -= SignedDuration::from_hours(24 * 300);
    let (found, told) = world.problems();
    assert!(found.contains(&("Clock".to_owned(), Failed)), "{told}");
    assert!(told.contains("is not valid before"), "{told}");
}

#[test]
fn files_of_a_checkpoint() {
    const CHECK: &str = "Checkpoint-kube-system/kube-scheduler";
    let file = |w: &World, name: &str| format!("{}/files/secrets/{name}", generation(w, "kube-scheduler"));
    broken(
        |w| w.write(&file(w, "kubeconfig"), "users: []", 0o440),
        &[(CHECK, Failed)],
        "kubeconfig: its content is not what was written",
    );
    broken(|w| w.remove(&file(w, "kubeconfig")), &[(CHECK, Failed)], "kubeconfig: it is gone");
    broken(
        |w| {
            w.write(
                &file(w, "kubeconfig"),
                &std::fs::read_to_string(w.path(&file(w, "kubeconfig"))).unwrap(),
                0o444,
            );
        },
        &[(CHECK, Failed)],
        "its mode is",
    );
    broken(
        |w| w.remove(&format!("{}/generation.json", generation(w, "kube-scheduler"))),
        &[(CHECK, Failed)],
        &format!("{CHECKPOINTS}/kube-system_kube-scheduler/000001-"),
    );
    broken(
        |w| w.remove(&generation(w, "kube-scheduler")),
        &[(CHECK, Failed)],
        "/good: it leads to generation 000001-",
    );
    broken(
        |w| w.write(&file(w, "client.key"), &w.certificate("other", 60).key_pem, 0o440),
        &[(CHECK, Failed), ("Certificates-kube-system/kube-scheduler", Failed)],
        "client.crt: its key is another one's",
    );
}

#[test]
fn a_component_without_a_checkpoint() {
    broken(
        |w| w.remove(&format!("{CHECKPOINTS}/kube-system_kube-scheduler")),
        &[("Checkpoint-kube-system/kube-scheduler", Failed)],
        "there is no checkpoint of it",
    );
    broken(
        |w| w.remove(&format!("{CHECKPOINTS}/kube-system_kube-scheduler/good")),
        &[("Checkpoint-kube-system/kube-scheduler", Warning)],
        "no generation was Ready for long enough",
    );
    // Without that of the apiserver and without one of its own nobody knows where etcd is.
    let mut world = World::new();
    world.remove(CHECKPOINTS);
    world.remove("/etc/kubernetes/manifests/etcd.yaml");
    world.live().etcd = Vec::new();
    world.live().local_etcd = None;
    let (found, told) = world.problems();
    for expected in [
        ("WritableCheckpoints", Failed),
        ("EtcdPod", Unknown),
        ("EtcdHealth", Unknown),
        ("Checkpoint-kube-system/kube-apiserver", Failed),
    ] {
        assert!(found.contains(&(expected.0.to_owned(), expected.1)), "{told}");
    }
}

#[test]
fn certificates_in_a_checkpoint() {
    const CHECK: &str = "Certificates-kube-system/kube-scheduler";
    let ends = |seconds: u64| {
        move |w: &mut World| {
            w.remove(&format!("{CHECKPOINTS}/kube-system_kube-scheduler"));
            let pod = World::pod("kube-scheduler", "1");
            let checkpoint = w.checkpoint_with(&pod, "kube-scheduler", &w.certificate("s", seconds));
            let generation = w.store().write(&checkpoint, w.now).unwrap();
            w.store().promote(&generation.component, &generation.id).unwrap();
        }
    };
    broken(ends(31 * 86_400), &[], "");
    broken(ends(29 * 86_400), &[(CHECK, Warning)], "secrets/client.crt expires at");
    broken(ends(23 * 3600), &[(CHECK, Failed)], "secrets/client.crt expires at");
}

#[test]
fn what_a_checkpoint_needs_of_the_host() {
    let elsewhere = |w: &mut World| {
        let mut pod = World::pod("kube-scheduler", "2");
        pod["spec"]["volumes"][1]["hostPath"]["path"] = "/etc/gone".into();
        let checkpoint = w.checkpoint_with(&pod, "kube-scheduler", &w.certificate("s", 1 << 26));
        let generation = w.store().write(&checkpoint, w.now).unwrap();
        w.store().promote(&generation.component, &generation.id).unwrap();
        w.runtime().pods[2] = sandbox("kube-scheduler", "2");
        w.runtime().images.insert("kube-scheduler:2".to_owned(), true);
    };
    broken(
        elsewhere,
        &[("HostPaths-kube-system/kube-scheduler", Failed)],
        "/etc/gone is missing or no directory",
    );
}

#[test]
fn generations_of_another_origin_are_named() {
    const CHECK: &str = "Origin-kube-system/kube-scheduler";
    let another = |parent: Option<Parent>| {
        move |w: &mut World| {
            let mut checkpoint = w.checkpoint("kube-scheduler", "1");
            checkpoint.source.parent = parent;
            let written = w.store().write(&checkpoint, w.now).unwrap();
            w.store().promote(&component("kube-scheduler"), &written.id).unwrap();
        }
    };
    let of = |kind: &str, uid: &str| Some(Parent { kind: kind.to_owned(), uid: uid.to_owned() });
    broken(
        another(of("DaemonSet", "made-anew")),
        &[(CHECK, Warning)],
        "is of another origin: DaemonSet owner; the newest is of DaemonSet made-anew",
    );
    broken(another(None), &[(CHECK, Warning)], "the newest is of somebody whom nobody noted");
}

#[test]
fn the_newest_generation_and_what_runs() {
    const CHECK: &str = "Current-kube-system/kube-scheduler";
    broken(|w| w.runtime().pods[2] = sandbox("kube-scheduler", "2"), &[(CHECK, Warning)], "of another pod");
    broken(|w| drop(w.runtime().pods.pop()), &[(CHECK, Warning)], "nothing of it runs");
    // The same revision under another UID is the same.
    broken(|w| w.runtime().pods[2].uid = "other".into(), &[], "");
    // A copy of it runs.
    let copy = |w: &mut World| {
        let pod = &mut w.runtime().pods[2];
        pod.labels.insert("kubestrap.io/checkpoint-of".into(), "kube-scheduler".into());
        pod.annotations.insert("kubestrap.io/generation".into(), "000001-0".into());
    };
    broken(copy, &[], "");
    let temporary = |w: &mut World| {
        let pod = &mut w.runtime().pods[2];
        pod.name = "bootstrap-kube-scheduler-a".into();
        pod.annotations.insert("kubernetes.io/config.source".into(), "file".into());
    };
    broken(temporary, &[(CHECK, Warning)], "a bring-up is not finished");
}

#[test]
fn a_copy_that_is_placed() {
    let place = |w: &World| {
        let generation = w.store().generations(&component("kube-scheduler")).unwrap().pop().unwrap();
        checkpoint::StaticDir::open(&w.path("/etc/kubernetes/manifests"))
            .place(&w.store(), &generation)
            .unwrap();
        generation
    };
    broken(|w| drop(place(w)), &[], "");
    let orphan = |w: &mut World| {
        place(w);
        w.remove(&format!("{CHECKPOINTS}/kube-system_kube-scheduler"));
    };
    broken(
        orphan,
        &[("Checkpoint-kube-system/kube-scheduler", Failed), ("Placed-kube-system/kube-scheduler", Failed)],
        "which is not there",
    );
}

#[test]
fn what_lies_about_among_static_pods() {
    let dir = "/etc/kubernetes/manifests";
    broken(|w| w.write(&format!("{dir}/x.yaml"), "a: [", 0o600), &[("StaticPods", Warning)], "x.yaml: ");
    let temporary = "kind: Pod\nmetadata: {name: bootstrap-kube-apiserver}\n";
    broken(
        |w| w.write(&format!("{dir}/b.yaml"), temporary, 0o600),
        &[("StaticPods", Warning)],
        "bootstrap-kube-apiserver would come back",
    );
    // The kubelet knows a pod by its name, and reads every file.
    let twice = |w: &mut World| {
        let text = host::fs::read_to_string(&w.path(&format!("{dir}/etcd.yaml"))).unwrap();
        w.write(&format!("{dir}/etcd.yaml.bak"), &text, 0o600);
    };
    broken(twice, &[("StaticPods", Failed)], "2 files name the pod etcd: etcd.yaml, etcd.yaml.bak");
    let fifo = |w: &mut World| {
        let path = w.path(&format!("{dir}/fifo"));
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRUSR).unwrap();
    };
    broken(fifo, &[("StaticPods", Warning)], "fifo: it is no regular file");
}
