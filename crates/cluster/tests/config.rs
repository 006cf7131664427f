//! What is said about config files that are wrong, and what comes of those that are right.
#![expect(clippy::expect_used, reason = "helpers of tests: a panic is a failed test")]

use cluster::{ClusterConfig, Component, EtcdConfig, NetworkProvider, PodSecurityLevel, SubjectName};

/// All messages, one a line.
fn errors(text: &str) -> String {
    ClusterConfig::parse("kubestrap.yaml", text).expect_err("the config is wrong").to_string()
}

fn errors_with(text: &str, overrides: &[(&str, &str)]) -> String {
    let overrides: Vec<(String, String)> =
        overrides.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    ClusterConfig::parse_with_overrides("kubestrap.yaml", text, &overrides)
        .expect_err("the config is wrong")
        .to_string()
}

fn parse(text: &str) -> ClusterConfig {
    ClusterConfig::parse("kubestrap.yaml", text).unwrap_or_else(|errors| panic!("{errors}"))
}

#[test]
fn empty_file_is_the_default() {
    assert_eq!(parse(""), ClusterConfig::default());
    assert_eq!(parse("# nothing\n"), ClusterConfig::default());
    assert_eq!(parse("network:\n  # podCIDRs: []\n"), ClusterConfig::default());
}

#[test]
fn no_yaml() {
    assert_eq!(errors("clusterName: [a\n"), "kubestrap.yaml:1:14: unclosed bracket '['");
    assert_eq!(errors("proxy: {}\nproxy: {}\n"), "kubestrap.yaml:2:1: the key \"proxy\" is given twice");
    assert_eq!(errors("- a\n"), "kubestrap.yaml:1:1: expected a map of keys and values, not a list");
}

#[test]
fn unknown_key() {
    let text = "network:\n  provider: none\n  podCIDR: 10.0.0.0/8\n";
    assert_eq!(errors(text), "kubestrap.yaml:3:3: unknown key \"podCIDR\": did you mean \"podCIDRs\"?");
    assert_eq!(
        errors("proxy:\n  colour: red\n"),
        "kubestrap.yaml:2:3: unknown key \"colour\": known here are mode"
    );
    let text = "etcd:\n  locl: {}\n";
    assert_eq!(errors(text), "kubestrap.yaml:2:3: unknown key \"locl\": did you mean \"local\"?");
}

#[test]
fn what_is_known_is_told_once() {
    let text = "colour: red\nshape: round\nproxy:\n  size: 1\n";
    let told = errors(text);
    assert_eq!(told.matches("known here are").count(), 2, "once for each map: {told}");
    assert!(told.contains("kubestrap.yaml:2:1: unknown key \"shape\"\n"), "{told}");
}

#[test]
fn more_than_one_document_or_too_much_is_told_in_our_words() {
    assert_eq!(
        errors("clusterName: a\n---\nclusterName: b\n"),
        "kubestrap.yaml:3:1: a second document begins here, and this is to be one"
    );
    let many = format!("images: [{}]\n", "1,".repeat(300_000));
    assert!(
        errors(&many).contains("there is more in it than any file of this kind has"),
        "{}",
        errors(&many)
    );
}

#[test]
fn files_of_others_are_told_as_what_they_are() {
    let kubeadm = "# x\napiVersion: kubeadm.k8s.io/v1beta4\nkind: InitConfiguration\n---\napiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\n";
    assert_eq!(
        errors(kubeadm),
        "kubestrap.yaml:2:1: this is kubeadm's configuration (InitConfiguration), and not kubestrap's"
    );
    let kubelet = "kind: KubeletConfiguration\napiVersion: \"kubelet.config.k8s.io/v1beta1\" # x\n";
    assert!(
        errors(kubelet).starts_with(
            "kubestrap.yaml:2:1: this is the kubelet's own configuration (KubeletConfiguration)"
        )
    );
    assert!(errors("apiVersion: v1\nkind: Config\nclusters: []\n").contains("this is a kubeconfig"));
    let json = "{\"apiVersion\": \"v1\", \"kind\": \"Pod\"}\n";
    assert!(
        errors(json).starts_with("kubestrap.yaml:1:1: this is a Kubernetes object (v1 "),
        "{}",
        errors(json)
    );
    assert!(
        errors("apiVersion: apps/v1\nkind: Deployment\n")
            .contains("a Kubernetes object (apps/v1 Deployment)")
    );
}

