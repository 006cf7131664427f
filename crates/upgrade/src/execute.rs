//! Does what a plan says, step by step, each gated; and steps back when a gate stays shut.

use std::path::{Path, PathBuf};

use api::Client;
use bundle::BundleError;
use cri::Cri;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use tokio::time::Instant;

use crate::before::{Before, StateDir};
use crate::error::UpgradeError;
use crate::event::Event;
use crate::gate::{Gate, Patience};
use crate::look::Looked;
use crate::node_files;
use crate::part::Part;
use crate::plan::{self, Plan, Step};
use crate::sight::Sight;
use crate::target::Target;

/// An upgrade of the cluster that this node belongs to.
pub struct Upgrade<'a> {
    pub(crate) target: Target,
    pub(crate) sight: Sight,
    pub(crate) state: StateDir,
    pub(crate) patience: Patience,
    pub(crate) backup_dir: PathBuf,
    pub(crate) report: &'a (dyn Fn(Event) + Send + Sync),
}

/// What an upgrade did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Done {
    /// How many steps there were.
    pub steps: usize,
    /// The snapshot that was taken, by this run or by one that it went on with.
    pub snapshot: Option<PathBuf>,
    /// How long it took, in milliseconds.
    pub elapsed_ms: u64,
}

/// How an upgrade failed.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    /// Before it changed anything.
    #[error("{step} failed; nothing was changed")]
    Untouched {
        /// What failed.
        step: String,
        /// Why.
        source: Box<UpgradeError>,
    },
    /// Everything that it changed is as it was.
    #[error("{step} failed; everything that was changed is back as it was")]
    Reverted {
        /// What failed.
        step: String,
        /// Why.
        source: Box<UpgradeError>,
    },
    /// The step back failed too.
    #[error("{step} failed: {}; and the step back failed, too", host::error::chain(&**cause))]
    NotReverted {
        /// What failed.
        step: String,
        /// Why.
        cause: Box<UpgradeError>,
        /// Why the step back failed.
        source: Box<UpgradeError>,
    },
}

impl<'a> Upgrade<'a> {
    /// An upgrade by a client of this node's own API and its container runtime.
    pub fn new(
        target: Target,
        client: Client,
        runtime: Cri,
        state: StateDir,
        report: &'a (dyn Fn(Event) + Send + Sync),
    ) -> Self {
        let sight = Sight::new(client, runtime, target.node.name.clone());
        let (patience, backup_dir) = (Patience::default(), PathBuf::from(names::path::BACKUPS));
        Self { target, sight, state, patience, backup_dir, report }
    }

    /// Waits otherwise.
    pub fn with_patience(mut self, patience: Patience) -> Self {
        self.patience = patience;
        self
    }

    /// Where it goes.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Looks at the cluster and compares it with the target. Changes nothing.
    ///
    /// # Errors
    /// When the API or the runtime does not answer, or a file cannot be read.
    pub async fn look(&self) -> Result<Looked, UpgradeError> {
        self.sight.look(&self.target, &self.state).await
    }

    /// What leads to the target.
    pub fn plan(&self, looked: &Looked) -> Plan {
        plan::plan(&looked.observed, self.target.version(), Timestamp::now())
    }

    /// Does it. Killed at any moment, the same call goes on.
    ///
    /// # Errors
    /// [`Failed`], which says whether everything is back as it was.
    pub async fn apply(&self, looked: &Looked, plan: &Plan) -> Result<Done, Failed> {
        let began = Instant::now();
        let untouched = |step: &str| {
            let step = step.to_owned();
            move |error: UpgradeError| Failed::Untouched { step, source: Box::new(error) }
        };
        let mut before = match &looked.before {
            Some(before) => before.clone(),
            None => Before::new(plan.from, plan.to, Timestamp::now()),
        };
        let mut touched = looked.before.is_some();
        let saved = self.remember(&mut before, looked);
        if !touched && let Err(error) = saved {
            return Err(untouched("saving what is there now")(error));
        }
        for (number, step) in plan.steps.iter().enumerate() {
            let title = step.title();
            (self.report)(Event::Step { number: number + 1, of: plan.steps.len(), title: title.clone() });
            touched |= !matches!(step, Step::Snapshot { .. } | Step::Images { .. });
            if let Err(error) = self.step(step, &mut before, looked).await {
                if !touched {
                    let _ = self.state.remove();
                    return Err(untouched(&title)(error));
                }
                return Err(self.step_back(&mut before, title, error).await);
            }
        }
        self.state.remove().map_err(|error| untouched("tidying up")(error.into()))?;
        let elapsed_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        Ok(Done { steps: plan.steps.len(), snapshot: before.snapshot, elapsed_ms })
    }

