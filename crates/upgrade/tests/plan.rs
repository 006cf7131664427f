//! Plans of clusters in every state, compared with files. `UPDATE_GOLDEN=1` writes them.

#![expect(clippy::unwrap_used, reason = "this is a test")]

use std::path::Path;

use causes::Cause;
use checks::{Check, kind};
use cluster::KubernetesVersion;
use jiff::Timestamp;
use serde_json::json;
use upgrade::{
    CertificateState, Change, DrainState, EtcdState, Field, FlagAnswer, ImageState, NodeState, Observed,
    Part, PartState, Step, UnfinishedState, plan,
};

fn version(text: &str) -> KubernetesVersion {
    text.parse().unwrap()
}

fn now() -> Timestamp {
    "2026-11-22T12:00:00Z".parse().unwrap()
}

fn image(part: Part, version: &str) -> String {
    match part {
        Part::Guardian => "ghcr.io/kubestrap/kubestrap:v0.1.0".to_owned(),
        Part::Coredns => "registry.k8s.io/coredns/coredns:v1.14.7".to_owned(),
        Part::Flannel => "ghcr.io/flannel-io/flannel:v0.27.4".to_owned(),
        other => format!("registry.k8s.io/{}:{version}", other.name()),
    }
}

fn change(part: Part, from: &str, to: &str) -> Change {
    let kind = if matches!(part, Part::KubeApiserver | Part::KubeProxy) { "DaemonSet" } else { "Deployment" };
    let object = json!({"apiVersion": "apps/v1", "kind": kind,
        "metadata": {"name": part.name(), "namespace": "kube-system"}});
    let field = Field {
        path: "spec.template.spec.containers[0].image".to_owned(),
        from: Some(json!(image(part, from))),
        to: Some(json!(image(part, to))),
    };
    Change { object: objects::ObjectRef::of(&object), new: false, fields: vec![field] }
}

/// A part that is of version `from` and shall be of version `to`.
fn part(part: Part, from: &str, to: &str) -> PartState {
    let has_image = part != Part::Config;
    let kubernetes = matches!(
        part,
        Part::KubeApiserver | Part::KubeControllerManager | Part::KubeScheduler | Part::KubeProxy
    );
    PartState {
        part,
        image: has_image.then(|| image(part, from)),
        wanted_image: has_image.then(|| image(part, to)),
        version: kubernetes.then(|| version(from)),
        changes: if kubernetes && from != to { vec![change(part, from, to)] } else { Vec::new() },
        unsettled: None,
    }
}

fn cluster(from: &str, to: &str) -> Observed {
    let mut config = part(Part::Config, from, to);
    if from != to {
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "kubeadm-config", "namespace": "kube-system"}});
        let field = Field {
            path: "data.ClusterConfiguration".to_owned(),
            from: Some(json!(format!("kubernetesVersion: {from}\n"))),
            to: Some(json!(format!("kubernetesVersion: {to}\n"))),
        };
        config.changes =
            vec![Change { object: objects::ObjectRef::of(&object), new: false, fields: vec![field] }];
    }
    let mut parts: Vec<PartState> = Part::ALL[1..8].iter().map(|p| part(*p, from, to)).collect();
    parts.push(config);
    let moves = from != to;
    let host = [
        "replace /usr/local/bin/kubelet",
        "rewrite /etc/systemd/system/kubelet.service",
        "reload unit files",
        "restart kubelet.service: its configuration or program changed",
        "wait for the kubelet",
    ];
    Observed {
        node: "a".to_owned(),
        version: version(from),
        parts,
        nodes: vec![NodeState {
            name: "a".to_owned(),
            kubelet: Some(version(from)),
            ready: true,
            control_plane: true,
            schedulable: true,
        }],
        host: if moves { host.map(str::to_owned).to_vec() } else { Vec::new() },
        keys: Vec::new(),
        drain: DrainState::default(),
        etcd: EtcdState {
            endpoint: "https://127.0.0.1:2379".to_owned(),
            image: Some("registry.k8s.io/etcd:3.6.16-0".to_owned()),
            etcdctl: None,
            problem: None,
            snapshot: None,
        },
        certificates: vec![CertificateState {
            path: "tls/apiserver.crt".to_owned(),
            not_after: "2027-10-01T00:00:00Z".parse().unwrap(),
            renewed: false,
        }],
        deprecated: Vec::new(),
        unreadable: Vec::new(),
        flags: Vec::new(),
        images: ImageState {
            import: if moves {
                vec![image(Part::KubeApiserver, to), image(Part::KubeProxy, to)]
            } else {
                Vec::new()
            },
            missing: Vec::new(),
            unpullable: Vec::new(),
        },
        gate_kept: Some(true),
        causes: Vec::new(),
        assets: if moves {
            vec!["kubestrap.yaml".to_owned(), "manifests/kube-apiserver.yaml".to_owned()]
        } else {
            Vec::new()
        },
        unfinished: None,
    }
}

