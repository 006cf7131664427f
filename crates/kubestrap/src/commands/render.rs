//! `render`: from a config file to an asset directory, or what would change in one.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::anyhow;
use assets::{AssetTree, Change, ChangeKind, Given, RenderInput, TreeError};
use clap::ValueEnum;
use cluster::{ClusterConfig, EtcdConfig, Host};
use names::path;
use node::Root;
use node::provision::Rendered;
use pki::NodeIdentity;
use serde::Serialize;

use super::asked::{self, Asked};
use super::config::{ConfigArgs, load_config};
use super::hold::{Places, SHORTLY};
use crate::exit::{Exit, Failure};
use crate::ui::Ui;

/// Files that name the resolvers that pods inherit; the second where systemd-resolved stands in the first.
const RESOLVER_FILES: [&str; 2] = [path::RESOLV_CONF, path::RESOLVED_RESOLV_CONF];

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
    let config = load_config(&ConfigArgs { config: wanted, ..args.config.clone() })?;
    let node = identity(&args, &config)?;
    let upstream_dns = match args.upstream_dns {
        UpstreamDns::Auto => has_resolver(),
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
    from(config, node, upstream_dns, existing)
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
    from(config, node, upstream_dns, existing.map(|existing| assets::in_use(existing, &on_node)))
}

fn from(
    config: &ClusterConfig,
    node: NodeIdentity,
    upstream_dns: bool,
    existing: Option<AssetTree>,
) -> Result<AssetTree, Failure> {
    let given = Given::read(config).map_err(|error| Failure::new(Exit::Config, error))?;
    let now = jiff::Timestamp::now();
    let input = RenderInput { node, given, existing, upstream_dns, now };
    assets::render(config, input).map_err(|error| {
        let hint = match &error {
            assets::RenderError::NoAddressOfFamily { .. } | assets::RenderError::NoAddress { .. } => {
                "name the node's address: --node-address ADDRESS"
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
    Ok(Rendered { ca: text("tls/ca.crt")?, kubeconfig: text("auth/kubeconfig-node")? })
}

/// Who the first control-plane node is: this one, unless the command line names another.
fn identity(args: &RenderArgs, config: &ClusterConfig) -> Result<NodeIdentity, Failure> {
    let root = Root::host();
    let facts = node::facts::detect(&root);
    let elsewhere = args.asset_dir != Path::new(path::ASSETS);
    let name = match &args.node_name {
        // What is rendered into another directory than this node's may be for another host.
        Some(name) if elsewhere => name.clone(),
        name => node::identity::name(&root, &facts.hostname, name.as_deref()).map_err(super::cluster::who)?,
    };
    Ok(NodeIdentity { name, addresses: addresses(args, config, facts.addresses)? })
}

fn addresses(args: &RenderArgs, config: &ClusterConfig, own: Vec<IpAddr>) -> Result<Vec<IpAddr>, Failure> {
    if !args.node_address.is_empty() {
        return Ok(args.node_address.clone());
    }
    match config.api.endpoint.as_ref().map(cluster::Endpoint::host) {
        Some(Host::Ip(address)) => Ok(vec![*address]),
        // With an external etcd nothing but the node's own certificate names its address.
        Some(Host::Name(_)) if matches!(config.etcd, EtcdConfig::Local(_)) => {
            let error = anyhow!("which address has the first control-plane node? etcd listens there");
            Err(Failure::new(Exit::Usage, error).hint("name it: --node-address ADDRESS"))
        }
        Some(Host::Name(_)) | None if own.is_empty() => {
            let error = anyhow!("this host has no address that other nodes could reach");
            Err(Failure::new(Exit::Usage, error).hint("name the node's address: --node-address ADDRESS"))
        }
        Some(Host::Name(_)) | None => Ok(own),
    }
}

/// Whether this host names a resolver that pods could ask: one on loopback is out of their reach.
pub(crate) fn has_resolver() -> bool {
    RESOLVER_FILES
        .iter()
        .any(|path| host::fs::read_to_string(Path::new(path)).is_ok_and(|text| names_resolver(&text)))
}

fn names_resolver(text: &str) -> bool {
    let addresses = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some("nameserver")).then(|| words.next()).flatten()
    });
    // A link-local resolver carries its interface behind `%`.
    addresses.filter_map(|a| a.split('%').next()?.parse::<IpAddr>().ok()).any(|a| !a.is_loopback())
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
    use super::*;

    #[test]
    fn a_resolver_on_loopback_is_none_for_pods() {
        assert!(names_resolver("# x\nsearch a\nnameserver 192.0.2.53\n"));
        assert!(names_resolver("nameserver fe80::1%eth0\n"));
        assert!(!names_resolver("nameserver 127.0.0.53\noptions edns0\n"));
        assert!(!names_resolver(""));
    }
}
