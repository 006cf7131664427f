//! `up`: from a bare host and a bundle to a cluster. Makes the host a node, renders the asset directory and starts.

use std::path::PathBuf;
use std::time::Duration;

use assets::{AssetDir, AssetTree};
use bundle::Bundle;
use cluster::{ClusterConfig, NetworkProvider};
use names::object::KUBE_SYSTEM;
use names::path;
use node::Root;
use node::provision::{Provision, ProvisionError, Role, missing_images};

use super::render::{self, ConfigArgs};
use super::start::{self, HowArgs};
use crate::exit::{Exit, Failure};
use crate::ui::Ui;

/// How long DNS, network and proxy may take once the control plane is self-hosted.
const ADDONS_LIMIT: Duration = Duration::from_mins(5);

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
    let root = Root::host();
    let facts = node::facts::detect(&root);
    let bundle = Bundle::open(&args.bundle).map_err(|error| Failure::new(Exit::Bundle, error))?;
    let cluster = config(&args, &bundle)?;
    let identity = node::identity::identity(&root, &facts, args.how.node_name.as_deref());
    let node = Provision {
        root,
        facts: &facts,
        bundle: &bundle,
        cluster: &cluster,
        role: Role::FirstControlPlane,
        identity: identity.map_err(super::cluster::who)?,
        existing_containerd: args.use_existing_containerd,
    };
    super::run_async(Up { args, node, ui }.run())
}

struct Up<'a> {
    args: UpArgs,
    node: Provision<'a>,
    ui: &'a Ui,
}

/// The config, with the bundle's version where it names none, and only if the bundle serves it.
fn config(args: &UpArgs, bundle: &Bundle) -> Result<ClusterConfig, Failure> {
    let mut wanted = args.config.clone();
    if wanted.config.is_none() && !wanted.set.iter().any(|(key, _)| key == "kubernetesVersion") {
        wanted.set.push(("kubernetesVersion".to_owned(), bundle.kubernetes_version().to_owned()));
    }
    let config = render::load_config(&wanted)?;
    let missing = missing_images(bundle, &config);
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

fn failure(error: ProvisionError) -> Failure {
    match error {
        ProvisionError::NoPause => Failure::new(Exit::Bundle, error),
        ProvisionError::Install(error) => error.into(),
    }
}

impl Up<'_> {
    async fn run(self) -> Result<(), Failure> {
        if self.args.how.dry_run {
            return self.dry_run(&self.render()?);
        }
        self.ui.step("check this host");
        let ca = host::fs::read_to_string(&self.args.asset_dir.join("tls/ca.crt")).ok();
        self.args.how.checks.judge(&self.node.preflight(ca.as_deref()).await, self.ui)?;
        self.ui.step("render the asset directory");
        let tree = self.render()?;
        tree.write(&self.args.asset_dir).map_err(render::tree_failure)?;
        self.provision(&tree).await?;
        if self.args.prepare_only {
            return Ok(());
        }
        let dir = AssetDir::read(&self.args.asset_dir).map_err(|error| Failure::new(Exit::Config, error))?;
        self.args.how.checks.judge(&start::etcd_checks(&dir).await, self.ui)?;
        let options = self.args.how.options(self.args.asset_dir.clone(), self.node.identity.name.clone())?;
        let summary = start::bring_up(&options, self.ui).await?;
        let kubeconfig = tree.text("auth/kubeconfig").unwrap_or_default();
        host::fs::write_if_changed(path::ADMIN_KUBECONFIG.as_ref(), kubeconfig.as_bytes(), 0o600)?;
        if !self.args.no_wait {
            self.wait_for_addons().await?;
        }
        start::say_done(&summary, self.ui);
        Ok(())
    }

    fn render(&self) -> Result<AssetTree, Failure> {
        let upstream_dns = !self.node.facts.resolv_conf_empty;
        render::render(self.node.cluster, self.node.identity.clone(), upstream_dns, &self.args.asset_dir)
    }

    fn dry_run(&self, tree: &AssetTree) -> Result<(), Failure> {
        let changes = tree.diff(&self.args.asset_dir).map_err(render::tree_failure)?;
        let install = self.node.plan(&render::for_node(tree)?).map_err(failure)?;
        let value = serde_json::json!({
            "render": changes.iter().map(|c| &c.path).collect::<Vec<_>>(),
            "install": install,
        });
        self.ui.output(&value, || {
            let files = changes.iter().map(|change| format!("write {}", change.path));
            let actions = install.actions.iter().map(ToString::to_string);
            let start = "import the images that are missing, then start (see `kubestrap start --dry-run`)";
            files.chain(actions).chain([start.to_owned()]).collect::<Vec<_>>().join("\n")
        });
        Ok(())
    }

    async fn provision(&self, tree: &AssetTree) -> Result<(), Failure> {
        self.ui.step("install containerd and the kubelet");
        let say = |action: &node::plan::Action| self.ui.transient(action.to_string());
        let installed = self.node.install(&render::for_node(tree)?, say).await.map_err(failure)?;
        for warning in &installed.warnings {
            self.ui.warn(warning);
        }
        self.ui.step("import the images");
        let imported = self.node.import()?;
        let count = imported.plan.import.len();
        if count > 0 {
            self.ui.step(format!("  {count} images in {:.1} s", imported.took.as_secs_f32()));
        }
        Ok(())
    }

    /// DNS, network and proxy: what makes the cluster whole. A network that the user brings is not waited for.
    async fn wait_for_addons(&self) -> Result<(), Failure> {
        self.ui.step("wait for the add-ons");
        let client = start::local_client(&self.args.asset_dir).await?;
        let own_network = self.node.cluster.network.provider == NetworkProvider::None;
        let limit = if own_network { Duration::ZERO } else { ADDONS_LIMIT };
        let waiting = |what: &str| self.ui.transient(format!("waiting for {what}"));
        let Err(missing) = bringup::all_ready(&client, KUBE_SYSTEM, limit, waiting).await else {
            return Ok(());
        };
        let missing = missing.join("\n  ");
        if own_network {
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
