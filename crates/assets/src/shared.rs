//! What all nodes of a cluster share: authorities and clients' certificates, kubeconfigs, the manifests of the
//! control plane, and the temporary one that brings it up.

use base64::Engine as _;
use cluster::{
    ClusterConfig, Component, ComponentConfig, EtcdConfig, FlannelBackend, Host, NetworkProvider, ProxyMode,
};
use names::{component, object, port};
use serde_json::json;

use crate::credentials;
use crate::error::RenderError;
use crate::flags::Flags;
use crate::given::ExternalEtcdFiles;
use crate::input::Base;
use crate::node::NodeAssets;
use crate::rules;
use crate::template::{TemplateError, Values, fill};
use crate::temporary::TEMPORARY_KUBECONFIG;
use crate::tree::{AssetTree, CONFIG_FILE};

/// See the module.
#[derive(Debug)]
pub(crate) struct ClusterAssets {
    pub(crate) tree: AssetTree,
}

impl ClusterAssets {
    /// Those of a cluster, with the assets of its first node among them.
    pub(crate) fn new(
        base: &Base<'_>,
        external_etcd: Option<ExternalEtcdFiles>,
        upstream_dns: bool,
        first: NodeAssets,
    ) -> Result<Self, RenderError> {
        let mut tree = first.tree;
        credentials::of_control_plane(&mut tree, base, external_etcd)?;
        credentials::of_people(&mut tree, base)?;
        tree.private(CONFIG_FILE, resolved(base.config)?);
        let context = Context { config: base.config, values: values(base, upstream_dns)? };
        context.temporary_control_plane(&mut tree)?;
        context.control_plane(&mut tree)?;
        context.guardian(&mut tree)?;
        context.addons(&mut tree)?;
        Ok(Self { tree })
    }
}

/// The config as it was understood, defaults and overrides in.
fn resolved(config: &ClusterConfig) -> Result<String, RenderError> {
    let text = cluster::yaml::to_string(config)
        .map_err(|error| RenderError::Config { message: error.to_string() })?;
    Ok(format!(
        "# The config that this directory was rendered from, defaults and overrides in.\n\
         # Change it and run `kubestrap render --config` with it to change the directory.\n{text}"
    ))
}

fn values(base: &Base<'_>, upstream_dns: bool) -> Result<Values, RenderError> {
    let config = base.config;
    let endpoint = config.api_endpoint(base.api_address);
    let port = endpoint.port().unwrap_or(config.api.port);
    let host = match endpoint.host() {
        Host::Ip(ip) => ip.to_string(),
        Host::Name(name) => name.clone(),
    };
    let etcd_servers = match &config.etcd {
        EtcdConfig::Local(_) => format!("https://127.0.0.1:{}", port::ETCD_CLIENT),
        EtcdConfig::External(etcd) => {
            etcd.endpoints.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
        }
    };
    let dns_ips = config.dns_ips().iter().map(ToString::to_string).collect::<Vec<_>>();
    let mut values = Values::from([
        ("api_endpoint", endpoint.to_string()),
        ("api_host", host),
        ("api_host_port", port.to_string()),
        ("api_port", config.api.port.to_string()),
        ("api_server", base.api_url()),
        ("audit_max_age", config.audit.max_age.to_string()),
        ("audit_max_backups", config.audit.max_backups.to_string()),
        ("audit_max_size", config.audit.max_size.to_string()),
        ("audit_path", config.audit.path.clone()),
        ("ca_base64", base64::engine::general_purpose::STANDARD.encode(base.authorities.cluster.cert_pem())),
        ("cluster_name", config.cluster_name.to_string()),
        ("config_files", config_files(config)?),
        ("corefile_forward", forward(upstream_dns).to_owned()),
        ("dns_domain", config.network.dns_domain.to_string()),
        ("dns_ip", dns_ips.first().cloned().unwrap_or_default()),
        ("dns_ips", json!(dns_ips).to_string()),
        ("etcd_servers", etcd_servers),
        ("feature_gates", json!(config.feature_gates).to_string()),
        ("flannel_net_conf", flannel_net_conf(config)),
        ("flannel_probes", rules::probes(config, object::FLANNEL_DAEMON_SET)),
        ("proxy_probes", rules::probes(config, component::KUBE_PROXY)),
        ("guardian_min_ready_seconds", config.guardian.min_ready_seconds.to_string()),
        // As Go writes it, which knows no days.
        ("leaf_validity", format!("{}m", config.certificates.leaf_validity.as_duration().as_secs() / 60)),
        ("kubernetes_version", config.kubernetes_version.to_string()),
        ("node_config", config.of_nodes().map_err(|message| RenderError::Config { message })?),
        ("pod_cidrs", config.pod_cidr_list()),
        (
            "proxy_mode",
            if config.proxy.mode == ProxyMode::Iptables { "iptables" } else { "nftables" }.to_owned(),
        ),
        ("replicas", config.leader_elected_replicas().to_string()),
        ("service_cidrs", config.service_cidr_list()),
    ]);
    let images = config.images();
    values.extend(IMAGES.map(|(name, component)| (name, images.get(component).to_owned())));
    Ok(values)
}

