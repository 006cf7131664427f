//! Every file and directory on a node that more than one part knows, as absolute paths of the node.
//!
//! Who looks at a node from outside (a sandbox's disk, `/proc/1/root`) joins them to that root: see [`below_root`].

// Kubernetes

/// All of Kubernetes' configuration on a node (`KubernetesDir` in cmd/kubeadm/app/constants/constants.go).
pub const KUBERNETES: &str = "/etc/kubernetes";

/// Where the kubelet reads static pods (`ManifestsSubDirName` in cmd/kubeadm/app/constants/constants.go).
pub const STATIC_PODS: &str = "/etc/kubernetes/manifests";

/// The administrator's kubeconfig, where `up` puts it (`AdminKubeConfigFileName` in
/// cmd/kubeadm/app/constants/constants.go).
pub const ADMIN_KUBECONFIG: &str = "/etc/kubernetes/admin.conf";

/// Certificates that a node shares with the cluster (`DefaultCertificatesDir` in
/// cmd/kubeadm/app/apis/kubeadm/v1beta4/defaults.go).
pub const PKI: &str = "/etc/kubernetes/pki";

/// The cluster CA's certificate (`CACertName` in cmd/kubeadm/app/constants/constants.go).
pub const CA_CERTIFICATE: &str = "/etc/kubernetes/pki/ca.crt";

/// Where etcd's static pod finds its certificates (`EtcdCACertName` in cmd/kubeadm/app/constants/constants.go).
pub const ETCD_PKI: &str = "/etc/kubernetes/pki/etcd";

/// Where the temporary control plane's static pods find their secrets, those of other asset directories too
/// (`BootstrapSecretsDir` of kubernetes-retired/bootkube, pkg/asset/asset.go).
pub const BOOTSTRAP_SECRETS: &str = "/etc/kubernetes/bootstrap-secrets";

/// Pods' logs, a directory each (`DefaultPodLogsDir` in pkg/kubelet/apis/config/v1beta1/defaults.go).
pub const POD_LOGS: &str = "/var/log/pods";

/// Links to the logs, one for each container (`ContainerLogsDir` in pkg/kubelet/kubelet.go).
pub const CONTAINER_LOGS: &str = "/var/log/containers";

/// Logs of Kubernetes that are no pod's.
pub const KUBERNETES_LOGS: &str = "/var/log/kubernetes";

/// kube-apiserver's audit log when the config does not say: beside the logs of other services.
pub const AUDIT: &str = "/var/log/kubernetes/audit";

/// etcd's data when the config does not say (`DefaultEtcdDataDir` in
/// cmd/kubeadm/app/apis/kubeadm/v1beta4/defaults.go).
pub const ETCD_DATA: &str = "/var/lib/etcd";

// The kubelet

/// The kubelet's unit, a file in [`UNITS`] and the name by which systemd knows it; packages of Kubernetes call it the same.
pub const KUBELET_UNIT: &str = "kubelet.service";

/// The kubelet's state, its pods' volumes among it (`KubeletRunDirectory` in
/// cmd/kubeadm/app/constants/constants.go).
pub const KUBELET: &str = "/var/lib/kubelet";

/// The kubelet's configuration (`KubeletConfigurationFileName` in cmd/kubeadm/app/constants/constants.go).
pub const KUBELET_CONFIG: &str = "/var/lib/kubelet/config.yaml";

/// The kubelet's kubeconfig (`KubeletKubeConfigFileName` in cmd/kubeadm/app/constants/constants.go).
pub const KUBELET_KUBECONFIG: &str = "/etc/kubernetes/kubelet.conf";

/// The kubeconfig with the bootstrap token (`KubeletBootstrapKubeConfigFileName` in
/// cmd/kubeadm/app/constants/constants.go).
pub const KUBELET_BOOTSTRAP_KUBECONFIG: &str = "/etc/kubernetes/bootstrap-kubelet.conf";

/// The kubelet's own certificates (`--cert-dir` in cmd/kubelet/app/options/options.go).
pub const KUBELET_PKI: &str = "/var/lib/kubelet/pki";

/// The link to the serving certificate in use, as [`KUBELET_CLIENT_CERTIFICATE`].
pub const KUBELET_SERVING_CERTIFICATE: &str = "/var/lib/kubelet/pki/kubelet-server-current.pem";