#[test]
fn wrong_type() {
    let text =
        "api:\n  port: high\nencryption: {enabled: 1}\nnetwork:\n  podCIDRs: 10.0.0.0/8\nclusterName: {}\n";
    assert_eq!(
        errors(text),
        "kubestrap.yaml:2:9: api.port: expected a whole number, not the text \"high\"\n\
         kubestrap.yaml:3:23: encryption.enabled: expected true or false, not the number 1\n\
         kubestrap.yaml:5:13: network.podCIDRs: expected a list, not the text \"10.0.0.0/8\"\n\
         kubestrap.yaml:6:14: clusterName: expected text, not a map"
    );
    assert_eq!(
        errors("kubernetesVersion: 1.37\n"),
        "kubestrap.yaml:1:20: kubernetesVersion: expected text, not the number 1.37: put it in quotes if it is meant as text"
    );
    assert_eq!(
        errors("api: {port: 70000}\n"),
        "kubestrap.yaml:1:13: api.port: expected a whole number from 0 to 65535, not 70000"
    );
}

#[test]
fn wrong_values() {
    let text = "kubernetesVersion: latest
clusterName: My_Cluster
api:
  endpoint: 10.0.0.300:6443
  extraSANs: [ok.example.com, 'not ok', 10.0.0.1, '*.*.com']
network:
  provider: calico
  podCIDRs: [10.244.0.1/16]
proxy: {mode: nftable}
certificates: {leafValidity: 1y}
images: {repository: 'https://example.com', overrides: {pause: pause}, digests: {'a.b/c:d': 'sha256:0'}}
etcd: {external: {endpoints: ['http://10.0.0.1:2379'], caFile: a, certFile: b, keyFile: c}}
";
    assert_eq!(
        errors(text),
        "kubestrap.yaml:1:20: kubernetesVersion: expected a Kubernetes version such as v1.37.2, not \"latest\"
kubestrap.yaml:2:14: clusterName: expected a name of lower-case letters, digits and '-', not \"My_Cluster\"
kubestrap.yaml:4:13: api.endpoint: expected host:port such as 10.0.0.10:6443, not \"10.0.0.300:6443\"
kubestrap.yaml:5:31: api.extraSANs[1]: expected an IP address or a DNS name, not \"not ok\"
kubestrap.yaml:5:51: api.extraSANs[3]: expected an IP address or a DNS name, not \"*.*.com\"
kubestrap.yaml:7:13: network.provider: expected one of flannel, none, not \"calico\"
kubestrap.yaml:8:14: network.podCIDRs[0]: expected a range whose host bits are zero, not \"10.244.0.1/16\"
kubestrap.yaml:9:15: proxy.mode: expected one of nftables, iptables, disabled, not \"nftable\": did you mean \"nftables\"?
kubestrap.yaml:10:30: certificates.leafValidity: expected a duration of ten minutes or more, such as 365d, 8760h or 30m, not \"1y\"
kubestrap.yaml:11:22: images.repository: expected a registry such as registry.example.com/k8s, not \"https://example.com\"
kubestrap.yaml:11:64: images.overrides.pause: expected an image with registry and tag such as registry.k8s.io/pause:3.10.2, not \"pause\"
kubestrap.yaml:11:93: images.digests.a.b/c:d: expected sha256: and 64 hexadecimal digits, not \"sha256:0\"
kubestrap.yaml:12:31: etcd.external.endpoints[0]: expected an etcd URL such as https://10.0.0.20:2379, not \"http://10.0.0.1:2379\""
    );
}

#[test]
fn missing_and_double_choice() {
    assert_eq!(
        errors("certificates:\n  ca: {certFil: a, keyFile: b}\n"),
        "kubestrap.yaml:2:8: unknown key \"certFil\": did you mean \"certFile\"?"
    );
    assert_eq!(
        errors("etcd:\n  external:\n    endpoints: ['https://10.0.0.1:2379']\n"),
        "kubestrap.yaml:3:5: etcd.external: the key \"caFile\" is missing"
    );
    assert_eq!(
        errors("etcd:\n  local: {}\n  external: {}\n"),
        "kubestrap.yaml:2:3: etcd: expected exactly one of the keys local, external"
    );
}

