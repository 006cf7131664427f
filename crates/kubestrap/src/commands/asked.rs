//! The config that is asked for, beside the one that the cluster here was made with. A cluster that runs gets another
//! config or version by `upgrade` alone: every other verb would change files and leave the cluster as it is.
//!
//! ```text
//! --config, or the directory's own ─ --set ─▶ asked for ──┐
//! on the node since `start` or `upgrade` ──▶ made with ───┴─▶ the same, or which keys differ
//! ```

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use assets::CONFIG_FILE;
use bundle::Bundle;
use cluster::{ClusterConfig, Component, Difference, differences};
use names::path;
use node::Root;

use super::config::{ConfigArgs, config_text, load_config};
use crate::exit::{Exit, Failure};

/// The config's key of the version.
pub(crate) const VERSION: &str = "kubernetesVersion";

/// The config's keys of the images' digests begin so.
const DIGESTS: &str = "images.digests.";

/// The config that the cluster of an asset directory was made with, as this node has it; none where that cluster is not
/// on this node.
pub(crate) fn made_with(root: &Root, asset_dir: &Path) -> Result<Option<ClusterConfig>, Failure> {
    let ca = |path: &Path| host::fs::read(path).ok();
    let ours = ca(&root.path(path::CA_CERTIFICATE));
    let file = root.path(path::CONTROL_PLANE).join(CONFIG_FILE);
    if ours.is_none() || ours != ca(&asset_dir.join("tls/ca.crt")) || !file.exists() {
        return Ok(None);
    }
    load_config(&ConfigArgs { config: Some(file), ..ConfigArgs::default() }).map(Some)
}

/// The config file that counts: the one that is named, else the directory's own.
pub(crate) fn file(args: &ConfigArgs, asset_dir: &Path) -> Option<PathBuf> {
    let own = asset_dir.join(CONFIG_FILE);
    args.config.clone().or_else(|| own.exists().then_some(own))
}

/// The directory's own config.
///
/// # Errors
/// As [`load_config`].
pub(crate) fn own(asset_dir: &Path) -> Result<ClusterConfig, Failure> {
    let config = Some(asset_dir.join(CONFIG_FILE));
    load_config(&ConfigArgs { config, ..ConfigArgs::default() })
}

/// Whether the command line, or a config file that it names, says which version it wants.
pub(crate) fn names_version(args: &ConfigArgs) -> bool {
    let in_file = || config_text(args).is_ok_and(|(_, text)| has_version(&text));
    args.set.iter().any(|(key, _)| key == VERSION) || in_file()
}

/// Whether a config file says which version it wants, in whatever way YAML can be written. One that is no YAML says
/// nothing: what is wrong with it is told where it is read.
fn has_version(text: &str) -> bool {
    let documents = assets::parse_documents(text).unwrap_or_default();
    documents.iter().any(|document| document.value.get(VERSION).is_some_and(|version| !version.is_null()))
}

/// An upgrade leaves etcd as it is, and says so in the config of the cluster: who does not name another one means that.
pub(crate) fn keep_etcd(config: &mut ClusterConfig, made_with: &ClusterConfig) {
    let etcd = Component::Etcd.name();
    if let Some(image) = made_with.images.overrides.get(etcd) {
        config.images.overrides.entry(etcd.to_owned()).or_insert_with(|| image.clone());
    }
}

/// Images are named by the digests that they have in the bundle. Digests that the config has already count only where
/// somebody has written them: those in a directory's own config are of the bundle that it was made with.
pub(crate) fn by_digest(config: &mut ClusterConfig, written: bool, bundle: &Bundle) {
    for image in bundle.images() {
        let Ok(digest) = image.digest.as_str().parse() else { continue };
        if !written || !config.images.digests.contains_key(&image.name) {
            config.images.digests.insert(image.name.clone(), digest);
        }
    }
    only_own_digests(config);
}

/// The digests that the cluster was made with, where the config names no others: what runs stays what it is.
pub(crate) fn keep_digests(config: &mut ClusterConfig, made_with: &ClusterConfig) {
    for (image, digest) in &made_with.images.digests {
        config.images.digests.entry(image.clone()).or_insert_with(|| digest.clone());
    }
    only_own_digests(config);
}

