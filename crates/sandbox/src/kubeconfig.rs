//! A node's kubeconfig, changed so that it works on the host.

use std::path::Path;

use names::path::{self, below_root};
use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::record::Record;

/// The administrator's kubeconfig of the node with that disk, with the API's address on the host.
pub(crate) fn read(disk: &Path, record: &Record) -> Result<String> {
    // Where `up` puts it, or else where `render` does.
    let on_disk = |path: &str| disk.join(below_root(path));
    let places = [on_disk(path::ADMIN_KUBECONFIG), on_disk(path::ASSETS).join("auth/kubeconfig")];
    let Some(path) = places.into_iter().find(|p| p.exists()) else {
        return Err(Error::NoKubeconfig(record.name.clone()));
    };
    let text = host::fs::read_to_string(&path)?;
    edit(&text, record.api_port).map_err(|reason| Error::BadKubeconfig { name: record.name.clone(), reason })
}

fn edit(text: &str, port: u16) -> std::result::Result<String, String> {
    let mut config: Value = serde_saphyr::from_str(text).map_err(|e| e.to_string())?;
    let clusters = config.get_mut("clusters").and_then(Value::as_array_mut).ok_or("it has no clusters")?;
    for entry in clusters {
        let cluster =
            entry.get_mut("cluster").and_then(Value::as_object_mut).ok_or("a cluster of it is empty")?;
        cluster.insert("server".into(), json!(format!("https://127.0.0.1:{port}")));
        // Every API server's certificate has this name; it need not have 127.0.0.1.
        cluster.insert("tls-server-name".into(), json!(names::object::KUBERNETES_SERVICE));
    }
    // Long texts stay on one line: other readers of kubeconfigs than clients, such as sed and grep, go by lines.
    let options = serde_saphyr::ser_options! { prefer_block_scalars: false };
    serde_saphyr::to_string_with_options(&config, options).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_and_name_are_replaced_and_the_rest_is_kept() {
        let text = "apiVersion: v1\nkind: Config\nclusters:\n- name: local\n  cluster:\n    server: https://10.89.0.2:6443\n    certificate-authority-data: QUJD\nusers:\n- name: admin\n  user: {client-key-data: REVG}\n";
        let edited: Value = serde_saphyr::from_str(&edit(text, 7001).unwrap()).unwrap();
        assert_eq!(
            edited,
            json!({
                "apiVersion": "v1", "kind": "Config",
                "clusters": [{"name": "local", "cluster": {
                    "server": "https://127.0.0.1:7001", "tls-server-name": "kubernetes",
                    "certificate-authority-data": "QUJD"}}],
                "users": [{"name": "admin", "user": {"client-key-data": "REVG"}}],
            })
        );
        assert!(edit("kind: Config\n", 1).is_err());
    }

    #[test]
    fn a_certificate_stays_on_one_line() {
        let data = "QUJD".repeat(500);
        let text =
            format!("clusters:\n- name: a\n  cluster: {{server: x, certificate-authority-data: {data}}}\n");
        let edited = edit(&text, 7001).unwrap();
        assert!(edited.contains(&format!("certificate-authority-data: {data}\n")), "{edited}");
    }
}