#[test]
fn special_ranges() {
    assert_eq!(
        errors("network:\n  podCIDRs: [127.1.0.0/16]\n  serviceCIDRs: [224.0.0.0/16]\n"),
        "kubestrap.yaml:2:14: network.podCIDRs[0]: the range 127.1.0.0/16 overlaps 127.0.0.0/8, which is loopback: choose a private range, such as one of 10.0.0.0/8 or fd00::/8\n\
         kubestrap.yaml:3:18: network.serviceCIDRs[0]: the range 224.0.0.0/16 overlaps 224.0.0.0/4, which is multicast: choose a private range, such as one of 10.0.0.0/8 or fd00::/8"
    );
    for range in ["169.254.0.0/16", "240.0.0.0/8", "0.0.0.0/8", "fe80::/64", "ff05::/64", "::/64"] {
        let text = format!(
            "network: {{podCIDRs: [10.1.0.0/16, 'fd00:1::/56'], serviceCIDRs: ['{range}', 'fd00:2::/112']}}"
        );
        assert!(errors(&text).contains(&format!("the range {range} overlaps")), "{}", errors(&text));
    }
}

#[test]
fn too_few_parts_for_nodes() {
    let with = |range: &str, nodes: u8| {
        format!("network: {{podCIDRs: [{range}]}}\ncontrolPlane: {{nodes: {nodes}}}\n")
    };
    assert_eq!(
        errors(&with("10.244.0.0/23", 3)),
        "kubestrap.yaml:1:22: network.podCIDRs[0]: the pod range 10.244.0.0/23 has parts of /24 for 2 nodes, and controlPlane.nodes is 3: make it larger, or network.nodeCIDRMasks longer"
    );
    parse(&with("10.244.0.0/22", 3));
    parse(&with("10.244.0.0/24", 1));
}

#[test]
fn overlapping_ranges() {
    let text = "network:\n  podCIDRs: [10.96.0.0/12]\n";
    assert_eq!(
        errors(text),
        "kubestrap.yaml:2:14: network.podCIDRs[0]: the Service range 10.96.0.0/16 overlaps the pod range \
         10.96.0.0/12: choose ranges with no address in common"
    );
    let text = "network:\n  podCIDRs: [10.0.0.0/8]\n  serviceCIDRs: [10.1.0.0/16]\n";
    assert_eq!(
        errors(text),
        "kubestrap.yaml:3:18: network.serviceCIDRs[0]: the Service range 10.1.0.0/16 overlaps the pod range \
         10.0.0.0/8: choose ranges with no address in common"
    );
}

#[test]
fn families() {
    assert_eq!(
        errors("network:\n  podCIDRs: [10.244.0.0/16, 'fd00:10::/56']\n"),
        "kubestrap.yaml:2:3: network.podCIDRs: pod and Service ranges must be of the same families, in the same order"
    );
    assert_eq!(
        errors("network:\n  podCIDRs: []\n"),
        "kubestrap.yaml:2:3: network.podCIDRs: at least one range is needed"
    );
    assert_eq!(
        errors("network: {podCIDRs: [10.1.0.0/16, 10.2.0.0/16], serviceCIDRs: [10.3.0.0/16, 10.4.0.0/16]}\n"),
        "kubestrap.yaml:1:11: network.podCIDRs: two ranges must be of different families: one IPv4, one IPv6\n\
         kubestrap.yaml:1:49: network.serviceCIDRs: two ranges must be of different families: one IPv4, one IPv6"
    );
}