/// The link to the client certificate in use, which the kubelet moves at each rotation
/// (staging/src/k8s.io/client-go/util/certificate/certificate_store.go).
pub const KUBELET_CLIENT_CERTIFICATE: &str = "/var/lib/kubelet/pki/kubelet-client-current.pem";

/// Where the kubelet looks for volume plugins, which it makes when it is not there (`DefaultVolumePluginDir` in
/// pkg/kubelet/apis/config/v1beta1/defaults.go, less its last parts).
pub const KUBELET_PLUGINS: &str = "/usr/libexec/kubernetes";

// The container runtime and the pods' network

/// The socket of the container runtime (`DefaultAddress` of containerd/containerd, defaults/defaults_unix.go).
pub const CRI_SOCKET: &str = "/run/containerd/containerd.sock";

/// What containerd knows until the next boot (`DefaultStateDir` of containerd/containerd,
/// defaults/defaults_unix.go).
pub const CONTAINERD_STATE: &str = "/run/containerd";

/// Where containerd has what runs, one directory for each container (`--state` of its shims: core/runtime/v2 of
/// containerd/containerd), in its namespace of the kubelet's.
pub const CONTAINERD_TASKS: &str = "/run/containerd/io.containerd.runtime.v2.task/k8s.io";

/// Where containerd keeps images and containers unless its configuration says otherwise (`DefaultRootDir` of
/// containerd/containerd, defaults/defaults_unix.go).
pub const CONTAINERD_ROOT: &str = "/var/lib/containerd";

/// containerd's configuration (`DefaultConfigDir` of containerd/containerd, defaults/defaults_unix.go).
pub const CONTAINERD_CONFIG_DIR: &str = "/etc/containerd";

/// The file in it (containerd/containerd, docs/man/containerd-config.toml.5.md).
pub const CONTAINERD_CONFIG: &str = "/etc/containerd/config.toml";

/// CNI's configuration as a whole: a sandbox hides the host's.
pub const CNI: &str = "/etc/cni";

/// Where the runtime looks for the pods' network (`DefaultNetDir` of containerd/go-cni, types.go).
pub const CNI_CONFIG: &str = "/etc/cni/net.d";

/// What flannel writes there (flannel-io/flannel, Documentation/kube-flannel.yml).
pub const FLANNEL_CNI_CONFIG: &str = "/etc/cni/net.d/10-flannel.conflist";

/// CNI's plugins (`DefaultCNIDir` of containerd/go-cni, types.go).
pub const CNI_PLUGINS: &str = "/opt/cni/bin";

/// What has the plugins in it, and nothing else.
pub const CNI_HOME: &str = "/opt/cni";

/// The addresses that pods have (`defaultDataDir` of containernetworking/plugins,
/// plugins/ipam/host-local/backend/disk/backend.go, less its last part).
pub const CNI_STATE: &str = "/var/lib/cni";

/// What flannel tells its plugin (`--subnet-file` of flannel-io/flannel, main.go).
pub const FLANNEL_STATE: &str = "/run/flannel";

// The operating system

/// Where programs go that no package brings (file-hierarchy(7)).
pub const PROGRAMS: &str = "/usr/local/bin";

/// Where units of this host's administrator lie (systemd.unit(5)).
pub const UNITS: &str = "/etc/systemd/system";

/// Where units lie that are there until the next boot (systemd.unit(5)). That it is there says that systemd runs
/// (sd_booted(3)).
pub const RUNTIME_UNITS: &str = "/run/systemd/system";

/// Where kernel settings are read from at boot (sysctl.d(5)).
pub const SYSCTL_DIR: &str = "/etc/sysctl.d";

/// Kernel modules that are loaded at boot (modules-load.d(5)).
pub const MODULES_DIR: &str = "/etc/modules-load.d";

/// The host's own table of names (hosts(5)).
pub const HOSTS: &str = "/etc/hosts";

/// The names of the resolvers (resolv.conf(5)).
pub const RESOLV_CONF: &str = "/etc/resolv.conf";

/// The same where systemd-resolved puts itself in the first (systemd-resolved.service(8)).
pub const RESOLVED_RESOLV_CONF: &str = "/run/systemd/resolve/resolv.conf";

// kubestrap

/// All that kubestrap keeps on a host.
pub const STATE: &str = "/var/lib/kubestrap";

