//! `upgrade`: another version or config for the cluster that runs, seen from a control-plane node that has
//! the asset directory.

use std::path::{Path, PathBuf};
use std::time::Duration;

use ::checks::Check;
use assets::CONFIG_FILE;
use bundle::Bundle;
use clap::Subcommand;
use cluster::{ClusterConfig, Component, EtcdConfig, KubernetesVersion};
use cri::Cri;
use node::provision::{self, Role};
use node::{Facts, Root};
use pki::NodeIdentity;
use serde_json::json;
use upgrade::{Event, Failed, Looked, Patience, Plan, StateDir, Target, Upgrade, UpgradeError};

use super::checks::CheckArgs;
use super::render::{self, ConfigArgs};
use super::start;
use crate::exit::{Exit, Failure};
use crate::ui::Ui;

/// Arguments of `upgrade`.
#[derive(Debug, clap::Args)]
pub(crate) struct UpgradeArgs {
    #[command(subcommand)]
    verb: UpgradeVerb,
}

#[derive(Debug, Subcommand)]
enum UpgradeVerb {
    /// Show versions, what speaks against an upgrade, and what it would do; change nothing
    Plan(TargetArgs),
    /// Do it, step by step; go back by itself when a step fails; go on where a killed run was
    Apply(ApplyArgs),
    /// Undo what an upgrade that did not end has changed
    Back(BackArgs),
}

/// Where to go.
#[derive(Debug, clap::Args)]
struct TargetArgs {
    /// The Kubernetes version [default: the config's, else the bundle's, else the cluster's own]
    version: Option<KubernetesVersion>,
    #[command(flatten)]
    config: ConfigArgs,
    /// The bundle with the programs and images of that version; not needed when only the config changes
    #[arg(long, value_name = "DIR")]
    bundle: Option<PathBuf>,
    /// Before this node's kubelet changes, keep new pods off the node and evict those that can run elsewhere; let pods
    /// come back afterwards
    #[arg(long)]
    drain: bool,
    #[command(flatten)]
    here: HereArgs,
}

/// Where this is done.
#[derive(Debug, clap::Args)]
struct HereArgs {
    /// The asset directory that the cluster was made from
    #[arg(long, value_name = "DIR", default_value = names::path::ASSETS)]
    asset_dir: PathBuf,
    /// This node's name [default: as it is installed, else its host name]
    #[arg(long, value_name = "NAME")]
    node_name: Option<String>,
}

/// How long to wait.
#[derive(Debug, clap::Args)]
struct PatienceArgs {
    /// How long each step may take to become ready, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    timeout: u64,
    /// How long what was changed must stay ready before the next step, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    stable: u64,
}

#[derive(Debug, clap::Args)]
struct ApplyArgs {
    #[command(flatten)]
    target: TargetArgs,
    #[command(flatten)]
    patience: PatienceArgs,
    /// Print what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    checks: CheckArgs,
}

#[derive(Debug, clap::Args)]
struct BackArgs {
    #[command(flatten)]
    here: HereArgs,
    #[command(flatten)]
    patience: PatienceArgs,
}

impl PatienceArgs {
    fn patience(&self) -> Patience {
        Patience { timeout: Duration::from_secs(self.timeout), stable: Duration::from_secs(self.stable) }
    }
}

pub(crate) fn run(args: UpgradeArgs, ui: &Ui) -> Result<(), Failure> {
    match args.verb {
        UpgradeVerb::Plan(target) => super::run_async(async {
            let prepared = Prepared::new(target)?;
            let (_, plan) = prepared.upgrade(ui, &|_| {}).await?.plan().await?;
            show(&plan, ui)
        }),
        UpgradeVerb::Apply(args) => super::run_async(apply(args, ui)),
        UpgradeVerb::Back(args) => super::run_async(back(args, ui)),
    }
}

/// Prints a plan; checks that failed are a failure.
fn show(plan: &Plan, ui: &Ui) -> Result<(), Failure> {
    ui.output(plan, || plan.to_string());
    let failed: Vec<&Check> = plan.checks.iter().filter(|check| check.is_failure()).collect();
    if failed.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = failed.iter().map(|check| check.name.as_str()).collect();
    let error = anyhow::anyhow!("{} checks failed: {}", failed.len(), names.join(", "));
    Err(Failure::new(Exit::Preflight, error).hint("mend these first, or pass --ignore-preflight-errors"))
}

