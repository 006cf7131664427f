//! What a cluster shows to who joins: `cluster-info`, signed with bootstrap tokens as the controller-manager signs it.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use names::object::{CLUSTER_INFO, CLUSTER_INFO_KUBECONFIG, CLUSTER_INFO_SIGNATURE, KUBE_PUBLIC};
use ring::hmac;
use serde_json::{Value, json};

/// The kubeconfig in it: where the API is, and its CA.
pub fn kubeconfig(server: &str, ca_pem: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Config\nclusters:\n- name: \"\"\n  cluster:\n    certificate-authority-data: {}\n    \
         server: {server}\ncontexts: []\ncurrent-context: \"\"\nusers: []\n",
        STANDARD.encode(ca_pem)
    )
}

/// The ConfigMap, with a signature for each of these tokens.
pub fn cluster_info(kubeconfig: &str, tokens: &[&str]) -> Value {
    let mut map = json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": CLUSTER_INFO, "namespace": KUBE_PUBLIC}, "data": {}});
    map["data"][CLUSTER_INFO_KUBECONFIG] = json!(kubeconfig);
    for token in tokens {
        let id = token.split('.').next().unwrap();
        map["data"][format!("{CLUSTER_INFO_SIGNATURE}{id}")] = json!(signature(kubeconfig, token));
    }
    map
}

/// A text's signature with a token.
pub fn signature(text: &str, token: &str) -> String {
    let (id, secret) = token.split_once('.').unwrap();
    let header = URL_SAFE_NO_PAD.encode(format!(r#"{{"alg":"HS256","kid":"{id}"}}"#));
    let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode(text));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), signed.as_bytes());
    format!("{header}..{}", URL_SAFE_NO_PAD.encode(tag))
}
