//! What was asked for when a sandbox was created: the only thing that is remembered of it.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::name::Name;

/// The version of `sandbox.json` and of what is on the disk beside it; with 1, pid 1 was no systemd.
pub(crate) const VERSION: u32 = 2;

/// The fabric's network; `.1` is its bridge. Chosen because nobody routes it on purpose; it
/// cannot clash with the host's own networks since the fabric has no way out.
pub const SUBNET: Ipv4Addr = Ipv4Addr::new(10, 89, 0, 0);

/// A file or directory of the host that the node sees.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Mount {
    /// On the host.
    pub source: PathBuf,
    /// In the node.
    pub target: PathBuf,
    /// The node may not write to it.
    pub read_only: bool,
}

impl FromStr for Mount {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = || Error::BadMount(text.to_owned());
        let (paths, read_only) = match text.strip_suffix(":ro") {
            Some(paths) => (paths, true),
            None => (text, false),
        };
        let (source, target) = paths.split_once(':').ok_or_else(bad)?;
        let (source, target) = (PathBuf::from(source), PathBuf::from(target));
        let dots = target.components().any(|c| c == std::path::Component::ParentDir);
        if !source.is_absolute() || !target.is_absolute() || target == Path::new("/") || dots {
            return Err(bad());
        }
        Ok(Self { source, target, read_only })
    }
}

/// What was asked for when a sandbox was created.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Record {
    /// [`VERSION`].
    pub version: u32,
    /// Its name.
    pub name: Name,
    /// Its host name.
    pub hostname: Name,
    /// Its IPv4 address on the fabric.
    pub address: Ipv4Addr,
    /// The port on the host's 127.0.0.1 that leads to its port 6443.
    pub api_port: u16,
    /// What it sees of the host.
    pub mounts: Vec<Mount>,
    /// Whose `/usr` and `/etc` lie below its own: a root file system, or this machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<PathBuf>,
    /// Its cgroup in every hierarchy, from the hierarchy's root.
    pub cgroup: String,
}

impl Record {
    /// Its IPv6 address on the fabric: the IPv4 one in the last 32 bits of fd89::/64.
    pub fn address6(&self) -> Ipv6Addr {
        address6(self.address)
    }

    /// The root file system of which it is made.
    pub(crate) fn base(&self) -> &Path {
        self.root.as_deref().unwrap_or(Path::new("/"))
    }

    /// The fabric's end of its cable; unique since the address is.
    pub(crate) fn veth(&self) -> String {
        format!("v{:08x}", self.address.to_bits())
    }

    /// The hardware address of its `eth0`: the same after each power cut, as a real card's is.
    pub(crate) fn mac(&self) -> String {
        let [a, b, c, d] = self.address.octets();
        format!("02:89:{a:02x}:{b:02x}:{c:02x}:{d:02x}")
    }
}

/// The IPv6 address that goes with an IPv4 address of the fabric.
pub(crate) fn address6(address: Ipv4Addr) -> Ipv6Addr {
    Ipv6Addr::from_bits(0xfd89_u128 << 112 | u128::from(address.to_bits()))
}

/// The fabric's own address, the nodes' default route (which leads nowhere).
pub(crate) fn gateway() -> Ipv4Addr {
    Ipv4Addr::from_bits(SUBNET.to_bits() + 1)
}

/// The addresses that a node may have.
pub(crate) fn node_addresses() -> impl Iterator<Item = Ipv4Addr> {
    (2..=254).map(|n| Ipv4Addr::from_bits(SUBNET.to_bits() + n))
}

/// What the cgroups of a directory's sandboxes begin with: two directories may both have a
/// `demo`.
pub fn cgroup_prefix(dir: &Path) -> String {
    let hash = Sha256::digest(dir.as_os_str().as_encoded_bytes());
    format!("/kubestrap-sandbox/{:02x}{:02x}{:02x}{:02x}-", hash[0], hash[1], hash[2], hash[3])
}

/// The cgroup of a sandbox.
pub(crate) fn cgroup(dir: &Path, name: &Name) -> String {
    format!("{}{name}", cgroup_prefix(dir))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_dns_label() {
        assert!("demo-1".parse::<Name>().is_ok());
        for bad in ["", "-a", "a-", "A", "a.b", "a/b", "..", &"a".repeat(41)] {
            assert!(bad.parse::<Name>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_mount_has_two_absolute_paths() {
        let mount: Mount = "/a:/b/c:ro".parse().unwrap();
        assert_eq!((mount.source, mount.target, mount.read_only), ("/a".into(), "/b/c".into(), true));
        for bad in ["/a", "a:/b", "/a:b", "/a:/", "/a:/b/../c"] {
            assert!(bad.parse::<Mount>().is_err(), "{bad}");
        }
    }

    #[test]
    fn addresses_of_both_families_go_together() {
        assert_eq!(address6(Ipv4Addr::new(10, 89, 0, 2)).to_string(), "fd89::a59:2");
    }
}