fn check(name: &str, observed: &Observed, to: &str) {
    let plan = plan(observed, version(to), now());
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/{name}.txt"));
    golden::check(&file, &format!("{plan}\n"));
}

#[test]
fn one_minor_up() {
    check("up", &cluster("v1.36.3", "v1.37.2"), "v1.37.2");
}

#[test]
fn one_minor_down_is_the_other_way_round() {
    check("down", &cluster("v1.37.2", "v1.36.3"), "v1.36.3");
}

#[test]
fn nothing_to_do() {
    let observed = cluster("v1.37.2", "v1.37.2");
    assert!(plan(&observed, version("v1.37.2"), now()).is_empty());
    check("nothing", &observed, "v1.37.2");
}

/// A part may be told to read a file that is new.
#[test]
fn keys_are_written_before_any_part_changes_also_on_the_way_down() {
    for (from, to) in [("v1.37.2", "v1.37.2"), ("v1.36.3", "v1.37.2"), ("v1.37.2", "v1.36.3")] {
        let mut observed = cluster(from, to);
        observed.keys = vec!["/etc/kubernetes/kubestrap/kube-apiserver/apiserver.crt".to_owned()];
        let steps = plan(&observed, version(to), now()).steps;
        let at = |is: fn(&Step) -> bool| steps.iter().position(is);
        let keys = at(|step| matches!(step, Step::Keys { .. })).unwrap();
        for other in [
            at(|step| matches!(step, Step::Part { .. })),
            at(|step| matches!(step, Step::Kubelet { .. })),
            at(|step| matches!(step, Step::Assets { .. })),
        ] {
            assert!(other.is_none_or(|other| keys < other), "{steps:?}");
        }
        assert!(at(|step| matches!(step, Step::Snapshot { .. })).is_some_and(|snapshot| snapshot < keys));
    }
}

#[test]
fn a_killed_run_goes_on_where_it_was() {
    let mut observed = cluster("v1.36.3", "v1.37.2");
    observed.version = version("v1.37.2");
    observed.images.import.clear();
    observed.etcd.snapshot = Some("/var/lib/kubestrap/backups/x.db".to_owned());
    observed.parts[1] = part(Part::KubeApiserver, "v1.37.2", "v1.37.2");
    observed.parts[2] = PartState {
        unsettled: Some("0 of 1 new pods are ready".to_owned()),
        ..part(Part::KubeControllerManager, "v1.37.2", "v1.37.2")
    };
    observed.unfinished = Some(UnfinishedState {
        began: "2026-11-22T11:58:00Z".parse().unwrap(),
        from: version("v1.36.3"),
        to: version("v1.37.2"),
    });
    check("killed", &observed, "v1.37.2");
}

/// A node `a` with pods, of which some are not so easily moved.
fn drained(from: &str, to: &str) -> Observed {
    let mut observed = cluster(from, to);
    let pods = |names: &[&str]| names.iter().map(|name| format!("default/{name}")).collect();
    observed.drain = DrainState {
        asked: true,
        cordoned: false,
        evict: pods(&["web", "cache", "debug"]),
        unmanaged: pods(&["debug"]),
        local_data: pods(&["cache"]),
    };
    observed
}

