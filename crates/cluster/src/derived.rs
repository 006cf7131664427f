//! Values that follow from the configuration.

use std::net::IpAddr;
use std::path::Path;

use crate::{AuthorityKeys, Cidr, ClusterConfig, Endpoint, EtcdConfig, GivenCa, Images, SubjectName};

/// The place of the Service `kubernetes` in the Service range (as the apiserver takes it).
const KUBERNETES_SERVICE: u32 = 1;
/// The place of the DNS Service in the Service range (kubeadm's convention).
const DNS_SERVICE: u32 = 10;
/// From this number of control-plane nodes on, leader-elected components have a spare.
const NODES_FOR_SPARE: u32 = 2;

impl ClusterConfig {
    /// Whether the keys of the cluster's authorities are kept off its nodes.
    pub fn authority_keys_are_offline(&self) -> bool {
        self.certificates.authority_keys == AuthorityKeys::Offline
    }

    /// The image of every component.
    pub fn images(&self) -> Images {
        Images::of(self.kubernetes_version, &self.images)
    }

    /// The n-th address of the first Service range. `None` only in a config that was not validated.
    pub fn service_ip(&self, n: u32) -> Option<IpAddr> {
        self.network.service_cidrs.first().and_then(|cidr| cidr.nth(n))
    }

    /// The DNS Service's address in each Service range, in the ranges' order.
    pub fn dns_ips(&self) -> Vec<IpAddr> {
        self.network.service_cidrs.iter().filter_map(|cidr| cidr.nth(DNS_SERVICE)).collect()
    }

    /// Whether IPv6 is the first (or only) family.
    pub fn prefers_ipv6(&self) -> bool {
        self.network.service_cidrs.first().is_some_and(|cidr| cidr.is_ipv6())
    }

    /// Puts an address of the family that Services have first in front of a node's other addresses: the node is known by
    /// its first one. False, and nothing is changed, when there is none.
    pub fn put_primary_first(&self, addresses: &mut [IpAddr]) -> bool {
        let wanted = self.prefers_ipv6();
        let Some(position) = addresses.iter().position(|address| address.is_ipv6() == wanted) else {
            return false;
        };
        addresses.swap(0, position);
        true
    }

    /// Where clients reach the API; `node` is the address of the node where the cluster is brought
    /// up, used when the config names no endpoint.
    pub fn api_endpoint(&self, node: IpAddr) -> Endpoint {
        match &self.api.endpoint {
            Some(endpoint) => {
                Endpoint::new(endpoint.host().clone(), endpoint.port().unwrap_or(self.api.port))
            }
            None => Endpoint::new(node, self.api.port),
        }
    }

    /// The same as a URL, as kubeconfig files have it.
    pub fn api_url(&self, node: IpAddr) -> String {
        format!("https://{}", self.api_endpoint(node))
    }

    /// How many replicas scheduler and controller-manager have.
    pub fn leader_elected_replicas(&self) -> u32 {
        if self.control_plane.nodes >= NODES_FOR_SPARE { 2 } else { 1 }
    }

    /// Every name and address that the API's serving certificate must be valid for: the Service's
    /// names and addresses, loopback, the endpoint, the given nodes' names and addresses, and
    /// `api.extraSANs`; each once.
    pub fn api_server_names(&self, nodes: &[SubjectName]) -> Vec<SubjectName> {
        let dns = |name: &str| SubjectName::Dns(name.to_owned());
        let mut names = vec![
            dns("kubernetes"),
            dns("kubernetes.default"),
            dns("kubernetes.default.svc"),
            SubjectName::Dns(format!("kubernetes.default.svc.{}", self.network.dns_domain)),
            dns("localhost"),
            SubjectName::Ip(IpAddr::from([127, 0, 0, 1])),
            SubjectName::Ip(IpAddr::from(std::net::Ipv6Addr::LOCALHOST)),
        ];
        let services = &self.network.service_cidrs;
        names.extend(services.iter().filter_map(|cidr| cidr.nth(KUBERNETES_SERVICE)).map(SubjectName::Ip));
        names.extend(self.api.endpoint.iter().map(|endpoint| SubjectName::from(endpoint.host().clone())));
        names.extend(nodes.iter().cloned());
        names.extend(self.api.extra_sans.iter().cloned());
        let mut seen = Vec::with_capacity(names.len());
        for name in names {
            if !seen.contains(&name) {
                seen.push(name);
            }
        }
        seen
    }

    /// Comma-separated pod ranges, as flags take them.
    pub fn pod_cidr_list(&self) -> String {
        comma_separated(&self.network.pod_cidrs)
    }

    /// Comma-separated Service ranges, as flags take them.
    pub fn service_cidr_list(&self) -> String {
        comma_separated(&self.network.service_cidrs)
    }

    /// Feature gates as flags take them, `A=true,B=false`; `None` when none is set.
    pub fn feature_gate_list(&self) -> Option<String> {
        let gates: Vec<String> = self.feature_gates.iter().map(|(name, on)| format!("{name}={on}")).collect();
        (!gates.is_empty()).then(|| gates.join(","))
    }

    /// Makes the paths of given files relative to `base`, the config file's directory.
    pub fn resolve_paths(&mut self, base: &Path) {
        let resolve = |path: &mut String| *path = base.join(&*path).to_string_lossy().into_owned();
        let certificates = &mut self.certificates;
        let given = [&mut certificates.ca, &mut certificates.front_proxy_ca, &mut certificates.etcd_ca];
        for GivenCa { cert_file, key_file } in given.into_iter().flatten() {
            resolve(cert_file);
            resolve(key_file);
        }
        if let EtcdConfig::External(etcd) = &mut self.etcd {
            resolve(&mut etcd.ca_file);
            resolve(&mut etcd.cert_file);
            resolve(&mut etcd.key_file);
        }
    }
}

fn comma_separated(cidrs: &[Cidr]) -> String {
    cidrs.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}
