//! `render`: from a config file to an asset directory, or what would change in one.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::anyhow;
use assets::{AssetTree, Change, ChangeKind, Given, RenderInput, TreeError};
use clap::ValueEnum;
use cluster::{ClusterConfig, EtcdConfig, Host};
use names::path;
use node::NodeCredentials;
use node::provision::Rendered;
use node::{Facts, Root};
use pki::NodeIdentity;
use serde::Serialize;

use super::asked::{self, Asked};
use super::config::{ConfigArgs, load_config};
use super::hold::{Places, SHORTLY};
use crate::exit::{Exit, Failure};
use crate::ui::Ui;

/// Arguments of `kubestrap render`.
#[derive(Debug, clap::Args)]
pub(crate) struct RenderArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Where the assets are written
    #[arg(long, value_name = "DIR", default_value = path::ASSETS)]
    asset_dir: PathBuf,
    /// An address of the first control-plane node; once for each family. Without it: the endpoint, when
    /// that is an address, or the address that this host has towards others
    #[arg(long, value_name = "ADDRESS")]
    node_address: Vec<IpAddr>,
    /// The name of the first control-plane node [default: this node's, as it is installed, else this host's]
    #[arg(long, value_name = "NAME")]
    node_name: Option<String>,
    /// Whether cluster DNS asks the nodes' resolvers for other domains; auto looks at this host's
    #[arg(long, value_enum, default_value_t)]
    upstream_dns: UpstreamDns,
    /// Show what would change, and write nothing
    #[arg(long)]
    diff: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum UpstreamDns {
    #[default]
    Auto,
    On,
    Off,
}

/// What `-o json` prints.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Outcome<'a> {
    asset_dir: &'a Path,
    files: usize,
    /// Whether the changes were written, or would be.
    written: bool,
    changes: &'a [Change],
}

pub(crate) fn run(args: RenderArgs, ui: &Ui) -> Result<(), Failure> {
    let places = if args.diff { Places::default() } else { Places::default().and_assets(&args.asset_dir) };
    let _held = super::run_async(places.hold(SHORTLY, ui))?;
    let wanted = asked::file(&args.config, &args.asset_dir);
    let mut config = load_config(&ConfigArgs { config: wanted, ..args.config.clone() })?;
    // One that cannot be read is about to be written anew.
    if let (Some(_), Ok(own)) = (&args.config.config, asked::own(&args.asset_dir)) {
        asked::keep_digests(&mut config, &own);
    }
    let facts = node::facts::detect(&Root::host());
    let node = identity(&args, &config, &facts)?;
    let upstream_dns = match args.upstream_dns {
        UpstreamDns::Auto => !facts.resolv_conf_empty,
        UpstreamDns::On => true,
        UpstreamDns::Off => false,
    };
    let tree = render(&config, node, upstream_dns, &args.asset_dir)?;
    let changes = tree.diff(&args.asset_dir).map_err(tree_failure)?;
    if !args.diff {
        tree.write(&args.asset_dir).map_err(tree_failure)?;
    }
    let dir = &args.asset_dir;
    let outcome = Outcome { asset_dir: dir, files: tree.len(), written: !args.diff, changes: &changes };
    ui.output(&outcome, || if args.diff { differences(&changes) } else { summary(dir, &tree, &changes) });
    if let Some(text) = of_cluster_here(&Root::host(), &args, &config)? {
        ui.warn(text);
    }
    Ok(())
}

/// What to know of a directory whose cluster runs on this node, and was made with another config than is rendered.
fn of_cluster_here(
    root: &Root,
    args: &RenderArgs,
    config: &ClusterConfig,
) -> Result<Option<String>, Failure> {
    let Some(made_with) = asked::made_with(root, &args.asset_dir)? else { return Ok(None) };
    // What is in the directory now is what an upgrade begins with.
    let (none, asset_dir) = (ConfigArgs::default(), args.asset_dir.as_path());
    let asked = Asked { args: &none, asset_dir, bundle: None };
    let mut config = config.clone();
    asked::keep_etcd(&mut config, &made_with);
    asked::keep_digests(&mut config, &made_with);
    let differences = asked.differences(&made_with, &config);
    if differences.is_empty() {
        return Ok(None);
    }
    Ok(Some(format!(
        "the cluster of this directory was made with another config on this node, and stays as it is until \
         `kubestrap upgrade apply`; see `{}`\n  {}",
        asked.upgrade(&made_with),
        asked::lines(&differences)
    )))
}

