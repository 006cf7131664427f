//! What an upgrade is made of: the arguments, the configs, the bundle and this host, each read once.

use std::path::Path;

use ::checks::Check;
use assets::{AssetTree, CONFIG_FILE};
use bundle::{Bundle, ImageRef};
use cluster::{ClusterConfig, Component, EtcdConfig, KubernetesVersion};
use names::path;
use node::provision::{self, Role};
use node::{NodeConfig, Root};
use pki::NodeIdentity;
use upgrade::{StateDir, Target};

use super::args::{HereArgs, TargetArgs};
use crate::commands::asked::{self, VERSION};
use crate::commands::cluster::has_its_address;
use crate::commands::config::{ConfigArgs, load_config};
use crate::commands::render;
use crate::exit::{Exit, Failure};
use crate::ui::Ui;

/// An upgrade of which nobody was asked yet.
pub(super) struct Prepared {
    pub(super) target: Target,
    pub(super) state: StateDir,
    /// What of the config cannot change.
    pub(super) immutable: Vec<Check>,
}

/// Reads everything but the cluster.
pub(super) fn prepare(args: TargetArgs, ui: &Ui) -> Result<Prepared, Failure> {
    let TargetArgs { version, config, bundle, pin, drain, here: HereArgs { asset_dir, node_name } } = args;
    let root = Root::host();
    let own = asked::own(&asset_dir).map_err(|failure| {
        failure.hint("run it on a control-plane node that has the asset directory: --asset-dir DIR")
    })?;
    let bundle = bundle.as_deref().map(|dir| pin.open(dir)).transpose()?;
    let version = pinned(version, &config, own.kubernetes_version, bundle.as_ref())?;
    let written = config.config.is_some();
    let mut config = wanted_config(config, version, &asset_dir)?;
    if let Some(bundle) = &bundle {
        asked::by_digest(&mut config, written, bundle);
    }
    // Somebody may have changed the directory since.
    let old = asked::made_with(&root, &asset_dir)?.unwrap_or(own);
    asked::keep_digests(&mut config, &old);
    keep_etcd(&mut config, &root);
    let facts = node::facts::detect(&root);
    has_its_address(&root, Path::new(path::STATIC_PODS), &facts)?;
    let identity = node::identity::identity(&root, &facts, node_name.as_deref());
    let identity = identity.map_err(crate::commands::cluster::who)?;
    let state = StateDir::new(root.path(path::UPGRADE));
    // Keys that an unfinished run has made are the cluster's already.
    let staged = state.assets();
    let goes_on = state.is_unfinished() && staged.join(CONFIG_FILE).exists();
    if goes_on {
        ui.warn("an upgrade did not end: this one goes on with it");
    }
    let secrets = if goes_on { &staged } else { &asset_dir };
    let tree = render::render_here(&config, identity.clone(), !facts.resolv_conf_empty, secrets, &root)?;
    let node = this_node(&root, &config, bundle.as_ref(), &identity, &tree)?;
    let immutable = upgrade::immutable(&old, &config);
    Ok(Prepared {
        target: Target { config, tree, asset_dir, bundle, node, facts, root, drain },
        state,
        immutable,
    })
}

fn wanted_config(
    mut args: ConfigArgs,
    version: Option<KubernetesVersion>,
    asset_dir: &Path,
) -> Result<ClusterConfig, Failure> {
    args.set.extend(version.map(|version| (VERSION.to_owned(), version.to_string())));
    args.config.get_or_insert_with(|| asset_dir.join(CONFIG_FILE));
    load_config(&args)
}

/// This node as it shall be. A containerd that is not ours stays as it is.
fn this_node(
    root: &Root,
    config: &ClusterConfig,
    bundle: Option<&Bundle>,
    identity: &NodeIdentity,
    tree: &AssetTree,
) -> Result<NodeConfig, Failure> {
    let containerd = host::fs::read_to_string(&root.path(path::CONTAINERD_CONFIG)).unwrap_or_default();
    let own = node::containerd::pause_image(&containerd);
    let bundled = bundle.and_then(Bundle::pause_image).map(ImageRef::reference);
    let images = config.images();
    let pause = bundled.as_deref().or(own).unwrap_or_else(|| images.get(Component::Pause));
    let rendered = render::for_node(tree)?;
    let mut node = provision::node_config(config, Role::FirstControlPlane, identity, &rendered, pause);
    node.existing_containerd = own.is_none();
    Ok(node)
}

/// Which version is meant where the config does not say it: a config file that names none does not mean the newest.
/// None when the config says it.
fn pinned(
    version: Option<KubernetesVersion>,
    config: &ConfigArgs,
    old: KubernetesVersion,
    bundle: Option<&Bundle>,
) -> Result<Option<KubernetesVersion>, Failure> {
    if version.is_some() {
        return Ok(version);
    }
    if asked::names_version(config) {
        return Ok(None);
    }
    match bundle.filter(|_| config.config.is_none()) {
        Some(bundle) if config.set.is_empty() => {
            let version = bundle.kubernetes_version().parse();
            version.map(Some).map_err(|error| Failure::new(Exit::Bundle, error))
        }
        _ => Ok(Some(old)),
    }
}

/// A restart of its only etcd is a pause of the API, and an etcd of a newer minor does not go back: it stays
/// as it is, and says so in the config.
fn keep_etcd(config: &mut ClusterConfig, root: &Root) {
    if !matches!(config.etcd, EtcdConfig::Local(_)) {
        return;
    }
    let path = root.path(path::STATIC_PODS).join(path::ETCD_FILE);
    let Ok(text) = host::fs::read_to_string(&path) else { return };
    let pod = assets::member::pod(&text).ok();
    let image = pod.and_then(|pod| etcd::server::image(&pod).map(str::to_owned));
    let Some(image) = image.filter(|image| config.images().get(Component::Etcd) != image) else { return };
    if let Ok(image) = image.parse() {
        config.images.overrides.insert(Component::Etcd.name().to_owned(), image);
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn the_version_is_that_of_whoever_names_one() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            host::fs::write(&dir.path().join(name), text.as_bytes(), 0o644).unwrap();
            Some(dir.path().join(name))
        };
        let named = file("named.yaml", "kubernetesVersion: v1.37.2\n");
        let silent = file("silent.yaml", "network: {provider: none}\n");
        let (old, new): (KubernetesVersion, KubernetesVersion) =
            ("v1.36.3".parse().unwrap(), "v1.37.2".parse().unwrap());
        let set = |key: &str| vec![(key.to_owned(), "v1.37.2".to_owned())];
        let pinned = |version, config: &Option<PathBuf>, set: Vec<(String, String)>| {
            let config = ConfigArgs { config: config.clone(), set, ..ConfigArgs::default() };
            pinned(version, &config, old, None).unwrap()
        };
        assert_eq!(pinned(Some(new), &silent, Vec::new()), Some(new));
        assert_eq!(pinned(None, &named, Vec::new()), None);
        assert_eq!(pinned(None, &silent, Vec::new()), Some(old));
        assert_eq!(pinned(None, &silent, set(VERSION)), None);
        assert_eq!(pinned(None, &None, set(VERSION)), None);
        assert_eq!(pinned(None, &None, set("x")), Some(old));
    }
}
