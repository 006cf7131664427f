//! The checks of the CIS Kubernetes Benchmark 1.12 that are scored, in its order and in our words. What is asked is what
//! upstream's tool for it asks (kube-bench, cfg/cis-1.12).

/// What is looked at.
#[derive(Debug, Clone, Copy)]
pub(super) enum Probe {
    /// Files are there and no more may be done with them than this mode says.
    Mode(&'static str, u32),
    /// Files are there and root's, as their group is.
    Root(&'static str),
    /// There is no such file. What of its kind is there for a while has mode 600 and is root's.
    NoManifest(&'static str),
    /// A process has this flag, with a value that will do.
    Flag(&'static str, &'static str, Want),
    /// A key of the kubelet's effective configuration.
    Kubelet(&'static str, Want),
    /// A port is listened on by loopback alone.
    Loopback(u16),
}

/// What a value has to be.
#[derive(Debug, Clone, Copy)]
pub(super) enum Want {
    /// Anything.
    Given,
    /// Not there.
    Absent,
    /// This.
    Is(&'static str),
    /// Not there, or this.
    Unless(&'static str),
    /// A list with this in it.
    Has(&'static str),
    /// No list with this in it; nothing is none either.
    Lacks(&'static str),
    /// This much, or more.
    Least(u64),
}

/// One check.
#[derive(Debug)]
pub(super) struct Check {
    pub(super) id: &'static str,
    pub(super) what: &'static str,
    pub(super) probes: &'static [Probe],
    /// Why it is meant to fail here.
    pub(super) design: Option<&'static str>,
}

const API: &str = "kube-apiserver";
const MANAGER: &str = "kube-controller-manager";
const SCHEDULER: &str = "kube-scheduler";
const ETCD: &str = "etcd";

const OWN_GROUP: &str = "the component is not root: its file is root's and readable for the group that only this component is in (0440)";
const OWN_USER: &str =
    "etcd is not root: its files are root's, and readable for the group that only etcd is in";

macro_rules! checks {
    ($($id:literal, $what:literal, [$($probe:expr),+] $(, by design: $why:expr)?;)*) => {
        &[$(Check { id: $id, what: $what, probes: &[$($probe),+], design: checks!(@ $($why)?) },)*]
    };
    (@) => { None };
    (@ $why:expr) => { Some($why) };
}

use Probe::{Flag, Kubelet, Loopback, Mode, NoManifest, Root};
use Want::{Absent, Given, Has, Is, Lacks, Least, Unless};

#[rustfmt::skip]
pub(super) const CHECKS: &[Check] = checks! {
    "1.1.1", "kube-apiserver's manifest: mode", [NoManifest("kube-apiserver")];
    "1.1.2", "kube-apiserver's manifest: owner", [NoManifest("kube-apiserver")];
    "1.1.3", "kube-controller-manager's manifest: mode", [NoManifest("kube-controller-manager")];
    "1.1.4", "kube-controller-manager's manifest: owner", [NoManifest("kube-controller-manager")];
    "1.1.5", "kube-scheduler's manifest: mode", [NoManifest("kube-scheduler")];
    "1.1.6", "kube-scheduler's manifest: owner", [NoManifest("kube-scheduler")];
    "1.1.7", "etcd's manifest: mode", [Mode("/etc/kubernetes/manifests/etcd.yaml", 0o600)];
    "1.1.8", "etcd's manifest: owner", [Root("/etc/kubernetes/manifests/etcd.yaml")];
    "1.1.11", "etcd's data: mode", [Mode("/var/lib/etcd", 0o700)];
    "1.1.12", "etcd's data: owner etcd:etcd", [Root("/var/lib/etcd")],
        by design: "it is the user's that only etcd has, 61104, which has no name on the host";
    "1.1.13", "administrator's kubeconfig: mode", [Mode("/etc/kubernetes/admin.conf", 0o600)];
    "1.1.14", "administrator's kubeconfig: owner", [Root("/etc/kubernetes/admin.conf")];
    "1.1.15", "kube-scheduler's kubeconfig: mode", [Mode("/etc/kubernetes/kubestrap/kube-scheduler/kubeconfig", 0o600)],
        by design: OWN_GROUP;
    "1.1.16", "kube-scheduler's kubeconfig: owner", [Root("/etc/kubernetes/kubestrap/kube-scheduler/kubeconfig")],
        by design: OWN_GROUP;
    "1.1.17", "kube-controller-manager's kubeconfig: mode", [Mode("/etc/kubernetes/kubestrap/kube-controller-manager/kubeconfig", 0o600)],
        by design: OWN_GROUP;
    "1.1.18", "kube-controller-manager's kubeconfig: owner", [Root("/etc/kubernetes/kubestrap/kube-controller-manager/kubeconfig")],
        by design: OWN_GROUP;
    "1.1.19", "the PKI's directory and files: owner", [Root("/etc/kubernetes/pki /etc/kubernetes/pki/* /etc/kubernetes/pki/etcd/*")],
        by design: OWN_USER;
    "1.2.2", "kube-apiserver: no file of tokens", [Flag(API, "token-auth-file", Absent)];
    "1.2.4", "kube-apiserver: a certificate for kubelets", [Flag(API, "kubelet-client-certificate", Given), Flag(API, "kubelet-client-key", Given)];
    "1.2.5", "kube-apiserver: kubelets' CA", [Flag(API, "kubelet-certificate-authority", Given)];
    "1.2.6", "kube-apiserver: not everything is allowed", [Flag(API, "authorization-mode", Lacks("AlwaysAllow"))];
    "1.2.7", "kube-apiserver: authorisation of nodes", [Flag(API, "authorization-mode", Has("Node"))];
    "1.2.8", "kube-apiserver: RBAC", [Flag(API, "authorization-mode", Has("RBAC"))];
    "1.2.10", "kube-apiserver: not everything is admitted", [Flag(API, "enable-admission-plugins", Lacks("AlwaysAdmit"))];
    "1.2.12", "kube-apiserver: ServiceAccount", [Flag(API, "disable-admission-plugins", Lacks("ServiceAccount"))];
    "1.2.13", "kube-apiserver: NamespaceLifecycle", [Flag(API, "disable-admission-plugins", Lacks("NamespaceLifecycle"))];
    "1.2.14", "kube-apiserver: NodeRestriction", [Flag(API, "enable-admission-plugins", Has("NodeRestriction"))];
    "1.2.15", "kube-apiserver: no profiling", [Flag(API, "profiling", Is("false"))];
    "1.2.16", "kube-apiserver: an audit log", [Flag(API, "audit-log-path", Given)];
    "1.2.17", "kube-apiserver: the audit log is kept for 30 days", [Flag(API, "audit-log-maxage", Least(30))];
    "1.2.18", "kube-apiserver: ten files of the audit log", [Flag(API, "audit-log-maxbackup", Least(10))];
    "1.2.19", "kube-apiserver: 100 MB of each", [Flag(API, "audit-log-maxsize", Least(100))];
    "1.2.21", "kube-apiserver: service accounts are looked up", [Flag(API, "service-account-lookup", Unless("true"))];
    "1.2.22", "kube-apiserver: service accounts' key", [Flag(API, "service-account-key-file", Given)];
    "1.2.23", "kube-apiserver: a certificate for etcd", [Flag(API, "etcd-certfile", Given), Flag(API, "etcd-keyfile", Given)];
    "1.2.24", "kube-apiserver: a serving certificate", [Flag(API, "tls-cert-file", Given), Flag(API, "tls-private-key-file", Given)];
    "1.2.25", "kube-apiserver: clients' CA", [Flag(API, "client-ca-file", Given)];
    "1.2.26", "kube-apiserver: etcd's CA", [Flag(API, "etcd-cafile", Given)];
    "1.2.30", "kube-apiserver: tokens live as long as they say", [Flag(API, "service-account-extend-token-expiration", Is("false"))];
    "1.3.2", "kube-controller-manager: no profiling", [Flag(MANAGER, "profiling", Is("false"))];
    "1.3.3", "kube-controller-manager: an account for each controller", [Flag(MANAGER, "use-service-account-credentials", Is("true"))];
    "1.3.4", "kube-controller-manager: service accounts' key", [Flag(MANAGER, "service-account-private-key-file", Given)];
    "1.3.5", "kube-controller-manager: the root CA", [Flag(MANAGER, "root-ca-file", Given)];
    "1.3.6", "kube-controller-manager: kubelets' serving certificates are renewed", [Flag(MANAGER, "feature-gates", Lacks("RotateKubeletServerCertificate=false"))];
    "1.3.7", "kube-controller-manager: on loopback", [Flag(MANAGER, "bind-address", Is("127.0.0.1"))];
    "1.4.1", "kube-scheduler: no profiling", [Flag(SCHEDULER, "profiling", Is("false"))];
    "1.4.2", "kube-scheduler: on loopback", [Flag(SCHEDULER, "bind-address", Is("127.0.0.1"))];
    "2.1", "etcd: a serving certificate", [Flag(ETCD, "cert-file", Given), Flag(ETCD, "key-file", Given)];
    "2.2", "etcd: clients show a certificate", [Flag(ETCD, "client-cert-auth", Is("true"))];
    "2.3", "etcd: no certificate of its own making", [Flag(ETCD, "auto-tls", Unless("false"))];
    "2.4", "etcd: a certificate for peers", [Flag(ETCD, "peer-cert-file", Given), Flag(ETCD, "peer-key-file", Given)];
    "2.5", "etcd: peers show a certificate", [Flag(ETCD, "peer-client-cert-auth", Is("true"))];
    "2.6", "etcd: none of its own making for peers", [Flag(ETCD, "peer-auto-tls", Unless("false"))];
    "4.1.1", "the kubelet's unit: mode", [Mode("/etc/systemd/system/kubelet.service", 0o600)];
    "4.1.2", "the kubelet's unit: owner", [Root("/etc/systemd/system/kubelet.service")];
    "4.1.5", "the kubelet's kubeconfig: mode", [Mode("/etc/kubernetes/kubelet.conf", 0o600)];
    "4.1.6", "the kubelet's kubeconfig: owner", [Root("/etc/kubernetes/kubelet.conf")];
    "4.1.9", "the kubelet's configuration: mode", [Mode("/var/lib/kubelet/config.yaml", 0o600)];
    "4.1.10", "the kubelet's configuration: owner", [Root("/var/lib/kubelet/config.yaml")];
    "4.2.1", "the kubelet: nobody unknown", [Kubelet("/authentication/anonymous/enabled", Is("false"))];
    "4.2.2", "the kubelet: not everything is allowed", [Kubelet("/authorization/mode", Is("Webhook"))];
    "4.2.3", "the kubelet: clients' CA", [Kubelet("/authentication/x509/clientCAFile", Given)];
    "4.2.6", "the kubelet: its iptables chains", [Kubelet("/makeIPTablesUtilChains", Unless("true"))];
    "4.2.10", "the kubelet: its certificate is renewed", [Kubelet("/rotateCertificates", Is("true"))];
    "4.3.1", "kube-proxy: metrics on loopback", [Loopback(10249)];
};
