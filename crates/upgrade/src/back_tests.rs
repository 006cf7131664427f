use std::time::Duration;

use assets::AssetTree;
use cluster::{ClusterConfig, KubernetesVersion};
use fakes::cluster::Objects;
use node::{NodeConfig, NodeCredentials, Root};
use serde_json::{Value, json};

use crate::back::owners;
use crate::before::Before;
use crate::before::StateDir;
use crate::diff;
use crate::error::UpgradeError;
use crate::execute::{Failed, Upgrade};
use crate::fixture::Node;
use crate::gate::Patience;
use crate::look::Looked;
use crate::observed::{DrainState, EtcdState, ImageState, Observed};
use crate::part::Part;
use crate::plan::{Plan, Step};
use crate::target::Target;

fn object(name: &str, content: &str, owner: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"f": content},
        "metadata": {"name": name, "namespace": "kube-system", "resourceVersion": "7",
            "managedFields": [{"manager": owner, "fieldsV1": {"f:data": {}}}]}})
}

fn path(name: &str) -> String {
    format!("/api/v1/namespaces/kube-system/configmaps/{name}")
}

pub(crate) fn target(state: &StateDir) -> Target {
    let config = ClusterConfig::parse_with_overrides("test", "", &[]).unwrap();
    let credentials = NodeCredentials::Own;
    let root = Root::below(state.assets());
    let node = NodeConfig::new(&config, "n", vec!["10.0.0.1".parse().unwrap()], "", credentials, "pause");
    Target {
        node,
        config,
        tree: AssetTree::default(),
        asset_dir: state.assets(),
        bundle: None,
        facts: node::facts::detect(&root),
        root,
        drain: false,
    }
}

/// What counts of each object.
fn essence(objects: &Objects) -> Vec<Value> {
    let of = |(path, object)| json!([path, diff::essence(object), owners(object)]);
    objects.iter().map(of).collect()
}

/// An object of a part, as it was and as the run has left it.
struct Case(Part, &'static str, Option<Value>, Option<Value>);

#[tokio::test]
async fn the_step_back_leaves_no_object_as_the_run_changed_it() {
    let of = |name: &str, content: &str, owner: &str| Some(object(name, content, owner));
    let old = |name: &str| of(name, "old", "us");
    let cases = [
        Case(Part::Config, "changed", old("changed"), of("changed", "new", "us")),
        Case(Part::Config, "made", None, of("made", "new", "us")),
        Case(Part::Access, "right", None, of("right", "new", "us")),
        Case(Part::KubeApiserver, "taken", old("taken"), of("taken", "old", "them")),
        Case(Part::KubeApiserver, "both", old("both"), of("both", "new", "them")),
        Case(Part::KubeApiserver, "untouched", old("untouched"), old("untouched")),
        Case(Part::KubeScheduler, "gone", old("gone"), None),
        Case(Part::KubeScheduler, "never", None, None),
        Case(Part::Guardian, "another", old("another"), of("another", "new", "us")),
    ];
    let all = |which: fn(&Case) -> &Option<Value>| -> Objects {
        cases.iter().filter_map(|case| Some((path(case.1), which(case).clone()?))).collect()
    };
    let (was, left) = (all(|case| &case.2), all(|case| &case.3));
    let (lower, higher): (KubernetesVersion, KubernetesVersion) =
        ("v1.36.3".parse().unwrap(), "v1.37.2".parse().unwrap());
    for (from, to) in [(lower, higher), (higher, lower)] {
        let node = Node::new(left.clone());
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::new(dir.path().join("upgrade"));
        let mut before = Before::new(from, to, "2026-11-22T12:00:00Z".parse().unwrap());
        for Case(part, name, was, _) in &cases {
            before.add_object(*part, path(name), was.clone());
        }
        state.write(&before).unwrap();
        let (client, runtime) = (node.sight.api.client().clone(), node.sight.runtime.clone());
        let upgrade = Upgrade::new(target(&state), client, runtime, state.clone(), &|_| {});
        assert!(upgrade.back().await.unwrap());
        let mut is = node.objects();
        assert!(is.remove(&path("right")).is_some(), "it may have been missing for another reason");
        // Who owns an object that had gone is who makes it again.
        let gone = is.get_mut(&path("gone")).unwrap();
        gone["metadata"]["managedFields"] = was[&path("gone")]["metadata"]["managedFields"].clone();
        assert!(is.keys().eq(was.keys()), "{:?}", is.keys());
        essence(&is).iter().zip(essence(&was)).for_each(|(is, was)| assert_eq!(*is, was));
        assert!(!state.is_unfinished() && !upgrade.back().await.unwrap());
    }
}

pub(crate) fn nothing_seen(version: KubernetesVersion) -> Observed {
    Observed {
        node: "n".to_owned(),
        version,
        parts: Vec::new(),
        nodes: Vec::new(),
        host: Vec::new(),
        keys: Vec::new(),
        drain: DrainState::default(),
        etcd: EtcdState {
            endpoint: String::new(),
            image: None,
            problem: None,
            etcdctl: None,
            snapshot: None,
        },
        certificates: Vec::new(),
        deprecated: Vec::new(),
        unreadable: Vec::new(),
        flags: Vec::new(),
        images: ImageState::default(),
        gate_kept: None,
        assets: Vec::new(),
        unfinished: None,
        causes: Vec::new(),
    }
}

#[tokio::test]
async fn a_run_whose_gate_stays_shut_steps_back() {
    let node = Node::new(Objects::from([(path("a"), object("a", "new", "us"))]));
    let dir = tempfile::tempdir().unwrap();
    let state = StateDir::new(dir.path().join("upgrade"));
    let (client, runtime) = (node.sight.api.client().clone(), node.sight.runtime.clone());
    let upgrade = Upgrade::new(target(&state), client, runtime, state.clone(), &|_| {})
        .with_patience(Patience { timeout: Duration::ZERO, stable: Duration::ZERO });
    let version = upgrade.target.version();
    let mut before = Before::new(version, version, "2026-11-22T12:00:00Z".parse().unwrap());
    before.add_object(Part::KubeProxy, path("a"), Some(object("a", "old", "us")));
    // Nobody has made what is waited for.
    let workload = json!({"apiVersion": "apps/v1", "kind": "DaemonSet",
        "metadata": {"name": "kube-proxy", "namespace": "kube-system"}});
    let looked = Looked {
        observed: nothing_seen(version),
        wanted: [(Part::KubeProxy, vec![apply::Object::new(workload, "kube-proxy.yaml:1")])].into(),
        live: Vec::new(),
        host: node::plan::Plan::default(),
        before: Some(before),
    };
    let step =
        Step::Part { part: Part::KubeProxy, from: None, to: None, changes: Vec::new(), unsettled: None };
    let plan = Plan { steps: vec![step], ..upgrade.plan(&looked) };
    let failed = upgrade.apply(&looked, &plan).await.unwrap_err();
    let Failed::Reverted { source, .. } = &failed else { panic!("{failed}") };
    assert!(matches!(**source, UpgradeError::NotReady { .. }), "{source}");
    assert_eq!(node.objects()[&path("a")]["data"]["f"], "old");
    assert!(!state.is_unfinished());
}
