//! Tables of nftables that programs of a node write when they start, and of which they change afterwards only what is
//! another: `needFullSync` of kube-proxy's pkg/proxy/nftables/proxier.go; flannel's pkg/trafficmngr/nftables. Who takes one
//! from the kernel, as `nft flush ruleset` does, takes it from them until they are started again. With iptables both look
//! for themselves.

use cluster::{ClusterConfig, NetworkProvider, ProxyMode};
use names::{component, object, table};

/// A table that the pods of a DaemonSet write on every node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuleTable {
    /// The DaemonSet's namespace.
    pub namespace: &'static str,
    /// The DaemonSet's name.
    pub daemon_set: &'static str,
    /// The table's family.
    pub family: &'static str,
    /// The table's name.
    pub name: &'static str,
}

/// Those of a cluster: of each program one, that of the first pod range's family, as who takes one takes all.
pub fn rule_tables(config: &ClusterConfig) -> Vec<RuleTable> {
    let is_ipv6 = config.network.pod_cidrs.first().is_some_and(|cidr| cidr.is_ipv6());
    let (family, flannel) = if is_ipv6 { ("ip6", table::FLANNEL_IPV6) } else { ("ip", table::FLANNEL_IPV4) };
    let (namespace, daemon_set) = (object::KUBE_SYSTEM, component::KUBE_PROXY);
    let proxy = RuleTable { namespace, daemon_set, family, name: component::KUBE_PROXY };
    let (namespace, daemon_set) = (object::KUBE_FLANNEL, object::FLANNEL_DAEMON_SET);
    let flannel = RuleTable { namespace, daemon_set, family, name: flannel };
    let has_flannel = config.network.provider == NetworkProvider::Flannel;
    let (has_proxy, has_flannel) = match config.proxy.mode {
        ProxyMode::Nftables => (true, has_flannel),
        // flannel has the mode that kube-proxy would have.
        ProxyMode::Disabled => (false, has_flannel),
        ProxyMode::Iptables => (false, false),
    };
    let all = [has_proxy.then_some(proxy), has_flannel.then_some(flannel)];
    all.into_iter().flatten().collect()
}

/// Probes of such a program that fail when its table is gone, so that the kubelet starts it again; none where it has no
/// such table. Asked for are the counters in the table, which are few: the whole of it may be long.
pub(crate) fn probes(config: &ClusterConfig, daemon_set: &str) -> String {
    let Some(table) = rule_tables(config).into_iter().find(|table| table.daemon_set == daemon_set) else {
        return String::new();
    };
    let RuleTable { family, name, .. } = table;
    format!(
        "# Ours: `nft flush ruleset`, with which Debian's /etc/nftables.conf begins, takes its table away, and\n\
         # only a new start of it brings that back.\n\
         startupProbe:\n  exec:\n    command: [nft, list, counters, table, {family}, {name}]\n  \
         periodSeconds: 1\n  timeoutSeconds: 10\n  failureThreshold: 300\n\
         livenessProbe:\n  exec:\n    command: [nft, list, counters, table, {family}, {name}]\n  \
         periodSeconds: 10\n  timeoutSeconds: 10\n  failureThreshold: 2"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tables(change: impl FnOnce(&mut ClusterConfig)) -> Vec<String> {
        let mut config = ClusterConfig::default();
        change(&mut config);
        let told = |t: RuleTable| format!("{}/{}: {} {}", t.namespace, t.daemon_set, t.family, t.name);
        rule_tables(&config).into_iter().map(told).collect()
    }

    #[test]
    fn each_program_has_its_table_in_the_first_family_and_none_with_iptables() {
        let both = ["kube-system/kube-proxy: ip kube-proxy", "kube-flannel/kube-flannel-ds: ip flannel-ipv4"];
        assert_eq!(tables(|_| {}), both);
        assert_eq!(tables(|c| c.network.provider = NetworkProvider::None), both[..1]);
        assert_eq!(tables(|c| c.proxy.mode = ProxyMode::Disabled), both[1..]);
        assert_eq!(tables(|c| c.proxy.mode = ProxyMode::Iptables), Vec::<String>::new());
        let ipv6 =
            ["kube-system/kube-proxy: ip6 kube-proxy", "kube-flannel/kube-flannel-ds: ip6 flannel-ipv6"];
        assert_eq!(tables(|c| c.network.pod_cidrs = vec!["fd00:10:244::/56".parse().unwrap()]), ipv6);
    }
}