/// What whoever changes this host holds locked meanwhile; it is there for that time only, and at the next boot in no case
/// (file-hierarchy(7)).
pub const HOST_LOCK: &str = "/run/kubestrap";

/// What an install put on this host and what it found there, JSON: what `reset` goes by.
pub const INSTALLED: &str = "/var/lib/kubestrap/installed.json";

/// The asset directory of this node's cluster.
pub const ASSETS: &str = "/var/lib/kubestrap/assets";

/// The guardian's checkpoints, on the host and in its pod.
pub const CHECKPOINTS: &str = "/var/lib/kubestrap/checkpoints";

/// What the control plane of a control-plane node reads that is nobody else's: a directory for each component, keys among
/// what is in it. No key is anywhere in the API.
pub const CONTROL_PLANE: &str = "/etc/kubernetes/kubestrap";

/// Its authorities, root's alone: what certificates of the node are issued and renewed by.
pub const AUTHORITIES: &str = "/etc/kubernetes/kubestrap/authorities";

/// What the node needs of whoever has the authorities' keys, where these are not on it; and what is brought back.
pub const CERTIFICATE_REQUESTS: &str = "/etc/kubernetes/kubestrap/requests";

/// What a node knows of its own member of etcd when etcd's data is gone, and which manifest of it was good.
pub const ETCD_MEMBER: &str = "/etc/kubernetes/kubestrap/etcd";

/// Of these: which member of which cluster it is.
pub const ETCD_MEMBER_ID: &str = "/etc/kubernetes/kubestrap/etcd/member.json";

/// Of these: the manifest that etcd serves with.
pub const ETCD_GOOD: &str = "/etc/kubernetes/kubestrap/etcd/good.yaml";

/// Of these: the last manifest that etcd did not serve with.
pub const ETCD_REFUSED: &str = "/etc/kubernetes/kubestrap/etcd/refused.yaml";

/// kube-apiserver's part of it.
pub const KUBE_APISERVER_KEYS: &str = "/etc/kubernetes/kubestrap/kube-apiserver";

/// kube-controller-manager's.
pub const KUBE_CONTROLLER_MANAGER_KEYS: &str = "/etc/kubernetes/kubestrap/kube-controller-manager";

/// kube-scheduler's.
pub const KUBE_SCHEDULER_KEYS: &str = "/etc/kubernetes/kubestrap/kube-scheduler";

/// Where a component's pod has its part mounted.
pub const KEYS_MOUNT: &str = "/etc/kubernetes/secrets";

/// The guardian's part of it.
pub const GUARDIAN_CREDENTIALS: &str = "/etc/kubernetes/kubestrap/guardian";

/// Snapshots of etcd.
pub const BACKUPS: &str = "/var/lib/kubestrap/backups";

/// Where the tools of `backup` and `restore` lie while they run.
pub const RECOVERY: &str = "/var/lib/kubestrap/recovery";

/// What an upgrade needs for the step back.
pub const UPGRADE: &str = "/var/lib/kubestrap/upgrade";

/// Sandboxes, on the machine that has them.
pub const SANDBOXES: &str = "/var/lib/kubestrap/sandboxes";

/// kubestrap's own configuration of a node: a sandbox hides the host's.
pub const KUBESTRAP: &str = "/etc/kubestrap";

/// Where a sandbox tells its node what is special about it, JSON.
pub const SANDBOX_FACTS: &str = "/etc/kubestrap/sandbox.json";

/// kubestrap itself, in a sandbox.
pub const KUBESTRAP_PROGRAM: &str = "/usr/local/bin/kubestrap";

/// Kernel settings that a node's network needs.
pub const SYSCTL_FILE: &str = "/etc/sysctl.d/99-kubestrap.conf";

/// Kernel modules that a node needs.
pub const MODULES_FILE: &str = "/etc/modules-load.d/kubestrap.conf";

/// The guardian's file in the directory of static pods, and in its ConfigMap.
pub const GUARDIAN_FILE: &str = "kubestrap-guardian.yaml";

/// etcd's file in the directory of static pods (kubeadm's name of it: `GetStaticPodFilepath` in
/// cmd/kubeadm/app/constants/constants.go).
pub const ETCD_FILE: &str = "etcd.yaml";

/// A path of a node as a path below its root directory, for `Path::join`: a leading slash would leave the root.
pub fn below_root(path: &str) -> &str {
    path.trim_start_matches('/')
}
