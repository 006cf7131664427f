//! The cluster's configuration: what an operator writes in `kubestrap.yaml`.
//!
//! The doc comments of the fields are the documentation that operators read: the JSON schema and
//! `docs/config.md` are made from them, so each says in one or two sentences what the key does.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Cidr, ClusterName, DomainName, Endpoint, EtcdUrl, FlagValues, ImageDigest, ImageReference,
    ImageRepository, KubernetesVersion, SubjectName, Validity,
};

/// One self-hosted Kubernetes cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct ClusterConfig {
    /// The cluster's name, as contexts in kubeconfig files carry it.
    pub cluster_name: ClusterName,
    /// The Kubernetes release. Minors 1.36 and 1.37 are supported.
    pub kubernetes_version: KubernetesVersion,
    /// How clients reach the API.
    pub api: ApiConfig,
    /// Addresses of pods and Services, and who connects the pods.
    pub network: NetworkConfig,
    /// How Services are implemented on nodes.
    pub proxy: ProxyConfig,
    /// Where the cluster's state is kept: `local` or `external`, not both.
    pub etcd: EtcdConfig,
    /// Certificate authorities, key algorithm and lifetimes.
    pub certificates: CertificatesConfig,
    /// The nodes that run the control plane.
    pub control_plane: ControlPlaneConfig,
    /// What keeps copies of the control plane on each of its nodes.
    pub guardian: GuardianConfig,
    /// Extra flags for single components.
    pub components: ComponentsConfig,
    /// Feature gates, set alike on every Kubernetes component.
    pub feature_gates: BTreeMap<String, bool>,
    /// Where container images come from.
    pub images: ImagesConfig,
    /// Encryption of Secrets in etcd.
    pub encryption: EncryptionConfig,
    /// The API's audit log.
    pub audit: AuditConfig,
    /// What pods may ask for.
    pub pod_security: PodSecurityConfig,
    /// Who users are, besides those of certificates and service accounts.
    pub authentication: AuthenticationConfig,
}

/// How clients reach the API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct ApiConfig {
    /// Host or address, and port, that clients and nodes use. Without it: the address of the node
    /// on which the cluster is brought up. Without a port: `api.port`.
    pub endpoint: Option<Endpoint>,
    /// Further names and addresses that the API's certificate is valid for.
    #[serde(rename = "extraSANs")]
    pub extra_sans: Vec<SubjectName>,
    /// The port on which kube-apiserver listens on its nodes.
    #[schemars(range(min = 1))]
    pub port: u16,
}

/// Addresses of pods and Services, and who connects the pods.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct NetworkConfig {
    /// The range that pods get their addresses from; for dual stack one of each family.
    #[serde(rename = "podCIDRs")]
    #[schemars(length(min = 1, max = 2))]
    pub pod_cidrs: Vec<Cidr>,
    /// The range that Services get their addresses from, with the same families in the same order
    /// as `podCIDRs`. The first address is the Service `kubernetes`, the tenth is DNS.
    #[serde(rename = "serviceCIDRs")]
    #[schemars(length(min = 1, max = 2))]
    pub service_cidrs: Vec<Cidr>,
    /// How large a part of `podCIDRs` each node gets.
    #[serde(rename = "nodeCIDRMasks")]
    pub node_cidr_masks: NodeCidrMasks,
    /// Who connects the pods: `flannel`, or `none` when you install a network yourself.
    pub provider: NetworkProvider,
    /// The DNS domain of Services.
    pub dns_domain: DomainName,
    /// Settings of flannel; used with `provider: flannel` only.
    pub flannel: FlannelConfig,
}

/// Prefix lengths of the part of the pod range that one node gets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct NodeCidrMasks {
    /// Prefix length for IPv4: 24 gives each node 254 addresses.
    #[schemars(range(min = 1, max = 30))]
    pub ipv4: u8,
    /// Prefix length for IPv6.
    #[schemars(range(min = 1, max = 126))]
    pub ipv6: u8,
}

/// Who connects the pods.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum NetworkProvider {
    /// flannel, installed with the cluster.
    #[default]
    Flannel,
    /// Nobody: nodes stay NotReady until you install a network.
    None,
}

