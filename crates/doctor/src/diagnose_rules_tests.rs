//! What kube-proxy and flannel have written into the kernel, and who took it away.

use std::collections::BTreeSet;

use super::*;

const BOTH: [(&str, &str); 3] = [("ip", "kube-proxy"), ("ip6", "kube-proxy"), ("ip", "flannel-ipv4")];

fn tables(there: &[(&str, &str)]) -> BTreeSet<(String, String)> {
    there.iter().map(|(family, name)| ((*family).to_owned(), (*name).to_owned())).collect()
}

/// A node of such a cluster, on which kube-proxy and flannel run.
fn node(world: &mut World, config: &str, there: &[(&str, &str)]) {
    world.write("/etc/kubernetes/kubestrap/kubestrap.yaml", config, 0o600);
    let mut flannel = sandbox("kube-flannel-ds", "1");
    flannel.namespace = "kube-flannel".to_owned();
    world.runtime().pods.extend([sandbox("kube-proxy", "1"), flannel]);
    world.live().tables = Some(Ok(tables(there)));
}

#[test]
fn a_table_that_is_gone_is_named_with_what_brings_it_back() {
    const GONE: &[(&str, Outcome)] = &[("PacketRules", Warning)];
    broken(
        |w| node(w, "", &[("inet", "filter")]),
        GONE,
        "the table `ip kube-proxy`, `ip flannel-ipv4` of packet rules is gone",
    );
    broken(|w| node(w, "", &BOTH[..2]), GONE, "the table `ip flannel-ipv4` of packet rules is gone");
    broken(|w| node(w, "", &BOTH[1..]), GONE, "the table `ip kube-proxy` of packet rules is gone");
    let ipv6 = "network: {podCIDRs: [fd00:10:244::/56], serviceCIDRs: [fd00:10:96::/112]}";
    broken(|w| node(w, ipv6, &BOTH[..1]), GONE, "`ip6 kube-proxy`, `ip6 flannel-ipv6`");
    let mut world = World::new();
    node(&mut world, "", &BOTH[1..]);
    let check = world.checks().into_iter().find(|check| check.name == "PacketRules").unwrap();
    assert_eq!(
        check.remedy.as_deref(),
        Some("if it does not: kubectl -n kube-system rollout restart ds/kube-proxy")
    );
}

#[test]
fn nothing_is_said_of_tables_that_nobody_writes_here_or_that_cannot_be_asked_for() {
    #[track_caller]
    fn silent(change: impl FnOnce(&mut World)) {
        let mut world = World::new();
        node(&mut world, "", &[]);
        change(&mut world);
        let checks = world.checks();
        let found = checks.iter().find(|check| check.name == "PacketRules");
        assert_eq!(found, None);
    }
    silent(|w| node(w, "proxy: {mode: iptables}", &[]));
    silent(|w| w.runtime().pods.retain(|pod| pod.name.starts_with("kube-apiserver")));
    silent(|w| w.remove("/etc/kubernetes/kubestrap/kubestrap.yaml"));
    silent(|w| w.live().tables = None);
    // Without a runtime nobody knows who runs: that is what is told.
    let no_runtime = |w: &mut World| {
        node(w, "", &[]);
        w.live().runtime = Err("refused".to_owned());
    };
    silent(no_runtime);
    // What is there is fine, and who may not ask says so.
    let mut world = World::new();
    node(&mut world, "", &BOTH);
    assert_eq!(world.problems(), (vec![], String::new()));
    let refused = |w: &mut World| {
        node(w, "", &[]);
        w.live().tables = Some(Err("Operation not permitted".to_owned()));
    };
    broken(refused, &[("PacketRules", Unknown)], "Operation not permitted");
}
