//! Somebody takes the packet rules of all from a node, as Debian's `/etc/nftables.conf` does when it is loaded: doctor says
//! so, and what has written them is started again and writes them anew.

use anyhow::{Context, Result, ensure};
use e2e::ceiling::{MOMENT, ROLLOUT, eventually};
use e2e::node::Node;
use e2e::shared;
use e2e::whole::{wait_settled, wait_whole};

const CHECK: &str = "PacketRules";
const TABLES: [&str; 2] = ["table ip kube-proxy", "table ip flannel-ipv4"];

pub(crate) fn flushed_packet_rules_come_back() -> Result<()> {
    shared::cluster(|node| {
        wait_settled(node)?;
        let address = node.json(&["get", "service", "kubernetes"])?["spec"]["clusterIP"].clone();
        let service = format!("https://{}/readyz", address.as_str().context("no address")?);
        rules_are_whole(node, &service)?;

        // The kubelet may be about to start it again for the first time when the doctor comes: then once more.
        let told = eventually("doctor tells of it", MOMENT, || {
            node.shell("nft flush ruleset")?;
            let answered = answers(node, &service)?;
            ensure!(!answered, "the Service answers without a rule");
            let doctor = node.exec(&["kubestrap", "doctor"])?.success()?.stdout;
            ensure!(doctor.contains(CHECK), "{doctor}");
            Ok(doctor)
        })?;
        for said in [
            "node shared would come back right now",
            "`ip kube-proxy`",
            "`ip flannel-ipv4`",
            "comes back by itself",
            "kubectl -n kube-system rollout restart ds/kube-proxy",
            "kubectl -n kube-flannel rollout restart ds/kube-flannel-ds",
        ] {
            ensure!(told.contains(said), "it does not say {said:?}:\n{told}");
        }

        eventually("the rules are back", ROLLOUT, || rules_are_whole(node, &service))?;
        wait_whole(node).map(drop)
    })
}

/// Both tables are there, the Service answers by them, and doctor has nothing to say of it.
fn rules_are_whole(node: &Node, service: &str) -> Result<()> {
    let tables = node.shell("nft list tables")?;
    for table in TABLES {
        ensure!(tables.lines().any(|line| line.trim() == table), "no {table}: {tables}");
    }
    ensure!(answers(node, service)?, "{service} does not answer");
    let doctor = node.exec(&["kubestrap", "doctor"])?.success()?.stdout;
    ensure!(!doctor.contains(CHECK), "{doctor}");
    Ok(())
}

fn answers(node: &Node, url: &str) -> Result<bool> {
    Ok(node.exec(&["curl", "-sk", "--max-time", "2", url])?.status.success())
}