    /// Saves everything that the plan will change, and the new asset directory with its keys.
    fn remember(&self, before: &mut Before, looked: &Looked) -> Result<(), UpgradeError> {
        self.state.create()?;
        for (part, path, live) in &looked.live {
            before.add_object(*part, path.clone(), live.clone());
        }
        for path in node_files::touched(&looked.host) {
            self.state.save_file(before, &self.target.root.path(path))?;
        }
        for file in node_files::changed(&self.target) {
            self.state.save_file(before, &file.path)?;
        }
        let staged = self.state.assets();
        self.target.tree.write(&staged).map_err(|error| UpgradeError::Unfinished {
            path: staged.clone(),
            reason: host::error::chain(&error),
        })?;
        self.state.write(before)
    }

    async fn step(&self, step: &Step, before: &mut Before, looked: &Looked) -> Result<(), UpgradeError> {
        let done = match step {
            Step::Snapshot { .. } => self.snapshot(before)?,
            Step::Images { .. } => self.import()?,
            Step::Keys { .. } => self.keys()?,
            Step::Part { part, changes, .. } => self.part(*part, changes.is_empty(), looked).await?,
            Step::Drain { .. } => self.drain(before).await?,
            Step::Kubelet { .. } => self.kubelet(looked).await?,
            Step::Uncordon { .. } => self.uncordon(before).await?,
            Step::Assets { .. } => self.assets()?,
        };
        (self.report)(Event::Done { text: done });
        Ok(())
    }

    fn snapshot(&self, before: &mut Before) -> Result<String, UpgradeError> {
        let bundle = self.target.bundle.as_ref();
        let programs = self.target.programs(&self.state);
        let image = etcd::tools_image(&self.target.config, bundle);
        let program = programs.get(&image, etcd::ETCDCTL)?;
        let (endpoint, tls) = (self.target.etcd_endpoint(), self.target.etcd_credentials());
        let etcdctl = etcd::Tool { program: &program, endpoint: &endpoint, tls: &tls };
        let now = host::words::stamp(Timestamp::now());
        let name = format!("etcd-{now}-before-{}.db", before.to);
        let path = etcdctl.snapshot(&self.backup_dir, &name);
        programs.clean()?;
        let path = path?;
        before.snapshot = Some(path.clone());
        self.state.write(before)?;
        Ok(format!("{} is whole", path.display()))
    }

    fn import(&self) -> Result<String, UpgradeError> {
        let Some(bundle) = &self.target.bundle else { return Ok("no bundle".to_owned()) };
        let imported = node::images::import_images(&self.target.root, bundle)?;
        Ok(format!("{} images in {:.1} s", imported.plan.import.len(), imported.took.as_secs_f32()))
    }

    fn keys(&self) -> Result<String, UpgradeError> {
        let written = host::place::place(&node_files::changed(&self.target))?;
        Ok(format!("{} files written", written.len()))
    }

    async fn part(&self, part: Part, wait_only: bool, looked: &Looked) -> Result<String, UpgradeError> {
        let objects = looked.wanted.get(&part).cloned().unwrap_or_default();
        let values: Vec<Value> = objects.iter().map(|object| object.value.clone()).collect();
        let mut done = format!("{} is settled", part.name());
        if !wait_only {
            let options = apply::Options::default();
            let report =
                apply::apply(self.sight.api.client(), &apply::plan(objects), &options, &mut |_| {}).await;
            if !report.complete() {
                return Err(UpgradeError::Rejected { part: part.name(), reasons: report.to_string() });
            }
            let changed = report.count(apply::Action::Configured) + report.count(apply::Action::Created);
            done = format!("{changed} objects changed; {done}");
        }
        self.gate().part(part, &values, Some(self.target.version())).await?;
        Ok(done)
    }

    async fn kubelet(&self, looked: &Looked) -> Result<String, UpgradeError> {
        let extract = |name: &str, path: &Path| match &self.target.bundle {
            Some(bundle) => bundle.extract_program(name, path).map(drop),
            None => Err(BundleError::NoProgram { name: name.to_owned(), dir: PathBuf::new() }),
        };
        let say = |action: &node::plan::Action| (self.report)(Event::Waiting { what: action.to_string() });
        node::execute::execute(&self.target.root, &looked.host, extract, say).await?;
        self.gate().kubelet(self.target.bundle.as_ref().map(|_| self.target.version())).await?;
        Ok(format!("the kubelet of {} is Ready", self.sight.node))
    }

    fn assets(&self) -> Result<String, UpgradeError> {
        let dir = &self.target.asset_dir;
        self.target.tree.write(dir).map_err(|error| UpgradeError::Unfinished {
            path: dir.clone(),
            reason: host::error::chain(&error),
        })?;
        Ok(format!("{} is that of {}", dir.display(), self.target.version()))
    }

    pub(crate) fn gate(&self) -> Gate<'_> {
        Gate { sight: &self.sight, patience: &self.patience, report: self.report }
    }
}

#[cfg(test)]
#[path = "execute_tests.rs"]
mod tests;