/// The placeholders of images.
const IMAGES: [(&str, Component); 8] = [
    ("coredns_image", Component::Coredns),
    ("flannel_cni_plugin_image", Component::FlannelCniPlugin),
    ("flannel_image", Component::Flannel),
    ("kube_apiserver_image", Component::KubeApiserver),
    ("kube_controller_manager_image", Component::KubeControllerManager),
    ("kube_proxy_image", Component::KubeProxy),
    ("kube_scheduler_image", Component::KubeScheduler),
    ("kubestrap_image", Component::Kubestrap),
];

/// kube-apiserver's files that are no secrets, by name.
fn api_config(config: &ClusterConfig) -> Result<Vec<(&'static str, String)>, RenderError> {
    let level = json!(config.pod_security.enforce).to_string();
    let admission = include_str!("../manifests/config/admission.yaml").replace("{{pod_security}}", &level);
    let mut files = vec![
        ("admission.yaml", admission),
        ("authentication.yaml", authentication(config)?),
        ("authorization.jsonl", include_str!("../manifests/config/authorization.jsonl").to_owned()),
    ];
    if config.audit.enabled {
        let level = format!("{:?}", config.audit.level);
        let policy = include_str!("../manifests/config/audit-policy.yaml").replace("{{audit_level}}", &level);
        files.push(("audit-policy.yaml", policy));
    }
    Ok(files)
}

fn authentication(config: &ClusterConfig) -> Result<String, RenderError> {
    let plain = include_str!("../manifests/config/authentication.yaml");
    if config.authentication.jwt.is_empty() {
        return Ok(plain.to_owned());
    }
    let issuers = cluster::yaml::to_string(&json!({"jwt": config.authentication.jwt}))
        .map_err(|error| RenderError::Config { message: error.to_string() })?;
    Ok(format!("{plain}# Issuers of tokens, as the config has them.\n{issuers}"))
}

/// The same as entries of a ConfigMap.
fn config_files(config: &ClusterConfig) -> Result<String, RenderError> {
    let mut entries = String::new();
    for (name, text) in api_config(config)? {
        entries.push_str(name);
        entries.push_str(": |\n");
        for line in text.lines() {
            entries.push_str("  ");
            entries.push_str(line);
            entries.push('\n');
        }
    }
    Ok(entries)
}

fn forward(upstream_dns: bool) -> &'static str {
    if upstream_dns {
        "forward . /etc/resolv.conf {\n   max_concurrent 1000\n}"
    } else {
        "# No `forward . /etc/resolv.conf`: the node that this was rendered for has no resolver there, and\n\
         # CoreDNS would ask itself."
    }
}

