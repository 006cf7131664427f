//! What a node does about its own etcd: data that is gone or another member's, and edits of its manifest.

use std::path::Path;

use anyhow::{Result, ensure};
use e2e::cases::Cases;
use e2e::ceiling::{BACK, POD, REPORTED, eventually};
use e2e::node::Node;
use e2e::sampler::Limit;
use e2e::shared;
use e2e::whole::{static_pods, wait_settled, wait_whole};
use serde_json::{Value, json};

const DATA: &str = "/var/lib/etcd/member";
const AWAY: &str = "/var/lib/etcd-away";
const MANIFEST: &str = "/etc/kubernetes/manifests/etcd.yaml";
const MEMBER: &str = "/etc/kubernetes/kubestrap/etcd/member.json";
const GOOD: &str = "/etc/kubernetes/kubestrap/etcd/good.yaml";
const REFUSED: &str = "/etc/kubernetes/kubestrap/etcd/refused.yaml";

/// So many looks, a second each, at that nothing is served: an API on an empty etcd answered 12 s after power-on.
const LOOKS: u32 = 15;

/// A settled cluster whose node knows its member.
fn member(work: impl FnOnce(&mut Cases) -> Result<()>) -> Result<()> {
    shared::cluster(|node| {
        let mut cases = Cases::begin("member", node)?;
        wait_settled(node)?;
        eventually("the node remembers its member", POD, || {
            for file in [MEMBER, GOOD] {
                ensure!(node.path(file)?.is_file(), "{file} is not there");
            }
            let manifest = host::fs::read_to_string(&node.path(MANIFEST)?)?;
            ensure!(manifest.contains("--initial-cluster-state=existing"), "{manifest}");
            Ok(())
        })?;
        let outcome = work(&mut cases);
        cases.take(outcome);
        cases.end()
    })
}

pub(crate) fn member_whose_data_is_gone() -> Result<()> {
    member(|cases| {
        cases.during("its data is gone", Limit::Off, |node| {
            node.power_cycle(|disk| moved(disk, DATA, AWAY))?;
            not_served(node, "/var/lib/etcd holds no data of etcd, and this node is member ")?;
            let wal = node.path("/var/lib/etcd/member/wal")?;
            ensure!(!wal.exists(), "etcd has begun another cluster: {}", wal.display());
            node.exec(&["sh", "-c", &format!("rm -rf {DATA} && mv {AWAY} {DATA}")])?.success()?;
            served(node)
        })?;
        wait_whole(cases.node()).map(drop)
    })
}

pub(crate) fn member_whose_data_is_another_s() -> Result<()> {
    member(|cases| {
        let wrong = [
            ("its data is another's", "member", json!("1"), "/var/lib/etcd holds the data of member "),
            (
                "its data is of some time ago",
                "progress",
                json!({"index": u32::MAX, "seen": "2026-01-01T00:00:00Z"}),
                "/var/lib/etcd holds this member's data as it was before 2026-01-01",
            ),
        ];
        for (what, key, value, why) in wrong {
            cases.during(what, Limit::Off, |node| remembers(node, key, value, why))?;
        }
        wait_whole(cases.node()).map(drop)
    })
}

/// The node remembers something else of its member than what is there.
fn remembers(node: &Node, key: &str, value: Value, why: &str) -> Result<()> {
    let before = host::fs::read_to_string(&node.path(MEMBER)?)?;
    let mut other: Value = serde_json::from_str(&before)?;
    other[key] = value;
    let other = other.to_string();
    node.power_cycle(|disk| Ok(host::fs::write(&disk.join(&MEMBER[1..]), other.as_bytes(), 0o600)?))?;
    not_served(node, why)?;
    host::fs::write(&node.path(MEMBER)?, before.as_bytes(), 0o600)?;
    served(node)
}

fn moved(disk: &Path, from: &str, to: &str) -> Result<()> {
    Ok(host::fs::rename(&disk.join(&from[1..]), &disk.join(&to[1..]))?)
}

/// The API stays away, whoever is asked says why, and `start` starts nothing.
fn not_served(node: &Node, why: &str) -> Result<()> {
    eventually("doctor says why", BACK, || {
        let told = node.exec(&["kubestrap", "doctor"])?;
        ensure!(told.code() == 12 && told.stdout.contains(why), "{}\n{}", told.stdout, told.stderr);
        Ok(())
    })?;
    for _ in 0..LOOKS {
        let answer = node.exec(&["curl", "-sk", "--max-time", "2", "https://127.0.0.1:6443/readyz"])?;
        ensure!(answer.stdout != "ok", "something is served");
        std::thread::sleep(std::time::Duration::from_secs(1));
    }
    let files = static_pods(node)?;
    ensure!(!files.iter().any(|file| file.contains("kube-apiserver")), "a copy is there: {files:?}");
    node.exec(&["kubestrap", "start"])?.failure(4, &[why, "kubestrap reset"])?;
    Ok(())
}

fn served(node: &Node) -> Result<()> {
    eventually("the API answers", REPORTED, || node.get(&["get", "--raw", "/readyz"]).map(drop))
}

pub(crate) fn member_whose_manifest_is_edited() -> Result<()> {
    member(|cases| {
        cases.during("a good edit", Limit::Off, |node| {
            edit(node, "s/--snapshot-count=10000/--snapshot-count=12345/")?;
            eventually("etcd runs by it", POD, || {
                let arguments = node.arguments("etcd")?;
                ensure!(arguments.contains(&"--snapshot-count=12345".to_owned()), "{arguments:?}");
                node.get(&["get", "--raw", "/readyz"]).map(drop)
            })?;
            eventually("it is the good one", POD, || {
                let good = host::fs::read_to_string(&node.path(GOOD)?)?;
                ensure!(good.contains("--snapshot-count=12345"), "{good}");
                Ok(())
            })
        })?;
        cases.during("a bad edit", Limit::Off, |node| {
            edit(node, "s/- --data-dir=/- --no-such-flag=1\\n    - --data-dir=/")?;
            put_back(node)
        })?;
        cases.during("a bad edit and a power cut", Limit::Off, |node| {
            node.power_cycle(|disk| {
                let file = disk.join(&MANIFEST[1..]);
                let bad = host::fs::read_to_string(&file)?;
                let bad = bad.replace("- --data-dir=", "- --no-such-flag=2\n    - --data-dir=");
                Ok(host::fs::write(&file, bad.as_bytes(), 0o600)?)
            })?;
            put_back(node)
        })?;
        wait_whole(cases.node()).map(drop)
    })
}

fn edit(node: &Node, script: &str) -> Result<()> {
    node.exec(&["sed", "-i", script, MANIFEST])?.success().map(drop)
}

/// The bad manifest is put back, etcd serves, and doctor tells of it until somebody has seen it.
fn put_back(node: &Node) -> Result<()> {
    eventually("the manifest is put back", REPORTED, || {
        let (refused, now) = (node.path(REFUSED)?, host::fs::read_to_string(&node.path(MANIFEST)?)?);
        ensure!(refused.is_file() && !now.contains("no-such-flag"), "{now}");
        ensure!(host::fs::read_to_string(&refused)?.contains("no-such-flag"), "another one was refused");
        Ok(())
    })?;
    served(node)?;
    let told = node.exec(&["kubestrap", "doctor", "--local"])?;
    ensure!(told.stdout.contains("EtcdManifest") && told.stdout.contains(REFUSED), "{}", told.stdout);
    host::fs::remove_file(&node.path(REFUSED)?)?;
    Ok(())
}
