//! Who this node is: one answer for every verb that asks.
//!
//! The kubelet's unit that an install wrote is the truth: the kubelet registers under its `--hostname-override`, and its
//! kubeconfig and certificate are good for that name only. A host that is called otherwise by now is the same node still.
//! Where nothing is installed the host's own name is the node's.
//!
//! The same with its addresses: those of the unit's `--node-ip` are the node's for as long as the host has them. What the
//! host would take otherwise counts for a node that is yet to be, and where it has lost one.

use std::collections::BTreeMap;
use std::net::IpAddr;

use names::path;
use pki::NodeIdentity;
use serde_json::Value;

use crate::facts::Addresses;
use crate::kubelet::{ADDRESS_FLAG, LABELS_FLAG, NAME_FLAG};
use crate::observe::is_marked;
use crate::{Facts, Registration, Root, units};

/// Why it cannot be said which node this is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// Another name was asked for than the one that is installed.
    #[error("this node is called {installed}, as {file} says, and not {asked}")]
    Disagrees {
        /// The name that was asked for.
        asked: String,
        /// The name of the node that is installed.
        installed: String,
        /// What says so.
        file: String,
    },
    /// No interface has an address.
    #[error("this host has no address that other nodes could reach")]
    NoAddress,
}

/// The values of a flag of the kubelet that kubestrap has installed here, in their order.
fn flags(root: &Root, flag: &str) -> Vec<String> {
    let unit = root.path(units::path(path::KUBELET_UNIT));
    let text =
        if is_marked(&unit) { std::fs::read_to_string(&unit).unwrap_or_default() } else { String::new() };
    let commands = text.lines().filter_map(|line| line.strip_prefix("ExecStart="));
    let words = commands.flat_map(str::split_ascii_whitespace);
    let values = words.filter_map(|word| word.trim_matches('"').strip_prefix(flag)?.strip_prefix('='));
    values.map(str::to_owned).collect()
}

/// The name of the node that kubestrap has installed here; none when it has installed none.
pub fn installed(root: &Root) -> Option<String> {
    // The last of several flags of one name counts.
    flags(root, NAME_FLAG).pop().filter(|name| !name.is_empty())
}

/// The addresses of the node that kubestrap has installed here, the kubelet's own first; none when it has installed none.
pub fn installed_addresses(root: &Root) -> Vec<IpAddr> {
    // Ours is the first; what the config has of the kubelet's further flags comes behind.
    let ours = flags(root, ADDRESS_FLAG).into_iter().next().unwrap_or_default();
    ours.split(',').filter_map(|address| address.parse().ok()).collect()
}

/// The addresses of the node here, IPv4 before IPv6: of each family the one that it was installed with, while the host has
/// that, else the host's choice.
pub fn addresses(root: &Root, host: &Addresses) -> Vec<IpAddr> {
    let installed = installed_addresses(root);
    let of = |ipv6: bool| {
        let kept = installed.iter().copied().find(|address| address.is_ipv6() == ipv6);
        kept.filter(|address| host.all.contains(address)).or_else(|| host.preferred_of(ipv6))
    };
    [of(false), of(true)].into_iter().flatten().collect()
}

/// What the node that kubestrap has installed here was registered with.
pub fn registered_with(root: &Root) -> Registration {
    let mut labels = BTreeMap::new();
    if let Some(list) = flags(root, LABELS_FLAG).first() {
        let pairs = list.split(',').filter_map(|pair| pair.split_once('='));
        labels.extend(pairs.map(|(key, value)| (key.to_owned(), value.to_owned())));
    }
    let config = root.path(path::KUBELET_CONFIG);
    let text = is_marked(&config).then(|| host::fs::read_to_string(&config).ok()).flatten();
    let config: Option<Value> = text.and_then(|text| serde_saphyr::from_str(&text).ok());
    let taints = config
        .and_then(|mut config| serde_json::from_value(config.get_mut("registerWithTaints")?.take()).ok());
    Registration { labels, taints: taints.unwrap_or_default() }
}

/// This node's name: as it is installed, else as it was asked for, else the host's.
///
/// # Errors
/// [`IdentityError::Disagrees`].
pub fn name(root: &Root, host: &str, asked: Option<&str>) -> Result<String, IdentityError> {
    match (installed(root), asked) {
        (Some(installed), Some(asked)) if installed != asked => {
            let file = units::path(path::KUBELET_UNIT);
            Err(IdentityError::Disagrees { asked: asked.to_owned(), installed, file })
        }
        (Some(installed), _) => Ok(installed),
        (None, asked) => Ok(asked.unwrap_or(host).to_owned()),
    }
}