/// Renders for a directory: the secrets that it holds from an earlier render are kept.
pub(crate) fn render(
    config: &ClusterConfig,
    node: NodeIdentity,
    upstream_dns: bool,
    dir: &Path,
) -> Result<AssetTree, Failure> {
    let existing = AssetTree::read(dir).map_err(tree_failure)?;
    from(config, node, upstream_dns, existing, "name the node's address: --node-address ADDRESS")
}

/// The same for the directory of a node: certificates that were renewed there since are kept as they are there.
pub(crate) fn render_here(
    config: &ClusterConfig,
    node: NodeIdentity,
    upstream_dns: bool,
    dir: &Path,
    root: &Root,
) -> Result<AssetTree, Failure> {
    let existing = AssetTree::read(dir).map_err(tree_failure)?;
    let on_node = assets::read_node(|path| root.path(path))?;
    let existing = existing.map(|existing| assets::in_use(existing, &on_node));
    let no_address = "give this host's interface an address of that family, or take the family out of network.podCIDRs and network.serviceCIDRs";
    from(config, node, upstream_dns, existing, no_address)
}

fn from(
    config: &ClusterConfig,
    node: NodeIdentity,
    upstream_dns: bool,
    existing: Option<AssetTree>,
    no_address: &str,
) -> Result<AssetTree, Failure> {
    let given = Given::read(config).map_err(|error| Failure::new(Exit::Config, error))?;
    let now = jiff::Timestamp::now();
    let input = RenderInput { node, given, existing, upstream_dns, now };
    assets::render(config, input).map_err(|error| {
        let hint = match &error {
            assets::RenderError::NoAddressOfFamily { .. } | assets::RenderError::NoAddress { .. } => {
                no_address
            }
            assets::RenderError::NoKey { .. } => {
                "put the key back, or name certificate and key in the config under `certificates`"
            }
            _ => return Failure::new(Exit::Config, error),
        };
        Failure::new(Exit::Config, error).hint(hint)
    })
}

pub(crate) fn tree_failure(error: TreeError) -> Failure {
    match &error {
        TreeError::NotOurs { .. } => {
            Failure::new(Exit::Conflict, error).hint("choose an empty directory: --asset-dir DIR")
        }
        TreeError::Fs(cause) if cause.is_disk_full() => Failure::new(Exit::Io, error)
            .hint("make room and run the command again; the files that were there are as they were"),
        TreeError::Fs(_) => Failure::new(Exit::Io, error),
    }
}

/// What was rendered for the node itself.
pub(crate) fn for_node(tree: &AssetTree) -> Result<Rendered, Failure> {
    let text = |path: &str| {
        let text = tree.text(path).map(str::to_owned);
        text.ok_or_else(|| anyhow!("the asset directory has no {path}"))
    };
    let credentials = NodeCredentials::Kubeconfig(text("auth/kubeconfig-node")?);
    Ok(Rendered { ca: text("tls/ca.crt")?, credentials })
}

/// Who the first control-plane node is: this one, unless the command line names another.
fn identity(args: &RenderArgs, config: &ClusterConfig, facts: &Facts) -> Result<NodeIdentity, Failure> {
    let root = Root::host();
    let elsewhere = args.asset_dir != Path::new(path::ASSETS);
    let name = match &args.node_name {
        // What is rendered into another directory than this node's may be for another host.
        Some(name) if elsewhere => name.clone(),
        name => node::identity::name(&root, &facts.hostname, name.as_deref()).map_err(super::cluster::who)?,
    };
    let here = !elsewhere && node::identity::installed(&root).is_some();
    let own = if here {
        node::identity::addresses(&root, &facts.addresses)
    } else {
        facts.addresses.preferred.clone()
    };
    if here {
        has(&args.node_address, &facts.addresses.all)?;
    }
    Ok(NodeIdentity { name, addresses: addresses(args, config, &own, here)? })
}

/// This node's own assets are of no use with an address that its host has not: etcd and the kubelet would not start.
fn has(given: &[IpAddr], own: &[IpAddr]) -> Result<(), Failure> {
    let Some(foreign) = given.iter().find(|address| !own.contains(address)) else { return Ok(()) };
    let error =
        anyhow!("{foreign} is no address of this host, and {} is this node's directory", path::ASSETS);
    Err(Failure::new(Exit::Usage, error)
        .hint("leave --node-address away, or render for another host: --asset-dir DIR"))
}

