//! The static pod of an etcd server: which container it is, and where its files lie on the host. Whoever wrote it,
//! it is known by its flags.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::PathBuf;

use names::port;
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

/// The flag with the URLs under which the other members reach this one (etcd, server/embed/config.go).
const PEER_URLS: &str = "--initial-advertise-peer-urls";

/// The addresses of its host that it listens on, loopback not among them: without one of them it does not start.
pub fn addresses(pod: &Value) -> BTreeSet<IpAddr> {
    const FLAGS: [&str; 2] = ["--listen-client-urls", "--listen-peer-urls"];
    let Some(container) = container(pod) else { return BTreeSet::new() };
    let urls = FLAGS.iter().flat_map(|flag| urls(pod::flag(container, flag).unwrap_or_default()));
    let addresses = urls.filter_map(|url| host(&url));
    addresses.filter(|address| !address.is_loopback() && !address.is_unspecified()).collect()
}

/// The URLs under which the other members shall reach it.
pub fn peer_urls(pod: &Value) -> Vec<String> {
    container(pod)
        .and_then(|container| pod::flag(container, PEER_URLS))
        .map_or_else(Vec::new, |flag| urls(flag).collect())
}

/// The members that it was told of when it began, itself among them.
pub fn initial_members(pod: &Value) -> Vec<String> {
    let flag = container(pod).and_then(|container| pod::flag(container, "--initial-cluster"));
    urls(flag.unwrap_or_default()).collect()
}

/// The address that a URL names; none when it names a host or is no URL.
pub fn host(url: &str) -> Option<IpAddr> {
    ask::address(url, port::ETCD_CLIENT).ok().map(|(address, _)| address.ip())
}

/// The items of a flag.
pub(crate) fn urls(flag: &str) -> impl Iterator<Item = String> {
    flag.split(',').map(str::trim).filter(|url| !url.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_addresses_are_those_that_it_cannot_do_without() {
        let pod = |flags: &[&str]| json!({"spec": {"containers": [{"args": flags}]}});
        let etcd = pod(&[
            "--data-dir=/d",
            "--listen-client-urls=https://127.0.0.1:2379, https://192.0.2.1:2379",
            "--listen-peer-urls=https://[2001:db8::1]:2380",
            "--initial-advertise-peer-urls=https://192.0.2.1:2380",
            "--initial-cluster=a=https://192.0.2.1:2380,b=https://192.0.2.2:2380",
        ]);
        let found: Vec<_> = addresses(&etcd).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["192.0.2.1", "2001:db8::1"]);
        assert_eq!(peer_urls(&etcd), ["https://192.0.2.1:2380"]);
        assert_eq!(initial_members(&etcd).len(), 2);
        let everywhere =
            pod(&["--data-dir=/d", "--listen-client-urls=https://0.0.0.0:2379,http://localhost:1"]);
        assert!(addresses(&everywhere).is_empty() && peer_urls(&everywhere).is_empty());
    }

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