#[test]
fn sizes_of_ranges() {
    let text = "network:\n  podCIDRs: [10.244.0.0/25]\n  serviceCIDRs: [10.96.0.0/29]\n";
    assert_eq!(
        errors(text),
        "kubestrap.yaml:2:14: network.podCIDRs[0]: the pod range 10.244.0.0/25 is smaller than one node's part, /24: \
         make it larger, or network.nodeCIDRMasks longer\n\
         kubestrap.yaml:3:18: network.serviceCIDRs[0]: the range 10.96.0.0/29 is too small: the prefix may be /28 at most"
    );
    let text = "network:\n  podCIDRs: ['fd00:10::/40']\n  serviceCIDRs: ['fd00:20::/56']\n";
    assert_eq!(
        errors(text),
        "kubestrap.yaml:2:14: network.podCIDRs[0]: the pod range fd00:10::/40 has more than 65536 parts of /64 for \
         nodes: make it smaller, or network.nodeCIDRMasks shorter\n\
         kubestrap.yaml:3:18: network.serviceCIDRs[0]: the range fd00:20::/56 is too large: the prefix must be /64 at least"
    );
}

#[test]
fn values_that_do_not_go_together() {
    let text = "kubernetesVersion: v1.35.4
api: {endpoint: '10.96.0.1:6443', port: 10250}
controlPlane: {nodes: 0}
guardian: {minReadySeconds: 5}
certificates:
  leafValidity: 4000d
  etcdCA: {certFile: a, keyFile: b}
etcd: {external: {endpoints: ['https://10.0.0.1:2379'], caFile: a, certFile: b, keyFile: c}}
components:
  etcd: {extraArgs: {quota-backend-bytes: 1}}
";
    assert_eq!(
        errors(text),
        "kubestrap.yaml:1:1: kubernetesVersion: Kubernetes v1.35.4 is not supported: 1.36 and 1.37 are
kubestrap.yaml:2:7: api.endpoint: the endpoint 10.96.0.1 lies in the Service range 10.96.0.0/16
kubestrap.yaml:2:35: api.port: port 10250 is taken by the kubelet
kubestrap.yaml:3:16: controlPlane.nodes: a cluster needs at least one control-plane node
kubestrap.yaml:4:12: guardian.minReadySeconds: expected a whole number of seconds from 10 to 3600, not 5
kubestrap.yaml:6:3: certificates.leafValidity: 4000d is longer than the CA is valid, 3650d
kubestrap.yaml:7:3: certificates.etcdCA: an etcd CA signs for etcd.local only: with external etcd give etcd.external.caFile and a client certificate
kubestrap.yaml:10:3: components.etcd: kubestrap does not run an external etcd, so it cannot set its flags"
    );
}

#[test]
fn flags_gates_and_images() {
    let text = "components:
  kubeAPIServer:
    extraArgs:
      --v: 4
      secure-port: 443
      Audit_Log: x
      feature-gates: A=true
featureGates: {imageVolume: true}
images:
  overrides: {kube-apiservr: 'example.com/a:b'}
  digests: {pause: 'sha256:0eb5bb48d996dbc2bfb5914e746e9b5d0c918735afa2ef7814713df95523f8f0'}
";
    assert_eq!(
        errors(text),
        "kubestrap.yaml:4:7: components.kubeAPIServer.extraArgs.--v: a flag is written without dashes: write \"v\"
kubestrap.yaml:5:7: components.kubeAPIServer.extraArgs.secure-port: the flag \"secure-port\" cannot be set here: set api.port instead
kubestrap.yaml:6:7: components.kubeAPIServer.extraArgs.Audit_Log: \"Audit_Log\" is no name of a flag: a flag's name has lower-case letters, digits and '-'
kubestrap.yaml:7:7: components.kubeAPIServer.extraArgs.feature-gates: the flag \"feature-gates\" cannot be set here: set featureGates instead
kubestrap.yaml:8:16: featureGates.imageVolume: \"imageVolume\" is no name of a feature gate: gates are written like \"ImageVolume\"
kubestrap.yaml:10:15: images.overrides.kube-apiservr: there is no image \"kube-apiservr\": did you mean \"kube-apiserver\"?
kubestrap.yaml:11:13: images.digests.pause: \"pause\" is no image with registry and tag: write it as registry.k8s.io/kube-proxy:v1.37.2"
    );
}

/// A section that could not be read is not judged by what its defaults mean.
#[test]
fn broken_section_is_not_judged() {
    let text = "network:\n  podCIDRs: [10.96.0.0/99]\n  serviceCIDRs: [10.244.0.0/16]\n";
    assert_eq!(
        errors(text),
        "kubestrap.yaml:2:14: network.podCIDRs[0]: expected a range of addresses such as 10.244.0.0/16, not \"10.96.0.0/99\""
    );
}

