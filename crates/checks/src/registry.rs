//! The registry: every check that there is, once.

use crate::model::Kind;

/// Writes each kind once: a constant of module `kind`, and an entry of [`ALL`].
macro_rules! kinds {
    ($($constant:ident: $name:literal $(- $about:literal)?, $verbs:expr, looks_at $looks_at:literal,
        fails $fails:literal, $(warns $warns:literal,)? remedy $remedy:literal;)*) => {
        /// Every kind of check by its own name.
        pub mod kind {
            use crate::model::Kind;
            use crate::model::Verb::{Doctor, Join, Start, Up, Upgrade};

            $(
                #[doc = concat!("`", $name, "`: ", $looks_at, ".")]
                pub const $constant: Kind = Kind {
                    name: $name,
                    about: kinds!(@option $($about)?),
                    verbs: &$verbs,
                    looks_at: $looks_at,
                    fails: $fails,
                    warns: kinds!(@option $($warns)?),
                    remedy: $remedy,
                };
            )*
        }

        /// Every kind of check, in the order in which a cluster is made, changed and looked after.
        pub const ALL: &[Kind] = &[$(kind::$constant),*];

        /// The names of the constants, in the same order.
        #[cfg(test)]
        const CONSTANTS: &[&str] = &[$(stringify!($constant)),*];
    };
    (@option) => { None };
    (@option $value:literal) => { Some($value) };
}