async fn apply(args: ApplyArgs, ui: &Ui) -> Result<(), Failure> {
    let report = |event: Event| tell(&event, ui);
    let prepared = Prepared::new(args.target)?;
    let ready = prepared.upgrade(ui, &report).await?;
    let ready = Ready { upgrade: ready.upgrade.with_patience(args.patience.patience()), ..ready };
    ui.step("look at the cluster");
    let (looked, plan) = ready.plan().await?;
    if args.dry_run {
        return show(&plan, ui);
    }
    args.checks.judge(&plan.checks, ui)?;
    let done = ready.upgrade.apply(&looked, &plan).await.map_err(failed)?;
    hand_out(&prepared.asset_dir)?;
    if ui.is_json() {
        ui.event(&json!({"done": done, "from": plan.from, "to": plan.to}));
    } else if plan.is_empty() {
        ui.data("nothing to do: everything is as it shall be");
    } else {
        let snapshot = done.snapshot.map(|path| format!(" The snapshot of before is {}.", path.display()));
        ui.data(format!(
            "The cluster has {} after {:.1} s and {} steps.{}",
            plan.to,
            Duration::from_millis(done.elapsed_ms).as_secs_f32(),
            done.steps,
            snapshot.unwrap_or_default()
        ));
    }
    Ok(())
}

async fn back(args: BackArgs, ui: &Ui) -> Result<(), Failure> {
    let report = |event: Event| tell(&event, ui);
    let (version, bundle, config) = (None, None, ConfigArgs::default());
    let target = TargetArgs { version, config, bundle, drain: false, here: args.here };
    let prepared = Prepared::new(target)?;
    let ready = prepared.upgrade(ui, &report).await?;
    let found = ready.upgrade.with_patience(args.patience.patience()).back().await.map_err(|error| {
        Failure::new(Exit::NotReverted, error)
            .hint("what was there before is saved: run the same command again")
    })?;
    ui.output(&json!({"unfinished": found}), || {
        if found { "everything is as it was before the upgrade" } else { "no upgrade is unfinished" }
            .to_owned()
    });
    Ok(())
}

fn tell(event: &Event, ui: &Ui) {
    if ui.is_json() {
        return ui.event(event);
    }
    match event {
        Event::Step { number, of, title } => ui.step(format!("{number}/{of} {title}")),
        Event::Waiting { what } => ui.transient(format!("waiting for {what}")),
        Event::Done { text } => ui.step(format!("  {text}")),
        Event::Back { why } => ui.warn(format!("{why}; what was changed is put back")),
        Event::PutBack { what } => ui.step(format!("  {what} is as it was")),
    }
}

/// The administrator's kubeconfig may have got a new certificate.
fn hand_out(asset_dir: &Path) -> Result<(), Failure> {
    let kubeconfig = host::fs::read(&asset_dir.join("auth/kubeconfig"))?;
    host::fs::write_if_changed(names::path::ADMIN_KUBECONFIG.as_ref(), &kubeconfig, 0o600)?;
    Ok(())
}

/// Everything that is read from the command line and this host.
struct Prepared {
    config: ClusterConfig,
    old: ClusterConfig,
    bundle: Option<Bundle>,
    facts: Facts,
    identity: NodeIdentity,
    asset_dir: PathBuf,
    state: StateDir,
    drain: bool,
}

/// An upgrade that can be looked at.
struct Ready<'a> {
    upgrade: Upgrade<'a>,
    immutable: Vec<Check>,
}

impl Ready<'_> {
    async fn plan(&self) -> Result<(Looked, Plan), Failure> {
        let looked = self.upgrade.look().await.map_err(look_failed)?;
        let mut plan = self.upgrade.plan(&looked);
        plan.checks.extend(self.immutable.iter().cloned());
        Ok((looked, plan))
    }
}

impl Prepared {
    fn new(args: TargetArgs) -> Result<Self, Failure> {
        let asset_dir = args.here.asset_dir.clone();
        let own = asset_dir.join(CONFIG_FILE);
        let old = render::load_config(&ConfigArgs { config: Some(own.clone()), ..ConfigArgs::default() })
            .map_err(|f| {
                f.hint("run it on a control-plane node that has the asset directory: --asset-dir DIR")
            })?;
        let bundle = args.bundle.as_deref().map(Bundle::open).transpose();
        let bundle = bundle.map_err(|error| Failure::new(Exit::Bundle, error))?;
        let version = version(&args, &old, bundle.as_ref())?;
        let mut wanted = args.config;
        wanted.set.push(("kubernetesVersion".to_owned(), version.to_string()));
        wanted.config = Some(wanted.config.unwrap_or(own));
        let mut config = render::load_config(&wanted)?;
        keep_etcd(&mut config);
        let root = Root::host();
        let facts = node::facts::detect(&root);
        let identity = node::identity::identity(&root, &facts, args.here.node_name.as_deref());
        let identity = identity.map_err(super::cluster::who)?;
        let state = StateDir::new(names::path::UPGRADE);
        Ok(Self { config, old, bundle, facts, identity, asset_dir, state, drain: args.drain })
    }