/// This node's name and its addresses.
///
/// # Errors
/// [`IdentityError`].
pub fn identity(root: &Root, facts: &Facts, asked: Option<&str>) -> Result<NodeIdentity, IdentityError> {
    let name = name(root, &facts.hostname, asked)?;
    let addresses = addresses(root, &facts.addresses);
    if addresses.is_empty() {
        return Err(IdentityError::NoAddress);
    }
    Ok(NodeIdentity { name, addresses })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(root: &Root, text: &str) {
        let path = root.path(units::path(path::KUBELET_UNIT));
        host::fs::create_dir_all(path.parent().unwrap(), 0o755).unwrap();
        host::fs::write(&path, text.as_bytes(), 0o644).unwrap();
    }

    const OURS: &str = "# Written by kubestrap; a change here is lost at its next run.\n[Service]\n";

    #[test]
    fn the_name_is_what_the_kubelet_registers_under_whatever_the_host_is_called() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::below(dir.path());
        assert_eq!(name(&root, "host", None).unwrap(), "host");
        assert_eq!(name(&root, "host", Some("given")).unwrap(), "given");
        unit(
            &root,
            &format!(
                "{OURS}ExecStart=/usr/local/bin/kubelet --hostname-override=one --node-ip=192.0.2.1 \"--hostname-override=two\"\n"
            ),
        );
        assert_eq!(name(&root, "renamed", None).unwrap(), "two");
        assert_eq!(name(&root, "renamed", Some("two")).unwrap(), "two");
        let error = name(&root, "renamed", Some("renamed")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "this node is called two, as /etc/systemd/system/kubelet.service says, and not renamed"
        );
    }

    #[test]
    fn the_addresses_are_those_that_it_was_installed_with_while_the_host_has_them() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::below(dir.path());
        let ips = |all: &[&str]| all.iter().map(|ip| ip.parse().unwrap()).collect::<Vec<IpAddr>>();
        let host = |preferred: &[&str], all: &[&str]| {
            addresses(&root, &Addresses { preferred: ips(preferred), all: ips(all) })
        };
        assert_eq!(host(&["192.0.2.7"], &["192.0.2.7"]), ips(&["192.0.2.7"]), "nothing is installed");
        unit(
            &root,
            &format!(
                "{OURS}ExecStart=/usr/local/bin/kubelet --node-ip=2001:db8::1,192.0.2.1 --node-ip=192.0.2.9\n"
            ),
        );
        assert_eq!(installed_addresses(&root), ips(&["2001:db8::1", "192.0.2.1"]));
        // Another interface has the default route now.
        let all = ["192.0.2.1", "192.0.2.7", "2001:db8::1"];
        assert_eq!(host(&["192.0.2.7"], &all), ips(&["192.0.2.1", "2001:db8::1"]));
        assert_eq!(host(&["192.0.2.7"], &["192.0.2.7", "2001:db8::1"]), ips(&["192.0.2.7", "2001:db8::1"]));
        assert_eq!(host(&[], &["192.0.2.7"]), ips(&[]));
    }

    #[test]
    fn somebody_else_s_kubelet_names_no_node_of_ours() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::below(dir.path());
        unit(&root, "[Service]\nExecStart=/usr/bin/kubelet --hostname-override=theirs\n");
        assert_eq!(installed(&root), None);
        unit(&root, &format!("{OURS}ExecStart=/usr/local/bin/kubelet --config=/x\n"));
        assert_eq!(installed(&root), None, "an install that named none");
    }

    #[test]
    fn what_was_installed_is_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::below(dir.path());
        assert!(registered_with(&root).is_empty());
        let labels = ["disk=fast", "a=", "disk=slow"].map(|label| label.parse().unwrap());
        let taints = ["dedicated=db:NoSchedule", "x:NoExecute"].map(|taint| taint.parse().unwrap());
        let registration = Registration::new(&labels, &taints);
        assert_eq!(
            registration.to_string(),
            "labels a=,disk=slow and taints dedicated=db:NoSchedule,x:NoExecute"
        );
        let facts = crate::Facts::example("a");
        let cluster = cluster::ClusterConfig::default();
        let own = crate::NodeCredentials::Own;
        let mut node =
            crate::NodeConfig::new(&cluster, "a", facts.addresses.preferred.clone(), "ca", own, "pause");
        node.registration = registration.clone();
        let unit = root.path(crate::units::path(path::KUBELET_UNIT));
        for (file, text) in [
            (unit, crate::kubelet::unit(&facts, &node, "x").text),
            (root.path(path::KUBELET_CONFIG), crate::kubelet::config(&facts, &node)),
        ] {
            host::fs::create_dir_all(file.parent().unwrap(), 0o755).unwrap();
            host::fs::write(&file, text.as_bytes(), 0o600).unwrap();
        }
        assert_eq!(registered_with(&root), registration);
    }
}
