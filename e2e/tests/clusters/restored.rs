//! What etcd had is kept as a snapshot, and a node gets it back: on purpose, and when its data is lost.

use anyhow::{Result, ensure};
use e2e::ceiling::{BACK, MOMENT, POD, eventually};
use e2e::node::Node;
use e2e::shared;
use e2e::whole::{wait_settled, wait_whole};

const SNAPSHOT: &str = "/var/lib/kubestrap/backups/drill.db";
const OTHER: &str = "/var/lib/kubestrap/backups/other.db";
const DATA: &str = "/var/lib/etcd/member";

/// Without a load: what is acknowledged after the snapshot is to be gone.
pub(crate) fn restored_from_a_snapshot() -> Result<()> {
    shared::cluster(|node| {
        wait_settled(node)?;
        a_step_back(node)?;
        data_that_is_lost(node)?;
        node.shell("rm -rf /var/lib/etcd/member.before-* /var/lib/kubestrap/backups/*.db")?;
        node.get(&["delete", "configmap", "before-it"]).map(drop)
    })
}

fn a_step_back(node: &Node) -> Result<()> {
    node.get(&["create", "configmap", "before-it"])?;
    node.exec(&["kubestrap", "backup", SNAPSHOT])?.success()?;
    node.exec(&["kubestrap", "backup", SNAPSHOT])?.failure(8, &["is there already"])?;
    node.get(&["create", "configmap", "after-it"])?;
    refused(node)?;
    let said = node.exec(&["kubestrap", "restore", "--yes", SNAPSHOT])?.success()?;
    ensure!(said.stdout.contains("What was there is /var/lib/etcd/member.before-"), "{}", said.stdout);
    is_that_of_then(node)
}

fn data_that_is_lost(node: &Node) -> Result<()> {
    node.get(&["create", "configmap", "after-it"])?;
    node.power_cycle(|disk| Ok(host::fs::remove_dir_all(&disk.join(&DATA[1..]))?))?;
    eventually("doctor names the verb", MOMENT, || {
        let told = node.exec(&["kubestrap", "doctor", "--local"])?;
        ensure!(told.code() == 12 && told.stdout.contains("kubestrap restore"), "{}", told.stdout);
        Ok(())
    })?;
    // Its kubelet has to run by then.
    eventually("start names the verb", BACK, || {
        node.exec(&["kubestrap", "start"])?.failure(4, &["kubestrap restore"]).map(drop)
    })?;
    node.exec(&["kubestrap", "restore", "--yes", SNAPSHOT])?.success()?;
    is_that_of_then(node)
}

/// Nothing is changed by a snapshot that is damaged or another cluster's.
fn refused(node: &Node) -> Result<()> {
    node.shell(&format!("head -c 100000 {SNAPSHOT} >{OTHER}"))?;
    node.exec(&["kubestrap", "restore", "--yes", OTHER])?.failure(11, &["is not whole"])?;
    // What says whose it is, changed; and the checksum made anew, as another cluster's has its own.
    let other = format!(
        "sed 's/BEGIN CERTIFICATE/begin certificate/g' {SNAPSHOT} | head -c -32 >{OTHER} && \
         openssl dgst -sha256 -binary {OTHER} >{OTHER}.sum && cat {OTHER}.sum >>{OTHER} && rm {OTHER}.sum"
    );
    node.shell(&other)?;
    node.exec(&["kubestrap", "restore", "--yes", OTHER])?.failure(8, &["is of another cluster"])?;
    let planned = node.exec(&["kubestrap", "restore", "--dry-run", SNAPSHOT])?.success()?;
    ensure!(planned.stdout.contains("stop the kubelet"), "{}", planned.stdout);
    node.get(&["get", "configmap", "after-it"]).map(drop)
}

fn is_that_of_then(node: &Node) -> Result<()> {
    wait_whole(node)?;
    node.get(&["get", "configmap", "before-it"])?;
    let after = node.kubectl(&["get", "configmap", "after-it"])?;
    ensure!(after.stderr.contains("NotFound"), "{}{}", after.stdout, after.stderr);
    // Those who watch go on from what is there now: a new Deployment gets its pods.
    let image = node.get(&[
        "-n",
        "kube-system",
        "get",
        "deployment",
        "coredns",
        "-o",
        "jsonpath={.spec.template.spec.containers[0].image}",
    ])?;
    node.get(&[
        "create",
        "deployment",
        "then",
        &format!("--image={}", image.trim()),
        "--",
        "/coredns",
        "-version",
    ])?;
    eventually("the controllers see what is new", POD, || {
        let pods = node.get(&["get", "pods", "-l", "app=then", "-o", "name"])?;
        ensure!(!pods.trim().is_empty(), "it has no pod");
        Ok(())
    })?;
    node.get(&["delete", "deployment", "then"])?;
    let told = node.exec(&["kubestrap", "doctor", "--local"])?;
    ensure!(told.code() == 0, "{}{}", told.stdout, told.stderr);
    Ok(())
}
