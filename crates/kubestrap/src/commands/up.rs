//! `up`: from a bare host and a bundle to a cluster. Installs containerd and the kubelet, imports
//! the images, renders the asset directory and starts.

use std::path::PathBuf;
use std::time::Duration;

use assets::{AssetDir, AssetTree};
use bundle::Bundle;
use cluster::ClusterConfig;
use names::object::KUBE_SYSTEM;
use names::path;
use node::preflight::HostInput;
use node::{Facts, NodeConfig, NodeCredentials, Root};
use pki::NodeIdentity;
use tokio::time::Instant;

use super::render::{self, ConfigArgs};
use super::start::{self, HowArgs};
use crate::exit::{Exit, Failure};
use crate::ui::Ui;

/// Arguments of `up`.
#[derive(Debug, clap::Args)]
pub(crate) struct UpArgs {
    /// The bundle with the programs and images of the release
    #[arg(long, value_name = "DIR")]
    bundle: PathBuf,
    #[command(flatten)]
    config: ConfigArgs,
    /// Where the asset directory is written
    #[arg(long, value_name = "DIR", default_value = path::ASSETS)]
    asset_dir: PathBuf,
    /// Use the containerd that this host has already
    #[arg(long)]
    use_existing_containerd: bool,
    /// Install, import and render, and leave the start to `kubestrap start`
    #[arg(long)]
    prepare_only: bool,
    /// Return as soon as the control plane is self-hosted, without waiting for the add-ons
    #[arg(long)]
    no_wait: bool,
    #[command(flatten)]
    how: HowArgs,
}

pub(crate) fn run(args: UpArgs, ui: &Ui) -> Result<(), Failure> {
    let facts = node::facts::detect(&Root::host());
    let bundle = Bundle::open(&args.bundle).map_err(|error| Failure::new(Exit::Bundle, error))?;
    let config = config(&args, &bundle)?;
    super::run_async(Up { args, facts, bundle, config, ui }.run())
}

struct Up<'a> {
    args: UpArgs,
    facts: Facts,
    bundle: Bundle,
    config: ClusterConfig,
    ui: &'a Ui,
}

/// The config, with the bundle's version where it names none, and only if the bundle serves it.
fn config(args: &UpArgs, bundle: &Bundle) -> Result<ClusterConfig, Failure> {
    let mut wanted = args.config.clone();
    if wanted.config.is_none() && !wanted.set.iter().any(|(key, _)| key == "kubernetesVersion") {
        wanted.set.push(("kubernetesVersion".to_owned(), bundle.kubernetes_version().to_owned()));
    }
    let config = render::load_config(&wanted)?;
    let images = config.images();
    let missing: Vec<_> = images.iter().map(|(_, image)| image).filter(|i| !bundle.has_image(i)).collect();
    if missing.is_empty() {
        return Ok(config);
    }
    let error = anyhow::anyhow!(
        "the bundle {} is of Kubernetes {} and lacks images that the config needs:\n  {}",
        args.bundle.display(),
        bundle.kubernetes_version(),
        missing.join("\n  ")
    );
    Err(Failure::new(Exit::Bundle, error)
        .hint("use a bundle of the config's kubernetesVersion, or add the images to it"))
}

/// The node on which a cluster is brought up, as its asset directory has it.
pub(crate) fn node_config(
    config: &ClusterConfig,
    identity: &NodeIdentity,
    tree: &AssetTree,
    pause_image: String,
) -> Result<NodeConfig, Failure> {
    let text = |path: &str| {
        let text = tree.text(path).map(str::to_owned);
        text.ok_or_else(|| anyhow::anyhow!("the asset directory has no {path}"))
    };
    let credentials = NodeCredentials::Kubeconfig(text("auth/kubeconfig-node")?);
    let addresses = identity.addresses.clone();
    Ok(NodeConfig::new(config, &identity.name, addresses, text("tls/ca.crt")?, credentials, pause_image))
}