    async fn upgrade<'a>(
        &'a self,
        ui: &Ui,
        report: &'a (dyn Fn(Event) + Send + Sync),
    ) -> Result<Ready<'a>, Failure> {
        // Keys that an unfinished run has made are the cluster's already.
        let staged = self.state.assets();
        let secrets = if self.state.is_unfinished() && staged.join(CONFIG_FILE).exists() {
            ui.warn("an upgrade did not end: this one goes on with it");
            staged
        } else {
            self.asset_dir.clone()
        };
        let upstream_dns = !self.facts.resolv_conf_empty;
        let tree = render::render(&self.config, self.identity.clone(), upstream_dns, &secrets)?;
        let containerd =
            host::fs::read_to_string(names::path::CONTAINERD_CONFIG.as_ref()).unwrap_or_default();
        let own_pause = node::containerd::pause_image(&containerd).map(str::to_owned);
        let bundled = self.bundle.as_ref().and_then(Bundle::pause_image).map(|image| image.name.clone());
        let default = || self.config.images().get(Component::Pause).to_owned();
        let existing_containerd = own_pause.is_none();
        let pause = bundled.or(own_pause).unwrap_or_else(default);
        let rendered = render::for_node(&tree)?;
        let role = Role::FirstControlPlane;
        let mut node = provision::node_config(&self.config, role, &self.identity, &rendered, &pause);
        node.existing_containerd = existing_containerd;
        let target = Target {
            config: self.config.clone(),
            tree,
            asset_dir: self.asset_dir.clone(),
            bundle: self.bundle.as_ref(),
            node,
            facts: self.facts.clone(),
            drain: self.drain,
        };
        let client = start::local_client(&self.asset_dir).await?;
        let runtime = Cri::connect(names::path::CRI_SOCKET.as_ref()).await;
        let runtime = runtime.map_err(|error| look_failed(error.into()))?;
        let upgrade = Upgrade::new(target, client, runtime, self.state.clone(), report);
        Ok(Ready { upgrade, immutable: upgrade::immutable(&self.old, &self.config) })
    }
}

/// The config's key of the version.
const KEY: &str = "kubernetesVersion";

/// Which version is meant: a config file that names none does not mean the newest.
fn version(
    args: &TargetArgs,
    old: &ClusterConfig,
    bundle: Option<&Bundle>,
) -> Result<KubernetesVersion, Failure> {
    if let Some(version) = args.version {
        return Ok(version);
    }
    if let Some(path) = &args.config.config {
        if host::fs::read_to_string(path).is_ok_and(|text| names_version(&text)) {
            return Ok(render::load_config(&args.config)?.kubernetes_version);
        }
        return Ok(old.kubernetes_version);
    }
    match (args.config.set.iter().rfind(|(key, _)| key == KEY), bundle) {
        (Some((_, value)), _) => value.parse().map_err(|error| Failure::new(Exit::Usage, error)),
        (None, Some(bundle)) if args.config.set.is_empty() => {
            bundle.kubernetes_version().parse().map_err(|error| Failure::new(Exit::Bundle, error))
        }
        _ => Ok(old.kubernetes_version),
    }
}

/// Whether a config file says which version it wants, in whatever way YAML can be written. One that is no YAML says
/// nothing: what is wrong with it is told where it is read.
fn names_version(text: &str) -> bool {
    let documents = assets::parse_documents(text).unwrap_or_default();
    documents.iter().any(|document| document.value.get(KEY).is_some_and(|version| !version.is_null()))
}

/// A restart of its only etcd is a pause of the API, and an etcd of a newer minor does not go back: it stays
/// as it is, and says so in the config.
fn keep_etcd(config: &mut ClusterConfig) {
    if !matches!(config.etcd, EtcdConfig::Local(_)) {
        return;
    }
    let path = Path::new(names::path::STATIC_PODS).join(names::path::ETCD_FILE);
    let Ok(text) = host::fs::read_to_string(&path) else { return };
    let pod = assets::parse_documents(&text).ok().and_then(|documents| documents.into_iter().next());
    let image = pod.and_then(|pod| etcd::server::image(&pod.value).map(str::to_owned));
    let Some(image) = image.filter(|image| config.images().get(Component::Etcd) != image) else { return };
    if let Ok(image) = image.parse() {
        config.images.overrides.insert(Component::Etcd.name().to_owned(), image);
    }
}

fn look_failed(error: UpgradeError) -> Failure {
    let hint = match &error {
        UpgradeError::Api(_) => "see that the API of this node answers: kubestrap status",
        UpgradeError::Runtime(_) => "look at it with: systemctl status containerd",
        _ => "nothing was changed",
    };
    Failure::new(Exit::Other, error).hint(hint)
}

fn failed(failed: Failed) -> Failure {
    let (exit, hint) = match &failed {
        Failed::Untouched { .. } => (Exit::Other, "mend the cause and run the same command again"),
        Failed::Reverted { .. } => (Exit::Reverted, "mend the cause and run the same command again"),
        Failed::NotReverted { .. } => (
            Exit::NotReverted,
            "what was there before is saved: `kubestrap upgrade back` tries the step back again, \
             `kubestrap upgrade apply` goes on",
        ),
    };
    Failure::new(exit, failed).hint(hint)
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
            assert!(names_version(text), "{text}");
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
            assert!(!names_version(text), "{text}");
        }
    }
}