/// Digests of images that the cluster does not run, an older version's for instance, are of no use.
fn only_own_digests(config: &mut ClusterConfig) {
    let images = config.images();
    let own: BTreeSet<&str> = images.iter().filter_map(|(_, image)| image.split('@').next()).collect();
    config.images.digests.retain(|image, _| own.contains(image.as_str()));
}

/// The config that `up` is asked for with a bundle. Who names no version means the bundle's.
pub(crate) fn of_up(args: &ConfigArgs, asset_dir: &Path, bundle: &Bundle) -> Result<ClusterConfig, Failure> {
    // A config file that was written for a cluster to be and names none means the newest.
    let mut config = with_version(args, asset_dir, bundle, args.config.is_none())?;
    by_digest(&mut config, args.config.is_some(), bundle);
    Ok(config)
}

/// `pinned` says that who names no version means the bundle's.
fn with_version(
    args: &ConfigArgs,
    asset_dir: &Path,
    bundle: &Bundle,
    pinned: bool,
) -> Result<ClusterConfig, Failure> {
    let mut wanted = args.clone();
    wanted.config = file(args, asset_dir);
    if pinned && !names_version(args) {
        wanted.set.push((VERSION.to_owned(), bundle.kubernetes_version().to_owned()));
    }
    load_config(&wanted)
}

/// The same for a cluster that runs: a config file that names no version does not mean the newest, and etcd and all
/// images stay.
pub(crate) fn of_up_here(
    args: &ConfigArgs,
    asset_dir: &Path,
    bundle: &Bundle,
    made_with: &ClusterConfig,
) -> Result<ClusterConfig, Failure> {
    let mut config = with_version(args, asset_dir, bundle, true)?;
    keep_etcd(&mut config, made_with);
    keep_digests(&mut config, made_with);
    Ok(config)
}

/// What somebody has asked for, to be told what to ask for instead.
#[derive(Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) args: &'a ConfigArgs,
    pub(crate) asset_dir: &'a Path,
    /// The bundle, and where it was said to be.
    pub(crate) bundle: Option<(&'a Bundle, &'a Path)>,
}

impl Asked<'_> {
    /// In what a config differs from what the cluster was made with, the bundle's version among it.
    pub(crate) fn differences(&self, made_with: &ClusterConfig, config: &ClusterConfig) -> Vec<Difference> {
        let mut all = differences(made_with, config);
        // An image that is not to run any more takes its digest with it: what puts another one in its place is told.
        all.retain(|one| one.new.is_some() || !one.key.starts_with(DIGESTS));
        let (ours, theirs) = (made_with.kubernetes_version.to_string(), self.other_version(made_with));
        if let Some(theirs) = theirs.filter(|_| !all.iter().any(|one| one.key == VERSION)) {
            all.push(Difference { key: VERSION.to_owned(), old: Some(ours), new: Some(theirs) });
        }
        all
    }

    /// Nothing is done where the cluster would stay as it is and its files would not.
    ///
    /// # Errors
    /// [`Exit::Differs`] with every key, and the command that changes the cluster.
    pub(crate) fn refuse(&self, made_with: &ClusterConfig, config: &ClusterConfig) -> Result<(), Failure> {
        let all = self.differences(made_with, config);
        if all.is_empty() {
            return Ok(());
        }
        let error = anyhow::anyhow!(
            "a cluster runs here that was made otherwise than is asked for; nothing was changed\n  {}",
            lines(&all)
        );
        Err(Failure::new(Exit::Differs, error).hint(format!(
            "`{}` says what it takes to change it, and with apply in the place of plan it is done",
            self.upgrade(made_with)
        )))
    }

    /// The command that shows what the change takes.
    pub(crate) fn upgrade(&self, made_with: &ClusterConfig) -> String {
        let mut words = vec!["kubestrap upgrade plan".to_owned()];
        let other = self.other_version(made_with);
        words.extend(other.clone().filter(|_| !names_version(self.args)));
        if let Some((_, dir)) = self.bundle.filter(|_| other.is_some()) {
            words.push(format!("--bundle {}", quoted(&dir.display().to_string())));
        }
        let ConfigArgs { config, set, api_endpoint, .. } = self.args;
        words.extend(config.iter().map(|file| format!("--config {}", quoted(&file.display().to_string()))));
        words.extend(set.iter().map(|(key, value)| format!("--set {}", quoted(&format!("{key}={value}")))));
        words.extend(api_endpoint.iter().map(|endpoint| format!("--api-endpoint {}", quoted(endpoint))));
        if self.asset_dir != Path::new(path::ASSETS) {
            words.push(format!("--asset-dir {}", quoted(&self.asset_dir.display().to_string())));
        }
        words.join(" ")
    }

    /// The bundle's version, if the cluster has another one.
    fn other_version(&self, made_with: &ClusterConfig) -> Option<String> {
        let version = self.bundle?.0.kubernetes_version();
        (version != made_with.kubernetes_version.to_string()).then(|| version.to_owned())
    }
}