#[test]
fn a_drain_surrounds_the_kubelet_and_pods_that_would_be_lost_are_told() {
    check("drain", &drained("v1.36.3", "v1.37.2"), "v1.37.2");
    let mut easy = drained("v1.37.2", "v1.36.3");
    easy.nodes.push(NodeState { name: "b".to_owned(), control_plane: false, ..easy.nodes[0].clone() });
    (easy.drain.unmanaged, easy.drain.local_data) = (Vec::new(), Vec::new());
    check("drain-down", &easy, "v1.36.3");
    // Nothing to do on the node: nobody is sent away.
    let idle = drained("v1.37.2", "v1.37.2");
    assert!(plan(&idle, version("v1.37.2"), now()).is_empty());
}

#[test]
fn a_killed_run_lets_pods_come_back_whether_or_not_it_is_asked_for_again() {
    let mut observed = cluster("v1.37.2", "v1.37.2");
    observed.drain.cordoned = true;
    observed.etcd.snapshot = Some("/var/lib/kubestrap/backups/x.db".to_owned());
    let steps = plan(&observed, version("v1.37.2"), now()).steps;
    assert_eq!(steps, [upgrade::Step::Uncordon { node: "a".to_owned() }]);
}

#[test]
fn a_config_change_touches_only_what_it_is_about() {
    let mut observed = cluster("v1.37.2", "v1.37.2");
    let field =
        |path: &str, to: Option<&str>| Field { path: path.to_owned(), from: None, to: to.map(|t| json!(t)) };
    let object = |kind: &str| {
        let version = if kind == "Secret" { "v1" } else { "apps/v1" };
        objects::ObjectRef::of(&json!({"apiVersion": version, "kind": kind,
            "metadata": {"name": "kube-apiserver", "namespace": "kube-system"}}))
    };
    observed.parts[1].changes = vec![
        Change { object: object("Secret"), new: false, fields: vec![field("data[apiserver.crt]", None)] },
        Change {
            object: object("DaemonSet"),
            new: false,
            fields: vec![field(
                "spec.template.spec.containers[0].args",
                Some("--enable-admission-plugins=NodeRestriction,AlwaysPullImages"),
            )],
        },
    ];
    observed.certificates[0].renewed = true;
    observed.assets = vec!["kubestrap.yaml".to_owned(), "tls/apiserver.crt".to_owned()];
    check("config", &observed, "v1.37.2");
}

#[test]
fn everything_that_speaks_against_it_is_told_at_once() {
    let mut observed = cluster("v1.36.3", "v1.38.0");
    observed.nodes.push(NodeState {
        name: "b".to_owned(),
        kubelet: Some(version("v1.34.1")),
        ready: false,
        control_plane: false,
        schedulable: true,
    });
    observed.nodes.push(NodeState {
        name: "c".to_owned(),
        kubelet: Some(version("v1.36.3")),
        ready: true,
        control_plane: false,
        schedulable: true,
    });
    observed.nodes[0].ready = false;
    observed.etcd.problem = Some("/readyz: etcdserver: no leader".to_owned());
    observed.etcd.image = Some("registry.k8s.io/etcd:3.5.9-0".to_owned());
    observed.deprecated = vec![upgrade::DeprecatedApi {
        group: "networking.k8s.io".to_owned(),
        version: "v1beta1".to_owned(),
        resource: "ipaddresses".to_owned(),
        removed_release: "1.37".to_owned(),
    }];
    observed.flags = vec![
        FlagAnswer {
            program: "kube-scheduler".to_owned(),
            said: "Error: unknown flag: --gone".to_owned(),
            refused: true,
        },
        FlagAnswer {
            program: "kubelet".to_owned(),
            said: "Flag --old has been deprecated".to_owned(),
            refused: false,
        },
    ];
    observed.images.missing = vec![image(Part::KubeApiserver, "v1.38.0")];
    observed.images.unpullable = vec![
        (image(Part::KubeApiserver, "v1.38.0"), "no such host".to_owned()),
        ("b:1".to_owned(), String::new()),
    ];
    observed.gate_kept = Some(false);
    observed.certificates[0].not_after = now();
    check("refused", &observed, "v1.38.0");
}