#[test]
fn overrides_win_and_are_named() {
    let set = [
        ("network.provider".to_owned(), "none".to_owned()),
        ("network.podCIDRs".to_owned(), "10.8.0.0/16,fd00:8::/48".to_owned()),
        ("network.serviceCIDRs".to_owned(), "[10.9.0.0/16, 'fd00:9::/108']".to_owned()),
        ("components.kubeAPIServer.extraArgs.v".to_owned(), "4".to_owned()),
    ];
    let config = ClusterConfig::parse_with_overrides("f", "network: {provider: flannel}\n", &set).unwrap();
    assert_eq!(config.network.provider, NetworkProvider::None);
    assert_eq!(config.pod_cidr_list(), "10.8.0.0/16,fd00:8::/48");
    assert_eq!(config.service_cidr_list(), "10.9.0.0/16,fd00:9::/108");
    assert_eq!(config.components.kube_api_server.extra_args["v"].values(), ["4"]);

    assert_eq!(
        errors_with("", &[("network.podCIDR", "10.0.0.0/8")]),
        "--set network.podCIDR: unknown key \"podCIDR\": did you mean \"podCIDRs\"?"
    );
    assert_eq!(
        errors_with("", &[("api.port", "x"), ("clusterName.x", "y"), ("a..b", "1")]),
        "--set a..b: there is no such key: write the path of a key, such as network.provider\n\
         --set api.port: api.port: expected a whole number, not the text \"x\"\n\
         --set clusterName.x: clusterName: expected text, not a map"
    );
    assert_eq!(
        errors_with("", &[("network.podCIDRs", "10.0.0.0/99,x"), ("api.port", "x")]),
        "--set network.podCIDRs: network.podCIDRs[0]: expected a range of addresses such as 10.244.0.0/16, not \
         \"10.0.0.0/99\"\n\
         --set api.port: api.port: expected a whole number, not the text \"x\""
    );
    assert_eq!(
        errors_with("network: {podCIDRs: [10.0.0.0/8]}", &[("network.serviceCIDRs", "10.1.0.0/16")]),
        "--set network.serviceCIDRs: network.serviceCIDRs[0]: the Service range 10.1.0.0/16 overlaps the pod range \
         10.0.0.0/8: choose ranges with no address in common"
    );
}

#[test]
fn flags_keep_their_spelling() {
    let config = parse(
        "components:\n  kubelet:\n    extraArgs: {ratio: 1.10, mode: 0755, on: yes, quiet: true, list: [a, 2], empty: ''}\n",
    );
    let args = &config.components.kubelet.extra_args;
    let values = |name: &str| args[name].values().join(" ");
    assert_eq!(values("ratio"), "1.10");
    assert_eq!(values("mode"), "0755");
    assert_eq!(values("on"), "yes");
    assert_eq!(values("quiet"), "true");
    assert_eq!(values("list"), "a 2");
    assert_eq!(values("empty"), "");
}

#[test]
fn what_follows_from_a_config() {
    let config = parse(
        "api: {endpoint: api.example.com, extraSANs: ['*.k8s.example.com', 10.0.0.5]}
network: {podCIDRs: ['fd00:1::/56', 10.1.0.0/16], serviceCIDRs: ['fd00:2::/112', 10.2.0.0/16], dnsDomain: k8s.test}
controlPlane: {nodes: 3}
featureGates: {B: false, A: true}
images: {repository: 'mirror.example.com:5000/k8s', overrides: {etcd: 'example.com/etcd:1'}}
kubernetesVersion: 1.36.3
",
    );
    let node = "10.0.0.5".parse().unwrap();
    let dns: Vec<_> = config.dns_ips().iter().map(ToString::to_string).collect();
    assert_eq!(dns, ["fd00:2::a", "10.2.0.10"]);
    assert!(config.prefers_ipv6());
    assert_eq!(config.api_url(node), "https://api.example.com:6443");
    assert_eq!(config.leader_elected_replicas(), 2);
    assert_eq!(config.feature_gate_list().unwrap(), "A=true,B=false");
    let images = config.images();
    assert_eq!(images.get(Component::KubeApiserver), "mirror.example.com:5000/k8s/kube-apiserver:v1.36.3");
    assert_eq!(images.get(Component::Coredns), "mirror.example.com:5000/k8s/coredns:v1.14.7");
    assert_eq!(images.get(Component::Etcd), "example.com/etcd:1");
    let names: Vec<String> =
        config.api_server_names(&[SubjectName::Ip(node)]).iter().map(ToString::to_string).collect();
    assert_eq!(
        names.join(" "),
        "kubernetes kubernetes.default kubernetes.default.svc kubernetes.default.svc.k8s.test localhost 127.0.0.1 ::1 \
         fd00:2::1 10.2.0.1 api.example.com 10.0.0.5 *.k8s.example.com"
    );
}