fn flannel_net_conf(config: &ClusterConfig) -> String {
    let range = |ipv6: bool| config.network.pod_cidrs.iter().find(|cidr| cidr.is_ipv6() == ipv6);
    let flannel = &config.network.flannel;
    let backend = match flannel.backend {
        FlannelBackend::Vxlan => json!({"Type": "vxlan", "VNI": flannel.vni, "Port": flannel.port}),
        FlannelBackend::HostGw => json!({"Type": "host-gw"}),
    };
    // In the mode that kube-proxy has too: a host has the tools of at least one of them.
    let nftables = config.proxy.mode != ProxyMode::Iptables;
    let mut conf = json!({"EnableNFTables": nftables, "Backend": backend});
    match range(false) {
        Some(cidr) => conf["Network"] = json!(cidr.to_string()),
        None => conf["EnableIPv4"] = json!(false),
    }
    if let Some(cidr) = range(true) {
        conf["EnableIPv6"] = json!(true);
        conf["IPv6Network"] = json!(cidr.to_string());
    }
    format!("{conf:#}")
}

struct Context<'a> {
    config: &'a ClusterConfig,
    values: Values,
}

impl Context<'_> {
    fn with_flags(&self, name: &'static str, template: &str, flags: &Flags) -> Result<String, TemplateError> {
        let mut values = self.values.clone();
        values.insert("flags", fill(name, &flags.to_yaml(), &values)?);
        fill(name, template, &values)
    }

    fn apiserver_flags(&self) -> Flags {
        let mut flags = Flags::parse(include_str!("../manifests/flags/kube-apiserver.yaml"));
        if !self.config.encryption.enabled {
            flags.remove("encryption-provider-config");
        }
        if !self.config.audit.enabled {
            for flag in ["maxage", "maxbackup", "maxsize", "mode", "path"] {
                flags.remove(&format!("audit-log-{flag}"));
            }
            flags.remove("audit-policy-file");
        }
        self.finish(flags, &self.config.components.kube_api_server)
    }

    fn controller_manager_flags(&self) -> Flags {
        let mut flags = Flags::parse(include_str!("../manifests/flags/kube-controller-manager.yaml"));
        let masks = &self.config.network.node_cidr_masks;
        for cidr in &self.config.network.pod_cidrs {
            if cidr.is_ipv6() {
                flags.set("node-cidr-mask-size-ipv6", masks.ipv6.to_string());
            } else {
                flags.set("node-cidr-mask-size-ipv4", masks.ipv4.to_string());
            }
        }
        flags
    }

    /// Those of the temporary one, which signs what nodes need to begin with.
    fn temporary_controller_manager_flags(&self) -> Flags {
        self.finish(self.controller_manager_flags(), &self.config.components.kube_controller_manager)
    }

    /// Those of the one that lives on: where the authorities' keys are kept elsewhere it signs nothing.
    fn lasting_controller_manager_flags(&self) -> Flags {
        let mut flags = self.controller_manager_flags();
        if self.config.authority_keys_are_offline() {
            for flag in ["cert-file", "duration", "key-file"] {
                flags.remove(&format!("cluster-signing-{flag}"));
            }
        }
        self.finish(flags, &self.config.components.kube_controller_manager)
    }

    fn scheduler_flags(&self) -> Flags {
        let flags = Flags::parse(include_str!("../manifests/flags/kube-scheduler.yaml"));
        self.finish(flags, &self.config.components.kube_scheduler)
    }

    fn finish(&self, mut flags: Flags, component: &ComponentConfig) -> Flags {
        if let Some(gates) = self.config.feature_gate_list() {
            flags.set("feature-gates", gates);
        }
        flags.extend(component);
        flags
    }

    /// `bootstrap-manifests/`, and the files that its pods read.
    fn temporary_control_plane(&self, tree: &mut AssetTree) -> Result<(), RenderError> {
        let name = "bootstrap-kube-apiserver";
        let pod = include_str!("../manifests/bootstrap/bootstrap-kube-apiserver.yaml");
        tree.public(bootstrap_path(name), self.with_flags(name, pod, &self.apiserver_flags())?);
        for (name, text) in api_config(self.config)? {
            tree.public(format!("bootstrap-config/{name}"), text);
        }
        let name = "bootstrap-kube-controller-manager";
        let pod = include_str!("../manifests/bootstrap/bootstrap-kube-controller-manager.yaml");
        let flags = self.temporary_controller_manager_flags();
        tree.public(bootstrap_path(name), self.temporary(name, pod, flags)?);
        let name = "bootstrap-kube-scheduler";
        let pod = include_str!("../manifests/bootstrap/bootstrap-kube-scheduler.yaml");
        tree.public(bootstrap_path(name), self.temporary(name, pod, self.scheduler_flags())?);
        Ok(())
    }

    /// A temporary component with a kubeconfig: it serves nothing, so that its port is free for the
    /// self-hosted one and a probe of that one reaches no other.
    fn temporary(&self, name: &'static str, pod: &str, mut flags: Flags) -> Result<String, TemplateError> {
        flags.remove("bind-address");
        flags.remove("permit-port-sharing");
        flags.set("secure-port", "0");
        let file = TEMPORARY_KUBECONFIG.to_owned();
        let values = self.values.clone().into_iter().chain([("kubeconfig", file)]).collect();
        Context { config: self.config, values }.with_flags(name, pod, &flags)
    }

    /// The self-hosted control plane.
    fn control_plane(&self, tree: &mut AssetTree) -> Result<(), TemplateError> {
        let name = component::KUBE_APISERVER;
        let text = include_str!("../manifests/cluster/kube-apiserver.yaml");
        tree.public(path(name), self.with_flags(name, text, &self.apiserver_flags())?);

        let values =
            self.values.clone().into_iter().chain([("kubeconfig", "kubeconfig".to_owned())]).collect();
        let context = Context { config: self.config, values };
        let name = component::KUBE_CONTROLLER_MANAGER;
        let text = include_str!("../manifests/cluster/kube-controller-manager.yaml");
        tree.public(path(name), context.with_flags(name, text, &self.lasting_controller_manager_flags())?);
        let name = component::KUBE_SCHEDULER;
        let text = include_str!("../manifests/cluster/kube-scheduler.yaml");
        tree.public(path(name), context.with_flags(name, text, &self.scheduler_flags())?);
        Ok(())
    }

    /// What puts the guardian on control-plane nodes, with its static pod as a file in a ConfigMap.
    fn guardian(&self, tree: &mut AssetTree) -> Result<(), TemplateError> {
        let name = object::GUARDIAN;
        let pod = fill(name, include_str!("../manifests/static/kubestrap-guardian.yaml"), &self.values)?;
        let values = self.values.clone().into_iter().chain([("guardian_pod", pod)]).collect();
        let text = include_str!("../manifests/cluster/kubestrap-guardian.yaml");
        tree.public(path(name), fill(name, text, &values)?);
        Ok(())
    }

    /// What runs on top, and what nodes need to join.
    fn addons(&self, tree: &mut AssetTree) -> Result<(), TemplateError> {
        let plain = [
            ("rbac", include_str!("../manifests/cluster/rbac.yaml")),
            (object::CLUSTER_INFO, include_str!("../manifests/cluster/cluster-info.yaml")),
            ("node-config", include_str!("../manifests/cluster/node-config.yaml")),
            ("admission", include_str!("../manifests/cluster/admission.yaml")),
            ("coredns", include_str!("../manifests/cluster/coredns.yaml")),
        ];
        for (name, text) in plain {
            tree.public(path(name), fill(name, text, &self.values)?);
        }
        if self.config.network.provider == NetworkProvider::Flannel {
            let text = include_str!("../manifests/cluster/flannel.yaml");
            tree.public(path("flannel"), fill("flannel", text, &self.values)?);
        }
        if self.config.proxy.mode != ProxyMode::Disabled {
            let mut flags = Flags::parse(include_str!("../manifests/flags/kube-proxy.yaml"));
            flags.extend(&self.config.components.kube_proxy);
            let text = include_str!("../manifests/cluster/kube-proxy.yaml");
            let name = component::KUBE_PROXY;
            tree.public(path(name), self.with_flags(name, text, &flags)?);
        }
        Ok(())
    }
}

fn path(name: &str) -> String {
    format!("manifests/{name}.yaml")
}

fn bootstrap_path(name: &str) -> String {
    format!("bootstrap-manifests/{name}.yaml")
}
