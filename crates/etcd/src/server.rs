//! The static pod of an etcd server: which container it is, and where its files lie on the host. Whoever wrote it,
//! it is known by its flags.

use std::collections::BTreeSet;
use std::path::PathBuf;

use objects::pod;
use serde_json::Value;

/// The host's paths of an etcd's certificates, by flag, and of its data.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// Each certificate file with the flag that names it.
    pub certificates: Vec<(&'static str, PathBuf)>,
    /// The directory of its data; none when it is not the host's.
    pub data: Option<PathBuf>,
}

/// Where the files of an etcd's static pod lie.
pub fn places(pod: &Value) -> Places {
    const FLAGS: [&str; 6] = [
        "--cert-file",
        "--key-file",
        "--trusted-ca-file",
        "--peer-cert-file",
        "--peer-key-file",
        "--peer-trusted-ca-file",
    ];
    let Some(container) = container(pod) else { return Places::default() };
    let mut seen = BTreeSet::new();
    let found = FLAGS.iter().filter_map(|flag| {
        let path = pod::on_host(pod, container, pod::flag(container, flag)?)?;
        seen.insert(path.clone()).then_some((*flag, path))
    });
    let certificates = found.collect();
    let data = pod::flag(container, "--data-dir").and_then(|path| pod::on_host(pod, container, path));
    Places { certificates, data }
}

/// The container that is an etcd server.
pub fn container(pod: &Value) -> Option<&Value> {
    pod::containers(pod)
        .find(|c| pod::flag(c, "--listen-client-urls").is_some() && pod::flag(c, "--data-dir").is_some())
}

/// The image of the server; none when this is no etcd's pod.
pub fn image(pod: &Value) -> Option<&str> {
    container(pod)?["image"].as_str()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_server_is_known_by_its_flags_and_its_files_by_its_mounts() {
        let args = [
            "--listen-client-urls=https://0.0.0.0:2379",
            "--data-dir=/data",
            "--cert-file=/pki/a.crt",
            "--peer-cert-file=/pki/a.crt",
            "--key-file=/elsewhere/a.key",
        ];
        let mounts = json!([{"name": "d", "mountPath": "/data"}, {"name": "p", "mountPath": "/pki"}]);
        let pod = json!({"spec": {"volumes": [{"name": "d", "hostPath": {"path": "/var/lib/etcd"}},
                {"name": "p", "hostPath": {"path": "/etc/etcd"}}],
            "containers": [{"args": ["--v=1"]}, {"image": "e", "args": args, "volumeMounts": mounts}]}});
        assert_eq!(image(&pod), Some("e"));
        let places = places(&pod);
        assert_eq!(places.data.as_deref(), Some("/var/lib/etcd".as_ref()));
        assert_eq!(places.certificates, [("--cert-file", PathBuf::from("/etc/etcd/a.crt"))]);
        assert!(container(&json!({"spec": {"containers": [{"args": ["--data-dir=/x"]}]}})).is_none());
    }
}