/// The addresses of the first control-plane node. `here` says that it is this one for certain: then they are `own`, as
/// `up` has them, and so they are when the endpoint is one of them.
fn addresses(
    args: &RenderArgs,
    config: &ClusterConfig,
    own: &[IpAddr],
    here: bool,
) -> Result<Vec<IpAddr>, Failure> {
    if !args.node_address.is_empty() {
        return Ok(args.node_address.clone());
    }
    let endpoint = config.api.endpoint.as_ref().map(cluster::Endpoint::host);
    match endpoint {
        Some(Host::Ip(address)) if !here && !own.contains(address) => Ok(vec![*address]),
        // With an external etcd nothing but the node's own certificate names its address.
        Some(Host::Name(_)) if !here && matches!(config.etcd, EtcdConfig::Local(_)) => {
            let error = anyhow!("which address has the first control-plane node? etcd listens there");
            Err(Failure::new(Exit::Usage, error).hint("name it: --node-address ADDRESS"))
        }
        _ if own.is_empty() => {
            let error = anyhow!("this host has no address that other nodes could reach");
            Err(Failure::new(Exit::Usage, error).hint("name the node's address: --node-address ADDRESS"))
        }
        _ => Ok(own.to_vec()),
    }
}

fn differences(changes: &[Change]) -> String {
    if changes.is_empty() {
        return "nothing would change".to_owned();
    }
    let describe = |change: &Change| {
        let what = match change.kind {
            ChangeKind::Add => "new",
            ChangeKind::Change => "changed",
            ChangeKind::Remove => "removed",
        };
        let secret = if change.diff.is_none() { " (holds secrets: not shown)" } else { "" };
        format!("{}: {what}{secret}\n{}", change.path, change.diff.as_deref().unwrap_or(""))
    };
    changes.iter().map(describe).collect()
}

fn summary(dir: &Path, tree: &AssetTree, changes: &[Change]) -> String {
    let changed = match changes.len() {
        0 => "nothing changed".to_owned(),
        1 => "1 file written".to_owned(),
        n => format!("{n} files written"),
    };
    format!(
        "{}: {} files, {changed}\nnext: kubestrap start --asset-dir {}",
        dir.display(),
        tree.len(),
        dir.display()
    )
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: RenderArgs,
    }

    /// The addresses that `render` takes on a host with these two, or the exit code.
    fn taken(endpoint: &str, given: &[&str], here: bool) -> Result<Vec<String>, Exit> {
        let line = ["render"].iter().chain(given).copied();
        let args = Line::parse_from(line).args;
        let config = ClusterConfig::parse("c", endpoint).unwrap();
        let own = ["192.0.2.1", "2001:db8::1"].map(|address| address.parse().unwrap());
        let found = addresses(&args, &config, &own, here).map_err(|failure| failure.exit)?;
        Ok(found.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn the_node_s_own_addresses_are_all_of_them_as_up_has_it() {
        let own = Ok(["192.0.2.1", "2001:db8::1"].map(str::to_owned).to_vec());
        let (balancer, name) = ("api: {endpoint: 192.0.2.99}", "api: {endpoint: k.lan}");
        assert_eq!(taken("", &[], false), own);
        assert_eq!(taken("api: {endpoint: '192.0.2.1:6443'}", &[], false), own, "one of its own");
        assert_eq!(taken(balancer, &[], true), own, "a node that is installed here");
        assert_eq!(taken(name, &[], true), own);
        assert_eq!(
            taken(balancer, &[], false),
            Ok(vec!["192.0.2.99".to_owned()]),
            "it may be for another host"
        );
        assert_eq!(taken(name, &[], false), Err(Exit::Usage));
        let given = ["--node-address", "192.0.2.5"];
        assert_eq!(taken(balancer, &given, true), Ok(vec!["192.0.2.5".to_owned()]));
    }

    #[test]
    fn a_node_s_own_directory_gets_no_address_that_its_host_has_not() {
        let ips = |all: &[&str]| all.iter().map(|ip| ip.parse().unwrap()).collect::<Vec<IpAddr>>();
        let own = ips(&["127.0.0.1", "192.0.2.1", "192.0.2.2"]);
        assert!(has(&[], &own).is_ok() && has(&ips(&["192.0.2.2"]), &own).is_ok());
        let failure = has(&ips(&["192.0.2.1", "192.0.2.9"]), &own).unwrap_err();
        assert_eq!(failure.exit, Exit::Usage);
        assert!(failure.error.to_string().starts_with("192.0.2.9 is no address of this host"));
    }
}