kinds! {
    // A host that shall become a node.
    IS_PRIVILEGED_USER: "IsPrivilegedUser", [Up, Join],
        looks_at "who runs it",
        fails "you are not root: nothing can be installed",
        remedy "run it with sudo";
    INIT_SYSTEM: "InitSystem", [Up, Join],
        looks_at "systemd",
        fails "there is no systemctl, by which containerd and the kubelet are run",
        remedy "use a host with systemd, or try it in a sandbox";
    NUM_CPU: "NumCPU", [Up, Join],
        looks_at "the number of processors",
        fails "never",
        warns "a control plane has fewer than two: it is slow",
        remedy "use a larger host";
    MEM: "Mem", [Up, Join],
        looks_at "the memory",
        fails "a control plane has less than 1700 MiB: it runs out of it",
        remedy "use a larger host";
    SWAP: "Swap", [Up, Join, Doctor],
        looks_at "swap",
        fails "in `doctor`: it is on, and the kubelet's configuration forbids it: the kubelet would not start",
        warns "it is on: pods may be slowed down by it, and memory limits mean less",
        remedy "turn it off: `swapoff -a`, and in /etc/fstab";
    SYSTEM_VERIFICATION: "SystemVerification", [Up, Join],
        looks_at "the cgroup controllers",
        fails "one that the kubelet needs is missing",
        warns "the host uses cgroup v1, which gets no new features of Kubernetes",
        remedy "enable them on the kernel's command line";
    OVERLAYFS: "Overlayfs", [Up, Join],
        looks_at "the kernel's file systems",
        fails "never",
        warns "overlayfs is not there yet: containers need it, as a module it will be loaded",
        remedy "use another kernel, where it is no module either";
    HOSTNAME: "Hostname", [Up, Join],
        looks_at "the node's name",
        fails "it cannot be that of a Node object",
        remedy "rename the host, or give `--node-name`";
    NODE_ADDRESS: "NodeAddress", [Up, Join, Doctor],
        looks_at "the host's addresses, and those that the kubelet and etcd of the node were set up with",
        fails "there is none but loopback: nobody could reach the node; or the host has no more one that the node was set up with: etcd or the apiserver would not start",
        remedy "bring the network up; where the address is another one now, `kubestrap up` puts it in the place of the old one";
    API_ENDPOINT: "ApiEndpoint", [Up, Join],
        looks_at "api.endpoint, where it is a name",
        fails "it does not resolve on this host: its kubelet would not find the API",
        warns "it leads to loopback: another node would look for the API on itself",
        remedy "mend DNS, or add a line to the host's table of names";
    RESOLVER: "Resolver", [Up, Join],
        looks_at "the name servers of the host (resolv.conf)",
        fails "never",
        warns "it names no server, or one on loopback, where cluster DNS would ask itself: pods resolve names of the cluster only",
        remedy "name a server that pods can ask";
    DISK_SPACE: "DiskSpace", [Up, Join],
        looks_at "the room below /var/lib",
        fails "images, programs and 1 GiB for what a cluster writes do not fit",
        remedy "free some space there";
    CLOCK: "Clock", [Up, Join, Doctor],
        looks_at "the clock",
        fails "it is before 2026, before the newest checkpoint was written, or (in `join`) more than five minutes from the API server's: certificates are judged by it",
        remedy "set it and have it kept right";
    KUBELET_VERSION: "KubeletVersion", [Up, Join],
        looks_at "the kubelet that would be installed",
        fails "it is newer than the control plane or more than three minors older: Kubernetes does not support that",
        remedy "use a bundle of the cluster's own minor version";
    PORT: "Port" - "port", [Up, Join, Start],
        looks_at "each port of a node's programs",
        fails "another program listens there; those of a node in their containers are ours",
        remedy "end that process";
    FILE_EXISTING: "FileExisting" - "program", [Up, Join],
        looks_at "programs of the host: by which the kubelet mounts volumes, the network opens ports of the host, and kernel modules are loaded",
        fails "mount or umount is missing: pods with such volumes do not start",
        warns "iptables is missing, where flannel connects the pods: those with a hostPort do not start; or modprobe, where modules are to be loaded",
        remedy "install the Debian packages mount, iptables, kmod";
    FILE_SYSTEM: "FileSystem" - "path", [Up, Join],
        looks_at "directories of a node that lie on a file system of their own",
        fails "it is read-only, has too little room for what goes there, or programs of ours could not run from it (noexec)",
        remedy "make it larger, or mount it with other options";
    ADDRESS_RANGE: "AddressRange" - "range", [Up, Join],
        looks_at "the ranges of pods and Services, beside the addresses and routes of the host",
        fails "the host has an address in it, or a route to a part of it: what is there could not be reached any more",
        warns "a router of the host leads to a larger range: hosts there with such an address could not be reached",
        remedy "choose another range: network.podCIDRs, network.serviceCIDRs";
    UNIT_COMMAND: "UnitCommand" - "unit", [Up, Join, Doctor],
        looks_at "what systemd runs as our units, with the drop-ins that others left",
        fails "a drop-in, such as of the packages of Kubernetes, puts another command in the place of ours",
        remedy "remove the drop-in, and run `systemctl daemon-reload`";
    CNI_CONFIG: "CniConfig", [Up, Join, Doctor],
        looks_at "the configurations of pod networks that the runtime reads, where flannel connects the pods",
        fails "in `up`: one sorts before flannel's: the runtime takes the first, and pods would be in that network",
        warns "in `up`: one sorts behind flannel's, and pods that start before flannel does are in that network; in `doctor`: one sorts before flannel's",
        remedy "move it away";
    FILE_AVAILABLE: "FileAvailable" - "path", [Up, Join],
        looks_at "files that would be written",
        fails "it is there, and of another cluster or another installer: nothing of others is overwritten",
        remedy "move it away, or remove that cluster first";
    DIR_AVAILABLE: "DirAvailable" - "path", [Up, Join],
        looks_at "the directory of etcd's data",
        fails "it holds data of an etcd that is not this cluster's",
        remedy "move it away";
    // A node on which a control plane shall be brought up.
    CRI: "CRI", [Up, Join, Start, Doctor],
        looks_at "the container runtime",
        fails "it does not answer, cannot start pods, or lacks a call that the kubelet needs; in `up` also: another one has its socket",
        remedy "look at `journalctl -u containerd`, or keep yours with `--use-existing-containerd`";
    KUBELET_RUNNING: "KubeletRunning", [Start, Doctor],
        looks_at "the kubelet's health endpoint",
        fails "it does not answer, or says that it is not healthy: no pod is started",
        remedy "look at `journalctl -u kubelet`";
    STATIC_POD_DIR: "StaticPodDir", [Start, Doctor],
        looks_at "the kubelet's directory of static pods",
        fails "it does not exist, the kubelet reads none, or another one than the guardian writes to: no checkpoint would be started",
        remedy "set staticPodPath in the kubelet's configuration";
    CERTIFICATE: "Certificate" - "file", [Start],
        looks_at "certificates that the control plane will show",
        fails "it is expired, valid neither for this host's addresses nor for the name that clients dial, not of this CA, or its key is another one",
        remedy "render the assets again";
    ETCD_ENDPOINT: "Etcd" - "url", [Up, Start],
        looks_at "an external etcd",
        fails "it does not answer, or its certificates and ours do not fit: the apiserver would not start",
        remedy "mend etcd.external in the config, or what is between it and this host";
    IMAGE: "Image" - "image", [Start],
        looks_at "images of static pods and of the guardian",
        fails "it is not on the node: with no registry nobody gets it",
        remedy "import it from a bundle of this version, or give `--allow-pull`";
    // A cluster that shall be changed.
    VERSION: "Version", [Upgrade],
        looks_at "the version to go to",
        fails "this kubestrap knows neither its flags nor its objects",
        remedy "use the kubestrap that knows it";
    VERSION_SKEW: "VersionSkew", [Upgrade],
        looks_at "the versions of the control plane and kube-proxy",
        fails "the step is more than one minor, or a component would be out of the skew that Kubernetes allows",
        remedy "go one minor at a time";
    IMMUTABLE_CONFIG: "ImmutableConfig", [Upgrade],
        looks_at "the config",
        fails "it changes what a cluster that runs cannot change: address ranges, DNS domain, API port, CAs, etcd, encryption, network, kube-proxy's mode",
        remedy "put the old value back";
    NODE_READY: "NodeReady", [Upgrade],
        looks_at "the nodes",
        fails "this node is not Ready",
        warns "another one is not",
        remedy "mend it first: `kubectl describe node` says why";
    KUBELET_SKEW: "KubeletSkew", [Upgrade],
        looks_at "the nodes' kubelets",
        fails "one would be more than three minors older than the apiserver, or newer",
        remedy "bring that kubelet to a version that fits first";
    OTHER_KUBELETS: "OtherKubelets", [Upgrade],
        looks_at "the kubelets of other nodes",
        fails "never",
        warns "one stays at its version: only this host's is changed",
        remedy "upgrade it there when this is done";
    DRAIN_ELSEWHERE: "DrainElsewhere", [Upgrade],
        looks_at "where pods can go, with `--drain`",
        fails "no other node is Ready and schedulable: they would run nowhere",
        remedy "leave out `--drain`";
    DRAIN_UNMANAGED: "DrainUnmanaged", [Upgrade],
        looks_at "pods without a controller, with `--drain`",
        fails "there are some: nobody makes them anew",
        remedy "delete them, or ignore this check";
    DRAIN_LOCAL_DATA: "DrainLocalData", [Upgrade],
        looks_at "pods with emptyDir volumes, with `--drain`",
        fails "there are some: what is in the volumes would be lost",
        remedy "save it, or ignore this check";
    ETCD: "Etcd", [Upgrade],
        looks_at "etcd's health",
        fails "it is not healthy: there would be no snapshot to go back to",
        remedy "mend it first";
    ETCD_VERSION: "EtcdVersion", [Upgrade],
        looks_at "etcd's version",
        fails "it is older than 3.5.24, the oldest that the supported versions take",
        remedy "upgrade etcd first";
    REMOVED_APIS: "RemovedApis", [Upgrade],
        looks_at "what clients asked for since the apiserver's start (its own metric)",
        fails "an API that the version to go to does not serve",
        remedy "have its clients use the version that took its place";
    DEPRECATED_APIS: "DeprecatedApis", [Upgrade],
        looks_at "the same",
        fails "never",
        warns "an API that a later version does not serve",
        remedy "have its clients use the version that takes its place";
    STORED_OBJECTS: "StoredObjects", [Upgrade],
        looks_at "objects in etcd, on the way down",
        fails "some are stored in a form that the lower minor cannot read",
        remedy "delete them first";
    FLAGS: "Flags", [Upgrade],
        looks_at "flags and feature gates, by running the programs to come with them",
        fails "a program refuses them",
        remedy "change components.*.extraArgs or featureGates";
    DEPRECATED_FLAGS: "DeprecatedFlags", [Upgrade],
        looks_at "the same",
        fails "never",
        warns "a program says that a later version refuses them",
        remedy "change them in time";
    IMAGES: "Images", [Start, Upgrade],
        looks_at "the images that are needed",
        fails "neither the node nor the bundle has one",
        remedy "name a bundle of that version, or start the container runtime when it cannot be asked";
    IMAGE_PULLS: "ImagePulls", [Upgrade],
        looks_at "whether a registry gives the images, where the admission plugin AlwaysPullImages has every pod pull its own",
        fails "it does not: no new pod of the control plane could start, and none that undoes that",
        remedy "leave the plugin out, or name a registry that has the images";
    SETTLED: "Settled", [Upgrade],
        looks_at "the components as they are",
        fails "never",
        warns "one that will be changed is not settled: a step back would go back to this",
        remedy "mend it first, unless what is to come mends it";
    EXPIRY: "Certificates", [Upgrade],
        looks_at "the certificates that stay",
        fails "one has ended",
        warns "one ends within 30 days",
        remedy "renew it";
    // A cluster that runs: what its API has that is in the way.
    NODE_OBJECT: "NodeObject" - "node", [Upgrade, Doctor],
        looks_at "Node objects and their label of the control plane",
        fails "never",
        warns "this node's is gone: its kubelet registers only when it starts; or the label has another value than the control plane's DaemonSets ask for, or is gone from this node",
        remedy "run `kubestrap up` or `kubestrap start`; or set the label as the check says";
    WEBHOOK: "Webhook" - "configuration", [Upgrade, Doctor],
        looks_at "webhooks of admission whose failure is a refusal (failurePolicy), and which are asked of pods, nodes or leases",
        fails "in `upgrade`: nobody answers, and it is asked of new pods in kube-system: none could be made",
        warns "nobody answers: what it is asked of is refused; or it stands before new pods of kube-system, whose own it may need",
        remedy "bring its Service up, exempt kube-system, or remove the configuration";
    OBJECT_PRESENT: "ObjectPresent" - "kind/name", [Upgrade, Doctor],
        looks_at "workloads, roles and bindings that kubestrap has rendered on this node",
        fails "never",
        warns "one is gone: nobody makes its pods any more, or whoever has rights by it has none",
        remedy "put it back: `kubestrap upgrade apply`";
    PODS_MADE: "PodsMade" - "workload", [Upgrade, Doctor],
        looks_at "DaemonSets and ReplicaSets of kube-system: what the API said last to those that lack pods, and whether it would take one more pod of each (a dry run)",
        fails "in `upgrade`: it refuses them, by a LimitRange, a quota, Pod Security, a policy or a webhook: no rollout would come to its end",
        warns "the same in `doctor`",
        remedy "change or remove what the check names";
    PODS_AS_MADE: "PodsAsMade" - "pod", [Upgrade, Doctor],
        looks_at "pods of kube-system that are not Ready",
        fails "in `upgrade`: one has another image or other pull secrets than its DaemonSet or ReplicaSet has: something changes new pods",
        warns "the same in `doctor`",
        remedy "exempt kube-system from the policy or webhook that does it, and delete the pod";
    MIRROR_PODS: "MirrorPods" - "node", [Upgrade, Doctor],
        looks_at "whether the API has an image of each static pod of this node",
        fails "never",
        warns "it has none: what kubelets show of them is refused",
        remedy "remove what changes or refuses pods; the kubelet's log says whose refusal it is";
    API_SERVICE: "APIService" - "name", [Upgrade, Doctor],
        looks_at "APIs that somebody else than kube-apiserver serves",
        fails "never",
        warns "one is not served: namespaces do not come to their end, and clients that ask for all APIs fail",
        remedy "see to its Service, or remove the APIService";
    // A node that shall come back.
    DISK_CHECKPOINTS: "DiskCheckpoints", [Doctor],
        looks_at "the file system of the checkpoints",
        fails "less than 128 MiB or 1000 inodes are left, or it is read-only: the next checkpoint cannot be written",
        warns "less than 5 % of the inodes are left",
        remedy "make room";
    DISK_CONTAINERS: "DiskContainers", [Doctor],
        looks_at "the file system of images and containers",
        fails "less than 128 MiB or 1000 inodes are left, or it is read-only: containers do not start",
        warns "the kubelet would remove unused images (imageGCHighThresholdPercent), or less than 5 % of the inodes are left",
        remedy "make room";
    WRITABLE_CHECKPOINTS: "WritableCheckpoints", [Doctor],
        looks_at "the directory of the checkpoints",
        fails "no file can be written there",
        remedy "see that it is there and not read-only";
    WRITABLE_STATIC_PODS: "WritableStaticPods", [Doctor],
        looks_at "the directory of static pods",
        fails "no file can be written there: no checkpoint can be placed",
        remedy "see that it is there and not read-only";
    CONTAINERD_INSTALLED: "ContainerdInstalled", [Doctor],
        looks_at "the unit containerd.service",
        fails "its program is missing",
        remedy "put it back: `kubestrap up` installs it";
    CONTAINERD_ENABLED: "ContainerdEnabled", [Doctor],
        looks_at "the unit containerd.service",
        fails "it is masked or not started at boot",
        remedy "systemctl enable containerd";
    SANDBOX_IMAGE: "SandboxImage", [Doctor],
        looks_at "the image of pod sandboxes",
        fails "it is not on the node: no pod can start",
        remedy "import it";
    KUBELET_INSTALLED: "KubeletInstalled", [Doctor],
        looks_at "the unit kubelet.service",
        fails "its program is missing",
        remedy "put it back: `kubestrap up` installs it";
    KUBELET_ENABLED: "KubeletEnabled", [Doctor],
        looks_at "the unit kubelet.service",
        fails "it is masked or not started at boot",
        remedy "systemctl enable kubelet";
    KUBELET_STATE: "KubeletState", [Doctor],
        looks_at "files in which the kubelet keeps its state (`*_state` in its directory)",
        fails "one is no JSON, as a power cut can leave it: the kubelet ends at its start",
        remedy "remove the file, as `kubestrap up` does: the kubelet makes it anew";
    CONTAINERD_STATE: "ContainerdState", [Doctor],
        looks_at "what containerd keeps: its two databases, `meta.db` and `metadata.db`, and whether they agree",
        fails "one is damaged, gone, or was made anew beside what the other one knows: containerd ends at its start, or knows no image any more",
        remedy "`kubestrap up` moves its directory away and imports the images anew";
    IMAGE_FILES: "ImageFiles", [Doctor],
        looks_at "files of images as they are unpacked, and their layers: those that changed since, or have another size on the disk, byte by byte",
        fails "a file is cut off, gone or another one, of an image that this node needs: what starts from it crashes",
        warns "the same of an image that nothing of the control plane needs",
        remedy "`kubestrap up` puts it right out of its layer, or out of the bundle";
    NODE_FILES: "NodeFiles", [Doctor],
        looks_at "files that an install has placed: units, configurations, the kubelet's kubeconfig",
        fails "never",
        warns "one was changed by somebody else since: the next start of containerd or the kubelet reads that",
        remedy "`kubestrap up` puts it back and has it read; settings of your own go into drop-ins, or into the config";
    CONTAINERD_CONFIG: "ContainerdConfig", [Doctor],
        looks_at "containerd's configuration, where its unit is ours",
        fails "never",
        warns "kubestrap did not write it: after the next boot pods may not start",
        remedy "`kubestrap up` puts ours back and keeps the other one beside it; settings of your own go into its directory conf.d";
    KUBELET_CREDENTIALS: "KubeletCredentials", [Doctor],
        looks_at "the kubelet's kubeconfig and client certificate",
        fails "it is missing or expired: the API would not know the node",
        warns "less than a tenth of the certificate's life is left: it does not renew itself",
        remedy "give the kubelet a new one: `kubestrap up` does";
    NODE_NAME: "NodeName", [Doctor],
        looks_at "the host's name, and the one under which its kubelet registers",
        fails "never",
        warns "the host got another name since it was made a node: it is the same node still, under its old name",
        remedy "give the host its old name back, or make it another node: `kubestrap reset`, then `up`";
    PACKET_RULES: "PacketRules", [Doctor],
        looks_at "the tables of packet rules (nftables) that kube-proxy and flannel write when they start, where they run and have them",
        fails "never",
        warns "one is gone, as after `nft flush ruleset`: Services or pods of other nodes do not answer. The kubelet starts its program again, and it is back within half a minute",
        remedy "nothing is to be done; if it does not come back: `kubectl -n kube-system rollout restart ds/kube-proxy`, `kubectl -n kube-flannel rollout restart ds/kube-flannel-ds`";
    STATIC_PODS: "StaticPods", [Doctor],
        looks_at "the static pods that are in place",
        fails "two files name the same pod",
        warns "a file cannot be read, or a bring-up is not finished",
        remedy "run `kubestrap start` to its end, and remove files that are no manifests";
    ETCD_POD: "EtcdPod", [Doctor],
        looks_at "the static pod of this node's own etcd",
        fails "it is missing, incomplete, or needs a registry",
        remedy "put it back: `kubestrap start` places it";
    ETCD_MANIFEST: "EtcdManifest", [Doctor],
        looks_at "whether etcd runs by the manifest that lies there",
        fails "never",
        warns "an edit of it is to come into effect, or was put back since etcd did not serve with it",
        remedy "see what the edit is to be";
    ETCD_IMAGE: "EtcdImage", [Doctor],
        looks_at "its image",
        fails "it is not on the node",
        remedy "import it";
    ETCD_CERTIFICATES: "EtcdCertificates", [Doctor],
        looks_at "its certificates",
        fails "one is missing, not valid yet, or ends within 24 hours",
        warns "one ends within 30 days",
        remedy "render the assets again with the same CA, and run `kubestrap start`";
    ETCD_DATA: "EtcdData", [Doctor],
        looks_at "its data, and whether it is that of this node's member",
        fails "there is none, it is another member's, or it is gone with the pod",
        remedy "mount or move it back, or restore it from a snapshot";
    ETCD_RUNNING: "EtcdRunning", [Doctor],
        looks_at "its health",
        fails "it does not answer that it is healthy",
        remedy "look at its log, which lies with those of pods on its node";
    ETCD_MEMBERS: "EtcdMembers", [Doctor],
        looks_at "etcd's list of its members",
        fails "one was added and never started, and without its vote etcd decides nothing",
        warns "one was added and never started",
        remedy "start it, or remove it with `etcdctl member remove`";
    ETCD_HEALTH: "EtcdHealth", [Doctor],
        looks_at "where etcd is",
        fails "never; it cannot be checked while no checkpoint of kube-apiserver says it",
        remedy "see to the checkpoint first";
    ETCD_HEALTH_OF: "EtcdHealth" - "url", [Doctor],
        looks_at "each etcd of the apiserver's, with the certificates of its checkpoint",
        fails "none answers that it is healthy",
        warns "one of several does not; or its database is full (alarm NOSPACE), and everything can be read and nothing written",
        remedy "look at its log, which lies with those of pods on its node; of a full one compact, defragment, and lift the alarm with etcdctl, as the check says";
    GUARDIAN: "Guardian", [Upgrade, Doctor],
        looks_at "the guardian's static pod; in `upgrade` who opens the readiness gate of a new apiserver",
        fails "it is missing, or the kubelet would refuse it: nobody would start a checkpoint; in `upgrade`: no guardian runs that opens the gate, and the rollout would wait for ever",
        remedy "see that its installer runs on this node, and its pods are Ready";
    GUARDIAN_IMAGE: "GuardianImage", [Doctor],
        looks_at "its image",
        fails "it is not on the node",
        remedy "import it";
    GUARDIAN_CREDENTIALS: "GuardianCredentials", [Doctor],
        looks_at "its kubeconfig and certificates",
        fails "one is missing, not valid yet, or has ended: it could not tell when to take checkpoints away",
        warns "a tenth of its life is left, and the guardian would have renewed it when a third was",
        remedy "see that the guardian runs on this node, and read its log";
    CERTIFICATE_REQUESTS: "CertificateRequests", [Doctor],
        looks_at "what the node asks for, where the keys of the cluster's authorities are kept elsewhere (`certificates.authorityKeys`)",
        fails "a certificate that is asked for has ended, or does within a day",
        warns "certificates are asked for, and nobody has signed them yet; or an answer is none",
        remedy "sign them where the keys are: `kubestrap certs sign`";
    AUTHORITY_KEYS: "AuthorityKeys", [Doctor],
        looks_at "whether the authorities' keys are on the node, where they are to be kept elsewhere",
        fails "never",
        warns "one is",
        remedy "see that it is kept elsewhere, and remove it";
    GUARDIAN_REPORT: "GuardianReport", [Doctor],
        looks_at "what the guardian of another node has published",
        fails "never; it cannot be checked when the report is missing or older than 10 minutes",
        remedy "see that the guardian runs there, or run `kubestrap doctor` on that node";
    CHECKPOINTS: "Checkpoints", [Doctor],
        looks_at "the directory of the checkpoints",
        fails "never; it cannot be checked when it cannot be read",
        remedy "run it as root";
    CHECKPOINT: "Checkpoint" - "component", [Doctor],
        looks_at "the generations of a component",
        fails "there is no whole one; the last known good, the newest or the placed one is damaged: the component would not come back, or not as it is",
        warns "none was Ready for long enough yet to be the last known good one, or an older one is damaged",
        remedy "see that its pod is Ready and the guardian runs: it writes one then; remove damaged ones while the pod is Ready";
    ORIGIN: "Origin" - "component", [Doctor],
        looks_at "by whom the pods were made that its generations are copies of",
        fails "never",
        warns "one is of another parent than the newest: that one is gone, or never was the component's, and a node could come back with it",
        remedy "roll the component out: the guardian removes older generations when the new one has proven itself";
    CURRENT: "Current" - "component", [Doctor],
        looks_at "what runs of a component",
        fails "never",
        warns "the newest generation is not what runs: the node would come back with the older one",
        remedy "wait until it is Ready";
    PLACED: "Placed" - "component", [Doctor],
        looks_at "the checkpoint that is in the kubelet's directory",
        fails "its generation is damaged or gone",
        remedy "run the guardian: it places a whole one";
    STATIC_POD: "StaticPod" - "component", [Doctor],
        looks_at "the manifest of the generation that would be started",
        fails "the kubelet would refuse it, or it needs a registry or a pod network",
        remedy "remove the damaged directory while the pod of the API is Ready: the guardian writes a new one";
    IMAGES_OF: "Images" - "component", [Doctor],
        looks_at "the images of that generation",
        fails "one is not on the node",
        remedy "import it: `kubestrap up` imports those of its bundle";
    CERTIFICATES_OF: "Certificates" - "component", [Doctor],
        looks_at "the certificates in that generation's files and in the directory of keys that it mounts, those inside kubeconfigs too",
        fails "one is not valid yet, has ended (in a copy of a Secret: ends within 24 hours), or is another key's",
        warns "a tenth of its life is left, where the guardian renews it; in a copy of a Secret: it ends within 30 days",
        remedy "read the guardian's log; those of a Secret: put new ones there";
    HOST_PATHS: "HostPaths" - "component", [Doctor],
        looks_at "directories and files of the host that it mounts, and files that its flags name there",
        fails "one is missing",
        remedy "put it back";
    FILE_RIGHTS: "FileRights" - "component", [Doctor],
        looks_at "whether the user that a component runs as may read its keys and the files that its flags name, and write where it has its data or its log",
        fails "it may not, and nobody changes that: it would end at its next start",
        warns "it may not read what the guardian gives its rights back within a minute",
        remedy "give the files back to that user, as the check says";
    PRIVATE_FILES: "PrivateFiles", [Doctor],
        looks_at "keys, tokens, kubeconfigs and snapshots on the node's disk, and etcd's data",
        fails "never",
        warns "everybody on this host may read one",
        remedy "take the right away from others: `chmod -R o-rwx`, as the check says";
    POD_NETWORK: "PodNetwork", [Doctor],
        looks_at "whether a pod network is needed",
        fails "never: these pods use the host's network, so the state of CNI is of no matter",
        remedy "nothing is to be done";
}

#[cfg(test)]
#[path = "registry_tests.rs"]
mod tests;
