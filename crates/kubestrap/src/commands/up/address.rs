//! A node whose host has another address by now: what `up` refuses before it changes anything, and what it has the rest of
//! it follow.

use std::net::IpAddr;
use std::path::Path;

use anyhow::anyhow;
use assets::address::Moved;
use assets::member;
use cluster::{ClusterConfig, Endpoint, Host};
use doctor::address::{self, Gone};
use etcd::server;
use names::path;
use node::{Facts, Root, identity};

use crate::exit::{Exit, Failure};

/// The file's name, for messages.
const ADMIN: &str = "admin.conf";

/// The addresses that this node was set up with, and that its host has no more. The administrator's kubeconfig is the last file
/// that gets the new one: by that a run that was killed is known.
pub(super) fn gone(root: &Root, facts: &Facts, config: &ClusterConfig) -> Vec<Gone> {
    let host = &facts.addresses;
    let mut gone = address::gone(root, Path::new(path::STATIC_PODS), host);
    if identity::installed(root).is_none() {
        return gone;
    }
    let admin = host::fs::read_to_string(&root.path(path::ADMIN_KUBECONFIG)).ok();
    let server = admin.and_then(|text| api::server_host(&text).ok()?.trim_matches(['[', ']']).parse().ok());
    let meant = endpoint(config);
    if let Some(was) = server.filter(|was| !host.all.contains(was) && meant != Some(*was)) {
        match gone.iter_mut().find(|gone| gone.was == was) {
            Some(known) => known.written_in.push(ADMIN),
            None => gone.push(Gone {
                was,
                is: host.preferred_of(was.is_ipv6()),
                written_in: vec![ADMIN],
                primary: false,
            }),
        }
    }
    gone
}

/// The address that a config names as its endpoint's.
fn endpoint(config: &ClusterConfig) -> Option<IpAddr> {
    match config.api.endpoint.as_ref().map(Endpoint::host) {
        Some(Host::Ip(address)) => Some(*address),
        Some(Host::Name(_)) | None => None,
    }
}

/// What is exchanged.
pub(super) fn moved(gone: &[Gone]) -> Vec<Moved> {
    gone.iter().filter_map(|gone| Some(Moved { was: gone.was, is: gone.is? })).collect()
}

/// What a cluster was made with, its endpoint on the node's new address where that is asked for in the place of the old
/// one: the one change of a config that `up` makes to a cluster that runs.
pub(super) fn followed(made_with: ClusterConfig, config: &ClusterConfig, gone: &[Gone]) -> ClusterConfig {
    let (was, asked) = (endpoint(&made_with), endpoint(config));
    let follows = gone.iter().any(|gone| Some(gone.was) == was && gone.is == asked && asked.is_some());
    if !follows {
        return made_with;
    }
    let mut followed = made_with;
    followed.api.endpoint.clone_from(&config.api.endpoint);
    followed
}

/// A node that has lost its address, and whose host has no other one.
///
/// # Errors
/// [`Exit::Preflight`].
pub(super) fn has_one(root: &Root, facts: &Facts) -> Result<(), Failure> {
    let gone = address::gone(root, Path::new(path::STATIC_PODS), &facts.addresses);
    match gone.iter().find(|gone| gone.primary && gone.is.is_none()) {
        Some(lost) => Err(Failure::new(Exit::Preflight, anyhow!("{lost}")).hint(address::remedy(&gone))),
        None => Ok(()),
    }
}