/// Each on a line, below a first one.
pub(crate) fn lines(differences: &[Difference]) -> String {
    differences.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n  ")
}

/// As a shell takes it for one word.
pub(crate) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:=,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_found_however_the_file_writes_it() {
        for text in [
            "kubernetesVersion: v1.37.2\n",
            "# x\n\"kubernetesVersion\": v1.37.2\n",
            "{network: {provider: none}, kubernetesVersion: v1.37.2}\n",
            "---\nkubernetesVersion : 'v1.37.2'\n",
        ] {
            assert!(has_version(text), "{text}");
        }
        for text in [
            "",
            "network: {provider: none}\n",
            "# kubernetesVersion: v1.37.2\n",
            "kubernetesVersion:\n",
            "kubernetesVersionX: v1\n",
            "certificates:\n  validity: |\n    x\nkubernetesVersion",
            "a: [",
        ] {
            assert!(!has_version(text), "{text}");
        }
    }

    fn digests(config: &ClusterConfig) -> Vec<(String, String)> {
        config.images.digests.iter().map(|(name, digest)| (name.clone(), digest.to_string())).collect()
    }

    #[test]
    fn images_are_named_by_the_bundle_s_digests_and_what_runs_keeps_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let name = ClusterConfig::default().images().get(Component::KubeProxy).to_owned();
        let images = [name.clone(), "a/other:v1".to_owned()];
        fakes::bundle::write(dir.path(), "v1.37.2", &images, &[]);
        let bundle = Bundle::open(dir.path()).unwrap();
        let digest = bundle.images()[0].digest.to_string();
        let other = format!("sha256:{}", "1".repeat(64));
        let text = format!("images: {{digests: {{'{name}': '{other}', 'a/older:v0': '{other}'}}}}");
        let given = ClusterConfig::parse("c", &text).unwrap();

        // Only of what the cluster runs.
        let mut config = ClusterConfig::default();
        by_digest(&mut config, true, &bundle);
        assert_eq!(digests(&config), [(name.clone(), digest.clone())]);
        assert_eq!(config.images().get(Component::KubeProxy), format!("{name}@{digest}"));
        assert!(bundle.has_image(config.images().get(Component::KubeProxy)));

        // What somebody wrote counts; what the last run wrote does not.
        for (written, counts) in [(true, &other), (false, &digest)] {
            let mut config = given.clone();
            by_digest(&mut config, written, &bundle);
            assert_eq!(digests(&config), [(name.clone(), counts.clone())]);
        }

        let mut again = ClusterConfig::default();
        keep_digests(&mut again, &given);
        assert_eq!(digests(&again), [(name.clone(), other.clone())]);
        keep_digests(&mut config, &given);
        assert_eq!(digests(&config), [(name, digest)]);
    }

    #[test]
    fn the_command_that_changes_a_cluster_has_the_very_flags() {
        let args = ConfigArgs {
            config: Some("my cluster.yaml".into()),
            set: vec![("featureGates".to_owned(), "{A: true}".to_owned())],
            api_endpoint: Some("k.lan:6443".to_owned()),
            ..ConfigArgs::default()
        };
        let asked = Asked { args: &args, asset_dir: Path::new("/assets"), bundle: None };
        assert_eq!(
            asked.upgrade(&ClusterConfig::default()),
            "kubestrap upgrade plan --config 'my cluster.yaml' --set 'featureGates={A: true}' \
             --api-endpoint k.lan:6443 --asset-dir /assets"
        );
        let (args, asset_dir) = (ConfigArgs::default(), Path::new(path::ASSETS));
        let asked = Asked { args: &args, asset_dir, bundle: None };
        assert_eq!(asked.upgrade(&ClusterConfig::default()), "kubestrap upgrade plan");
    }
}