/// A LimitRange that the API has no pod made by, and an API that nobody serves.
fn causes() -> Vec<Cause> {
    let refused = Check::warning(
        kind::PODS_MADE.of("kube-proxy"),
        "no pod of DaemonSet kube-system/kube-proxy can be made: pods \"kube-proxy-\" is forbidden: maximum cpu usage per \
         Container is 50m, but request is 100m",
        "LimitRange kube-system/small: change or remove it: kubectl -n kube-system delete limitrange small",
    );
    let unserved = Check::warning(
        kind::API_SERVICE.of("v1.a.b"),
        "APIService v1.a.b is not served",
        "remove it: kubectl delete apiservice v1.a.b",
    );
    vec![
        Cause { check: refused, object: "LimitRange kube-system/small".to_owned(), stops_pods: true },
        Cause { check: unserved, object: "APIService v1.a.b".to_owned(), stops_pods: false },
    ]
}

#[test]
fn what_keeps_pods_from_being_made_has_to_go_before_one_is_rolled_out() {
    let mut observed = cluster("v1.37.2", "v1.37.2");
    observed.causes = causes();
    observed.parts[4].unsettled = Some("0 of 1 new pods are ready: none could be made".to_owned());
    check("in-the-way", &observed, "v1.37.2");
    // Where nothing is rolled out it is told, and keeps nobody from anything.
    observed.parts[4].unsettled = None;
    let idle = plan(&observed, version("v1.37.2"), now());
    assert!(idle.checks.iter().all(|check| !check.is_failure()) && idle.checks.len() == 2, "{idle}");
}

#[test]
fn a_plan_that_a_check_refuses_does_not_say_that_all_is_well() {
    let mut observed = cluster("v1.37.2", "v1.37.2");
    observed.gate_kept = Some(false);
    let plan = plan(&observed, version("v1.37.2"), now());
    assert!(plan.is_empty());
    let told = plan.to_string();
    assert!(!told.contains("Nothing to do") && told.ends_with("not mended by an upgrade."), "{told}");
}

#[test]
fn a_full_etcd_is_told_with_what_makes_room_in_it() {
    let mut observed = cluster("v1.37.2", "v1.37.2");
    let said = "https://127.0.0.1:2379 is unhealthy: failed to commit proposal: Active Alarm(s): NOSPACE";
    observed.etcd.problem = Some(said.to_owned());
    let plan = plan(&observed, version("v1.37.2"), now()).to_string();
    for word in ["everything can be read, and nothing written", "$E compact", "$E defrag", "$E alarm disarm"]
    {
        assert!(plan.contains(word), "{plan}");
    }
}

#[test]
fn a_downgrade_is_refused_where_objects_would_be_unreadable_and_other_kubelets_too_new() {
    let mut observed = cluster("v1.37.2", "v1.36.3");
    observed.unreadable = vec!["/apis/scheduling.k8s.io/v1beta1/workloads".to_owned()];
    observed.nodes.push(NodeState {
        name: "b".to_owned(),
        kubelet: Some(version("v1.37.2")),
        ready: true,
        control_plane: false,
        schedulable: true,
    });
    check("down-refused", &observed, "v1.36.3");
}

#[test]
fn the_json_form_has_a_version_and_every_step() {
    let plan = plan(&cluster("v1.36.3", "v1.37.2"), version("v1.37.2"), now());
    let value = serde_json::to_value(&plan).unwrap();
    assert_eq!(value["format"], 1);
    let steps: Vec<_> =
        value["steps"].as_array().unwrap().iter().map(|s| s["step"].as_str().unwrap()).collect();
    assert_eq!(steps, ["snapshot", "images", "part", "part", "part", "part", "kubelet", "part", "assets"]);
    assert_eq!(value["steps"][2]["part"], "kube-apiserver");
}