/// Nothing is done where the cluster could not follow.
///
/// # Errors
/// [`Exit::Conflict`] when somebody else would have to be told.
pub(super) fn refuse(root: &Root, config: &ClusterConfig, gone: &[Gone]) -> Result<(), Failure> {
    if let Some(old) = gone.iter().find(|gone| Some(gone.was) == endpoint(config)) {
        let Gone { was, is, .. } = old;
        let error = anyhow!("{old}; and api.endpoint of the cluster is {was}");
        let port = config.api.endpoint.as_ref().and_then(Endpoint::port).unwrap_or(config.api.port);
        let new = is.map(|is| Endpoint::new(is, port).to_string()).unwrap_or_default();
        return Err(Failure::new(Exit::Conflict, error).hint(format!(
            "give the host {was} again; or have the cluster follow, with the same command and --api-endpoint {new}"
        )));
    }
    let members = members(root);
    if let Some(moved) = gone.iter().find(|gone| gone.primary).filter(|_| members.len() > 1) {
        let error = anyhow!("{moved}; etcd has {} members, and the others know it by that", members.len());
        return Err(Failure::new(Exit::Conflict, error).hint(format!(
            "give the host {} again: with one address less to be reached at, the others may not be able to decide any more",
            moved.was
        )));
    }
    Ok(())
}

/// The members of etcd that its manifest here names.
fn members(root: &Root) -> Vec<String> {
    let path = root.path(path::STATIC_PODS).join(path::ETCD_FILE);
    let text = host::fs::read_small(&path, member::LARGEST).unwrap_or_default();
    let pod = member::pod(&String::from_utf8_lossy(&text));
    pod.map(|pod| server::initial_members(&pod)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gone(was: &str, is: &str) -> Gone {
        Gone {
            was: was.parse().unwrap(),
            is: Some(is.parse().unwrap()),
            written_in: vec!["etcd.yaml"],
            primary: true,
        }
    }

    fn config(text: &str) -> ClusterConfig {
        ClusterConfig::parse("c", text).unwrap()
    }

    fn root_with(file: &str, text: &str) -> (tempfile::TempDir, Root) {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::below(dir.path());
        let path = root.path(file);
        host::fs::create_dir_all(path.parent().unwrap(), 0o755).unwrap();
        host::fs::write(&path, text.as_bytes(), 0o600).unwrap();
        (dir, root)
    }

    #[test]
    fn an_endpoint_that_was_the_node_s_address_follows_when_that_is_asked_for() {
        let gone = [gone("192.0.2.1", "192.0.2.7")];
        let (_dir, root) = root_with("/x", "");
        let was = config("api: {endpoint: '192.0.2.1:6443'}");
        let failure = refuse(&root, &was, &gone).unwrap_err();
        assert_eq!(failure.exit, Exit::Conflict);
        assert!(failure.hint.unwrap().ends_with("--api-endpoint 192.0.2.7:6443"));
        let asked = config("api: {endpoint: '192.0.2.7:6443'}");
        assert!(refuse(&root, &asked, &gone).is_ok());
        assert_eq!(followed(was.clone(), &asked, &gone).api.endpoint, asked.api.endpoint);
        // That is another change.
        let other = config("api: {endpoint: 'k.lan:6443'}");
        assert_eq!(followed(was.clone(), &other, &gone).api.endpoint, was.api.endpoint);
        let balancer = config("api: {endpoint: 192.0.2.99}");
        assert!(refuse(&root, &balancer, &gone).is_ok(), "one of its own stays");
        assert_eq!(followed(balancer.clone(), &asked, &gone).api.endpoint, balancer.api.endpoint);
    }

    #[test]
    fn a_member_among_others_stays_as_it_is() {
        let etcd = |members: &str| {
            format!(
                "kind: Pod\nspec: {{containers: [{{args: [--data-dir=/d, --listen-client-urls=x, '--initial-cluster={members}']}}]}}\n"
            )
        };
        let moved = [gone("192.0.2.1", "192.0.2.7")];
        let file = "/etc/kubernetes/manifests/etcd.yaml";
        let (_one, root) = root_with(file, &etcd("a=https://192.0.2.1:2380"));
        assert!(refuse(&root, &config(""), &moved).is_ok());
        let (_two, root) = root_with(file, &etcd("a=https://192.0.2.1:2380,b=https://192.0.2.2:2380"));
        let failure = refuse(&root, &config(""), &moved).unwrap_err();
        assert_eq!(failure.exit, Exit::Conflict);
        assert!(failure.error.to_string().contains("etcd has 2 members"), "{}", failure.error);
    }
}
