//! The steps of `up`, one after the other: what each is told is put together once, before the first.
//!
//! ```text
//! check ─▶ render ─▶ install ─▶ import ─▶ etcd ─▶ start ─▶ kubeconfig ─▶ add-ons
//!               │              Prepared ◀─┘  │      │      SelfHosted ◀─┘    Whole ◀─┘
//!               └─ move              member ─┘      └─ follow
//! ```
//!
//! The lower line is that of a node whose host has another address by now. Each looks whether its result is there, so that a run that was killed is gone on with by the same command.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use assets::{AssetDir, AssetTree};
use bringup::{Options, Summary, Surroundings};
use cluster::NetworkProvider;
use doctor::address::Gone;
use names::object::KUBE_SYSTEM;
use names::path;
use node::plan::Plan;
use node::provision::Provision;
use node::{Facts, Root};
use serde::Serialize;

use super::super::checks::CheckArgs;
use super::super::install::{failure, install};
use super::super::render;
use super::super::start;
use super::address;
use crate::exit::{Exit, Failure};
use crate::ui::Ui;

/// The administrator's kubeconfig in the asset directory.
const ADMIN: &str = "auth/kubeconfig";

/// Where it is done.
pub(super) struct Place {
    pub(super) root: Root,
    pub(super) facts: Facts,
    pub(super) surroundings: Arc<dyn Surroundings>,
}

/// How far a run goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Goal {
    /// It says what it would do.
    Plan,
    /// All is on this host that a start needs.
    Prepared,
    /// The control plane is self-hosted.
    SelfHosted,
    /// So it is, and the add-ons are ready.
    Whole,
}

/// What is done, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Check,
    Render,
    /// The files of the control plane get the node's new address.
    Move,
    Install,
    Import,
    Etcd,
    /// etcd knows its member by the node's address.
    Member,
    Start,
    /// The cluster's objects get the node's new address.
    Follow,
    Kubeconfig,
    Addons,
}

impl Step {
    /// What people read; none for what is done in no time, or has lines of its own.
    pub(super) fn title(self) -> Option<&'static str> {
        match self {
            Self::Check => Some("check this host"),
            Self::Render => Some("render the asset directory"),
            Self::Install => Some("install containerd and the kubelet"),
            Self::Import => Some("import the images"),
            Self::Addons => Some("wait for the add-ons"),
            Self::Move => Some("have the control plane's files follow the node's address"),
            Self::Follow => Some("have the cluster's objects follow the node's address"),
            Self::Etcd | Self::Member | Self::Start | Self::Kubeconfig => None,
        }
    }
}

/// How a run ended well.
#[derive(Debug)]
pub(super) enum Outcome {
    /// Nothing was done.
    Planned(Planned),
    /// `start` can be run.
    Prepared,
    /// The control plane is self-hosted.
    Up {
        summary: Summary,
        /// Pods that wait for the network that the user brings, each with what it lacks.
        unconnected: Vec<String>,
    },
}

impl Outcome {
    pub(super) fn say(&self, ui: &Ui) {
        match self {
            Self::Planned(planned) => ui.output(planned, || planned.to_string()),
            Self::Prepared => {}
            Self::Up { summary, unconnected } => {
                if !unconnected.is_empty() {
                    let pods = unconnected.join("\n  ");
                    ui.warn(format!("these pods wait for a network, which you install:\n  {pods}"));
                }
                start::say_done(summary, ui);
            }
        }
    }
}

/// What would be done.
#[derive(Debug, Serialize)]
pub(super) struct Planned {
    /// Addresses of this node that its host has no more, each with what takes its place.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    gone: Vec<String>,
    /// Files of the asset directory.
    render: Vec<String>,
    install: Plan,
}

impl fmt::Display for Planned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.gone.iter().try_for_each(|gone| writeln!(f, "{gone}: exchange it everywhere"))?;
        self.render.iter().try_for_each(|path| writeln!(f, "write {path}"))?;
        self.install.actions.iter().try_for_each(|action| writeln!(f, "{action}"))?;
        f.write_str("import the images that are missing, then start (see `kubestrap start --dry-run`)")
    }
}

/// One run.
pub(super) struct Up<'a> {
    pub(super) node: Provision<'a>,
    pub(super) options: Options,
    /// Addresses of this node that its host has no more.
    pub(super) gone: Vec<Gone>,
    pub(super) checks: &'a CheckArgs,
    pub(super) goal: Goal,
    /// Gets each step just before it is done.
    pub(super) begins: &'a dyn Fn(Step),
    pub(super) ui: &'a Ui,
}

