//! What the tests share: a fixed cluster, and text with the random parts masked.
#![allow(dead_code, reason = "each test binary uses a part")]

use std::fmt::Write as _;
use std::net::IpAddr;

use assets::{AssetTree, Given, RenderInput, render};
use cluster::ClusterConfig;
use jiff::Timestamp;
use pki::NodeIdentity;

pub(crate) const NODE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 10));

pub(crate) fn config() -> ClusterConfig {
    ClusterConfig::default()
}

pub(crate) fn now() -> Timestamp {
    "2026-01-02T03:04:05Z".parse().unwrap()
}

pub(crate) fn input() -> RenderInput {
    RenderInput {
        node: NodeIdentity { name: "node-a".to_owned(), addresses: vec![NODE] },
        given: Given::default(),
        existing: None,
        upstream_dns: true,
        now: now(),
    }
}

pub(crate) fn rendered(config: &ClusterConfig) -> AssetTree {
    render(config, input()).unwrap()
}

/// The whole tree as one text, keys and certificates masked.
pub(crate) fn text_of(tree: &AssetTree) -> String {
    let mut text = String::new();
    for (path, file) in tree.iter() {
        let content = mask(std::str::from_utf8(&file.content).unwrap());
        write!(text, "=== {path} {:o}\n{content}", file.mode).unwrap();
    }
    text
}

fn mask(text: &str) -> String {
    let mut masked = String::new();
    let mut in_pem = false;
    for line in text.lines() {
        if line.contains("-----BEGIN") {
            in_pem = true;
            masked.push_str("<pem>\n");
        } else if line.contains("-----END") {
            in_pem = false;
        } else if !in_pem {
            let words = line.split(' ').map(|word| if is_random(word) { "<masked>" } else { word });
            masked.push_str(&words.collect::<Vec<_>>().join(" "));
            masked.push('\n');
        }
    }
    masked
}

/// Base64 of a key or a certificate: a 32-byte key has 44 letters.
fn is_random(word: &str) -> bool {
    word.len() >= 44 && word.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/=".contains(&b))
}
