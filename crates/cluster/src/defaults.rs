//! The values of keys that the config file leaves out.

use std::net::Ipv4Addr;

use ipnet::{IpNet, Ipv4Net};

use crate::config::{
    ApiConfig, AuditConfig, AuditLevel, AuthorityKeys, CertificatesConfig, ControlPlaneConfig,
    EncryptionConfig, EtcdConfig, FlannelBackend, FlannelConfig, GuardianConfig, KeyAlgorithm, LocalEtcd,
    NetworkConfig, NetworkProvider, NodeCidrMasks,
};
use crate::{Cidr, DomainName, Validity};

impl Default for ApiConfig {
    fn default() -> Self {
        Self { endpoint: None, extra_sans: Vec::new(), port: names::port::KUBE_APISERVER }
    }
}

impl Default for NetworkConfig {
    fn default() -> Self {
        let pods = Ipv4Net::new_assert(Ipv4Addr::new(10, 244, 0, 0), 16);
        let services = Ipv4Net::new_assert(Ipv4Addr::new(10, 96, 0, 0), 16);
        Self {
            pod_cidrs: vec![Cidr::from(IpNet::V4(pods))],
            service_cidrs: vec![Cidr::from(IpNet::V4(services))],
            node_cidr_masks: NodeCidrMasks::default(),
            provider: NetworkProvider::default(),
            dns_domain: DomainName::default(),
            flannel: FlannelConfig::default(),
        }
    }
}

/// kube-controller-manager's own defaults for `--node-cidr-mask-size-ipv4` and `-ipv6`.
impl Default for NodeCidrMasks {
    fn default() -> Self {
        Self { ipv4: 24, ipv6: 64 }
    }
}

/// flannel's own defaults on Linux.
impl Default for FlannelConfig {
    fn default() -> Self {
        Self { backend: FlannelBackend::default(), port: names::port::VXLAN, vni: 1 }
    }
}

impl Default for EtcdConfig {
    fn default() -> Self {
        Self::Local(LocalEtcd::default())
    }
}

impl Default for LocalEtcd {
    fn default() -> Self {
        Self { data_dir: names::path::ETCD_DATA.to_owned() }
    }
}

/// Ten years for CAs and one for the rest, as with kubeadm.
impl Default for CertificatesConfig {
    fn default() -> Self {
        Self {
            ca: None,
            front_proxy_ca: None,
            etcd_ca: None,
            authority_keys: AuthorityKeys::default(),
            key_algorithm: KeyAlgorithm::default(),
            ca_validity: Validity::from_days(3650),
            leaf_validity: Validity::from_days(365),
        }
    }
}

impl Default for ControlPlaneConfig {
    fn default() -> Self {
        Self { nodes: 1, taint: false }
    }
}

/// As the guardian's own `--min-ready-seconds`.
impl Default for GuardianConfig {
    fn default() -> Self {
        Self { min_ready_seconds: 60 }
    }
}

impl Default for EncryptionConfig {
    fn default() -> Self {
        Self { enabled: true }
    }
}

impl Default for AuditConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            level: AuditLevel::default(),
            path: names::path::AUDIT.to_owned(),
            // The CIS Kubernetes Benchmark's, 1.2.17 to 1.2.19.
            max_age: 30,
            max_backups: 10,
            max_size: 100,
        }
    }
}