impl Up<'_> {
    async fn run(self) -> Result<(), Failure> {
        let identity = self.identity()?;
        if self.args.how.dry_run {
            return self.dry_run(&identity);
        }
        self.ui.step("check this host");
        self.preflight(&identity).await?;
        self.ui.step("render the asset directory");
        let tree = self.render(&identity)?;
        tree.write(&self.args.asset_dir).map_err(render::tree_failure)?;
        self.install(&identity, &tree).await?;
        self.import()?;
        if self.args.prepare_only {
            return Ok(());
        }
        let dir = AssetDir::read(&self.args.asset_dir).map_err(|error| Failure::new(Exit::Config, error))?;
        self.args.how.checks.judge(&start::etcd_checks(&dir).await, self.ui)?;
        let options = self.args.how.options(self.args.asset_dir.clone(), identity.name.clone())?;
        let summary = start::bring_up(&options, self.ui).await?;
        self.hand_out(&tree)?;
        if !self.args.no_wait {
            self.wait_for_all().await?;
        }
        start::say_done(&summary, self.ui);
        Ok(())
    }

    fn identity(&self) -> Result<NodeIdentity, Failure> {
        let name = self.args.how.node_name.clone().unwrap_or_else(|| self.facts.hostname.clone());
        if self.facts.addresses.is_empty() {
            let error = anyhow::anyhow!("this host has no address that other nodes could reach");
            return Err(Failure::new(Exit::Preflight, error).hint("bring a network interface up first"));
        }
        Ok(NodeIdentity { name, addresses: self.facts.addresses.clone() })
    }

    fn dry_run(&self, identity: &NodeIdentity) -> Result<(), Failure> {
        let tree = self.render(identity)?;
        let changes = tree.diff(&self.args.asset_dir).map_err(render::tree_failure)?;
        let node = self.node(identity, &tree)?;
        let install = node::execute::plan_install(&Root::host(), &self.facts, &self.bundle, &node)?;
        let value = serde_json::json!({
            "render": changes.iter().map(|c| &c.path).collect::<Vec<_>>(),
            "install": install,
        });
        self.ui.output(&value, || {
            let files = changes.iter().map(|change| format!("write {}", change.path));
            let actions = install.actions.iter().map(ToString::to_string);
            let mut lines: Vec<_> = files.chain(actions).collect();
            lines.push(
                "import the images that are missing, then start (see `kubestrap start --dry-run`)".into(),
            );
            lines.join("\n")
        });
        Ok(())
    }

    async fn preflight(&self, identity: &NodeIdentity) -> Result<(), Failure> {
        let sizes =
            self.bundle.images().iter().map(|i| i.size).chain(self.bundle.programs().iter().map(|p| p.size));
        let (data_dir, local_etcd) = match &self.config.etcd {
            cluster::EtcdConfig::Local(local) => (local.data_dir.clone(), true),
            cluster::EtcdConfig::External(_) => (String::new(), false),
        };
        let ca = host::fs::read_to_string(&self.args.asset_dir.join("tls/ca.crt")).ok();
        let input = HostInput {
            node_name: &identity.name,
            control_plane: true,
            api_port: self.config.api.port,
            kube_proxy: self.config.proxy.mode != cluster::ProxyMode::Disabled,
            local_etcd,
            etcd_data_dir: &data_dir,
            ca: ca.as_deref(),
            needed_bytes: sizes.sum(),
            cluster_version: &self.config.kubernetes_version.to_string(),
            kubelet_version: self.bundle.kubernetes_version(),
            existing_containerd: self.args.use_existing_containerd,
        };
        let checks = node::preflight::host(&Root::host(), &self.facts, &input).await;
        self.args.how.checks.judge(&checks, self.ui)
    }

    fn render(&self, identity: &NodeIdentity) -> Result<AssetTree, Failure> {
        let upstream_dns = !self.facts.resolv_conf_empty;
        render::render(&self.config, identity.clone(), upstream_dns, &self.args.asset_dir)
    }

    fn node(&self, identity: &NodeIdentity, tree: &AssetTree) -> Result<NodeConfig, Failure> {
        let pause = self.bundle.pause_image().map(|image| image.name.clone());
        let pause = pause
            .ok_or_else(|| Failure::new(Exit::Bundle, anyhow::anyhow!("the bundle has no image `pause`")))?;
        let mut node = node_config(&self.config, identity, tree, pause)?;
        node.existing_containerd = self.args.use_existing_containerd;
        Ok(node)
    }

    async fn install(&self, identity: &NodeIdentity, tree: &AssetTree) -> Result<(), Failure> {
        self.ui.step("install containerd and the kubelet");
        let node = self.node(identity, tree)?;
        let say = |action: &node::plan::Action| self.ui.transient(action.to_string());
        let installed = node::install(&Root::host(), &self.facts, &self.bundle, &node, say).await?;
        for warning in &installed.warnings {
            self.ui.warn(warning);
        }
        Ok(())
    }

    fn import(&self) -> Result<(), Failure> {
        self.ui.step("import the images");
        let imported = node::images::import_images(&self.bundle)?;
        let count = imported.plan.import.len();
        if count > 0 {
            self.ui.step(format!("  {count} images in {:.1} s", imported.took.as_secs_f32()));
        }
        Ok(())
    }

    fn hand_out(&self, tree: &AssetTree) -> Result<(), Failure> {
        let kubeconfig = tree.text("auth/kubeconfig").unwrap_or_default();
        host::fs::write_if_changed(path::ADMIN_KUBECONFIG.as_ref(), kubeconfig.as_bytes(), 0o600)?;
        Ok(())
    }

    /// Waits for DNS, network and proxy: what makes the cluster whole.
    async fn wait_for_all(&self) -> Result<(), Failure> {
        self.ui.step("wait for the add-ons");
        let limit = Duration::from_mins(5);
        let began = Instant::now();
        let client = start::local_client(&self.args.asset_dir).await?;
        loop {
            let missing = match bringup::unready_pods(&client, KUBE_SYSTEM).await {
                Ok(pods) if pods.is_empty() => return Ok(()),
                Ok(pods) => pods.join("\n  "),
                Err(error) => error.to_string(),
            };
            if began.elapsed() > limit || self.config.network.provider == cluster::NetworkProvider::None {
                return self.incomplete(&missing);
            }
            self.ui.transient(format!("waiting for {}", missing.lines().next().unwrap_or_default()));
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    }

    fn incomplete(&self, missing: &str) -> Result<(), Failure> {
        if self.config.network.provider == cluster::NetworkProvider::None {
            self.ui.warn(format!("these pods wait for a network, which you install:\n  {missing}"));
            return Ok(());
        }
        let error = anyhow::anyhow!("the control plane is up, and these pods are not ready:\n  {missing}");
        Err(Failure::new(Exit::NotReady, error).hint(format!(
            "look at them with: kubectl --kubeconfig {} -n {KUBE_SYSTEM} describe pods",
            path::ADMIN_KUBECONFIG
        )))
    }
}
