//! What is rendered, file by file, against golden files. A change there is to be read like code:
//! `UPDATE_GOLDEN=1 cargo test --release -p assets --test golden` writes them anew.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::path::Path;

use cluster::{
    AuthorityKeys, ClusterConfig, EtcdConfig, ExternalEtcd, FlagValues, FlannelBackend, NetworkProvider,
    PodSecurityLevel, ProxyMode,
};
use common::{config, input, rendered, text_of};
use serde_json::json;

fn check(name: &str, text: &str) {
    golden::check(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name), text);
}

/// Only what differs from the default.
fn check_difference(name: &str, text: &str) {
    let default = text_of(&rendered(&config()));
    let diff =
        similar::TextDiff::from_lines(default.as_str(), text).unified_diff().context_radius(2).to_string();
    check(name, &diff);
}

fn check_config(name: &str, change: impl FnOnce(&mut ClusterConfig)) {
    let mut config = config();
    change(&mut config);
    check_difference(name, &text_of(&rendered(&config)));
}

#[test]
fn default() {
    check("default.txt", &text_of(&rendered(&config())));
}

#[test]
fn dual_stack() {
    let mut config = config();
    config.network.pod_cidrs.push("fd00:10:244::/56".parse().unwrap());
    config.network.service_cidrs.push("fd00:10:96::/112".parse().unwrap());
    let mut input = input();
    // The first family's address comes first, wherever it was given.
    input.node.addresses.insert(0, "fd00::10".parse().unwrap());
    check_difference("dual-stack.diff", &text_of(&assets::render(&config, input).unwrap()));
}

#[test]
fn ipv6_only() {
    let mut config = config();
    config.network.pod_cidrs = vec!["fd00:10:244::/56".parse().unwrap()];
    config.network.service_cidrs = vec!["fd00:10:96::/112".parse().unwrap()];
    let mut input = input();
    input.node.addresses = vec!["fd00::10".parse().unwrap()];
    check_difference("ipv6-only.diff", &text_of(&assets::render(&config, input).unwrap()));
}

#[test]
fn external_etcd_and_two_nodes() {
    let mut config = config();
    config.control_plane.nodes = 2;
    config.api.endpoint = Some("api.example.com".parse().unwrap());
    config.etcd = EtcdConfig::External(ExternalEtcd {
        endpoints: vec![
            "https://192.0.2.20:2379".parse().unwrap(),
            "https://192.0.2.21:2379".parse().unwrap(),
        ],
        ca_file: "ca".to_owned(),
        cert_file: "cert".to_owned(),
        key_file: "key".to_owned(),
    });
    let mut input = input();
    input.given.external_etcd = Some(assets::ExternalEtcdFiles {
        ca_pem: "the members' authority\n".to_owned(),
        cert_pem: "our certificate\n".to_owned(),
        key_pem: "our key\n".to_owned(),
    });
    check_difference("external-etcd-two-nodes.diff", &text_of(&assets::render(&config, input).unwrap()));
}

#[test]
fn bring_your_own_network() {
    check_config("no-network.diff", |config| {
        config.network.provider = NetworkProvider::None;
        config.proxy.mode = ProxyMode::Disabled;
    });
}

#[test]
fn older_kubernetes_and_every_switch() {
    check_config("switches.diff", |config| {
        config.kubernetes_version = "v1.36.3".parse().unwrap();
        config.cluster_name = "west".parse().unwrap();
        config.api.port = 8443;
        config.network.flannel.backend = FlannelBackend::HostGw;
        config.proxy.mode = ProxyMode::Iptables;
        config.audit.enabled = false;
        config.encryption.enabled = false;
        config.pod_security.enforce = PodSecurityLevel::Restricted;
        config.certificates.authority_keys = AuthorityKeys::Offline;
        config.authentication.jwt = serde_json::from_value(json!([{
            "issuer": {"url": "https://login.example.com", "audiences": ["kubernetes"]},
            "claimMappings": {"username": {"claim": "sub", "prefix": "sso:"}},
        }]))
        .unwrap();
        config.images.repository = "registry.example.com/k8s".parse().unwrap();
        config.feature_gates = [("InPlacePodVerticalScaling".to_owned(), true)].into();
        let flags = |name: &str, value: &str| (name.to_owned(), FlagValues::from(value));
        config.components.kube_api_server.extra_args =
            [flags("goaway-chance", "0.001"), flags("oidc-issuer-url", "https://id.example.com")].into();
        config.components.kube_scheduler.extra_args = [flags("v", "4")].into();
        config.components.etcd.extra_args = [flags("quota-backend-bytes", "8589934592")].into();
    });
}

#[test]
fn without_a_resolver() {
    let input = assets::RenderInput { upstream_dns: false, ..input() };
    check_difference("no-resolver.diff", &text_of(&assets::render(&config(), input).unwrap()));
}