/// Settings of flannel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct FlannelConfig {
    /// How packets go from node to node.
    pub backend: FlannelBackend,
    /// UDP port of the `vxlan` backend.
    #[schemars(range(min = 1))]
    pub port: u16,
    /// VXLAN network identifier of the `vxlan` backend.
    #[schemars(range(min = 1, max = 16_777_215))]
    pub vni: u32,
}

/// How flannel sends packets from node to node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FlannelBackend {
    /// VXLAN tunnels: works wherever nodes reach each other by UDP.
    #[default]
    Vxlan,
    /// Plain routes: all nodes must be on one layer-2 network.
    HostGw,
}

/// How Services are implemented on nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct ProxyConfig {
    /// kube-proxy's mode, or `disabled` when the network you install does its work.
    pub mode: ProxyMode,
}

/// kube-proxy's mode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ProxyMode {
    /// nftables (stable since Kubernetes 1.33).
    #[default]
    Nftables,
    /// iptables.
    Iptables,
    /// No kube-proxy.
    Disabled,
}

/// Where the cluster's state is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum EtcdConfig {
    /// etcd runs as a static pod on the control-plane nodes.
    Local(LocalEtcd),
    /// An etcd cluster that is there already.
    External(ExternalEtcd),
}

/// etcd as a static pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct LocalEtcd {
    /// The directory on the node that holds etcd's data.
    #[schemars(regex(pattern = "^/"))]
    pub data_dir: String,
}

/// An etcd cluster that is there already. Paths are relative to the config file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ExternalEtcd {
    /// Client URLs of the members, `https://host:port`.
    #[schemars(length(min = 1))]
    pub endpoints: Vec<EtcdUrl>,
    /// PEM file with the CA that signed the members' certificates.
    pub ca_file: String,
    /// PEM file with the client certificate that the apiserver shows.
    pub cert_file: String,
    /// PEM file with that certificate's private key.
    pub key_file: String,
}

/// Certificate authorities, key algorithm and lifetimes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct CertificatesConfig {
    /// The cluster's CA when you have one. Generated when absent.
    pub ca: Option<GivenCa>,
    /// The CA for the aggregation layer when you have one. Generated when absent.
    #[serde(rename = "frontProxyCA")]
    pub front_proxy_ca: Option<GivenCa>,
    /// The CA for etcd when you have one (with `etcd.local`). Generated when absent.
    #[serde(rename = "etcdCA")]
    pub etcd_ca: Option<GivenCa>,
    /// Where the keys of the cluster's authorities are once it is up.
    pub authority_keys: AuthorityKeys,
    /// Algorithm of generated keys.
    pub key_algorithm: KeyAlgorithm,
    /// How long generated CAs are valid: days (`365d`), hours (`8760h`) or minutes (`30m`).
    pub ca_validity: Validity,
    /// How long generated certificates are valid, and those of kubelets. They never outlive the CA that signed them.
    /// Each is renewed by itself, but for those of people (`auth/kubeconfig`), which are valid for a day at least.
    pub leaf_validity: Validity,
}

/// Where the keys of the cluster's authorities are once it is up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AuthorityKeys {
    /// On control-plane nodes, which renew their certificates by themselves.
    #[default]
    OnNodes,
    /// In the asset directory alone, wherever that is kept: nodes ask for their certificates, and somebody signs them
    /// (`kubestrap certs sign`).
    Offline,
}

/// A certificate authority given as files. Paths are relative to the config file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct GivenCa {
    /// PEM file with the CA's certificate.
    pub cert_file: String,
    /// PEM file with the CA's private key: ECDSA or RSA, in PKCS#8, PKCS#1 or SEC1 form.
    pub key_file: String,
}

/// Algorithm of generated keys. (Given CAs may have RSA keys; new RSA keys are not made.)
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum KeyAlgorithm {
    /// ECDSA on the curve P-256.
    #[default]
    EcdsaP256,
    /// ECDSA on the curve P-384.
    EcdsaP384,
}