impl Up<'_> {
    pub(super) async fn run(&self) -> Result<Outcome, Failure> {
        if self.goal == Goal::Plan {
            return self.plan();
        }
        self.check().await?;
        let (tree, install) = self.prepare()?;
        let moved = self.move_files()?;
        self.install(&install).await?;
        if moved && !install.starts_kubelet() {
            self.options.surroundings.restart_kubelet()?;
        }
        if self.goal == Goal::Prepared {
            return Ok(Outcome::Prepared);
        }
        let assets = AssetDir::read(&self.options.asset_dir);
        let assets = Arc::new(assets.map_err(|error| Failure::new(Exit::Config, error))?);
        self.ask_etcd(&assets).await?;
        let options = Options { assets: Some(assets), ..self.options.clone() };
        self.rejoin(&options).await?;
        (self.begins)(Step::Start);
        let mut summary = start::bring_up(&options, self.ui).await?;
        summary.changed |= self.follow(&options).await?;
        self.write_kubeconfig(&tree)?;
        let whole = self.goal == Goal::Whole;
        let unconnected = if whole { self.wait_for_addons(&options).await? } else { Vec::new() };
        if !summary.changed {
            start::in_the_way(&options).await.iter().for_each(|cause| self.ui.warn(cause));
        }
        Ok(Outcome::Up { summary, unconnected })
    }

    fn plan(&self) -> Result<Outcome, Failure> {
        let tree = self.render()?;
        let changes = tree.diff(&self.options.asset_dir).map_err(render::tree_failure)?;
        let install = self.node.plan(&render::for_node(&tree)?).map_err(failure)?;
        let gone = self.gone.iter().map(ToString::to_string).collect();
        Ok(Outcome::Planned(Planned { gone, render: changes.into_iter().map(|c| c.path).collect(), install }))
    }

    async fn check(&self) -> Result<(), Failure> {
        (self.begins)(Step::Check);
        let ca = host::fs::read_to_string(&self.options.asset_dir.join("tls/ca.crt")).ok();
        self.checks.judge(&self.node.preflight(ca.as_deref()).await, self.ui)
    }

    fn render(&self) -> Result<AssetTree, Failure> {
        let Provision { cluster, identity, facts, root, .. } = &self.node;
        render::render_here(
            cluster,
            identity.clone(),
            !facts.resolv_conf_empty,
            &self.options.asset_dir,
            root,
        )
    }

    /// The asset directory, written, and what is to be installed. A bundle that is damaged is told before either.
    fn prepare(&self) -> Result<(AssetTree, Plan), Failure> {
        (self.begins)(Step::Render);
        let tree = self.render()?;
        let install = self.node.plan(&render::for_node(&tree)?).map_err(failure)?;
        self.node.verify(&install).map_err(failure)?;
        tree.write(&self.options.asset_dir).map_err(render::tree_failure)?;
        Ok((tree, install))
    }

    /// Whether etcd's manifest is another one by now: the kubelet takes it over when it is started anew.
    fn move_files(&self) -> Result<bool, Failure> {
        if self.gone.is_empty() {
            return Ok(false);
        }
        (self.begins)(Step::Move);
        let moved = address::moved(&self.gone);
        let written = bringup::move_files(&self.options, &moved).map_err(start::failure)?;
        Ok(written.iter().any(|path| path.ends_with(path::ETCD_FILE)))
    }

    /// A member that is known by an address that its host has not keeps others from it, whenever that began.
    async fn rejoin(&self, options: &Options) -> Result<(), Failure> {
        (self.begins)(Step::Member);
        let waiting = |what: &str| self.ui.transient(format!("waiting for {what}"));
        let (host, moved) = (&self.node.facts.addresses.all, !self.gone.is_empty());
        let told = bringup::rejoin(options, host, moved, waiting).await.map_err(start::failure)?;
        if let Some(told) = told {
            self.ui.step(format!("  {told}"));
        }
        if moved {
            bringup::come_back(options, waiting).await.map_err(start::failure)?;
        }
        Ok(())
    }

    /// Whether something of the cluster was changed.
    async fn follow(&self, options: &Options) -> Result<bool, Failure> {
        let moved = address::moved(&self.gone);
        if moved.is_empty() {
            return Ok(false);
        }
        (self.begins)(Step::Follow);
        let waiting = |what: &str| self.ui.transient(format!("waiting for {what}"));
        let changed = bringup::follow(options, &moved, waiting).await.map_err(start::failure)?;
        for what in changed {
            self.ui.step(format!("  {what}"));
        }
        Ok(true)
    }

    async fn install(&self, plan: &Plan) -> Result<(), Failure> {
        (self.begins)(Step::Install);
        install(&self.node, plan, || (self.begins)(Step::Import), self.ui).await.map(drop)
    }

    /// One that is not brought up here has to be there.
    async fn ask_etcd(&self, assets: &AssetDir) -> Result<(), Failure> {
        (self.begins)(Step::Etcd);
        self.checks.judge(&start::etcd_checks(assets).await, self.ui)
    }

    fn write_kubeconfig(&self, tree: &AssetTree) -> Result<(), Failure> {
        (self.begins)(Step::Kubeconfig);
        let text = tree.text(ADMIN).ok_or_else(|| anyhow!("the asset directory has no {ADMIN}"))?;
        let path = self.node.root.path(path::ADMIN_KUBECONFIG);
        host::fs::write_if_changed(&path, text.as_bytes(), 0o600)?;
        Ok(())
    }

    /// DNS, network and proxy: what makes the cluster whole. A network that the user brings is not waited for: returns
    /// the pods that do.
    async fn wait_for_addons(&self, options: &Options) -> Result<Vec<String>, Failure> {
        (self.begins)(Step::Addons);
        let client = bringup::client(options).await.map_err(start::failure)?;
        let own_network = self.node.cluster.network.provider == NetworkProvider::None;
        let limit = if own_network { Duration::ZERO } else { options.timeout };
        let waiting = |what: &str| self.ui.transient(format!("waiting for {what}"));
        let Err(missing) = bringup::all_ready(&client, KUBE_SYSTEM, limit, waiting).await else {
            return Ok(Vec::new());
        };
        if own_network {
            return Ok(missing);
        }
        let missing = missing.join("\n  ");
        let causes = start::in_the_way(options).await;
        let causes = causes.iter().fold(String::new(), |text, cause| text + "\n" + cause);
        let error = anyhow!("the control plane is up, and these pods are not ready:\n  {missing}{causes}");
        Err(Failure::new(Exit::NotReady, error).hint(format!(
            "look at them with: kubectl --kubeconfig {} -n {KUBE_SYSTEM} describe pods",
            path::ADMIN_KUBECONFIG
        )))
    }
}
