//! What a config cannot change in a cluster that runs: the cluster would not find itself again, or would
//! lose what it has stored.

use ::checks::{Check, kind};
use cluster::{ClusterConfig, EtcdConfig};

/// Every key that the new config has otherwise and that must stay.
pub fn immutable(old: &ClusterConfig, new: &ClusterConfig) -> Vec<Check> {
    let etcd_dir = |config: &ClusterConfig| match &config.etcd {
        EtcdConfig::Local(local) => Some(local.data_dir.clone()),
        EtcdConfig::External(_) => None,
    };
    let keys = [
        ("clusterName", old.cluster_name == new.cluster_name),
        ("api.port", old.api.port == new.api.port),
        ("network.podCIDRs", old.network.pod_cidrs == new.network.pod_cidrs),
        ("network.serviceCIDRs", old.network.service_cidrs == new.network.service_cidrs),
        ("network.nodeCIDRMasks", old.network.node_cidr_masks == new.network.node_cidr_masks),
        ("network.dnsDomain", old.network.dns_domain == new.network.dns_domain),
        ("network.provider", old.network.provider == new.network.provider),
        ("proxy.mode", old.proxy.mode == new.proxy.mode),
        ("etcd", etcd_dir(old) == etcd_dir(new)),
        ("components.etcd", old.components.etcd == new.components.etcd),
        ("certificates.ca", old.certificates.ca == new.certificates.ca),
        ("certificates.frontProxyCA", old.certificates.front_proxy_ca == new.certificates.front_proxy_ca),
        ("certificates.etcdCA", old.certificates.etcd_ca == new.certificates.etcd_ca),
        ("encryption.enabled", old.encryption.enabled == new.encryption.enabled),
    ];
    keys.into_iter().filter(|(_, same)| !same).map(|(key, _)| check(key)).collect()
}

fn check(key: &str) -> Check {
    Check::failed(
        &kind::IMMUTABLE_CONFIG,
        format!("{key} differs from the config that the cluster was made with"),
        "put the old value back: an upgrade cannot change it",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> ClusterConfig {
        ClusterConfig::parse_with_overrides("test", text, &[]).unwrap()
    }

    #[test]
    fn flags_gates_and_names_may_change_and_ranges_may_not() {
        let old = config("");
        let new = config(
            "api: {extraSANs: [api.example.com]}\nfeatureGates: {A: true}\nkubernetesVersion: v1.36.3\n\
             components: {kubeAPIServer: {extraArgs: {v: 2}}}\n",
        );
        assert_eq!(immutable(&old, &new), []);
        let new = config("network: {serviceCIDRs: [10.97.0.0/16]}\napi: {port: 7443}\n");
        let causes: Vec<_> = immutable(&old, &new)
            .iter()
            .map(|check| check.what.split(' ').next().unwrap().to_owned())
            .collect();
        assert_eq!(causes, ["api.port", "network.serviceCIDRs"]);
    }
}
