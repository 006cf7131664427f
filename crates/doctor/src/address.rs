//! Whether the host still has the addresses that this node was set up with. Without etcd's it does not start; and a kubelet that
//! lacks any of its own announces none at all and starts nothing that asks for it, as an apiserver does (`validateNodeIP` in
//! pkg/kubelet/nodestatus/setters.go).

use std::fmt;
use std::net::IpAddr;
use std::path::Path;

use ::checks::{Check, Kind, kind};
use names::path;
use node::facts::Addresses;
use node::{Root, identity};

use crate::checks::etcd;
use crate::files::Files;
use crate::manifests::Manifests;

/// An address of the node that the host has no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gone {
    /// What it was.
    pub was: IpAddr,
    /// What the host has in its place; none where it has none of that family.
    pub is: Option<IpAddr>,
    /// Which files have the old one.
    pub written_in: Vec<&'static str>,
    /// Whether it is etcd's, or the kubelet's first: the node has to have another one in its place.
    pub primary: bool,
}

impl fmt::Display for Gone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { was, is, written_in, .. } = self;
        let have = if written_in.len() == 1 { "has" } else { "have" };
        write!(f, "this node's address was {was}, as {} {have} it, and ", written_in.join(" and "))?;
        match is {
            Some(is) => write!(f, "is {is} now"),
            None => {
                write!(f, "this host has no {} address any more", if was.is_ipv6() { "IPv6" } else { "IPv4" })
            }
        }
    }
}

/// The addresses of the node here that the host has no more, etcd's first.
pub fn gone(root: &Root, static_pod_dir: &Path, host: &Addresses) -> Vec<Gone> {
    look(root, &Manifests::read(&Files::new(root.clone()), static_pod_dir), host)
}

pub(crate) fn look(root: &Root, manifests: &Manifests, host: &Addresses) -> Vec<Gone> {
    let mut gone: Vec<Gone> = Vec::new();
    let mut note = |was: IpAddr, file: &'static str, primary: bool| {
        if host.all.contains(&was) {
            return;
        }
        match gone.iter_mut().find(|gone| gone.was == was) {
            Some(known) => {
                known.written_in.push(file);
                known.primary |= primary;
            }
            None => {
                gone.push(Gone {
                    was,
                    is: host.preferred_of(was.is_ipv6()),
                    written_in: vec![file],
                    primary,
                });
            }
        }
    };
    for (position, address) in identity::installed_addresses(root).into_iter().enumerate() {
        note(address, path::KUBELET_UNIT, position == 0);
    }
    for address in
        etcd::manifest(manifests).iter().flat_map(|manifest| ::etcd::server::addresses(&manifest.pod))
    {
        note(address, path::ETCD_FILE, true);
    }
    gone.sort_by_key(|gone| !gone.primary);
    gone
}

/// What it means for the next power cut.
pub(crate) fn check(gone: &[Gone]) -> Check {
    const NAME: &Kind = &kind::NODE_ADDRESS;
    if gone.is_empty() {
        return Check::ok(NAME, "the host has the addresses that this node was set up with");
    }
    let what = gone.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    let remedy = remedy(gone);
    Check::failed(NAME, what, remedy)
}

/// What to do about it.
pub fn remedy(gone: &[Gone]) -> String {
    let old = gone.iter().map(|gone| gone.was.to_string()).collect::<Vec<_>>().join(" and ");
    if gone.iter().any(|gone| gone.primary && gone.is.is_none()) {
        return format!(
            "give this host {old} again, or another address, and then: kubestrap up --bundle DIR"
        );
    }
    format!("have this node follow: kubestrap up --bundle DIR; or give the host {old} again")
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIT: &str = "# Written by kubestrap; a change here is lost at its next run.\n";
    const ETCD: &str = "kind: Pod\nmetadata: {name: etcd}\nspec: {containers: [{args: [--data-dir=/d, \
        '--listen-client-urls=https://127.0.0.1:2379,https://192.0.2.1:2379']}]}\n";

    fn host(all: &[&str]) -> Addresses {
        let all: Vec<IpAddr> = all.iter().map(|ip| ip.parse().unwrap()).collect();
        Addresses { preferred: all.clone(), all }
    }

    fn node(addresses: &str, etcd: Option<&str>) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::below(dir.path());
        let put = |path: std::path::PathBuf, text: &str| {
            host::fs::create_dir_all(path.parent().unwrap(), 0o755).unwrap();
            host::fs::write(&path, text.as_bytes(), 0o644).unwrap();
        };
        let unit = format!("{UNIT}ExecStart=/usr/local/bin/kubelet --node-ip={addresses}\n");
        put(root.path(path::UNITS).join(path::KUBELET_UNIT), &unit);
        if let Some(etcd) = etcd {
            put(root.path(path::STATIC_PODS).join(path::ETCD_FILE), etcd);
        }
        dir
    }

    fn told(dir: &tempfile::TempDir, all: &[&str]) -> String {
        let gone = gone(&Root::below(dir.path()), path::STATIC_PODS.as_ref(), &host(all));
        let Check { result, what, remedy, .. } = check(&gone);
        format!("{}: {what}\n{}", result.word(), remedy.unwrap_or_default())
    }

    #[test]
    fn what_it_was_and_what_it_is_are_told_with_what_to_do() {
        let dir = node("192.0.2.1", Some(ETCD));
        assert!(told(&dir, &["192.0.2.1"]).starts_with("ok: the host has the addresses"));
        assert_eq!(
            told(&dir, &["192.0.2.7"]),
            "failed: this node's address was 192.0.2.1, as kubelet.service and etcd.yaml have it, and is 192.0.2.7 now\n\
             have this node follow: kubestrap up --bundle DIR; or give the host 192.0.2.1 again"
        );
        assert_eq!(
            told(&dir, &[]),
            "failed: this node's address was 192.0.2.1, as kubelet.service and etcd.yaml have it, and this host has no \
             IPv4 address any more\n\
             give this host 192.0.2.1 again, or another address, and then: kubestrap up --bundle DIR"
        );
    }

    #[test]
    fn each_address_counts_and_each_file_that_has_it() {
        let dir = node("192.0.2.1,2001:db8::1", Some(ETCD));
        let text = told(&dir, &["192.0.2.1", "2001:db8::7"]);
        assert!(
            text.starts_with("failed: this node's address was 2001:db8::1, as kubelet.service has it"),
            "{text}"
        );
        // A run that was killed in between has put the kubelet right, and etcd not yet.
        let dir = node("192.0.2.7", Some(ETCD));
        assert!(
            told(&dir, &["192.0.2.7"])
                .starts_with("failed: this node's address was 192.0.2.1, as etcd.yaml has it")
        );
        // One whose etcd is elsewhere.
        let dir = node("192.0.2.1", None);
        assert!(told(&dir, &["192.0.2.7"]).starts_with("failed: "));
    }

    #[test]
    fn what_nobody_installed_has_no_address_to_lose() {
        let dir = tempfile::tempdir().unwrap();
        assert!(told(&dir, &[]).starts_with("ok: "));
    }
}