/// The nodes that run the control plane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct ControlPlaneConfig {
    /// How many nodes will run the control plane. From two on, scheduler and controller-manager
    /// have two replicas.
    #[schemars(range(min = 1))]
    pub nodes: u32,
    /// Keep other pods off the control-plane nodes.
    pub taint: bool,
}

/// What keeps copies of the control plane on each of its nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct GuardianConfig {
    /// How many seconds an instance has to be Ready without interruption until it counts as proven:
    /// its revision is the last known good one then. An instance that dies later than that has been
    /// taken for good.
    #[schemars(range(min = 10, max = 3600))]
    pub min_ready_seconds: u32,
}

/// Extra flags for single components.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct ComponentsConfig {
    /// kube-apiserver, temporary and self-hosted.
    #[serde(rename = "kubeAPIServer")]
    pub kube_api_server: ComponentConfig,
    /// kube-controller-manager, temporary and self-hosted.
    pub kube_controller_manager: ComponentConfig,
    /// kube-scheduler, temporary and self-hosted.
    pub kube_scheduler: ComponentConfig,
    /// kube-proxy.
    pub kube_proxy: ComponentConfig,
    /// The kubelet of every node.
    pub kubelet: ComponentConfig,
    /// etcd, with `etcd.local`.
    pub etcd: ComponentConfig,
}

/// Extra flags for one component.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct ComponentConfig {
    /// Flags by name without dashes. A list gives the flag once for each value. They win over
    /// the flags that kubestrap sets itself.
    pub extra_args: BTreeMap<String, FlagValues>,
}

/// Where container images come from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct ImagesConfig {
    /// Replaces `registry.k8s.io` in the names of Kubernetes' own images.
    pub repository: ImageRepository,
    /// Whole image references for single components, by name: `kube-apiserver`, `flannel`, ….
    pub overrides: BTreeMap<String, ImageReference>,
    /// The digest of each image by its whole name with tag, `registry.k8s.io/pause:3.10.2`: pods run that very image
    /// and none that somebody else puts under its name. `up` and `upgrade` take them from the bundle; an image of
    /// `overrides` has its own in its reference.
    pub digests: BTreeMap<String, ImageDigest>,
}

/// Encryption of Secrets in etcd.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct EncryptionConfig {
    /// Encrypt Secrets at rest with a key that `render` generates.
    pub enabled: bool,
}

/// The API's audit log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct AuditConfig {
    /// Write an audit log on the control-plane nodes.
    pub enabled: bool,
    /// What is logged about requests that change something; reads are logged as metadata at most,
    /// and the content of Secrets and ConfigMaps never.
    pub level: AuditLevel,
    /// The directory of the log, on each control-plane node: kube-apiserver's own, and nobody else's.
    pub path: String,
    /// How many days a file of the log is kept.
    pub max_age: u32,
    /// How many files of the log are kept besides the one that is written.
    pub max_backups: u32,
    /// How large a file of the log becomes before the next one is begun, in MiB.
    pub max_size: u32,
}

/// How much of a request the audit log keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AuditLevel {
    /// Who, when, what object, what verb, what answer.
    #[default]
    Metadata,
    /// Also the request's body.
    Request,
    /// Also the answer's body.
    RequestResponse,
}

/// What pods may ask for (Pod Security admission).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct PodSecurityConfig {
    /// The Pod Security Standard of namespaces that have no label of their own
    /// (`pod-security.kubernetes.io/enforce`). `kube-system` is exempt.
    pub enforce: PodSecurityLevel,
}

/// A Pod Security Standard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PodSecurityLevel {
    /// Anything.
    Privileged,
    /// No namespace, path or port of the host, no privileged container.
    #[default]
    Baseline,
    /// Also not as root, and with no capability.
    Restricted,
}

/// Who users are, besides those of certificates and service accounts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct AuthenticationConfig {
    /// Issuers of tokens (OIDC), each as the `jwt` of kube-apiserver's `AuthenticationConfiguration` has it:
    /// `issuer`, `claimMappings` and so on. It is handed on as it is.
    pub jwt: Vec<serde_json::Map<String, serde_json::Value>>,
}