#[test]
fn default_images() {
    let images = ClusterConfig::default().images();
    let all: Vec<&str> = images.iter().map(|(_, image)| image).collect();
    assert_eq!(
        all,
        [
            "registry.k8s.io/kube-apiserver:v1.37.2",
            "registry.k8s.io/kube-controller-manager:v1.37.2",
            "registry.k8s.io/kube-scheduler:v1.37.2",
            "registry.k8s.io/kube-proxy:v1.37.2",
            "registry.k8s.io/etcd:3.7.3-0",
            "registry.k8s.io/coredns/coredns:v1.14.7",
            "registry.k8s.io/pause:3.10.2",
            "ghcr.io/flannel-io/flannel:v0.27.4",
            "ghcr.io/flannel-io/flannel-cni-plugin:v0.9.1",
            concat!("ghcr.io/kubestrap/kubestrap:v", env!("CARGO_PKG_VERSION")),
        ]
    );
}

#[test]
fn a_node_is_known_by_an_address_of_the_first_family() {
    let ipv6 = parse("network: {podCIDRs: ['fd00:1::/56'], serviceCIDRs: ['fd00:2::/112']}");
    let [v4, v6] = ["192.0.2.1", "fd00::1"].map(|address| address.parse::<std::net::IpAddr>().unwrap());
    for (config, first, second) in [(&ipv6, v6, v4), (&ClusterConfig::default(), v4, v6)] {
        for mut addresses in [[v4, v6], [v6, v4]] {
            assert!(config.put_primary_first(&mut addresses));
            assert_eq!(addresses, [first, second]);
        }
        assert!(!config.put_primary_first(&mut [second]));
    }
}

/// What is written can be read again: `render` keeps the config that it worked from.
#[test]
fn round_trip() {
    let mut config = parse(
        "etcd: {external: {endpoints: ['https://[fd00::1]:2379'], caFile: a, certFile: /b, keyFile: c}}
api: {endpoint: '[fd00::1]:6443'}
components: {kubeProxy: {extraArgs: {v: 4, list: [a, b]}}}
certificates: {leafValidity: 90m}
",
    );
    config.resolve_paths(std::path::Path::new("/etc/x"));
    let EtcdConfig::External(etcd) = &config.etcd else { panic!("{config:?}") };
    assert_eq!((etcd.ca_file.as_str(), etcd.cert_file.as_str()), ("/etc/x/a", "/b"));
    let text = cluster::yaml::to_string(&config).unwrap();
    assert_eq!(parse(&text), config);
}

#[test]
fn issuers_of_tokens_are_taken_as_they_are() {
    let text = "podSecurity: {enforce: restricted}\nauthentication:\n  jwt:\n  - issuer: {url: https://a, audiences: [b]}\n";
    let config = parse(text);
    assert_eq!(config.pod_security.enforce, PodSecurityLevel::Restricted);
    assert_eq!(config.authentication.jwt[0]["issuer"]["audiences"][0], "b");
    assert_eq!(
        errors("podSecurity: {enforce: baselin}\nauthentication: {jwt: [a]}\n"),
        "kubestrap.yaml:1:24: podSecurity.enforce: expected one of privileged, baseline, restricted, not \"baselin\": did you mean \"baseline\"?\n\
         kubestrap.yaml:2:24: authentication.jwt[0]: expected a map of keys and values, not the text \"a\""
    );
}
